//! Connections that clients keep open between requests: an old connection stays with its pod.
//!
//! Source: Kubernetes, kube-proxy: it chooses a pod when a connection is made; whoever keeps it alive stays there, so
//! that a new replica gets nothing from old connections.

use crate::rng::{Generator, Seed, Stream};
use crate::units::{PodId, SimDuration, SimTime};
use rand::RngExt as _;
use std::collections::VecDeque;

/// How clients keep connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeepAlive {
    /// An idle connection is closed after this long.
    pub idle_timeout: SimDuration,
    /// A connection is closed after this many requests on average (geometric); `None` = never for that reason.
    pub mean_requests: Option<f64>,
}

/// The idle connections of all clients. Connections in use are not listed: those of one pod are alike, so an
/// answer frees one of them.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    keep_alive: KeepAlive,
    rng: Generator,
    /// (idle since, pod), in order of time.
    idle: VecDeque<(SimTime, PodId)>,
}

impl Connections {
    pub(super) fn new(keep_alive: KeepAlive, seed: Seed) -> Self {
        // Index 1: the choice of pods, index 0, is not shifted by how many answers there were.
        Self { keep_alive, rng: seed.stream(Stream::Routing, 1), idle: VecDeque::new() }
    }

    /// The pod at the other end of an idle connection, which is then in use. One whose server takes no more
    /// requests has been closed by it.
    // ASSUMPTION(A260): all clients share one pool, and take the connection that became idle last.
    pub(super) fn reuse(&mut self, now: SimTime, accepts: impl Fn(PodId) -> bool) -> Option<PodId> {
        while self
            .idle
            .front()
            .is_some_and(|(since, _)| *since + self.keep_alive.idle_timeout < now)
        {
            self.idle.pop_front();
        }
        while let Some((_, pod)) = self.idle.pop_back() {
            if accepts(pod) {
                return Some(pod);
            }
        }
        None
    }

    /// A request to `pod` was answered: its connection becomes idle, or is closed.
    pub(super) fn answered(&mut self, now: SimTime, pod: PodId) {
        let closes = match self.keep_alive.mean_requests {
            Some(mean) => self.rng.random::<f64>() * mean < 1.0,
            None => false,
        };
        if !closes {
            self.idle.push_back((now, pod));
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
        pool.answered(at(1), PodId(7));
        pool.answered(at(2), PodId(8));
        assert_eq!(pool.reuse(at(3), |_| true), Some(PodId(8)));
        assert_eq!(pool.reuse(at(6), |_| true), Some(PodId(7)));
        pool.answered(at(6), PodId(7));
        assert_eq!(pool.reuse(at(12), |_| true), None);
    }

    #[test]
    fn a_server_that_stops_closes_its_connections() {
        let mut pool = connections(None);
        let at = SimTime::from_secs;
        pool.answered(at(1), PodId(7));
        pool.answered(at(2), PodId(8));
        assert_eq!(pool.reuse(at(3), |pod| pod != PodId(8)), Some(PodId(7)));
        assert_eq!(pool.reuse(at(3), |_| true), None);
    }

    /// Of n answers n / mean close the connection: 10 000 / 4 with sigma 43, five sigma.
    #[test]
    fn connections_end_after_their_mean_number_of_requests() {
        let mut pool = connections(Some(4.0));
        let kept = (0..10_000).filter(|_| {
            pool.answered(SimTime::ZERO, PodId(1));
            pool.reuse(SimTime::ZERO, |_| true).is_some()
        });
        assert!(kept.count().abs_diff(7_500) < 217);
    }
}
