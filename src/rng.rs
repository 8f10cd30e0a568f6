//! Named random streams: (seed, purpose, index) gives one portable generator.
//!
//! Every random draw of a run comes from a stream that is named by what it is for and by the ordinal of
//! the entity it belongs to. Adding a draw in one place therefore shifts no other stream, and all cases of
//! a sweep meet the same arrivals and the same delays (common random numbers): the policy under test never
//! enters a seed.
//!
//! The generator is PCG-64-MCG, a fixed published algorithm (O'Neill, "PCG", 2014), not the library's
//! "standard" one, which may change between versions. Seeds are mixed by the SplitMix64 finaliser
//! (Steele, Lea, Flood, OOPSLA 2014).

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::SeedableRng;

/// The generator of every stream.
pub type Generator = Pcg64Mcg;

/// What a stream is for. The number is part of the result's identity: append, never renumber.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Stream {
    /// Times of arrivals.
    Arrivals = 1,
    /// Noise on the rate curve.
    RateNoise = 2,
    /// Prompt and output lengths.
    Lengths = 3,
    /// Thinning or overlaying of replayed traces.
    Thinning = 4,
    /// Image pull, attach, load and init times, by pod ordinal.
    PodStart = 5,
    /// Node creation and stock-outs, by node ordinal.
    Provisioning = 6,
    /// Phase of a scrape target, by pod ordinal.
    ScrapePhase = 7,
    /// Ingestion delays, by pod ordinal.
    Ingestion = 8,
    /// Choice of a replica for a request.
    Routing = 9,
    /// Phase of the HPA's first sync.
    HpaSync = 10,
    /// Phase of readiness probes and endpoint delays, by pod ordinal.
    Probe = 11,
    /// Choice among equally ranked pods on scale-down.
    Victim = 12,
    /// Phase of the cluster autoscaler's loop.
    NodeScan = 13,
    /// Sessions, think times and prefixes.
    Sessions = 14,
    /// Injected faults.
    Faults = 15,
    /// Client behaviour: waits, retries.
    Clients = 16,
    /// Scrapes that fail, by target.
    LostScrapes = 20,
    /// Phases of the metrics sources that are not scraped pods: exporters, metrics-server, KEDA.
    MetricsPhase = 21,
    /// Time until a server crashes, by pod ordinal and number of the container.
    Crash = 30,
    /// Time until a readiness probe fails for a while, by pod ordinal and number of the spell.
    Unready = 31,
    /// Length of such a spell.
    UnreadyFor = 32,
    /// Time until a machine is taken away, by node ordinal.
    Preemption = 33,
    /// Time until a machine dies without notice, and until that is noticed, by node ordinal.
    NodeLoss = 34,
    /// Lengths of the requests that several streams have in common, by their seed.
    SharedRequests = 40,
}

/// A master seed, or one derived from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seed(pub u64);

impl Seed {
    /// The seed of replication `index` of an experiment.
    #[must_use]
    pub fn replication(self, index: u64) -> Self {
        Self(mix(mix(self.0 ^ 0x7265_706c_6963_6174) ^ index))
    }

    /// The generator for one purpose and one entity (a pod's or node's ordinal, 0 if there is only one).
    pub fn stream(self, purpose: Stream, index: u64) -> Generator {
        let a = mix(mix(mix(self.0) ^ purpose as u64) ^ index);
        let b = mix(a);
        Pcg64Mcg::from_seed(((u128::from(a) << 64) | u128::from(b)).to_le_bytes())
    }
}

/// The SplitMix64 step and finaliser.
fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

mod dist;
pub use dist::Dist;

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    /// The reference output of SplitMix64 seeded with 0 starts with this value.
    #[test]
    fn splitmix_reference_value() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn streams_differ_by_purpose_index_and_seed() {
        let first = |s: u64, p, i| Seed(s).stream(p, i).next_u64();
        let base = first(1, Stream::Arrivals, 0);
        assert_eq!(base, first(1, Stream::Arrivals, 0));
        assert_ne!(base, first(2, Stream::Arrivals, 0));
        assert_ne!(base, first(1, Stream::Lengths, 0));
        assert_ne!(base, first(1, Stream::Arrivals, 1));
        assert_ne!(Seed(1).replication(0), Seed(1).replication(1));
    }
}
