//! Portable random draws: every step is an IEEE basic operation or `sqrt`, which all platforms round
//! alike, so a seed gives the same bytes everywhere. The system's `exp`, `ln` and `pow` may differ in the
//! last bit; they are not used.

use crate::rng::Generator;
use rand::Rng as _;

/// Natural logarithm of a positive normal number, within 1e-15 of the true value (relative, or absolute
/// near 1).
///
/// `x = m * 2^k` with `m` in `[sqrt(1/2), sqrt(2))`; `ln m = 2 atanh(s)`, `s = (m - 1) / (m + 1)`, as a
/// series in `s^2 < 0.0295`: the first term left out is below 1e-18.
pub fn ln(x: f64) -> f64 {
    debug_assert!(x.is_normal() && x > 0.0, "ln of {x}");
    let bits = x.to_bits();
    let mut k = ((bits >> 52) as i64) - 1023;
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        k += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let mut sum = 0.0;
    for odd in [21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sum = (sum + 1.0 / odd) * z;
    }
    // ln 2 in two parts: the first has 21 trailing zero bits, so its product with k is exact.
    let k = k as f64;
    k * LN2_HIGH + (2.0 * s + (2.0 * s * sum + k * LN2_LOW))
}

/// `e^x`; zero below -708 and infinite above 709.
///
/// `x = k ln 2 + r` with `|r| <= ln(2)/2`, then the Taylor series of `e^r` to `r^13`: the rest is below
/// 1e-17.
pub fn exp(x: f64) -> f64 {
    if x < -708.0 {
        return 0.0;
    }
    if x > 709.0 {
        return f64::INFINITY;
    }
    let k = (x / std::f64::consts::LN_2).round();
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    let mut sum = 1.0;
    for n in (1..=13).rev() {
        sum = 1.0 + sum * r / f64::from(n);
    }
    sum * f64::from_bits(((k as i64 + 1023) as u64) << 52)
}

const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN2_LOW: f64 = 1.908_214_929_270_587_8e-10;

/// Uniform in (0, 1): never 0, never 1.
pub fn uniform(rng: &mut Generator) -> f64 {
    ((rng.next_u64() >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
}

/// Exponential with mean 1.
pub fn exponential(rng: &mut Generator) -> f64 {
    -ln(uniform(rng))
}

/// Standard normal, by Marsaglia's polar method (one of the pair is dropped: no hidden state).
pub fn normal(rng: &mut Generator) -> f64 {
    normal_pair(rng).0
}

/// Two independent standard normals.
// Source: Marsaglia and Bray, SIAM Review 6 (1964), polar method.
pub fn normal_pair(rng: &mut Generator) -> (f64, f64) {
    loop {
        let u = 2.0 * uniform(rng) - 1.0;
        let v = 2.0 * uniform(rng) - 1.0;
        let s = u * u + v * v;
        if s > 1e-300 && s < 1.0 {
            let f = (-2.0 * ln(s) / s).sqrt();
            return (u * f, v * f);
        }
    }
}

/// Gamma with the given shape and mean `shape` (scale 1).
// Source: Marsaglia and Tsang, ACM TOMS 26 (2000), with the boost U^(1/a) for shapes below 1.
pub fn gamma(rng: &mut Generator, shape: f64) -> f64 {
    if shape < 1.0 {
        let boost = exp(ln(uniform(rng)) / shape);
        return gamma(rng, shape + 1.0) * boost;
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let t = 1.0 + c * x;
        if t <= 0.0 {
            continue;
        }
        let v = t * t * t;
        if ln(uniform(rng)) < 0.5 * x * x + d - d * v + d * ln(v) {
            return d * v;
        }
    }
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
    fn logarithm_and_exponential_agree_with_the_system() {
        let mut x = 1e-300_f64;
        while x < 1e300 {
            let (a, b) = (ln(x), x.ln());
            assert!((a - b).abs() <= 2e-15 * b.abs().max(0.1), "ln {x}: {a} {b}");
            x *= 1.037_3;
        }
        let mut x = -700.0_f64;
        while x < 700.0 {
            let (a, b) = (exp(x), x.exp());
            assert!((a / b - 1.0).abs() < 2e-15, "exp {x}: {a} {b}");
            x += 0.173_1;
        }
    }

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
