//! Bad input: code 2, file and line in the message, nothing written.

use crate::cli_support::{HPA, Scratch, TINY};

/// `TINY` with one replacement must fail with all of `expected` in the message.
fn fails(from: &str, to: &str, expected: &[&str]) {
    let scratch = Scratch::new();
    let text = TINY.replacen(from, to, 1);
    assert_ne!(text, TINY, "`{from}` occurs");
    scratch.write("bad.toml", &text);
    scratch.write("bad.csv", "arrival_s,prompt_tokens,output_tokens\n0.5,100,10\n1.5,many,10\n");
    for command in ["sweep", "run"] {
        let ended = scratch.hpasim(&[command, "bad.toml"]).expect(2);
        assert_eq!(ended.stdout, "", "results only on standard output");
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        for part in expected {
            assert!(ended.stderr.contains(part), "`{part}` is missing in\n{}", ended.stderr);
        }
        assert!(!scratch.exists("out"), "nothing is written");
    }
}

#[test]
fn an_unknown_key() {
    fails("max_replicas = 4", "max_replcas = 4", &["bad.toml:20", "max_replcas", "`max_replicas`"]);
}

#[test]
fn min_above_max() {
    fails("min_replicas = 1", "min_replicas = 9", &["bad.toml:", "min"]);
}

#[test]
fn a_bad_quantity() {
    fails("targets = [8, 24, 200]", "targets = [8, \"24x\"]", &["bad.toml:2", "24x"]);
}

#[test]
fn a_missing_trace() {
    fails(
        "[workload.poisson]\nrate_rps = 1.5\nprompt_tokens = 400\noutput_tokens = 150",
        "[workload.trace]\npath = \"nowhere.csv\"",
        &["bad.toml:", "nowhere.csv"],
    );
}

#[test]
fn a_malformed_trace_row() {
    fails(
        "[workload.poisson]\nrate_rps = 1.5\nprompt_tokens = 400\noutput_tokens = 150",
        "[workload.trace]\npath = \"bad.csv\"",
        &["bad.csv:3", "many"],
    );
}

#[test]
fn a_missing_file_and_a_bad_flag() {
    let scratch = Scratch::new();
    let ended = scratch.hpasim(&["sweep", "nowhere.toml"]).expect(2);
    assert!(ended.stderr.contains("nowhere.toml"), "{}", ended.stderr);
    let ended = scratch.hpasim(&["sweep", "--frobnicate"]).expect(2);
    assert!(ended.stderr.contains("--frobnicate"), "{}", ended.stderr);
    scratch.write("tiny.toml", TINY);
    let ended = scratch.hpasim(&["sweep", "tiny.toml", "--set", "hpa.max_replcas=3"]).expect(2);
    assert!(ended.stderr.contains("--set"), "{}", ended.stderr);
    assert!(scratch.hpasim(&["sweep", "tiny.toml", "-o", "-"]).code == 2);
    assert!(scratch.files("").iter().all(|(name, _)| name == "tiny.toml"));
}

/// A target that cannot be written to: code 2, a plain message, no traces of temporary files.
#[test]
fn an_unwritable_output() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    scratch.write("taken", "a file, not a folder");
    let ended = scratch.hpasim(&["sweep", "tiny.toml", "-o", "taken"]).expect(2);
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    assert_eq!(scratch.files("").len(), 2);
}

#[test]
fn help_and_version_are_results() {
    let scratch = Scratch::new();
    let ended = scratch.hpasim(&["--help"]).expect(0);
    assert!(ended.stdout.contains("sweep") && ended.stderr.is_empty());
    let ended = scratch.hpasim(&["--version"]).expect(0);
    assert_eq!(ended.stdout, format!("hpasim {}\n", env!("CARGO_PKG_VERSION")));
}

/// Colour only where it is wanted.
#[test]
fn colour_is_off_in_a_pipe_and_on_when_asked_for() {
    let scratch = Scratch::new();
    scratch.write("bad.toml", "schema = 2\n");
    let plain = scratch.hpasim(&["sweep", "bad.toml"]).expect(2);
    assert!(!plain.stderr.contains('\u{1b}'), "{:?}", plain.stderr);
    let coloured = scratch.hpasim(&["sweep", "bad.toml", "--color", "always"]).expect(2);
    assert!(coloured.stderr.contains('\u{1b}'), "{:?}", coloured.stderr);
}

/// A missing file is told in the same words by every command.
#[test]
fn a_missing_file_is_told_in_one_form() {
    let scratch = Scratch::new();
    scratch.write("hpa.yaml", HPA);
    for args in [
        &["sweep", "no.x"][..],
        &["run", "no.x"],
        &["check", "no.x"],
        &["verify", "hpa", "no.x"],
        &["verify", "engine", "no.x"],
        &["trace", "import", "no.x"],
        &["trace", "stats", "no.x"],
        &["backtest", "--hpa", "no.x", "--metrics", "m.csv"],
        &["backtest", "--hpa", "hpa.yaml", "--metrics", "no.x"],
        &["profile", "fit", "--gpu", "l4", "--model", "llama-3.1-8b", "no.x"],
        &["profile", "check", "--benchmarks", "no.x"],
        &["profile", "show", "./no.x"],
    ] {
        let ended = scratch.hpasim(args).expect(2);
        let told = ended.stderr.replace("`./no.x`", "`no.x`");
        assert!(told.contains("cannot read `no.x`: No such file"), "{args:?}: {told}");
        assert!(ended.stdout.is_empty(), "{args:?}: {}", ended.stdout);
    }
}

#[test]
fn a_negative_seed_is_told_what_a_seed_may_be() {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    let ended = scratch.hpasim(&["run", "tiny.toml", "--seed", "-1"]).expect(2);
    assert!(ended.stderr.contains("a seed is a number from 0 on, or any word"), "{}", ended.stderr);
}

/// A hint of `check` names no flag that `check` does not have.
#[test]
fn a_trace_with_other_columns_is_sent_to_the_import() {
    let scratch = Scratch::new();
    scratch.write("other.csv", "ts,in,out\n0,1,1\n");
    let ended = scratch.hpasim(&["check", "other.csv"]).expect(2);
    assert!(ended.stderr.contains("`hpasim trace import --map arrival=NAME`"), "{}", ended.stderr);
    let ended = scratch.hpasim(&["trace", "import", "other.csv"]).expect(2);
    assert!(ended.stderr.contains("trace import --map arrival=NAME`"), "{}", ended.stderr);
}

/// The second file would be empty: standard input gives its text once.
#[test]
fn standard_input_stands_for_one_file() {
    let scratch = Scratch::new();
    let args = ["backtest", "--hpa", "-", "--metrics", "-"];
    let ended = scratch.hpasim_reading(&args, HPA).expect(2);
    let words = "cannot read `-`: standard input can stand for one file only";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    let ended = scratch.hpasim_reading(&["check", "-", "-"], HPA).expect(2);
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
}
