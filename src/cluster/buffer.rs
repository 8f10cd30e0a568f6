//! Spare capacity: placeholder pods of low priority that keep room for replicas.
//!
//! Source: Google Cloud documentation, "Provision extra compute capacity for rapid Pod scaling": pods of negative
//! priority hold the room, are preempted by the scheduler when a replica needs it, wait again and so make the
//! autoscaler add a node.
// ASSUMPTION(A280): a placeholder ends at once when it is pushed out (a pause container ends on SIGTERM) and is
// replaced at the same instant; it brings no image to its node.

use super::Cluster;
use super::config::Packing;
use super::effect::Effect;
use crate::units::SimTime;

impl Cluster {
    /// Puts the placeholders of the start onto warm nodes.
    pub(super) fn start_placeholders(&mut self, out: &mut Vec<Effect>) {
        for _ in 0..self.config.spare_replicas {
            match self.node_with_room().or_else(|| self.grow_warm(out)) {
                Some(n) => self.seat_placeholder(n),
                None => self.waiting_placeholders.push(SimTime::ZERO),
            }
        }
    }

    fn seat_placeholder(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.placeholders += 1;
        let (seats, taken) = (self.config.pools[node.pool].replicas_per_node, node.occupied());
        assert!(taken <= seats, "law L8: {taken} pods on {:?}", node.id);
    }

    /// Makes room for a replica by pushing a placeholder out; the node where.
    pub(super) fn displace_placeholder(&mut self, now: SimTime) -> Option<usize> {
        let has = |n: &usize| self.nodes[*n].is_schedulable() && self.nodes[*n].placeholders > 0;
        let nodes = (0..self.nodes.len()).filter(has);
        let n = match self.config.packing {
            Packing::Spread => nodes.min_by_key(|n| (self.nodes[*n].pods, *n)),
            Packing::Pack => nodes.min_by_key(|n| (u32::MAX - self.nodes[*n].pods, *n)),
        }?;
        self.unseat_placeholders(now, n, 1);
        Some(n)
    }

    /// Placeholders leave a node and wait for another.
    pub(super) fn unseat_placeholders(&mut self, now: SimTime, n: usize, count: u32) {
        self.nodes[n].placeholders -= count;
        for _ in 0..count {
            self.waiting_placeholders.push(now);
        }
    }

    /// Seats waiting placeholders where there is room, oldest first.
    pub(super) fn place_placeholders(&mut self) {
        while !self.waiting_placeholders.is_empty() {
            let Some(n) = self.node_with_room() else { return };
            self.waiting_placeholders.remove(0);
            self.seat_placeholder(n);
        }
    }
}
