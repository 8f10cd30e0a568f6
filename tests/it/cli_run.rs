//! `hpasim run` from outside.

use crate::cli_support::{Scratch, TINY};

#[test]
fn a_run_writes_its_tables() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let ended = scratch
        .hpasim(&["run", "tiny.toml", "--case", "c000", "--requests", "-o", "run"])
        .expect(0);
    let names: Vec<String> = scratch.files("run").into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "decisions.csv",
            "events.csv",
            "explain.jsonl",
            "nodes.csv",
            "pods.csv",
            "requests.csv",
            "summary.json",
            "timeline.csv"
        ]
    );
    assert!(ended.stdout.contains("requests:  "), "{}", ended.stdout);
    assert!(ended.stdout.contains("start-up:  "), "{}", ended.stdout);
    assert!(
        ended.stdout.contains(" -> ") && ended.stdout.contains("above target"),
        "more than eight requests run at a time: {}",
        ended.stdout
    );
    // Every arrived request has a row (promise 4).
    let summary: serde_json::Value =
        serde_json::from_str(&scratch.read("run/summary.json")).unwrap();
    let arrived = summary["replications"][0]["requests"]["arrived"].as_u64().unwrap();
    let rows = scratch.read("run/requests.csv").lines().count() as u64 - 1;
    assert_eq!(arrived, rows);
    let start_up = &summary["replications"][0]["start_up"];
    assert!(start_up["pods"].as_u64() >= Some(1), "{start_up}");
    assert!(start_up["mean"]["load_s"].as_f64() > Some(1.0), "{start_up}");
    // One reconcile every 15 s or a little more for 30 minutes.
    let decisions = scratch.read("run/decisions.csv").lines().count() - 1;
    assert!((110..=120).contains(&decisions), "{decisions} reconciles");
    let pods = scratch.read("run/pods.csv");
    assert!(pods.contains(",InService,"), "{pods}");
    let timeline = scratch.read("run/timeline.csv");
    assert!(timeline.starts_with("t_s,series,value\n"), "{timeline}");
    assert!(timeline.contains(",replicas_ready,"));
}

#[test]
fn further_replications_have_folders() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let args = ["run", "tiny.toml", "--case", "c000", "-r", "2", "-o"];
    for (jobs, folder) in [("1", "one"), ("2", "two")] {
        let mut all = args.to_vec();
        all.extend([folder, "-j", jobs]);
        scratch.hpasim(&all).expect(0);
    }
    assert!(scratch.exists("one/replication-1/timeline.csv"));
    assert_ne!(
        scratch.read("one/timeline.csv"),
        scratch.read("one/replication-1/timeline.csv"),
        "another replication is another day"
    );
    assert!(scratch.files("one") == scratch.files("two"), "--jobs 2 differs from --jobs 1");
}

#[test]
fn an_unknown_case_is_named() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let ended = scratch.hpasim(&["run", "tiny.toml", "--case", "c9"]).expect(2);
    assert!(ended.stderr.contains("no case `c9`: the sweep has c000 to c002"), "{}", ended.stderr);
    assert!(!scratch.exists("out"));
}

#[test]
fn watch_shows_what_kubectl_would_have_shown() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let shown = scratch.hpasim(&["run", "tiny.toml", "--case", "c000", "--watch"]).expect(0).stdout;
    let (hpa, pods) = shown.split_once("\n\n").expect("two tables");
    let header: Vec<&str> = hpa.lines().next().unwrap().split_whitespace().collect();
    let columns = ["TIME", "NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"];
    assert_eq!(header, columns);
    assert!(hpa.lines().any(|line| line.contains("<unknown>/")), "{hpa}");
    let replicas = |line: &str| line.split_whitespace().nth(6).map(str::to_owned);
    assert!(hpa.lines().any(|line| replicas(line).as_deref() == Some("3")), "{hpa}");
    for status in ["Pending", "ContainerCreating", "Running"] {
        assert!(pods.contains(status), "{status}: {pods}");
    }
    assert!(pods.contains("   1/1     Running "), "{pods}");
}

#[test]
fn a_composed_profile_says_so_everywhere() {
    let scratch = Scratch::new();
    let text = TINY.replace("\"l4-llama-3.1-8b\"", "\"l4-llama-3-8b\"");
    assert_ne!(text, TINY);
    scratch.write("tiny.toml", &text);
    let ended = scratch.hpasim(&["run", "tiny.toml", "--case", "c000", "-o", "run"]).expect(0);
    for said in [&ended.stdout, &ended.stderr, &scratch.read("run/summary.json")] {
        assert!(said.contains("this pair is unmeasured; state 15 %"), "{said}");
    }
    scratch.write("tiny.toml", &text.replace("l4-llama-3-8b", "l4-lama-3-8b"));
    let ended = scratch.hpasim(&["run", "tiny.toml", "--case", "c000", "-o", "none"]).expect(2);
    assert!(ended.stderr.contains("did you mean `l4-llama-3-8b`?"), "{}", ended.stderr);
    assert!(!scratch.exists("none"));
}
