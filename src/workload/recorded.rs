//! A trace as it was read or realised.

use super::request::{Request, Side, SideTable, Trace};
use super::text::{TextTable, Texts};
use crate::units::{SimDuration, SimTime};
use std::sync::Arc;

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
