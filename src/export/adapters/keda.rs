//! KEDA: a ScaledObject, from which its operator makes the HPA.

use super::{Surroundings, is_of_the_router, plain};
use crate::export::File;
use crate::hpa::HpaSpec;
use crate::hpa::spec::{
    ExternalSource, LabelSelector, MetricIdentifier, MetricSpec, MetricTarget, ObjectReference,
};
use crate::manifest::{self, HpaManifest};
use crate::sim::FallbackBehavior;
use crate::units::SimDuration;
use serde_json::{Value, json};

/// What the HPA's comment says.
pub(super) const NOTE: &str = "KEDA makes this HPA from scaledobject.yaml: apply that one, and delete any other HPA of \
the deployment first. Two HPAs on one target fight. KEDA serves external.metrics.k8s.io, which the Stackdriver adapter \
cannot serve beside it.";
/// On top of the ScaledObject.
const OBJECT_NOTE: &str = "Check serverAddress: it is where KEDA asks for the metric.";

/// Counters are read as rates over this window.
// Source: the same window as the rules for prometheus-adapter.
const RATE_WINDOW: &str = "2m";

/// Whether the name is one that KEDA gives to a trigger, as `s0-prometheus`: it says nothing about a series.
fn is_own_name(name: &str) -> bool {
    let index = name.strip_suffix("-prometheus").and_then(|head| head.strip_prefix('s'));
    index.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
}

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
    let keda = surroundings.keda.as_ref();
    let whole = |span: SimDuration| (span.as_secs_f64().round() as u64).max(1);
    // Source: kedacore/keda, the ScaledObject's defaults.
    let (polling, cooldown) = keda
        .map_or((30, 300), |k| (whole(k.polling_interval), k.cooldown_period.as_secs_f64() as u64));
    let least = u32::try_from(spec.min_replicas.unwrap_or(1)).unwrap_or(0);
    let minimum = keda.map_or(least, |k| k.min_replica_count);
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": target_ref,
            "minReplicaCount": minimum,
            "maxReplicaCount": spec.max_replicas,
            "pollingInterval": polling,
            "cooldownPeriod": cooldown,
            "advanced": { "horizontalPodAutoscalerConfig": made },
            "triggers": triggers,
        },
    });
    if let Some(keda) = keda {
        let own = &mut object["spec"];
        if keda.initial_cooldown_period > SimDuration::ZERO {
            own["initialCooldownPeriod"] = whole(keda.initial_cooldown_period).into();
        }
        if let Some(idle) = keda.idle_replica_count {
            own["idleReplicaCount"] = idle.into();
        }
        if let Some(fallback) = keda.fallback {
            own["fallback"] = json!({
                "failureThreshold": fallback.failure_threshold,
                "replicas": fallback.replicas,
            });
            // Older releases do not know the field.
            if fallback.behavior != FallbackBehavior::Static {
                own["fallback"]["behavior"] = fallback.behavior.name().into();
            }
        }
    }
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
    let Some(query) = surroundings
        .queries
        .get(name)
        .cloned()
        .or_else(|| (!is_own_name(name)).then(|| sum_of_pods(name, target_ref, surroundings)))
    else {
        return Err(format!(
            "`{name}` is a name that KEDA gives: its query is needed, as a `[[pipeline.rules]]`"
        ));
    };
    let threshold = surroundings.keda.as_ref().map_or(0, |k| k.activation_threshold.0);
    let mut metadata = json!({
        "serverAddress": surroundings.prometheus_url,
        "query": query,
        "threshold": value,
    });
    if threshold > 0 {
        metadata["activationThreshold"] = decimal(threshold).into();
    }
    if !surroundings.triggers.ignore_null_values {
        metadata["ignoreNullValues"] = "false".into();
    }
    let mut trigger = json!({ "type": "prometheus", "metricType": kind, "metadata": metadata });
    if surroundings.triggers.use_cached_metrics {
        trigger["useCachedMetrics"] = true.into();
    }
    Ok(trigger)
}

/// The sum of a series over the pods of the deployment, which are named after it.
fn sum_of_pods(name: &str, target_ref: &ObjectReference, surroundings: &Surroundings) -> String {
    let namespace = surroundings.namespace.as_ref().map(|name| format!("namespace=\"{name}\""));
    let pods = format!("pod=~\"{}-.*\"", target_ref.name);
    // The router's series are those of its own pod.
    let pods = (!is_of_the_router(name)).then_some(pods);
    let matchers = namespace.into_iter().chain(pods).collect::<Vec<_>>().join(",");
    let series = plain(name);
    let selected = format!("{series}{{{matchers}}}");
    let read = if series.ends_with("_total") {
        format!("rate({selected}[{RATE_WINDOW}])")
    } else {
        selected
    };
    format!("sum({read})")
}

/// Type and value of a trigger. KEDA reads a plain decimal, not a quantity.
fn goal(target: &MetricTarget) -> (&str, String) {
    if let Some(average) = &target.average_value {
        ("AverageValue", decimal(average.milli_value()))
    } else if let Some(value) = &target.value {
        ("Value", decimal(value.milli_value()))
    } else {
        ("Utilization", target.average_utilization.unwrap_or_default().to_string())
    }
}

/// Thousandths as a decimal number.
fn decimal(milli: i64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
