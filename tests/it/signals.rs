//! What is known about scaling on each signal and through each adapter, and the law that only samples count.
//!
//! Sources: Google's best practices for autoscaling inference (GPU duty cycle, FB_USED, queue size); the vLLM guide of
//! accelerated-platforms (flapping queues); NVML's definition of utilisation; KEDA's prometheus scaler and executor;
//! the custom-metrics Stackdriver adapter.

use std::collections::BTreeMap;

use crate::support;
use hpasim::config::{Experiment, Loader, Options, load};
use hpasim::hpa::Branch;
use hpasim::pipeline::{Origin, Pipeline, PipelineConfig, Query};
use hpasim::rng::Seed;
use hpasim::sim::{RecordLevel, RunRecord, Series, run_workload};
use hpasim::units::{PodId, SimTime};

struct Text(BTreeMap<&'static str, String>);

impl Loader for Text {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|t| t.clone().into_bytes()).ok_or_else(|| "no such file".to_owned())
    }
}

/// One L4 serves about 1.5 requests/s of these. Start-up is short, so that an hour shows what a day would.
const COMMON: &str = "[model]
profile = \"l4-llama-3.1-8b\"
[engine]
max_model_len = 4096
[cluster]
machine_type = \"g2-standard-12\"
max_nodes = 8
min_nodes = 8
[cluster.startup]
load = \"20s\"
init = \"10s\"
probes = \"inference-gateway\"
";

pub(crate) fn poisson(rate: f64) -> String {
    format!("[workload.poisson]\nrate_rps = {rate}\nprompt_tokens = 200\noutput_tokens = 100\n")
}

/// A replay of (second, number of requests) bursts, spread over a second.
pub(crate) fn bursts(list: &[(u64, u64)]) -> String {
    let mut text = "arrival_s,prompt_tokens,output_tokens\n".to_owned();
    for (s, count) in list {
        for i in 0..*count {
            let at = *s as f64 + i as f64 / *count as f64;
            text.push_str(&format!("{at:.4},200,100\n"));
        }
    }
    text
}

const REPLAY: &str = "[workload.trace]\npath = \"t.csv\"\n";

pub(crate) fn try_load(
    text: &str,
    trace: &str,
    set: &[&str],
) -> Result<(Experiment, String), String> {
    let files = Text(BTreeMap::from([
        ("x.toml", format!("schema = 1\n{text}{COMMON}")),
        ("t.csv", trace.to_owned()),
    ]));
    let overrides = set.iter().map(|s| (*s).to_owned()).collect();
    load(&files, "x.toml", &Options { overrides, ..Options::default() })
        .map(|loaded| (loaded.experiment, loaded.warnings.to_string()))
        .map_err(|findings| findings.to_string())
}

pub(crate) fn simulate(text: &str, trace: &str, set: &[&str]) -> RunRecord {
    let (experiment, _) =
        try_load(text, trace, set).unwrap_or_else(|findings| panic!("{findings}"));
    run_workload(&experiment.base, Seed(7), RecordLevel::Requests)
}

/// An HPA of one to eight replicas on one metric.
pub(crate) fn hpa(kind: &str, name: &str, target: &str) -> String {
    format!(
        "[hpa]\nmin_replicas = 1\nmax_replicas = 8\n[[hpa.metrics]]\ntype = \"{kind}\"\nname = \"{name}\"\n{target}\n\
         [hpa.behavior.scale_down]\nstabilization_window_seconds = 60\n"
    )
}

pub(crate) fn average(value: &str) -> String {
    format!("target_average_value = \"{value}\"")
}

/// `replicas_desired` at a time.
pub(crate) fn desired(record: &RunRecord, s: u64) -> f64 {
    let rows = record.timeline.iter().filter(|row| row.series == Series::ReplicasDesired);
    rows.take_while(|row| row.at <= SimTime::from_secs(s)).last().expect("a row").value
}

/// Values of the HPA's first metric with their times.
pub(crate) fn readings(record: &RunRecord) -> Vec<(f64, f64)> {
    let rows = record.timeline.iter().filter(|row| row.series == Series::HpaMetric(0));
    rows.map(|row| (row.at.as_secs_f64(), row.value)).collect()
}

/// FB_USED goes up, never down: vLLM takes its memory at start, so the metric says nothing about load.
#[test]
fn fb_used_scales_up_and_never_down() {
    let text = format!(
        "duration = \"60m\"\n{REPLAY}{}",
        hpa("Pods", "DCGM_FI_DEV_FB_USED", &average("16000"))
    );
    // Ten minutes of load, then nothing at all.
    let trace = bursts(&(0..600).map(|s| (s, 1)).collect::<Vec<_>>());
    let record = simulate(&text, &trace, &[]);
    assert!(record.measures.scale_ups > 0.0);
    assert_eq!(record.measures.scale_downs, 0.0);
    assert_eq!(desired(&record, 3599), 8.0, "without any load");
    // 0.92 of 23,034 MiB and 1 GiB beyond it, measured to within 1.5 GiB: constant from the first to the last.
    let values: Vec<f64> =
        readings(&record).iter().map(|r| r.1).filter(|v| *v > 17_000.0).collect();
    assert!(values.iter().any(|v| (21_000.0..23_000.0).contains(v)), "{values:?}");
}

/// At a target of 90 a saturated GPU shows at most 98: a ratio of 1.089, inside the tolerance. At 80 it acts.
#[test]
fn gpu_util_at_90_never_scales_up() {
    let run = |target: &str| {
        let metric = hpa("Pods", "DCGM_FI_DEV_GPU_UTIL", &average(target));
        simulate(&format!("duration = \"40m\"\n{}{metric}", poisson(6.0)), "", &[])
    };
    let record = run("90");
    assert_eq!(record.measures.scale_ups, 0.0);
    let most = readings(&record).iter().map(|r| r.1).fold(0.0, f64::max);
    assert_eq!(most, 98.0, "the GPU never idles");
    assert!(run("80").measures.scale_ups > 0.0);
}

/// It is saturated long before the replica is: the GPU is never idle at a sixth of what one replica can serve.
#[test]
fn gpu_util_is_high_at_low_load() {
    let metric = hpa("Pods", "DCGM_FI_DEV_GPU_UTIL", &average("60"));
    let quiet = format!("duration = \"60m\"\n{}{metric}", poisson(0.5));
    let record = simulate(&quiet, "", &[]);
    assert!(record.measures.replicas_mean > 2.0, "{}", record.measures.replicas_mean);
    let queue = hpa("Pods", "vllm:num_requests_waiting", &average("5"));
    let record = simulate(&format!("duration = \"60m\"\n{}{queue}", poisson(0.5)), "", &[]);
    assert_eq!(record.measures.replicas_max, 1.0);
    assert!(record.measures.slo_attainment > 0.99);
}

/// A queue-based HPA does nothing while fewer than `max_num_seqs` requests are in the server.
#[test]
fn a_queue_is_empty_below_max_num_seqs() {
    let queue = hpa("Pods", "vllm:num_requests_waiting", &average("1"));
    let crowd = "[workload.closed_loop]\nusers = 60\nwait = \"0s\"\nprompt_tokens = 100\noutput_tokens = 200\n";
    let text = format!("duration = \"30m\"\n{crowd}{queue}");
    let record = simulate(&text, "", &["engine.max_num_seqs=64"]);
    assert_eq!((record.measures.scale_ups, record.measures.replicas_max), (0.0, 1.0));
    // Four seats fewer than users, and it acts.
    let record = simulate(&text, "", &["engine.max_num_seqs=32"]);
    assert!(record.measures.scale_ups > 0.0);
}

/// New replicas drain the queue to nothing, the HPA takes them away, and the queue comes back.
#[test]
fn a_queue_only_hpa_flaps() {
    let queue = hpa("Pods", "vllm:num_requests_waiting", &average("5"));
    let text = format!("duration = \"2h\"\n{}{queue}", poisson(4.0));
    let record = simulate(&text, "", &["engine.max_num_seqs=32"]);
    assert!(record.measures.flaps >= 4.0, "{} flaps", record.measures.flaps);
    // The same load on the requests in the batch stays where it is.
    let running = hpa("Pods", "vllm:num_requests_running", &average("16"));
    let text = format!("duration = \"2h\"\n{}{running}", poisson(4.0));
    let steady = simulate(&text, "", &["engine.max_num_seqs=32"]);
    assert!(steady.measures.flaps < record.measures.flaps, "{} flaps", steady.measures.flaps);
}

/// A gauge that cannot exceed its target by more than the tolerance never fires, however long the queue is.
#[test]
fn a_bounded_gauge_below_its_target_never_fires() {
    for (name, target) in
        [("vllm:kv_cache_usage_perc", "950m"), ("vllm:num_requests_running", "30")]
    {
        let text =
            format!("duration = \"30m\"\n{}{}", poisson(8.0), hpa("Pods", name, &average(target)));
        let record = simulate(&text, "", &["engine.max_num_seqs=32"]);
        assert_eq!(record.measures.scale_ups, 0.0, "{name}");
        assert!(record.measures.unserved_at_end > 1000.0, "{name}: the load is far above capacity");
    }
}

/// L9: what a gauge does between two scrapes cannot alter a decision.
#[test]
fn load_between_two_scrapes_is_invisible() {
    let queue = hpa("Pods", "vllm:num_requests_running", &average("1"));
    let text = format!("duration = \"30m\"\n{REPLAY}{queue}");
    let slow = ["pipeline.adapter=direct", "pipeline.scrape_interval=\"60s\""];
    // When the only pod is scraped: every run with this seed has the same phase.
    let config = PipelineConfig { scrape_interval: support::secs(60), ..PipelineConfig::direct() };
    let mut pipeline = Pipeline::new(&config, &[Query::gauge()], Seed(7));
    let first = pipeline.target_up(SimTime::ZERO, Origin::Server, PodId(0)).expect("new");
    let phase = first.as_secs_f64() as u64;
    // Ten requests right after each scrape, done within half a minute.
    let times: Vec<(u64, u64)> = (2..28).map(|minute| (minute * 60 + phase + 2, 10)).collect();
    let quiet = simulate(&text, &bursts(&[(1799, 1)]), &slow);
    let busy = simulate(&text, &bursts(&times), &slow);
    assert!(busy.accounting.completed >= 250);
    let decisions = |r: &RunRecord| -> Vec<_> {
        r.decisions.iter().map(|d| (d.now, d.metrics.clone(), d.scale_to)).collect()
    };
    assert_eq!(decisions(&quiet), decisions(&busy));
    // Scraped every two seconds, the same load is seen.
    let fast = ["pipeline.adapter=direct", "pipeline.scrape_interval=\"2s\""];
    assert!(simulate(&text, &bursts(&times), &fast).measures.scale_ups > 0.0);
}

/// Token rates from counters and latency quantiles from histograms come close to what happened.
#[test]
fn rates_and_quantiles_agree_with_the_requests() {
    let rules = "[pipeline]\nadapter = \"prometheus-adapter\"\n[[pipeline.rules]]\nname = \"ttft_p90\"\nquery = \
        \"histogram_quantile(0.9, sum by (le) (rate(vllm:time_to_first_token_seconds_bucket[10m])))\"\n";
    let value = |kind: &str, name: &str, target: &str| {
        let text =
            format!("duration = \"40m\"\n{}{rules}{}", poisson(1.0), hpa(kind, name, target));
        let record = simulate(&text, "", &["hpa.max_replicas=1"]);
        let last = readings(&record).last().expect("a reading").1;
        (last, record)
    };
    // 1 request/s with 100 tokens each.
    let (rate, _) = value("External", "vllm:generation_tokens_total", &average("1000"));
    assert!((60.0..140.0).contains(&rate), "{rate} tokens/s");
    let (ttft, record) = value("External", "ttft_p90", "target_value = \"1000\"");
    let mut own: Vec<f64> = record
        .requests
        .iter()
        .filter_map(|r| Some((r.record.first_token? - r.record.arrival).as_secs_f64()))
        .collect();
    own.sort_by(f64::total_cmp);
    let p90 = own[own.len() * 9 / 10];
    // Inside of one bucket of 0.1 to 0.25, 0.25 to 0.5 or 0.5 to 0.75 s.
    assert!((ttft - p90).abs() < 0.25, "{ttft} against {p90}");
}

/// Duty cycle is minutes old, whatever the load does.
#[test]
fn the_duty_cycle_comes_minutes_late() {
    let name = "kubernetes.io|container|accelerator|duty_cycle";
    let text = format!("duration = \"40m\"\n{REPLAY}{}", hpa("External", name, &average("60")));
    let trace = bursts(&(600..1800).map(|s| (s, 1)).collect::<Vec<_>>());
    let at = |set: &[&str]| {
        let record = simulate(&text, &trace, set);
        let first = record.decisions.iter().find(|d| d.scale_to.is_some_and(|n| n > 1));
        first.expect("it scales up").now.as_secs_f64() - 600.0
    };
    let late = at(&["pipeline.system.delay=\"200s\""]);
    assert!((200.0..200.0 + 10.0 + 60.0 + 16.0).contains(&late), "{late} s");
}

/// CPU as a Resource metric is an estimate, and says so; a starting pod's CPU does not count until it is ready.
#[test]
fn cpu_is_marked_as_an_estimate() {
    let cpu = hpa("Resource", "cpu", "target_average_utilization = 50");
    let text = format!("duration = \"40m\"\n{}{cpu}", poisson(2.0));
    let (_, warnings) = try_load(&text, "", &[]).unwrap();
    assert!(warnings.contains("the CPU usage of a pod is an estimate"), "{warnings}");
    let record = simulate(&text, "", &[]);
    assert!(record.measures.scale_ups > 0.0);
    // An HPA without metrics scales on cpu at 80 %.
    let bare = format!("duration = \"10m\"\n{}[hpa]\nmax_replicas = 3\n", poisson(1.0));
    assert!(try_load(&bare, "", &[]).unwrap().1.contains("is an estimate"));
    let memory = hpa("Resource", "memory", "target_average_utilization = 50");
    let refused = try_load(&format!("duration = \"10m\"\n{}{memory}", poisson(1.0)), "", &[]);
    assert!(refused.unwrap_err().contains("of the resources only `cpu` is simulated"));
}

/// KEDA counts an empty result as 0 unless told otherwise: while nothing is scraped, it scales down under full load.
#[test]
fn keda_takes_an_outage_of_the_metrics_for_no_load() {
    let run = |ignore: &str| {
        let metric = hpa("External", "s0-prometheus", &average("8"));
        let text = format!(
            "duration = \"60m\"\n{}{metric}[pipeline]\nadapter = \"keda\"\n[[pipeline.rules]]\nname = \
             \"s0-prometheus\"\nquery = \"sum(vllm:num_requests_running)\"\n[pipeline.faults]\noutages = \
             [{{ part = \"collector\", from = \"30m\", until = \"45m\" }}]\n[pipeline.keda]\n\
             ignore_null_values = {ignore}\n",
            poisson(4.0)
        );
        simulate(&text, "", &[])
    };
    let trap = run("true");
    assert!(desired(&trap, 1799) > 2.0);
    // The look-back of 5 min, a stabilisation window of 1 min, then the minimum.
    assert!(desired(&trap, 1800 + 280) > 2.0, "old samples still count");
    assert_eq!(desired(&trap, 1800 + 300 + 120), 1.0);
    let safe = run("false");
    assert!(desired(&safe, 1800 + 300 + 120) > 2.0, "an error keeps the scale");
    let failed = safe.decisions.iter().filter(|d| d.branch == Branch::FailedMetrics).count();
    assert!(failed > 20, "{failed} failed reconciles");
}

/// From zero, a metric of the servers never wakes KEDA, since there is no server; the router's does.
#[test]
fn keda_sleeps_and_wakes_by_the_router_only() {
    let run = |query: &str| {
        let metric = hpa("External", "s0-prometheus", &average("1"));
        let text = format!(
            "duration = \"60m\"\n{REPLAY}{metric}[pipeline]\nadapter = \"keda\"\n[pipeline.keda]\n\
             min_replica_count = 0\n[[pipeline.rules]]\nname = \"s0-prometheus\"\nquery = \"{query}\"\n"
        );
        // Load in the first ten minutes and from the fortieth on.
        let times: Vec<(u64, u64)> = (0..600).chain(2400..3600).map(|s| (s, 1)).collect();
        simulate(&text, &bursts(&times), &[])
    };
    let server = run("sum(vllm:num_requests_running)");
    // The last activity at 10 min, 5 min of cooldown, a poll every 30 s.
    assert_eq!(desired(&server, 880), 1.0);
    assert_eq!((desired(&server, 1000), desired(&server, 3599)), (0.0, 0.0), "it never wakes");
    let router = run("sum(rate(vllm:num_incoming_requests_total[1m]) > bool 0)");
    assert_eq!(desired(&router, 1100), 0.0);
    assert!(desired(&router, 2400 + 90) >= 1.0, "a scrape and a poll later");
    assert!(router.accounting.completed > server.accounting.completed);
}

/// While the metrics API is down the HPA keeps the scale, and says why.
#[test]
fn an_outage_of_the_adapter_keeps_the_scale() {
    let metric = hpa("Pods", "vllm:num_requests_running", &average("8"));
    let text = format!("duration = \"30m\"\n{}{metric}", poisson(4.0));
    let record =
        simulate(&text, "", &["pipeline.faults.outages=[{ from = \"15m\", until = \"20m\" }]"]);
    let down: Vec<_> = record
        .decisions
        .iter()
        .filter(|d| (900.0..1200.0).contains(&d.now.as_secs_f64()))
        .collect();
    assert!(down.len() >= 18, "{}", down.len());
    assert!(down.iter().all(|d| d.branch == Branch::FailedMetrics && d.scale_to.is_none()));
}

/// What the endpoint picker shows of its pool's queue is what the pods show; it belongs to no pod.
#[test]
fn the_pools_queue_is_that_of_its_pods() {
    let run = |name: &str| {
        let metric = hpa("External", name, &average("6"));
        let text = format!("duration = \"20m\"\n{}{metric}", poisson(6.0));
        let set =
            ["pipeline.adapter=direct", "engine.max_num_seqs=8", "cluster.routing.policy=epp"];
        let record = simulate(&text, "", &set);
        (readings(&record), record)
    };
    let (total, record) = run("prometheus.googleapis.com|inference_pool_per_pod_queue_size|gauge");
    let (_, mean) = run("inference_pool_average_queue_size");
    let (_, of_pods) = run("vllm:num_requests_waiting");
    let peak = |list: &[(f64, f64)]| list.iter().map(|r| r.1).fold(0.0, f64::max);
    assert!(peak(&total) > 20.0, "a queue: {total:?}");
    // The first wave, which all three meet with one replica: what an average means depends on how many there are.
    let wave = |record: &RunRecord| {
        let replicas: BTreeMap<SimTime, f64> =
            record.series(Series::ReplicasCurrent).map(|row| (row.at, row.value)).collect();
        let rows = record.series(Series::HpaMetric(0));
        let first = rows.filter(|row| row.at < SimTime::from_secs(300));
        first.map(|row| row.value * replicas[&row.at]).fold(0.0, f64::max)
    };
    // Scraped at other times.
    let ratio = wave(&record) / wave(&of_pods);
    assert!((ratio - 1.0).abs() < 0.5, "{} {}", wave(&record), wave(&of_pods));
    assert!(desired(&record, 1199) > 3.0, "and the HPA acts on it");
    assert!(wave(&mean) <= wave(&record), "{} {}", wave(&mean), wave(&record));
    let metric = hpa("Pods", "inference_pool_average_queue_size", &average("1"));
    let refused = try_load(&format!("duration = \"10m\"\n{}{metric}", poisson(1.0)), "", &[]);
    assert!(refused.unwrap_err().contains("is a metric of the router, not of the pods"));
    let rule = "[pipeline]\nadapter = \"keda\"\n[[pipeline.rules]]\nname = \"q\"\nquery = \
                \"max(inference_pool_per_pod_queue_size)\"\n";
    let metric = hpa("External", "q", &average("1"));
    let text = format!("duration = \"10m\"\n{}{rule}{metric}", poisson(1.0));
    assert!(try_load(&text, "", &[]).unwrap_err().contains("only the sum is simulated"));
}

/// With flow control the queue is at the gateway; what is not there is on its way.
// Source: llm-d's guide for an HPA on the metrics of its router.
#[test]
fn a_gateway_that_holds_shows_its_queue() {
    let run = |name: &str, target: &str| {
        let metric = hpa("External", name, &average(target));
        let text = format!("duration = \"20m\"\n{}{metric}", poisson(6.0));
        let set = [
            "pipeline.adapter=direct",
            "engine.max_num_seqs=8",
            "cluster.routing.policy=epp",
            "cluster.routing.flow_control=true",
        ];
        let record = simulate(&text, "", &set);
        (readings(&record), record)
    };
    let peak = |list: &[(f64, f64)]| list.iter().map(|r| r.1).fold(0.0, f64::max);
    let (held, record) = run("llm_d_epp_flow_control_queue_size", "6");
    let shown = record.series(Series::FlowControlQueueSize).map(|row| row.value);
    let most = shown.fold(0.0, f64::max);
    assert!(peak(&held) > 20.0 && peak(&held) <= most * 1.3, "{} {most}", peak(&held));
    assert!(desired(&record, 1199) > 1.0, "the HPA acts on it");
    let (running, record) = run("inference_objective_running_requests", "8");
    assert!(peak(&running) >= 8.0, "{running:?}");
    assert!(desired(&record, 1199) > 1.0, "and on those under way");
    // Without flow control there is no such queue.
    let metric = hpa("External", "inference_extension_flow_control_queue_size", &average("6"));
    let text = format!("duration = \"10m\"\n{}{metric}", poisson(1.0));
    let (_, warned) = try_load(&text, "", &[]).expect("only a warning");
    assert!(warned.contains("stays 0") && warned.contains("flow_control = true"), "{warned}");
}

/// The memory of the GPUs as GKE shows it: in bytes, minutes late, the same at any load once a server listens.
#[test]
fn accelerator_memory_is_that_of_fb_used_in_bytes() {
    let run = |kind: &str, name: &str| {
        let metric = hpa(kind, name, &average("1T"));
        let text = format!("duration = \"20m\"\n{}{metric}", poisson(1.0));
        readings(&simulate(&text, "", &[])).last().unwrap().1
    };
    let used = run("External", "kubernetes.io|container|accelerator|memory_used");
    let total = run("External", "kubernetes.io|container|accelerator|memory_total");
    let fb = run("Pods", "DCGM_FI_DEV_FB_USED");
    assert!((used / (fb * 1_048_576.0) - 1.0).abs() < 1e-6, "{used} {fb}");
    assert!(total > used && total < 26e9, "{total}");
}

/// Copies that an adapter does not keep are told.
#[test]
fn a_copy_that_is_not_kept_is_told() {
    let of = |set: &[&str]| {
        let metric = hpa("Pods", "vllm:num_requests_running", &average("1"));
        try_load(&format!("duration = \"10m\"\n{}{metric}", poisson(1.0)), "", set).unwrap().1
    };
    assert!(of(&["pipeline.refresh=30s"]).contains("`pipeline.refresh` changes nothing"));
    assert_eq!(of(&["pipeline.external_cache_ttl=1m"]), "");
    let other = of(&["pipeline.adapter=prometheus-adapter", "pipeline.external_cache_ttl=1m"]);
    assert!(other.contains("`pipeline.external_cache_ttl` changes nothing"), "{other}");
    assert_eq!(of(&["pipeline.adapter=prometheus-adapter", "pipeline.refresh=30s"]), "");
}

/// GKE's own agent answers like the Prometheus paths, under names of its own, and knows gauges of the pods only.
#[test]
fn gke_native_hands_over_gauges_of_the_pods() {
    let run = |adapter: &str, name: &str| {
        let metric = hpa("Pods", name, &average("8"));
        let text = format!("duration = \"20m\"\n{}{metric}", poisson(4.0));
        let set = format!("pipeline.adapter={adapter}");
        readings(&simulate(&text, "", &[&set]))
    };
    let native = run("gke-native", "autoscaling.gke.io|vllm|num-requests-running");
    let plain = run("prometheus-adapter", "vllm:num_requests_running");
    assert!(native.len() > 60 && native == plain, "{} and {}", native.len(), plain.len());
    let of = |kind: &str, name: &str| {
        let metric = hpa(kind, name, &average("1"));
        let text = format!("duration = \"10m\"\n{}{metric}", poisson(1.0));
        try_load(&text, "", &["pipeline.adapter=gke-native"]).unwrap_err()
    };
    for (kind, name) in [
        ("External", "vllm:num_requests_running"),
        ("Pods", "vllm:generation_tokens_total"),
        ("Pods", "DCGM_FI_DEV_GPU_UTIL"),
    ] {
        assert!(of(kind, name).contains("does not come through GKE's own"), "{name}");
    }
    let unknown = of("Pods", "autoscaling.gke.io|vllm|queue-depth");
    assert!(unknown.contains("cannot be simulated"), "{unknown}");
}

/// A name of an older release is simulated, but the servers do not show it.
#[test]
fn names_of_older_releases_are_told() {
    let of = |name: &str| {
        let metric = hpa("Pods", name, &average("1"));
        try_load(&format!("duration = \"10m\"\n{}{metric}", poisson(1.0)), "", &[]).unwrap().1
    };
    for name in ["vllm:gpu_cache_usage_perc", "vllm_gpu_cache_usage_perc"] {
        assert!(of(name).contains("write `vllm:kv_cache_usage_perc`"), "{}", of(name));
    }
    assert_eq!(of("vllm:kv_cache_usage_perc"), "");
}

/// Names and queries that cannot be simulated are refused where they stand, with what would do.
#[test]
fn what_cannot_be_read_is_refused_with_a_hint() {
    let head = "duration = \"10m\"\n";
    let of = |text: &str| try_load(&format!("{head}{}{text}", poisson(1.0)), "", &[]).unwrap_err();
    let text = of(&hpa("Pods", "vllm:time_to_first_token_seconds", &average("1")));
    assert!(text.contains("is a histogram") && text.contains("histogram_quantile(0.95"), "{text}");
    let text = of(&hpa("External", "s0-prometheus", &average("1")));
    assert!(text.contains("add `[[pipeline.rules]]` with `name = \"s0-prometheus\"`"), "{text}");
    let rule = |query: &str| {
        format!(
            "[pipeline]\nadapter = \"keda\"\n[[pipeline.rules]]\nname = \"q\"\nquery = \"{query}\"\n{}",
            hpa("Pods", "q", &average("1"))
        )
    };
    for (query, expected) in [
        ("sum(vllm:num_requests_running)", "a Pods metric needs one per pod"),
        ("sum by (pod) (rate(vllm:num_requests_running[1m]))", "is a gauge"),
        ("vllm:generation_tokens_total", "is a counter: take its `rate`"),
        ("vllm:num_requests_runing", "did you mean `vllm:num_requests_running`?"),
        ("topk(1, vllm:num_requests_running)", "`topk` is not simulated"),
    ] {
        let text = of(&rule(query));
        assert!(text.contains(expected), "{query}: {text}");
    }
    // KEDA fails on more than one element; other adapters hand them over and the HPA adds them up.
    let external = |query: &str| rule(query).replace("type = \"Pods\"", "type = \"External\"");
    let per_pod = external("vllm:num_requests_running");
    let text = of(&per_pod);
    assert!(text.contains("has one value per pod, KEDA takes one"), "{text}");
    let fine = |text: &str| try_load(&format!("{head}{}{text}", poisson(1.0)), "", &[]);
    assert!(fine(&per_pod.replace("keda", "prometheus-adapter")).is_ok());
    assert!(fine(&external("sum(vllm:num_requests_running)")).is_ok());
    assert!(fine(&external("rate(vllm:num_incoming_requests_total[1m])")).is_ok());
    let text = of(&rule("vllm:num_requests_running").replace("keda", "stackdriver"));
    assert!(text.contains("takes names, not queries"), "{text}");
}
