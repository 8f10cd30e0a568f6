//! Outcomes of all units, and their means over replications.

use super::execute::{Outcome, Unit};
use super::objective::{Savings, pareto_front, recommend, savings};
use super::plan::Plan;
use crate::sim::Measures;
use crate::stats::Interval;

/// What one case's replications gave.
#[derive(Clone, PartialEq, Debug)]
pub struct CaseResult {
    /// One slot per replication; `None` where the unit was not run.
    pub runs: Vec<Option<Outcome>>,
    /// Mean and confidence interval of each measure over the replications that ran, in the order of
    /// [`Measures::COLUMNS`].
    pub summary: Vec<Interval>,
}

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

impl CaseResult {
    /// Mean and interval of the measure with this column name. Panics on a name that is no column.
    pub fn measure(&self, column: &str) -> Interval {
        let index = Measures::COLUMNS.iter().position(|name| *name == column);
        self.summary[index.unwrap_or_else(|| panic!("`{column}` is a column"))]
    }

    /// The measures of the replications that ran to their end, with their replication.
    pub fn done(&self) -> impl Iterator<Item = (u32, &Measures)> {
        self.runs.iter().zip(0..).filter_map(|(outcome, replication)| match outcome {
            Some(Outcome::Done(measures)) => Some((replication, measures)),
            Some(Outcome::Failed(_)) | None => None,
        })
    }

    /// Whether every replication ran to its end.
    pub fn is_complete(&self) -> bool {
        self.done().count() == self.runs.len()
    }

    /// Replications that failed, with the message.
    pub fn failures(&self) -> impl Iterator<Item = (u32, &str)> {
        self.runs.iter().zip(0..).filter_map(|(outcome, replication)| match outcome {
            Some(Outcome::Failed(message)) => Some((replication, message.as_str())),
            Some(Outcome::Done(_)) | None => None,
        })
    }

    fn of(runs: Vec<Option<Outcome>>, confidence: f64) -> Self {
        let mut result = Self { runs, summary: Vec::new() };
        let rows: Vec<Vec<f64>> = result.done().map(|(_, measures)| measures.values()).collect();
        result.summary = (0..Measures::COLUMNS.len())
            .map(|column| {
                let values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
                Interval::of(&values, confidence)
            })
            .collect();
        result
    }
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

    /// Whether every unit ran to its end.
    pub fn is_complete(&self) -> bool {
        self.cases.iter().all(CaseResult::is_complete)
    }
}
