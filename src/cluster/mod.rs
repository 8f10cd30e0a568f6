//! Pods and nodes as state machines: from a wanted replica count to serving pods and billed GPU nodes.
//!
//! The cluster never calls anybody. Future work comes back as [`Effect::At`], which the caller hands
//! in again through [`Cluster::handle`]; every other effect tells what happened. All randomness is
//! drawn from the pod's or node's ordinal, so two cases of a sweep meet the same delays.
//!
//! Law L8 is asserted throughout: stages only move along the arrows of [`PodStage::may_become`] and
//! [`NodeStage::may_become`], and GPUs are never oversubscribed.
//!
//! Not modelled: scheduling latency (under 1 s), the seconds between the decision and the creation of a
//! pod, a cluster with so many unready nodes that the autoscaler stops (45 %).

mod allocatable;
mod attach;
mod autoscaler;
mod buffer;
mod config;
mod disruption;
mod effect;
mod estimate;
mod fault_event;
mod faults;
mod interruption;
mod lifecycle;
mod node;
mod node_loss;
mod pod;
mod pool;
pub mod presets;
mod rate;
mod scale_down;
mod scale_up;
mod storage;
mod victim;

pub use allocatable::{Resources, gke_allocatable};
pub use config::{
    AutoscalerConfig, ClusterConfig, DeletionCost, ImagePull, InvalidConfig, ModelLoad, Packing,
    Probe, ProbeConfig, Rate, ShutdownMode, StartupConfig, StorageLoad, TerminationConfig,
};
pub use disruption::{Budget, Disruption, IntOrPercent};
pub use effect::{AutoscalerEvent, ClusterEvent, Effect, EventRank, NodeStage, PodStage};
pub use fault_event::{Death, FaultEvent};
pub use faults::{FaultConfig, FaultKind, ScriptedFault};
pub use node::Node;
pub use pod::Pod;
pub use pool::{Capacity, Expander, NodePool, Preemption, Quota, StockOut};

use crate::rng::{Seed, Stream};
use crate::units::{NodeId, PodId, SimDuration, SimTime};
use autoscaler::PoolState;
use node::ImageState;
use rand::RngExt as _;
use storage::Volume;

/// The nodes and pods of one deployment.
#[derive(Clone, Debug)]
pub struct Cluster {
    config: ClusterConfig,
    seed: Seed,
    /// Live pods in order of id.
    pods: Vec<Pod>,
    /// Requested, ready and deleting nodes in order of id.
    nodes: Vec<Node>,
    /// The deployment's `spec.replicas`.
    wanted: u32,
    /// Creation of the placeholder pods without a node, oldest first.
    waiting_placeholders: Vec<SimTime>,
    /// Pods that are gone but still routed to.
    still_routed: Vec<PodId>,
    pools: Vec<PoolState>,
    volume: Volume,
    next_pod: u32,
    next_node: u32,
    /// Time of a loop of the autoscaler, from which its period counts.
    scan_origin: SimTime,
    /// The loop that is asked for; others are stale.
    armed_scan: Option<SimTime>,
    last_scale_up: Option<SimTime>,
    /// When a removal or a drain last began.
    last_delete: Option<SimTime>,
    /// When a drain was last given up.
    last_drain_failure: Option<SimTime>,
    /// Pods wait and no pool can help; told once.
    starved: bool,
    /// Runs loops in which nothing can happen, too (tests).
    every_scan: bool,
    victims: Vec<PodId>,
    /// Places used on each node, while it is found out which are not needed.
    places: Vec<u32>,
}

/// Machine time used up to some instant, summed over the nodes of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time of billed nodes \[ps\].
    pub node_ps: u128,
    /// Time of the GPUs of billed nodes \[ps\].
    pub gpu_ps: u128,
    /// Time of GPUs held by pods \[ps\].
    pub gpu_bound_ps: u128,
}

impl Cluster {
    /// A cluster that has not started.
    ///
    /// # Panics
    /// If [`ClusterConfig::validate`] finds an error.
    pub fn new(config: &ClusterConfig, seed: Seed) -> Self {
        let errors = config.validate();
        assert!(errors.is_empty(), "invalid cluster: {errors:?}");
        let volume = match &config.startup.load {
            ModelLoad::Storage(load) => Volume::new(load.volume_bytes_per_s),
            ModelLoad::Time(_) => Volume::new(None),
        };
        let interval = config.autoscaler.scan_interval.as_ps();
        let phase = seed.stream(Stream::NodeScan, 0).random_range(0..interval);
        Self {
            config: config.clone(),
            seed,
            pods: Vec::new(),
            nodes: Vec::new(),
            wanted: 0,
            waiting_placeholders: Vec::new(),
            still_routed: Vec::new(),
            pools: vec![PoolState::default(); config.pools.len()],
            volume,
            next_pod: 0,
            next_node: 0,
            scan_origin: SimTime::ZERO + SimDuration::from_ps(phase),
            armed_scan: None,
            last_scale_up: None,
            last_delete: None,
            last_drain_failure: None,
            starved: false,
            every_scan: false,
            victims: Vec::new(),
            places: Vec::new(),
        }
    }

    /// The start of the run: `initial_replicas` pods in service on ready nodes, further nodes up to
    /// each pool's minimum, and the first loop of the autoscaler. Pods for which the pools are too
    /// small are Pending. Call once, at time 0, before anything else.
    // ASSUMPTION(A104): nodes present at the start have run a pod before and hold the image.
    pub fn start(&mut self, initial_replicas: u32, out: &mut Vec<Effect>) {
        assert!(self.next_node == 0 && self.next_pod == 0, "a cluster starts once");
        for pool in 0..self.pools.len() {
            for _ in 0..self.config.pools[pool].min_nodes {
                self.add_warm_node(pool, out);
            }
        }
        self.wanted = initial_replicas;
        for _ in 0..initial_replicas {
            let room = self.node_with_room().or_else(|| self.grow_warm(out));
            let Some(n) = room.filter(|n| self.may_attach(*n)) else {
                self.create_pod(SimTime::ZERO, out);
                continue;
            };
            let id = PodId(self.next_pod);
            self.next_pod += 1;
            let mut pod = Pod::new(&self.config, self.seed, id, SimTime::ZERO);
            pod.stage = PodStage::InService;
            pod.container_start = Some(SimTime::ZERO);
            pod.ready = true;
            pod.has_read = true;
            pod.routed = true;
            self.pods.push(pod);
            self.hold_gpus(SimTime::ZERO, self.pods.len() - 1, n);
            self.nodes[n].weights_cached = self.page_cache_holds_weights();
            self.nodes[n].attached = true;
            let node = Some(self.nodes[n].id);
            out.push(Effect::Pod { pod: id, stage: PodStage::InService, node });
            out.push(Effect::ServerUp(id));
            out.push(Effect::InService(id));
            self.arm_faults(SimTime::ZERO, self.pods.len() - 1, out);
        }
        self.start_placeholders(out);
        self.arm_script(out);
        self.arm_scan(SimTime::ZERO, false, out);
    }

    /// A ready node of the first pool that is not full.
    fn grow_warm(&mut self, out: &mut Vec<Effect>) -> Option<usize> {
        let pool = (0..self.pools.len()).find(|pool| self.room(*pool) > 0)?;
        Some(self.add_warm_node(pool, out))
    }

    fn add_warm_node(&mut self, pool: usize, out: &mut Vec<Effect>) -> usize {
        let n = self.add_node(SimTime::ZERO, pool);
        // It exists, whatever its ordinal would have drawn for a request.
        let was_refused = matches!(self.nodes[n].outcome, node::Outcome::Refused(..));
        self.nodes[n].outcome = node::Outcome::Ready(SimTime::ZERO);
        if was_refused {
            let gpus = self.config.pools[pool].gpus_per_node;
            self.pools[pool].meter.change(SimTime::ZERO, gpus, 1, 0);
        }
        self.nodes[n].stage = NodeStage::Ready;
        self.nodes[n].image = ImageState::Present;
        out.push(Effect::Node { node: self.nodes[n].id, pool, stage: NodeStage::Ready });
        self.arm_interruptions(SimTime::ZERO, n, out);
        n
    }

    fn page_cache_holds_weights(&self) -> bool {
        match &self.config.startup.load {
            ModelLoad::Storage(load) => load.page_cache_bytes_per_s.is_some(),
            ModelLoad::Time(_) => false,
        }
    }

    /// Writes the deployment's `spec.replicas`: pods are created, or deleted in the order of the
    /// ReplicaSet controller.
    pub fn set_replicas(&mut self, now: SimTime, replicas: u32, out: &mut Vec<Effect>) {
        self.wanted = replicas;
        let active = self.status_replicas();
        if replicas >= active {
            self.keep_replicas(now, out);
        } else {
            let mut victims = std::mem::take(&mut self.victims);
            victim::select(&self.pods, now, (active - replicas) as usize, &mut victims);
            for id in &victims {
                let i = self.pod_index(*id).expect("law L8: victims are live");
                self.delete_pod(now, i, out);
            }
            self.victims = victims;
        }
        self.place_pending(now, out);
        self.arm_scan(now, false, out);
    }

    /// An event asked for by [`Effect::At`].
    pub fn handle(&mut self, now: SimTime, event: ClusterEvent, out: &mut Vec<Effect>) {
        let mut scanned = false;
        match event {
            ClusterEvent::Pod { pod, generation } => {
                let live = self.pod_index(pod);
                if let Some(i) = live.filter(|i| self.pods[*i].generation == generation) {
                    self.pod_due(now, i, out);
                    self.place_pending(now, out);
                }
            }
            ClusterEvent::Endpoint { pod, generation } => self.endpoint_due(pod, generation, out),
            ClusterEvent::Node { node } => self.node_due(now, node, out),
            ClusterEvent::Image { node } => self.image_present(now, node, out),
            ClusterEvent::Load { generation } => self.load_due(now, generation, out),
            ClusterEvent::Crash { pod, life } => self.crash_due(now, pod, life, out),
            ClusterEvent::HealthFails { pod, life } => self.health_due(now, pod, life, out),
            ClusterEvent::Unready { pod, life } => self.unready_due(now, pod, life, out),
            ClusterEvent::Unlive { pod, life } => self.unlive_due(now, pod, life, out),
            ClusterEvent::StartupDeadline { pod, life } => {
                self.startup_overdue(now, pod, life, out);
            }
            ClusterEvent::Preempt { node } => self.preempt(now, node, out),
            ClusterEvent::Recycle { node } => self.recycle(now, node, out),
            ClusterEvent::Expire { node } => self.expire(now, node, out),
            ClusterEvent::Evict { node } => self.eviction_due(now, node, out),
            ClusterEvent::LoseNode { node } => self.lose_node(now, node, out),
            ClusterEvent::NodeNotReady { node } => self.node_not_ready(now, node, out),
            ClusterEvent::EvictUnreachable { node } => self.evict_unreachable(now, node, out),
            ClusterEvent::RepairNode { node } => self.repair_node(now, node, out),
            ClusterEvent::Scripted { index } => self.scripted(now, index, out),
            ClusterEvent::Scan => {
                if self.armed_scan != Some(now) {
                    return;
                }
                self.armed_scan = None;
                self.scan(now, out);
                scanned = true;
            }
        }
        self.settle(now, scanned, out);
    }

    /// After anything that may have ended or displaced a pod: replacements, places, the autoscaler's next loop.
    fn settle(&mut self, now: SimTime, scanned: bool, out: &mut Vec<Effect>) {
        if self.keep_replicas(now, out) {
            self.place_pending(now, out);
        }
        self.arm_scan(now, scanned, out);
    }

    /// Creates pods until there are as many as wanted; whether there was one to create.
    // Source: kubernetes pkg/controller/replicaset: pods that are Failed or being deleted do not count.
    fn keep_replicas(&mut self, now: SimTime, out: &mut Vec<Effect>) -> bool {
        let missing = self.wanted.saturating_sub(self.status_replicas());
        for _ in 0..missing {
            self.create_pod(now, out);
        }
        missing > 0
    }

    /// Sets `controller.kubernetes.io/pod-deletion-cost` of a live pod (0 if it has none): of pods that are alike
    /// before that, the cheapest are deleted first.
    pub fn set_deletion_cost(&mut self, pod: PodId, cost: i32) {
        if let Some(i) = self.pod_index(pod) {
            self.pods[i].deletion_cost = cost;
        }
    }

    /// A draining server has nothing left and ends. Ignored unless the pod is draining.
    pub fn engine_empty(&mut self, now: SimTime, pod: PodId, out: &mut Vec<Effect>) {
        let draining = |i: &usize| self.pods[*i].shutdown == pod::Shutdown::Draining;
        let Some(i) = self.pod_index(pod).filter(draining) else { return };
        self.remove_pod(now, i, out);
        self.place_pending(now, out);
        self.settle(now, false, out);
    }

    /// Live pods in order of id, terminating ones included until they are gone.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// Nodes that are asked for, ready or being deleted, in order of id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// `status.replicas` of the scale: pods that are not being deleted.
    // Source: Kubernetes replica_set.go: status.replicas counts FilterActivePods.
    pub fn status_replicas(&self) -> u32 {
        self.pods.iter().filter(|pod| !pod.is_deleting()).count() as u32
    }

    /// Nodes that are billed now.
    pub fn billed_nodes(&self) -> u32 {
        self.nodes.iter().filter(|node| node.is_billed()).count() as u32
    }

    /// Machine time of pool `pool` from the start up to `now`, which must not lie before the last
    /// change.
    pub fn usage(&self, now: SimTime, pool: usize) -> Usage {
        self.pools[pool].meter.read(now, self.config.pools[pool].gpus_per_node)
    }

    fn pod_index(&self, id: PodId) -> Option<usize> {
        self.pods.binary_search_by_key(&id, |pod| pod.id).ok()
    }

    fn node_index(&self, id: NodeId) -> Option<usize> {
        self.nodes.binary_search_by_key(&id, |node| node.id).ok()
    }
}

#[cfg(test)]
mod tests;
