//! Flex-start: machines that are replaced before their time is over, and requests that wait in a queue.

use super::*;
use AutoscalerEvent::{ScaleDown, StockOut as StockedOut, TimedOut, TriggeredScaleUp};

/// Machines that run for 2 000 s and are replaced 500 s before.
fn recycled(mut config: ClusterConfig) -> ClusterConfig {
    config.pools[0].max_run_duration = Some(secs(2_000));
    config.pools[0].recycling_lead_time = Some(secs(500));
    config.probe.readiness.initial_delay = SimDuration::ZERO;
    // The replacement must not go while it waits for its pods.
    config.autoscaler.scale_down_unneeded = secs(60);
    config.autoscaler.scale_down_after_add = SimDuration::ZERO;
    config
}

/// The replacement is there when the pods are evicted: they wait for no autoscaler and no machine.
#[test]
fn a_machine_is_replaced_before_its_time_is_over() {
    let mut driver = Driver::start(&recycled(fixed()), 3, 1);
    driver.run_until(at(2_500));
    assert_eq!(driver.node_entered(1, NodeStage::Requested), Some(at(1_500)));
    assert_eq!(driver.node_entered(1, NodeStage::Ready), Some(at(1_680)));
    assert_eq!(driver.node_entered(0, NodeStage::Draining), Some(at(2_000)));
    assert_eq!(driver.entered(1, PodStage::Attaching), Some(at(2_000)));
    assert_eq!(driver.autoscaler_events().len(), 1, "the drain, and no request");
    // The replacement is replaced in its turn.
    driver.run_until(at(3_500));
    assert_eq!(driver.node_entered(2, NodeStage::Requested), Some(at(1_680 + 1_500)));
    assert_eq!(driver.count(PodStage::InService), 1);
}

/// From the replacement's readiness on no pod is bound to the old machine.
#[test]
fn a_replaced_machine_is_cordoned() {
    let mut config = recycled(big_nodes());
    config.packing = Packing::Pack;
    let mut driver = Driver::start(&config, 3, 1);
    driver.replicas(at(1_679), 2);
    driver.replicas(at(1_681), 3);
    driver.run_until(at(1_682));
    let on: Vec<u32> =
        driver.cluster.pods().iter().map(|pod| pod.node().expect("bound").0).collect();
    assert_eq!(on, [0, 0, 1]);
    driver.run_until(at(2_600));
    assert_eq!(driver.count(PodStage::InService), 3);
}

/// An idle machine is not replaced, nor one of a pool that is full.
#[test]
fn replacements_are_for_nodes_in_use_within_the_maximum() {
    let mut full = recycled(fixed());
    full.pools[0].max_nodes = 1;
    let mut idle = recycled(fixed());
    idle.pools[0].min_nodes = 1;
    for (config, replicas) in [(full, 1), (idle, 0)] {
        let mut driver = Driver::start(&config, 3, replicas);
        driver.run_until(at(1_999));
        assert_eq!(driver.cluster.nodes().len(), 1, "{replicas}");
    }
}

fn queued(mut config: ClusterConfig) -> ClusterConfig {
    config.pools[0].queued = true;
    config.pools[0].capacity = Capacity::FlexStart;
    config
}

/// The nodes of one request come together, when the last of them is there, or none comes.
#[test]
fn a_queued_request_is_served_as_a_whole() {
    let ready = |config: &ClusterConfig| {
        let mut driver = Driver::start(config, 3, 0);
        driver.replicas(at(100), 4);
        driver.run_until(at(2_000));
        let times: Vec<_> = (0..4).map(|n| driver.node_entered(n, NodeStage::Ready)).collect();
        (times, driver.autoscaler_events())
    };
    let mut config = fixed();
    config.pools[0].provisioning = Dist::LogNormal { median: secs(180), p95: secs(330) };
    let (single, _) = ready(&config);
    let (joint, events) = ready(&queued(config.clone()));
    assert!(single.iter().any(|at| *at != single[0]));
    assert_eq!(joint, [single.iter().copied().max().unwrap(); 4]);
    assert_eq!(events.len(), 1);
    // One of four machines above the quota: with single requests three come.
    config.quota.preemptible = Some(6);
    config.pools[0].capacity = Capacity::FlexStart;
    let (single, _) = ready(&config);
    assert_eq!(single.iter().flatten().count(), 3);
    let (joint, events) = ready(&queued(config));
    assert_eq!(joint, [None; 4]);
    assert!(matches!(events[1].1, AutoscalerEvent::QuotaExceeded { .. }));
}

/// A refused request is repeated after 1, 2, 4, 8, 10, 10 minutes, a plain one after 5, 10, 20, 30.
#[test]
fn a_queue_has_its_own_backoff() {
    let waits = |mut config: ClusterConfig| {
        config.pools[0].stock_out.probability = 1.0;
        config.pools[0].stock_out.report_delay = Dist::Constant(SimDuration::ZERO);
        let mut driver = Driver::start(&config, 3, 0);
        driver.replicas(at(100), 3);
        driver.run_until(at(6_000));
        let failures = driver.autoscaler_events().into_iter().filter_map(|(at, e)| match e {
            StockedOut { backoff_until, .. } => Some(backoff_until - at),
            _ => None,
        });
        failures.collect::<Vec<_>>()
    };
    assert_eq!(waits(queued(fixed()))[..7], [60, 120, 240, 480, 600, 600, 600].map(secs));
    assert_eq!(waits(fixed())[..4], [300, 600, 1_200, 1_800].map(secs));
}

/// A request waits in the queue for as long as it takes; a plain one is given up after 15 minutes.
#[test]
fn a_queued_request_does_not_time_out() {
    let mut config = fixed();
    config.pools[0].provisioning = Dist::Constant(secs(7_200));
    let timed_out = |config: &ClusterConfig| {
        let mut driver = Driver::start(config, 3, 0);
        driver.replicas(at(100), 1);
        driver.run_until(at(9_000));
        let events = driver.autoscaler_events();
        (
            events.iter().any(|(_, e)| matches!(e, TimedOut { .. })),
            driver.count(PodStage::InService),
        )
    };
    assert_eq!(timed_out(&queued(config.clone())), (false, 1));
    assert_eq!(timed_out(&config), (true, 0));
}

/// Capacity that nobody needs any more is held for ten minutes all the same.
#[test]
fn delivered_capacity_is_booked_for_ten_minutes() {
    let removed = |mut config: ClusterConfig| {
        config.autoscaler.scale_down_unneeded = secs(60);
        config.autoscaler.scale_down_after_add = SimDuration::ZERO;
        let mut driver = Driver::start(&config, 3, 0);
        driver.replicas(at(100), 1);
        driver.replicas(at(200), 0);
        driver.run_until(at(2_000));
        let events = driver.autoscaler_events();
        assert_eq!(events[0].1, TriggeredScaleUp { pool: 0, nodes: 1 });
        assert_eq!(events[1].1, ScaleDown { node: NodeId(0) });
        events[1].0 - driver.node_entered(0, NodeStage::Ready).unwrap()
    };
    let (booked, plain) = (removed(queued(fixed())), removed(fixed()));
    assert!(booked >= secs(600) && booked < secs(610), "{booked:?}");
    assert!(plain >= secs(60) && plain < secs(70), "{plain:?}");
}
