//! Start-up, readiness, termination and victim order of pods.

use super::super::pod::first_tick;
use super::*;

/// The whole chain on a new node, second by second.
#[test]
fn a_cold_start_adds_up() {
    let mut driver = Driver::start(&fixed(), 1, 1);
    driver.replicas(at(1_000), 2);
    driver.run_until(at(2_000));
    let requested = driver.node_entered(1, NodeStage::Requested).unwrap();
    // 30 s GPU wait, then the next loop of the ten-second grid.
    assert!(requested >= at(1_030) && requested < at(1_040), "{requested:?}");
    let ready = driver.node_entered(1, NodeStage::Ready).unwrap();
    assert_eq!(ready - requested, secs(180));
    let since = |stage| driver.entered(1, stage).unwrap() - ready;
    assert_eq!(since(PodStage::Attaching), secs(0));
    assert_eq!(since(PodStage::Pulling), secs(10));
    assert_eq!(since(PodStage::Creating), secs(90));
    assert_eq!(since(PodStage::Loading), secs(92));
    assert_eq!(since(PodStage::Initializing), secs(132));
    assert_eq!(since(PodStage::NotReady), secs(182));
    // The guide's 240 s from the container's start, then the next 5 s tick, then 1 s.
    let probe = since(PodStage::Ready) - since(PodStage::Loading);
    assert!(probe >= secs(240) && probe < secs(245), "{probe:?}");
    assert_eq!(since(PodStage::InService) - since(PodStage::Ready), secs(1));
    assert_eq!(driver.times_of(Effect::ServerUp(PodId(1))), [ready + secs(182)]);
}

/// About 245 s on a warm node with the image, 540 s with none.
#[test]
fn a_warm_node_skips_autoscaler_and_image() {
    let mut driver = Driver::start(&fixed(), 1, 2);
    driver.replicas(at(100), 1);
    driver.run_until(at(200));
    driver.replicas(at(200), 2);
    driver.run_until(at(1_000));
    assert_eq!(driver.entered(2, PodStage::Attaching), Some(at(200)));
    assert_eq!(driver.entered(2, PodStage::Pulling), None);
    let total = driver.entered(2, PodStage::InService).unwrap() - at(200);
    assert!(total >= secs(253) && total < secs(258), "{total:?}");
}

/// The startup probe is asked every 30 s; when it passes, the readiness probe does not wait for its own tick.
// Source: kubernetes pkg/kubelet/prober, UpdatePodStatus; kubernetes/kubernetes#101738.
#[test]
fn a_startup_probe_gates_readiness() {
    let mut config = fixed();
    let startup = Probe { initial_delay: secs(15), period: secs(30), failure_threshold: 60 };
    config.probe.startup = Some(startup);
    // The server is up 90 s after the container's start, and the startup probe passes before 120 s.
    for (delay_s, at_once) in [(0, true), (90, true), (120, false)] {
        config.probe.readiness.initial_delay = secs(delay_s);
        for seed in 0..20 {
            let mut driver = Driver::start(&config, seed, 2);
            driver.replicas(at(100), 1);
            driver.replicas(at(200), 2);
            driver.run_until(at(1_000));
            let started = driver.entered(2, PodStage::Loading).unwrap();
            let up = driver.entered(2, PodStage::NotReady).unwrap();
            assert_eq!(up - started, secs(90));
            let pod = &driver.cluster.pods()[1];
            let passed = first_tick(started + pod.delays.startup_phase, startup.period, up);
            let later = pod.readiness_tick(config.probe.readiness.period, started + secs(120));
            let expected = if at_once { passed } else { later };
            assert_eq!(driver.entered(2, PodStage::Ready), Some(expected), "seed {seed}");
        }
    }
}

/// Four pods on one node: one pull; the first reads the disk, the others its page cache.
#[test]
fn pods_of_a_node_share_the_pull_and_the_read() {
    let mut driver = Driver::start(&big_nodes(), 1, 0);
    driver.replicas(at(0), 4);
    driver.run_until(at(1_000));
    let pulled: BTreeSet<_> = (0..4).map(|p| driver.entered(p, PodStage::Creating)).collect();
    assert_eq!(pulled.len(), 1);
    let loaded: BTreeSet<_> = (0..4).map(|p| driver.entered(p, PodStage::Initializing)).collect();
    assert_eq!(loaded.len(), 1, "followers end with the leader: {loaded:?}");
    // A fifth goes to a second node and reads for itself; a sixth comes later, cached: 12 s.
    driver.replicas(at(1_000), 6);
    driver.run_until(at(2_000));
    driver.replicas(at(2_000), 7);
    driver.run_until(at(3_000));
    let load = |p| {
        driver.entered(p, PodStage::Initializing).unwrap()
            - driver.entered(p, PodStage::Loading).unwrap()
    };
    assert_eq!(load(4), secs(40));
    assert_eq!(load(6), secs(12));
}

/// Two nodes read one volume: 515 MB/s shared by two is 257.5 MB/s each.
#[test]
fn nodes_share_the_volume() {
    let mut config = fixed();
    if let ModelLoad::Storage(load) = &mut config.startup.load {
        load.volume_bytes_per_s = Some(515_000_000);
    }
    let mut driver = Driver::start(&config, 1, 0);
    driver.replicas(at(0), 2);
    driver.run_until(at(1_000));
    for pod in 0..2 {
        let load = driver.entered(pod, PodStage::Initializing).unwrap()
            - driver.entered(pod, PodStage::Loading).unwrap();
        assert_eq!(load.as_secs_f64().round(), (18_000.0_f64 / 257.5).round());
    }
}

/// The guide: no preStop, drain within 30 s, endpoint removed after 2 s.
#[test]
fn drain_ends_at_the_grace_period_or_when_empty() {
    let mut driver = Driver::start(&fixed(), 1, 3);
    driver.replicas(at(100), 1);
    let gone: Vec<PodId> =
        driver.cluster.pods().iter().filter(|p| p.is_deleting()).map(Pod::id).collect();
    assert_eq!(gone.len(), 2);
    assert_eq!(driver.times_of(Effect::Drain { pod: gone[0], until: at(130) }), [at(100)]);
    assert_eq!(driver.cluster.status_replicas(), 1);
    driver.input(at(110), Input::Empty(gone[0]));
    driver.run_until(at(200));
    assert_eq!(driver.times_of(Effect::Gone(gone[0])), [at(110)]);
    assert_eq!(driver.times_of(Effect::Abort(gone[0])), []);
    assert_eq!(driver.times_of(Effect::OutOfService(gone[0])), [at(102)]);
    assert_eq!(driver.times_of(Effect::Abort(gone[1])), [at(130)]);
    assert_eq!(driver.times_of(Effect::Gone(gone[1])), [at(130)]);
}

/// vLLM from 0.18: everything is aborted at SIGTERM, before the endpoint is gone.
#[test]
fn abort_precedes_the_endpoint_removal() {
    let mut config = fixed();
    config.termination.shutdown = presets::shutdown_of_vllm(18);
    let mut driver = Driver::start(&config, 1, 2);
    driver.replicas(at(100), 1);
    let pod = (0..2).map(PodId).find(|p| driver.times_of(Effect::Abort(*p)) == [at(100)]).unwrap();
    driver.run_until(at(200));
    assert_eq!(driver.times_of(Effect::Gone(pod)), [at(100)]);
    assert_eq!(driver.times_of(Effect::OutOfService(pod)), [at(102)]);
}

/// preStop counts against the grace period; SIGTERM leaves at least two seconds.
#[test]
fn pre_stop_counts_against_grace() {
    let mut config = fixed();
    config.termination.grace = secs(30);
    config.termination.pre_stop = secs(15);
    let mut driver = Driver::start(&config, 1, 2);
    driver.replicas(at(100), 1);
    driver.run_until(at(200));
    let drains = |driver: &Driver| {
        let drain = |(at, e): &(SimTime, Effect)| match e {
            Effect::Drain { until, .. } => Some((*at, *until)),
            _ => None,
        };
        driver.log.iter().filter_map(drain).collect::<Vec<_>>()
    };
    assert_eq!(drains(&driver), [(at(115), at(130))]);
    config.termination.pre_stop = secs(60);
    let mut driver = Driver::start(&config, 1, 2);
    driver.replicas(at(100), 1);
    driver.run_until(at(200));
    assert_eq!(drains(&driver), [(at(130), at(132))]);
}

/// The kubelet runs the preStop hook of a container that runs, ready or not; then a server that is still starting ends
/// at once. Before the container there is nothing to run it in.
#[test]
fn a_starting_container_runs_its_hook_too() {
    let mut config = fixed();
    config.termination.pre_stop = secs(15);
    let mut driver = Driver::start(&config, 1, 1);
    driver.replicas(at(0), 2);
    driver.run_until(at(500));
    // Bound at 210 s or later, its container starts 92 s after that.
    let loading = driver.entered(1, PodStage::Loading).unwrap();
    let mut cut = Driver::start(&config, 1, 1);
    cut.replicas(at(0), 2);
    cut.replicas(loading + secs(5), 1);
    cut.run_until(loading + secs(100));
    assert_eq!(cut.times_of(Effect::Gone(PodId(1))), [loading + secs(20)]);
    assert!(cut.times_of(Effect::ServerUp(PodId(1))).is_empty());
    let mut early = Driver::start(&config, 1, 1);
    early.replicas(at(0), 2);
    early.replicas(loading - secs(1), 1);
    early.run_until(loading + secs(100));
    assert_eq!(early.times_of(Effect::Gone(PodId(1))), [loading - secs(1)]);
}

/// Pods that have not started vanish, whatever the grace period; the newest victims are they.
#[test]
fn pending_pods_go_first_and_at_once() {
    let mut driver = Driver::start(&fixed(), 1, 2);
    driver.replicas(at(100), 4);
    driver.replicas(at(150), 2);
    assert_eq!(driver.times_of(Effect::Gone(PodId(2))), [at(150)]);
    assert_eq!(driver.times_of(Effect::Gone(PodId(3))), [at(150)]);
    assert_eq!(driver.count(PodStage::InService), 2);
    // The nodes come all the same, idle, and are removed ten minutes later.
    driver.run_until(at(2_000));
    let idle = driver.node_entered(2, NodeStage::Ready).unwrap();
    let removed = driver.node_entered(2, NodeStage::Deleting).unwrap() - idle;
    assert!(removed >= secs(600) && removed < secs(610), "{removed:?}");
}

/// Of ready pods the clearly younger one goes; of one age bucket any.
#[test]
fn the_shorter_ready_pod_goes_first() {
    let mut picked = BTreeSet::new();
    for seed in 0..40 {
        let mut driver = Driver::start(&fixed(), seed, 2);
        driver.replicas(at(5_000), 3);
        driver.run_until(at(10_000));
        // Ages 10 000 s, 10 000 s and about 4 500 s: other buckets of log2(ns).
        driver.replicas(at(10_000), 2);
        assert!(driver.cluster.pods()[2].is_deleting());
        driver.replicas(at(10_000), 1);
        let second = driver.cluster.pods().iter().position(Pod::is_deleting).unwrap();
        picked.insert(second);
    }
    assert_eq!(picked, BTreeSet::from([0, 1]), "equal ages are decided by UID");
}

/// The fullest node is thinned out first, against emptying the other.
#[test]
fn doubled_up_pods_go_first() {
    let mut config = big_nodes();
    config.packing = Packing::Pack;
    let mut driver = Driver::start(&config, 1, 5);
    driver.replicas(at(100), 4);
    let victim = driver.cluster.pods().iter().find(|p| p.is_deleting()).unwrap();
    assert_eq!(victim.node(), Some(NodeId(0)), "node 0 has four pods, node 1 has one");
}

/// Spread fills nodes evenly, pack one after the other.
#[test]
fn packing() {
    for (packing, expected) in [(Packing::Spread, [2, 2]), (Packing::Pack, [4, 0])] {
        let mut config = big_nodes();
        config.pools[0].min_nodes = 2;
        config.packing = packing;
        let driver = Driver::start(&config, 1, 4);
        let on =
            |n: u32| driver.cluster.pods().iter().filter(|p| p.node() == Some(NodeId(n))).count();
        assert_eq!([on(0), on(1)], expected);
    }
}

/// The two mean the same pod: what Kubernetes shows of a starting replica.
#[test]
fn kubernetes_sees_pending_until_the_container_starts() {
    let mut driver = Driver::start(&fixed(), 1, 0);
    driver.replicas(at(0), 1);
    driver.run_until(at(1_000));
    let started = driver.entered(0, PodStage::Loading).unwrap();
    let mut driver = Driver::start(&fixed(), 1, 0);
    driver.replicas(at(0), 1);
    driver.run_until(started - SimDuration::from_ps(1));
    assert!(driver.cluster.pods()[0].is_kube_pending());
    driver.run_until(started);
    let pod = &driver.cluster.pods()[0];
    assert!(!pod.is_kube_pending() && !pod.is_ready());
    assert_eq!(pod.start_time(), driver.entered(0, PodStage::Attaching));
    assert_eq!(pod.ready_transition(), pod.start_time());
    driver.run_until(at(1_000));
    let pod = &driver.cluster.pods()[0];
    assert!(pod.is_ready());
    assert_eq!(pod.ready_transition(), driver.entered(0, PodStage::Ready));
}

/// A scale-down between Ready and the endpoint: the gateway never hears of the pod.
#[test]
fn a_pod_deleted_before_its_endpoint_is_never_routed() {
    let mut driver = Driver::start(&fixed(), 1, 0);
    driver.replicas(at(0), 1);
    driver.run_until(at(2_000));
    let ready = driver.entered(0, PodStage::Ready).unwrap();
    let mut driver = Driver::start(&fixed(), 1, 0);
    driver.replicas(at(0), 1);
    driver.replicas(ready, 0);
    driver.run_until(at(2_000));
    assert_eq!(driver.times_of(Effect::InService(PodId(0))), []);
    assert_eq!(driver.times_of(Effect::OutOfService(PodId(0))), []);
    assert_eq!(driver.times_of(Effect::Gone(PodId(0))).len(), 1);
}

/// Deleting the reader of a node hands its read to the pod that follows.
#[test]
fn a_follower_takes_over_the_read() {
    let mut driver = Driver::start(&big_nodes(), 1, 0);
    driver.replicas(at(0), 2);
    driver.run_until(at(1_000));
    let begin = driver.entered(0, PodStage::Loading).unwrap();
    let end = driver.entered(0, PodStage::Initializing).unwrap();
    for seed in 1..20 {
        let mut driver = Driver::start(&big_nodes(), 1, 0);
        driver.replicas(at(0), 2);
        driver.run_until(begin + secs(seed));
        driver.replicas(begin + secs(seed), 1);
        driver.run_until(at(1_000));
        let left = driver.cluster.pods()[0].id().0;
        assert_eq!(driver.entered(left, PodStage::Initializing), Some(end));
    }
}
