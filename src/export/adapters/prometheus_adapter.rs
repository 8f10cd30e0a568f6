//! prometheus-adapter: its rules, and the names that they make.

use super::{custom_names, plain};
use crate::export::File;
use crate::hpa::HpaSpec;
use crate::hpa::spec::MetricSpec;
use crate::manifest;
use crate::sim::Signal;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the HPA's comment says.
pub(super) const NOTE: &str =
    "Metric names are those that the rules in prometheus-adapter-rules.yaml make.";
/// On top of the rules.
const RULES_NOTE: &str = "Rules for prometheus-adapter: merge them into the configuration that yours runs with \
(its ConfigMap, or `rules.custom` of its Helm chart) and restart it.";

/// Counters are read as rates over this window.
// Source: the adapter's own example rule for `_total` series.
const RATE_WINDOW: &str = "2m";

/// The metric as the adapter shows it: no colons, and a counter's rate per second.
fn adapted(series: &str) -> String {
    let mut name = series.replace(':', "_");
    if name.starts_with("DCGM_") {
        name.make_ascii_lowercase();
    }
    match name.strip_suffix("_total") {
        Some(stem) => format!("{stem}_per_second"),
        None => name,
    }
}

/// Gives the metrics the adapter's names; that of a query stays.
pub(super) fn rename(spec: &mut HpaSpec, queries: &BTreeMap<String, String>) {
    for name in spec.metrics.iter_mut().flat_map(custom_names) {
        if !queries.contains_key(name) {
            *name = adapted(plain(name));
        }
    }
    for object in spec.metrics.iter_mut().filter_map(|metric| metric.object.as_mut()) {
        object.metric.name = adapted(plain(&object.metric.name));
    }
}

/// The series that a query reads. The query was understood when it was simulated, so it has one.
fn series_of(query: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    query.split(|c| !is_part(c)).find(|word| {
        let name = word.strip_suffix("_bucket").unwrap_or(word);
        let name =
            name.strip_prefix("vllm_").map_or(name.to_owned(), |rest| format!("vllm:{rest}"));
        Signal::from_name(&name).is_some()
    })
}

/// The rules for every Pods, External and Object metric; `queries` by the metric's name.
///
/// # Errors
/// Object metrics of anything but a namespace.
// Source: vllm-project/production-stack: an Object metric of the namespace is a sum by namespace.
pub(super) fn rules(
    spec: &HpaSpec,
    queries: &BTreeMap<String, String>,
) -> Result<File, Vec<String>> {
    let names = |of: fn(&MetricSpec) -> bool| -> BTreeSet<&str> {
        spec.metrics.iter().filter(|m| of(m)).map(|m| plain(m.metric_name())).collect()
    };
    let described = |m: &MetricSpec| {
        let object = &m.object.as_ref()?.described_object;
        let name = m.metric_name();
        let title = format!("`{name}` describes a {}: no series says whose it is", object.kind);
        (object.kind != "Namespace").then_some(title)
    };
    let refused: Vec<String> = spec.metrics.iter().filter_map(described).collect();
    if !refused.is_empty() {
        return Err(refused);
    }
    let rule = |name, per_pod| rule(name, per_pod, queries.get(name).map(String::as_str));
    let per_pod = names(|m| m.pods.is_some()).into_iter().map(|name| rule(name, true));
    let by_namespace = names(|m| m.object.is_some()).into_iter().map(|name| rule(name, false));
    let external = names(|m| m.external.is_some()).into_iter().map(|name| rule(name, false));
    let mut config = Map::new();
    for (key, rules) in [
        ("rules", per_pod.chain(by_namespace).collect::<Vec<Value>>()),
        ("externalRules", external.collect()),
    ] {
        if !rules.is_empty() {
            config.insert(key.to_owned(), rules.into());
        }
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "adapter-config", "namespace": "monitoring" },
        "data": { "config.yaml": manifest::yaml(&config.into(), "") },
    });
    Ok(File::new("prometheus-adapter-rules.yaml", manifest::yaml(&object, RULES_NOTE)))
}

// Source: prometheus-adapter docs/config.md: seriesQuery, resources.overrides, name, metricsQuery; the same keys
// in docs/externalmetrics.md, where only the namespace is a resource.
fn rule(name: &str, per_pod: bool, query: Option<&str>) -> Value {
    let series = query.and_then(series_of).unwrap_or(name);
    let selected = "<<.Series>>{<<.LabelMatchers>>}";
    let value = if series.ends_with("_total") {
        format!("rate({selected}[{RATE_WINDOW}])")
    } else {
        selected.to_owned()
    };
    let mut overrides = json!({ "namespace": { "resource": "namespace" } });
    let mut labels = "namespace!=\"\"".to_owned();
    if per_pod {
        overrides["pod"] = json!({ "resource": "pod" });
        labels.push_str(",pod!=\"\"");
    }
    json!({
        "seriesQuery": format!("{series}{{{labels}}}"),
        "resources": { "overrides": overrides },
        "name": {
            "matches": format!("^{series}$"),
            "as": query.map_or_else(|| adapted(series), |_| name.to_owned()),
        },
        "metricsQuery": query.map_or_else(
            || format!("sum({value}) by (<<.GroupBy>>)"),
            str::to_owned,
        ),
    })
}
