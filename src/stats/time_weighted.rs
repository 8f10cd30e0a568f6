//! Sums over time of a value that changes in steps.

use crate::units::SimTime;

/// The integral over time of an integer that changes in steps, such as a replica count.
///
/// Times must not go back (law L3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeWeighted {
    since: SimTime,
    value: u64,
    max: u64,
    /// Integral from the start to `since` [value · ps].
    integral: u128,
}

impl TimeWeighted {
    /// A value that is `value` from `start` on.
    pub fn new(start: SimTime, value: u64) -> Self {
        Self { since: start, value, max: value, integral: 0 }
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

    /// The greatest value since the start.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The integral from the start to `at` [value · ps], exact.
    pub fn integral_until(&self, at: SimTime) -> u128 {
        self.integral + u128::from(self.value) * u128::from((at - self.since).as_ps())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::PS_PER_S;

    /// Value times seconds.
    fn integral(of: &TimeWeighted, seconds: u64) -> u128 {
        of.integral_until(SimTime::from_secs(seconds)) / u128::from(PS_PER_S)
    }

    #[test]
    fn values_weigh_by_their_time() {
        let mut replicas = TimeWeighted::new(SimTime::ZERO, 1);
        replicas.set(SimTime::from_secs(30), 4);
        replicas.set(SimTime::from_secs(40), 2);
        assert_eq!(integral(&replicas, 100), 30 + 10 * 4 + 60 * 2);
        assert_eq!(replicas.max(), 4);
    }

    #[test]
    fn warm_up_is_forgotten() {
        let mut replicas = TimeWeighted::new(SimTime::ZERO, 9);
        replicas.set(SimTime::from_secs(5), 2);
        replicas.restart(SimTime::from_secs(10));
        assert_eq!(integral(&replicas, 10), 0);
        assert_eq!(integral(&replicas, 20), 10 * 2);
        assert_eq!(replicas.max(), 2);
    }
}
