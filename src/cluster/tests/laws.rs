//! Properties over random small clusters and random replica counts.

use super::*;

fn dist(max_s: u64) -> impl Strategy<Value = Dist> {
    prop_oneof![
        (0..=max_s).prop_map(|s| Dist::Constant(secs(s))),
        (1..=max_s, 1..=max_s)
            .prop_map(|(a, b)| Dist::LogNormal { median: secs(a.min(b)), p95: secs(a.max(b)) }),
        prop::collection::vec(0..=max_s, 1..4)
            .prop_map(|list| Dist::Empirical(list.into_iter().map(secs).collect())),
    ]
}

prop_compose! {
    fn pool()(
        per_node in 1_u32..5,
        spare_gpu in 0_u32..2,
        memory_gb in prop::option::of(16_u64..64),
        min_nodes in 0_u32..3,
        more in 0_u32..5,
        provisioning in dist(1_200),
        probability in prop_oneof![Just(0.0), Just(0.3), Just(1.0)],
        report_delay in dist(120),
        delete in dist(90),
        capacity in prop::sample::select(Capacity::ALL.to_vec()),
        per_node_hour in prop_oneof![3 => Just(0.0), 1 => Just(4.0)],
        longest in prop_oneof![3 => Just(None), 1 => (60_u64..2_000).prop_map(|s| Some(secs(s)))],
        recycled in any::<bool>(),
        queued in prop_oneof![3 => Just(false), 1 => Just(true)],
    ) -> NodePool {
        NodePool {
            name: "pool".to_owned(),
            machine_type: "test".to_owned(),
            gpus_per_node: per_node * 2 + spare_gpu,
            memory_bytes: memory_gb.map(|gb| gb * 1_000_000_000),
            replicas_per_node: per_node,
            min_nodes,
            max_nodes: min_nodes + more,
            provisioning,
            stock_out: StockOut { probability, windows: Vec::new(), report_delay },
            delete,
            zone: String::new(),
            capacity,
            usd_per_hour: f64::from(per_node),
            preemption: Preemption { per_node_hour, ..presets::no_preemption() },
            max_run_duration: longest,
            recycling_lead_time: longest.filter(|_| recycled).map(|run| run / 2),
            queued,
        }
    }
}

prop_compose! {
    fn faults()(
        crash in prop_oneof![Just(0.0), Just(6.0)],
        unready in prop_oneof![Just(0.0), Just(20.0)],
        lasts in dist(60),
        losses in prop_oneof![Just(0.0), Just(2.0)],
        toleration in 0_u64..400,
        repair in prop_oneof![3 => (0_u64..900).prop_map(Some), 1 => Just(None)],
        scripted in prop::collection::vec((0_u64..8_000, 0_usize..4, 0_u8..4), 0..4),
    ) -> FaultConfig {
        let scripted = scripted.into_iter().map(|(s, replica, kind)| ScriptedFault {
            at: at(s),
            replica,
            kind: match kind {
                0 => FaultKind::Crash,
                1 => FaultKind::Unready(secs(40)),
                2 => FaultKind::Preemption,
                _ => FaultKind::NodeLoss,
            },
        });
        FaultConfig {
            crash_per_hour: crash,
            unready_per_hour: unready,
            unready_for: lasts,
            node_loss_per_hour: losses,
            unreachable_toleration: secs(toleration),
            node_repair: repair.map(secs),
            scripted: scripted.collect(),
            ..presets::no_faults()
        }
    }
}

fn disruption() -> impl Strategy<Value = Disruption> {
    let pods = prop_oneof![
        (0_u32..3).prop_map(IntOrPercent::Int),
        prop::sample::select(vec![0, 30, 100]).prop_map(IntOrPercent::Percent),
    ];
    let budget = (any::<bool>(), pods).prop_map(|(min, pods)| {
        if min { Budget::MinAvailable(pods) } else { Budget::MaxUnavailable(pods) }
    });
    let safe = prop_oneof![4 => Just(true), 1 => Just(false)];
    (prop::option::of(budget), safe)
        .prop_map(|(budget, safe_to_evict)| Disruption { budget, safe_to_evict })
}

prop_compose! {
    fn config()(
        pools in prop::collection::vec(pool(), 1..4),
        faults in prop_oneof![Just(presets::no_faults()), faults()],
        spare_replicas in 0_u32..3,
        quota in (prop::option::of(0_u32..20), prop::option::of(0_u32..20)),
        expander in prop::sample::select(vec![Expander::Priority, Expander::Price, Expander::LeastWaste]),
        drains_nodes in any::<bool>(),
        frequent_loops in any::<bool>(),
        max_gpus in prop_oneof![2 => Just(None), 1 => (9_u32..30).prop_map(Some)],
        waits in (0_u64..40, 0_u64..90, 0_u64..20, 0_u64..400),
        disruption in disruption(),
        pack in any::<bool>(),
        attach in dist(20),
        pull in dist(200),
        init in dist(90),
        shared in prop::option::of(100_u64..900),
        cached in prop::option::of(500_u64..3_000),
        from_storage in any::<bool>(),
        endpoint in dist(2),
        removal in dist(3),
        grace in 0_u64..40,
        pre_stop in 0_u64..40,
        drain in prop::option::of(0_u64..60),
        (startup_probe, liveness) in any::<(bool, bool)>(),
        initial_delay in 0_u64..250,
    ) -> ClusterConfig {
        let mut config = fixed();
        config.pools = pools;
        config.faults = faults;
        config.spare_replicas = spare_replicas;
        config.quota = Quota { standard: quota.0, preemptible: quota.1 };
        config.autoscaler.expander = expander;
        config.autoscaler.drain = drains_nodes;
        config.disruption = disruption;
        config.autoscaler.frequent_loops = frequent_loops;
        config.autoscaler.max_gpus = max_gpus;
        config.autoscaler.gpu_pod_min_age = secs(waits.0);
        config.autoscaler.new_pod_scale_up_delay = secs(waits.1.saturating_sub(30));
        config.autoscaler.node_delete_delay_after_taint = secs(waits.2);
        config.autoscaler.scale_down_after_delete = secs(waits.3.saturating_sub(200));
        config.packing = if pack { Packing::Pack } else { Packing::Spread };
        config.startup.attach = attach;
        config.startup.image = ImagePull::Time(pull);
        config.startup.init = init.clone();
        config.startup.load = if from_storage {
            ModelLoad::Storage(StorageLoad {
                bytes: 16_000_000_000,
                pod_rate: Rate { median: 450_000_000, p05: 250_000_000 },
                volume_bytes_per_s: shared.map(|mb| mb * 1_000_000),
                page_cache_bytes_per_s: cached.map(|mb| mb * 1_000_000),
                restart_bytes_per_s: shared.map(|mb| mb * 2_000_000),
                node_bytes_per_s: None,
                attach_limit: shared.map(|_| 3),
                pod_memory_bytes: 8_000_000_000,
            })
        } else {
            ModelLoad::Time(init)
        };
        config.probe.readiness.initial_delay = secs(initial_delay);
        config.probe.startup = startup_probe
            .then_some(Probe { initial_delay: secs(5), period: secs(7), failure_threshold: 60 });
        // Patient enough for some starts only.
        config.probe.liveness = liveness
            .then_some(Probe { initial_delay: secs(30), period: secs(9), failure_threshold: 4 });
        config.probe.endpoint_delay = endpoint;
        config.termination = TerminationConfig {
            grace: secs(grace),
            pre_stop: secs(pre_stop),
            shutdown: match drain {
                None => ShutdownMode::Abort,
                Some(timeout) => ShutdownMode::Drain { timeout: secs(timeout) },
            },
            endpoint_removal: removal,
            deletion_cost: DeletionCost::None,
        };
        config
    }
}

/// Replica counts at times; within each, some draining servers end early.
fn inputs() -> impl Strategy<Value = Vec<(SimTime, u32, bool)>> {
    let step = (1_u64..900_000, 0_u32..9, any::<bool>());
    prop::collection::vec(step, 1..25).prop_map(|steps| {
        let mut now = SimTime::ZERO;
        let mut add = |(ms, n, empties): (u64, u32, bool)| {
            now += SimDuration::from_millis(ms);
            (now, n, empties)
        };
        steps.into_iter().map(&mut add).collect()
    })
}

fn drive(driver: &mut Driver, inputs: &[(SimTime, u32, bool)]) {
    for (when, n, empties) in inputs {
        driver.run_until(*when);
        if *empties {
            let draining = |p: &&Pod| p.stage() == PodStage::Terminating;
            if let Some(pod) = driver.cluster.pods().iter().find(draining).map(Pod::id) {
                driver.input(*when, Input::Empty(pod));
            }
        }
        driver.replicas(*when, *n);
        assert_eq!(driver.cluster.status_replicas(), *n);
    }
    let end = inputs.last().unwrap().0 + secs(1_500);
    driver.run_until(end);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// L8 (asserted by the driver after every effect), and: everything ends. After a scale to 0 and
    /// enough time no pod is left, no GPU is held, and the minimum of nodes remains.
    #[test]
    fn stages_and_gpus_are_conserved(
        config in config(),
        inputs in inputs(),
        seed in any::<u64>(),
        replicas in 0_u32..6,
    ) {
        let mut driver = Driver::start(&config, seed, replicas);
        // Machines that are there at the start may be more than a quota allows.
        let empty = replicas + config.spare_replicas == 0;
        driver.checks.quota = empty && config.pools.iter().all(|pool| pool.min_nodes == 0);
        drive(&mut driver, &inputs);
        let end = driver.now;
        driver.replicas(end, 0);
        driver.run_until(end + secs(20_000));
        // What a dead machine holds stays while nobody repairs it and its pool is at the minimum without the nodes that
        // are asked for, or as long as a placeholder waits: it makes the autoscaler ask for nodes again and again, and
        // each time, whether they come or not, removals wait.
        let asks = !driver.cluster.waiting_placeholders.is_empty();
        let stays = |pod: &Pod| {
            let n = driver.cluster.node_index(pod.node().unwrap()).unwrap();
            let node = &driver.cluster.nodes[n];
            let pool = node.pool();
            let coming = |n: &&Node| n.pool() == pool && n.stage() == NodeStage::Requested;
            let coming = driver.cluster.nodes().iter().filter(coming).count() as u32;
            node.stage() == NodeStage::NotReady
                && config.faults.node_repair.is_none()
                && (asks || driver.cluster.pools[pool].size - coming <= config.pools[pool].min_nodes)
        };
        prop_assert!(driver.cluster.pods().iter().all(stays));
        prop_assert!(driver.checks.routed.is_empty());
        prop_assert!(driver.cluster.still_routed.is_empty());
        let min: u32 = config.pools.iter().map(|pool| pool.min_nodes).sum();
        // A node given up after an idle one was removed in its favour leaves fewer.
        let gave_up = driver.checks.nodes.values().any(|stage| *stage == NodeStage::Failed);
        let interrupted = config.spare_replicas > 0
            || config.pools.iter().any(|pool| {
                pool.max_run_duration.is_some() || pool.preemption.per_node_hour > 0.0
            })
            || !config.faults.scripted.is_empty();
        let left = driver.cluster.nodes().len() as u32;
        prop_assert!(interrupted || left == min || (gave_up && left < min), "{} nodes of {}", left, min);
        for pool in 0..config.pools.len() {
            let now = driver.now;
            let (before, after) =
                (driver.cluster.usage(now, pool), driver.cluster.usage(now + secs(100), pool));
            if driver.cluster.pods().is_empty() {
                prop_assert_eq!(before.gpu_bound_ps, after.gpu_bound_ps);
            }
            prop_assert!(before.gpu_bound_ps <= before.gpu_ps);
            let of_pool = |node: &&Node| node.pool() == pool && node.is_billed();
            let nodes = driver.cluster.nodes().iter().filter(of_pool).count() as u128;
            let span = u128::from(secs(100).as_ps());
            prop_assert_eq!(after.node_ps - before.node_ps, nodes * span);
        }
    }

    /// Leaving out loops in which nothing can happen changes no effect.
    #[test]
    fn skipped_loops_change_nothing(
        config in config(),
        inputs in inputs(),
        seed in any::<u64>(),
        replicas in 0_u32..6,
    ) {
        let run = |every_scan: bool| {
            let mut cluster = Cluster::new(&config, Seed(seed));
            cluster.every_scan = every_scan;
            let mut driver = Driver::start_with(cluster, replicas);
            drive(&mut driver, &inputs);
            driver.log
        };
        let (sparse, every) = (run(false), run(true));
        for (n, (a, b)) in sparse.iter().zip(&every).enumerate() {
            prop_assert_eq!(a, b, "effect {}", n);
        }
        prop_assert_eq!(sparse.len(), every.len());
    }

    /// Pod k has the same drawn delays whatever the case does before.
    #[test]
    fn delays_are_paired_by_ordinal(mut config in config(), seed in any::<u64>()) {
        if let ModelLoad::Storage(load) = &mut config.startup.load {
            // The wait for a place is not drawn.
            load.attach_limit = None;
        }
        let stages = [PodStage::Attaching, PodStage::Creating];
        let spans = |driver: &Driver, pod: u32| {
            let next = [
                driver.entered(pod, PodStage::Pulling).or(driver.entered(pod, PodStage::Creating)),
                driver.entered(pod, PodStage::Loading),
            ];
            let spans = stages.iter().zip(next).map(|(stage, next)| {
                Some(next? - driver.entered(pod, *stage)?)
            });
            spans.collect::<Option<Vec<_>>>()
        };
        let mut early = Driver::start(&config, seed, 1);
        early.replicas(at(10), 4);
        early.run_until(at(5_000));
        let mut late = Driver::start(&config, seed, 1);
        late.replicas(at(700), 2);
        late.replicas(at(1_500), 4);
        late.run_until(at(9_000));
        for pod in 1..4 {
            if let (Some(a), Some(b)) = (spans(&early, pod), spans(&late, pod)) {
                prop_assert_eq!(a, b);
            }
        }
    }

    /// The same seed and inputs give the same effects (law L5).
    #[test]
    fn runs_repeat(config in config(), inputs in inputs(), seed in any::<u64>()) {
        let run = || {
            let mut driver = Driver::start(&config, seed, 2);
            drive(&mut driver, &inputs);
            driver.log
        };
        prop_assert_eq!(run(), run());
    }
}
