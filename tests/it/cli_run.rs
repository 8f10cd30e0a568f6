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

/// `docs/outputs.md` says what every file, column, series and stage is.
#[test]
fn every_column_is_explained() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    scratch.hpasim(&["sweep", "tiny.toml", "-o", "sweep"]).expect(0);
    let run = ["run", "tiny.toml", "--case", "c000", "--requests", "-o", "run"];
    scratch.hpasim(&run).expect(0);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/outputs.md");
    let page = std::fs::read_to_string(page).expect("docs/outputs.md");
    let mut wrong = Vec::new();
    let mut expect = |word: &str| {
        if !page.contains(&format!("`{word}`")) {
            wrong.push(word.to_owned());
        }
    };
    for (name, bytes) in scratch.files("run") {
        expect(&name);
        let text = String::from_utf8(bytes).unwrap();
        let header = text.lines().next().filter(|_| !name.contains(".json"));
        for column in header.into_iter().flat_map(|header| header.split(',')) {
            let of_metric = column.strip_prefix("vllm:num_requests_running.");
            match (of_metric, column.strip_suffix("_reason")) {
                (Some(part), _) => expect(&format!("NAME.{part}")),
                (None, Some(condition)) if column != "rescale_reason" => expect(condition),
                _ => expect(column),
            }
        }
    }
    for series in scratch.read("run/timeline.csv").lines().skip(1) {
        let series = series.split(',').nth(1).unwrap();
        expect(if series.starts_with("metric_avg:") { "metric_avg:NAME" } else { series });
    }
    for stage in hpasim::cluster::PodStage::ALL {
        expect(stage.as_str());
    }
    for stage in hpasim::cluster::NodeStage::ALL {
        expect(stage.as_str());
    }
    for (name, _) in scratch.files("sweep").iter().filter(|(name, _)| !name.contains('/')) {
        expect(name);
    }
    assert!(wrong.is_empty(), "docs/outputs.md does not say what these are: {wrong:?}");
    // The measures word for word, so that code and page cannot drift apart.
    let measures = hpasim::sim::Measures::COLUMNS.iter().zip(hpasim::sim::Measures::DOCS);
    for (column, doc) in measures {
        let doc = doc.trim().replace("\\[", "[").replace("\\]", "]");
        let row = format!("| `{column}` | {doc} |");
        assert!(page.contains(&row), "docs/outputs.md lacks: {row}");
    }
}

/// A file whose metrics come from its sweep alone stands for the first case, and says so; what ran is shown.
#[test]
fn the_hpa_that_ran_is_shown() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let ended = scratch.hpasim(&["run", "tiny.toml"]).expect(0);
    assert!(ended.stderr.contains("this is c000, the first case of `[sweep]`"), "{}", ended.stderr);
    let first = scratch.hpasim(&["run", "tiny.toml", "--case", "c000"]).expect(0);
    assert!(!first.stderr.contains("note:"), "{}", first.stderr);
    assert_eq!(first.stdout, ended.stdout);
    let line = "HPA:       1 to 4 replicas, vllm:num_requests_running at ";
    assert!(ended.stdout.contains(line), "{}", ended.stdout);
    let other = scratch.hpasim(&["run", "tiny.toml", "--case", "c001"]).expect(0);
    let of = |text: &str| text.lines().find(|l| l.starts_with("HPA:")).map(str::to_owned);
    assert_ne!(of(&other.stdout), of(&first.stdout));
}

/// Requests that no connection was free for are not lost from the account.
#[test]
fn requests_that_never_left_their_client_are_told() {
    let scratch = Scratch::new();
    let capped =
        TINY.replace("[workload.poisson]", "[workload]\nmax_connections = 1\n[workload.poisson]");
    assert_ne!(capped, TINY);
    scratch.write("tiny.toml", &capped);
    let ended = scratch.hpasim(&["run", "tiny.toml", "-o", "run"]).expect(0);
    let summary: serde_json::Value =
        serde_json::from_str(&scratch.read("run/summary.json")).unwrap();
    let account = &summary["replications"][0];
    let unsent = account["unsent"].as_u64().unwrap();
    let offered: u64 = ended.stdout.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(unsent > 100, "{unsent}");
    assert_eq!(account["requests"]["arrived"].as_u64().unwrap() + unsent, offered);
    let told = format!("; {unsent} more never left their client");
    assert!(ended.stdout.contains(&told), "{}", ended.stdout);
    let swept = scratch.hpasim(&["sweep", "tiny.toml", "--set", "slo.attainment=0.01"]).expect(0);
    assert!(swept.stderr.contains("never left their client"), "{}", swept.stderr);
}
