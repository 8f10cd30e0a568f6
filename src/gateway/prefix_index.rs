//! What an endpoint picker believes each pod to have in its prefix cache: the blocks of the prompts that it sent
//! there, the ones used last. It never asks the pod, so it knows nothing of answers, preemptions and evictions.
//!
//! Source: gateway-api-inference-extension, approximate prefix cache (indexer: one LRU per server). Its blocks are of
//! so many tokens at four characters each; the last, partial one of a prompt counts only in newer releases of llm-d.

use super::{EndpointView, PrefixMemory, TextPiece};
use crate::units::{PodId, SimDuration, SimTime};
use std::collections::BTreeMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The index of all pods, and how much of the present prompt each of them matches.
#[derive(Clone, Debug)]
pub(super) struct PrefixIndex {
    memory: PrefixMemory,
    /// Seat of each known pod.
    seats: BTreeMap<PodId, usize>,
    known: Vec<Known>,
    /// Who has a block: bit `s` of group `g` is the pod on seat `64 g + s`. Asking every pod for every block is what a
    /// large fleet would spend its time on.
    holders: Vec<Holders>,
    /// Chained keys of the present prompt's blocks.
    blocks: Vec<u64>,
    next_cleanup: SimTime,
}

/// What the pod on one seat is thought to have.
#[derive(Clone, Debug)]
struct Known {
    /// `None`: the seat is free.
    blocks: Option<Lru>,
    /// Blocks of the present prompt among them.
    matched: u32,
}

/// Pods of one group by block.
#[expect(
    clippy::disallowed_types,
    reason = "its order is never seen, and a tree of 100,000 blocks is slow"
)]
type Holders = std::collections::HashMap<u64, u64, BuildHasherDefault<Mixed>>;
const GROUP: usize = u64::BITS as usize;

/// Keys are mixed already.
#[derive(Clone, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers")
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
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
            seats: BTreeMap::new(),
            known: Vec::new(),
            holders: Vec::new(),
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
            self.forget_all_but(endpoints);
            let periods = now.as_ps() / CLEANUP.as_ps() + 1;
            self.next_cleanup = SimTime::ZERO + CLEANUP * periods;
        }
        let tokens = self.memory.block_tokens.unwrap_or(BLOCK_TOKENS);
        hash_blocks(prompt, tokens, self.memory.max_blocks, &mut self.blocks);
        for known in &mut self.known {
            known.matched = 0;
        }
        for key in &self.blocks {
            let mut anybody = false;
            for (holders, known) in self.holders.iter().zip(self.known.chunks_mut(GROUP)) {
                let mut left = holders.get(key).copied().unwrap_or(0);
                anybody |= left != 0;
                while left != 0 {
                    known[left.trailing_zeros() as usize].matched += 1;
                    left &= left - 1;
                }
            }
            if !anybody {
                return;
            }
        }
    }

    /// Blocks of the present prompt that the pod is thought to have, over all of them; 0 without a full block.
    pub(super) fn matched_share(&self, pod: PodId) -> f64 {
        let matched = self.seats.get(&pod).map_or(0, |seat| self.known[*seat].matched);
        if matched == 0 { 0.0 } else { f64::from(matched) / self.blocks.len() as f64 }
    }

    /// The present prompt went to `pod`.
    pub(super) fn sent_to(&mut self, pod: PodId) {
        if self.blocks.is_empty() {
            return;
        }
        let seat = self.seat(pod);
        let holders = &mut self.holders[seat / GROUP];
        let bit = 1 << (seat % GROUP);
        let capacity = self.memory.blocks_per_pod.unwrap_or(BLOCKS_PER_POD).max(1);
        let known = self.known[seat].blocks.get_or_insert_with(|| Lru::new(capacity));
        for key in &self.blocks {
            let touched = known.touch(*key);
            if touched.is_new {
                *holders.entry(*key).or_default() |= bit;
            }
            if let Some(forgotten) = touched.forgotten {
                let left = holders.get_mut(&forgotten).expect("a pod had it");
                *left &= !bit;
                if *left == 0 {
                    holders.remove(&forgotten);
                }
            }
        }
    }

    /// The seat of `pod`: its own, or the first free one.
    fn seat(&mut self, pod: PodId) -> usize {
        *self.seats.entry(pod).or_insert_with(|| {
            let free = self.known.iter().position(|known| known.blocks.is_none());
            free.unwrap_or_else(|| {
                self.known.push(Known { blocks: None, matched: 0 });
                if self.known.len() > self.holders.len() * GROUP {
                    self.holders.push(Holders::default());
                }
                self.known.len() - 1
            })
        })
    }

    fn forget_all_but(&mut self, endpoints: &[EndpointView]) {
        let (known, holders) = (&mut self.known, &mut self.holders);
        self.seats.retain(|pod, seat| {
            let stays = endpoints.iter().any(|e| e.pod == *pod);
            if !stays {
                known[*seat].blocks = None;
                holders[*seat / GROUP].retain(|_, pods| {
                    *pods &= !(1 << (*seat % GROUP));
                    *pods != 0
                });
            }
            stays
        });
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

/// What the use of a key changed.
struct Touched {
    is_new: bool,
    /// The oldest key, which had to make room.
    forgotten: Option<u64>,
}

impl Lru {
    fn new(capacity: u32) -> Self {
        let ring = Entry { key: 0, older: 0, newer: 0 };
        Self { capacity: capacity as usize, places: vec![0; 8], entries: vec![ring] }
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

    fn touch(&mut self, key: u64) -> Touched {
        let place = self.place(key);
        let mut touched = Touched { is_new: self.places[place] == 0, forgotten: None };
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
                let forgotten = self.entries[oldest as usize].key;
                self.forget(forgotten);
                touched.forgotten = Some(forgotten);
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
        touched
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

    impl Lru {
        fn has(&self, key: u64) -> bool {
            self.places[self.place(key)] != 0
        }
    }

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

    /// Seventy pods, more than a group has, against a list of blocks per pod; every two minutes some are gone.
    #[test]
    fn matches_are_those_of_one_list_per_pod() {
        let mut index = PrefixIndex::new(memory(6));
        let mut lists: BTreeMap<PodId, Vec<u64>> = BTreeMap::new();
        let (mut now, mut next) = (SimTime::ZERO, SimTime::ZERO + CLEANUP);
        let mut most = 0.0_f64;
        for i in 0..4_000 {
            let draw = |what: u64, n: u64| mix(10 * i + what) % n;
            now += SimDuration::from_millis(700);
            let first = draw(0, 8) as u32;
            let pods: Vec<EndpointView> = (first..70).map(endpoint).collect();
            if now >= next {
                lists.retain(|pod, _| pod.0 >= first);
                next += CLEANUP;
            }
            let split = 4 * (1 + draw(1, 4)) as u32;
            let prompt = [piece(draw(2, 2), 0, split), piece(9 + draw(3, 3), split, 20 - split)];
            index.look_up(now, &prompt, &pods);
            let keys = index.blocks.clone();
            let anybody = |key: &&u64| lists.values().any(|list| list.contains(key));
            let counted: Vec<u64> = keys.iter().take_while(anybody).copied().collect();
            for pod in &pods {
                let has = |key: &&u64| lists.get(&pod.pod).is_some_and(|list| list.contains(key));
                let share = counted.iter().filter(has).count() as f64 / keys.len() as f64;
                assert_eq!(index.matched_share(pod.pod), share, "{i}, {:?}", pod.pod);
                most = most.max(share);
            }
            let chosen = pods[draw(4, pods.len() as u64) as usize].pod;
            index.sent_to(chosen);
            let list = lists.entry(chosen).or_default();
            for key in keys {
                list.retain(|known| *known != key);
                list.push(key);
                if list.len() > 6 {
                    list.remove(0);
                }
            }
        }
        assert_eq!((most, index.holders.len()), (1.0, 2));
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
