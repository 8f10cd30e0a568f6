//! Steps the HPA through recorded series.

use super::{BacktestError, Series, fault};
use crate::hpa::{
    ConditionType, ControllerConfig, FetchError, Hpa, HpaSpec, MetricReading, Observation,
    PodPhase, PodSample, PodView, Ready, SyncMode, SyncSchedule,
};
use crate::manifest::plain_metric_name;
use crate::units::{Milli, SimDuration, SimTime};

// ASSUMPTION(A62): a raw gauge is scraped every 15 s, half an interval off the syncs, and visible 5 s later.
const SCRAPE_S: f64 = 15.0;
const SCRAPE_PHASE_S: f64 = 7.5;
const INGEST_S: f64 = 5.0;

/// What the metric series hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricIs {
    /// The raw gauge; scrape and ingestion delay it.
    Gauge,
    /// The value as the HPA saw it.
    AsSeen,
}

/// One backtest.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// The HPA, not defaulted.
    pub spec: &'a HpaSpec,
    /// The metric series.
    pub metrics: &'a [Series],
    /// The recorded replica series, if known.
    pub actual: Option<&'a [Series]>,
    /// What the metrics are; `None` goes by the name of each series.
    pub metric_is: Option<MetricIs>,
    /// From a pod's creation to its first sample \[s\].
    pub startup_s: f64,
}

/// One sync.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When \[s, the recording's clock\].
    pub t_s: f64,
    /// Replicas as read.
    pub current: i32,
    /// Pods taken to report.
    pub reporting: usize,
    /// Value of each metric: average, or sum of an external metric.
    pub values: Vec<Option<f64>>,
    /// Proposal before windows and limits.
    pub proposed: Option<i32>,
    /// The decision.
    pub desired: i32,
    /// Why, in the controller's words.
    pub reason: String,
}

struct Matched<'a> {
    series: Vec<&'a Series>,
    average: bool,
    per_pod: bool,
    external: bool,
}

/// The series called `name`, if there is one.
pub(super) fn named<'a>(series: &'a [Series], name: &str) -> Option<&'a Series> {
    series.iter().find(|s| s.name == name)
}

fn match_series<'a>(setup: &Setup<'a>) -> Result<Vec<Matched<'a>>, BacktestError> {
    let spec = setup.spec.defaulted();
    let mut matched = Vec::new();
    for (i, metric) in spec.metrics.iter().enumerate() {
        let full = metric.metric_name();
        let plain = plain_metric_name(full).unwrap_or(full);
        if metric.target().is_some_and(|t| t.kind == "Utilization") {
            return fault(format!(
                "metrics[{i}]: a Utilization target needs requests, which a series does not hold"
            ));
        }
        let is = |s: &Series, prefix: &str| {
            s.name.strip_prefix(prefix).is_some_and(|rest| rest == plain || rest == full)
        };
        let pick = |test: &dyn Fn(&Series) -> bool| -> Vec<&'a Series> {
            setup.metrics.iter().filter(|s| test(s)).collect()
        };
        let external = metric.kind == "External" || metric.kind == "Object";
        let mut found = pick(&|s| is(s, "external:"));
        let (mut average, mut per_pod) = (false, false);
        if found.is_empty() || !external {
            found = pick(&|s| is(s, "metric_avg:"));
            average = !found.is_empty();
        }
        if found.is_empty() {
            found = pick(&|s| is(s, ""));
            per_pod = found.iter().any(|s| s.pod.is_some());
            average = !external && !per_pod;
        }
        if found.is_empty() {
            found = pick(&|s| s.name.split_once(':').is_some_and(|(_, n)| n == plain || n == full));
            (average, per_pod) = (false, true);
        }
        // A nameless answer of `query_range` (an expression) is the only metric's.
        if found.is_empty() && spec.metrics.len() == 1 {
            found = pick(&|s| s.name.is_empty());
            per_pod = found.iter().any(|s| s.pod.is_some());
            average = !external && !per_pod;
        }
        if found.is_empty() {
            let names: std::collections::BTreeSet<&str> =
                setup.metrics.iter().map(|s| s.name.as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            return fault(format!(
                "no series for the metric `{full}`; the series found are: {}",
                names.join(", ")
            ));
        }
        matched.push(Matched { series: found, average, per_pod, external });
    }
    Ok(matched)
}

/// The value of a series at a sync.
fn read(setup: &Setup<'_>, series: &Series, t: f64, origin: f64) -> Option<f64> {
    let seen = series.name.starts_with("metric_avg:") || series.name.starts_with("external:");
    let gauge = setup.metric_is.map_or(!seen, |is| is == MetricIs::Gauge);
    if !gauge {
        return series.at(t);
    }
    let phase = origin + SCRAPE_PHASE_S;
    let scraped = phase + ((t - INGEST_S - phase) / SCRAPE_S).floor() * SCRAPE_S;
    // The adapter truncates to thousandths.
    series.at(scraped).map(|v| (v * 1000.0 + 1e-6).floor() / 1000.0)
}

fn milli(value: f64) -> Milli {
    Milli((value * 1000.0).round() as i64)
}

/// Feeds the series to the HPA, one reconcile every 15 s from the first metric sample to the last.
///
/// # Errors
/// If a metric has no series or the spec cannot be backtested.
pub fn run(setup: &Setup<'_>) -> Result<Vec<Row>, BacktestError> {
    let matched = match_series(setup)?;
    let times =
        || matched.iter().flat_map(|m| &m.series).flat_map(|s| s.samples.iter().map(|x| x.0));
    let origin = times().fold(f64::INFINITY, f64::min);
    let end = times().fold(f64::NEG_INFINITY, f64::max);
    if end - origin > 90.0 * 86_400.0 {
        return fault("the series span more than 90 days");
    }
    let recorded = setup
        .actual
        .and_then(|a| named(a, "replicas_current").or_else(|| named(a, "replicas_desired")));
    let reporting_series = setup
        .actual
        .and_then(|a| named(a, "pods_reporting").or_else(|| named(a, "replicas_ready")));
    if setup.actual.is_some() && recorded.is_none() {
        return fault("the actual series have neither `replicas_current` nor `replicas_desired`");
    }
    let config = ControllerConfig::default();
    let schedule = SyncSchedule {
        sync_period: config.sync_period,
        mode: SyncMode::Locked,
        fetch_latency: SimDuration::ZERO,
        write_latency: SimDuration::ZERO,
    };
    let mut hpa = Hpa::new(setup.spec, config);
    let mut own = setup.spec.defaulted().min_replicas.unwrap_or(1).max(1);
    // Creation times; pods of the first sync are old. Scale-down takes the newest.
    let mut pods: Vec<f64> = Vec::new();
    let mut rows = Vec::new();
    let mut now = SimTime::ZERO;
    loop {
        let t = origin + now.as_secs_f64();
        if t > end {
            return Ok(rows);
        }
        let current = recorded.and_then(|r| r.held(t)).map_or(own, |v| v.round() as i32).max(0);
        let born = if rows.is_empty() { f64::NEG_INFINITY } else { t };
        pods.resize(current as usize, born);
        let aged = pods.iter().filter(|b| t - **b >= setup.startup_s).count();
        let reporting =
            reporting_series.and_then(|r| r.held(t)).map_or(aged, |v| v.max(0.0) as usize);
        let reporting = reporting.min(pods.len());
        let views: Vec<PodView> = (0..pods.len())
            .map(|i| PodView {
                key: i as u32,
                phase: PodPhase::Running,
                ready: if i < reporting { Ready::True } else { Ready::False },
                deleting: false,
                start_time: Some(SimTime::ZERO),
                ready_transition: SimTime::ZERO,
            })
            .collect();
        let mut values = Vec::new();
        let mut samples: Vec<Vec<PodSample>> = Vec::new();
        let mut sums: Vec<Vec<Milli>> = Vec::new();
        for m in &matched {
            let mut list: Vec<f64> =
                m.series.iter().filter_map(|s| read(setup, s, t, origin)).collect();
            if !m.per_pod && m.average && m.external {
                // An external metric is the sum over the pods' series.
                for v in &mut *list {
                    *v *= reporting.max(1) as f64;
                }
            }
            let count = if m.per_pod { list.len() } else { reporting.max(1) }.min(pods.len());
            let per_pod = |i: usize| if m.per_pod { list.get(i) } else { list.first() };
            let of_pods = (0..count)
                .filter_map(|i| per_pod(i).map(|v| PodSample::new(i as u32, milli(*v), now)));
            samples.push(if m.external { Vec::new() } else { of_pods.collect() });
            let sum: f64 = list.iter().sum();
            values.push(
                (!list.is_empty()).then(|| if m.external { sum } else { sum / list.len() as f64 }),
            );
            sums.push(list.iter().map(|v| milli(*v)).collect());
        }
        let readings: Vec<MetricReading<'_>> = matched
            .iter()
            .enumerate()
            .map(|(i, m)| match (values[i].is_some(), m.external) {
                (false, _) => MetricReading::Error(FetchError::Empty),
                (true, true) => MetricReading::Values(&sums[i]),
                (true, false) => MetricReading::Pods(&samples[i]),
            })
            .collect();
        let decision = hpa.reconcile(&Observation {
            now,
            now_decide: schedule.decide_at(now),
            spec_replicas: current,
            status_replicas: current,
            pods: &views,
            metrics: &readings,
            fault: None,
        });
        let (proposed, scale_to, desired) =
            (decision.proposed_replicas, decision.scale_to, decision.desired_replicas);
        let why =
            decision.conditions.get(ConditionType::AbleToScale).map_or("", |c| c.reason.as_str());
        let mut reason = hpa.rescale_reason_text();
        if reason.is_empty() {
            why.clone_into(&mut reason);
        }
        if let Some(to) = scale_to {
            own = to;
            hpa.scale_written(schedule.written_at(now), Ok(()));
        }
        rows.push(Row { t_s: t, current, reporting, values, proposed, desired, reason });
        now = schedule.next(now, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::parse;
    use crate::hpa::{Quantity, spec::MetricSpec};

    fn spec(name: &str) -> HpaSpec {
        let metric = MetricSpec::pods(name, Quantity::from_milli(2_000));
        HpaSpec { max_replicas: 8, metrics: vec![metric], ..HpaSpec::default() }
    }

    fn desired(name: &str, text: &str, startup_s: f64) -> Result<Vec<i32>, BacktestError> {
        let (spec, metrics) = (spec(name), parse(text).unwrap());
        let setup =
            Setup { spec: &spec, metrics: &metrics, actual: None, metric_is: None, startup_s };
        Ok(run(&setup)?.iter().map(|r| r.desired).collect())
    }

    #[test]
    fn missing_pods_stop_the_second_step_and_gaps_keep_the_count() {
        // Value 4 against 2: one pod doubles. The new pod has no sample: (4 + 0) / 2 is the target.
        let text = "t_s,metric_avg:q\n0,4\n15,4\n30,4\n45,NaN\n";
        assert_eq!(desired("q", text, 120.0).unwrap(), [2, 2, 2, 2]);
        // Without a start-up time it doubles with every sync until nothing is known.
        assert_eq!(desired("q", text, 0.0).unwrap(), [2, 4, 8, 8]);
    }

    #[test]
    fn names_match_in_every_form() {
        for name in ["q", "metric_avg:q", "pod-1:q"] {
            let text = format!("t_s,{name}\n-20,4\n-5,4\n10,4\n25,4\n");
            let gmp = desired("prometheus.googleapis.com|q|gauge", &text, 0.0).unwrap();
            assert!(gmp.last().unwrap() >= &2, "{name}: {gmp:?}");
        }
        let error = desired("q", "t_s,a,b\n0,1,2\n", 0.0).unwrap_err().to_string();
        assert!(error.ends_with("the series found are: a, b"), "{error}");
    }
}
