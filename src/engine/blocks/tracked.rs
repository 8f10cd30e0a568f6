//! The pool with block ids: free queue, reference counts, and the index of cached blocks.
//!
//! Source: vllm 0.33.0, v1/core/block_pool.py, v1/core/kv_cache_utils.py (FreeKVCacheBlockQueue).

use super::super::config::SchedulerRules;
use super::super::request::Prompt;
use super::Hit;
use super::content::{BlockHash, Content, Place};
use crate::units::RequestId;

/// No block, no entry.
const NONE: u32 = u32::MAX;

/// One block of the pool.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Requests that hold it.
    holders: u32,
    /// Neighbours in the free queue while `holders == 0`; block 0 closes the ring.
    prev: u32,
    next: u32,
    /// Its content while it is in the index.
    hash: Option<BlockHash>,
    /// The next younger block with the same content.
    younger: u32,
}

/// What the pool knows about the request in one slot.
#[derive(Debug, Default)]
struct Holder {
    blocks: Vec<u32>,
    /// How many of its first blocks are in the index.
    indexed: u32,
    content: Content,
}

/// All blocks by id.
#[derive(Debug)]
pub(in super::super) struct TrackedPool {
    blocks: Vec<Block>,
    free: u32,
    block_size: u32,
    caching: bool,
    /// Unhashed blocks go to the front of the free queue when freed.
    reuse_unhashed_first: bool,
    holders: Vec<Holder>,
    /// Where the outputs belong, by slot: kept apart so that a search is one sweep.
    answers: Vec<Place>,
    /// Some request's output carried on a text.
    writes_texts: bool,
    index: Index,
}

impl TrackedPool {
    /// A pool of `num_gpu_blocks` blocks, the null block included, all free in the order 1, 2, 3, ...
    pub(in super::super) fn new(
        num_gpu_blocks: u32,
        block_size: u32,
        caching: bool,
        rules: SchedulerRules,
    ) -> Self {
        let last = num_gpu_blocks - 1;
        let blocks = (0..num_gpu_blocks)
            .map(|i| Block {
                holders: 0,
                prev: if i == 0 { last } else { i - 1 },
                next: if i == last { 0 } else { i + 1 },
                hash: None,
                younger: NONE,
            })
            .collect();
        Self {
            blocks,
            free: last,
            block_size,
            caching,
            reuse_unhashed_first: rules >= SchedulerRules::V0_33,
            holders: Vec::new(),
            answers: Vec::new(),
            writes_texts: false,
            index: Index::new(if caching { num_gpu_blocks } else { 0 }),
        }
    }

    /// Gives the next blocks of the free queue the content that they hold for a waiting request: its first
    /// `count` blocks, last one first. `skip` blocks of the queue come before; all of it is unhashed yet.
    pub(in super::super) fn adopt_prefix(&mut self, slot: u32, count: u32, skip: u32) {
        let mut block = self.blocks[0].next;
        for _ in 0..skip {
            block = self.blocks[block as usize].next;
        }
        for i in (0..count as usize).rev() {
            let content = &mut self.holders[slot as usize].content;
            let hash = content.hashes(i + 1, self.block_size)[i];
            self.blocks[block as usize].hash = Some(hash);
            self.index.insert(hash, block, &mut self.blocks);
            block = self.blocks[block as usize].next;
        }
    }

    pub(super) fn free(&self) -> u32 {
        self.free
    }

    pub(super) fn writes_texts(&self) -> bool {
        self.caching && self.writes_texts
    }

    pub(super) fn caching(&self) -> bool {
        self.caching
    }

    /// Ids of the blocks that `slot` holds, in order.
    pub(in super::super) fn block_ids(&self, slot: u32) -> &[u32] {
        &self.holders[slot as usize].blocks
    }

    pub(in super::super) fn register(
        &mut self,
        slot: u32,
        id: RequestId,
        prompt_tokens: u32,
        prompt: Prompt,
    ) {
        if self.holders.len() <= slot as usize {
            self.holders.resize_with(slot as usize + 1, Holder::default);
        }
        let holder = &mut self.holders[slot as usize];
        assert!(holder.blocks.is_empty(), "law L2: a new request holds no blocks");
        holder.indexed = 0;
        self.writes_texts |= matches!(prompt, Prompt::Chain(_));
        holder.content.reset(id, prompt_tokens, prompt);
        let answer = holder.content.answer();
        self.answers.resize(self.holders.len(), answer);
        self.answers[slot as usize] = answer;
    }

    pub(super) fn lookup(&mut self, slot: u32, known: u32) -> Hit {
        if !self.caching {
            return Hit::default();
        }
        // At least one token is always computed, or there would be nothing to sample from.
        let limit = (known - 1) / self.block_size;
        let content = &mut self.holders[slot as usize].content;
        let mut hit = Hit::default();
        for count in 1..=limit as usize {
            // Hash block by block: a miss ends the search before the rest is hashed.
            let hash = content.hashes(count, self.block_size)[count - 1];
            let Some(block) = self.index.oldest(hash) else { break };
            hit.blocks += 1;
            hit.evictable += u32::from(self.blocks[block as usize].holders == 0);
        }
        hit
    }

    pub(super) fn prefix_is_settled(&self, slot: u32, running: impl Iterator<Item = u32>) -> bool {
        let content = &self.holders[slot as usize].content;
        if !self.caching || !(self.writes_texts || content.quotes_outputs()) {
            return true;
        }
        !content.quotes(running.map(|slot| self.answers[slot as usize]))
    }

    pub(super) fn admit(&mut self, slot: u32, hit: Hit, new: u32) {
        assert!(
            self.holders[slot as usize].blocks.is_empty(),
            "law L2: an admitted request holds no blocks"
        );
        for i in 0..hit.blocks as usize {
            let hash = self.holders[slot as usize].content.hashes(i + 1, self.block_size)[i];
            let block = self.index.oldest(hash).expect("a looked-up block is still in the index");
            if self.blocks[block as usize].holders == 0 {
                self.unlink(block);
            }
            self.blocks[block as usize].holders += 1;
            self.holders[slot as usize].blocks.push(block);
        }
        self.holders[slot as usize].indexed = hit.blocks;
        self.grow(slot, new);
    }

    pub(in super::super) fn grow(&mut self, slot: u32, new: u32) {
        assert!(self.free >= new, "law L2: {new} blocks taken, {} are free", self.free);
        for _ in 0..new {
            let block = self.blocks[0].next;
            self.unlink(block);
            self.evict(block);
            self.blocks[block as usize].holders = 1;
            self.holders[slot as usize].blocks.push(block);
        }
    }

    pub(in super::super) fn index(&mut self, slot: u32, tokens: u32) {
        if !self.caching {
            return;
        }
        let holder = &mut self.holders[slot as usize];
        let full = tokens / self.block_size;
        while holder.indexed < full {
            let i = holder.indexed as usize;
            let hash = holder.content.hashes(i + 1, self.block_size)[i];
            let block = holder.blocks[i];
            assert!(self.blocks[block as usize].hash.is_none(), "a block is indexed once");
            self.blocks[block as usize].hash = Some(hash);
            self.index.insert(hash, block, &mut self.blocks);
            holder.indexed += 1;
        }
    }

    pub(super) fn release(&mut self, slot: u32) {
        let mut held = std::mem::take(&mut self.holders[slot as usize].blocks);
        // Last block first; unhashed blocks are put before the front in that same order.
        let mut front = 0;
        for &block in held.iter().rev() {
            let b = &mut self.blocks[block as usize];
            assert!(b.holders > 0, "law L2: block {block} is freed twice");
            b.holders -= 1;
            if b.holders > 0 {
                continue;
            }
            if b.hash.is_none() && self.reuse_unhashed_first {
                self.link_after(front, block);
                front = block;
            } else {
                let back = self.blocks[0].prev;
                self.link_after(back, block);
            }
        }
        held.clear();
        let holder = &mut self.holders[slot as usize];
        holder.blocks = held;
        holder.indexed = 0;
    }

    /// Panics unless the free queue, the reference counts and the lists of the requests agree; `held` is
    /// the length of all lists together.
    pub(in super::super) fn check_laws(&self, held: u32) {
        let mut holders = vec![0; self.blocks.len()];
        for block in self.holders.iter().flat_map(|holder| &holder.blocks) {
            holders[*block as usize] += 1;
        }
        let lists: u32 = holders.iter().sum();
        assert_eq!(lists, held, "law L2: lists and capacities");
        let mut free = 0;
        let mut at = self.blocks[0].next;
        while at != 0 {
            assert_eq!(holders[at as usize], 0, "law L2: block {at} is held and free");
            free += 1;
            at = self.blocks[at as usize].next;
        }
        assert_eq!(free, self.free, "law L2: length of the free queue");
        for (id, block) in self.blocks.iter().enumerate().skip(1) {
            assert_eq!(block.holders, holders[id], "law L2: holders of block {id}");
        }
        let owned = holders.iter().filter(|&&count| count > 0).count();
        assert_eq!(owned + free as usize, self.blocks.len() - 1, "law L2: no block is lost");
    }

    fn evict(&mut self, block: u32) {
        if let Some(hash) = self.blocks[block as usize].hash.take() {
            self.index.remove(hash, block, &mut self.blocks);
        }
    }

    fn unlink(&mut self, block: u32) {
        let Block { prev, next, .. } = self.blocks[block as usize];
        self.blocks[prev as usize].next = next;
        self.blocks[next as usize].prev = prev;
        self.free -= 1;
    }

    fn link_after(&mut self, prev: u32, block: u32) {
        let next = self.blocks[prev as usize].next;
        self.blocks[prev as usize].next = block;
        self.blocks[next as usize].prev = block;
        let b = &mut self.blocks[block as usize];
        b.prev = prev;
        b.next = next;
        self.free += 1;
    }
}

/// Content hash -> blocks with that content, oldest first: an open table with linear probing that is
/// never more than half full, since there are at most as many contents as blocks.
#[derive(Debug)]
struct Index {
    /// (content, oldest block); `NONE` marks an empty place.
    places: Vec<(BlockHash, u32)>,
}

impl Index {
    fn new(blocks: u32) -> Self {
        let size = (blocks as usize * 2).next_power_of_two();
        Self { places: vec![(0, NONE); size] }
    }

    fn home(&self, hash: BlockHash) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    /// Where `hash` is, or the empty place where it belongs.
    fn place(&self, hash: BlockHash) -> usize {
        let mut at = self.home(hash);
        while self.places[at].1 != NONE && self.places[at].0 != hash {
            at = (at + 1) & (self.places.len() - 1);
        }
        at
    }

    fn oldest(&self, hash: BlockHash) -> Option<u32> {
        let block = self.places[self.place(hash)].1;
        (block != NONE).then_some(block)
    }

    fn insert(&mut self, hash: BlockHash, block: u32, blocks: &mut [Block]) {
        blocks[block as usize].younger = NONE;
        let at = self.place(hash);
        if self.places[at].1 == NONE {
            self.places[at] = (hash, block);
            return;
        }
        let mut last = self.places[at].1;
        while blocks[last as usize].younger != NONE {
            last = blocks[last as usize].younger;
        }
        blocks[last as usize].younger = block;
    }

    fn remove(&mut self, hash: BlockHash, block: u32, blocks: &mut [Block]) {
        let at = self.place(hash);
        let younger = blocks[block as usize].younger;
        if self.places[at].1 == block {
            if younger == NONE {
                self.close_gap(at);
            } else {
                self.places[at].1 = younger;
            }
            return;
        }
        let mut before = self.places[at].1;
        while blocks[before as usize].younger != block {
            before = blocks[before as usize].younger;
        }
        blocks[before as usize].younger = younger;
    }

    /// Empties place `gap` and moves up what linear probing had pushed past it.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.places.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            if self.places[at].1 == NONE {
                break;
            }
            let home = self.home(self.places[at].0);
            // The entry may move back to the gap unless its home lies after the gap.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.places[gap] = self.places[at];
                gap = at;
            }
        }
        self.places[gap].1 = NONE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(num_gpu_blocks: u32, caching: bool) -> TrackedPool {
        TrackedPool::new(num_gpu_blocks, 4, caching, SchedulerRules::V0_33)
    }

    fn with_unique(pool: &mut TrackedPool, slots: u32) {
        for slot in 0..slots {
            pool.register(slot, RequestId(u64::from(slot)), 100, Prompt::Unique);
        }
    }

    #[test]
    fn the_last_allocated_block_is_reused_first() {
        let mut pool = pool(8, false);
        with_unique(&mut pool, 2);
        pool.grow(0, 3);
        pool.release(0);
        pool.grow(1, 4);
        assert_eq!(pool.block_ids(1), [3, 2, 1, 4]);
        assert_eq!(pool.free(), 3);
    }

    #[test]
    fn hashed_blocks_wait_at_the_back_and_are_evicted_tail_first() {
        let mut pool = pool(6, true);
        with_unique(&mut pool, 2);
        pool.grow(0, 3);
        pool.index(0, 11);
        pool.release(0);
        // Free now: 3 (unhashed), 4, 5, then 2 and 1, the tail of the prefix first.
        pool.grow(1, 4);
        assert_eq!(pool.block_ids(1), [3, 4, 5, 2]);
        assert_eq!(pool.lookup(0, 100), Hit { blocks: 1, evictable: 1 });
    }

    #[test]
    fn a_full_hit_leaves_one_token_to_compute() {
        let mut pool = pool(6, true);
        with_unique(&mut pool, 1);
        pool.grow(0, 2);
        pool.index(0, 8);
        assert_eq!(pool.lookup(0, 8).blocks, 1);
        assert_eq!(pool.lookup(0, 9), Hit { blocks: 2, evictable: 0 });
    }

    #[test]
    fn the_index_survives_crowded_homes() {
        let mut pool = pool(64, true);
        let mut index = Index { places: vec![(0, NONE); 8] };
        for (i, hash) in [8u128, 16, 0, 24].into_iter().enumerate() {
            index.insert(hash, i as u32 + 1, &mut pool.blocks);
        }
        index.remove(16, 2, &mut pool.blocks);
        assert_eq!([8, 16, 0, 24].map(|h| index.oldest(h)), [Some(1), None, Some(3), Some(4)]);
        index.insert(0, 9, &mut pool.blocks);
        index.remove(0, 3, &mut pool.blocks);
        assert_eq!(index.oldest(0), Some(9));
    }
}
