//! A Prometheus histogram over integers.

/// Counts by upper bound. Bounds are inclusive, as Prometheus' `le`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    bounds: Vec<u64>,
    /// Values in each bucket alone, the last one without an upper bound.
    counts: Vec<u64>,
    sum: u128,
}

impl Histogram {
    /// An empty histogram with these rising bounds, and +Inf after them.
    pub fn new(bounds: Vec<u64>) -> Self {
        assert!(bounds.is_sorted(), "bounds rise");
        Self { counts: vec![0; bounds.len() + 1], bounds, sum: 0 }
    }

    /// (bound, number of values up to it), bound by bound; +Inf is left to [`Histogram::count`].
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        self.bounds.iter().copied().zip(counts)
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all values.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Adds `times` equal values.
    pub fn add(&mut self, value: u64, times: u64) {
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket] += times;
        self.sum += u128::from(value) * u128::from(times);
    }

    /// Adds the values `first + i * increment` for `i` in `0..steps`, each `times` times, without a loop
    /// over them.
    pub fn add_progression(&mut self, first: u64, increment: u64, steps: u64, times: u64) {
        if increment == 0 || steps == 1 {
            return self.add(first, steps * times);
        }
        let mut done = 0;
        let mut bucket = self.bounds.partition_point(|&bound| bound < first);
        while done < steps {
            let upto = match self.bounds.get(bucket) {
                // The bucket's bound is not below the next value.
                Some(bound) => ((bound - first) / increment + 1).min(steps),
                None => steps,
            };
            self.counts[bucket] += (upto - done) * times;
            done = upto;
            bucket += 1;
        }
        let (n, pairs) = (u128::from(steps), u128::from(steps) * u128::from(steps - 1) / 2);
        self.sum += (n * u128::from(first) + pairs * u128::from(increment)) * u128::from(times);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(vec![10, 20]);
        for value in [10, 11, 20, 21] {
            histogram.add(value, 1);
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(10, 1), (20, 3)]);
        assert_eq!((histogram.count(), histogram.sum()), (4, 62));
    }

    proptest! {
        #[test]
        fn a_progression_is_its_values(
            first in 0u64..60,
            increment in 0u64..20,
            steps in 1u64..40,
            times in 1u64..4,
        ) {
            let mut closed = Histogram::new(vec![5, 10, 11, 40, 200]);
            let mut looped = closed.clone();
            closed.add_progression(first, increment, steps, times);
            for i in 0..steps {
                looped.add(first + i * increment, times);
            }
            prop_assert_eq!(closed, looped);
        }
    }
}
