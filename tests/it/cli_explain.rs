//! `hpasim explain` from outside.

use crate::cli_support::{Scratch, TINY};

/// A folder with a finished run of the case that scales up.
fn finished() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    run(&scratch, "run");
    scratch
}

fn run(scratch: &Scratch, folder: &str) -> String {
    let behavior = "hpa.behavior.scale_down.stabilization_window_seconds=240";
    let args = ["run", "tiny.toml", "--case", "c000", "--set", behavior, "-o", folder];
    scratch.hpasim(&args).expect(0).stdout
}

/// The cells of one column of a table.
fn column(table: &str, name: &str) -> Vec<String> {
    let mut lines = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let index = lines.next().unwrap().iter().position(|cell| *cell == name).unwrap();
    lines.map(|cells| cells[index].to_owned()).collect()
}

#[test]
fn every_scale_decision_is_explained() {
    let scratch = finished();
    let ended = scratch.hpasim(&["explain", "run"]).expect(0);
    let text = &ended.stdout;
    for words in [
        "    ratio       usage ",
        "    tolerance   ",
        "lies outside 0.9 to 1.1",
        "    proposal    ",
        "  window        scaleUp 0 s, lowest recommendation ",
        "; scaleDown 240 s, highest recommendation ",
        "  policy        scaleUp selectPolicy Max: ",
        " per 15 s from ",
        "  limit         min 1, max 4: ",
        "condition     ScalingActive True ValidMetricFound: the HPA was able to successfully",
        "event         Normal SuccessfulRescale: New size: ",
        "Normal TriggeredScaleUp pool/",
        "from sample to service, mean of ",
        "kept though ",
        "ScaleDownStabilized: recent recommendations were higher",
    ] {
        assert!(text.contains(words), "`{words}` is missing in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    assert_eq!(ended.stderr, "");
    // What is kept differs from what was proposed, and more is kept back by a limit only.
    for (at, _) in text.match_indices(" kept though ") {
        let number =
            |words: &str| words.parse::<u32>().unwrap_or_else(|_| panic!("{words}: {text}"));
        let before = text[..at].rsplit(' ').nth(1).map_or(0, number);
        let told = &text[at + " kept though ".len()..];
        let proposed = told.split(' ').next().map_or(0, number);
        let by_limit = told.split_whitespace().take(8).any(|word| word == "TooManyReplicas:");
        assert_ne!(before, proposed, "{text}");
        assert_eq!(proposed > before, by_limit, "{text}");
    }
    // As many decisions as rows with a scale write.
    let decisions = scratch.read("run/decisions.csv");
    let writes = column(&decisions, "scale_to").iter().filter(|cell| !cell.is_empty()).count();
    assert!(text.starts_with(&format!("{writes} scale decision")), "{text}");
    assert_eq!(text.matches(" s later, scale written after ").count(), writes);
}

#[test]
fn a_time_picks_a_decision_and_its_replicas() {
    let scratch = finished();
    let decisions = scratch.read("run/decisions.csv");
    let times = column(&decisions, "t_s");
    let to = column(&decisions, "scale_to");
    let first = to.iter().position(|cell| !cell.is_empty()).unwrap();
    let exactly = scratch.hpasim(&["explain", "run", "--at", &times[first]]).expect(0).stdout;
    assert!(exactly.contains(&format!("1 -> {} replicas: pods metric", to[first])), "{exactly}");
    assert!(exactly.contains("from its oldest sample at "), "{exactly}");
    // The bars of a waterfall, one line per link.
    for link in ["metric_age", "autoscaler", "node", "image", "load", "init", "probe", "endpoint"] {
        assert!(exactly.contains(&format!("\n  {link:<11} ")), "{exactly}");
    }
    assert_eq!(exactly.matches("scale written after").count(), 1);
    // Just before it nothing had scaled: the reconcile is told in words.
    let before = scratch.hpasim(&["explain", "run", "--at", &times[first - 1]]).expect(0).stdout;
    assert!(before.contains("1 replica kept") && before.contains("no scale decision"), "{before}");
    // The end of the run, as a duration.
    let last = scratch.hpasim(&["explain", "run", "--at", "30m"]).expect(0).stdout;
    assert!(last.contains("scale decision") || last.contains("scale written after"), "{last}");
}

/// The budget that `explain` computes from the files is the one that the run computed from its record.
#[test]
fn files_and_record_give_the_same_means() {
    let scratch = finished();
    let told = scratch.hpasim(&["explain", "run"]).expect(0).stdout;
    let ran = run(&scratch, "again");
    let tail = |text: &str| {
        let at = text.find("start-up:  ").unwrap();
        let lines = text[at..].lines().take(3).map(|line| line.trim().to_owned());
        lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(tail(&told), tail(&ran));
    assert!(tail(&told).join(" ").contains("endpoint "), "{told}");
}

#[test]
fn what_is_not_a_finished_run_is_refused() {
    let scratch = finished();
    let refused = |args: &[&str], words: &str| {
        let ended = scratch.hpasim(args).expect(2);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert!(ended.stdout.is_empty() && !ended.stderr.contains("panicked"), "{}", ended.stderr);
    };
    refused(&["explain", "nowhere"], "cannot read `nowhere`: No such file");
    refused(&["explain", "."], "is not the folder of a finished run");
    refused(&["explain", "run", "--at", "soon"], "--at");
    refused(&["explain", "run", "--at", "0s"], "no reconcile");
    scratch.write("run/explain.jsonl", "{\"t_s\": 1}\n");
    refused(&["explain", "run"], "line 1: ");
    scratch.write("run/explain.jsonl", "");
    scratch.write("run/pods.csv", "t_s,pod,stage,node\n5,pod-0,Sleeping,\n");
    refused(&["explain", "run"], "pods.csv:2: `Sleeping`");
}

/// A hold at the start of a run is not said to come after something.
#[test]
fn what_comes_before_the_first_decision_is_told_so() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let args = ["run", "tiny.toml", "--case", "c002", "--set", "hpa.start_replicas=2", "-o", "run"];
    scratch.hpasim(&args).expect(0);
    let told = scratch.hpasim(&["explain", "run"]).expect(0).stdout;
    let at = |words: &str| told.find(words).unwrap_or_else(|| panic!("`{words}` in\n{told}"));
    assert!(at("before the first decision\n") < at("2 replicas kept though 1 proposed"), "{told}");
    assert!(at("2 replicas kept though 1 proposed") < at("2 -> 1 replicas: "), "{told}");
}
