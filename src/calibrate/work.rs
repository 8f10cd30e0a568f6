//! What a measured time is made of, in terms of the coefficients to be fitted.
//!
//! The cost of a step is linear in all coefficients but M and C, and homogeneous in those two: with
//! `G = (M^p + (C T)^p)^(1/p)`, `dG/dM * M + dG/dC * C = G` exactly. So a time that consists of steps is the product
//! of its *work* (derivatives at the present coefficients) with the coefficients, and refitting with the work
//! of the last fit converges in a few rounds.

use crate::engine::{BatchShape, StepCoefficients, StepRecord};
use crate::units::SimTime;

/// Number of coefficients that are fitted.
pub const UNKNOWNS: usize = 6;

/// Their names, in the order of all arrays here; the last is the front-end time.
pub const NAMES: [&str; UNKNOWNS] =
    ["m_ms", "c_ms_per_token", "c_seq_ms", "c_kv_us", "c_att_1e6_ms", "ingest_ms"];

/// Values of the fitted coefficients, in the order of [`NAMES`].
pub type Unknowns = [f64; UNKNOWNS];

/// Coefficients of the step model and the time before the engine sees a request \[ms\].
#[derive(Clone, PartialEq, Debug)]
pub struct Theta {
    /// The step model; t0, p and the host terms are not fitted.
    pub step: StepCoefficients,
    /// Front-end time \[ms\].
    pub ingest_ms: f64,
}

impl Theta {
    /// The values that can be fitted.
    pub fn unknowns(&self) -> Unknowns {
        let c = &self.step;
        [c.m_ms, c.c_ms_per_token, c.c_seq_ms, c.c_kv_us, c.c_att_1e6_ms, self.ingest_ms]
    }

    /// The same with other values.
    #[must_use]
    pub fn with(&self, x: &Unknowns) -> Self {
        let step = StepCoefficients {
            m_ms: x[0],
            c_ms_per_token: x[1],
            c_seq_ms: x[2],
            c_kv_us: x[3],
            c_att_1e6_ms: x[4],
            ..self.step.clone()
        };
        Self { step, ingest_ms: x[5] }
    }
}

/// Steps of one kind, with fractional figures where they are means.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Steps {
    /// How many.
    pub count: f64,
    /// Tokens of each.
    pub tokens: f64,
    /// Decoding sequences of each.
    pub decodes: f64,
    /// Tokens of context of the decoding sequences, of each.
    pub kv_tokens: f64,
    /// (query, key) pairs of prefill attention, of each.
    pub pairs: f64,
}

impl From<&BatchShape> for Steps {
    fn from(shape: &BatchShape) -> Self {
        Self {
            count: 1.0,
            tokens: f64::from(shape.tokens),
            decodes: f64::from(shape.decodes),
            kv_tokens: shape.kv_tokens as f64,
            pairs: shape.pairs_twice as f64 / 2.0,
        }
    }
}

/// Derivatives of a time \[ms\] by the unknowns, and what of it does not depend on them.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Work {
    /// By the unknowns.
    pub by: Unknowns,
    /// The fixed part \[ms\].
    pub rest_ms: f64,
}

impl Work {
    /// The time at these values \[ms\].
    pub fn at(&self, x: &Unknowns) -> f64 {
        self.rest_ms + self.by.iter().zip(x).map(|(d, x)| d * x).sum::<f64>()
    }

    /// The work of `steps` at `theta`.
    pub fn of(steps: &Steps, theta: &Theta) -> Self {
        let c = &theta.step;
        let (by_m, by_c) = corner(c.m_ms, c.c_ms_per_token, steps.tokens, c.p);
        let n = steps.count;
        let whole = steps.tokens <= f64::from(c.graph_tokens) && steps.tokens <= steps.decodes;
        let launch_ms = if whole { 0.0 } else { c.cpu_launch_ms };
        Self {
            by: [
                n * by_m,
                n * by_c,
                n * steps.decodes,
                n * steps.kv_tokens * 1e-3,
                n * steps.pairs * 1e-6,
                0.0,
            ],
            rest_ms: n * (c.t0_ms + launch_ms + c.cpu_step_ms + c.cpu_seq_ms * steps.decodes),
        }
    }

    /// Adds `other`, `times` over.
    pub fn add(&mut self, other: &Self, times: f64) {
        for (a, b) in self.by.iter_mut().zip(&other.by) {
            *a += times * b;
        }
        self.rest_ms += times * other.rest_ms;
    }
}

/// dG/dM and dG/dC of the soft roof at `tokens`.
fn corner(m_ms: f64, c_ms_per_token: f64, tokens: f64, softness: f64) -> (f64, f64) {
    let gemm_ms = c_ms_per_token * tokens;
    // Scaled by the larger so that no power overflows.
    let high = m_ms.max(gemm_ms);
    if high == 0.0 {
        return (0.0, 0.0);
    }
    let (memory, compute) = (m_ms / high, gemm_ms / high);
    let roof = (memory.powf(softness) + compute.powf(softness)).powf(1.0 / softness);
    let slope = |part: f64| (part / roof).powf(softness - 1.0);
    (slope(memory), tokens * slope(compute))
}

/// The work of any span of a replayed run.
#[derive(Debug)]
pub struct Timeline {
    /// Start and end of each step, and the work of all steps before it.
    steps: Vec<(SimTime, SimTime, Work)>,
    total: Work,
}

impl Timeline {
    /// Of a run's steps, in order, at the coefficients of the run.
    pub fn new(steps: &[StepRecord], theta: &Theta) -> Self {
        let mut total = Work::default();
        let steps = steps
            .iter()
            .map(|step| {
                let before = total;
                total.add(&Work::of(&Steps::from(&step.shape), theta), 1.0);
                (step.start, step.end, before)
            })
            .collect();
        Self { steps, total }
    }

    /// Work done up to `at`; of a step in progress its share.
    fn until(&self, at: SimTime) -> Work {
        let index = self.steps.partition_point(|step| step.0 < at);
        let Some((start, end, before)) = index.checked_sub(1).map(|i| self.steps[i]) else {
            return Work::default();
        };
        let after = self.steps.get(index).map_or(self.total, |next| next.2);
        if at >= end || end == start {
            return after;
        }
        let share = (at - start).as_secs_f64() / (end - start).as_secs_f64();
        let mut work = before;
        work.add(&before, -share);
        work.add(&after, share);
        work
    }

    /// Work between two times; its fixed part is such that it gives the span at `theta`, so that idle times
    /// are fixed.
    pub fn between(&self, from: SimTime, to: SimTime, theta: &Theta) -> Work {
        let mut work = self.until(to);
        work.add(&self.until(from), -1.0);
        work.rest_ms = 0.0;
        work.rest_ms = (to - from).as_secs_f64() * 1e3 - work.at(&theta.unknowns());
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::StepModel;

    fn theta() -> Theta {
        let step = StepCoefficients {
            cpu_step_ms: 0.75,
            cpu_seq_ms: 0.025,
            ..StepCoefficients::LLAMA_3_1_8B_ON_A100_80
        };
        Theta { step, ingest_ms: 12.0 }
    }

    /// The law this module rests on: work times coefficients is the step model's own duration.
    #[test]
    fn work_is_the_step_models_duration() {
        for p in [1.0, 1.4, 2.0, 50.0] {
            let mut theta = theta();
            theta.step.p = p;
            let model = StepModel::new(&theta.step, 4096).unwrap();
            for (tokens, decodes, kv_tokens, pairs_twice) in
                [(1, 1, 300, 0), (64, 64, 90_000, 0), (2048, 0, 0, 4_194_304), (2048, 48, 9, 5)]
            {
                let shape = BatchShape { tokens, decodes, kv_tokens, pairs_twice };
                let ms = model.duration(&shape).as_secs_f64() * 1e3;
                let work = Work::of(&Steps::from(&shape), &theta);
                let got = work.at(&theta.unknowns());
                assert!((got / ms - 1.0).abs() < 1e-9, "p {p}, {shape:?}: {got} against {ms}");
            }
        }
    }

    #[test]
    fn a_span_is_its_steps_and_the_idle_time() {
        let theta = theta();
        let shape = BatchShape { tokens: 1, decodes: 1, kv_tokens: 100, pairs_twice: 0 };
        let model = StepModel::new(&theta.step, 16).unwrap();
        let ps = model.duration(&shape).as_ps();
        let at = SimTime::from_ps;
        // Two steps with a pause of one step between.
        let steps = [0, 2].map(|i| StepRecord { start: at(i * ps), end: at((i + 1) * ps), shape });
        let timeline = Timeline::new(&steps, &theta);
        let one = Work::of(&Steps::from(&shape), &theta);
        let ms = ps as f64 / 1e9;
        let all = timeline.between(SimTime::ZERO, at(3 * ps), &theta);
        assert!((all.by[0] - 2.0 * one.by[0]).abs() < 1e-9);
        assert!((all.rest_ms - 2.0 * one.rest_ms - ms).abs() < 1e-6, "{all:?}");
        let half = timeline.between(at(ps / 2), at(3 * ps / 2), &theta);
        assert!((half.by[0] - 0.5 * one.by[0]).abs() < 1e-6, "{half:?}");
    }
}
