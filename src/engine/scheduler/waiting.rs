//! The queue of requests that are not running.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use super::super::SchedulingPolicy;
use crate::units::{RequestId, SimTime};

/// A place in the queue; stale once the request's epoch moved on, and then passed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) slot: u32,
    pub(super) epoch: u32,
}

/// Order of the priority policy: smallest (priority, arrival, id) first; the largest is the victim.
///
/// vLLM compares (priority, arrival_time), then ids as text, and takes the first of equal victims. Its
/// arrival times never tie, since the front end reads a clock for each request; traces with coarse time
/// stamps do tie, and then two requests could preempt each other for ever. Ids here are in order of
/// arrival, so they stand for the clock's missing digits.
// Source: vllm 0.33.0, v1/request.py, Request.__lt__.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Urgency {
    pub(super) priority: i32,
    pub(super) arrival: SimTime,
    pub(super) id: RequestId,
}

/// A heap element: the heap keeps its largest on top, so the order is turned round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Queued {
    urgency: Urgency,
    entry: Entry,
}

impl Ord for Queued {
    fn cmp(&self, other: &Self) -> Ordering {
        other.urgency.cmp(&self.urgency).then_with(|| other.entry.slot.cmp(&self.entry.slot))
    }
}

impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
enum Order {
    Fcfs(VecDeque<Entry>),
    Priority(BinaryHeap<Queued>),
}

/// The waiting queue. Requests that leave it from the middle only become stale.
#[derive(Debug)]
pub(super) struct Waiting {
    order: Order,
    len: u32,
}

impl Waiting {
    pub(super) fn new(policy: SchedulingPolicy) -> Self {
        let order = match policy {
            SchedulingPolicy::Fcfs => Order::Fcfs(VecDeque::new()),
            SchedulingPolicy::Priority => Order::Priority(BinaryHeap::new()),
        };
        Self { order, len: 0 }
    }

    /// Requests waiting.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// A new request joins.
    pub(super) fn push(&mut self, entry: Entry, urgency: Urgency) {
        self.len += 1;
        match &mut self.order {
            Order::Fcfs(queue) => queue.push_back(entry),
            Order::Priority(heap) => heap.push(Queued { urgency, entry }),
        }
    }

    /// A preempted request comes back, under FCFS at the head.
    pub(super) fn push_preempted(&mut self, entry: Entry, urgency: Urgency) {
        self.len += 1;
        match &mut self.order {
            Order::Fcfs(queue) => queue.push_front(entry),
            Order::Priority(heap) => heap.push(Queued { urgency, entry }),
        }
    }

    /// The slot of the next request to admit.
    pub(super) fn head(&mut self, is_live: impl Fn(Entry) -> bool) -> Option<u32> {
        loop {
            let entry = match &self.order {
                Order::Fcfs(queue) => *queue.front()?,
                Order::Priority(heap) => heap.peek()?.entry,
            };
            if is_live(entry) {
                return Some(entry.slot);
            }
            self.drop_head();
        }
    }

    /// Removes what [`Waiting::head`] returned.
    pub(super) fn pop(&mut self) {
        self.drop_head();
        self.len -= 1;
    }

    fn drop_head(&mut self) {
        match &mut self.order {
            Order::Fcfs(queue) => drop(queue.pop_front()),
            Order::Priority(heap) => drop(heap.pop()),
        }
    }

    /// A waiting request left; its entry is already stale.
    pub(super) fn forget(&mut self) {
        self.len -= 1;
    }

    /// The slots of all waiting requests in order of admission.
    pub(super) fn slots(&self, is_live: impl Fn(Entry) -> bool) -> Vec<u32> {
        let entries: Vec<Entry> = match &self.order {
            Order::Fcfs(queue) => queue.iter().copied().collect(),
            Order::Priority(heap) => {
                let mut all: Vec<Queued> = heap.iter().copied().collect();
                all.sort_unstable_by(|a, b| b.cmp(a));
                all.into_iter().map(|queued| queued.entry).collect()
            }
        };
        entries.into_iter().filter(|&e| is_live(e)).map(|e| e.slot).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_keeps_its_place_under_priority_and_leads_under_fcfs() {
        let urgency = |id| Urgency { priority: 0, arrival: SimTime::ZERO, id: RequestId(id) };
        for (policy, expected) in
            [(SchedulingPolicy::Fcfs, [2, 0, 1]), (SchedulingPolicy::Priority, [0, 1, 2])]
        {
            let mut waiting = Waiting::new(policy);
            waiting.push(Entry { slot: 0, epoch: 0 }, urgency(0));
            waiting.push(Entry { slot: 1, epoch: 0 }, urgency(1));
            waiting.push_preempted(Entry { slot: 2, epoch: 0 }, urgency(2));
            assert_eq!(waiting.slots(|_| true), expected);
        }
    }
}
