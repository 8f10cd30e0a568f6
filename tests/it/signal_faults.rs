//! What an HPA reads while pods start, die and go away, and while the way of a metric loses samples: whole runs.

use crate::signals::{average, desired, hpa, poisson, readings, simulate};
use crate::support;
use hpasim::cluster::{FaultKind, ModelLoad, ScriptedFault, ShutdownMode};
use hpasim::hpa::spec::{HpaSpec, MetricSpec, MetricTarget};
use hpasim::hpa::{Branch, Quantity};
use hpasim::pipeline::PipelineConfig;
use hpasim::rng::Seed;
use hpasim::sim::{
    Autoscaler, FeedShape, MetricFeed, PodStage, RecordLevel, RunRecord, Scenario, Signal,
    run_workload,
};
use hpasim::units::{PodId, SimTime};
use hpasim::workload::{Arrivals, ClosedLoop, LengthModel, Wait, WorkloadSpec};

/// `replicas` pods under an HPA that never acts: its one metric is far below its target.
fn observed(metric: MetricSpec, feed: MetricFeed, replicas: u32, duration: u64) -> Scenario {
    let count = i32::try_from(replicas).expect("a few");
    let spec = HpaSpec {
        min_replicas: Some(count),
        max_replicas: count,
        metrics: vec![metric],
        ..HpaSpec::default()
    };
    let Autoscaler::Hpa(mut setup) = support::hpa(spec, &[]) else { unreachable!() };
    setup.feeds = vec![feed];
    let engine = support::engine(64, 2_000);
    support::scenario(engine, Autoscaler::Hpa(setup), Vec::new(), duration)
}

fn run(scenario: &Scenario) -> RunRecord {
    run_workload(scenario, Seed(7), RecordLevel::Timeline)
}

/// When a pod enters a stage, in seconds.
fn entries(record: &RunRecord, pod: u32, stage: PodStage) -> Vec<f64> {
    let rows = record.pods.iter().filter(|row| row.pod == PodId(pod) && row.stage == stage);
    rows.map(|row| row.at.as_secs_f64()).collect()
}

fn far() -> Quantity {
    Quantity::parse("1000000").expect("a quantity")
}

/// A scrape every 5 s of an exporter that asks every 5 s, so that a reading is at most 10 s old.
fn quick() -> PipelineConfig {
    PipelineConfig { scrape_interval: support::secs(5), ..PipelineConfig::direct() }
}

/// FB_USED of a pod whose load takes 100 s: 500 MiB and 150 MiB/s, then 15,500 MiB until the server listens, then
/// 21,000 MiB. A container that waits for its restart holds no memory.
#[test]
fn fb_used_follows_the_load_of_the_model_and_the_death_of_the_server() {
    let metric = MetricSpec::pods("DCGM_FI_DEV_FB_USED", far());
    let feed = MetricFeed::instant(Signal::FbUsed, FeedShape::PerPod);
    let mut scenario = observed(metric, feed, 2, 1800);
    // The second pod starts after the first, which serves from the beginning: it tells them apart.
    let Autoscaler::Hpa(setup) = &mut scenario.autoscaler else { unreachable!() };
    setup.start_replicas = 1;
    scenario.pipeline = quick();
    scenario.devices.gpu.collect_interval = support::secs(5);
    scenario.cluster.startup.load = ModelLoad::Time(support::constant_ms(100_000));
    scenario.cluster.startup.init = support::constant_ms(40_000);
    scenario.cluster.faults.restart_backoff_initial = support::secs(120);
    let crash = |s| ScriptedFault { at: SimTime::from_secs(s), replica: 1, kind: FaultKind::Crash };
    scenario.cluster.faults.scripted = vec![crash(700), crash(1000)];
    let record = run(&scenario);
    // The HPA shows the mean over both pods; one of them is at 21,000 MiB throughout.
    let seen: Vec<(f64, f64)> =
        readings(&record).into_iter().map(|(at, mean)| (at, 2.0 * mean - 21_000.0)).collect();
    let loads = entries(&record, 1, PodStage::Loading);
    let listens = entries(&record, 1, PodStage::NotReady);
    let deaths = entries(&record, 1, PodStage::Restarting);
    assert_eq!((loads.len(), listens.len(), deaths.as_slice()), (3, 3, &[700.0, 1000.0][..]));
    assert!(loads[1] - deaths[0] < 5.0 && loads[2] - deaths[1] >= 120.0, "{loads:?}");
    for (i, (start, end)) in loads.iter().zip(&listens).enumerate() {
        let before = (i > 0).then(|| deaths[i - 1]);
        let ramp = |at: f64| 500.0 + 150.0 * (at - start).clamp(0.0, 100.0);
        let inside = seen.iter().filter(|(at, _)| (start + 11.0..*end).contains(at));
        let list: Vec<(f64, f64)> = inside.copied().collect();
        assert!(list.len() >= 7, "{list:?}");
        for (at, mib) in &list {
            assert!((ramp(at - 10.1) - 2.0..=ramp(*at) + 2.0).contains(mib), "{mib} MiB at {at} s");
        }
        assert!(list.iter().any(|(_, mib)| (5_000.0..12_000.0).contains(mib)), "{list:?}");
        assert!((list.last().expect("some").1 - 15_500.0).abs() < 1.0, "{list:?}");
        let until = deaths.get(i).copied().unwrap_or(1800.0);
        let serving: Vec<f64> =
            seen.iter().filter(|(at, _)| (end + 11.0..until).contains(at)).map(|r| r.1).collect();
        assert!(serving.len() >= 10 && serving.iter().all(|mib| (mib - 21_000.0).abs() < 1.0));
        if let Some(death) = before {
            let dead = seen.iter().filter(|(at, _)| (death + 11.0..*start).contains(at));
            assert!(dead.clone().all(|(_, mib)| mib.abs() < 1.0), "nothing runs");
            assert_eq!(dead.count() >= 6, i == 2, "only the second restart waits");
        }
    }
}

/// Kubernetes leaves the CPU of a starting pod out of account: until it is ready, and within five minutes of its
/// start until a whole window of the metric lies after that. Loading takes every core a pod may have, so it would
/// look like load.
#[test]
fn the_cpu_of_a_start_counts_for_nothing() {
    let cpu = hpa("Resource", "cpu", "target_average_utilization = 65");
    let text = format!("duration = \"60m\"\n{}{cpu}", poisson(0.4));
    // A start of two minutes, at 2 of 2 cores.
    let start = ["hpa.start_replicas=1", "hpa.min_replicas=2", "cluster.startup.load=\"2m\""];
    let quiet = simulate(&text, "", &start);
    let ready = entries(&quiet, 1, PodStage::Ready)[0];
    assert!((100.0..280.0).contains(&ready), "{ready}");
    let highest = |record: &RunRecord, from: f64, until: f64| {
        let inside = readings(record).into_iter().filter(|(at, _)| (from..until).contains(at));
        inside.map(|(_, value)| value).fold(0.0, f64::max)
    };
    // In cores; the target is 1.3 of 2.
    let usual = highest(&quiet, 600.0, 3600.0);
    assert!((0.5..1.3).contains(&usual), "{usual} cores of a pod that serves");
    assert!(highest(&quiet, 0.0, 600.0) < 1.3, "the start is not to be seen");
    assert_eq!(quiet.measures.replicas_max, 2.0);
    // Without the rule for the first minutes, the last reading of the start counts as soon as the pod is ready.
    let naive = ["controller.cpu_initialization_period=\"0s\""];
    let loud = simulate(&text, "", &[&start[..], &naive[..]].concat());
    let blip = highest(&loud, ready, ready + 46.0);
    assert!(blip > usual + 0.2, "{blip} cores, usually at most {usual}");
    // So it does with the rule, if the start takes longer than its five minutes.
    let slow = ["hpa.start_replicas=1", "hpa.min_replicas=2", "cluster.startup.load=\"7m\""];
    let late = simulate(&text, "", &slow);
    let ready = entries(&late, 1, PodStage::Ready)[0];
    assert!(ready > 420.0, "{ready}");
    assert!(highest(&late, 0.0, ready) < 1.3, "a pod that was never ready does not count");
    assert!(highest(&late, ready, ready + 46.0) > usual + 0.2);
}

/// A container that died has no CPU reading, and its successor none before its second: the pod is missing from the
/// mean. Later than five minutes after its pod's start the load of a new server counts, ready or not, since the pod
/// was ready before.
#[test]
fn the_cpu_of_a_crashed_server_is_missing_until_it_loads_again() {
    let metric = MetricSpec::resource("cpu", MetricTarget::utilization(1_000));
    let feed = MetricFeed::instant(Signal::Cpu, FeedShape::Resource);
    let mut scenario = observed(metric, feed, 2, 1800);
    scenario.cluster.startup.load = ModelLoad::Time(support::constant_ms(100_000));
    scenario.cluster.startup.init = support::constant_ms(40_000);
    scenario.cluster.faults.restart_backoff_initial = support::secs(120);
    let crash = |s| ScriptedFault { at: SimTime::from_secs(s), replica: 1, kind: FaultKind::Crash };
    scenario.cluster.faults.scripted = vec![crash(700), crash(1000)];
    let record = run(&scenario);
    let (load, listens) =
        (entries(&record, 1, PodStage::Loading)[1], entries(&record, 1, PodStage::NotReady)[1]);
    assert!((1_120.0..1_125.0).contains(&load) && (listens - load - 140.0).abs() < 0.001);
    // What the HPA reads: cores per pod, and how many pods it reads them of.
    let seen = |from: f64, until: f64| -> Vec<f64> {
        let inside = readings(&record).into_iter().filter(|(at, _)| (from..until).contains(at));
        inside.map(|(_, cores)| cores).collect()
    };
    let all = |list: &[f64], cores: f64| {
        assert!(list.len() >= 5, "{list:?}");
        assert!(list.iter().all(|seen| (seen - cores).abs() < 0.002), "{list:?}: not {cores}");
    };
    // An idle server uses 0.2 cores, a starting one 2.
    all(&seen(400.0, 700.0), 0.2);
    all(&seen(1_016.0, load), 0.2);
    all(&seen(load + 46.0, listens), 1.1);
    all(&seen(listens + 46.0, 1800.0), 0.2);
}

/// A share of lost scrapes is that share of reconciles without a metric where each sees one scrape; the policy under
/// test does not move them.
#[test]
fn lost_scrapes_are_the_same_for_every_policy() {
    let failures = |target: &str, set: &[&str]| {
        let metric = hpa("Pods", "vllm:num_requests_running", &average(target));
        let text = format!("duration = \"4h\"\n{}{metric}", poisson(0.3));
        let lossy = [
            "pipeline.adapter=direct",
            "pipeline.faults.lost_scrapes=0.3",
            "hpa.max_replicas=1",
            "controller.sync_period=\"15s\"",
        ];
        let record = simulate(&text, "", &[&lossy[..], set].concat());
        let failed = record.decisions.iter().filter(|d| d.branch == Branch::FailedMetrics);
        let times: Vec<SimTime> = failed.map(|d| d.now).collect();
        (times, record.decisions.len())
    };
    let (lost, all) = failures("1", &[]);
    // 960 reconciles: 288 with a standard deviation of 14.
    let share = lost.len() as f64 / all as f64;
    assert!(all > 900 && (share - 0.3).abs() < 0.06, "{} of {all}", lost.len());
    assert_eq!(failures("1000", &[]).0, lost);
    let rules = ["hpa.behavior.scale_down.stabilization_window_seconds=0"];
    assert_eq!(failures("20", &rules).0, lost);
}

/// Cloud Monitoring keeps the last point of a pod that is gone, or whose machine is dead, for five minutes: a total over the pods counts its
/// requests although other pods have them by then. Twenty users always have twenty requests running.
#[test]
fn a_stackdriver_total_counts_a_gone_pod_for_the_look_back() {
    let totals = |pipeline: PipelineConfig, kind: FaultKind| {
        let metric = MetricSpec::external("running", MetricTarget::value(far()));
        let feed = MetricFeed::instant(Signal::NumRequestsRunning, FeedShape::SUM);
        let mut scenario = observed(metric, feed, 2, 1500);
        let lengths = LengthModel::constant(100, 400).expect("valid");
        let users = ClosedLoop::new(vec![(0.0, 20, 10_000.0)], Wait::Between(0.0, 0.1), lengths);
        let arrivals = Arrivals::ClosedLoop(users.expect("valid"));
        scenario.workload = WorkloadSpec::single(arrivals).expect("valid");
        scenario.gateway = hpasim::gateway::Policy::LeastRequest;
        scenario.pipeline = pipeline;
        let at = SimTime::from_secs(600);
        // The server dies at full load: one that drains is scraped until it has next to nothing left.
        scenario.cluster.termination.shutdown = ShutdownMode::Abort;
        scenario.cluster.pools[0].replicas_per_node = 1;
        scenario.cluster.pools[0].gpus_per_node = 1;
        scenario.cluster.faults.scripted = vec![ScriptedFault { at, replica: 1, kind }];
        let record = run(&scenario);
        let mut gone = entries(&record, 1, PodStage::Gone)[0];
        if kind == FaultKind::NodeLoss {
            // The object stays until the machine is recreated, and is scraped in vain.
            assert!(gone > 1240.0, "{gone}");
            gone = 600.0;
        }
        assert!(gone < 660.0, "{gone}");
        let seen = readings(&record);
        let mean = |from: f64, until: f64| {
            let list = seen.iter().filter(|(at, _)| (from..until).contains(at)).map(|r| r.1);
            let list: Vec<f64> = list.collect();
            list.iter().sum::<f64>() / list.len() as f64
        };
        (mean(300.0, 600.0), mean(gone + 90.0, gone + 240.0), mean(gone + 330.0, 1500.0))
    };
    let near = |value: f64, expected: f64| (value - expected).abs() < 3.0;
    for kind in [FaultKind::Preemption, FaultKind::NodeLoss] {
        for (pipeline, expected) in [(support::pipeline(), 30.0), (PipelineConfig::direct(), 20.0)]
        {
            let (before, kept, after) = totals(pipeline, kind);
            let as_expected = near(before, 20.0) && near(kept, expected) && near(after, 20.0);
            assert!(as_expected, "{kind:?}: {before} {kept} {after}");
        }
    }
}

/// `use_cached_metrics`: what the HPA reads changes with KEDA's polls, not with its own.
#[test]
fn keda_with_cached_metrics_reads_at_its_polling_interval() {
    let changes = |set: &[&str]| {
        let metric = hpa("External", "s0-prometheus", &average("1000"));
        let text = format!(
            "duration = \"60m\"\n{}{metric}[pipeline]\nadapter = \"keda\"\nscrape_interval = \"5s\"\n\
             [pipeline.keda]\npolling_interval = \"60s\"\n[[pipeline.rules]]\nname = \
             \"s0-prometheus\"\nquery = \"sum(vllm:num_requests_running)\"\n",
            poisson(1.5)
        );
        let record = simulate(&text, "", set);
        assert_eq!(desired(&record, 3599), 1.0);
        let seen = readings(&record);
        assert!(seen.len() > 200, "{}", seen.len());
        let pairs = seen.windows(2).filter(|w| w[0].1 != w[1].1);
        pairs.map(|w| w[1].0).collect::<Vec<f64>>()
    };
    let live = changes(&[]);
    assert!(live.len() > 120, "{} changes", live.len());
    let cached = changes(&["pipeline.keda.use_cached_metrics=true"]);
    assert!((30..=60).contains(&cached.len()), "{} changes", cached.len());
    // 15 s of reconcile later at most, from one poll to the next.
    assert!(cached[1..].windows(2).all(|w| w[1] - w[0] > 44.0), "{cached:?}");
}

/// `start_replicas` is the scale at time zero, whatever the HPA would have: it then goes by its own rules, and at
/// zero it stays out.
#[test]
fn a_run_starts_at_start_replicas() {
    let of = |n: u32| {
        let metric = hpa("Pods", "vllm:num_requests_running", &average("8"));
        let text = format!("duration = \"20m\"\n{}{metric}", poisson(0.2));
        let start = format!("hpa.start_replicas={n}");
        simulate(&text, "", &[&start, "hpa.max_replicas=4", "hpa.min_replicas=2"])
    };
    let serving = |record: &RunRecord| {
        let rows = record.pods.iter().filter(|row| row.at == SimTime::ZERO);
        rows.filter(|row| row.stage == PodStage::InService).count()
    };
    for (start, soon, end) in [(1, 2.0, 2.0), (3, 3.0, 2.0), (6, 4.0, 2.0), (0, 0.0, 0.0)] {
        let record = of(start);
        assert_eq!(serving(&record), start as usize);
        assert_eq!(record.decisions[0].current_replicas, start.cast_signed());
        // Below the minimum and above the maximum the first reconcile acts; inside, the window holds.
        assert_eq!((desired(&record, 31), desired(&record, 1199)), (soon, end), "from {start}");
    }
    let asleep = of(0);
    assert!(asleep.decisions.iter().all(|d| d.branch == Branch::Disabled));
    assert_eq!(asleep.accounting.completed, 0);
}
