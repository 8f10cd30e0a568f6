//! autoscaling/v1 objects, lifted to v2 as the API server does.
//!
//! v1 has one cpu target; everything else that the object holds in v2 comes back from two
//! annotations: the other metrics in v1's own notation, and `behavior` with capital field names.
//! Source: pkg/apis/autoscaling/v1/conversion.go, pkg/apis/autoscaling/annotations.go.

use serde_json::{Map, Value, json};

use super::finding::{FieldErrorKind, Finding};
use super::schema::{self, Shape};
use super::tree::Tree;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// Annotations that only carry v2 fields through v1.
const CARRIERS: [&str; 4] = [
    METRICS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/conditions",
    "autoscaling.alpha.kubernetes.io/current-metrics",
];

/// Turns a checked v1 spec and the object's annotations into a v2 spec; removes the annotations that
/// carried it.
pub(super) fn lift(
    spec: &mut Value,
    annotations: Option<&mut Map<String, Value>>,
    findings: &mut Vec<Finding>,
) {
    let Some(spec) = spec.as_object_mut() else { return };
    let utilization = spec.remove("targetCPUUtilizationPercentage");
    let mut metrics = Vec::new();
    if let Some(annotations) = annotations {
        if let Some(list) = parsed(annotations, METRICS, findings) {
            let list = list.as_array().into_iter().flatten();
            metrics.extend(list.map(lift_metric));
        }
        if let Some(behavior) = parsed(annotations, BEHAVIOR, findings) {
            let tree = Tree::from(&lower_keys(&behavior));
            let path = format!("metadata.annotations[{BEHAVIOR}]");
            if let Some(behavior) = schema::check(&tree, schema::BEHAVIOR, &path, findings) {
                spec.insert("behavior".to_owned(), behavior);
            }
        }
        for carrier in CARRIERS {
            annotations.remove(carrier);
        }
    }
    if let Some(percent) = utilization {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if metrics.is_empty() {
        return;
    }
    let path = format!("metadata.annotations[{METRICS}]");
    let shape = Shape::Object(&[("metrics", schema::METRICS)]);
    let tree = Tree::from(&json!({ "metrics": metrics }));
    if let Some(mut checked) = schema::check(&tree, shape, &path, findings) {
        let metrics = checked.as_object_mut().and_then(|o| o.remove("metrics"));
        spec.insert("metrics".to_owned(), metrics.unwrap_or_default());
    }
}

/// The JSON in an annotation.
fn parsed(
    annotations: &Map<String, Value>,
    key: &str,
    findings: &mut Vec<Finding>,
) -> Option<Value> {
    let text = annotations.get(key)?.as_str()?;
    match serde_json::from_str(text) {
        Ok(value) => Some(value),
        Err(error) => {
            let path = format!("metadata.annotations[{key}]");
            let message = format!("holds no JSON: {error}");
            findings.push(Finding::at(None, &path, FieldErrorKind::Invalid, message));
            None
        }
    }
}

/// First letters of all keys in lower case: Go's decoder does not mind, ours does.
fn lower_keys(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let lowered = map.iter().map(|(key, value)| {
                let mut chars = key.chars();
                let first = chars.next().map(|c| c.to_ascii_lowercase());
                (first.into_iter().chain(chars).collect::<String>(), lower_keys(value))
            });
            Value::Object(lowered.collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(lower_keys).collect()),
        other => other.clone(),
    }
}

/// One metric of v1's notation (`metricName`, `targetAverageValue`, ..) in v2's.
fn lift_metric(metric: &Value) -> Value {
    let kind = metric.get("type").and_then(Value::as_str).unwrap_or_default();
    let field = match kind {
        "ContainerResource" => "containerResource".to_owned(),
        other => other.to_lowercase(),
    };
    let Some(source) = metric.get(&field) else {
        return metric.clone();
    };
    let get = |key: &str| source.get(key).cloned();
    let mut target = Map::new();
    let (type_, fields): (&str, [(&str, &str); 3]) = (
        if source.get("targetAverageUtilization").is_some() {
            "Utilization"
        } else if source.get("targetAverageValue").is_some() || source.get("averageValue").is_some()
        {
            "AverageValue"
        } else {
            "Value"
        },
        [
            ("targetAverageUtilization", "averageUtilization"),
            ("targetAverageValue", "averageValue"),
            ("targetValue", "value"),
        ],
    );
    target.insert("type".to_owned(), type_.into());
    for (from, to) in fields {
        if let Some(value) = get(from) {
            target.insert(to.to_owned(), value);
        }
    }
    // An object metric calls the object `target` and the quantity `averageValue`.
    if let Some(value) = get("averageValue") {
        target.insert("averageValue".to_owned(), value);
    }
    if kind == "Object" && type_ == "AverageValue" {
        target.remove("value");
    }
    let mut lifted = Map::new();
    if let Some(name) = get("metricName") {
        let mut identifier = Map::new();
        identifier.insert("name".to_owned(), name);
        if let Some(selector) = get("selector").or_else(|| get("metricSelector")) {
            identifier.insert("selector".to_owned(), selector);
        }
        lifted.insert("metric".to_owned(), Value::Object(identifier));
    }
    for key in ["name", "container"] {
        if let Some(value) = get(key) {
            lifted.insert(key.to_owned(), value);
        }
    }
    if kind == "Object"
        && let Some(object) = get("target")
    {
        lifted.insert("describedObject".to_owned(), object);
    }
    lifted.insert("target".to_owned(), Value::Object(target));
    let mut out = Map::new();
    out.insert("type".to_owned(), kind.into());
    out.insert(field, Value::Object(lifted));
    Value::Object(out)
}
