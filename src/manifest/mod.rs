//! HorizontalPodAutoscaler objects as text: YAML or JSON in, canonical YAML out.
//!
//! Reads what `kubectl get hpa -o yaml` prints: v2 and v1, several documents, lists, status and
//! managed fields. An unknown field below `spec` is an error with the nearest known name, elsewhere a
//! warning. All faults of a file are found at once, with their lines. The API's own rules are
//! checked apart from that, by [`HpaSpec::validate`] on the defaulted spec.

mod convert;
mod finding;
mod read;
mod schema;
mod tree;
mod v1;
mod write;

pub use finding::Finding;
pub use tree::Position;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::hpa::{FieldError, HpaSpec};

/// One HPA object and its spec in the simulator's terms.
#[derive(Clone, Debug)]
pub struct HpaManifest {
    /// The object as read (v1 lifted to v2, without status and managed fields), not defaulted.
    pub object: HorizontalPodAutoscaler,
    /// Its spec, not defaulted.
    pub spec: HpaSpec,
}

/// What a text held.
#[derive(Clone, Debug, Default)]
pub struct ManifestFile {
    /// The HPA objects, in order of appearance; at least one.
    pub hpas: Vec<HpaManifest>,
    /// Odd but harmless findings.
    pub warnings: Vec<Finding>,
}

/// Reads every HPA of a YAML or JSON text. All faults are returned at once; a path starts with the
/// document's number if there are several.
pub fn read(text: &str) -> Result<ManifestFile, Vec<Finding>> {
    read::read(text)
}

/// Reads the `spec` of an HPA from a JSON value in the API's camelCase names. Quantities may be
/// numbers or strings. Paths of errors start with `spec`.
pub fn spec_from_json_value(value: &serde_json::Value) -> Result<HpaSpec, Vec<FieldError>> {
    read::spec_from_tree(&tree::Tree::from(value))
}

/// The `spec` of an HPA as JSON in the API's camelCase names, with canonical quantities; absent
/// fields are left out.
pub fn spec_to_json_value(spec: &HpaSpec) -> serde_json::Value {
    serde_json::to_value(convert::object_from_spec(spec)).expect("API objects have text keys")
}

impl HpaManifest {
    /// An object for a spec, as the exporter starts from.
    pub fn new(name: &str, spec: HpaSpec) -> Self {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let object = HorizontalPodAutoscaler {
            metadata,
            spec: convert::object_from_spec(&spec),
            status: None,
        };
        Self { object, spec }
    }

    /// `metadata.name`, empty if absent.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// Replaces the spec (in the object too), keeping the metadata.
    pub fn set_spec(&mut self, spec: HpaSpec) {
        self.object.spec = convert::object_from_spec(&spec);
        self.spec = spec;
    }

    /// kubectl-style YAML with the lines of `comment_header` as `#` comments on top. `status` and
    /// what the server put into `metadata` are left out; quantities are canonical and quoted.
    pub fn to_yaml(&self, comment_header: &str) -> String {
        write::to_yaml(&self.object, comment_header)
    }
}

/// A name that the API server admits, from any text: lower case, what is neither letter nor digit as `-`, dots only
/// between parts that hold something; `hpasim` if the text holds no letter and no digit.
// Source: apimachinery validation.IsDNS1123Subdomain.
pub fn object_name(text: &str) -> String {
    let dashed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let parts = text.split('.').map(|part| part.chars().map(dashed).collect::<String>());
    let parts = parts.map(|part| part.trim_matches('-').to_owned()).filter(|part| !part.is_empty());
    let name = parts.collect::<Vec<_>>().join(".");
    if name.is_empty() { "hpasim".to_owned() } else { name }
}

/// Any JSON value as kubectl-style YAML, with the lines of `comment_header` as `#` comments on top.
/// Values of the keys `averageValue`, `tolerance` and `value` are quoted.
pub fn yaml(value: &serde_json::Value, comment_header: &str) -> String {
    write::yaml(value, comment_header)
}

/// `prometheus.googleapis.com|vllm:num_requests_running|gauge`: how the Stackdriver adapter names a
/// metric of Managed Service for Prometheus. `metric_type` is `gauge`, `counter`, `histogram`,
/// `summary` or `unknown`.
pub fn gmp_metric_name(metric: &str, metric_type: &str) -> String {
    format!("prometheus.googleapis.com|{metric}|{metric_type}")
}

/// The plain metric in a GMP name; `None` if it is not one.
pub fn plain_metric_name(gmp_name: &str) -> Option<&str> {
    let rest = gmp_name.strip_prefix("prometheus.googleapis.com|")?;
    rest.rsplit_once('|').map(|(name, _)| name)
}

/// How GKE's own metrics agent names a series to the HPA, for the `AutoscalingMetric` `object`.
// Source: GKE documentation, expose custom metrics for autoscaling: names in lower case with hyphens.
pub fn gke_native_metric_name(object: &str, series: &str) -> String {
    let own = series.strip_prefix("vllm:").unwrap_or(series);
    let own = own.to_ascii_lowercase().replace(['_', ':'], "-");
    format!("{GKE_NATIVE}{object}|{own}")
}

/// The series of vLLM behind such a name; `None` if it is another kind of name.
pub fn gke_native_series(name: &str) -> Option<String> {
    let (_, own) = name.strip_prefix(GKE_NATIVE)?.rsplit_once('|')?;
    Some(format!("vllm:{}", own.replace('-', "_")))
}

const GKE_NATIVE: &str = "autoscaling.gke.io|";

#[cfg(test)]
mod tests {
    use super::object_name;
    use crate::hpa::validation::is_dns1123_subdomain;

    #[test]
    fn any_text_becomes_a_name_that_kubernetes_admits() {
        for (text, name) in [
            ("l4-llama-3.1-8b", "l4-llama-3.1-8b"),
            ("_My Exp.", "my-exp"),
            ("night_v2", "night-v2"),
            ("a._b", "a.b"),
            ("a..b", "a.b"),
            ("_", "hpasim"),
        ] {
            assert_eq!(object_name(text), name);
            assert!(is_dns1123_subdomain(name), "{name}");
        }
    }
}
