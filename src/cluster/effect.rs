//! What goes into the cluster (events) and what comes out of it (effects).

use super::fault_event::FaultEvent;
use crate::units::{NodeId, PodId, SimTime};

/// Work the cluster asked to be reminded of through [`Effect::At`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterEvent {
    /// The end of the present timed stage of a pod; stale unless `generation` is the pod's.
    Pod {
        /// Which pod.
        pod: PodId,
        /// The pod's generation when it asked.
        generation: u32,
    },
    /// The gateway's view of a pod changes (a second timer, which runs beside the stages).
    Endpoint {
        /// Which pod.
        pod: PodId,
        /// The pod's endpoint generation when it asked.
        generation: u32,
    },
    /// The end of the present timed stage of a node; stale if the node was given up.
    Node {
        /// Which node.
        node: NodeId,
    },
    /// The image is on the node.
    Image {
        /// Which node.
        node: NodeId,
    },
    /// A model load is done; stale unless `generation` is the volume's.
    Load {
        /// The volume's generation when it asked.
        generation: u64,
    },
    /// A server crashes; stale unless its container is the `life`-th of the pod.
    Crash {
        /// Which pod.
        pod: PodId,
        /// Containers that died before.
        life: u32,
    },
    /// A server's health check begins to fail; stale as above.
    HealthFails {
        /// Which pod.
        pod: PodId,
        /// Containers that died before.
        life: u32,
    },
    /// A failing health check has lasted for `failureThreshold` probes; stale as above.
    Unready {
        /// Which pod.
        pod: PodId,
        /// Containers that died before.
        life: u32,
    },
    /// A failing health check has lasted for `failureThreshold` liveness probes; stale as above.
    Unlive {
        /// Which pod.
        pod: PodId,
        /// Containers that died before.
        life: u32,
    },
    /// A startup probe has failed `failureThreshold` times (a liveness probe, where there is none), unless the server
    /// is up; stale as above.
    StartupDeadline {
        /// Which pod.
        pod: PodId,
        /// Containers that died before.
        life: u32,
    },
    /// A machine is taken away; stale if it is gone.
    Preempt {
        /// Which node.
        node: NodeId,
    },
    /// A machine's run ends soon: a replacement is asked for; stale if it is gone.
    Recycle {
        /// Which node.
        node: NodeId,
    },
    /// A machine has run for as long as it may; stale if it is gone.
    Expire {
        /// Which node.
        node: NodeId,
    },
    /// Evictions that were refused on a draining node are tried again; stale if it is gone.
    Evict {
        /// Which node.
        node: NodeId,
    },
    /// A machine dies without notice; stale if it is gone.
    LoseNode {
        /// Which node.
        node: NodeId,
    },
    /// A dead machine's lease has run out; stale if it is gone.
    NodeNotReady {
        /// Which node.
        node: NodeId,
    },
    /// The pods of an unreachable node are deleted; stale if it is gone.
    EvictUnreachable {
        /// Which node.
        node: NodeId,
    },
    /// The machine of an unreachable node is recreated; stale if it is gone.
    RepairNode {
        /// Which node.
        node: NodeId,
    },
    /// A scripted fault.
    Scripted {
        /// Index into [`super::FaultConfig::scripted`].
        index: usize,
    },
    /// One loop of the cluster autoscaler.
    Scan,
}

/// Order of cluster events within one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventRank {
    /// Ends of stages: before arrivals, scrapes and syncs.
    StageEnd,
    /// The autoscaler decides last: after scrapes and the HPA's sync.
    Scan,
}

impl ClusterEvent {
    /// Its place within one instant.
    pub const fn rank(self) -> EventRank {
        match self {
            Self::Pod { .. }
            | Self::Endpoint { .. }
            | Self::Node { .. }
            | Self::Image { .. }
            | Self::Load { .. }
            | Self::Crash { .. }
            | Self::HealthFails { .. }
            | Self::Unready { .. }
            | Self::Unlive { .. }
            | Self::StartupDeadline { .. }
            | Self::Preempt { .. }
            | Self::Recycle { .. }
            | Self::Expire { .. }
            | Self::Evict { .. }
            | Self::LoseNode { .. }
            | Self::NodeNotReady { .. }
            | Self::EvictUnreachable { .. }
            | Self::RepairNode { .. }
            | Self::Scripted { .. } => EventRank::StageEnd,
            Self::Scan => EventRank::Scan,
        }
    }
}

/// Where a pod stands, finer than Kubernetes' phase. Stages only move along the arrows of
/// [`PodStage::may_become`] (law L8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodStage {
    /// Created, no node has room.
    Pending,
    /// Bound to a node; the volume is attached and mounted.
    Attaching,
    /// Waiting for the image on the node (skipped if it is there).
    Pulling,
    /// The container is being created.
    Creating,
    /// The container runs; weights are read.
    Loading,
    /// Weights are in place; profiling, CUDA graphs, server start.
    Initializing,
    /// HTTP is up (scrapes work); the readiness probe has not passed.
    NotReady,
    /// Ready; the gateway does not know yet.
    Ready,
    /// The gateway routes to it.
    InService,
    /// The container died (crash, failed startup probe); a new one will be started on the same node.
    Restarting,
    /// Its node has turned NotReady; the container is gone, Kubernetes' phase is still `Running`.
    Unreachable,
    /// Deleted, or its machine is being taken; the container still runs (endpoint removal, preStop, drain). On
    /// a dead machine nothing runs, and the stage lasts until the machine is recreated.
    Terminating,
    /// Its machine was taken: Kubernetes' phase `Failed`. The object is collected at once.
    Failed,
    /// The object is gone and its GPUs are free.
    Gone,
}

impl PodStage {
    /// All stages in their order.
    pub const ALL: [Self; 14] = [
        Self::Pending,
        Self::Attaching,
        Self::Pulling,
        Self::Creating,
        Self::Loading,
        Self::Initializing,
        Self::NotReady,
        Self::Ready,
        Self::InService,
        Self::Restarting,
        Self::Unreachable,
        Self::Terminating,
        Self::Failed,
        Self::Gone,
    ];

    /// Name in `pods.csv`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Attaching => "Attaching",
            Self::Pulling => "Pulling",
            Self::Creating => "Creating",
            Self::Loading => "Loading",
            Self::Initializing => "Initializing",
            Self::NotReady => "NotReady",
            Self::Ready => "Ready",
            Self::InService => "InService",
            Self::Restarting => "Restarting",
            Self::Unreachable => "Unreachable",
            Self::Terminating => "Terminating",
            Self::Failed => "Failed",
            Self::Gone => "Gone",
        }
    }

    /// Whether its HTTP server listens and it is not about to end.
    pub const fn listens(self) -> bool {
        matches!(self, Self::NotReady | Self::Ready | Self::InService)
    }

    /// Whether the container has not started, which is Kubernetes' phase `Pending`.
    pub const fn is_kube_pending(self) -> bool {
        matches!(self, Self::Pending | Self::Attaching | Self::Pulling | Self::Creating)
    }

    /// Whether any stage with a running container may be followed by it.
    const fn ends_a_container(self) -> bool {
        matches!(self, Self::Restarting | Self::Unreachable | Self::Terminating)
    }

    /// Whether law L8 allows `self` to be followed by `next`.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Attaching | Self::Gone),
            Self::Attaching => {
                matches!(next, Self::Pulling | Self::Creating | Self::Failed | Self::Gone)
            }
            Self::Pulling => matches!(next, Self::Creating | Self::Failed | Self::Gone),
            Self::Creating => matches!(next, Self::Loading | Self::Failed | Self::Gone),
            Self::Loading => matches!(next, Self::Initializing) || next.ends_a_container(),
            Self::Initializing | Self::InService => {
                matches!(next, Self::NotReady) || next.ends_a_container()
            }
            Self::NotReady => matches!(next, Self::Ready) || next.ends_a_container(),
            Self::Ready => {
                matches!(next, Self::InService | Self::NotReady) || next.ends_a_container()
            }
            Self::Restarting => {
                matches!(next, Self::Loading | Self::Unreachable | Self::Terminating)
            }
            Self::Unreachable => matches!(next, Self::Terminating | Self::Gone),
            Self::Terminating => matches!(next, Self::Failed | Self::Gone),
            Self::Failed => matches!(next, Self::Gone),
            Self::Gone => false,
        }
    }
}

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeStage {
    /// Asked of the cloud; billed from here unless it fails by stock-out.
    Requested,
    /// Its GPUs are allocatable, for all that the control plane knows.
    Ready,
    /// The autoscaler, or the end of its time, removes it once its pods have left; no pod is placed on it.
    Draining,
    /// The autoscaler is removing it, or GKE recreates its machine; no pod is placed on it, it is still billed.
    Deleting,
    /// The cloud is taking it away; no pod is placed on it, its pods have seconds left.
    Preempted,
    /// The machine died and its lease has run out; it is still billed.
    NotReady,
    /// Given up before it was ready: stock-out or provisioning timeout.
    Failed,
    /// The VM is gone.
    Deleted,
}

impl NodeStage {
    /// All stages.
    pub const ALL: [Self; 8] = [
        Self::Requested,
        Self::Ready,
        Self::Draining,
        Self::Deleting,
        Self::Preempted,
        Self::NotReady,
        Self::Failed,
        Self::Deleted,
    ];

    /// Name in `nodes.csv`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "Requested",
            Self::Ready => "Ready",
            Self::Draining => "Draining",
            Self::Deleting => "Deleting",
            Self::Preempted => "Preempted",
            Self::NotReady => "NotReady",
            Self::Failed => "Failed",
            Self::Deleted => "Deleted",
        }
    }

    /// Whether law L8 allows `self` to be followed by `next`.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Requested => matches!(next, Self::Ready | Self::Failed),
            Self::Ready => {
                matches!(next, Self::Draining | Self::Deleting | Self::Preempted | Self::NotReady)
            }
            Self::Draining => {
                matches!(next, Self::Ready | Self::Deleting | Self::Preempted | Self::NotReady)
            }
            Self::NotReady => matches!(next, Self::Deleting),
            Self::Deleting | Self::Preempted => matches!(next, Self::Deleted),
            Self::Failed | Self::Deleted => false,
        }
    }
}

/// What the autoscaler did, in the words of its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoscalerEvent {
    /// `TriggeredScaleUp`: nodes requested of a pool.
    TriggeredScaleUp {
        /// Index into [`super::ClusterConfig::pools`].
        pool: usize,
        /// Nodes requested.
        nodes: u32,
    },
    /// `NotTriggerScaleUp`: pods wait, every pool is full or backed off. Told once per episode.
    NotTriggerScaleUp {
        /// Pods without a node to come.
        pods: u32,
        /// Pools at their largest size.
        full: u32,
        /// Pools left alone after a failure.
        backed_off: u32,
    },
    /// `FailedScaleUp`: the cloud had no such machine.
    StockOut {
        /// Index into [`super::ClusterConfig::pools`].
        pool: usize,
        /// The pool is left alone until then.
        backoff_until: SimTime,
    },
    /// `FailedScaleUp`: the project may have no more GPUs.
    QuotaExceeded {
        /// Index into [`super::ClusterConfig::pools`].
        pool: usize,
        /// The pool is left alone until then.
        backoff_until: SimTime,
    },
    /// `ScaleUpTimedOut`: a node did not become ready in time.
    TimedOut {
        /// Index into [`super::ClusterConfig::pools`].
        pool: usize,
        /// The pool is left alone until then.
        backoff_until: SimTime,
    },
    /// `ScaleDown`: an idle node is being removed.
    ScaleDown {
        /// Which node.
        node: NodeId,
    },
    /// `ScaleDown`: a node is being removed and its pods are evicted.
    Drain {
        /// Which node.
        node: NodeId,
        /// Replicas on it.
        pods: u32,
    },
    /// `ScaleDownFailed`: evictions were refused for too long, the node stays.
    DrainFailed {
        /// Which node.
        node: NodeId,
        /// Replicas that stay on it.
        pods: u32,
    },
}

/// What the cluster tells its caller, in order. All effects but [`Effect::At`] happen at the
/// `now` of the call that returned them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hand this event back at this time.
    At(SimTime, ClusterEvent),
    /// A pod entered a stage.
    Pod {
        /// Which pod.
        pod: PodId,
        /// The stage it entered.
        stage: PodStage,
        /// Where it is bound, once it is.
        node: Option<NodeId>,
    },
    /// A node entered a stage.
    Node {
        /// Which node.
        node: NodeId,
        /// Index into [`super::ClusterConfig::pools`].
        pool: usize,
        /// The stage it entered.
        stage: NodeStage,
    },
    /// The pod's HTTP server listens: the engine exists and can be scraped.
    ServerUp(PodId),
    /// The pod's server process died: every request it has is lost. [`Effect::ServerUp`] may follow.
    ServerDown(PodId),
    /// The pod's machine died: every request it has is lost, and nothing can be read of it any more. Its endpoint may
    /// stay for a while, and its object until [`Effect::Gone`].
    Lost(PodId),
    /// The gateway may route to the pod.
    InService(PodId),
    /// The gateway stops routing to the pod. May come after the server refuses requests
    /// ([`Effect::Drain`], [`Effect::Abort`]): requests routed in between are refused.
    OutOfService(PodId),
    /// SIGTERM: the server refuses new requests and finishes what it has; call
    /// [`super::Cluster::engine_empty`] when it has nothing left. At `until` an
    /// [`Effect::Abort`] follows if that did not happen.
    Drain {
        /// Which pod.
        pod: PodId,
        /// The end of its patience.
        until: SimTime,
    },
    /// The server ends now: every request it has is lost.
    Abort(PodId),
    /// The pod is gone; its id is never used again.
    Gone(PodId),
    /// Something worth a line in the event log.
    Autoscaler(AutoscalerEvent),
    /// Likewise.
    Fault(FaultEvent),
}
