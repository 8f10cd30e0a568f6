//! The cluster autoscaler: one loop every ten seconds.
//!
//! Source: kubernetes/autoscaler, cluster-autoscaler: core/static_autoscaler.go (order of
//! a loop, the GPU wait, no scale-down while pods are too new), clusterstate/clusterstate.go
//! (requests, time-outs), utils/backoff/exponential_backoff.go.
//!
//! Requests are in [`super::scale_up`], removals in [`super::scale_down`].
//!
//! Loops in which nothing can happen are left out: after each change the next instant at which a loop
//! could act is computed, and the first loop at or after it is asked for. A test holds this against
//! running every loop.

use super::Cluster;
use super::effect::{AutoscalerEvent, ClusterEvent, Effect, NodeStage, PodStage};
use super::node::{Meter, Node, Outcome, Refusal};
use super::pod::first_tick;
use crate::units::{NodeId, SimDuration, SimTime};

/// First and longest wait before a refused request of a queued pool is repeated.
// Source: cluster-autoscaler config/flags: --provisioning-request-initial-backoff-time, -max-backoff-time.
const QUEUE_BACKOFF: (SimDuration, SimDuration) =
    (SimDuration::from_secs(60), SimDuration::from_secs(600));

/// What the autoscaler keeps of one pool.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolState {
    /// Nodes wanted: requested and ready ones. Those being deleted no longer count.
    pub(super) size: u32,
    /// The scale-up under way.
    pub(super) request: Option<Request>,
    backoff: Option<Backoff>,
    pub(super) meter: Meter,
}

/// What is asked of one pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    /// Nodes, those taken off that the cloud has refused.
    pub(super) nodes: u32,
    /// When the last of them were asked for, from which the time-out of all counts.
    // Source: clusterstate.go, RegisterOrUpdateScaleUp: an increase resets the time.
    pub(super) asked: SimTime,
}

/// Backoff of a pool after failed scale-ups.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    duration: SimDuration,
    until: SimTime,
    last_failure: SimTime,
}

impl PoolState {
    /// Whether no nodes may be asked of the pool.
    pub(super) fn is_backed_off(&self, now: SimTime) -> bool {
        self.backoff.is_some_and(|backoff| backoff.until > now)
    }

    /// A scale-up failed; returns the end of the backoff.
    // A failure inside a running backoff starts the first duration again, as upstream does.
    fn fail(&mut self, (first, longest): (SimDuration, SimDuration), now: SimTime) -> SimTime {
        let duration = match self.backoff {
            Some(last) if last.until < now => (last.duration * 2).min(longest),
            Some(_) | None => first,
        };
        let until = now + duration;
        self.backoff = Some(Backoff { duration, until, last_failure: now });
        until
    }
}

/// Why nodes were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    StockOut,
    Quota,
    TimedOut,
}

impl Cluster {
    /// One loop.
    pub(super) fn scan(&mut self, now: SimTime, out: &mut Vec<Effect>) {
        for pool in 0..self.pools.len() {
            self.update_requests(now, pool, out);
        }
        let (mut pods, mut oldest) = (0, None);
        for created in self.unhelped().filter(|created| self.is_seen(*created, now)) {
            pods += 1;
            oldest = Some(oldest.map_or(created, |o: SimTime| o.min(created)));
        }
        let min_age = self.config.autoscaler.min_age();
        let asked = match oldest {
            Some(created) if created + min_age <= now => self.scale_up(now, pods, out),
            Some(_) | None => false,
        };
        // Pods that are too new forbid scale-down in this loop; those that a coming node helps do not
        // (podlistprocessor/filter_out_schedulable.go, since kubernetes/autoscaler#4661).
        let too_new = oldest.is_some_and(|created| created + min_age > now);
        if !asked && !too_new {
            self.scale_down(now, out);
        }
        if oldest.is_none() {
            self.starved = false;
        }
    }

    /// Creation of the pods without a node; replicas come before placeholders.
    fn without_node(&self) -> impl Iterator<Item = SimTime> + '_ {
        let pending = self.pods.iter().filter(|pod| pod.stage == PodStage::Pending);
        pending.map(|pod| pod.created).chain(self.waiting_placeholders.iter().copied())
    }

    /// Those of them for which no node is coming.
    fn unhelped(&self) -> impl Iterator<Item = SimTime> + '_ {
        self.without_node().skip(self.upcoming_capacity())
    }

    /// Whether a pod without a node is old enough to be counted.
    // Source: core/static_autoscaler.go, filterOutYoungPods.
    fn is_seen(&self, created: SimTime, now: SimTime) -> bool {
        created + self.config.autoscaler.new_pod_scale_up_delay <= now
    }

    /// Pods that the nodes asked for will take.
    fn upcoming_capacity(&self) -> usize {
        let requested = self.nodes.iter().filter(|node| node.stage == NodeStage::Requested);
        requested.map(|node| self.config.pools[node.pool].replicas_per_node as usize).sum()
    }

    /// Ends scale-ups that have succeeded or failed.
    fn update_requests(&mut self, now: SimTime, pool: usize, out: &mut Vec<Effect>) {
        let config = &self.config.autoscaler;
        let state = &mut self.pools[pool];
        let forgotten = |backoff: &mut Backoff| backoff.last_failure + config.backoff_reset < now;
        state.backoff.take_if(forgotten);
        let requested = |node: &Node| node.pool == pool && node.stage == NodeStage::Requested;
        if state.request.is_some() && !self.nodes.iter().any(requested) {
            state.request = None;
            state.backoff = None;
        }
        let max_provision = config.max_node_provision;
        // A request in a queue waits for as long as it takes.
        let queued = self.config.pools[pool].queued;
        let overdue = |node: &Node| !queued && node.requested + max_provision < now;
        let refused = |why: Refusal| {
            move |node: &Node| match node.outcome {
                Outcome::Refused(at, cause) => at <= now && cause == why,
                Outcome::Ready(_) => false,
            }
        };
        self.give_up(now, pool, Failure::TimedOut, overdue, out);
        self.give_up(now, pool, Failure::StockOut, refused(Refusal::StockOut), out);
        self.give_up(now, pool, Failure::Quota, refused(Refusal::Quota), out);
    }

    /// Takes back requested nodes of `pool`, and backs the pool off once if there were any.
    fn give_up(
        &mut self,
        now: SimTime,
        pool: usize,
        failure: Failure,
        failed: impl Fn(&Node) -> bool,
        out: &mut Vec<Effect>,
    ) {
        let mut count = 0;
        let mut n = 0;
        while n < self.nodes.len() {
            let node = &self.nodes[n];
            if node.pool != pool || node.stage != NodeStage::Requested || !failed(node) {
                n += 1;
                continue;
            }
            self.enter_node(now, n, NodeStage::Failed, out);
            self.nodes.remove(n);
            count += 1;
        }
        if count == 0 {
            return;
        }
        let state = &mut self.pools[pool];
        state.size -= count;
        let config = &self.config.autoscaler;
        let overdue = |request: &Request| request.asked + config.max_node_provision < now;
        match (failure, &mut state.request) {
            // Late nodes of a scale-up that was extended since, or that the instance group asked for on its own, are
            // just taken back.
            // Source: static_autoscaler.go, removeOldUnregisteredNodes.
            (Failure::TimedOut, request) if !request.as_ref().is_some_and(overdue) => return,
            (Failure::StockOut | Failure::Quota, Some(request)) if request.nodes > count => {
                request.nodes -= count;
            }
            (_, request) => *request = None,
        }
        let backoff = if self.config.pools[pool].queued {
            QUEUE_BACKOFF
        } else {
            (config.backoff_initial, config.backoff_max)
        };
        let backoff_until = state.fail(backoff, now);
        out.push(Effect::Autoscaler(match failure {
            Failure::StockOut => AutoscalerEvent::StockOut { pool, backoff_until },
            Failure::Quota => AutoscalerEvent::QuotaExceeded { pool, backoff_until },
            Failure::TimedOut => AutoscalerEvent::TimedOut { pool, backoff_until },
        }));
    }

    /// Moves a node along an arrow (law L8), keeps the meter, and tells so.
    pub(super) fn enter_node(
        &mut self,
        now: SimTime,
        n: usize,
        stage: NodeStage,
        out: &mut Vec<Effect>,
    ) {
        let node = &mut self.nodes[n];
        assert!(
            node.stage.may_become(stage),
            "law L8: {:?} from {:?} to {stage:?}",
            node.id,
            node.stage
        );
        let was_billed = node.is_billed();
        node.stage = stage;
        let change = i32::from(node.is_billed()) - i32::from(was_billed);
        let gpus = self.config.pools[node.pool].gpus_per_node;
        self.pools[node.pool].meter.change(now, gpus, change, 0);
        out.push(Effect::Node { node: node.id, pool: node.pool, stage });
    }

    /// The end of a node's timed stage.
    pub(super) fn node_due(&mut self, now: SimTime, node: NodeId, out: &mut Vec<Effect>) {
        let Some(n) = self.node_index(node) else { return };
        match self.nodes[n].stage {
            NodeStage::Requested => {
                self.enter_node(now, n, NodeStage::Ready, out);
                self.cordon_replaced(n);
                self.arm_interruptions(now, n, out);
                self.place_pending(now, out);
            }
            NodeStage::Deleting => {
                let (pool, repaired) = (self.nodes[n].pool, self.nodes[n].repaired);
                self.enter_node(now, n, NodeStage::Deleted, out);
                self.nodes.remove(n);
                if repaired {
                    self.pools[pool].size -= 1;
                    self.request_nodes(now, pool, 1, out);
                }
            }
            NodeStage::Preempted => self.preempted_gone(now, n, out),
            NodeStage::Ready
            | NodeStage::Draining
            | NodeStage::NotReady
            | NodeStage::Failed
            | NodeStage::Deleted => {
                unreachable!("law L8: stage has no timer: {:?}", self.nodes[n])
            }
        }
    }

    /// Asks for the first loop at which something can happen, unless one is coming before.
    pub(super) fn arm_scan(&mut self, now: SimTime, after_scan: bool, out: &mut Vec<Effect>) {
        self.find_unneeded(now);
        self.trigger_loop(now);
        let Some(due) = self.next_scan_due(now) else { return };
        let earliest = if after_scan { now + SimDuration::from_ps(1) } else { now };
        let at =
            first_tick(self.scan_origin, self.config.autoscaler.scan_interval, due.max(earliest));
        if self.armed_scan.is_none_or(|armed| at < armed) {
            self.armed_scan = Some(at);
            out.push(Effect::At(at, ClusterEvent::Scan));
        }
    }

    /// A pod that finds no place starts a loop, if the autoscaler is told of such pods.
    // Source: loop/trigger.go, --frequent-loops-enabled; that a productive loop is followed by another at once is left
    // out, since one loop here asks all pools.
    fn trigger_loop(&mut self, now: SimTime) {
        let news = self.pods.iter().rev().take_while(|pod| pod.created == now);
        let mut waits = news.map(|pod| pod.stage == PodStage::Pending);
        let placeholder = self.waiting_placeholders.last() == Some(&now);
        if self.config.autoscaler.frequent_loops && (placeholder || waits.any(|waits| waits)) {
            self.scan_origin = now;
            self.armed_scan = None;
        }
    }

    /// The earliest instant at which a loop could change anything as things stand.
    fn next_scan_due(&self, now: SimTime) -> Option<SimTime> {
        if self.every_scan {
            return Some(now);
        }
        let config = &self.config.autoscaler;
        let tick = SimDuration::from_ps(1);
        let requested = self.nodes.iter().filter(|node| node.stage == NodeStage::Requested);
        let failures = requested.map(|node| {
            let overdue = node.requested + config.max_node_provision + tick;
            let overdue = (!self.config.pools[node.pool].queued).then_some(overdue);
            match node.outcome {
                Outcome::Refused(at, _) => Some(overdue.map_or(at, |overdue| overdue.min(at))),
                Outcome::Ready(_) => overdue,
            }
        });
        let failures = failures.flatten();
        let has_requested = |pool: usize| {
            let requested = |node: &Node| node.pool == pool && node.stage == NodeStage::Requested;
            self.nodes.iter().any(requested)
        };
        let finished = self.pools.iter().enumerate();
        let finished = finished.filter(|(pool, s)| s.request.is_some() && !has_requested(*pool));
        let removals = self.nodes.iter().filter_map(|node| self.removal_due(node));
        let drains = self.nodes.iter().filter_map(|node| self.drain_due(node));
        let due = failures.chain(finished.map(|_| now)).chain(removals).chain(drains).min();
        let asks = self.next_request_due(now);
        match (due, asks) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When nodes could next be asked for.
    fn next_request_due(&self, now: SimTime) -> Option<SimTime> {
        let Some(oldest) = self.unhelped().min() else {
            // The end of an episode without room is noted by the next loop.
            return self.starved.then_some(now);
        };
        let config = &self.config.autoscaler;
        let old_enough = oldest + config.min_age().max(config.new_pod_scale_up_delay);
        if !self.starved {
            return Some(old_enough);
        }
        if !self.is_seen(oldest, now) {
            return Some(now);
        }
        let with_room = (0..self.pools.len()).filter(|pool| self.room(*pool) > 0);
        let open = with_room.map(|pool| self.pools[pool].backoff.map_or(now, |b| b.until)).min()?;
        Some(open.max(old_enough))
    }
}
