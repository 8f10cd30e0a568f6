//! The fields of an HPA object: names and types, checked all at once with their positions.
//!
//! A checked document is lowered to JSON in which quantities are canonical strings and null fields
//! are gone, ready for the typed API objects. Go's decoder reads a null as an absent field.
//! Source: k8s.io/api/autoscaling/v2 and v1 types.go.

use serde_json::{Map, Value};

use super::finding::{FieldErrorKind, Finding};
use super::tree::{Field, Node, Tree};
use crate::hpa::Quantity;

/// Type of a field.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    Text,
    Int32,
    Quantity,
    /// Text to text, such as labels.
    TextMap,
    List(&'static Shape),
    Object(&'static [(&'static str, Shape)]),
}

use Shape::{Int32, List, Object, Quantity as Amount, Text, TextMap};

const REFERENCE: Shape = Object(&[("apiVersion", Text), ("kind", Text), ("name", Text)]);
const REQUIREMENT: Shape = Object(&[("key", Text), ("operator", Text), ("values", List(&Text))]);
const SELECTOR: Shape =
    Object(&[("matchExpressions", List(&REQUIREMENT)), ("matchLabels", TextMap)]);
const METRIC: Shape = Object(&[("name", Text), ("selector", SELECTOR)]);
const TARGET: Shape = Object(&[
    ("averageUtilization", Int32),
    ("averageValue", Amount),
    ("type", Text),
    ("value", Amount),
]);
const METRIC_SPEC: Shape = Object(&[
    ("containerResource", Object(&[("container", Text), ("name", Text), ("target", TARGET)])),
    ("external", Object(&[("metric", METRIC), ("target", TARGET)])),
    ("object", Object(&[("describedObject", REFERENCE), ("metric", METRIC), ("target", TARGET)])),
    ("pods", Object(&[("metric", METRIC), ("target", TARGET)])),
    ("resource", Object(&[("name", Text), ("target", TARGET)])),
    ("type", Text),
]);
const POLICY: Shape = Object(&[("periodSeconds", Int32), ("type", Text), ("value", Int32)]);
const RULES: Shape = Object(&[
    ("policies", List(&POLICY)),
    ("selectPolicy", Text),
    ("stabilizationWindowSeconds", Int32),
    ("tolerance", Amount),
]);

/// `spec.metrics` of autoscaling/v2.
pub(super) const METRICS: Shape = List(&METRIC_SPEC);

/// `behavior` of autoscaling/v2.
pub(super) const BEHAVIOR: Shape = Object(&[("scaleDown", RULES), ("scaleUp", RULES)]);

/// `spec` of autoscaling/v2.
pub(super) const SPEC_V2: Shape = Object(&[
    ("behavior", BEHAVIOR),
    ("maxReplicas", Int32),
    ("metrics", METRICS),
    ("minReplicas", Int32),
    ("scaleTargetRef", REFERENCE),
]);

/// `spec` of autoscaling/v1.
pub(super) const SPEC_V1: Shape = Object(&[
    ("maxReplicas", Int32),
    ("minReplicas", Int32),
    ("scaleTargetRef", REFERENCE),
    ("targetCPUUtilizationPercentage", Int32),
]);

/// The fields of `metadata` that are kept; others are left to the API types.
pub(super) const METADATA: &[(&str, Shape)] = &[
    ("annotations", TextMap),
    ("generateName", Text),
    ("labels", TextMap),
    ("name", Text),
    ("namespace", Text),
];

/// Checks a tree against a shape and lowers it. `None` for a null.
pub(super) fn check(
    tree: &Tree,
    shape: Shape,
    path: &str,
    findings: &mut Vec<Finding>,
) -> Option<Value> {
    let mut refuse = |message: String| {
        findings.push(Finding::at(tree.position, path, FieldErrorKind::Invalid, message));
        None
    };
    let mut wrong = |wanted: &str| refuse(format!("must be {wanted}, not {}", tree.kind()));
    match (shape, &tree.node) {
        (_, Node::Null) => None,
        (Text, Node::Text(text)) => Some(Value::String(text.clone())),
        (Text, _) => wrong("a string"),
        (Int32, Node::Number(text)) => match text.parse::<i32>() {
            Ok(number) => Some(Value::from(number)),
            Err(_) => refuse(format!("{text} is not a 32-bit integer")),
        },
        (Int32, _) => wrong("an integer"),
        (Amount, Node::Number(text) | Node::Text(text)) => match Quantity::parse(text.trim()) {
            Ok(quantity) => Some(Value::String(quantity.canonical().to_owned())),
            Err(error) => refuse(format!("{text:?} is no quantity: {error}")),
        },
        (Amount, _) => wrong("a quantity such as 10 or \"500m\""),
        (TextMap, Node::Map(fields)) => Some(object(fields, |_| Ok(Text), path, findings)),
        (TextMap, _) => wrong("a map of strings"),
        (List(item), Node::List(list)) => {
            let mut items = Vec::with_capacity(list.len());
            for (i, tree) in list.iter().enumerate() {
                items.extend(check(tree, *item, &format!("{path}[{i}]"), findings));
            }
            Some(Value::Array(items))
        }
        (List(_), _) => wrong("a list"),
        (Object(known), Node::Map(fields)) => {
            let shape_of = |key: &str| {
                let found = known.iter().find(|(name, _)| *name == key);
                let names = known.iter().map(|(name, _)| *name);
                found.map(|(_, shape)| *shape).ok_or_else(|| suggestion(key, names))
            };
            Some(object(fields, shape_of, path, findings))
        }
        (Object(_), _) => wrong("a map"),
    }
}

/// Checks the fields of a map against their shapes; a key without one gets the message in its place.
fn object(
    fields: &[Field],
    shape_of: impl Fn(&str) -> Result<Shape, String>,
    path: &str,
    findings: &mut Vec<Finding>,
) -> Value {
    let mut map = Map::new();
    for field in fields {
        let path = format!("{path}.{}", field.key);
        match shape_of(&field.key) {
            Ok(shape) => {
                let value = check(&field.value, shape, &path, findings);
                map.extend(value.map(|value| (field.key.clone(), value)));
            }
            Err(message) => {
                let kind = FieldErrorKind::Unknown;
                findings.push(Finding::at(field.position, &path, kind, message));
            }
        }
    }
    Value::Object(map)
}

/// The nearest known name, or all of them.
pub(super) fn suggestion<'a>(key: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let lower = key.to_lowercase().replace(['_', '-'], "");
    let likeness = |name: &str| strsim::jaro_winkler(&lower, &name.to_lowercase());
    let nearest =
        names.clone().map(|name| (likeness(name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, name)) if likeness > 0.8 => format!("did you mean `{name}`?"),
        _ => {
            let all: Vec<_> = names.map(|name| format!("`{name}`")).collect();
            format!("known fields are {}", all.join(", "))
        }
    }
}
