//! Laws of `docs/invariants.md` as properties over random small systems.
//!
//! L1 (conservation), L3 (the clock) and the GPU part of L8 are also asserted inside every run.

use crate::support;
use hpasim::cluster::{
    Capacity, DeletionCost, FaultKind, ModelLoad, PodStage, ScriptedFault, ShutdownMode,
};
use hpasim::gateway::Policy;
use hpasim::hpa::spec::{Behavior, HpaSpec, MetricSpec, ScalingPolicy, ScalingRules};
use hpasim::hpa::{Branch, Quantity};
use hpasim::rng::Seed;
use hpasim::sim::{RecordLevel, RunRecord, Scenario, Series, Signal, run_workload};
use hpasim::units::{PodId, SimDuration, SimTime};
use hpasim::workload::{Clients, Recorded, Request, StreamSpec, WorkloadSpec};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The gauges of a server.
const GAUGES: [Signal; 3] =
    [Signal::NumRequestsRunning, Signal::NumRequestsWaiting, Signal::KvCacheUsagePerc];

/// Twenty minutes.
const DURATION: u64 = 1200;

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let one = (0..DURATION * 1000, 1_u32..700, 1_u32..300);
    let burst = (0..DURATION * 1000, 1_usize..120)
        .prop_flat_map(|(at, n)| prop::collection::vec((Just(at), 1_u32..700, 1_u32..300), n));
    let list = prop::collection::vec(one, 0..200);
    (list, prop::collection::vec(burst, 0..4)).prop_map(|(mut list, bursts)| {
        list.extend(bursts.into_iter().flatten());
        list.sort_by_key(|row| row.0);
        list.into_iter().map(|(at, p, o)| support::request(at, p, o)).collect()
    })
}

fn rules() -> impl Strategy<Value = ScalingRules> {
    let policy = (any::<bool>(), 1..200_i32, 1..180_i32).prop_map(|(pods, value, period)| {
        if pods {
            ScalingPolicy::pods(value.min(4), period)
        } else {
            ScalingPolicy::percent(value, period)
        }
    });
    let select = prop::sample::select(vec!["Max", "Min", "Disabled"]);
    (0..300_i32, select, prop::collection::vec(policy, 1..3)).prop_map(
        |(window, select, policies)| ScalingRules {
            stabilization_window_seconds: Some(window),
            select_policy: Some(select.into()),
            policies: Some(policies),
            tolerance: None,
        },
    )
}

fn spec() -> impl Strategy<Value = (HpaSpec, Vec<Signal>)> {
    let metric = (0..3_usize, 1..12_i64);
    let behavior = prop::option::of((prop::option::of(rules()), prop::option::of(rules())));
    (1..3_i32, 0..6_i32, prop::collection::vec(metric, 1..3), behavior).prop_map(
        |(min, more, metrics, behavior)| {
            let signals: Vec<Signal> = metrics.iter().map(|m| GAUGES[m.0]).collect();
            let metrics = metrics
                .iter()
                .map(|&(i, target)| {
                    let target = match GAUGES[i] {
                        Signal::KvCacheUsagePerc => format!("{}m", target * 80),
                        _ => target.to_string(),
                    };
                    let target = Quantity::parse(&target).expect("a quantity");
                    MetricSpec::pods(GAUGES[i].name(), target)
                })
                .collect();
            let spec = HpaSpec {
                min_replicas: Some(min),
                max_replicas: min + more,
                metrics,
                behavior: behavior.map(|(scale_up, scale_down)| Behavior { scale_up, scale_down }),
                ..HpaSpec::default()
            };
            (spec, signals)
        },
    )
}

/// What goes wrong with servers and machines in twenty minutes; nothing in half of the cases.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    crash_per_hour: f64,
    unready_per_hour: f64,
    preempted_per_hour: f64,
    lost_per_hour: f64,
    auto_repair: bool,
    spare_replicas: u32,
    attach_limit: Option<u32>,
    deletion_cost: DeletionCost,
    scripted: Vec<ScriptedFault>,
}

impl Faults {
    pub(crate) fn put_into(self, scenario: &mut Scenario) {
        let cluster = &mut scenario.cluster;
        // Spot first, on demand behind it.
        let mut spot = cluster.pools[0].clone();
        spot.capacity = Capacity::Spot;
        spot.preemption.per_node_hour = self.preempted_per_hour;
        cluster.pools.insert(0, spot);
        cluster.spare_replicas = self.spare_replicas;
        cluster.termination.deletion_cost = self.deletion_cost;
        if let ModelLoad::Storage(load) = &mut cluster.startup.load {
            load.attach_limit = self.attach_limit;
        }
        cluster.faults.crash_per_hour = self.crash_per_hour;
        cluster.faults.unready_per_hour = self.unready_per_hour;
        cluster.faults.node_loss_per_hour = self.lost_per_hour;
        cluster.faults.scripted = self.scripted;
        if !self.auto_repair {
            cluster.faults.node_repair = None;
            cluster.autoscaler.scale_down_unready = SimDuration::from_secs(120);
        }
    }
}

pub(crate) fn faults() -> impl Strategy<Value = Faults> {
    let kind = prop::sample::select(vec![
        FaultKind::Crash,
        FaultKind::Unready(SimDuration::from_secs(40)),
        FaultKind::Preemption,
        FaultKind::NodeLoss,
    ]);
    let scripted = (0..DURATION, 0_usize..3, kind).prop_map(|(second, replica, kind)| {
        ScriptedFault { at: SimTime::from_secs(second), replica, kind }
    });
    let often = || prop_oneof![Just(0.0), Just(20.0)];
    let rates = (often(), often(), often(), often());
    let limits = (0_u32..2, prop::option::of(1_u32..4), any::<bool>(), any::<bool>());
    let some = (rates, limits, prop::collection::vec(scripted, 0..5));
    let some =
        some.prop_map(|(rates, (spare_replicas, attach_limit, by_cost, auto_repair), scripted)| {
            let (crash, unready, preempted, lost) = rates;
            Faults {
                crash_per_hour: crash,
                unready_per_hour: unready,
                preempted_per_hour: preempted,
                lost_per_hour: lost,
                auto_repair,
                spare_replicas,
                attach_limit,
                deletion_cost: if by_cost {
                    DeletionCost::RunningRequests
                } else {
                    DeletionCost::None
                },
                scripted,
            }
        });
    let none = Faults {
        crash_per_hour: 0.0,
        unready_per_hour: 0.0,
        preempted_per_hour: 0.0,
        lost_per_hour: 0.0,
        auto_repair: true,
        spare_replicas: 0,
        attach_limit: None,
        deletion_cost: DeletionCost::None,
        scripted: Vec::new(),
    };
    prop_oneof![Just(none), some]
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let shutdown = prop::sample::select(vec![
        ShutdownMode::Abort,
        ShutdownMode::Drain { timeout: SimDuration::from_secs(20) },
        ShutdownMode::Drain { timeout: SimDuration::MAX },
    ]);
    let policy = prop::sample::select(vec![
        Policy::Random,
        Policy::RoundRobin,
        Policy::LeastRequest,
        Policy::PowerOfTwo,
    ]);
    let clients = (prop::option::of(1_u64..60), 0_u32..3).prop_map(|(patience, retries)| Clients {
        client_timeout: patience.map(SimDuration::from_secs),
        max_connections: None,
        retries,
    });
    let seqs_and_blocks = (1_u32..12, 70_u32..200);
    (requests(), spec(), seqs_and_blocks, shutdown, policy, 0.0..0.6_f64, clients, faults())
        .prop_map(
            |(
                requests,
                (spec, signals),
                (seqs, blocks),
                shutdown,
                policy,
                stock_out,
                clients,
                faults,
            )| {
                let autoscaler = support::hpa(spec, &signals);
                let engine = support::engine(seqs, blocks);
                let mut scenario = support::scenario(engine, autoscaler, requests, DURATION);
                scenario.cluster.termination.shutdown = shutdown;
                scenario.cluster.pools[0].stock_out.probability = stock_out;
                faults.put_into(&mut scenario);
                scenario.gateway = policy;
                let streams = scenario.workload.streams().to_vec();
                scenario.workload = WorkloadSpec::new(streams, clients).expect("valid");
                scenario
            },
        )
}

fn full(scenario: &Scenario, seed: u64) -> RunRecord {
    run_workload(scenario, Seed(seed), RecordLevel::Requests)
}

/// L8: pods move along the arrows, and no node holds more of them than it has room for.
pub(crate) fn check_places(scenario: &Scenario, record: &RunRecord) -> Result<(), TestCaseError> {
    let room = scenario.cluster.pools[0].replicas_per_node;
    let mut stages: BTreeMap<PodId, PodStage> = BTreeMap::new();
    let mut places: BTreeMap<PodId, hpasim::units::NodeId> = BTreeMap::new();
    for row in &record.pods {
        if let Some(before) = stages.insert(row.pod, row.stage)
            && row.at > SimTime::ZERO
        {
            prop_assert!(before.may_become(row.stage), "{before:?} to {:?}", row.stage);
        }
        match row.node {
            Some(node) if row.stage != PodStage::Gone => {
                places.insert(row.pod, node);
                let held = places.values().filter(|n| **n == node).count();
                prop_assert!(held <= room as usize, "{held} pods on {node:?}");
            }
            _ => {
                places.remove(&row.pod);
            }
        }
    }
    Ok(())
}

/// Bytes in which two runs would differ.
fn fingerprint(record: &RunRecord) -> String {
    format!("{record:?}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// L1: every request is in exactly one end, and every one that ended well got all its tokens.
    #[test]
    fn l1_requests_are_conserved(scenario in scenarios(), seed: u64) {
        let record = full(&scenario, seed);
        let sent = scenario.workload.streams().len();
        prop_assert_eq!(sent, 1);
        let expected = scenario.workload.materialise(Seed(seed), SimTime::from_secs(DURATION));
        prop_assert_eq!(record.accounting.arrived as usize, expected.len());
        prop_assert_eq!(record.accounting.arrived, record.accounting.accounted());
        prop_assert_eq!(record.requests.len(), expected.len());
        for (i, row) in record.requests.iter().enumerate() {
            prop_assert_eq!(row.record.id.0, i as u64);
            if row.outcome() == "completed" {
                let max = scenario.engine.scheduler.max_model_len - row.record.prompt_tokens;
                prop_assert_eq!(row.record.output_tokens, expected[i].output_tokens.min(max));
            }
        }
    }

    /// L4: arrival <= queued <= first scheduled <= first token <= last token <= end.
    #[test]
    fn l4_a_request_lives_forwards(scenario in scenarios(), seed: u64) {
        for row in full(&scenario, seed).requests {
            let r = row.record;
            let times = [Some(r.arrival), Some(r.queued), r.first_scheduled, r.first_token, r.last_token];
            let known: Vec<SimTime> = times.into_iter().flatten().collect();
            if r.reason != hpasim::engine::FinishReason::Unfinished
                && r.reason != hpasim::engine::FinishReason::Killed {
                prop_assert!(known.iter().all(|t| *t <= r.end), "{:?}", r);
            }
            prop_assert!(known.is_sorted(), "{:?}", r);
        }
    }

    /// L5: the same seed gives the same bytes, twice in one process; another seed does not change the load.
    #[test]
    fn l5_runs_repeat(scenario in scenarios(), seed: u64) {
        prop_assert_eq!(fingerprint(&full(&scenario, seed)), fingerprint(&full(&scenario, seed)));
    }

    /// L7: after a metric reconcile the wanted number lies within [min, max].
    #[test]
    fn l7_replicas_stay_within_bounds(scenario in scenarios(), seed: u64) {
        let hpasim::sim::Autoscaler::Hpa(setup) = &scenario.autoscaler else { unreachable!() };
        let bounds = setup.spec.min_replicas.unwrap_or(1)..=setup.spec.max_replicas;
        for decision in full(&scenario, seed).decisions {
            if decision.branch != Branch::FailedMetrics {
                prop_assert!(bounds.contains(&decision.desired_replicas), "{:?}", decision);
            }
        }
    }

    /// L8: pod stages move along the arrows, and no node holds more pods than it has room for.
    #[test]
    fn l8_pods_move_along_the_arrows(scenario in scenarios(), seed: u64) {
        check_places(&scenario, &full(&scenario, seed))?;
    }

    /// L9: nothing decided before `cut` depends on requests that come at or after it.
    #[test]
    fn l9_decisions_do_not_see_the_future(scenario in scenarios(), seed: u64, cut in 60..DURATION) {
        let cut = SimTime::from_secs(cut);
        let all = scenario.workload.materialise(Seed(seed), SimTime::from_secs(DURATION));
        let kept: Vec<Request> = all.iter().filter(|r| r.arrival < cut).copied().collect();
        prop_assume!(!kept.is_empty());
        let mut short = scenario.clone();
        let replay = WorkloadSpec::replay(Recorded::new(kept));
        let clients = scenario.workload.clients().clone();
        short.workload = WorkloadSpec::new(replay.streams().to_vec(), clients).expect("valid");
        let early = |record: &RunRecord| -> Vec<String> {
            let decided = record.decisions.iter().filter(|d| d.now < cut);
            decided.map(|d| format!("{d:?}")).collect()
        };
        prop_assert_eq!(early(&full(&scenario, seed)), early(&full(&short, seed)));
    }
}

/// L6 on the whole system: with one replica in service and requests waiting, the GPU does not rest.
#[test]
fn l6_no_rest_while_work_waits() {
    let requests: Vec<Request> = (0..2000).map(|i| support::request(i * 10, 200, 100)).collect();
    let scenario = support::scenario(
        support::engine(8, 200),
        hpasim::sim::Autoscaler::Fixed(1),
        requests,
        120,
    );
    let record = full(&scenario, 1);
    let last = record.series(Series::NumRequestsWaiting).map(|row| row.value).collect::<Vec<_>>();
    assert!(last[1..].iter().all(|waiting| *waiting > 0.0), "the load saturates: {last:?}");
    // Only the first few milliseconds (front-end time of the first request) are idle, on one of two GPUs.
    let busy = (1.0 - record.measures.gpu_idle_ratio) * record.measures.gpu_hours * 3600.0;
    assert!((busy - 120.0).abs() < 0.1, "busy for {busy} of 120 s");
}

/// A cap on connections: never more under way than the cap, and every request is served in the end.
#[test]
fn a_cap_on_connections_holds() {
    let requests: Vec<Request> = (0..300).map(|i| support::request(i * 20, 100, 50)).collect();
    let fixed = hpasim::sim::Autoscaler::Fixed(2);
    let mut scenario = support::scenario(support::engine(64, 2000), fixed, requests, 600);
    let clients = Clients { max_connections: Some(5), ..Clients::default() };
    let streams: Vec<StreamSpec> = scenario.workload.streams().to_vec();
    scenario.workload = WorkloadSpec::new(streams, clients).expect("valid");
    let record = full(&scenario, 3);
    assert_eq!((record.accounting.arrived, record.accounting.completed), (300, 300));
    let mut changes: Vec<(SimTime, i32)> = Vec::new();
    for row in &record.requests {
        changes.push((row.record.arrival, 1));
        changes.push((row.record.end, -1));
    }
    changes.sort_unstable();
    let mut under_way = 0;
    let most = changes.iter().map(|(_, change)| {
        under_way += change;
        under_way
    });
    assert_eq!(most.max(), Some(5));
}

/// A client that gives up leaves its replica: nobody is served long after its patience ended.
#[test]
fn patience_bounds_the_life_of_a_request() {
    let requests: Vec<Request> = (0..500).map(|i| support::request(i * 10, 300, 200)).collect();
    let fixed = hpasim::sim::Autoscaler::Fixed(1);
    let mut scenario = support::scenario(support::engine(8, 200), fixed, requests, 300);
    let patience = SimDuration::from_secs(20);
    let clients = Clients { client_timeout: Some(patience), ..Clients::default() };
    let streams: Vec<StreamSpec> = scenario.workload.streams().to_vec();
    scenario.workload = WorkloadSpec::new(streams, clients).expect("valid");
    let record = full(&scenario, 3);
    assert!(record.accounting.cancelled > 100, "{:?}", record.accounting);
    for row in &record.requests {
        // One step at most passes between giving up and leaving.
        let life = row.record.end - row.record.arrival;
        assert!(life <= patience + SimDuration::from_secs(1), "{:?}", row.record);
    }
}

/// The closed-loop law on the whole system: users = throughput x (response + pause).
#[test]
fn closed_loop_users_are_throughput_times_cycle() {
    use hpasim::workload::{Arrivals, ClosedLoop, LengthModel, Wait};
    let lengths = LengthModel::constant(100, 50).expect("valid");
    let users = ClosedLoop::new(vec![(0.0, 24, 100.0)], Wait::Between(1.0, 3.0), lengths);
    let fixed = hpasim::sim::Autoscaler::Fixed(1);
    let mut scenario = support::scenario(support::engine(64, 2000), fixed, Vec::new(), 1200);
    scenario.workload =
        WorkloadSpec::single(Arrivals::ClosedLoop(users.expect("valid"))).expect("valid");
    let record = full(&scenario, 5);
    let completed: Vec<_> = record.requests.iter().filter(|r| r.outcome() == "completed").collect();
    let response: f64 = completed
        .iter()
        .map(|row| (row.record.end - row.record.arrival).as_secs_f64())
        .sum::<f64>()
        / completed.len() as f64;
    let throughput = completed.len() as f64 / 1200.0;
    let users = throughput * (response + 2.0);
    assert!((users / 24.0 - 1.0).abs() < 0.02, "{users} users seen");
    assert_eq!(fingerprint(&record), fingerprint(&full(&scenario, 5)));
}
