//! Results as files: CSV, JSON and Kubernetes manifests. Bytes out; writing them is the caller's business.

pub mod adapters;
mod events;
mod explain;
mod number;
mod pod_events;
mod provenance;
mod recommended;
mod run;
mod summary;
mod sweep;
mod table;
mod units;

pub use events::{PoolName, events_csv};
pub use explain::{
    ConditionLine, DecisionLine, EventLine, MetricLine, PolicyBudgetLine, PolicyLine,
    RecommendationLine, SampleLine, ScaleEventLine, WindowLine, explain_jsonl, read_explain_jsonl,
};
pub use number::{milli, number, seconds};
pub use provenance::Provenance;
pub use recommended::{Deployable, hpa_manifest, recommendation_header};
pub use run::{decisions_csv, nodes_csv, pods_csv, requests_csv, timeline_csv};
pub use summary::{run_summary_json, sweep_summary_json};
pub use sweep::{cases_csv, runs_csv};
pub use units::{read_units, unit_key, unit_line, units_jsonl};

/// A file to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Path below the output directory, with `/`.
    pub path: String,
    /// The whole content.
    pub bytes: Vec<u8>,
}

impl File {
    /// A file with this path and content.
    pub fn new(path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), bytes: bytes.into() }
    }
}
