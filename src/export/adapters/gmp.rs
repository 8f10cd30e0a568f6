//! Managed Service for Prometheus with the custom-metrics Stackdriver adapter.

use super::{Surroundings, custom_names, is_of_the_router, plain};
use crate::export::File;
use crate::hpa::HpaSpec;
use crate::hpa::spec::{ExternalSource, LabelSelector, MetricIdentifier};
use crate::manifest::{self, gmp_metric_name, plain_metric_name};
use serde_json::{Value, json};

/// What the HPA's comment says.
pub(super) const NOTE: &str =
    "Metric names are those of Managed Service for Prometheus behind the Stackdriver adapter.";

/// On top of it where a metric is one of the DCGM exporter.
pub(super) const GPU_NOTE: &str = "GPU metrics are External here, the sum over every GPU that the exporter shows: its \
series belong to its own pods. The case was simulated with one value per pod.";

/// Gives plain metric names the form that the Stackdriver adapter knows.
// Source: the guide's manifests: prometheus.googleapis.com|vllm:num_requests_waiting|gauge, and for GPUs
// prometheus.googleapis.com|dcgm_fi_dev_gpu_util|unknown: external metric names are in lower case.
pub(super) fn rename(spec: &mut HpaSpec) {
    for name in spec.metrics.iter_mut().flat_map(custom_names) {
        if is_dcgm(name) {
            *name = gmp_metric_name(&plain(name).to_ascii_lowercase(), "unknown");
        } else if (name.starts_with("vllm:") || is_of_the_router(name))
            && plain_metric_name(name).is_none()
        {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            *name = gmp_metric_name(name, kind);
        }
    }
}

/// Whether a metric is one of the DCGM exporter, in whatever dress.
fn is_dcgm(name: &str) -> bool {
    let head = plain(name).get(..5);
    head.is_some_and(|head| head.eq_ignore_ascii_case("dcgm_"))
}

/// Makes one value over all pods of the metrics whose pods are the exporter's; whether there were any.
pub(super) fn make_gpus_external(spec: &mut HpaSpec) -> bool {
    let mut found = false;
    for metric in spec.metrics.iter_mut().filter(|metric| is_dcgm(metric.metric_name())) {
        found |= metric.pods.is_some();
        if let Some(pods) = metric.pods.take() {
            "External".clone_into(&mut metric.kind);
            let metric_identifier = MetricIdentifier { name: pods.metric.name, selector: None };
            metric.external =
                Some(ExternalSource { metric: metric_identifier, target: pods.target });
        }
    }
    found
}

/// Pods metrics as External ones: the adapter sums the series, the HPA divides by the replicas. Without a
/// namespace the sum runs over all namespaces of the project.
// Source: GKE documentation, autoscaling on GPU metrics: the labels of GKE's own metrics are container_name and
// namespace_name; the guide's container is inference-server.
pub(super) fn make_external(spec: &mut HpaSpec, surroundings: &Surroundings) {
    for metric in &mut spec.metrics {
        let Some(pods) = metric.pods.take() else { continue };
        let is_system = pods.metric.name.starts_with("kubernetes.io|");
        let selector = surroundings.namespace.as_ref().map(|namespace| {
            let label =
                |key: &str, value: &str| (format!("resource.labels.{key}"), value.to_owned());
            let match_labels = if is_system {
                [label("container_name", "inference-server"), label("namespace_name", namespace)]
                    .into()
            } else {
                [label("namespace", namespace)].into()
            };
            LabelSelector { match_labels, ..LabelSelector::default() }
        });
        "External".clone_into(&mut metric.kind);
        metric.external = Some(ExternalSource {
            metric: MetricIdentifier { name: pods.metric.name, selector },
            target: pods.target,
        });
    }
}

/// The object that makes the GPUs known, if a metric is one of the DCGM exporter.
// Source: the guide's hpa-gpu-metrics.yaml: keep the metric and give it a name in lower case.
pub(super) fn gpu_podmonitoring(spec: &HpaSpec, surroundings: &Surroundings) -> Option<File> {
    let mut names: Vec<String> = spec
        .metrics
        .iter()
        .map(|m| plain(m.metric_name()))
        .filter(|n| is_dcgm(n))
        .map(str::to_ascii_uppercase)
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return None;
    }
    let source = json!(["__name__"]);
    let keep = json!({ "action": "keep", "sourceLabels": source, "regex": names.join("|") });
    let rename = |name: &String| {
        json!({
            "action": "replace", "sourceLabels": source, "regex": name, "targetLabel": "__name__",
            "replacement": name.to_ascii_lowercase(),
        })
    };
    let relabeling: Vec<Value> = std::iter::once(keep).chain(names.iter().map(rename)).collect();
    let object = json!({
        "apiVersion": "monitoring.googleapis.com/v1",
        "kind": "PodMonitoring",
        "metadata": { "name": "nvidia-dcgm-exporter-for-hpa" },
        "spec": {
            "endpoints": [{
                "port": "metrics",
                "interval": surroundings.scrape_interval.to_string(),
                "metricRelabeling": relabeling,
            }],
            "selector": { "matchLabels": { "app.kubernetes.io/name": "nvidia-dcgm-exporter" } },
        },
    });
    let note = "It belongs into the namespace of the DCGM exporter, on GKE gke-managed-system.";
    Some(File::new("gpu-podmonitoring.yaml", manifest::yaml(&object, note)))
}

/// The object that makes the pods' `/metrics` known.
// Source: the guide's PodMonitoring: label app, port 8000, path /metrics, interval 15s.
pub(super) fn podmonitoring(spec: &HpaSpec, surroundings: &Surroundings) -> File {
    // A JSON string is a YAML string whatever it holds.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let text = format!(
        "apiVersion: monitoring.googleapis.com/v1\n\
         kind: PodMonitoring\n\
         metadata:\n\
         \x20 name: {app}\n\
         spec:\n\
         \x20 endpoints:\n\
         \x20 - interval: {}\n\
         \x20   path: /metrics\n\
         \x20   port: 8000\n\
         \x20 selector:\n\
         \x20   matchLabels:\n\
         \x20     app: {app}\n",
        quoted(&surroundings.scrape_interval.to_string()),
        app = quoted(&spec.scale_target_ref.name),
    );
    File::new("podmonitoring.yaml", text)
}
