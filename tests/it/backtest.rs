//! The exact HPA on recorded histories of real clusters, where the shared data folder exists.

use hpasim::backtest::{Setup, compare, parse, run};
use hpasim::manifest;
use std::fs;
use std::path::Path;

/// Per history: recorded steps, the most of them that a start-up time of the recorded interval reproduces, and
/// the fewest steps that the recording lacks at that time. The departures are explained in docs/validation.md.
const MEASURED: [(&str, usize, usize, usize); 5] = [
    ("h100-llama8b-hpa-flat", 0, 0, 0),
    ("h100-llama8b-hpa-moderate", 10, 10, 0),
    ("h100-llama8b-hpa-smooth", 2, 2, 0),
    ("h100-llmd-hpa-external-15s", 1, 1, 0),
    ("h100-qwen06b-hpa-steps", 18, 18, 0),
];

/// How late the recording may show a change \[s\], where it is not a poll: the plot of the replicas.
// Source: the history's own record ("a plot resolution of about 60 s for the replica panel").
const RESOLUTION: [(&str, f64); 1] = [("h100-qwen06b-hpa-steps", 60.0)];

#[test]
fn backtest_recorded_histories() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/autoscaling_histories");
    if !folder.is_dir() {
        println!("skipped: {} does not exist", folder.display());
        return;
    }
    let mut records: Vec<_> =
        fs::read_dir(folder.join("records")).unwrap().map(|e| e.unwrap().path()).collect();
    records.sort();
    let mut seen = 0;
    for path in records {
        let record: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let id = path.file_stem().unwrap().to_string_lossy().into_owned();
        let uses = record["uses"].as_array().is_some_and(|u| u.iter().any(|u| u == "backtest"));
        let manifest_path = folder.join(format!("manifests/{id}.yaml"));
        if !uses || !manifest_path.exists() {
            continue;
        }
        let hpa = manifest::read(&fs::read_to_string(manifest_path).unwrap()).unwrap();
        let text = fs::read_to_string(folder.join(format!("series/{id}.csv"))).unwrap();
        let series = parse(&text).unwrap();
        let resolution_s = RESOLUTION.iter().find(|r| r.0 == id).map_or(0.0, |r| r.1);
        let bounds = record["startup"]["estimate_s"].as_array();
        let bound = |i: usize| bounds.map_or(120.0, |b| b[i].as_f64().unwrap());
        let (low, high) = (bound(0), bound(1));
        let (mut best_hit, mut best_extra) = (0, usize::MAX);
        for startup_s in [low, f64::midpoint(low, high), high] {
            let setup = Setup {
                spec: &hpa.hpas[0].spec,
                metrics: &series,
                actual: Some(&series),
                metric_is: None,
                startup_s,
            };
            let rows = run(&setup).unwrap();
            let found = compare(&rows, &series, resolution_s).unwrap();
            let hit = found.reproduced();
            println!(
                "{id} startup {startup_s}: agreement {:.3}, steps {hit}/{} ({} followed), extra {}",
                found.agreement,
                found.steps.len(),
                found.followed(),
                found.extra.len()
            );
            for step in found.steps.iter().filter(|s| !s.reproduced) {
                println!("    not reproduced: {} to {} at {}", step.from, step.to, step.t_s);
            }
            for (t, to) in &found.extra {
                println!("    extra: to {to} at {t}");
            }
            if hit > best_hit || (hit == best_hit && found.extra.len() < best_extra) {
                (best_hit, best_extra) = (hit, found.extra.len());
            }
            if let Some(known) = MEASURED.iter().find(|m| m.0 == id) {
                assert_eq!(found.steps.len(), known.1, "{id}");
            }
        }
        if let Some(known) = MEASURED.iter().find(|m| m.0 == id) {
            seen += 1;
            assert!(best_hit >= known.2, "{id}: {best_hit} steps");
            assert!(best_extra <= known.3, "{id}: {best_extra} extra");
        }
    }
    assert_eq!(seen, MEASURED.len());
}
