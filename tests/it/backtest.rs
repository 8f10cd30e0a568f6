//! The exact HPA on recorded histories of real clusters, where the shared data folder exists.

use crate::cli_support::Scratch;
use hpasim::backtest::{Setup, compare, parse, run};
use hpasim::manifest;
use std::fs;
use std::path::Path;

/// Per history: recorded steps, how many of them the middle and the upper end of the recorded start-up interval
/// reproduce, and the steps that the recording lacks. The departures are explained in docs/validation.md.
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
    let there = MEASURED.iter().filter(|known| {
        let found = folder.join(format!("records/{}.json", known.0)).exists();
        if !found {
            println!("skipped: {} is not among the histories", known.0);
        }
        found
    });
    let (there, mut seen) = (there.count(), 0);
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
        let known = MEASURED.iter().find(|m| m.0 == id);
        for startup_s in [low, f64::midpoint(low, high), high] {
            let setup = Setup {
                spec: &hpa.hpas[0].spec,
                metrics: &series,
                actual: Some(&series),
                metric_is: None,
                startup_s,
                kube_minor: 36,
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
            // The low end is where the second pod may not report yet: docs/validation.md.
            if let Some(known) = known.filter(|_| startup_s >= f64::midpoint(low, high)) {
                assert_eq!(
                    (found.steps.len(), hit, found.extra.len()),
                    (known.1, known.2, known.3)
                );
            }
        }
        seen += usize::from(known.is_some());
    }
    assert_eq!(seen, there);
}

const HPA: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: vllm}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm}
  minReplicas: 1
  maxReplicas: 6
  metrics:
  - type: Pods
    pods:
      metric: {name: 'prometheus.googleapis.com|vllm:num_requests_waiting|gauge'}
      target: {type: AverageValue, averageValue: '2'}
";

/// Two pods: both wait at 9 until 60 s, the first at 0 from then on; the second is missing from 60 s to 90 s.
fn answer() -> String {
    let series = |pod: &str, values: &[(u32, &str)]| {
        let values: Vec<String> = values.iter().map(|(t, v)| format!("[{t},\"{v}\"]")).collect();
        let name = "vllm:num_requests_waiting";
        let values = values.join(",");
        format!(
            "{{\"metric\":{{\"__name__\":\"{name}\",\"pod\":\"{pod}\"}},\"values\":[{values}]}}"
        )
    };
    let a =
        series("a", &[(0, "9"), (15, "9"), (30, "9"), (45, "9"), (60, "0"), (75, "0"), (90, "0")]);
    let b = series("b", &[(0, "9"), (15, "9"), (30, "9"), (45, "9"), (90, "0")]);
    format!(
        "{{\"status\":\"success\",\"data\":{{\"resultType\":\"matrix\",\"result\":[{a},{b}]}}}}"
    )
}

#[test]
fn backtest_command_reads_a_prometheus_answer_and_writes_its_files() {
    let scratch = Scratch::new();
    scratch.write("hpa.yaml", HPA);
    scratch.write("metrics.json", &answer());
    scratch.write("actual.csv", "t_s,replicas_current,replicas_desired\n0,2,2\n30,2,4\n45,4,4\n");
    let base =
        ["backtest", "--hpa", "hpa.yaml", "--metrics", "metrics.json", "--actual", "actual.csv"];
    let run = |more: &[&str]| {
        let args: Vec<&str> = base.iter().chain(more).copied().collect();
        scratch.hpasim(&args)
    };
    // 9 against 2 with two pods: nine wanted, the legacy limit for a step is four.
    let told = run(&["--metric-is", "as-seen", "--explain", "-o", "out"]).expect(0).stdout;
    assert!(told.contains("0     2     4  pods metric"), "{told}");
    assert!(told.contains("at most twice the replicas or four, 4 replicas"), "{told}");
    assert!(told.contains("recorded steps reproduced within 30 s: 1 of 1"), "{told}");
    assert!(told.contains("open loop"), "{told}");
    let decisions = scratch.read("out/decisions.csv");
    let rows: Vec<Vec<String>> = csv::Reader::from_reader(decisions.as_bytes())
        .records()
        .map(|r| r.unwrap().iter().map(str::to_owned).collect())
        .collect();
    let column = |row: usize, i: usize| rows[row][i].as_str();
    assert_eq!(rows.len(), 7, "{decisions}");
    // The second pod's hole is no sample: the average is that of the first alone.
    assert_eq!([column(3, 4), column(4, 4)], ["9", "0"]);
    assert!(scratch.read("out/timeline.csv").contains("45,replicas_recorded,4\n"));
    // A raw gauge comes later: nothing is known at the first sync.
    let gauge = run(&["--metric-is", "gauge", "-o", "late"]).expect(0).stdout;
    assert!(gauge.contains("          15  "), "{gauge}");
    // Another bound, a range of start-up times, and what is refused.
    let other = run(&["--metric-is", "as-seen", "--set", "hpa.max_replicas=3"]).expect(0).stdout;
    assert!(other.contains("0     2     3  pods metric"), "{other}");
    let range = run(&["--startup", "60s..240s"]).expect(0).stdout;
    assert_eq!(range.matches("start-up time").count(), 3, "{range}");
    for bad in [
        ["--startup", "9s..1s"],
        ["--startup", "60"],
        ["--set", "hpa.max_replica=3"],
        ["--resolution", "x"],
    ] {
        let ended = run(&bad).expect(2);
        assert!(ended.stdout.is_empty() && !ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
    // The cache gauge is found under either of its names.
    scratch.write("hpa.yaml", &HPA.replace("num_requests_waiting", "kv_cache_usage_perc"));
    scratch
        .write("metrics.json", &answer().replace("num_requests_waiting", "gpu_cache_usage_perc"));
    let told = run(&["--metric-is", "as-seen"]).expect(0).stdout;
    assert!(told.contains("0     2     4  pods metric"), "{told}");
    scratch.write("hpa.yaml", HPA);
    scratch.write("metrics.json", "t_s,other\n0,1\n");
    let ended = run(&[]).expect(2);
    assert!(ended.stderr.contains("the series found are: other"), "{}", ended.stderr);
}
