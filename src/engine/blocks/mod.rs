//! The KV-cache pool: who holds how many blocks, and what is left.
//!
//! Law L2: blocks held + free = `num_gpu_blocks - 1` (block 0 is vLLM's null block), none owned twice.
//! Three forms answer alike wherever they apply: counting suffices while no block is ever found again by
//! its content; while all prompts are unique, lengths of pieces of the free queue do; block identity is
//! tracked only when prefixes are shared or a recording wants the ids.

mod content;
mod tracked;
mod unique;

pub(super) use tracked::TrackedPool;
pub(super) use unique::UniquePool;

use super::request::Prompt;
use crate::units::RequestId;

/// Blocks found in the prefix cache for one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Hit {
    /// Length of the found prefix \[blocks\].
    pub(super) blocks: u32,
    /// How many of them nobody holds, so that taking them uses up free blocks.
    pub(super) evictable: u32,
}

/// The pool of one replica; requests are named by their slot.
#[derive(Debug)]
pub(super) enum BlockPool {
    /// No caching: a number of free blocks.
    Counted {
        /// Blocks nobody holds.
        free: u32,
    },
    /// Caching, first come first served, all prompts unique so far.
    Unique(Box<UniquePool>),
    /// Every block by its id.
    Tracked(Box<TrackedPool>),
}

impl BlockPool {
    /// Blocks nobody holds, cached ones included.
    pub(super) fn free(&self) -> u32 {
        match self {
            Self::Counted { free } => *free,
            Self::Unique(pool) => pool.free(),
            Self::Tracked(pool) => pool.free(),
        }
    }

    /// Whether full blocks have to be put into an index.
    pub(super) fn has_index(&self) -> bool {
        match self {
            Self::Counted { .. } | Self::Unique(_) => false,
            Self::Tracked(pool) => pool.caching(),
        }
    }

    /// Makes `slot` known with its content.
    pub(super) fn register(
        &mut self,
        slot: u32,
        id: RequestId,
        prompt_tokens: u32,
        prompt: Prompt,
    ) {
        match self {
            Self::Counted { .. } => {}
            Self::Unique(pool) => {
                assert_eq!(prompt, Prompt::Unique, "shared prefixes need block identities");
                pool.register(slot);
            }
            Self::Tracked(pool) => pool.register(slot, id, prompt_tokens, prompt),
        }
    }

    /// Longest cached prefix of a request with `known` tokens; at least one token stays to be computed.
    pub(super) fn lookup(&mut self, slot: u32, known: u32) -> Hit {
        match self {
            Self::Counted { .. } => Hit::default(),
            Self::Unique(pool) => pool.lookup(slot, known),
            Self::Tracked(pool) => pool.lookup(slot, known),
        }
    }

    /// Gives `slot`, which holds nothing, the found prefix and `new` fresh blocks.
    pub(super) fn admit(&mut self, slot: u32, hit: Hit, new: u32) {
        match self {
            Self::Counted { free } => {
                assert!(*free >= new, "law L2: {new} blocks taken, {free} are free");
                *free -= new;
            }
            Self::Unique(pool) => pool.admit(slot, hit, new),
            Self::Tracked(pool) => pool.admit(slot, hit, new),
        }
    }

    /// Gives `slot` `new` more blocks.
    pub(super) fn grow(&mut self, slot: u32, new: u32) {
        match self {
            Self::Counted { free } => {
                assert!(*free >= new, "law L2: {new} blocks taken, {free} are free");
                *free -= new;
            }
            Self::Unique(pool) => pool.grow(new),
            Self::Tracked(pool) => pool.grow(slot, new),
        }
    }

    /// Puts the full blocks among the first `tokens` tokens of `slot` into the index.
    pub(super) fn index(&mut self, slot: u32, tokens: u32) {
        match self {
            Self::Counted { .. } | Self::Unique(_) => {}
            Self::Tracked(pool) => pool.index(slot, tokens),
        }
    }

    /// Whether it matters which request takes which block.
    pub(super) fn order_matters(&self) -> bool {
        matches!(self, Self::Tracked(_))
    }

    /// Whether outputs may carry on texts that others carry on too.
    pub(super) fn writes_texts(&self) -> bool {
        match self {
            Self::Counted { .. } | Self::Unique(_) => false,
            Self::Tracked(pool) => pool.writes_texts(),
        }
    }

    /// Whether no output of the requests in the slots `running` can lengthen the cached prefix of `slot`.
    pub(super) fn prefix_is_settled(&self, slot: u32, running: impl Iterator<Item = u32>) -> bool {
        match self {
            Self::Counted { .. } | Self::Unique(_) => true,
            Self::Tracked(pool) => pool.prefix_is_settled(slot, running),
        }
    }

    /// Takes all `held` blocks of `slot` back; the first `hashed` of them are in the index. `stays` if the
    /// request was preempted and will look for them.
    pub(super) fn release(&mut self, slot: u32, held: u32, hashed: u32, stays: bool) {
        match self {
            Self::Counted { free } => *free += held,
            Self::Unique(pool) => pool.release(slot, held, hashed, stays),
            Self::Tracked(pool) => pool.release(slot),
        }
    }

    /// A waiting request, which holds nothing, leaves.
    pub(super) fn forget(&mut self, slot: u32) {
        match self {
            Self::Counted { .. } | Self::Tracked(_) => {}
            Self::Unique(pool) => pool.forget(slot),
        }
    }
}
