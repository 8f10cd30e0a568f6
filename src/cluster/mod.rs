//! Pods and nodes as state machines: from a wanted replica count to serving pods and billed GPU nodes.
//!
//! The cluster never calls anybody. Future work comes back as [`Effect::At`], which the caller hands
//! in again through [`Cluster::handle`]; every other effect tells what happened. All randomness is
//! drawn from the pod's or node's ordinal, so two cases of a sweep meet the same delays.

mod config;
mod effect;
mod pod;
pub mod presets;

pub use config::{
    AutoscalerConfig, ClusterConfig, ImagePull, InvalidConfig, ModelLoad, NodePool, Packing, Probe,
    ProbeConfig, Rate, ShutdownMode, StartupConfig, StockOut, StorageLoad, TerminationConfig,
};
pub use effect::{AutoscalerEvent, ClusterEvent, Effect, EventRank, NodeStage, PodStage};
pub use pod::Pod;

use crate::rng::Seed;
use crate::units::{PodId, SimTime};

/// The nodes and pods of one deployment.
#[derive(Debug)]
pub struct Cluster {
    config: ClusterConfig,
    seed: Seed,
    pods: Vec<Pod>,
}

/// Machine time used up to some instant, summed over nodes.
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
        Self { config: config.clone(), seed, pods: Vec::new() }
    }

    /// The start of the run: `initial_replicas` pods in service on ready nodes, further nodes up to
    /// each pool's minimum, and the first loop of the autoscaler. Pods for which the pools are too
    /// small are Pending. Call once, at time 0, before anything else.
    pub fn start(&mut self, initial_replicas: u32, out: &mut Vec<Effect>) {
        let _ = (initial_replicas, out, self.seed, &self.config);
    }

    /// Writes the deployment's `spec.replicas`.
    pub fn set_replicas(&mut self, now: SimTime, replicas: u32, out: &mut Vec<Effect>) {
        let _ = (now, replicas, out);
    }

    /// An event asked for by [`Effect::At`].
    pub fn handle(&mut self, now: SimTime, event: ClusterEvent, out: &mut Vec<Effect>) {
        let _ = (now, event, out);
    }

    /// A draining server has nothing left. Ignored unless the pod is draining.
    pub fn engine_empty(&mut self, now: SimTime, pod: PodId, out: &mut Vec<Effect>) {
        let _ = (now, pod, out);
    }

    /// Live pods in order of id, terminating ones included until they are gone.
    pub fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// `status.replicas` of the scale: pods that are not being deleted.
    pub fn status_replicas(&self) -> u32 {
        self.pods.iter().filter(|pod| !pod.is_deleting()).count() as u32
    }

    /// Nodes that are billed now.
    pub fn billed_nodes(&self) -> u32 {
        0
    }

    /// Machine time of pool `pool` up to `now`.
    pub fn usage(&self, now: SimTime, pool: usize) -> Usage {
        let _ = (now, pool);
        Usage::default()
    }
}
