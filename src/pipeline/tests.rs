//! Edges of the window, of visibility and of staleness; law L9.

use super::*;
use crate::rng::Dist;
use proptest::prelude::*;

const POD: PodId = PodId(3);

/// A path for `metric_count` gauges of the servers.
fn gauges(config: &PipelineConfig, metric_count: usize, seed: Seed) -> Pipeline {
    Pipeline::new(config, &vec![Query::gauge(); metric_count], seed)
}

impl Pipeline {
    fn up(&mut self, now: SimTime, pod: PodId) -> SimTime {
        self.target_up(now, Origin::Server, pod).expect("a new target")
    }

    fn get(&mut self, now: SimTime, pod: PodId, values: Option<&[f64]>) -> SimTime {
        self.scrape(now, Origin::Server, pod, values).expect("a live target")
    }
}

fn secs(s: u64) -> SimDuration {
    SimDuration::from_secs(s)
}

/// A Stackdriver path with constant delays: ingestion 5 s, new series 10 s.
fn stackdriver() -> PipelineConfig {
    PipelineConfig {
        ingest: Dist::Constant(secs(5)),
        adapter: Adapter::Stackdriver { new_series_delay: Dist::Constant(secs(10)) },
        ..PipelineConfig::stackdriver()
    }
}

fn value(sample: Option<Sample>) -> Option<i64> {
    sample.map(|sample| sample.value.0)
}

const TICK: SimDuration = SimDuration::from_ps(1);

#[test]
fn phases_are_fixed_per_pod_and_differ() {
    let mut pipeline = gauges(&PipelineConfig::stackdriver(), 1, Seed(1));
    let phase = |t: SimTime| t.as_ps() % secs(15).as_ps();
    let first = pipeline.up(SimTime::ZERO, PodId(0));
    assert!(first < SimTime::from_secs(15));
    assert_ne!(phase(first), phase(pipeline.up(SimTime::ZERO, PodId(1))));
    assert_eq!(pipeline.get(first, PodId(0), Some(&[1.0])), first + secs(15));
    // A server that restarts in its pod stays the same target.
    assert_eq!(pipeline.target_up(first + secs(20), Origin::Server, PodId(0)), None);
    // At its own tick the pod is scraped at once, a picosecond later one interval later.
    for (late, expected) in [(SimDuration::ZERO, 300), (TICK, 315)] {
        let mut pipeline = gauges(&PipelineConfig::stackdriver(), 1, Seed(1));
        assert_eq!(pipeline.up(first + secs(300) + late, PodId(0)), first + secs(expected));
    }
}

#[test]
fn a_sample_shows_after_ingestion_and_new_series_delay() {
    let mut pipeline = gauges(&stackdriver(), 1, Seed(1));
    let t0 = pipeline.up(SimTime::from_secs(100), POD);
    pipeline.get(t0, POD, Some(&[7.0]));
    assert_eq!(pipeline.query(t0 + secs(15) - TICK, 0, POD), None);
    assert_eq!(value(pipeline.query(t0 + secs(15), 0, POD)), Some(7_000));
    pipeline.get(t0 + secs(15), POD, Some(&[8.0]));
    assert_eq!(value(pipeline.query(t0 + secs(20) - TICK, 0, POD)), Some(7_000));
    let newest = pipeline.query(t0 + secs(20), 0, POD).unwrap();
    assert_eq!((newest.value.0, newest.scraped_at), (8_000, t0 + secs(15)));
}

/// After a crash the Stackdriver path serves the old gauge for 300 s, the edge
/// included; Prometheus drops it with the first failed scrape.
#[test]
fn a_crash_leaves_an_old_gauge_on_stackdriver_only() {
    let mut pipeline = gauges(&stackdriver(), 1, Seed(1));
    let t0 = pipeline.up(SimTime::from_secs(100), POD);
    pipeline.get(t0, POD, Some(&[7.0]));
    for n in 1..30 {
        pipeline.get(t0 + secs(15 * n), POD, None);
        let seen = value(pipeline.query(t0 + secs(15 * n + 10), 0, POD));
        assert_eq!(seen, if 15 * n + 10 <= 300 { Some(7_000) } else { None }, "{n}");
    }
    let mut pipeline = gauges(&stackdriver(), 1, Seed(1));
    let t0 = pipeline.up(SimTime::from_secs(100), POD);
    pipeline.get(t0, POD, Some(&[7.0]));
    assert_eq!(value(pipeline.query(t0 + secs(300), 0, POD)), Some(7_000));
    assert_eq!(pipeline.query(t0 + secs(300) + TICK, 0, POD), None);

    let config =
        PipelineConfig { ingest: Dist::Constant(secs(1)), ..PipelineConfig::prometheus_adapter() };
    let mut pipeline = gauges(&config, 1, Seed(1));
    let t0 = pipeline.up(SimTime::from_secs(100), POD);
    pipeline.get(t0, POD, Some(&[7.0]));
    pipeline.get(t0 + secs(15), POD, None);
    assert_eq!(value(pipeline.query(t0 + secs(16) - TICK, 0, POD)), Some(7_000));
    assert_eq!(pipeline.query(t0 + secs(16), 0, POD), None);
    pipeline.get(t0 + secs(30), POD, Some(&[9.0]));
    assert_eq!(value(pipeline.query(t0 + secs(31), 0, POD)), Some(9_000));
}

#[test]
fn values_are_truncated_toward_zero() {
    let mut pipeline = gauges(&PipelineConfig::direct(), 4, Seed(1));
    let t0 = pipeline.up(SimTime::ZERO, POD);
    pipeline.get(t0, POD, Some(&[0.9999, 2.0, f64::NAN, -1.2345]));
    let seen: Vec<_> = (0..4).map(|m| value(pipeline.query(t0, m, POD)).unwrap()).collect();
    assert_eq!(seen, [999, 2_000, 0, -1_234]);
}

/// A copy renewed every 30 s answers as of its last renewal.
#[test]
fn an_adapter_with_a_copy_changes_at_its_own_period() {
    let config = PipelineConfig {
        ingest: Dist::Constant(SimDuration::ZERO),
        adapter: Adapter::PrometheusAdapter { refresh: Some(secs(30)) },
        ..PipelineConfig::prometheus_adapter()
    };
    let mut pipeline = gauges(&config, 1, Seed(1));
    let mut next = pipeline.up(SimTime::ZERO, POD);
    let mut changes = Vec::new();
    let mut last = None;
    for tick in 0..3_000 {
        let now = SimTime::ZERO + SimDuration::from_millis(100 * tick);
        while next <= now {
            next = pipeline.get(next, POD, Some(&[tick as f64]));
        }
        let seen = pipeline.query(now, 0, POD);
        if seen != last {
            changes.push(now);
            last = seen;
        }
    }
    assert!(changes.len() >= 9, "{changes:?}");
    assert!(changes.windows(2).all(|w| w[1] - w[0] == secs(30)), "{changes:?}");
}

#[test]
fn unknown_and_gone_pods_have_no_sample() {
    let mut pipeline = gauges(&PipelineConfig::direct(), 1, Seed(1));
    assert_eq!(pipeline.query(SimTime::ZERO, 0, POD), None);
    let t0 = pipeline.up(SimTime::ZERO, POD);
    pipeline.get(t0, POD, Some(&[1.0]));
    pipeline.target_down(t0, Origin::Server, POD);
    assert_eq!(pipeline.query(t0, 0, POD), None);
    assert_eq!(pipeline.scrape(t0 + secs(15), Origin::Server, POD, Some(&[1.0])), None);
    assert_eq!(pipeline.query(t0 + secs(15), 0, POD), None);
}

#[test]
fn memory_is_bounded_by_samples_in_flight() {
    let config = PipelineConfig { scrape_interval: secs(1), ..PipelineConfig::stackdriver() };
    let mut pipeline = gauges(&config, 2, Seed(1));
    let mut next = pipeline.up(SimTime::ZERO, POD);
    for _ in 0..20_000 {
        next = pipeline.get(next, POD, Some(&[1.0, 2.0]));
        assert!(pipeline.targets[0].kept_scrapes(POD) < 40);
    }
}

fn adapters() -> impl Strategy<Value = PipelineConfig> {
    prop_oneof![
        Just(PipelineConfig::stackdriver()),
        Just(PipelineConfig::prometheus_adapter()),
        Just(PipelineConfig {
            adapter: Adapter::PrometheusAdapter { refresh: Some(secs(30)) },
            ..PipelineConfig::prometheus_adapter()
        }),
        Just(PipelineConfig::keda()),
        Just(PipelineConfig::direct()),
    ]
}

proptest! {
    /// Every answer is the newest scrape that shows: held against a list of all scrapes.
    #[test]
    fn answers_equal_a_full_search(
        config in adapters(),
        seed in any::<u64>(),
        fails in prop::collection::vec(prop::bool::weighted(0.2), 60),
        step_ms in 500_u64..20_000,
    ) {
        let mut pipeline = gauges(&config, 1, Seed(seed));
        let mut next = pipeline.up(SimTime::from_secs(40), POD);
        // The same draws, made again.
        let mut rng = Seed(seed).stream(Stream::Ingestion, u64::from(POD.0));
        let extra = match &config.adapter {
            Adapter::Stackdriver { new_series_delay } => new_series_delay.sample(&mut rng),
            _ => SimDuration::ZERO,
        };
        let mut scrapes: Vec<(SimTime, SimTime, Option<f64>)> = Vec::new();
        let mut now = SimTime::from_secs(40);
        while scrapes.len() < fails.len() {
            now += SimDuration::from_millis(step_ms);
            while next <= now && scrapes.len() < fails.len() {
                let n = scrapes.len();
                let value = (!fails[n]).then_some(n as f64);
                scrapes.push((next, next + config.ingest.sample(&mut rng), value));
                next = pipeline.get(next, POD, value.as_ref().map(std::slice::from_ref));
            }
            let got = pipeline.query(now, 0, POD);
            let Some(as_of) = pipeline.answered_as_of(now) else {
                prop_assert_eq!(got, None);
                continue;
            };
            let keeps_last = matches!(config.adapter, Adapter::Stackdriver { .. });
            let started = scrapes.iter().find(|s| s.2.is_some()).is_some_and(|s| s.1 + extra <= as_of);
            let newest = scrapes
                .iter()
                .rev()
                .find(|s| s.1 <= as_of && (s.2.is_some() || !keeps_last))
                .filter(|s| started && s.0 >= as_of - config.lookback);
            let expected = newest.and_then(|s| Some(((s.2? * 1_000.0) as i64, s.0)));
            prop_assert_eq!(got.map(|s| (s.value.0, s.scraped_at)), expected);
        }
    }

    /// L9: what happens after the last scrape that shows changes no answer.
    #[test]
    fn later_values_cannot_change_an_answer(
        config in adapters(),
        seed in any::<u64>(),
        a in prop::collection::vec(0.0_f64..500.0, 30),
        b in prop::collection::vec(0.0_f64..500.0, 30),
        ask_s in 60_u64..400,
    ) {
        let ask = SimTime::from_secs(ask_s);
        // Two gauges that agree up to `ask` and differ from then on, whether or not it is scraped.
        let run = |later: &[f64]| {
            let mut pipeline = gauges(&config, 1, Seed(seed));
            let mut next = pipeline.up(SimTime::ZERO, POD);
            let mut n = 0;
            while next <= ask {
                next = pipeline.get(next, POD, Some(&a[n % a.len()..=n % a.len()]));
                n += 1;
            }
            let before = pipeline.query(ask, 0, POD);
            let mut after = Vec::new();
            for value in later {
                // Between scrapes the gauge moves; nothing asks the pod.
                after.push(pipeline.query(next - TICK, 0, POD));
                next = pipeline.get(next, POD, Some(std::slice::from_ref(value)));
            }
            (before, after[0])
        };
        prop_assert_eq!(run(&a), run(&b));
    }
}
