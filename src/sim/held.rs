//! Requests that wait at the gateway.

use crate::units::RequestId;
use crate::workload::Request;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Queues of a gateway's flow control: higher priorities first, in each in order of coming.
// Source: gateway-api-inference-extension, pkg/epp/flowcontrol: strict priority bands, first come first served in each;
// no time to live of its own, a request waits as long as its client does.
#[derive(Debug, Default)]
pub(super) struct Held {
    queue: BTreeMap<(Reverse<i32>, u64), (RequestId, Request)>,
    coming: u64,
}

impl Held {
    pub(super) fn push(&mut self, priority: i32, id: RequestId, request: Request) {
        self.queue.insert((Reverse(priority), self.coming), (id, request));
        self.coming += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(RequestId, Request)> {
        self.queue.pop_first().map(|(_, held)| held)
    }

    /// Takes one out of turn, whose client has gone.
    pub(super) fn remove(&mut self, id: RequestId) -> Option<Request> {
        let key = *self.queue.iter().find(|(_, held)| held.0 == id)?.0;
        self.queue.remove(&key).map(|(_, request)| request)
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_goes_before_age() {
        let mut held = Held::default();
        for (id, priority) in [(0, 0), (1, -1), (2, 5), (3, 0)] {
            held.push(priority, RequestId(id), Request::default());
        }
        assert!(held.remove(RequestId(7)).is_none());
        assert!(held.remove(RequestId(0)).is_some());
        let order: Vec<u64> = std::iter::from_fn(|| held.pop()).map(|(id, _)| id.0).collect();
        assert_eq!(order, [2, 3, 1]);
    }
}
