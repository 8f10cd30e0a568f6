//! `update_from_output()`: tokens arrive, requests finish.

use super::{Batch, Item, Running, Scheduler, Slot, State};
use crate::engine::{FinishReason, RequestRecord};
use crate::units::{RequestId, SimDuration, SimTime};

/// Takes what an output brings, in batch order.
pub trait OutputSink {
    /// A request received a token.
    fn token(&mut self, id: impl FnOnce() -> RequestId);
    /// It is the request's first token.
    fn first_token(&mut self, _of: &FirstToken) {}
    /// `tokens` requests received one each, `gap` after their previous one.
    fn gap(&mut self, gap: SimDuration, tokens: u64);
    /// A request is finished.
    fn finished(&mut self, record: RequestRecord);
}

/// Whose first token came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FirstToken {
    /// When the front end got the request.
    pub arrival: SimTime,
    /// Length of its prompt.
    pub prompt_tokens: u32,
    /// Tokens of it that came from the prefix cache at its first admission.
    pub cached_tokens: u32,
}

/// Counts equal gaps that follow one another.
struct Gaps {
    gap: SimDuration,
    tokens: u64,
}

impl Gaps {
    #[inline]
    fn add(&mut self, gap: SimDuration, tokens: u64, sink: &mut impl OutputSink) {
        if gap != self.gap {
            self.flush(sink);
            self.gap = gap;
        }
        self.tokens += tokens;
    }

    fn flush(&mut self, sink: &mut impl OutputSink) {
        if self.tokens > 0 {
            sink.gap(self.gap, self.tokens);
        }
        self.tokens = 0;
    }
}

impl Slot {
    fn as_first_token(&self) -> FirstToken {
        let Self { arrival, prompt_tokens, cached_tokens, .. } = *self;
        FirstToken { arrival, prompt_tokens, cached_tokens }
    }
}

impl Scheduler {
    /// Takes the tokens of `batch`, which came at `now`. Parts of requests that were preempted since are
    /// delivered, those of requests that left are dropped.
    pub fn update_from_output(&mut self, batch: &Batch, now: SimTime, sink: &mut impl OutputSink) {
        let mut gaps = Gaps { gap: SimDuration::ZERO, tokens: 0 };
        // Batch order and list order agree, except for requests that left the list since.
        let mut next = 0;
        let mut any_finished = false;
        let mut rest = batch.items.as_slice();
        loop {
            let plain = self.deliver_plain(rest, next, now, &mut gaps, sink);
            next += plain;
            rest = &rest[plain..];
            let Some((item, others)) = rest.split_first() else { break };
            rest = others;
            if !item.emits {
                continue;
            }
            match self.find_running(item, &mut next) {
                Some(index) => {
                    sink.token(|| self.ids[item.slot as usize]);
                    any_finished |= self.deliver(index, now, &mut gaps, sink);
                }
                None => self.deliver_to_waiting(item, now, &mut gaps, sink),
            }
        }
        gaps.flush(sink);
        if any_finished {
            self.running.retain(|r| r.known < r.end_tokens);
        }
    }

    /// Delivers to the stretch of requests that stand in the list as in the batch, do not finish, and got
    /// their previous token at one and the same time. Returns its length.
    fn deliver_plain(
        &mut self,
        items: &[Item],
        next: usize,
        now: SimTime,
        gaps: &mut Gaps,
        sink: &mut impl OutputSink,
    ) -> usize {
        let ahead = u32::from(self.config.async_scheduling);
        let Some(last_token) = self.running.get(next).map(|r| r.last_token) else { return 0 };
        if last_token == SimTime::NEVER {
            return 0;
        }
        let mut len = 0;
        for (item, r) in items.iter().zip(&mut self.running[next..]) {
            let is_plain = item.emits
                && item.slot == r.slot
                && item.epoch == r.epoch
                && r.last_token == last_token
                && r.known + 1 < r.end_tokens
                // Nothing to put into the index: at most the tokens known so far have settled.
                && r.known < r.index_at;
            if !is_plain {
                break;
            }
            r.indexed = r.known;
            r.known += 1;
            r.last_token = now;
            r.placeholders -= ahead;
            sink.token(|| self.ids[item.slot as usize]);
            len += 1;
        }
        if len > 0 {
            gaps.add(now - last_token, len as u64, sink);
        }
        len
    }

    /// Index of the item's request in the running list, at `next` or later.
    #[inline]
    fn find_running(&self, item: &Item, next: &mut usize) -> Option<usize> {
        let is_it = |r: &Running| r.slot == item.slot && r.epoch == item.epoch;
        if self.running.get(*next).is_some_and(is_it) {
            *next += 1;
            return Some(*next - 1);
        }
        let slot = &self.slots[item.slot as usize];
        if slot.state != State::Running || slot.epoch != item.epoch {
            return None;
        }
        let ahead = self.running[*next..].iter().position(is_it);
        let index = *next + ahead.expect("list order is kept while a batch is in flight");
        *next = index + 1;
        Some(index)
    }

    /// One more token for a running request; true if it finished, and is then to be taken off the list.
    #[inline]
    fn deliver(
        &mut self,
        index: usize,
        now: SimTime,
        gaps: &mut Gaps,
        sink: &mut impl OutputSink,
    ) -> bool {
        let r = &mut self.running[index];
        r.known += 1;
        if r.last_token == SimTime::NEVER {
            let s = &mut self.slots[r.slot as usize];
            s.first_token = now;
            sink.first_token(&s.as_first_token());
        } else {
            gaps.add(now - r.last_token, 1, sink);
        }
        r.last_token = now;
        if self.config.async_scheduling {
            r.placeholders -= 1;
            let settled = r.computed - r.placeholders;
            self.index(index, settled);
        }
        let r = &self.running[index];
        if r.known < r.end_tokens {
            return false;
        }
        let r = *r;
        self.slots[r.slot as usize].last_token = now;
        self.release(&r, false);
        let record = self.vacate(r.slot, r.known, now, FinishReason::Length);
        sink.finished(record);
        true
    }

    /// A token that was in flight when its request was preempted. It counts, but it does not touch what
    /// is computed; the request may even finish in the queue.
    fn deliver_to_waiting(
        &mut self,
        item: &Item,
        now: SimTime,
        gaps: &mut Gaps,
        sink: &mut impl OutputSink,
    ) {
        let s = &mut self.slots[item.slot as usize];
        if s.state != State::Waiting || item.epoch < s.born {
            return;
        }
        sink.token(|| s.id);
        s.known += 1;
        if s.last_token == SimTime::NEVER {
            s.first_token = now;
            sink.first_token(&s.as_first_token());
        } else {
            gaps.add(now - s.last_token, 1, sink);
        }
        s.last_token = now;
        if s.known >= s.end_tokens {
            let known = s.known;
            self.waiting.forget();
            self.pool.forget(item.slot);
            let record = self.vacate(item.slot, known, now, FinishReason::Length);
            sink.finished(record);
        }
    }
}
