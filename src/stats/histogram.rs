//! A log-linear histogram of durations with integer counts.

use crate::units::SimDuration;

/// Buckets per power of two. Half a bucket is at most `1 / (2 · 512)` = 0.098 % of its lower bound.
const BUCKETS_PER_OCTAVE: u64 = 512;
/// `log2(BUCKETS_PER_OCTAVE)`.
const OCTAVE_BITS: u32 = 9;
/// Below `2^20` ps (about 1.05 us) buckets are linear, `2^11` ps (2 ns) wide.
const LINEAR_BITS: u32 = 20;
/// Buckets reserved at creation: up to `2^57` ps, 40 h. Longer values make the histogram grow.
const INITIAL_BUCKETS: usize = bucket_of((1 << 57) - 1) + 1;

/// Durations counted in buckets of at most 0.2 % relative width, from 1 us up (2 ns wide below).
///
/// Count, sum, least and greatest value are exact; quantiles are exact to half a bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LatencyHistogram {
    counts: Vec<u64>,
    count: u64,
    /// Sum of all values \[ps\].
    sum: u128,
    min: u64,
    max: u64,
}

/// The bucket that holds `ps`. Buckets ascend with the value and leave no gap.
const fn bucket_of(ps: u64) -> usize {
    // The position of the highest bit, at least LINEAR_BITS.
    let high = (ps | (1 << LINEAR_BITS)).ilog2();
    let shift = high - OCTAVE_BITS;
    (((high - LINEAR_BITS) as u64) * BUCKETS_PER_OCTAVE + (ps >> shift)) as usize
}

/// First value of a bucket and its width \[ps\].
const fn bounds_of(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < 2 * BUCKETS_PER_OCTAVE {
        let shift = LINEAR_BITS - OCTAVE_BITS;
        return (bucket << shift, 1 << shift);
    }
    let octave = bucket / BUCKETS_PER_OCTAVE - 1;
    let shift = octave as u32 + LINEAR_BITS - OCTAVE_BITS;
    ((bucket - octave * BUCKETS_PER_OCTAVE) << shift, 1 << shift)
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self::new()
    }
}

impl LatencyHistogram {
    /// An empty histogram. Allocates once, for values up to 40 h.
    pub fn new() -> Self {
        Self { counts: vec![0; INITIAL_BUCKETS], count: 0, sum: 0, min: u64::MAX, max: 0 }
    }

    /// Counts `value` `count` times.
    pub fn add(&mut self, value: SimDuration, count: u64) {
        if count == 0 {
            return;
        }
        let ps = value.as_ps();
        *self.slot(bucket_of(ps)) += count;
        self.count += count;
        self.sum += u128::from(ps) * u128::from(count);
        self.min = self.min.min(ps);
        self.max = self.max.max(ps);
    }

    /// Counts each of `first`, `first + increment`, ... (`steps` terms) `weight` times.
    ///
    /// Equal to `steps` calls of [`add`](Self::add), at the cost of the buckets that the terms fall into.
    /// The last term must fit the range of [`SimDuration`].
    pub fn add_progression(
        &mut self,
        first: SimDuration,
        increment: SimDuration,
        steps: u64,
        weight: u64,
    ) {
        if steps == 0 || weight == 0 {
            return;
        }
        let (mut value, increment) = (first.as_ps(), increment.as_ps());
        let last = value + increment * (steps - 1);
        let last_bucket = bucket_of(last);
        let pairs = u128::from(steps) * u128::from(steps - 1) / 2;
        self.count += steps * weight;
        self.sum += (u128::from(value) * u128::from(steps) + u128::from(increment) * pairs)
            * u128::from(weight);
        self.min = self.min.min(value);
        self.max = self.max.max(last);

        let mut left = steps;
        loop {
            let bucket = bucket_of(value);
            if bucket == last_bucket {
                *self.slot(bucket) += left * weight;
                return;
            }
            // The last term is in a later bucket, so the increment is not zero and terms remain.
            let (low, width) = bounds_of(bucket);
            let here = (low + width - value).div_ceil(increment);
            *self.slot(bucket) += here * weight;
            left -= here;
            value += here * increment;
        }
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Mean of all values, rounded down to a picosecond; `None` when empty.
    pub fn mean(&self) -> Option<SimDuration> {
        let mean = self.sum.checked_div(u128::from(self.count))?;
        Some(SimDuration::from_ps(mean as u64))
    }

    /// Least value; `None` when empty.
    pub fn min(&self) -> Option<SimDuration> {
        (self.count > 0).then(|| SimDuration::from_ps(self.min))
    }

    /// Greatest value; `None` when empty.
    pub fn max(&self) -> Option<SimDuration> {
        (self.count > 0).then(|| SimDuration::from_ps(self.max))
    }

    /// The quantile `per_mille / 1000` by nearest rank: the middle of the bucket that holds value number
    /// `ceil(n · per_mille / 1000)` (at least 1) in ascending order, kept within the recorded least and
    /// greatest. `None` when empty.
    ///
    /// At most 0.1 % off the exact nearest-rank value from 1 us up, 1 ns off below.
    pub fn quantile(&self, per_mille: u32) -> Option<SimDuration> {
        if self.count == 0 {
            return None;
        }
        let rank =
            (u128::from(self.count) * u128::from(per_mille.min(1000))).div_ceil(1000).max(1) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                let (low, width) = bounds_of(bucket);
                return Some(SimDuration::from_ps((low + width / 2).clamp(self.min, self.max)));
            }
        }
        unreachable!("bucket counts add up to {seen}, not to {}", self.count)
    }

    fn slot(&mut self, bucket: usize) -> &mut u64 {
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        &mut self.counts[bucket]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ps(value: u64) -> SimDuration {
        SimDuration::from_ps(value)
    }

    #[test]
    fn buckets_tile_the_range_and_are_narrow() {
        let mut expected_low = 0;
        for bucket in 0..INITIAL_BUCKETS {
            let (low, width) = bounds_of(bucket);
            assert_eq!(low, expected_low, "bucket {bucket}");
            assert_eq!((bucket_of(low), bucket_of(low + width - 1)), (bucket, bucket));
            if low >= 1 << LINEAR_BITS {
                assert!(width * 500 <= low, "half of bucket {bucket} exceeds 0.1 %");
            }
            expected_low = low + width;
        }
        assert_eq!(expected_low, 1 << 57);
        assert_eq!(bounds_of(bucket_of(u64::MAX)).0, 1023 << 54);
    }

    #[test]
    fn nearest_rank_of_small_samples() {
        let mut histogram = LatencyHistogram::new();
        for second in 1..=4 {
            histogram.add(SimDuration::from_secs(second), 1);
        }
        let near = |per_mille: u32, want: f64| {
            let got = histogram.quantile(per_mille).unwrap().as_secs_f64();
            assert!((got / want - 1.0).abs() < 1e-3, "{per_mille}: {got} against {want}");
        };
        near(0, 1.0);
        near(250, 1.0);
        near(251, 2.0);
        near(500, 2.0);
        near(990, 4.0);
        assert_eq!(histogram.quantile(1000), Some(SimDuration::from_secs(4)));
        assert_eq!(histogram.mean(), Some(ps(2_500_000_000_000)));
    }

    #[test]
    fn empty_has_no_statistics() {
        let histogram = LatencyHistogram::new();
        assert_eq!(histogram.quantile(500), None);
        assert_eq!(histogram.mean(), None);
        assert_eq!((histogram.min(), histogram.max()), (None, None));
    }

    #[test]
    fn one_value_is_exact_at_every_quantile() {
        let mut histogram = LatencyHistogram::new();
        histogram.add(ps(123_456_789), 7);
        assert_eq!(histogram.quantile(10), Some(ps(123_456_789)));
        assert_eq!(histogram.quantile(990), Some(ps(123_456_789)));
    }

    #[test]
    fn values_past_forty_hours_are_kept() {
        let mut histogram = LatencyHistogram::new();
        histogram.add(SimDuration::from_secs(90 * 86_400), 1);
        assert_eq!(histogram.quantile(500), Some(SimDuration::from_secs(90 * 86_400)));
    }

    proptest! {
        /// The closed form equals adding term by term.
        #[test]
        fn progression_equals_its_terms(
            first in 0_u64..1 << 50,
            increment in prop_oneof![Just(0_u64), 1_u64..1_000, 1_u64..1 << 45],
            steps in 0_u64..400,
            weight in 0_u64..5,
        ) {
            let mut closed = LatencyHistogram::new();
            closed.add_progression(ps(first), ps(increment), steps, weight);
            let mut each = LatencyHistogram::new();
            for step in 0..steps {
                each.add(ps(first + step * increment), weight);
            }
            prop_assert_eq!(closed, each);
        }

        /// Quantiles stay within 0.1 % of the sorted sample's nearest rank.
        #[test]
        fn quantiles_are_near_exact(
            mut values in prop::collection::vec(1_u64 << 20..1 << 57, 1..200),
            per_mille in 0_u32..=1000,
        ) {
            let mut histogram = LatencyHistogram::new();
            for value in &values {
                histogram.add(ps(*value), 1);
            }
            values.sort_unstable();
            let rank = (values.len() as u64 * u64::from(per_mille)).div_ceil(1000).max(1);
            let exact = values[rank as usize - 1] as f64;
            let got = histogram.quantile(per_mille).unwrap().as_ps() as f64;
            prop_assert!((got / exact - 1.0).abs() <= 1e-3, "{got} against {exact}");
        }
    }
}
