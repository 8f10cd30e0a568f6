//! Runs of pure decode iterations: when all decisions of the next calls are known in advance.
//!
//! In such a run every running request computes exactly its newest token in every call, nobody is admitted
//! and nobody finishes before the last output. What is left to know is how long it lasts.

use super::super::SchedulerRules;
use super::{Batch, Item, OutputSink, Running, Scheduler, is_live};
use crate::engine::FinishReason;
use crate::units::SimTime;

/// What the next calls have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct DecodeRun {
    /// Running requests.
    pub(in super::super) sequences: u32,
    /// How many of them get their first token with the first output.
    pub(in super::super) fresh: u32,
    /// Sum of their computed tokens at the next call.
    pub(in super::super) kv_tokens: u64,
    /// Calls until a request finishes or blocks run out, at least 1.
    pub(in super::super) iterations: u64,
}

impl Scheduler {
    /// The run of decode iterations that starts with the next call, if there is one. `last_output` is the
    /// time of the last processed output; `in_flight` the batch that is on the GPU, with asynchronous
    /// scheduling. First tokens may only be among the first output's, and only if `allow_fresh`.
    pub(in super::super) fn decode_run(
        &mut self,
        last_output: SimTime,
        in_flight: Option<&Batch>,
        allow_fresh: bool,
    ) -> Option<DecodeRun> {
        let ahead = u32::from(self.config.async_scheduling);
        let sequences = self.num_running();
        // Each running request has its one token in flight, and nobody else has.
        if in_flight.map_or(0, |batch| batch.items.len()) != (sequences * ahead) as usize {
            return None;
        }
        if sequences == 0 || sequences > self.config.max_num_batched_tokens {
            return None;
        }
        if !self.nobody_can_be_admitted() {
            return None;
        }
        let mut left = u32::MAX;
        let mut kv_tokens = 0;
        let mut fresh = 0;
        // The newest requests stand last and are the likeliest to spoil it.
        for r in self.running.iter().rev() {
            let is_steady =
                r.placeholders == ahead && r.known + ahead == r.computed + 1 && !r.in_prefill;
            if !is_steady {
                return None;
            }
            if r.last_token != last_output {
                if r.last_token != SimTime::NEVER || !allow_fresh {
                    return None;
                }
                fresh += 1;
            }
            left = left.min(r.end_tokens - r.known);
            kv_tokens += u64::from(r.computed);
        }
        // With a token in flight the call that knows it to be the last leaves the request out.
        let iterations = u64::from(left - ahead);
        if iterations == 0 {
            return None;
        }
        let iterations = iterations.min(self.calls_until_blocks_run_out(iterations));
        (iterations > 0).then_some(DecodeRun { sequences, fresh, kv_tokens, iterations })
    }

    /// Whether the head of the queue stays where it is however long the others decode.
    fn nobody_can_be_admitted(&mut self) -> bool {
        if self.config.prefill_schedule_interval > 1 && self.spacing.bound {
            return false;
        }
        if self.waiting.len() == 0 {
            return true;
        }
        if self.config.prefill_schedule_interval > 1 {
            return false;
        }
        let sequences = self.num_running();
        let budget = self.config.max_num_batched_tokens - sequences;
        if sequences >= self.max_running || budget == 0 {
            return true;
        }
        let slots = &self.slots;
        let head = self.waiting.head(|entry| is_live(slots, entry));
        let slot = head.expect("law L1: somebody is waiting");
        if !self.pool.prefix_is_settled(slot, self.running.iter().map(|r| r.slot)) {
            return false;
        }
        let known = self.slots[slot as usize].known;
        let (hit, computed) = self.computed_on_admission(slot);
        let wanted = (known - computed).min(self.chunk_limit());
        // From here on the hit can only become shorter, and only from its end: whoever held a block held all before
        // it, and freed them after it. Each block lost was free and counted as evictable, so what is available for
        // others stays or falls, and what the first chunk needs stays or grows.
        if !self.config.enable_chunked_prefill && wanted > budget {
            // 0.11 passes it over and looks at the next one.
            return self.config.rules >= SchedulerRules::V0_33 || self.waiting.len() == 1;
        }
        self.new_blocks(known, hit, computed + wanted.min(budget)).is_none()
    }

    /// How many of the next `wanted` calls find enough free blocks: a request takes one whenever its
    /// tokens pass a multiple of the block size, so the phases within a block tell the whole future.
    fn calls_until_blocks_run_out(&mut self, wanted: u64) -> u64 {
        let block_size = u64::from(self.config.block_size);
        let free = u64::from(self.pool.free());
        let sequences = self.running.len() as u64;
        if sequences * wanted.div_ceil(block_size) <= free {
            return wanted;
        }
        self.phases.clear();
        self.phases.resize(block_size as usize, 0);
        for r in &self.running {
            self.phases[(r.capacity - r.computed) as usize] += 1;
        }
        // Every `block_size` calls take one block per sequence.
        let cycles = free / sequences;
        let mut left = free - cycles * sequences;
        for (phase, &takers) in (0u64..).zip(&self.phases) {
            let Some(rest) = left.checked_sub(u64::from(takers)) else {
                return wanted.min(cycles * block_size + phase);
            };
            left = rest;
        }
        unreachable!("one cycle takes a block per sequence")
    }

    /// Blocks that the first `iterations` calls of the present run take.
    pub(in super::super) fn blocks_of_run(&self, iterations: u64) -> u32 {
        let blocks_for = self.block_count();
        let blocks =
            |r: &Running| blocks_for((r.computed + iterations as u32).saturating_sub(r.capacity));
        self.running.iter().map(blocks).sum()
    }

    /// Blocks for a number of tokens, without a division where the block size is a power of two.
    fn block_count(&self) -> impl Fn(u32) -> u32 + use<> {
        let block_size = self.config.block_size;
        let shift = block_size.is_power_of_two().then(|| block_size.trailing_zeros());
        move |tokens| match shift {
            Some(shift) => (tokens + (block_size - 1)) >> shift,
            None => tokens.div_ceil(block_size),
        }
    }

    /// Makes the first `iterations` calls and outputs of the present run, the first output at `first`, the
    /// last at `now`. Gaps are the caller's; requests that are now finished go to the sink.
    pub(in super::super) fn make_run(
        &mut self,
        iterations: u64,
        first: SimTime,
        now: SimTime,
        sink: &mut impl OutputSink,
    ) {
        self.spacing.executed += iterations.cast_signed();
        let steps = iterations as u32;
        let block_size = self.config.block_size;
        let ordered = self.pool.order_matters();
        if ordered {
            self.take_blocks_in_order(steps);
            if self.pool.writes_texts() {
                self.index_in_order(steps);
            }
        }
        let blocks_for = self.block_count();
        let mut blocks = 0;
        let mut any_finished = false;
        let ahead = u32::from(self.config.async_scheduling);
        for r in &mut self.running {
            r.computed += steps;
            r.known += steps;
            if r.last_token == SimTime::NEVER {
                self.slots[r.slot as usize].first_token = first;
            }
            r.last_token = now;
            r.indexed = r.computed - ahead;
            if r.computed > r.capacity {
                let new = blocks_for(r.computed - r.capacity);
                blocks += new;
                r.capacity += new * block_size;
                r.foresee();
            }
            any_finished |= r.known >= r.end_tokens;
        }
        if ordered {
            assert_eq!(blocks, 0, "law L2: all blocks of the run are taken");
            for at in 0..self.running.len() {
                let Running { slot, indexed, .. } = self.running[at];
                self.pool.index(slot, indexed);
                self.running[at].index_at = self.index_at(indexed);
                self.running[at].foresee();
            }
        } else {
            self.pool.grow(0, blocks);
        }
        if any_finished {
            self.finish_all(now, sink);
        }
    }

    fn finish_all(&mut self, now: SimTime, sink: &mut impl OutputSink) {
        let mut kept = 0;
        for index in 0..self.running.len() {
            if self.running[index].known < self.running[index].end_tokens {
                // Nothing moves before the first that leaves.
                if kept < index {
                    self.running[kept] = self.running[index];
                }
                kept += 1;
                continue;
            }
            let r = self.running[index];
            self.slots[r.slot as usize].last_token = now;
            self.release(&r, false);
            sink.finished(self.vacate(r.slot, r.known, now, FinishReason::Length));
        }
        self.running.truncate(kept);
    }

    /// Block by block in the order of the calls, and within a call in list order.
    fn take_blocks_in_order(&mut self, steps: u32) {
        let block_size = self.config.block_size;
        let mut takers = std::mem::take(&mut self.takers);
        takers.clear();
        let next = (0u32..).zip(&self.running).map(|(index, r)| (r.capacity - r.computed, index));
        takers.extend(next.filter(|&(call, _)| call < steps));
        takers.sort_unstable();
        let mut cycle = 0;
        while cycle < steps {
            for &(call, index) in takers.iter().filter(|&&(call, _)| call + cycle < steps) {
                debug_assert!(call < block_size, "a block is taken only when it is needed");
                let r = &mut self.running[index as usize];
                self.pool.grow(r.slot, 1);
                r.capacity += block_size;
            }
            cycle += block_size;
        }
        self.takers = takers;
    }

    /// Block by block in the order in which outputs fill them, and for one output in list order: two requests that
    /// write the same text have blocks of equal content, of which the older one is found.
    fn index_in_order(&mut self, steps: u32) {
        let block_size = self.config.block_size;
        let ahead = u32::from(self.config.async_scheduling);
        let mut fills = std::mem::take(&mut self.takers);
        fills.clear();
        let settled = |r: &Running| r.computed - ahead;
        let next = |r: &Running| block_size - settled(r) % block_size;
        fills.extend((0u32..).zip(&self.running).map(|(index, r)| (next(r), index)));
        fills.sort_unstable();
        let mut cycle = 0;
        while cycle < steps {
            for &(output, index) in fills.iter().take_while(|&&(o, _)| o + cycle <= steps) {
                let r = &self.running[index as usize];
                self.pool.index(r.slot, settled(r) + output + cycle);
            }
            cycle += block_size;
        }
        self.takers = fills;
    }

    /// Makes `batch` the decode batch that the last call of a run scheduled.
    pub(in super::super) fn refill_batch(&self, batch: &mut Batch) {
        batch.clear();
        batch.items.extend(self.running.iter().map(|r| Item {
            slot: r.slot,
            epoch: r.epoch,
            tokens: 1,
            context: r.computed - 1,
            emits: true,
        }));
    }
}
