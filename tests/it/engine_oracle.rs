//! The scheduler against recordings of the real one: 62 files, 61,553 calls of `schedule()`, made by
//! vLLM 0.33.0 with a model runner that returns one token per request, and 29 small ones of 0.33.0 and 0.11.0
//! under random flags. Every key of every line is compared, block ids included where they were recorded.

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
    recordings_in("tests/data/engine")
}

fn recordings_in(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
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

/// Small random loads under random flags, through the schedulers of both releases: the combinations of
/// policy, asynchronous scheduling, caching, gates and chunks that the families leave out, and all that is
/// recorded of 0.11.0 (victims that stay in the batch, prompts passed over without chunked prefill).
#[test]
fn random_recordings_of_both_releases_are_reproduced() {
    let (mut steps, mut old) = (0, 0);
    for path in recordings_in("tests/data/engine_random") {
        let report = replay_file(&path);
        assert_eq!(report.mismatches, 0, "{}: {}", report.name, report.first.join("\n"));
        steps += report.steps;
        old += if report.name.starts_with("0.11") { report.steps } else { 0 };
    }
    assert_eq!((steps, old), (3_108, 1_397), "the recordings are complete");
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

/// Flags that a recording leaves out have vLLM's defaults, and a pool that no machine has is refused.
#[test]
fn absent_flags_have_their_defaults() {
    let text = text_of(&recordings()[0]);
    let edit = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        replay(Cursor::new(text.replacen(from, to, 1)))
    };
    for default in [
        "\"block_size\":16,",
        "\"enable_chunked_prefill\":true,",
        "\"policy\":\"fcfs\",",
        "\"long_prefill_token_threshold\":0,",
        "\"scheduler_reserve_full_isl\":true,",
        "\"watermark\":0.0,",
        "\"prefill_schedule_interval\":1,",
        "\"async_scheduling\":true,",
        ",\"arrival_time\":0",
    ] {
        let report = edit(default, "").unwrap();
        assert_eq!(report.mismatches, 0, "without {default}");
    }
    for (from, to, word) in [
        ("\"num_gpu_blocks\":", "\"num_gpu_blocks\":4000000", "num_gpu_blocks"),
        ("\"max_num_seqs\":", "\"max_num_seqs\":99", "max_num_seqs"),
        ("\"arrival_step\":", "\"arrival_step\":99999999999999999", "arrival_step"),
        ("\"max_tokens\":", "\"max_tokens\":0,\"was\":", "max_tokens"),
    ] {
        let error = edit(from, to).unwrap_err();
        assert_eq!(error.line, 1);
        assert!(error.to_string().contains(word), "{error}");
    }
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
