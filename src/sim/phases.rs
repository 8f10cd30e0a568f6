//! When pods and nodes entered their stages.

use crate::cluster::{NodeStage, PodStage};
use crate::units::{NodeId, PodId, SimTime};

/// One phase change of a pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PodRow {
    /// When.
    pub at: SimTime,
    /// Which pod.
    pub pod: PodId,
    /// The stage it entered.
    pub stage: PodStage,
    /// The node it sits on.
    pub node: Option<NodeId>,
}

/// One phase change of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeRow {
    /// When.
    pub at: SimTime,
    /// Which node.
    pub node: NodeId,
    /// The stage it entered.
    pub stage: NodeStage,
    /// Index of its pool.
    pub pool: usize,
}
