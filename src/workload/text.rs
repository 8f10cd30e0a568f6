//! What prompts have in common: texts that begin with the beginning of another text.
//!
//! A request names the text that it reads and carries on. Its prompt is the text's first `prompt_tokens` tokens,
//! its answer the tokens after them; so the next turn of a conversation, which names the same text, starts with
//! all that was said before. A text may begin with the first so many tokens of another one (its base): a
//! conversation with its system prompt, a document's reader with the document. Two tokens are equal exactly when
//! they are the same position of the same text, bases resolved. A request without a text shares nothing.

use super::request::{NONE, Request, SideTable, TextId};
use super::sessions::SessionTexts;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One text of a recorded trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Text {
    /// Row of the text that it begins with, or [`NONE`].
    base: u32,
    /// How much of it \[tokens\].
    base_tokens: u32,
    /// Copies of the trace (`rate_scale`, `repeat`) share it: a prompt that all clients have, as against the
    /// conversation of one client.
    common: bool,
    /// Row of the first text of the same session: its own row unless history was cut.
    session: u32,
}

/// The texts of a recorded trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextTable {
    texts: Vec<Text>,
}

/// What of a session was seen so far.
struct Session {
    text: u32,
    first: u32,
    base: (u32, u32),
    /// Prompt and answer of the newest turn \[tokens\].
    said: u64,
}

impl TextTable {
    /// Gives each request, in time order, its text by the side columns of its row. `None` if nobody shares
    /// anything.
    ///
    /// - `prefix_group` and `prefix_tokens`: the prompt begins with the first so many tokens of a text that has
    ///   this name; requests of one group share the smaller of their two lengths.
    /// - `session_id`: the prompt after the prefix is a conversation. A turn whose prompt is at least as long as
    ///   the prompt and the answer before it carries them on; a shorter one starts a new text, because history was
    ///   cut and no longer begins alike.
    /// - A `prefix_group` that is the `session_id` of some row means that session's text, so that trees of
    ///   prefixes can be written down.
    pub(super) fn assign(requests: &mut [Request], side: &SideTable) -> Option<Self> {
        let mut table = Self::default();
        let mut sessions: BTreeMap<u32, Option<Session>> = side
            .rows
            .iter()
            .filter(|row| row.session != NONE)
            .map(|row| (row.session, None))
            .collect();
        let mut groups: BTreeMap<u32, u32> = BTreeMap::new();
        for (request, row) in requests.iter_mut().zip(&side.rows) {
            let shared = row.prefix_tokens.min(request.prompt_tokens);
            let base = if row.prefix_group == NONE || shared == 0 {
                (NONE, 0)
            } else {
                let text = match sessions.get(&row.prefix_group) {
                    // A session that has not begun has no text to share.
                    Some(None) => NONE,
                    Some(Some(session)) => session.text,
                    None => *groups
                        .entry(row.prefix_group)
                        .or_insert_with(|| table.add((NONE, 0), true, None)),
                };
                if text == NONE { (NONE, 0) } else { (text, shared) }
            };
            let text = match sessions.get_mut(&row.session) {
                None if base.0 == NONE => continue,
                None => table.add(base, false, None),
                Some(state) => {
                    let said = u64::from(request.prompt_tokens) + u64::from(request.output_tokens);
                    let carries_on =
                        |s: &Session| s.base == base && u64::from(request.prompt_tokens) >= s.said;
                    let text = match state {
                        Some(session) if carries_on(session) => session.text,
                        _ => table.add(base, false, state.as_ref().map(|s| s.first)),
                    };
                    let first = state.as_ref().map_or(text, |s| s.first);
                    *state = Some(Session { text, first, base, said });
                    text
                }
            };
            request.text = TextId(u64::from(text));
        }
        (!table.texts.is_empty()).then_some(table)
    }

    fn add(&mut self, base: (u32, u32), common: bool, session: Option<u32>) -> u32 {
        let row = self.texts.len() as u32;
        let session = session.unwrap_or(row);
        self.texts.push(Text { base: base.0, base_tokens: base.1, common, session });
        row
    }

    /// Number of texts.
    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The number of the first text of the conversation that this text is part of.
    pub(super) fn session(&self, local: u64) -> u64 {
        let texts = self.texts.len() as u64;
        let first = self.texts[(local % texts) as usize].session;
        local / texts * texts + u64::from(first)
    }

    /// The text that stands for `text` in copy number `copy` of the trace.
    pub(super) fn in_copy(&self, text: TextId, copy: u64) -> TextId {
        if text.is_unique() || copy == 0 {
            return text;
        }
        TextId(text.0 + copy * self.texts.len() as u64)
    }

    fn base(&self, local: u64) -> Option<(u64, u32)> {
        let texts = self.texts.len() as u64;
        let (copy, row) = (local / texts, local % texts);
        let Text { base, base_tokens, .. } = self.texts[row as usize];
        let common = self.texts.get(base as usize)?.common;
        let copy = if common { 0 } else { copy };
        Some((copy * texts + u64::from(base), base_tokens))
    }
}

/// The texts of a workload, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    pub(super) streams: Vec<StreamTexts>,
}

/// The texts of one stream.
#[derive(Clone, Debug)]
pub(super) enum StreamTexts {
    /// All prompts are unique.
    None,
    /// Each prompt is, as a whole, that of the same number in the stream with this ordinal; two different ones of it
    /// share nothing.
    Whole(u64),
    /// By the side columns of a trace.
    Recorded(Arc<TextTable>),
    /// Computed from the id.
    Sessions(SessionTexts),
}

impl Texts {
    /// Whether any two prompts can have something in common.
    pub fn any(&self) -> bool {
        self.streams.iter().any(|texts| !matches!(texts, StreamTexts::None))
    }

    /// The conversation that `text` is part of: the same for all its turns, also when history was cut.
    pub fn session(&self, text: TextId) -> Option<u64> {
        if text.is_unique() {
            return None;
        }
        let session = match self.streams.get(text.stream())? {
            StreamTexts::None | StreamTexts::Whole(_) => return None,
            StreamTexts::Recorded(table) => table.session(text.local()),
            StreamTexts::Sessions(sessions) => sessions.session(text.local()),
        };
        Some(TextId::of_stream(text.stream() as u64, session).0)
    }

    /// The text that `text` begins with, and how much of it \[tokens\]; `None` if it is all its own.
    pub fn base(&self, text: TextId) -> Option<(TextId, u32)> {
        if text.is_unique() {
            return None;
        }
        let local = text.local();
        let (base, tokens) = match self.streams.get(text.stream())? {
            StreamTexts::None => return None,
            StreamTexts::Whole(first) => {
                let is_first = *first == text.stream() as u64;
                return (!is_first).then(|| (TextId::of_stream(*first, local), u32::MAX));
            }
            StreamTexts::Recorded(table) => table.base(local)?,
            StreamTexts::Sessions(sessions) => sessions.base(local)?,
        };
        Some((TextId::of_stream(text.stream() as u64, base), tokens))
    }

    /// The first `tokens` tokens of `text` as (text, from, number of tokens), bases resolved, in order. The last
    /// piece is of `text` itself and may be empty, no other is.
    pub fn pieces(&self, text: TextId, tokens: u32, out: &mut Vec<(TextId, u32, u32)>) {
        out.clear();
        let (mut at, mut end) = (text, tokens);
        loop {
            let base = self.base(at).map(|(base, shared)| (base, shared.min(end)));
            let from = base.map_or(0, |(_, shared)| shared);
            if end > from || out.is_empty() {
                out.push((at, from, end - from));
            }
            let Some((base, shared)) = base.filter(|(_, shared)| *shared > 0) else { break };
            (at, end) = (base, shared);
        }
        out.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::SimTime;
    use crate::workload::request::Side;

    /// (session, group, shared, prompt, output) per row; empty names are none.
    fn assign(rows: &[(&str, &str, u32, u32, u32)]) -> (Vec<Request>, Texts) {
        let mut side = SideTable::default();
        let mut requests = Vec::new();
        for (i, &(session, group, prefix_tokens, prompt_tokens, output_tokens)) in
            rows.iter().enumerate()
        {
            let row = Side {
                session: side.intern(session),
                prefix_group: side.intern(group),
                prefix_tokens,
                ..Side::default()
            };
            side.rows.push(row);
            let arrival = SimTime::from_secs(i as u64);
            let text = TextId::UNIQUE;
            requests.push(Request { arrival, prompt_tokens, output_tokens, text });
        }
        let table = TextTable::assign(&mut requests, &side);
        let streams = vec![table.map_or(StreamTexts::None, |t| StreamTexts::Recorded(t.into()))];
        (requests, Texts { streams })
    }

    fn pieces(texts: &Texts, request: &Request) -> Vec<(u64, u32, u32)> {
        let mut out = Vec::new();
        texts.pieces(request.text, request.prompt_tokens, &mut out);
        out.into_iter().map(|(text, from, len)| (text.0, from, len)).collect()
    }

    #[test]
    fn a_group_shares_the_smaller_length() {
        let (rows, texts) = assign(&[
            ("", "sys", 100, 150, 10),
            ("", "sys", 60, 80, 10),
            ("", "", 0, 50, 5),
            ("", "sys", 90, 40, 5),
        ]);
        assert_eq!(pieces(&texts, &rows[0]), [(0, 0, 100), (1, 100, 50)]);
        assert_eq!(pieces(&texts, &rows[1]), [(0, 0, 60), (2, 60, 20)]);
        assert_eq!(rows[2].text, TextId::UNIQUE);
        // A prompt shorter than the prefix it names is all prefix.
        assert_eq!(pieces(&texts, &rows[3]), [(0, 0, 40), (3, 40, 0)]);
    }

    #[test]
    fn turns_carry_a_conversation_on_until_history_is_cut() {
        let (rows, texts) = assign(&[
            ("a", "sys", 100, 120, 30),
            ("b", "sys", 100, 110, 10),
            ("a", "sys", 100, 160, 40),
            ("a", "sys", 100, 150, 40),
            ("a", "sys", 100, 190, 40),
        ]);
        assert_eq!(pieces(&texts, &rows[0]), [(0, 0, 100), (1, 100, 20)]);
        assert_eq!(rows[2].text, rows[0].text);
        assert_ne!(rows[1].text, rows[0].text);
        // 150 is less than the 160 + 40 said before.
        assert_ne!(rows[3].text, rows[0].text);
        assert_eq!(rows[4].text, rows[3].text);
    }

    #[test]
    fn a_session_may_branch_off_another_one() {
        let (rows, texts) = assign(&[
            ("a", "", 0, 100, 10),
            ("b", "a", 64, 90, 10),
            ("c", "b", 80, 85, 10),
            ("d", "c", 50, 55, 10),
            ("e", "later", 50, 55, 10),
            ("later", "", 0, 60, 1),
        ]);
        assert_eq!(pieces(&texts, &rows[2]), [(0, 0, 64), (1, 64, 16), (2, 80, 5)]);
        assert_eq!(pieces(&texts, &rows[3]), [(0, 0, 50), (3, 50, 5)]);
        // Nobody has said anything in `later` yet.
        assert_eq!(pieces(&texts, &rows[4]), [(4, 0, 55)]);
    }

    #[test]
    fn copies_share_what_all_clients_share_and_nothing_else() {
        let (rows, texts) = assign(&[("a", "sys", 100, 120, 30), ("b", "a", 110, 115, 10)]);
        let StreamTexts::Recorded(table) = &texts.streams[0] else { unreachable!() };
        let copy = |r: &Request| Request { text: table.in_copy(r.text, 2), ..*r };
        assert_eq!(pieces(&texts, &copy(&rows[0])), [(0, 0, 100), (7, 100, 20)]);
        assert_eq!(pieces(&texts, &copy(&rows[1])), [(0, 0, 100), (7, 100, 10), (8, 110, 5)]);
    }
}
