//! Nodes are asked for: which pool, how many, and whether the cloud has them.

use super::Cluster;
use super::autoscaler::Request;
use super::effect::{AutoscalerEvent, ClusterEvent, Effect, NodeStage};
use super::node::{ImageState, Node, NodeDelays, Outcome, Refusal};
use super::pool::{Capacity, Expander};
use crate::units::{NodeId, SimTime};

impl Cluster {
    /// Asks for nodes for `pods` pods, pool after pool as the expander prefers them; whether any were asked for.
    // Upstream asks one pool per loop; a loop that asked is followed by another at once.
    pub(super) fn scale_up(&mut self, now: SimTime, pods: u32, out: &mut Vec<Effect>) -> bool {
        let mut left = pods;
        while left > 0 {
            let Some((pool, wanted)) = self.best_option(now, left) else { break };
            let seats = self.config.pools[pool].replicas_per_node;
            left = left.saturating_sub(wanted.saturating_mul(seats));
            let state = &mut self.pools[pool];
            let before = state.request.map_or(0, |request| request.nodes);
            state.request = Some(Request { nodes: before + wanted, asked: now });
            out.push(Effect::Autoscaler(AutoscalerEvent::TriggeredScaleUp { pool, nodes: wanted }));
            self.request_nodes(now, pool, wanted, out);
        }
        if left > 0 && !self.starved {
            self.starved = true;
            let backed_off = self.pools.iter().filter(|pool| pool.is_backed_off(now)).count();
            let event = AutoscalerEvent::NotTriggerScaleUp {
                pods: left,
                full: (self.pools.len() - backed_off) as u32,
                backed_off: backed_off as u32,
            };
            out.push(Effect::Autoscaler(event));
        }
        let asked = left < pods;
        if asked {
            self.last_scale_up = Some(now);
        }
        asked
    }

    /// The pool that the expander prefers for `pods` pods, and how many of its nodes.
    // Source: kubernetes/autoscaler expander/priority, expander/price (cheapest per helped pod), expander/waste; there
    // waste is of CPU and memory, here of GPUs, to which the machine types with GPUs are proportioned.
    fn best_option(&self, now: SimTime, pods: u32) -> Option<(usize, u32)> {
        let mut best: Option<(f64, usize, u32)> = None;
        for (pool, (state, limits)) in self.pools.iter().zip(&self.config.pools).enumerate() {
            let wanted = pods.div_ceil(limits.replicas_per_node).min(self.room(pool));
            if wanted == 0 || state.is_backed_off(now) {
                continue;
            }
            let nodes = f64::from(wanted);
            let helped = f64::from(wanted.saturating_mul(limits.replicas_per_node).min(pods));
            let score = match self.config.autoscaler.expander {
                Expander::Priority => 0.0,
                // Reserved machines are paid for already.
                Expander::Price if limits.capacity == Capacity::Reservation => 0.0,
                Expander::Price => nodes * limits.usd_per_hour / helped,
                Expander::LeastWaste => {
                    let gpus = nodes * f64::from(limits.gpus_per_node);
                    1.0 - helped * f64::from(self.config.gpus_per_replica) / gpus
                }
            };
            if best.is_none_or(|(least, ..)| score < least) {
                best = Some((score, pool, wanted));
            }
        }
        best.map(|(_, pool, wanted)| (pool, wanted))
    }

    /// How many nodes may still be asked of a pool.
    // Source: cluster-autoscaler core/scaleup/resource: a limit of the cluster (--gpu-total) cuts a scale-up short.
    pub(super) fn room(&self, pool: usize) -> u32 {
        let limits = &self.config.pools[pool];
        let by_pool = limits.max_nodes.saturating_sub(self.pools[pool].size);
        let Some(max) = self.config.autoscaler.max_gpus else { return by_pool };
        let both = self.pools.iter().zip(&self.config.pools);
        let gpus: u32 = both.map(|(state, pool)| state.size * pool.gpus_per_node).sum();
        by_pool.min(max.saturating_sub(gpus) / limits.gpus_per_node)
    }

    /// New nodes of `pool`, still to come; index of the first.
    pub(super) fn request_nodes(
        &mut self,
        now: SimTime,
        pool: usize,
        count: u32,
        out: &mut Vec<Effect>,
    ) -> usize {
        let first = self.nodes.len();
        for _ in 0..count {
            self.add_node(now, pool);
        }
        if self.config.pools[pool].queued {
            self.join_outcomes(now, pool, first);
        }
        for node in &self.nodes[first..] {
            out.push(Effect::Node { node: node.id, pool, stage: NodeStage::Requested });
            if let Outcome::Ready(at) = node.outcome {
                out.push(Effect::At(at, ClusterEvent::Node { node: node.id }));
            }
        }
        first
    }

    /// The nodes from `first` on come together or not at all.
    // Source: Google Cloud documentation, flex-start with queued provisioning: all resources are allocated at once.
    fn join_outcomes(&mut self, now: SimTime, pool: usize, first: usize) {
        let outcomes = self.nodes[first..].iter().map(|node| node.outcome);
        let Some(joint) = outcomes.reduce(Outcome::joined) else { return };
        for node in &mut self.nodes[first..] {
            let was_billed = node.is_billed();
            node.outcome = joint;
            let change = i32::from(node.is_billed()) - i32::from(was_billed);
            let gpus = self.config.pools[pool].gpus_per_node;
            self.pools[pool].meter.change(now, gpus, change, 0);
        }
    }

    /// Adds a requested node to the books.
    pub(super) fn add_node(&mut self, now: SimTime, pool: usize) -> usize {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let limits = &self.config.pools[pool];
        let delays = NodeDelays::draw(limits, &self.config, self.seed, id);
        let node = Node {
            id,
            pool,
            stage: NodeStage::Requested,
            requested: now,
            outcome: match self.refusal(pool, &delays, now) {
                Some(why) => Outcome::Refused(now + delays.report, why),
                None => Outcome::Ready(now + delays.provisioning),
            },
            unneeded_since: None,
            drain_until: None,
            pods: 0,
            placeholders: 0,
            recreate: true,
            replaces: None,
            cordoned: false,
            lost: false,
            repaired: false,
            image: ImageState::Absent,
            weights_cached: false,
            attached: false,
            delays,
        };
        let state = &mut self.pools[pool];
        state.size += 1;
        state.meter.change(now, limits.gpus_per_node, i32::from(node.is_billed()), 0);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Why a node that is asked for now cannot be had.
    fn refusal(&self, pool: usize, delays: &NodeDelays, now: SimTime) -> Option<Refusal> {
        let limits = &self.config.pools[pool];
        if delays.stock_out || limits.stock_out.is_empty_at(now) {
            return Some(Refusal::StockOut);
        }
        let preemptible = limits.capacity.uses_preemptible_quota();
        let quota = self.config.quota.limit(limits.capacity)?;
        let counts = |node: &&Node| {
            let capacity = self.config.pools[node.pool].capacity;
            node.is_billed() && capacity.uses_preemptible_quota() == preemptible
        };
        let nodes = self.nodes.iter().filter(counts);
        let used: u32 = nodes.map(|node| self.config.pools[node.pool].gpus_per_node).sum();
        (used + limits.gpus_per_node > quota).then_some(Refusal::Quota)
    }
}
