//! What goes into a replica.

use std::sync::Arc;

use crate::units::{RequestId, SimTime};

/// A text that tokens are cut from. Two tokens are equal exactly when their segment and position are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Segment {
    /// An abstract text: a system prompt, a document, a user's message.
    Text(u64),
    /// The output of another request (a chat turn that re-sends an earlier answer).
    Output(RequestId),
}

/// Tokens `start..start + len` of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TokenSpan {
    /// Where the tokens come from.
    pub segment: Segment,
    /// Position of the first token in the segment.
    pub start: u32,
    /// Number of tokens.
    pub len: u32,
}

/// The content of a prompt as prefix caching sees it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Prompt {
    /// Shares no prefix with any other request.
    #[default]
    Unique,
    /// The concatenation of these spans; their lengths sum up to `prompt_tokens`.
    Spans(Arc<[TokenSpan]>),
}

/// One request as the front end receives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineRequest {
    /// Identity; unique within a run.
    pub id: RequestId,
    /// When the front end received it.
    pub arrival: SimTime,
    /// Length of the prompt \[tokens\].
    pub prompt_tokens: u32,
    /// Tokens to generate (no end-of-sequence token occurs before) \[tokens\].
    pub output_tokens: u32,
    /// Lower is served first, under [`SchedulingPolicy::Priority`](super::SchedulingPolicy).
    pub priority: i32,
    /// Content, for prefix caching.
    pub prompt: Prompt,
}
