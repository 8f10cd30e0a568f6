//! `schedule()`: running requests first, then admissions from the head of the queue.

use super::super::blocks::Hit;
use super::super::{SchedulerRules, SchedulingPolicy};
use super::{Admission, Batch, Entry, Item, Running, Scheduler, Slot, State, is_live, urgency};
use crate::units::SimTime;

/// What holds for the whole of one call.
struct Call {
    /// Tokens left.
    budget: u32,
    /// Longest chunk; `u32::MAX` when unlimited.
    chunk: u32,
    /// Prefill work is held back by `prefill_schedule_interval`.
    hold: bool,
    /// Prefill work was scheduled.
    prefilled: bool,
}

/// Outcome of making room for a running request.
enum Room {
    /// Its blocks are there; the request is now at this index.
    Made(usize),
    /// It was itself the last victim.
    SelfPreempted(usize),
}

/// What became of the head of the queue.
enum Outcome {
    /// It runs.
    Admitted,
    /// It must wait, and with it all behind it.
    Waits,
    /// It must wait, the next one may run (0.11, without chunked prefill).
    PassedOver,
}

impl Scheduler {
    /// Decides the next batch. `now` becomes the `first_scheduled` of requests admitted for the first
    /// time.
    pub fn schedule(&mut self, now: SimTime, batch: &mut Batch) {
        batch.clear();
        self.announce = false;
        let mut call = Call {
            budget: self.config.max_num_batched_tokens,
            chunk: self.chunk_limit(),
            hold: self.holds_prefill(),
            prefilled: false,
        };
        self.schedule_running(&mut call, batch);
        if batch.preempted.is_empty() {
            self.admit_waiting(&mut call, batch, now);
        }
        if batch.shape.tokens > 0 {
            self.spacing.executed += 1;
        }
        if call.prefilled {
            self.spacing.last_prefill = self.spacing.executed;
        }
        assert!(
            batch.shape.tokens <= self.config.max_num_batched_tokens,
            "a batch of {} tokens is over budget",
            batch.shape.tokens
        );
    }

    /// The long-prefill threshold of this call.
    pub(super) fn chunk_limit(&self) -> u32 {
        let c = &self.config;
        let others = self.num_running() + self.num_waiting();
        let alone = others <= 1 && c.rules >= SchedulerRules::V0_33;
        if c.long_prefill_token_threshold == 0 || alone {
            return u32::MAX;
        }
        if c.long_prefill_token_threshold_adaptive {
            let share = c.max_num_batched_tokens / others.max(1);
            return c.long_prefill_token_threshold.max(share);
        }
        c.long_prefill_token_threshold
    }

    fn holds_prefill(&self) -> bool {
        let interval = i64::from(self.config.prefill_schedule_interval);
        let s = &self.spacing;
        interval > 1
            && !s.bound
            && s.executed + 1 - s.last_prefill < interval
            && self.running.iter().any(|r| !r.in_prefill)
    }

    fn schedule_running(&mut self, call: &mut Call, batch: &mut Batch) {
        let mut i = 0;
        // Under the rules of 0.11 the list may have become shorter than `i`.
        while i < self.running.len() {
            i = self.schedule_plain_decodes(i, call, batch);
            if i >= self.running.len() || call.budget == 0 {
                break;
            }
            let n = self.tokens_for(&self.running[i], call);
            if n == 0 {
                i += 1;
                continue;
            }
            match self.schedule_one(i, n, call, batch) {
                Some(next) => i = next,
                None => break,
            }
        }
    }

    /// Schedules the stretch of plain decodes that starts at index `from`; returns where it ends. Most
    /// requests of most calls are in such a stretch, so it does no more than it must.
    fn schedule_plain_decodes(&mut self, from: usize, call: &mut Call, batch: &mut Batch) -> usize {
        let ahead = u32::from(self.config.async_scheduling);
        let rest = &mut self.running[from..];
        let most = rest.len().min(call.budget as usize);
        let len = rest[..most].iter().position(|r| !r.is_plain_decode()).unwrap_or(most);
        let stretch = &mut rest[..len];
        let mut kv_tokens = 0;
        batch.items.extend(stretch.iter_mut().map(|r| {
            let context = r.computed;
            kv_tokens += u64::from(context);
            // All known tokens have a place now.
            r.indexed = r.known;
            r.computed += 1;
            r.placeholders += ahead;
            Item { slot: r.slot, epoch: r.epoch, tokens: 1, context, emits: true }
        }));
        batch.shape.tokens += len as u32;
        batch.shape.decodes += len as u32;
        batch.shape.kv_tokens += kv_tokens;
        call.budget -= len as u32;
        from + len
    }

    /// Schedules `n` tokens of the running request at index `i`, preempting others if need be. Returns the
    /// index to go on with, or `None` if the call schedules no more running requests.
    fn schedule_one(
        &mut self,
        i: usize,
        n: u32,
        call: &mut Call,
        batch: &mut Batch,
    ) -> Option<usize> {
        let current_rules = self.config.rules >= SchedulerRules::V0_33;
        let mut at = i;
        if self.running[i].computed + n > self.running[i].capacity {
            match self.make_room(i, n, call, batch) {
                Room::Made(index) => at = index,
                Room::SelfPreempted(index) => {
                    // Its own blocks are free now: under priority the next one may use them.
                    let goes_on = self.config.policy == SchedulingPolicy::Priority && current_rules;
                    return goes_on.then_some(index);
                }
            }
        }
        let reaches = self.running[at].reaches(n);
        self.index(at, reaches);
        let r = &mut self.running[at];
        call.prefilled |= r.in_prefill;
        batch.push(r.take(n, self.config.async_scheduling));
        call.budget -= n;
        // 0.11 forgets that the list became shorter before `i`, and passes over a request.
        Some(if current_rules { at + 1 } else { i + 1 })
    }

    /// Tokens that a running request would compute now.
    #[inline]
    fn tokens_for(&self, r: &Running, call: &Call) -> u32 {
        if call.hold && r.in_prefill {
            return 0;
        }
        // Its last token is already in flight. (0.11 schedules one superfluous step.)
        if r.placeholders > 0
            && r.computed + 2 - r.placeholders >= r.end_tokens
            && self.config.rules >= SchedulerRules::V0_33
        {
            return 0;
        }
        let missing = (r.known + r.placeholders).saturating_sub(r.computed);
        let to_model_len = (self.config.max_model_len - 1).saturating_sub(r.computed);
        missing.min(call.chunk).min(call.budget).min(to_model_len)
    }

    /// Preempts until the request at index `i` has blocks for `n` more tokens.
    fn make_room(&mut self, mut i: usize, n: u32, call: &mut Call, batch: &mut Batch) -> Room {
        let block_size = self.config.block_size;
        let r = self.running[i];
        let wanted = (r.computed + n).min(self.config.max_model_len).div_ceil(block_size);
        let new = wanted - r.capacity / block_size;
        while new > self.pool.free() {
            let victim = self.pick_victim();
            let slot = self.running[victim].slot;
            self.preempt(victim, batch);
            // A victim that this call had already scheduled gives its tokens back. In 0.11 it stays in the batch,
            // computes for nothing, and the tokens count as computed when it is admitted again.
            if self.config.rules >= SchedulerRules::V0_33 {
                call.budget += batch.withdraw(slot).unwrap_or(0);
            } else if let Some(tokens) = batch.silence(slot) {
                self.slots[slot as usize].head_start = tokens;
            }
            if victim == i {
                return Room::SelfPreempted(i);
            }
            i -= usize::from(victim < i);
        }
        self.pool.grow(r.slot, new);
        self.running[i].capacity += new * block_size;
        Room::Made(i)
    }

    /// Index of the running request to preempt next.
    fn pick_victim(&self) -> usize {
        match self.config.policy {
            SchedulingPolicy::Fcfs => self.running.len() - 1,
            SchedulingPolicy::Priority => {
                let key = |index: usize| urgency(&self.slots[self.running[index].slot as usize]);
                let mut victim = 0;
                for index in 1..self.running.len() {
                    if key(index) > key(victim) {
                        victim = index;
                    }
                }
                victim
            }
        }
    }

    /// Recompute preemption: blocks freed, progress lost, generated tokens kept.
    fn preempt(&mut self, index: usize, batch: &mut Batch) {
        let r = self.running.remove(index);
        self.release(&r, true);
        let s = &mut self.slots[r.slot as usize];
        s.state = State::Waiting;
        s.known = r.known;
        s.last_token = r.last_token;
        s.preemptions += 1;
        s.epoch += 1;
        batch.preempted.push(s.id);
        let entry = Entry { slot: r.slot, epoch: s.epoch };
        self.waiting.push_preempted(entry, urgency(s));
    }

    fn admit_waiting(&mut self, call: &mut Call, batch: &mut Batch, now: SimTime) {
        let mut passed_over = Vec::new();
        while call.budget > 0 && self.num_running() < self.max_running {
            let slots = &self.slots;
            let Some(slot) = self.waiting.head(|entry| is_live(slots, entry)) else { break };
            match self.admit(slot, call, batch, now) {
                Outcome::Admitted => {}
                Outcome::Waits => break,
                Outcome::PassedOver => {
                    self.waiting.pop();
                    passed_over.push(slot);
                }
            }
        }
        // 0.11 puts them back one by one, so that their order is turned round.
        for slot in passed_over {
            let s = &self.slots[slot as usize];
            self.waiting.push_preempted(Entry { slot, epoch: s.epoch }, urgency(s));
        }
        if !call.hold {
            self.spacing.bound = self.waiting.len() > 0;
        }
    }

    /// Admits the head of the queue if it may run now.
    fn admit(&mut self, slot: u32, call: &mut Call, batch: &mut Batch, now: SimTime) -> Outcome {
        let known = self.slots[slot as usize].known;
        let (hit, computed) = self.computed_on_admission(slot);
        let is_prefill = computed < known - 1;
        if call.hold && is_prefill {
            return Outcome::Waits;
        }
        let wanted = (known - computed).min(call.chunk);
        if !self.config.enable_chunked_prefill && wanted > call.budget {
            let strict = self.config.rules >= SchedulerRules::V0_33;
            return if strict { Outcome::Waits } else { Outcome::PassedOver };
        }
        let n = wanted.min(call.budget);
        let Some(new) = self.new_blocks(known, hit, computed + n) else { return Outcome::Waits };
        self.waiting.pop();
        self.pool.admit(slot, hit, new);
        let reaches = (computed + n).min(known);
        self.pool.index(slot, reaches);
        let index_at = self.index_at(reaches);

        let hit_tokens = hit.blocks * self.config.block_size;
        let s = &mut self.slots[slot as usize];
        s.state = State::Running;
        s.head_start = 0;
        let resumed = s.preemptions > 0;
        if !resumed {
            s.first_scheduled = now;
            s.cached_tokens = hit_tokens;
        }
        let mut r = Running {
            slot,
            epoch: s.epoch,
            computed,
            known,
            placeholders: 0,
            capacity: (hit.blocks + new) * self.config.block_size,
            end_tokens: s.end_tokens,
            indexed: reaches,
            index_at,
            last_token: s.last_token,
            plain_until: 0,
            in_prefill: false,
        };
        batch.admitted.push(Admission { id: s.id, resumed, known_tokens: known, hit_tokens });
        batch.push(r.take(n, self.config.async_scheduling));
        self.running.push(r);
        call.budget -= n;
        call.prefilled |= is_prefill;
        Outcome::Admitted
    }

    /// What a waiting request finds in the prefix cache, and the tokens it would start with.
    pub(super) fn computed_on_admission(&mut self, slot: u32) -> (Hit, u32) {
        let Slot { known, head_start, .. } = self.slots[slot as usize];
        if head_start > 0 {
            return (Hit::default(), head_start);
        }
        let hit = self.pool.lookup(slot, known);
        (hit, hit.blocks * self.config.block_size)
    }

    /// Fresh blocks for the first chunk of a request that would then have `tokens` computed, if the
    /// admission gates let it pass.
    pub(super) fn new_blocks(&self, known: u32, hit: Hit, tokens: u32) -> Option<u32> {
        let c = &self.config;
        let watermark = if self.running.is_empty() { 0 } else { self.watermark_blocks };
        let available = self.pool.free().checked_sub(watermark + hit.evictable)?;
        let blocks = |tokens: u32| tokens.min(c.max_model_len).div_ceil(c.block_size);
        let gated = c.scheduler_reserve_full_isl && c.rules >= SchedulerRules::V0_33;
        if gated && blocks(known) - hit.blocks > available {
            return None;
        }
        let new = blocks(tokens) - hit.blocks;
        (new <= available).then_some(new)
    }
}

impl Running {
    /// Schedules `n` tokens of the request.
    #[inline]
    fn take(&mut self, n: u32, async_scheduling: bool) -> Item {
        let context = self.computed;
        self.computed += n;
        let emits = self.computed >= self.known + self.placeholders;
        self.in_prefill = !emits;
        self.foresee();
        self.placeholders += u32::from(emits && async_scheduling);
        Item { slot: self.slot, epoch: self.epoch, tokens: n, context, emits }
    }
}
