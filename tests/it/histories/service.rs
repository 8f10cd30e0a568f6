//! What clients saw: means over requests, recorded by the load generator or simulated.

use super::record::History;
use hpasim::engine::FinishReason;
use hpasim::sim::{RunRecord, Series};
use hpasim::units::SimTime;

/// One compared figure: name, recorded value, and how to read it from a run.
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) recorded: f64,
    pub(super) read: fn(&RunRecord, &History) -> f64,
}

/// The figures that a history has.
pub(super) fn figures(history: &History) -> Vec<Figure> {
    let mut found = Vec::new();
    let own = |name: &str| history.figures.get(name).copied();
    let mut add = |name, recorded: Option<f64>, read| {
        if let Some(recorded) = recorded {
            found.push(Figure { name, recorded, read });
        }
    };
    add("completed", summed(history, "completed"), |run, _| completed(run).count() as f64);
    add("TTFT mean ms", weighted(history, "ttft_mean"), |run, _| mean(completed(run).map(ttft_ms)));
    add("TPOT mean ms", weighted(history, "tpot_mean"), |run, _| {
        mean(completed(run).filter_map(tpot_ms))
    });
    add("completed", own("requests_completed"), |run, _| completed(run).count() as f64);
    add("latency p50 s", own("latency_p50"), |run, _| quantile(run, 0.5));
    add("latency mean s", own("latency_mean"), |run, _| mean(completed(run).map(e2e_s)));
    add("latency p90 s", own("latency_p90"), |run, _| quantile(run, 0.9));
    add("KV usage mean", steady_kv(history, None), |run, history| {
        steady_kv(history, Some(run)).expect("the recording has it")
    });
    if history.series.is_empty() {
        add("ready mean", own("replicas_mean"), |run, _| level(run, Series::ReplicasReady));
        add("maximum", own("replicas_max"), |run, _| {
            run.series(Series::ReplicasReady).map(|row| row.value).fold(0.0, f64::max)
        });
        add("KV usage mean", own("kv_usage_mean"), |run, _| level(run, Series::KvCacheUsagePerc));
    }
    found
}

fn level(run: &RunRecord, series: Series) -> f64 {
    mean(run.series(series).map(|row| row.value))
}

/// Mean KV usage of the polls from the second minute of load on, for histories in which nothing scales.
fn steady_kv(history: &History, run: Option<&RunRecord>) -> Option<f64> {
    let recorded = history.series.get("metric_avg:kv_cache_usage_perc")?;
    let scales = history.series.get("replicas_current")?.iter().any(|p| p.1 != 1.0);
    let from = history.first_visible_s().filter(|_| !scales)? + 30.0;
    let to = recorded.last()?.0;
    let inside = |t: f64| (from..to).contains(&t);
    Some(match run {
        None => mean(recorded.iter().filter(|p| inside(p.0)).map(|p| p.1)),
        Some(run) => {
            let rows = run.series(Series::KvCacheUsagePerc);
            mean(rows.filter(|row| inside(row.at.as_secs_f64())).map(|row| row.value))
        }
    })
}

/// Sum over the streams.
fn summed(history: &History, what: &str) -> Option<f64> {
    let values: Vec<f64> = streams(history, what).map(|(_, value)| value).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Mean over the streams, weighted by their completed requests.
fn weighted(history: &History, what: &str) -> Option<f64> {
    let total = summed(history, "completed")?;
    let parts = streams(history, what)
        .map(|(stream, value)| history.figures[&format!("{stream}:completed")] * value / total);
    Some(parts.sum())
}

fn streams<'a>(history: &'a History, what: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    history.figures.iter().filter_map(move |(name, value)| {
        let (stream, quantity) = name.split_once(':')?;
        (quantity == what && !stream.starts_with("static")).then_some((stream, *value))
    })
}

type Record = hpasim::engine::RequestRecord;

fn completed(run: &RunRecord) -> impl Iterator<Item = &Record> {
    run.requests.iter().map(|row| &row.record).filter(|r| r.reason == FinishReason::Length)
}

fn seconds(from: SimTime, to: SimTime) -> f64 {
    to.as_secs_f64() - from.as_secs_f64()
}

fn e2e_s(r: &Record) -> f64 {
    seconds(r.arrival, r.end)
}

fn ttft_ms(r: &Record) -> f64 {
    1e3 * seconds(r.arrival, r.first_token.expect("completed"))
}

/// As the benchmark counts it: gaps after the first token over their number.
fn tpot_ms(r: &Record) -> Option<f64> {
    let gaps = f64::from(r.output_tokens.checked_sub(1).filter(|n| *n > 0)?);
    Some(1e3 * seconds(r.first_token?, r.last_token?) / gaps)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for value in values {
        sum += value;
        n += 1.0;
    }
    sum / n
}

fn quantile(run: &RunRecord, q: f64) -> f64 {
    let mut all: Vec<f64> = completed(run).map(e2e_s).collect();
    all.sort_by(f64::total_cmp);
    all[(all.len() as f64 * q) as usize]
}
