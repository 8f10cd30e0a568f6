//! What the API server refuses. See [`HpaSpec::validate`].
//! Source: pkg/apis/autoscaling/validation/validation.go of Kubernetes 1.36.2.

use std::fmt;

use super::config::ControllerConfig;
use super::quantity::Quantity;
use super::spec::{
    HpaSpec, MetricIdentifier, MetricSpec, MetricTarget, ObjectReference, ScalingPolicy,
    ScalingRules,
};

/// Longest `stabilizationWindowSeconds` \[s\].
const MAX_STABILIZATION_WINDOW_SECONDS: i32 = 3600;
/// Longest `periodSeconds` \[s\].
const MAX_PERIOD_SECONDS: i32 = 1800;

/// What the rules depend on besides the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidationOptions {
    /// Minor release 1.N whose API server is meant.
    pub kube_minor: u32,
    /// Feature gate `HPAScaleToZero`: `minReplicas: 0` is admitted.
    pub scale_to_zero: bool,
}

impl Default for ValidationOptions {
    fn default() -> Self {
        Self { kube_minor: ControllerConfig::DEFAULT_MINOR, scale_to_zero: false }
    }
}

/// Kind of a field error, as in `field.ErrorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// The field must be set.
    Required,
    /// The value breaks a rule, or is of the wrong type.
    Invalid,
    /// The value is none of the admitted ones.
    NotSupported,
    /// The field must not be set.
    Forbidden,
    /// There is no such field.
    Unknown,
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path in the object, such as `spec.behavior.scaleDown.policies[0].value`.
    pub path: String,
    /// What is wrong, in the API server's words.
    pub message: String,
    /// Kind of fault.
    pub kind: FieldErrorKind,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.kind {
            FieldErrorKind::Required => "Required value",
            FieldErrorKind::Invalid => "Invalid value",
            FieldErrorKind::NotSupported => "Unsupported value",
            FieldErrorKind::Forbidden => "Forbidden",
            FieldErrorKind::Unknown => "Unknown field",
        };
        // Nothing to point at in what is no object at all.
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {words}", self.path)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

/// Collects errors below a path.
struct Checker<'a> {
    errors: &'a mut Vec<FieldError>,
    path: String,
}

impl Checker<'_> {
    fn child(&mut self, name: &str) -> Checker<'_> {
        Checker { path: format!("{}.{name}", self.path), errors: self.errors }
    }
    fn index(&mut self, i: usize) -> Checker<'_> {
        Checker { path: format!("{}[{i}]", self.path), errors: self.errors }
    }
    fn add(&mut self, kind: FieldErrorKind, message: impl Into<String>) {
        let (path, message) = (self.path.clone(), message.into());
        self.errors.push(FieldError { path, message, kind });
    }
    fn invalid(&mut self, message: impl Into<String>) {
        self.add(FieldErrorKind::Invalid, message);
    }
    fn required(&mut self, message: impl Into<String>) {
        self.add(FieldErrorKind::Required, message);
    }
    fn not_supported(&mut self, values: &[&str]) {
        let quoted: Vec<_> = values.iter().map(|v| format!("{v:?}")).collect();
        self.add(FieldErrorKind::NotSupported, format!("supported values: {}", quoted.join(", ")));
    }
}

const METRIC_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

impl HpaSpec {
    /// Every rule of the API server that the *defaulted* spec breaks; empty if it is admitted.
    pub fn validate(&self, options: &ValidationOptions) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut at = Checker { errors: &mut errors, path: "spec".to_owned() };
        let lower = i32::from(!options.scale_to_zero);
        if self.min_replicas.is_some_and(|min| min < lower) {
            at.child("minReplicas").invalid(format!("must be greater than or equal to {lower}"));
        }
        if self.max_replicas == 0 {
            at.child("maxReplicas").required("must be set and greater than 0");
        } else if self.max_replicas < 1 {
            at.child("maxReplicas").invalid("must be greater than or equal to 1");
        }
        if self.min_replicas.is_some_and(|min| self.max_replicas < min) {
            at.child("maxReplicas").invalid("must be greater than or equal to `minReplicas`");
        }
        validate_reference(&self.scale_target_ref, &mut at.child("scaleTargetRef"));
        if options.kube_minor >= 34 {
            let reference = &self.scale_target_ref;
            validate_api_version(reference, &mut at.child("scaleTargetRef"));
        }
        validate_metrics(&self.metrics, self.min_replicas, &mut at.child("metrics"));
        if let Some(behavior) = &self.behavior {
            let mut at = at.child("behavior");
            validate_rules(behavior.scale_up.as_ref(), &mut at.child("scaleUp"));
            validate_rules(behavior.scale_down.as_ref(), &mut at.child("scaleDown"));
        }
        errors
    }
}

/// Upstream's `IsValidPathSegmentName`.
fn validate_path_segment(name: &str, at: &mut Checker<'_>) {
    if name == "." || name == ".." {
        at.invalid(format!("may not be '{name}'"));
        return;
    }
    for bad in ['/', '%'] {
        if name.contains(bad) {
            at.invalid(format!("may not contain '{bad}'"));
        }
    }
}

fn validate_reference(reference: &ObjectReference, at: &mut Checker<'_>) {
    for (field, value) in [("kind", &reference.kind), ("name", &reference.name)] {
        if value.is_empty() {
            at.child(field).required("");
        } else {
            validate_path_segment(value, &mut at.child(field));
        }
    }
}

/// Since 1.34: the group decides which resource is scaled.
fn validate_api_version(reference: &ObjectReference, at: &mut Checker<'_>) {
    let text = reference.api_version.as_str();
    if text.matches('/').count() > 1 {
        at.child("apiVersion").invalid(format!("unexpected GroupVersion string: {text}"));
        return;
    }
    let group = text.split_once('/').map_or("", |(group, _)| group);
    if group.is_empty() && reference.kind != "ReplicationController" {
        at.child("apiVersion").invalid("apiVersion must specify API group");
    }
}

fn validate_metrics(metrics: &[MetricSpec], min_replicas: Option<i32>, at: &mut Checker<'_>) {
    for (i, metric) in metrics.iter().enumerate() {
        validate_metric(metric, &mut at.index(i));
    }
    let wakes = metrics.iter().any(|m| m.kind == "Object" || m.kind == "External");
    if min_replicas == Some(0) && !wakes {
        at.add(
            FieldErrorKind::Forbidden,
            "must specify at least one Object or External metric to support scaling to zero \
             replicas",
        );
    }
}

fn validate_metric(metric: &MetricSpec, at: &mut Checker<'_>) {
    let known = METRIC_TYPES.contains(&metric.kind.as_str());
    if metric.kind.is_empty() {
        at.child("type").required("must specify a metric source type");
    }
    if !known {
        at.child("type").not_supported(&METRIC_TYPES);
    }
    let present = validate_first_source(metric, at);
    let expected = match metric.kind.as_str() {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "External" => "external",
        "ContainerResource" => "containerResource",
        _ => "",
    };
    if !known {
        // Upstream says so twice.
        at.child("type").not_supported(&METRIC_TYPES);
    } else if !present.contains(&expected) {
        at.child(expected).required("must populate information for the given metric source");
    }
    if present.len() != 1 {
        for field in present.iter().filter(|field| **field != expected) {
            at.child(field)
                .add(FieldErrorKind::Forbidden, "must populate the given metric source only");
        }
    }
}

/// Checks the first source that is set, in upstream's order, and names all that are.
fn validate_first_source(metric: &MetricSpec, at: &mut Checker<'_>) -> Vec<&'static str> {
    let mut present = Vec::new();
    if let Some(source) = &metric.object {
        present.push("object");
        let mut at = at.child("object");
        validate_reference(&source.described_object, &mut at.child("describedObject"));
        validate_identifier(&source.metric, &mut at.child("metric"));
        let mut at = at.child("target");
        validate_target(&source.target, &mut at);
        if source.target.value.is_none() && source.target.average_value.is_none() {
            at.child("averageValue").required("must set either a target value or averageValue");
        }
    }
    if let Some(source) = &metric.external {
        present.push("external");
        if present.len() == 1 {
            let mut at = at.child("external");
            validate_identifier(&source.metric, &mut at.child("metric"));
            let mut at = at.child("target");
            validate_target(&source.target, &mut at);
            match (&source.target.value, &source.target.average_value) {
                (None, None) => at
                    .child("averageValue")
                    .required("must set either a target value for metric or a per-pod target"),
                (Some(_), Some(_)) => at.child("value").add(
                    FieldErrorKind::Forbidden,
                    "may not set both a target value for metric and a per-pod target",
                ),
                _ => {}
            }
        }
    }
    if let Some(source) = &metric.pods {
        present.push("pods");
        if present.len() == 1 {
            let mut at = at.child("pods");
            validate_identifier(&source.metric, &mut at.child("metric"));
            let mut at = at.child("target");
            validate_target(&source.target, &mut at);
            if source.target.average_value.is_none() {
                at.child("averageValue").required("must specify a positive target averageValue");
            }
        }
    }
    if let Some(source) = &metric.resource {
        present.push("resource");
        if present.len() == 1 {
            let mut at = at.child("resource");
            validate_resource(&source.name, None, &source.target, &mut at);
        }
    }
    if let Some(source) = &metric.container_resource {
        present.push("containerResource");
        if present.len() == 1 {
            let mut at = at.child("containerResource");
            validate_resource(&source.name, Some(&source.container), &source.target, &mut at);
        }
    }
    present
}

fn validate_resource(
    name: &str,
    container: Option<&str>,
    target: &MetricTarget,
    at: &mut Checker<'_>,
) {
    if name.is_empty() {
        at.child("name").required("must specify a resource name");
    }
    match container {
        Some("") => at.child("container").required("must specify a container"),
        Some(container) if !is_dns1123_label(container) => at.child("container").invalid(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
             '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
             '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        Some(_) | None => {}
    }
    let mut at = at.child("target");
    validate_target(target, &mut at);
    match (target.average_utilization, &target.average_value) {
        (None, None) => at
            .child("averageUtilization")
            .required("must set either a target raw value or a target utilization"),
        (Some(_), Some(_)) => at.child("averageValue").add(
            FieldErrorKind::Forbidden,
            "may not set both a target raw value and a target utilization",
        ),
        _ => {}
    }
}

/// A DNS-1123 label: 1 to 63 of `a-z0-9-`, alphanumeric at both ends.
pub fn is_dns1123_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A DNS-1123 subdomain, the rule for the name of an HPA: labels joined by dots, at most 253.
pub fn is_dns1123_subdomain(text: &str) -> bool {
    let label = |l: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !l.is_empty() && l.bytes().all(inner) && !l.starts_with('-') && !l.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn validate_identifier(metric: &MetricIdentifier, at: &mut Checker<'_>) {
    if metric.name.is_empty() {
        at.child("name").required("must specify a metric name");
    } else {
        validate_path_segment(&metric.name, &mut at.child("name"));
    }
}

fn validate_target(target: &MetricTarget, at: &mut Checker<'_>) {
    if target.kind.is_empty() {
        at.child("type").required("must specify a metric target type");
    }
    if !matches!(target.kind.as_str(), "Utilization" | "Value" | "AverageValue") {
        at.child("type").invalid("must be either Utilization, Value, or AverageValue");
    }
    for (field, quantity) in [("value", &target.value), ("averageValue", &target.average_value)] {
        if quantity.as_ref().is_some_and(|q| q.sign() != 1) {
            at.child(field).invalid("must be positive");
        }
    }
    if target.average_utilization.is_some_and(|percent| percent < 1) {
        at.child("averageUtilization").invalid("must be greater than 0");
    }
}

fn validate_rules(rules: Option<&ScalingRules>, at: &mut Checker<'_>) {
    let Some(rules) = rules else { return };
    if let Some(window) = rules.stabilization_window_seconds {
        let mut at = at.child("stabilizationWindowSeconds");
        if window < 0 {
            at.invalid("must be greater than or equal to zero");
        }
        if window > MAX_STABILIZATION_WINDOW_SECONDS {
            at.invalid(format!("must be less than or equal to {MAX_STABILIZATION_WINDOW_SECONDS}"));
        }
    }
    if let Some(select) = &rules.select_policy
        && !matches!(select.as_str(), "Max" | "Min" | "Disabled")
    {
        at.child("selectPolicy").not_supported(&["Disabled", "Max", "Min"]);
    }
    let policies = rules.policies.as_deref().unwrap_or_default();
    let mut list = at.child("policies");
    if policies.is_empty() {
        list.required("must specify at least one Policy");
    }
    for (i, policy) in policies.iter().enumerate() {
        validate_policy(policy, &mut list.index(i));
    }
    if rules.tolerance.as_ref().map(Quantity::sign) == Some(-1) {
        at.child("tolerance").invalid("must be greater than or equal to 0");
    }
}

fn validate_policy(policy: &ScalingPolicy, at: &mut Checker<'_>) {
    if !matches!(policy.kind.as_str(), "Pods" | "Percent") {
        at.child("type").not_supported(&["Percent", "Pods"]);
    }
    if policy.value <= 0 {
        at.child("value").invalid("must be greater than zero");
    }
    if policy.period_seconds <= 0 {
        at.child("periodSeconds").invalid("must be greater than zero");
    }
    if policy.period_seconds > MAX_PERIOD_SECONDS {
        at.child("periodSeconds")
            .invalid(format!("must be less than or equal to {MAX_PERIOD_SECONDS}"));
    }
}
