//! What comes out of a replica.

use super::BatchShape;
use crate::units::{RequestId, SimDuration, SimTime};

/// One externally visible consequence of the engine's steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// A request left the replica; exactly one per enqueued request.
    Finished(RequestRecord),
    /// Gaps between successive tokens of requests.
    Gaps(GapRun),
}

/// Why a request left the replica.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FinishReason {
    /// All its tokens were generated, or `max_model_len` was reached.
    Length,
    /// The client went away or timed out.
    Aborted,
    /// Refused by the front end: it could never be served by this configuration.
    Rejected,
    /// The replica was killed while the request was in it.
    Killed,
    /// Still in the replica at the horizon.
    Unfinished,
}

/// The life of one request inside a replica. Law L4: every time present is in the order of the fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestRecord {
    /// Identity as enqueued.
    pub id: RequestId,
    /// When the front end received it.
    pub arrival: SimTime,
    /// When the engine first could see it: arrival + ingest.
    pub queued: SimTime,
    /// Start of the step that first scheduled it.
    pub first_scheduled: Option<SimTime>,
    /// End of the step that gave its first token.
    pub first_token: Option<SimTime>,
    /// End of the step that gave its last token so far.
    pub last_token: Option<SimTime>,
    /// When it left.
    pub end: SimTime,
    /// Length of the prompt \[tokens\].
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// Prompt tokens found in the prefix cache at the first admission.
    pub cached_tokens: u32,
    /// Times it was preempted.
    pub preemptions: u32,
    /// Why it left.
    pub reason: FinishReason,
}

/// Inter-token gaps of consecutive steps as an arithmetic progression: step `i` of `steps` gave
/// `tokens_per_step` tokens, each `first + i * increment` after its request's previous token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GapRun {
    /// Gap of the first step.
    pub first: SimDuration,
    /// Growth of the gap from step to step.
    pub increment: SimDuration,
    /// Number of steps, at least 1.
    pub steps: u64,
    /// Tokens that share each gap, at least 1.
    pub tokens_per_step: u64,
}

/// One step on the GPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StepRecord {
    /// When the GPU began.
    pub start: SimTime,
    /// When it was done.
    pub end: SimTime,
    /// What it computed.
    pub shape: BatchShape,
}
