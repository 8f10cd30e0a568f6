//! Machines that die without notice, and how long everybody believes that they live.
//!
//! The processes are gone at once; the control plane learns of it when the node's lease runs out. Until then the pods
//! count as Ready, the endpoints stay, and pods may be bound to the node. Then the node turns NotReady, its pods leave
//! the endpoints; after their toleration they are deleted and replaced; their objects stay until GKE recreates the
//! machine or the autoscaler removes it.
//!
//! Sources: kubernetes pkg/controller/nodelifecycle (lease, `MarkPodsNotReady`, unreachable taint), pkg/controller/
//! tainteviction, plugin/pkg/admission/defaulttolerationseconds (300 s), pkg/kubelet (lease renewed every 10 s), pkg/
//! controller/podgc (pods of a node that is gone); Google Cloud documentation, "Auto-repair nodes" (NotReady for
//! about ten minutes).
// ASSUMPTION(A320): connections to a dead machine break at once, new ones too: a client sees an error, not a
// time-out of its own.
// ASSUMPTION(A321): a dead machine is billed until it is recreated, which takes a deletion and a new request; without
// auto-repair, until the autoscaler removes it (`super::scale_down`).
// ASSUMPTION(A322): other nodes of the cluster live on, so that evictions are not suspended (full disruption).

use super::Cluster;
use super::effect::{ClusterEvent, Effect, NodeStage, PodStage};
use super::fault_event::FaultEvent;
use super::node::Node;
use super::pod::Shutdown;
use crate::units::{NodeId, SimTime};

impl Node {
    /// Whether it runs for all that the control plane knows, its end begun or not.
    fn is_up(&self) -> bool {
        matches!(self.stage, NodeStage::Ready | NodeStage::Draining)
    }
}

impl Cluster {
    /// A machine dies.
    pub(super) fn lose_node(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let alive = |n: &usize| self.nodes[*n].is_up() && !self.nodes[*n].lost;
        let Some(n) = self.node_index(node).filter(alive) else { return };
        self.nodes[n].lost = true;
        out.push(Effect::Fault(FaultEvent::NodeLost { node }));
        for i in 0..self.pods.len() {
            if self.pods[i].node == Some(node) {
                self.lose_pod(now, i, out);
            }
        }
        let noticed = now + self.nodes[n].delays.loss_detection;
        out.push(Effect::At(noticed, ClusterEvent::NodeNotReady { node }));
    }

    /// A pod's processes end with its machine; its object knows nothing.
    fn lose_pod(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        self.stop_load(now, i, out);
        let pod = &mut self.pods[i];
        pod.lost = true;
        pod.shutdown = Shutdown::None;
        // Nothing that was to come of its containers comes.
        pod.generation += 1;
        pod.life += 1;
        out.push(Effect::Lost(pod.id));
    }

    /// A dead machine's lease has run out.
    pub(super) fn node_not_ready(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let Some(n) = self.node_index(node).filter(|n| self.nodes[*n].is_up()) else { return };
        if self.nodes[n].stage == NodeStage::Draining {
            // The drain fails: its pods do not end.
            self.pools[self.nodes[n].pool].size += 1;
        }
        self.enter_node(now, n, NodeStage::NotReady, out);
        if self.nodes[n].pods > 0 {
            self.nodes[n].unneeded_since = None;
        }
        out.push(Effect::Fault(FaultEvent::NodeNotReady { node }));
        for i in 0..self.pods.len() {
            let pod = &self.pods[i];
            if pod.node == Some(node) && !pod.is_kube_pending() && !pod.is_terminating() {
                self.enter(i, PodStage::Unreachable, out);
                self.lose_readiness(now, i, out);
            }
        }
        let faults = &self.config.faults;
        let evicted = now + faults.unreachable_toleration;
        out.push(Effect::At(evicted, ClusterEvent::EvictUnreachable { node }));
        if let Some(repair) = faults.node_repair {
            out.push(Effect::At(now + repair, ClusterEvent::RepairNode { node }));
        }
    }

    /// The pods of an unreachable node have tolerated it for long enough: they are deleted, so that others are
    /// created; nobody confirms their end.
    pub(super) fn evict_unreachable(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let waits = |n: &usize| self.nodes[*n].stage == NodeStage::NotReady;
        let Some(n) = self.node_index(node).filter(waits) else { return };
        self.unseat_placeholders(now, n, self.nodes[n].placeholders);
        let mut i = 0;
        while i < self.pods.len() {
            let pod = self.pods[i].id;
            if self.pods[i].node == Some(node) && !self.pods[i].is_deleting() {
                out.push(Effect::Fault(FaultEvent::TaintEvicted { pod }));
                self.delete_pod(now, i, out);
            }
            // A pod whose container had not started is gone at once.
            i += usize::from(self.pods.get(i).is_some_and(|left| left.id == pod));
        }
        self.place_pending(now, out);
    }

    /// GKE recreates the machine: the node's object goes, and with it those of its pods.
    pub(super) fn repair_node(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let waits = |n: &usize| self.nodes[*n].stage == NodeStage::NotReady;
        let Some(n) = self.node_index(node).filter(waits) else { return };
        out.push(Effect::Fault(FaultEvent::NodeRepaired { node }));
        self.nodes[n].repaired = true;
        self.delete_not_ready(now, n, out);
        self.place_pending(now, out);
    }

    /// A dead machine is being deleted, by GKE or by the autoscaler: the objects of its pods go.
    pub(super) fn delete_not_ready(&mut self, now: SimTime, n: usize, out: &mut Vec<Effect>) {
        let node = self.nodes[n].id;
        self.unseat_placeholders(now, n, self.nodes[n].placeholders);
        while let Some(i) = self.pods.iter().position(|pod| pod.node == Some(node)) {
            self.remove_pod(now, i, out);
        }
        self.begin_delete(now, n, out);
    }
}
