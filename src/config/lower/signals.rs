//! `[[pipeline.rules]]`, and which quantity each metric of an HPA reads.

use super::places::{Places, below, fallback};
use crate::config::diagnostic::{Code, Diagnostic, Span};
use crate::config::promql;
use crate::config::reader::Fields;
use crate::config::values::nearest;
use crate::hpa::HpaSpec;
use crate::hpa::spec::MetricSpec;
use crate::manifest;
use crate::pipeline::{Adapter, Aggregate, Function, Origin, PipelineConfig};
use crate::sim::{FeedShape, MetricFeed, Signal, SignalKind};
use crate::units::SimDuration;
use std::collections::BTreeMap;

/// A metric name that the adapter answers by a query.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    name: String,
    text: String,
    query: promql::Query,
    signal: Signal,
}

/// How names become values.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) rules: Vec<Rule>,
    /// Window of the rate of a counter that is named without a query.
    pub(super) rate_window: SimDuration,
    /// Release of the servers, 0.N.
    vllm_minor: u32,
}

impl Names {
    /// The query behind each name of a rule, as written.
    pub(super) fn queries(&self) -> BTreeMap<String, String> {
        self.rules.iter().map(|rule| (rule.name.clone(), rule.text.clone())).collect()
    }
}

/// Reads `[[pipeline.rules]]` and `rate_window`; `table` is `[pipeline]`, the servers are vLLM 0.`vllm_minor`.
pub(super) fn names(table: &Fields<'_>, pipeline: &PipelineConfig, vllm_minor: u32) -> Names {
    let stackdriver = matches!(pipeline.adapter, Adapter::Stackdriver { .. });
    // Source: k8s-stackdriver: ALIGN_RATE over 60 s; elsewhere the window is the user's, and `hpasim export` writes 2m.
    let window = SimDuration::from_secs(if stackdriver { 60 } else { 120 });
    let second = SimDuration::from_secs(1);
    let rate_window = table
        .key("rate_window", "Window of the rate of a counter that is named without a query")
        .shown("1m for stackdriver, as it aligns; 2m for the others, as `hpasim export` writes it")
        .duration_or(second..=SimDuration::DAY, window);
    let rules = table
        .key("rules", "Names that the adapter answers by a query: `{ name, query }`")
        .tables()
        .iter()
        .filter_map(|t| rule(t, vllm_minor))
        .collect::<Vec<_>>();
    let takes_names = match &pipeline.adapter {
        Adapter::Stackdriver { .. } => Some("the Stackdriver adapter takes names, not queries"),
        Adapter::GkeNative => Some("GKE's own metrics of pods are gauges by name, not queries"),
        Adapter::PrometheusAdapter { .. } | Adapter::Keda { .. } | Adapter::Direct => None,
    };
    if let Some(title) = takes_names.filter(|_| !rules.is_empty()) {
        table.report(
            Diagnostic::error(Code::Conflict, title)
                .at(&table.span_of("rules"), "")
                .help("set `pipeline.adapter` to `keda` or `prometheus-adapter`, or name a metric"),
        );
    }
    Names { rules, rate_window, vllm_minor }
}

fn rule(t: &Fields<'_>, vllm_minor: u32) -> Option<Rule> {
    let name = t
        .key("name", "Metric name in the HPA, as `s0-prometheus`")
        .required()
        .string()
        .map(str::to_owned);
    let text = t
        .key("query", "PromQL, as `sum(rate(vllm:generation_tokens_total[1m]))`")
        .required()
        .string();
    let (name, text) = (name?, text?);
    let span = t.span_of("query");
    let query = match promql::parse(text) {
        Ok(query) => query,
        Err(error) => {
            let (before, after) = text.split_at(error.at.min(text.len()));
            t.report(
                Diagnostic::error(Code::UnknownMetric, "the query is not understood")
                    .at(&span, error.message)
                    .help(format!("understood up to `{before}`, not `{after}`")),
            );
            return None;
        }
    };
    let Some(signal) = signal_of(&query.metric) else {
        t.report(unknown(&query.metric).at(&span, near(&query.metric)).help(known()));
        return None;
    };
    warn_about_old_name(t, &query.metric, vllm_minor, &span);
    if signal == Signal::PoolQueueSize
        && matches!(query.aggregate, Some(Aggregate::Avg | Aggregate::Max))
    {
        let title = format!("of `{}` only the sum is simulated", query.metric);
        t.report(
            Diagnostic::error(Code::UnknownMetric, title)
                .at(&span, "")
                .help("their mean is `inference_pool_average_queue_size`"),
        );
        return None;
    }
    let fits = match query.function {
        Function::Instant | Function::AvgOverTime(_) | Function::MaxOverTime(_) => {
            signal.kind() == SignalKind::Gauge
        }
        Function::Rate(_) | Function::Increase(_) => signal.kind() == SignalKind::Counter,
        Function::Quantile { .. } => signal.kind() == SignalKind::Histogram,
    };
    if !fits {
        let kind = match signal.kind() {
            SignalKind::Gauge => "is a gauge: take it as it is, or `avg_over_time`",
            SignalKind::Counter => "is a counter: take its `rate`",
            SignalKind::Histogram => "is a histogram: take `histogram_quantile` of its buckets",
            SignalKind::Resource => "comes from metrics-server: use a Resource metric",
        };
        t.report(
            Diagnostic::error(Code::UnknownMetric, format!("`{}` {kind}", query.metric))
                .at(&span, ""),
        );
        return None;
    }
    Some(Rule { name, text: text.to_owned(), query, signal })
}

/// Where the value of each metric of the *defaulted* spec comes from.
pub(super) fn feeds(
    t: &Fields<'_>,
    spec: &HpaSpec,
    places: &Places,
    names: &Names,
    pipeline: &PipelineConfig,
) -> Option<Vec<MetricFeed>> {
    let mut feeds = Vec::with_capacity(spec.metrics.len());
    for (index, metric) in spec.metrics.iter().enumerate() {
        let name = metric.metric_name();
        if name.is_empty() {
            // Reported where it was read, or by the API server's rules.
            continue;
        }
        let parent = format!("spec.metrics[{index}]");
        let place = places
            .iter()
            .find(|(path, _)| below(path, &parent) && path.ends_with("name"))
            .or_else(|| places.iter().find(|(path, _)| *path == parent))
            .map_or_else(|| fallback(t), |(_, span)| span.clone());
        match feed(metric, name, &place, names, pipeline) {
            Ok(feed) => {
                warn(t, metric, &feed, &place, pipeline);
                warn_about_old_name(t, name, names.vllm_minor, &place);
                feeds.push(feed);
            }
            Err(diagnostic) => t.report(*diagnostic),
        }
    }
    (feeds.len() == spec.metrics.len()).then_some(feeds)
}

/// Where the value of one metric, called `name` at `place`, comes from.
fn feed(
    metric: &MetricSpec,
    name: &str,
    place: &Span,
    names: &Names,
    pipeline: &PipelineConfig,
) -> Result<MetricFeed, Box<Diagnostic>> {
    if matches!(metric.kind.as_str(), "Resource" | "ContainerResource") {
        if name == "cpu" {
            return Ok(MetricFeed::instant(Signal::Cpu, FeedShape::Resource));
        }
        return Err(unknown(name).at(place, "of the resources only `cpu` is simulated").into());
    }
    let per_pod = metric.kind == "Pods";
    match names.rules.iter().find(|rule| rule.name == name) {
        Some(rule) => feed_of_rule(rule, per_pod, place, pipeline),
        None => feed_of_name(name, per_pod, place, names.rate_window, pipeline),
    }
}

/// A metric whose name has a query.
fn feed_of_rule(
    rule: &Rule,
    per_pod: bool,
    place: &Span,
    pipeline: &PipelineConfig,
) -> Result<MetricFeed, Box<Diagnostic>> {
    let Rule { name, query, signal, .. } = rule;
    if per_pod && query.aggregate.is_some() {
        let title = format!("`{name}` is one value, a Pods metric needs one per pod");
        return Err(Diagnostic::error(Code::Conflict, title)
            .at(place, "")
            .help("make the metric `External`, or write `sum by (pod) (...)`")
            .into());
    }
    // Source: keda pkg/scalers/prometheus_scaler.go, ExecutePromQuery: more than one element is an error. The
    // router is one target; other adapters hand all elements over, and the HPA adds them up.
    let keda = matches!(pipeline.adapter, Adapter::Keda { .. });
    if keda && !signal.is_of_the_router() && !per_pod && query.aggregate.is_none() {
        let title = format!("the query of `{name}` has one value per pod, KEDA takes one");
        return Err(Diagnostic::error(Code::Conflict, title)
            .at(place, "KEDA's trigger fails as soon as there are two pods")
            .help("write `sum(...)` in the rule's query; of a quantile, `sum by (le) (...)`")
            .into());
    }
    let aggregate = query.aggregate.unwrap_or(Aggregate::Sum);
    Ok(MetricFeed {
        signal: *signal,
        function: query.function,
        shape: if per_pod { FeedShape::PerPod } else { FeedShape::Total(aggregate) },
        above: query.above,
        factor: query.factor,
    })
}

/// A metric whose name is that of a signal.
fn feed_of_name(
    name: &str,
    per_pod: bool,
    place: &Span,
    rate_window: SimDuration,
    pipeline: &PipelineConfig,
) -> Result<MetricFeed, Box<Diagnostic>> {
    let unheard = || {
        let found = unknown(name).at(place, near(name));
        // As KEDA names the metrics of its triggers.
        if name.starts_with("s0-") || name.starts_with("s1-") {
            return found.help(format!(
                "add `[[pipeline.rules]]` with `name = \"{name}\"` and the trigger's `query`"
            ));
        }
        found.help(known())
    };
    let Some(signal) = signal_of(name) else { return Err(unheard().into()) };
    if per_pod && signal.is_of_the_router() {
        let title = format!("`{name}` is a metric of the router, not of the pods");
        return Err(Diagnostic::error(Code::Conflict, title)
            .at(place, "a Pods metric asks for one value per pod")
            .help("make the metric `External`")
            .into());
    }
    // Source: GKE documentation, expose custom metrics for autoscaling: gauges of pods, as Pods metrics.
    let native =
        per_pod && signal.kind() == SignalKind::Gauge && signal.origin() == Some(Origin::Server);
    if matches!(pipeline.adapter, Adapter::GkeNative) && !native {
        let title = format!("`{name}` does not come through GKE's own metrics agent");
        return Err(Diagnostic::error(Code::Conflict, title)
            .at(place, "it hands over gauges of the pods")
            .help("make it a Pods metric of a gauge, or choose another `pipeline.adapter`")
            .into());
    }
    let shape = if per_pod { FeedShape::PerPod } else { FeedShape::SUM };
    match signal.kind() {
        SignalKind::Gauge => Ok(MetricFeed::instant(signal, shape)),
        SignalKind::Counter => Ok(MetricFeed {
            function: Function::Rate(rate_window),
            ..MetricFeed::instant(signal, shape)
        }),
        SignalKind::Histogram => {
            let example = format!(
                "histogram_quantile(0.95, sum by (le) (rate({}_bucket[1m])))",
                signal.name()
            );
            Err(Diagnostic::error(Code::UnknownMetric, format!("`{name}` is a histogram"))
                .at(place, "an HPA needs one number")
                .help(format!(
                    "add `[[pipeline.rules]]` with a name of your own and `query = \"{example}\"`, \
                     and use that name here"
                ))
                .into())
        }
        SignalKind::Resource => Err(unheard().into()),
    }
}

/// What works but deserves a word.
fn warn(
    t: &Fields<'_>,
    metric: &MetricSpec,
    feed: &MetricFeed,
    place: &Span,
    pipeline: &PipelineConfig,
) {
    if feed.signal == Signal::Cpu {
        let mut found =
            Diagnostic::warning(Code::Suspicious, "the CPU usage of a pod is an estimate")
                .at(place, "results that depend on it are unverified")
                .help("no record of it was found; set `pipeline.cpu` from your own (A243, A244)");
        if !t.has("metrics") && !t.has("manifest") {
            // Source: autoscaling/v2, SetDefaults_HorizontalPodAutoscaler.
            found = found.help("`[hpa]` names no metric, which means `cpu` at 80 % of the request");
        }
        t.report(found);
    }
    if matches!(pipeline.adapter, Adapter::Keda { .. }) && metric.kind == "Pods" {
        t.report(
            Diagnostic::warning(Code::Suspicious, "KEDA serves External metrics only")
                .at(place, "a Pods metric needs another adapter beside it")
                .help("the HPAs that KEDA makes have metrics of type `External`"),
        );
    }
}

/// Tells of a name that servers of that release do not show: the HPA would find no metric.
// Source: vllm v1/metrics/loggers.py: 0.11.0 has vllm:gpu_cache_usage_perc only with
// --show-hidden-metrics-for-version and vllm:time_per_output_token_seconds beside the new name, 0.33.0 has neither.
fn warn_about_old_name(t: &Fields<'_>, name: &str, vllm_minor: u32, place: &Span) {
    let plain = manifest::plain_metric_name(name).unwrap_or(name).replacen("vllm_", "vllm:", 1);
    let shown_until = match plain.as_str() {
        "vllm:gpu_cache_usage_perc" => 10,
        "vllm:time_per_output_token_seconds" => 11,
        _ => return,
    };
    let Some(signal) = Signal::from_name(&plain).filter(|_| vllm_minor > shown_until) else {
        return;
    };
    let title = format!("vLLM 0.{vllm_minor} does not show `{plain}` unless told to");
    t.report(
        Diagnostic::warning(Code::Suspicious, title)
            .at(place, "simulated under its new name")
            .help(format!("a real HPA would find no such metric; write `{}`", signal.name())),
    );
}

fn unknown(name: &str) -> Diagnostic {
    Diagnostic::error(Code::UnknownMetric, format!("metric `{name}` cannot be simulated"))
}

fn near(name: &str) -> String {
    match nearest(name, Signal::all().map(Signal::name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "not a metric of the replicas".to_owned(),
    }
}

fn known() -> String {
    let names: Vec<&str> = Signal::all().map(Signal::name).collect();
    format!(
        "can be simulated: {}; also as `{}`, and by queries in `[[pipeline.rules]]`",
        names.join(", "),
        manifest::gmp_metric_name(Signal::NumRequestsWaiting.name(), "gauge")
    )
}

/// The signal of a metric name: plain, as GMP or GKE's own agent names it, or as prometheus-adapter rules rename it
/// (`:` to `_`).
pub(crate) fn signal_of(name: &str) -> Option<Signal> {
    if let Some(series) = manifest::gke_native_series(name) {
        return Signal::from_name(&series);
    }
    let plain = manifest::plain_metric_name(name).unwrap_or(name);
    let plain = match plain.strip_prefix("vllm_") {
        Some(rest) => format!("vllm:{rest}"),
        None => plain.to_owned(),
    };
    Signal::from_name(&plain)
}
