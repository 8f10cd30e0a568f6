//! What one call of `schedule()` decided.

use super::super::BatchShape;
use crate::units::RequestId;

/// One request's part of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Item {
    pub(super) slot: u32,
    /// The request's [epoch](super::Slot) when it was scheduled.
    pub(super) epoch: u32,
    /// Tokens computed now.
    pub(super) tokens: u32,
    /// Tokens computed before.
    pub(super) context: u32,
    /// Whether it yields a token.
    pub(super) emits: bool,
}

impl Item {
    fn is_decode(&self) -> bool {
        self.emits && self.tokens == 1
    }

    fn pairs_twice(&self) -> u64 {
        u64::from(self.tokens) * (2 * u64::from(self.context) + u64::from(self.tokens))
    }
}

/// A request admitted by a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admission {
    /// Which one.
    pub id: RequestId,
    /// Whether it had been preempted before.
    pub resumed: bool,
    /// Tokens known then: of the prompt, and generated ones after a preemption.
    pub known_tokens: u32,
    /// Tokens taken from the prefix cache.
    pub hit_tokens: u32,
}

/// One step's work in the order scheduled: running requests in list order, then the newly admitted.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) items: Vec<Item>,
    pub(super) shape: BatchShape,
    pub(super) admitted: Vec<Admission>,
    pub(super) preempted: Vec<RequestId>,
}

impl Batch {
    /// What the step's duration depends on.
    pub fn shape(&self) -> &BatchShape {
        &self.shape
    }

    /// Requests admitted by the call, in order.
    pub fn admitted(&self) -> &[Admission] {
        &self.admitted
    }

    /// Requests preempted by the call, in order of preemption.
    pub fn preempted(&self) -> &[RequestId] {
        &self.preempted
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.shape = BatchShape::default();
        self.admitted.clear();
        self.preempted.clear();
    }

    #[inline]
    pub(super) fn push(&mut self, item: Item) {
        self.items.push(item);
        self.shape.tokens += item.tokens;
        if item.is_decode() {
            self.shape.decodes += 1;
            self.shape.kv_tokens += u64::from(item.context);
        } else {
            self.shape.pairs_twice += item.pairs_twice();
        }
    }

    /// Leaves a victim's part in the batch, without a token to come; returns its tokens, or `None` if it had
    /// not been scheduled.
    pub(super) fn silence(&mut self, slot: u32) -> Option<u32> {
        let item = self.items.iter_mut().find(|item| item.slot == slot)?;
        item.emits = false;
        Some(item.tokens)
    }

    /// Takes a victim's part out again; returns its tokens, or `None` if it had not been scheduled.
    pub(super) fn withdraw(&mut self, slot: u32) -> Option<u32> {
        let at = self.items.iter().position(|item| item.slot == slot)?;
        let item = self.items.remove(at);
        self.shape.tokens -= item.tokens;
        if item.is_decode() {
            self.shape.decodes -= 1;
            self.shape.kv_tokens -= u64::from(item.context);
        } else {
            self.shape.pairs_twice -= item.pairs_twice();
        }
        Some(item.tokens)
    }
}
