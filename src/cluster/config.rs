//! Parameters of the cluster: node pools, autoscaler, pod start, probe, termination.
//!
//! Values with their sources are in [`super::presets`]; this file only says what each one means.

use super::disruption::Disruption;
use super::faults::FaultConfig;
use super::pool::{Expander, NodePool, Quota};
use crate::rng::Dist;
use crate::units::SimDuration;

/// Everything the cluster needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// Node pools in order of preference, one entry per zone of a pool.
    pub pools: Vec<NodePool>,
    /// GPUs that the project may have in the region.
    pub quota: Quota,
    /// GPUs one pod asks for.
    pub gpus_per_replica: u32,
    /// Placeholder pods of low priority, each as large as a replica: they keep room on nodes free for replicas,
    /// which push them out, and ask for new nodes in their stead.
    pub spare_replicas: u32,
    /// How the scheduler chooses among nodes with room.
    pub packing: Packing,
    /// The cluster autoscaler.
    pub autoscaler: AutoscalerConfig,
    /// From a bound pod to a listening server.
    pub startup: StartupConfig,
    /// From a listening server to traffic.
    pub probe: ProbeConfig,
    /// From the deletion of a pod to a free GPU.
    pub termination: TerminationConfig,
    /// What keeps replicas on their nodes when the autoscaler would move them.
    pub disruption: Disruption,
    /// What goes wrong.
    pub faults: FaultConfig,
}

/// The scheduler's scoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Least allocated node first (the default scheduler).
    Spread,
    /// Most allocated node first (GKE's optimize-utilization profile).
    Pack,
}

/// Rules of the cluster autoscaler.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoscalerConfig {
    /// Period of its loop.
    pub scan_interval: SimDuration,
    /// A new pod without a place starts a loop at once, and the period counts from it.
    pub frequent_loops: bool,
    /// The oldest pod that no node is coming for must be this old before nodes are requested: more may follow it.
    pub pod_min_age: SimDuration,
    /// The same for pods that ask for GPUs, as all replicas do: the longer of the two counts.
    pub gpu_pod_min_age: SimDuration,
    /// Younger pods are not seen at all, beside older ones neither.
    pub new_pod_scale_up_delay: SimDuration,
    /// GPUs beyond which no node is requested, over all pools; `None` = no limit.
    pub max_gpus: Option<u32>,
    /// First backoff of a pool after a failed scale-up.
    pub backoff_initial: SimDuration,
    /// Longest backoff.
    pub backoff_max: SimDuration,
    /// A backoff that ended this long ago is forgotten.
    pub backoff_reset: SimDuration,
    /// A node not ready after this long is given up.
    pub max_node_provision: SimDuration,
    /// A node that is not needed is removed after this long.
    pub scale_down_unneeded: SimDuration,
    /// A node that is not ready and has no pods is removed after this long.
    pub scale_down_unready: SimDuration,
    /// No node is removed this long after any scale-up.
    pub scale_down_after_add: SimDuration,
    /// Most nodes being deleted at one time.
    pub max_parallel_deletes: u32,
    /// Which pool gets a scale-up.
    pub expander: Expander,
    /// Nodes with pods are removed, too, if those fit elsewhere and [`ClusterConfig::disruption`] lets them go.
    pub drain: bool,
    /// Largest share of a node's GPUs in use at which it is drained, 0..=1.
    pub scale_down_gpu_utilization: f64,
    /// From the decision to drain a node, which no pod is placed on from then on, until its pods are evicted.
    pub node_delete_delay_after_taint: SimDuration,
    /// Longest grace period that a drain grants a pod.
    pub max_graceful_termination: SimDuration,
    /// A drain whose evictions are not all granted within this time is given up.
    pub max_pod_eviction_time: SimDuration,
    /// No node is removed this long after a removal or a drain began.
    pub scale_down_after_delete: SimDuration,
    /// No node is removed this long after a drain that was given up.
    pub scale_down_after_failure: SimDuration,
}

impl AutoscalerConfig {
    fn check(&self, mut require: impl FnMut(bool, &str, &str)) {
        let scan = self.scan_interval;
        require(scan > SimDuration::ZERO, "autoscaler.scan_interval", "must be above 0");
        require(
            self.backoff_initial <= self.backoff_max,
            "autoscaler.backoff_initial",
            "must not exceed `backoff_max`",
        );
        require(
            self.max_parallel_deletes > 0,
            "autoscaler.max_parallel_deletes",
            "must be at least 1",
        );
        require(
            (0.0..=1.0).contains(&self.scale_down_gpu_utilization),
            "autoscaler.scale_down_gpu_utilization",
            "must be between 0 and 1",
        );
    }

    /// Age of the oldest pod that no node is coming for before nodes are requested.
    pub(super) fn min_age(&self) -> SimDuration {
        self.pod_min_age.max(self.gpu_pod_min_age)
    }
}

/// From a bound pod to a listening server.
#[derive(Clone, Debug, PartialEq)]
pub struct StartupConfig {
    /// Attach and mount of the model's volume.
    pub attach: Dist,
    /// Pull of the container image, once per node.
    pub image: ImagePull,
    /// Creation of the container once the image is there, of its sidecars before it included.
    pub container_start: Dist,
    /// Containers of a pod beside the server's; only what kubectl shows depends on them.
    pub sidecars: u32,
    /// Weights from storage to GPU.
    pub load: ModelLoad,
    /// Engine initialisation after the weights, up to the listening HTTP server.
    pub init: Dist,
}

/// How the image comes to a node.
#[derive(Clone, Debug, PartialEq)]
pub enum ImagePull {
    /// Size over rate.
    Rate {
        /// Unpacked size \[bytes\].
        unpacked_bytes: u64,
        /// Unpacked bytes written per second, drawn per node.
        rate: Rate,
    },
    /// A given time: streaming, secondary boot disk, or a measured pull.
    Time(Dist),
}

/// How the weights come to a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelLoad {
    /// Read from storage with processor sharing of the volume.
    Storage(StorageLoad),
    /// A given time, shared with nobody (snapshot restore, measured load).
    Time(Dist),
}

/// Weights read from a volume or bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct StorageLoad {
    /// Bytes of weights one pod reads.
    pub bytes: u64,
    /// Rate of one pod alone.
    pub pod_rate: Rate,
    /// Rate of the whole volume \[bytes/s\], divided among the readers of the moment; `None` = not
    /// shared.
    pub volume_bytes_per_s: Option<u64>,
    /// What one machine reads at most \[bytes/s\], not 0; `None` = no limit of its own. It bounds each reader: pods
    /// of one node that start together share one read through the page cache, if there is room for it.
    pub node_bytes_per_s: Option<u64>,
    /// Nodes that can have the volume at one time, not 0; `None` = no volume, or no limit.
    pub attach_limit: Option<u32>,
    /// Rate of a pod whose node has the weights in its page cache \[bytes/s\]; `None` = each pod
    /// reads from storage (a cache per pod, or none).
    pub page_cache_bytes_per_s: Option<u64>,
    /// Rate of a container that is started again in a pod that has read all weights before \[bytes/s\]: what the
    /// volume's or the sidecar's cache holds; `None` = it reads as the first one did.
    pub restart_bytes_per_s: Option<u64>,
    /// Memory of a node that a pod takes from the page cache \[bytes\].
    pub pod_memory_bytes: u64,
}

/// A lognormal rate \[bytes/s\] through its median and 5th percentile (the slow end).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Median, not 0.
    pub median: u64,
    /// Rate that 95 % of the draws exceed: not 0, at most the median; equal = constant.
    pub p05: u64,
}

impl Rate {
    /// Always `bytes_per_s`.
    pub const fn constant(bytes_per_s: u64) -> Self {
        Self { median: bytes_per_s, p05: bytes_per_s }
    }

    fn check(self, field: &str, mut require: impl FnMut(bool, &str, &str)) {
        require(self.median > 0, &format!("{field}.median"), "must be above 0");
        require(
            self.p05 > 0 && self.p05 <= self.median,
            &format!("{field}.p05"),
            "must be above 0 and at most the median",
        );
    }
}

/// One kubelet probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// `initialDelaySeconds`, from the start of the container.
    pub initial_delay: SimDuration,
    /// `periodSeconds`, not 0.
    pub period: SimDuration,
    /// `failureThreshold`.
    pub failure_threshold: u32,
}

/// From a listening server to traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeConfig {
    /// The startup probe: readiness is not probed before it has passed once.
    pub startup: Option<Probe>,
    /// The readiness probe.
    pub readiness: Probe,
    /// The liveness probe: a server that fails it is killed and started again.
    pub liveness: Option<Probe>,
    /// From Ready until the gateway routes to the pod.
    pub endpoint_delay: Dist,
}

/// From the deletion of a pod to a free GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct TerminationConfig {
    /// `terminationGracePeriodSeconds`, from the deletion, preStop included.
    pub grace: SimDuration,
    /// Sleep of the preStop hook; 0 = none.
    pub pre_stop: SimDuration,
    /// What the server does on SIGTERM.
    pub shutdown: ShutdownMode,
    /// From the deletion until the gateway stops routing to the pod.
    pub endpoint_removal: Dist,
    /// What a pod's `controller.kubernetes.io/pod-deletion-cost` says when pods are chosen for deletion.
    pub deletion_cost: DeletionCost,
}

/// Who sets `controller.kubernetes.io/pod-deletion-cost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionCost {
    /// Nobody: all pods cost the same.
    None,
    /// Some controller writes the number of running requests; known without delay at each scale-down.
    RunningRequests,
}

/// What vLLM does on SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// All requests are aborted at once (`--shutdown-timeout 0`, the default from 0.18).
    Abort,
    /// New requests are refused, accepted ones go on for at most `timeout`
    /// ([`SimDuration::MAX`]: as long as the grace period allows, as servers before 0.18 do).
    Drain {
        /// `--shutdown-timeout`.
        timeout: SimDuration,
    },
}

/// A value the cluster cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct InvalidConfig {
    /// Path of the field below [`ClusterConfig`], as `pools[0].max_nodes`.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl ClusterConfig {
    /// All errors, in field order; empty = [`super::Cluster::new`] accepts it.
    pub fn validate(&self) -> Vec<InvalidConfig> {
        let mut errors = Vec::new();
        let mut require = |ok: bool, field: &str, message: &str| {
            if !ok {
                errors.push(InvalidConfig { field: field.to_owned(), message: message.to_owned() });
            }
        };
        require(!self.pools.is_empty(), "pools", "at least one node pool is needed");
        require(self.gpus_per_replica > 0, "gpus_per_replica", "must be at least 1");
        for (i, pool) in self.pools.iter().enumerate() {
            pool.check(self.gpus_per_replica, |ok, field, message| {
                require(ok, &format!("pools[{i}].{field}"), message);
            });
        }
        self.autoscaler.check(&mut require);
        let smallest = self.pools.iter().map(|pool| pool.gpus_per_node).min().unwrap_or(0);
        require(
            self.autoscaler.max_gpus.is_none_or(|gpus| gpus >= smallest),
            "autoscaler.max_gpus",
            "must have room for one node",
        );
        self.faults.check(&mut require);
        self.startup.check(&mut require);
        self.probe.check(&mut require);
        require(
            self.termination.endpoint_removal.is_drawable(),
            "termination.endpoint_removal",
            Dist::RULE,
        );
        errors
    }
}

impl StartupConfig {
    fn check(&self, mut require: impl FnMut(bool, &str, &str)) {
        require(self.attach.is_drawable(), "startup.attach", Dist::RULE);
        match &self.image {
            ImagePull::Rate { rate, .. } => rate.check("startup.image.rate", &mut require),
            ImagePull::Time(dist) => require(dist.is_drawable(), "startup.image", Dist::RULE),
        }
        require(self.container_start.is_drawable(), "startup.container_start", Dist::RULE);
        match &self.load {
            ModelLoad::Storage(load) => load.check(&mut require),
            ModelLoad::Time(dist) => require(dist.is_drawable(), "startup.load", Dist::RULE),
        }
        require(self.init.is_drawable(), "startup.init", Dist::RULE);
    }
}

impl StorageLoad {
    fn check(&self, mut require: impl FnMut(bool, &str, &str)) {
        self.pod_rate.check("startup.load.pod_rate", &mut require);
        require(
            self.volume_bytes_per_s.is_none_or(|r| r > 0),
            "startup.load.volume_bytes_per_s",
            "must be above 0; leave it out if the volume is not shared",
        );
        require(
            self.node_bytes_per_s.is_none_or(|r| r > 0),
            "startup.load.node_bytes_per_s",
            "must be above 0; leave it out if a machine has no limit",
        );
        require(
            self.attach_limit.is_none_or(|nodes| nodes > 0),
            "startup.load.attach_limit",
            "must be above 0; leave it out if nothing is attached",
        );
        require(
            self.page_cache_bytes_per_s.is_none_or(|r| r > 0),
            "startup.load.page_cache_bytes_per_s",
            "must be above 0; leave it out for no page cache",
        );
        require(
            self.restart_bytes_per_s.is_none_or(|r| r > 0),
            "startup.load.restart_bytes_per_s",
            "must be above 0; leave it out for no cache",
        );
    }
}

impl ProbeConfig {
    fn check(&self, mut require: impl FnMut(bool, &str, &str)) {
        require(
            self.readiness.period > SimDuration::ZERO,
            "probe.readiness.period",
            "must be above 0",
        );
        require(
            self.startup.is_none_or(|p| p.period > SimDuration::ZERO),
            "probe.startup.period",
            "must be above 0",
        );
        require(
            self.liveness.is_none_or(|p| p.period > SimDuration::ZERO),
            "probe.liveness.period",
            "must be above 0",
        );
        require(self.endpoint_delay.is_drawable(), "probe.endpoint_delay", Dist::RULE);
    }
}
