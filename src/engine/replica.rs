//! The engine-core loop: a scheduler, a clock and the batches in flight.
//!
//! Synchronous operation: schedule, run the batch, process its output. Asynchronous scheduling keeps up to
//! two batches in flight: while one runs, the next is decided without knowing its outcome. Host work costs
//! no time of its own; what the GPU cannot hide is part of the [`StepModel`](super::StepModel).
//!
//! Source: vllm 0.33.0, v1/engine/core.py (run_busy_loop, step, step_with_batch_queue).

use std::collections::VecDeque;
use std::sync::Arc;

use super::flights::{Flights, InFlight};
use super::metrics::Metrics;
use super::run::Run;
use super::scheduler::{Batch, FirstToken, OutputSink, Scheduler};
use super::{
    Effect, EngineConfig, EngineMode, EngineRequest, FinishReason, GapRun, Gauges, RequestRecord,
    SchedulerRules, StepRecord,
};
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
    scheduler: Scheduler,
    inputs: Inputs,
    phase: Phase,
    in_flight: Flights,
    /// State after the last processed step.
    shown: Gauges,
    /// GPU time of the batches processed so far.
    busy: SimDuration,
    recorder: Option<Box<Recorder>>,
    /// Every step started, if they are wanted.
    steps: Option<Vec<StepRecord>>,
    /// Start of the last iteration, and how many before it started at the same instant.
    iterated: SimTime,
    spins: u32,
}

/// Iterations that may start at one instant: fill the pipeline, flush finished ids, see late inputs. A
/// step takes time, so more of them mean that nothing can be scheduled for ever.
const SPINS_MAX: u32 = 16;

/// Where the loop stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The next iteration starts at this time.
    Ready(SimTime),
    /// Nothing to do until an input comes.
    Idle,
    /// An iteration waits for the oldest batch in flight.
    Blocked,
    /// Iterations of pure decodes follow one another; only their number is known so far.
    Decoding(Decoding),
}

/// A run of decode iterations whose effect on the scheduler is still to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Decoding {
    run: Run,
    sequences: u32,
    /// Sequences that get their first token with the first output.
    fresh: u32,
    /// Earliest input that was taken into account.
    cut: SimTime,
    /// Outputs whose gaps were emitted.
    gaps_emitted: u64,
    /// Outputs that are in the metrics.
    recorded: u64,
}

/// Keeps the metrics of a replica.
#[derive(Debug)]
struct Recorder {
    /// As of the last processed step.
    shown: Metrics,
    /// Counted by the scheduler since; shown with the next processed step.
    preemptions: u64,
    queries: u64,
    hits: u64,
}

impl Recorder {
    fn scheduled(&mut self, batch: &Batch, caching: bool) {
        self.preemptions += batch.preempted().len() as u64;
        for admission in batch.admitted().iter().filter(|a| caching && !a.resumed) {
            self.queries += u64::from(admission.known_tokens);
            self.hits += u64::from(admission.hit_tokens);
        }
    }

    fn processed(&mut self) {
        self.shown.num_preemptions += std::mem::take(&mut self.preemptions);
        self.shown.prefix_cache_queries += std::mem::take(&mut self.queries);
        self.shown.prefix_cache_hits += std::mem::take(&mut self.hits);
    }
}

/// What waits outside of the scheduler, in time order.
#[derive(Debug, Default)]
struct Inputs {
    adds: VecDeque<EngineRequest>,
    aborts: VecDeque<(SimTime, RequestId)>,
    /// Requests that the front end refused, at their arrival.
    refused: VecDeque<RequestRecord>,
}

impl Replica {
    /// An idle replica that exists from `started` on. `config.scheduler` must be valid.
    pub fn new(config: Arc<EngineConfig>, started: SimTime) -> Self {
        assert!(
            config.step_model.max_num_batched_tokens() >= config.scheduler.max_num_batched_tokens,
            "the step model covers every possible batch"
        );
        let scheduler = Scheduler::new(config.scheduler.clone(), false);
        let shown =
            Gauges { usable_blocks: config.scheduler.num_gpu_blocks - 1, ..Gauges::default() };
        Self {
            config,
            now: started,
            scheduler,
            inputs: Inputs::default(),
            phase: Phase::Idle,
            in_flight: Flights::default(),
            shown,
            busy: SimDuration::ZERO,
            recorder: None,
            steps: None,
            iterated: SimTime::ZERO,
            spins: 0,
        }
    }

    /// Hands over a request; it becomes visible to the engine at `arrival + ingest`. Calls come in order
    /// of arrival, and never before the last [`Replica::advance_to`]. A request that this configuration
    /// could never serve is refused at its arrival.
    pub fn enqueue(&mut self, request: EngineRequest) {
        assert!(
            request.arrival >= self.now,
            "law L3: {:?} arrives before {:?}",
            request.id,
            self.now
        );
        if self.scheduler.accepts(request.prompt_tokens, request.output_tokens) {
            self.inputs.adds.push_back(request);
        } else {
            let record = unseen(&request, request.arrival, request.arrival, FinishReason::Rejected);
            self.inputs.refused.push_back(record);
        }
    }

    /// The client is gone: the request leaves at the next step boundary. Unknown and finished ids are
    /// ignored. Calls come in time order, together with [`Replica::enqueue`].
    pub fn abort(&mut self, at: SimTime, id: RequestId) {
        assert!(at >= self.now, "law L3: an abort at {at:?} comes before {:?}", self.now);
        self.inputs.aborts.push_back((at, id));
    }

    /// Processes every step output with end <= `now` and starts every iteration with start < `now`.
    /// Appends the effects in order of time, at one instant in batch order. Gaps may be held back until
    /// [`Replica::flush_gaps`] or until their run of steps ends.
    pub fn advance_to(&mut self, now: SimTime, out: &mut Vec<Effect>) {
        assert!(now >= self.now, "law L3: asked for {now:?} after {:?}", self.now);
        self.now = now;
        loop {
            match self.phase {
                Phase::Blocked => {
                    let end = self.oldest_end();
                    if end > now {
                        break;
                    }
                    self.emit_refused(end, out);
                    self.process_oldest(out);
                    self.phase = Phase::Ready(end);
                }
                Phase::Ready(at) => {
                    if at >= now {
                        break;
                    }
                    self.iterate(at, out);
                }
                Phase::Decoding(mut decoding) => {
                    let end = self.cut_at_input(&mut decoding);
                    if end > now {
                        self.phase = Phase::Decoding(decoding);
                        break;
                    }
                    self.emit_refused(end, out);
                    self.finish_decoding(decoding, out);
                }
                // An earlier input may still come: an abort does not wait for the front end.
                Phase::Idle => match self.inputs.next_visible(self.config.ingest) {
                    Some(at) if at < now => self.iterate(at, out),
                    _ => break,
                },
            }
        }
        self.emit_refused(now, out);
    }

    /// Emits the gaps of all tokens up to the last [`Replica::advance_to`] that were held back.
    pub fn flush_gaps(&mut self, out: &mut Vec<Effect>) {
        if let Phase::Decoding(mut decoding) = self.phase {
            let processed = decoding.run.processed_by(self.now);
            emit_gaps(&mut decoding, processed, out);
            self.phase = Phase::Decoding(decoding);
        }
    }

    /// A time not later than the next [`Effect::Finished`] if no further input comes, and not before the
    /// last [`Replica::advance_to`]; `None` when idle.
    pub fn next_change(&mut self) -> Option<SimTime> {
        let step = match self.phase {
            Phase::Blocked => Some(self.oldest_end()),
            // The iteration has to start first, which takes an instant after `at`.
            Phase::Ready(at) => Some(after(at)),
            Phase::Idle => self.inputs.next_visible(self.config.ingest).map(after),
            Phase::Decoding(mut decoding) => {
                let end = self.cut_at_input(&mut decoding);
                self.phase = Phase::Decoding(decoding);
                Some(end)
            }
        };
        let refused = self.inputs.refused.front().map(|record| after(record.end));
        step.into_iter().chain(refused).min().map(|at| at.max(self.now))
    }

    /// The state after the last processed step, as a scrape at the last `advance_to` sees it.
    pub fn gauges(&self) -> Gauges {
        let Phase::Decoding(decoding) = &self.phase else { return self.shown };
        match decoding.run.processed_by(self.now) {
            0 => self.shown,
            processed => {
                let usable_blocks = self.shown.usable_blocks;
                let free = self.scheduler.free_blocks();
                Gauges {
                    num_requests_running: self.scheduler.num_running(),
                    num_requests_waiting: self.scheduler.num_waiting(),
                    used_blocks: usable_blocks - free + self.scheduler.blocks_of_run(processed),
                    usable_blocks,
                }
            }
        }
    }

    /// Starts to keep counters and histograms, from zero; to be called before the first request.
    pub fn record_metrics(&mut self) {
        self.recorder = Some(Box::new(Recorder {
            shown: Metrics::new(self.config.scheduler.max_model_len),
            preemptions: 0,
            queries: 0,
            hits: 0,
        }));
    }

    /// Starts to keep every step, which is then executed on its own in either mode; to be called before the
    /// first request. For calibration: the log grows with each step.
    pub fn record_steps(&mut self) {
        self.steps = Some(Vec::new());
    }

    /// Takes the steps started so far, in order; empty unless they are [kept](Replica::record_steps).
    pub fn take_steps(&mut self) -> Vec<StepRecord> {
        self.steps.as_mut().map_or_else(Vec::new, std::mem::take)
    }

    /// Counters and histograms after the last processed step, as a scrape at the last `advance_to` sees
    /// them; `None` unless they are [kept](Replica::record_metrics).
    pub fn metrics(&mut self) -> Option<&Metrics> {
        if let Phase::Decoding(mut decoding) = self.phase {
            let processed = decoding.run.processed_by(self.now);
            self.record_run(&mut decoding, processed);
            self.phase = Phase::Decoding(decoding);
        }
        self.recorder.as_ref().map(|recorder| &recorder.shown)
    }

    /// Enters the outputs of a run up to `processed` into the metrics.
    fn record_run(&mut self, decoding: &mut Decoding, processed: u64) {
        let Some(recorder) = &mut self.recorder else { return };
        let tokens = u64::from(decoding.sequences);
        for run in decoding.gap_runs(decoding.recorded, processed).into_iter().flatten() {
            recorder.shown.gaps(&run);
            recorder.shown.iterations(tokens, run.steps);
        }
        decoding.recorded = processed;
    }

    /// Requests enqueued and not yet finished, including those not yet visible.
    pub fn unfinished(&self) -> usize {
        let inside = self.scheduler.num_running() + self.scheduler.num_waiting();
        inside as usize + self.inputs.adds.len() + self.inputs.refused.len()
    }

    /// Time up to the last `advance_to` in which a step with tokens ran on the GPU.
    pub fn busy_time(&self) -> SimDuration {
        if let Phase::Decoding(decoding) = &self.phase {
            // The GPU is never idle in a run, nor before it while a batch is in flight.
            let since = self.in_flight.oldest().map_or(decoding.run.start(), |batch| batch.start);
            return self.busy + self.now.saturating_since(since);
        }
        let running = |b: &InFlight| b.end.min(self.now).saturating_since(b.start);
        self.busy + self.in_flight.iter().map(running).sum()
    }

    /// Ends the replica at `at`: every request left becomes one [`Effect::Finished`] with `reason`, in
    /// order running, waiting, not yet visible. Gaps held back are emitted before.
    pub fn drain_unfinished(&mut self, at: SimTime, reason: FinishReason, out: &mut Vec<Effect>) {
        self.advance_to(at, out);
        self.busy = self.busy_time();
        if let Phase::Decoding(mut decoding) = self.phase {
            // Only what was processed by now counts; nobody finishes inside of a run.
            let processed = decoding.run.processed_by(at);
            emit_gaps(&mut decoding, processed, out);
            if processed > 0 {
                let now = decoding.run.start_of(processed);
                let rules = self.scheduler.config().rules;
                let mut sink = Effects { out, now, metrics: None, tokens: 0, rules };
                let first = decoding.run.start_of(1);
                self.scheduler.make_run(processed, first, now, &mut sink);
            }
        }
        self.in_flight.clear();
        self.scheduler.drain(at, reason, |record| out.push(Effect::Finished(record)));
        let ingest = self.config.ingest;
        for request in self.inputs.adds.drain(..) {
            let queued = request.arrival + ingest;
            out.push(Effect::Finished(unseen(&request, queued.min(at), at, reason)));
        }
        self.inputs.aborts.clear();
        self.emit_refused(SimTime::NEVER, out);
        self.phase = Phase::Idle;
    }

    /// Panics unless laws L1 and L2 hold inside. Slow: for tests.
    pub fn check_laws(&self) {
        self.scheduler.check_laws();
    }

    fn oldest_end(&self) -> SimTime {
        self.in_flight.oldest().expect("a blocked iteration waits for a batch").end
    }

    /// One iteration up to where it waits for a batch or ends.
    fn iterate(&mut self, at: SimTime, out: &mut Vec<Effect>) {
        self.take_inputs(at, out);
        self.spins = if at == self.iterated { self.spins + 1 } else { 0 };
        self.iterated = at;
        assert!(self.spins < SPINS_MAX, "law L6: the engine makes no progress at {at:?}");
        if self.config.mode == EngineMode::Fast
            && self.steps.is_none()
            && let Some(decoding) = self.start_decoding(at)
        {
            self.phase = Phase::Decoding(decoding);
            return;
        }
        let mut tokens = 0;
        let had_work = self.scheduler.has_work();
        if had_work {
            let (flight, free_at) = self.in_flight.launch();
            self.scheduler.schedule(at, &mut flight.batch);
            if let Some(recorder) = &mut self.recorder {
                recorder.scheduled(&flight.batch, self.config.scheduler.enable_prefix_caching);
            }
            tokens = flight.batch.shape().tokens;
            flight.start = free_at.map_or(at, |free_at| free_at.max(at));
            flight.end = flight.start + self.config.step_model.duration(flight.batch.shape());
            if let Some(steps) = self.steps.as_mut().filter(|_| tokens > 0) {
                let shape = *flight.batch.shape();
                steps.push(StepRecord { start: flight.start, end: flight.end, shape });
            }
        }
        let depth = if self.config.scheduler.async_scheduling { 2 } else { 1 };
        let fills_up = tokens > 0 || self.scheduler.has_work();
        self.phase = if had_work && fills_up && self.in_flight.len() < depth {
            Phase::Ready(at)
        } else if self.in_flight.is_empty() {
            Phase::Idle
        } else {
            Phase::Blocked
        };
    }

    /// The run of decode iterations that starts at `at`, if there is one.
    fn start_decoding(&mut self, at: SimTime) -> Option<Decoding> {
        let in_flight = self.in_flight.oldest();
        let plan = self.scheduler.decode_run(
            at,
            in_flight.map(|b| &b.batch),
            // Metrics want each first token on its own.
            self.recorder.is_none(),
        )?;
        let model = &self.config.step_model;
        let n = plan.sequences;
        let step = SimDuration::from_ps(model.decode_ps(n, n, plan.kv_tokens));
        let increment = SimDuration::from_ps(model.kv_ps() * u64::from(n));
        let run = match in_flight {
            None => Run::new(at, step, step + increment, increment, plan.iterations),
            Some(batch) => Run::new(at, batch.end - at, step, increment, plan.iterations),
        };
        Some(Decoding {
            run,
            sequences: n,
            fresh: plan.fresh,
            cut: SimTime::NEVER,
            gaps_emitted: 0,
            recorded: 0,
        })
    }

    /// Ends the run before the first iteration that sees an input; returns the run's end.
    fn cut_at_input(&self, decoding: &mut Decoding) -> SimTime {
        if let Some(input) = self.inputs.next_visible(self.config.ingest)
            && input < decoding.cut
            && input < decoding.run.end()
        {
            decoding.cut = input;
            decoding.run.shorten(decoding.run.started_before(input));
        }
        decoding.run.end()
    }

    /// Makes a run whose last output is due.
    fn finish_decoding(&mut self, mut decoding: Decoding, out: &mut Vec<Effect>) {
        let iterations = decoding.run.iterations();
        let end = decoding.run.end();
        emit_gaps(&mut decoding, iterations, out);
        self.record_run(&mut decoding, iterations);
        let metrics = self.recorder.as_deref_mut().map(|recorder| &mut recorder.shown);
        let rules = self.scheduler.config().rules;
        let mut sink = Effects { out, now: end, metrics, tokens: 0, rules };
        self.scheduler.make_run(iterations, decoding.run.start_of(1), end, &mut sink);
        match self.in_flight.oldest_mut() {
            None => self.busy += end - decoding.run.start(),
            Some(flight) => {
                // The batch that the last iteration scheduled is now the one in flight.
                self.busy += end - flight.start;
                flight.start = end;
                flight.end = decoding.run.start_of(iterations + 1);
                self.scheduler.refill_batch(&mut flight.batch);
            }
        }
        self.show();
        self.phase = Phase::Ready(end);
    }

    fn process_oldest(&mut self, out: &mut Vec<Effect>) {
        let done = self.in_flight.oldest().expect("a blocked iteration waits for a batch");
        self.busy += done.end - done.start;
        let metrics = self.recorder.as_deref_mut().map(|recorder| &mut recorder.shown);
        let rules = self.scheduler.config().rules;
        let mut sink = Effects { out, now: done.end, metrics, tokens: 0, rules };
        self.scheduler.update_from_output(&done.batch, done.end, &mut sink);
        let tokens = sink.tokens;
        if let Some(recorder) = &mut self.recorder {
            recorder.shown.iterations(tokens, 1);
            recorder.processed();
        }
        self.in_flight.land();
        self.show();
    }

    /// The gauges take the present state.
    fn show(&mut self) {
        let free = self.scheduler.free_blocks();
        self.shown.num_requests_running = self.scheduler.num_running();
        self.shown.num_requests_waiting = self.scheduler.num_waiting();
        self.shown.used_blocks = self.shown.usable_blocks - free;
    }

    /// Adds, then aborts, that are visible at `at`.
    fn take_inputs(&mut self, at: SimTime, out: &mut Vec<Effect>) {
        let ingest = self.config.ingest;
        while let Some(request) = pop_if(&mut self.inputs.adds, |r| r.arrival + ingest <= at) {
            let queued = request.arrival + ingest;
            self.scheduler.add(request, queued);
        }
        while let Some((_, id)) = pop_if(&mut self.inputs.aborts, |&(when, _)| when <= at) {
            self.emit_refused(at, out);
            if let Some(record) = self.scheduler.abort(id, at, FinishReason::Aborted) {
                out.push(Effect::Finished(record));
            } else if let Some(index) = self.inputs.adds.iter().position(|r| r.id == id)
                && let Some(request) = self.inputs.adds.remove(index)
            {
                let record = unseen(&request, at, at, FinishReason::Aborted);
                out.push(Effect::Finished(record));
            }
        }
    }

    fn emit_refused(&mut self, up_to: SimTime, out: &mut Vec<Effect>) {
        while let Some(record) = pop_if(&mut self.inputs.refused, |record| record.end < up_to) {
            out.push(Effect::Finished(record));
        }
    }
}

impl Decoding {
    /// The gaps of outputs `from..to`: the first may be of another kind than the rest.
    fn gap_runs(&self, mut from: u64, to: u64) -> [Option<GapRun>; 2] {
        let [first, second, increment] = self.run.gaps();
        let sequences = u64::from(self.sequences);
        let run =
            |first, steps, tokens_per_step| GapRun { first, increment, steps, tokens_per_step };
        let mut runs = [None; 2];
        if from == 0 && to > 0 && (first + increment != second || self.fresh > 0) {
            let later = u64::from(self.sequences - self.fresh);
            runs[0] = (later > 0).then(|| run(first, 1, later));
            from = 1;
        }
        if from < to {
            let first = if from == 0 { first } else { second + increment * (from - 1) };
            runs[1] = Some(run(first, to - from, sequences));
        }
        runs
    }
}

/// Emits the gaps of a run's outputs up to `processed` that were not emitted before.
fn emit_gaps(decoding: &mut Decoding, processed: u64, out: &mut Vec<Effect>) {
    let runs = decoding.gap_runs(decoding.gaps_emitted, processed);
    out.extend(runs.into_iter().flatten().map(Effect::Gaps));
    decoding.gaps_emitted = processed;
}

/// Takes the front of the queue if it is due.
fn pop_if<T>(queue: &mut VecDeque<T>, due: impl FnOnce(&T) -> bool) -> Option<T> {
    if due(queue.front()?) { queue.pop_front() } else { None }
}

/// The first instant after `at`.
fn after(at: SimTime) -> SimTime {
    at + SimDuration::from_ps(1)
}

impl Inputs {
    fn next_visible(&self, ingest: SimDuration) -> Option<SimTime> {
        let add = self.adds.front().map(|r| r.arrival + ingest);
        let abort = self.aborts.front().map(|&(at, _)| at);
        add.into_iter().chain(abort).min()
    }
}

/// The record of a request that the scheduler never saw.
fn unseen(
    request: &EngineRequest,
    queued: SimTime,
    end: SimTime,
    reason: FinishReason,
) -> RequestRecord {
    RequestRecord {
        id: request.id,
        arrival: request.arrival,
        queued,
        first_scheduled: None,
        first_token: None,
        last_token: None,
        end,
        prompt_tokens: request.prompt_tokens,
        output_tokens: 0,
        cached_tokens: 0,
        preemptions: 0,
        reason,
    }
}

/// Turns outputs into effects, and into metrics if they are kept.
struct Effects<'a> {
    out: &'a mut Vec<Effect>,
    now: SimTime,
    metrics: Option<&'a mut Metrics>,
    /// Prompt and generated tokens of the step, for the metrics.
    tokens: u64,
    rules: SchedulerRules,
}

impl OutputSink for Effects<'_> {
    #[inline]
    fn token(&mut self, _id: impl FnOnce() -> RequestId) {}

    fn first_token(&mut self, of: &FirstToken) {
        if let Some(metrics) = &mut self.metrics {
            metrics.first_token(self.now - of.arrival, of.prompt_tokens);
            // Since 0.33 without what the prefix cache gave; 0.11 counts the whole prompt.
            let cached = if self.rules >= SchedulerRules::V0_33 { of.cached_tokens } else { 0 };
            self.tokens += u64::from(of.prompt_tokens - cached) + 1;
        }
    }

    fn gap(&mut self, gap: SimDuration, tokens: u64) {
        let increment = SimDuration::ZERO;
        let run = GapRun { first: gap, increment, steps: 1, tokens_per_step: tokens };
        if let Some(metrics) = &mut self.metrics {
            metrics.gaps(&run);
            self.tokens += tokens;
        }
        self.out.push(Effect::Gaps(run));
    }

    fn finished(&mut self, record: RequestRecord) {
        if let Some(metrics) = &mut self.metrics {
            metrics.finished(&record);
        }
        self.out.push(Effect::Finished(record));
    }
}
