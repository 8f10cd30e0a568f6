//! A request, 24 bytes, and the columns that only some traces have.

use crate::units::SimTime;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One request as it reaches the front end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Request {
    /// When the client sends it.
    pub arrival: SimTime,
    /// Prompt length \[tokens\], at least 1.
    pub prompt_tokens: u32,
    /// Tokens it will generate before it stops by itself, at least 1.
    pub output_tokens: u32,
    /// The text that the prompt is the beginning of and that the answer carries on.
    pub text: TextId,
}

const _: () = assert!(size_of::<Request>() == 24, "a trace costs 24 bytes per request");

/// A text; unique within a workload. The stream's ordinal stands in the top 16 bits, also of a request without a
/// text: this is how a request says which stream it is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TextId(pub u64);

const STREAM_SHIFT: u32 = 48;
const LOCAL: u64 = (1 << STREAM_SHIFT) - 1;

impl TextId {
    /// The request, of the first stream, shares no prefix with any other.
    pub const UNIQUE: Self = Self(LOCAL);

    /// Text `local` of the stream with this ordinal.
    pub(super) fn of_stream(ordinal: u64, local: u64) -> Self {
        debug_assert!(local < LOCAL, "a stream has less than 2^48 - 1 texts");
        Self(ordinal << STREAM_SHIFT | local)
    }

    /// The same text in the stream with this ordinal, of a text that is in the first one.
    #[must_use]
    pub(super) fn in_stream(self, ordinal: u64) -> Self {
        Self(self.0 | ordinal << STREAM_SHIFT)
    }

    /// Whether the request shares nothing with any other.
    pub fn is_unique(self) -> bool {
        self.local() == LOCAL
    }

    /// Ordinal of the request's stream.
    pub fn stream(self) -> usize {
        (self.0 >> STREAM_SHIFT) as usize
    }

    /// The text's number within its stream.
    pub(super) fn local(self) -> u64 {
        self.0 & LOCAL
    }
}

impl Default for TextId {
    fn default() -> Self {
        Self::UNIQUE
    }
}

/// Requests in time order; equal times keep the order of the file.
pub type Trace = Arc<[Request]>;

/// "This row has no such value" in a [`Side`].
pub const NONE: u32 = u32::MAX;

/// The optional columns of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Side {
    /// Name index of the session, or [`NONE`].
    pub session: u32,
    /// Turn within the session from 0, or [`NONE`].
    pub turn: u32,
    /// Name index of the group of requests that share a prefix, or [`NONE`].
    pub prefix_group: u32,
    /// Length of the shared prefix \[tokens\].
    pub prefix_tokens: u32,
    /// Name index of the traffic class, or [`NONE`].
    pub class: u32,
}

impl Default for Side {
    fn default() -> Self {
        Self { session: NONE, turn: NONE, prefix_group: NONE, prefix_tokens: 0, class: NONE }
    }
}

/// The side columns of a trace: `rows[i]` belongs to request `i`. Names are stored once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SideTable {
    /// One row per request.
    pub rows: Vec<Side>,
    names: Vec<String>,
    index: BTreeMap<String, u32>,
}

impl SideTable {
    /// The index of `name`, which is stored if new; an empty name is [`NONE`]. Names are such as one cell of a
    /// table can hold: without space at their ends, and on one line.
    pub fn intern(&mut self, name: &str) -> u32 {
        let name = name.trim();
        if name.is_empty() {
            return NONE;
        }
        if name.contains(['\n', '\r']) {
            return self.intern(&name.replace(['\n', '\r'], " "));
        }
        if let Some(&i) = self.index.get(name) {
            return i;
        }
        let i = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), i);
        i
    }

    /// The name behind an index; empty for [`NONE`].
    pub fn name(&self, index: u32) -> &str {
        self.names.get(index as usize).map_or("", String::as_str)
    }
}
