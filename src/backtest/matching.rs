//! Which recorded series stand for which metric, and for which replica count.

use super::{BacktestError, MetricIs, Series, Setup, fault};
use crate::hpa::spec::MetricSpec;
use crate::manifest::plain_metric_name;

// ASSUMPTION(A62): a raw gauge is scraped every 15 s, half an interval off the syncs, and visible 5 s later.
const SCRAPE_S: f64 = 15.0;
const SCRAPE_PHASE_S: f64 = 7.5;
const INGEST_S: f64 = 5.0;

/// Samples of a series closer than this \[s\] come from polls; a wider gap is a log of changes.
const POLL_AT_MOST_S: f64 = 60.0;

/// Names of the replicas that exist, best first; those of kube-state-metrics too.
const CURRENT: [&str; 4] = [
    "replicas_current",
    "kube_deployment_status_replicas",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "hpa_current",
];
/// Names of the replicas that the autoscaler wants.
const DESIRED: [&str; 4] = [
    "replicas_desired",
    "kube_horizontalpodautoscaler_status_desired_replicas",
    "kube_deployment_spec_replicas",
    "hpa_desired",
];
/// Names of the pods that report.
const REPORTING: [&str; 4] = [
    "pods_reporting",
    "replicas_ready",
    "kube_deployment_status_replicas_ready",
    "kube_deployment_status_replicas_available",
];

/// The series of one metric.
pub(super) struct Matched<'a> {
    pub series: Vec<&'a Series>,
    /// One series holds the average of the pods that report.
    pub average: bool,
    /// One series per pod.
    pub per_pod: bool,
    /// Object or External: a value of its own, not one per pod.
    pub external: bool,
    /// A Utilization target: the series hold percent of the request.
    pub utilization: bool,
}

fn first<'a>(series: &'a [Series], names: &[&str]) -> Option<&'a Series> {
    names.iter().find_map(|name| series.iter().find(|s| s.name == *name))
}

/// The recorded replicas that exist, else those wanted, else the only series of the file.
pub(super) fn current_series(actual: &[Series]) -> Option<&Series> {
    let only = || if let [only] = actual { Some(only) } else { None };
    first(actual, &CURRENT).or_else(|| first(actual, &DESIRED)).or_else(only)
}

/// The recorded count that a decision compares with.
pub(super) fn desired_series(actual: &[Series]) -> Option<&Series> {
    let wanted = first(actual, &DESIRED[..1]).or_else(|| first(actual, &CURRENT[..1]));
    wanted.or_else(|| first(actual, &DESIRED)).or_else(|| current_series(actual))
}

/// The recorded count of pods that report.
pub(super) fn reporting_series(actual: &[Series]) -> Option<&Series> {
    first(actual, &REPORTING)
}

/// Two series of one name, as two Deployments in one answer give, cannot be told apart.
pub(super) fn refuse_ambiguous(actual: &[Series]) -> Result<(), BacktestError> {
    let used = [current_series(actual), desired_series(actual), reporting_series(actual)];
    for name in used.iter().flatten().map(|s| &s.name) {
        let count = actual.iter().filter(|s| s.name == *name).count();
        if count > 1 {
            return fault(format!(
                "the actual file holds {count} series called `{name}`; one is needed"
            ));
        }
    }
    Ok(())
}

/// Finds the series of every metric.
pub(super) fn match_series<'a>(setup: &Setup<'a>) -> Result<Vec<Matched<'a>>, BacktestError> {
    let spec = setup.spec.defaulted();
    let mut matched = Vec::new();
    for metric in &spec.metrics {
        let full = metric.metric_name();
        let only = spec.metrics.len() == 1;
        let found = series_of(setup, metric, full, only)
            .or_else(|| series_of(setup, metric, &other_name(full)?, only));
        let Some(found) = found else {
            let names: std::collections::BTreeSet<&str> =
                setup.metrics.iter().map(|s| s.name.as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            return fault(format!(
                "no series for the metric `{full}`; the series found are: {}",
                names.join(", ")
            ));
        };
        matched.push(found);
    }
    Ok(matched)
}

/// The other name of vLLM's gauge that had two.
// Source: vllm v1/metrics/loggers.py: gpu_cache_usage_perc is the former name of kv_cache_usage_perc.
fn other_name(name: &str) -> Option<String> {
    let (old, new) = ("gpu_cache_usage_perc", "kv_cache_usage_perc");
    let (from, to) = if name.contains(old) { (old, new) } else { (new, old) };
    name.contains(from).then(|| name.replace(from, to))
}

/// The series of `metric` if it is called `full`; a nameless one is that of the `only` metric.
fn series_of<'a>(
    setup: &Setup<'a>,
    metric: &MetricSpec,
    full: &str,
    only: bool,
) -> Option<Matched<'a>> {
    let plain = plain_metric_name(full).unwrap_or(full);
    let is = |s: &Series, prefix: &str| {
        s.name.strip_prefix(prefix).is_some_and(|rest| rest == plain || rest == full)
    };
    let pick = |test: &dyn Fn(&Series) -> bool| -> Vec<&'a Series> {
        setup.metrics.iter().filter(|s| test(s)).collect()
    };
    // Several series of one name are one per pod, labelled or not.
    let many = |found: &[&Series]| found.len() > 1 || found.iter().any(|s| s.pod.is_some());
    let external = metric.kind == "External" || metric.kind == "Object";
    let mut found = pick(&|s| is(s, "external:"));
    let (mut average, mut per_pod) = (false, false);
    if found.is_empty() || !external {
        found = pick(&|s| is(s, "metric_avg:"));
        average = !found.is_empty();
    }
    if found.is_empty() {
        found = pick(&|s| is(s, ""));
        per_pod = many(&found);
        average = !external && !per_pod;
    }
    if found.is_empty() {
        found = pick(&|s| s.name.split_once(':').is_some_and(|(_, n)| n == plain || n == full));
        (average, per_pod) = (false, true);
    }
    // A nameless answer of `query_range` (an expression) is the only metric's.
    if found.is_empty() && only {
        found = pick(&|s| s.name.is_empty());
        per_pod = many(&found);
        average = !external && !per_pod;
    }
    let utilization = metric.target().is_some_and(|t| t.kind == "Utilization");
    let found = Matched { series: found, average, per_pod, external, utilization };
    (!found.series.is_empty()).then_some(found)
}

/// The value of a series that a sync at `t` reads, with the time of its sample.
pub(super) fn read(
    setup: &Setup<'_>,
    series: &Series,
    t: f64,
    origin: f64,
    sync_s: f64,
) -> Option<(f64, f64)> {
    let seen = series.name.starts_with("metric_avg:") || series.name.starts_with("external:");
    let gauge = setup.metric_is.map_or(!seen, |is| is == MetricIs::Gauge);
    if !gauge {
        return as_seen(series, t, sync_s);
    }
    let phase = origin + SCRAPE_PHASE_S;
    let scraped = phase + ((t - INGEST_S - phase) / SCRAPE_S).floor() * SCRAPE_S;
    // The adapter truncates to thousandths.
    series.newest(scraped).map(|(time, v)| (time, (v * 1000.0 + 1e-6).floor() / 1000.0))
}

/// A poll of the HPA object shows what the last sync before it used. So a sync takes the first poll that comes
/// before the next sync; where the polls are too far apart for that, and in a log of changes, the newest sample.
fn as_seen(series: &Series, t: f64, sync_s: f64) -> Option<(f64, f64)> {
    let newest = series.newest(t);
    let at = series.samples.partition_point(|s| s.0 < t);
    let before = at.checked_sub(1).and_then(|i| series.samples.get(i));
    match (series.samples.get(at), before) {
        (Some(next), Some(before))
            if next.0 < t + sync_s && next.0 - before.0 <= POLL_AT_MOST_S =>
        {
            next.1.map(|value| (next.0, value))
        }
        _ => newest,
    }
}
