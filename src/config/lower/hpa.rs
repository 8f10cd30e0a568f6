//! `[hpa]` and `[replicas]`: what sets the number of replicas.
//!
//! The keys are the words of autoscaling/v2 in snake_case. A `manifest` is read as kubectl would; other keys
//! are put on top of it. The API server's own rules then decide, and what they refuse is shown at the key it
//! comes from.

use super::inputs::Inputs;
use super::pipeline::Pipeline;
use super::places::{Places, below, fallback};
use super::signals::feeds;
use crate::config::diagnostic::{Code, Diagnostic};
use crate::config::reader::{Fields, Key};
use crate::config::registry::Kind;
use crate::config::tree::{Node, Value};
use crate::config::values::{Problem, number_of};
use crate::hpa::spec::{
    Behavior, ContainerResourceSource, ExternalSource, LabelSelector, MetricIdentifier, MetricSpec,
    MetricTarget, ObjectReference, ObjectSource, PodsSource, ResourceSource, ScalingPolicy,
    ScalingRules,
};
use crate::hpa::validation::is_dns1123_subdomain;
use crate::hpa::{ControllerConfig, HpaSpec, Quantity, SyncSchedule, ValidationOptions};
use crate::manifest::{self, HpaManifest};
use crate::sim::{Autoscaler, HpaSetup};
use crate::units::SimTime;

/// What sets the number of replicas, with the object to export.
pub(super) struct Lowered {
    pub(super) autoscaler: Autoscaler,
    pub(super) manifest: Option<HpaManifest>,
}

/// Reads `[hpa]` and `[replicas]`, of which the file needs exactly one. `name` names the object if no manifest
/// does.
pub(super) fn autoscaler(
    root: &Fields<'_>,
    inputs: &Inputs<'_>,
    pipeline: &Pipeline,
    (controller, schedule): (ControllerConfig, SyncSchedule),
    name: &str,
) -> Option<Lowered> {
    let hpa = root.key("hpa", "A HorizontalPodAutoscaler in the words of autoscaling/v2").table();
    let replicas =
        root.key("replicas", "A fixed or scheduled number of replicas, no autoscaler").table();
    let lowered_hpa = hpa.map(|t| read_hpa(&t, inputs, pipeline, (controller, schedule), name));
    let lowered_replicas = replicas.map(|t| read_replicas(&t, inputs));
    match (lowered_hpa, lowered_replicas) {
        (Some(hpa), None) => hpa,
        (None, Some(replicas)) => replicas,
        (Some(_), Some(_)) => {
            root.report(
                Diagnostic::error(Code::Conflict, "`[hpa]` and `[replicas]` exclude each other")
                    .at(&root.key_span("replicas"), "no autoscaler")
                    .and_at(&root.key_span("hpa"), "an autoscaler"),
            );
            None
        }
        (None, None) => {
            root.report(
                Diagnostic::error(Code::MissingKey, "the file says nothing about the autoscaler")
                    .at(root.span(), "")
                    .help("add `[hpa]`, or `[replicas]` for a run without one"),
            );
            None
        }
    }
}

fn read_replicas(t: &Fields<'_>, inputs: &Inputs<'_>) -> Option<Lowered> {
    let fixed = t.key("fixed", "Always this many replicas").u32(0..=100_000);
    let schedule = t
        .key("schedule", "CSV with columns `t_s,replicas`, in time order")
        .string()
        .and_then(|path| inputs.schedule(path, &t.span_of("schedule"), t));
    let autoscaler = match (t.has("fixed"), t.has("schedule")) {
        (true, false) => Autoscaler::Fixed(fixed?),
        (false, true) => Autoscaler::Schedule(
            schedule?.into_iter().map(|(at, n)| (SimTime::ZERO + at, n)).collect(),
        ),
        (both, _) => {
            let title = "`[replicas]` needs exactly one of `fixed` and `schedule`";
            t.report(
                Diagnostic::error(if both { Code::Conflict } else { Code::MissingKey }, title)
                    .at(t.span(), ""),
            );
            return None;
        }
    };
    Some(Lowered { autoscaler, manifest: None })
}

fn read_hpa(
    t: &Fields<'_>,
    inputs: &Inputs<'_>,
    pipeline: &Pipeline,
    (controller, schedule): (ControllerConfig, SyncSchedule),
    name: &str,
) -> Option<Lowered> {
    let before = t.context().errors();
    let mut places = Places::new();
    let base = t
        .key("manifest", "An autoscaling/v2 object, read as kubectl would; other keys go on top")
        .string()
        .and_then(|path| read_manifest(t, inputs, path));
    let object_name = t
        .key("name", "metadata.name of the exported object")
        .shown("the manifest's, or the experiment's in lower case with hyphens")
        .parse(Kind::Text, None, object_name_of);
    if !t.has("manifest") && !t.has("max_replicas") && !t.context().is_describing() {
        t.report(
            Diagnostic::error(Code::MissingKey, "`hpa.max_replicas` is missing")
                .at(t.span(), "`max_replicas` belongs here")
                .help("autoscaling/v2 requires it; or name a `manifest`"),
        );
    }
    let unread = t.context().errors() > before && base.is_none();
    let mut spec = base.as_ref().map(|m| m.spec.clone()).unwrap_or_default();
    let count =
        |key: &'static str, doc| t.key(key, doc).integer(i64::from(i32::MIN)..=i64::from(i32::MAX));
    if let Some(min) = t
        .key("min_replicas", "minReplicas. Source: Kubernetes")
        .shown("1")
        .integer(i64::from(i32::MIN)..=i64::from(i32::MAX))
    {
        spec.min_replicas = Some(min as i32);
        places.push(("spec.minReplicas".into(), t.span_of("min_replicas")));
    }
    if let Some(max) = count("max_replicas", "maxReplicas; required without a manifest") {
        spec.max_replicas = max as i32;
        places.push(("spec.maxReplicas".into(), t.span_of("max_replicas")));
    }
    let start_replicas = t
        .key("start_replicas", "spec.replicas of the deployment when the run starts")
        .shown("min_replicas")
        .u32(0..=100_000);
    let metrics = t.key("metrics", "Metrics; the largest proposal wins").tables();
    if !metrics.is_empty() || t.has("metrics") {
        let place = t.span_of("metrics");
        places.push(("spec.metrics".into(), place));
        spec.metrics = metrics
            .iter()
            .enumerate()
            .map(|(index, m)| read_metric(m, &format!("spec.metrics[{index}]"), &mut places))
            .collect();
    }
    if let Some(b) = t.key("behavior", "Scaling rules; absent = the rules before them").table() {
        places.push(("spec.behavior".into(), t.span_of("behavior")));
        let behavior = spec.behavior.get_or_insert_default();
        read_behavior(&b, behavior, &mut places);
    }
    if spec.scale_target_ref.kind.is_empty() {
        spec.scale_target_ref = ObjectReference {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            name: object_name.clone().unwrap_or_else(|| manifest::object_name(name)),
        };
    }
    // Of a manifest that cannot be read the metrics are not known: the default's would be judged in their place.
    if t.context().is_describing() || unread {
        return None;
    }
    let defaulted = spec.defaulted();
    let feeds = feeds(t, &defaulted, &places, &pipeline.names, &pipeline.config);
    if t.context().errors() > before {
        return None;
    }
    let options = ValidationOptions {
        kube_minor: controller.kube_minor,
        scale_to_zero: controller.scale_to_zero,
    };
    report_refusals(t, &defaulted, options, &places);
    if t.context().errors() > before {
        return None;
    }
    let mut object =
        base.unwrap_or_else(|| HpaManifest::new(&manifest::object_name(name), HpaSpec::default()));
    object.set_spec(spec.clone());
    if object_name.is_some() {
        object.object.metadata.name = object_name;
    }
    Some(Lowered {
        autoscaler: Autoscaler::Hpa(HpaSetup {
            start_replicas: start_replicas
                .unwrap_or_else(|| u32::try_from(defaulted.min_replicas.unwrap_or(1)).unwrap_or(0)),
            keda: pipeline.keda(&defaulted, t),
            spec,
            controller,
            schedule,
            feeds: feeds?,
        }),
        manifest: Some(object),
    })
}

/// A name of an object, as the API server admits it.
fn object_name_of(node: &Node) -> Result<String, Problem> {
    match &node.value {
        Value::String(text) if is_dns1123_subdomain(text) => Ok(text.clone()),
        Value::String(_) => {
            let rule = "must be lower case letters, digits, `-` and `.`, as in `vllm-l4`";
            Err(Problem::new(Code::Manifest, rule, "the API server refuses this"))
        }
        _ => Err(Problem::wrong_type("a string", node)),
    }
}

/// What the API server would refuse, at the key it comes from.
fn report_refusals(t: &Fields<'_>, spec: &HpaSpec, options: ValidationOptions, places: &Places) {
    for error in spec.validate(&options) {
        let place = places
            .iter()
            .filter(|(path, _)| below(&error.path, path))
            .max_by_key(|(path, _)| path.len())
            .map_or_else(|| fallback(t), |(_, span)| span.clone());
        let title = format!("{}: {}", error.path, error.message);
        let mut diagnostic =
            Diagnostic::error(Code::Manifest, title).at(&place, "the API server refuses this");
        if error.path == "spec.maxReplicas" && t.has("min_replicas") && t.has("max_replicas") {
            diagnostic = diagnostic.and_at(&t.span_of("min_replicas"), "");
        }
        t.report(diagnostic);
    }
}

fn read_manifest(t: &Fields<'_>, inputs: &Inputs<'_>, path: &str) -> Option<HpaManifest> {
    let span = t.span_of("manifest");
    let path = inputs.resolve(path);
    let text = match inputs.read_text(&path) {
        Ok(text) => text,
        Err(reason) => {
            t.report(inputs.unreadable(&path, &reason, &span));
            return None;
        }
    };
    match crate::config::manifest_file::read(&mut inputs.sources(), &path, &text) {
        Ok((mut hpas, warnings)) => {
            for warning in warnings {
                t.report(warning);
            }
            if hpas.len() == 1 {
                return hpas.pop();
            }
            let count = hpas.len();
            t.report(
                Diagnostic::error(
                    Code::Manifest,
                    format!("`{path}` holds {count} HorizontalPodAutoscalers"),
                )
                .at(&span, "exactly one is needed"),
            );
            None
        }
        Err(errors) => {
            for error in errors {
                t.report(error.and_at(&span, "read because of this"));
            }
            None
        }
    }
}

impl Key<'_, '_> {
    /// A Kubernetes quantity: a string or a number.
    pub(super) fn quantity(self) -> Option<Quantity> {
        self.parse(Kind::Quantity, None, quantity_of)
    }
}

/// A Kubernetes quantity: a string or a number.
pub(super) fn quantity_of(node: &Node) -> Result<Quantity, Problem> {
    let text = match &node.value {
        Value::String(_) | Value::Integer(_) | Value::Float(..) => node.value.text(),
        _ => return Err(Problem::wrong_type("a quantity", node)),
    };
    Quantity::parse(&text).map_err(|error| {
        Problem::new(Code::Quantity, "is not a Kubernetes quantity", error.to_string()).help(
            "a quantity is a number with an optional suffix, as in \"10\", \"2500m\" or \"1.5\"",
        )
    })
}

fn read_metric(t: &Fields<'_>, path: &str, places: &mut Places) -> MetricSpec {
    const TYPES: [(&str, &str); 5] = [
        ("Pods", "pods"),
        ("External", "external"),
        ("Object", "object"),
        ("Resource", "resource"),
        ("ContainerResource", "containerResource"),
    ];
    let kind = t.key("type", "Kind of metric. Source: autoscaling/v2").choice_or(&TYPES, "pods");
    let name = t
        .key("name", "Metric or resource name: `vllm:num_requests_waiting`, or the GMP form")
        .required()
        .string()
        .unwrap_or("")
        .to_owned();
    let average_value =
        t.key("target_average_value", "Goal per pod, a Kubernetes quantity").quantity();
    let value = t.key("target_value", "Goal for the metric as a whole").quantity();
    let average_utilization = t
        .key("target_average_utilization", "Goal in percent of the request")
        .integer(i64::from(i32::MIN)..=i64::from(i32::MAX))
        .map(|v| v as i32);
    let container = t.key("container", "Container, for ContainerResource").string().unwrap_or("");
    let labels = t.key("match_labels", "Selector of the metric: labels and their values").parse(
        Kind::Table,
        None,
        labels,
    );
    let described = t
        .key("described_object", "Object that the metric describes: `{ kind, name, api_version }`")
        .table()
        .map(|o| ObjectReference {
            api_version: o.key("api_version", "apiVersion").string_or(""),
            kind: o.key("kind", "Kind").required().string().unwrap_or("").to_owned(),
            name: o.key("name", "Name").required().string().unwrap_or("").to_owned(),
        });
    let source = format!("{path}.{kind}");
    places.push((path.to_owned(), t.span().clone()));
    for (key, field) in [
        ("type", format!("{path}.type")),
        ("name", format!("{source}.metric.name")),
        ("name", format!("{source}.name")),
        ("target_average_value", format!("{source}.target")),
        ("target_value", format!("{source}.target")),
        ("target_average_utilization", format!("{source}.target")),
        ("target_average_value", format!("{source}.target.averageValue")),
        ("target_value", format!("{source}.target.value")),
        ("target_average_utilization", format!("{source}.target.averageUtilization")),
        ("container", format!("{source}.container")),
        ("described_object", format!("{source}.describedObject")),
    ] {
        if t.has(key) {
            places.push((field, t.span_of(key)));
        }
    }
    let target = MetricTarget {
        kind: match (&average_value, &value, average_utilization) {
            (None, None, Some(_)) => "Utilization",
            (None, Some(_), _) => "Value",
            _ => "AverageValue",
        }
        .into(),
        average_value,
        value,
        average_utilization,
    };
    let selector =
        labels.map(|match_labels| LabelSelector { match_labels, match_expressions: Vec::new() });
    let metric = MetricIdentifier { name: name.clone(), selector };
    let mut spec = MetricSpec::default();
    match kind {
        "external" => {
            spec.kind = "External".into();
            spec.external = Some(ExternalSource { metric, target });
        }
        "object" => {
            spec.kind = "Object".into();
            let described_object = described.unwrap_or_default();
            spec.object = Some(ObjectSource { described_object, metric, target });
        }
        "resource" => {
            spec.kind = "Resource".into();
            spec.resource = Some(ResourceSource { name, target });
        }
        "containerResource" => {
            spec.kind = "ContainerResource".into();
            let container = container.to_owned();
            spec.container_resource = Some(ContainerResourceSource { name, container, target });
        }
        _ => {
            spec.kind = "Pods".into();
            spec.pods = Some(PodsSource { metric, target });
        }
    }
    spec
}

fn labels(node: &Node) -> Result<std::collections::BTreeMap<String, String>, Problem> {
    let wrong = || Problem::new(Code::Type, "must be a table of strings", "");
    let Value::Table(table) = &node.value else { return Err(wrong()) };
    table
        .entries
        .iter()
        .map(|e| match &e.node.value {
            Value::String(s) => Ok((e.key.clone(), s.clone())),
            _ => Err(wrong()),
        })
        .collect()
}

fn read_behavior(t: &Fields<'_>, behavior: &mut Behavior, places: &mut Places) {
    if let Some(up) = t.key("scale_up", "Rules for scaling up").table() {
        let rules = behavior.scale_up.get_or_insert_default();
        read_rules(&up, rules, "spec.behavior.scaleUp", places);
    }
    if let Some(down) = t.key("scale_down", "Rules for scaling down").table() {
        let rules = behavior.scale_down.get_or_insert_default();
        read_rules(&down, rules, "spec.behavior.scaleDown", places);
    }
}

fn read_rules(t: &Fields<'_>, rules: &mut ScalingRules, path: &str, places: &mut Places) {
    places.push((path.to_owned(), t.span().clone()));
    let any = i64::from(i32::MIN)..=i64::from(i32::MAX);
    if let Some(seconds) = t
        .key(
            "stabilization_window_seconds",
            "stabilizationWindowSeconds [s]. Source: autoscaling/v2",
        )
        .shown("up 0; down the controller's flag, 300")
        .integer(any.clone())
    {
        rules.stabilization_window_seconds = Some(seconds as i32);
        let span = t.span_of("stabilization_window_seconds");
        places.push((format!("{path}.stabilizationWindowSeconds"), span));
    }
    if let Some(word) = t
        .key("select_policy", "selectPolicy: which policy counts. Source: autoscaling/v2")
        .shown("\"Max\"")
        .choice(&["Max", "Min", "Disabled"].map(|w| (w, w)))
    {
        rules.select_policy = Some(word.to_owned());
        places.push((format!("{path}.selectPolicy"), t.span_of("select_policy")));
    }
    if let Some(tolerance) = t
        .key("tolerance", "Dead band of this direction, a share; Kubernetes 1.35 or newer")
        .parse(Kind::Quantity, None, |node| {
            // A plain number is what a manifest may hold as well.
            if let Value::Float(..) | Value::Integer(_) = node.value {
                number_of(node, &(-1e9..=1e9))?;
            }
            quantity_of(node)
        })
    {
        rules.tolerance = Some(tolerance);
        places.push((format!("{path}.tolerance"), t.span_of("tolerance")));
    }
    let policies =
        t.key("policies", "Limits of the change: `{ type, value, period_seconds }`").tables();
    if t.has("policies") {
        places.push((format!("{path}.policies"), t.span_of("policies")));
        rules.policies = Some(
            policies
                .iter()
                .enumerate()
                .map(|(index, p)| {
                    let at = format!("{path}.policies[{index}]");
                    places.push((at.clone(), p.span().clone()));
                    let policy = read_policy(p);
                    for (key, field) in
                        [("type", "type"), ("value", "value"), ("period_seconds", "periodSeconds")]
                    {
                        places.push((format!("{at}.{field}"), p.span_of(key)));
                    }
                    policy
                })
                .collect(),
        );
    } else if let Some(p) = policies.first() {
        let _ = read_policy(p);
    }
}

fn read_policy(p: &Fields<'_>) -> ScalingPolicy {
    let number = |name, doc| {
        p.key(name, doc).required().integer(i64::from(i32::MIN)..=i64::from(i32::MAX)).unwrap_or(1)
            as i32
    };
    ScalingPolicy {
        kind: p
            .key("type", "Unit of `value`")
            .required()
            .choice(&["Pods", "Percent"].map(|w| (w, w)))
            .unwrap_or("Pods")
            .to_owned(),
        value: number("value", "Pods or percent, above 0"),
        period_seconds: number("period_seconds", "Within this period [s], 1 to 1800"),
    }
}
