//! The scheduler against recordings of the real one: 62 files, 61,553 calls of `schedule()`, made by
//! vLLM 0.33.0 with a model runner that returns one token per request. Every key of every line is compared,
//! block ids included where they were recorded.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests read their own data files"
)]

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use hpasim::verify::engine::{EngineReplay, replay};

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine");
    let mut files: Vec<PathBuf> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "gz"));
    files.sort();
    files
}

fn text_of(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn replay_file(path: &Path) -> EngineReplay {
    replay(BufReader::new(GzDecoder::new(File::open(path).unwrap()))).unwrap()
}

#[test]
fn every_recorded_decision_is_reproduced() {
    let mut steps = 0;
    let mut wrong = Vec::new();
    for path in recordings() {
        let report = replay_file(&path);
        steps += report.steps;
        if report.mismatches > 0 {
            wrong.push(format!(
                "{}: {} of {} lines\n{}",
                report.name,
                report.mismatches,
                report.steps,
                report.first.join("\n")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(steps, 61_553, "the recordings are complete");
}

/// The comparison itself can fail: a changed number anywhere is found.
#[test]
fn a_forged_recording_is_caught() {
    let path = &recordings()[0];
    let text = text_of(path);
    let forged = text.replacen("\"b\":[1,0,190]", "\"b\":[1,0,189]", 1);
    assert_ne!(text, forged);
    let report = replay(Cursor::new(forged)).unwrap();
    assert_eq!(report.mismatches, 1, "{report:?}");
    assert!(report.first[0].contains("189"));
}

#[test]
fn a_recording_cut_short_is_caught() {
    let text = text_of(&recordings()[0]);
    let cut: String = text.lines().take(40).flat_map(|l| [l, "\n"]).collect();
    assert_eq!(replay(Cursor::new(cut)).unwrap().mismatches, 1);
}

#[test]
fn what_is_not_a_recording_is_refused_with_its_line() {
    for (text, line) in [("", 1), ("{}", 1), ("{\"kind\":\"header\"", 1), ("not json", 1)] {
        assert_eq!(replay(Cursor::new(text)).unwrap_err().line, line, "{text}");
    }
    let text = text_of(&recordings()[0]);
    let head = text.lines().next().unwrap();
    let bad = format!("{head}\n{{\"t\":0,\"zz\":1}}\n");
    let error = replay(Cursor::new(bad)).unwrap_err();
    assert_eq!(error.line, 2);
    assert!(error.to_string().contains("zz"), "{error}");
    let old = head.replace("\"vllm\":\"0.33.0\"", "\"vllm\":\"0.8.5\"");
    assert!(replay(Cursor::new(old)).unwrap_err().to_string().contains("0.8.5"));
}

/// Recordings next to the checkout, if there are any beyond the copied ones.
#[test]
fn shared_recordings_are_reproduced() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/vllm_scheduler_vectors");
    let Ok(entries) = folder.read_dir() else {
        println!("skipped: no {}", folder.display());
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "gz") {
            let report = replay_file(&path);
            assert_eq!(report.mismatches, 0, "{report:?}");
        }
    }
}
