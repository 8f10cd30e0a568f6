//! prometheus-adapter: its rules, and the names that they make.

use super::{custom_names, plain};
use crate::export::File;
use crate::hpa::HpaSpec;
use crate::manifest;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

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
    let name = series.replace(':', "_");
    match name.strip_suffix("_total") {
        Some(stem) => format!("{stem}_per_second"),
        None => name,
    }
}

/// Gives the metrics the adapter's names.
pub(super) fn rename(spec: &mut HpaSpec) {
    for name in spec.metrics.iter_mut().flat_map(custom_names) {
        *name = adapted(plain(name));
    }
}

/// The rules for every Pods and External metric.
pub(super) fn rules(spec: &HpaSpec) -> File {
    let names = |external: bool| -> BTreeSet<&str> {
        let of = spec
            .metrics
            .iter()
            .filter(|m| if external { m.external.is_some() } else { m.pods.is_some() });
        of.map(|m| plain(m.metric_name())).collect()
    };
    let mut config = Map::new();
    for (key, external) in [("rules", false), ("externalRules", true)] {
        let rules: Vec<Value> =
            names(external).into_iter().map(|name| rule(name, external)).collect();
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
    File::new("prometheus-adapter-rules.yaml", manifest::yaml(&object, RULES_NOTE))
}

// Source: prometheus-adapter docs/config.md: seriesQuery, resources.overrides, name, metricsQuery; the same keys
// in docs/externalmetrics.md, where only the namespace is a resource.
fn rule(series: &str, external: bool) -> Value {
    let selected = "<<.Series>>{<<.LabelMatchers>>}";
    let value = if series.ends_with("_total") {
        format!("rate({selected}[{RATE_WINDOW}])")
    } else {
        selected.to_owned()
    };
    let mut overrides = json!({ "namespace": { "resource": "namespace" } });
    let mut labels = "namespace!=\"\"".to_owned();
    if !external {
        overrides["pod"] = json!({ "resource": "pod" });
        labels.push_str(",pod!=\"\"");
    }
    json!({
        "seriesQuery": format!("{series}{{{labels}}}"),
        "resources": { "overrides": overrides },
        "name": { "matches": format!("^{series}$"), "as": adapted(series) },
        "metricsQuery": format!("sum({value}) by (<<.GroupBy>>)"),
    })
}
