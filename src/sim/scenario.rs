//! Everything that one run needs, validated by whoever built it.

use crate::cluster::ClusterConfig;
use crate::engine::{EngineConfig, Gauges};
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
}

/// Where the value of one HPA metric comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetricFeed {
    /// The quantity that a scrape of one pod reads.
    pub signal: Signal,
    /// How the API hands it to the HPA.
    pub shape: FeedShape,
}

/// How a metrics API answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedShape {
    /// `custom.metrics.k8s.io`, one value per pod.
    PerPod,
    /// `external.metrics.k8s.io` or an Object metric: one value, the sum over the pods.
    Sum,
}

/// A quantity of one replica that can be scraped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Signal {
    /// `vllm:num_requests_running`.
    NumRequestsRunning,
    /// `vllm:num_requests_waiting`.
    NumRequestsWaiting,
    /// `vllm:kv_cache_usage_perc` (0 to 1).
    KvCacheUsagePerc,
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 3] =
        [Self::NumRequestsRunning, Self::NumRequestsWaiting, Self::KvCacheUsagePerc];

    /// The metric's name on `/metrics`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NumRequestsRunning => "vllm:num_requests_running",
            Self::NumRequestsWaiting => "vllm:num_requests_waiting",
            Self::KvCacheUsagePerc => "vllm:kv_cache_usage_perc",
        }
    }

    /// The signal of a metric name; the name of older releases is known too.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "vllm:gpu_cache_usage_perc" => Some(Self::KvCacheUsagePerc),
            _ => Self::ALL.into_iter().find(|signal| signal.name() == name),
        }
    }

    /// Its value in a replica's gauges.
    pub fn read(self, gauges: &Gauges) -> f64 {
        match self {
            Self::NumRequestsRunning => f64::from(gauges.num_requests_running),
            Self::NumRequestsWaiting => f64::from(gauges.num_requests_waiting),
            Self::KvCacheUsagePerc => gauges.kv_cache_usage_perc(),
        }
    }
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
