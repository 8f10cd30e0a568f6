//! The cluster autoscaler's rules, at both sides of each edge.

use super::*;
use AutoscalerEvent::{
    NotTriggerScaleUp, ScaleDown, StockOut as StockedOut, TimedOut, TriggeredScaleUp,
};

/// The oldest pod no node is coming for must be 30 s old; later pods that fit on nodes to come do not
/// wait for nodes of their own, others wait their own 30 s.
#[test]
fn gpu_wait_is_per_group() {
    let mut driver = Driver::start(&big_nodes(), 3, 0);
    driver.replicas(at(100), 1);
    driver.run_until(at(145));
    let first = driver.node_entered(0, NodeStage::Requested).unwrap();
    assert!(first >= at(130) && first < at(140), "{first:?}");
    driver.replicas(at(150), 4);
    driver.run_until(at(200));
    assert_eq!(driver.cluster.nodes().len(), 1, "three more fit on the node to come");
    driver.replicas(at(200), 5);
    driver.run_until(at(229));
    assert_eq!(driver.cluster.nodes().len(), 1);
    driver.run_until(at(240));
    assert_eq!(driver.cluster.nodes().len(), 2);
}

/// The loop's phase is that of the newest pod without a place, where such pods start a loop.
#[test]
fn frequent_loops_ask_when_the_wait_is_over() {
    let mut config = big_nodes();
    config.autoscaler.frequent_loops = true;
    let requests = |config: &ClusterConfig, seed| {
        let mut driver = Driver::start(config, seed, 0);
        driver.replicas(at(107), 1);
        driver.replicas(at(145), 6);
        driver.run_until(at(400));
        let asked = (0..2).map(|n| driver.node_entered(n, NodeStage::Requested).unwrap());
        asked.collect::<Vec<_>>()
    };
    for seed in 1..6 {
        assert_eq!(requests(&config, seed), [at(137), at(175)]);
    }
    config.autoscaler.frequent_loops = false;
    let phases = (1..6).map(|seed| requests(&config, seed)[0]).collect::<BTreeSet<_>>();
    assert!(
        phases.len() == 5 && phases.iter().all(|p| *p >= at(137) && *p < at(147)),
        "{phases:?}"
    );
}

/// N pods on one-pod nodes ask for N nodes in one loop; on four-pod nodes for a quarter.
#[test]
fn all_pending_pods_are_served_in_one_loop() {
    for (config, nodes) in [(fixed(), 6), (big_nodes(), 2)] {
        let mut driver = Driver::start(&config, 3, 0);
        driver.replicas(at(100), 6);
        driver.run_until(at(150));
        let events: Vec<_> = driver.autoscaler_events().into_iter().map(|(_, e)| e).collect();
        assert_eq!(events, [TriggeredScaleUp { pool: 0, nodes }]);
    }
}

#[test]
fn max_nodes_is_kept_and_told_once() {
    let mut config = fixed();
    config.pools[0].max_nodes = 3;
    let mut driver = Driver::start(&config, 3, 2);
    driver.replicas(at(100), 6);
    driver.run_until(at(2_000));
    assert_eq!(driver.cluster.nodes().len(), 3);
    assert_eq!(driver.count(PodStage::InService), 3);
    assert_eq!(driver.count(PodStage::Pending), 3);
    let events: Vec<_> = driver.autoscaler_events().into_iter().map(|(_, e)| e).collect();
    assert_eq!(
        events,
        [
            TriggeredScaleUp { pool: 0, nodes: 1 },
            NotTriggerScaleUp { pods: 3, full: 1, backed_off: 0 }
        ]
    );
}

/// After a stock-out replicas stay Pending for 5 minutes, then 10, 20, 30, 30.
#[test]
fn stock_outs_back_off_5_10_20_30_minutes() {
    let mut config = fixed();
    config.pools[0].stock_out =
        StockOut { probability: 1.0, windows: Vec::new(), report_delay: Dist::Constant(secs(60)) };
    let mut driver = Driver::start(&config, 3, 0);
    driver.replicas(at(100), 2);
    driver.run_until(at(20_000));
    let events = driver.autoscaler_events();
    let asked: Vec<_> = events
        .iter()
        .filter(|(_, e)| matches!(e, TriggeredScaleUp { .. }))
        .map(|(at, _)| *at)
        .collect();
    let failed: Vec<_> = events
        .iter()
        .filter_map(|(at, e)| match e {
            StockedOut { backoff_until, .. } => Some((*at, *backoff_until)),
            _ => None,
        })
        .collect();
    let waits: Vec<_> = failed.iter().map(|(at, until)| *until - *at).collect();
    assert_eq!(waits[..6], [300, 600, 1_200, 1_800, 1_800, 1_800].map(secs));
    for (n, (failed_at, until)) in failed.iter().enumerate().take(5) {
        // Reported after 60 s, seen by a loop; asked again by the first loop after the backoff.
        assert_eq!((*failed_at - asked[n]), secs(60));
        let again = asked[n + 1] - *until;
        assert!(again < secs(10), "{again:?}");
    }
    assert_eq!(driver.count(PodStage::Pending), 2);
    assert_eq!(driver.cluster.usage(at(20_000), 0).node_ps, 0, "a stock-out costs nothing");
}

/// A node that is not there after 15 minutes is taken back, and its pool backed off.
#[test]
fn provisioning_times_out() {
    let mut config = fixed();
    for (provision, times_out) in [(900, false), (901, false), (911, true)] {
        config.pools[0].provisioning = Dist::Constant(secs(provision));
        let mut driver = Driver::start(&config, 3, 0);
        driver.replicas(at(100), 1);
        driver.run_until(at(1_200));
        let asked = driver.node_entered(0, NodeStage::Requested).unwrap();
        let expected = times_out.then_some(asked + secs(910));
        assert_eq!(driver.node_entered(0, NodeStage::Failed), expected, "{provision}");
        assert_eq!(driver.node_entered(0, NodeStage::Ready).is_some(), !times_out);
        let backoff = driver
            .autoscaler_events()
            .iter()
            .any(|(at, e)| *e == TimedOut { pool: 0, backoff_until: *at + secs(300) });
        assert_eq!(backoff, times_out);
    }
}

/// A late node is taken back, but its pool is left alone only if nothing was asked of it since, by the autoscaler
/// itself: an increase resets the time of the whole request, and what an instance group recreates is no request.
// Source: cluster-autoscaler clusterstate.go, RegisterOrUpdateScaleUp and updateScaleRequests.
#[test]
fn a_late_node_of_an_extended_scale_up_is_no_failure() {
    let check = |driver: &Driver, late: u32, requests: usize| {
        let failed = driver.node_entered(late, NodeStage::Failed).expect("it is taken back");
        let asked = driver.node_entered(late, NodeStage::Requested).unwrap();
        assert!(failed - asked > secs(900) && failed - asked <= secs(910));
        assert_eq!(driver.node_entered(late + requests as u32, NodeStage::Requested), Some(failed));
        let events = driver.autoscaler_events();
        let count =
            |wanted: fn(&AutoscalerEvent) -> bool| events.iter().filter(|(_, e)| wanted(e)).count();
        assert_eq!(count(|e| matches!(e, TimedOut { .. })), 0);
        assert_eq!(count(|e| matches!(e, TriggeredScaleUp { .. })), requests + 1 - late as usize);
    };
    let mut config = fixed();
    config.pools[0].provisioning = Dist::Constant(secs(2_000));
    let mut driver = Driver::start(&config, 3, 0);
    driver.replicas(at(100), 1);
    driver.run_until(at(700));
    driver.cluster.config.pools[0].provisioning = Dist::Constant(secs(100));
    driver.replicas(at(700), 2);
    driver.run_until(at(2_000));
    check(&driver, 0, 2);
    // The second node is one that the instance group recreates.
    let preemption = ScriptedFault { at: at(1_000), replica: 0, kind: FaultKind::Preemption };
    config.faults.scripted.push(preemption);
    let mut driver = Driver::start(&config, 3, 1);
    driver.run_until(at(2_000));
    check(&driver, 1, 1);
}

/// A scale-up that ends well forgets the backoff.
#[test]
fn success_resets_the_backoff() {
    let mut config = fixed();
    // Node 0 is late, later ones are not.
    config.pools[0].provisioning = Dist::Empirical(vec![secs(100), secs(2_000)]);
    let mut seen = 0;
    for seed in 0..60 {
        let mut driver = Driver::start(&config, seed, 0);
        driver.replicas(at(0), 1);
        driver.run_until(at(4_000));
        let failures =
            driver.autoscaler_events().iter().filter(|(_, e)| matches!(e, TimedOut { .. })).count();
        if failures != 1 || driver.count(PodStage::InService) != 1 {
            continue;
        }
        // A further failure after the success starts again at five minutes.
        driver.replicas(at(4_000), 8);
        driver.run_until(at(6_000));
        let mut second = driver.autoscaler_events().into_iter().filter_map(|(at, e)| match e {
            TimedOut { backoff_until, .. } => Some(backoff_until - at),
            _ => None,
        });
        if let Some(second) = second.nth(1) {
            assert_eq!(second, secs(300));
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}

/// The next pool in order helps while the first is backed off.
#[test]
fn a_second_pool_takes_over() {
    let mut config = fixed();
    let spare = config.pools[0].clone();
    config.pools.push(spare);
    config.pools[0].stock_out =
        StockOut { probability: 1.0, windows: Vec::new(), report_delay: Dist::Constant(secs(45)) };
    let mut driver = Driver::start(&config, 3, 0);
    driver.replicas(at(100), 1);
    driver.run_until(at(1_000));
    let pools: Vec<_> = driver
        .autoscaler_events()
        .iter()
        .filter_map(|(_, e)| match e {
            TriggeredScaleUp { pool, .. } => Some(*pool),
            _ => None,
        })
        .collect();
    assert_eq!(pools, [0, 1]);
    assert_eq!(driver.count(PodStage::InService), 1);
}

/// Idle nodes go at max(idle + 600 s, last scale-up + 600 s), at the next loop; 60 s later the bill ends.
#[test]
fn idle_nodes_are_removed_after_ten_minutes() {
    let mut driver = Driver::start(&fixed(), 3, 3);
    driver.replicas(at(1_000), 1);
    let idle: Vec<_> =
        driver.cluster.pods().iter().filter(|p| p.is_deleting()).map(Pod::id).collect();
    driver.input(at(1_010), Input::Empty(idle[0]));
    driver.input(at(1_020), Input::Empty(idle[1]));
    driver.run_until(at(1_609));
    assert_eq!(driver.cluster.billed_nodes(), 3);
    driver.run_until(at(3_000));
    let removed: Vec<_> = driver
        .autoscaler_events()
        .iter()
        .filter(|(_, e)| matches!(e, ScaleDown { .. }))
        .map(|(at, _)| *at)
        .collect();
    for (removed, idle) in removed.iter().zip([1_010, 1_020]) {
        let wait = *removed - at(idle);
        assert!(wait >= secs(600) && wait < secs(610), "{wait:?}");
    }
    let used = driver.cluster.usage(at(3_000), 0);
    let node_s: u64 = removed.iter().map(|at| (*at + secs(60)).as_ps()).sum();
    assert_eq!(used.node_ps, u128::from(node_s + at(3_000).as_ps()));
    assert_eq!(used.gpu_ps, 2 * used.node_ps);
    assert_eq!(used.gpu_bound_ps, 2 * u128::from(at(3_000 + 1_010 + 1_020).as_ps()));
}

/// A scale-up anywhere holds every removal for ten minutes.
#[test]
fn scale_up_delays_scale_down() {
    let mut driver = Driver::start(&fixed(), 3, 2);
    driver.replicas(at(1_000), 1);
    let gone = driver.cluster.pods().iter().find(|p| p.is_deleting()).unwrap().id();
    driver.input(at(1_001), Input::Empty(gone));
    // Two pods: one takes the warm node, one asks for a new one.
    driver.replicas(at(1_100), 3);
    driver.run_until(at(1_200));
    let asked = driver.node_entered(2, NodeStage::Requested).unwrap();
    // The warm pod goes again at once: its node is idle from 1 210 s.
    driver.replicas(at(1_210), 2);
    driver.replicas(at(1_210), 1);
    driver.run_until(at(4_000));
    let removals: Vec<_> = driver
        .autoscaler_events()
        .iter()
        .filter(|(_, e)| matches!(e, ScaleDown { .. }))
        .map(|(at, _)| *at)
        .collect();
    assert!(removals.iter().all(|at| *at >= asked + secs(600)), "{removals:?}");
    assert_eq!(driver.cluster.billed_nodes(), 1);
}

/// A pod that comes back within ten minutes keeps the node.
#[test]
fn a_returning_pod_resets_the_idle_timer() {
    let mut driver = Driver::start(&fixed(), 3, 2);
    driver.replicas(at(1_000), 1);
    driver.run_until(at(1_030));
    driver.replicas(at(1_600), 2);
    driver.replicas(at(2_000), 1);
    driver.run_until(at(2_600));
    assert_eq!(driver.cluster.billed_nodes(), 2);
    driver.run_until(at(2_700));
    assert_eq!(driver.cluster.billed_nodes(), 1);
}

#[test]
fn min_nodes_are_kept() {
    let mut config = fixed();
    config.pools[0].min_nodes = 2;
    let mut driver = Driver::start(&config, 3, 4);
    driver.replicas(at(1_000), 0);
    driver.run_until(at(10_000));
    assert_eq!(driver.cluster.nodes().len(), 2);
    assert!(driver.cluster.pods().is_empty());
}

/// With `scale_down_after_delete` the next loops remove nothing; one loop may remove several.
#[test]
fn removals_may_be_spaced() {
    let removed = |delay, second| {
        let mut config = fixed();
        config.autoscaler.scale_down_after_delete = secs(delay);
        let mut driver = Driver::start(&config, 3, 3);
        driver.replicas(at(1_000), 1);
        let idle: Vec<_> =
            driver.cluster.pods().iter().filter(|p| p.is_deleting()).map(Pod::id).collect();
        driver.input(at(1_001), Input::Empty(idle[0]));
        driver.input(at(second), Input::Empty(idle[1]));
        driver.run_until(at(3_000));
        let events = driver.autoscaler_events();
        let removals = events.iter().filter(|(_, e)| matches!(e, ScaleDown { .. }));
        let times: Vec<_> = removals.map(|(at, _)| *at).collect();
        times[1] - times[0]
    };
    assert_eq!(presets::autoscaler().scale_down_after_delete, SimDuration::ZERO);
    assert_eq!(removed(0, 1_021), secs(20));
    assert_eq!(removed(300, 1_021), secs(300));
    assert_eq!(removed(300, 1_001), SimDuration::ZERO);
}

/// A node that could be emptied keeps its time when its pods leave by themselves; at the pool's minimum it has none.
#[test]
fn a_node_is_unneeded_for_one_reason_or_the_other() {
    let mut config = big_nodes();
    config.packing = Packing::Pack;
    config.termination.shutdown = ShutdownMode::Abort;
    let removed = |config: &ClusterConfig| {
        let mut driver = Driver::start(config, 3, 5);
        // Three on one node, one on the other.
        driver.replicas(at(1_000), 4);
        driver.run_until(at(1_400));
        let of_second = |pod: &Pod| pod.node() == Some(NodeId(1));
        let i = driver.cluster.pods().iter().position(of_second).unwrap();
        let mut out = Vec::new();
        driver.cluster.delete_pod(at(1_400), i, &mut out);
        driver.cluster.settle(at(1_400), false, &mut out);
        driver.take(out);
        driver.run_until(at(3_000));
        driver.autoscaler_events()
    };
    let events = removed(&config);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].1, ScaleDown { node: NodeId(1) });
    assert!(events[0].0 >= at(1_600) && events[0].0 < at(1_610), "{:?}", events[0].0);
    config.pools[0].min_nodes = 2;
    assert_eq!(removed(&config), []);
    // Idle for long, but a candidate only from when there is one node more.
    let mut config = fixed();
    config.pools[0].min_nodes = 2;
    let mut driver = Driver::start(&config, 3, 2);
    driver.replicas(at(1_000), 1);
    driver.run_until(at(2_000));
    let mut out = Vec::new();
    driver.cluster.request_nodes(at(2_000), 0, 1, &mut out);
    driver.cluster.settle(at(2_000), false, &mut out);
    driver.take(out);
    driver.run_until(at(4_000));
    let (removed, _) = driver.autoscaler_events()[0];
    assert!(removed >= at(2_600) && removed < at(2_610), "{removed:?}");
}

/// Empty nodes go together, at most ten at one time; the others when those are gone.
#[test]
fn ten_empty_nodes_go_at_one_time() {
    let mut config = fixed();
    config.pools[0].max_nodes = 14;
    let mut driver = Driver::start(&config, 3, 14);
    driver.replicas(at(1_000), 1);
    driver.run_until(at(3_000));
    let events = driver.autoscaler_events();
    let removals = events.iter().filter(|(_, e)| matches!(e, ScaleDown { .. }));
    let times: Vec<_> = removals.map(|(at, _)| *at).collect();
    assert_eq!(times.len(), 13);
    assert!(times[..10].iter().all(|at| *at == times[0]), "{times:?}");
    assert!(times[10..].iter().all(|at| *at == times[0] + secs(60)), "{times:?}");
}

/// A drain takes a place among the removals at one time: with a single one, an empty node waits until the drained one
/// is gone. Another one takes the evicted pod's replacement.
// Source: cluster-autoscaler core/scaledown/budgets: the budget less empty deletions and drains in progress.
#[test]
fn a_drain_counts_among_the_removals() {
    let removed = |parallel| {
        let mut config = fixed();
        config.autoscaler.max_parallel_deletes = parallel;
        let mut driver = Driver::start(&config, 1, 3);
        driver.replicas(at(1_000), 1);
        driver.run_until(at(1_620));
        let used = driver.cluster.pods()[0].node().unwrap();
        let mut out = Vec::new();
        let n = driver.cluster.node_index(used).unwrap();
        driver.cluster.begin_drain(at(1_620), n, Some(at(1_745)), &mut out);
        driver.take(out);
        driver.run_until(at(1_800));
        let events = driver.autoscaler_events();
        events.iter().find(|(_, e)| matches!(e, AutoscalerEvent::ScaleDown { .. })).unwrap().0
    };
    // Without a pod from 1 030 s on; evicted at 1 625 s, the other pod ends after 30 s, its machine after 60 s more.
    assert!((at(1_630)..at(1_640)).contains(&removed(2)));
    assert!((at(1_715)..at(1_725)).contains(&removed(1)));
}
