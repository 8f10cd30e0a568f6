//! One pod: its stage, its drawn delays, and what Kubernetes shows of it.

use super::effect::PodStage;
use crate::units::{NodeId, PodId, SimTime};

/// A live pod, terminating ones included.
#[derive(Clone, Debug)]
pub struct Pod {
    pub(super) id: PodId,
    pub(super) stage: PodStage,
    pub(super) node: Option<NodeId>,
    pub(super) created: SimTime,
    pub(super) bound: Option<SimTime>,
    pub(super) ready: bool,
    pub(super) ready_transition: Option<SimTime>,
    pub(super) deleted: Option<SimTime>,
}

impl Pod {
    /// Its id.
    pub fn id(&self) -> PodId {
        self.id
    }
    /// Its stage.
    pub fn stage(&self) -> PodStage {
        self.stage
    }
    /// The node it is bound to.
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }
    /// `metadata.creationTimestamp`.
    pub fn created(&self) -> SimTime {
        self.created
    }
    /// `status.startTime`: when the kubelet took it, which is when it was bound.
    pub fn start_time(&self) -> Option<SimTime> {
        self.bound
    }
    /// Whether `status.phase` is `Pending` (otherwise it is `Running`).
    pub fn is_kube_pending(&self) -> bool {
        self.stage.is_kube_pending()
    }
    /// Whether the `Ready` condition is True.
    pub fn is_ready(&self) -> bool {
        self.ready
    }
    /// `lastTransitionTime` of the `Ready` condition; `None` before the kubelet set one.
    pub fn ready_transition(&self) -> Option<SimTime> {
        self.ready_transition
    }
    /// Whether it has a deletion time stamp.
    pub fn is_deleting(&self) -> bool {
        self.deleted.is_some()
    }
}
