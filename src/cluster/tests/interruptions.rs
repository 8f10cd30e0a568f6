//! Faults, preemption, drains, buffers and several pools, with known times.

use super::*;
use crate::units::PS_PER_S;
use AutoscalerEvent::{Drain, QuotaExceeded, ScaleDown, StockOut as StockedOut, TriggeredScaleUp};

fn scripted(config: &mut ClusterConfig, at_s: u64, replica: usize, kind: FaultKind) {
    config.faults.scripted.push(ScriptedFault { at: at(at_s), replica, kind });
}

fn faults(driver: &Driver) -> Vec<(SimTime, FaultEvent)> {
    let fault = |(at, e): &(SimTime, Effect)| match e {
        Effect::Fault(event) => Some((*at, *event)),
        _ => None,
    };
    driver.log.iter().filter_map(fault).collect()
}

fn all_entries(driver: &Driver, pod: u32, stage: PodStage) -> Vec<SimTime> {
    let is =
        |e: &Effect| matches!(e, Effect::Pod { pod: p, stage: s, .. } if p.0 == pod && *s == stage);
    driver.log.iter().filter(|(_, e)| is(e)).map(|(at, _)| *at).collect()
}

/// A second pool like the first.
fn two_pools() -> ClusterConfig {
    let mut config = fixed();
    let mut second = config.pools[0].clone();
    second.name = "second".into();
    config.pools.push(second);
    config
}

fn asked(driver: &Driver) -> Vec<(usize, u32)> {
    let events = driver.autoscaler_events().into_iter();
    let asked = events.filter_map(|(_, e)| match e {
        TriggeredScaleUp { pool, nodes } => Some((pool, nodes)),
        _ => None,
    });
    asked.collect()
}

/// The first restart does not wait, then 10, 20, 40, 80, 160, 300, 300 s; each start takes create 2 + load 12
/// (page cache) + init 50 s.
#[test]
fn crash_loop_back_off() {
    let mut config = fixed();
    config.probe.readiness.initial_delay = SimDuration::ZERO;
    // Each container crashes ten seconds after it came up.
    let mut driver = Driver::start(&config, 1, 1);
    let mut waits = Vec::new();
    let mut now = at(1_000);
    for _ in 0..8 {
        driver.run_until(now);
        let mut out = Vec::new();
        driver.cluster.container_died(now, 0, Death::Crash, &mut out);
        driver.take(out);
        let (at, event) = *faults(&driver).last().unwrap();
        let FaultEvent::ContainerDied { wait, .. } = event else { panic!("{event:?}") };
        assert_eq!(at, now);
        waits.push(wait);
        driver.run_until(now + wait + secs(2 + 12 + 50) + secs(10));
        let up = all_entries(&driver, 0, PodStage::NotReady).last().copied().unwrap();
        assert_eq!(up, now + wait + secs(64));
        now = driver.now;
    }
    assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300].map(secs));
    assert_eq!(driver.cluster.pods()[0].restarts(), 8);
    // After more than ten minutes without a death all is forgotten.
    driver.run_until(now + secs(601));
    let mut out = Vec::new();
    let late = driver.now;
    driver.cluster.container_died(late, 0, Death::Crash, &mut out);
    let waits = out.iter().filter_map(|effect| match effect {
        Effect::Fault(FaultEvent::ContainerDied { wait, .. }) => Some(*wait),
        _ => None,
    });
    assert_eq!(waits.collect::<Vec<_>>(), [SimDuration::ZERO]);
}

/// A crash takes the pod out of service at once for Kubernetes, after the endpoint delay for clients; the node
/// keeps image and volume, so that only container, weights and engine come again.
#[test]
fn a_crashed_server_restarts_on_its_node() {
    let mut config = fixed();
    scripted(&mut config, 1_000, 0, FaultKind::Crash);
    let mut driver = Driver::start(&config, 1, 1);
    driver.run_until(at(1_000));
    assert!(!driver.cluster.pods()[0].is_ready() && !driver.cluster.pods()[0].is_kube_pending());
    assert_eq!(driver.cluster.status_replicas(), 1, "a crashed container is not a lost pod");
    driver.run_until(at(3_000));
    assert_eq!(driver.times_of(Effect::ServerDown(PodId(0))), [at(1_000)]);
    assert_eq!(driver.times_of(Effect::OutOfService(PodId(0))), [at(1_002)]);
    assert_eq!(driver.times_of(Effect::ServerUp(PodId(0))), [at(0), at(1_064)]);
    // The probe's delay counts from the new container's start at 1 002 s.
    let ready = driver.entered(0, PodStage::Ready).unwrap();
    assert!(ready >= at(1_242) && ready < at(1_247), "{ready:?}");
    assert_eq!(driver.cluster.pods()[0].node(), Some(NodeId(0)));
    assert_eq!(driver.cluster.nodes().len(), 1);
}

/// A crash reads the weights again from where they are: the pod's cache, or the storage if there is none.
#[test]
fn a_restart_reads_from_the_cache_if_there_is_one() {
    for (rate, load_s) in [(Some(1_800_000_000), 10), (None, 40)] {
        let mut config = fixed();
        let ModelLoad::Storage(load) = &mut config.startup.load else { panic!("from storage") };
        load.page_cache_bytes_per_s = None;
        load.restart_bytes_per_s = rate;
        scripted(&mut config, 1_000, 0, FaultKind::Crash);
        let mut driver = Driver::start(&config, 1, 1);
        driver.run_until(at(2_000));
        let loading = driver.entered(0, PodStage::Initializing).unwrap() - at(1_002);
        assert_eq!(loading, secs(load_s));
    }
    assert!(presets::restart_rate(presets::Storage::Gcs, 20 << 30).is_some());
    assert!(presets::restart_rate(presets::Storage::Gcs, 21 << 30).is_none());
}

/// Three failures in a row, five seconds apart, turn a pod unready; the first success turns it back.
#[test]
fn readiness_flaps_at_the_failure_threshold() {
    for (lasts, flaps) in [(9, false), (16, true), (60, true)] {
        let mut config = fixed();
        scripted(&mut config, 1_000, 0, FaultKind::Unready(secs(lasts)));
        let mut driver = Driver::start(&config, 1, 1);
        driver.run_until(at(2_000));
        let unready = all_entries(&driver, 0, PodStage::NotReady);
        assert_eq!(!unready.is_empty(), flaps, "{lasts}");
        assert_eq!(driver.count(PodStage::InService), 1);
        assert!(driver.times_of(Effect::ServerDown(PodId(0))).is_empty(), "the server goes on");
        if flaps {
            // Ticks every 5 s: the third at or after 1 000 s.
            assert!(unready[0] >= at(1_010) && unready[0] < at(1_015), "{unready:?}");
            let again = driver.entered(0, PodStage::Ready).unwrap();
            assert!(again >= at(1_000 + lasts) && again < at(1_005 + lasts), "{again:?}");
            assert_eq!((again - unready[0]).as_ps() % secs(5).as_ps(), 0, "on the probe's ticks");
        }
    }
}

/// A startup probe that fails `failureThreshold` times has the container killed, again and again.
#[test]
fn a_startup_probe_that_is_too_short_never_lets_a_server_up() {
    let start = |threshold| {
        let mut config = fixed();
        config.probe.startup =
            Some(Probe { initial_delay: secs(0), period: secs(10), failure_threshold: threshold });
        config.probe.readiness.initial_delay = SimDuration::ZERO;
        let mut driver = Driver::start(&config, 1, 0);
        driver.replicas(at(0), 1);
        driver.run_until(at(3_000));
        driver
    };
    // Load and engine take 90 s.
    let enough = start(11);
    assert!(faults(&enough).is_empty());
    assert_eq!(enough.count(PodStage::InService), 1);
    let short = start(5);
    assert_eq!(short.count(PodStage::InService), 0);
    assert!(short.times_of(Effect::ServerUp(PodId(0))).is_empty());
    let deaths = faults(&short);
    assert!(deaths.len() > 5, "{deaths:?}");
    let started = short.entered(0, PodStage::Loading).unwrap();
    let first = deaths[0].0 - started;
    assert!(first >= secs(40) && first < secs(51), "five ticks: {first:?}");
    let cause = |(_, e): &(SimTime, FaultEvent)| {
        matches!(e, FaultEvent::ContainerDied { death: Death::StartupProbe, .. })
    };
    assert!(deaths.iter().all(cause));
}

/// Three ticks of ten seconds.
const LIVE: Probe = Probe { initial_delay: secs(0), period: secs(10), failure_threshold: 3 };

fn deaths_by_liveness(driver: &Driver) -> Vec<SimTime> {
    let by = |(_, e): &&(SimTime, FaultEvent)| {
        matches!(e, FaultEvent::ContainerDied { death: Death::LivenessProbe, .. })
    };
    faults(driver).iter().filter(by).map(|(at, _)| *at).collect()
}

/// A health check that fails for three liveness probes has the server killed and started again; without a liveness
/// probe the server goes on for ever.
#[test]
fn a_liveness_probe_restarts_a_server_that_fails_it() {
    for (liveness, lasts, killed) in
        [(Some(LIVE), 60, true), (Some(LIVE), 19, false), (None, 60, false)]
    {
        let mut config = fixed();
        // The start is watched by a probe of its own.
        config.probe.startup =
            Some(Probe { initial_delay: secs(0), period: secs(10), failure_threshold: 60 });
        config.probe.readiness.initial_delay = SimDuration::ZERO;
        config.probe.liveness = liveness;
        scripted(&mut config, 1_000, 0, FaultKind::Unready(secs(lasts)));
        let mut driver = Driver::start(&config, 1, 1);
        driver.run_until(at(2_000));
        let deaths = deaths_by_liveness(&driver);
        assert_eq!(deaths.len(), usize::from(killed), "{liveness:?} {lasts}");
        assert_eq!(driver.times_of(Effect::ServerDown(PodId(0))), deaths, "its requests are lost");
        // Ticks every ten seconds: the third at or after 1 000 s.
        assert!(deaths.iter().all(|d| *d >= at(1_020) && *d < at(1_030)), "{deaths:?}");
        assert_eq!(driver.count(PodStage::InService), 1);
    }
}

/// Without a startup probe the liveness probe watches over the start: a start of 90 s is more than it waits for.
#[test]
fn a_liveness_probe_without_a_startup_probe_kills_slow_starts() {
    let start = |initial_delay| {
        let mut config = fixed();
        config.probe.liveness = Some(Probe { initial_delay, ..LIVE });
        let mut driver = Driver::start(&config, 1, 0);
        driver.replicas(at(0), 1);
        driver.run_until(at(3_000));
        driver
    };
    let short = start(SimDuration::ZERO);
    assert_eq!(short.count(PodStage::InService), 0);
    let first = deaths_by_liveness(&short)[0] - short.entered(0, PodStage::Loading).unwrap();
    assert!(first >= secs(20) && first < secs(31), "three ticks: {first:?}");
    let enough = start(secs(90));
    assert!(deaths_by_liveness(&enough).is_empty());
    assert_eq!(enough.count(PodStage::InService), 1);
}

/// Spot: pods get 15 of the 30 s whatever their grace period, end as Failed and are replaced; the instance group
/// asks for the machine again, and it is paid for until it is gone.
#[test]
fn a_preempted_node_takes_its_pods_along() {
    let mut config = fixed();
    config.pools[0].capacity = Capacity::Spot;
    config.termination.grace = secs(120);
    scripted(&mut config, 1_000, 0, FaultKind::Preemption);
    let mut driver = Driver::start(&config, 1, 1);
    driver.run_until(at(1_010));
    assert_eq!(driver.cluster.status_replicas(), 1, "the ending pod still counts");
    driver.run_until(at(3_000));
    assert_eq!(driver.times_of(Effect::Abort(PodId(0))), [at(1_015)]);
    assert_eq!(driver.entered(0, PodStage::Failed), Some(at(1_015)));
    assert_eq!(driver.entered(1, PodStage::Pending), Some(at(1_015)));
    assert_eq!(driver.node_entered(0, NodeStage::Deleted), Some(at(1_030)));
    assert_eq!(driver.node_entered(1, NodeStage::Requested), Some(at(1_030)), "no 30 s wait");
    assert_eq!(driver.entered(1, PodStage::Attaching), Some(at(1_030 + 180)));
    assert_eq!(driver.count(PodStage::InService), 1);
    assert_eq!(asked(&driver), [], "the autoscaler had nothing to do");
    let billed = at(1_030).as_ps() + (at(3_000) - at(1_030)).as_ps();
    assert_eq!(driver.cluster.usage(at(3_000), 0).node_ps, u128::from(billed));
}

/// A preempted pod stays Ready and in the endpoints until its process is gone, which refuses what comes meanwhile; one
/// that is also deleted leaves them from then on, and one that was no endpoint yet becomes none.
// Source: kubernetes/kubernetes#116965.
#[test]
fn a_preempted_pod_is_an_endpoint_until_it_has_failed() {
    let mut config = fixed();
    config.probe.readiness.initial_delay = SimDuration::ZERO;
    scripted(&mut config, 1_000, 0, FaultKind::Preemption);
    let mut driver = Driver::start(&config, 1, 2);
    driver.run_until(at(1_014));
    assert!(driver.cluster.pods()[0].is_ready() && driver.cluster.pods()[0].is_routed());
    driver.run_until(at(2_000));
    assert_eq!(driver.entered(0, PodStage::Failed), Some(at(1_015)));
    assert_eq!(driver.times_of(Effect::OutOfService(PodId(0))), [at(1_017)]);
    // A server that aborts is gone at once, as when it is deleted.
    config.termination.shutdown = ShutdownMode::Abort;
    let mut driver = Driver::start(&config, 1, 2);
    driver.run_until(at(2_000));
    assert_eq!(driver.times_of(Effect::OutOfService(PodId(0))), [at(1_002)]);
    // Deleted 4 s later.
    config.termination.shutdown = ShutdownMode::Drain { timeout: SimDuration::MAX };
    let mut driver = Driver::start(&config, 1, 2);
    driver.replicas(at(1_004), 0);
    driver.run_until(at(2_000));
    assert_eq!(driver.times_of(Effect::OutOfService(PodId(0))), [at(1_006)]);
    assert_eq!(
        driver.times_of(Effect::Abort(PodId(0))),
        [at(1_015)],
        "the grace period is the first"
    );
    // Taken between Ready and endpoint.
    config.faults.scripted.clear();
    let mut driver = Driver::start(&config, 1, 0);
    driver.replicas(at(0), 1);
    let mut until = at(300);
    while driver.entered(0, PodStage::Ready).is_none() {
        until += SimDuration::from_millis(100);
        driver.run_until(until);
    }
    let mut out = Vec::new();
    driver.cluster.preempt(until, NodeId(0), &mut out);
    driver.take(out);
    driver.run_until(until + secs(100));
    assert_eq!(driver.times_of(Effect::InService(PodId(0))), []);
}

/// The rate is a mean: over many nodes the share that is gone after an hour is 1 - exp(-rate).
#[test]
fn preemptions_come_at_their_rate() {
    let mut config = fixed();
    config.pools[0].preemption.per_node_hour = 0.5;
    config.pools[0].max_nodes = 400;
    let mut driver = Driver::start(&config, 9, 400);
    driver.run_until(at(3_600));
    let gone = (0..400).filter(|n| driver.node_entered(*n, NodeStage::Preempted).is_some()).count();
    let expected = 400.0 * (1.0 - (-0.5_f64).exp());
    assert!((gone as f64 - expected).abs() < 30.0, "{gone} of {expected}");
}

/// Two nodes of four places with two pods each: after ten minutes one is drained onto the other, and its pods are lost
/// for as long as their replacements start.
#[test]
fn a_half_used_node_is_drained() {
    let mut config = big_nodes();
    config.packing = Packing::Pack;
    let mut driver = Driver::start(&config, 3, 8);
    for (second, replicas) in [(997, 7), (998, 6), (999, 5), (1_000, 4)] {
        driver.replicas(at(second), replicas);
    }
    driver.run_until(at(1_600));
    let on = |driver: &Driver, n: u32| {
        driver.cluster.pods().iter().filter(|p| p.node() == Some(NodeId(n))).count()
    };
    assert_eq!([on(&driver, 0), on(&driver, 1)], [2, 2], "doubled-up pods went first");
    driver.run_until(at(3_000));
    let events = driver.autoscaler_events();
    // The victims drained until 1 030 s; only then the pods of one node fit on the other.
    let (drained, event) = events[0];
    assert_eq!(event, Drain { node: NodeId(0), pods: 2 });
    let wait = drained - at(1_030);
    assert!(wait >= secs(600) && wait < secs(610), "{wait:?}");
    assert_eq!(events.len(), 1);
    assert_eq!(on(&driver, 1), 4);
    let evicted =
        faults(&driver).iter().filter(|(_, e)| matches!(e, FaultEvent::Evicted { .. })).count();
    assert_eq!(evicted, 2);
    // Evicted 5 s after the taint, replaced at once on the other node; deleted when the grace period is over and the VM
    // is gone.
    let evicted = drained + secs(5);
    assert_eq!(driver.entered(8, PodStage::Attaching), Some(evicted));
    assert_eq!(driver.node_entered(0, NodeStage::Draining), Some(drained));
    assert_eq!(driver.node_entered(0, NodeStage::Deleting), Some(evicted + secs(30)));
    assert_eq!(driver.node_entered(0, NodeStage::Deleted), Some(evicted + secs(90)));
    // No pod is bound to a tainted node, and a pod that leaves in time is not evicted.
    config.autoscaler.node_delete_delay_after_taint = secs(100);
    let mut driver = Driver::start(&config, 3, 5);
    driver.replicas(at(1_000), 4);
    let mut until = at(1_600);
    while driver.node_entered(1, NodeStage::Draining).is_none() {
        until += secs(1);
        driver.run_until(until);
    }
    driver.replicas(until, 6);
    assert_eq!((on(&driver, 0), on(&driver, 1), driver.count(PodStage::Pending)), (4, 1, 1));
}

/// No drain: three of four places used, no room elsewhere, the minimum of nodes, or switched off.
#[test]
fn drains_need_a_cause_and_room() {
    let drains = |config: &ClusterConfig, start, replicas| {
        let mut driver = Driver::start(config, 3, start);
        driver.replicas(at(1_000), replicas);
        driver.run_until(at(4_000));
        let events = driver.autoscaler_events();
        events.iter().filter(|(_, e)| matches!(e, Drain { .. })).count()
    };
    let mut config = big_nodes();
    config.packing = Packing::Pack;
    assert_eq!(drains(&config, 8, 4), 1, "one and three");
    assert_eq!(drains(&config, 8, 7), 0, "four and three");
    assert_eq!(drains(&config, 8, 5), 0, "three and two: one place is free elsewhere");
    assert_eq!(drains(&config, 5, 5), 0, "four and one");
    config.pools[0].min_nodes = 2;
    assert_eq!(drains(&config, 8, 4), 0, "both are the minimum");
    config.pools[0].min_nodes = 0;
    config.autoscaler.drain = false;
    assert_eq!(drains(&config, 8, 4), 0, "switched off");
}

/// Pools are tried in order; a stock-out is reported after its delay and the next pool is asked at the next loop.
#[test]
fn a_stock_out_costs_one_attempt_per_level() {
    let mut config = two_pools();
    config.pools[0].stock_out = StockOut {
        probability: 0.0,
        windows: vec![(at(0), at(2_000))],
        report_delay: Dist::Constant(secs(45)),
    };
    let mut driver = Driver::start(&config, 3, 0);
    driver.replicas(at(100), 1);
    driver.run_until(at(1_000));
    assert_eq!(asked(&driver), [(0, 1), (1, 1)]);
    let events = driver.autoscaler_events();
    let wait = events[2].0 - events[0].0;
    assert!(matches!(events[1].1, StockedOut { pool: 0, .. }));
    assert!(wait >= secs(45) && wait < secs(56), "one report and at most one loop: {wait:?}");
    // When the window is over and the backoff too, the first pool is first again.
    driver.replicas(at(2_500), 2);
    driver.run_until(at(3_500));
    assert_eq!(asked(&driver), [(0, 1), (1, 1), (0, 1)]);
}

/// Two one-GPU-pair nodes fit into a quota of four GPUs; the third request fails as on GKE and backs the pool off.
#[test]
fn a_quota_refuses_what_is_above_it() {
    let mut config = two_pools();
    config.pools[1].capacity = Capacity::Spot;
    config.quota = Quota { standard: Some(4), preemptible: None };
    config.pools[0].stock_out.report_delay = Dist::Constant(secs(40));
    let mut driver = Driver::start(&config, 3, 0);
    driver.replicas(at(100), 3);
    driver.run_until(at(1_500));
    assert_eq!(asked(&driver), [(0, 3), (1, 1)]);
    let failed = driver.autoscaler_events();
    let failed: Vec<_> = failed.iter().filter(|(_, e)| matches!(e, QuotaExceeded { .. })).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(driver.count(PodStage::InService), 3);
    assert_eq!(driver.cluster.nodes().iter().filter(|n| n.pool() == 0).count(), 2);
}

#[test]
fn expanders_prefer_order_price_or_fit() {
    // A node of eight GPUs for 10, or of two GPUs for 3.
    let mut config = two_pools();
    config.pools[0].gpus_per_node = 8;
    config.pools[0].replicas_per_node = 4;
    config.pools[0].usd_per_hour = 10.0;
    config.pools[1].usd_per_hour = 3.0;
    let first = |expander, pods| {
        let mut config = config.clone();
        config.autoscaler.expander = expander;
        let mut driver = Driver::start(&config, 3, 0);
        driver.replicas(at(100), pods);
        driver.run_until(at(150));
        asked(&driver)
    };
    assert_eq!(first(Expander::Priority, 1), [(0, 1)]);
    assert_eq!(first(Expander::Price, 1), [(1, 1)], "3 against 10");
    assert_eq!(first(Expander::Price, 4), [(0, 1)], "2.50 against 3 per pod");
    assert_eq!(first(Expander::LeastWaste, 1), [(1, 1)]);
    assert_eq!(first(Expander::LeastWaste, 4), [(0, 1)], "no waste in either: the first");
    let mut reserved = config.clone();
    reserved.autoscaler.expander = Expander::Price;
    reserved.pools[0].capacity = Capacity::Reservation;
    let mut driver = Driver::start(&reserved, 3, 0);
    driver.replicas(at(100), 1);
    driver.run_until(at(150));
    assert_eq!(asked(&driver), [(0, 1)], "what is paid for costs nothing more");
    let mut full = config.clone();
    full.pools[0].max_nodes = 1;
    let mut driver = Driver::start(&full, 3, 0);
    driver.replicas(at(100), 6);
    driver.run_until(at(150));
    assert_eq!(asked(&driver), [(0, 1), (1, 2)], "what does not fit goes to the next pool");
}

/// Placeholders keep a node warm: a replica takes the place at once, and the placeholder asks for the next node.
#[test]
fn a_buffer_takes_the_node_out_of_the_wait() {
    let mut config = fixed();
    config.spare_replicas = 1;
    let mut driver = Driver::start(&config, 3, 1);
    assert_eq!(driver.cluster.nodes().len(), 2);
    driver.run_until(at(5_000));
    assert_eq!(driver.cluster.nodes().len(), 2, "a placeholder keeps its node");
    driver.replicas(at(5_000), 2);
    assert_eq!(driver.entered(1, PodStage::Attaching), Some(at(5_000)));
    driver.run_until(at(5_100));
    let requested = driver.node_entered(2, NodeStage::Requested).unwrap() - at(5_000);
    assert!(requested >= secs(30) && requested < secs(40), "{requested:?}");
    driver.run_until(at(6_000));
    assert_eq!(driver.cluster.nodes().len(), 3);
    // Without its replica the node goes, the buffer stays.
    driver.replicas(at(6_000), 1);
    driver.run_until(at(9_000));
    let removed = driver.autoscaler_events();
    assert_eq!(removed.iter().filter(|(_, e)| matches!(e, ScaleDown { .. })).count(), 1);
    assert_eq!(driver.cluster.nodes().len(), 2);
}

/// Flex-start: a node's pods are evicted when its time is over, and another node is asked for.
#[test]
fn a_node_ends_after_its_longest_run() {
    let mut config = fixed();
    config.pools[0].max_run_duration = Some(secs(2_000));
    let mut driver = Driver::start(&config, 3, 1);
    driver.run_until(at(3_000));
    assert_eq!(driver.node_entered(0, NodeStage::Draining), Some(at(2_000)));
    assert_eq!(driver.node_entered(0, NodeStage::Deleting), Some(at(2_030)), "grace period");
    assert_eq!(driver.entered(1, PodStage::Pending), Some(at(2_000)));
    assert_eq!(asked(&driver), [(0, 1)]);
    assert_eq!(driver.count(PodStage::InService), 1);
}

/// Rank 4 of the ReplicaSet controller: of ready pods the cheapest to delete goes first, however old.
#[test]
fn deletion_cost_decides_before_age() {
    for seed in 0..10 {
        let mut driver = Driver::start(&fixed(), seed, 2);
        driver.replicas(at(5_000), 3);
        driver.run_until(at(10_000));
        driver.cluster.set_deletion_cost(PodId(1), -10);
        driver.replicas(at(10_000), 2);
        assert!(driver.cluster.pods()[1].is_deleting(), "not the youngest, pod 2");
    }
}

/// Rank 3: a crashed server is not ready until it has loaded again, and goes before one that is.
#[test]
fn a_pod_that_is_not_ready_goes_before_a_ready_one() {
    let mut config = fixed();
    scripted(&mut config, 1_000, 1, FaultKind::Crash);
    let mut driver = Driver::start(&config, 5, 2);
    driver.run_until(at(1_100));
    assert!(!driver.cluster.pods()[1].is_ready());
    driver.replicas(at(1_100), 1);
    assert!(driver.cluster.pods().iter().all(|p| p.id() == PodId(0) || p.is_deleting()));
}

/// Rank 7: of pods that have been ready since the same second, the one with more restarts goes first. Both were
/// created at once, so that without this rank the UID would decide, which differs by seed.
#[test]
fn a_pod_with_more_restarts_goes_before_its_like() {
    let mut config = fixed();
    // Probes every millisecond: both are ready within the second in which they could be.
    config.probe.readiness.initial_delay = SimDuration::ZERO;
    config.probe.readiness.period = SimDuration::from_millis(1);
    // A restart takes create 2 + load 12 (page cache) + init 50 s; the other's health check fails for as long.
    for (crashes, likes) in [(0, 1), (1, 0)] {
        for seed in 0..8 {
            let mut config = config.clone();
            // In this order: a fault counts the servers that listen.
            scripted(&mut config, 1_000, likes, FaultKind::Unready(secs(64)));
            scripted(&mut config, 1_000, crashes, FaultKind::Crash);
            let mut driver = Driver::start(&config, seed, 2);
            driver.run_until(at(2_000));
            let pods = driver.cluster.pods();
            assert!(pods.iter().all(|pod| pod.is_ready() && pod.created == SimTime::ZERO));
            let since = |i: usize| pods[i].ready_transition.map(|at| at.as_ps() / PS_PER_S);
            assert_eq!((since(0), since(1)), (Some(1_064), Some(1_064)));
            assert_eq!((pods[crashes].restarts(), pods[likes].restarts()), (1, 0));
            driver.replicas(at(2_000), 1);
            assert!(driver.cluster.pods()[crashes].is_deleting(), "seed {seed}");
            assert!(!driver.cluster.pods()[likes].is_deleting(), "seed {seed}");
        }
    }
}

/// Nodes with pods are drained one after the other, though several are unneeded.
#[test]
fn drains_come_one_by_one() {
    let mut config = big_nodes();
    config.packing = Packing::Pack;
    config.probe.readiness.initial_delay = SimDuration::ZERO;
    let mut driver = Driver::start(&config, 3, 12);
    // One pod on each of three nodes: two nodes are too many.
    for replicas in (3..12).rev() {
        driver.replicas(at(1_000), replicas);
    }
    driver.run_until(at(4_000));
    let events = driver.autoscaler_events();
    let drained: Vec<_> =
        events.iter().filter(|(_, e)| matches!(e, Drain { .. })).map(|(at, _)| *at).collect();
    assert_eq!(drained.len(), 2, "{events:?}");
    // 5 s after the taint the pods go, with 30 s of grace.
    assert_eq!(drained[1] - drained[0], secs(40), "{drained:?}");
}
