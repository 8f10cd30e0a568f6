//! Replays of the real controller: every recorded reconcile of Kubernetes 1.36.2 and 1.32.13 must come
//! out the same.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};

use flate2::read::GzDecoder;
use hpasim::verify::hpa::{HpaReplay, replay};
use serde_json::{Value, json};

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

/// A recording of one reconcile of two replicas, decided by hand from the controller's rules.
fn by_hand(minor: u32, metric: &Value, reading: &Value, desired: i32, current: &str) -> Value {
    let scaled = desired != 2;
    let able = if scaled { "SucceededRescale" } else { "ReadyForNewScale" };
    let mut step = json!({
        "t_get_ms": 15_000, "t_decide_ms": 15_025, "spec": 2, "status": 2,
        "pods": [["a", "Running", true, false], ["b", "Running", true, false]],
        "metrics": [reading], "desired": desired, "current": [current],
        "conditions": {
            "AbleToScale": ["True", able],
            "ScalingActive": ["True", "ValidMetricFound"],
            "ScalingLimited": ["False", "DesiredWithinRange"],
        },
    });
    if scaled {
        step["t_scaled_ms"] = json!(15_028);
        step["scaled_to"] = json!(desired);
    }
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "vllm"});
    json!({
        "name": "by hand", "k8s_minor": minor,
        "controller": {"downscale_stabilization_s": 0},
        "hpa_spec_defaulted": {
            "scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10, "metrics": [metric],
        },
        "steps": [step],
    })
}

fn assert_as_by_hand(recording: &Value) {
    let found = replay_text(&recording.to_string());
    assert_eq!((found.steps, found.mismatches), (1, 0), "{}", found.first.concat());
}

fn pods_metric() -> Value {
    json!({"type": "Pods", "pods": {
        "metric": {"name": "vllm:num_requests_running"},
        "target": {"type": "AverageValue", "averageValue": "10"},
    }})
}

/// At a ratio of exactly 1 a plain average took missing pods for idle before 1.28; utilisation never did.
// Source: kubernetes pull request 117845.
#[test]
fn at_the_target_a_missing_pod_counts_only_in_plain_averages_before_1_28() {
    let utilization = json!({"type": "Resource", "resource": {
        "name": "memory", "target": {"type": "Utilization", "averageUtilization": 50},
    }});
    let half = json!({"pods": {"a": 500}, "requests": {"a": 1000, "b": 1000}});
    let full = json!({"pods": {"a": 10_000}});
    for (minor, desired) in [(25, 1), (27, 1), (28, 2), (36, 2)] {
        assert_as_by_hand(&by_hand(minor, &pods_metric(), &full, desired, "10"));
        assert_as_by_hand(&by_hand(minor, &utilization, &half, 2, "500m"));
    }
}

/// What a recording does not say is as the release has it: flags, and the gate of `tolerance`, on since 1.35.
#[test]
fn absent_flags_and_gates_have_the_defaults_of_the_release() {
    let reading = json!({"pods": {"a": 10_500, "b": 10_500}});
    for (minor, desired) in [(32, 2), (34, 2), (35, 3), (36, 3)] {
        let mut recording = by_hand(minor, &pods_metric(), &reading, desired, "10500m");
        recording["hpa_spec_defaulted"]["behavior"] = json!({"scaleUp": {"tolerance": "0"}});
        recording.as_object_mut().unwrap().remove("controller");
        assert_as_by_hand(&recording);
        recording["features"] = json!({"HPAScaleToZero": false});
        assert_as_by_hand(&recording);
    }
}

#[test]
fn steps_that_cannot_be_are_refused() {
    let reading = json!({"pods": {"a": 10_000, "b": 10_000}});
    let good = by_hand(36, &pods_metric(), &reading, 2, "10");
    assert_as_by_hand(&good);
    for (field, value, words) in [
        ("t_decide_ms", json!(1), "not in order"),
        ("t_get_ms", json!(-1), "not in order"),
        ("t_decide_ms", json!(1e300), "not in order"),
        ("pods", json!([["a", "Running", true, false], ["a", "Pending", false, false]]), "`a`"),
    ] {
        let mut bad = good.clone();
        bad["steps"][0][field] = value;
        let error = replay(Cursor::new(bad.to_string())).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
