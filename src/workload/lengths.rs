//! Prompt and output lengths in tokens.
//!
//! Every draw is rounded to the nearest integer, then clipped. Token counts of a recorded trace come from
//! its source's own tokenizer; nothing here rescales between models.

use super::{ParamError, draw, not_negative, positive};
use crate::rng::Generator;
use std::sync::Arc;

/// Shape of one length's distribution, before rounding and clipping.
#[derive(Clone, Debug, PartialEq)]
pub enum LengthKind {
    /// Always this many tokens.
    Constant(u32),
    /// Every integer from `min` to `max` alike.
    Uniform {
        /// Smallest length \[tokens\].
        min: u32,
        /// Largest length \[tokens\].
        max: u32,
    },
    /// Lognormal: `exp(mu + sigma z)`.
    Lognormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Gamma; mean `shape * scale` tokens.
    Gamma {
        /// Shape.
        shape: f64,
        /// Scale \[tokens\].
        scale: f64,
    },
    /// Normal, clipped.
    Normal {
        /// Mean \[tokens\].
        mean: f64,
        /// Standard deviation \[tokens\].
        sd: f64,
    },
    /// Exponential.
    Exponential {
        /// Mean \[tokens\].
        mean: f64,
    },
    /// Linear inverse CDF through (probability, tokens) points.
    Quantiles(Arc<[(f64, f64)]>),
    /// One of the listed lengths, each equally likely.
    Empirical(Arc<[u32]>),
}

/// A validated distribution of one length.
#[derive(Clone, Debug, PartialEq)]
pub struct LengthDist {
    kind: LengthKind,
    min: u32,
    max: u32,
}

/// Longest length that any workload may ask for \[tokens\]; vLLM's own counters are 32-bit.
pub const MAX_TOKENS: u32 = i32::MAX as u32;

impl LengthDist {
    /// `kind`, clipped to `min..=max`. `min` must be at least 1.
    pub fn new(kind: LengthKind, min: u32, max: u32) -> Result<Self, ParamError> {
        if min == 0 {
            return Err(ParamError::new("min", "must be at least 1 token"));
        }
        if min > max || max > MAX_TOKENS {
            return Err(ParamError::new("max", format!("must lie in {min}..={MAX_TOKENS}")));
        }
        match &kind {
            LengthKind::Constant(0) => {
                return Err(ParamError::new("constant", "must be at least 1 token"));
            }
            LengthKind::Constant(_) => {}
            LengthKind::Uniform { min, max } => {
                if *min == 0 || min > max {
                    return Err(ParamError::new("uniform", "needs 1 <= min <= max"));
                }
            }
            LengthKind::Lognormal { mu, sigma } => {
                if !mu.is_finite() || mu.abs() > 40.0 {
                    return Err(ParamError::new("mu", "must be a number between -40 and 40"));
                }
                not_negative("sigma", *sigma)?;
            }
            LengthKind::Gamma { shape, scale } => {
                positive("shape", *shape)?;
                positive("scale", *scale)?;
            }
            LengthKind::Normal { mean, sd } => {
                positive("mean", *mean)?;
                not_negative("sd", *sd)?;
            }
            LengthKind::Exponential { mean } => {
                positive("mean", *mean)?;
            }
            LengthKind::Quantiles(points) => check_quantiles(points)?,
            LengthKind::Empirical(values) => {
                if values.is_empty() {
                    return Err(ParamError::new("empirical", "has no lengths"));
                }
            }
        }
        Ok(Self { kind, min, max })
    }

    /// Always `tokens`.
    pub fn constant(tokens: u32) -> Result<Self, ParamError> {
        Self::new(LengthKind::Constant(tokens), 1, MAX_TOKENS)
    }

    /// Lognormal through its mean and median: `mu = ln p50`, `sigma = sqrt(2 ln(mean / p50))`.
    pub fn lognormal_mean_p50(mean: f64, p50: f64, min: u32, max: u32) -> Result<Self, ParamError> {
        positive("mean", mean)?;
        positive("p50", p50)?;
        if mean < p50 {
            return Err(ParamError::new("mean", "is below `p50`: not a lognormal"));
        }
        let kind = LengthKind::Lognormal {
            mu: draw::ln(p50),
            sigma: (2.0 * draw::ln(mean / p50)).max(0.0).sqrt(),
        };
        Self::new(kind, min, max)
    }

    /// Lognormal through its mean and standard deviation.
    pub fn lognormal_mean_sd(mean: f64, sd: f64, min: u32, max: u32) -> Result<Self, ParamError> {
        positive("mean", mean)?;
        not_negative("sd", sd)?;
        let var = draw::ln(1.0 + (sd / mean) * (sd / mean));
        let kind = LengthKind::Lognormal { mu: draw::ln(mean) - var / 2.0, sigma: var.sqrt() };
        Self::new(kind, min, max)
    }

    /// One length \[tokens\].
    pub fn sample(&self, rng: &mut Generator) -> u32 {
        let x = match &self.kind {
            LengthKind::Constant(n) => f64::from(*n),
            LengthKind::Uniform { min, max } => {
                let width = f64::from(max - min) + 1.0;
                f64::from(*min) + (draw::uniform(rng) * width).floor()
            }
            LengthKind::Lognormal { mu, sigma } => draw::exp(mu + sigma * draw::normal(rng)),
            LengthKind::Gamma { shape, scale } => draw::gamma(rng, *shape) * scale,
            LengthKind::Normal { mean, sd } => mean + sd * draw::normal(rng),
            LengthKind::Exponential { mean } => mean * draw::exponential(rng),
            LengthKind::Quantiles(points) => inverse_cdf(points, draw::uniform(rng)),
            LengthKind::Empirical(values) => {
                let i = (draw::uniform(rng) * values.len() as f64) as usize;
                f64::from(values[i.min(values.len() - 1)])
            }
        };
        round_clip(x, self.min, self.max)
    }
}

/// Nearest integer (ties up), then clipped.
fn round_clip(x: f64, min: u32, max: u32) -> u32 {
    ((x + 0.5).floor().clamp(0.0, f64::from(MAX_TOKENS)) as u32).clamp(min, max)
}

fn check_quantiles(points: &[(f64, f64)]) -> Result<(), ParamError> {
    let error = |m: &str| Err(ParamError::new("quantiles", m));
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return error("needs at least two points");
    };
    if points.len() < 2 || first.0 != 0.0 || last.0 != 1.0 {
        return error("probabilities must start at 0 and end at 1");
    }
    if !points.iter().all(|p| p.0.is_finite() && p.1.is_finite() && p.1 >= 0.0) {
        return error("every point must be a finite number of at least 0");
    }
    if !points.windows(2).all(|w| w[0].0 < w[1].0 && w[0].1 <= w[1].1) {
        return error("probabilities must increase and lengths must not decrease");
    }
    Ok(())
}

fn inverse_cdf(points: &[(f64, f64)], u: f64) -> f64 {
    let i = points.partition_point(|p| p.0 <= u).clamp(1, points.len() - 1);
    let ((p0, v0), (p1, v1)) = (points[i - 1], points[i]);
    v0 + (v1 - v0) * (u - p0) / (p1 - p0)
}

/// One component of a joint mixture: `ln prompt` and `ln output` are bivariate normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LognormalComponent {
    /// Relative weight.
    pub weight: f64,
    /// Mean of `ln prompt_tokens`.
    pub mu_in: f64,
    /// Standard deviation of `ln prompt_tokens`.
    pub sigma_in: f64,
    /// Mean of `ln output_tokens`.
    pub mu_out: f64,
    /// Standard deviation of `ln output_tokens`.
    pub sigma_out: f64,
    /// Correlation of the two logarithms.
    pub rho: f64,
}

/// The lengths of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum LengthModel {
    /// Prompt and output independent of each other.
    Independent {
        /// Prompt length.
        prompt: LengthDist,
        /// Output length.
        output: LengthDist,
    },
    /// A joint mixture; built by [`LengthModel::mixture`].
    Mixture(Mixture),
    /// Pairs (prompt, output) of a recorded trace, each equally likely.
    Pairs(Arc<[(u32, u32)]>),
}

/// A validated joint mixture with its clipping bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    components: Arc<[LognormalComponent]>,
    /// Cumulated weights, the last one 1.
    cumulated: Arc<[f64]>,
    prompt_range: (u32, u32),
    output_range: (u32, u32),
}

impl LengthModel {
    /// Always the same prompt and output length.
    pub fn constant(prompt: u32, output: u32) -> Result<Self, ParamError> {
        Ok(Self::Independent {
            prompt: LengthDist::constant(prompt).map_err(|e| e.within("prompt_tokens"))?,
            output: LengthDist::constant(output).map_err(|e| e.within("output_tokens"))?,
        })
    }

    /// A joint lognormal mixture, clipped to the two inclusive ranges.
    pub fn mixture(
        components: Vec<LognormalComponent>,
        prompt_range: (u32, u32),
        output_range: (u32, u32),
    ) -> Result<Self, ParamError> {
        if components.is_empty() {
            return Err(ParamError::new("components", "needs at least one"));
        }
        for (name, (min, max)) in [("prompt_range", prompt_range), ("output_range", output_range)] {
            if min == 0 || min > max || max > MAX_TOKENS {
                return Err(ParamError::new(name, "needs 1 <= min <= max"));
            }
        }
        let mut sum = 0.0;
        let mut cumulated = Vec::with_capacity(components.len());
        for (i, c) in components.iter().enumerate() {
            let at = |f: &str| format!("components[{i}].{f}");
            sum += positive(&at("weight"), c.weight)?;
            cumulated.push(sum);
            not_negative(&at("sigma_in"), c.sigma_in)?;
            not_negative(&at("sigma_out"), c.sigma_out)?;
            if c.rho.is_nan() || c.rho.abs() > 1.0 {
                return Err(ParamError::new(at("rho"), "must lie between -1 and 1"));
            }
            for (f, mu) in [("mu_in", c.mu_in), ("mu_out", c.mu_out)] {
                if mu.is_nan() || mu.abs() > 40.0 {
                    return Err(ParamError::new(at(f), "must be a number between -40 and 40"));
                }
            }
        }
        for w in &mut cumulated {
            *w /= sum;
        }
        Ok(Self::Mixture(Mixture {
            components: components.into(),
            cumulated: cumulated.into(),
            prompt_range,
            output_range,
        }))
    }

    /// Lengths resampled from a recorded trace; not empty.
    pub fn pairs(pairs: Vec<(u32, u32)>) -> Result<Self, ParamError> {
        if pairs.is_empty() {
            return Err(ParamError::new("pairs", "has no lengths"));
        }
        Ok(Self::Pairs(pairs.into()))
    }

    /// (prompt, output) of one request \[tokens\].
    pub fn sample(&self, rng: &mut Generator) -> (u32, u32) {
        match self {
            Self::Independent { prompt, output } => (prompt.sample(rng), output.sample(rng)),
            Self::Mixture(m) => m.sample(rng),
            Self::Pairs(pairs) => {
                let i = (draw::uniform(rng) * pairs.len() as f64) as usize;
                pairs[i.min(pairs.len() - 1)]
            }
        }
    }
}

impl Mixture {
    fn sample(&self, rng: &mut Generator) -> (u32, u32) {
        let which = draw::uniform(rng);
        let i = self.cumulated.iter().position(|&w| which < w).unwrap_or(self.cumulated.len() - 1);
        let c = &self.components[i];
        let (z, e) = draw::normal_pair(rng);
        let correlated = c.rho * z + (1.0 - c.rho * c.rho).max(0.0).sqrt() * e;
        let prompt = draw::exp(c.mu_in + c.sigma_in * z);
        let output = draw::exp(c.mu_out + c.sigma_out * correlated);
        (
            round_clip(prompt, self.prompt_range.0, self.prompt_range.1),
            round_clip(output, self.output_range.0, self.output_range.1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Seed, Stream};

    fn mean(dist: &LengthDist) -> f64 {
        let mut rng = Seed(11).stream(Stream::Lengths, 0);
        (0..50_000).map(|_| f64::from(dist.sample(&mut rng))).sum::<f64>() / 50_000.0
    }

    #[test]
    fn every_family_meets_its_mean() {
        let kinds = [
            (LengthKind::Constant(17), 17.0),
            (LengthKind::Uniform { min: 10, max: 20 }, 15.0),
            // exp(mu + sigma^2 / 2)
            (LengthKind::Lognormal { mu: 5.0, sigma: 0.7 }, 189.613),
            (LengthKind::Gamma { shape: 1.3, scale: 800.0 }, 1040.0),
            (LengthKind::Normal { mean: 300.0, sd: 60.0 }, 300.0),
            (LengthKind::Exponential { mean: 400.0 }, 400.0),
            // Halves of the draws, each even between its ends.
            (LengthKind::Quantiles([(0.0, 10.0), (0.5, 100.0), (1.0, 1000.0)].into()), 302.5),
            (LengthKind::Empirical([3, 5, 700].into()), 236.0),
        ];
        for (kind, want) in kinds {
            let got = mean(&LengthDist::new(kind.clone(), 1, 1_000_000).unwrap());
            assert!((got / want - 1.0).abs() < 0.02, "{kind:?}: {got} against {want}");
        }
        let dist = LengthDist::lognormal_mean_p50(2490.0, 1910.0, 1, 1_000_000).unwrap();
        assert!((mean(&dist) / 2490.0 - 1.0).abs() < 0.02);
        let dist = LengthDist::lognormal_mean_sd(50.0, 40.0, 1, 1_000_000).unwrap();
        assert!((mean(&dist) / 50.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn impossible_parameters_are_named() {
        let field = |k| LengthDist::new(k, 1, 10).unwrap_err().field;
        assert_eq!(field(LengthKind::Constant(0)), "constant");
        assert_eq!(field(LengthKind::Lognormal { mu: f64::NAN, sigma: 1.0 }), "mu");
        assert_eq!(field(LengthKind::Lognormal { mu: 1.0, sigma: -1.0 }), "sigma");
        assert_eq!(field(LengthKind::Quantiles([(0.0, 1.0)].into())), "quantiles");
        assert_eq!(LengthDist::new(LengthKind::Constant(3), 0, 10).unwrap_err().field, "min");
        assert_eq!(LengthDist::new(LengthKind::Constant(3), 5, 4).unwrap_err().field, "max");
        assert!(LengthModel::mixture(vec![], (1, 2), (1, 2)).is_err());
    }

    #[test]
    fn clipping_holds() {
        let dist = LengthDist::new(LengthKind::Exponential { mean: 100.0 }, 50, 120).unwrap();
        let mut rng = Seed(1).stream(Stream::Lengths, 0);
        assert!((0..1000).all(|_| (50..=120).contains(&dist.sample(&mut rng))));
    }
}
