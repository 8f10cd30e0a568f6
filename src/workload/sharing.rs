//! What a prefix cache could find in a trace.

use super::recorded::Recorded;
use super::text::{StreamTexts, Texts};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How much the requests of a trace share.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sharing {
    /// Different conversations, requests that only name a prefix included.
    pub sessions: u64,
    /// Requests that share something.
    pub requests: u64,
    /// Share of all prompt tokens that an earlier prompt or answer of the trace begins with: what a prefix cache
    /// without end would find, were it not for whole blocks and the last token.
    pub reuse: f64,
}

impl Sharing {
    /// The figures of a trace; `None` if nothing is shared.
    pub fn of(trace: &Recorded) -> Option<Self> {
        let table = Arc::clone(trace.texts.as_ref()?);
        let mut said = vec![0_u32; table.len()];
        let texts = Texts { streams: vec![StreamTexts::Recorded(Arc::clone(&table))] };
        let mut pieces = Vec::new();
        let mut sessions = BTreeSet::new();
        let (mut requests, mut reused, mut total) = (0, 0, 0);
        for request in trace.requests.iter() {
            total += u64::from(request.prompt_tokens);
            if request.text.is_unique() {
                continue;
            }
            requests += 1;
            sessions.insert(table.session(request.text.local()));
            texts.pieces(request.text, request.prompt_tokens, &mut pieces);
            // A prefix cache finds a piece only if all before it was found.
            let mut whole = true;
            for &(text, start, len) in &pieces {
                let known = &mut said[text.local() as usize];
                let found = if whole { known.saturating_sub(start).min(len) } else { 0 };
                whole &= found == len;
                reused += u64::from(found);
                *known = (*known).max(start + len);
            }
            let own = &mut said[request.text.local() as usize];
            *own = (*own).max(request.prompt_tokens.saturating_add(request.output_tokens));
        }
        let sessions = sessions.len() as u64;
        (requests > 0).then(|| Self { sessions, requests, reuse: reused as f64 / total as f64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SimTime;
    use crate::workload::request::{Request, Side, SideTable, TextId};

    #[test]
    fn what_was_said_before_is_reused() {
        let mut side = SideTable::default();
        let mut requests = Vec::new();
        let rows =
            [("a", 100, 120, 30), ("b", 100, 110, 10), ("", 0, 500, 10), ("a", 100, 160, 40)];
        for (i, (session, prefix_tokens, prompt_tokens, output_tokens)) in (0..).zip(rows) {
            let prefix_group = side.intern(if session.is_empty() { "" } else { "sys" });
            let session = side.intern(session);
            side.rows.push(Side { session, prefix_group, prefix_tokens, ..Side::default() });
            let (arrival, text) = (SimTime::from_secs(i), TextId::UNIQUE);
            requests.push(Request { arrival, prompt_tokens, output_tokens, text });
        }
        assert_eq!(Sharing::of(&Recorded::new(requests.clone())), None);
        // 100 of b's prompt, 150 of the second turn's.
        let reuse = 250.0 / 890.0;
        let found = Sharing::of(&Recorded::with_side(requests, side));
        assert_eq!(found, Some(Sharing { sessions: 2, requests: 3, reuse }));
    }
}
