//! Machines that die without notice, with known times.

use super::*;
use AutoscalerEvent::{QuotaExceeded, ScaleDown, TriggeredScaleUp};

/// The machine of the oldest server dies at `second`.
fn lose(config: &mut ClusterConfig, second: u64) {
    let kind = FaultKind::NodeLoss;
    config.faults.scripted.push(ScriptedFault { at: at(second), replica: 0, kind });
}

/// When the node turned NotReady.
fn noticed(driver: &Driver, node: u32) -> SimTime {
    driver.node_entered(node, NodeStage::NotReady).expect("it was noticed")
}

/// The whole way of a lost replica: believed alive until the lease runs out, out of the endpoints then, deleted and
/// replaced after five minutes, its machine recreated after ten.
#[test]
fn a_lost_machine_is_found_evicted_and_recreated() {
    let mut config = fixed();
    lose(&mut config, 1_000);
    let mut driver = Driver::start(&config, 3, 2);
    driver.run_until(at(1_039));
    assert_eq!(driver.times_of(Effect::Lost(PodId(0))), [at(1_000)]);
    let pod = &driver.cluster.pods()[0];
    assert!(pod.is_ready() && pod.is_routed(), "nobody knows");
    driver.run_until(at(5_000));
    let found = noticed(&driver, 0);
    // 50 s since a lease that was up to 10 s old, and up to 5 s for the controller to look.
    assert!(found > at(1_040) && found < at(1_055), "{found:?}");
    assert_eq!(driver.entered(0, PodStage::Unreachable), Some(found));
    assert_eq!(driver.times_of(Effect::OutOfService(PodId(0))), [found + secs(2)]);
    // The ReplicaSet counts the pod until it is deleted.
    let evicted = found + secs(300);
    assert_eq!(driver.entered(0, PodStage::Terminating), Some(evicted));
    let told = Effect::Fault(FaultEvent::TaintEvicted { pod: PodId(0) });
    assert_eq!(driver.times_of(told), [evicted]);
    assert_eq!(driver.entered(2, PodStage::Pending), Some(evicted));
    let asked = driver.autoscaler_events()[0];
    assert_eq!(asked.1, TriggeredScaleUp { pool: 0, nodes: 1 }, "a NotReady node is no room");
    assert!(asked.0 >= evicted + secs(30) && asked.0 < evicted + secs(40));
    // Nobody confirms the end of the pod before the machine is recreated.
    let repaired = found + secs(600);
    assert_eq!(driver.entered(0, PodStage::Gone), Some(repaired));
    assert_eq!(driver.node_entered(0, NodeStage::Deleting), Some(repaired));
    assert_eq!(driver.node_entered(3, NodeStage::Requested), Some(repaired + secs(60)));
    assert_eq!(driver.node_entered(3, NodeStage::Ready), Some(repaired + secs(240)));
    // One machine more than pods: it goes when it has been idle for ten minutes.
    let events = driver.autoscaler_events();
    assert_eq!(events[1].1, ScaleDown { node: NodeId(3) });
    assert_eq!((events.len(), driver.cluster.nodes().len()), (2, 2));
    assert_eq!(driver.cluster.pools[0].size, 2);
    assert_eq!(driver.count(PodStage::InService), 2);
    // No server of the lost pod was ever heard of again.
    assert_eq!(driver.times_of(Effect::ServerDown(PodId(0))), []);
}

/// A machine that is repaired before the pods' toleration is over takes their objects along.
#[test]
fn a_repair_before_the_eviction_replaces_the_pods() {
    let mut config = fixed();
    config.faults.node_repair = Some(secs(100));
    lose(&mut config, 1_000);
    let mut driver = Driver::start(&config, 3, 1);
    driver.run_until(at(3_000));
    let repaired = noticed(&driver, 0) + secs(100);
    assert_eq!(driver.entered(0, PodStage::Gone), Some(repaired));
    assert_eq!(driver.entered(0, PodStage::Terminating), None);
    assert_eq!(driver.entered(1, PodStage::Pending), Some(repaired));
    // The recreated machine takes it, beside the one that the autoscaler asked for meanwhile.
    assert_eq!(driver.count(PodStage::InService), 1);
}

/// A dead machine looks as if it had room: what is bound to it waits for a kubelet that is gone.
#[test]
fn pods_are_bound_to_a_machine_that_is_dead() {
    let mut config = big_nodes();
    lose(&mut config, 1_000);
    let mut driver = Driver::start(&config, 3, 1);
    driver.replicas(at(1_010), 2);
    assert_eq!(driver.entered(1, PodStage::Attaching), Some(at(1_010)));
    driver.run_until(at(4_000));
    let evicted = noticed(&driver, 0) + secs(300);
    assert_eq!(driver.entered(1, PodStage::Pulling), None);
    assert_eq!(driver.entered(1, PodStage::Gone), Some(evicted));
    assert_eq!(driver.entered(2, PodStage::Pending), Some(evicted));
    assert_eq!(driver.count(PodStage::InService), 2);
}

/// A pull and a load end with the machine; a pod that waits on another node is not held up.
#[test]
fn starting_pods_die_with_their_machine() {
    // Attach 10 s, pull 80, create 2, load 40, init 50.
    for second in [5, 50, 91, 110, 170] {
        let mut driver = Driver::start(&fixed(), 3, 0);
        driver.replicas(at(100), 1);
        driver.run_until(at(320));
        let bound = driver.entered(0, PodStage::Attaching).expect("there is a node");
        driver.run_until(bound + secs(second));
        let mut out = Vec::new();
        driver.cluster.lose_node(driver.now, NodeId(0), &mut out);
        driver.take(out);
        driver.run_until(at(5_000));
        assert_eq!(driver.times_of(Effect::ServerUp(PodId(0))), [], "{second}");
        assert_eq!(driver.count(PodStage::InService), 1, "{second}");
        assert_eq!(driver.cluster.pods()[0].id(), PodId(1), "{second}");
    }
}

/// A pod that drains, or is deleted, on a dead machine is gone when the machine is.
#[test]
fn deleted_pods_stay_until_the_repair() {
    let mut config = fixed();
    config.termination.shutdown = ShutdownMode::Drain { timeout: SimDuration::MAX };
    lose(&mut config, 1_000);
    let before = |second: u64| {
        let mut driver = Driver::start(&config, 3, 1);
        driver.replicas(at(second), 0);
        driver.run_until(at(4_000));
        assert_eq!(driver.entered(0, PodStage::Terminating), Some(at(second)));
        let (found, gone) = (noticed(&driver, 0), driver.entered(0, PodStage::Gone).unwrap());
        assert_eq!(gone, found + secs(600));
        let out = found.min(at(second)) + secs(2);
        assert_eq!(driver.times_of(Effect::OutOfService(PodId(0))), [out]);
        assert_eq!(driver.count(PodStage::Pending), 0, "nothing is replaced");
    };
    before(1_020);
    before(1_100);
    // SIGTERM had been sent: the pod had 30 s, which nobody counts any more.
    let mut driver = Driver::start(&config, 3, 1);
    driver.replicas(at(990), 0);
    let mut out = Vec::new();
    driver.run_until(at(999));
    driver.cluster.lose_node(at(999), NodeId(0), &mut out);
    driver.take(out);
    driver.run_until(at(4_000));
    assert_eq!(driver.entered(0, PodStage::Gone), Some(noticed(&driver, 0) + secs(600)));
}

/// What else would end a machine finds nothing to end.
#[test]
fn a_dead_machine_is_neither_preempted_nor_expired() {
    let mut config = fixed();
    config.pools[0].max_run_duration = Some(secs(1_010));
    lose(&mut config, 1_000);
    let mut driver = Driver::start(&config, 3, 1);
    driver.run_until(at(1_005));
    let mut out = Vec::new();
    driver.cluster.preempt(at(1_005), NodeId(0), &mut out);
    assert_eq!(out, []);
    driver.run_until(at(1_030));
    assert_eq!(driver.cluster.nodes()[0].stage(), NodeStage::Ready);
}

/// Losses are exponential in the time that a machine is up.
#[test]
fn losses_come_at_their_rate() {
    let mut config = fixed();
    config.pools[0].max_nodes = 400;
    config.faults.node_loss_per_hour = 0.5;
    config.faults.node_repair = None;
    config.faults.unreachable_toleration = SimDuration::from_secs(86_400);
    let mut driver = Driver::start(&config, 9, 400);
    driver.run_until(at(3_600));
    let lost = driver.log.iter().filter(|(_, e)| matches!(e, Effect::Lost(_))).count();
    let expected = 400.0 * (1.0 - (-0.5_f64).exp());
    assert!((lost as f64 - expected).abs() < 30.0, "{lost} of {expected}");
}

/// [`fixed`] without auto-repair.
fn unrepaired() -> ClusterConfig {
    let mut config = fixed();
    config.faults.node_repair = None;
    config
}

/// When the autoscaler removed a node.
fn removed(driver: &Driver, node: u32) -> Option<SimTime> {
    let events = driver.autoscaler_events();
    let is = |e: &AutoscalerEvent| *e == ScaleDown { node: NodeId(node) };
    events.iter().find(|(_, e)| is(e)).map(|(at, _)| *at)
}

/// Whether the first loop at or after `due` did it.
fn at_next_loop(done: SimTime, due: SimTime) -> bool {
    done >= due && done < due + secs(10)
}

/// Without auto-repair a dead machine stays until the autoscaler has seen no pods on it for twenty minutes; it sees
/// them for two grace periods and 30 s after their eviction.
#[test]
fn without_repair_the_autoscaler_removes_an_unready_node() {
    let mut config = unrepaired();
    lose(&mut config, 1_000);
    let mut driver = Driver::start(&config, 3, 2);
    driver.run_until(at(5_000));
    let found = noticed(&driver, 0);
    let gone = removed(&driver, 0).expect("it is removed");
    assert!(at_next_loop(gone, found + secs(300 + 90 + 1_200)), "{gone:?}");
    assert_eq!(driver.entered(0, PodStage::Terminating), Some(found + secs(300)));
    assert_eq!(driver.entered(0, PodStage::Gone), Some(gone));
    assert_eq!(driver.node_entered(0, NodeStage::Deleting), Some(gone));
    assert_eq!(driver.node_entered(0, NodeStage::Deleted), Some(gone + secs(60)));
    assert_eq!(driver.autoscaler_events().len(), 2, "one machine for the replacement, no other");
    assert_eq!((driver.cluster.nodes().len(), driver.cluster.pools[0].size), (2, 2));
    // Billed until it is gone.
    let asked = driver.node_entered(2, NodeStage::Requested).unwrap();
    let node_s = (gone + secs(60)).as_ps() + at(5_000).as_ps() + (at(5_000) - asked).as_ps();
    assert_eq!(driver.cluster.usage(at(5_000), 0).node_ps, u128::from(node_s));
    // Never at the minimum of its pool, and not before another time is over.
    config.pools[0].min_nodes = 3;
    let mut driver = Driver::start(&config, 3, 2);
    driver.run_until(at(9_000));
    assert_eq!(driver.cluster.nodes()[0].stage(), NodeStage::NotReady);
    config.pools[0].min_nodes = 0;
    config.autoscaler.scale_down_unready = secs(60);
    let mut driver = Driver::start(&config, 3, 2);
    driver.run_until(at(9_000));
    // The scale-up for the replacement holds it back for ten minutes.
    let asked = driver.autoscaler_events()[0].0;
    assert_eq!(removed(&driver, 0), Some(asked + secs(600)));
    // The replacement itself, which waits for its node, does not.
    // Source: kubernetes/autoscaler#4661.
    config.pools[0].provisioning = Dist::Constant(secs(2_000));
    config.autoscaler.max_node_provision = secs(3_000);
    let mut driver = Driver::start(&config, 3, 2);
    driver.run_until(at(9_000));
    assert_eq!(removed(&driver, 0), Some(driver.autoscaler_events()[0].0 + secs(600)));
}

/// The quota that a dead machine holds is free again when it is gone.
#[test]
fn a_removed_machine_frees_the_quota() {
    let in_service = |unready| {
        let mut config = unrepaired();
        config.quota.standard = Some(4);
        config.autoscaler.scale_down_unready = unready;
        lose(&mut config, 1_000);
        let mut driver = Driver::start(&config, 3, 2);
        driver.run_until(at(8_000));
        let refused = |(_, e): &(SimTime, AutoscalerEvent)| matches!(e, QuotaExceeded { .. });
        assert!(driver.autoscaler_events().iter().any(refused));
        driver.count(PodStage::InService)
    };
    assert_eq!(in_service(presets::autoscaler().scale_down_unready), 2);
    assert_eq!(in_service(secs(8_000)), 1);
}

/// Time without pods counts from before the loss, and from the end of pods that were deleted before their eviction.
#[test]
fn an_unready_node_counts_from_its_last_pod() {
    let mut driver = Driver::start(&unrepaired(), 3, 2);
    driver.replicas(at(1_000), 1);
    driver.run_until(at(1_300));
    let idle = driver.cluster.nodes().iter().find(|node| node.pods() == 0).unwrap().id();
    let mut out = Vec::new();
    driver.cluster.lose_node(at(1_300), idle, &mut out);
    driver.take(out);
    driver.run_until(at(4_000));
    // Idle from 1 030 s on: a live one would have gone at 1 630 s.
    let gone = removed(&driver, idle.0).expect("it is removed");
    assert!(at_next_loop(gone, at(1_030 + 1_200)), "{gone:?}");

    let mut config = unrepaired();
    lose(&mut config, 1_000);
    let mut driver = Driver::start(&config, 3, 1);
    driver.replicas(at(1_100), 0);
    driver.run_until(at(4_000));
    let gone = removed(&driver, 0).expect("it is removed");
    assert!(at_next_loop(gone, at(1_100 + 90 + 1_200)), "{gone:?}");
    assert_eq!(driver.entered(0, PodStage::Gone), Some(gone));
}

/// That its pod would have fitted elsewhere does not count once a node is not ready.
#[test]
fn an_unready_node_waits_for_its_pods() {
    let mut config = big_nodes();
    config.packing = Packing::Pack;
    config.faults.node_repair = None;
    config.autoscaler.scale_down_unneeded = secs(5_000);
    let mut driver = Driver::start(&config, 3, 9);
    // Three, three and one: the last could be moved when the first victim was gone.
    driver.replicas(at(999), 8);
    driver.replicas(at(1_000), 7);
    driver.run_until(at(2_000));
    let mut out = Vec::new();
    driver.cluster.lose_node(at(2_000), NodeId(2), &mut out);
    driver.take(out);
    driver.run_until(at(2_010));
    assert_eq!(driver.cluster.nodes()[2].unneeded_since, Some(at(1_029)));
    let of_third = |pod: &Pod| pod.node() == Some(NodeId(2));
    let i = driver.cluster.pods().iter().position(of_third).unwrap();
    let mut out = Vec::new();
    driver.cluster.delete_pod(at(2_010), i, &mut out);
    driver.cluster.settle(at(2_010), false, &mut out);
    driver.take(out);
    driver.run_until(at(4_000));
    assert_eq!(driver.count(PodStage::InService), 7);
    let gone = removed(&driver, 2).expect("it is removed");
    assert!(at_next_loop(gone, at(2_010 + 90 + 1_200)), "{gone:?}");
}
