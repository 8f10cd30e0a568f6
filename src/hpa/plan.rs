//! The spec lowered once, so that a reconcile neither parses nor compares text.

use super::behavior::{BehaviorRules, Bounds, Nanos, Rules};
use super::calculator::{CalculatorRules, Tolerances, ValueSource};
use super::config::ControllerConfig;
use super::decision::{MetricFailure, Reason};
use super::quantity::Quantity;
use super::spec::{HpaSpec, MetricSpec, MetricTarget, ScalingRules};
use crate::units::Milli;

/// What a reconcile needs of the spec and the settings.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub bounds: Bounds,
    pub metrics: Vec<MetricPlan>,
    pub behavior: Option<BehaviorRules>,
    pub calculator: CalculatorRules,
    pub downscale_stabilization: Nanos,
    /// A metric can be read without any pod.
    pub has_object_or_external: bool,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetricPlan {
    pub formula: Formula,
    /// Condition reason when the metric fails.
    pub failure_reason: Reason,
    /// Status quantities in binary notation.
    pub binary: bool,
}

/// Which formula applies, with its target.
#[derive(Clone, Copy, Debug)]
pub(super) enum Formula {
    PodsAverage { target: Milli, cpu: bool },
    Utilization { percent: i32, cpu: bool },
    Value { target: Milli, source: ValueSource },
    PerReplica { target: Milli, source: ValueSource },
    Broken(MetricFailure),
}

impl Plan {
    /// Lowers a defaulted spec.
    pub(super) fn new(spec: &HpaSpec, config: &ControllerConfig) -> Self {
        let window = config.downscale_stabilization.as_nanos();
        let rules = |rules: Option<&ScalingRules>, default| {
            Rules::new(rules.unwrap_or(&ScalingRules::default()), default)
        };
        let behavior = spec.behavior.as_ref().map(|b| BehaviorRules {
            scale_up: rules(b.scale_up.as_ref(), 0),
            // The controller stores the flag in whole seconds.
            scale_down: rules(b.scale_down.as_ref(), window / 1_000_000_000 * 1_000_000_000),
        });
        let kinds = |m: &MetricSpec| matches!(m.kind.as_str(), "Object" | "External");
        Self {
            bounds: Bounds { min: spec.min_replicas.unwrap_or(1), max: spec.max_replicas },
            metrics: spec.metrics.iter().map(|m| MetricPlan::new(m, config.kube_minor)).collect(),
            behavior,
            calculator: CalculatorRules::new(config, tolerances(spec, config)),
            downscale_stabilization: window,
            has_object_or_external: spec.metrics.iter().any(kinds),
        }
    }
}

/// Upstream's `tolerancesForHpa`.
fn tolerances(spec: &HpaSpec, config: &ControllerConfig) -> Tolerances {
    let own = |rules: Option<&ScalingRules>| {
        let on = config.configurable_tolerance && config.kube_minor >= 33;
        rules.and_then(|r| r.tolerance.as_ref()).filter(|_| on).map(Quantity::approximate_f64)
    };
    let behavior = spec.behavior.as_ref();
    let down = own(behavior.and_then(|b| b.scale_down.as_ref()));
    let up = own(behavior.and_then(|b| b.scale_up.as_ref()));
    Tolerances {
        scale_down: down.unwrap_or(config.tolerance),
        scale_up: up.unwrap_or(config.tolerance),
        interval: config.kube_minor >= 33,
    }
}

impl MetricPlan {
    fn new(spec: &MetricSpec, kube_minor: u32) -> Self {
        let (formula, failure_reason) = match spec.kind.as_str() {
            "Pods" => {
                let target =
                    spec.pods.as_ref().and_then(|s| milli(s.target.average_value.as_ref()));
                let formula = target.map(|target| Formula::PodsAverage { target, cpu: false });
                (formula, Reason::FailedGetPodsMetric)
            }
            "Resource" => {
                let formula = spec.resource.as_ref().and_then(|s| resource(&s.name, &s.target));
                (formula, Reason::FailedGetResourceMetric)
            }
            "ContainerResource" => {
                let source = spec.container_resource.as_ref();
                let formula = source.and_then(|s| resource(&s.name, &s.target));
                (formula, Reason::FailedGetContainerResourceMetric)
            }
            "Object" => {
                let formula = spec.object.as_ref().and_then(|s| object(&s.target));
                (formula, Reason::FailedGetObjectMetric)
            }
            "External" => {
                let formula = spec.external.as_ref().and_then(|s| external(&s.target));
                (formula, Reason::FailedGetExternalMetric)
            }
            _ => {
                let formula = Formula::Broken(MetricFailure::UnknownType);
                (Some(formula), Reason::InvalidMetricSourceType)
            }
        };
        let memory = matches!(spec.kind.as_str(), "Resource" | "ContainerResource")
            && spec.metric_name() == "memory";
        Self {
            formula: formula.unwrap_or(Formula::Broken(MetricFailure::InvalidSource)),
            failure_reason,
            binary: memory && kube_minor >= 34,
        }
    }
}

fn milli(quantity: Option<&Quantity>) -> Option<Milli> {
    quantity.map(|q| Milli(q.milli_value()))
}

fn resource(name: &str, target: &MetricTarget) -> Option<Formula> {
    let cpu = name == "cpu";
    if let Some(target) = milli(target.average_value.as_ref()) {
        return Some(Formula::PodsAverage { target, cpu });
    }
    target.average_utilization.map(|percent| Formula::Utilization { percent, cpu })
}

/// Object metrics look at the target's `type`.
fn object(target: &MetricTarget) -> Option<Formula> {
    let source = ValueSource::Object;
    match target.kind.as_str() {
        "Value" => milli(target.value.as_ref()).map(|target| Formula::Value { target, source }),
        "AverageValue" => milli(target.average_value.as_ref())
            .map(|target| Formula::PerReplica { target, source }),
        _ => None,
    }
}

/// External metrics take `averageValue` if it is set.
fn external(target: &MetricTarget) -> Option<Formula> {
    let source = ValueSource::External;
    if let Some(target) = milli(target.average_value.as_ref()) {
        return Some(Formula::PerReplica { target, source });
    }
    milli(target.value.as_ref()).map(|target| Formula::Value { target, source })
}
