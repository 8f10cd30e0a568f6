//! Distributions of durations: constant, lognormal by median and p95, empirical.

use super::Generator;
use crate::units::SimDuration;
use rand::RngExt as _;
use rand_distr::{Distribution as _, StandardNormal};

/// The standard normal's 95 % quantile.
const Z95: f64 = 1.644_853_626_951_472_2;

/// A distribution of durations.
#[derive(Clone, Debug, PartialEq)]
pub enum Dist {
    /// Always the same.
    Constant(SimDuration),
    /// Lognormal through its median and 95th percentile.
    LogNormal {
        /// 50th percentile.
        median: SimDuration,
        /// 95th percentile, at least the median.
        p95: SimDuration,
    },
    /// One of the listed values, each equally likely; not empty.
    Empirical(Vec<SimDuration>),
}

impl Dist {
    /// What [`Dist::is_drawable`] asks for, in words.
    pub const RULE: &str =
        "a lognormal needs a median above 0 and a p95 not below it, a list at least one value";

    /// Whether it can be drawn from.
    pub fn is_drawable(&self) -> bool {
        match self {
            Self::Constant(_) => true,
            Self::LogNormal { median, p95 } => *median > SimDuration::ZERO && p95 >= median,
            Self::Empirical(values) => !values.is_empty(),
        }
    }

    /// One draw. Takes the same number of values from the stream on every call of one variant.
    pub fn sample(&self, rng: &mut Generator) -> SimDuration {
        match self {
            Self::Constant(d) => *d,
            Self::LogNormal { median, p95 } => {
                let z: f64 = StandardNormal.sample(rng);
                let sigma = libm::log(p95.as_secs_f64() / median.as_secs_f64()) / Z95;
                SimDuration::from_secs_f64(median.as_secs_f64() * libm::exp(sigma * z))
            }
            Self::Empirical(values) => values[rng.random_range(0..values.len())],
        }
    }

    /// The middle of the distribution, for tables and estimates.
    pub fn median(&self) -> SimDuration {
        match self {
            Self::Constant(d) => *d,
            Self::LogNormal { median, .. } => *median,
            Self::Empirical(values) => {
                let mut sorted = values.clone();
                sorted.sort_unstable();
                sorted.get(sorted.len() / 2).copied().unwrap_or_default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Seed, Stream};

    #[test]
    fn lognormal_meets_its_percentiles() {
        let dist = Dist::LogNormal {
            median: SimDuration::from_secs(180),
            p95: SimDuration::from_secs(330),
        };
        let mut rng = Seed(7).stream(Stream::Provisioning, 0);
        let mut draws: Vec<f64> =
            (0..20_000).map(|_| dist.sample(&mut rng).as_secs_f64()).collect();
        draws.sort_unstable_by(f64::total_cmp);
        assert!((draws[10_000] - 180.0).abs() < 4.0, "median {}", draws[10_000]);
        assert!((draws[19_000] - 330.0).abs() < 12.0, "p95 {}", draws[19_000]);
    }
}
