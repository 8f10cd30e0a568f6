//! What one reconcile reads: scale, pods, metric answers.

use crate::units::{Milli, SimDuration, SimTime};

/// Caller-given key of a pod; stands for the pod's name. Unique among the pods that exist.
pub type PodKey = u32;

/// Inputs of one reconcile.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// When the scale was read: the stamp of the first recommendation.
    pub now: SimTime,
    /// When the last metric answer was in: the clock of windows, policies and cpu readiness.
    pub now_decide: SimTime,
    /// `scale.spec.replicas`.
    pub spec_replicas: i32,
    /// `scale.status.replicas`: pods that exist and are not terminating or finished.
    pub status_replicas: i32,
    /// Every pod the target's selector matches, terminating ones included.
    pub pods: &'a [PodView],
    /// One answer per `spec.metrics` entry, in order. A missing entry is an empty answer.
    pub metrics: &'a [MetricReading<'a>],
    /// Faults of the API before any metric is asked for.
    pub fault: Option<ApiFault>,
}

/// A fault that ends a reconcile before its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiFault {
    /// The scale subresource could not be read.
    GetScale,
    /// The scale has no selector.
    SelectorMissing,
    /// The selector does not parse.
    SelectorInvalid,
    /// Another HPA selects one of the pods (checked since 1.26).
    SelectorAmbiguous,
}

/// A pod as the HPA sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Key by which samples name it.
    pub key: PodKey,
    /// `status.phase`.
    pub phase: PodPhase,
    /// The `Ready` condition.
    pub ready: Ready,
    /// `metadata.deletionTimestamp` is set.
    pub deleting: bool,
    /// `status.startTime`, set when the kubelet first saw the pod.
    pub start_time: Option<SimTime>,
    /// `lastTransitionTime` of the `Ready` condition.
    pub ready_transition: SimTime,
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodPhase {
    /// Not all containers have started.
    Pending,
    /// At least one container runs.
    Running,
    /// All containers ended well.
    Succeeded,
    /// A container failed for good.
    Failed,
    /// The node does not answer.
    Unknown,
}

/// Status of the `Ready` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// There is no such condition.
    Absent,
    /// `True`.
    True,
    /// `False`.
    False,
    /// `Unknown`.
    Unknown,
}

/// One pod's sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodSample {
    /// The pod it belongs to. Several samples of one pod: the last one counts.
    pub pod: PodKey,
    /// Value in thousandths, already truncated as the adapter does.
    pub value: Milli,
    /// The sample's own time stamp (read for cpu only).
    pub timestamp: SimTime,
    /// Span over which it was measured (read for cpu only).
    pub window: SimDuration,
}

impl PodSample {
    /// A custom-metrics sample, for which time stamp and window do not matter.
    pub const fn new(pod: PodKey, value: Milli, timestamp: SimTime) -> Self {
        Self { pod, value, timestamp, window: SimDuration::from_secs(60) }
    }
}

/// What a pod requests of a resource, for utilisation targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodRequest {
    /// Sum over the containers that count.
    Set(Milli),
    /// A container has no request: the metric fails.
    Missing,
    /// The named container does not exist in the pod: the metric fails since 1.35, before it
    /// requests nothing.
    NoContainer,
}

/// The answer of a metrics API for one `spec.metrics` entry.
#[derive(Clone, Copy, Debug)]
pub enum MetricReading<'a> {
    /// The call failed.
    Error(FetchError),
    /// Pods, Resource and ContainerResource metrics: one sample per pod that reports.
    Pods(&'a [PodSample]),
    /// Resource and ContainerResource metrics with requests, parallel to `Observation::pods`.
    Resource {
        /// Usage per pod.
        samples: &'a [PodSample],
        /// Request of each entry of `Observation::pods`.
        requests: &'a [PodRequest],
    },
    /// Object metrics (one value) and External metrics (one value per series).
    Values(&'a [Milli]),
}

/// Why a metrics call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The answer was an empty list.
    Empty,
    /// The API said no; the text is its answer.
    Api(&'static str),
}
