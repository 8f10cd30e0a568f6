//! Drains under a PodDisruptionBudget and machines that die without notice: from the file to what clients see.

use crate::config_cluster::{errors, scenario};
use hpasim::cluster::{Budget, FaultKind, IntOrPercent, NodeStage};
use hpasim::rng::Seed;
use hpasim::sim::{
    Autoscaler, AutoscalerEvent, FaultEvent, PodStage, RecordLevel, RunRecord, Scenario,
    run_workload,
};
use hpasim::units::{SimDuration, SimTime};
use hpasim::workload::{Clients, WorkloadSpec};

fn run(scenario: &Scenario) -> RunRecord {
    run_workload(scenario, Seed(5), RecordLevel::Requests)
}

#[test]
fn the_keys_say_what_the_objects_say() {
    let disruption = |keys: &str| {
        scenario("l4-llama-3.1-8b", &format!("[cluster.disruption]\n{keys}")).cluster.disruption
    };
    let none = disruption("");
    assert_eq!((none.budget, none.safe_to_evict), (None, true));
    let budget = |keys: &str| disruption(keys).budget;
    assert_eq!(budget("min_available = 2"), Some(Budget::MinAvailable(IntOrPercent::Int(2))));
    let half = Some(Budget::MaxUnavailable(IntOrPercent::Percent(50)));
    assert_eq!(budget("max_unavailable = \"50%\""), half);
    assert!(!disruption("safe_to_evict = false").safe_to_evict);
    for (keys, expected) in [
        ("min_available = 1\nmax_unavailable = 1", "one of `min_available` and `max_unavailable`"),
        ("min_available = \"101%\"", "must be a whole percentage from 0% to 100%"),
        ("min_available = \"1.5%\"", "must be a whole percentage from 0% to 100%"),
        ("max_unavailable = -1", "must be a number of pods or a percentage"),
        ("max_unavailable = \"2\"", "must be a number of pods or a percentage"),
        ("max_unavailable = 0.5", "must be a number of pods or a percentage"),
        ("min_avail = 1", "did you mean `min_available`?"),
    ] {
        let text = errors(&format!("[cluster.disruption]\n{keys}"));
        assert!(text.contains(expected), "{keys}\n{text}");
    }
    let faults = |keys: &str| scenario("l4-llama-3.1-8b", keys).cluster.faults;
    let grace = |keys: &str| faults(keys).node_monitor_grace_period;
    assert_eq!(grace(""), SimDuration::from_secs(50));
    assert_eq!(grace("kube_version = \"1.31\""), SimDuration::from_secs(40));
    let kind =
        faults("[[cluster.faults.scripted]]\nat = \"1m\"\nkind = \"node_loss\"").scripted[0].kind;
    assert_eq!(kind, FaultKind::NodeLoss);
    let text =
        errors("[[cluster.faults.scripted]]\nat = \"1m\"\nkind = \"node_loss\"\nfor = \"9s\"");
    assert!(text.contains("only an unready spell has a length"), "{text}");
}

/// What servers do from vLLM 0.18 on.
const ABORT: &str = "[cluster.termination]\nshutdown = \"abort\"\n";

/// Eight replicas on two machines become four, two on each: without a budget one machine is drained with both its
/// pods at once, which cuts requests off; with `min_available = 4` it stays.
#[test]
fn a_budget_keeps_a_half_used_machine() {
    let drains = |keys: &str| {
        let cluster =
            format!("machine_type = \"g2-standard-48\"\nmodel_storage = \"gcs\"\n{ABORT}{keys}");
        let mut scenario = scenario("l4-llama-3.1-8b", &cluster);
        let at = SimTime::from_secs;
        let steps = [8, 7, 6, 5, 4].into_iter().zip([0, 597, 598, 599, 600]);
        let steps = steps.map(|(replicas, second)| (at(second), replicas));
        scenario.autoscaler = Autoscaler::Schedule(steps.collect());
        let record = run(&scenario);
        let told = record.events.iter().filter_map(|row| match row.event {
            AutoscalerEvent::Drain { pods, .. } => Some(("drain", pods)),
            AutoscalerEvent::DrainFailed { pods, .. } => Some(("failed", pods)),
            _ => None,
        });
        let hours = record.measures.node_hours;
        (told.collect::<Vec<_>>(), hours, record.accounting)
    };
    let (told, without, lost) = drains("");
    assert_eq!(told, [("drain", 2)]);
    assert!(lost.killed > 0, "{lost:?}");
    let (told, with, kept) = drains("[cluster.disruption]\nmin_available = 4");
    assert_eq!(told, []);
    let (told, pinned, _) = drains("[cluster.disruption]\nsafe_to_evict = false");
    assert_eq!(told, []);
    assert!(with > without + 1.0 && pinned == with, "{without} {with} {pinned} node hours");
    assert!(kept.killed < lost.killed, "{kept:?} {lost:?}");
    // One at a time, as replacements become Ready within two minutes or not.
    let slow = "[cluster.startup]\ninit = \"5m\"\n";
    let (told, ..) = drains(&format!("[cluster.disruption]\nmax_unavailable = 1\n{slow}"));
    assert_eq!(told[..2], [("drain", 2), ("failed", 1)]);
}

const LOSS: &str =
    "model_storage = \"gcs\"\n[[cluster.faults.scripted]]\nat = \"30m\"\nkind = \"node_loss\"\n";

/// What a lost machine costs: the requests that it had, and those that are sent there until its lease has run out;
/// clients that try again lose none. Then one replica serves alone until the other has been evicted and replaced.
#[test]
fn a_lost_machine_fails_requests_until_it_is_noticed() {
    let mut base = scenario("l4-llama-3.1-8b", LOSS);
    let lost = run(&base);
    let found = |what: fn(&FaultEvent) -> bool| {
        lost.faults.iter().find(|row| what(&row.event)).expect("it happened").at
    };
    let died = found(|e| matches!(e, FaultEvent::NodeLost { .. }));
    let noticed = found(|e| matches!(e, FaultEvent::NodeNotReady { .. }));
    assert_eq!(died, SimTime::from_secs(1_800));
    assert!(lost.accounting.killed > 0, "{:?}", lost.accounting);
    // Half of three requests a second, for 40 to 57 s.
    let refused = lost.accounting.refused;
    assert!((40..110).contains(&refused), "{refused}");
    let failed = lost.requests.iter().filter(|row| row.outcome() == "refused");
    let until = noticed + SimDuration::from_secs(4);
    assert!(failed.map(|row| row.record.end).all(|at| at >= died && at <= until));
    let entered = |stage| {
        let row = lost.pods.iter().find(|row| row.pod.0 == 0 && row.stage == stage);
        row.expect("it came there").at
    };
    assert_eq!(entered(PodStage::Unreachable), noticed);
    let evicted = entered(PodStage::Terminating);
    assert_eq!(evicted, noticed + SimDuration::from_secs(300));
    let replacement = lost.pods.iter().find(|row| row.stage == PodStage::Pending).expect("one");
    assert_eq!(replacement.at, evicted);
    // Paid for until it is recreated: node 0 as well as the one that the autoscaler asks for.
    let deleted = lost.nodes.iter().find(|row| row.node.0 == 0 && row.stage == NodeStage::Deleted);
    assert!(deleted.expect("repaired").at > noticed + SimDuration::from_secs(600));
    let clients = Clients { retries: 8, ..Clients::default() };
    base.workload = WorkloadSpec::new(base.workload.streams().to_vec(), clients).expect("valid");
    let saved = run(&base);
    assert_eq!((saved.accounting.killed, saved.accounting.refused), (0, 0));
    assert!(saved.accounting.retries >= lost.accounting.killed + refused);
    for record in [&lost, &saved] {
        assert_eq!(record.accounting.accounted(), record.accounting.arrived);
    }
}

/// Without auto-repair the dead machine is paid for until the autoscaler removes it, and no other comes in its place:
/// five minutes of toleration, 90 s until its pods do not count, twenty minutes.
#[test]
fn without_repair_a_lost_machine_is_paid_for_longer() {
    let record =
        run(&scenario("l4-llama-3.1-8b", &format!("{LOSS}[cluster.faults]\nauto_repair = false")));
    let entered = |node, stage| {
        let row = record.nodes.iter().find(|row| row.node.0 == node && row.stage == stage);
        row.map(|row| row.at)
    };
    let noticed = entered(0, NodeStage::NotReady).expect("noticed");
    let removed = entered(0, NodeStage::Deleting).expect("removed");
    let (least, longest) = [1_590, 1_600].map(SimDuration::from_secs).into();
    let waited = removed - noticed;
    assert!(waited >= least && waited < longest, "{waited:?}");
    assert!(entered(0, NodeStage::Deleted) > Some(removed));
    let nodes = record.nodes.iter().map(|row| row.node.0).max();
    assert_eq!(nodes, Some(2), "two at the start and the one for the replacement");
    let told =
        record.events.iter().filter(|row| matches!(row.event, AutoscalerEvent::ScaleDown { .. }));
    assert_eq!(told.map(|row| row.at).collect::<Vec<_>>(), [removed]);
}

/// The rate is per node and hour, and what is drawn for it moves nothing else.
#[test]
fn losses_at_a_rate() {
    let losses = |rate: f64| {
        let keys =
            format!("model_storage = \"gcs\"\n[cluster.faults]\nnode_losses_per_hour = {rate}\n");
        let record = run(&scenario("l4-llama-3.1-8b", &keys));
        assert_eq!(record.accounting.accounted(), record.accounting.arrived);
        let lost = |e: &FaultEvent| matches!(e, FaultEvent::NodeLost { .. });
        (record.faults.iter().filter(|row| lost(&row.event)).count(), record.accounting)
    };
    let (none, clean) = losses(0.0);
    assert_eq!((none, clean.killed, clean.refused), (0, 0, 0));
    // Too rare to happen in two hours: everything else is as it was.
    assert_eq!(losses(1e-9), (none, clean));
    let (some, hit) = losses(1.0);
    assert!((1..12).contains(&some) && hit.killed > 0, "{some} losses, {hit:?}");
}
