//! Outcomes of all units, and what they recommend.

use super::case_result::CaseResult;
use super::execute::{Outcome, Unit};
use super::objective::{Savings, pareto_front, recommend, savings};
use super::plan::Plan;

/// What a sweep gave.
#[derive(Clone, PartialEq, Debug)]
pub struct SweepResult {
    /// One per case of the plan, in its order.
    pub cases: Vec<CaseResult>,
    /// Cases that no other case beats in both cost and SLO attainment, by ascending cost.
    pub pareto: Vec<usize>,
    /// The cheapest case whose attainment holds at its lower confidence bound.
    pub recommended: Option<usize>,
    /// What the recommended case saves against the present one, if both are known.
    pub savings: Option<Savings>,
}

impl SweepResult {
    /// Aggregates the outcomes of `units`, in any order; units that are not listed count as not run.
    pub fn of<S>(
        plan: &Plan<S>,
        outcomes: impl IntoIterator<Item = (Unit, Option<Outcome>)>,
    ) -> Self {
        let mut slots = vec![vec![None; plan.replications as usize]; plan.cases.len()];
        for (unit, outcome) in outcomes {
            slots[unit.case][unit.replication as usize] = outcome;
        }
        let cases: Vec<CaseResult> =
            slots.into_iter().map(|runs| CaseResult::of(runs, plan.confidence)).collect();
        let pareto = pareto_front(&cases);
        let recommended = recommend(&cases, &plan.objective);
        let savings = recommended
            .zip(plan.current)
            .and_then(|(to, from)| savings(&cases[from], &cases[to], plan.confidence));
        Self { cases, pareto, recommended, savings }
    }
}
