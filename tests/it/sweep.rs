//! Sweeps over small simulated systems: determinism, resuming, warnings.

use crate::support::{engine, hpa, request, scenario};
use hpasim::hpa::spec::{Behavior, MetricSpec, ScalingRules};
use hpasim::hpa::{HpaSpec, Quantity};
use hpasim::rng::Seed;
use hpasim::sim::{Measures, RecordLevel, Signal, realise, run_realised, run_workload};
use hpasim::sweep::{
    Case, Objective, Options, Outcome, Plan, Shard, SweepResult, Unit, run, warnings,
};
use std::collections::BTreeMap;

const RUNNING: Signal = Signal::NumRequestsRunning;

fn spec(signal: Signal, target: i64, window: Option<i32>) -> HpaSpec {
    let behavior = window.map(|seconds| Behavior {
        scale_up: None,
        scale_down: Some(ScalingRules {
            stabilization_window_seconds: Some(seconds),
            ..ScalingRules::default()
        }),
    });
    HpaSpec {
        min_replicas: Some(1),
        max_replicas: 4,
        metrics: vec![MetricSpec::pods(signal.name(), Quantity::from_milli(target * 1000))],
        behavior,
        ..HpaSpec::default()
    }
}

/// A burst of requests that one replica with eight slots cannot carry.
fn case(index: usize, spec: HpaSpec, signal: Signal) -> Case {
    let requests = (0..600).map(|i| request(i * 500, 200, 60)).collect();
    let target = spec.metrics[0].target().and_then(|t| t.average_value.clone());
    Case {
        id: format!("c{index:03}"),
        knobs: vec![
            ("metric".into(), signal.name().into()),
            ("target".into(), target.map_or(String::new(), |q| q.canonical().to_owned())),
        ],
        scenario: scenario(engine(8, 600), hpa(spec, &[signal]), requests, 600),
        digest: format!("{index}"),
    }
}

fn plan(cases: Vec<Case>) -> Plan {
    Plan {
        cases,
        replications: 2,
        confidence: 0.95,
        seed: Seed(11),
        objective: Objective { attainment: 0.5 },
        current: None,
    }
}

fn targets(targets: &[i64]) -> Plan {
    let cases = targets.iter().enumerate();
    plan(cases.map(|(i, &t)| case(i, spec(RUNNING, t, None), RUNNING)).collect())
}

fn options(jobs: usize, known: &dyn Fn(Unit) -> Option<Measures>) -> Options<'_> {
    Options { jobs, shard: Shard::WHOLE, known, cancelled: &|| false }
}

fn swept(plan: &Plan, jobs: usize) -> SweepResult {
    run(plan, &options(jobs, &|_| None), &mut |_, _| Ok(())).expect("silent progress never fails")
}

/// Bits of all measures: NaN is equal to itself here.
fn bits(result: &SweepResult) -> Vec<Vec<u64>> {
    let runs = result.cases.iter().flat_map(|case| &case.runs);
    runs.map(|outcome| match outcome {
        Some(Outcome::Done(measures)) => measures.values().iter().map(|v| v.to_bits()).collect(),
        other => panic!("unit did not end: {other:?}"),
    })
    .collect()
}

/// Law L5 for a sweep: any number of jobs gives the same numbers.
#[test]
fn jobs_do_not_change_the_result() {
    let plan = targets(&[2, 4, 6]);
    let one = swept(&plan, 1);
    assert_eq!(bits(&one), bits(&swept(&plan, 3)));
    let requests = one.cases[0].measure("requests_total").mean;
    assert_eq!(requests, 600.0, "the sweep really simulated something");
}

/// Sharing arrivals among cases changes nothing against streaming them.
#[test]
fn realised_arrivals_equal_streamed_ones() {
    let plan = targets(&[3]);
    let (scenario, seed) = (&plan.cases[0].scenario, plan.seed.replication(0));
    let streamed = run_workload(scenario, seed, RecordLevel::Measures).measures.values();
    let arrivals = realise(scenario, seed);
    let shared = run_realised(scenario, seed, &arrivals, RecordLevel::Measures).measures.values();
    let bits = |values: Vec<f64>| -> Vec<u64> { values.iter().map(|v| v.to_bits()).collect() };
    assert_eq!(bits(streamed), bits(shared));
}

/// Two shards and a resumed sweep give what the whole sweep gives.
#[test]
fn shards_and_resume_reproduce_the_whole() {
    let plan = targets(&[2, 4, 6]);
    let whole = swept(&plan, 2);
    let mut known: BTreeMap<Unit, Measures> = BTreeMap::new();
    for index in [1, 2] {
        let part = Options { shard: Shard { index, count: 2 }, ..options(1, &|_| None) };
        let result = run(&plan, &part, &mut |_, _| Ok(())).unwrap();
        for (case, outcome) in result.cases.iter().enumerate() {
            for (replication, measures) in outcome.done() {
                assert!(known.insert(Unit { case, replication }, *measures).is_none(), "run twice");
            }
        }
    }
    assert_eq!(known.len(), 6);
    let resumed =
        run(&plan, &options(1, &|unit| known.get(&unit).copied()), &mut |_, _| Ok(())).unwrap();
    assert_eq!(bits(&whole), bits(&resumed));
    assert_eq!(whole.recommended, resumed.recommended);
}

fn codes(plan: &Plan, result: &SweepResult) -> Vec<&'static str> {
    warnings(plan, result).into_iter().map(|warning| warning.code).collect()
}

/// A result in which case `i` costs `costs[i]`, with `shape` applied to every run.
fn made_up(plan: &Plan, costs: &[f64], shape: impl Fn(usize, &mut Measures)) -> SweepResult {
    let outcomes = costs.iter().enumerate().flat_map(|(case, cost)| {
        (0..plan.replications).map(move |replication| (Unit { case, replication }, *cost))
    });
    SweepResult::of(
        plan,
        outcomes.map(|(unit, cost_usd)| {
            let mut measures = Measures {
                cost_usd,
                slo_attainment: 1.0,
                requests_total: 600.0,
                scale_ups: 1.0,
                ..Measures::default()
            };
            shape(unit.case, &mut measures);
            (unit, Some(Outcome::Done(measures)))
        }),
    )
}

/// `max_num_seqs` is 8: above a target of 7.28 the ratio never leaves the tolerance.
#[test]
fn a_gauge_that_cannot_reach_its_target_is_named() {
    let (low, high) = (targets(&[4, 7]), targets(&[4, 8]));
    let quiet = made_up(&low, &[2.0, 1.0], |_, _| {});
    assert!(!codes(&low, &quiet).contains(&"unreachable-target"));
    let result = made_up(&high, &[2.0, 1.0], |_, _| {});
    let found = warnings(&high, &result);
    let warning = found.iter().find(|w| w.code == "unreachable-target").expect("warned");
    assert!(warning.text.starts_with("c001 can never scale up"), "{}", warning.text);
    assert!(warning.text.contains("max_num_seqs 8"), "{}", warning.text);
}

#[test]
fn a_metric_that_never_scales_is_named() {
    let waiting = Signal::NumRequestsWaiting;
    let cases = [5, 6].into_iter().enumerate();
    let cases = cases.map(|(i, target)| case(i, spec(waiting, target, None), waiting)).collect();
    let plan = plan(cases);
    let idle = made_up(&plan, &[1.0, 1.0], |_, m| m.scale_ups = 0.0);
    assert!(codes(&plan, &idle).contains(&"idle-metric"));
    let busy = made_up(&plan, &[1.0, 1.0], |case, m| m.scale_ups = case as f64);
    assert!(!codes(&plan, &busy).contains(&"idle-metric"));
}

/// 100 and 105 differ by 5 %, which a tolerance of 10 % hides; 100 and 120 do not.
#[test]
fn targets_inside_the_tolerance_are_named() {
    for (other, expected) in [(105, true), (120, false)] {
        let plan = targets(&[100, other]);
        let result = made_up(&plan, &[1.0, 2.0], |_, _| {});
        assert_eq!(result.recommended, Some(0));
        assert_eq!(codes(&plan, &result).contains(&"target-within-tolerance"), expected);
    }
}

/// The cold start of the test cluster takes about 100 s.
#[test]
fn a_window_shorter_than_a_cold_start_is_named() {
    for (window, expected) in [(Some(30), true), (Some(300), false), (None, false)] {
        let plan = plan(vec![case(0, spec(RUNNING, 4, window), RUNNING)]);
        let result = made_up(&plan, &[1.0], |_, m| m.scale_downs = 1.0);
        let found = codes(&plan, &result).contains(&"short-scale-down-window");
        assert_eq!(found, expected, "window {window:?}");
    }
}

#[test]
fn limits_flaps_and_noise_are_named() {
    let plan = targets(&[2, 4]);
    let result = made_up(&plan, &[1.0, 2.0], |_, m| {
        m.replicas_max = 4.0;
        m.flaps = 9.0;
        m.unserved_at_end = 60.0;
    });
    let found = codes(&plan, &result);
    for code in ["limited-by-max-replicas", "flapping", "unserved-at-end"] {
        assert!(found.contains(&code), "{code} is missing in {found:?}");
    }
    let quiet = made_up(&plan, &[1.0, 2.0], |_, _| {});
    assert_eq!(codes(&plan, &quiet), Vec::<&str>::new());
}

#[test]
fn a_difference_within_its_interval_is_named() {
    let plan = targets(&[2, 4]);
    let costs = [[1.0, 3.0], [3.0, 1.2]];
    let units = (0..2).flat_map(|case| (0..2).map(move |replication| Unit { case, replication }));
    let result = SweepResult::of(
        &plan,
        units.map(|unit| {
            let cost_usd = costs[unit.case][unit.replication as usize];
            let measures =
                Measures { cost_usd, slo_attainment: 1.0, scale_ups: 1.0, ..Measures::default() };
            (unit, Some(Outcome::Done(measures)))
        }),
    );
    assert!(codes(&plan, &result).contains(&"within-noise"));
}

#[test]
fn the_edge_of_the_grid_is_named() {
    let plan = targets(&[2, 4, 6]);
    let edge = made_up(&plan, &[3.0, 2.0, 1.0], |_, _| {});
    assert!(codes(&plan, &edge).contains(&"edge-of-grid"));
    let idle = made_up(&plan, &[3.0, 2.0, 1.0], |_, m| m.scale_ups = 0.0);
    assert!(
        !codes(&plan, &idle).contains(&"edge-of-grid"),
        "nothing is cheaper than standing still"
    );
    let inside = made_up(&plan, &[3.0, 1.0, 2.0], |_, _| {});
    assert!(!codes(&plan, &inside).contains(&"edge-of-grid"));
}
