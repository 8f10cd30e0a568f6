//! Nodes are removed: idle ones, and hardly used ones whose pods fit elsewhere.

use super::Cluster;
use super::effect::{AutoscalerEvent, ClusterEvent, Effect, NodeStage};
use super::fault_event::FaultEvent;
use super::node::{Node, Outcome};
use crate::units::{NodeId, SimDuration, SimTime};

/// Capacity of a queued pool is held for its pods this long.
// Source: cluster-autoscaler processors/provreq: default reservation time of a ProvisioningRequest.
const BOOKING: SimDuration = SimDuration::from_secs(600);

/// Pause before a refused eviction is tried again.
const EVICTION_RETRY: SimDuration = SimDuration::from_secs(10);

impl Cluster {
    /// Removes idle nodes whose time is up, and drains at most one that is hardly used.
    pub(super) fn scale_down(&mut self, now: SimTime, out: &mut Vec<Effect>) {
        let deleting = self.nodes.iter().filter(|node| node.stage == NodeStage::Deleting).count();
        let mut parallel = deleting as u32;
        for n in 0..self.nodes.len() {
            let due = self.removal_due(&self.nodes[n]);
            if due.is_none_or(|due| due > now)
                || parallel >= self.config.autoscaler.max_parallel_deletes
            {
                continue;
            }
            parallel += 1;
            let node = &self.nodes[n];
            let (id, pool) = (node.id, node.pool);
            self.pools[pool].size -= 1;
            out.push(Effect::Autoscaler(AutoscalerEvent::ScaleDown { node: id }));
            self.begin_delete(now, n, out);
        }
        let due = |n: &usize| self.drain_due(&self.nodes[*n]).is_some_and(|due| due <= now);
        if parallel < self.config.autoscaler.max_parallel_deletes
            && let Some(n) = (0..self.nodes.len()).find(due)
        {
            let until = now + self.config.autoscaler.max_pod_eviction_time;
            self.begin_drain(now, n, Some(until), out);
            self.keep_replicas(now, out);
            self.place_pending(now, out);
        }
    }

    /// The VM of a node without pods is being deleted.
    pub(super) fn begin_delete(&mut self, now: SimTime, n: usize, out: &mut Vec<Effect>) {
        let (id, gone) = (self.nodes[n].id, now + self.nodes[n].delays.delete);
        self.enter_node(now, n, NodeStage::Deleting, out);
        out.push(Effect::At(gone, ClusterEvent::Node { node: id }));
    }

    /// A node is tainted and its pods are evicted; it is deleted when they are gone. Without `until` nobody asks
    /// whether they may be evicted.
    pub(super) fn begin_drain(
        &mut self,
        now: SimTime,
        n: usize,
        until: Option<SimTime>,
        out: &mut Vec<Effect>,
    ) {
        let (id, pool, pods) = (self.nodes[n].id, self.nodes[n].pool, self.nodes[n].pods);
        self.pools[pool].size -= 1;
        out.push(Effect::Autoscaler(AutoscalerEvent::Drain { node: id, pods }));
        self.enter_node(now, n, NodeStage::Draining, out);
        self.nodes[n].idle_since = None;
        self.nodes[n].drain_until = until;
        self.unseat_placeholders(now, n, self.nodes[n].placeholders);
        if pods == 0 {
            return self.begin_delete(now, n, out);
        }
        self.evict_pods(now, id, out);
    }

    /// Evicts the pods of a draining node, as many as the budget allows; the others are tried again.
    // Source: cluster-autoscaler core/scaledown/actuation/drain.go: evicted pods get their own grace period up to
    // --max-graceful-termination-sec; a refused eviction is tried again every 10 s (EvictionRetryTime).
    fn evict_pods(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let longest = self.config.autoscaler.max_graceful_termination;
        let grace = self.config.termination.grace.min(longest);
        let n = self.node_index(node).expect("law L8: a draining node exists");
        let asks = self.nodes[n].drain_until.is_some();
        let mut refused = false;
        let mut i = 0;
        while i < self.pods.len() {
            let pod = self.pods[i].id;
            if self.pods[i].node == Some(node) && !self.pods[i].is_deleting() {
                if asks && !self.may_evict(i) {
                    refused = true;
                } else {
                    out.push(Effect::Fault(FaultEvent::Evicted { pod }));
                    self.delete_pod_within(now, i, grace, out);
                }
            }
            // A pod without a server is gone at once.
            i += usize::from(self.pods.get(i).is_some_and(|left| left.id == pod));
        }
        if refused {
            out.push(Effect::At(now + EVICTION_RETRY, ClusterEvent::Evict { node }));
        }
    }

    /// Refused evictions are tried again, or the drain is given up.
    // Source: drain.go and actuator.go: after --max-pod-eviction-time the node is untainted, event ScaleDownFailed.
    pub(super) fn eviction_due(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let draining = |n: &usize| self.nodes[*n].stage == NodeStage::Draining;
        let Some(n) = self.node_index(node).filter(draining) else { return };
        if self.nodes[n].drain_until.is_none_or(|until| now < until) {
            self.evict_pods(now, node, out);
        } else {
            let (pool, pods) = (self.nodes[n].pool, self.nodes[n].pods);
            self.enter_node(now, n, NodeStage::Ready, out);
            self.pools[pool].size += 1;
            self.last_drain_failure = Some(now);
            out.push(Effect::Autoscaler(AutoscalerEvent::DrainFailed { node, pods }));
        }
        self.place_pending(now, out);
    }

    /// Notes which nodes with pods are hardly used and could be emptied onto others. Nodes without pods come first:
    /// they are going, so nothing is moved there.
    // Source: cluster-autoscaler core/scaledown/planner and eligibility: on GPU nodes only GPUs count; the pods of
    // nodes that were found unneeded before are put onto the others first. Each takes its pods off the disruptions
    // that are allowed (core/scaledown/pdb).
    pub(super) fn find_unneeded(&mut self, now: SimTime) {
        let limit = self.config.autoscaler.scale_down_gpu_utilization;
        if !self.config.autoscaler.drain
            || self.config.pools.iter().all(|p| p.replicas_per_node == 1)
        {
            return;
        }
        let protected = !self.config.disruption.safe_to_evict;
        let mut allowed = self.disruptions_allowed();
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        places.extend(self.nodes.iter().map(|node| {
            let pool = &self.config.pools[node.pool];
            let stays = node.occupied() > 0 || self.pools[node.pool].size <= pool.min_nodes;
            let takes_pods = node.is_schedulable() && stays;
            if takes_pods { pool.replicas_per_node - node.occupied() } else { 0 }
        }));
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            let pool = &self.config.pools[node.pool];
            // What was moved there would have to go on.
            let free_now = pool.replicas_per_node - node.occupied();
            let load = node.occupied() + (free_now - places[n].min(free_now));
            let used = f64::from(node.occupied() * self.config.gpus_per_replica);
            let elsewhere: u32 = places.iter().sum::<u32>() - places[n];
            let unneeded = node.stage == NodeStage::Ready
                && node.occupied() > 0
                && used <= limit * f64::from(pool.gpus_per_node)
                && (node.pods == 0 || allowed > 0 && !protected)
                && load <= elsewhere;
            if unneeded {
                allowed = allowed.saturating_sub(node.pods);
                places[n] = 0;
                let mut left = load;
                for place in &mut places {
                    let moved = left.min(*place);
                    *place -= moved;
                    left -= moved;
                }
            }
            let since = self.nodes[n].unneeded_since;
            self.nodes[n].unneeded_since = unneeded.then(|| since.unwrap_or(now));
        }
        self.places = places;
    }

    /// When a node with pods may be drained; one at a time.
    pub(super) fn drain_due(&self, node: &Node) -> Option<SimTime> {
        let unneeded = node.unneeded_since.filter(|_| node.stage == NodeStage::Ready)?;
        let draining = self.nodes.iter().any(|node| node.stage == NodeStage::Draining);
        if draining || self.pools[node.pool].size <= self.config.pools[node.pool].min_nodes {
            return None;
        }
        Some(self.not_before(unneeded))
    }

    /// The end of all waits of a node that is not needed since then.
    fn not_before(&self, since: SimTime) -> SimTime {
        let config = &self.config.autoscaler;
        let unneeded = since + config.scale_down_unneeded;
        let after_add = self.last_scale_up.map(|last| last + config.scale_down_after_add);
        let after_failure =
            self.last_drain_failure.map(|last| last + config.scale_down_after_failure);
        after_add.into_iter().chain(after_failure).fold(unneeded, SimTime::max)
    }

    /// When an idle node above its pool's minimum may be removed.
    // Source: core/scaledown/unneeded and static_autoscaler.go: all waits must be over at a loop.
    pub(super) fn removal_due(&self, node: &Node) -> Option<SimTime> {
        let idle = node.idle_since.filter(|_| node.stage == NodeStage::Ready)?;
        if self.pools[node.pool].size <= self.config.pools[node.pool].min_nodes {
            return None;
        }
        if node.replaces.is_some_and(|old| self.node_index(old).is_some()) {
            // The pods of the node that it replaces are still to come.
            return None;
        }
        let due = self.not_before(idle);
        match node.outcome {
            Outcome::Ready(ready) if self.config.pools[node.pool].queued => {
                Some(due.max(ready + BOOKING))
            }
            Outcome::Ready(_) | Outcome::Refused(..) => Some(due),
        }
    }
}
