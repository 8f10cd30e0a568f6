//! How long one engine step takes.
//!
//! `step = t0 + cpu_step + cpu_launch + G(T) + (c_seq + cpu_seq) * N + c_kv * KV + c_att * A` with
//! `G(T) = (M^p + (C*T)^p)^(1/p)`: T tokens of the step, N decoding sequences, KV the sum of their context
//! lengths at the start of the step, A the (query, key) pairs of the prefill chunks. The floating-point
//! coefficients are lowered once to integer picoseconds; from there on everything is exact, and a run of
//! decode steps is an arithmetic progression of durations.

use crate::units::{PS_PER_MS, PS_PER_US, SimDuration};

/// Coefficients of the step cost, as a profile states them.
#[derive(Clone, PartialEq, Debug)]
pub struct StepCoefficients {
    /// Fixed cost of a step on the GPU side \[ms\].
    pub t0_ms: f64,
    /// Streaming the weights once, the memory roof \[ms\].
    pub m_ms: f64,
    /// GEMM time per token, the compute roof \[ms/token\].
    pub c_ms_per_token: f64,
    /// Softness of the roof's corner, at least 1; infinity is the hard maximum.
    pub p: f64,
    /// Cost per decoding sequence \[ms/sequence\].
    pub c_seq_ms: f64,
    /// Reading the cache \[us per token of context\].
    pub c_kv_us: f64,
    /// Prefill attention [1e-6 ms per (query, key) pair].
    pub c_att_1e6_ms: f64,
    /// Host part of a step that the GPU does not hide \[ms\].
    pub cpu_step_ms: f64,
    /// Host part per decoding sequence \[ms/sequence\].
    pub cpu_seq_ms: f64,
    /// Host part of launching the layers one by one, in steps that are not one whole CUDA graph \[ms\].
    pub cpu_launch_ms: f64,
    /// Steps of pure decodes with at most this many tokens are one whole CUDA graph; steps with prefill never are.
    pub graph_tokens: u32,
    /// Optional measured G: (tokens, ms) knots in rising order of tokens, linear in between, constant
    /// before the first and extended along the last slope after the last; replaces the soft roof.
    pub g_table: Option<Vec<(u32, f64)>>,
}

impl StepCoefficients {
    /// Llama-3.1-8B in bf16 on one A100 80 GB under a release that hides its host part: what the examples of this
    /// documentation, the benches and the tests run on.
    // Source: `models/a100-80-llama-3.1-8b.toml`, where each figure has its status; decode fitted, prefill derived.
    pub const LLAMA_3_1_8B_ON_A100_80: Self = Self {
        t0_ms: 0.8,
        m_ms: 9.94,
        c_ms_per_token: 0.0698,
        p: 1.4,
        c_seq_ms: 0.012,
        c_kv_us: 0.085,
        c_att_1e6_ms: 3.5,
        cpu_step_ms: 0.0,
        cpu_seq_ms: 0.0,
        cpu_launch_ms: 0.0,
        graph_tokens: u32::MAX,
        g_table: None,
    };
}

/// What the cost of a step depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BatchShape {
    /// Tokens of the step.
    pub tokens: u32,
    /// Sequences whose earlier tokens are all computed and that schedule exactly the newest token.
    pub decodes: u32,
    /// Sum of the decoding sequences' computed tokens at the start of the step.
    pub kv_tokens: u64,
    /// Twice the (query, key) pairs of the prefill chunks: sum of q * (2 * c0 + q).
    pub pairs_twice: u64,
}

/// Why coefficients cannot be lowered.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct StepModelError {
    /// Name of the coefficient.
    pub field: &'static str,
    /// What is wrong, with the value.
    pub message: String,
}

/// The step cost in integers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StepModel {
    /// `base_ps[T]` = t0 + cpu_step + G(T) for T = 0..=max_num_batched_tokens.
    base_ps: Vec<u64>,
    seq_ps: u64,
    kv_ps: u64,
    att_fs: u64,
    /// Added to a step that is not one whole CUDA graph.
    launch_ps: u64,
    graph_tokens: u32,
}

impl StepModel {
    /// Lowers `coefficients` to integers, for steps of up to `max_num_batched_tokens` tokens.
    ///
    /// # Errors
    /// The first coefficient that is negative, not finite, or so large that a step would exceed an hour.
    pub fn new(
        coefficients: &StepCoefficients,
        max_num_batched_tokens: u32,
    ) -> Result<Self, StepModelError> {
        let c = coefficients;
        check("t0_ms", c.t0_ms, MS_MAX)?;
        check("m_ms", c.m_ms, MS_MAX)?;
        check("c_ms_per_token", c.c_ms_per_token, MS_MAX)?;
        check("c_seq_ms", c.c_seq_ms, MS_MAX)?;
        check("c_kv_us", c.c_kv_us, 1e6)?;
        check("c_att_1e6_ms", c.c_att_1e6_ms, 1e6)?;
        check("cpu_step_ms", c.cpu_step_ms, MS_MAX)?;
        check("cpu_seq_ms", c.cpu_seq_ms, MS_MAX)?;
        check("cpu_launch_ms", c.cpu_launch_ms, MS_MAX)?;
        if c.p.is_nan() || c.p < 1.0 {
            return Err(error("p", format!("{} is below 1", c.p)));
        }
        if let Some(table) = &c.g_table {
            check_table(table)?;
        }
        let fixed_ms = c.t0_ms + c.cpu_step_ms;
        let base_ps = (0..=max_num_batched_tokens)
            .map(|tokens| {
                let g_ms = match &c.g_table {
                    Some(table) => interpolate(table, tokens),
                    None => soft_roof(c.m_ms, c.c_ms_per_token * f64::from(tokens), c.p),
                };
                // A step never takes no time at all, or the engine could spin.
                to_units(fixed_ms + g_ms, PS_PER_MS).max(1)
            })
            .collect();
        Ok(Self {
            base_ps,
            seq_ps: to_units(c.c_seq_ms + c.cpu_seq_ms, PS_PER_MS),
            kv_ps: to_units(c.c_kv_us, PS_PER_US),
            // 1e-6 ms is one nanosecond: a million femtoseconds.
            att_fs: to_units(c.c_att_1e6_ms, 1_000_000),
            launch_ps: to_units(c.cpu_launch_ms, PS_PER_MS),
            graph_tokens: c.graph_tokens,
        })
    }

    /// Duration of a step; zero for a step without tokens.
    pub fn duration(&self, shape: &BatchShape) -> SimDuration {
        if shape.tokens == 0 {
            return SimDuration::ZERO;
        }
        let attention_ps = shape.pairs_twice * self.att_fs / 2_000;
        // Beyond the largest graph `decode_ps` has it.
        let mixed = shape.tokens > shape.decodes && shape.tokens <= self.graph_tokens;
        let launch_ps = if mixed { self.launch_ps } else { 0 };
        let decode_ps = self.decode_ps(shape.tokens, shape.decodes, shape.kv_tokens);
        SimDuration::from_ps(decode_ps + attention_ps + launch_ps)
    }

    /// Picoseconds of a step without prefill attention.
    pub(super) fn decode_ps(&self, tokens: u32, decodes: u32, kv_tokens: u64) -> u64 {
        let launch_ps = if tokens > self.graph_tokens { self.launch_ps } else { 0 };
        let fixed_ps = self.base_ps[tokens as usize] + launch_ps;
        fixed_ps + self.seq_ps * u64::from(decodes) + self.kv_ps * kv_tokens
    }

    /// Picoseconds per token of context of a decoding sequence.
    pub(super) fn kv_ps(&self) -> u64 {
        self.kv_ps
    }

    /// Largest number of tokens of a step.
    pub fn max_num_batched_tokens(&self) -> u32 {
        (self.base_ps.len() - 1) as u32
    }
}

/// No single term of a step may reach an hour, so sums stay far inside `u64`.
const MS_MAX: f64 = 3_600_000.0;

fn error(field: &'static str, message: String) -> StepModelError {
    StepModelError { field, message }
}

fn check(field: &'static str, value: f64, max: f64) -> Result<(), StepModelError> {
    if (0.0..=max).contains(&value) {
        Ok(())
    } else {
        Err(error(field, format!("{value} is outside 0..={max}")))
    }
}

fn check_table(table: &[(u32, f64)]) -> Result<(), StepModelError> {
    if table.is_empty() {
        return Err(error("g_table", "has no knots".to_owned()));
    }
    for &(_, ms) in table {
        check("g_table", ms, MS_MAX)?;
    }
    match table.windows(2).find(|w| w[0].0 >= w[1].0) {
        Some(w) => Err(error("g_table", format!("tokens {} do not rise after {}", w[1].0, w[0].0))),
        None => Ok(()),
    }
}

/// `(m^p + c^p)^(1/p)`, scaled by the larger term so that no power overflows.
fn soft_roof(m: f64, c: f64, p: f64) -> f64 {
    let (high, low) = if m > c { (m, c) } else { (c, m) };
    if high == 0.0 || p.is_infinite() {
        return high;
    }
    high * (1.0 + (low / high).powf(p)).powf(1.0 / p)
}

fn interpolate(table: &[(u32, f64)], tokens: u32) -> f64 {
    let above = table.partition_point(|&(t, _)| t < tokens);
    if above == 0 || table.len() == 1 {
        return table[0].1;
    }
    let hi = above.min(table.len() - 1);
    let ((t0, ms0), (t1, ms1)) = (table[hi - 1], table[hi]);
    let slope = (ms1 - ms0) / f64::from(t1 - t0);
    (ms0 + slope * (f64::from(tokens) - f64::from(t0))).max(0.0)
}

fn to_units(value: f64, per_unit: u64) -> u64 {
    (value * per_unit as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a100() -> StepCoefficients {
        StepCoefficients::LLAMA_3_1_8B_ON_A100_80
    }

    #[test]
    fn lowers_to_the_formula_within_a_picosecond() {
        let model = StepModel::new(&a100(), 2048).unwrap();
        let shape =
            BatchShape { tokens: 1040, decodes: 16, kv_tokens: 9_000, pairs_twice: 1024 * 1024 };
        let g = (9.94f64.powf(1.4) + (0.0698f64 * 1040.0).powf(1.4)).powf(1.0 / 1.4);
        let ms = 0.8 + g + 0.012 * 16.0 + 85e-6 * 9000.0 + 3.5e-6 * 1024.0 * 1024.0 / 2.0;
        let got = model.duration(&shape).as_ps() as f64;
        assert!((got - ms * 1e9).abs() <= 1.0, "{got} against {}", ms * 1e9);
    }

    #[test]
    fn a_step_without_tokens_costs_nothing() {
        let model = StepModel::new(&a100(), 8).unwrap();
        assert_eq!(model.duration(&BatchShape::default()), SimDuration::ZERO);
    }

    #[test]
    fn decode_cost_is_affine_in_context() {
        let model = StepModel::new(&a100(), 8).unwrap();
        let at = |kv| model.decode_ps(4, 4, kv);
        assert_eq!(at(1004) - at(1000), at(4) - at(0));
        assert_eq!(at(4) - at(0), 4 * 85_000);
    }

    #[test]
    fn a_table_is_linear_between_knots_and_extended_after_them() {
        let coefficients =
            StepCoefficients { g_table: Some(vec![(2, 10.0), (4, 14.0), (8, 16.0)]), ..a100() };
        let model = StepModel::new(&coefficients, 16).unwrap();
        let g = |t: usize| (model.base_ps[t] - 800_000_000) / 1_000_000;
        assert_eq!(
            [g(1), g(2), g(3), g(4), g(6), g(8), g(12)].map(|us| us as f64 / 1e3),
            [10.0, 10.0, 12.0, 14.0, 15.0, 16.0, 18.0]
        );
    }

    #[test]
    fn names_the_bad_coefficient() {
        let bad = |f: fn(&mut StepCoefficients)| {
            let mut c = a100();
            f(&mut c);
            StepModel::new(&c, 8).unwrap_err().field
        };
        assert_eq!(bad(|c| c.t0_ms = -1.0), "t0_ms");
        assert_eq!(bad(|c| c.c_kv_us = f64::NAN), "c_kv_us");
        assert_eq!(bad(|c| c.p = 0.9), "p");
        assert_eq!(bad(|c| c.g_table = Some(vec![(3, 1.0), (3, 2.0)])), "g_table");
    }
}
