//! The outcome of one reconcile: numbers, conditions and reasons, without any formatted text.
//!
//! A [`Decision`] holds all that a row of `decisions.csv` and an explanation need. Texts are
//! rendered on demand by [`super::message`].

use crate::units::{Milli, SimTime};

use super::observation::{ApiFault, FetchError};
use super::quantity::Quantity;

/// What one reconcile decided. Owned by [`super::Hpa`] and reused, so that nothing is allocated.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When the scale was read.
    pub now: SimTime,
    /// When the decision was made, after the metrics were fetched.
    pub now_decide: SimTime,
    /// `scale.spec.replicas` as read; becomes `status.currentReplicas`.
    pub current_replicas: i32,
    /// Which of the controller's branches was taken.
    pub branch: Branch,
    /// One entry per `spec.metrics` entry; empty if no metric was consulted.
    pub metrics: Vec<MetricOutcome>,
    /// `status.currentMetrics` after the reconcile, in order; a failed metric has an empty entry.
    pub current_metrics: Vec<CurrentValue>,
    /// Index of the metric whose proposal won.
    pub chosen_metric: Option<usize>,
    /// The winning proposal, before windows and limits.
    pub proposed_replicas: Option<i32>,
    /// After the stabilisation windows.
    pub stabilized_replicas: Option<i32>,
    /// After policies and min / max.
    pub limited_replicas: Option<i32>,
    /// What the rate limits of this reconcile would allow.
    pub limits: Limits,
    /// `status.desiredReplicas` after the reconcile (kept from before when it failed).
    pub desired_replicas: i32,
    /// The scale to write; `None` leaves the target alone. After writing (or failing to) the
    /// caller must report with [`super::Hpa::scale_written`].
    pub scale_to: Option<i32>,
    /// Why the target is rescaled.
    pub rescale_reason: RescaleReason,
    /// `status.conditions` after the reconcile.
    pub conditions: Conditions,
    /// The event that ends the reconcile; [`Decision::events`] has those before it too.
    pub event: Option<Event>,
}

impl Decision {
    /// All events of the reconcile, in the order in which the controller records them.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        let selector = self.conditions.get(ConditionType::ScalingActive).map(|c| c.reason);
        let selector = selector.filter(|reason| {
            self.branch == Branch::FailedMetrics
                && matches!(reason, Reason::InvalidSelector | Reason::AmbiguousSelector)
        });
        let failures = self.metrics.iter().enumerate();
        let failures =
            failures.filter_map(|(i, m)| m.failure_reason.map(|r| Event::FailedGetMetric(i, r)));
        selector.map(Event::Selector).into_iter().chain(failures).chain(self.event)
    }
}

impl Default for Decision {
    fn default() -> Self {
        Self {
            now: SimTime::ZERO,
            now_decide: SimTime::ZERO,
            current_replicas: 0,
            branch: Branch::Disabled,
            metrics: Vec::new(),
            current_metrics: Vec::new(),
            chosen_metric: None,
            proposed_replicas: None,
            stabilized_replicas: None,
            limited_replicas: None,
            limits: Limits::default(),
            desired_replicas: 0,
            scale_to: None,
            rescale_reason: RescaleReason::None,
            conditions: Conditions::default(),
            event: None,
        }
    }
}

/// The way a reconcile went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch {
    /// The scale could not be read.
    FailedGetScale,
    /// The target has zero replicas and nothing may wake it.
    Disabled,
    /// Current replicas above `maxReplicas`: set to it, no metric consulted.
    AboveMax,
    /// Current replicas below `minReplicas`: set to it, no metric consulted.
    BelowMin,
    /// Metrics were computed.
    Metrics,
    /// Metrics were asked for and gave no usable proposal.
    FailedMetrics,
}

/// Bounds that the limiting step computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Most replicas that the rate limit admits in this step.
    pub scale_up_limit: Option<i32>,
    /// Fewest replicas that the rate limit admits in this step.
    pub scale_down_limit: Option<i32>,
    /// Lowest recommendation inside the scale-up window (behavior path).
    pub up_recommendation: Option<i32>,
    /// Highest recommendation inside the scale-down window.
    pub down_recommendation: Option<i32>,
}

/// How one `spec.metrics` entry fared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricOutcome {
    /// What `status.currentMetrics` reports; all `None` for a failed metric.
    pub current: CurrentValue,
    /// The ratio before the missing and unready pods were filled in.
    pub usage_ratio: Option<f64>,
    /// The ratio that decided.
    pub final_ratio: Option<f64>,
    /// Replicas that this metric asks for.
    pub proposal: Option<i32>,
    /// Why it failed.
    pub failure: Option<MetricFailure>,
    /// The condition and event reason of that failure.
    pub failure_reason: Option<Reason>,
    /// Counts of the pod classification.
    pub pods: PodCounts,
}

impl MetricOutcome {
    pub(super) const EMPTY: Self = Self {
        current: CurrentValue::EMPTY,
        usage_ratio: None,
        final_ratio: None,
        proposal: None,
        failure: None,
        failure_reason: None,
        pods: PodCounts { ready: 0, unready: 0, missing: 0, ignored: 0 },
    };
}

/// `MetricValueStatus`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CurrentValue {
    /// `averageValue`, in thousandths.
    pub average_value: Option<Milli>,
    /// `value`, in thousandths.
    pub value: Option<Milli>,
    /// `averageUtilization` \[percent\].
    pub average_utilization: Option<i32>,
    /// Quantities are printed with binary suffixes (memory, since 1.34).
    pub binary: bool,
}

impl CurrentValue {
    /// No value: the entry of a failed metric.
    pub const EMPTY: Self =
        Self { average_value: None, value: None, average_utilization: None, binary: false };

    /// The reported quantity as the status prints it: `averageValue`, else `value`.
    pub fn quantity(&self) -> Option<Quantity> {
        let milli = self.average_value.or(self.value)?.0;
        Some(if self.binary {
            Quantity::from_milli_binary(milli)
        } else {
            Quantity::from_milli(milli)
        })
    }
}

/// How the pods of a per-pod metric were classified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodCounts {
    /// Pods that count as they are.
    pub ready: u32,
    /// Pending pods, and for cpu those still initialising.
    pub unready: u32,
    /// Pods without a sample.
    pub missing: u32,
    /// Terminating and failed pods.
    pub ignored: u32,
}

/// Why a metric gave no proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricFailure {
    /// The metrics API failed or was empty.
    Fetch(FetchError),
    /// No pod matches the selector.
    NoPods,
    /// Only samples of ignored or unready pods.
    NoMetricsForTargetedPods,
    /// Utilisation: no pod has both a sample and a request.
    NoMetricsMatchedKnownPods,
    /// Utilisation: a pod has no request.
    MissingRequest,
    /// Utilisation: a pod lacks the named container (since 1.35).
    NoContainer,
    /// The target has none of the fields its source needs.
    InvalidSource,
    /// `type` is none of the five.
    UnknownType,
}

/// Why the target is rescaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RescaleReason {
    /// It is not.
    None,
    /// `<metric name> above target`; the index in `spec.metrics`.
    AboveTarget(usize),
    /// `All metrics below target`.
    AllBelowTarget,
    /// `Current number of replicas above Spec.MaxReplicas`.
    AboveMaxReplicas,
    /// `Current number of replicas below Spec.MinReplicas`.
    BelowMinReplicas,
}

/// An event recorded on the HPA object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Warning.
    FailedGetScale,
    /// Warning: one metric failed; its index and reason.
    FailedGetMetric(usize, Reason),
    /// Warning: `InvalidSelector` or `AmbiguousSelector`.
    Selector(Reason),
    /// Warning: no proposal could be made.
    FailedComputeMetricsReplicas,
    /// Normal: `New size: N; reason: R`.
    SuccessfulRescale(i32),
    /// Warning: `New size: N; reason: R; error: E`.
    FailedRescale(i32),
}

impl Event {
    /// The event's `reason`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::FailedGetScale => "FailedGetScale",
            Self::FailedGetMetric(_, reason) | Self::Selector(reason) => reason.as_str(),
            Self::FailedComputeMetricsReplicas => "FailedComputeMetricsReplicas",
            Self::SuccessfulRescale(_) => "SuccessfulRescale",
            Self::FailedRescale(_) => "FailedRescale",
        }
    }
    /// The event's `type`.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::SuccessfulRescale(_) => "Normal",
            Self::FailedGetScale
            | Self::FailedGetMetric(..)
            | Self::Selector(_)
            | Self::FailedComputeMetricsReplicas
            | Self::FailedRescale(_) => "Warning",
        }
    }
}

/// `type` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// The controller can read and write the scale.
    AbleToScale,
    /// A metric gives a proposal.
    ScalingActive,
    /// The proposal was cut by a limit.
    ScalingLimited,
    /// The controller itself scaled to zero (since 1.36, with the gate).
    ScaledToZero,
}

impl ConditionType {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AbleToScale => "AbleToScale",
            Self::ScalingActive => "ScalingActive",
            Self::ScalingLimited => "ScalingLimited",
            Self::ScaledToZero => "ScaledToZero",
        }
    }
}

/// `reason` of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the API's own words; their meaning is in `message`")]
pub enum Reason {
    SucceededGetScale,
    FailedGetScale,
    ReadyForNewScale,
    ScaleDownStabilized,
    ScaleUpStabilized,
    SucceededRescale,
    FailedUpdateScale,
    ValidMetricFound,
    ScalingDisabled,
    InvalidSelector,
    AmbiguousSelector,
    FailedGetResourceMetric,
    FailedGetContainerResourceMetric,
    FailedGetPodsMetric,
    FailedGetObjectMetric,
    FailedGetExternalMetric,
    InvalidMetricSourceType,
    TooFewReplicas,
    TooManyReplicas,
    ScaleUpLimit,
    ScaleDownLimit,
    DesiredWithinRange,
    ScaledToZero,
    NotScaledToZero,
}

impl Reason {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SucceededGetScale => "SucceededGetScale",
            Self::FailedGetScale => "FailedGetScale",
            Self::ReadyForNewScale => "ReadyForNewScale",
            Self::ScaleDownStabilized => "ScaleDownStabilized",
            Self::ScaleUpStabilized => "ScaleUpStabilized",
            Self::SucceededRescale => "SucceededRescale",
            Self::FailedUpdateScale => "FailedUpdateScale",
            Self::ValidMetricFound => "ValidMetricFound",
            Self::ScalingDisabled => "ScalingDisabled",
            Self::InvalidSelector => "InvalidSelector",
            Self::AmbiguousSelector => "AmbiguousSelector",
            Self::FailedGetResourceMetric => "FailedGetResourceMetric",
            Self::FailedGetContainerResourceMetric => "FailedGetContainerResourceMetric",
            Self::FailedGetPodsMetric => "FailedGetPodsMetric",
            Self::FailedGetObjectMetric => "FailedGetObjectMetric",
            Self::FailedGetExternalMetric => "FailedGetExternalMetric",
            Self::InvalidMetricSourceType => "InvalidMetricSourceType",
            Self::TooFewReplicas => "TooFewReplicas",
            Self::TooManyReplicas => "TooManyReplicas",
            Self::ScaleUpLimit => "ScaleUpLimit",
            Self::ScaleDownLimit => "ScaleDownLimit",
            Self::DesiredWithinRange => "DesiredWithinRange",
            Self::ScaledToZero => "ScaledToZero",
            Self::NotScaledToZero => "NotScaledToZero",
        }
    }
}

/// What a condition's message speaks of, beyond its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The reason says it all.
    None,
    /// New size of the target.
    Replicas(i32),
    /// Index of the metric that gave the proposal.
    Metric(usize),
    /// Index of the first failing metric and its fault.
    Failure(usize, MetricFailure),
    /// What is wrong with the scale or its selector.
    Fault(ApiFault),
    /// The API server's answer.
    Text(&'static str),
}

/// One entry of `status.conditions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub kind: ConditionType,
    /// `status`: `True` or `False`.
    pub status: bool,
    /// `reason`.
    pub reason: Reason,
    /// Numbers for the message.
    pub detail: Detail,
    /// `lastTransitionTime`: when `status` last changed.
    pub last_transition: SimTime,
}

impl Condition {
    /// `True` or `False`.
    pub const fn status_str(&self) -> &'static str {
        if self.status { "True" } else { "False" }
    }
}

/// `status.conditions`, in order of first insertion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    list: [Option<Condition>; 4],
}

impl Conditions {
    /// The conditions in order.
    pub fn iter(&self) -> impl Iterator<Item = &Condition> {
        self.list.iter().flatten()
    }
    /// The condition of one type.
    pub fn get(&self, kind: ConditionType) -> Option<&Condition> {
        self.iter().find(|c| c.kind == kind)
    }
    /// Replaces or appends a condition; `last_transition` moves only with the status.
    pub(super) fn set(
        &mut self,
        kind: ConditionType,
        status: bool,
        reason: Reason,
        detail: Detail,
        now: SimTime,
    ) {
        for slot in &mut self.list {
            match slot {
                Some(c) if c.kind == kind => {
                    if c.status != status {
                        c.last_transition = now;
                    }
                    (c.status, c.reason, c.detail) = (status, reason, detail);
                    return;
                }
                Some(_) => {}
                None => {
                    *slot = Some(Condition { kind, status, reason, detail, last_transition: now });
                    return;
                }
            }
        }
    }
    /// Removes a condition, keeping the order of the others.
    pub(super) fn remove(&mut self, kind: ConditionType) {
        if let Some(i) = self.list.iter().position(|c| c.is_some_and(|c| c.kind == kind)) {
            self.list[i..].rotate_left(1);
            self.list[self.list.len() - 1] = None;
        }
    }
}
