//! Everything that one run needs, validated by whoever built it.

use super::keda::KedaConfig;
use super::signal::{DeviceModel, MetricFeed};
use crate::cluster::ClusterConfig;
use crate::engine::EngineConfig;
use crate::gateway::Policy;
use crate::hpa::{ControllerConfig, HpaSpec, SyncSchedule};
use crate::pipeline::PipelineConfig;
use crate::units::{SimDuration, SimTime};
use crate::workload::WorkloadSpec;
use std::sync::Arc;

/// One case: the whole system and its load.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Every replica's engine.
    pub engine: Arc<EngineConfig>,
    /// Pods, nodes and their delays.
    pub cluster: ClusterConfig,
    /// How a pod's GPUs and CPU look to their exporters.
    pub devices: DeviceModel,
    /// How metrics reach the autoscaler.
    pub pipeline: PipelineConfig,
    /// How requests reach a replica.
    pub gateway: Policy,
    /// What sets the number of replicas.
    pub autoscaler: Autoscaler,
    /// The load. Not part of the case's seed: all cases of an experiment meet the same realisation.
    pub workload: WorkloadSpec,
    /// Objectives per request.
    pub slo: Slo,
    /// Length of the run, at most [`SimTime::MAX_HORIZON`].
    pub duration: SimDuration,
    /// Left out of all statistics; below `duration`.
    pub warmup: SimDuration,
    /// Distance of the rows of a timeline.
    pub timeline_interval: SimDuration,
    /// Instants at which the whole `/metrics` page of every listening server is kept, in time order. Empty
    /// unless asked for: counters and histograms are not kept otherwise.
    pub expose_at: Vec<SimTime>,
}

/// What sets the number of replicas.
#[allow(clippy::large_enum_variant, reason = "one per case")]
#[derive(Clone, Debug)]
pub enum Autoscaler {
    /// A HorizontalPodAutoscaler.
    Hpa(HpaSetup),
    /// Always the same number.
    Fixed(u32),
    /// Scripted: (from when, how many), in time order.
    Schedule(Vec<(SimTime, u32)>),
}

impl Autoscaler {
    /// The HPA, if there is one.
    pub fn hpa(&self) -> Option<&HpaSetup> {
        match self {
            Self::Hpa(setup) => Some(setup),
            Self::Fixed(_) | Self::Schedule(_) => None,
        }
    }
}

/// An HPA object, its controller, and where its metrics come from.
#[derive(Clone, Debug)]
pub struct HpaSetup {
    /// The object's spec (not defaulted).
    pub spec: HpaSpec,
    /// The controller's flags and rules.
    pub controller: ControllerConfig,
    /// When reconciles start and how long they take.
    pub schedule: SyncSchedule,
    /// One feed per entry of the *defaulted* `spec.metrics`, in order.
    pub feeds: Vec<MetricFeed>,
    /// `spec.replicas` of the deployment when the run starts; they serve from the first instant.
    pub start_replicas: u32,
    /// KEDA's own part beside the HPA it generates; `None` without KEDA.
    pub keda: Option<KedaConfig>,
}

/// Objectives that a request must meet, both of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Slo {
    /// Longest time to first token.
    pub ttft: SimDuration,
    /// Longest mean gap after the first token.
    pub tpot: SimDuration,
    /// Share of requests that must meet both.
    pub attainment: f64,
}
