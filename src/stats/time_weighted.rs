//! Means over time of a value that changes in steps.

use crate::units::SimTime;

/// The integral over time of an integer that changes in steps, such as a replica count.
///
/// Times must not go back (law L3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeWeighted {
    start: SimTime,
    since: SimTime,
    value: u64,
    max: u64,
    /// Integral from `start` to `since` [value · ps].
    integral: u128,
}

impl TimeWeighted {
    /// A value that is `value` from `start` on.
    pub fn new(start: SimTime, value: u64) -> Self {
        Self { start, since: start, value, max: value, integral: 0 }
    }

    /// The value is `value` from `at` on.
    pub fn set(&mut self, at: SimTime, value: u64) {
        self.integral = self.integral_until(at);
        self.since = at;
        self.value = value;
        self.max = self.max.max(value);
    }

    /// Forgets what was before `at`, at the end of a warm-up; the present value stays.
    pub fn restart(&mut self, at: SimTime) {
        *self = Self::new(at, self.value);
    }

    /// The present value.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// The greatest value since the start.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The integral from the start to `at` [value · ps], exact.
    pub fn integral_until(&self, at: SimTime) -> u128 {
        self.integral + u128::from(self.value) * u128::from((at - self.since).as_ps())
    }

    /// The mean from the start to `at`; the present value where no time has passed.
    pub fn mean_until(&self, at: SimTime) -> f64 {
        let span = (at - self.start).as_ps();
        if span == 0 { self.value as f64 } else { self.integral_until(at) as f64 / span as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_weighs_by_time() {
        let mut replicas = TimeWeighted::new(SimTime::ZERO, 1);
        replicas.set(SimTime::from_secs(30), 4);
        replicas.set(SimTime::from_secs(40), 2);
        // (30 · 1 + 10 · 4 + 60 · 2) / 100
        assert_eq!(replicas.mean_until(SimTime::from_secs(100)), 1.9);
        assert_eq!((replicas.max(), replicas.value()), (4, 2));
    }

    #[test]
    fn warm_up_is_forgotten() {
        let mut replicas = TimeWeighted::new(SimTime::ZERO, 9);
        replicas.set(SimTime::from_secs(5), 2);
        replicas.restart(SimTime::from_secs(10));
        assert_eq!(replicas.mean_until(SimTime::from_secs(10)), 2.0);
        assert_eq!(replicas.mean_until(SimTime::from_secs(20)), 2.0);
        assert_eq!(replicas.max(), 2);
    }
}
