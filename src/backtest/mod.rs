//! Recorded metric series through the exact HPA: what it would have decided, and where a recording differs.
//!
//! Open loop: the metrics do not react to the decisions. No IO; texts are handed in and out.

mod compare;
mod driver;
mod matching;
mod output;
mod series;
mod settings;

pub use compare::{Comparison, Divergence, Step, compare};
pub use driver::{MetricIs, MetricRow, Row, Setup, run};
pub use output::{OPEN_LOOP, changes_text, comparison_text, decisions_csv, timeline_csv};
pub use series::{Series, parse};
pub use settings::apply;

/// What is wrong with the input, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BacktestError(pub String);

fn fault<T>(text: impl Into<String>) -> Result<T, BacktestError> {
    Err(BacktestError(text.into()))
}
