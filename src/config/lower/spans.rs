//! Ranges of durations that keys have in common.

use crate::units::SimDuration;
use std::ops::RangeInclusive;

/// The shortest span of a period.
const SHORTEST: SimDuration = SimDuration::from_millis(1);

/// Anything within the longest run.
pub(super) fn any_span() -> RangeInclusive<SimDuration> {
    SimDuration::ZERO..=SimDuration::LONGEST_RUN
}

/// The same, but not none.
pub(super) fn positive_span() -> RangeInclusive<SimDuration> {
    SHORTEST..=SimDuration::LONGEST_RUN
}

/// At most a day.
pub(super) fn within_a_day() -> RangeInclusive<SimDuration> {
    SimDuration::ZERO..=SimDuration::DAY
}

/// The same, but not none.
pub(super) fn positive_within_a_day() -> RangeInclusive<SimDuration> {
    SHORTEST..=SimDuration::DAY
}
