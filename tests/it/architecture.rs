//! The module table of `docs/architecture.md`, enforced: which module may name which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The allowed edges, read from the table in the document, so that the two cannot differ.
fn allowed_edges() -> BTreeMap<String, BTreeSet<String>> {
    let doc = fs::read_to_string(root().join("docs/architecture.md")).expect("architecture page");
    let table = doc
        .split("<!-- edges:begin -->")
        .nth(1)
        .and_then(|rest| rest.split("<!-- edges:end -->").next())
        .expect("the page has the edge table between its markers");
    let mut edges = BTreeMap::new();
    for line in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let words = |cell: &str| -> BTreeSet<String> {
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        for module in words(cells[0]) {
            edges.insert(module, words(cells[1]));
        }
    }
    edges
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable folder") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// Top-level modules named by `crate::` paths in `text`, those inside brace groups included. Comments and doc
/// links are left out: they may point anywhere.
fn named_modules(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut named = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        named.insert(first_segment(&word));
                        word.clear();
                        continue;
                    }
                    _ => {}
                }
                if depth == 0 {
                    word.push(c);
                }
            }
            named.insert(first_segment(&word));
        } else {
            named.insert(first_segment(rest));
        }
    }
    named.remove("");
    named
}

fn first_segment(path: &str) -> String {
    path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn modules_name_only_what_the_table_allows() {
    let edges = allowed_edges();
    let source = root().join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&source).expect("below src");
        let module = relative
            .iter()
            .next()
            .and_then(|part| Path::new(part).file_stem())
            .and_then(|stem| stem.to_str())
            .expect("utf-8 file name")
            .to_owned();
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(allowed) = edges.get(&module) else {
            wrong.push(format!("{module} is not in the table"));
            continue;
        };
        let text = fs::read_to_string(&file).expect("readable source");
        for name in named_modules(&text) {
            if name != module && name != "units" && !allowed.contains(&name) {
                wrong.push(format!("{} names crate::{name}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "edges outside the table:\n{}", wrong.join("\n"));
}

#[test]
fn the_scan_sees_brace_groups() {
    let text =
        "use crate::{hpa::{A, B}, sim::C, units};\nlet x = crate::engine::Y; // crate::cli::Z";
    let named: Vec<String> = named_modules(text).into_iter().collect();
    assert_eq!(named, ["engine", "hpa", "sim", "units"]);
}
