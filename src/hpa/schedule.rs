//! When the next reconcile is due.
//!
//! The controller's work queue adds a key back with a fixed delay of the sync period at the end of
//! each reconcile and at each informer event, and keeps the earlier due time. Two regimes follow,
//! both seen with the real controller: the reconcile *drifts* by its own length per cycle, or it is
//! *locked* to the informer's resync tick and comes exactly every sync period.
//! Source: pkg/controller/podautoscaler/rate_limiters.go, client-go delaying_queue.go.

use crate::units::{SimDuration, SimTime};

/// Which of the two regimes holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Next start = end of the reconcile + sync period.
    #[default]
    Drift,
    /// Next start = start of the reconcile + sync period.
    Locked,
}

/// Times of the reconcile loop. All spans are simulated time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSchedule {
    /// `--horizontal-pod-autoscaler-sync-period`.
    pub sync_period: SimDuration,
    /// Regime.
    pub mode: SyncMode,
    /// From reading the scale to the last metric answer.
    pub fetch_latency: SimDuration,
    /// From the decision to the answer of the scale update.
    pub write_latency: SimDuration,
}

impl SyncSchedule {
    /// Default of `--horizontal-pod-autoscaler-sync-period`.
    // Source: pkg/controller/podautoscaler/config/v1alpha1/defaults.go.
    pub const DEFAULT_SYNC_PERIOD: SimDuration = SimDuration::from_secs(15);

    /// When a reconcile that started at `start` decides.
    pub fn decide_at(&self, start: SimTime) -> SimTime {
        start + self.fetch_latency
    }
    /// When the scale update of a decision is answered.
    pub fn written_at(&self, decide: SimTime) -> SimTime {
        decide + self.write_latency
    }
    /// Start of the reconcile after the one that ran from `start` to `finished`.
    ///
    /// One key never runs twice at once, so a locked reconcile longer than the sync period starts
    /// again as soon as it ends.
    pub fn next(&self, start: SimTime, finished: SimTime) -> SimTime {
        assert!(finished >= start, "law L3: reconcile ends {finished:?} before {start:?}");
        match self.mode {
            SyncMode::Drift => finished + self.sync_period,
            SyncMode::Locked => (start + self.sync_period).max(finished),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(mode: SyncMode) -> SyncSchedule {
        SyncSchedule {
            sync_period: SimDuration::from_secs(15),
            mode,
            fetch_latency: SimDuration::from_millis(25),
            write_latency: SimDuration::from_millis(3),
        }
    }

    fn starts(mode: SyncMode, seen_ms: u64, writes: bool) -> Vec<u64> {
        let s = schedule(mode);
        let mut start = SimTime::ZERO + SimDuration::from_millis(seen_ms) + s.sync_period;
        (0..3)
            .map(|_| {
                let at = start.as_nanos() as u64 / 1_000_000;
                let decide = s.decide_at(start);
                start = s.next(start, if writes { s.written_at(decide) } else { decide });
                at
            })
            .collect()
    }

    #[test]
    fn measured_starts_of_both_regimes() {
        // Source: measured with the real controller under a virtual clock, 25 ms metrics fetch.
        assert_eq!(starts(SyncMode::Drift, 7_300, false), [22_300, 37_325, 52_350]);
        assert_eq!(starts(SyncMode::Drift, 7_300, true), [22_300, 37_328, 52_356]);
        assert_eq!(starts(SyncMode::Locked, 0, true), [15_000, 30_000, 45_000]);
    }

    #[test]
    fn a_long_reconcile_never_overlaps_the_next() {
        let s = schedule(SyncMode::Locked);
        let (start, end) = (SimTime::from_secs(15), SimTime::from_secs(40));
        assert_eq!(s.next(start, end), end);
    }
}
