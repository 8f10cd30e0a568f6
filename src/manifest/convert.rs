//! Typed API objects to the simulator's spec and back.

use k8s_openapi::api::autoscaling::v2 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use super::finding::{FieldError, FieldErrorKind};
use crate::hpa::quantity::Quantity;
use crate::hpa::spec;

/// Reads quantities and remembers those that are none.
#[derive(Default)]
struct Reader {
    errors: Vec<FieldError>,
}

/// The simulator's spec of an API object's spec.
pub(super) fn spec_from_object(
    object: &api::HorizontalPodAutoscalerSpec,
) -> Result<spec::HpaSpec, Vec<FieldError>> {
    let mut reader = Reader::default();
    let metrics = object.metrics.iter().flatten().enumerate();
    let spec = spec::HpaSpec {
        scale_target_ref: reference(&object.scale_target_ref),
        min_replicas: object.min_replicas,
        max_replicas: object.max_replicas,
        metrics: metrics.map(|(i, m)| reader.metric(&format!("spec.metrics[{i}]"), m)).collect(),
        behavior: object.behavior.as_ref().map(|b| spec::Behavior {
            scale_up: b.scale_up.as_ref().map(|r| reader.rules("scaleUp", r)),
            scale_down: b.scale_down.as_ref().map(|r| reader.rules("scaleDown", r)),
        }),
    };
    if reader.errors.is_empty() { Ok(spec) } else { Err(reader.errors) }
}

fn reference(object: &api::CrossVersionObjectReference) -> spec::ObjectReference {
    spec::ObjectReference {
        api_version: object.api_version.clone().unwrap_or_default(),
        kind: object.kind.clone(),
        name: object.name.clone(),
    }
}

fn identifier(object: &api::MetricIdentifier) -> spec::MetricIdentifier {
    let selector = object.selector.as_ref().map(|s| spec::LabelSelector {
        match_labels: s.match_labels.clone().unwrap_or_default(),
        match_expressions: s.match_expressions.iter().flatten().map(requirement).collect(),
    });
    spec::MetricIdentifier { name: object.name.clone(), selector }
}

fn requirement(object: &meta::LabelSelectorRequirement) -> spec::LabelRequirement {
    spec::LabelRequirement {
        key: object.key.clone(),
        operator: object.operator.clone(),
        values: object.values.clone().unwrap_or_default(),
    }
}

impl Reader {
    fn quantity(&mut self, path: &str, quantity: Option<&ApiQuantity>) -> Option<Quantity> {
        match Quantity::parse(quantity?.0.trim()) {
            Ok(quantity) => Some(quantity),
            Err(error) => {
                let (path, message) = (path.to_owned(), error.to_string());
                self.errors.push(FieldError { path, message, kind: FieldErrorKind::Invalid });
                None
            }
        }
    }

    fn target(&mut self, path: &str, target: &api::MetricTarget) -> spec::MetricTarget {
        let average_value = format!("{path}.target.averageValue");
        spec::MetricTarget {
            kind: target.type_.clone(),
            value: self.quantity(&format!("{path}.target.value"), target.value.as_ref()),
            average_value: self.quantity(&average_value, target.average_value.as_ref()),
            average_utilization: target.average_utilization,
        }
    }

    fn metric(&mut self, path: &str, metric: &api::MetricSpec) -> spec::MetricSpec {
        let at = |field: &str| format!("{path}.{field}");
        spec::MetricSpec {
            kind: metric.type_.clone(),
            resource: metric.resource.as_ref().map(|s| spec::ResourceSource {
                name: s.name.clone(),
                target: self.target(&at("resource"), &s.target),
            }),
            container_resource: metric.container_resource.as_ref().map(|s| {
                spec::ContainerResourceSource {
                    name: s.name.clone(),
                    container: s.container.clone(),
                    target: self.target(&at("containerResource"), &s.target),
                }
            }),
            pods: metric.pods.as_ref().map(|s| spec::PodsSource {
                metric: identifier(&s.metric),
                target: self.target(&at("pods"), &s.target),
            }),
            object: metric.object.as_ref().map(|s| spec::ObjectSource {
                described_object: reference(&s.described_object),
                metric: identifier(&s.metric),
                target: self.target(&at("object"), &s.target),
            }),
            external: metric.external.as_ref().map(|s| spec::ExternalSource {
                metric: identifier(&s.metric),
                target: self.target(&at("external"), &s.target),
            }),
        }
    }

    fn rules(&mut self, direction: &str, rules: &api::HPAScalingRules) -> spec::ScalingRules {
        let path = format!("spec.behavior.{direction}.tolerance");
        spec::ScalingRules {
            stabilization_window_seconds: rules.stabilization_window_seconds,
            select_policy: rules.select_policy.clone(),
            policies: rules.policies.as_ref().map(|policies| {
                policies
                    .iter()
                    .map(|p| spec::ScalingPolicy {
                        kind: p.type_.clone(),
                        value: p.value,
                        period_seconds: p.period_seconds,
                    })
                    .collect()
            }),
            tolerance: self.quantity(&path, rules.tolerance.as_ref()),
        }
    }
}

/// The API object's spec of the simulator's, with canonical quantities.
pub(super) fn object_from_spec(spec: &spec::HpaSpec) -> api::HorizontalPodAutoscalerSpec {
    let metrics: Vec<_> = spec.metrics.iter().map(metric_object).collect();
    api::HorizontalPodAutoscalerSpec {
        behavior: spec.behavior.as_ref().map(|b| api::HorizontalPodAutoscalerBehavior {
            scale_down: b.scale_down.as_ref().map(rules_object),
            scale_up: b.scale_up.as_ref().map(rules_object),
        }),
        max_replicas: spec.max_replicas,
        metrics: (!metrics.is_empty()).then_some(metrics),
        min_replicas: spec.min_replicas,
        scale_target_ref: reference_object(&spec.scale_target_ref),
    }
}

fn reference_object(reference: &spec::ObjectReference) -> api::CrossVersionObjectReference {
    api::CrossVersionObjectReference {
        api_version: (!reference.api_version.is_empty()).then(|| reference.api_version.clone()),
        kind: reference.kind.clone(),
        name: reference.name.clone(),
    }
}

fn quantity_object(quantity: &Quantity) -> ApiQuantity {
    ApiQuantity(quantity.canonical().to_owned())
}

fn target_object(target: &spec::MetricTarget) -> api::MetricTarget {
    api::MetricTarget {
        average_utilization: target.average_utilization,
        average_value: target.average_value.as_ref().map(quantity_object),
        type_: target.kind.clone(),
        value: target.value.as_ref().map(quantity_object),
    }
}

fn identifier_object(metric: &spec::MetricIdentifier) -> api::MetricIdentifier {
    let selector = metric.selector.as_ref().map(|s| {
        let expressions: Vec<_> = s
            .match_expressions
            .iter()
            .map(|e| meta::LabelSelectorRequirement {
                key: e.key.clone(),
                operator: e.operator.clone(),
                values: (!e.values.is_empty()).then(|| e.values.clone()),
            })
            .collect();
        meta::LabelSelector {
            match_expressions: (!expressions.is_empty()).then_some(expressions),
            match_labels: (!s.match_labels.is_empty()).then(|| s.match_labels.clone()),
        }
    });
    api::MetricIdentifier { name: metric.name.clone(), selector }
}

fn metric_object(metric: &spec::MetricSpec) -> api::MetricSpec {
    api::MetricSpec {
        container_resource: metric.container_resource.as_ref().map(|s| {
            api::ContainerResourceMetricSource {
                container: s.container.clone(),
                name: s.name.clone(),
                target: target_object(&s.target),
            }
        }),
        external: metric.external.as_ref().map(|s| api::ExternalMetricSource {
            metric: identifier_object(&s.metric),
            target: target_object(&s.target),
        }),
        object: metric.object.as_ref().map(|s| api::ObjectMetricSource {
            described_object: reference_object(&s.described_object),
            metric: identifier_object(&s.metric),
            target: target_object(&s.target),
        }),
        pods: metric.pods.as_ref().map(|s| api::PodsMetricSource {
            metric: identifier_object(&s.metric),
            target: target_object(&s.target),
        }),
        resource: metric.resource.as_ref().map(|s| api::ResourceMetricSource {
            name: s.name.clone(),
            target: target_object(&s.target),
        }),
        type_: metric.kind.clone(),
    }
}

fn rules_object(rules: &spec::ScalingRules) -> api::HPAScalingRules {
    let policy = |p: &spec::ScalingPolicy| api::HPAScalingPolicy {
        period_seconds: p.period_seconds,
        type_: p.kind.clone(),
        value: p.value,
    };
    api::HPAScalingRules {
        policies: rules.policies.as_ref().map(|list| list.iter().map(policy).collect()),
        select_policy: rules.select_policy.clone(),
        stabilization_window_seconds: rules.stabilization_window_seconds,
        tolerance: rules.tolerance.as_ref().map(quantity_object),
    }
}
