//! `hpasim sweep` from outside: files, exit codes, determinism, resuming.

use crate::cli_support::{Scratch, TINY};

fn swept(args: &[&str]) -> (Scratch, crate::cli_support::Ended) {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let mut all = vec!["sweep", "tiny.toml"];
    all.extend(args);
    let ended = scratch.hpasim(&all);
    (scratch, ended)
}

#[test]
fn a_recommendation_is_written_and_printed() {
    let (scratch, ended) = swept(&[]);
    let ended = ended.expect(0);
    let names: Vec<String> = scratch.files("out/tiny").into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "cases.csv",
            "charts/pareto.svg",
            "charts/surface-num_requests_running-cost_usd.svg",
            "charts/surface-num_requests_running-slo_attainment.svg",
            "charts/timeline-recommended.svg",
            "charts/timeline-worst.svg",
            "recommended/hpa.yaml",
            "recommended/kustomization.yaml",
            "recommended/podmonitoring.yaml",
            "report.html",
            "runs.csv",
            "summary.json",
            "units.jsonl",
        ]
    );
    assert!(ended.stdout.starts_with("workload: "), "{}", ended.stdout);
    assert!(ended.stdout.contains("\nrecommended: c"), "{}", ended.stdout);
    assert!(ended.stderr.contains("written to out/tiny: cases.csv"), "{}", ended.stderr);
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ended.stdout);

    let cases = scratch.read("out/tiny/cases.csv");
    assert!(cases.starts_with("case_id,metric,target,requests_total,"), "{cases}");
    assert_eq!(cases.lines().count(), 4);
    assert_eq!(scratch.read("out/tiny/runs.csv").lines().count(), 7);
    assert_eq!(scratch.read("out/tiny/units.jsonl").lines().count(), 6);
    let summary: serde_json::Value =
        serde_json::from_str(&scratch.read("out/tiny/summary.json")).unwrap();
    assert_eq!(summary["provenance"]["command"], "hpasim sweep tiny.toml");
    assert_eq!(summary["provenance"]["seed"], 7);
    assert_eq!(summary["units_done"], 6);
    let total = &summary["recommended"]["measures"]["requests_total"]["mean"];
    assert!(total.as_f64().unwrap() > 2000.0, "1.5 requests/s for 29 minutes: {total}");
}

/// The manifest holds the recommended target under the adapter's metric name.
#[test]
fn the_manifest_is_the_recommended_case() {
    let (scratch, ended) = swept(&[]);
    ended.expect(0);
    let summary: serde_json::Value =
        serde_json::from_str(&scratch.read("out/tiny/summary.json")).unwrap();
    let target = summary["recommended"]["knobs"]["target"].as_str().unwrap().to_owned();
    let text = scratch.read("out/tiny/recommended/hpa.yaml");
    let header: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    assert!(header.iter().any(|line| line.contains("SLO attainment")), "{text}");
    assert!(header.iter().any(|line| line.contains("blake3:")), "{text}");
    let read = hpasim::manifest::read(&text).expect("kubectl's own form");
    let metric = &read.hpas[0].spec.metrics[0];
    assert_eq!(metric.metric_name(), "prometheus.googleapis.com|vllm:num_requests_running|gauge");
    let value = metric.target().and_then(|t| t.average_value.clone()).unwrap();
    assert_eq!(value.canonical(), target);
    assert_eq!(read.hpas[0].spec.max_replicas, 4);
}

/// Promise 3: byte-identical files for any number of jobs, and for two runs.
#[test]
fn jobs_do_not_change_a_byte() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    for (jobs, folder) in [("1", "one"), ("2", "two"), ("2", "again")] {
        scratch.hpasim(&["sweep", "tiny.toml", "-q", "-j", jobs, "-o", folder]).expect(0);
    }
    let one = scratch.files("one");
    assert_eq!(one.len(), 13, "charts and page included");
    assert!(one == scratch.files("two"), "--jobs 2 differs from --jobs 1");
    assert!(one == scratch.files("again"), "two runs differ");
}

/// An interrupted sweep goes on where it was and ends with the same bytes; a torn line is run again.
#[test]
fn resume_gives_the_same_bytes() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    scratch.hpasim(&["sweep", "tiny.toml", "-q", "-o", "whole"]).expect(0);
    let log = scratch.read("whole/units.jsonl");
    let kept: Vec<&str> = log.split_inclusive('\n').take(2).collect();
    let torn = &log.lines().nth(2).unwrap()[..40];
    std::fs::create_dir(scratch.path().join("part")).unwrap();
    scratch.write("part/units.jsonl", &format!("{}{torn}", kept.concat()));
    let ended = scratch.hpasim(&["sweep", "tiny.toml", "-o", "part", "--resume"]).expect(0);
    assert!(ended.stderr.contains("2 units are known"), "{}", ended.stderr);
    assert!(scratch.files("whole") == scratch.files("part"));
    // Another seed makes other units: nothing of the log is used.
    let ended =
        scratch.hpasim(&["sweep", "tiny.toml", "-o", "part", "--resume", "--seed", "8"]).expect(0);
    assert!(!ended.stderr.contains("units are known"), "{}", ended.stderr);
}

/// Warnings about cases are shown up to a limit, and never cost the sweep a case.
#[test]
fn many_warnings_leave_the_grid_whole() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let axis = "sweep.axes=[{key=\"hpa.max_replicas\",values={from=90,to=130,step=1}}]";
    let wide = ["check", "tiny.toml", "--set", "cluster.max_nodes=200", "--set", axis];
    let ended = scratch.hpasim(&wide).expect(0);
    assert!(ended.stdout.contains("with 123 cases x 2 replications"), "{}", ended.stdout);
    let warnings = ended.stderr.matches("would need the model's volume").count();
    assert_eq!(warnings, 20, "{}", ended.stderr);
    assert!(ended.stderr.contains("more cases have warnings; the first 20"), "{}", ended.stderr);
}

/// A log of a machine shows that a long sweep lives.
#[test]
fn a_verbose_sweep_tells_of_every_unit() {
    let (_scratch, ended) = swept(&["-v"]);
    let ended = ended.expect(0);
    let told = ended.stderr.lines().filter(|line| line.contains(", replication ")).count();
    assert_eq!(told, 6, "{}", ended.stderr);
    assert!(ended.stderr.contains("c002, replication 1: "), "{}", ended.stderr);
}

#[test]
fn no_case_within_the_slo_is_code_one() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    scratch.hpasim(&["sweep", "tiny.toml", "-q"]).expect(0);
    assert!(scratch.exists("out/tiny/recommended/hpa.yaml"));
    let strict = ["sweep", "tiny.toml", "--set", "slo.ttft=\"1ms\"", "--set", "slo.attainment=1.0"];
    let ended = scratch.hpasim(&strict).expect(1);
    assert!(ended.stdout.contains("no case meets the SLO"), "{}", ended.stdout);
    assert!(scratch.exists("out/tiny/cases.csv"));
    assert!(!scratch.exists("out/tiny/recommended/hpa.yaml"), "the old recommendation is stale");
}

#[test]
fn the_present_hpa_is_compared() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    scratch.write(
        "now.yaml",
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: now\nspec:\n  \
         minReplicas: 4\n  maxReplicas: 4\n  scaleTargetRef:\n    apiVersion: apps/v1\n    \
         kind: Deployment\n    name: vllm\n  metrics:\n  - type: Pods\n    pods:\n      metric:\n        \
         name: prometheus.googleapis.com|vllm:num_requests_running|gauge\n      target:\n        \
         type: AverageValue\n        averageValue: 10\n",
    );
    let ended = scratch.hpasim(&["sweep", "tiny.toml", "--current", "now.yaml"]).expect(0);
    assert!(ended.stdout.contains("than the present HPA"), "{}", ended.stdout);
    assert!(ended.stdout.contains("= the present HPA"), "{}", ended.stdout);
    // What is recommended replaces it: applied beside it under another name, both would scale.
    let recommended = scratch.read("out/tiny/recommended/hpa.yaml");
    assert!(recommended.contains("metadata:\n  name: now\n"), "{recommended}");
    assert!(recommended.contains("kind: Deployment\n    name: vllm\n"), "{recommended}");
    let named = ["sweep", "tiny.toml", "--current", "now.yaml", "--set", "hpa.name=\"new\""];
    scratch.hpasim(&named).expect(0);
    let recommended = scratch.read("out/tiny/recommended/hpa.yaml");
    assert!(recommended.contains("metadata:\n  name: new\n"), "{recommended}");
}

/// A reader that goes away is no error.
#[cfg(unix)]
#[test]
fn a_broken_pipe_is_quiet() {
    use std::process::{Command, Stdio};
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let mut child = Command::new(env!("CARGO_BIN_EXE_hpasim"))
        .args(["sweep", "tiny.toml", "-q"])
        .current_dir(scratch.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

/// Promise 3: the merged parts are the whole sweep, byte for byte; a missing part is named.
#[test]
fn merged_shards_are_the_whole() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let sweep = ["sweep", "tiny.toml", "-q", "--set", "slo.ttft=\"8s\"", "--seed", "9"];
    let run = |extra: &[&str]| {
        let mut args = sweep.to_vec();
        args.extend(extra);
        scratch.hpasim(&args).expect(0)
    };
    run(&["-o", "whole"]);
    for (shard, folder) in [("1/3", "p1"), ("2/3", "p2"), ("3/3", "p3")] {
        let ended = run(&["-o", folder, "--shard", shard]);
        assert_eq!(ended.stdout, "", "a part has no recommendation");
    }
    scratch.hpasim(&["merge", "p3", "p1", "p2", "-q", "-o", "merged"]).expect(0);
    assert!(scratch.files("whole") == scratch.files("merged"));

    let ended = scratch.hpasim(&["merge", "p1", "p2", "-o", "lacking"]).expect(2);
    assert!(ended.stderr.contains("2 of 6 units are in none of the parts"), "{}", ended.stderr);
    let other = ["sweep", "tiny.toml", "-q", "--shard", "3/3", "-o", "other"];
    scratch.hpasim(&other).expect(0);
    let ended = scratch.hpasim(&["merge", "p1", "p2", "other", "-o", "mixed"]).expect(2);
    assert!(ended.stderr.contains("parts of different sweeps"), "{}", ended.stderr);
    scratch.write("tiny.toml", &TINY.replace("rate_rps = 1.5", "rate_rps = 1.6"));
    let ended = scratch.hpasim(&["merge", "p1", "p2", "p3", "-o", "changed"]).expect(2);
    assert!(ended.stderr.contains("has changed since"), "{}", ended.stderr);
    assert!(["lacking", "mixed", "changed"].iter().all(|folder| !scratch.exists(folder)));
}

/// The experiment that the README shows is complete: no error, no warning.
#[test]
fn the_readmes_experiment_is_complete() {
    let readme = include_str!("../../README.md");
    let block = readme.split_once("```toml\n").expect("an experiment").1;
    let scratch = Scratch::new();
    scratch.write("mine.toml", block.split_once("```").expect("its end").0);
    let ended = scratch.hpasim(&["check", "mine.toml"]).expect(0);
    assert_eq!(ended.stdout, "mine.toml: experiment with 5 cases x 5 replications\n");
    assert_eq!(ended.stderr, "");
}
