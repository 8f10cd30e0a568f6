//! Faults as the event log tells them.

use crate::units::{NodeId, PodId, SimDuration};

/// Why a container died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The server process ended (out of memory, Xid).
    Crash,
    /// The kubelet killed it: its startup probe failed `failureThreshold` times.
    StartupProbe,
    /// The kubelet killed it: its liveness probe failed `failureThreshold` times.
    LivenessProbe,
}

/// A fault, for the event log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultEvent {
    /// A container died and is started again after `wait`.
    ContainerDied {
        /// Which pod.
        pod: PodId,
        /// Why.
        death: Death,
        /// CrashLoopBackOff before the restart; zero at first.
        wait: SimDuration,
    },
    /// The readiness probe failed often enough for the pod to be unready.
    Unhealthy {
        /// Which pod.
        pod: PodId,
    },
    /// A machine is taken away.
    Preempted {
        /// Which node.
        node: NodeId,
    },
    /// A machine died without notice.
    NodeLost {
        /// Which node.
        node: NodeId,
    },
    /// A dead machine's node turned NotReady.
    NodeNotReady {
        /// Which node.
        node: NodeId,
    },
    /// GKE recreates the machine of a node that has been NotReady for too long.
    NodeRepaired {
        /// Which node.
        node: NodeId,
    },
    /// A pod's node cannot have the model's volume because too many nodes have it.
    FailedAttachVolume {
        /// Which pod.
        pod: PodId,
    },
    /// A pod ended as Failed with its node.
    PodFailed {
        /// Which pod.
        pod: PodId,
    },
    /// A pod is evicted because its node is drained.
    Evicted {
        /// Which pod.
        pod: PodId,
    },
    /// A pod is deleted because its node has been unreachable for too long.
    TaintEvicted {
        /// Which pod.
        pod: PodId,
    },
}
