//! Rates over time: Locust histories, Prometheus exports, plain rate tables.

use super::collect::Report;
use super::header::Header;
use super::lines::{self, Cells, Lines, delimiter};
use super::number::{TimeUnit, decimal, time, unit_of};
use super::{Content, Imported, ReadOptions, TraceError};
use crate::units::PS_PER_S;
use crate::workload::rate::{Interpolation, RateCurve};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};

/// Columns of Locust's `*_stats_history.csv`.
///
/// `Requests/s` is a moving average, so the differences of `Total Request Count` count, on the `Aggregated`
/// rows only: with full history they repeat the sum of the others. The rows count completions, not arrivals.
// Source: Locust, `<prefix>_stats_history.csv`.
pub(super) struct LocustHistory {
    timestamp: usize,
    users: usize,
    name: usize,
    total: usize,
}

impl LocustHistory {
    pub(super) fn new(header: &Header, line: u64) -> Result<Self, TraceError> {
        Ok(Self {
            timestamp: header.need("Timestamp", line)?,
            users: header.need("User Count", line)?,
            name: header.need("Name", line)?,
            total: header.need("Total Request Count", line)?,
        })
    }

    pub(super) fn read<R: BufRead>(
        &self,
        mut lines: Lines<R>,
        delimiter: u8,
    ) -> Result<Imported, TraceError> {
        let mut cells = Cells::default();
        let mut report = Report { format: "locust", ..Report::default() };
        let mut series = CounterSeries::default();
        let mut users_max = 0;
        while let Some((number, line)) = lines.next()? {
            report.rows += 1;
            let readable = cells.split(line, delimiter);
            if cells.get(self.name) != Some("Aggregated") && readable {
                *report.dropped.entry("one endpoint of several").or_default() += 1;
                continue;
            }
            let cell = |i: usize| cells.get(i).unwrap_or("");
            let at = time(cell(self.timestamp), TimeUnit::S);
            let (Some(at), Ok(total)) = (at, cell(self.total).parse::<u64>()) else {
                let message = "needs a time stamp and a total request count";
                return Err(TraceError::file(number, message, None));
            };
            users_max = users_max.max(cell(self.users).parse().unwrap_or(0_u64));
            series.push(at as f64 / PS_PER_S as f64, total as f64);
            report.kept += 1;
        }
        report.notes.push(format!(
            "a rate of completions, not of arrivals; up to {users_max} users; {} requests in all",
            series.increase
        ));
        if series.resets > 0 {
            report.notes.push(format!("the statistics were reset {} times", series.resets));
        }
        rate(series.points(), Interpolation::Step, report)
    }
}

/// Rates from a counter that only grows, except when it restarts at zero.
#[derive(Default)]
struct CounterSeries {
    last: Option<(f64, f64)>,
    /// (start of the interval, rate inside it).
    rates: Vec<(f64, f64)>,
    increase: f64,
    resets: u64,
}

impl CounterSeries {
    fn push(&mut self, at: f64, total: f64) {
        let Some((before, value)) = self.last else {
            self.last = Some((at, total));
            return;
        };
        if at <= before {
            return;
        }
        let grown = if total < value {
            self.resets += 1;
            total
        } else {
            total - value
        };
        self.increase += grown;
        self.rates.push((before, grown / (at - before)));
        self.last = Some((at, total));
    }

    fn points(mut self) -> Vec<(f64, f64)> {
        if let Some((at, _)) = self.last {
            self.rates.push((at, 0.0));
        }
        self.rates
    }
}

/// A curve whose first point is time zero.
fn rate(
    mut points: Vec<(f64, f64)>,
    interpolation: Interpolation,
    report: Report,
) -> Result<Imported, TraceError> {
    let zero = points.first().map_or(0.0, |p| p.0);
    for p in &mut points {
        p.0 -= zero;
    }
    let curve = RateCurve::new(points, interpolation, None)
        .map_err(|e| TraceError::file(0, format!("gives no rate curve: {e}"), None))?;
    Ok(Imported { content: Content::Rate(curve), report })
}

/// Reads a `query_range` answer or its bare result array; several series are summed.
pub(super) fn read_prometheus(
    input: impl Read,
    options: &ReadOptions,
) -> Result<Imported, TraceError> {
    let document: Value = serde_json::from_reader(input)
        .map_err(|e| TraceError::file(e.line() as u64, format!("is not JSON: {e}"), None))?;
    let result = document.pointer("/data/result").unwrap_or(&document);
    let Some(all) = result.as_array().filter(|a| !a.is_empty()) else {
        let hint = "expected the answer of /api/v1/query_range, or its `result` array".to_owned();
        return Err(TraceError::file(0, "holds no series", Some(hint)));
    };
    let mut report = Report { format: "prometheus", ..Report::default() };
    let mut curves = Vec::new();
    let mut counters = false;
    for (i, series) in all.iter().enumerate() {
        let name = series.pointer("/metric/__name__").and_then(Value::as_str).unwrap_or("");
        let counter =
            options.counter.unwrap_or_else(|| name.ends_with("_total") || name.ends_with("_count"));
        counters |= counter;
        let Some(values) = series.get("values").and_then(Value::as_array) else {
            return Err(TraceError::file(0, format!("series {i} has no `values`"), None));
        };
        report.rows += values.len() as u64;
        let mut samples: Vec<(f64, f64)> = values.iter().filter_map(sample).collect();
        if counter {
            let mut rates = CounterSeries::default();
            for (t, v) in samples {
                rates.push(t, v);
            }
            samples = rates.points();
        }
        // Milliseconds: the resolution of Prometheus.
        let points: BTreeMap<i64, f64> =
            samples.into_iter().map(|(t, v)| ((t * 1e3).round() as i64, v)).collect();
        curves.push(Curve { points, steps: counter });
    }
    let stamps: BTreeSet<i64> = curves.iter().flat_map(|c| c.points.keys().copied()).collect();
    let sum: Vec<(i64, f64)> =
        stamps.into_iter().map(|ms| (ms, curves.iter().map(|c| c.at(ms)).sum())).collect();
    report.kept = sum.len() as u64;
    if all.len() > 1 {
        report.notes.push(format!("{} series were summed", all.len()));
    }
    if counters {
        report.notes.push("counters: the increase between samples counts".to_owned());
    }
    let interpolation = if counters { Interpolation::Step } else { Interpolation::Linear };
    rate(sum.into_iter().map(|(ms, v)| (ms as f64 / 1e3, v)).collect(), interpolation, report)
}

/// How long a gauge holds without a sample \[ms\].
// Source: Prometheus, `query.lookback-delta`: 5 minutes.
const LOOKBACK_MS: i64 = 300_000;

/// One series: its samples need not be of the same times as those of the others, nor complete.
struct Curve {
    points: BTreeMap<i64, f64>,
    steps: bool,
}

impl Curve {
    /// The value at `ms`; 0 before the first sample, after the last, and where a gauge was absent.
    fn at(&self, ms: i64) -> f64 {
        let Some((&before, &low)) = self.points.range(..=ms).next_back() else { return 0.0 };
        if before == ms || self.steps {
            return low;
        }
        match self.points.range(ms..).next() {
            Some((&after, &high)) if after - before <= LOOKBACK_MS => {
                low + (high - low) * (ms - before) as f64 / (after - before) as f64
            }
            _ => 0.0,
        }
    }
}

/// `[time, "value"]` of a finite, non-negative sample.
fn sample(pair: &Value) -> Option<(f64, f64)> {
    let time = pair.get(0)?.as_f64()?;
    let value = pair.get(1)?;
    let value = value.as_f64().or_else(|| value.as_str()?.parse().ok())?;
    (value.is_finite() && value >= 0.0).then_some((time, value))
}

/// Names of the columns of a table of rates.
const TIME: [&str; 5] = ["t_s", "t", "offset_s", "time", "timestamp"];
const RATE: [&str; 3] = ["rate_rps", "rps", "rps_mean"];

fn any(header: &Header, names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| header.find(name))
}

/// Whether a table holds a rate over time.
pub(super) fn is_rate_table(header: &Header) -> bool {
    any(header, &TIME).is_some() && any(header, &RATE).is_some()
}

/// Reads a table of rates: a time column (`t`, `t_s`, `time`, `offset_s`, `timestamp`; seconds or dates) and
/// a rate column (`rps`, `rate_rps`, `rps_mean`). The first row is time zero.
pub fn read_rate_csv(
    input: impl Read,
    interpolation: Interpolation,
) -> Result<RateCurve, TraceError> {
    let mut lines = Lines::new(lines::open(input)?);
    let mut cells = Cells::default();
    let Some((number, line)) = lines.next()? else {
        return Err(TraceError::file(0, "is empty", None));
    };
    let delimiter = delimiter(line);
    cells.split(line, delimiter);
    let header = Header::new(&cells);
    let (Some(t), Some(rps)) = (any(&header, &TIME), any(&header, &RATE)) else {
        let message = "a rate table needs the columns `t_s` and `rate_rps`";
        return Err(TraceError::file(number, message, None));
    };
    let mut points: Vec<(f64, f64)> = Vec::new();
    let mut unit = None;
    let mut zero = 0;
    while let Some((number, line)) = lines.next()? {
        cells.split(line, delimiter);
        let text = cells.get(t).unwrap_or("");
        let unit = *unit.get_or_insert_with(|| unit_of(text, TimeUnit::S));
        let rate = cells.get(rps).and_then(|c| decimal(c, 12));
        let (Some(at), Some(rate)) = (time(text, unit), rate.filter(|r| *r >= 0)) else {
            let message = "needs a time and a rate of at least 0";
            return Err(TraceError::file(number, message, None));
        };
        if points.is_empty() {
            zero = at;
        }
        let at = (at - zero) as f64 / PS_PER_S as f64;
        if points.last().is_some_and(|p| p.0 >= at) {
            return Err(TraceError::file(number, "is not later than the row before", None));
        }
        points.push((at, rate as f64 / PS_PER_S as f64));
    }
    RateCurve::new(points, interpolation, None)
        .map_err(|e| TraceError::file(0, e.to_string(), None))
}
