//! Student-t confidence intervals over replications.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// A mean with its two-sided confidence interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// Mean of the defined values; NaN when there is none.
    pub mean: f64,
    /// Lower bound; NaN when fewer than two values are defined.
    pub low: f64,
    /// Upper bound; NaN when fewer than two values are defined.
    pub high: f64,
}

/// Mean of `values` in their order, without NaN (an undefined measure); NaN when none is left.
pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0_u32);
    for value in values {
        if !value.is_nan() {
            sum += value;
            count += 1;
        }
    }
    sum / f64::from(count)
}

impl Interval {
    /// Mean of independent `values` and the interval that covers the true mean with probability
    /// `confidence` (in (0, 1)) if they are normal: mean ± t · s / √n with n − 1 degrees of freedom.
    ///
    /// NaN marks a value that is not defined (a quantile of no requests) and is left out.
    pub fn of(values: &[f64], confidence: f64) -> Self {
        let centre = mean(values.iter().copied());
        let defined = values.iter().filter(|value| !value.is_nan());
        let count = defined.clone().count();
        if count < 2 {
            return Self { mean: centre, low: f64::NAN, high: f64::NAN };
        }
        let squares: f64 = defined.map(|value| (value - centre) * (value - centre)).sum();
        let degrees = count as f64 - 1.0;
        let error = (squares / degrees / count as f64).sqrt();
        let half = student_t(degrees, confidence) * error;
        Self { mean: centre, low: centre - half, high: centre + half }
    }

    /// The lower bound, or the mean where one value gives no interval.
    pub fn low_or_mean(&self) -> f64 {
        if self.low.is_nan() { self.mean } else { self.low }
    }

    /// Whether the interval excludes zero, so that a difference is more than noise.
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// The interval of the mean of `a[i] − b[i]`: replications with common random numbers are paired by index.
///
/// Panics if the lengths differ (a sweep runs every case with every replication).
pub fn paired_difference(a: &[f64], b: &[f64], confidence: f64) -> Interval {
    assert_eq!(a.len(), b.len(), "replications are paired by index");
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    Interval::of(&differences, confidence)
}

/// The two-sided Student-t quantile: the half-width in standard errors.
fn student_t(degrees: f64, confidence: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, degrees) {
        Ok(distribution) => distribution.inverse_cdf(0.5 + confidence / 2.0),
        Err(_) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: Student's t table, two-sided 95 %: 12.706 (1), 2.776 (4), 2.262 (9), 1.984 (100 degrees).
    #[test]
    fn quantiles_match_the_table() {
        for (degrees, want) in [(1.0, 12.706), (4.0, 2.776), (9.0, 2.262), (100.0, 1.984)] {
            let got = student_t(degrees, 0.95);
            assert!((got - want).abs() < 5e-4, "{degrees}: {got} against {want}");
        }
    }

    #[test]
    fn interval_by_hand() {
        // Mean 3, s = sqrt(2.5), standard error sqrt(0.5), t(4) = 2.776.
        let interval = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.95);
        assert_eq!(interval.mean, 3.0);
        assert!((interval.high - (3.0 + 2.776 * 0.5_f64.sqrt())).abs() < 1e-3);
        assert!((interval.low + interval.high - 6.0).abs() < 1e-12);
    }

    #[test]
    fn undefined_values_are_left_out() {
        assert_eq!(
            Interval::of(&[f64::NAN, 2.0, 2.0], 0.95),
            Interval { mean: 2.0, low: 2.0, high: 2.0 }
        );
        let one = Interval::of(&[7.0], 0.95);
        assert!(one.mean == 7.0 && one.low.is_nan() && one.low_or_mean() == 7.0);
        assert!(Interval::of(&[], 0.95).mean.is_nan());
    }

    #[test]
    fn pairing_removes_shared_noise() {
        let noise = [10.0, 40.0, 25.0, 5.0];
        let better: Vec<f64> = noise.iter().map(|v| v - 1.0).collect();
        let difference = paired_difference(&better, &noise, 0.95);
        assert!(difference.excludes_zero() && difference.mean == -1.0);
        assert!(Interval::of(&better, 0.95).high > Interval::of(&noise, 0.95).low);
    }
}
