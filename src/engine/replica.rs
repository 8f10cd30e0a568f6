//! The engine-core loop: a scheduler, a clock and the batches in flight.

use std::sync::Arc;

use super::{Effect, EngineConfig, EngineRequest, FinishReason, Gauges};
use crate::units::{RequestId, SimDuration, SimTime};

/// One vLLM replica. It advances only when asked, and the result does not depend on how often or at
/// which times it is asked.
///
/// An iteration that starts at `t` sees every input that became visible at or before `t`. Inputs at the
/// present instant may still come, so [`Replica::advance_to`]`(now)` never starts an iteration at `now`.
#[derive(Debug)]
pub struct Replica {
    config: Arc<EngineConfig>,
    now: SimTime,
}

impl Replica {
    /// An idle replica that exists from `started` on. `config.scheduler` must be valid.
    pub fn new(config: Arc<EngineConfig>, started: SimTime) -> Self {
        Self { config, now: started }
    }

    /// Hands over a request; it becomes visible to the engine at `arrival + ingest`. Calls come in order
    /// of arrival, and never before the last [`Replica::advance_to`].
    pub fn enqueue(&mut self, request: EngineRequest) {
        assert!(request.arrival >= self.now, "law L3: a request arrives in the replica's past");
    }

    /// The client is gone: the request leaves at the next step boundary. Unknown and finished ids are
    /// ignored. Calls come in time order, together with [`Replica::enqueue`].
    pub fn abort(&mut self, at: SimTime, _id: RequestId) {
        assert!(at >= self.now, "law L3: an abort in the replica's past");
    }

    /// Processes every step output with end <= `now` and starts every iteration with start < `now`.
    /// Appends the effects in order of time, at one instant in batch order. Gaps may be held back until
    /// [`Replica::flush_gaps`] or until their run of steps ends.
    pub fn advance_to(&mut self, now: SimTime, _out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
    }

    /// Emits the gaps of all tokens up to the last [`Replica::advance_to`] that were held back.
    pub fn flush_gaps(&mut self, _out: &mut Vec<Effect>) {}

    /// A time not later than the next [`Effect::Finished`] if no further input comes, and not before the
    /// last [`Replica::advance_to`]; `None` when idle.
    pub fn next_change(&mut self) -> Option<SimTime> {
        None
    }

    /// The state after the last processed step, as a scrape at the last `advance_to` sees it.
    pub fn gauges(&self) -> Gauges {
        Gauges { usable_blocks: self.config.scheduler.num_gpu_blocks - 1, ..Gauges::default() }
    }

    /// Requests enqueued and not yet finished, including those not yet visible.
    pub fn unfinished(&self) -> usize {
        0
    }

    /// Time up to the last `advance_to` in which a step with tokens ran on the GPU.
    pub fn busy_time(&self) -> SimDuration {
        SimDuration::ZERO
    }

    /// Ends the replica at `at`: every request left becomes one [`Effect::Finished`] with `reason`, in
    /// order running, waiting, not yet visible. Gaps held back are emitted before.
    pub fn drain_unfinished(&mut self, at: SimTime, _reason: FinishReason, out: &mut Vec<Effect>) {
        self.advance_to(at, out);
    }
}
