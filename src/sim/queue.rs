//! The time-ordered queue of pending events.
//!
//! It holds a few entries per pod and node. Arrivals are merged from a cursor by the caller and engine steps
//! stay inside the replicas, so the heap stays small; at that size `std`'s binary heap over a packed key was
//! the fastest of the queues measured.

use super::event::{Event, Rank};
use crate::units::SimTime;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The order of events: (time, rank, sequence).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key(u128);

impl Key {
    /// Packs time (64 bits), rank (8 bits) and sequence (56 bits).
    pub fn new(at: SimTime, rank: Rank, sequence: u64) -> Self {
        assert!(sequence < 1 << 56, "event sequence overflow: {sequence}");
        Self((u128::from(at.as_ps()) << 64) | (u128::from(rank as u8) << 56) | u128::from(sequence))
    }
    /// The instant.
    pub fn at(self) -> SimTime {
        SimTime::from_ps((self.0 >> 64) as u64)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    event: Event,
}
impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

/// Pending events in the order (time, rank, sequence); equal time and rank keep the order of pushing.
#[derive(Debug, Default)]
pub struct EventQueue {
    heap: BinaryHeap<Reverse<Entry>>,
    pushed: u64,
}

impl EventQueue {
    /// Adds an event.
    pub fn push(&mut self, at: SimTime, event: Event) {
        let key = Key::new(at, event.rank(), self.pushed);
        self.pushed += 1;
        self.heap.push(Reverse(Entry { key, event }));
    }

    /// Adds an event whose place among equals is fixed by `ordinal`, not by when it was pushed. For events that
    /// the stepwise and the closed-form engine push at different moments.
    pub fn push_ordered(&mut self, at: SimTime, event: Event, ordinal: u64) {
        let key = Key::new(at, event.rank(), ordinal);
        self.heap.push(Reverse(Entry { key, event }));
    }

    /// The key of the next event.
    pub fn peek(&self) -> Option<Key> {
        self.heap.peek().map(|Reverse(entry)| entry.key)
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<(SimTime, Event)> {
        self.heap.pop().map(|Reverse(entry)| (entry.key.at(), entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Origin;
    use crate::units::PodId;

    #[test]
    fn order_is_time_then_rank_then_sequence() {
        let mut queue = EventQueue::default();
        let t = SimTime::from_secs(15);
        queue.push(t, Event::Horizon);
        queue.push(t, Event::HpaSync);
        queue.push(t, Event::Scrape(Origin::Server, PodId(1)));
        queue.push(t, Event::Scrape(Origin::Server, PodId(0)));
        queue.push(SimTime::from_secs(14), Event::Sample);
        let order: Vec<String> =
            std::iter::from_fn(|| queue.pop()).map(|(_, event)| format!("{event:?}")).collect();
        assert_eq!(
            order,
            [
                "Sample",
                "Scrape(Server, PodId(1))",
                "Scrape(Server, PodId(0))",
                "HpaSync",
                "Horizon"
            ]
        );
    }
}
