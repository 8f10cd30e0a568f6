//! The lengths of a benchmark's requests, from the mean and a word that its row states.
//!
//! A row states the mean that was really served, often of very few requests. Lengths are therefore drawn in
//! strata, so that a handful represents its distribution, and scaled so that their mean is the stated one.

use crate::rng::{Seed, Stream};
use crate::workload::draw;
use crate::workload::{LengthDist, LengthKind, ParamError};

/// Shape of a distribution of lengths; its mean comes with the row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// All alike, up to the rounding that meets the mean.
    Fixed,
    /// Lognormal with this standard deviation of the logarithm, at most `cap` tokens.
    Lognormal {
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// Longest length \[tokens\].
        cap: u32,
    },
    /// Gamma with this shape, at most `cap` tokens.
    Gamma {
        /// Shape; 1 is exponential.
        shape: f64,
        /// Longest length \[tokens\].
        cap: u32,
    },
}

/// Draws per request of which the middle one is taken.
const STRATUM: usize = 31;

/// `count` lengths with the given mean, at least 1 token each, in an order that `seed` and `index` decide.
pub fn lengths(
    shape: Shape,
    mean: f64,
    count: usize,
    seed: Seed,
    index: u64,
) -> Result<Vec<u32>, ParamError> {
    let mut rng = seed.stream(Stream::Lengths, index);
    let (mut raw, cap) = match shape {
        Shape::Fixed => (vec![1.0; count], u32::MAX),
        Shape::Lognormal { sigma, cap } => {
            (strata(LengthKind::Lognormal { mu: 12.0, sigma }, count, &mut rng)?, cap)
        }
        Shape::Gamma { shape, cap } => {
            let scale = 1e5 / shape;
            (strata(LengthKind::Gamma { shape, scale }, count, &mut rng)?, cap)
        }
    };
    shuffle(&mut raw, &mut rng);
    let scale = scale_to(&raw, mean, f64::from(cap));
    Ok(round_to_mean(raw.iter().map(|x| (x * scale).clamp(1.0, f64::from(cap))), cap))
}

/// `count` values that represent the distribution: medians of consecutive groups of a large sorted sample.
fn strata(
    kind: LengthKind,
    count: usize,
    rng: &mut crate::rng::Generator,
) -> Result<Vec<f64>, ParamError> {
    let dist = LengthDist::new(kind, 1, crate::workload::lengths::MAX_TOKENS)?;
    // Few requests need a sample that is large in itself.
    let per = STRATUM.max(4001usize.div_ceil(count.max(1)) | 1);
    let mut sample: Vec<u32> = (0..count * per).map(|_| dist.sample(rng)).collect();
    sample.sort_unstable();
    Ok(sample.chunks(per).map(|group| f64::from(group[group.len() / 2])).collect())
}

fn shuffle(values: &mut [f64], rng: &mut crate::rng::Generator) {
    for last in (1..values.len()).rev() {
        let other = (draw::uniform(rng) * (last + 1) as f64) as usize;
        values.swap(last, other.min(last));
    }
}

/// The factor at which the clipped values have the mean; where the cap is below it, everything is the cap.
fn scale_to(raw: &[f64], mean: f64, cap: f64) -> f64 {
    let mean_at = |scale: f64| {
        raw.iter().map(|x| (x * scale).clamp(1.0, cap)).sum::<f64>() / raw.len().max(1) as f64
    };
    let (mut low, mut high) = (0.0, 1.0);
    while mean_at(high) < mean && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if mean_at(middle) < mean { low = middle } else { high = middle }
    }
    high
}

/// Whole numbers whose running sum follows that of the values: the mean is met to within one token over all.
fn round_to_mean(values: impl Iterator<Item = f64>, cap: u32) -> Vec<u32> {
    let mut owed = 0.0;
    values
        .map(|value| {
            let whole = ((value + owed + 0.5).floor() as u32).clamp(1, cap);
            owed += value - f64::from(whole);
            whole
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[u32]) -> f64 {
        values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64
    }

    #[test]
    fn the_stated_mean_is_met() {
        for (shape, want, count) in [
            (Shape::Fixed, 98.9, 100),
            (Shape::Fixed, 512.0, 3),
            (Shape::Lognormal { sigma: 1.3, cap: 100_000 }, 158.0, 8),
            (Shape::Gamma { shape: 1.6, cap: 512 }, 437.6, 16),
            (Shape::Gamma { shape: 1.6, cap: 4096 }, 201.7, 1000),
        ] {
            let drawn = lengths(shape, want, count, Seed(3), 0).unwrap();
            assert_eq!(drawn.len(), count);
            let got = mean(&drawn);
            assert!((got - want).abs() <= 1.0 / count as f64 + 0.5 / count as f64, "{got} {want}");
        }
    }

    #[test]
    fn the_cap_holds_even_below_the_mean() {
        let drawn = lengths(Shape::Gamma { shape: 1.6, cap: 100 }, 500.0, 10, Seed(3), 0).unwrap();
        assert_eq!(drawn, [100; 10]);
    }

    #[test]
    fn a_handful_represents_its_distribution() {
        let shape = Shape::Lognormal { sigma: 1.3, cap: 1_000_000 };
        let mut few = lengths(shape, 1000.0, 9, Seed(5), 0).unwrap();
        few.sort_unstable();
        // Medians of ninths of a lognormal, scaled to the mean of the nine: the middle one is near 1/1.93 of it.
        let middle = f64::from(few[4]);
        assert!((450.0..650.0).contains(&middle), "{few:?}");
        assert!(few[8] > 5 * few[4] && few[0] * 5 < few[4], "{few:?}");
    }

    #[test]
    fn the_seed_changes_the_order_only() {
        let shape = Shape::Gamma { shape: 1.6, cap: 2000 };
        let (a, b) = (lengths(shape, 200.0, 50, Seed(1), 0), lengths(shape, 200.0, 50, Seed(2), 0));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_ne!(a, b);
        assert!((mean(&a) - mean(&b)).abs() < 0.1);
    }
}
