//! Connections that clients keep open between requests: an old connection stays with its pod.
//!
//! Source: Kubernetes, kube-proxy: it chooses a pod when a connection is made; whoever keeps it alive stays there, so
//! that a new replica gets nothing from old connections.

use crate::rng::{Generator, Seed, Stream};
use crate::units::{PodId, RequestId, SimDuration, SimTime};
use rand::RngExt as _;
use std::collections::{BTreeMap, VecDeque};

/// How clients keep connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeepAlive {
    /// An idle connection is closed after this long.
    pub idle_timeout: SimDuration,
    /// A connection is closed after this many requests on average (geometric); `None` = never for that reason.
    pub mean_requests: Option<f64>,
}

/// The idle connections of each client, which are its own: a load generator does not use another one's.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    keep_alive: KeepAlive,
    rng: Generator,
    /// By client: (idle since, pod), in order of time.
    idle: Vec<VecDeque<(SimTime, PodId)>>,
    /// Whose connection a request under way uses, where it is not the first client's.
    in_use: BTreeMap<RequestId, usize>,
}

impl Connections {
    pub(super) fn new(keep_alive: KeepAlive, seed: Seed) -> Self {
        // Index 1: the choice of pods, index 0, is not shifted by how many answers there were.
        Self {
            keep_alive,
            rng: seed.stream(Stream::Routing, 1),
            idle: Vec::new(),
            in_use: BTreeMap::new(),
        }
    }

    fn of(&mut self, client: usize) -> &mut VecDeque<(SimTime, PodId)> {
        if self.idle.len() <= client {
            self.idle.resize_with(client + 1, VecDeque::new);
        }
        &mut self.idle[client]
    }

    /// The pod at the other end of an idle connection of `client`, which is then in use. One whose server takes no more
    /// requests has been closed by it.
    // ASSUMPTION(A260): a stream of requests is one client, and takes the connection that became idle last.
    pub(super) fn reuse(
        &mut self,
        now: SimTime,
        client: usize,
        accepts: impl Fn(PodId) -> bool,
    ) -> Option<PodId> {
        let timeout = self.keep_alive.idle_timeout;
        let idle = self.of(client);
        while idle.front().is_some_and(|(since, _)| *since + timeout < now) {
            idle.pop_front();
        }
        while let Some((_, pod)) = idle.pop_back() {
            if accepts(pod) {
                return Some(pod);
            }
        }
        None
    }

    /// `client` has sent this request.
    pub(super) fn sent(&mut self, id: RequestId, client: usize) {
        if client > 0 {
            self.in_use.insert(id, client);
        }
    }

    /// A request to `pod` has ended. If it was answered its connection becomes idle or, now and then, is closed;
    /// else it is broken.
    pub(super) fn ended(&mut self, now: SimTime, id: RequestId, pod: PodId, answered: bool) {
        let client = self.in_use.remove(&id).unwrap_or(0);
        if !answered {
            return;
        }
        let closes = match self.keep_alive.mean_requests {
            Some(mean) => self.rng.random::<f64>() * mean < 1.0,
            None => false,
        };
        if !closes {
            self.of(client).push_back((now, pod));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(mean_requests: Option<f64>) -> Connections {
        let keep_alive = KeepAlive { idle_timeout: SimDuration::from_secs(5), mean_requests };
        Connections::new(keep_alive, Seed(3))
    }

    #[test]
    fn the_connection_used_last_is_reused_until_it_times_out() {
        let mut pool = connections(None);
        let at = SimTime::from_secs;
        pool.ended(at(1), RequestId(0), PodId(7), true);
        pool.ended(at(2), RequestId(0), PodId(8), true);
        assert_eq!(pool.reuse(at(3), 0, |_| true), Some(PodId(8)));
        assert_eq!(pool.reuse(at(6), 0, |_| true), Some(PodId(7)));
        pool.ended(at(6), RequestId(0), PodId(7), true);
        assert_eq!(pool.reuse(at(12), 0, |_| true), None);
    }

    #[test]
    fn a_server_that_stops_closes_its_connections() {
        let mut pool = connections(None);
        let at = SimTime::from_secs;
        pool.ended(at(1), RequestId(0), PodId(7), true);
        pool.ended(at(2), RequestId(0), PodId(8), true);
        assert_eq!(pool.reuse(at(3), 0, |pod| pod != PodId(8)), Some(PodId(7)));
        assert_eq!(pool.reuse(at(3), 0, |_| true), None);
    }

    #[test]
    fn each_client_has_connections_of_its_own() {
        let mut pool = connections(None);
        let at = SimTime::from_secs;
        for (id, client, pod) in [(0, 0, 7), (1, 2, 8), (2, 1, 9)] {
            pool.sent(RequestId(id), client);
            pool.ended(at(1), RequestId(id), PodId(pod), client != 1);
        }
        assert_eq!(pool.reuse(at(2), 1, |_| true), None);
        assert_eq!(pool.reuse(at(2), 2, |_| true), Some(PodId(8)));
        assert_eq!(pool.reuse(at(2), 2, |_| true), None);
        assert_eq!(pool.reuse(at(2), 0, |_| true), Some(PodId(7)));
        assert!(pool.in_use.is_empty());
    }

    /// Of n answers n / mean close the connection: 10 000 / 4 with sigma 43, five sigma.
    #[test]
    fn connections_end_after_their_mean_number_of_requests() {
        let mut pool = connections(Some(4.0));
        let kept = (0..10_000).filter(|_| {
            pool.ended(SimTime::ZERO, RequestId(0), PodId(1), true);
            pool.reuse(SimTime::ZERO, 0, |_| true).is_some()
        });
        assert!(kept.count().abs_diff(7_500) < 217);
    }
}
