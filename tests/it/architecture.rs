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

/// Modules named right after `prefix`, such as `crate::`, in `text`, those inside brace groups included. Comments and
/// doc links are left out: they may point anywhere.
fn named_modules(text: &str, prefix: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n");
    let mut named = BTreeSet::new();
    let pieces: Vec<&str> = code.split(prefix).collect();
    for pair in pieces.windows(2) {
        let (before, rest) = (pair[0], pair[1]);
        // A longer run of `super::` leads further out.
        if before.is_empty() || before.ends_with("super::") {
            continue;
        }
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
        for name in named_modules(&text, "crate::") {
            if name != module && name != "units" && !allowed.contains(&name) {
                wrong.push(format!("{} names crate::{name}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "edges outside the table:\n{}", wrong.join("\n"));
}

/// Of the files and folders in each folder of `src`, those that name each other in a circle, tests left out.
#[test]
fn no_files_of_a_folder_name_each_other_in_a_circle() {
    let source = root().join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut named: BTreeMap<PathBuf, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("readable source");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let relative = file.strip_prefix(&source).expect("below src").with_extension("");
        let names: Vec<&str> = relative.iter().filter_map(|part| part.to_str()).collect();
        // Seen from each folder above it, the file is a part of what stands there under one name.
        for (depth, name) in names.iter().enumerate().skip(1).filter(|(_, name)| **name != "mod") {
            let (above, below) = (names[..depth].join("::"), names.len() - depth);
            let outwards = "super::".repeat(below);
            let from_here = named_modules(text, &outwards);
            let by_path = named_modules(text, &format!("crate::{above}::"));
            named
                .entry(names[..depth].iter().collect())
                .or_default()
                .entry((*name).to_owned())
                .or_default()
                .extend(from_here.into_iter().chain(by_path));
        }
    }
    let mut circles = Vec::new();
    for (folder, mut parts) in named {
        // What names nothing that is left is no part of a circle.
        loop {
            let left: BTreeSet<String> = parts.keys().cloned().collect();
            parts.retain(|own, named| named.iter().any(|name| name != own && left.contains(name)));
            if parts.len() == left.len() {
                break;
            }
        }
        if !parts.is_empty() {
            let left: Vec<&String> = parts.keys().collect();
            circles.push(format!("{}: {left:?}", folder.display()));
        }
    }
    assert!(circles.is_empty(), "circles, or what leads to one:\n{}", circles.join("\n"));
}

#[test]
fn the_scan_sees_brace_groups() {
    let text =
        "use crate::{hpa::{A, B}, sim::C, units};\nlet x = crate::engine::Y; // crate::cli::Z";
    let named: Vec<String> = named_modules(text, "crate::").into_iter().collect();
    assert_eq!(named, ["engine", "hpa", "sim", "units"]);
    let text = "use super::near;\nuse super::super::far::A;";
    assert!(named_modules(text, "super::").contains("near"));
    assert!(!named_modules(text, "super::").contains("far"));
    assert!(named_modules(text, "super::super::").contains("far"));
}
