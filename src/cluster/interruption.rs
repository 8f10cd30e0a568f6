//! Machines that end on their own and say so: Spot preemption, and the longest run of flex-start machines.
//!
//! Source: Google Cloud documentation, GKE Spot VMs: graceful node shutdown leaves ordinary pods 15 s of the 30 s that
//! a preempted machine has, and they end as Failed. Until then they stay Ready, and endpoints of their Service:
//! kubernetes/kubernetes#116965 (they are not deleted, so nobody calls them terminating), #124648 (their readiness
//! probe has stopped), #125618 (a node that itself says NotReady does not make its pods so). The Compute Engine
//! documentation: a managed instance group tries to recreate a preempted machine.

use super::Cluster;
use super::effect::{ClusterEvent, Effect, NodeStage};
use super::fault_event::FaultEvent;
use crate::units::{NodeId, SimTime};

impl Cluster {
    /// Asks for the end of a node that has just become ready, if it is to end.
    pub(super) fn arm_interruptions(&self, now: SimTime, n: usize, out: &mut Vec<Effect>) {
        let node = &self.nodes[n];
        if let Some(after) = node.delays.preempted_after {
            out.push(Effect::At(now + after, ClusterEvent::Preempt { node: node.id }));
        }
        if let Some(after) = node.delays.lost_after {
            out.push(Effect::At(now + after, ClusterEvent::LoseNode { node: node.id }));
        }
        let pool = &self.config.pools[node.pool];
        if let Some(longest) = pool.max_run_duration {
            if let Some(lead) = pool.recycling_lead_time {
                let due = now + longest.saturating_sub(lead);
                out.push(Effect::At(due, ClusterEvent::Recycle { node: node.id }));
            }
            out.push(Effect::At(now + longest, ClusterEvent::Expire { node: node.id }));
        }
    }

    /// The cloud announces that it takes a machine.
    pub(super) fn preempt(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        // A dead machine has nothing left to be taken: its repair replaces it.
        let taken = |n: &usize| {
            let node = &self.nodes[*n];
            matches!(node.stage, NodeStage::Ready | NodeStage::Draining) && !node.lost
        };
        let Some(n) = self.node_index(node).filter(taken) else { return };
        out.push(Effect::Fault(FaultEvent::Preempted { node }));
        if self.nodes[n].stage == NodeStage::Draining {
            // The autoscaler had given it up already; its instance group will not recreate it.
            self.pools[self.nodes[n].pool].size += 1;
            self.nodes[n].recreate = false;
        }
        self.enter_node(now, n, NodeStage::Preempted, out);
        self.unseat_placeholders(now, n, self.nodes[n].placeholders);
        let rule = self.config.pools[self.nodes[n].pool].preemption;
        let grace = self.config.termination.grace.min(rule.notice + rule.pod_grace);
        let gone = now + rule.notice + rule.shutdown;
        out.push(Effect::At(gone, ClusterEvent::Node { node }));
        let mut i = 0;
        while i < self.pods.len() {
            let (id, ending) = (self.pods[i].id, self.pods[i].interrupted);
            if self.pods[i].node == Some(node) && !ending {
                self.interrupt(now, i, grace, out);
            }
            // A pod that had not started is gone at once.
            i += usize::from(self.pods.get(i).is_some_and(|pod| pod.id == id));
        }
        self.place_pending(now, out);
    }

    fn interrupt(
        &mut self,
        now: SimTime,
        i: usize,
        grace: crate::units::SimDuration,
        out: &mut Vec<Effect>,
    ) {
        let pod = &mut self.pods[i];
        pod.interrupted = true;
        if pod.is_terminating() {
            pod.kill_at = pod.kill_at.min(now + grace);
            return;
        }
        self.end_pod(now, i, grace, out);
    }

    /// A preempted machine is gone, and what was left on it. Its instance group asks for another one.
    // ASSUMPTION(A281): at the moment the machine is gone; it counts as a node to come at once.
    pub(super) fn preempted_gone(&mut self, now: SimTime, n: usize, out: &mut Vec<Effect>) {
        let (id, pool) = (self.nodes[n].id, self.nodes[n].pool);
        while let Some(i) = self.pods.iter().position(|pod| pod.node == Some(id)) {
            self.end_process(now, i, out);
        }
        let n = self.node_index(id).expect("law L8: only its own event removes a preempted node");
        let recreate = self.nodes[n].recreate;
        self.enter_node(now, n, NodeStage::Deleted, out);
        self.nodes.remove(n);
        self.pools[pool].size -= 1;
        if recreate {
            self.request_nodes(now, pool, 1, out);
        }
    }

    /// A replacement is asked for before a machine's time is over.
    // Source: Google Cloud documentation, flex-start, node recycling: a new node is created; when it runs the old one
    // is cordoned, and its pods go on until its end.
    // ASSUMPTION(A323): only a node with replicas is recycled, once, and within the pool's `max_nodes`.
    pub(super) fn recycle(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let in_use = |n: &usize| {
            let node = &self.nodes[*n];
            node.is_schedulable() && node.pods > 0 && !node.lost
        };
        let Some(n) = self.node_index(node).filter(in_use) else { return };
        let pool = self.nodes[n].pool;
        if self.pools[pool].size < self.config.pools[pool].max_nodes {
            let replacement = self.request_nodes(now, pool, 1, out);
            self.nodes[replacement].replaces = Some(node);
        }
    }

    /// A replacement is ready.
    pub(super) fn cordon_replaced(&mut self, n: usize) {
        if let Some(old) = self.nodes[n].replaces.and_then(|old| self.node_index(old)) {
            self.nodes[old].cordoned = true;
        }
    }

    /// A machine has run for as long as it may: its pods are evicted and it is removed.
    pub(super) fn expire(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let ready = |n: &usize| self.nodes[*n].stage == NodeStage::Ready && !self.nodes[*n].lost;
        let Some(n) = self.node_index(node).filter(ready) else { return };
        self.begin_drain(now, n, None, out);
        self.place_pending(now, out);
    }
}
