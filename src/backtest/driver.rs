//! Steps the HPA through recorded series.

use super::matching::{self, Matched};
use super::{BacktestError, Series, fault};
use crate::hpa::{
    Condition, ConditionType, ControllerConfig, FetchError, Hpa, HpaSpec, MetricReading,
    Observation, PodPhase, PodRequest, PodSample, PodView, Ready, SyncMode, SyncSchedule,
};
use crate::units::{Milli, SimDuration, SimTime};

/// More replicas than this are a fault of the input: the target of no HPA.
const MOST_REPLICAS: i32 = 100_000;

/// The request of every pod where a series holds percent of it.
const WHOLE: PodRequest = PodRequest::Set(Milli(100_000));

/// The HPA's clock when the series begin: the pods of then are older than any period of the controller.
const EPOCH: SimTime = SimTime::from_secs(86_400);

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
    /// Minor release of Kubernetes whose controller decides.
    pub kube_minor: u32,
}

/// What one metric did in a sync.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MetricRow {
    /// Average over the pods that report, or the sum of an external metric; `None` in a gap.
    pub value: Option<f64>,
    /// Value over target, before missing pods are filled in.
    pub ratio: Option<f64>,
    /// Replicas that it asks for.
    pub proposal: Option<i32>,
}

/// One sync.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// When \[s, the recording's clock\].
    pub t_s: f64,
    /// Replicas as read.
    pub current: i32,
    /// Pods taken to report.
    pub reporting: usize,
    /// One entry per metric of the spec.
    pub metrics: Vec<MetricRow>,
    /// Proposal before windows and limits.
    pub proposed: Option<i32>,
    /// After the stabilisation windows.
    pub stabilized: Option<i32>,
    /// After policies and bounds.
    pub limited: Option<i32>,
    /// The decision.
    pub desired: i32,
    /// Why, in the controller's words.
    pub reason: String,
    /// Status and reason of AbleToScale, ScalingActive and ScalingLimited, where set.
    pub conditions: [Option<(bool, &'static str)>; 3],
    /// The chain that led here, line by line, where the desired count changes.
    pub explanation: Vec<String>,
}

/// The pods of the target as the backtest knows them.
struct Pods<'a> {
    /// Creation times; those of the first sync are old. A scale-down takes the newest.
    born: Vec<f64>,
    reporting_series: Option<&'a Series>,
    startup_s: f64,
}

impl Pods<'_> {
    /// Brings the count to `current` and tells how many report.
    fn step(&mut self, t: f64, current: i32, at_start: bool) -> usize {
        self.born.resize(current as usize, if at_start { f64::NEG_INFINITY } else { t });
        let aged = self.born.iter().filter(|b| t - **b >= self.startup_s).count();
        let recorded = self.reporting_series.and_then(|r| r.held(t));
        recorded.map_or(aged, |v| v.max(0.0) as usize).min(self.born.len())
    }

    /// The pods at `now`, which is at `t` \[s\].
    fn views(&self, reporting: usize, (t, now): (f64, SimTime)) -> Vec<PodView> {
        let ago = |span: f64| now - SimDuration::from_secs_f64(span.clamp(0.0, now.as_secs_f64()));
        let view = |i: usize| PodView {
            key: i as u32,
            phase: PodPhase::Running,
            ready: if i < reporting { Ready::True } else { Ready::False },
            deleting: false,
            start_time: Some(ago(t - self.born[i])),
            ready_transition: ago(t - self.born[i] - self.startup_s),
        };
        (0..self.born.len()).map(view).collect()
    }
}

/// What one metric's API answers.
struct Answer {
    value: Option<f64>,
    samples: Vec<PodSample>,
    values: Vec<Milli>,
}

impl Answer {
    /// From the values read at the sync `now`, which is at `t` \[s\], each with the time of its sample \[s\].
    fn new(
        m: &Matched<'_>,
        mut read: Vec<(f64, f64)>,
        (reporting, pods): (usize, usize),
        (t, now): (f64, SimTime),
    ) -> Self {
        if m.per_pod && !m.external {
            // A pod that is gone leaves its last sample for a while: the freshest are the living.
            read.sort_by(|a, b| b.0.total_cmp(&a.0));
            read.truncate(pods);
        }
        let mut list: Vec<f64> = read.iter().map(|(_, value)| *value).collect();
        if m.average && m.external {
            // An external metric is the sum over the pods' series.
            for value in &mut list {
                *value *= reporting.max(1) as f64;
            }
        }
        let sum: f64 = list.iter().sum();
        let value = if m.external { sum } else { sum / list.len() as f64 };
        let value = (!list.is_empty()).then_some(value);
        let (mut samples, mut values) = (Vec::new(), Vec::new());
        if m.external {
            values.extend(list.iter().map(|v| milli(*v)));
        } else {
            // An average stands for each pod that reports; if it exists, at least one does.
            let count = if m.per_pod { list.len() } else { reporting.max(1) }.min(pods);
            let of = |i: usize| if m.per_pod { read.get(i) } else { read.first() };
            let sample = |i: usize| {
                let (time, value) = of(i)?;
                let age = SimDuration::from_secs_f64((t - time).max(0.0));
                Some(PodSample::new(i as u32, milli(*value), now - age))
            };
            samples.extend((0..count).filter_map(sample));
        }
        Self { value, samples, values }
    }

    fn reading<'a>(&'a self, m: &Matched<'_>, requests: &'a [PodRequest]) -> MetricReading<'a> {
        let samples = &self.samples;
        match self.value {
            None => MetricReading::Error(FetchError::Empty),
            Some(_) if m.external => MetricReading::Values(&self.values),
            Some(_) if m.utilization => MetricReading::Resource { samples, requests },
            Some(_) => MetricReading::Pods(samples),
        }
    }
}

fn milli(value: f64) -> Milli {
    Milli((value * 1000.0).round() as i64)
}

/// A recorded count at `t` \[s\].
fn count(series: &Series, t: f64) -> Result<Option<i32>, BacktestError> {
    let Some(value) = series.held(t) else { return Ok(None) };
    if !(0.0..=f64::from(MOST_REPLICAS)).contains(&value) {
        return fault(format!("{value} in `{}` at {t} s is no number of replicas", series.name));
    }
    Ok(Some(value.round() as i32))
}

/// Feeds the series to the HPA, one reconcile every 15 s from the first metric sample to the last.
///
/// With recorded replicas the HPA reads those, and its memory of scale events is that of the recording: a
/// decision that the recording does not follow leaves no event, a recorded change leaves one. Without, it reads
/// what it decided.
///
/// # Errors
/// If a metric has no series or the spec cannot be backtested.
pub fn run(setup: &Setup<'_>) -> Result<Vec<Row>, BacktestError> {
    let matched = matching::match_series(setup)?;
    let times =
        || matched.iter().flat_map(|m| &m.series).flat_map(|s| s.samples.iter().map(|x| x.0));
    let origin = times().fold(f64::INFINITY, f64::min);
    let end = times().fold(f64::NEG_INFINITY, f64::max);
    if end - origin > 90.0 * 86_400.0 {
        return fault("the series span more than 90 days");
    }
    let actual = setup.actual.unwrap_or_default();
    matching::refuse_ambiguous(actual)?;
    let recorded = matching::current_series(actual);
    if setup.actual.is_some() && recorded.is_none() {
        return fault("the actual series have neither `replicas_current` nor `replicas_desired`");
    }
    let schedule = SyncSchedule {
        sync_period: SyncSchedule::DEFAULT_SYNC_PERIOD,
        mode: SyncMode::Locked,
        fetch_latency: SimDuration::ZERO,
        write_latency: SimDuration::ZERO,
    };
    let sync_s = schedule.sync_period.as_secs_f64();
    let mut hpa = Hpa::new(setup.spec, ControllerConfig::for_minor(setup.kube_minor));
    let mut own = setup.spec.defaulted().min_replicas.unwrap_or(1).max(1);
    let reporting_series = matching::reporting_series(actual);
    let mut pods = Pods { born: Vec::new(), reporting_series, startup_s: setup.startup_s };
    let mut rows = Vec::new();
    let mut now = EPOCH;
    loop {
        let t = origin + (now - EPOCH).as_secs_f64();
        if t > end {
            return Ok(rows);
        }
        let read = recorded.map_or(Ok(None), |r| count(r, t))?;
        let current = read.unwrap_or(own);
        if current > MOST_REPLICAS {
            return fault(format!("more than {MOST_REPLICAS} replicas are wanted at {t} s"));
        }
        let reporting = pods.step(t, current, rows.is_empty());
        let views = pods.views(reporting, (t, now));
        let answer = |m: &Matched<'_>| {
            let read = m.series.iter().filter_map(|s| matching::read(setup, s, t, origin, sync_s));
            Answer::new(m, read.collect(), (reporting, views.len()), (t, now))
        };
        let answers: Vec<Answer> = matched.iter().map(answer).collect();
        let requests = vec![WHOLE; views.len()];
        let readings: Vec<MetricReading<'_>> =
            matched.iter().zip(&answers).map(|(m, a)| a.reading(m, &requests)).collect();
        let seen = Observation {
            now,
            now_decide: schedule.decide_at(now),
            spec_replicas: current,
            status_replicas: current,
            pods: &views,
            metrics: &readings,
            fault: None,
        };
        hpa.reconcile(&seen);
        let mut row = row(&hpa, t, reporting, &answers);
        let before = rows.last().map_or(row.current, |r: &Row| r.desired);
        if row.desired != before {
            row.explanation = hpa.explain(&seen, "default").lines(&|pod| format!("pod {pod}"));
        }
        rows.push(row);
        if read.is_some() {
            hpa.scale_not_written();
            if let Some(next) =
                recorded.and_then(|r| count(r, t + sync_s).transpose()).transpose()?
            {
                hpa.restore_scale_event(current, next, schedule.written_at(now));
            }
        } else if let Some(to) = hpa.decision().scale_to {
            own = to;
            hpa.scale_written(schedule.written_at(now), Ok(()));
        }
        now = schedule.next(now, now);
    }
}

fn row(hpa: &Hpa, t_s: f64, reporting: usize, answers: &[Answer]) -> Row {
    let d = hpa.decision();
    let metric = |(i, a): (usize, &Answer)| {
        let outcome = d.metrics.get(i);
        let ratio = outcome.and_then(|o| o.usage_ratio);
        MetricRow { value: a.value, ratio, proposal: outcome.and_then(|o| o.proposal) }
    };
    let told = |kind| d.conditions.get(kind).map(|c: &Condition| (c.status, c.reason.as_str()));
    let conditions = [
        told(ConditionType::AbleToScale),
        told(ConditionType::ScalingActive),
        told(ConditionType::ScalingLimited),
    ];
    let mut reason = hpa.rescale_reason_text();
    if reason.is_empty() {
        // A failed metric is told by ScalingActive.
        let failed = conditions[1].filter(|c| !c.0);
        reason.push_str(failed.or(conditions[0]).map_or("", |c| c.1));
    }
    Row {
        t_s,
        current: d.current_replicas,
        reporting,
        metrics: answers.iter().enumerate().map(metric).collect(),
        proposed: d.proposed_replicas,
        stabilized: d.stabilized_replicas,
        limited: d.limited_replicas,
        // A reconcile that fails keeps the status; the target keeps its replicas.
        desired: if d.scale_to.is_some() { d.desired_replicas } else { d.current_replicas },
        reason,
        conditions,
        explanation: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::parse;
    use crate::hpa::Quantity;
    use crate::hpa::spec::{MetricSpec, MetricTarget};

    fn spec(name: &str) -> HpaSpec {
        let metric = MetricSpec::pods(name, Quantity::from_milli(2_000));
        HpaSpec { max_replicas: 8, metrics: vec![metric], ..HpaSpec::default() }
    }

    fn rows(
        name: &str,
        text: &str,
        actual: Option<&str>,
        startup_s: f64,
    ) -> Result<Vec<Row>, BacktestError> {
        let (spec, metrics) = (spec(name), parse(text)?);
        let actual = actual.map(parse).transpose()?;
        let actual = actual.as_deref();
        let kube_minor = ControllerConfig::DEFAULT_MINOR;
        run(&Setup {
            spec: &spec,
            metrics: &metrics,
            actual,
            metric_is: None,
            startup_s,
            kube_minor,
        })
    }

    fn desired(name: &str, text: &str, startup_s: f64) -> Result<Vec<i32>, BacktestError> {
        Ok(rows(name, text, None, startup_s)?.iter().map(|r| r.desired).collect())
    }

    #[test]
    fn missing_pods_stop_the_second_step_and_gaps_keep_the_count() {
        // Value 4 against 2: one pod doubles. The new pod has no sample: (4 + 0) / 2 is the target.
        let text = "t_s,metric_avg:q\n0,4\n15,4\n30,4\n45,NaN\n";
        assert_eq!(desired("q", text, 120.0).unwrap(), [2, 2, 2, 2]);
        let first = rows("q", text, None, 120.0).unwrap().swap_remove(0);
        assert_eq!(first.explanation[1], "  pods metric q: 4, averageValue 2");
        // Without a start-up time it doubles with every sync until nothing is known.
        assert_eq!(desired("q", text, 0.0).unwrap(), [2, 4, 8, 8]);
        let last = rows("q", text, None, 0.0).unwrap().pop().unwrap();
        assert_eq!((last.metrics[0].value, last.reason.as_str()), (None, "FailedGetPodsMetric"));
    }

    #[test]
    fn a_utilization_target_reads_percent_of_the_request() {
        let target = MetricTarget::utilization(50);
        let metric = MetricSpec::resource("cpu", target);
        let spec = HpaSpec { max_replicas: 8, metrics: vec![metric], ..HpaSpec::default() };
        let metrics = parse("t_s,metric_avg:cpu\n0,90\n15,90\n30,90\n").unwrap();
        let kube_minor = ControllerConfig::DEFAULT_MINOR;
        let (spec, metrics, actual, metric_is) = (&spec, &metrics, None, None);
        let found =
            run(&Setup { spec, metrics, actual, metric_is, startup_s: 60.0, kube_minor }).unwrap();
        // 90 % of 50 %: ceil(1.8) = 2. The second pod is starting, so its cpu counts as none: (90 + 0) / 2 is
        // within the tolerance of 50.
        let found: Vec<i32> = found.iter().map(|r| r.desired).collect();
        assert_eq!(found, [2, 2, 2]);
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

    #[test]
    fn a_poll_shows_what_the_sync_before_it_used() {
        // Polls every 21 s, syncs every 15 s: the value of the poll at 42 s was used at 30 s; the poll at 63 s lies
        // behind the sync at 60 s, which is the last before it.
        let text = "t_s,metric_avg:q\n0,1\n21,2\n42,3\n63,4\n84,5\n";
        let seen = rows("q", text, Some("t_s,replicas_current\n0,1\n"), 0.0).unwrap();
        let seen: Vec<f64> = seen.iter().map(|r| r.metrics[0].value.unwrap()).collect();
        assert_eq!(seen, [1.0, 2.0, 3.0, 3.0, 4.0, 5.0]);
        // A log of changes is not read ahead.
        let text = "t_s,metric_avg:q\n0,1\n100,2\n120,2\n";
        let seen = rows("q", text, Some("t_s,replicas_current\n0,1\n"), 0.0).unwrap();
        assert_eq!((seen[6].t_s, seen[6].metrics[0].value), (90.0, Some(1.0)));
        assert_eq!((seen[7].t_s, seen[7].metrics[0].value), (105.0, Some(2.0)));
    }

    #[test]
    fn a_decision_that_the_recording_ignores_is_repeated() {
        let text = "t_s,metric_avg:q\n0,4\n15,4\n30,4\n45,4\n60,4\n";
        let seen = rows("q", text, Some("t_s,replicas_current\n0,1\n50,2\n"), 100.0).unwrap();
        let seen: Vec<(i32, i32)> = seen.iter().map(|r| (r.current, r.desired)).collect();
        assert_eq!(seen, [(1, 2), (1, 2), (1, 2), (1, 2), (2, 2)]);
    }

    #[test]
    fn counts_that_are_none_and_names_that_are_two_are_refused() {
        let text = "t_s,metric_avg:q\n0,4\n15,4\n";
        let told = |actual| rows("q", text, Some(actual), 0.0).unwrap_err().to_string();
        assert!(told("t_s,replicas_current\n0,4e9\n").contains("no number of replicas"));
        assert!(told("t_s,replicas_current\n0,-1\n").contains("no number of replicas"));
        assert!(told("t_s,a,b\n0,1,1\n").contains("neither"));
        let two = r#"[{"metric":{"__name__":"hpa_current"},"values":[[0,"1"]]},
            {"metric":{"__name__":"hpa_current"},"values":[[0,"2"]]}]"#;
        assert!(told(two).contains("2 series called"));
        // One series of any name is the replicas.
        assert_eq!(rows("q", text, Some("t_s,pods\n0,3\n"), 0.0).unwrap()[0].current, 3);
    }

    #[test]
    fn the_freshest_series_are_the_living_pods() {
        let text = "t_s,a:q,b:q\n0,2,9\n15,2,\n30,2,\n";
        let long = "t_s,series,value\n0,b:q,9\n0,a:q,2\n15,a:q,2\n30,a:q,2\n";
        for text in [text, long] {
            let (spec, metrics) = (spec("q"), parse(text).unwrap());
            let actual = parse("t_s,replicas_current\n0,1\n").unwrap();
            let found = run(&Setup {
                spec: &spec,
                metrics: &metrics,
                actual: Some(&actual),
                metric_is: Some(MetricIs::AsSeen),
                startup_s: 0.0,
                kube_minor: ControllerConfig::DEFAULT_MINOR,
            })
            .unwrap();
            assert_eq!(found[2].metrics[0].value, Some(2.0), "{text}");
        }
    }
}
