//! A request and a recorded trace: 24 bytes per row, side columns only where a trace has them.

use super::text::{TextId, TextTable, Texts};
use crate::units::{SimDuration, SimTime};
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
    /// The index of `name`, which is stored if new; an empty name is [`NONE`].
    pub fn intern(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return NONE;
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

/// A trace as read from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The requests in time order; the earliest row of the file is time zero.
    pub requests: Trace,
    /// Session, prefix and class columns, if the file has any.
    pub side: Option<Arc<SideTable>>,
    /// The texts that the requests name, if any of them share something.
    pub texts: Option<Arc<TextTable>>,
}

impl Recorded {
    /// A trace without side columns. Sorts stably by arrival if needed.
    pub fn new(mut requests: Vec<Request>) -> Self {
        if !requests.is_sorted_by_key(|r| r.arrival) {
            requests.sort_by_key(|r| r.arrival);
        }
        Self { requests: requests.into(), side: None, texts: None }
    }

    /// A trace with side columns, `side.rows[i]` of `requests[i]`, in time order.
    pub fn with_side(mut requests: Vec<Request>, side: SideTable) -> Self {
        assert_eq!(requests.len(), side.rows.len(), "one row of side columns per request");
        assert!(requests.is_sorted_by_key(|r| r.arrival), "requests are in time order");
        let texts = TextTable::assign(&mut requests, &side).map(Arc::new);
        Self { requests: requests.into(), side: Some(Arc::new(side)), texts }
    }

    /// A realisation of a workload with these `texts`, as a trace with the side columns that say the same.
    pub fn realised(requests: Vec<Request>, texts: &Texts) -> Self {
        let mut side = SideTable::default();
        let mut shared = false;
        for request in &requests {
            let mut row = Side::default();
            if !request.text.is_unique() {
                shared = true;
                row.session = side.intern(&format!("t{}", request.text.0));
                if let Some((base, tokens)) = texts.base(request.text) {
                    row.prefix_group = side.intern(&format!("t{}", base.0));
                    row.prefix_tokens = tokens;
                }
            }
            side.rows.push(row);
        }
        if shared { Self::with_side(requests, side) } else { Self::new(requests) }
    }

    /// From time zero to the last arrival.
    pub fn span(&self) -> SimDuration {
        let end = self.requests.last().map_or(SimTime::ZERO, |r| r.arrival);
        end.saturating_since(SimTime::ZERO)
    }
}
