//! Random whole systems with everything at once: every kind of signal through every adapter, conversations, KEDA,
//! faults of servers, machines and metrics. The laws and the two engines are held against them.

use crate::engines::{self, assert_engines_agree};
use crate::{laws, support};
use hpasim::hpa::Quantity;
use hpasim::hpa::spec::{HpaSpec, MetricSpec, MetricTarget};
use hpasim::pipeline::{Adapter, Aggregate, Function, Origin, Outage, Part, PipelineConfig};
use hpasim::rng::{Dist, Seed};
use hpasim::sim::{
    Autoscaler, Fallback, FallbackBehavior, FeedShape, KedaConfig, MetricFeed, RecordLevel,
    RunRecord, Scenario, Series, Signal, SignalKind, run_workload,
};
use hpasim::units::{Milli, SimDuration, SimTime};
use hpasim::workload::{
    Arrivals, Clients, Generated, Growth, LengthDist, LengthKind, RateModel, Recorded, Renewal,
    Sessions, StreamSpec, Think, WorkloadSpec,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// Fifteen minutes.
const DURATION: u64 = 900;

/// One metric of an HPA: the spec's side and where its value comes from.
type Metric = (MetricSpec, MetricFeed);

/// A target that its signal passes in some of the runs.
fn target(signal: Signal, step: i64) -> String {
    match signal {
        Signal::KvCacheUsagePerc => format!("{}m", step * 80),
        Signal::PromptTokens | Signal::GenerationTokens => (step * 40).to_string(),
        Signal::GpuUtil | Signal::DutyCycle => (step * 8).to_string(),
        Signal::FbUsed => (step * 2_000).to_string(),
        Signal::MemoryUsed | Signal::MemoryTotal => format!("{}M", step * 2_000),
        _ if signal.kind() == SignalKind::Histogram => format!("{}m", step * step * 20),
        _ if signal.kind() == SignalKind::Counter => format!("{}m", step * 100),
        _ => step.to_string(),
    }
}

/// Any signal; as one value over the pods where `total` says so, or where there is no other way.
fn metric((signal, step, seconds, total): (Signal, i64, u64, bool)) -> Metric {
    let window = support::secs(seconds);
    let (function, per_pod) = match signal.kind() {
        SignalKind::Gauge if signal.origin() == Some(Origin::Router) => (Function::Instant, false),
        SignalKind::Gauge if seconds > 200 => (Function::AvgOverTime(window), true),
        SignalKind::Gauge | SignalKind::Resource => (Function::Instant, true),
        SignalKind::Counter => (Function::Rate(window), signal != Signal::IncomingRequests),
        SignalKind::Histogram => (Function::Quantile { quantile: 0.9, window }, false),
    };
    let goal = Quantity::parse(&target(signal, step)).expect("a quantity");
    let mut feed = MetricFeed { function, ..MetricFeed::instant(signal, FeedShape::PerPod) };
    if signal == Signal::Cpu {
        feed.shape = FeedShape::Resource;
        let goal = MetricTarget::utilization(i32::try_from(step * 8).expect("percent"));
        return (MetricSpec::resource("cpu", goal), feed);
    }
    if per_pod && !total {
        return (MetricSpec::pods(signal.name(), goal), feed);
    }
    let (aggregate, goal) = match signal {
        Signal::GpuUtil | Signal::DutyCycle => (Aggregate::Avg, MetricTarget::value(goal)),
        _ if signal.kind() == SignalKind::Histogram => (Aggregate::Sum, MetricTarget::value(goal)),
        _ => (Aggregate::Sum, MetricTarget::average_value(goal)),
    };
    feed.shape = FeedShape::Total(aggregate);
    (MetricSpec::external(signal.name(), goal), feed)
}

fn adapters() -> impl Strategy<Value = PipelineConfig> {
    let copy = || prop::option::of((5_u64..60).prop_map(SimDuration::from_secs));
    let adapter = prop_oneof![
        Just(support::pipeline().adapter),
        Just(Adapter::Direct),
        Just(Adapter::GkeNative),
        copy().prop_map(|external_cache_ttl| Adapter::Stackdriver {
            new_series_delay: Dist::Constant(SimDuration::from_secs(3)),
            external_cache_ttl,
        }),
        copy().prop_map(|refresh| Adapter::PrometheusAdapter { refresh }),
        (copy(), any::<bool>())
            .prop_map(|(cached, ignore_null_values)| Adapter::Keda { cached, ignore_null_values }),
    ];
    let part = prop::sample::select(vec![Part::Adapter, Part::Collector, Part::Prometheus]);
    let outage = (part, 0..DURATION, 1_u64..300).prop_map(|(part, from, length)| {
        let at = SimTime::from_secs;
        Outage { part, from: at(from), until: at(from + length) }
    });
    let lost = prop_oneof![Just(0.0), 0.0..0.5_f64];
    (adapter, lost, prop::collection::vec(outage, 0..2)).prop_map(|(adapter, lost, outages)| {
        let mut config = PipelineConfig { adapter, ..support::pipeline() };
        config.faults.lost_scrapes = lost;
        config.faults.outages = outages;
        config
    })
}

/// Conversations, or requests that have nothing to do with each other.
fn arrivals() -> impl Strategy<Value = Arrivals> {
    let one = (0..DURATION * 1000, 1_u32..700, 1_u32..300);
    let replay = prop::collection::vec(one, 1..250).prop_map(|mut list| {
        list.sort_unstable();
        let requests = list.into_iter().map(|(at, p, o)| support::request(at, p, o)).collect();
        Arrivals::Replay(Recorded::new(requests), hpasim::workload::Transform::default())
    });
    let lengths = |mean: f64, max: u32| {
        LengthDist::new(LengthKind::Exponential { mean }, 1, max).expect("valid")
    };
    let growth = prop::sample::select(vec![Growth::Accumulate, Growth::Window]);
    let sessions = (0.02..0.4_f64, 1_u32..5, growth, prop::bool::weighted(0.3));
    let sessions = sessions.prop_map(move |(rate, prompts, growth, open)| {
        Arrivals::Sessions(Box::new(Sessions {
            arrivals: Generated::new(RateModel::Constant(rate), Renewal::Exponential),
            turns: lengths(4.0, 12),
            first_prompt_tokens: lengths(80.0, 300),
            prompt_tokens: lengths(40.0, 200),
            output_tokens: lengths(60.0, 200),
            think: Think::Lognormal { mean: 8.0, sd: 6.0, min: 0.5, max: 60.0 },
            system_prompt_tokens: 120,
            system_prompts: prompts,
            max_context: 900,
            growth,
            open,
        }))
    });
    prop_oneof![1 => replay, 2 => sessions]
}

fn autoscalers() -> impl Strategy<Value = (HpaSpec, Vec<MetricFeed>, Option<KedaConfig>, u32)> {
    let signals = prop::sample::select(Signal::all().collect::<Vec<_>>());
    let metrics = prop::collection::vec((signals, 1_i64..11, 60_u64..300, any::<bool>()), 1..4);
    let behavior = prop::sample::select(FallbackBehavior::ALL.map(|own| own.1).to_vec());
    let fallback =
        (0_u32..4, 0_u32..6, behavior).prop_map(|(failure_threshold, replicas, behavior)| {
            Fallback { failure_threshold, replicas, behavior }
        });
    let fallback = prop::option::of(fallback);
    let keda = (10_u64..60, 0_u64..200, 0_u32..3, any::<bool>(), fallback);
    let keda = keda.prop_map(|(poll, cooldown, min, idle, fallback)| KedaConfig {
        polling_interval: support::secs(poll),
        cooldown_period: support::secs(cooldown),
        initial_cooldown_period: SimDuration::ZERO,
        min_replica_count: min,
        idle_replica_count: (idle && min > 0).then(|| min - 1),
        activation_threshold: Milli(0),
        fallback,
    });
    (metrics, prop::option::of(keda), 1_i32..3, 0_i32..5, 0_u32..4).prop_map(
        |(mut metrics, keda, min, more, start)| {
            // KEDA's triggers are External metrics.
            for row in &mut metrics {
                row.3 |= keda.is_some();
            }
            let (metrics, feeds) = metrics.into_iter().map(metric).unzip();
            let spec = HpaSpec {
                min_replicas: Some(min),
                max_replicas: min + more,
                metrics,
                ..HpaSpec::default()
            };
            let start = if keda.is_some() { start } else { start.max(1) };
            (spec, feeds, keda, start)
        },
    )
}

/// A whole system; each of its parts may be at fault.
pub(crate) fn systems() -> impl Strategy<Value = Scenario> {
    let engine = (2_u32..24, 65_u32..300, any::<bool>(), any::<bool>());
    let clients =
        (prop::option::of(5_u64..90), 0_u32..3, prop::option::of(3_u32..30), any::<bool>());
    let policy = engines::policies();
    (arrivals(), autoscalers(), adapters(), engine, clients, policy, laws::faults()).prop_map(
        |(
            arrivals,
            (spec, feeds, keda, start_replicas),
            pipeline,
            (seqs, blocks, asynchronous, caching),
            (patience, retries, max_connections, twins),
            policy,
            faults,
        )| {
            let mut engine = support::engine(seqs, blocks);
            engine.scheduler.async_scheduling = asynchronous;
            engine.scheduler.enable_prefix_caching = caching;
            let Autoscaler::Hpa(mut setup) = support::hpa(spec, &[]) else { unreachable!() };
            (setup.feeds, setup.keda, setup.start_replicas) = (feeds, keda, start_replicas);
            let hpa = Autoscaler::Hpa(setup);
            let mut scenario = support::scenario(engine, hpa, Vec::new(), DURATION);
            let clients = Clients {
                client_timeout: patience.map(SimDuration::from_secs),
                max_connections,
                retries,
            };
            let stream = StreamSpec::new(arrivals);
            let streams = if twins && matches!(stream.arrivals, Arrivals::Generated(..)) {
                let twin = StreamSpec { request_seed: Some(7), ..stream };
                vec![twin.clone(), StreamSpec { start: support::secs(30), ..twin }]
            } else {
                vec![stream]
            };
            scenario.workload = WorkloadSpec::new(streams, clients).expect("valid");
            scenario.pipeline = pipeline;
            scenario.devices.gpu.collect_interval = support::secs(10);
            scenario.gateway = policy;
            faults.put_into(&mut scenario);
            scenario
        },
    )
}

fn full(scenario: &Scenario, seed: u64) -> RunRecord {
    run_workload(scenario, Seed(seed), RecordLevel::Requests)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// L1 and L8: whatever goes wrong at the same time, each request has one end and each pod one place.
    #[test]
    fn l1_and_l8_hold_when_everything_fails_at_once(scenario in systems(), seed: u64) {
        let record = full(&scenario, seed);
        let accounting = &record.accounting;
        prop_assert_eq!(accounting.arrived, accounting.accounted());
        prop_assert_eq!(record.requests.len() as u64, accounting.arrived);
        let completed = record.requests.iter().filter(|row| row.outcome() == "completed").count();
        prop_assert_eq!(completed as u64, accounting.completed);
        for (i, row) in record.requests.iter().enumerate() {
            prop_assert_eq!(row.record.id.0, i as u64);
        }
        laws::check_places(&scenario, &record)?;
    }

    /// Counters, histograms, GPUs and CPU, read at any time and through any adapter, do not tell the engines apart.
    #[test]
    fn no_signal_tells_the_engines_apart(mut scenario in systems(), seed: u64) {
        // The metrics of every replica at awkward moments, beside those that are scraped.
        scenario.expose_at = [77, 303, 899].map(SimTime::from_secs).to_vec();
        assert_engines_agree(&mut scenario, seed);
    }
}

/// The random systems do what they are for: of three hundred, some scale on each kind of signal, sleep, wake, break and
/// talk.
#[test]
fn random_systems_reach_every_corner() {
    let mut runner = TestRunner::deterministic();
    let mut kinds = std::collections::BTreeMap::new();
    let (mut slept, mut woke, mut broke, mut talked, mut all) = (0, 0, 0, 0, 0);
    for seed in 0..300 {
        let scenario = systems().new_tree(&mut runner).expect("a system").current();
        let record = full(&scenario, seed);
        let Autoscaler::Hpa(setup) = &scenario.autoscaler else { unreachable!() };
        for (i, feed) in setup.feeds.iter().enumerate() {
            let read = record
                .timeline
                .iter()
                .any(|r| r.series == Series::HpaMetric(i as u8) && r.value > 0.0);
            *kinds.entry(format!("{:?}", feed.signal)).or_insert(0) += usize::from(read);
        }
        let sizes: Vec<f64> = record.series(Series::ReplicasDesired).map(|row| row.value).collect();
        let keda = setup.keda.is_some();
        slept += usize::from(keda && sizes.windows(2).any(|w| w[0] > 0.0 && w[1] == 0.0));
        woke += usize::from(keda && sizes.windows(2).any(|w| w[0] == 0.0 && w[1] > 0.0));
        let faults = !record.faults.is_empty();
        broke += usize::from(faults);
        let sessions = matches!(scenario.workload.streams()[0].arrivals, Arrivals::Sessions(_));
        let answered = record.accounting.completed > 0;
        talked += usize::from(sessions && answered);
        all += usize::from(keda && faults && sessions && answered);
    }
    println!("{kinds:?} slept {slept} woke {woke} broke {broke} talked {talked} all {all}");
    assert_eq!(kinds.len(), Signal::all().count(), "{kinds:?}");
    for (kind, read) in &kinds {
        assert!(*read > 0 || kind == "NumPreemptions", "{kinds:?}");
    }
    for (what, count) in
        [("slept", slept), ("woke", woke), ("broke", broke), ("talked", talked), ("all", all)]
    {
        assert!(count >= 5, "{what}: {count} of 300");
    }
}
