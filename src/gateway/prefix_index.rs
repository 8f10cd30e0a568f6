//! What an endpoint picker believes each pod to have in its prefix cache: the blocks of the prompts that it sent
//! there, the ones used last. It never asks the pod, so it knows nothing of answers, preemptions and evictions.
//!
//! Source: gateway-api-inference-extension, approximate prefix cache (indexer: one LRU per server). Its blocks are of
//! so many tokens at four characters each; the last, partial one of a prompt counts only in newer releases of llm-d.

use super::{EndpointView, PrefixMemory, TextPiece};
use crate::units::{PodId, SimDuration, SimTime};
use std::collections::BTreeMap;

/// The index of all pods, and how much of the present prompt each of them matches.
#[derive(Clone, Debug)]
pub(super) struct PrefixIndex {
    memory: PrefixMemory,
    pods: BTreeMap<PodId, Known>,
    /// Chained keys of the present prompt's blocks.
    blocks: Vec<u64>,
    next_cleanup: SimTime,
}

/// What one pod is thought to have.
#[derive(Clone, Debug)]
struct Known {
    blocks: Lru,
    /// Blocks of the present prompt among them.
    matched: u32,
}

/// Tokens of a block, and blocks of a pod, where nobody says how many it has.
// Source: gateway-api-inference-extension, defaultBlockSizeTokens, DefaultLRUCapacityPerServer.
const BLOCK_TOKENS: u32 = 16;
const BLOCKS_PER_POD: u32 = 31_250;

/// Pods that are gone are forgotten this often.
// Source: gateway-api-inference-extension, PodActiveCheckInterval.
// ASSUMPTION(A362): at the first request after each full two minutes of the run; a pod that is unready for so long that
// the moment falls into it comes back with nothing.
const CLEANUP: SimDuration = SimDuration::from_secs(120);

impl PrefixIndex {
    pub(super) fn new(memory: PrefixMemory) -> Self {
        Self {
            memory,
            pods: BTreeMap::new(),
            blocks: Vec::new(),
            next_cleanup: SimTime::ZERO + CLEANUP,
        }
    }

    /// Looks up a prompt: afterwards [`PrefixIndex::matched_share`] answers for each endpoint. A pod's blocks count one
    /// by one, up to the first block that no pod has.
    // Source: gateway-api-inference-extension, matchLongestPrefix. So a pod that has forgotten the beginning (what was
    // used last goes last, and a prompt's first block is used first) still counts where another one has it.
    pub(super) fn look_up(
        &mut self,
        now: SimTime,
        prompt: &[TextPiece],
        endpoints: &[EndpointView],
    ) {
        if now >= self.next_cleanup {
            self.pods.retain(|pod, _| endpoints.iter().any(|e| e.pod == *pod));
            let periods = now.as_ps() / CLEANUP.as_ps() + 1;
            self.next_cleanup = SimTime::ZERO + CLEANUP * periods;
        }
        let tokens = self.memory.block_tokens.unwrap_or(BLOCK_TOKENS);
        hash_blocks(prompt, tokens, self.memory.max_blocks, &mut self.blocks);
        for known in self.pods.values_mut() {
            known.matched = 0;
        }
        for key in &self.blocks {
            let mut anybody = false;
            for known in self.pods.values_mut().filter(|known| known.blocks.has(*key)) {
                known.matched += 1;
                anybody = true;
            }
            if !anybody {
                return;
            }
        }
    }

    /// Blocks of the present prompt that the pod is thought to have, over all of them; 0 without a full block.
    pub(super) fn matched_share(&self, pod: PodId) -> f64 {
        let matched = self.pods.get(&pod).map_or(0, |known| known.matched);
        if matched == 0 { 0.0 } else { f64::from(matched) / self.blocks.len() as f64 }
    }

    /// The present prompt goes to `pod`.
    pub(super) fn sent_to(&mut self, pod: PodId) {
        if self.blocks.is_empty() {
            return;
        }
        let capacity = self.memory.blocks_per_pod.unwrap_or(BLOCKS_PER_POD).max(1);
        let new = || Known { blocks: Lru::new(capacity), matched: 0 };
        let known = &mut self.pods.entry(pod).or_insert_with(new).blocks;
        for key in &self.blocks {
            known.touch(*key);
        }
    }
}

/// The keys of the prompt's full blocks, each chained over all before it.
fn hash_blocks(prompt: &[TextPiece], block_tokens: u32, max_blocks: u32, out: &mut Vec<u64>) {
    out.clear();
    let size = block_tokens.max(1);
    let mut key = 0;
    let mut filled = 0;
    for piece in prompt {
        let (mut at, end) = (piece.start, piece.start + piece.len);
        while at < end {
            let taken = (size - filled).min(end - at);
            key = mix(key ^ piece.text);
            key = mix(key ^ (u64::from(at) << 32 | u64::from(taken)));
            at += taken;
            filled += taken;
            if filled == size {
                out.push(key);
                filled = 0;
                if out.len() as u32 == max_blocks {
                    return;
                }
            }
        }
    }
}

/// The finaliser of SplitMix64.
pub(super) fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The most recently used keys: entries that form a ring in order of use, found by an open table with linear probing
/// that is at most half full.
#[derive(Clone, Debug)]
struct Lru {
    capacity: usize,
    /// Entry by place; 0 marks an empty one.
    places: Vec<u32>,
    /// Entry 0 closes the ring: its `older` is the newest entry, its `newer` the oldest.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    older: u32,
    newer: u32,
}

impl Lru {
    fn new(capacity: u32) -> Self {
        let ring = Entry { key: 0, older: 0, newer: 0 };
        Self { capacity: capacity as usize, places: vec![0; 8], entries: vec![ring] }
    }

    fn has(&self, key: u64) -> bool {
        self.places[self.place(key)] != 0
    }

    /// Where `key` is, or the empty place where it belongs. Keys are mixed, so their low bits are their home.
    fn place(&self, key: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut at = key as usize & mask;
        while self.places[at] != 0 && self.entries[self.places[at] as usize].key != key {
            at = (at + 1) & mask;
        }
        at
    }

    fn touch(&mut self, key: u64) {
        let place = self.place(key);
        let at = match self.places[place] {
            0 if self.entries.len() <= self.capacity => {
                self.entries.push(Entry { key, older: 0, newer: 0 });
                if self.entries.len() * 2 > self.places.len() {
                    self.grow();
                }
                self.entries.len() as u32 - 1
            }
            0 => {
                let oldest = self.entries[0].newer;
                self.unlink(oldest);
                self.forget(self.entries[oldest as usize].key);
                oldest
            }
            at => {
                self.unlink(at);
                at
            }
        };
        self.entries[at as usize].key = key;
        let place = self.place(key);
        self.places[place] = at;
        let newest = self.entries[0].older;
        self.entries[at as usize] = Entry { key, older: newest, newer: 0 };
        self.entries[newest as usize].newer = at;
        self.entries[0].older = at;
    }

    fn unlink(&mut self, at: u32) {
        let Entry { older, newer, .. } = self.entries[at as usize];
        self.entries[older as usize].newer = newer;
        self.entries[newer as usize].older = older;
    }

    /// Doubles the table, for all entries but the last, which is not in it yet.
    fn grow(&mut self) {
        let size = self.places.len() * 2;
        self.places.clear();
        self.places.resize(size, 0);
        for at in 1..self.entries.len() - 1 {
            let place = self.place(self.entries[at].key);
            self.places[place] = at as u32;
        }
    }

    /// Takes a key out and moves up what linear probing had pushed past it.
    fn forget(&mut self, key: u64) {
        let mask = self.places.len() - 1;
        let mut gap = self.place(key);
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            if self.places[at] == 0 {
                break;
            }
            let home = self.entries[self.places[at] as usize].key as usize & mask;
            // It may move back to the gap unless its home lies after the gap.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.places[gap] = self.places[at];
                gap = at;
            }
        }
        self.places[gap] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SimTime = SimTime::from_secs(7);

    fn memory(blocks_per_pod: u32) -> PrefixMemory {
        PrefixMemory { block_tokens: Some(4), max_blocks: 5, blocks_per_pod: Some(blocks_per_pod) }
    }

    fn endpoint(pod: u32) -> EndpointView {
        EndpointView::unread(PodId(pod))
    }

    fn piece(text: u64, start: u32, len: u32) -> TextPiece {
        TextPiece { text, start, len }
    }

    #[test]
    fn a_prompt_matches_where_its_beginning_was_sent() {
        let mut index = PrefixIndex::new(memory(100));
        let pods = [endpoint(1), endpoint(2)];
        index.look_up(NOW, &[piece(7, 0, 8), piece(8, 8, 6)], &pods);
        index.sent_to(PodId(1));
        // Twelve of the first 8 + 8 tokens were sent; four blocks in all.
        index.look_up(NOW, &[piece(7, 0, 8), piece(8, 8, 8)], &pods);
        assert_eq!(index.matched_share(PodId(1)), 0.75);
        assert_eq!(index.matched_share(PodId(2)), 0.0);
        index.look_up(NOW, &[piece(7, 0, 8), piece(9, 8, 8)], &pods);
        assert_eq!(index.matched_share(PodId(1)), 0.5);
        // The same tokens at another place are other blocks, and short prompts have none.
        index.look_up(NOW, &[piece(8, 8, 8)], &pods);
        assert_eq!(index.matched_share(PodId(1)), 0.0);
        index.look_up(NOW, &[piece(7, 0, 3)], &pods);
        assert_eq!(index.matched_share(PodId(1)), 0.0);
        // Only the first five blocks count.
        index.look_up(NOW, &[piece(7, 0, 8), piece(9, 8, 80)], &pods);
        assert_eq!(index.matched_share(PodId(1)), 0.4);
    }

    /// Three blocks of memory: a second prompt has pushed out the first block of pod 1's. Alone it has no beginning of
    /// the prompt; if pod 2 has that, its other two blocks count.
    // Source: gateway-api-inference-extension, matchLongestPrefix.
    #[test]
    fn a_lost_beginning_counts_where_another_pod_has_it() {
        let prompt = [piece(7, 0, 12)];
        let pods = [endpoint(1), endpoint(2)];
        let mut index = PrefixIndex::new(memory(3));
        index.look_up(NOW, &prompt, &pods);
        index.sent_to(PodId(1));
        index.look_up(NOW, &[piece(8, 0, 4)], &pods);
        index.sent_to(PodId(1));
        index.look_up(NOW, &prompt, &pods);
        assert_eq!(index.matched_share(PodId(1)), 0.0);
        index.look_up(NOW, &[piece(7, 0, 4)], &pods);
        index.sent_to(PodId(2));
        index.look_up(NOW, &prompt, &pods);
        assert_eq!([1, 2].map(|pod| index.matched_share(PodId(pod)) * 3.0), [2.0, 1.0]);
    }

    /// A pod that is out of the endpoints when the two minutes are full has lost everything, a shorter absence nothing.
    #[test]
    fn pods_that_are_gone_are_forgotten_after_a_while() {
        let prompt = [piece(7, 0, 8)];
        let (here, gone) = ([endpoint(1)], [endpoint(2)]);
        let mut index = PrefixIndex::new(memory(100));
        index.look_up(SimTime::from_secs(10), &prompt, &here);
        index.sent_to(PodId(1));
        index.look_up(SimTime::from_secs(119), &prompt, &gone);
        index.look_up(SimTime::from_secs(121), &prompt, &here);
        assert_eq!(index.matched_share(PodId(1)), 1.0);
        index.look_up(SimTime::from_secs(239), &prompt, &here);
        index.look_up(SimTime::from_secs(240), &prompt, &gone);
        index.look_up(SimTime::from_secs(241), &prompt, &here);
        assert_eq!(index.matched_share(PodId(1)), 0.0);
    }

    #[test]
    fn the_least_recently_used_blocks_go_first() {
        let mut lru = Lru::new(3);
        for key in [1, 2, 3, 1, 4] {
            lru.touch(key);
        }
        assert_eq!([1, 2, 3, 4].map(|key| lru.has(key)), [true, false, true, true]);
        lru.touch(5);
        assert_eq!([1, 3, 4, 5].map(|key| lru.has(key)), [true, false, true, true]);
        // Against a list: keys with crowded homes, so that probing and moving up are at work.
        let mut lru = Lru::new(50);
        let mut list: Vec<u64> = Vec::new();
        for i in 0..5_000_u64 {
            let key = (mix(i) % 90) * 16;
            lru.touch(key);
            list.retain(|known| *known != key);
            list.push(key);
            if list.len() > 50 {
                list.remove(0);
            }
            assert!((0..90).all(|k| lru.has(k * 16) == list.contains(&(k * 16))), "after {i}");
        }
        let mut one = Lru::new(1);
        one.touch(1);
        one.touch(1);
        one.touch(2);
        assert!(!one.has(1) && one.has(2));
    }
}
