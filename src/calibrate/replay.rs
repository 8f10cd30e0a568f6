//! One server and a list of requests: what a benchmark client does, on a simulated replica.

use super::work::Theta;
use crate::engine::{
    Effect, EngineConfig, EngineMode, EngineRequest, FinishReason, Prompt, Replica, RequestRecord,
    SchedulerConfig, StepModel, StepModelError, StepRecord,
};
use crate::units::{RequestId, SimDuration, SimTime};
use std::sync::Arc;

/// Lengths of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// Length of the prompt \[tokens\].
    pub prompt_tokens: u32,
    /// Tokens to generate.
    pub output_tokens: u32,
}

/// When the client sends.
#[derive(Clone, PartialEq, Debug)]
pub enum Arrivals {
    /// Each request at its own time, in order.
    At(Vec<SimTime>),
    /// So many users, each of whom sends the next request when the last one is answered.
    Users(u32),
}

/// What came of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Replayed {
    /// One record per request, in the order of the list.
    pub records: Vec<RequestRecord>,
    /// Every engine step, if they were wanted.
    pub steps: Vec<StepRecord>,
}

/// Sends `jobs` to one replica until all are answered. A request that the server refuses has the reason
/// [`FinishReason::Rejected`] in its record.
///
/// # Panics
/// If there are fewer times than jobs, or if the engine stops with work left (law L1).
pub fn replay(
    config: &Arc<EngineConfig>,
    jobs: &[Job],
    arrivals: &Arrivals,
    with_steps: bool,
) -> Replayed {
    let mut replica = Replica::new(Arc::clone(config), SimTime::ZERO);
    if with_steps {
        replica.record_steps();
    }
    let mut records: Vec<Option<RequestRecord>> = vec![None; jobs.len()];
    let request = |index: usize, arrival: SimTime| EngineRequest {
        id: RequestId(index as u64),
        arrival,
        prompt_tokens: jobs[index].prompt_tokens,
        output_tokens: jobs[index].output_tokens,
        priority: 0,
        prompt: Prompt::Unique,
    };
    let mut next = 0;
    match arrivals {
        Arrivals::At(times) => {
            assert!(times.len() >= jobs.len(), "every request has a time");
            for (index, &at) in times.iter().enumerate().take(jobs.len()) {
                replica.enqueue(request(index, at));
            }
            next = jobs.len();
        }
        Arrivals::Users(users) => {
            while next < jobs.len().min(*users as usize) {
                replica.enqueue(request(next, SimTime::ZERO));
                next += 1;
            }
        }
    }
    let mut effects = Vec::new();
    while let Some(at) = replica.next_change() {
        replica.advance_to(at, &mut effects);
        for effect in effects.drain(..) {
            let Effect::Finished(record) = effect else { continue };
            let sent = record.id.0 as usize;
            records[sent] = Some(record);
            if next < jobs.len() {
                replica.enqueue(request(next, at));
                next += 1;
            }
        }
    }
    let records =
        records.into_iter().map(|r| r.expect("law L1: every request leaves the replica")).collect();
    Replayed { records, steps: replica.take_steps() }
}

impl Replayed {
    /// Times to first token \[s\] of the answered requests.
    pub fn ttfts_s(&self) -> Vec<f64> {
        self.answered().filter_map(|r| Some((r.first_token? - r.arrival).as_secs_f64())).collect()
    }

    /// Mean gap after the first token \[s\] of the answered requests with at least two tokens.
    pub fn tpots_s(&self) -> Vec<f64> {
        self.answered().filter_map(tpot_s).collect()
    }

    /// From the first arrival to the last token \[s\].
    pub fn makespan_s(&self) -> f64 {
        let first = self.records.iter().map(|r| r.arrival).min().unwrap_or_default();
        let last = self.answered().filter_map(|r| r.last_token).max().unwrap_or(first);
        (last - first).as_secs_f64()
    }

    /// Requests that were answered in full.
    pub fn answered(&self) -> impl Iterator<Item = &RequestRecord> {
        self.records.iter().filter(|r| r.reason == FinishReason::Length)
    }
}

/// (last token - first token) / (tokens - 1) \[s\].
fn tpot_s(record: &RequestRecord) -> Option<f64> {
    let span = record.last_token? - record.first_token?;
    let gaps = record.output_tokens.checked_sub(1).filter(|&gaps| gaps > 0)?;
    Some(span.as_secs_f64() / f64::from(gaps))
}

/// A server whose step coefficients are being sought.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// Its flags.
    pub scheduler: SchedulerConfig,
}

impl Candidate {
    /// The server with these coefficients.
    ///
    /// # Errors
    /// The first coefficient that no engine has.
    pub fn at(&self, theta: &Theta) -> Result<Arc<EngineConfig>, StepModelError> {
        let budget = self.scheduler.max_num_batched_tokens;
        Ok(Arc::new(EngineConfig {
            scheduler: self.scheduler.clone(),
            step_model: Arc::new(StepModel::new(&theta.step, budget)?),
            ingest: SimDuration::from_secs_f64(theta.ingest_ms.clamp(0.0, INGEST_MS_MAX) / 1e3),
            mode: EngineMode::Fast,
        }))
    }
}

/// No front end takes longer \[ms\].
const INGEST_MS_MAX: f64 = 60_000.0;
