//! KEDA: a ScaledObject, from which its operator makes the HPA.

use super::{Surroundings, plain};
use crate::export::File;
use crate::hpa::spec::{
    ExternalSource, LabelSelector, MetricIdentifier, MetricSpec, MetricTarget, ObjectReference,
};
use crate::hpa::{HpaSpec, Quantity};
use crate::manifest::{self, HpaManifest};
use serde_json::{Value, json};

/// What the HPA's comment says.
pub(super) const NOTE: &str = "KEDA makes this HPA from scaledobject.yaml: apply that one, and delete any other HPA of \
the deployment first. Two HPAs on one target fight.";
/// On top of the ScaledObject.
const OBJECT_NOTE: &str = "Check serverAddress: it is where KEDA asks for the metric.";

/// Counters are read as rates over this window.
// Source: the same window as the rules for prometheus-adapter.
const RATE_WINDOW: &str = "2m";

/// The ScaledObject that stands for the HPA.
///
/// # Errors
/// Metrics without a trigger: Object metrics.
pub(super) fn scaled_object(
    manifest: &HpaManifest,
    surroundings: &Surroundings,
    header: &str,
) -> Result<File, Vec<String>> {
    let spec = &manifest.spec;
    let (mut triggers, mut refused) = (Vec::new(), Vec::new());
    for metric in &spec.defaulted().metrics {
        match trigger(metric, &spec.scale_target_ref, surroundings) {
            Ok(trigger) => triggers.push(trigger),
            Err(why) => refused.push(why),
        }
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    let target = &spec.scale_target_ref;
    let mut target_ref = json!({ "name": target.name });
    if target.kind != "Deployment" {
        target_ref["kind"] = target.kind.clone().into();
        target_ref["apiVersion"] = target.api_version.clone().into();
    }
    let mut made = json!({ "name": format!("keda-hpa-{}", manifest.name()) });
    if let Some(behavior) = manifest::spec_to_json_value(spec).get("behavior") {
        made["behavior"] = behavior.clone();
    }
    let mut metadata = json!({ "name": manifest.name() });
    if let Some(namespace) = &surroundings.namespace {
        metadata["namespace"] = namespace.clone().into();
    }
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": target_ref,
            "minReplicaCount": spec.min_replicas.unwrap_or(1),
            "maxReplicaCount": spec.max_replicas,
            "pollingInterval": 30,
            "cooldownPeriod": 300,
            "advanced": { "horizontalPodAutoscalerConfig": made },
            "triggers": triggers,
        },
    });
    let text = manifest::yaml(&object, &format!("{header}\n{OBJECT_NOTE}"));
    Ok(File::new("scaledobject.yaml", text))
}

/// The HPA as KEDA makes it: External metrics `s0-prometheus`, `s1-prometheus` and so on.
// Source: kedacore/keda: GenerateMetricNameWithIndex, getHPAName.
pub(super) fn as_made(manifest: &mut HpaManifest) {
    let mut spec: HpaSpec = manifest.spec.defaulted();
    let name = manifest.name().to_owned();
    spec.min_replicas = spec.min_replicas.map(|min| min.max(1));
    for (i, metric) in spec.metrics.iter_mut().enumerate() {
        let target = match (metric.pods.take(), metric.external.take()) {
            (Some(pods), _) => pods.target,
            (_, Some(external)) => external.target,
            _ => continue,
        };
        "External".clone_into(&mut metric.kind);
        let selector = LabelSelector {
            match_labels: [("scaledobject.keda.sh/name".to_owned(), name.clone())].into(),
            ..LabelSelector::default()
        };
        let metric_name = format!("s{i}-prometheus");
        metric.external = Some(ExternalSource {
            metric: MetricIdentifier { name: metric_name, selector: Some(selector) },
            target,
        });
    }
    manifest.object.metadata.name = Some(format!("keda-hpa-{name}"));
    manifest.set_spec(spec);
}

fn trigger(
    metric: &MetricSpec,
    target_ref: &ObjectReference,
    surroundings: &Surroundings,
) -> Result<Value, String> {
    let name = metric.metric_name();
    let (Some(target), false) = (metric.target(), metric.object.is_some()) else {
        return Err(format!("`{name}` is an Object metric: KEDA has no trigger for it"));
    };
    let (kind, value) = goal(target);
    if let Some(resource) = &metric.resource {
        let metadata = json!({ "value": value });
        return Ok(json!({ "type": resource.name, "metricType": kind, "metadata": metadata }));
    }
    if let Some(resource) = &metric.container_resource {
        let metadata = json!({ "value": value, "containerName": resource.container });
        return Ok(json!({ "type": resource.name, "metricType": kind, "metadata": metadata }));
    }
    // The pods of the deployment are named after it.
    let mut matchers = format!("pod=~\"{}-.*\"", target_ref.name);
    if let Some(namespace) = &surroundings.namespace {
        matchers = format!("namespace=\"{namespace}\",{matchers}");
    }
    let series = plain(name);
    let selected = format!("{series}{{{matchers}}}");
    let read = if series.ends_with("_total") {
        format!("rate({selected}[{RATE_WINDOW}])")
    } else {
        selected
    };
    Ok(json!({
        "type": "prometheus",
        "metricType": kind,
        "metadata": {
            "serverAddress": surroundings.prometheus_url,
            "query": format!("sum({read})"),
            "threshold": value,
        },
    }))
}

/// Type and value of a trigger. KEDA reads a plain decimal, not a quantity.
fn goal(target: &MetricTarget) -> (&str, String) {
    let decimal = |q: &Quantity| {
        let milli = q.milli_value();
        let text = format!("{}.{:03}", milli / 1000, milli % 1000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    if let Some(average) = &target.average_value {
        ("AverageValue", decimal(average))
    } else if let Some(value) = &target.value {
        ("Value", decimal(value))
    } else {
        ("Utilization", target.average_utilization.unwrap_or_default().to_string())
    }
}
