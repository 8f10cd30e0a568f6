//! Chooses a ready replica for a request.
//!
//! Every policy draws the same number of random words per request, whatever the fleet looks like.
//! Source: Envoy documentation, load balancers (least request, power of two choices); llm-d inference scheduler
//! and gateway-api-inference-extension (endpoint picker).

mod connections;

pub use connections::KeepAlive;

use crate::rng::{Generator, Seed, Stream};
use crate::units::{PodId, SimDuration, SimTime};
use connections::Connections;
use rand::Rng as _;

/// How a replica is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// Uniformly at random, per request (kube-proxy with clients that connect anew).
    Random,
    /// Uniformly at random when a connection is made; a kept connection stays with its pod (kube-proxy).
    RandomPerConnection(KeepAlive),
    /// In order of pod id, around (IPVS rr, nginx).
    RoundRobin,
    /// The fewest outstanding requests; ties at random.
    LeastRequest,
    /// Two distinct replicas at random, then the one with fewer outstanding requests; a tie goes to
    /// the one drawn first.
    PowerOfTwo,
    /// The best score of queue and KV cache as of the last look at the pods' metrics; ties at random (the
    /// endpoint picker of an inference gateway).
    EndpointPicker(Picker),
}

/// Weights of the endpoint picker. Prefix affinity is not among them: prompts of a run share nothing.
// Source: gke.md 7.1: score = w_q (max - q) / (max - min), 1 if all queues are equal, + w_kv (1 - use).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picker {
    /// Weight of the queue scorer.
    pub queue_weight: f64,
    /// Weight of the KV-cache scorer.
    pub kv_weight: f64,
    /// How often the pods' metrics are read. Not 0.
    pub refresh: SimDuration,
}

/// What the gateway knows of one replica. Fill only what [`Policy::needs_gauges`] asks for; the rest
/// may be 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndpointView {
    /// Which pod.
    pub pod: PodId,
    /// Requests routed to it and not yet answered.
    pub outstanding: u32,
    /// Its gauge `num_requests_waiting`.
    pub waiting: u32,
    /// Its gauge `num_requests_running`.
    pub running: u32,
    /// Its gauge `kv_cache_usage_perc`, 0..=1.
    pub kv_usage: f64,
}

/// Routes requests by one policy.
#[derive(Clone, Debug)]
pub struct Gateway {
    policy: Policy,
    rng: Generator,
    /// The pod of the last round-robin choice.
    last: Option<PodId>,
    connections: Option<Connections>,
    /// The last look at the load.
    looked_at: Option<SimTime>,
}

impl Policy {
    /// Whether the policy looks at the replicas' load at all; if not, the views need no refresh.
    pub const fn reads_load(self) -> bool {
        !matches!(self, Self::Random | Self::RandomPerConnection(_) | Self::RoundRobin)
    }

    /// Whether the policy reads `waiting`, `running` and `kv_usage`.
    pub const fn needs_gauges(self) -> bool {
        matches!(self, Self::EndpointPicker(_))
    }

    /// Whether the gateway must be told of answers when they happen.
    pub const fn keeps_connections(self) -> bool {
        matches!(self, Self::RandomPerConnection(_))
    }
}

impl Gateway {
    /// A gateway with its own random stream.
    pub fn new(policy: Policy, seed: Seed) -> Self {
        let connections = match policy {
            Policy::RandomPerConnection(keep_alive) => Some(Connections::new(keep_alive, seed)),
            _ => None,
        };
        let rng = seed.stream(Stream::Routing, 0);
        Self { policy, rng, last: None, connections, looked_at: None }
    }

    /// Whether a request at `now` needs fresh views. A picker reads the metrics once a period and then lives
    /// with what it saw; its first request of a period is taken for the time of reading.
    pub fn looks(&mut self, now: SimTime) -> bool {
        let Policy::EndpointPicker(picker) = self.policy else { return self.policy.reads_load() };
        let period = |at: SimTime| at.as_ps() / picker.refresh.as_ps().max(1);
        let due = self.looked_at.is_none_or(|at| period(at) < period(now));
        if due {
            self.looked_at = Some(now);
        }
        due
    }

    /// The pod of a connection that is kept from an earlier request, if the policy keeps them and there is an
    /// idle one to a server that `accepts`.
    pub fn reuse(&mut self, now: SimTime, accepts: impl Fn(PodId) -> bool) -> Option<PodId> {
        self.connections.as_mut()?.reuse(now, accepts)
    }

    /// A request to `pod` was answered in full.
    pub fn answered(&mut self, now: SimTime, pod: PodId) {
        if let Some(connections) = &mut self.connections {
            connections.answered(now, pod);
        }
    }

    /// The index of the chosen endpoint; `None` if there is none. The order of `endpoints` matters
    /// only in that equal slices get equal answers.
    pub fn pick(&mut self, endpoints: &[EndpointView]) -> Option<usize> {
        let (first, second) = (self.rng.next_u64(), self.rng.next_u64());
        let n = endpoints.len();
        if n == 0 {
            return None;
        }
        let chosen = match self.policy {
            Policy::Random | Policy::RandomPerConnection(_) => below(first, n),
            Policy::RoundRobin => next_in_order(endpoints, self.last),
            Policy::LeastRequest => least_outstanding(endpoints, first),
            Policy::PowerOfTwo => {
                let a = below(first, n);
                // Among the others, counted from the one after `a`.
                let b = if n == 1 { a } else { (a + 1 + below(second, n - 1)) % n };
                if endpoints[b].outstanding < endpoints[a].outstanding { b } else { a }
            }
            Policy::EndpointPicker(picker) => best_score(endpoints, picker, first),
        };
        self.last = Some(endpoints[chosen].pod);
        Some(chosen)
    }
}

/// `random` scaled to `0..n` (n > 0): the high half of the product (Lemire 2019), with a bias under
/// n / 2^64.
fn below(random: u64, n: usize) -> usize {
    ((u128::from(random) * n as u128) >> 64) as usize
}

/// The endpoint with the next higher pod id after `last`, or the lowest.
fn next_in_order(endpoints: &[EndpointView], last: Option<PodId>) -> usize {
    let key = |i: &usize| {
        let pod = endpoints[*i].pod;
        (last.is_some_and(|last| pod <= last), pod)
    };
    (0..endpoints.len()).min_by_key(key).expect("not empty")
}

/// An endpoint with the fewest outstanding requests.
fn least_outstanding(endpoints: &[EndpointView], random: u64) -> usize {
    let least = endpoints.iter().map(|e| e.outstanding).min().expect("not empty");
    let ties = endpoints.iter().filter(|e| e.outstanding == least).count();
    let mut tied = (0..endpoints.len()).filter(|i| endpoints[*i].outstanding == least);
    tied.nth(below(random, ties)).expect("below(ties)")
}

/// An endpoint with the best score.
fn best_score(endpoints: &[EndpointView], picker: Picker, random: u64) -> usize {
    let queues = endpoints.iter().map(|e| e.waiting);
    let longest = queues.clone().max().expect("not empty");
    let shortest = queues.min().expect("not empty");
    let score = |e: &EndpointView| {
        let queue = if longest == shortest {
            1.0
        } else {
            f64::from(longest - e.waiting) / f64::from(longest - shortest)
        };
        picker.queue_weight * queue + picker.kv_weight * (1.0 - e.kv_usage)
    };
    let best = endpoints.iter().map(score).fold(f64::NEG_INFINITY, f64::max);
    let ties = endpoints.iter().filter(|e| score(e) >= best).count();
    let mut tied = (0..endpoints.len()).filter(|i| score(&endpoints[*i]) >= best);
    tied.nth(below(random, ties)).expect("below(ties)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICKER: Picker =
        Picker { queue_weight: 2.0, kv_weight: 2.0, refresh: SimDuration::from_millis(50) };

    fn fleet(outstanding: &[u32]) -> Vec<EndpointView> {
        let view = |(i, n): (usize, &u32)| EndpointView {
            pod: PodId(10 + i as u32),
            outstanding: *n,
            waiting: 0,
            running: 0,
            kv_usage: 0.0,
        };
        outstanding.iter().enumerate().map(view).collect()
    }

    fn counts(policy: Policy, fleet: &[EndpointView], picks: usize) -> Vec<usize> {
        let mut gateway = Gateway::new(policy, Seed(5));
        let mut counts = vec![0; fleet.len()];
        for _ in 0..picks {
            counts[gateway.pick(fleet).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn nobody_to_pick() {
        let picker = Policy::EndpointPicker(PICKER);
        let others = [Policy::Random, Policy::RoundRobin, Policy::LeastRequest, Policy::PowerOfTwo];
        for policy in others.into_iter().chain([picker]) {
            assert_eq!(Gateway::new(policy, Seed(1)).pick(&[]), None);
            assert_eq!(Gateway::new(policy, Seed(1)).pick(&fleet(&[3])), Some(0));
        }
    }

    #[test]
    fn random_is_uniform() {
        // 4 x 10 000 expected 10 000 each, sigma 87: five sigma.
        for n in counts(Policy::Random, &fleet(&[9, 0, 5, 1]), 40_000) {
            assert!(n.abs_diff(10_000) < 435, "{n}");
        }
    }

    #[test]
    fn round_robin_goes_around_and_survives_a_lost_pod() {
        let mut gateway = Gateway::new(Policy::RoundRobin, Seed(1));
        let mut pods = fleet(&[0, 0, 0]);
        let mut pick = |pods: &[EndpointView]| pods[gateway.pick(pods).unwrap()].pod.0;
        assert_eq!([pick(&pods), pick(&pods)], [10, 11]);
        pods.remove(1);
        assert_eq!([pick(&pods), pick(&pods), pick(&pods)], [12, 10, 12]);
    }

    #[test]
    fn least_request_breaks_ties_evenly() {
        let picked = counts(Policy::LeastRequest, &fleet(&[2, 1, 5, 1]), 10_000);
        assert_eq!((picked[0], picked[2]), (0, 0));
        assert!(picked[1].abs_diff(5_000) < 250, "{picked:?}");
    }

    /// With distinct loads the k-th best of n wins against n - k others: 2(n-k)/(n(n-1)) of the picks.
    #[test]
    fn power_of_two_prefers_the_better_of_two() {
        let picked = counts(Policy::PowerOfTwo, &fleet(&[3, 0, 2, 1]), 60_000);
        for (got, expected) in picked.iter().zip([0, 30_000, 10_000, 20_000]) {
            assert!(got.abs_diff(expected) < 700, "{picked:?}");
        }
    }

    /// Queues of 0, 10 and 10 score 2, 0 and 0; a KV usage of 0.9 takes only 1.8 of the 2 points.
    #[test]
    fn the_picker_weighs_queue_and_kv_cache() {
        let mut pods = fleet(&[0, 0, 0]);
        for (pod, (waiting, kv_usage)) in pods.iter_mut().zip([(0, 0.9), (10, 0.0), (10, 0.5)]) {
            (pod.waiting, pod.kv_usage) = (waiting, kv_usage);
        }
        // 2.2 against 2.0 and 1.0.
        assert_eq!(counts(Policy::EndpointPicker(PICKER), &pods, 20), [20, 0, 0]);
        // Equal queues: the emptiest cache.
        pods[0].waiting = 10;
        assert_eq!(counts(Policy::EndpointPicker(PICKER), &pods, 20), [0, 20, 0]);
        let even = counts(Policy::EndpointPicker(PICKER), &fleet(&[5, 0]), 10_000);
        assert!(even[0].abs_diff(5_000) < 250, "{even:?}");
    }

    #[test]
    fn the_picker_looks_once_a_period() {
        let mut gateway = Gateway::new(Policy::EndpointPicker(PICKER), Seed(1));
        let at = |ms| SimTime::ZERO + SimDuration::from_millis(ms);
        let looks = [0, 10, 49, 50, 99, 240].map(|ms| gateway.looks(at(ms)));
        assert_eq!(looks, [true, false, false, true, false, true]);
    }

    /// What one policy draws does not depend on the fleet, so a paired case stays paired.
    #[test]
    fn draws_per_pick_are_constant() {
        let mut small = Gateway::new(Policy::Random, Seed(9));
        let mut large = Gateway::new(Policy::Random, Seed(9));
        small.pick(&fleet(&[0]));
        large.pick(&fleet(&[0, 0, 0, 0, 0]));
        let pods = fleet(&[0; 97]);
        assert_eq!(small.pick(&pods), large.pick(&pods));
    }
}
