//! Replays of the real controller: every recorded reconcile of Kubernetes 1.36.2 and 1.32.13 must come
//! out the same.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};

use flate2::read::GzDecoder;
use hpasim::verify::hpa::{HpaReplay, replay};

fn recording(minor: u32) -> impl BufRead {
    let path =
        format!("{}/tests/data/hpa/hpa_traces_1.{minor}.jsonl.gz", env!("CARGO_MANIFEST_DIR"));
    BufReader::new(GzDecoder::new(File::open(path).expect("the recording is part of the project")))
}

fn assert_replays(minor: u32, scenarios: u64, steps: u64) {
    let found = replay(recording(minor)).unwrap();
    assert_eq!(found.mismatches, 0, "{}", found.first.concat());
    assert_eq!((found.scenarios, found.steps), (scenarios, steps));
}

#[test]
fn every_reconcile_of_1_36_is_reproduced() {
    assert_replays(36, 100, 8_703);
}

#[test]
fn every_reconcile_of_1_32_is_reproduced() {
    assert_replays(32, 88, 8_189);
}

fn text(minor: u32) -> String {
    let mut text = String::new();
    recording(minor).read_to_string(&mut text).unwrap();
    text
}

fn replay_text(text: &str) -> HpaReplay {
    replay(Cursor::new(text)).unwrap()
}

/// The comparison sees a change in each of the values it claims to compare.
#[test]
fn a_changed_recording_is_a_mismatch() {
    let text = text(36);
    let scenario = text.lines().find(|l| l.contains("\"name\":\"legacy_burst\"")).unwrap();
    assert_eq!(replay_text(scenario).mismatches, 0);
    for (from, to) in [
        ("\"scaled_to\":4,", "\"scaled_to\":5,"),
        ("\"desired\":4,", "\"desired\":3,"),
        ("\"ScalingLimited\":[\"True\",", "\"ScalingLimited\":[\"False\","),
        ("\"ScaleUpLimit\"", "\"TooManyReplicas\""),
        ("\"current\":[\"50\"]", "\"current\":[\"51\"]"),
        ("\"pods\":{\"p001\":50000}", "\"pods\":{\"p001\":49999}"),
    ] {
        assert!(scenario.contains(from), "{from}");
        let found = replay_text(&scenario.replacen(from, to, 1));
        assert!(found.mismatches > 0, "{from} -> {to} went unnoticed");
        assert!(!found.first.is_empty());
    }
}

/// The two releases differ at a ratio of exactly 1.1, so the recordings cannot be swapped.
#[test]
fn the_recorded_minor_decides_which_rules_apply() {
    let text = text(32);
    let scenario =
        text.lines().find(|l| l.contains("\"name\":\"tolerance_edge_11_of_10\"")).unwrap();
    assert_eq!(replay_text(scenario).mismatches, 0);
    let swapped = scenario.replacen("\"k8s_minor\":32", "\"k8s_minor\":33", 1);
    assert!(replay_text(&swapped).mismatches > 0);
}

#[test]
fn broken_recordings_name_their_line() {
    for (text, line) in [("", 1), ("{\"_header\":{}}\n{\"name\":\"x\"}", 2), ("{\n", 1)] {
        assert_eq!(replay(Cursor::new(text)).unwrap_err().line, line, "{text:?}");
    }
}
