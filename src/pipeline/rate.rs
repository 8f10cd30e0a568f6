//! Functions over the samples of one counter, gauge or histogram in a window, as the query engine computes them.
//!
//! Source: prometheus promql/functions.go (extrapolatedRate, kahanSumInc) and promql/quantile.go (bucketQuantile), v3.
//! 2.42 differs in three ways: windows are closed on the left; a counter is cut at zero before its distance to the
//! window's start is compared with the gap between samples, so that one that began inside the window grows more; and
//! sums are not compensated.

use super::series::Column;
use crate::units::{SimDuration, SimTime};

/// What a window of one counter holds.
#[derive(Clone, Copy, Debug)]
struct Growth {
    samples: u32,
    first_at: SimTime,
    last_at: SimTime,
    first: f64,
    /// Growth from the first to the last sample, with resets taken into account.
    increase: f64,
}

/// The growth of a counter over the samples after `from`; `None` with fewer than two.
fn growth(counter: Column<'_>, from: SimTime) -> Option<Growth> {
    let mut found: Option<Growth> = None;
    let mut last = 0.0;
    for (at, value) in counter.after(from) {
        match &mut found {
            None => {
                let growth =
                    Growth { samples: 1, first_at: at, last_at: at, first: value, increase: 0.0 };
                found = Some(growth);
            }
            Some(growth) => {
                growth.samples += 1;
                growth.last_at = at;
                // A counter that fell was set back to zero.
                growth.increase += if value < last { value } else { value - last };
            }
        }
        last = value;
    }
    found.filter(|growth| growth.samples > 1)
}

/// `rate(counter[window])`, per second.
pub(super) fn rate(counter: Column<'_>, window: SimDuration) -> Option<f64> {
    let (growth, factor) = extrapolated(counter, window)?;
    Some(growth * (factor / window.as_secs_f64()))
}

/// `increase(counter[window])`. Not the rate times the window: adapters truncate, and 60 would become 59.999.
pub(super) fn increase(counter: Column<'_>, window: SimDuration) -> Option<f64> {
    let (growth, factor) = extrapolated(counter, window)?;
    Some(growth * factor)
}

/// The growth of a counter over the samples of a window, and the factor that extends it to the window's edges.
fn extrapolated(counter: Column<'_>, window: SimDuration) -> Option<(f64, f64)> {
    let as_of = counter.as_of;
    let growth = growth(counter, as_of - window)?;
    let sampled = (growth.last_at - growth.first_at).as_secs_f64();
    let mean_gap = sampled / f64::from(growth.samples - 1);
    // Differences of integer times, as there: differences of seconds would be off in the last digit.
    let mut to_start = (window - (as_of - growth.first_at)).as_secs_f64();
    let mut to_end = (as_of - growth.last_at).as_secs_f64();
    // The series is taken to reach the edge of the window if the edge is near.
    let threshold = mean_gap * 1.1;
    if to_start >= threshold {
        to_start = mean_gap / 2.0;
    }
    // A counter is not extrapolated below zero.
    if growth.increase > 0.0 && growth.first >= 0.0 {
        to_start = to_start.min(sampled * (growth.first / growth.increase));
    }
    if to_end >= threshold {
        to_end = mean_gap / 2.0;
    }
    Some((growth.increase, (sampled + to_start + to_end) / sampled))
}

/// Cloud Monitoring's `ALIGN_RATE`: the growth over the `window` that ends with the newest point after `oldest`, with
/// the value at its start interpolated, per second.
// Source: k8s-stackdriver custom-metrics-stackdriver-adapter: ALIGN_RATE over 60 s for cumulative metrics.
// ASSUMPTION(A240): the window ends with the newest visible point, and a series younger than the window grew from
// its first point; Google does not publish how partial windows are aligned.
pub(super) fn aligned_rate(
    counter: Column<'_>,
    oldest: SimTime,
    window: SimDuration,
) -> Option<f64> {
    let (newest_at, _) = counter.after(oldest).last()?;
    let start = newest_at - window;
    let whole = growth(counter, start)?;
    let before = counter.after(oldest).take_while(|(at, _)| *at <= start).last();
    // The part of the step across the start that lies inside.
    let across = before.map_or(0.0, |(at, value)| {
        let step = if whole.first < value { whole.first } else { whole.first - value };
        let length = (whole.first_at - at).as_secs_f64();
        step * (whole.first_at - start).as_secs_f64() / length
    });
    Some((whole.increase + across) / window.as_secs_f64())
}

/// `avg_over_time(gauge[window])`.
pub(super) fn avg_over_time(gauge: Column<'_>, window: SimDuration) -> Option<f64> {
    let mut count = 0_u32;
    let mut sum = Sum::default();
    for (_, value) in gauge.after(gauge.as_of - window) {
        sum.add(value);
        count += 1;
    }
    (count > 0).then(|| sum.value() / f64::from(count))
}

/// A sum with Neumaier's compensation, as `sum` and `avg` have it: 0.7, 0.1 and 0.2 are 1, not 0.9999999999999999, of
/// which an adapter makes 999m.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    /// Adds a value.
    pub(super) fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        self.lost += if sum.is_infinite() {
            -self.lost
        } else if self.sum.abs() >= value.abs() {
            (self.sum - sum) + value
        } else {
            (value - sum) + self.sum
        };
        self.sum = sum;
    }

    /// The sum of what was added.
    pub(super) fn value(self) -> f64 {
        self.sum + self.lost
    }
}

/// `max_over_time(gauge[window])`.
pub(super) fn max_over_time(gauge: Column<'_>, window: SimDuration) -> Option<f64> {
    gauge.after(gauge.as_of - window).map(|(_, value)| value).max_by(f64::total_cmp)
}

/// Relative difference of neighbouring buckets that is float noise.
// Source: promql/quantile.go, smallDeltaTolerance.
const NOISE: f64 = 1e-12;

/// Makes the counts of cumulative buckets rise. They may not: a server that restarted inside the window may have
/// passed its old count in one bucket, where no reset is seen, and not yet in another.
// Source: promql/quantile.go, ensureMonotonicAndIgnoreSmallDeltas; util/almost, Equal.
fn make_rising(buckets: &mut [f64]) {
    let mut previous = buckets.first().copied().unwrap_or(0.0);
    for count in buckets {
        let is_noise = previous > 0.0 && *count - previous < NOISE * (*count + previous);
        if *count < previous || is_noise {
            *count = previous;
        }
        previous = *count;
    }
}

/// `histogram_quantile(q, buckets)`: `buckets` are cumulative, one for each of `bounds` and one for +Inf; they are made
/// to rise. NaN without observations.
pub(super) fn histogram_quantile(q: f64, bounds: &[f64], buckets: &mut [f64]) -> f64 {
    assert_eq!(bounds.len() + 1, buckets.len(), "one bucket per bound, and +Inf");
    make_rising(buckets);
    let Some(&total) = buckets.last() else { return f64::NAN };
    if total == 0.0 || total.is_nan() {
        return f64::NAN;
    }
    let rank = q * total;
    let bucket = buckets[..bounds.len()].partition_point(|&count| count < rank);
    let Some(&end) = bounds.get(bucket) else {
        // In +Inf: the best that can be said is the largest bound.
        return bounds.last().copied().unwrap_or(f64::NAN);
    };
    let (start, below) = match bucket {
        0 => (0.0, 0.0),
        _ => (bounds[bucket - 1], buckets[bucket - 1]),
    };
    start + (end - start) * ((rank - below) / (buckets[bucket] - below))
}

#[cfg(test)]
mod tests {
    use super::super::series::Series;
    use super::*;

    fn at(s: f64) -> SimTime {
        SimTime::ZERO + SimDuration::from_secs_f64(s)
    }

    /// A counter scraped at the given seconds.
    fn counter(points: &[(f64, f64)]) -> Series {
        let mut series = Series::new(1);
        for (s, value) in points {
            series.push(at(*s), at(*s), Some(&[*value]));
        }
        series
    }

    fn minute(series: &Series, as_of: f64) -> Option<f64> {
        rate(series.column(0, at(as_of)), SimDuration::from_secs(60))
    }

    #[test]
    fn a_steady_counter_gives_its_slope() {
        let points: Vec<(f64, f64)> =
            (0..20).map(|n| (7.0 + 15.0 * f64::from(n), 100.0 + 30.0 * f64::from(n))).collect();
        let series = counter(&points);
        let seen = minute(&series, 200.0).unwrap();
        assert!((seen - 2.0).abs() < 1e-9, "{seen}");
    }

    /// Worked by hand from extrapolatedRate: samples at 5, 20, 35, 50; the window is (0, 60].
    #[test]
    fn edges_near_the_window_are_extrapolated_but_not_below_zero() {
        let series = counter(&[(5.0, 100.0), (20.0, 115.0), (35.0, 130.0), (50.0, 145.0)]);
        // 45 s sampled, 5 s to the start and 10 s to the end are both below 1.1 * 15 s.
        let seen = minute(&series, 60.0).unwrap();
        assert!((seen - 45.0 * (60.0 / 45.0) / 60.0).abs() < 1e-9, "{seen}");
        // From zero: no growth before the first sample.
        let series = counter(&[(5.0, 0.0), (20.0, 15.0), (35.0, 30.0), (50.0, 45.0)]);
        let seen = minute(&series, 60.0).unwrap();
        assert!((seen - 45.0 * (55.0 / 45.0) / 60.0).abs() < 1e-9, "{seen}");
        // A far edge counts as half a gap: samples at 5 and 10 only, 50 s to the end.
        let series = counter(&[(5.0, 100.0), (10.0, 110.0)]);
        let seen = minute(&series, 60.0).unwrap();
        assert!((seen - 10.0 * ((5.0 + 5.0 + 2.5) / 5.0) / 60.0).abs() < 1e-9, "{seen}");
    }

    #[test]
    fn a_reset_counts_from_zero_and_one_sample_is_no_rate() {
        let series = counter(&[(10.0, 50.0), (25.0, 60.0), (40.0, 5.0), (55.0, 15.0)]);
        let seen = minute(&series, 60.0).unwrap();
        // 10 + 5 + 10 over 45 s, 10 s before and 5 s after.
        assert!((seen - 25.0 * (60.0 / 45.0) / 60.0).abs() < 1e-9, "{seen}");
        assert_eq!(minute(&series, 110.0), None);
    }

    /// The window's left edge is open: a sample exactly 60 s old does not count.
    #[test]
    fn the_window_is_open_on_the_left() {
        let series = counter(&[(0.0, 0.0), (30.0, 30.0), (60.0, 60.0)]);
        let seen = minute(&series, 60.0).unwrap();
        // Only 30 and 60 count: 30 s sampled, 30 s to the start (below 33 s, and above zero at 0 s).
        assert!((seen - 30.0 * (60.0 / 30.0) / 60.0).abs() < 1e-9, "{seen}");
    }

    #[test]
    fn aligned_rates_interpolate_the_start() {
        let series =
            counter(&[(10.0, 0.0), (25.0, 30.0), (40.0, 30.0), (55.0, 45.0), (80.0, 95.0)]);
        let window = SimDuration::from_secs(60);
        // From 20 s (20) to 80 s (95).
        let seen = aligned_rate(series.column(0, at(90.0)), SimTime::ZERO, window).unwrap();
        assert!((seen - 75.0 / 60.0).abs() < 1e-9, "{seen}");
    }

    #[test]
    fn quantiles_are_interpolated_inside_a_bucket() {
        let bounds = [1.0, 2.0, 4.0];
        let q = |q, buckets: &[f64]| histogram_quantile(q, &bounds, &mut buckets.to_vec());
        assert_eq!(q(0.5, &[2.0, 4.0, 4.0, 4.0]), 1.0);
        assert_eq!(q(0.75, &[2.0, 4.0, 4.0, 4.0]), 1.5);
        assert_eq!(q(0.9, &[0.0, 0.0, 10.0, 10.0]), 2.0 + 2.0 * 0.9);
        // Above the last bound the bound is all that is known.
        assert_eq!(q(0.99, &[0.0, 0.0, 5.0, 10.0]), 4.0);
        assert!(q(0.5, &[0.0; 4]).is_nan());
        // A number of promtool 2.42.0, `promtool test rules` with the same buckets: a bucket never counts less than the
        // one below it.
        assert_eq!(q(0.9, &[1.0, 4.0, 3.0, 3.0]), 1.866_666_666_666_666_7);
        // Float noise is no observation above 2; 2.42.0 took it for one and said 4.
        assert_eq!(q(1.0, &[0.1, 0.3, 0.3, 0.1 + 0.2]), 2.0);
    }

    /// Numbers of promtool 2.42.0, `promtool test rules`, where its rules are those of v3.
    #[test]
    #[allow(clippy::unreadable_literal, reason = "as promtool prints them")]
    fn growth_is_prometheus_own_to_the_last_digit() {
        let steady = [
            (5.0, 100.0),
            (20.0, 107.0),
            (35.0, 121.0),
            (50.0, 130.0),
            (65.0, 141.0),
            (80.0, 149.0),
        ];
        let lost = [steady[0], steady[1], steady[3], steady[4], steady[5]];
        let reset = [steady[0], steady[1], (50.0, 3.0), steady[4], steady[5]];
        let fresh = [(305.0, 0.0), (320.0, 0.0), (335.0, 7.0), (350.0, 11.0)];
        for (points, as_of, window, growth, per_second) in [
            (&steady[..], 83.0, 60, 3.733333333333333E+01, 6.222222222222221E-01),
            (&steady, 83.0, 90, 5.88E+01, 6.533333333333333E-01),
            (&steady, 97.0, 90, 5.6349999999999994E+01, 6.261111111111111E-01),
            (&lost, 83.0, 60, 2.5650000000000002E+01, 4.2750000000000005E-01),
            (&lost, 97.0, 90, 6.3E+01, 7E-01),
            (&reset, 97.0, 60, 1.8549999999999997E+02, 3.0916666666666663E+00),
            (&reset, 131.0, 90, 1.8549999999999997E+02, 2.061111111111111E+00),
            (&fresh, 352.0, 90, 1.1488888888888889E+01, 1.2765432098765433E-01),
        ] {
            let (series, window) = (counter(points), SimDuration::from_secs(window));
            let seen = [increase, rate].map(|f| f(series.column(0, at(as_of)), window));
            assert_eq!(seen, [Some(growth), Some(per_second)], "{points:?} at {as_of}");
        }
    }

    #[test]
    fn sums_are_compensated() {
        let mut sum = Sum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        // Source: prometheus promqltest/testdata/aggregators.test, the sum of the same series.
        assert_eq!(sum.value(), 2.0);
        let mut series = Series::new(1);
        for (s, value) in [(10.0, 0.7), (20.0, 0.1), (30.0, 0.2)] {
            series.push(at(s), at(s), Some(&[value]));
        }
        assert_eq!(
            avg_over_time(series.column(0, at(30.0)), SimDuration::from_secs(30)),
            Some(1.0 / 3.0)
        );
    }
}
