//! Integer units and the only conversions between them.
//!
//! **Time** is counted in picoseconds, in `u64`. A per-KV-token step cost is as small as 26 ns on an
//! H100 with tensor parallelism, and must keep five significant digits so that a run of decode steps
//! stays exact: 26.340 ns is 26 340 ps. `u64` picoseconds reach 213 days, so the longest supported
//! simulation (90 days, [`SimTime::MAX_HORIZON`]) cannot overflow. Nanoseconds would keep only two
//! digits of that cost, femtoseconds would overflow after five hours.
//!
//! Floating-point seconds exist only here, for reading input and printing results.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Rem, Sub, SubAssign};

/// Picoseconds in one second.
pub const PS_PER_S: u64 = 1_000_000_000_000;
/// Picoseconds in one millisecond.
pub const PS_PER_MS: u64 = 1_000_000_000;
/// Picoseconds in one microsecond.
pub const PS_PER_US: u64 = 1_000_000;
/// Picoseconds in one nanosecond.
pub const PS_PER_NS: u64 = 1_000;

/// A point of simulated time: picoseconds since the start of the run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimTime(u64);

/// A span of simulated time in picoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SimDuration(u64);

impl SimTime {
    /// The start of the run.
    pub const ZERO: Self = Self(0);
    /// Later than every instant of a run: "never".
    pub const NEVER: Self = Self(u64::MAX);
    /// The longest supported run: 90 days.
    pub const MAX_HORIZON: Self = Self(SimDuration::LONGEST_RUN.0);

    /// The instant `ps` picoseconds after the start.
    pub const fn from_ps(ps: u64) -> Self {
        Self(ps)
    }
    /// Picoseconds since the start.
    pub const fn as_ps(self) -> u64 {
        self.0
    }
    /// The instant `s` whole seconds after the start.
    pub const fn from_secs(s: u64) -> Self {
        Self(s * PS_PER_S)
    }
    /// Seconds since the start, for printing and statistics.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / PS_PER_S as f64
    }
    /// Nanoseconds since the start, rounded down: the resolution of a Kubernetes time stamp.
    pub const fn as_nanos(self) -> i64 {
        (self.0 / PS_PER_NS).cast_signed()
    }
    /// The span from `earlier` to `self`; zero if `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> SimDuration {
        SimDuration(self.0.saturating_sub(earlier.0))
    }
}

impl SimDuration {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// Longer than every run.
    pub const MAX: Self = Self(u64::MAX);
    /// 24 hours.
    pub const DAY: Self = Self::from_secs(86_400);
    /// The longest supported run: 90 days.
    pub const LONGEST_RUN: Self = Self(90 * Self::DAY.0);

    /// `ps` picoseconds.
    pub const fn from_ps(ps: u64) -> Self {
        Self(ps)
    }
    /// `ms` whole milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * PS_PER_MS)
    }
    /// `s` whole seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s * PS_PER_S)
    }
    /// `s` seconds, rounded to the nearest picosecond; negative and NaN become zero, and values
    /// past the range saturate.
    pub fn from_secs_f64(s: f64) -> Self {
        Self((s * PS_PER_S as f64).round() as u64)
    }
    /// Picoseconds.
    pub const fn as_ps(self) -> u64 {
        self.0
    }
    /// Seconds, for printing and statistics.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / PS_PER_S as f64
    }
    /// Whole nanoseconds, rounded down.
    pub const fn as_nanos(self) -> i64 {
        (self.0 / PS_PER_NS).cast_signed()
    }
    /// The sum, or [`SimDuration::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
    /// `self - other`, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add<SimDuration> for SimTime {
    type Output = SimTime;
    fn add(self, d: SimDuration) -> SimTime {
        SimTime(self.0.saturating_add(d.0))
    }
}
impl AddAssign<SimDuration> for SimTime {
    fn add_assign(&mut self, d: SimDuration) {
        *self = *self + d;
    }
}
impl Sub<SimDuration> for SimTime {
    type Output = SimTime;
    fn sub(self, d: SimDuration) -> SimTime {
        SimTime(self.0.saturating_sub(d.0))
    }
}
/// The span between two instants; the clock never goes back (law L3), so this panics if it would.
impl Sub for SimTime {
    type Output = SimDuration;
    fn sub(self, earlier: SimTime) -> SimDuration {
        assert!(self >= earlier, "law L3: {self:?} is before {earlier:?}");
        SimDuration(self.0 - earlier.0)
    }
}
impl Add for SimDuration {
    type Output = SimDuration;
    fn add(self, d: SimDuration) -> SimDuration {
        SimDuration(self.0 + d.0)
    }
}
impl AddAssign for SimDuration {
    fn add_assign(&mut self, d: SimDuration) {
        self.0 += d.0;
    }
}
impl Sub for SimDuration {
    type Output = SimDuration;
    fn sub(self, d: SimDuration) -> SimDuration {
        SimDuration(self.0 - d.0)
    }
}
impl SubAssign for SimDuration {
    fn sub_assign(&mut self, d: SimDuration) {
        self.0 -= d.0;
    }
}
impl Mul<u64> for SimDuration {
    type Output = SimDuration;
    fn mul(self, k: u64) -> SimDuration {
        SimDuration(self.0 * k)
    }
}
impl Div<u64> for SimDuration {
    type Output = SimDuration;
    fn div(self, k: u64) -> SimDuration {
        SimDuration(self.0 / k)
    }
}
impl Rem for SimDuration {
    type Output = SimDuration;
    fn rem(self, d: SimDuration) -> SimDuration {
        SimDuration(self.0 % d.0)
    }
}
impl std::iter::Sum for SimDuration {
    fn sum<I: Iterator<Item = SimDuration>>(iter: I) -> SimDuration {
        iter.fold(SimDuration::ZERO, Add::add)
    }
}

impl fmt::Debug for SimTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            f.write_str("never")
        } else {
            write!(f, "t={}", SecondsOf(self.0))
        }
    }
}
impl fmt::Debug for SimDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", SecondsOf(self.0))
    }
}
/// Seconds with the fewest digits that keep the picosecond, as in `12.5s`.
impl fmt::Display for SimDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", SecondsOf(self.0))
    }
}

/// Exact decimal seconds of a picosecond count.
struct SecondsOf(u64);
impl fmt::Display for SecondsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, frac) = (self.0 / PS_PER_S, self.0 % PS_PER_S);
        if frac == 0 {
            return write!(f, "{whole}s");
        }
        let digits = format!("{frac:012}");
        write!(f, "{whole}.{}s", digits.trim_end_matches('0'))
    }
}

/// A metric value or target in thousandths, as Kubernetes' `Quantity.MilliValue` gives it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Milli(pub i64);

/// Number of a request within one run, in arrival order from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct RequestId(pub u64);

/// Ordinal of a pod within one run, in creation order from 0; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct PodId(pub u32);

/// Ordinal of a node within one run, in creation order from 0; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct NodeId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ninety_days_fit() {
        assert!(SimTime::MAX_HORIZON.as_ps() < u64::MAX / 2);
    }

    #[test]
    fn small_kv_cost_keeps_five_digits() {
        assert_eq!(SimDuration::from_secs_f64(26.340e-9).as_ps(), 26_340);
    }

    #[test]
    fn prints_exact_seconds() {
        assert_eq!(SimDuration::from_ps(12_500_000_000_000).to_string(), "12.5s");
        assert_eq!(format!("{:?}", SimTime::from_ps(1)), "t=0.000000000001s");
    }

    #[test]
    #[should_panic(expected = "law L3")]
    fn clock_does_not_go_back() {
        let _ = SimTime::ZERO - SimTime::from_ps(1);
    }
}
