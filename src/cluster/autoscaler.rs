//! The cluster autoscaler: one loop every ten seconds.
//!
//! Source: kubernetes/autoscaler, cluster-autoscaler: core/static_autoscaler.go (order of
//! a loop, the GPU wait, no scale-down while pods wait or are helped), clusterstate/clusterstate.go
//! (requests, time-outs), utils/backoff/exponential_backoff.go.
//!
//! Loops in which nothing can happen are left out: after each change the next instant at which a loop
//! could act is computed, and the first loop at or after it is asked for. A test holds this against
//! running every loop.

use super::Cluster;
use super::config::AutoscalerConfig;
use super::effect::{AutoscalerEvent, ClusterEvent, Effect, NodeStage, PodStage};
use super::node::{ImageState, Meter, Node, NodeDelays, Outcome};
use super::pod::first_tick;
use crate::units::{NodeId, SimDuration, SimTime};

/// What the autoscaler keeps of one pool.
#[derive(Clone, Debug, Default)]
pub(super) struct PoolState {
    /// Nodes wanted: requested and ready ones. Those being deleted no longer count.
    pub(super) size: u32,
    /// Nodes of the scale-up under way, failures taken off; `None` = none under way.
    request: Option<u32>,
    backoff: Option<Backoff>,
    pub(super) meter: Meter,
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
    fn is_backed_off(&self, now: SimTime) -> bool {
        self.backoff.is_some_and(|backoff| backoff.until > now)
    }

    /// A scale-up failed; returns the end of the backoff.
    // A failure inside a running backoff starts the first duration again, as upstream does.
    fn fail(&mut self, config: &AutoscalerConfig, now: SimTime) -> SimTime {
        let duration = match self.backoff {
            Some(last) if last.until < now => (last.duration * 2).min(config.backoff_max),
            Some(_) | None => config.backoff_initial,
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
    TimedOut,
}

impl Cluster {
    /// One loop.
    pub(super) fn scan(&mut self, now: SimTime, out: &mut Vec<Effect>) {
        for pool in 0..self.pools.len() {
            self.update_requests(now, pool, out);
        }
        let upcoming = self.upcoming_capacity();
        let waiting = self.pods.iter().filter(|pod| pod.stage == PodStage::Pending).count();
        let unhelped = waiting.saturating_sub(upcoming);
        let oldest = self.oldest_unhelped(upcoming);
        let min_age = self.config.autoscaler.gpu_pod_min_age;
        let asked = match oldest {
            Some(created) if created + min_age <= now => self.scale_up(now, unhelped as u32, out),
            Some(_) | None => false,
        };
        let too_new = oldest.is_some_and(|created| created + min_age > now);
        // Pods that a coming node helps, or that are too new, forbid scale-down in this loop.
        let helped = waiting > unhelped;
        if !asked && !too_new && !helped {
            self.scale_down(now, out);
        }
        if oldest.is_none() {
            self.starved = false;
        }
    }

    /// Pods that the nodes asked for will take.
    fn upcoming_capacity(&self) -> usize {
        let requested = self.nodes.iter().filter(|node| node.stage == NodeStage::Requested);
        requested.map(|node| self.config.pools[node.pool].replicas_per_node as usize).sum()
    }

    /// Creation of the oldest Pending pod for which no node is coming.
    fn oldest_unhelped(&self, upcoming: usize) -> Option<SimTime> {
        let pending = self.pods.iter().filter(|pod| pod.stage == PodStage::Pending);
        pending.map(|pod| pod.created).nth(upcoming)
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
        let overdue = |node: &Node| node.requested + max_provision < now;
        let missing = |node: &Node| matches!(node.outcome, Outcome::StockOut(at) if at <= now);
        self.give_up(now, pool, Failure::TimedOut, overdue, out);
        self.give_up(now, pool, Failure::StockOut, missing, out);
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
        state.request = match (failure, state.request) {
            (Failure::TimedOut, _) | (_, None) => None,
            (Failure::StockOut, Some(nodes)) => nodes.checked_sub(count).filter(|left| *left > 0),
        };
        let backoff_until = state.fail(&self.config.autoscaler, now);
        out.push(Effect::Autoscaler(match failure {
            Failure::StockOut => AutoscalerEvent::StockOut { pool, backoff_until },
            Failure::TimedOut => AutoscalerEvent::TimedOut { pool, backoff_until },
        }));
    }

    /// Asks for nodes for `pods` pods, pool by pool; whether any were asked for.
    fn scale_up(&mut self, now: SimTime, pods: u32, out: &mut Vec<Effect>) -> bool {
        let mut left = pods;
        for pool in 0..self.pools.len() {
            let limits = &self.config.pools[pool];
            let state = &mut self.pools[pool];
            let room = limits.max_nodes.saturating_sub(state.size);
            let wanted = left.div_ceil(limits.replicas_per_node).min(room);
            if wanted == 0 || state.is_backed_off(now) {
                continue;
            }
            left = left.saturating_sub(wanted.saturating_mul(limits.replicas_per_node));
            state.request = Some(state.request.unwrap_or(0) + wanted);
            out.push(Effect::Autoscaler(AutoscalerEvent::TriggeredScaleUp { pool, nodes: wanted }));
            for _ in 0..wanted {
                self.request_node(now, pool, out);
            }
        }
        if left > 0 && !self.starved {
            self.starved = true;
            out.push(Effect::Autoscaler(AutoscalerEvent::NotTriggerScaleUp { pods: left }));
        }
        let asked = left < pods;
        if asked {
            self.last_scale_up = Some(now);
        }
        asked
    }

    /// A new node of `pool`, still to come.
    fn request_node(&mut self, now: SimTime, pool: usize, out: &mut Vec<Effect>) {
        let n = self.add_node(now, pool);
        let node = &self.nodes[n];
        out.push(Effect::Node { node: node.id, pool, stage: NodeStage::Requested });
        if let Outcome::Ready(at) = node.outcome {
            out.push(Effect::At(at, ClusterEvent::Node { node: node.id }));
        }
    }

    /// Adds a requested node to the books.
    pub(super) fn add_node(&mut self, now: SimTime, pool: usize) -> usize {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let limits = &self.config.pools[pool];
        let delays = NodeDelays::draw(limits, &self.config.startup, self.seed, id);
        let node = Node {
            id,
            pool,
            stage: NodeStage::Requested,
            requested: now,
            outcome: if delays.stock_out {
                Outcome::StockOut(now + delays.report)
            } else {
                Outcome::Ready(now + delays.provisioning)
            },
            idle_since: None,
            pods: 0,
            image: ImageState::Absent,
            weights_cached: false,
            delays,
        };
        let state = &mut self.pools[pool];
        state.size += 1;
        state.meter.change(now, limits.gpus_per_node, i32::from(node.is_billed()), 0);
        self.nodes.push(node);
        self.nodes.len() - 1
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
                self.nodes[n].idle_since = Some(now);
                self.place_pending(now, out);
            }
            NodeStage::Deleting => {
                self.enter_node(now, n, NodeStage::Deleted, out);
                self.nodes.remove(n);
            }
            NodeStage::Ready | NodeStage::Failed | NodeStage::Deleted => {
                unreachable!("law L8: stage has no timer: {:?}", self.nodes[n])
            }
        }
    }

    /// Removes idle nodes whose time is up.
    fn scale_down(&mut self, now: SimTime, out: &mut Vec<Effect>) {
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
            let gone = now + node.delays.delete;
            self.pools[pool].size -= 1;
            out.push(Effect::Autoscaler(AutoscalerEvent::ScaleDown { node: id }));
            self.enter_node(now, n, NodeStage::Deleting, out);
            out.push(Effect::At(gone, ClusterEvent::Node { node: id }));
        }
    }

    /// When an idle node above its pool's minimum may be removed.
    // Source: core/scaledown/unneeded and static_autoscaler.go: both waits must be over at a loop.
    fn removal_due(&self, node: &Node) -> Option<SimTime> {
        let config = &self.config.autoscaler;
        let idle = node.idle_since.filter(|_| node.stage == NodeStage::Ready)?;
        if self.pools[node.pool].size <= self.config.pools[node.pool].min_nodes {
            return None;
        }
        let unneeded = idle + config.scale_down_unneeded;
        let after_add = self.last_scale_up.map(|last| last + config.scale_down_after_add);
        Some(after_add.map_or(unneeded, |after_add| after_add.max(unneeded)))
    }

    /// Asks for the first loop at which something can happen, unless one is coming before.
    pub(super) fn arm_scan(&mut self, now: SimTime, after_scan: bool, out: &mut Vec<Effect>) {
        let Some(due) = self.next_scan_due(now) else { return };
        let earliest = if after_scan { now + SimDuration::from_ps(1) } else { now };
        let at =
            first_tick(self.scan_origin, self.config.autoscaler.scan_interval, due.max(earliest));
        if self.armed_scan.is_none_or(|armed| at < armed) {
            self.armed_scan = Some(at);
            out.push(Effect::At(at, ClusterEvent::Scan));
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
            match node.outcome {
                Outcome::StockOut(at) => at.min(overdue),
                Outcome::Ready(_) => overdue,
            }
        });
        let has_requested = |pool: usize| {
            let requested = |node: &Node| node.pool == pool && node.stage == NodeStage::Requested;
            self.nodes.iter().any(requested)
        };
        let finished = self.pools.iter().enumerate();
        let finished = finished.filter(|(pool, s)| s.request.is_some() && !has_requested(*pool));
        let removals = self.nodes.iter().filter_map(|node| self.removal_due(node));
        let due = failures.chain(finished.map(|_| now)).chain(removals).min();
        let asks = self.next_request_due(now);
        match (due, asks) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When nodes could next be asked for.
    fn next_request_due(&self, now: SimTime) -> Option<SimTime> {
        let Some(oldest) = self.oldest_unhelped(self.upcoming_capacity()) else {
            // The end of an episode without room is noted by the next loop.
            return self.starved.then_some(now);
        };
        let old_enough = oldest + self.config.autoscaler.gpu_pod_min_age;
        if !self.starved {
            return Some(old_enough);
        }
        let with_room = self.pools.iter().zip(&self.config.pools);
        let with_room = with_room.filter(|(state, limits)| state.size < limits.max_nodes);
        let open = with_room.map(|(state, _)| state.backoff.map_or(now, |b| b.until)).min()?;
        Some(open.max(old_enough))
    }
}
