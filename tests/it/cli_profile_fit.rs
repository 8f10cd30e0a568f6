//! `profile fit` and `profile check --requests` as commands.

use crate::calibrate_fit::{COMMANDS, bench, equal, truth};
use crate::cli_support::{Scratch, TINY};

/// The files of the documented benchmarks, measured on a server whose coefficients are known.
fn benchmarks(scratch: &Scratch) -> Vec<String> {
    let mut names = Vec::new();
    for (k, (users, prompt, output, count)) in COMMANDS.into_iter().enumerate() {
        let text = bench(&truth(), users, &equal(prompt, output, count), true, &|_| 1.0);
        let name = format!("bench-{k:02}.json");
        scratch.write(&name, &text);
        names.push(name);
    }
    names
}

fn fit<'a>(files: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["profile", "fit"];
    args.extend(files.iter().map(String::as_str));
    args.extend(["--gpu", "a100-80", "--model", "meta-llama/Llama-3.1-8B-Instruct"]);
    args.extend(["--max-num-batched-tokens", "2048"]);
    args.extend_from_slice(more);
    args
}

/// The value of a coefficient in a profile file.
fn value(profile: &str, name: &str) -> f64 {
    let line = profile.lines().find(|l| l.starts_with(name)).unwrap();
    let text = line.split("value = ").nth(1).unwrap();
    text.split([',', ' ']).next().unwrap().parse().unwrap()
}

#[test]
fn a_fitted_profile_is_used_at_once() {
    let scratch = Scratch::new();
    let files = benchmarks(&scratch);
    let ended = scratch.hpasim(&fit(&files, &["-o", "mine.toml"])).expect(0);
    println!("{}", ended.stdout);
    for part in ["m_ms", "fitted", "left out", "whole runs", "kept: one model cannot tell it"] {
        assert!(ended.stdout.contains(part), "{part} is not in\n{}", ended.stdout);
    }
    assert!(ended.stderr.contains("written to mine.toml"), "{}", ended.stderr);
    let profile = scratch.read("mine.toml");
    let c = truth();
    for (name, known) in [
        ("m_ms", c.step.m_ms),
        ("c_ms_per_token", c.step.c_ms_per_token),
        ("c_kv_us", c.step.c_kv_us),
        ("c_att_1e6_ms", c.step.c_att_1e6_ms),
        ("ingest_ms", c.ingest_ms),
    ] {
        let got = value(&profile, name);
        assert!((got / known - 1.0).abs() < 0.02, "{name}: {got} for {known}");
        let line = profile.lines().find(|l| l.starts_with(name)).unwrap();
        assert!(line.contains("status = \"fitted\""), "{line}");
    }
    for part in ["bench-00.json (vllm bench serve, 20261124-120000", "1 to 128 sequences", "0.33"] {
        assert!(profile.contains(part), "{part} is not in\n{profile}");
    }
    let shown = scratch.hpasim(&["profile", "show", "mine.toml"]).expect(0);
    assert!(shown.stdout.contains("mine: llama-3.1-8b"), "{}", shown.stdout);
    scratch.write("tiny.toml", TINY);
    let set = "model.profile=mine.toml";
    scratch.hpasim(&["run", "tiny.toml", "--set", set, "-o", "out", "-q"]).expect(0);
}

#[test]
fn the_profile_goes_where_it_is_told() {
    let scratch = Scratch::new();
    let files = benchmarks(&scratch);
    let ended = scratch.hpasim(&fit(&files, &[])).expect(0);
    assert!(ended.stderr.contains("nothing is written"), "{}", ended.stderr);
    scratch.hpasim(&fit(&files, &["-o", "models", "--name", "ours"])).expect(0);
    assert!(scratch.read("models/ours.toml").contains("name = \"ours\""));
    let ended = scratch.hpasim(&fit(&files, &["-o", "-"])).expect(0);
    assert!(ended.stdout.starts_with("# Fitted by `hpasim profile fit`"), "{}", ended.stdout);
    // A coefficient that is not asked for stays.
    let keep = scratch.hpasim(&fit(&files, &["--keep", "c_att_1e6_ms"])).expect(0);
    assert!(keep.stdout.contains("kept: not asked for"), "{}", keep.stdout);
}

#[test]
fn an_open_loop_that_is_far_off_is_told() {
    let scratch = Scratch::new();
    let mut files = benchmarks(&scratch);
    let text = bench(&truth(), 8, &equal(512, 128, 200), true, &|_| 1.0);
    // The same run, said to be an open loop at a rate that the server cannot reach.
    let mut open: serde_json::Value = serde_json::from_str(&text).unwrap();
    open["request_rate"] = 5.0.into();
    open["max_concurrency"] = serde_json::Value::Null;
    scratch.write("open.json", &open.to_string());
    files.push("open.json".to_owned());
    let near = scratch.hpasim(&fit(&files, &[])).expect(0);
    assert!(near.stdout.contains("held out"), "{}", near.stdout);
    open["duration"] = (open["duration"].as_f64().unwrap() * 1.5).into();
    scratch.write("open.json", &open.to_string());
    let far = scratch.hpasim(&fit(&files, &["-o", "mine.toml"])).expect(1);
    assert!(far.stderr.contains("more than 10 %"), "{}", far.stderr);
    assert!(scratch.exists("mine.toml"));
}

#[test]
fn bad_files_are_all_named_and_nothing_is_written() {
    let scratch = Scratch::new();
    let good = benchmarks(&scratch);
    scratch.write("half.json", "{\"duration\": 1.0,\n \"completed\": ");
    scratch.write("bare.json", "{\"completed\": 3, \"duration\": \"long\"}");
    scratch.write("failed.json", &{
        let text = scratch.read(&good[0]);
        text.replace("\"completed\":10", "\"completed\":0")
    });
    scratch.write(
        "long.json",
        &scratch.read(&good[0]).replace("\"duration\":", "\"duration\":9999999"),
    );
    scratch.write("steps.csv", "kind,n_decode,measured_ms\ndecode_step,4,x\n");
    scratch.write("trace.csv", "input_tokens,output_tokens,arrival_s\n1,2,3\n");
    scratch.write("prom.json", "{\"status\": \"error\", \"error\": \"parse error\"}");
    scratch.write("text.txt", "nothing of the kind\n");
    let names = ["half.json", "bare.json", "failed.json", "steps.csv", "trace.csv", "prom.json"];
    let mut files: Vec<String> = names.map(str::to_owned).to_vec();
    files.extend(["text.txt", "absent.json", "long.json"].map(str::to_owned));
    files.push(good[0].clone());
    let ended = scratch.hpasim(&fit(&files, &["-o", "mine.toml"])).expect(2);
    for part in [
        "half.json: line 2: is not JSON",
        "bare.json: has no `total_input_tokens`",
        "bare.json: `duration` is \"long\", not a number",
        "failed.json: no request was answered",
        "steps.csv: line 1: there is no column `prefill_tokens`",
        "steps.csv: line 2: `measured_ms` is `x`, not a number",
        "trace.csv: line 1: there is no column `last_token_s`",
        "prom.json: Prometheus answered with an error: parse error",
        "text.txt: ",
        "long.json: the run takes more than 90 days",
        "cannot read `absent.json`: No such file",
    ] {
        assert!(ended.stderr.contains(part), "{part} is not in\n{}", ended.stderr);
    }
    assert!(!scratch.exists("mine.toml"));
}

#[test]
fn wrong_uses_are_refused() {
    let scratch = Scratch::new();
    scratch.write("b.json", &bench(&truth(), 1, &equal(128, 16, 2), true, &|_| 1.0));
    for (args, part) in [
        (vec!["b.json"], "--gpu"),
        (vec!["b.json", "--gpu", "l44", "--model", "qwen3-8b"], "no constants of GPU `l44`"),
        (vec!["b.json", "--gpu", "l4", "--model", "other"], "no shape of model `other`"),
        (vec!["b.json", "--base", "nowhere"], "there is no profile `nowhere`"),
        (vec!["b.json", "--base", "l4-qwen3-8b", "--keep", "x"], "`x` is none of"),
        (vec!["b.json", "--base", "l4-qwen3-8b", "--vllm-version", "1"], "as in 0.19"),
        (vec!["--gpu", "l4", "--model", "qwen3-8b"], "FILE"),
    ] {
        let mut all = vec!["profile", "fit"];
        all.extend(args);
        let ended = scratch.hpasim(&all).expect(2);
        assert!(ended.stderr.contains(part), "{part} is not in\n{}", ended.stderr);
    }
}

#[test]
fn benchmarks_of_another_model_are_told() {
    let scratch = Scratch::new();
    let files = benchmarks(&scratch);
    let ended = scratch.hpasim(&fit(&files, &[])).expect(0);
    assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
    let other = scratch.read(&files[0]).replace("Llama-3.1-8B-Instruct", "Llama-3.1-70B-Instruct");
    scratch.write(&files[0], &other);
    let ended = scratch.hpasim(&fit(&files, &[])).expect(0);
    for part in ["(llama-3.1-70b), not of llama-3.1-8b", "several models are fitted as one"] {
        assert!(ended.stderr.contains(part), "{part} is not in\n{}", ended.stderr);
    }
}

/// `l4` begins the name of another GPU.
#[test]
fn steps_of_another_gpu_are_not_taken() {
    let scratch = Scratch::new();
    let rows = |gpu: &str| {
        let row = |n: u32| format!("decode_step,{gpu},{n},1000,0,0,{}\n", 60.0 + f64::from(n));
        let rows: String = (1..20).map(row).collect();
        format!("kind,gpu,n_decode,decode_ctx,prefill_tokens,prefill_len,measured_ms\n{rows}")
    };
    let args = ["profile", "fit", "steps.csv", "--gpu", "l4", "--model", "llama-3.1-8b"];
    scratch.write("steps.csv", &rows("L40S"));
    let ended = scratch.hpasim(&args).expect(2);
    assert!(
        ended.stderr.contains("(the file has L40S); choose with --steps-gpu"),
        "{}",
        ended.stderr
    );
    scratch.write("steps.csv", &rows("NVIDIA L4"));
    scratch.hpasim(&args).expect(0);
}

/// One file often holds both number formats of one GPU and model; the mean of the two is neither.
#[test]
fn steps_of_another_number_format_are_not_taken() {
    let scratch = Scratch::new();
    let mut text = String::from("kind,gpu,dtype,n_decode,decode_ctx,prefill_tokens,measured_ms\n");
    for n in 1..8 {
        let n = f64::from(n);
        text.push_str(&format!("decode_step,L4,bf16,{n},500,0,{}\n", 62.0 + 0.4 * n));
        text.push_str(&format!("decode_step,L4,fp8 (online),{n},500,0,{}\n", 36.0 + 0.3 * n));
        text.push_str(&format!("decode_step,L4,awq,{n},500,0,{}\n", 20.0 + 0.3 * n));
    }
    scratch.write("steps.csv", &text);
    let args = ["profile", "fit", "steps.csv", "--gpu", "l4", "--model", "llama-3.1-8b"];
    for (dtype, m_ms) in [("bf16", 60.9), ("fp8", 34.9)] {
        let ended =
            scratch.hpasim(&[&args[..], &["--dtype", dtype, "-o", "mine.toml"]].concat()).expect(0);
        assert!(ended.stderr.contains("7 of 21 rows are of this server"), "{}", ended.stderr);
        let got = value(&scratch.read("mine.toml"), "m_ms");
        assert!((got / m_ms - 1.0).abs() < 0.02, "{dtype}: {got} for {m_ms}");
    }
    scratch.write("steps.csv", &text.replace("fp8 (online)", "int8"));
    let ended = scratch.hpasim(&[&args[..], &["--dtype", "fp8"]].concat()).expect(2);
    assert!(ended.stderr.contains("no row of llama-3.1-8b in fp8"), "{}", ended.stderr);
}

#[test]
fn a_trace_is_replayed_and_compared() {
    let scratch = Scratch::new();
    // Far apart, so that each request has the server to itself: 60 ms and 17 ms per token, about an L4's.
    let mut text = String::from(
        "input_tokens,output_tokens,arrival_s,queued_s,scheduled_s,first_token_s,last_token_s\n",
    );
    for i in 0..5 {
        let at = f64::from(i) * 30.0;
        text.push_str(&format!("100,101,{at},{at},{at},{},{}\n", at + 0.1, at + 6.4));
    }
    scratch.write("trace.csv", &text);
    let mut args = vec!["profile", "check", "--requests", "trace.csv"];
    args.extend(["--profile", "l4-llama-3.1-8b", "--max-num-seqs", "16", "--kv-tokens", "32000"]);
    let ended = scratch.hpasim(&args).expect(0);
    for part in ["5 requests on l4-llama-3.1-8b", "mean TTFT, s", "makespan, s", "63.000"] {
        assert!(ended.stdout.contains(part), "{part} is not in\n{}", ended.stdout);
    }
    args[5] = "rtx4090-llama-3.1-8b";
    scratch.hpasim(&args).expect(0);
    scratch.hpasim(&["profile", "check", "--requests", "trace.csv"]).expect(2);
    scratch.write("rows.csv", "id\n");
    let mixed = ["profile", "check", "--benchmarks", "rows.csv", "--max-num-seqs", "4"];
    scratch.hpasim(&mixed).expect(2);
}
