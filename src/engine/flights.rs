//! The batches in flight on the GPU.

use super::scheduler::Batch;
use crate::units::SimTime;

/// A batch on the GPU.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) batch: Batch,
    pub(super) start: SimTime,
    pub(super) end: SimTime,
}

/// The batches on the GPU: a ring of two places, whose memory is used again and again.
#[derive(Debug, Default)]
pub(super) struct Flights {
    places: [InFlight; 2],
    oldest: usize,
    len: usize,
}

impl Flights {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &InFlight> {
        (0..self.len).map(|i| &self.places[(self.oldest + i) % 2])
    }

    /// Number of batches in flight.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn oldest(&self) -> Option<&InFlight> {
        (self.len > 0).then(|| &self.places[self.oldest])
    }

    pub(super) fn oldest_mut(&mut self) -> Option<&mut InFlight> {
        (self.len > 0).then(|| &mut self.places[self.oldest])
    }

    /// A place for one more batch, and when the GPU is done with those before.
    pub(super) fn launch(&mut self) -> (&mut InFlight, Option<SimTime>) {
        assert!(self.len < 2, "at most two batches are in flight");
        let next = (self.oldest + self.len) % 2;
        let free_at = (self.len > 0).then(|| self.places[(next + 1) % 2].end);
        self.len += 1;
        (&mut self.places[next], free_at)
    }

    /// The oldest batch is no longer in flight; its content stays until the next launch.
    pub(super) fn land(&mut self) {
        assert!(self.len > 0, "a blocked iteration waits for a batch");
        self.oldest = (self.oldest + 1) % 2;
        self.len -= 1;
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}
