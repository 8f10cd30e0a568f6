//! The `spec` of an autoscaling/v2 HorizontalPodAutoscaler as the API has it, before defaulting.
//!
//! Every field is optional where the API's is, so that validation can name what is missing and an
//! exported manifest says no more than the user did. Strings that the API checks only in validation
//! (`type`, `selectPolicy`) stay strings here; [`super::Hpa::new`] lowers them once.
//! Source: k8s.io/api/autoscaling/v2 types.go; pkg/apis/autoscaling/v2/defaults.go.

use std::collections::BTreeMap;
use std::fmt;

use super::quantity::Quantity;

/// `HorizontalPodAutoscalerSpec`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HpaSpec {
    /// `scaleTargetRef`: the object whose scale is read and written.
    pub scale_target_ref: ObjectReference,
    /// `minReplicas`; absent means 1.
    pub min_replicas: Option<i32>,
    /// `maxReplicas`; 0 stands for an absent field, as in the Go type.
    pub max_replicas: i32,
    /// `metrics`, in order; empty means cpu utilisation 80 %.
    pub metrics: Vec<MetricSpec>,
    /// `behavior`; absent selects the legacy path in every version up to 1.36.
    pub behavior: Option<Behavior>,
}

/// `CrossVersionObjectReference`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectReference {
    /// `apiVersion`, empty if absent.
    pub api_version: String,
    /// `kind`, such as `Deployment`.
    pub kind: String,
    /// `name` of the object.
    pub name: String,
}

/// `MetricSpec`: exactly one source is set in a valid spec, the one `type` names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricSpec {
    /// `type`: `Pods`, `External`, `Object`, `Resource` or `ContainerResource`.
    pub kind: String,
    /// `resource`.
    pub resource: Option<ResourceSource>,
    /// `containerResource`.
    pub container_resource: Option<ContainerResourceSource>,
    /// `pods`.
    pub pods: Option<PodsSource>,
    /// `object`.
    pub object: Option<ObjectSource>,
    /// `external`.
    pub external: Option<ExternalSource>,
}

/// `ResourceMetricSource`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceSource {
    /// Resource name, such as `cpu`.
    pub name: String,
    /// Goal.
    pub target: MetricTarget,
}

/// `ContainerResourceMetricSource`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerResourceSource {
    /// Resource name, such as `cpu`.
    pub name: String,
    /// Container whose usage and request count.
    pub container: String,
    /// Goal.
    pub target: MetricTarget,
}

/// `PodsMetricSource`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodsSource {
    /// Metric name and selector.
    pub metric: MetricIdentifier,
    /// Goal.
    pub target: MetricTarget,
}

/// `ObjectMetricSource`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectSource {
    /// The object that the metric describes.
    pub described_object: ObjectReference,
    /// Metric name and selector.
    pub metric: MetricIdentifier,
    /// Goal.
    pub target: MetricTarget,
}

/// `ExternalMetricSource`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExternalSource {
    /// Metric name and selector.
    pub metric: MetricIdentifier,
    /// Goal.
    pub target: MetricTarget,
}

/// `MetricIdentifier`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricIdentifier {
    /// Metric name, such as `vllm:num_requests_running`.
    pub name: String,
    /// Label selector, if any.
    pub selector: Option<LabelSelector>,
}

/// `MetricTarget`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricTarget {
    /// `type`: `Utilization`, `Value` or `AverageValue`.
    pub kind: String,
    /// `value`: goal for the metric as a whole.
    pub value: Option<Quantity>,
    /// `averageValue`: goal per pod.
    pub average_value: Option<Quantity>,
    /// `averageUtilization`: goal in percent of the request.
    pub average_utilization: Option<i32>,
}

/// `metav1.LabelSelector`. `Display` prints it as the controller's messages do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// `matchLabels`.
    pub match_labels: BTreeMap<String, String>,
    /// `matchExpressions`.
    pub match_expressions: Vec<LabelRequirement>,
}

/// `metav1.LabelSelectorRequirement`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelRequirement {
    /// Label key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// Label values.
    pub values: Vec<String>,
}

/// `HorizontalPodAutoscalerBehavior`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behavior {
    /// `scaleUp` rules.
    pub scale_up: Option<ScalingRules>,
    /// `scaleDown` rules.
    pub scale_down: Option<ScalingRules>,
}

/// `HPAScalingRules`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScalingRules {
    /// `stabilizationWindowSeconds` \[s\].
    pub stabilization_window_seconds: Option<i32>,
    /// `selectPolicy`: `Max`, `Min` or `Disabled`.
    pub select_policy: Option<String>,
    /// `policies`; absent takes the defaults, an empty list is invalid.
    pub policies: Option<Vec<ScalingPolicy>>,
    /// `tolerance`, a share (0.1 = 10 %).
    pub tolerance: Option<Quantity>,
}

/// `HPAScalingPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScalingPolicy {
    /// `type`: `Pods` or `Percent`.
    pub kind: String,
    /// `value`: pods or percent.
    pub value: i32,
    /// `periodSeconds` \[s\].
    pub period_seconds: i32,
}

impl ScalingPolicy {
    /// `{type: Pods, value, periodSeconds}`.
    pub fn pods(value: i32, period_seconds: i32) -> Self {
        Self { kind: "Pods".into(), value, period_seconds }
    }
    /// `{type: Percent, value, periodSeconds}`.
    pub fn percent(value: i32, period_seconds: i32) -> Self {
        Self { kind: "Percent".into(), value, period_seconds }
    }
}

impl MetricTarget {
    /// `{type: AverageValue, averageValue}`.
    pub fn average_value(value: Quantity) -> Self {
        Self { kind: "AverageValue".into(), average_value: Some(value), ..Self::default() }
    }
    /// `{type: Value, value}`.
    pub fn value(value: Quantity) -> Self {
        Self { kind: "Value".into(), value: Some(value), ..Self::default() }
    }
    /// `{type: Utilization, averageUtilization}` in percent.
    pub fn utilization(percent: i32) -> Self {
        Self { kind: "Utilization".into(), average_utilization: Some(percent), ..Self::default() }
    }
}

impl MetricSpec {
    /// A `Pods` metric with an `averageValue` target, the guide's own form.
    pub fn pods(name: &str, average_value: Quantity) -> Self {
        Self {
            kind: "Pods".into(),
            pods: Some(PodsSource {
                metric: MetricIdentifier { name: name.into(), selector: None },
                target: MetricTarget::average_value(average_value),
            }),
            ..Self::default()
        }
    }
    /// An `External` metric with the given target.
    pub fn external(name: &str, target: MetricTarget) -> Self {
        Self {
            kind: "External".into(),
            external: Some(ExternalSource {
                metric: MetricIdentifier { name: name.into(), selector: None },
                target,
            }),
            ..Self::default()
        }
    }
    /// A `Resource` metric with the given target.
    pub fn resource(name: &str, target: MetricTarget) -> Self {
        Self {
            kind: "Resource".into(),
            resource: Some(ResourceSource { name: name.into(), target }),
            ..Self::default()
        }
    }
    /// The name a reader knows the metric by: metric name, or resource name.
    pub fn metric_name(&self) -> &str {
        let by_kind = match self.kind.as_str() {
            "Pods" => self.pods.as_ref().map(|s| s.metric.name.as_str()),
            "External" => self.external.as_ref().map(|s| s.metric.name.as_str()),
            "Object" => self.object.as_ref().map(|s| s.metric.name.as_str()),
            "Resource" => self.resource.as_ref().map(|s| s.name.as_str()),
            "ContainerResource" => self.container_resource.as_ref().map(|s| s.name.as_str()),
            _ => None,
        };
        by_kind.unwrap_or("")
    }
    /// The target of the source that `type` names.
    pub fn target(&self) -> Option<&MetricTarget> {
        match self.kind.as_str() {
            "Pods" => self.pods.as_ref().map(|s| &s.target),
            "External" => self.external.as_ref().map(|s| &s.target),
            "Object" => self.object.as_ref().map(|s| &s.target),
            "Resource" => self.resource.as_ref().map(|s| &s.target),
            "ContainerResource" => self.container_resource.as_ref().map(|s| &s.target),
            _ => None,
        }
    }
    /// The same, to change.
    pub fn target_mut(&mut self) -> Option<&mut MetricTarget> {
        match self.kind.as_str() {
            "Pods" => self.pods.as_mut().map(|s| &mut s.target),
            "External" => self.external.as_mut().map(|s| &mut s.target),
            "Object" => self.object.as_mut().map(|s| &mut s.target),
            "Resource" => self.resource.as_mut().map(|s| &mut s.target),
            "ContainerResource" => self.container_resource.as_mut().map(|s| &mut s.target),
            _ => None,
        }
    }
}

impl HpaSpec {
    /// Fills what the API server would fill. Idempotent.
    /// Source: pkg/apis/autoscaling/v2/defaults.go.
    pub fn set_defaults(&mut self) {
        self.min_replicas.get_or_insert(1);
        if self.metrics.is_empty() {
            self.metrics.push(MetricSpec::resource("cpu", MetricTarget::utilization(80)));
        }
        if let Some(behavior) = &mut self.behavior {
            let up = behavior.scale_up.get_or_insert_default();
            up.stabilization_window_seconds.get_or_insert(0);
            fill_rules(up, || vec![ScalingPolicy::pods(4, 15), ScalingPolicy::percent(100, 15)]);
            let down = behavior.scale_down.get_or_insert_default();
            fill_rules(down, || vec![ScalingPolicy::percent(100, 15)]);
        }
    }

    /// The spec after [`HpaSpec::set_defaults`].
    #[must_use]
    pub fn defaulted(&self) -> Self {
        let mut spec = self.clone();
        spec.set_defaults();
        spec
    }
}

fn fill_rules(rules: &mut ScalingRules, policies: impl FnOnce() -> Vec<ScalingPolicy>) {
    rules.select_policy.get_or_insert_with(|| "Max".into());
    rules.policies.get_or_insert_with(policies);
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("&LabelSelector{MatchLabels:map[string]string{")?;
        for (key, value) in &self.match_labels {
            write!(f, "{key}: {value},")?;
        }
        f.write_str("},MatchExpressions:[]LabelSelectorRequirement{")?;
        for e in &self.match_expressions {
            let values = e.values.join(" ");
            write!(
                f,
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
                e.key, e.operator
            )?;
        }
        f.write_str("},}")
    }
}
