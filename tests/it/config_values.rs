//! What a file says arrives in the scenario, for every kind of source and every table.

use std::collections::BTreeMap;

use hpasim::cluster::{ImagePull, ModelLoad, Packing, ShutdownMode};
use hpasim::config::{Loader, Options, load};
use hpasim::engine::SchedulerRules;
use hpasim::gateway::{Admission, Detector, KeepAlive, Picker, Policy, Saturation};
use hpasim::hpa::SyncMode;
use hpasim::pipeline::Adapter;
use hpasim::rng::{Dist, Seed};
use hpasim::sim::{Autoscaler, FeedShape, Scenario, Signal};
use hpasim::units::{SimDuration, SimTime};
use hpasim::workload::{Arrivals, VllmBench};

struct Files(BTreeMap<&'static str, &'static str>);

impl Loader for Files {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        self.0.get(path).map(|t| t.as_bytes().to_vec()).ok_or_else(|| "no such file".to_owned())
    }
}

const HPA_YAML: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: from-file
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: vllm}
  minReplicas: 2
  maxReplicas: 7
  metrics:
  - type: Pods
    pods:
      metric: {name: 'prometheus.googleapis.com|vllm:num_requests_running|gauge'}
      target: {type: AverageValue, averageValue: 10}
";

/// Loads `text` below the folder `e/`, with a few files beside it.
fn scenario(text: &str) -> Scenario {
    loaded(text, &[]).base
}

fn loaded(text: &str, set: &[&str]) -> hpasim::config::Experiment {
    let text: &'static str = Box::leak(format!("schema = 1\n{text}").into_boxed_str());
    let files = Files(BTreeMap::from([
        ("e/x.toml", text),
        ("e/hpa.yaml", HPA_YAML),
        ("t.csv", "arrival_s,prompt_tokens,output_tokens\n0.5,100,20\n2.0,10,5\n90,7,1\n"),
        ("e/rates.csv", "t_s,rate_rps\n0,1\n60,3\n"),
        ("e/replicas.csv", "t_s,replicas\n0,1\n60,4\n"),
        ("e/lengths.txt", "10\n20\n"),
    ]));
    let overrides = set.iter().map(|s| (*s).to_owned()).collect();
    match load(&files, "e/x.toml", &Options { overrides, ..Options::default() }) {
        Ok(loaded) => loaded.experiment,
        Err(findings) => panic!("{findings}"),
    }
}

const MODEL: &str = "[model]\nprofile = \"l4-llama-3.1-8b\"\n[engine]\nmax_model_len = 8192\n";
const REPLICAS: &str = "[replicas]\nfixed = 2\n";

/// A scenario with this workload.
fn workload(text: &str) -> Scenario {
    scenario(&format!("duration = \"10m\"\n{MODEL}{REPLICAS}{text}"))
}

fn count(scenario: &Scenario) -> usize {
    let until = SimTime::ZERO + scenario.duration;
    scenario.workload.materialise(Seed(1), until).len()
}

#[test]
fn every_source_of_requests_can_be_written() {
    let lengths = "prompt_tokens = 100\noutput_tokens = 20\n";
    for (source, low, high) in [
        ("[workload.constant]\nrate_rps = 2\n", 1_199, 1_201),
        ("[workload.poisson]\nrate_rps = 2\n", 1_050, 1_350),
        ("[workload.gamma]\nrate_rps = 2\ncv = 2\n", 900, 1_500),
        ("[workload.gamma]\nrate_rps = 2\nburstiness = 0.5\n", 900, 1_500),
        ("[workload.weibull]\nrate_rps = 2\nshape = 0.8\n", 900, 1_500),
        (
            "[workload.mmpp]\nstates = [{ rate_rps = 0, sojourn = \"5s\" }, { rate_rps = 4, sojourn = \
             \"5s\" }]\n",
            700,
            1_700,
        ),
        ("[workload.rate_curve]\npoints = [[\"0s\", 1], [\"10m\", 3]]\n", 1_000, 1_400),
        ("[workload.rate_curve]\nfile = \"rates.csv\"\n", 1_500, 1_950),
        (
            "[workload.rate_curve]\npreset = \"azure-code-week\"\nmean_rps = 2\nstart_hour = 12\n",
            300,
            3_000,
        ),
    ] {
        let scenario = workload(&format!("{source}{lengths}"));
        let requests = count(&scenario);
        assert!((low..=high).contains(&requests), "{requests} requests from\n{source}");
    }
    // Twice the rate, and half of a trace's times.
    let poisson = "[workload.poisson]\nrate_rps = 2\nrate_scale = 2\n";
    assert!((2_200..2_600).contains(&count(&workload(&format!("{poisson}{lengths}")))));
    let trace = workload("[workload.trace]\npath = \"../t.csv\"\ntime_stretch = 0.5\n");
    let requests = trace.workload.materialise(Seed(1), SimTime::from_secs(600));
    let seconds: Vec<f64> = requests.iter().map(|r| r.arrival.as_secs_f64()).collect();
    assert_eq!(seconds, [0.25, 1.0, 45.0]);
}

#[test]
fn every_length_can_be_written() {
    for (lengths, prompt, output) in [
        ("prompt_tokens = 7\noutput_tokens = { constant = 3 }", 7..=7, 3..=3),
        ("prompt_tokens = { uniform = { min = 5, max = 6 } }\noutput_tokens = 1", 5..=6, 1..=1),
        (
            "prompt_tokens = { lognormal = { mean = 100, sd = 50 }, max = 90 }\noutput_tokens = { \
             lognormal = { mu = 3, sigma = 1 }, min = 9 }",
            1..=90,
            9..=100_000,
        ),
        (
            "prompt_tokens = { gamma = { shape = 2, scale = 50 } }\noutput_tokens = { normal = { mean = \
             50, sd = 5 } }",
            1..=10_000,
            10..=90,
        ),
        (
            "prompt_tokens = { exponential = { mean = 50 } }\noutput_tokens = { quantiles = { p = [0, \
             1], v = [4, 8] } }",
            1..=10_000,
            4..=8,
        ),
        ("prompt_tokens = { file = \"lengths.txt\" }\noutput_tokens = 5", 10..=20, 5..=5),
        ("lengths = \"azure-conv-like\"", 2..=8192, 7..=1000),
        ("lengths_from = \"../t.csv\"", 7..=100, 1..=20),
        (
            "[workload.poisson.mixture]\ncomponents = [{ weight = 1, mu_in = 3, sigma_in = 0.1, mu_out \
             = 2, sigma_out = 0.1 }]\nprompt_max = 25\n",
            10..=25,
            4..=15,
        ),
    ] {
        let scenario = workload(&format!("[workload.poisson]\nrate_rps = 1\n{lengths}\n"));
        let requests = scenario.workload.materialise(Seed(1), SimTime::from_secs(600));
        assert!(requests.len() > 300);
        for r in requests.iter() {
            assert!(prompt.contains(&r.prompt_tokens), "{} from {lengths}", r.prompt_tokens);
            assert!(output.contains(&r.output_tokens), "{} from {lengths}", r.output_tokens);
        }
    }
}

#[test]
fn streams_overlap() {
    let one = "[[workload.stream]]\nclass = \"a\"\n[workload.stream.constant]\nrate_rps = 1\n\
        prompt_tokens = 1\noutput_tokens = 1\n";
    let two = "[[workload.stream]]\nstart = \"5m\"\nduration = \"1m\"\n[workload.stream.constant]\n\
        rate_rps = 2\nprompt_tokens = 9\noutput_tokens = 9\n";
    let scenario = workload(&format!("{one}{two}"));
    let requests = scenario.workload.materialise(Seed(1), SimTime::from_secs(600));
    let second = requests.iter().filter(|r| r.prompt_tokens == 9).count();
    assert!((599..=601).contains(&(requests.len() - second)), "{} in all", requests.len());
    assert!((119..=121).contains(&second), "{second}");
}

#[test]
fn a_trace_sets_the_length_of_the_run() {
    let trace = scenario(&format!("{MODEL}{REPLICAS}[workload.trace]\npath = \"../t.csv\"\n"));
    assert!(trace.duration >= SimDuration::from_secs(90), "{}", trace.duration);
    assert!(trace.duration < SimDuration::from_secs(100), "{}", trace.duration);
}

const POISSON: &str = "[workload.poisson]\nrate_rps = 1\nprompt_tokens = 10\noutput_tokens = 10\n";

#[test]
fn replicas_without_an_autoscaler() {
    let fixed = workload(POISSON);
    assert!(matches!(fixed.autoscaler, Autoscaler::Fixed(2)));
    let scripted = scenario(&format!(
        "duration = \"10m\"\n{MODEL}{POISSON}[replicas]\nschedule = \"replicas.csv\"\n"
    ));
    let Autoscaler::Schedule(rows) = scripted.autoscaler else { panic!("a schedule") };
    assert_eq!(rows, [(SimTime::ZERO, 1), (SimTime::from_secs(60), 4)]);
}

#[test]
fn a_manifest_is_the_base_and_keys_go_on_top() {
    let text = |hpa: &str| {
        format!("duration = \"10m\"\n{MODEL}{POISSON}[hpa]\nmanifest = \"hpa.yaml\"\n{hpa}")
    };
    let plain = loaded(&text(""), &[]);
    let Autoscaler::Hpa(setup) = &plain.base.autoscaler else { panic!("an HPA") };
    assert_eq!((setup.spec.min_replicas, setup.spec.max_replicas), (Some(2), 7));
    assert_eq!(setup.feeds[0].signal, Signal::NumRequestsRunning);
    assert_eq!(setup.feeds[0].shape, FeedShape::PerPod);
    assert_eq!(plain.base_manifest.as_ref().unwrap().name(), "from-file");

    let changed = loaded(
        &text(
            "max_replicas = 9\n[hpa.behavior.scale_up]\nselect_policy = \"Min\"\npolicies = [{ type = \
             \"Pods\", value = 2, period_seconds = 60 }]\n",
        ),
        &["hpa.behavior.scale_down.tolerance=0.2", "cluster.kube_version=1.35"],
    );
    let Autoscaler::Hpa(setup) = &changed.base.autoscaler else { panic!("an HPA") };
    assert_eq!((setup.spec.min_replicas, setup.spec.max_replicas), (Some(2), 9));
    let behavior = setup.spec.behavior.as_ref().unwrap();
    let up = behavior.scale_up.as_ref().unwrap();
    assert_eq!(up.select_policy.as_deref(), Some("Min"));
    assert_eq!(up.policies.as_ref().unwrap()[0].period_seconds, 60);
    let tolerance = behavior.scale_down.as_ref().unwrap().tolerance.as_ref().unwrap();
    assert_eq!(tolerance.milli_value(), 200);
    assert_eq!(setup.controller.kube_minor, 35);
    assert_ne!(plain.plan.cases[0].digest, changed.plan.cases[0].digest);
    // The exported object carries the change.
    assert_eq!(changed.base_manifest.unwrap().spec.max_replicas, 9);
}

#[test]
fn external_metrics_are_sums() {
    let text = format!(
        "duration = \"10m\"\n{MODEL}{POISSON}[hpa]\nmax_replicas = 3\n[[hpa.metrics]]\ntype = \
         \"External\"\nname = \"vllm:kv_cache_usage_perc\"\ntarget_average_value = \"700m\"\n"
    );
    let Autoscaler::Hpa(setup) = scenario(&text).autoscaler else { panic!("an HPA") };
    assert_eq!(setup.feeds[0].signal, Signal::KvCacheUsagePerc);
    assert_eq!(setup.feeds[0].shape, FeedShape::SUM);
}

#[test]
fn cluster_keys_override_their_presets() {
    let set = [
        "cluster.model_storage=gcs",
        "cluster.min_nodes=3",
        "cluster.max_nodes=9",
        "cluster.packing=spread",
        "cluster.routing.policy=p2c",
        "cluster.provisioning.node_ready={ median = \"100s\", p95 = \"200s\" }",
        "cluster.provisioning.scale_down_unneeded=5m",
        "cluster.provisioning.stock_out_probability=0.25",
        "cluster.startup.image_gb=12",
        "cluster.startup.load=42s",
        "cluster.startup.init=7s",
        "cluster.startup.readiness_probe.initial_delay=0s",
        "cluster.startup.startup_probe.period=2s",
        "cluster.termination.preset=kserve",
        "cluster.termination.shutdown=drain",
        "cluster.termination.shutdown_timeout=45s",
    ];
    let scenario = loaded(&format!("duration = \"10m\"\n{MODEL}{POISSON}{REPLICAS}"), &set).base;
    let cluster = &scenario.cluster;
    let pool = &cluster.pools[0];
    let secs = SimDuration::from_secs;
    assert_eq!((pool.min_nodes, pool.max_nodes), (3, 9));
    assert_eq!(pool.machine_type, "g2-standard-12");
    assert_eq!(pool.provisioning, Dist::LogNormal { median: secs(100), p95: secs(200) });
    assert_eq!(pool.stock_out.probability, 0.25);
    assert_eq!(cluster.packing, Packing::Spread);
    assert_eq!(cluster.autoscaler.scale_down_unneeded, secs(300));
    assert_eq!(scenario.gateway, Policy::PowerOfTwo);
    let ImagePull::Rate { unpacked_bytes, .. } = cluster.startup.image else { panic!("a rate") };
    assert_eq!(unpacked_bytes, 12_000_000_000);
    assert_eq!(cluster.startup.load, ModelLoad::Time(Dist::Constant(secs(42))));
    assert_eq!(cluster.startup.init, Dist::Constant(secs(7)));
    assert_eq!(cluster.probe.readiness.initial_delay, SimDuration::ZERO);
    assert_eq!(cluster.probe.startup.unwrap().period, secs(2));
    assert_eq!((cluster.termination.grace, cluster.termination.pre_stop), (secs(60), secs(15)));
    assert_eq!(cluster.termination.shutdown, ShutdownMode::Drain { timeout: secs(45) });
    // The node's price comes from the profile.
    assert!((scenario.cluster.pools[0].usd_per_hour - 1.0004).abs() < 1e-9);
}

#[test]
fn pods_share_large_nodes() {
    let text = format!(
        "duration = \"10m\"\n[model]\nprofile = \"h100-llama-3.1-70b-tp4\"\n[engine]\nmax_model_len = \
         8192\n[cluster]\nmachine_type = \"a3-highgpu-8g\"\n{POISSON}{REPLICAS}"
    );
    let scenario = scenario(&text);
    let pool = &scenario.cluster.pools[0];
    assert_eq!((pool.gpus_per_node, pool.replicas_per_node), (8, 2));
    assert_eq!(scenario.cluster.gpus_per_replica, 4);
    assert!((scenario.cluster.pools[0].usd_per_hour - 88.49).abs() < 1e-9);
}

#[test]
fn engine_defaults_follow_the_gpu_and_the_version() {
    let engine = |profile: &str, set: &[&str]| {
        let text = format!(
            "duration = \"10m\"\n[model]\nprofile = \"{profile}\"\n[engine]\nmax_model_len = \
             4096\n{POISSON}{REPLICAS}"
        );
        loaded(&text, set).base.engine.scheduler.clone()
    };
    // Source: vllm 0.33.0, engine/arg_utils.py.
    let l4 = engine("l4-llama-3.1-8b", &[]);
    assert_eq!((l4.max_num_seqs, l4.max_num_batched_tokens), (256, 2048));
    let a100 = engine("a100-80-llama-3.1-8b", &[]);
    assert_eq!((a100.max_num_seqs, a100.max_num_batched_tokens), (256, 2048));
    let h100 = engine("h100-llama-3.1-8b", &[]);
    assert_eq!((h100.max_num_seqs, h100.max_num_batched_tokens), (1024, 8192));
    assert_eq!((l4.rules, l4.async_scheduling), (SchedulerRules::V0_33, true));
    let old = engine("l4-llama-3.1-8b", &["engine.vllm_version=0.11"]);
    assert_eq!((old.rules, old.async_scheduling), (SchedulerRules::V0_11, false));
    assert!(!old.scheduler_reserve_full_isl);
    // 0.90 instead of 0.92 of 23.66 GB, but 0.6 GB of CUDA graphs outside of it; blocks of 2 MiB.
    let more = (0.6e9 - 0.02 * 23_659_151_360.0) / f64::from(2 << 20);
    assert_eq!(old.num_gpu_blocks - l4.num_gpu_blocks, more as u32);
    assert_eq!(engine("l4-llama-3.1-8b", &["engine.num_gpu_blocks=999"]).num_gpu_blocks, 999);
}

#[test]
fn the_pipeline_follows_its_adapter() {
    let pipeline = |set: &[&str]| {
        loaded(&format!("duration = \"10m\"\n{MODEL}{POISSON}{REPLICAS}"), set).base.pipeline
    };
    let guide = pipeline(&[]);
    assert!(matches!(guide.adapter, Adapter::Stackdriver { .. }));
    assert_eq!(guide.scrape_interval, SimDuration::from_secs(15));
    assert_eq!(guide.lookback, SimDuration::from_secs(300));
    let prometheus = pipeline(&["pipeline.adapter=prometheus-adapter", "pipeline.refresh=30s"]);
    let refresh = Some(SimDuration::from_secs(30));
    assert_eq!(prometheus.adapter, Adapter::PrometheusAdapter { refresh });
    assert!(prometheus.ingest.median() < guide.ingest.median());
    assert_eq!(pipeline(&["pipeline.adapter=direct"]).adapter, Adapter::Direct);
}

#[test]
fn controller_flags_are_read() {
    let text = format!(
        "duration = \"10m\"\n{MODEL}{POISSON}[hpa]\nmax_replicas = 3\n[[hpa.metrics]]\nname = \
         \"vllm:num_requests_waiting\"\ntarget_average_value = 5\n[controller]\nsync_period = \
         \"5s\"\ntolerance = 0.2\nsync_mode = \"locked\"\n"
    );
    let Autoscaler::Hpa(setup) = scenario(&text).autoscaler else { panic!("an HPA") };
    assert_eq!(setup.schedule.sync_period, SimDuration::from_secs(5));
    assert_eq!(setup.controller.tolerance, 0.2);
    assert_eq!(setup.schedule.mode, SyncMode::Locked);
}

#[test]
fn flags_of_the_command_line_replace_the_hpa() {
    let text = format!(
        "schema = 1\nduration = \"10m\"\n{MODEL}{POISSON}{REPLICAS}[sweep]\n[[sweep.axes]]\nkey = \
         \"slo.ttft\"\nvalues = [\"1s\", \"2s\"]\n"
    );
    let files = Files(BTreeMap::from([
        ("e/x.toml", &*Box::leak(text.into_boxed_str())),
        ("e/hpa.yaml", HPA_YAML),
    ]));
    // The flags' paths are relative to the working directory, not to the experiment.
    let options = Options {
        hpa: Some("e/hpa.yaml".into()),
        current: Some("e/hpa.yaml".into()),
        ..Options::default()
    };
    let loaded = load(&files, "e/x.toml", &options).unwrap_or_else(|e| panic!("{e}"));
    let plan = &loaded.experiment.plan;
    assert_eq!(plan.cases.len(), 3);
    assert_eq!((plan.current, plan.cases[2].id.as_str()), (Some(2), "current"));
    for case in &plan.cases {
        assert!(matches!(case.scenario.autoscaler, Autoscaler::Hpa(_)), "{}", case.id);
    }
}

#[test]
fn routing_policies_have_their_own_keys() {
    let gateway = |set: &[&str]| {
        loaded(&format!("duration = \"10m\"\n{MODEL}{POISSON}{REPLICAS}"), set).base.gateway
    };
    let ms = SimDuration::from_millis;
    assert_eq!(gateway(&[]), Policy::Random);
    assert_eq!(
        gateway(&["cluster.routing.policy=random_per_connection"]),
        Policy::RandomPerConnection(KeepAlive { idle_timeout: ms(5_000), mean_requests: None })
    );
    let kept = [
        "cluster.routing.policy=random_per_connection",
        "cluster.routing.keep_alive=75s",
        "cluster.routing.requests_per_connection=100",
    ];
    let keep_alive = KeepAlive { idle_timeout: ms(75_000), mean_requests: Some(100.0) };
    assert_eq!(gateway(&kept), Policy::RandomPerConnection(keep_alive));
    let picker = ["cluster.routing.policy=epp", "cluster.routing.queue_weight=3"];
    let weights =
        Picker { queue_weight: 3.0, kv_weight: 2.0, refresh: ms(50), ..Picker::default() };
    assert_eq!(gateway(&picker), Policy::EndpointPicker(weights));
}

#[test]
fn streams_have_ends_and_caps_of_their_own() {
    let text = format!(
        "duration = \"10m\"\n{MODEL}{REPLICAS}
[[workload.stream]]
start = \"1m\"
requests = 30
max_connections = 4
request_seed = 12345
[workload.stream.poisson]
rate_rps = 2.0
prompt_tokens = 10
output_tokens = 10
"
    );
    let stream = &loaded(&text, &[]).base.workload.streams()[0].clone();
    assert_eq!((stream.requests, stream.max_connections), (Some(30), Some(4)));
    assert_eq!(stream.start, SimDuration::from_secs(60));
    assert_eq!(stream.request_seed, Some(12345));
}

#[test]
fn a_load_generators_options_make_a_source() {
    let source =
        "[workload.vllm_bench]\nrequest_rate = 2.0\nprompt_tokens = 10\noutput_tokens = 10\n";
    let text = format!("duration = \"10m\"\n{MODEL}{REPLICAS}{source}");
    let bench = |set: &[&str]| match &loaded(&text, set).base.workload.streams()[0].arrivals {
        Arrivals::VllmBench(bench, _) => *bench,
        other => panic!("{other:?}"),
    };
    // Source: vllm 0.33.0, benchmarks/serve.py: 1000 prompts, seed 0, burstiness 1.
    let usual = VllmBench {
        request_rate: 2.0,
        num_prompts: 1000,
        seed: 0,
        burstiness: 1.0,
        test_run: None,
    };
    assert_eq!(bench(&[]), usual);
    let set =
        ["num_prompts=30", "seed=7", "burstiness=0.5"].map(|s| format!("workload.vllm_bench.{s}"));
    let given = VllmBench { num_prompts: 30, seed: 7, burstiness: 0.5, ..usual };
    assert_eq!(bench(&set.each_ref().map(String::as_str)), given);
    let tested = VllmBench { test_run: Some(128), ..usual };
    assert_eq!(bench(&["workload.vllm_bench.test_run_tokens=128"]), tested);
}

/// What tells the user where the prices come from.
fn price_note(text: &str, set: &[&str]) -> String {
    loaded(&format!("duration = \"10m\"\n{MODEL}{POISSON}{REPLICAS}{text}"), set).price_note
}

#[test]
fn a_given_price_tells_its_date() {
    let given = "cost.node_usd_per_hour=0.5";
    let note = price_note("", &[given, "cost.price_date=\"2026-11\""]);
    assert_eq!(note, "0.5 USD/h per g2-standard-12, from the experiment, as of 2026-11");
    assert!(price_note("", &[given]).ends_with("from the experiment, undated"));
    // One of a pool, beside the list price.
    let pool = "[[cluster.pools]]\nusd_per_hour = 0.7\n[cost]\nprice_date = \"2026-10-31\"\n";
    let note = price_note(pool, &[]);
    assert!(note.starts_with("1.0004 USD/h per g2-standard-12, on demand, us-central1"), "{note}");
    assert!(
        note.ends_with(
            "; on-demand 0.7000 USD/h per g2-standard-12, from the experiment, as of 2026-10-31"
        ),
        "{note}"
    );
}

#[test]
fn open_sessions_priorities_and_staleness_are_read() {
    let text = format!(
        "duration = \"10m\"\n{MODEL}{REPLICAS}
[[workload.stream]]
class = \"batch\"
priority = -2
[workload.stream.sessions]
preset = \"chat-sessions\"
rate_rps = 0.1
open = true
[[workload.stream]]
[workload.stream.poisson]
rate_rps = 2.0
prompt_tokens = 10
output_tokens = 10
[cluster.routing]
policy = \"epp\"
shed = true
metrics_staleness = \"2s\"
saturation_detector = \"utilization\"
"
    );
    let read = loaded(&text, &[]);
    let streams = read.base.workload.streams();
    assert_eq!((streams[0].priority, streams[1].priority), (Some(-2), None));
    assert!(read.base.workload.is_sheddable(0) && !read.base.workload.is_sheddable(1));
    assert!(read.base.workload.is_realisable(), "nothing of it waits for an answer");
    let Policy::EndpointPicker(picker) = read.base.gateway else { panic!("epp") };
    assert_eq!(picker.metrics_staleness, SimDuration::from_secs(2));
    let detector = Detector::Utilization;
    let limits = Saturation { detector, ..Saturation::default() };
    assert_eq!(picker.admission, Admission::Shed(limits));
    let set = ["cluster.routing.shed=false", "cluster.routing.flow_control=true"];
    let Policy::EndpointPicker(picker) = loaded(&text, &set).base.gateway else { panic!("epp") };
    assert_eq!(picker.admission, Admission::Hold(limits));
}
