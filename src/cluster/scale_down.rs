//! Nodes are removed: idle ones, and hardly used ones whose pods fit elsewhere.

use super::Cluster;
use super::effect::{AutoscalerEvent, ClusterEvent, Effect, NodeStage};
use super::fault_event::FaultEvent;
use super::node::{Node, Outcome};
use crate::units::{NodeId, SimDuration, SimTime};

/// Capacity of a queued pool is held for its pods this long.
// Source: cluster-autoscaler processors/provreq: default reservation time of a ProvisioningRequest.
const BOOKING: SimDuration = SimDuration::from_secs(600);

/// A pod that has been ending for its grace period twice and this long does not count any more.
// Source: cluster-autoscaler utils/drain, IsPodLongTerminating: deletion time stamp, grace period and 30 s; the API
// server sets the time stamp to the end of the grace period.
const LONG_TERMINATING: SimDuration = SimDuration::from_secs(30);

/// Pause before a refused eviction is tried again.
const EVICTION_RETRY: SimDuration = SimDuration::from_secs(10);

impl Cluster {
    /// Removes nodes without pods whose time is up, and drains at most one that is hardly used.
    pub(super) fn scale_down(&mut self, now: SimTime, out: &mut Vec<Effect>) {
        let mut began = false;
        // Source: core/scaledown/budgets: drains under way count, too.
        let going = self.nodes.iter().filter(|node| match node.stage {
            NodeStage::Deleting => true,
            NodeStage::Draining => node.drain_until.is_some(),
            _ => false,
        });
        let mut parallel = going.count() as u32;
        for n in 0..self.nodes.len() {
            let due = self.removal_due(&self.nodes[n]);
            if due.is_none_or(|due| due > now)
                || parallel >= self.config.autoscaler.max_parallel_deletes
            {
                continue;
            }
            parallel += 1;
            began = true;
            let node = &self.nodes[n];
            let (id, pool) = (node.id, node.pool);
            self.pools[pool].size -= 1;
            out.push(Effect::Autoscaler(AutoscalerEvent::ScaleDown { node: id }));
            if self.nodes[n].stage == NodeStage::NotReady {
                self.delete_not_ready(now, n, out);
            } else {
                self.begin_delete(now, n, out);
            }
        }
        let due = |n: &usize| self.drain_due(&self.nodes[*n]).is_some_and(|due| due <= now);
        if parallel < self.config.autoscaler.max_parallel_deletes
            && let Some(n) = (0..self.nodes.len()).find(due)
        {
            began = true;
            let config = &self.config.autoscaler;
            // They are tried once in any case.
            let tries = config.max_pod_eviction_time.max(SimDuration::from_ps(1));
            let until = now + config.node_delete_delay_after_taint + tries;
            self.begin_drain(now, n, Some(until), out);
            self.keep_replicas(now, out);
            self.place_pending(now, out);
        }
        if began {
            self.last_delete = Some(now);
        }
    }

    /// The VM of a node without pods is being deleted.
    pub(super) fn begin_delete(&mut self, now: SimTime, n: usize, out: &mut Vec<Effect>) {
        let (id, gone) = (self.nodes[n].id, now + self.nodes[n].delays.delete);
        self.enter_node(now, n, NodeStage::Deleting, out);
        out.push(Effect::At(gone, ClusterEvent::Node { node: id }));
    }

    /// A node is tainted and, a little later, its pods are evicted; it is deleted when they are gone. Without `until`
    /// nobody asks whether they may be evicted, nor waits.
    // Source: cluster-autoscaler core/scaledown/actuation/actuator.go, deleteNodesAsync.
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
        self.nodes[n].drain_until = until;
        self.unseat_placeholders(now, n, self.nodes[n].placeholders);
        if pods == 0 {
            return self.begin_delete(now, n, out);
        }
        let delay = self.config.autoscaler.node_delete_delay_after_taint;
        if until.is_some() && delay > SimDuration::ZERO {
            out.push(Effect::At(now + delay, ClusterEvent::Evict { node: id }));
        } else {
            self.evict_pods(now, id, out);
        }
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
    // ASSUMPTION(A361): this counts as a failed removal; upstream counts only those that fail at once.
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

    /// Notes which nodes are not needed: those without pods, and hardly used ones whose pods fit onto others. Nodes
    /// without pods come first: they are going, so nothing is moved there.
    // Source: cluster-autoscaler core/scaledown/planner, eligibility and unneeded: on GPU nodes only GPUs count; the
    // pods of nodes that were found unneeded before are put onto the others first; a node keeps its time while it is
    // unneeded for one reason or the other; groups at their minimum have no candidates (processors/nodes). Each drained
    // node takes its pods off the disruptions that are allowed (core/scaledown/pdb).
    pub(super) fn find_unneeded(&mut self, now: SimTime) {
        let drains = self.config.autoscaler.drain
            && self.config.pools.iter().any(|pool| pool.replicas_per_node > 1);
        let mut allowed = self.disruptions_allowed();
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        if drains {
            places.extend(self.nodes.iter().map(|node| self.places_on(node)));
        }
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            let from = if self.is_at_minimum(node) {
                None
            } else if let Some(empty) = self.empty_from(node, now) {
                Some(empty)
            } else {
                (drains && self.may_move_away(n, &mut places, &mut allowed)).then_some(now)
            };
            let node = &mut self.nodes[n];
            node.unneeded_since =
                from.map(|from| node.unneeded_since.map_or(from, |s| s.min(from)));
        }
        self.places = places;
    }

    /// Whether no node of its pool may be removed.
    fn is_at_minimum(&self, node: &Node) -> bool {
        self.pools[node.pool].size <= self.config.pools[node.pool].min_nodes
    }

    /// From when on the autoscaler sees no pods on a node; `None` while some stay.
    // ASSUMPTION(A360): pods of a NotReady node are waited for, even where they would fit elsewhere; upstream tries to
    // drain such a node, which fails as long as its kubelet is gone.
    fn empty_from(&self, node: &Node, now: SimTime) -> Option<SimTime> {
        match node.stage {
            NodeStage::Ready | NodeStage::NotReady if node.occupied() == 0 => Some(now),
            NodeStage::NotReady if node.placeholders == 0 => {
                let on_it = self.pods.iter().filter(|pod| pod.node == Some(node.id));
                let last = on_it.map(|pod| pod.deleted).reduce(|a, b| Some(a?.max(b?)))??;
                Some(last + self.config.termination.grace * 2 + LONG_TERMINATING)
            }
            _ => None,
        }
    }

    /// Places for pods of drained nodes.
    fn places_on(&self, node: &Node) -> u32 {
        let stays = node.occupied() > 0 || self.is_at_minimum(node);
        let seats = self.config.pools[node.pool].replicas_per_node;
        if node.is_schedulable() && stays { seats - node.occupied() } else { 0 }
    }

    /// Whether node `n` is hardly used and its pods fit onto the others, where they then take their places.
    fn may_move_away(&self, n: usize, places: &mut [u32], allowed: &mut u32) -> bool {
        let node = &self.nodes[n];
        let pool = &self.config.pools[node.pool];
        // What was moved there would have to go on.
        let free_now = pool.replicas_per_node - node.occupied();
        let load = node.occupied() + (free_now - places[n].min(free_now));
        let used = f64::from(node.occupied() * self.config.gpus_per_replica);
        let limit = self.config.autoscaler.scale_down_gpu_utilization;
        let elsewhere: u32 = places.iter().sum::<u32>() - places[n];
        let protected = !self.config.disruption.safe_to_evict;
        let moves = node.stage == NodeStage::Ready
            && node.occupied() > 0
            && used <= limit * f64::from(pool.gpus_per_node)
            && (node.pods == 0 || *allowed > 0 && !protected)
            && load <= elsewhere;
        if moves {
            *allowed = allowed.saturating_sub(node.pods);
            places[n] = 0;
            let mut left = load;
            for place in places {
                let moved = left.min(*place);
                *place -= moved;
                left -= moved;
            }
        }
        moves
    }

    /// When a node with pods may be drained; one at a time.
    pub(super) fn drain_due(&self, node: &Node) -> Option<SimTime> {
        let used = node.stage == NodeStage::Ready && node.occupied() > 0;
        let since = node.unneeded_since.filter(|_| used)?;
        let draining = self.nodes.iter().any(|node| node.stage == NodeStage::Draining);
        if draining || self.is_at_minimum(node) {
            return None;
        }
        Some(self.not_before(since + self.config.autoscaler.scale_down_unneeded))
    }

    /// The end of all waits of a node whose own is over then.
    fn not_before(&self, own: SimTime) -> SimTime {
        let config = &self.config.autoscaler;
        let after_add = self.last_scale_up.map(|last| last + config.scale_down_after_add);
        let after_delete = self.last_delete.map(|last| last + config.scale_down_after_delete);
        let after_failure =
            self.last_drain_failure.map(|last| last + config.scale_down_after_failure);
        [after_add, after_delete, after_failure].into_iter().flatten().fold(own, SimTime::max)
    }

    /// When a node without pods above its pool's minimum may be removed.
    // Source: core/scaledown/unneeded and static_autoscaler.go: all waits must be over at a loop; a node that is not
    // ready has a wait of its own.
    pub(super) fn removal_due(&self, node: &Node) -> Option<SimTime> {
        let config = &self.config.autoscaler;
        let wait = match node.stage {
            NodeStage::Ready if node.occupied() == 0 => config.scale_down_unneeded,
            // With pods on it, the time is that from which they do not count.
            NodeStage::NotReady => config.scale_down_unready,
            _ => return None,
        };
        let since = node.unneeded_since.filter(|_| !self.is_at_minimum(node))?;
        if node.replaces.is_some_and(|old| self.node_index(old).is_some()) {
            // The pods of the node that it replaces are still to come.
            return None;
        }
        let due = self.not_before(since + wait);
        match node.outcome {
            Outcome::Ready(ready) if self.config.pools[node.pool].queued => {
                Some(due.max(ready + BOOKING))
            }
            Outcome::Ready(_) | Outcome::Refused(..) => Some(due),
        }
    }
}
