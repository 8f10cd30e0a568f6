//! What the replications of one case say together.

use super::execute::Outcome;
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

    /// What these runs, by replication, give together.
    pub(super) fn of(runs: Vec<Option<Outcome>>, confidence: f64) -> Self {
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
