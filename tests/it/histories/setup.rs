//! How a record becomes an experiment. What a record says is taken from it; what it does not say stands here, once
//! per stack and never per history, with its reason. Numbers come from parts with low load; what was chosen with the
//! whole runs in view is told in docs/validation.md.

use super::record::{History, Load, Sent};
use super::{clock, trajectory};
use hpasim::rng::{Seed, Stream};
use hpasim::workload::draw;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// An experiment: its files by name, and how far before the recording it starts \[s\].
pub(super) struct Setup {
    pub(super) files: BTreeMap<String, String>,
    pub(super) lead_s: f64,
}

/// Llama-3.1-8B on one H100 under llm-d's chart of late 2025, which starts vLLM without CUDA graphs
/// (`--enforce-eager`). The release is not recorded.
///
/// Calibrated on stretches of the sister runs with one replica and KV usage of at most 0.2, see `low_load.rs`:
/// inter-token times at 5 to 20 requests/s ask for 0.82 ms and 0.016 ms per sequence beside weights, GEMM and KV reads
/// (the host terms of 0.11 would make 1.25 ms and 0.033 ms), hence a release without host terms and these two. How
/// completions follow the send times asks for outputs that either end soon or run to the cap of 1024, as those of a base
/// model do: 42 % at the cap, the rest with a mean of 47, which makes the recorded mean of 457. KV usage at the same
/// rates then asks for shorter prompts of the long answers: 120 tokens, with the recorded mean of 235 over all.
/// Everything else is the product's default for this GPU, as 432 thousand tokens of KV cache and 1024 sequences.
const LLAMA: &str = "schema = 1
name = \"h100-llama-3.1-8b\"
gpu = \"h100\"
model = \"llama-3.1-8b\"
[coefficients]
t0_ms = { value = 0.82, status = \"fitted\" }
c_seq_ms = { value = 0.016, status = \"fitted\" }
";
const LLAMA_ENGINE: &str = "[engine]\nvllm_version = \"0.14\"\nasync_scheduling = false\n";
/// Short answers: mean 47, coefficient of variation 1.5, prompts of mean 318. Prompts are clipped as the benchmark
/// clips them.
pub(super) const SHAREGPT: &str =
    "mixture = { prompt_min = 4, prompt_max = 1024, output_max = 1024, components = [
  { weight = 0.58, mu_in = 5.179, sigma_in = 1.417, mu_out = 3.261, sigma_out = 1.086 },
  { weight = 0.42, mu_in = 3.902, sigma_in = 1.417, mu_out = 6.9315, sigma_out = 0.0 },
] }
";

/// Metric names of the recorded adapters and the gauge behind them.
const NAMES: [(&str, &str); 5] = [
    ("\"num_requests_waiting\"", "\"vllm:num_requests_waiting\""),
    ("\"kv_cache_usage_perc\"", "\"vllm:kv_cache_usage_perc\""),
    ("\"vllm_num_requests_waiting\"", "\"vllm:num_requests_waiting\""),
    ("\"vllm_kv_cache_usage_perc\"", "\"vllm:kv_cache_usage_perc\""),
    // In percent there.
    ("\"gpu_cache_usage_perc\"", "\"vllm:gpu_cache_usage_perc\""),
];

/// The metrics path of the recorded stacks. Source: llm-d's chart scrapes its pods every 30 s, which is the period at
/// which the values of `flat` change; AIBrix asks for kube-prometheus-stack, whose default is 30 s.
const PIPELINE: &str = "[pipeline]\nadapter = \"prometheus-adapter\"\nscrape_interval = \"30s\"\n";
/// Source: Kubernetes' default, `--horizontal-pod-autoscaler-sync-period`.
const SYNC_S: f64 = 15.0;
/// From a sample of a new pod to the HPA: half a scrape, half a sync \[s\].
const REPORT_S: f64 = 15.0 + SYNC_S / 2.0;

/// deepseek-llm-7b on a V100 under vLLM 0.6.2, whose V0 engine is taken as V1's without chunked prefill.
///
/// Calibrated on the engine's log lines with 1 to 20 running requests and an empty queue: tokens per second against the
/// number of running requests, beside the prompts of the same stretch; and the share of the KV cache per running
/// request, 0.030, which with the mean context of these lengths (908 tokens) makes 30 thousand tokens.
const DEEPSEEK: &str = "schema = 1
name = \"v100-deepseek-7b\"
[gpu]
name = \"v100\"
accelerator = \"a100\"
weight_gb_s = 660
bf16_tflops = 56
roof_softness = 1.4
t0_ms = 2.0
c_seq_ms = 0.045
kv_gb_s = 900
attention_tflops = 30
memory_bytes = 34_000_000_000
overhead_bytes = 1_300_000_000
[model]
name = \"deepseek-llm-7b\"
num_hidden_layers = 30
hidden_size = 4096
intermediate_size = 11008
num_attention_heads = 32
num_key_value_heads = 32
head_dim = 128
vocab_size = 102400
tie_word_embeddings = false
max_position_embeddings = 4096
[price]
machine_type = \"one V100\"
gpus = 1
usd_per_hour = 1
";
const DEEPSEEK_ENGINE: &str = "[engine]
vllm_version = \"0.11\"
enable_chunked_prefill = false
enable_prefix_caching = false
max_num_seqs = 256
max_num_batched_tokens = 4096
num_gpu_blocks = 1890
";
/// The HPA had been at work before the recording: its window of 300 s ends at the first scale-down, whose pods left the
/// log at 195 s and were gone 45 s later \[s\].
const DEEPSEEK_LEAD_S: f64 = 105.0;

/// The experiment of a history, or why there is none.
pub(super) fn setup(history: &History) -> Result<Setup, &'static str> {
    let model = history.text("/engine/model");
    if model.contains("Llama-3.1-8B") && history.text("/gpu").contains("H100") {
        Ok(llama(history))
    } else if model.contains("deepseek-llm-7b") && history.text("/gpu").contains("V100") {
        Ok(deepseek(history))
    } else if model.contains("Qwen3-32B") && history.manifest.is_some() {
        Ok(qwen(history))
    } else if history.manifest.is_none() && history.is_for("closed_loop") {
        Err("the autoscaler's thresholds or policies are not recorded")
    } else if !history.load_is_known() {
        Err("the load is not recorded")
    } else {
        Err("no settings for this stack")
    }
}

/// Qwen3-32B on one H100. No replica or latency figure was used; the connections are counted in the published
/// summary of the prefill run, which ends with 511 requests under way: GuideLLM holds 512.
const QWEN: &str = "schema = 1
name = \"h100-qwen3-32b\"
gpu = \"h100\"
[model]
name = \"qwen3-32b\"
num_hidden_layers = 64
hidden_size = 5120
intermediate_size = 25600
num_attention_heads = 64
num_key_value_heads = 8
head_dim = 128
vocab_size = 151936
tie_word_embeddings = false
max_position_embeddings = 40960
";

fn qwen(history: &History) -> Setup {
    let mut files = BTreeMap::from([("profile.toml".to_owned(), QWEN.to_owned())]);
    let loads = history.loads();
    let span = loads.iter().filter_map(|l| l.duration_s).fold(0.0, f64::max);
    let mut text = header(&history.id, span, "profile.toml");
    text += "[engine]\nmax_model_len = 16000\nblock_size = 64\ngpu_memory_utilization = 0.95\n";
    text += &autoscaler(history, &mut files);
    text += &cluster(history.figures["pod_startup"]);
    text += "[cluster.routing]\npolicy = \"epp\"\n";
    if history.text("/routing").contains("flow control on") {
        text += "flow_control = true\n";
    }
    text += PIPELINE;
    for load in loads {
        let capped = Load { cap: Some(512), ..load };
        stream(&mut text, &capped, capped.start_s, "", Test::Over);
    }
    files.insert("experiment.toml".to_owned(), text);
    Setup { files, lead_s: 0.0 }
}

fn deepseek(history: &History) -> Setup {
    let mut files = BTreeMap::from([
        ("profile.toml".to_owned(), DEEPSEEK.to_owned()),
        ("trace.csv".to_owned(), trace(history, DEEPSEEK_LEAD_S)),
    ]);
    let span = history.series["pods_running_phase"].last().unwrap().0;
    let mut text = header(&history.id, span + DEEPSEEK_LEAD_S, "profile.toml");
    text += DEEPSEEK_ENGINE;
    if history.is_for("closed_loop") {
        text += &autoscaler(history, &mut files);
        let pods = history.series["pods_running_phase"][0].1;
        let _ = writeln!(text, "start_replicas = {pods}");
    } else {
        let pods = trajectory::Trajectory::recorded(history, trajectory::Kind::PodPhases);
        let mut csv = "t_s,replicas\n".to_owned();
        for w in pods.points.windows(2).filter(|w| w[0].1 != w[1].1) {
            let _ = writeln!(csv, "{},{}", w[1].0 + DEEPSEEK_LEAD_S, w[1].1);
        }
        csv.insert_str(13, &format!("0,{}\n", pods.points[0].1));
        files.insert("replicas.csv".to_owned(), csv);
        text += "[replicas]\nschedule = \"replicas.csv\"\n";
    }
    // Files are cached on the nodes; a pod is Ready at a probe tick from 90 s on.
    text += &cluster(history.startup_s().unwrap_or(107.0));
    // A pod that ends stays for 45 s.
    text += "[cluster.termination]\ngrace = \"60s\"\npre_stop = \"45s\"\n";
    text += "[cluster.routing]\npolicy = \"least_request\"\n";
    text += PIPELINE;
    text += "[workload]\nclient_timeout = \"120s\"\n[workload.trace]\npath = \"trace.csv\"\n";
    files.insert("experiment.toml".to_owned(), text);
    Setup { files, lead_s: DEEPSEEK_LEAD_S }
}

/// The client log as a trace. Its prompt lengths are known as a distribution only.
fn trace(history: &History, lead_s: f64) -> String {
    /// Source: the record: mean 310, standard deviation 204, at most 1869; lognormal.
    const MU: f64 = 5.556;
    const SIGMA: f64 = 0.600;
    /// Source: the record: the client's clock starts 2 s (+- 3 s) after the recording's.
    const CLOCK_S: f64 = 2.0;
    let log = history.client_log().expect("a client log of this load");
    let outputs = outputs(&log);
    let mut rng = Seed(1).stream(Stream::Lengths, 0);
    let mut csv = "arrival_s,prompt_tokens,output_tokens\n".to_owned();
    for (sent, output) in log.iter().zip(outputs) {
        let prompt = (MU + SIGMA * draw::normal(&mut rng)).exp().round().clamp(1.0, 1869.0);
        let _ = writeln!(csv, "{:.3},{prompt},{output}", sent.at_s + CLOCK_S + lead_s);
    }
    csv
}

/// Output tokens of every request. Those that were not completed are not known, and are the long ones: under
/// overload the short ones finish in time. All lengths of a minute together are taken to be like those of the
/// minutes in which nine of ten were completed; what the completed requests leave of them goes to the others.
fn outputs(log: &[Sent]) -> Vec<u32> {
    let minute = |sent: &Sent| (sent.at_s / 60.0) as usize;
    let mut minutes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, sent) in log.iter().enumerate() {
        minutes.entry(minute(sent)).or_default().push(i);
    }
    let known = |of: &[usize]| -> Vec<u32> {
        of.iter().filter_map(|i| log[*i].output_tokens).map(|n| n.max(1)).collect()
    };
    let calm = minutes.values().filter(|of| known(of).len() * 10 >= of.len() * 9);
    let mut usual: Vec<u32> = calm.flat_map(|of| known(of)).collect();
    usual.sort_unstable();
    let mut rng = Seed(1).stream(Stream::Lengths, 1);
    let mut lengths: Vec<u32> = log.iter().map(|s| s.output_tokens.unwrap_or(0).max(1)).collect();
    for of in minutes.values() {
        let mut left: Vec<u32> = (0..of.len())
            .map(|i| usual[i * usual.len() / of.len() + usual.len() / of.len() / 2])
            .collect();
        let mut completed = known(of);
        completed.sort_unstable();
        for done in completed.into_iter().rev() {
            let nearest = (0..left.len()).min_by_key(|i| left[*i].abs_diff(done)).unwrap();
            left.remove(nearest);
        }
        for i in of.iter().filter(|i| log[**i].output_tokens.is_none()) {
            let any = (draw::uniform(&mut rng) * left.len() as f64) as usize;
            lengths[*i] = left.swap_remove(any);
        }
    }
    lengths
}

/// One replica of the Llama stack under a load of its own, nothing scales.
pub(super) fn one_replica(streams: &str, duration_s: f64) -> Setup {
    let mut text = header("low-load", duration_s, "profile.toml");
    text += LLAMA_ENGINE;
    text += &cluster(0.0);
    text += "[replicas]\nfixed = 1\n";
    text += streams;
    let files = BTreeMap::from([
        ("profile.toml".to_owned(), LLAMA.to_owned()),
        ("experiment.toml".to_owned(), text),
    ]);
    Setup { files, lead_s: 0.0 }
}

fn llama(history: &History) -> Setup {
    let mut files = BTreeMap::from([("profile.toml".to_owned(), LLAMA.to_owned())]);
    let series = &history.series;
    let span = series.values().flatten().map(|p| p.0).fold(0.0, f64::max);
    let mut text = header(&history.id, span, "profile.toml");
    text += LLAMA_ENGINE;
    // The recorded start-up is from the poll that shows more current replicas, which the status does one sync after
    // they were asked for, to the poll of the metric.
    let startup_s = history.startup_s().unwrap_or(120.0) + SYNC_S - REPORT_S;
    let scaled = autoscaler(history, &mut files);
    text += &scaled;
    let given = scaled.contains("[replicas]");
    text += &cluster(if given { 0.0 } else { startup_s });
    let epp = history.text("/routing").contains("endpoint picker");
    let _ = writeln!(
        text,
        "[cluster.routing]\npolicy = \"{}\"",
        if epp { "epp" } else { "random_per_connection" }
    );
    text += PIPELINE;
    let loads = history.loads();
    // The clock shows when the loads began, the record when their jobs did.
    let (late, test) = clock::shifts(history).map_or_else(
        || (vec![lag_s(history); loads.len()], Test::Ahead),
        |late| (late, Test::Over),
    );
    for (load, late_s) in loads.iter().zip(late) {
        stream(&mut text, load, load.start_s + late_s, SHAREGPT, test);
    }
    files.insert("experiment.toml".to_owned(), text);
    Setup { files, lead_s: 0.0 }
}

/// Whether the start of a load is that of its test run or that of the load itself.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Test {
    Ahead,
    Over,
}

/// What the first prompt of `vllm bench serve --seed` is answered with \[tokens\]. The streams of the fleets begin some
/// thousand inter-token times after their jobs (`clock.rs`; 5 to 90 s), so the first prompts of these two seeds run to
/// the cap. Of others nothing is known: the mean.
fn test_run_tokens(seed: u64) -> u32 {
    if matches!(seed, 12_345 | 12_346) { 1024 } else { 457 }
}
/// A test run of 1024 tokens alone on a replica \[s\].
const ALONE_S: f64 = 7.0;

/// From the creation of a load job to its test run, aligned on the first value the recording shows. Where the
/// streams' own starts are recorded there is none.
fn lag_s(history: &History) -> f64 {
    let jobs = history.record["load"].as_array().unwrap();
    if jobs.iter().all(|job| job.get("lag_s").is_none()) {
        return 0.0;
    }
    let first = history.loads().iter().map(|l| l.start_s).fold(f64::INFINITY, f64::min);
    let visible = history.first_visible_s().map_or(50.0, |t| t - first - REPORT_S - ALONE_S);
    // Source: the record ("30-60 after start_s"), else the data's README: 25 to 75 s.
    let words = jobs.iter().find_map(|job| job["lag_s"].as_str()).unwrap_or("");
    let bounds: Vec<f64> =
        words.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    match bounds[..] {
        [low, high, ..] if words.starts_with(|c: char| c.is_ascii_digit()) => {
            visible.clamp(low, high)
        }
        _ => visible.clamp(25.0, 75.0),
    }
}

fn header(name: &str, duration_s: f64, profile: &str) -> String {
    format!(
        "schema = 1
name = \"{name}\"
duration = \"{duration_s}s\"
timeline_interval = \"3s\"
[model]
profile = \"{profile}\"
"
    )
}

/// The manifest, or the recorded serving replicas as a script.
fn autoscaler(history: &History, files: &mut BTreeMap<String, String>) -> String {
    if let Some(manifest) = history.manifest.as_ref().filter(|_| history.is_for("closed_loop")) {
        let mut manifest = manifest.clone();
        for (name, gauge) in NAMES {
            if manifest.contains(name) && name.contains("gpu_cache") {
                manifest = manifest.replace("averageValue: \"50\"", "averageValue: \"500m\"");
            }
            manifest = manifest.replace(&format!("name: {name}"), &format!("name: {gauge}"));
        }
        files.insert("hpa.yaml".to_owned(), manifest);
        return "[hpa]\nmanifest = \"hpa.yaml\"\n".to_owned();
    }
    let name = ["pods_reporting", "replicas_current"];
    let recorded = name.iter().find_map(|name| history.series.get(*name)).unwrap();
    let mut csv = "t_s,replicas\n".to_owned();
    let mut last = f64::NAN;
    for (t, n) in recorded {
        if *n != last {
            // A poll shows what changed up to one period before: in its middle.
            let at = if last.is_nan() { 0.0 } else { (t - half_period(recorded)).max(1.0) };
            let _ = writeln!(csv, "{at},{n}");
            last = *n;
        }
    }
    files.insert("replicas.csv".to_owned(), csv);
    "[replicas]\nschedule = \"replicas.csv\"\n".to_owned()
}

fn half_period(points: &[(f64, f64)]) -> f64 {
    (points.last().unwrap().0 - points[0].0) / (points.len() - 1) as f64 / 2.0
}

/// Nodes that are there, and `startup_s` from a pod's creation to its readiness.
fn cluster(startup_s: f64) -> String {
    format!(
        "[cluster]
min_nodes = 12
[cluster.startup]
attach = \"0s\"
image_pull = \"0s\"
container_start = \"0s\"
load = \"0s\"
init = \"{}ms\"
[cluster.startup.readiness_probe]
initial_delay = \"0s\"
period = \"1s\"
",
        (startup_s * 1000.0) as u64
    )
}

/// A stream of the recorded load; `lengths` where the record has none.
pub(super) fn stream(text: &mut String, load: &Load, start_s: f64, lengths: &str, test: Test) {
    let _ = writeln!(text, "[[workload.stream]]\nstart = \"{}ms\"", (start_s * 1000.0) as u64);
    if let Some(cap) = load.cap {
        let _ = writeln!(text, "max_connections = {cap}");
    }
    if let (Some(requests), Some(seed)) = (load.requests, load.seed) {
        let _ = writeln!(
            text,
            "[workload.stream.vllm_bench]\nrequest_rate = {}\nnum_prompts = {requests}\nseed = {seed}",
            load.rate_rps
        );
        if test == Test::Ahead {
            let _ = writeln!(text, "test_run_tokens = {}", test_run_tokens(seed));
        }
    } else {
        if let Some(requests) = load.requests {
            let _ = writeln!(text, "requests = {requests}");
        } else if let Some(duration) = load.duration_s {
            let _ = writeln!(text, "duration = \"{duration}s\"");
        }
        let _ = writeln!(text, "[workload.stream.poisson]\nrate_rps = {}", load.rate_rps);
    }
    match load.lengths {
        Some((prompt, output)) => {
            let _ = writeln!(text, "prompt_tokens = {prompt}\noutput_tokens = {output}");
        }
        None => text.push_str(lengths),
    }
}
