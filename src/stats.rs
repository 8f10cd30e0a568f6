//! Statistics that every result goes through: latency quantiles, time-weighted means, confidence intervals.
//!
//! One quantile method is used for every p50, p95 and p99: the **nearest rank**, that is the smallest
//! recorded value with at least `q · n` values at or below it ([`LatencyHistogram::quantile`]).
//!
//! The histogram is this crate's own and not a library's, for one reason: a closed-form engine reports
//! inter-token gaps as arithmetic progressions of millions of terms, and [`LatencyHistogram::add_progression`]
//! spreads one over its buckets at the cost of the buckets it touches, with the same result as adding each
//! term. Counts are integers, so the order of adding does not matter.

mod histogram;
mod interval;
mod time_weighted;

pub use histogram::LatencyHistogram;
pub use interval::{Interval, mean, paired_difference};
pub use time_weighted::TimeWeighted;
