//! Bytes over bytes per second, in integers.

use super::config::Rate;
use crate::rng::{Dist, Generator};
use crate::units::{PS_PER_S, SimDuration};

/// Bytes in the unit of the rate's inverse.
const TB: u64 = 1_000_000_000_000;

/// The time to move `bytes` at `bytes_per_s` (not 0), rounded up.
pub(super) fn time_for(bytes: u64, bytes_per_s: u64) -> SimDuration {
    let ps = (u128::from(bytes) * u128::from(PS_PER_S)).div_ceil(u128::from(bytes_per_s));
    SimDuration::from_ps(u64::try_from(ps).unwrap_or(u64::MAX))
}

/// One draw of a lognormal rate \[bytes/s\], at least 1.
pub(super) fn sample(rate: Rate, rng: &mut Generator) -> u64 {
    if rate.median == rate.p05 {
        return rate.median;
    }
    // A lognormal's inverse is lognormal: draw the seconds per terabyte, whose p95 is the slow end.
    let per_tb = Dist::LogNormal { median: time_for(TB, rate.median), p95: time_for(TB, rate.p05) };
    let ps = u128::from(per_tb.sample(rng).as_ps().max(1));
    let drawn = u128::from(TB) * u128::from(PS_PER_S) / ps;
    u64::try_from(drawn).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Seed, Stream};

    #[test]
    fn ten_gigabytes_at_120_megabytes_per_second() {
        assert_eq!(time_for(10_000_000_000, 120_000_000).as_secs_f64().round(), 83.0);
        assert_eq!(time_for(1, 3).as_ps(), 333_333_333_334);
    }

    #[test]
    fn rates_meet_their_percentiles() {
        let rate = Rate { median: 450_000_000, p05: 250_000_000 };
        let mut rng = Seed(3).stream(Stream::PodStart, 0);
        let mut draws: Vec<u64> = (0..20_000).map(|_| sample(rate, &mut rng)).collect();
        draws.sort_unstable();
        assert!((draws[10_000] as f64 / 450e6 - 1.0).abs() < 0.02, "{}", draws[10_000]);
        assert!((draws[1_000] as f64 / 250e6 - 1.0).abs() < 0.03, "{}", draws[1_000]);
    }
}
