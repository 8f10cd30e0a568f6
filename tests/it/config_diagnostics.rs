//! One case per kind of finding: its code, the place it points at, and its hint.

use std::collections::BTreeMap;

use hpasim::config::{Code, Diagnostics, Loader, Options, Severity, check, load};
use proptest::prelude::*;

/// Files in memory.
#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.to_owned(), text.as_bytes().to_vec());
        self
    }
}

impl Loader for Files {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).cloned().ok_or_else(|| "No such file or directory (os error 2)".to_owned())
    }
}

const VALID: &str = r#"schema = 1
name = "valid"
seed = 7
duration = "1h"

[model]
profile = "l4-llama-3.1-8b"

[engine]
max_model_len = 8192

[workload.poisson]
rate_rps = 2
prompt_tokens = 500
output_tokens = { lognormal = { mean = 200, p50 = 120 }, max = 1000 }

[cluster]
kube_version = "1.34"
min_nodes = 1
max_nodes = 20

[hpa]
min_replicas = 1
max_replicas = 10
[[hpa.metrics]]
name = "vllm:num_requests_waiting"
target_average_value = "5"
[hpa.behavior.scale_down]
stabilization_window_seconds = 300

[slo]
ttft = "2s"

[sweep]
replications = 3
[[sweep.metrics]]
name = "vllm:num_requests_running"
targets = [4, 8]
[[sweep.axes]]
key = "hpa.min_replicas"
values = [1, 2]
"#;

/// What is said about `text` at `e/x.toml`.
fn findings(text: &str, files: Files) -> Diagnostics {
    let files = files.with("e/x.toml", text);
    match load(&files, "e/x.toml", &Options::default()) {
        Ok(loaded) => loaded.warnings,
        Err(findings) => findings,
    }
}

/// The valid file with the line that starts with `line` replaced.
fn edited(line: &str, replacement: &str) -> String {
    let mut found = false;
    let lines: Vec<&str> = VALID
        .lines()
        .map(|l| {
            if l.starts_with(line) && !found {
                found = true;
                replacement
            } else {
                l
            }
        })
        .collect();
    assert!(found, "`{line}` is not in the valid file");
    lines.join("\n")
}

/// One finding of `code`, whose text has all `parts`.
#[track_caller]
fn expect(text: &str, files: Files, code: Code, parts: &[&str]) {
    let found = findings(text, files);
    let codes: Vec<Code> = found.items.iter().map(|d| d.code).collect();
    assert_eq!(codes, [code], "{found}");
    let shown = found.to_string();
    for part in parts {
        assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
    }
}

#[test]
fn the_valid_file_is_valid() {
    let files = Files::default().with("e/x.toml", VALID);
    let loaded = load(&files, "e/x.toml", &Options::default()).unwrap();
    assert!(loaded.warnings.items.is_empty(), "{}", loaded.warnings);
    let experiment = loaded.experiment;
    assert_eq!(experiment.plan.cases.len(), 4);
    assert_eq!(experiment.plan.cases[3].knob("target"), "8");
    assert_eq!(experiment.plan.cases[3].knob("hpa.min_replicas"), "2");
    assert_eq!(experiment.inputs.len(), 1);
}

#[test]
fn unreadable_files() {
    expect(
        &edited("profile", "profile = \"../mine.toml\""),
        Files::default(),
        Code::Unreadable,
        &[
            "e/x.toml:7:11",
            "cannot read `mine.toml`: No such file",
            "relative to the experiment file",
        ],
    );
    let missing = edited("[workload.poisson]", "[workload.trace]\npath = \"../traces/no.csv\"")
        .replace("rate_rps = 2\nprompt_tokens = 500\n", "")
        .lines()
        .filter(|l| !l.starts_with("output_tokens"))
        .collect::<Vec<_>>()
        .join("\n");
    expect(
        &missing,
        Files::default(),
        Code::Unreadable,
        &[
            "cannot read `traces/no.csv`: No such file",
            "e/x.toml:13:8",
            "relative to the experiment file",
        ],
    );
    let found = load(&Files::default(), "gone.toml", &Options::default()).unwrap_err();
    assert_eq!(found.items[0].code, Code::Unreadable);
    assert!(found.to_string().contains("gone.toml"), "{found}");
}

#[test]
fn syntax() {
    expect(
        &edited("seed", "seed = "),
        Files::default(),
        Code::Syntax,
        &["e/x.toml:3:8", "not valid TOML"],
    );
}

#[test]
fn schema() {
    expect(
        &edited("schema", "schema = 2"),
        Files::default(),
        Code::Schema,
        &["e/x.toml:1:10", "schema 2 is not supported", "reads schema 1"],
    );
}

#[test]
fn unknown_keys_name_the_nearest() {
    expect(
        &edited("max_replicas", "max_replicas = 10\nmin_replcas = 2"),
        Files::default(),
        Code::UnknownKey,
        &["e/x.toml:25:1", "unknown key `hpa.min_replcas`", "did you mean `min_replicas`?"],
    );
    // A key of another table.
    expect(
        &edited("min_nodes", "scrape_interval = \"15s\""),
        Files::default(),
        Code::UnknownKey,
        &["e/x.toml:19:1", "there is a key `pipeline.scrape_interval`"],
    );
}

#[test]
fn missing_keys() {
    expect(
        &edited("profile", ""),
        Files::default(),
        Code::MissingKey,
        &["e/x.toml:6:", "`model.profile` is missing", "hpasim profile list"],
    );
    expect(
        &edited("max_replicas", ""),
        Files::default(),
        Code::MissingKey,
        &["`hpa.max_replicas` is missing"],
    );
    expect(
        &edited("duration", ""),
        Files::default(),
        Code::MissingKey,
        &["`duration` is missing", "duration = \"24h\""],
    );
}

#[test]
fn types() {
    expect(
        &edited("min_nodes", "min_nodes = \"1\""),
        Files::default(),
        Code::Type,
        &["e/x.toml:19:13", "`cluster.min_nodes` must be an integer", "leave out the quotes"],
    );
}

#[test]
fn ranges() {
    expect(
        &edited("ttft", "attainment = 1.5"),
        Files::default(),
        Code::Range,
        &["e/x.toml:32:14", "`slo.attainment` must be between 0.01 and 1"],
    );
}

#[test]
fn choices() {
    expect(
        &edited("min_nodes", "model_storage = \"hdm\""),
        Files::default(),
        Code::Choice,
        &["e/x.toml:19:17", "must be one of `gcs`, `hdml`, `pd`", "did you mean `hdml`?"],
    );
}

#[test]
fn durations_need_a_unit() {
    expect(
        &edited("duration", "duration = 3600"),
        Files::default(),
        Code::Duration,
        &["e/x.toml:4:12", "a bare number", "units are ms, s, m, h, d, w"],
    );
    expect(
        &edited("ttft", "ttft = \"2 sec\""),
        Files::default(),
        Code::Duration,
        &["e/x.toml:32:8", "`slo.ttft` is not a duration"],
    );
}

#[test]
fn quantities() {
    expect(
        &edited("target_average_value", "target_average_value = \"5x\""),
        Files::default(),
        Code::Quantity,
        &["e/x.toml:27:24", "is not a Kubernetes quantity", "as in \"10\", \"2500m\""],
    );
}

#[test]
fn conflicts_show_both_places() {
    expect(
        &edited("max_nodes", "max_nodes = 0"),
        Files::default(),
        Code::Range,
        &["e/x.toml:20:13"],
    );
    expect(
        &edited("min_nodes", "min_nodes = 21"),
        Files::default(),
        Code::Conflict,
        &["e/x.toml:19:13", "21 nodes", "at most 20"],
    );
    expect(
        &edited(
            "[cluster]",
            "[workload.gamma]\nrate_rps = 1\ncv = 2\nlengths = \"azure-conv-like\"\n[cluster]",
        ),
        Files::default(),
        Code::Conflict,
        &["a workload has one source", "this is a second one", "[[workload.stream]]"],
    );
    expect(
        &edited("[slo]", "[replicas]\nfixed = 3\n[slo]"),
        Files::default(),
        Code::Conflict,
        &["`[hpa]` and `[replicas]` exclude each other", "no autoscaler"],
    );
}

#[test]
fn the_api_servers_rules_point_at_the_key() {
    expect(
        &edited("min_replicas", "min_replicas = 11"),
        Files::default(),
        Code::Manifest,
        &["e/x.toml:24:16", "maxReplicas", "23 | min_replicas = 11"],
    );
    expect(
        &edited("stabilization_window_seconds", "stabilization_window_seconds = 3601"),
        Files::default(),
        Code::Manifest,
        &["e/x.toml:29:32", "spec.behavior.scaleDown.stabilizationWindowSeconds"],
    );
}

#[test]
fn manifests_are_shown_at_their_line() {
    let manifest = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata:\n  name: a\n\
        spec:\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: a}\n  maxReplicas: 5\n  \
        minReplica: 1\n  metrics:\n  - type: Pods\n    pods:\n      metric: {name: \
        'vllm:num_requests_waiting'}\n      target: {type: AverageValue, averageValue: 5}\n";
    let text = VALID.replace("min_replicas = 1\nmax_replicas = 10\n", "manifest = \"hpa.yaml\"\n");
    let text = text.split("[sweep]").next().unwrap();
    let files = Files::default().with("e/hpa.yaml", manifest);
    let found = findings(text, files);
    let shown = found.to_string();
    assert_eq!(found.items.len(), 1, "{shown}");
    assert_eq!(found.items[0].code, Code::Manifest);
    assert!(shown.contains("e/hpa.yaml:8:"), "{shown}");
    assert!(shown.contains("minReplicas"), "{shown}");
}

#[test]
fn metrics_that_cannot_be_simulated() {
    expect(
        &edited("name = \"vllm:num_requests_waiting", "name = \"vllm:num_request_waiting\""),
        Files::default(),
        Code::UnknownMetric,
        &["e/x.toml:26:8", "did you mean `vllm:num_requests_waiting`?", "vllm:kv_cache_usage_perc"],
    );
    // Other spellings of the same gauge are fine.
    for name in [
        "prometheus.googleapis.com|vllm:num_requests_running|gauge",
        "autoscaling.gke.io|vllm-pd-l4|kv-cache-usage-perc",
        "vllm_num_requests_waiting",
    ] {
        let line = format!("name = \"{name}\"");
        let found =
            findings(&edited("name = \"vllm:num_requests_waiting", &line), Files::default());
        assert!(found.items.is_empty(), "{found}");
    }
}

#[test]
fn unknown_profiles() {
    expect(
        &edited("profile", "profile = \"l4-llama-3.1-8\""),
        Files::default(),
        Code::UnknownProfile,
        &["e/x.toml:7:11", "did you mean `l4-llama-3.1-8b`?", "hpasim profile list"],
    );
}

#[test]
fn what_does_not_fit() {
    expect(
        &edited("max_model_len", "max_model_len = 131072"),
        Files::default(),
        Code::DoesNotFit,
        &["e/x.toml:10:17", "vLLM would not start", "at most"],
    );
    expect(
        &edited("max_model_len", "max_model_len = 1024\ngpu_memory_utilization = 0.5"),
        Files::default(),
        Code::DoesNotFit,
        &["no memory is left for the KV cache", "fp8"],
    );
}

#[test]
fn versions() {
    expect(
        &edited("kube_version", "kube_version = \"1.20\""),
        Files::default(),
        Code::Version,
        &["e/x.toml:18:16", "1.25 to 1.36"],
    );
    expect(
        &edited("max_model_len", "max_model_len = 8192\nvllm_version = \"0.6.3\""),
        Files::default(),
        Code::Version,
        &["e/x.toml:11:16", "0.11 to 0.33"],
    );
}

#[test]
fn too_many_cases() {
    expect(
        &edited("replications", "max_points = 3"),
        Files::default(),
        Code::TooManyCases,
        &["the sweep has 4 cases", "2 x 2", "`sweep.max_points` allows 3"],
    );
}

#[test]
fn malformed_rows_of_a_trace() {
    let text = VALID
        .replace(
            "[workload.poisson]\nrate_rps = 2\nprompt_tokens = 500\n",
            "[workload.trace]\npath = \"t.csv\"\n",
        )
        .lines()
        .filter(|l| !l.starts_with("output_tokens"))
        .collect::<Vec<_>>()
        .join("\n");
    let trace = "arrival_s,prompt_tokens,output_tokens\n0.5,100,20\n1.0,abc,20\n2.0,10,5\n3.0,10\n";
    let found = findings(&text, Files::default().with("e/t.csv", trace));
    let shown = found.to_string();
    assert_eq!(found.items.len(), 2, "{shown}");
    assert!(found.items.iter().all(|d| d.code == Code::TraceRow), "{shown}");
    for part in ["e/t.csv:3", "1.0,abc,20", "e/t.csv:5", "e/x.toml:13:8", "read because of this"] {
        assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
    }
    // And the same trace without its faults is fine.
    let trace = "arrival_s,prompt_tokens,output_tokens\n0.5,100,20\n2.0,10,5\n";
    let found = findings(&text, Files::default().with("e/t.csv", trace));
    assert!(found.items.is_empty(), "{found}");
}

#[test]
fn overrides_are_checked_like_the_file() {
    let set = |argument: &str| {
        let files = Files::default().with("e/x.toml", VALID);
        let overrides = vec![argument.to_owned()];
        load(&files, "e/x.toml", &Options { overrides, ..Options::default() })
    };
    for (argument, code, parts) in [
        ("hpa.max_replicas", Code::Override, ["--set:1:1", "needs KEY=VALUE"]),
        ("hpa..max=1", Code::Override, ["--set:1:5", "a key was expected here"]),
        ("seed.x=1", Code::Override, ["--set:1:1", "`seed` is an integer, it has no keys"]),
        ("hpa.max_replcas=8", Code::UnknownKey, ["--set:1:1", "did you mean `max_replicas`?"]),
        ("cluster.max_nodes=many", Code::Type, ["--set:1:19", "must be an integer"]),
        ("slo.ttft=[1", Code::Override, ["--set:1:10", "not valid TOML"]),
    ] {
        let found = set(argument).unwrap_err();
        let shown = found.to_string();
        assert_eq!(found.items[0].code, code, "{shown}");
        for part in parts {
            assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
        }
    }
    let changed = set("slo.ttft=750ms").unwrap();
    assert_eq!(changed.experiment.base.slo.ttft.as_secs_f64(), 0.75);
    let changed = set("hpa.metrics[0].target_average_value=7").unwrap();
    let metric = &changed.experiment.base.autoscaler.hpa().unwrap().spec.metrics[0];
    let target = metric.target().unwrap().average_value.as_ref().unwrap();
    assert_eq!(target.milli_value(), 7_000);
    let digest = |argument| set(argument).unwrap().experiment.plan.cases[0].digest.clone();
    assert_ne!(digest("slo.ttft=750ms"), digest("slo.ttft=2s"));
    let changed = set("seed=18446744073709551615").unwrap();
    assert_eq!(changed.experiment.plan.seed.0, u64::MAX);
}

#[test]
fn axes_are_checked_like_the_file() {
    expect(
        &edited("key = ", "key = \"hpa.min_replcas\""),
        Files::default(),
        Code::UnknownKey,
        &["e/x.toml:40:7", "did you mean `min_replicas`?"],
    );
    expect(
        &edited("values = [1, 2]", "values = [1, 200]"),
        Files::default(),
        Code::Manifest,
        &["e/x.toml:", "maxReplicas"],
    );
    expect(
        &edited("targets", "targets = { from = 8, to = 4, steps = 3 }"),
        Files::default(),
        Code::Range,
        &["e/x.toml:38:11", "not below `to`"],
    );
}

#[test]
fn warnings_do_not_stop() {
    let text = edited("max_nodes", "max_nodes = 3");
    let files = Files::default().with("e/x.toml", &text);
    let loaded = load(&files, "e/x.toml", &Options::default()).unwrap();
    assert_eq!(loaded.warnings.items.len(), 1, "{}", loaded.warnings);
    assert_eq!(loaded.warnings.items[0].severity, Severity::Warning);
    assert_eq!(loaded.warnings.items[0].code, Code::Suspicious);
}

#[test]
fn a_date_needs_a_price_and_shedding_something_to_shed() {
    let with = |text: &str| format!("{VALID}{text}");
    let date = |date: &str| with(&format!("[cost]\nnode_usd_per_hour = 1\nprice_date = {date}\n"));
    for good in ["\"2026\"", "\"2026-11\"", "\"2026-11-30\""] {
        assert!(findings(&date(good), Files::default()).items.is_empty(), "{good}");
    }
    for bad in ["\"11/2026\"", "\"2026-13\"", "\"2026-11-32\"", "\"26\"", "\"2026-11-1-1\"", "\"\""]
    {
        expect(&date(bad), Files::default(), Code::Range, &["is not a date", "2026-11-24"]);
    }
    let alone = with("[cost]\nprice_date = \"2026-11\"\n");
    let parts = ["dates a price that is not given", "e/x.toml:43:1", "node_usd_per_hour"];
    expect(&alone, Files::default(), Code::Conflict, &parts);
    let shed = with("[cluster.routing]\npolicy = \"epp\"\nshed = true\n");
    assert!(findings(&shed, Files::default()).items.is_empty());
    let both = shed.replace("shed = true", "shed = true\nflow_control = true");
    let parts = ["nothing is shed", "requests wait", "requests are refused"];
    expect(&both, Files::default(), Code::Conflict, &parts);
    let stream = shed.replace(
        "[workload.poisson]",
        "[[workload.stream]]\npriority = 1\n[workload.stream.poisson]",
    );
    let parts = ["sheds nothing", "priority = -1"];
    expect(&stream, Files::default(), Code::Suspicious, &parts);
}

#[test]
fn all_mistakes_are_shown_at_once() {
    let text = edited("seed", "sed = 7")
        .replace("rate_rps = 2", "rate_rps = \"2\"")
        .replace("min_nodes = 1", "min_nodes = 30")
        .replace("ttft = \"2s\"", "ttft = 2")
        .replace("target_average_value = \"5\"", "target_average_value = \"five\"");
    let found = findings(&text, Files::default());
    let codes: Vec<Code> = found.items.iter().map(|d| d.code).collect();
    let expected = [Code::UnknownKey, Code::Type, Code::Conflict, Code::Quantity, Code::Duration];
    assert_eq!(codes, expected, "{found}");
}

/// Metrics that only the sweep names are not missed where the sweep is wrong.
#[test]
fn a_wrong_sweep_brings_no_warning_about_the_file_without_it() {
    let metric =
        "[[hpa.metrics]]\nname = \"vllm:num_requests_waiting\"\ntarget_average_value = \"5\"\n";
    let text = VALID.replace(metric, "").replace("targets = [4, 8]", "targets = []");
    let found = findings(&text, Files::default());
    assert_eq!(found.items.len(), 1, "{found}");
    assert_eq!(found.items[0].severity, Severity::Error, "{found}");
}

#[test]
fn every_code_has_its_own_number_and_a_meaning() {
    let mut numbers: Vec<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
    numbers.dedup();
    assert_eq!(numbers.len(), Code::ALL.len());
    assert!(numbers.is_sorted());
    assert!(Code::ALL.iter().all(|c| !c.meaning().is_empty()));
}

#[test]
fn checks_tell_what_a_file_is() {
    let files = Files::default()
        .with("e/x.toml", VALID)
        .with("p.toml", "schema = 1\nname = \"p\"\ngpu = \"l4\"\nmodel = \"qwen3-8b\"\n")
        .with("t.csv", "arrival_s,prompt_tokens,output_tokens\n0,1,1\n")
        .with("bad.yaml", "kind: HorizontalPodAutoscaler\nspec: 7\n");
    let summary = |path| check(&files, path, &Options::default()).summary;
    assert_eq!(summary("e/x.toml").unwrap(), "experiment with 4 cases x 3 replications");
    assert_eq!(summary("p.toml").unwrap(), "GPU profile `p`");
    assert_eq!(summary("t.csv").unwrap(), "trace of 1 requests over 0.00 h");
    assert_eq!(summary("bad.yaml"), None);
    assert_eq!(summary("gone.toml"), None);
}

#[test]
fn the_schema_has_every_key_with_an_explanation() {
    let schema = hpasim::config::registry();
    let paths: Vec<&str> = schema.keys().iter().map(|k| k.path.as_str()).collect();
    for path in [
        "model.profile",
        "engine.max_num_seqs",
        "workload.mmpp.states[].sojourn",
        "workload.stream[].poisson.rate_rps",
        "workload.closed_loop.users",
        "cluster.provisioning.node_ready",
        "cluster.startup.readiness_probe.initial_delay",
        "hpa.behavior.scale_up.policies[].period_seconds",
        "replicas.fixed",
        "sweep.axes[].values",
        "cost.node_usd_per_hour",
    ] {
        assert!(paths.contains(&path), "{path} is not in the schema");
    }
    for key in schema.keys() {
        assert!(!key.doc.is_empty(), "{} has no explanation", key.path);
    }
}

proptest! {
    /// No edit of a valid file makes the loader panic, and what cannot be loaded says why.
    #[test]
    fn random_edits_never_panic(
        edits in prop::collection::vec((0_usize..2_000, 0_usize..12, "[ -~\n]{0,6}"), 1..6),
    ) {
        let mut text = VALID.to_owned();
        for (at, cut, insert) in edits {
            let start = at.min(text.len());
            let end = (start + cut).min(text.len());
            text.replace_range(start..end, &insert);
        }
        let files = Files::default().with("e/x.toml", &text);
        if let Err(findings) = load(&files, "e/x.toml", &Options::default()) {
            prop_assert!(findings.has_errors());
            prop_assert!(!findings.render(true, 80).is_empty());
        }
    }

    /// Values that are swapped for others never panic either.
    #[test]
    fn random_overrides_never_panic(
        key in prop::sample::select(vec![
            "seed", "duration", "warmup", "model.profile", "engine.max_num_seqs",
            "engine.num_gpu_blocks", "engine.block_size", "engine.vllm_version", "workload.poisson.rate_rps",
            "workload.poisson.prompt_tokens", "workload.poisson.output_tokens.lognormal", "cluster",
            "cluster.gpus_per_replica", "cluster.startup.init", "pipeline.ingest", "hpa.min_replicas",
            "hpa.metrics", "hpa.metrics[0].name", "hpa.behavior.scale_down.tolerance", "slo.ttft",
            "sweep.metrics[0].targets", "sweep.axes[0].key", "sweep.axes[0].values", "workload.stream[0].trace.path",
        ]),
        value in prop::sample::select(vec![
            "0", "-1", "1", "1e308", "nan", "inf", "9223372036854775807", "99999999999999999999999", "''", "x",
            "[]", "{}", "[1,2]", "[[1]]", "{from=1,to=9,steps=3}", "{from=1,to=9,step=0.001}", "true", "0s", "5s",
            "90d", "999999w", "1979-05-27", "\"\\u0000\"", "{median='1s',p95='0s'}",
        ]),
    ) {
        let files = Files::default().with("e/x.toml", VALID);
        let overrides = vec![format!("{key}={value}")];
        if let Err(findings) = load(&files, "e/x.toml", &Options { overrides, ..Options::default() }) {
            prop_assert!(findings.has_errors(), "{findings}");
        }
    }
}
