//! The caching pool while all prompts are unique, first come first served: exact, without block ids.
//!
//! No request can then find another's blocks, so content matters in one place only: a preempted request
//! finds what is left of its own. Its hashed blocks were freed in one piece, last block first, to the back
//! of the free queue; reuse eats the piece from that end, so what is left is always a prefix, and its
//! length is the hit. The free queue is a list of pieces with lengths.
//!
//! Under FCFS a victim's newest token is never computed, so its hashed blocks are never more than a lookup
//! may find (`known - 1` tokens), and a hit takes the whole piece. (A priority victim that was already
//! scheduled in the same call may leave a block behind, which this pool could not tell.)

use std::collections::VecDeque;

use super::super::config::SchedulerRules;
use super::Hit;

/// Consecutive blocks of the free queue.
#[derive(Clone, Copy, Debug)]
struct Piece {
    count: u32,
    /// Whose prefix it is; nobody's once the slot's stamp moved on.
    slot: u32,
    stamp: u32,
}

/// What is left of a preempted request's blocks.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    blocks: u32,
    stamp: u32,
}

/// Pieces of the free queue with their lengths.
#[derive(Debug)]
pub(in super::super) struct UniquePool {
    block_size: u32,
    free: u32,
    /// Unhashed blocks at the front of the queue.
    unhashed: u32,
    queue: VecDeque<Piece>,
    own: Vec<Own>,
    reuse_unhashed_first: bool,
}

/// Slot of pieces that nobody will look for.
const NOBODY: u32 = u32::MAX;

impl UniquePool {
    pub(in super::super) fn new(
        num_gpu_blocks: u32,
        block_size: u32,
        rules: SchedulerRules,
    ) -> Self {
        Self {
            block_size,
            free: num_gpu_blocks - 1,
            unhashed: num_gpu_blocks - 1,
            queue: VecDeque::new(),
            own: Vec::new(),
            reuse_unhashed_first: rules >= SchedulerRules::V0_33,
        }
    }

    pub(super) fn free(&self) -> u32 {
        self.free
    }

    pub(super) fn register(&mut self, slot: u32) {
        if self.own.len() <= slot as usize {
            self.own.resize(slot as usize + 1, Own::default());
        }
        // Whatever the former request of this slot left behind is nobody's.
        let own = &mut self.own[slot as usize];
        own.blocks = 0;
        own.stamp += 1;
    }

    pub(super) fn lookup(&self, slot: u32, known: u32) -> Hit {
        let blocks = self.own[slot as usize].blocks;
        assert!(
            blocks * self.block_size < known,
            "a victim's hashed blocks never hold its newest token"
        );
        Hit { blocks, evictable: blocks }
    }

    pub(super) fn admit(&mut self, slot: u32, hit: Hit, new: u32) {
        if hit.blocks > 0 {
            let own = &mut self.own[slot as usize];
            let is_own = |piece: &&mut Piece| piece.slot == slot && piece.stamp == own.stamp;
            let piece = self.queue.iter_mut().find(is_own).expect("what is left is in the queue");
            assert_eq!(piece.count, hit.blocks, "a hit takes the whole piece");
            piece.count = 0;
            own.blocks = 0;
            self.free -= hit.blocks;
        }
        self.grow(new);
    }

    pub(super) fn grow(&mut self, new: u32) {
        assert!(self.free >= new, "law L2: {new} blocks taken, {} are free", self.free);
        self.free -= new;
        let unhashed = new.min(self.unhashed);
        self.unhashed -= unhashed;
        let mut wanted = new - unhashed;
        while wanted > 0 {
            let piece = self.queue.front_mut().expect("law L2: the queue holds all free blocks");
            let taken = wanted.min(piece.count);
            piece.count -= taken;
            wanted -= taken;
            if let Some(own) = self.own.get_mut(piece.slot as usize)
                && own.stamp == piece.stamp
            {
                own.blocks -= taken;
            }
            if piece.count == 0 {
                self.queue.pop_front();
            }
        }
    }

    /// Takes back `held` blocks, the first `hashed` of which are indexed. `stays` if the request will come
    /// back for them.
    pub(super) fn release(&mut self, slot: u32, held: u32, hashed: u32, stays: bool) {
        self.free += held;
        let unhashed = held - hashed;
        if self.reuse_unhashed_first {
            self.unhashed += unhashed;
        } else {
            self.append(unhashed);
        }
        if !stays {
            self.append(hashed);
        } else if hashed > 0 {
            let own = &mut self.own[slot as usize];
            own.blocks = hashed;
            own.stamp += 1;
            self.queue.push_back(Piece { count: hashed, slot, stamp: own.stamp });
        }
    }

    /// Puts blocks that nobody will look for at the back.
    fn append(&mut self, count: u32) {
        if count == 0 {
            return;
        }
        match self.queue.back_mut() {
            Some(last) if last.slot == NOBODY => last.count += count,
            _ => self.queue.push_back(Piece { count, slot: NOBODY, stamp: 0 }),
        }
    }

    /// A waiting request left: its piece is nobody's.
    pub(super) fn forget(&mut self, slot: u32) {
        self.register(slot);
    }

    /// The free queue from the front: (owner of the prefix, blocks).
    pub(in super::super) fn pieces(&self) -> impl Iterator<Item = (Option<u32>, u32)> {
        let front = (None, self.unhashed);
        std::iter::once(front).chain(self.queue.iter().map(|piece| {
            let own = self.own.get(piece.slot as usize);
            let is_own = own.is_some_and(|own| own.stamp == piece.stamp && own.blocks > 0);
            (is_own.then_some(piece.slot), piece.count)
        }))
    }

    /// Panics unless the pieces are the free blocks.
    pub(in super::super) fn check_laws(&self, held: u32, usable: u32) {
        let pieces: u32 = self.pieces().map(|(_, count)| count).sum();
        assert_eq!(pieces, self.free, "law L2: length of the free queue");
        assert_eq!(held + self.free, usable, "law L2: blocks held and free");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_victim_finds_the_prefix_that_reuse_left() {
        let mut pool = UniquePool::new(11, 4, SchedulerRules::V0_33);
        for slot in 0..3 {
            pool.register(slot);
        }
        pool.grow(10);
        // Slot 0 held 6 with 5 hashed; slot 1 finished with 2 of 2 hashed.
        pool.release(0, 6, 5, true);
        pool.release(1, 2, 2, false);
        assert_eq!(pool.lookup(0, 100), Hit { blocks: 5, evictable: 5 });
        // One unhashed block goes first, then the victim's tail.
        pool.grow(3);
        assert_eq!(pool.lookup(0, 100).blocks, 3);
        pool.admit(0, Hit { blocks: 3, evictable: 3 }, 1);
        assert_eq!(pool.lookup(0, 100).blocks, 0);
        assert_eq!(pool.free(), 1);
        pool.check_laws(9, 10);
    }

    #[test]
    fn nobody_finds_what_a_former_request_left() {
        let mut pool = UniquePool::new(9, 4, SchedulerRules::V0_33);
        pool.register(0);
        pool.grow(4);
        pool.release(0, 4, 4, true);
        pool.forget(0);
        pool.register(0);
        assert_eq!(pool.lookup(0, 100).blocks, 0);
        pool.grow(8);
        assert_eq!(pool.free(), 0);
    }
}
