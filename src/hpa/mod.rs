//! The autoscaling/v2 algorithm of the Kubernetes HPA controller as a pure state machine.
//!
//! One [`Hpa`] stands for one HorizontalPodAutoscaler object with the controller's memory of it:
//! recommendations, scale events, conditions. [`Hpa::reconcile`] takes what a reconcile reads and
//! returns what it decides; the caller writes the scale and reports with [`Hpa::scale_written`].
//! Decisions are bit-exact for Kubernetes 1.25 to 1.36 ([`ControllerConfig::kube_minor`]), as
//! `hpasim verify hpa` shows on recordings of the real controller.
//!
//! Sources: pkg/controller/podautoscaler (horizontal.go, replica_calculator.go) of Kubernetes
//! 1.36.2 and its predecessors. Function names follow upstream in snake_case.

pub mod behavior;
pub mod calculator;
mod config;
mod controller;
mod decision;
mod explanation;
mod message;
mod observation;
mod plan;
pub mod quantity;
mod schedule;
pub mod spec;
pub mod validation;

pub use config::ControllerConfig;
pub use controller::{Hpa, ScaleWriteError};
pub use decision::{
    Branch, Condition, ConditionType, Conditions, CurrentValue, Decision, Detail, Event, Limits,
    MetricFailure, MetricOutcome, PodCounts, Reason, RescaleReason,
};
pub use explanation::{Explanation, MetricExplanation, PolicyExplanation, Rates, Sample, Window};
pub use message::rescale_text;
pub use observation::{
    ApiFault, FetchError, MetricReading, Observation, PodKey, PodPhase, PodRequest, PodSample,
    PodView, Ready,
};
pub use quantity::Quantity;
pub use schedule::{SyncMode, SyncSchedule};
pub use spec::HpaSpec;
pub use validation::{FieldError, FieldErrorKind, ValidationOptions};
