//! Text to objects: documents, lists, versions.

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::{Map, Value, json};

use super::convert;
use super::finding::{FieldErrorKind, Finding};
use super::schema::{self, Shape};
use super::tree::{self, Node, Tree};
use super::{HpaManifest, ManifestFile, v1};
use crate::hpa::validation::is_dns1123_subdomain;

/// What the API server says of a name that is not one.
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                         and must start and end with an alphanumeric character";

/// Which version an object is written in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Findings of one file, split by whether they stop the reading.
#[derive(Default)]
struct Outcome {
    hpas: Vec<HpaManifest>,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// See [`super::read`](fn@super::read).
pub(super) fn read(text: &str) -> Result<ManifestFile, Vec<Finding>> {
    let documents: Vec<Tree> = serde_saphyr::from_multiple(text).map_err(|error| {
        let position = tree::error_position(&error);
        let message = error.to_string();
        let message = message.lines().next().unwrap_or_default().to_owned();
        vec![Finding::at(position, "", FieldErrorKind::Invalid, message)]
    })?;
    let mut outcome = Outcome::default();
    let objects: Vec<Tree> = documents.into_iter().flat_map(expand_list).collect();
    let several = objects.len() > 1;
    for (i, object) in objects.into_iter().enumerate() {
        let prefix = if several { format!("document {}: ", i + 1) } else { String::new() };
        outcome.read_object(object, &prefix);
    }
    if outcome.errors.is_empty() && outcome.hpas.is_empty() {
        let message = "no HorizontalPodAutoscaler in this file";
        outcome.errors.push(Finding::at(None, "", FieldErrorKind::Required, message));
    }
    if outcome.errors.is_empty() {
        Ok(ManifestFile { hpas: outcome.hpas, warnings: outcome.warnings })
    } else {
        Err(outcome.errors)
    }
}

/// `kind: List` and `HorizontalPodAutoscalerList` hold their objects in `items`; empty documents
/// are dropped.
fn expand_list(mut document: Tree) -> Vec<Tree> {
    if document.node == Node::Null {
        return Vec::new();
    }
    let list = document.text("kind").is_some_and(|kind| kind.ends_with("List"));
    if list && let Some(Tree { node: Node::List(items), .. }) = document.take("items") {
        return items.into_iter().flat_map(expand_list).collect();
    }
    vec![document]
}

impl Outcome {
    fn read_object(&mut self, object: Tree, prefix: &str) {
        let mut findings = Vec::new();
        let object = lower_object(object, &mut findings, &mut self.warnings, prefix);
        for finding in &mut findings {
            finding.error.path = format!("{prefix}{}", finding.error.path);
        }
        let failed = !findings.is_empty();
        self.errors.append(&mut findings);
        if let (false, Some(value)) = (failed, object) {
            self.read_typed(value, prefix);
        }
    }

    fn read_typed(&mut self, value: Value, prefix: &str) {
        let mut unknown = Vec::new();
        let object: Result<HorizontalPodAutoscaler, _> =
            serde_ignored::deserialize(value, |path| unknown.push(path.to_string()));
        for path in unknown {
            // An optional value on the way is written as `?`.
            let path = format!("{prefix}{}", path.replace(".?", ""));
            let kind = FieldErrorKind::Unknown;
            self.warnings.push(Finding::at(None, &path, kind, "is ignored"));
        }
        let object = match object {
            Ok(object) => object,
            Err(error) => {
                let kind = FieldErrorKind::Invalid;
                let path = format!("{prefix}metadata");
                self.errors.push(Finding::at(None, &path, kind, error.to_string()));
                return;
            }
        };
        let spec = object.spec.clone();
        match convert::spec_from_object(&spec) {
            Ok(spec) => self.hpas.push(HpaManifest { object, spec }),
            Err(errors) => self.errors.extend(errors.into_iter().map(|mut error| {
                error.path = format!("{prefix}{}", error.path);
                Finding { error, position: None }
            })),
        }
    }
}

/// Checks one object and lowers it to the JSON of an autoscaling/v2 object without status.
/// `None` if it is of another kind, which is a warning.
fn lower_object(
    mut object: Tree,
    findings: &mut Vec<Finding>,
    warnings: &mut Vec<Finding>,
    prefix: &str,
) -> Option<Value> {
    let position = object.position;
    if !matches!(object.node, Node::Map(_)) {
        let message = format!("must be a Kubernetes object, not {}", object.kind());
        findings.push(Finding::at(position, "", FieldErrorKind::Invalid, message));
        return None;
    }
    let kind = object.text("kind").unwrap_or_default().to_owned();
    if kind.is_empty() {
        let message = "must be HorizontalPodAutoscaler";
        findings.push(Finding::at(position, "kind", FieldErrorKind::Required, message));
        return None;
    }
    if kind != "HorizontalPodAutoscaler" {
        let message = format!("{kind} objects are skipped");
        let path = format!("{prefix}kind");
        warnings.push(Finding::at(position, &path, FieldErrorKind::NotSupported, message));
        return None;
    }
    let version = match object.text("apiVersion").unwrap_or_default() {
        "autoscaling/v2" => Version::V2,
        "autoscaling/v1" => Version::V1,
        other => {
            let at = object.get("apiVersion").map_or(position, |tree| tree.position);
            let message = match other {
                "" => "must be autoscaling/v2 or autoscaling/v1".to_owned(),
                "autoscaling/v2beta1" | "autoscaling/v2beta2" => {
                    format!("{other} is no longer served since Kubernetes 1.26; use autoscaling/v2")
                }
                _ => format!("{other} is not supported; use autoscaling/v2"),
            };
            findings.push(Finding::at(at, "apiVersion", FieldErrorKind::NotSupported, message));
            return None;
        }
    };
    object.take("status");
    let metadata = object.take("metadata");
    let mut metadata = lower_metadata(metadata, findings);
    let Some(spec) = object.take("spec") else {
        findings.push(Finding::at(position, "spec", FieldErrorKind::Required, ""));
        return None;
    };
    let shape = if version == Version::V1 { schema::SPEC_V1 } else { schema::SPEC_V2 };
    let mut spec = schema::check(&spec, shape, "spec", findings).unwrap_or_else(|| json!({}));
    if version == Version::V1 {
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
        v1::lift(&mut spec, annotations, findings);
    }
    let mut lowered = rest_of(&object);
    lowered.insert("apiVersion".to_owned(), "autoscaling/v2".into());
    lowered.insert("metadata".to_owned(), Value::Object(metadata));
    lowered.insert("spec".to_owned(), spec);
    Some(Value::Object(lowered))
}

/// The known fields of `metadata` are checked; the rest goes to the API types as it is. Managed
/// fields are the server's bookkeeping and left out.
fn lower_metadata(metadata: Option<Tree>, findings: &mut Vec<Finding>) -> Map<String, Value> {
    let Some(mut metadata) = metadata else { return Map::new() };
    metadata.take("managedFields");
    let mut lowered = Map::new();
    for &(name, shape) in schema::METADATA {
        if let Some(tree) = metadata.take(name) {
            let path = format!("metadata.{name}");
            if let ("name", Node::Text(text)) = (name, &tree.node)
                && !is_dns1123_subdomain(text)
            {
                let message = format!("\"{text}\": {SUBDOMAIN}");
                findings.push(Finding::at(tree.position, &path, FieldErrorKind::Invalid, message));
            }
            lowered
                .extend(schema::check(&tree, shape, &path, findings).map(|v| (name.to_owned(), v)));
        }
    }
    if matches!(metadata.node, Node::Map(_) | Node::Null) {
        lowered.append(&mut rest_of(&metadata));
    } else {
        schema::check(&metadata, Shape::Object(&[]), "metadata", findings);
    }
    lowered
}

/// A map as JSON, without a check.
fn rest_of(tree: &Tree) -> Map<String, Value> {
    match plain(tree) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn plain(tree: &Tree) -> Value {
    match &tree.node {
        Node::Null => Value::Null,
        Node::Bool(b) => Value::Bool(*b),
        Node::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
        Node::Text(text) => Value::String(text.clone()),
        Node::List(list) => Value::Array(list.iter().map(plain).collect()),
        Node::Map(fields) => {
            Value::Object(fields.iter().map(|f| (f.key.clone(), plain(&f.value))).collect())
        }
    }
}

/// See [`super::spec_from_json_value`].
pub(super) fn spec_from_tree(
    tree: &Tree,
) -> Result<crate::hpa::HpaSpec, Vec<crate::hpa::FieldError>> {
    let mut findings = Vec::new();
    let value = schema::check(tree, schema::SPEC_V2, "spec", &mut findings);
    if !findings.is_empty() {
        return Err(findings.into_iter().map(|f| f.error).collect());
    }
    let value = value.unwrap_or_else(|| json!({}));
    let spec = serde_json::from_value(value).map_err(|error| {
        let (path, message) = ("spec".to_owned(), error.to_string());
        vec![crate::hpa::FieldError { path, message, kind: FieldErrorKind::Invalid }]
    })?;
    convert::spec_from_object(&spec)
}
