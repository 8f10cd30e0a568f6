//! The cluster driven by a small event queue, without engines.

use super::*;
use crate::rng::Dist;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

mod autoscaling;
mod disruption;
mod flex_start;
mod interruptions;
mod laws;
mod lifecycle;
mod node_loss;
mod storage;
mod young_pods;

const fn secs(s: u64) -> SimDuration {
    SimDuration::from_secs(s)
}

const fn at(s: u64) -> SimTime {
    SimTime::from_secs(s)
}

/// A cluster whose delays are all constant: node 180 s, attach 10 s, image 80 s, container 2 s, load
/// 40 s (18 GB at 450 MB/s), init 50 s, endpoint 1 s, removal 2 s, delete 60 s. One pod per node.
fn fixed() -> ClusterConfig {
    let constant = |s| Dist::Constant(secs(s));
    let mut config = presets::guide(
        presets::Accelerator::L4,
        presets::Storage::Pd,
        presets::ModelSize { bytes: 18_000_000_000, layers: 32 },
    );
    config.autoscaler = presets::autoscaler();
    config.pools[0].provisioning = constant(180);
    config.pools[0].delete = constant(60);
    config.pools[0].max_nodes = 10;
    config.startup.attach = constant(10);
    config.startup.image = ImagePull::Time(constant(80));
    config.startup.init = constant(50);
    if let ModelLoad::Storage(load) = &mut config.startup.load {
        load.pod_rate = Rate::constant(450_000_000);
        load.volume_bytes_per_s = None;
    }
    config.probe.endpoint_delay = constant(1);
    config.termination.endpoint_removal = constant(2);
    config
}

/// [`fixed`] on nodes of eight GPUs with four pods each.
fn big_nodes() -> ClusterConfig {
    let mut config = fixed();
    config.pools[0].gpus_per_node = 8;
    config.pools[0].replicas_per_node = 4;
    config
}

/// What a driver does to the cluster.
#[derive(Clone, Copy, Debug)]
enum Input {
    Replicas(u32),
    /// A draining server is empty.
    Empty(PodId),
}

/// Runs a cluster and keeps every effect with its time.
struct Driver {
    cluster: Cluster,
    /// By time, rank, order of asking.
    queue: BTreeMap<(SimTime, EventRank, u64), ClusterEvent>,
    asked: u64,
    now: SimTime,
    log: Vec<(SimTime, Effect)>,
    checks: Checks,
}

/// What the effects so far say, checked against the cluster (law L8).
#[derive(Default)]
struct Checks {
    pods: BTreeMap<PodId, PodStage>,
    nodes: BTreeMap<NodeId, NodeStage>,
    routed: BTreeSet<PodId>,
    /// No more GPUs than the quota were ever asked for with success.
    quota: bool,
}

impl Driver {
    fn start(config: &ClusterConfig, seed: u64, replicas: u32) -> Self {
        let cluster = Cluster::new(config, Seed(seed));
        Self::start_with(cluster, replicas)
    }

    fn start_with(cluster: Cluster, replicas: u32) -> Self {
        let mut driver = Self {
            cluster,
            queue: BTreeMap::new(),
            asked: 0,
            now: SimTime::ZERO,
            log: Vec::new(),
            checks: Checks::default(),
        };
        let mut out = Vec::new();
        driver.cluster.start(replicas, &mut out);
        driver.take(out);
        driver
    }

    fn take(&mut self, out: Vec<Effect>) {
        for effect in out {
            if let Effect::At(at, event) = effect {
                assert!(at >= self.now, "law L3: asked for the past");
                self.queue.insert((at, event.rank(), self.asked), event);
                self.asked += 1;
            } else {
                self.checks.take(effect);
                self.log.push((self.now, effect));
            }
        }
        self.checks.agree(&self.cluster);
    }

    /// Handles every event up to and including `until`.
    fn run_until(&mut self, until: SimTime) {
        while let Some((key, event)) = self.queue.pop_first() {
            if key.0 > until {
                self.queue.insert(key, event);
                break;
            }
            self.now = key.0;
            let mut out = Vec::new();
            self.cluster.handle(self.now, event, &mut out);
            self.take(out);
        }
        self.now = until;
    }

    fn input(&mut self, at: SimTime, input: Input) {
        self.run_until(at);
        let mut out = Vec::new();
        match input {
            Input::Replicas(n) => self.cluster.set_replicas(at, n, &mut out),
            Input::Empty(pod) => self.cluster.engine_empty(at, pod, &mut out),
        }
        self.take(out);
    }

    fn replicas(&mut self, at: SimTime, n: u32) {
        self.input(at, Input::Replicas(n));
    }

    /// When a pod entered a stage.
    fn entered(&self, pod: u32, stage: PodStage) -> Option<SimTime> {
        let is = |e: &Effect| matches!(e, Effect::Pod { pod: p, stage: s, .. } if p.0 == pod && *s == stage);
        self.log.iter().find(|(_, e)| is(e)).map(|(at, _)| *at)
    }

    /// When a node entered a stage.
    fn node_entered(&self, node: u32, stage: NodeStage) -> Option<SimTime> {
        let is = |e: &Effect| matches!(e, Effect::Node { node: n, stage: s, .. } if n.0 == node && *s == stage);
        self.log.iter().find(|(_, e)| is(e)).map(|(at, _)| *at)
    }

    fn times_of(&self, effect: Effect) -> Vec<SimTime> {
        self.log.iter().filter(|(_, e)| *e == effect).map(|(at, _)| *at).collect()
    }

    fn autoscaler_events(&self) -> Vec<(SimTime, AutoscalerEvent)> {
        let events = self.log.iter().filter_map(|(at, e)| match e {
            Effect::Autoscaler(event) => Some((*at, *event)),
            _ => None,
        });
        events.collect()
    }

    fn count(&self, stage: PodStage) -> usize {
        self.cluster.pods().iter().filter(|pod| pod.stage() == stage).count()
    }
}

impl Checks {
    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Pod { pod, stage, .. } => match self.pods.insert(pod, stage) {
                Some(before) => assert!(before.may_become(stage), "{before:?} to {stage:?}"),
                None => assert!(matches!(stage, PodStage::Pending | PodStage::InService)),
            },
            Effect::Node { node, stage, .. } => match self.nodes.insert(node, stage) {
                Some(before) => assert!(before.may_become(stage), "{before:?} to {stage:?}"),
                None => assert!(matches!(stage, NodeStage::Requested | NodeStage::Ready)),
            },
            Effect::InService(pod) => assert!(self.routed.insert(pod), "{pod:?} twice"),
            Effect::OutOfService(pod) => assert!(self.routed.remove(&pod), "{pod:?} not routed"),
            Effect::At(..)
            | Effect::ServerUp(_)
            | Effect::ServerDown(_)
            | Effect::Lost(_)
            | Effect::Fault(_)
            | Effect::Drain { .. }
            | Effect::Abort(_)
            | Effect::Gone(_)
            | Effect::Autoscaler(_) => {}
        }
    }

    fn agree(&self, cluster: &Cluster) {
        for pod in cluster.pods() {
            assert_eq!(self.pods[&pod.id()], pod.stage());
            assert_eq!(pod.node().is_some(), pod.stage() != PodStage::Pending);
        }
        for node in cluster.nodes() {
            let on_it = cluster.pods().iter().filter(|p| p.node() == Some(node.id())).count();
            assert_eq!(on_it, node.pods() as usize, "{node:?}");
            let may_hold = matches!(
                node.stage(),
                NodeStage::Ready | NodeStage::Draining | NodeStage::Preempted | NodeStage::NotReady
            );
            assert!(may_hold || on_it == 0, "law L8: {node:?}");
            let pool = &cluster.config.pools[node.pool()];
            let gpus = node.occupied() * cluster.config.gpus_per_replica;
            assert!(gpus <= pool.gpus_per_node, "law L8: {gpus} GPUs on {node:?}");
        }
        if let ModelLoad::Storage(load) = &cluster.config.startup.load {
            let attached = cluster.nodes().iter().filter(|node| node.attached).count();
            assert!(load.attach_limit.is_none_or(|limit| attached <= limit as usize));
        }
        let seated: u32 = cluster.nodes().iter().map(|node| node.placeholders).sum();
        let waiting = cluster.waiting_placeholders.len() as u32;
        assert_eq!(seated + waiting, cluster.config.spare_replicas, "placeholders are conserved");
        for capacity in Capacity::ALL {
            let Some(quota) = cluster.config.quota.limit(capacity).filter(|_| self.quota) else {
                continue;
            };
            let pool = |node: &Node| &cluster.config.pools[node.pool()];
            let alike = |node: &&Node| {
                let other = pool(node).capacity;
                node.is_billed()
                    && other.uses_preemptible_quota() == capacity.uses_preemptible_quota()
            };
            let used: u32 =
                cluster.nodes().iter().filter(alike).map(|node| pool(node).gpus_per_node).sum();
            assert!(used <= quota, "{used} GPUs, quota {quota}");
        }
        let live = self.pods.values().filter(|stage| **stage != PodStage::Gone).count();
        assert_eq!(live, cluster.pods().len());
    }
}
