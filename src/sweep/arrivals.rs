//! Arrivals are made once per replication and shared by all cases with the same load.

use super::plan::{Case, Plan};
use crate::rng::Seed;
use crate::sim::{Realised, Scenario, realise};
use std::sync::{Mutex, PoisonError};

/// Realised workloads, made when first asked for and dropped after the last unit that needs them.
pub(super) struct ArrivalStore {
    /// For each case, the group of cases with the same load.
    group_of: Vec<usize>,
    /// By group and replication.
    slots: Vec<Vec<Mutex<Slot>>>,
}

struct Slot {
    /// Units that will still ask.
    remaining: usize,
    arrivals: Option<Realised>,
}

impl ArrivalStore {
    /// A store for units that are counted with [`expect`](Self::expect).
    pub(super) fn new(plan: &Plan) -> Self {
        let mut firsts: Vec<&Case> = Vec::new();
        let group_of = plan
            .cases
            .iter()
            .map(|case| {
                firsts.iter().position(|first| same_load(first, case)).unwrap_or_else(|| {
                    firsts.push(case);
                    firsts.len() - 1
                })
            })
            .collect();
        let empty = || Mutex::new(Slot { remaining: 0, arrivals: None });
        let slots =
            firsts.iter().map(|_| (0..plan.replications).map(|_| empty()).collect()).collect();
        Self { group_of, slots }
    }

    /// One more unit will ask for these arrivals.
    pub(super) fn expect(&mut self, case: usize, replication: u32) {
        let slot = &mut self.slots[self.group_of[case]][replication as usize];
        slot.get_mut().unwrap_or_else(PoisonError::into_inner).remaining += 1;
    }

    /// The arrivals of one unit.
    pub(super) fn take(
        &self,
        case: usize,
        replication: u32,
        scenario: &Scenario,
        seed: Seed,
    ) -> Realised {
        let slot = &self.slots[self.group_of[case]][replication as usize];
        // A panic while realising leaves the slot empty, so the next unit tries again.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        let arrivals = match slot.arrivals.take() {
            Some(arrivals) => arrivals,
            None => realise(scenario, seed),
        };
        slot.remaining = slot.remaining.saturating_sub(1);
        if slot.remaining > 0 {
            slot.arrivals = Some(arrivals.clone());
        }
        arrivals
    }
}

fn same_load(a: &Case, b: &Case) -> bool {
    a.scenario.duration == b.scenario.duration && a.scenario.workload == b.scenario.workload
}
