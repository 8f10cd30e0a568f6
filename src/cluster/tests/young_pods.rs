//! How old a pod must be before the autoscaler asks for nodes, and what the whole cluster may have.

use super::*;
use AutoscalerEvent::{NotTriggerScaleUp, ScaleDown, TriggeredScaleUp};

/// Loops start when a pod finds no place, so that waits show as they are.
fn prompt() -> ClusterConfig {
    let mut config = fixed();
    config.autoscaler.frequent_loops = true;
    config.autoscaler.scan_interval = secs(1);
    config
}

/// When nodes were asked for, and how many.
fn requests(driver: &Driver) -> Vec<(SimTime, u32)> {
    let asked = driver.autoscaler_events().into_iter().filter_map(|(at, e)| match e {
        TriggeredScaleUp { nodes, .. } => Some((at, nodes)),
        _ => None,
    });
    asked.collect()
}

/// The wait for the rest of a batch is part of the wait of GPU pods; without that one it is all there is.
#[test]
fn the_wait_for_a_batch_is_the_least() {
    let first = |gpu_pod_min_age, pod_min_age| {
        let mut config = prompt();
        config.autoscaler.gpu_pod_min_age = secs(gpu_pod_min_age);
        config.autoscaler.pod_min_age = secs(pod_min_age);
        let mut driver = Driver::start(&config, 3, 0);
        driver.replicas(at(100), 1);
        // Came within the wait of the first: one request for both.
        driver.replicas(at(101), 2);
        driver.run_until(at(200));
        requests(&driver)
    };
    let default = presets::autoscaler();
    assert_eq!((default.pod_min_age, default.gpu_pod_min_age), (secs(2), secs(30)));
    assert_eq!(first(30, 2), [(at(130), 2)]);
    assert_eq!(first(0, 2), [(at(102), 2)]);
    assert_eq!(first(30, 45), [(at(145), 2)]);
    assert_eq!(first(0, 0), [(at(100), 1), (at(101), 1)]);
}

/// The age of the oldest pod opens a scale-up for all; `new_pod_scale_up_delay` is each pod's own.
#[test]
fn young_pods_are_not_seen() {
    let asked = |delay| {
        let mut config = prompt();
        config.autoscaler.new_pod_scale_up_delay = secs(delay);
        let mut driver = Driver::start(&config, 3, 0);
        driver.replicas(at(100), 1);
        driver.replicas(at(120), 3);
        driver.run_until(at(400));
        requests(&driver)
    };
    assert_eq!(presets::autoscaler().new_pod_scale_up_delay, SimDuration::ZERO);
    assert_eq!(asked(0), [(at(130), 3)]);
    assert_eq!(asked(10), [(at(130), 3)]);
    assert_eq!(asked(11), [(at(130), 1), (at(150), 2)]);
    assert_eq!(asked(60), [(at(160), 1), (at(180), 2)]);
}

/// Pods that wait for their age forbid no removal, pods that are seen and too new do.
#[test]
fn only_pods_that_are_seen_hold_back_removals() {
    let removed = |delay, min_age| {
        let mut config = prompt();
        config.autoscaler.scale_down_after_add = SimDuration::ZERO;
        config.autoscaler.scale_down_unneeded = secs(60);
        config.autoscaler.gpu_pod_min_age = secs(min_age);
        config.autoscaler.new_pod_scale_up_delay = secs(delay);
        let mut driver = Driver::start(&config, 3, 1);
        driver.replicas(at(100), 0);
        driver.run_until(at(131));
        let out = &mut Vec::new();
        // The idle node is cordoned, so that a pod waits beside it.
        driver.cluster.nodes[0].cordoned = true;
        driver.cluster.set_replicas(at(131), 1, out);
        driver.take(std::mem::take(out));
        driver.run_until(at(1_000));
        let events = driver.autoscaler_events();
        events.iter().find(|(_, e)| *e == ScaleDown { node: NodeId(0) }).map(|(at, _)| *at)
    };
    // Idle from 130 s on.
    assert_eq!(removed(300, 30), Some(at(190)));
    // Old enough at 431 s; the loop that asks for a node removes none, and pods that a coming node helps hold nothing
    // back.
    assert_eq!(removed(0, 300), Some(at(432)));
}

/// The limit of the cluster cuts a scale-up short, counts all pools, and is no reason for a backoff.
#[test]
fn the_cluster_has_no_more_gpus_than_its_limit() {
    let mut config = fixed();
    let mut big = config.pools[0].clone();
    (big.gpus_per_node, big.replicas_per_node) = (8, 4);
    config.pools[0].max_nodes = 2;
    config.pools.push(big);
    let most = |max_gpus: Option<u32>| {
        let mut config = config.clone();
        config.autoscaler.max_gpus = max_gpus;
        assert_eq!(config.validate(), []);
        let mut driver = Driver::start(&config, 3, 0);
        driver.replicas(at(100), 20);
        driver.run_until(at(1_000));
        let count = |pool| driver.cluster.nodes().iter().filter(|n| n.pool() == pool).count();
        let told = driver.autoscaler_events().into_iter().find_map(|(_, e)| match e {
            NotTriggerScaleUp { pods, full, backed_off } => Some((pods, full, backed_off)),
            _ => None,
        });
        ([count(0), count(1)], told)
    };
    assert_eq!(most(None), ([2, 5], None));
    assert_eq!(most(Some(44)), ([2, 5], None));
    assert_eq!(most(Some(43)), ([2, 4], Some((2, 2, 0))));
    assert_eq!(most(Some(12)), ([2, 1], Some((14, 2, 0))));
    assert_eq!(most(Some(3)), ([1, 0], Some((19, 2, 0))));
    config.autoscaler.max_gpus = Some(1);
    assert_eq!(config.validate()[0].field, "autoscaler.max_gpus");
    // What is given back may be asked for again.
    config.autoscaler.max_gpus = Some(4);
    let mut driver = Driver::start(&config, 3, 0);
    for start in [100, 4_000] {
        driver.replicas(at(start), 4);
        driver.run_until(at(start + 1_000));
        assert_eq!((driver.cluster.nodes().len(), driver.count(PodStage::InService)), (2, 2));
        driver.replicas(at(start + 1_000), 0);
    }
}
