//! Habits that no compiler checks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files that may be longer than [`MAX_LINES`], with the reason.
const LONG: &[(&str, &str)] = &[];
const MAX_LINES: usize = 700;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable folder") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&root().join("src"), "rs", &mut found);
    let relative =
        |path: &Path| path.strip_prefix(root()).expect("below the root").display().to_string();
    found.iter().map(|p| (relative(p), fs::read_to_string(p).expect("utf-8 source"))).collect()
}

#[test]
fn lines_and_files_stay_readable() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (i, line) in text.lines().enumerate() {
            // Texts for people may run on.
            if line.chars().count() > 120 && !line.contains('"') {
                wrong.push(format!("{path}:{}: longer than 120 columns", i + 1));
            }
            if line.contains(concat!("FIX", "ME")) {
                wrong.push(format!("{path}:{}: unfinished", i + 1));
            }
        }
        let lines = text.lines().count();
        if lines > MAX_LINES && !LONG.iter().any(|(long, _)| path == *long) {
            wrong.push(format!("{path}: {lines} lines; split by duty"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every estimate is listed in `docs/model.md`, and every listed one acts somewhere. One tag, one estimate.
#[test]
fn estimates_are_listed() {
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for rest in text.split("ASSUMPTION(A").skip(1) {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            if digits.is_empty() {
                continue;
            }
            let tag = format!("A{digits}");
            if let Some(other) = tags.insert(tag.clone(), path.clone())
                && other != path
            {
                wrong.push(format!("{tag} stands in {other} and {path}"));
            }
        }
    }
    let page = fs::read_to_string(root().join("docs/model.md")).expect("model page");
    let table = page.split("## Estimates in force").nth(1).expect("the table");
    let listed: Vec<String> = table
        .lines()
        .filter(|line| line.starts_with("| A"))
        .flat_map(|line| line.split('|').nth(1).unwrap_or_default().split(','))
        .map(|tag| tag.trim().to_owned())
        .collect();
    wrong.extend(tags.keys().filter(|t| !listed.contains(t)).map(|t| format!("{t} is not listed")));
    wrong.extend(
        listed.iter().filter(|t| !tags.contains_key(*t)).map(|t| format!("{t} acts nowhere")),
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_profile_states_its_sources() {
    let mut found = Vec::new();
    files(&root().join("models"), "toml", &mut found);
    for path in found {
        let text = fs::read_to_string(&path).expect("utf-8 profile");
        assert!(text.contains("source"), "{} names no source", path.display());
    }
}
