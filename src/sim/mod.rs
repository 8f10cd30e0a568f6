//! Composition: the only module that knows all parts and moves more than one of them per event.
//!
//! [`run`](fn@run) takes a [`Scenario`], a seed and arrivals, and returns a [`RunRecord`]. Events are ordered by
//! (time, rank, sequence), see [`event`]. Arrivals come from a cursor, engine steps stay inside the replicas.

mod autoscaling;
mod budget;
mod clients;
mod collector;
pub mod event;
mod explanation;
mod held;
mod keda;
mod measures;
mod phases;
pub mod queue;
mod record;
mod run;
mod scenario;
mod signal;

pub use crate::cluster::{AutoscalerEvent, Death, FaultEvent, NodeStage, PodStage};
pub use budget::{Budget, Creation, Link, Outcome, budgets, mean_links};
pub use explanation::{EventRow, Explanation, FaultRow, PodReading};
pub use keda::{Fallback, FallbackBehavior, KedaConfig};
pub use measures::Measures;
pub use phases::{NodeRow, PodRow};
pub use record::{
    Accounting, MetricsPage, PoolUse, RecordLevel, RequestRow, RunRecord, Series, TimelineRow,
};
pub use run::{Realised, realise, run, run_realised, run_workload};
pub use scenario::{Autoscaler, HpaSetup, Scenario, Slo};
pub use signal::{CpuModel, DeviceModel, FeedShape, GpuModel, MetricFeed, Signal, SignalKind};
