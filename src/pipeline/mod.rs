//! How a quantity of a replica becomes a number that the HPA sees: scrape, ingestion, adapter.
//!
//! Every target is scraped at its own fixed phase. A sample shows after its ingestion delay; the adapter
//! answers a query from the samples that show, by the rules of its kind. Nothing else of a
//! pod's state reaches the HPA (law L9): a gauge that changes between two scrapes changes no answer.
//!
//! Not modelled: recording rules in between, remote write, the adapters' lists of metric names (a name that is new
//! to the cluster takes up to ten minutes to become known).
//!
//! Sources: prometheus-engine and k8s-stackdriver custom-metrics-stackdriver-adapter (metrics path),
//! prometheus-adapter (live queries, truncation), keda pkg/scalers/prometheus_scaler.go.

mod config;
mod query;
mod rate;
mod resource;
mod series;
mod targets;

pub use config::{Adapter, Faults, Outage, Part, PipelineConfig, SystemMetrics};
pub use query::{Aggregate, Function, Origin, Query};
pub use resource::{ResourceMetrics, ResourceSample};

use crate::rng::{Seed, Stream};
use crate::units::{Milli, PodId, SimDuration, SimTime};
use rand::RngExt as _;
use targets::{Read, Targets};

/// One answer of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The value as the HPA gets it.
    pub value: Milli,
    /// When the pod was last scraped. The HPA does not see this; reports do.
    pub scraped_at: SimTime,
}

/// The answer to a query for one value over all pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// A value.
    Value(Milli),
    /// There is no series.
    Empty,
    /// The adapter gives an error instead of an empty answer.
    Error,
    /// The adapter's query fails.
    Unreachable,
}

/// The metrics path of one deployment.
#[derive(Clone, Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    /// The queries, with their origin and the place of their first value in a scrape.
    queries: Vec<(Query, usize)>,
    /// Values of a scrape by origin.
    widths: [usize; Origin::ALL.len()],
    /// By origin.
    targets: [Targets; Origin::ALL.len()],
    /// First renewal of an adapter's copy.
    refresh_phase: SimDuration,
    buckets: Vec<rate::Sum>,
    /// What the buckets hold, while a quantile is taken.
    counts: Vec<f64>,
    /// By query: the last answer over all pods, and until when it is given again.
    kept: Vec<Option<(SimTime, Total)>>,
}

impl Pipeline {
    /// A path that answers `queries`, which are named by their place from here on.
    ///
    /// # Panics
    /// If an interval or a refresh period is 0.
    pub fn new(config: &PipelineConfig, queries: &[Query], seed: Seed) -> Self {
        let refresh_phase = config.refresh().map_or(SimDuration::ZERO, |period| {
            assert!(period > SimDuration::ZERO, "the adapter's refresh period must be above 0");
            let mut rng = seed.stream(Stream::ScrapePhase, u64::MAX);
            SimDuration::from_ps(rng.random_range(0..period.as_ps()))
        });
        let mut widths = [0; Origin::ALL.len()];
        let place = |query: &Query| {
            let width = &mut widths[query.origin as usize];
            let first = *width;
            *width += query.width();
            (query.clone(), first)
        };
        let queries: Vec<(Query, usize)> = queries.iter().map(place).collect();
        let targets = Origin::ALL.map(|origin| {
            let own = queries.iter().filter(|(query, _)| query.origin == origin);
            let window = own.map(|(query, _)| query.function.window()).max().unwrap_or_default();
            Targets::new(config, origin, widths[origin as usize], window, seed)
        });
        let kept = vec![None; queries.len()];
        Self {
            config: config.clone(),
            queries,
            widths,
            targets,
            refresh_phase,
            buckets: Vec::new(),
            counts: Vec::new(),
            kept,
        }
    }

    /// Whether any query reads this origin.
    pub fn reads(&self, origin: Origin) -> bool {
        self.widths[origin as usize] > 0
    }

    /// A target exists from `now` on; returns the time of its first scrape, at or after `now`. `None` if it exists
    /// already: a server that restarts in its pod stays the same target, and its scrapes go on.
    pub fn target_up(&mut self, now: SimTime, origin: Origin, pod: PodId) -> Option<SimTime> {
        self.targets[origin as usize].up(now, pod)
    }

    /// A scrape of a target: the values in the order of the queries, or `None` if it failed. Returns the time
    /// of the next scrape; `None` if there is no such target any more.
    pub fn scrape(
        &mut self,
        now: SimTime,
        origin: Origin,
        pod: PodId,
        values: Option<&[f64]>,
    ) -> Option<SimTime> {
        self.targets[origin as usize].scrape(now, pod, values)
    }

    /// The pod is gone; its scrapes end.
    pub fn target_down(&mut self, now: SimTime, origin: Origin, pod: PodId) {
        self.targets[origin as usize].down(now, pod);
    }

    /// Whether the metrics API fails at `now`.
    pub fn is_down(&self, now: SimTime) -> bool {
        self.config.faults.is_down(Part::Adapter, now)
    }

    /// Whether the query behind an answer at `now` found no Prometheus.
    pub fn prometheus_is_down(&self, now: SimTime) -> bool {
        let as_of = self.answered_as_of(now);
        as_of.is_some_and(|as_of| self.config.faults.is_down(Part::Prometheus, as_of))
    }

    /// What the adapter answers for one pod at `now`; `None` = no sample. Times of queries and
    /// scrapes must not go back.
    pub fn query(&mut self, now: SimTime, i: usize, pod: PodId) -> Option<Sample> {
        let as_of = self.answered_as_of(now)?;
        let (query, first) = &self.queries[i];
        let targets = &self.targets[query.origin as usize];
        let target = targets.live(pod)?;
        let (value, scraped_at) = match targets.read(target, query, *first, as_of)? {
            Read::Value(value, at) => (value, at),
            Read::Buckets(at) => {
                self.buckets.clear();
                self.buckets.resize(query.width(), rate::Sum::default());
                targets.add_buckets(target, query, *first, as_of, &mut self.buckets);
                (bucket_quantile(query, &self.buckets, &mut self.counts), at)
            }
        };
        // Adapters sum the series of one pod.
        let value = query.compared(value) * f64::from(query.series_per_target) * query.factor;
        Some(Sample { value: truncate(value), scraped_at })
    }

    /// What the adapter answers at `now` if it is asked for one value over all pods, those among them that are gone
    /// but still have points.
    pub fn query_total(&mut self, now: SimTime, i: usize) -> Total {
        if self.prometheus_is_down(now) {
            return Total::Unreachable;
        }
        if let Some((_, answer)) = self.kept[i].filter(|(until, _)| now < *until) {
            return answer;
        }
        let total = self.answered_as_of(now).and_then(|as_of| self.total(as_of, i));
        let answer = self.answer(total);
        // Source: k8s-stackdriver custom-metrics-stackdriver-adapter pkg/adapter/provider/cache.go: only what was
        // found is kept.
        if let (Adapter::Stackdriver { external_cache_ttl: Some(ttl), .. }, Total::Value(_)) =
            (&self.config.adapter, answer)
        {
            self.kept[i] = Some((now + *ttl, answer));
        }
        answer
    }

    /// The same, past any copy of the adapter's.
    pub fn query_live(&mut self, now: SimTime, i: usize) -> Total {
        if self.config.faults.is_down(Part::Prometheus, now) {
            return Total::Unreachable;
        }
        let total = self.total(now, i);
        self.answer(total)
    }

    fn answer(&self, total: Option<f64>) -> Total {
        let ignores_null = match &self.config.adapter {
            Adapter::Keda { ignore_null_values, .. } => Some(*ignore_null_values),
            Adapter::Stackdriver { .. }
            | Adapter::PrometheusAdapter { .. }
            | Adapter::GkeNative
            | Adapter::Direct => None,
        };
        match (total, ignores_null) {
            (Some(value), Some(ignores)) if !value.is_finite() => null(ignores),
            // Cloud Monitoring hands over the series one by one, each truncated; `total` did so.
            (Some(value), _) => Total::Value(truncate(value)),
            (None, Some(ignores)) => null(ignores),
            (None, None) => Total::Empty,
        }
    }

    fn total(&mut self, as_of: SimTime, i: usize) -> Option<f64> {
        let (query, first) = &self.queries[i];
        let targets = &self.targets[query.origin as usize];
        let truncates = self.config.keeps_last();
        let (mut series, mut sum, mut max) = (0_u32, rate::Sum::default(), f64::NEG_INFINITY);
        self.buckets.clear();
        self.buckets.resize(query.width(), rate::Sum::default());
        for target in targets.all() {
            match targets.read(target, query, *first, as_of) {
                Some(Read::Value(value, _)) => {
                    let value = query.compared(value);
                    let value = if truncates { truncate(value).0 as f64 / 1000.0 } else { value };
                    series += query.series_per_target;
                    sum.add(value * f64::from(query.series_per_target));
                    max = f64::max(max, value);
                }
                Some(Read::Buckets(_)) => {
                    series += 1;
                    targets.add_buckets(target, query, *first, as_of, &mut self.buckets);
                }
                None => {}
            }
        }
        if series == 0 {
            return None;
        }
        if let Function::Quantile { .. } = query.function {
            let quantile = bucket_quantile(query, &self.buckets, &mut self.counts);
            return Some(quantile * query.factor);
        }
        let value = match query.aggregate {
            // Whole thousandths stay whole.
            Aggregate::Sum if truncates => (sum.value() * 1000.0).round() / 1000.0,
            Aggregate::Sum => sum.value(),
            Aggregate::Avg => sum.value() / f64::from(series),
            Aggregate::Max => max,
        };
        Some(value * query.factor)
    }

    /// The instant whose state an answer at `now` shows; `None` before an adapter's first renewal.
    // Source: keda pkg/scaling/scale_handler.go, GetScaledObjectMetrics: a value that is not in the cache is asked for.
    fn answered_as_of(&self, now: SimTime) -> Option<SimTime> {
        let Some(period) = self.config.refresh() else { return Some(now) };
        let first = SimTime::ZERO + self.refresh_phase;
        if now < first {
            return matches!(self.config.adapter, Adapter::Keda { .. }).then_some(now);
        }
        Some(now - (now - first) % period)
    }

    /// When the adapter first renews its copy, and its period; `None` if it has none.
    pub fn renewals(&self) -> Option<(SimTime, SimDuration)> {
        Some((SimTime::ZERO + self.refresh_phase, self.config.refresh()?))
    }
}

/// KEDA's answer where there is no number.
fn null(ignores: bool) -> Total {
    if ignores { Total::Value(Milli(0)) } else { Total::Error }
}

/// The quantile that `query` asks for; `counts` is room for it.
fn bucket_quantile(query: &Query, buckets: &[rate::Sum], counts: &mut Vec<f64>) -> f64 {
    match query.function {
        Function::Quantile { quantile, .. } => {
            counts.clear();
            counts.extend(buckets.iter().map(|bucket| bucket.value()));
            rate::histogram_quantile(quantile, &query.bounds, counts)
        }
        Function::Instant
        | Function::AvgOverTime(_)
        | Function::MaxOverTime(_)
        | Function::Rate(_)
        | Function::Increase(_) => f64::NAN,
    }
}

/// `int64(value * 1000)` milli: truncation toward zero, NaN as 0.
// Source: prometheus-adapter pkg/custom-provider/provider.go; k8s-stackdriver pkg/adapter/translator.
fn truncate(value: f64) -> Milli {
    Milli((value * 1000.0) as i64)
}

#[cfg(test)]
mod tests;
