//! GKE's own metrics agent: an `AutoscalingMetric`, which hands gauges of the pods to the HPA past Cloud Monitoring.

use super::{Surroundings, custom_names, plain};
use crate::export::File;
use crate::hpa::HpaSpec;
use crate::hpa::spec::MetricSpec;
use crate::manifest::{self, HpaManifest};
use serde_json::{Value, json};

/// What the HPA's comment says.
pub(super) const NOTE: &str = "Metric names are those that autoscalingmetric.yaml makes. It is a preview of GKE 1.35.1 \
and later, for clusters with the performance profile of horizontal Pod autoscaling.";

/// Oldest Kubernetes 1.N with the kind.
// Source: GKE documentation, expose custom metrics for autoscaling: 1.35.1-gke.1396000.
pub(super) const OLDEST_MINOR: u32 = 35;

/// The `AutoscalingMetric` of an HPA whose metrics have their series' names; gives them the names that it makes.
///
/// # Errors
/// Metrics that are no gauges of the pods.
// Source: GKE documentation, expose custom metrics for autoscaling: gauges only, names in lower case with hyphens, the
// HPA names them `autoscaling.gke.io|<object>|<metric>`. Labels, port and path are those of the guide's deployments.
pub(super) fn autoscaling_metric(
    manifest: &HpaManifest,
    spec: &mut HpaSpec,
    surroundings: &Surroundings,
) -> Result<File, Vec<String>> {
    let refused: Vec<String> = spec.metrics.iter().filter_map(refusal).collect();
    if !refused.is_empty() {
        return Err(refused);
    }
    let object = manifest.name();
    let mut gauges = Vec::new();
    for name in spec.metrics.iter_mut().flat_map(custom_names) {
        let series = plain(name).to_owned();
        *name = manifest::gke_native_metric_name(object, &series);
        let own = name.rsplit('|').next().unwrap_or_default();
        let gauge = json!({ "gauge": { "name": own, "prometheusMetricName": series } });
        if !gauges.contains(&gauge) {
            gauges.push(gauge);
        }
    }
    let mut metadata = json!({ "name": object });
    if let Some(namespace) = &surroundings.namespace {
        metadata["namespace"] = namespace.clone().into();
    }
    let pod = json!({
        "selector": { "matchLabels": { "app": spec.scale_target_ref.name } },
        "containers": [{ "endpoint": { "port": 8000, "path": "/metrics" }, "metrics": gauges }],
    });
    let text: Value = json!({
        "apiVersion": "autoscaling.gke.io/v1beta1",
        "kind": "AutoscalingMetric",
        "metadata": metadata,
        "spec": { "metrics": [{ "pod": pod }] },
    });
    Ok(File::new("autoscalingmetric.yaml", manifest::yaml(&text, "")))
}

/// Why a metric cannot come this way.
fn refusal(metric: &MetricSpec) -> Option<String> {
    let name = metric.metric_name();
    if metric.external.is_some() || metric.object.is_some() {
        return Some(format!(
            "`{name}` is not a Pods metric: GKE's own metrics are one value per pod"
        ));
    }
    let is_counter = metric.pods.is_some() && plain(name).ends_with("_total");
    is_counter.then(|| format!("`{name}` is a counter: GKE's own metrics are gauges"))
}
