//! Laws of the HPA that hold without any recording: bounds, policy budgets over every sliding
//! period, stabilisation windows, monotonicity, no dependence on pod order, invariance under a time
//! shift.

use hpasim::hpa::behavior::{
    self, BehaviorRules, Events, Policy, PolicyType, Rules, ScaleEvent, SelectPolicy,
};
use hpasim::hpa::calculator::{
    CalculatorRules, PodMetric, Scratch, Tolerances, ValueSource, calc_plain_metric_replicas,
    get_per_pod_metric_replicas,
};
use hpasim::hpa::spec::{Behavior, HpaSpec, MetricSpec, MetricTarget, ScalingPolicy, ScalingRules};
use hpasim::hpa::{
    Branch, ControllerConfig, Decision, Explanation, FetchError, Hpa, MetricReading, Observation,
    PodPhase, PodSample, PodView, Quantity, Rates, Ready, Reason,
};
use hpasim::units::{Milli, SimDuration, SimTime};
use proptest::prelude::*;

pub(crate) const S: i64 = 1_000_000_000;

pub(crate) fn pod(key: u32, phase: PodPhase, deleting: bool) -> PodView {
    PodView {
        key,
        phase,
        ready: if phase == PodPhase::Running { Ready::True } else { Ready::False },
        deleting,
        start_time: Some(SimTime::ZERO),
        ready_transition: SimTime::ZERO,
    }
}

pub(crate) fn rules(kube_minor: u32) -> CalculatorRules {
    let config = ControllerConfig::for_minor(kube_minor);
    let tolerances = Tolerances { scale_down: 0.1, scale_up: 0.1, interval: kube_minor >= 33 };
    CalculatorRules::new(&config, tolerances)
}

/// What happens to the metric and the pods before one reconcile of a random run.
#[derive(Clone, Debug)]
struct Beat {
    /// Milliseconds since the previous reconcile ended.
    gap_ms: u64,
    fetch_ms: u64,
    write_ms: u64,
    /// Average per running pod in thousandths; `None`: the metric fails.
    value: Option<i64>,
    /// Of the pods, so many (in percent) are still Pending.
    pending_percent: u32,
    /// Of the running pods, so many (in percent) report nothing.
    silent_percent: u32,
}

fn beat() -> impl Strategy<Value = Beat> {
    let value = prop_oneof![
        1 => Just(None),
        8 => (0i64..60_000).prop_map(Some),
        2 => Just(Some(10_000)),
    ];
    let percent = || prop_oneof![3 => Just(0u32), 1 => 0u32..100];
    let gap = prop_oneof![3 => Just(15_000u64), 1 => 1u64..90_000];
    let latency = || prop_oneof![2 => Just(0u64), 1 => 1u64..50];
    (gap, latency(), latency(), value, percent(), percent()).prop_map(
        |(gap_ms, fetch_ms, write_ms, value, pending_percent, silent_percent)| Beat {
            gap_ms,
            fetch_ms,
            write_ms,
            value,
            pending_percent,
            silent_percent,
        },
    )
}

fn policy() -> impl Strategy<Value = ScalingPolicy> {
    let period = prop_oneof![Just(15), Just(30), Just(60), 1..200i32];
    prop_oneof![
        (1..6i32, period.clone()).prop_map(|(v, p)| ScalingPolicy::pods(v, p)),
        (1..150i32, period).prop_map(|(v, p)| ScalingPolicy::percent(v, p)),
    ]
}

fn direction() -> impl Strategy<Value = ScalingRules> {
    let window = prop_oneof![Just(0), Just(60), 0..400i32];
    let select = prop_oneof![3 => Just("Max"), 2 => Just("Min"), 1 => Just("Disabled")];
    (proptest::option::of(window), select, proptest::collection::vec(policy(), 1..4)).prop_map(
        |(window, select, policies)| ScalingRules {
            stabilization_window_seconds: window,
            select_policy: Some(select.to_owned()),
            policies: Some(policies),
            tolerance: None,
        },
    )
}

fn spec() -> impl Strategy<Value = HpaSpec> {
    let behavior = proptest::option::weighted(
        0.8,
        (proptest::option::of(direction()), proptest::option::of(direction()))
            .prop_map(|(scale_up, scale_down)| Behavior { scale_up, scale_down }),
    );
    (1..4i32, 0..30i32, behavior).prop_map(|(min, extra, behavior)| HpaSpec {
        min_replicas: Some(min),
        max_replicas: min + extra,
        metrics: vec![MetricSpec::pods("m", Quantity::parse("10").unwrap())],
        behavior,
        ..HpaSpec::default()
    })
}

/// One reconcile of a run.
struct Seen {
    decision: Decision,
    /// When the scale write was answered, if there was one.
    written: Option<SimTime>,
    explanation: Explanation,
}

/// Runs an HPA whose target follows at once. `shuffle` turns the order of pods and samples around;
/// `offset` is when the run starts.
fn run(
    spec: &HpaSpec,
    start: i32,
    beats: &[Beat],
    shuffle: bool,
    offset: SimDuration,
) -> Vec<Seen> {
    let mut hpa = Hpa::new(spec, ControllerConfig::default());
    let mut replicas = start;
    let mut now = SimTime::ZERO + offset;
    let mut seen = Vec::new();
    for beat in beats {
        now += SimDuration::from_millis(beat.gap_ms);
        let count = replicas as u32;
        let pending = count * beat.pending_percent / 100;
        let running = count - pending;
        let silent = running * beat.silent_percent / 100;
        let mut pods: Vec<PodView> = (0..running)
            .map(|i| pod(i, PodPhase::Running, false))
            .chain((running..count).map(|i| pod(i, PodPhase::Pending, false)))
            .collect();
        let value = Milli(beat.value.unwrap_or_default());
        let mut samples: Vec<PodSample> =
            (silent..running).map(|i| PodSample::new(i, value, now)).collect();
        if shuffle {
            pods.reverse();
            let third = pods.len() / 3;
            pods.rotate_left(third);
            samples.reverse();
            let half = samples.len() / 2;
            samples.rotate_left(half);
        }
        let reading = match beat.value {
            Some(_) => MetricReading::Pods(&samples),
            None => MetricReading::Error(FetchError::Empty),
        };
        let decide = now + SimDuration::from_millis(beat.fetch_ms);
        let observation = Observation {
            now,
            now_decide: decide,
            spec_replicas: replicas,
            status_replicas: replicas,
            pods: &pods,
            metrics: &[reading],
            fault: None,
        };
        let scale_to = hpa.reconcile(&observation).scale_to;
        let explanation = hpa.explain(&observation, "default");
        now = decide;
        let mut written = None;
        if let Some(n) = scale_to {
            now = decide + SimDuration::from_millis(beat.write_ms);
            written = Some(now);
            hpa.scale_written(now, Ok(()));
            replicas = n;
        }
        seen.push(Seen { decision: hpa.decision().clone(), written, explanation });
    }
    seen
}

/// Replicas of the target over time, as an outside observer would keep it.
struct History {
    start: i32,
    writes: Vec<(i64, i32)>,
}

impl History {
    /// Replicas after all writes up to and including `at`.
    fn at(&self, at: i64) -> i32 {
        self.writes.iter().rev().find(|(t, _)| *t <= at).map_or(self.start, |(_, n)| *n)
    }
}

/// Most replicas that a policy admits, from the replicas at the start of its period.
fn admits_up(policy: &ScalingPolicy, start: i32) -> i32 {
    match policy.kind.as_str() {
        "Pods" => start + policy.value,
        _ => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
    }
}

/// Fewest replicas that a policy admits.
fn admits_down(policy: &ScalingPolicy, start: i32) -> i32 {
    match policy.kind.as_str() {
        "Pods" => start - policy.value,
        _ => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)).trunc() as i32,
    }
}

/// Law L7 for one change: the selected policies admit it, judged by the replicas that there were at
/// the start of each policy's period.
fn assert_budget(spec: &HpaSpec, history: &History, decision: &Decision, to: i32) {
    let (from, now) = (decision.current_replicas, decision.now_decide.as_nanos());
    let behavior = spec.behavior.as_ref().unwrap();
    let rules = if to > from { &behavior.scale_up } else { &behavior.scale_down };
    let rules = rules.as_ref().unwrap();
    let within = |p: &ScalingPolicy| {
        let start = history.at(now - i64::from(p.period_seconds) * S);
        if to > from { to <= admits_up(p, start) } else { to >= admits_down(p, start) }
    };
    let policies = rules.policies.as_ref().unwrap();
    let admitted = match rules.select_policy.as_deref().unwrap() {
        "Max" => policies.iter().any(within),
        "Min" => policies.iter().all(within),
        _ => false,
    };
    assert!(admitted, "{from} -> {to} breaks {rules:?}; writes {:?}", history.writes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// L7: the decision lies in [min, max], and each change keeps to the selected policies over every
    /// sliding period.
    #[test]
    fn l7_bounds_and_policy_budgets(
        spec in spec(),
        start in 0..40i32,
        beats in proptest::collection::vec(beat(), 1..80),
    ) {
        let full = spec.defaulted();
        let (min, max) = (full.min_replicas.unwrap(), full.max_replicas);
        let mut history = History { start, writes: Vec::new() };
        for seen in run(&spec, start, &beats, false, SimDuration::from_secs(1000)) {
            let d = &seen.decision;
            match d.branch {
                Branch::Metrics => {
                    prop_assert!((min..=max).contains(&d.desired_replicas), "{d:?}");
                    prop_assert_eq!(d.scale_to.is_some(), d.desired_replicas != d.current_replicas);
                }
                Branch::AboveMax => prop_assert_eq!(d.scale_to, Some(max)),
                Branch::BelowMin => prop_assert_eq!(d.scale_to, Some(min)),
                Branch::Disabled | Branch::FailedMetrics | Branch::FailedGetScale => {
                    prop_assert_eq!(d.scale_to, None);
                }
            }
            if let (Some(to), Some(at)) = (d.scale_to, seen.written) {
                if d.branch == Branch::Metrics && full.behavior.is_some() {
                    assert_budget(&full, &history, d, to);
                }
                if d.branch == Branch::Metrics && full.behavior.is_none() {
                    prop_assert!(to <= (2 * d.current_replicas).max(4));
                }
                history.writes.push((at.as_nanos(), to));
            }
        }
    }

    /// A change never passes a recommendation that its window still holds.
    #[test]
    fn windows_hold_back_changes(
        spec in spec(),
        start in 1..20i32,
        beats in proptest::collection::vec(beat(), 1..80),
    ) {
        let full = spec.defaulted();
        let seconds = |rules: &ScalingRules| i64::from(rules.stabilization_window_seconds.unwrap_or(300));
        let behavior = full.behavior.as_ref();
        let down = behavior.map_or(300, |b| seconds(b.scale_down.as_ref().unwrap()));
        let up = behavior.map_or(0, |b| seconds(b.scale_up.as_ref().unwrap()));
        let mut proposals: Vec<(i64, i32)> = Vec::new();
        for (i, seen) in run(&spec, start, &beats, false, SimDuration::from_secs(1000)).iter().enumerate() {
            let d = &seen.decision;
            if i == 0 {
                proposals.push((d.now.as_nanos(), d.current_replicas));
            }
            let Some(proposal) = d.proposed_replicas else { continue };
            let now = d.now_decide.as_nanos();
            proposals.push((now, proposal));
            let inside = |window: i64| {
                let counted = proposals.iter().filter(move |(t, _)| *t > now - window * S);
                counted.map(|(_, n)| *n).chain([proposal])
            };
            let to = d.desired_replicas;
            if to < d.current_replicas {
                let highest = inside(down).max().unwrap();
                prop_assert!(to >= highest.min(d.current_replicas), "{d:?} {proposals:?}");
            }
            if to > d.current_replicas && behavior.is_some() {
                let lowest = inside(up).min().unwrap();
                prop_assert!(to <= lowest.max(d.current_replicas), "{d:?} {proposals:?}");
            }
        }
    }

    /// The order in which pods and samples are listed does not matter.
    /// What an explanation lists must by itself give the numbers that decided.
    #[test]
    fn an_explanation_accounts_for_the_decision(
        spec in spec(),
        start in 1..8i32,
        beats in proptest::collection::vec(beat(), 1..60),
    ) {
        for seen in run(&spec, start, &beats, false, SimDuration::ZERO) {
            let told = &seen.explanation;
            if let Some(window) = &told.down_window {
                let highest = window.recommendations.iter().map(|r| r.0).max();
                prop_assert_eq!(highest, Some(window.picked));
            }
            if let Some(window) = &told.up_window {
                let lowest = window.recommendations.iter().map(|r| r.0).min();
                prop_assert_eq!(lowest, Some(window.picked));
            }
            if let Rates::Policies { up, select, policies, limit } = &told.rates {
                let current = told.current_replicas;
                for p in policies {
                    let changed: i32 = p.events.iter().map(|e| e.0).sum();
                    prop_assert_eq!(p.start, current - changed);
                }
                let limits = policies.iter().map(|p| p.limit);
                let picked = match (*select, *up) {
                    ("Max", true) | ("Min", false) => limits.max(),
                    ("Min", true) | ("Max", false) => limits.min(),
                    _ => Some(current),
                };
                let bounded = if *up { picked.map(|l| l.max(current)) } else { picked.map(|l| l.min(current)) };
                prop_assert_eq!(bounded, Some(*limit));
            }
            if let Some(metric) = told.metrics.first().filter(|m| m.failure.is_none()) {
                let pods = metric.pods.unwrap();
                prop_assert_eq!(metric.samples.len() as u32, pods.ready);
                prop_assert!(!metric.within || metric.proposal == Some(told.current_replicas));
            }
            prop_assert!(told.lines(&|pod| pod.to_string()).len() > 1);
        }
    }

    #[test]
    fn pod_order_does_not_matter(
        spec in spec(),
        start in 1..20i32,
        beats in proptest::collection::vec(beat(), 1..40),
    ) {
        let plain = run(&spec, start, &beats, false, SimDuration::ZERO);
        let shuffled = run(&spec, start, &beats, true, SimDuration::ZERO);
        for (a, b) in plain.iter().zip(&shuffled) {
            prop_assert_eq!(&a.decision, &b.decision);
        }
    }

    /// L10: a later start shifts every decision by exactly that much.
    #[test]
    fn l10_decisions_do_not_depend_on_the_start(
        spec in spec(),
        start in 1..20i32,
        beats in proptest::collection::vec(beat(), 1..40),
        shift_ms in 0..10_000_000u64,
    ) {
        let shift = SimDuration::from_millis(shift_ms);
        let early = run(&spec, start, &beats, false, SimDuration::ZERO);
        let late = run(&spec, start, &beats, false, shift);
        for (a, b) in early.iter().zip(&late) {
            let (a, b) = (&a.decision, &b.decision);
            prop_assert_eq!(a.now + shift, b.now);
            prop_assert_eq!(a.desired_replicas, b.desired_replicas);
            prop_assert_eq!(a.scale_to, b.scale_to);
            prop_assert_eq!(&a.metrics, &b.metrics);
            let words = |d: &Decision| -> Vec<_> {
                d.conditions.iter().map(|c| (c.kind, c.status, c.reason)).collect()
            };
            prop_assert_eq!(words(a), words(b));
            for (ca, cb) in a.conditions.iter().zip(b.conditions.iter()) {
                prop_assert_eq!(ca.last_transition + shift, cb.last_transition);
            }
        }
    }

    /// More load never asks for fewer replicas, as long as every pod reports.
    #[test]
    fn proposals_grow_with_the_metric(
        values in proptest::collection::vec(0..100_000i64, 1..12),
        extra in proptest::collection::vec(0..50_000i64, 12),
        target in 1..50_000i64,
        minor in 25..=36u32,
    ) {
        let n = values.len() as u32;
        let pods: Vec<PodView> = (0..n).map(|i| pod(i, PodPhase::Running, false)).collect();
        let ask = |values: &[i64]| {
            let samples: Vec<PodSample> = (0..n)
                .map(|i| PodSample::new(i, Milli(values[i as usize]), SimTime::ZERO))
                .collect();
            let input = PodMetric {
                current_replicas: n as i32,
                pods: &pods,
                samples: &samples,
                cpu: false,
                now_decide: SimTime::ZERO,
            };
            let target = Milli(target);
            calc_plain_metric_replicas(&mut Scratch::default(), &input, target, &rules(minor))
                .unwrap()
                .replicas
        };
        let more: Vec<i64> = values.iter().zip(&extra).map(|(v, e)| v + e).collect();
        prop_assert!(ask(&values) <= ask(&more));
        let total = |values: &[i64]| {
            let values: Vec<Milli> = values.iter().map(|v| Milli(*v)).collect();
            let (target, source) = (Milli(target), ValueSource::External);
            get_per_pod_metric_replicas(n as i32, &values, target, source, &rules(minor)).replicas
        };
        prop_assert!(total(&values) <= total(&more));
    }

    /// With the same memory a higher proposal never ends in fewer replicas.
    #[test]
    fn the_outcome_grows_with_the_proposal(
        spec in spec(),
        start in 1..20i32,
        beats in proptest::collection::vec(beat(), 1..40),
        low in 0..60_000i64,
        more in 0..60_000i64,
    ) {
        let last = |value| {
            let mut beats = beats.clone();
            beats.push(Beat {
                gap_ms: 15_000,
                fetch_ms: 0,
                write_ms: 0,
                value: Some(value),
                pending_percent: 0,
                silent_percent: 0,
            });
            run(&spec, start, &beats, false, SimDuration::ZERO).pop().unwrap().decision
        };
        let (a, b) = (last(low), last(low + more));
        prop_assert!(a.desired_replicas <= b.desired_replicas, "{a:?}\n{b:?}");
    }

    /// A metric that always proposes less than another changes nothing.
    #[test]
    fn the_highest_of_several_metrics_counts(
        value in 0..60_000i64,
        other in 0..60_000i64,
        replicas in 1..10i32,
    ) {
        let desired = |values: &[i64]| {
            let spec = HpaSpec {
                max_replicas: 100,
                metrics: values
                    .iter()
                    .map(|_| {
                        let target = MetricTarget::average_value(Quantity::parse("10").unwrap());
                        MetricSpec::external("q", target)
                    })
                    .collect(),
                ..HpaSpec::default()
            };
            let sums: Vec<[Milli; 1]> = values.iter().map(|v| [Milli(*v)]).collect();
            let readings: Vec<_> = sums.iter().map(|s| MetricReading::Values(s)).collect();
            let mut hpa = Hpa::new(&spec, ControllerConfig::default());
            hpa.reconcile(&Observation {
                now: SimTime::from_secs(15),
                now_decide: SimTime::from_secs(15),
                spec_replicas: replicas,
                status_replicas: replicas,
                pods: &[],
                metrics: &readings,
                fault: None,
            })
            .proposed_replicas
            .unwrap()
        };
        let both = desired(&[value, other]);
        prop_assert_eq!(both, desired(&[value]).max(desired(&[other])));
        prop_assert_eq!(both, desired(&[other, value]));
    }
}

/// Rounding facts of the percent policies in binary64, measured with the real functions.
#[test]
fn percent_policies_round_as_binary64_does() {
    let none = Events { up: &[], down: &[] };
    let rules = |value| Rules {
        window: 0,
        select: SelectPolicy::Max,
        policies: vec![Policy { kind: PolicyType::Percent, value, period: 15 * S }],
    };
    let up = |current, value| {
        behavior::calculate_scale_up_limit_with_scaling_rules(current, &none, &rules(value), S)
    };
    let down = |current, value| {
        behavior::calculate_scale_down_limit_with_behaviors(current, &none, &rules(value), S)
    };
    assert_eq!([up(100, 10), up(50, 10), up(200, 10)], [111, 56, 221]);
    assert_eq!([down(5, 80), down(10, 90)], [0, 0]);
}

/// Both sides of every window edge, where ties are real: sync periods divide windows.
#[test]
fn window_edges() {
    let rec = |replicas, at| behavior::Recommendation { replicas, at: at * S };
    // Legacy: exactly at the cut-off still counts; a nanosecond older does not.
    for (age_ns, expected) in [(300 * S, 9), (300 * S + 1, 2)] {
        let at = 1000 * S - age_ns;
        let mut recs = vec![behavior::Recommendation { replicas: 9, at }];
        let got = behavior::stabilize_recommendation(&mut recs, 2, 300 * S, 1000 * S);
        assert_eq!(got.replicas, expected);
    }
    // Behavior: exactly at the cut-off neither counts nor may its slot be reused.
    let window = |seconds: i64| Rules {
        window: seconds * S,
        select: SelectPolicy::Max,
        policies: Vec::new(),
    };
    let rules = BehaviorRules { scale_up: window(0), scale_down: window(300) };
    for (at, expected, slots) in [(701, 9, 2), (700, 2, 2), (699, 2, 1)] {
        let mut recs = vec![rec(9, at)];
        let got =
            behavior::stabilize_recommendation_with_behaviors(&mut recs, 9, 2, &rules, 1000 * S);
        assert_eq!((got.replicas, recs.len()), (expected, slots), "{at}");
    }
    // Policies: an event exactly at the cut-off is not counted.
    let event = |at| ScaleEvent { change: 1, at, outdated: false };
    let counted = |at| behavior::get_replicas_change_per_period(15 * S, &[event(at)], 100 * S);
    assert_eq!([counted(85 * S), counted(85 * S + 1)], [0, 1]);
}

/// A restarted controller holds a scale-down for a whole window again.
#[test]
fn a_restart_forgets_and_seeds_the_window() {
    let spec = HpaSpec {
        max_replicas: 10,
        metrics: vec![MetricSpec::pods("m", Quantity::parse("10").unwrap())],
        ..HpaSpec::default()
    };
    let mut hpa = Hpa::new(&spec, ControllerConfig::default());
    let pods: Vec<_> = (0..4).map(|i| pod(i, PodPhase::Running, false)).collect();
    let samples: Vec<_> = (0..4).map(|i| PodSample::new(i, Milli(1_000), SimTime::ZERO)).collect();
    let at = |hpa: &mut Hpa, s: u64| {
        let now = SimTime::from_secs(s);
        let readings = [MetricReading::Pods(&samples)];
        let seen = Observation {
            now,
            now_decide: now,
            spec_replicas: 4,
            status_replicas: 4,
            pods: &pods,
            metrics: &readings,
            fault: None,
        };
        hpa.reconcile(&seen).scale_to
    };
    assert_eq!(at(&mut hpa, 15), None);
    assert_eq!(at(&mut hpa, 315), None);
    hpa.restart_controller();
    assert_eq!(at(&mut hpa, 330), None);
    assert_eq!(at(&mut hpa, 630), None, "exactly at the cut-off the seed still counts");
    let able = hpa.decision().conditions.iter().next().unwrap();
    assert_eq!(able.reason, Reason::ScaleDownStabilized);
    assert_eq!(at(&mut hpa, 645), Some(1));
    hpa.scale_written(SimTime::from_secs(645), Ok(()));
}
