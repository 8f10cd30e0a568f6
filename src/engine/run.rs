//! The clock of a run of decode iterations: an arithmetic progression of step times, in closed form.
//!
//! Between two changes of the batch the duration of a decode step is affine in the context, and the
//! context grows by the same number of tokens at each step. Iteration `j` of a run starts at
//! `S(0) = start`, `S(1) = start + first`, and for `j >= 1`
//! `S(j) = S(1) + (j - 1) * second + increment * (j - 1) * (j - 2) / 2`; its output is processed at
//! `S(j + 1)`. Synchronous runs have `second = first + increment`; with asynchronous scheduling the first
//! iteration waits for a batch of the past, which may be of another kind.
//!
//! Law: every answer is exact. Floating point only proposes the root of the quadratic; integers decide.

use crate::units::{SimDuration, SimTime};

/// A run in progress. Nothing is stored per step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    start: u64,
    first: u64,
    second: u64,
    increment: u64,
    /// Iterations of the run, at least 1.
    iterations: u64,
    /// `S(iterations)`.
    end: u64,
}

impl Run {
    /// A run of at most `iterations` >= 1 iterations.
    pub(super) fn new(
        start: SimTime,
        first: SimDuration,
        second: SimDuration,
        increment: SimDuration,
        iterations: u64,
    ) -> Self {
        let mut run = Self {
            start: start.as_ps(),
            first: first.as_ps(),
            second: second.as_ps(),
            increment: increment.as_ps(),
            iterations: 0,
            end: 0,
        };
        run.shorten(iterations);
        run
    }

    /// Start of the first iteration.
    pub(super) fn start(&self) -> SimTime {
        SimTime::from_ps(self.start)
    }

    /// When the last output of the run is processed.
    pub(super) fn end(&self) -> SimTime {
        SimTime::from_ps(self.end)
    }

    /// Number of iterations.
    pub(super) fn iterations(&self) -> u64 {
        self.iterations
    }

    /// Gap of the first output and of the second, and the growth from there on.
    pub(super) fn gaps(&self) -> [SimDuration; 3] {
        [self.first, self.second, self.increment].map(SimDuration::from_ps)
    }

    /// Makes the run end after `iterations` >= 1 iterations.
    pub(super) fn shorten(&mut self, iterations: u64) {
        assert!(iterations > 0, "a run has an iteration");
        self.iterations = iterations;
        self.end = self.at(iterations);
    }

    /// S(j): the start of iteration `j`.
    fn at(&self, j: u64) -> u64 {
        if j == 0 {
            return self.start;
        }
        let steps = u128::from(j - 1);
        let pairs = steps * steps.saturating_sub(1) / 2;
        let span = steps * u128::from(self.second) + pairs * u128::from(self.increment);
        let at = u128::from(self.start) + u128::from(self.first) + span;
        u64::try_from(at).unwrap_or(u64::MAX)
    }

    /// S(j) as a time.
    pub(super) fn start_of(&self, j: u64) -> SimTime {
        SimTime::from_ps(self.at(j))
    }

    /// The largest `j` <= `iterations` with S(j) <= `time`, which is not before the start: outputs
    /// processed by then.
    pub(super) fn processed_by(&self, time: SimTime) -> u64 {
        let time = time.as_ps();
        if time >= self.end {
            return self.iterations;
        }
        if time < self.start + self.first {
            return 0;
        }
        // m more steps after S(1): m * second + increment * m * (m - 1) / 2 <= left.
        let left = (time - self.start - self.first) as f64;
        let (second, increment) = (self.second as f64, self.increment as f64);
        let b = second - increment / 2.0;
        let root = 2.0 * left / (b + (b * b + 2.0 * increment * left).sqrt());
        let mut j = (1 + root as u64).min(self.iterations);
        while j < self.iterations && self.at(j + 1) <= time {
            j += 1;
        }
        while j > 1 && self.at(j) > time {
            j -= 1;
        }
        j
    }

    /// Iterations that start before `time`, which is after the start.
    pub(super) fn started_before(&self, time: SimTime) -> u64 {
        let last = SimTime::from_ps(time.as_ps() - 1);
        (self.processed_by(last) + 1).min(self.iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_closed_form_is_the_loop(
            start in 0u64..1 << 60,
            first in 1u64..1 << 50,
            second in 1u64..1 << 40,
            increment in prop_oneof![Just(0u64), 0u64..1 << 20, 0u64..1 << 33],
            iterations in 1u64..3000,
            at in 0.0f64..1.1,
            aside in -2i64..3,
        ) {
            let ps = SimDuration::from_ps;
            let run =
                Run::new(SimTime::from_ps(start), ps(first), ps(second), ps(increment), iterations);
            let mut starts = vec![start, start + first];
            for j in 1..iterations {
                starts.push(starts[j as usize] + second + increment * (j - 1));
            }
            for (j, &expected) in (0u64..).zip(&starts) {
                prop_assert_eq!(run.start_of(j).as_ps(), expected);
            }
            // A time near the start of some iteration.
            let near = starts[((iterations as f64 * at) as usize).min(starts.len() - 1)];
            let time = near.saturating_add_signed(aside).max(start);
            let processed = starts[1..].iter().filter(|&&s| s <= time).count() as u64;
            prop_assert_eq!(run.processed_by(SimTime::from_ps(time)), processed);
            if time > start {
                let started = starts[..iterations as usize].iter().filter(|&&s| s < time).count();
                prop_assert_eq!(run.started_before(SimTime::from_ps(time)), started as u64);
            }
        }
    }

    #[test]
    fn times_past_the_range_saturate() {
        let long = SimDuration::from_ps(u64::MAX / 2);
        let run = Run::new(SimTime::ZERO, long, long, long, 1000);
        assert_eq!(run.end(), SimTime::NEVER);
        assert_eq!(run.processed_by(SimTime::from_ps(u64::MAX - 1)), 2);
    }
}
