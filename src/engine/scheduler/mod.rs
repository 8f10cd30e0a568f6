//! The scheduler's rules, call by call; it knows no clock, and only copies the time stamps it is given.
//!
//! [`Scheduler::schedule`] decides a batch, [`Scheduler::update_from_output`] takes the tokens that the
//! batch produced. Between two calls requests are added and aborted. Synchronous operation alternates the
//! two; with asynchronous scheduling up to two batches are in flight, and each running request counts the
//! tokens that it will still receive (`placeholders`).
//!
//! Source: vllm 0.33.0, v1/core/sched/scheduler.py and async_scheduler.py.

mod batch;
mod decode;
mod output;
mod schedule;
mod waiting;

pub use batch::{Admission, Batch};
pub use output::{FirstToken, OutputSink};

use batch::Item;
use waiting::{Entry, Urgency, Waiting};

use super::blocks::{BlockPool, TrackedPool, UniquePool};
use super::{
    EngineRequest, FinishReason, Prompt, RequestRecord, SchedulerConfig, SchedulerRules,
    SchedulingPolicy,
};
use crate::units::{RequestId, SimTime};

/// A request that is in the scheduler: what is not touched at every step.
#[derive(Clone, Copy, Debug)]
struct Slot {
    id: RequestId,
    arrival: SimTime,
    queued: SimTime,
    /// `SimTime::NEVER` until it happens; so with the next two.
    first_scheduled: SimTime,
    first_token: SimTime,
    last_token: SimTime,
    prompt_tokens: u32,
    /// Known tokens at which it is finished.
    end_tokens: u32,
    /// Known tokens while it is waiting; [`Running`] holds them while it runs.
    known: u32,
    priority: i32,
    /// Tokens counted as computed while it waits: only 0.11 leaves any, to a victim that was in the batch.
    head_start: u32,
    cached_tokens: u32,
    preemptions: u32,
    /// Grows at each preemption and when the slot is given to another request: what was scheduled or
    /// queued under an older epoch is stale.
    epoch: u32,
    /// Epoch at which the present request got the slot.
    born: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Vacant,
    Waiting,
    Running,
}

/// A running request: what each step touches, side by side in list order.
#[derive(Clone, Copy, Debug)]
struct Running {
    slot: u32,
    epoch: u32,
    /// Tokens whose KV is computed or being computed.
    computed: u32,
    /// Prompt and generated tokens.
    known: u32,
    /// Tokens still to come from batches in flight; 0 in synchronous operation.
    placeholders: u32,
    /// Tokens that its blocks hold.
    capacity: u32,
    end_tokens: u32,
    /// Tokens up to which its full blocks are indexed.
    indexed: u32,
    /// Tokens at which its next block is to be put into the index; `u32::MAX` without one.
    index_at: u32,
    /// When it got its newest token; `SimTime::NEVER` before the first.
    last_token: SimTime,
    /// Calls are plain decodes while fewer tokens than these are computed.
    plain_until: u32,
    /// Its last chunk did not reach its newest token.
    in_prefill: bool,
}

/// vLLM's scheduler for one engine.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    max_running: u32,
    watermark_blocks: u32,
    slots: Vec<Slot>,
    /// Identities by slot, kept apart so that a search is one sweep over them.
    ids: Vec<RequestId>,
    vacant: Vec<u32>,
    running: Vec<Running>,
    waiting: Waiting,
    pool: BlockPool,
    /// A finished request was not yet announced to the workers.
    announce: bool,
    spacing: PrefillSpacing,
    /// Running requests by the tokens that still fit into their last block; scratch.
    phases: Vec<u32>,
    /// (call of a run that takes the next block, place in the list); scratch.
    takers: Vec<(u32, u32)>,
}

/// State of `prefill_schedule_interval`.
#[derive(Clone, Copy, Debug)]
struct PrefillSpacing {
    /// Calls that scheduled tokens.
    executed: i64,
    /// `executed` after the last call that did prefill work.
    last_prefill: i64,
    /// Requests stayed waiting after the last pass without hold.
    bound: bool,
}

/// No request has this identity: marks a vacant slot in the search list.
const NO_ID: RequestId = RequestId(u64::MAX);

impl Running {
    /// Whether the next call computes exactly its newest token, needs no block for it and fills none.
    #[inline]
    fn is_plain_decode(&self) -> bool {
        self.computed < self.plain_until
    }

    /// Finds out anew how long its next steps will be plain decodes; to be called when its blocks changed
    /// or it was scheduled in another way.
    fn foresee(&mut self) {
        self.plain_until = if self.in_prefill {
            0
        } else {
            // Its last chunk was final, so from now on exactly one token is missing at each call. The call
            // that computes `end_tokens - 1` only happens if that token is not in flight already.
            self.capacity.min(self.end_tokens - 1).min(self.index_at - 1)
        };
    }

    /// Known tokens that have a place once `n` more are computed: what may be put into the index.
    #[inline]
    fn reaches(&self, n: u32) -> u32 {
        (self.computed + n).min(self.known)
    }
}

impl Scheduler {
    /// An empty scheduler; `config` must pass [`SchedulerConfig::validate`] except that the pool may be
    /// smaller than `max_model_len` if no request ever needs more. `track_blocks` keeps block ids even
    /// where nothing depends on them.
    pub fn new(config: SchedulerConfig, track_blocks: bool) -> Self {
        let gates = config.rules >= SchedulerRules::V0_33;
        let pieces_suffice = config.policy == SchedulingPolicy::Fcfs && !track_blocks;
        let pool = if config.enable_prefix_caching && pieces_suffice {
            BlockPool::Unique(Box::new(UniquePool::new(
                config.num_gpu_blocks,
                config.block_size,
                config.rules,
            )))
        } else if config.enable_prefix_caching || track_blocks {
            BlockPool::Tracked(Box::new(TrackedPool::new(
                config.num_gpu_blocks,
                config.block_size,
                config.enable_prefix_caching,
                config.rules,
            )))
        } else {
            BlockPool::Counted { free: config.num_gpu_blocks - 1 }
        };
        let watermark = config.watermark * f64::from(config.num_gpu_blocks);
        Self {
            max_running: config.max_num_active_seqs.unwrap_or(u32::MAX).min(config.max_num_seqs),
            watermark_blocks: if gates { watermark as u32 } else { 0 },
            slots: Vec::new(),
            ids: Vec::new(),
            vacant: Vec::new(),
            running: Vec::with_capacity(config.max_num_seqs.min(4096) as usize),
            waiting: Waiting::new(config.policy),
            pool,
            announce: false,
            spacing: PrefillSpacing {
                executed: 0,
                last_prefill: -i64::from(config.prefill_schedule_interval),
                bound: false,
            },
            phases: Vec::new(),
            takers: Vec::new(),
            config,
        }
    }

    /// Whether the request could ever be served: within `max_model_len`, with something to compute and
    /// something to generate, and with all its tokens fitting into an otherwise empty pool.
    pub fn accepts(&self, prompt_tokens: u32, output_tokens: u32) -> bool {
        let c = &self.config;
        let end = prompt_tokens.saturating_add(output_tokens).min(c.max_model_len);
        // The newest token's KV is never needed.
        let blocks = end.saturating_sub(1).div_ceil(c.block_size).max(
            // The full-prompt gate asks for the prompt's blocks at once.
            prompt_tokens.min(c.max_model_len).div_ceil(c.block_size),
        );
        prompt_tokens > 0
            && output_tokens > 0
            && prompt_tokens < c.max_model_len
            && blocks < c.num_gpu_blocks
            && (c.enable_chunked_prefill || end <= c.max_num_batched_tokens)
    }

    /// Puts a request that the scheduler [accepts](Scheduler::accepts) into the queue.
    pub fn add(&mut self, request: EngineRequest, queued: SimTime) {
        let slot = self.vacant.pop().unwrap_or(self.slots.len() as u32);
        let epoch = self.slots.get(slot as usize).map_or(0, |old| old.epoch + 1);
        let end_tokens = request
            .prompt_tokens
            .saturating_add(request.output_tokens)
            .min(self.config.max_model_len);
        let new = Slot {
            id: request.id,
            arrival: request.arrival,
            queued,
            first_scheduled: SimTime::NEVER,
            first_token: SimTime::NEVER,
            last_token: SimTime::NEVER,
            prompt_tokens: request.prompt_tokens,
            end_tokens,
            known: request.prompt_tokens,
            priority: request.priority,
            head_start: 0,
            cached_tokens: 0,
            preemptions: 0,
            epoch,
            born: epoch,
            state: State::Waiting,
        };
        if slot as usize == self.slots.len() {
            self.slots.push(new);
            self.ids.push(request.id);
        } else {
            self.slots[slot as usize] = new;
            self.ids[slot as usize] = request.id;
        }
        if request.prompt != Prompt::Unique && matches!(self.pool, BlockPool::Unique(_)) {
            self.track_blocks();
        }
        self.pool.register(slot, request.id, request.prompt_tokens, request.prompt);
        self.waiting.push(Entry { slot, epoch }, urgency(&new));
    }

    /// Takes a request out between two steps; tokens of it in flight are dropped. `None` if it is not
    /// here.
    pub fn abort(
        &mut self,
        id: RequestId,
        at: SimTime,
        reason: FinishReason,
    ) -> Option<RequestRecord> {
        let slot = self.ids.iter().position(|&other| other == id)? as u32;
        let known = match self.slots[slot as usize].state {
            State::Running => {
                let index = self
                    .running
                    .iter()
                    .position(|r| r.slot == slot)
                    .expect("law L1: a running request is in the running list");
                let r = self.running.remove(index);
                self.slots[slot as usize].last_token = r.last_token;
                self.release(&r, false);
                r.known
            }
            State::Waiting => {
                self.waiting.forget();
                self.pool.forget(slot);
                self.slots[slot as usize].known
            }
            State::Vacant => unreachable!("law L1: a vacant slot has no identity"),
        };
        Some(self.vacate(slot, known, at, reason))
    }

    /// Takes every request out: running ones in list order, then waiting ones in order of admission.
    pub fn drain(
        &mut self,
        at: SimTime,
        reason: FinishReason,
        mut finished: impl FnMut(RequestRecord),
    ) {
        let ids: Vec<RequestId> = self
            .running
            .iter()
            .map(|r| r.slot)
            .chain(self.waiting.slots(|entry| is_live(&self.slots, entry)))
            .map(|slot| self.ids[slot as usize])
            .collect();
        for id in ids {
            finished(self.abort(id, at, reason).expect("law L1: a listed request is here"));
        }
    }

    /// Requests running or waiting, or a finished one that the workers must still hear of.
    pub fn has_work(&self) -> bool {
        !self.running.is_empty() || self.waiting.len() > 0 || self.announce
    }

    /// Length of the running list.
    pub fn num_running(&self) -> u32 {
        self.running.len() as u32
    }

    /// Length of the waiting queue.
    pub fn num_waiting(&self) -> u32 {
        self.waiting.len()
    }

    /// Blocks nobody holds; cached ones count as free.
    pub fn free_blocks(&self) -> u32 {
        self.pool.free()
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// Ids of the blocks that the batch's requests hold, in batch order; empty unless blocks are tracked.
    pub fn block_ids<'a>(
        &'a self,
        batch: &'a Batch,
    ) -> impl Iterator<Item = (RequestId, &'a [u32])> {
        batch.items.iter().filter_map(|item| match &self.pool {
            BlockPool::Counted { .. } | BlockPool::Unique(_) => None,
            BlockPool::Tracked(pool) => {
                Some((self.ids[item.slot as usize], pool.block_ids(item.slot)))
            }
        })
    }

    /// (request, tokens) of a batch just scheduled, in order.
    pub fn scheduled<'a>(&'a self, batch: &'a Batch) -> impl Iterator<Item = (RequestId, u32)> {
        batch.items.iter().map(|item| (self.ids[item.slot as usize], item.tokens))
    }

    /// Panics unless law L2 holds: blocks held + free = pool, none owned twice. Looks at every block.
    pub fn check_laws(&self) {
        let block_size = self.config.block_size;
        let held: u32 = self.running.iter().map(|r| r.capacity / block_size).sum();
        let usable = self.config.num_gpu_blocks - 1;
        match &self.pool {
            BlockPool::Counted { free } => {
                assert_eq!(held + free, usable, "law L2: blocks held and free");
            }
            BlockPool::Unique(pool) => pool.check_laws(held, usable),
            BlockPool::Tracked(pool) => pool.check_laws(held),
        }
        let waiting = self.slots.iter().filter(|s| s.state == State::Waiting).count();
        let running = self.slots.iter().filter(|s| s.state == State::Running).count();
        assert_eq!(self.waiting.len() as usize, waiting, "law L1: waiting requests");
        assert_eq!(self.running.len(), running, "law L1: running requests");
    }

    /// Tokens at which a request that is indexed up to `indexed` has its next block to index.
    fn index_at(&self, indexed: u32) -> u32 {
        if self.pool.has_index() {
            (indexed / self.config.block_size + 1) * self.config.block_size
        } else {
            u32::MAX
        }
    }

    /// Puts the full blocks among the first `tokens` tokens of a running request into the index.
    fn index(&mut self, at: usize, tokens: u32) {
        let r = &mut self.running[at];
        if tokens <= r.indexed {
            return;
        }
        r.indexed = tokens;
        if tokens >= r.index_at {
            self.pool.index(r.slot, tokens);
            self.running[at].index_at = self.index_at(tokens);
            self.running[at].foresee();
        }
    }

    /// Gives back the blocks of a request that was taken off the running list; `stays` if it goes on
    /// waiting.
    fn release(&mut self, r: &Running, stays: bool) {
        let block_size = self.config.block_size;
        self.pool.release(r.slot, r.capacity / block_size, r.indexed / block_size, stays);
    }

    /// The first request that shares a prefix came: from now on blocks need identities. Which id stands
    /// where is free to choose; order and content of the free queue are not.
    fn track_blocks(&mut self) {
        let BlockPool::Unique(unique) = &self.pool else { return };
        let c = &self.config;
        let mut pool = TrackedPool::new(c.num_gpu_blocks, c.block_size, true, c.rules);
        for (slot, s) in (0u32..).zip(&self.slots) {
            pool.register(slot, s.id, s.prompt_tokens, Prompt::Unique);
        }
        for r in &self.running {
            pool.grow(r.slot, r.capacity / c.block_size);
            pool.index(r.slot, r.indexed);
        }
        let mut skip = 0;
        for (owner, count) in unique.pieces() {
            if let Some(slot) = owner {
                pool.adopt_prefix(slot, count, skip);
            }
            skip += count;
        }
        self.pool = BlockPool::Tracked(Box::new(pool));
        for at in 0..self.running.len() {
            self.running[at].index_at = self.index_at(self.running[at].indexed);
            self.running[at].foresee();
        }
    }

    /// Ends the request in `slot`, which holds no blocks any more and is in no list.
    fn vacate(
        &mut self,
        slot: u32,
        known: u32,
        end: SimTime,
        reason: FinishReason,
    ) -> RequestRecord {
        let s = &mut self.slots[slot as usize];
        s.state = State::Vacant;
        s.epoch += 1;
        self.ids[slot as usize] = NO_ID;
        self.vacant.push(slot);
        self.announce = true;
        let some = |t: SimTime| (t != SimTime::NEVER).then_some(t);
        RequestRecord {
            id: s.id,
            arrival: s.arrival,
            queued: s.queued,
            first_scheduled: some(s.first_scheduled),
            first_token: some(s.first_token),
            last_token: some(s.last_token),
            end,
            prompt_tokens: s.prompt_tokens,
            output_tokens: known - s.prompt_tokens,
            cached_tokens: s.cached_tokens,
            preemptions: s.preemptions,
            reason,
        }
    }
}

fn is_live(slots: &[Slot], entry: Entry) -> bool {
    slots[entry.slot as usize].epoch == entry.epoch
}

fn urgency(slot: &Slot) -> Urgency {
    Urgency { priority: slot.priority, arrival: slot.arrival, id: slot.id }
}
