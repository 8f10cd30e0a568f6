//! What a PodDisruptionBudget and `safe-to-evict` do to drains, with known times.

use super::*;
use AutoscalerEvent::{Drain, DrainFailed};
use Budget::{MaxUnavailable, MinAvailable};
use IntOrPercent::{Int, Percent};

/// Four replicas, two on each of two nodes for four, from 1 000 s on; the first node may be drained at 1 630 s.
/// Without the guide's delay a replacement is Ready 75 to 80 s after its creation.
fn half_used(disruption: Disruption) -> Driver {
    let mut config = big_nodes();
    config.packing = Packing::Pack;
    config.probe.readiness.initial_delay = SimDuration::ZERO;
    config.disruption = disruption;
    let mut driver = Driver::start(&config, 3, 8);
    for (second, replicas) in [(997, 7), (998, 6), (999, 5), (1_000, 4)] {
        driver.replicas(at(second), replicas);
    }
    driver
}

fn budget(budget: Budget) -> Disruption {
    Disruption { budget: Some(budget), ..presets::NO_PROTECTION }
}

fn evictions(driver: &Driver) -> Vec<SimTime> {
    let is = |e: &Effect| matches!(e, Effect::Fault(FaultEvent::Evicted { .. }));
    driver.log.iter().filter(|(_, e)| is(e)).map(|(at, _)| *at).collect()
}

/// A drain begins if one disruption is allowed; the second pod goes when the first one's replacement is Ready.
#[test]
fn pods_go_as_the_budget_allows() {
    for (limit, waits) in [
        (MaxUnavailable(Int(1)), true),
        (MinAvailable(Int(3)), true),
        // A quarter of four; rounded up from 0.4.
        (MaxUnavailable(Percent(25)), true),
        (MaxUnavailable(Percent(10)), true),
        // 2.04 of four are three.
        (MinAvailable(Percent(51)), true),
        (MinAvailable(Percent(50)), false),
        (MaxUnavailable(Percent(26)), false),
        (MaxUnavailable(Int(2)), false),
    ] {
        let mut driver = half_used(budget(limit));
        driver.run_until(at(2_400));
        let went = evictions(&driver);
        assert_eq!(went.len(), 2, "{limit:?}");
        // Tried every ten seconds.
        let expected = if waits { secs(80) } else { SimDuration::ZERO };
        assert_eq!(went[1] - went[0], expected, "{limit:?}");
        let events = driver.autoscaler_events();
        let began = went[0] - secs(5);
        assert_eq!(events, [(began, Drain { node: NodeId(0), pods: 2 })], "{limit:?}");
        assert!(driver.node_entered(0, NodeStage::Deleted).is_some());
        let healthy = driver.cluster.pods().iter().filter(|pod| pod.is_ready()).count();
        assert_eq!(healthy, 4, "{limit:?}");
    }
}

/// Neither a budget that allows nothing nor an annotation is a reason to begin and fail.
#[test]
fn protected_nodes_are_left_alone() {
    let pinned = Disruption { safe_to_evict: false, ..presets::NO_PROTECTION };
    let wanted = [MaxUnavailable(Int(0)), MaxUnavailable(Percent(0)), MinAvailable(Percent(100))];
    let budgets = wanted.into_iter().chain([MinAvailable(Int(4)), MinAvailable(Int(40))]);
    for disruption in budgets.map(budget).chain([pinned]) {
        let mut driver = half_used(disruption);
        driver.run_until(at(10_000));
        assert_eq!(driver.autoscaler_events(), [], "{disruption:?}");
        // Empty nodes are not protected.
        driver.replicas(at(10_000), 0);
        driver.run_until(at(12_000));
        assert!(driver.cluster.nodes().is_empty(), "{disruption:?}");
    }
}

/// With the guide's probe delay no replacement is Ready in two minutes: one pod was moved, the node stays, and nothing
/// is removed for three minutes. Once the moved pod is Ready the node is unneeded for ten minutes again.
#[test]
fn a_drain_is_given_up_after_two_minutes() {
    let mut driver = half_used(budget(MaxUnavailable(Int(1))));
    driver.cluster.config.probe.readiness.initial_delay = secs(240);
    driver.run_until(at(4_000));
    let events = driver.autoscaler_events();
    let (began, _) = events[0];
    assert_eq!(events[0].1, Drain { node: NodeId(0), pods: 2 });
    assert_eq!(events[1], (began + secs(125), DrainFailed { node: NodeId(0), pods: 1 }));
    assert_eq!(events[2].1, Drain { node: NodeId(0), pods: 1 });
    // The budget allows nothing until the moved pod is Ready, 254 to 259 s after its creation.
    let again = events[2].0 - (began + secs(5));
    assert!(again >= secs(254 + 600) && again < secs(259 + 610), "{again:?}");
    assert_eq!(evictions(&driver), [began + secs(5), events[2].0 + secs(5)]);
    assert_eq!(events.len(), 3);
    assert!(driver.node_entered(0, NodeStage::Deleted).is_some());
}

/// After a failure no node goes for three minutes, idle ones included.
#[test]
fn a_failed_drain_delays_every_removal() {
    let removed = |delay| {
        let mut driver = half_used(budget(MaxUnavailable(Int(1))));
        driver.cluster.config.probe.readiness.initial_delay = secs(240);
        driver.cluster.config.autoscaler.scale_down_after_failure = delay;
        driver.run_until(at(1_900));
        let failed = driver.autoscaler_events()[1].0;
        // All replicas go; both nodes have then been idle for long enough.
        driver.replicas(at(1_900), 0);
        driver.run_until(at(9_000));
        let gone = driver.node_entered(1, NodeStage::Deleting).unwrap();
        gone - failed
    };
    assert!(removed(secs(180)) < secs(900));
    let late = removed(secs(2_000));
    assert!(late >= secs(2_000) && late < secs(2_010), "{late:?}");
}

/// The cloud asks nobody.
#[test]
fn preemption_is_not_bound_by_a_budget() {
    let mut driver =
        half_used(Disruption { budget: Some(MaxUnavailable(Int(0))), safe_to_evict: false });
    driver.run_until(at(1_200));
    let mut out = Vec::new();
    driver.cluster.preempt(at(1_200), NodeId(0), &mut out);
    driver.take(out);
    driver.run_until(at(1_300));
    let on = driver.cluster.pods().iter().filter(|pod| pod.node() == Some(NodeId(0))).count();
    assert_eq!(on, 0);
}
