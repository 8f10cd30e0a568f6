//! Random draws. Samplers come from `rand_distr`; `exp` and `ln` from `libm`, which computes the same bits
//! on every platform, where the system's may differ in the last one.

use crate::rng::Generator;
use rand::Rng as _;
use rand_distr::{Distribution as _, Exp1, Gamma, StandardNormal};

pub use libm::{exp, lgamma as ln_gamma, log as ln};

/// Uniform in (0, 1): never 0, never 1.
pub fn uniform(rng: &mut Generator) -> f64 {
    ((rng.next_u64() >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

/// Exponential with mean 1.
pub fn exponential(rng: &mut Generator) -> f64 {
    Exp1.sample(rng)
}

/// Standard normal.
pub fn normal(rng: &mut Generator) -> f64 {
    StandardNormal.sample(rng)
}

/// Two independent standard normals.
pub fn normal_pair(rng: &mut Generator) -> (f64, f64) {
    (normal(rng), normal(rng))
}

/// Gamma with the given shape and mean `shape` (scale 1).
pub fn gamma(rng: &mut Generator, shape: f64) -> f64 {
    if shape < 1.0 {
        // The library's boost for small shapes takes the system's `pow`: the same with `libm`.
        return gamma(rng, shape + 1.0) * exp(ln(uniform(rng)) / shape);
    }
    Gamma::new(shape, 1.0).expect("the shape was validated").sample(rng)
}

/// A number from 1 upwards with the given mean (at least 1): geometric.
pub fn geometric(rng: &mut Generator, mean: f64) -> u32 {
    if mean <= 1.0 {
        return 1;
    }
    let u = uniform(rng);
    (1.0 + (ln(u) / ln(1.0 - 1.0 / mean)).floor()).min(1e6) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Seed, Stream};

    #[test]
    fn moments() {
        let mut rng = Seed(3).stream(Stream::Arrivals, 0);
        let n = 100_000;
        let moments = |f: &mut dyn FnMut() -> f64| {
            let v: Vec<f64> = (0..n).map(|_| f()).collect();
            let mean = v.iter().sum::<f64>() / f64::from(n);
            let var = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
            (mean, var)
        };
        let (m, v) = moments(&mut || exponential(&mut rng));
        assert!((m - 1.0).abs() < 0.015 && (v - 1.0).abs() < 0.04, "exponential {m} {v}");
        let (m, v) = moments(&mut || normal(&mut rng));
        assert!(m.abs() < 0.015 && (v - 1.0).abs() < 0.02, "normal {m} {v}");
        for shape in [0.3, 0.945, 1.0, 4.0] {
            let (m, v) = moments(&mut || gamma(&mut rng, shape));
            assert!((m / shape - 1.0).abs() < 0.03, "gamma {shape}: mean {m}");
            assert!((v / shape - 1.0).abs() < 0.06, "gamma {shape}: variance {v}");
        }
        let (m, _) = moments(&mut || f64::from(geometric(&mut rng, 1.45)));
        assert!((m - 1.45).abs() < 0.015, "geometric {m}");
    }
}
