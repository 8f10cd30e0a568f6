//! kubectl-style YAML.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

/// Keys whose text values are quantities and are always quoted.
const QUANTITY_KEYS: [&str; 3] = ["averageValue", "tolerance", "value"];
/// An annotation that would tell of an older object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The object as YAML below a comment header.
pub(super) fn to_yaml(object: &HorizontalPodAutoscaler, comment_header: &str) -> String {
    let object = for_export(object);
    let value = serde_json::to_value(&object).expect("API objects have text keys");
    yaml(&value, comment_header)
}

/// See [`super::yaml`].
pub(super) fn yaml(value: &Value, comment_header: &str) -> String {
    let mut text = String::new();
    for line in comment_header.lines() {
        text.push_str(if line.is_empty() { "#" } else { "# " });
        text.push_str(line);
        text.push('\n');
    }
    let mut options = serde_saphyr::SerializerOptions::default();
    options.prefer_block_scalars = false;
    let body = serde_saphyr::to_string_with_options(&Quoted { value, quantity: false }, options)
        .expect("JSON values are always valid YAML");
    text.push_str(&body);
    text
}

/// The object without what the server put in.
fn for_export(object: &HorizontalPodAutoscaler) -> HorizontalPodAutoscaler {
    let mut object = object.clone();
    object.status = None;
    let meta = &mut object.metadata;
    meta.creation_timestamp = None;
    meta.generation = None;
    meta.managed_fields = None;
    meta.resource_version = None;
    meta.self_link = None;
    meta.uid = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
    }
    meta.annotations = meta.annotations.take().filter(|a| !a.is_empty());
    meta.labels = meta.labels.take().filter(|l| !l.is_empty());
    object
}

/// Whether a text is several plain lines, as a file in a ConfigMap is: people read those as lines.
fn is_block(text: &str) -> bool {
    let lines =
        text.strip_suffix('\n').is_some_and(|rest| rest.contains('\n') && rest.trim() == rest);
    lines && !text.chars().any(|c| c.is_control() && c != '\n')
}

/// A JSON value whose quantities are written in double quotes.
struct Quoted<'a> {
    value: &'a Value,
    quantity: bool,
}

impl Serialize for Quoted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::String(text) if self.quantity => {
                serde_saphyr::DoubleQuoted(text.as_str()).serialize(serializer)
            }
            Value::String(text) if is_block(text) => {
                serde_saphyr::LitStr(text).serialize(serializer)
            }
            Value::Array(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    seq.serialize_element(&Quoted { value, quantity: false })?;
                }
                seq.end()
            }
            Value::Object(map) => {
                let mut out = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    let quantity = QUANTITY_KEYS.contains(&key.as_str());
                    out.serialize_entry(key, &Quoted { value, quantity })?;
                }
                out.end()
            }
            other => other.serialize(serializer),
        }
    }
}
