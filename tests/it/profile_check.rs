//! `profile check`: reading, figures, reasons, exit codes, and what the real file gives where it is at hand.

use crate::cli_support::Scratch;
use std::path::PathBuf;

const HEADER: &str = "id,source,gpu,n_replicas,model,tp,dtype,engine_version,max_num_seqs,prefix_cache,workload,\
    input_len_mean,output_len_mean,len_dist,arrival,request_rate,concurrency,num_prompts,req_per_s,out_tok_per_s,\
    ttft_mean_ms,ttft_p50_ms,tpot_mean_ms,itl_mean_ms,notes";

/// One row of the file; `(column, value)` pairs replace the defaults.
fn row(changes: &[(&str, &str)]) -> String {
    let cell = |name: &str| {
        let given = changes.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        given.unwrap_or(match name {
            "id" => "r1",
            "gpu" => "A100-40",
            "model" => "qwen3-8b",
            "n_replicas" | "tp" | "req_per_s" | "tpot_mean_ms" | "ttft_mean_ms" => "1",
            "dtype" => "bf16",
            "engine_version" => "0.30.0",
            "workload" => "random",
            "input_len_mean" => "1000.0",
            "output_len_mean" => "201.0",
            "len_dist" => "fixed",
            "arrival" => "closed_loop",
            "concurrency" => "1.0",
            "num_prompts" => "4.0",
            _ => "",
        })
    };
    HEADER.split(',').map(|name| format!("\"{}\"", cell(name.trim()))).collect::<Vec<_>>().join(",")
}

fn file(rows: &[String]) -> String {
    format!("{}\n{}\n", HEADER.replace(' ', ""), rows.join("\n"))
}

/// Simulated figures by (row, figure), from what `--output` wrote.
fn simulated(scratch: &Scratch, id: &str, figure: &str) -> f64 {
    let text = scratch.read("figures.csv");
    let line = text
        .lines()
        .find(|l| l.starts_with(&format!("{id},")) && l.contains(&format!(",{figure},")))
        .unwrap_or_else(|| panic!("no {figure} of {id} in\n{text}"));
    line.split(',').nth(5).unwrap().parse().unwrap()
}

fn check(scratch: &Scratch, more: &[&str]) -> crate::cli_support::Ended {
    let mut args = vec!["profile", "check", "--benchmarks", "rows.csv", "-o", "figures.csv"];
    args.extend(more);
    scratch.hpasim(&args)
}

#[test]
fn one_user_is_computed_by_hand() {
    let scratch = Scratch::new();
    scratch.write("rows.csv", &file(&[row(&[])]));
    let ended = check(&scratch, &[]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // A100-40, Qwen3-8B, asynchronous scheduling: no host part. 200 decode steps, of contexts 1000 to 1199.
    let (t0, m, c, p, seq, kv, att) = (0.9, 12.3039, 0.06945, 1.4, 0.012, 105.326e-6, 3.93216e-6);
    let g = |tokens: f64| (f64::powf(m, p) + f64::powf(c * tokens, p)).powf(1.0 / p);
    let tpot = t0 + g(1.0) + seq + kv * 1099.5;
    let got = simulated(&scratch, "r1", "tpot_mean_ms");
    assert!((got / tpot - 1.0).abs() < 2e-3, "{got} {tpot}");
    // 15.6 ms before the engine, one step of 1000 tokens, 0.78 ms after it.
    let ttft = 15.6 + t0 + g(1000.0) + att * 1000.0 * 1000.0 / 2.0 + 0.78;
    let got = simulated(&scratch, "r1", "ttft_mean_ms");
    assert!((got / ttft - 1.0).abs() < 2e-3, "{got} {ttft}");
    let rate = 1e3 / (ttft - 0.78 + 200.0 * tpot);
    let got = simulated(&scratch, "r1", "req_per_s");
    assert!((got / rate - 1.0).abs() < 2e-3, "{got} {rate}");
    assert!(ended.stdout.contains("A100-40"), "{}", ended.stdout);
}

#[test]
fn a_file_made_by_the_simulator_has_no_error_and_a_changed_one_has() {
    let scratch = Scratch::new();
    let kinds: [&[(&str, &str)]; 4] = [
        &[
            ("id", "users"),
            ("gpu", "L4"),
            ("model", "qwen2.5-7b"),
            ("concurrency", "8"),
            ("num_prompts", "32"),
        ],
        &[
            ("id", "burst"),
            ("gpu", "H100-80"),
            ("arrival", "all_at_once"),
            ("concurrency", ""),
            ("num_prompts", "50"),
        ],
        &[
            ("id", "open"),
            ("arrival", "poisson"),
            ("request_rate", "1"),
            ("concurrency", ""),
            ("num_prompts", "40"),
        ],
        &[
            ("id", "tail"),
            ("gpu", "A100-80"),
            ("model", "llama-3.1-8b"),
            ("len_dist", "heavy_tail"),
        ],
    ];
    scratch.write("rows.csv", &file(&kinds.map(row)));
    assert_eq!(check(&scratch, &["-j", "1"]).code, 0);
    let measured = |scale: f64| -> Vec<String> {
        let of = |id: &str, figure: &str| simulated(&scratch, id, figure).to_string();
        kinds
            .iter()
            .map(|changes| {
                let id = changes[0].1;
                let tpot = (simulated(&scratch, id, "tpot_mean_ms") / scale).to_string();
                let (rate, ttft) = (of(id, "req_per_s"), of(id, "ttft_mean_ms"));
                let mut changes = changes.to_vec();
                changes.extend([
                    ("req_per_s", rate.as_str()),
                    ("ttft_mean_ms", ttft.as_str()),
                    ("tpot_mean_ms", tpot.as_str()),
                ]);
                row(&changes)
            })
            .collect()
    };
    let (same, slower) = (measured(1.0), measured(1.1));
    let limits = ["--fail-on", "tpot=5%,throughput=5%,ttft=12%"];
    scratch.write("rows.csv", &file(&same));
    let ended = check(&scratch, &limits);
    assert_eq!(ended.code, 0, "{}\n{}", ended.stdout, ended.stderr);
    let last: Vec<&str> = ended.stdout.trim_end().lines().rev().take(4).collect();
    assert!(
        last.iter().all(|line| line.contains("0.0 % (1)") || line.contains("0.0 % (2)")),
        "{last:?}"
    );
    // The open loop is not: its throughput is the rate that was offered.
    let open: Vec<&str> = ended.stdout.lines().filter(|l| l.starts_with("A100-40 ")).collect();
    assert!(open.len() == 1 && open[0].split_whitespace().nth(4) == Some("-"), "{open:?}");
    // The burst is saturated: its TTFT does not count.
    assert!(last.iter().any(|l| l.starts_with("H100-80") && l.contains(" - ")), "{last:?}");
    scratch.write("rows.csv", &file(&slower));
    let ended = check(&scratch, &limits);
    assert_eq!(ended.code, 1, "{}", ended.stdout);
    assert!(
        ended.stderr.contains("L4: median tpot error 10.0 % of 1 rows exceeds 5.0 %"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("throughput"), "{}", ended.stderr);
}

#[test]
fn the_result_does_not_depend_on_jobs() {
    let scratch = Scratch::new();
    let rows: Vec<String> = ["1", "2", "4"]
        .iter()
        .map(|n| {
            row(&[("id", n), ("len_dist", "heavy_tail"), ("concurrency", n), ("num_prompts", "12")])
        })
        .collect();
    scratch.write("rows.csv", &file(&rows));
    let (one, two) = (check(&scratch, &["-j", "1"]), check(&scratch, &["-j", "2"]));
    assert_eq!(one.stdout, two.stdout);
    assert_ne!(one.stdout, check(&scratch, &["--seed", "7"]).stdout);
}

#[test]
fn rows_that_cannot_be_modelled_say_why() {
    let scratch = Scratch::new();
    let open = [("arrival", "constant_rate"), ("concurrency", "")];
    let cases: [(&[(&str, &str)], &str); 12] = [
        (&[("n_replicas", "8")], "several replicas"),
        (&[("model", "llama-3.2-11b-vision")], "vision model"),
        (&[("model", "gpt-9")], "model not modelled: gpt-9"),
        (&[("gpu", "TPUv9")], "GPU not known: TPUv9"),
        (&[("dtype", "fp8")], "number format not modelled: NVIDIA A100 40 GB has no fp8"),
        (&[("engine_version", "0.6.2")], "engine not modelled: `0.6.2`, the V0 engine"),
        (&[("prefix_cache", "on, ~64% shared prefix")], "64 % of the prompt tokens"),
        (
            &[("workload", "shared_prefix 128"), ("prefix_cache", "on")],
            "which the row does not state",
        ),
        (
            &[("notes", "1000 clients: host/front-end limited on A100")],
            "limited by client or front end",
        ),
        (&[("arrival", "sometimes")], "unknown arrival process: `sometimes`"),
        (&open, "load not stated: request_rate"),
        (&[("model", "qwen3-32b")], "does not fit"),
    ];
    let rows: Vec<String> = cases
        .iter()
        .enumerate()
        .map(|(i, (changes, _))| {
            let id = format!("case{i}");
            let mut changes = changes.to_vec();
            changes.push(("id", &id));
            row(&changes)
        })
        .collect();
    // The same words about another GPU, and a cache that hardly ever hits, leave a row in.
    let kept = [
        row(&[("id", "kept1"), ("notes", "front-end limited on H100")]),
        row(&[("id", "kept2"), ("prefix_cache", "on (<=0.9% hits)")]),
        row(&[("id", "kept3"), ("workload", "shared_prefix 128"), ("prefix_cache", "off")]),
    ];
    scratch.write("rows.csv", &file(&[rows, kept.to_vec()].concat()));
    let ended = check(&scratch, &[]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for (i, (_, reason)) in cases.iter().enumerate() {
        let line = ended.stdout.lines().find(|l| l.starts_with(&format!("  case{i}: ")));
        let line = line.unwrap_or_else(|| panic!("case{i} was modelled:\n{}", ended.stdout));
        assert!(line.contains(reason), "{line}");
    }
    for id in ["kept1", "kept2", "kept3"] {
        assert!(ended.stdout.contains(&format!("{id}: A100-40 qwen3-8b")), "{}", ended.stdout);
    }
}

#[test]
fn bad_input_is_named_at_once_and_nothing_is_written() {
    let scratch = Scratch::new();
    let bad = [row(&[("num_prompts", "4.5")]), row(&[("tpot_mean_ms", "fast")]), "a,b".to_owned()];
    scratch.write("rows.csv", &file(&bad));
    let ended = check(&scratch, &["--markdown", "page.md"]);
    assert_eq!(ended.code, 2);
    for part in
        ["rows.csv:2: `num_prompts`", "rows.csv:3: `tpot_mean_ms`: `fast`", "rows.csv:4: 2 cells"]
    {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    assert!(!scratch.exists("figures.csv") && !scratch.exists("page.md"));
    scratch.write("rows.csv", "id,gpu\n1,2\n");
    let ended = check(&scratch, &[]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("rows.csv:1: there is no column `model`"), "{}", ended.stderr);
    assert_eq!(check(&scratch, &["--fail-on", "speed=5%"]).code, 2);
    assert_eq!(scratch.hpasim(&["profile", "check"]).code, 2);
}

/// The published measurements, if they are at hand.
fn shared(name: &str) -> Option<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if path.exists() {
        return Some(path.display().to_string());
    }
    println!("skipped: no {}", path.display());
    None
}

#[test]
fn published_benchmarks_are_met() {
    let Some(rows) = shared("serving_benchmarks.csv") else { return };
    let scratch = Scratch::new();
    let limits = "tpot=5%,throughput=5%,ttft=12%";
    let ended = scratch.hpasim(&["profile", "check", "--benchmarks", &rows, "--fail-on", limits]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn the_page_of_accuracy_is_current() {
    let names = [
        "profiles/steps_vllm_l4_a100_h100_published.csv",
        "profiles/steps_vllm085_h100-64gb.csv",
        "profiles/prefill_vllm085_h100-64gb.csv",
        "profiles/steps_composed_aiconfigurator.csv",
    ];
    let Some(rows) = shared("serving_benchmarks.csv") else { return };
    let steps: Vec<String> = names.iter().filter_map(|n| shared(n)).collect();
    let scratch = Scratch::new();
    let mut args = vec!["profile", "check", "--benchmarks", &rows, "--markdown", "accuracy.md"];
    for path in &steps {
        args.extend(["--steps", path]);
    }
    assert_eq!(scratch.hpasim(&args).code, 0);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/accuracy.md");
    let page = std::fs::read_to_string(page).expect("docs/accuracy.md");
    assert!(
        page == scratch.read("accuracy.md"),
        "docs/accuracy.md is stale: write it again as it says"
    );
}
