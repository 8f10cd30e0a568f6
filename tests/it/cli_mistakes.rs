//! What a new user gets wrong: the message says where, and what to do instead.

use crate::cli_support::{HPA, Scratch, TINY};

/// The command must end with code 2, print nothing as a result, and say all of `words`.
fn told(scratch: &Scratch, args: &[&str], words: &[&str]) -> String {
    let ended = scratch.hpasim(args).expect(2);
    assert_eq!(ended.stdout, "", "{args:?}");
    for part in words {
        assert!(ended.stderr.contains(part), "{args:?}: `{part}` is missing in\n{}", ended.stderr);
    }
    ended.stderr
}

fn scratch() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("tiny.toml", TINY);
    scratch.write("hpa.yaml", HPA);
    scratch.write("trace.csv", "arrival_s,prompt_tokens,output_tokens\n0.5,100,10\n");
    std::fs::create_dir(scratch.path().join("folder")).expect("writable");
    scratch
}

#[test]
fn two_files_from_standard_input() {
    let scratch = scratch();
    for (args, flags) in [
        (&["run", "-", "--hpa", "-"][..], "EXP.toml and --hpa"),
        (&["sweep", "-", "--current", "-"], "EXP.toml and --current"),
        (&["sweep", "tiny.toml", "--hpa", "-", "--current", "-"], "--hpa and --current"),
    ] {
        let ended = scratch.hpasim_reading(args, TINY).expect(2);
        let words = format!("`-` is given for {flags}: standard input can stand for one file only");
        assert!(ended.stderr.contains(&words), "{}", ended.stderr);
        assert_eq!((ended.stdout.as_str(), scratch.exists("out")), ("", false));
    }
}

#[test]
fn a_folder_instead_of_a_file() {
    let scratch = scratch();
    for args in [
        &["run", "folder"][..],
        &["sweep", "folder"],
        &["run", "tiny.toml", "--hpa", "folder"],
        &["sweep", "tiny.toml", "--current", "folder"],
        &["check", "folder"],
        &["trace", "import", "folder"],
        &["trace", "stats", "folder"],
        &["trace", "generate", "folder"],
        &["backtest", "--hpa", "folder", "--metrics", "m.csv"],
        &["backtest", "--hpa", "hpa.yaml", "--metrics", "folder"],
        &["profile", "fit", "--gpu", "l4", "--model", "llama-3.1-8b", "folder"],
        &["profile", "check", "--benchmarks", "folder"],
    ] {
        let stderr = told(&scratch, args, &["`folder`: it is a folder; name a file in it"]);
        assert!(!stderr.contains("os error"), "{args:?}: {stderr}");
    }
}

/// A file of another kind has an error in every line: one is enough, with what to do with the file.
#[test]
fn another_kind_of_file_instead_of_an_experiment() {
    let scratch = scratch();
    for command in [&["run"][..], &["sweep"], &["export"], &["trace", "generate"]] {
        for (file, hint) in [
            ("hpa.yaml", "a manifest goes with `--hpa FILE`"),
            ("trace.csv", "a trace goes into it as `path` of `[workload.trace]`"),
        ] {
            let args = [command, &[file]].concat();
            let stderr = told(&scratch, &args, &[&format!("{file}:1:"), "a TOML file", hint]);
            assert_eq!(stderr.matches("error[").count(), 1, "{stderr}");
        }
    }
    scratch.write("broken.toml", "schema = 1\nname =\nduration =\n");
    let stderr = told(&scratch, &["run", "broken.toml"], &["broken.toml:2:", "broken.toml:3:"]);
    assert!(!stderr.contains("manifest"), "{stderr}");
}

/// The place is in the file, and nothing is said about metrics that nobody asked for.
#[test]
fn another_kind_of_file_instead_of_a_manifest() {
    let scratch = scratch();
    scratch.write("empty.yaml", "");
    for (file, place) in [
        ("tiny.toml", "tiny.toml:2:1"),
        ("trace.csv", "trace.csv:1:1"),
        ("empty.yaml", "empty.yaml:1"),
    ] {
        let words = [place, "a manifest is YAML or JSON with `apiVersion: autoscaling/v2`"];
        for args in [
            &["run", "tiny.toml", "--hpa", file][..],
            &["sweep", "tiny.toml", "--current", file],
            &["backtest", "--hpa", file, "--metrics", "trace.csv"],
        ] {
            let stderr = told(&scratch, args, &words);
            assert!(!stderr.contains("warning"), "{args:?}: {stderr}");
        }
    }
    // Relative to where the command runs, so the hint for paths in the experiment does not belong here.
    let stderr =
        told(&scratch, &["run", "tiny.toml", "--hpa", "no.yaml"], &["cannot read `no.yaml`"]);
    assert!(!stderr.contains("relative to the experiment"), "{stderr}");
    let set = ["run", "tiny.toml", "--set", "hpa.manifest=\"no.yaml\""];
    told(&scratch, &set, &["cannot read `no.yaml`", "paths are relative to the experiment file"]);
}

#[test]
fn a_file_that_is_no_recording() {
    let scratch = scratch();
    scratch.write("whole.json", "[\n  {\"name\": \"a\"},\n  {\"name\": \"b\"}\n]\n");
    scratch.write("object.json", "{\n  \"name\": \"a\"\n}\n");
    scratch.write("line.jsonl", "{\"what\": 1}\n");
    for kind in ["hpa", "engine"] {
        let of = |file, words: &[&str]| told(&scratch, &["verify", kind, file], words);
        let lines = "hint: a recording is JSON lines: ";
        of("whole.json", &["whole.json: line 1: ", lines, "one JSON array", "jq -c '.[]'"]);
        of("object.json", &["object.json: line 1: ", lines, "jq -c . FILE"]);
        of("hpa.yaml", &["hpa.yaml: line 1: ", lines]);
        assert!(!of("line.jsonl", &["line.jsonl: line 1: ", lines]).contains("jq"));
        of("folder", &["folder: no .jsonl or .jsonl.gz file in this folder"]);
    }
}

#[test]
fn a_case_that_is_not_there() {
    let scratch = scratch();
    let run = |case| ["run", "tiny.toml", "--case", case];
    told(&scratch, &run("c999"), &["no case `c999`: the sweep has c000 to c002"]);
    let one = TINY.split("[sweep]").next().expect("a file");
    scratch.write("one.toml", one);
    told(&scratch, &["run", "one.toml", "--case", "c001"], &["the file has no `[sweep]`"]);
    let ended = scratch.hpasim(&["sweep", "one.toml"]).expect(0);
    assert!(ended.stderr.contains("note: one case, nothing to choose from"), "{}", ended.stderr);
}

/// Both are told before the simulation, which would be for nothing.
#[test]
fn a_run_that_cannot_end_well() {
    let scratch = scratch();
    scratch.write("taken", "a file");
    for command in ["run", "sweep"] {
        let args = [command, "tiny.toml", "-o", "taken"];
        told(
            &scratch,
            &args,
            &["cannot write to `taken`: it is a file", "hint: `-o` names a folder"],
        );
        let args = [command, "tiny.toml", "-o", "taken/below"];
        told(&scratch, &args, &["cannot create the folder `taken/below`"]);
    }
    let late = ["run", "tiny.toml", "--scrape-at", "5m", "--scrape-at", "5h"];
    told(&scratch, &late, &["--scrape-at: the run of 30 min ends before 5 h"]);
    assert!(!scratch.exists("out"));
}

/// The folder of a sweep, of a run, and of neither, where another one is asked for.
#[test]
fn the_folder_of_another_command() {
    let scratch = scratch();
    scratch.hpasim(&["run", "tiny.toml", "-o", "run"]).expect(0);
    scratch.hpasim(&["sweep", "tiny.toml", "-o", "sweep"]).expect(0);
    let none = [
        "sweep",
        "tiny.toml",
        "-o",
        "none",
        "--set",
        "slo.ttft=1ms",
        "--set",
        "slo.attainment=1.0",
    ];
    scratch.hpasim(&none).expect(1);
    let stands = "hint: `hpasim export EXP.toml` writes the HPA of an experiment as it stands";
    told(
        &scratch,
        &["export", "run"],
        &["run/summary.json: no recommendation: this is the summary of a run", stands],
    );
    told(
        &scratch,
        &["export", "none"],
        &["none/summary.json: no recommendation: no case of this sweep", stands],
    );
    told(&scratch, &["export", "folder"], &["`folder` is not the directory of a finished sweep"]);
    let case = "hint: `hpasim run EXP.toml --case ID -o DIR`";
    told(&scratch, &["explain", "sweep"], &["`sweep` is the folder of a sweep", case]);
    told(&scratch, &["explain", "run/explain.jsonl"], &["is a file", "hint: name the folder"]);
    told(&scratch, &["explain", "tiny.toml"], &["`tiny.toml` is a file"]);
    told(
        &scratch,
        &["explain", "run", "--at", "noon"],
        &["a time is 2h15m, 02:15:00 or a number of seconds"],
    );
    told(
        &scratch,
        &["merge", "run"],
        &["`run` is no part of a sweep", "hint: `hpasim sweep EXP.toml --shard I/N"],
    );
}

/// `-o` of a command that writes one file names that file.
#[test]
fn the_schema_goes_where_it_is_sent() {
    let scratch = scratch();
    let ended = scratch.hpasim(&["schema", "-o", "experiment.schema.json"]).expect(0);
    assert_eq!(ended.stdout, "");
    let printed = scratch.hpasim(&["schema"]).expect(0).stdout;
    assert_eq!(scratch.read("experiment.schema.json"), printed);
    assert_eq!(scratch.hpasim(&["schema", "-o", "-"]).expect(0).stdout, printed);
    told(&scratch, &["schema", "-o", "folder"], &["cannot write `folder`"]);
}

#[test]
fn a_duration_without_a_unit() {
    let scratch = scratch();
    let args = ["backtest", "--hpa", "hpa.yaml", "--metrics", "trace.csv", "--startup", "2"];
    scratch.write("trace.csv", "t_s,vllm:num_requests_running\n0,1\n15,3\n");
    told(&scratch, &args, &["--startup `2`: `2` has no unit, as `2s` has"]);
    let set = ["run", "tiny.toml", "--set", "duration=15"];
    told(&scratch, &set, &["--set:1:10", "durations are strings with a unit"]);
}
