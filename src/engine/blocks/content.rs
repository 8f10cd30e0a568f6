//! Content of a request's blocks: a chained 128-bit hash over token identities.
//!
//! vLLM hashes token values; here two tokens are equal exactly when (segment, position) are, so a block is
//! a short list of spans. The list is made canonical (adjoining spans of one segment are one), hence equal
//! blocks have equal lists. Each mixing step is a bijection of its 64-bit lane, so two different chains
//! meet only by a 128-bit coincidence.

use super::super::request::{Prompt, Segment, TokenSpan};
use crate::units::RequestId;

/// A block's identity: its own tokens and, through the chain, all before it.
pub(super) type BlockHash = u128;

/// The tokens of one request and the hashes of its full blocks so far.
#[derive(Debug, Default)]
pub(super) struct Content {
    id: RequestId,
    prompt_tokens: u32,
    prompt: Prompt,
    hashes: Vec<BlockHash>,
    /// The span that holds the next token to hash, and how much of it is hashed.
    cursor: (usize, u32),
}

const TAG_TEXT: u64 = 1;
const TAG_OUTPUT: u64 = 2;
const TAG_UNIQUE: u64 = 3;

impl Content {
    /// Forgets the former request of this slot, keeping the memory.
    pub(super) fn reset(&mut self, id: RequestId, prompt_tokens: u32, prompt: Prompt) {
        self.id = id;
        self.prompt_tokens = prompt_tokens;
        self.prompt = prompt;
        self.hashes.clear();
        self.cursor = (0, 0);
    }

    /// The hashes of the first `count` blocks; all their tokens must be known.
    pub(super) fn hashes(&mut self, count: usize, block_size: u32) -> &[BlockHash] {
        while self.hashes.len() < count {
            let parent = self.hashes.last().copied().unwrap_or(0);
            let hash = self.hash_next(parent, block_size);
            self.hashes.push(hash);
        }
        &self.hashes[..count]
    }

    /// Where the generated tokens belong: segment and position of the first one.
    pub(super) fn answer(&self) -> Place {
        match &self.prompt {
            Prompt::Unique | Prompt::Spans(_) => {
                Place { segment: Segment::Output(self.id), start: 0 }
            }
            Prompt::Chain(chain) => {
                let (segment, start) = chain.answer();
                Place { segment, start }
            }
        }
    }

    /// Whether the prompt contains output that belongs to no text.
    pub(super) fn quotes_outputs(&self) -> bool {
        self.spans().iter().any(|span| matches!(span.segment, Segment::Output(_)))
    }

    /// Whether tokens that are generated at one of these places can be among those of this request.
    pub(super) fn quotes(&self, mut answers: impl Iterator<Item = Place>) -> bool {
        if matches!(self.prompt, Prompt::Unique) {
            return false;
        }
        let spans = self.spans();
        let own = self.answer();
        answers.any(|answer| {
            let holds = |span: &TokenSpan| {
                span.segment == answer.segment && span.start + span.len > answer.start
            };
            own.segment == answer.segment || spans.iter().any(holds)
        })
    }

    /// The spans of the prompt; none if it is unique.
    fn spans(&self) -> &[TokenSpan] {
        match &self.prompt {
            Prompt::Unique => &[],
            Prompt::Spans(spans) => spans,
            Prompt::Chain(chain) => chain.spans(),
        }
    }

    fn hash_next(&mut self, parent: BlockHash, block_size: u32) -> BlockHash {
        let mut hasher = Hasher::new(parent);
        let mut at = self.hashes.len() as u32 * block_size;
        let end = at + block_size;
        let mut open: Option<Piece> = None;
        while at < end {
            let mut piece = self.piece_at(at);
            piece.len = piece.len.min(end - at);
            self.consume(piece.len, at);
            at += piece.len;
            open = Some(match open {
                Some(last) if last.continues_in(&piece) => {
                    Piece { len: last.len + piece.len, ..last }
                }
                Some(last) => {
                    hasher.piece(&last);
                    piece
                }
                None => piece,
            });
        }
        if let Some(last) = open {
            hasher.piece(&last);
        }
        hasher.finish()
    }

    /// The rest, from token `at` on, of the span that holds it.
    fn piece_at(&self, at: u32) -> Piece {
        if at >= self.prompt_tokens {
            let answer = self.answer();
            let (tag, segment) = tagged(answer.segment);
            let start = answer.start + (at - self.prompt_tokens);
            return Piece { tag, segment, start, len: u32::MAX - start };
        }
        if matches!(self.prompt, Prompt::Unique) {
            let len = self.prompt_tokens - at;
            return Piece { tag: TAG_UNIQUE, segment: self.id.0, start: at, len };
        }
        let (index, used) = self.cursor;
        let span = self.spans()[index];
        let (tag, segment) = tagged(span.segment);
        Piece { tag, segment, start: span.start + used, len: span.len - used }
    }

    fn consume(&mut self, len: u32, at: u32) {
        if at >= self.prompt_tokens {
            return;
        }
        let (mut index, mut used) = self.cursor;
        used += len;
        for span in &self.spans()[index..] {
            if used < span.len {
                break;
            }
            used -= span.len;
            index += 1;
        }
        self.cursor = (index, used);
    }
}

/// A position in a segment.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Place {
    segment: Segment,
    start: u32,
}

fn tagged(segment: Segment) -> (u64, u64) {
    match segment {
        Segment::Text(n) => (TAG_TEXT, n),
        Segment::Output(id) => (TAG_OUTPUT, id.0),
    }
}

/// Tokens `start..start + len` of one segment.
#[derive(Clone, Copy)]
struct Piece {
    tag: u64,
    segment: u64,
    start: u32,
    len: u32,
}

impl Piece {
    fn continues_in(&self, next: &Piece) -> bool {
        self.tag == next.tag && self.segment == next.segment && self.start + self.len == next.start
    }
}

/// Two lanes of a bijective 64-bit mixer.
struct Hasher {
    a: u64,
    b: u64,
}

impl Hasher {
    fn new(parent: BlockHash) -> Self {
        Self { a: parent as u64, b: (parent >> 64) as u64 }
    }

    fn piece(&mut self, piece: &Piece) {
        self.word(piece.tag);
        self.word(piece.segment);
        self.word(u64::from(piece.start) << 32 | u64::from(piece.len));
    }

    fn word(&mut self, word: u64) {
        self.a = mix(self.a ^ word, 0x9e37_79b9_7f4a_7c15);
        self.b = mix(self.b ^ word, 0xd1b5_4a32_d192_ed03);
    }

    fn finish(self) -> BlockHash {
        u128::from(self.b) << 64 | u128::from(self.a)
    }
}

/// A bijection of 64 bits that depends on `salt`: xor-shifts and odd multiplications.
// Source: the finaliser of SplitMix64 (Steele, Lea, Flood, 2014), with an added constant.
fn mix(x: u64, salt: u64) -> u64 {
    let mut z = x.wrapping_add(salt);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Chain;

    fn spans(list: &[(u64, u32, u32)]) -> Prompt {
        Prompt::Spans(
            list.iter()
                .map(|&(n, start, len)| TokenSpan { segment: Segment::Text(n), start, len })
                .collect(),
        )
    }

    fn hashes(id: u64, prompt_tokens: u32, prompt: Prompt, count: usize) -> Vec<BlockHash> {
        let mut content = Content::default();
        content.reset(RequestId(id), prompt_tokens, prompt);
        content.hashes(count, 4).to_vec()
    }

    #[test]
    fn cutting_a_text_differently_changes_nothing() {
        let whole = hashes(1, 8, spans(&[(7, 0, 8)]), 2);
        assert_eq!(whole, hashes(2, 8, spans(&[(7, 0, 3), (7, 3, 0), (7, 3, 5)]), 2));
    }

    #[test]
    fn a_block_depends_on_all_before_it() {
        let a = hashes(1, 8, spans(&[(7, 0, 4), (9, 0, 4)]), 2);
        let b = hashes(1, 8, spans(&[(8, 0, 4), (9, 0, 4)]), 2);
        assert_ne!(a[1], b[1]);
    }

    #[test]
    fn an_answer_is_found_again_in_the_next_turn() {
        let first = hashes(5, 6, spans(&[(7, 0, 6)]), 2);
        let turn = Prompt::Spans(
            [
                TokenSpan { segment: Segment::Text(7), start: 0, len: 6 },
                TokenSpan { segment: Segment::Output(RequestId(5)), start: 0, len: 10 },
            ]
            .into(),
        );
        assert_eq!(first, hashes(6, 16, turn, 2));
    }

    #[test]
    fn an_answer_carries_on_the_text_of_a_chain() {
        let span = |n, len| TokenSpan { segment: Segment::Text(n), start: 0, len };
        let chain = |list: &[TokenSpan]| Prompt::Chain(Chain::new(list));
        // Turn one: 4 system tokens, 3 of the user, then the answer; turn two re-sends 12 of the talk.
        let first = hashes(5, 7, chain(&[span(1, 4), span(7, 3)]), 4);
        let second = hashes(6, 16, chain(&[span(1, 4), span(7, 12)]), 4);
        assert_eq!(first, second);
        // A prompt that is all system prompt still has an answer of its own.
        let mut content = Content::default();
        content.reset(RequestId(8), 4, chain(&[span(1, 4), span(9, 0)]));
        let other = content.hashes(2, 4).to_vec();
        assert_eq!(first[0], other[0]);
        assert_ne!(first[1], other[1]);
        // Three spans, cut elsewhere, are the same tokens.
        let piece = |n, start, len| TokenSpan { segment: Segment::Text(n), start, len };
        let cut = [piece(1, 0, 4), piece(7, 0, 1), piece(7, 1, 2)];
        assert_eq!(first, hashes(9, 7, chain(&cut), 4));
    }

    #[test]
    fn only_positions_that_are_generated_count_as_quoted() {
        let span = |len| TokenSpan { segment: Segment::Text(7), start: 0, len };
        let content = |prompt| {
            let mut content = Content::default();
            content.reset(RequestId(1), 8, prompt);
            content
        };
        let running = content(Prompt::Chain(Chain::new(&[span(8)])));
        let quotes = |prompt| content(prompt).quotes([running.answer()].into_iter());
        assert!(!quotes(Prompt::Spans([span(8)].into())));
        assert!(quotes(Prompt::Spans([span(9)].into())));
        // The same turn twice: both write the same text.
        assert!(quotes(Prompt::Chain(Chain::new(&[span(8)]))));
        assert!(!quotes(Prompt::Unique));
    }

    #[test]
    fn unique_prompts_share_nothing() {
        assert_ne!(hashes(1, 8, Prompt::Unique, 2)[0], hashes(2, 8, Prompt::Unique, 2)[0]);
    }
}
