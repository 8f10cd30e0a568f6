//! Managed Service for Prometheus with the custom-metrics Stackdriver adapter.

use super::{Surroundings, custom_names};
use crate::export::File;
use crate::hpa::HpaSpec;
use crate::hpa::spec::{ExternalSource, LabelSelector, MetricIdentifier};
use crate::manifest::{gmp_metric_name, plain_metric_name};

/// What the HPA's comment says.
pub(super) const NOTE: &str =
    "Metric names are those of Managed Service for Prometheus behind the Stackdriver adapter.";

/// Gives plain metric names the form that the Stackdriver adapter knows.
// Source: the guide's manifests: prometheus.googleapis.com|vllm:num_requests_waiting|gauge.
pub(super) fn rename(spec: &mut HpaSpec) {
    for name in spec.metrics.iter_mut().flat_map(custom_names) {
        if name.starts_with("vllm:") && plain_metric_name(name).is_none() {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            *name = gmp_metric_name(name, kind);
        }
    }
}

/// Pods metrics as External ones: the adapter sums the series, the HPA divides by the replicas. Without a
/// namespace the sum runs over all namespaces of the project.
pub(super) fn make_external(spec: &mut HpaSpec, surroundings: &Surroundings) {
    for metric in &mut spec.metrics {
        let Some(pods) = metric.pods.take() else { continue };
        let selector = surroundings.namespace.as_ref().map(|namespace| LabelSelector {
            match_labels: [("resource.labels.namespace".to_owned(), namespace.clone())].into(),
            ..LabelSelector::default()
        });
        "External".clone_into(&mut metric.kind);
        metric.external = Some(ExternalSource {
            metric: MetricIdentifier { name: pods.metric.name, selector },
            target: pods.target,
        });
    }
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
