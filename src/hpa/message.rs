//! Texts of conditions and events, rendered on demand in the controller's own words.
//! Source: pkg/controller/podautoscaler/horizontal.go, metrics/client.go.

use super::controller::Hpa;
use super::decision::{Condition, Detail, Event, MetricFailure, Reason, RescaleReason};
use super::observation::{ApiFault, FetchError};
use super::spec::{HpaSpec, LabelSelector, MetricSpec};

impl Hpa {
    /// `message` of a condition. `namespace` is the HPA's own.
    pub fn condition_message(&self, condition: &Condition, namespace: &str) -> String {
        match condition.reason {
            Reason::SucceededGetScale => {
                "the HPA controller was able to get the target's current scale".to_owned()
            }
            Reason::FailedGetScale => {
                "the HPA controller was unable to get the target's current scale".to_owned()
            }
            Reason::ReadyForNewScale => "recommended size matches current size".to_owned(),
            Reason::ScaleDownStabilized => "recent recommendations were higher than current one, \
                 applying the highest recent recommendation"
                .to_owned(),
            Reason::ScaleUpStabilized => "recent recommendations were lower than current one, \
                 applying the lowest recent recommendation"
                .to_owned(),
            Reason::SucceededRescale => {
                let Detail::Replicas(n) = condition.detail else { return String::new() };
                format!("the HPA controller was able to update the target scale to {n}")
            }
            Reason::FailedUpdateScale => {
                let error = if let Detail::Text(text) = condition.detail { text } else { "" };
                format!("the HPA controller was unable to update the target scale: {error}")
            }
            Reason::ValidMetricFound => {
                let Detail::Metric(i) = condition.detail else { return String::new() };
                let name = self.metric_display_name(i);
                format!("the HPA was able to successfully calculate a replica count from {name}")
            }
            Reason::ScalingDisabled => {
                "scaling is disabled since the replica count of the target is zero".to_owned()
            }
            Reason::InvalidSelector | Reason::AmbiguousSelector => selector_text(condition.detail),
            Reason::FailedGetResourceMetric
            | Reason::FailedGetContainerResourceMetric
            | Reason::FailedGetPodsMetric
            | Reason::FailedGetObjectMetric
            | Reason::FailedGetExternalMetric
            | Reason::InvalidMetricSourceType => {
                let Detail::Failure(i, failure) = condition.detail else { return String::new() };
                let error = self.failure_text(i, failure, namespace);
                format!("the HPA was unable to compute the replica count: {error}")
            }
            Reason::TooFewReplicas => {
                "the desired replica count is less than the minimum replica count".to_owned()
            }
            Reason::TooManyReplicas => {
                "the desired replica count is more than the maximum replica count".to_owned()
            }
            Reason::ScaleUpLimit => {
                "the desired replica count is increasing faster than the maximum scale rate"
                    .to_owned()
            }
            Reason::ScaleDownLimit => {
                "the desired replica count is decreasing faster than the maximum scale rate"
                    .to_owned()
            }
            Reason::DesiredWithinRange => {
                "the desired count is within the acceptable range".to_owned()
            }
            Reason::ScaledToZero => "the HPA controller scaled the workload to zero".to_owned(),
            Reason::NotScaledToZero => {
                "the HPA controller did not scale the workload to zero".to_owned()
            }
        }
    }

    /// What is wrong with the spec's metric `i`.
    pub fn failure_text(&self, i: usize, failure: MetricFailure, namespace: &str) -> String {
        self.spec().metrics.get(i).map(|m| failure_text(m, failure, namespace)).unwrap_or_default()
    }

    /// How the controller names metric `i` in conditions and events.
    pub fn metric_display_name(&self, i: usize) -> String {
        metric_display_name(self.spec(), i)
    }

    /// Why the last decision rescales; empty if it does not.
    pub fn rescale_reason_text(&self) -> String {
        rescale_text(self.spec(), self.decision().rescale_reason)
    }

    /// `message` of an event of the last decision.
    pub fn event_message(&self, event: Event, namespace: &str) -> String {
        match event {
            Event::FailedGetScale => "unable to read the scale of the target".to_owned(),
            Event::FailedGetMetric(i, _) => {
                let failure = self.decision().metrics.get(i).and_then(|m| m.failure);
                failure.map(|f| self.failure_text(i, f, namespace)).unwrap_or_default()
            }
            Event::Selector(_) => {
                let conditions = &self.decision().conditions;
                let active = conditions.get(super::ConditionType::ScalingActive);
                active.map(|c| selector_text(c.detail)).unwrap_or_default()
            }
            Event::FailedComputeMetricsReplicas => {
                let metrics = &self.decision().metrics;
                let failed = metrics.iter().filter(|m| m.failure.is_some()).count();
                format!("invalid metrics ({failed} invalid out of {})", metrics.len())
            }
            Event::SuccessfulRescale(n) => {
                format!("New size: {n}; reason: {}", self.rescale_reason_text())
            }
            Event::FailedRescale(n) => {
                let conditions = &self.decision().conditions;
                let able = conditions.get(super::ConditionType::AbleToScale);
                let error = match able.map(|c| c.detail) {
                    Some(Detail::Text(text)) => text,
                    _ => "",
                };
                format!("New size: {n}; reason: {}; error: {error}", self.rescale_reason_text())
            }
        }
    }
}

/// Why a decision under `spec` rescales; empty if it does not.
pub fn rescale_text(spec: &HpaSpec, reason: RescaleReason) -> String {
    match reason {
        RescaleReason::None => String::new(),
        RescaleReason::AboveTarget(i) => format!("{} above target", metric_display_name(spec, i)),
        RescaleReason::AllBelowTarget => "All metrics below target".to_owned(),
        RescaleReason::AboveMaxReplicas => {
            "Current number of replicas above Spec.MaxReplicas".to_owned()
        }
        RescaleReason::BelowMinReplicas => {
            "Current number of replicas below Spec.MinReplicas".to_owned()
        }
    }
}

fn selector_text(detail: Detail) -> String {
    match detail {
        Detail::Fault(ApiFault::SelectorMissing) => {
            "the HPA target's scale is missing a selector".to_owned()
        }
        Detail::Fault(ApiFault::SelectorInvalid) => {
            "couldn't convert selector into a corresponding internal selector object".to_owned()
        }
        Detail::Fault(ApiFault::SelectorAmbiguous) => {
            "pods by selector are controlled by multiple HPAs".to_owned()
        }
        Detail::Fault(ApiFault::GetScale)
        | Detail::None
        | Detail::Replicas(_)
        | Detail::Metric(_)
        | Detail::Failure(..)
        | Detail::Text(_) => String::new(),
    }
}

/// `nil` or the selector, as Go prints a pointer to one.
fn selector_or_nil(selector: Option<&LabelSelector>) -> String {
    selector.map_or_else(|| "nil".to_owned(), ToString::to_string)
}

/// How the controller names metric `i` of a spec.
fn metric_display_name(spec: &HpaSpec, i: usize) -> String {
    let Some(metric) = spec.metrics.get(i) else { return String::new() };
    let name = metric.metric_name();
    let by_value = metric.target().is_some_and(|t| t.average_value.is_some());
    match metric.kind.as_str() {
        "Pods" => format!("pods metric {name}"),
        "Object" => metric.object.as_ref().map_or_else(String::new, |o| {
            if o.target.kind == "Value" {
                format!("{} metric {name}", o.described_object.kind)
            } else {
                format!("external metric {name}({})", selector_or_nil(o.metric.selector.as_ref()))
            }
        }),
        "External" => metric.external.as_ref().map_or_else(String::new, |e| {
            format!("external metric {name}({})", selector_or_nil(e.metric.selector.as_ref()))
        }),
        "Resource" | "ContainerResource" if by_value => format!("{name} resource"),
        "Resource" => format!("{name} resource utilization (percentage of request)"),
        "ContainerResource" => {
            format!("{name} container resource utilization (percentage of request)")
        }
        _ => name.to_owned(),
    }
}

/// The error text of one metric.
fn failure_text(metric: &MetricSpec, failure: MetricFailure, namespace: &str) -> String {
    let (api, is_resource) = match metric.kind.as_str() {
        "External" => ("external metrics API", false),
        "Resource" | "ContainerResource" => ("resource metrics API", true),
        _ => ("custom metrics API", false),
    };
    let name = metric.metric_name();
    let inner = match failure {
        MetricFailure::Fetch(FetchError::Empty) => format!("no metrics returned from {api}"),
        MetricFailure::Fetch(FetchError::Api(text)) => {
            format!("unable to fetch metrics from {api}: {text}")
        }
        MetricFailure::NoPods => {
            "no pods returned by selector while calculating replica count".to_owned()
        }
        MetricFailure::NoMetricsForTargetedPods => {
            "did not receive metrics for targeted pods (pods might be unready)".to_owned()
        }
        MetricFailure::NoMetricsMatchedKnownPods => {
            "no metrics returned matched known pods".to_owned()
        }
        MetricFailure::MissingRequest => format!("missing request for {name}"),
        MetricFailure::NoContainer => {
            let source = metric.container_resource.as_ref();
            format!("container {} not found", source.map_or("", |s| s.container.as_str()))
        }
        MetricFailure::InvalidSource => return invalid_source_text(&metric.kind),
        MetricFailure::UnknownType => {
            return format!("unknown metric source type {:?}", metric.kind);
        }
    };
    let fetched = matches!(failure, MetricFailure::Fetch(_));
    let inner = match metric.kind.as_str() {
        "External" if fetched => {
            let selector = metric.external.as_ref().and_then(|e| e.metric.selector.as_ref());
            let selector = selector_or_nil(selector);
            format!("unable to get external metric {namespace}/{name}/{selector}: {inner}")
        }
        "Object" if fetched => {
            let object = metric.object.as_ref().map(|o| &o.described_object);
            let (kind, object) = object.map_or(("", ""), |o| (o.kind.as_str(), o.name.as_str()));
            format!("unable to get metric {name}: {kind} on {namespace} {object}/{inner}")
        }
        _ if fetched && is_resource => {
            format!("unable to get metrics for resource {name}: {inner}")
        }
        _ if fetched => format!("unable to get metric {name}: {inner}"),
        _ => inner,
    };
    let by_value = metric.target().is_some_and(|t| t.average_value.is_some());
    match (is_resource, by_value) {
        (true, true) => format!("failed to get {name} usage: {inner}"),
        (true, false) => format!("failed to get {name} utilization: {inner}"),
        (false, _) => inner,
    }
}

fn invalid_source_text(kind: &str) -> String {
    let wanted = match kind {
        "Object" => "object metric source: neither a value target nor an average value target",
        "External" => "external metric source: neither a value target nor an average value target",
        "Pods" => "pods metric source: no average value target",
        _ => {
            "resource metric source: neither an average utilization target nor an average value \
             (usage) target"
        }
    };
    format!("invalid {wanted} was set")
}
