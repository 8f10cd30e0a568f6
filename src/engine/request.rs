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
    /// The concatenation of these spans; their lengths sum up to `prompt_tokens`. The answer is a text of its
    /// own, [`Segment::Output`].
    Spans(Arc<[TokenSpan]>),
    /// As above, but the answer carries on the text of the last span.
    Chain(Chain),
}

/// Spans that make up a prompt; the answer goes on where the last one ends. A turn of a conversation is
/// `[system prompt, conversation 0..n]`, its answer is `n..` of the conversation, and so the next turn finds it.
///
/// Two spans, the usual number, need no memory of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    short: [TokenSpan; 2],
    count: u8,
    long: Option<Arc<[TokenSpan]>>,
}

impl Chain {
    /// A chain of at least one span, of which only the last may be empty.
    pub fn new(spans: &[TokenSpan]) -> Self {
        let (last, before) = spans.split_last().expect("a chain has a span");
        assert!(before.iter().all(|span| span.len > 0), "only the last span may be empty");
        if let [first] = before {
            return Self { short: [*first, *last], count: 2, long: None };
        }
        let long = (!before.is_empty()).then(|| spans.into());
        Self { short: [*last; 2], count: 1, long }
    }

    /// The spans in order.
    pub fn spans(&self) -> &[TokenSpan] {
        self.long.as_deref().unwrap_or(&self.short[..usize::from(self.count)])
    }

    /// Segment and position of the answer's first token.
    pub fn answer(&self) -> (Segment, u32) {
        let last = self.short[usize::from(self.count) - 1];
        (last.segment, last.start + last.len)
    }
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
