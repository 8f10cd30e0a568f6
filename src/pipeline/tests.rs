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
        adapter: Adapter::Stackdriver {
            new_series_delay: Dist::Constant(secs(10)),
            external_cache_ttl: None,
        },
        ..PipelineConfig::stackdriver()
    }
}

/// A kept answer is given until its time is over; an empty one is not kept, and values per pod never are.
#[test]
fn the_stackdriver_adapter_keeps_external_answers() {
    let at = SimTime::from_secs;
    let mut config = stackdriver();
    config.adapter = Adapter::Stackdriver {
        new_series_delay: Dist::Constant(SimDuration::ZERO),
        external_cache_ttl: Some(secs(60)),
    };
    let mut pipeline = gauges(&config, 1, Seed(1));
    let first = pipeline.up(at(0), POD);
    assert_eq!(pipeline.query_total(first, 0), Total::Empty);
    pipeline.get(first, POD, Some(&[3.0]));
    let asked = first + secs(6);
    assert_eq!(pipeline.query_total(asked, 0), Total::Value(Milli(3_000)));
    pipeline.get(first + secs(15), POD, Some(&[8.0]));
    let later = first + secs(21);
    assert_eq!(value(pipeline.query(later, 0, POD)), Some(8_000));
    assert_eq!(pipeline.query_total(asked + secs(60) - TICK, 0), Total::Value(Milli(3_000)));
    assert_eq!(pipeline.query_total(asked + secs(60), 0), Total::Value(Milli(8_000)));
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

/// A path without delays that loses a share of the scrapes.
fn lossy(lost_scrapes: f64) -> PipelineConfig {
    let faults = Faults { lost_scrapes, outages: Vec::new() };
    PipelineConfig { faults, ..PipelineConfig::direct() }
}

/// Which of the first `count` scrapes of a pod are answered.
fn answered(pipeline: &mut Pipeline, pod: PodId, count: usize) -> Vec<bool> {
    let mut at = pipeline.up(SimTime::ZERO, pod);
    let mut list = Vec::new();
    for _ in 0..count {
        let next = pipeline.get(at, pod, Some(&[1.0]));
        list.push(pipeline.query(at, 0, pod).is_some());
        at = next;
    }
    list
}

/// A quarter of 20,000 scrapes: 5,000 with a standard deviation of 61.
#[test]
fn the_share_of_lost_scrapes_is_the_configured_one() {
    for (share, range) in [(0.0, 0..=0), (0.25, 4_750..=5_250), (1.0, 20_000..=20_000)] {
        let mut pipeline = gauges(&lossy(share), 1, Seed(4));
        let lost = answered(&mut pipeline, POD, 20_000).iter().filter(|seen| !**seen).count();
        assert!(range.contains(&lost), "{lost} of 20000 at {share}");
    }
}

/// Losses are drawn from a stream that belongs to the pod: neither the other pods, nor the adapter's other
/// settings, nor what is asked change them. Those are what an HPA's policy brings about.
#[test]
fn lost_scrapes_are_drawn_by_pod() {
    let mut rng = Seed(9).stream(Stream::LostScrapes, u64::from(POD.0));
    let expected: Vec<bool> = (0..200).map(|_| rng.random::<f64>() >= 0.4).collect();
    assert_eq!(answered(&mut gauges(&lossy(0.4), 1, Seed(9)), POD, 200), expected);
    let mut crowd = gauges(&lossy(0.4), 1, Seed(9));
    for pod in [0, 1, 2, 4, 5].map(PodId) {
        assert_ne!(answered(&mut crowd, pod, 200), expected, "each pod has losses of its own");
    }
    assert_eq!(answered(&mut crowd, POD, 200), expected);
    let slow = PipelineConfig { scrape_interval: secs(60), lookback: secs(900), ..lossy(0.4) };
    assert_eq!(answered(&mut gauges(&slow, 1, Seed(9)), POD, 200), expected);
}

/// A lost scrape shifts no later delay: what arrives, arrives when it would have arrived anyway.
#[test]
fn lost_scrapes_leave_the_delays_alone() {
    let run = |lost_scrapes| {
        let faults = Faults { lost_scrapes, outages: Vec::new() };
        let mut pipeline = gauges(&PipelineConfig { faults, ..stackdriver() }, 1, Seed(2));
        pipeline.config.ingest = PipelineConfig::stackdriver().ingest;
        let mut next = pipeline.up(SimTime::ZERO, POD);
        let mut shown = std::collections::BTreeMap::new();
        for tick in 0..12_000 {
            let now = SimTime::ZERO + SimDuration::from_millis(100 * tick);
            if next <= now {
                next = pipeline.get(next, POD, Some(&[1.0]));
            }
            if let Some(sample) = pipeline.query(now, 0, POD) {
                shown.entry(sample.scraped_at).or_insert(now);
            }
        }
        shown
    };
    let (all, some) = (run(0.0), run(0.3));
    assert!(some.len() < all.len() * 8 / 10 && some.len() > all.len() / 2, "{}", some.len());
    // The new-series delay hides the first samples until it is over, which losses may put off.
    let late: Vec<_> = some.iter().skip(2).collect();
    assert!(late.iter().all(|(scraped, shown)| all.get(scraped) == Some(shown)));
}

/// A total over the pods in Cloud Monitoring keeps a gone pod's last point for the look-back, the edge included.
#[test]
fn a_gone_pod_stays_in_a_stackdriver_total_for_the_look_back() {
    let totals = |config: &PipelineConfig| {
        let mut pipeline = gauges(config, 1, Seed(1));
        let last = pipeline.up(SimTime::from_secs(100), POD);
        pipeline.get(last, POD, Some(&[7.0]));
        // A pod that stays, scraped like the other's last time and from then on.
        let mut next = pipeline.up(SimTime::from_secs(100), PodId(4));
        while next < last + secs(20) {
            next = pipeline.get(next, PodId(4), Some(&[2.0]));
        }
        let gone = last + secs(20);
        pipeline.target_down(gone, Origin::Server, POD);
        assert_eq!(pipeline.query(gone, 0, POD), None, "nobody asks for a pod that is gone");
        [gone, gone + secs(100), last + secs(300), last + secs(300) + TICK].map(|now| {
            while next < now - secs(15) {
                next = pipeline.get(next, PodId(4), Some(&[2.0]));
            }
            pipeline.query_total(now, 0)
        })
    };
    let milli = |list: [i64; 4]| list.map(|value| Total::Value(Milli(value)));
    assert_eq!(totals(&stackdriver()), milli([9_000, 9_000, 9_000, 2_000]));
    assert_eq!(totals(&PipelineConfig::direct()), milli([2_000; 4]));
}

/// Prometheus gives a target that is gone until its next scrape, and 1.1 intervals more, to come back; until then its
/// last value is part of every total.
#[test]
fn a_gone_pod_stays_in_a_prometheus_total_until_it_is_marked_stale() {
    let config = PipelineConfig {
        ingest: Dist::Constant(SimDuration::ZERO),
        scrape_interval: secs(30),
        ..PipelineConfig::prometheus_adapter()
    };
    let mut pipeline = gauges(&config, 1, Seed(1));
    let last = pipeline.up(SimTime::from_secs(100), POD);
    pipeline.get(last, POD, Some(&[7.0]));
    let mut next = pipeline.up(SimTime::from_secs(100), PodId(4));
    while next < last + secs(10) {
        next = pipeline.get(next, PodId(4), Some(&[2.0]));
    }
    pipeline.target_down(last + secs(10), Origin::Server, POD);
    let mut total = |after: u64| {
        let now = last + secs(after);
        while next < now {
            next = pipeline.get(next, PodId(4), Some(&[2.0]));
        }
        pipeline.query_total(now, 0)
    };
    // Due at 30 s, marked at 63 s.
    let totals = [31, 45, 62, 64].map(&mut total);
    assert_eq!(totals, [9_000, 9_000, 9_000, 2_000].map(|value| Total::Value(Milli(value))));
}

/// `useCachedMetrics`: the HPA gets the answer of the last poll, whatever a live query would give; before the first
/// poll nothing is cached and the query is live.
#[test]
fn keda_answers_from_its_cache_between_polls() {
    let config = PipelineConfig {
        ingest: Dist::Constant(SimDuration::ZERO),
        scrape_interval: secs(1),
        adapter: Adapter::Keda { cached: Some(secs(30)), ignore_null_values: true },
        ..PipelineConfig::keda()
    };
    // A seed whose first poll is late enough to see what comes before it.
    let late = |pipeline: &Pipeline| pipeline.renewals().unwrap().0 > SimTime::from_secs(20);
    let mut pipeline =
        (0..100).map(|seed| gauges(&config, 1, Seed(seed))).find(late).expect("some seed");
    let first = pipeline.renewals().unwrap().0;
    let mut next = pipeline.up(SimTime::ZERO, POD);
    let mut by_poll = std::collections::BTreeMap::new();
    for s in 2..400 {
        let now = SimTime::from_secs(s);
        while next <= now {
            next = pipeline.get(next, POD, Some(&[s as f64]));
        }
        let (cached, live) = (pipeline.query_total(now, 0), pipeline.query_live(now, 0));
        assert_eq!(live, Total::Value(Milli(s as i64 * 1000)));
        if now < first {
            assert_eq!(cached, live, "nothing is cached yet");
        } else {
            let polls = (now - first).as_ps() / secs(30).as_ps();
            assert_eq!(*by_poll.entry(polls).or_insert(cached), cached, "at {s} s");
        }
    }
    let answers: Vec<Total> = by_poll.into_values().collect();
    assert!(answers.len() >= 12 && answers.windows(2).all(|w| w[0] != w[1]), "{answers:?}");
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
            Adapter::Stackdriver { new_series_delay, .. } => new_series_delay.sample(&mut rng),
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
