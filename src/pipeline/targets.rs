//! The scrape targets of one origin and what their series show.

use super::config::{Adapter, PipelineConfig};
use super::query::{Function, Origin, Query};
use super::rate;
use super::series::{Column, Series};
use crate::rng::{Dist, Generator, Seed, Stream};
use crate::units::{PodId, SimDuration, SimTime};
use rand::RngExt as _;

/// The targets of one origin.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    config: PipelineConfig,
    origin: Origin,
    width: usize,
    /// Longest window of a query, 0 if only newest samples are asked for.
    window: SimDuration,
    seed: Seed,
    /// In order of pod; those of gone pods among them as long as a query could find a point.
    list: Vec<Target>,
    /// Memory of targets that are forgotten.
    spare: Vec<Series>,
}

/// One scrape target.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pod: PodId,
    ingestion: Generator,
    losses: Generator,
    /// Extra delay of a new series.
    new_series_delay: SimDuration,
    /// Before this instant the series does not show; `None` = no successful scrape yet.
    shows_from: Option<SimTime>,
    /// When the pod went away.
    gone: Option<SimTime>,
    series: Series,
}

/// What one target gives for a query.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// A value and the time of the scrape it is as of.
    Value(f64, SimTime),
    /// A histogram's buckets, to be added up; the time of the newest scrape.
    Buckets(SimTime),
}

impl Targets {
    pub(super) fn new(
        config: &PipelineConfig,
        origin: Origin,
        width: usize,
        window: SimDuration,
        seed: Seed,
    ) -> Self {
        assert!(config.scrape_interval > SimDuration::ZERO, "the scrape interval must be above 0");
        assert!(config.system.interval > SimDuration::ZERO, "the sample period must be above 0");
        let config = config.clone();
        Self { config, origin, width, window, seed, list: Vec::new(), spare: Vec::new() }
    }

    fn interval(&self) -> SimDuration {
        match self.origin {
            Origin::System => self.config.system.interval,
            Origin::Server | Origin::Exporter | Origin::Router => self.config.scrape_interval,
        }
    }

    /// Number of a target's random streams: the pod's ordinal, apart for each origin.
    fn stream_index(&self, pod: PodId) -> u64 {
        u64::from(pod.0) | (self.origin as u64) << 32
    }

    pub(super) fn up(&mut self, now: SimTime, pod: PodId) -> Option<SimTime> {
        let Err(at) = self.find(pod) else { return None };
        let index = self.stream_index(pod);
        let mut series = self.spare.pop().unwrap_or_else(|| Series::new(self.width));
        series.clear();
        let mut ingestion = self.seed.stream(Stream::Ingestion, index);
        let new_series_delay = match &self.config.adapter {
            // The delay of system metrics is that of their samples.
            Adapter::Stackdriver { new_series_delay, .. } if self.origin != Origin::System => {
                new_series_delay.sample(&mut ingestion)
            }
            Adapter::Stackdriver { .. }
            | Adapter::PrometheusAdapter { .. }
            | Adapter::Keda { .. }
            | Adapter::GkeNative
            | Adapter::Direct => SimDuration::ZERO,
        };
        let target = Target {
            pod,
            ingestion,
            losses: self.seed.stream(Stream::LostScrapes, index),
            new_series_delay,
            shows_from: None,
            gone: None,
            series,
        };
        self.list.insert(at, target);
        Some(self.next_scrape(now, pod))
    }

    /// The first instant from `now` on at which the target is due.
    fn next_scrape(&self, now: SimTime, pod: PodId) -> SimTime {
        // Source: Prometheus scrape/target.go, offset: each target has a fixed phase in [0, interval).
        let interval = self.interval().as_ps();
        let mut phases = self.seed.stream(Stream::ScrapePhase, self.stream_index(pod));
        let phase = phases.random_range(0..interval);
        let behind = now.as_ps().saturating_sub(phase).div_ceil(interval);
        SimTime::from_ps(phase + behind * interval)
    }

    pub(super) fn scrape(
        &mut self,
        now: SimTime,
        pod: PodId,
        values: Option<&[f64]>,
    ) -> Option<SimTime> {
        let i = self.find(pod).ok()?;
        if self.list[i].gone.is_some() {
            return None;
        }
        let next = now + self.interval();
        let oldest = now - self.config.lookback.max(self.kept());
        let window = if self.window > SimDuration::ZERO { self.kept() } else { self.window };
        let ingest = ingest(&self.config, self.origin);
        let target = &mut self.list[i];
        // One draw per scrape, failed or not: faults shift no later delay.
        let visible_at = now + ingest.sample(&mut target.ingestion);
        let lost = self.config.faults.lost_scrapes > 0.0
            && target.losses.random::<f64>() < self.config.faults.lost_scrapes;
        if self.config.scrapes_nothing(now) {
            return Some(next);
        }
        let values = values.filter(|_| !lost);
        if values.is_some() && target.shows_from.is_none() {
            target.shows_from = Some(visible_at + target.new_series_delay);
        }
        // An adapter with a copy of its own may still answer as of its last renewal.
        let refresh = self.config.refresh().unwrap_or_default();
        target.series.forget(now - refresh, oldest - refresh, window);
        // Cloud Monitoring keeps serving the last point: a failed scrape leaves no trace. Prometheus writes a
        // staleness marker.
        if values.is_some() || !self.config.keeps_last() {
            target.series.push(now, visible_at, values);
        }
        Some(next)
    }

    /// How far back windows may read: the edge is interpolated.
    fn kept(&self) -> SimDuration {
        self.window + self.interval() * 2
    }

    pub(super) fn down(&mut self, now: SimTime, pod: PodId) {
        if let Ok(i) = self.find(pod) {
            let due = self.next_scrape(now, pod);
            let marked = match self.config.adapter {
                Adapter::Stackdriver { .. } => None,
                Adapter::GkeNative | Adapter::Direct => Some((now, now)),
                // Source: Prometheus scrape/scrape.go, endOfRunStaleness: the marker has the time of the next
                // scrape and is written 1.1 intervals after it, because the target may come back.
                Adapter::PrometheusAdapter { .. } | Adapter::Keda { .. } => {
                    Some((due, due + self.interval() + self.interval() / 10))
                }
            };
            let target = &mut self.list[i];
            target.gone = Some(now);
            if let Some((at, written)) = marked {
                target.series.push(at, written, None);
            }
        }
        let keep = self.config.lookback.max(self.kept())
            + self.config.refresh().unwrap_or_default()
            + self.interval();
        let mut i = 0;
        while i < self.list.len() {
            if self.list[i].gone.is_some_and(|gone| gone + keep < now) {
                self.spare.push(self.list.remove(i).series);
            } else {
                i += 1;
            }
        }
    }

    /// Every target with points, gone ones included.
    pub(super) fn all(&self) -> &[Target] {
        &self.list
    }

    /// The target of a pod that exists.
    pub(super) fn live(&self, pod: PodId) -> Option<&Target> {
        let target = &self.list[self.find(pod).ok()?];
        target.gone.is_none().then_some(target)
    }

    /// What `target` gives for a query whose values start at column `first`.
    pub(super) fn read(
        &self,
        target: &Target,
        query: &Query,
        first: usize,
        as_of: SimTime,
    ) -> Option<Read> {
        if target.shows_from.is_none_or(|from| from > as_of) {
            return None;
        }
        let column = target.series.column(first, as_of);
        let (scrape, newest) = column.newest()?;
        let at = scrape.scraped_at;
        let value = match query.function {
            Function::Instant => {
                // Source: k8s-stackdriver, aligner NEXT_OLDER over the last 5 min; the edge counts as inside.
                let fresh = at >= as_of - self.config.lookback;
                (scrape.has_values && fresh).then_some(newest)
            }
            Function::AvgOverTime(window) => rate::avg_over_time(column, window),
            Function::MaxOverTime(window) => rate::max_over_time(column, window),
            Function::Rate(window) => self.rate(column, window),
            Function::Increase(window) => rate::increase(column, window),
            Function::Quantile { window, .. } => {
                self.rate(column, window)?;
                return Some(Read::Buckets(at));
            }
        };
        value.map(|value| Read::Value(value, at))
    }

    fn rate(&self, counter: Column<'_>, window: SimDuration) -> Option<f64> {
        if self.config.keeps_last() {
            let oldest = counter.as_of - self.config.lookback;
            return rate::aligned_rate(counter, oldest, window);
        }
        rate::rate(counter, window)
    }

    /// Adds the rates of a histogram's buckets to `sums`.
    pub(super) fn add_buckets(
        &self,
        target: &Target,
        query: &Query,
        first: usize,
        as_of: SimTime,
        sums: &mut [rate::Sum],
    ) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let bucket = target.series.column(first + i, as_of);
            sum.add(self.rate(bucket, query.function.window()).unwrap_or(0.0));
        }
    }

    /// Scrapes kept for a pod.
    #[cfg(test)]
    pub(super) fn kept_scrapes(&self, pod: PodId) -> usize {
        self.find(pod).map_or(0, |i| self.list[i].series.len())
    }

    fn find(&self, pod: PodId) -> Result<usize, usize> {
        self.list.binary_search_by_key(&pod, |target| target.pod)
    }
}

/// From a scrape until its sample shows.
fn ingest(config: &PipelineConfig, origin: Origin) -> &Dist {
    match origin {
        Origin::System => &config.system.delay,
        Origin::Server | Origin::Exporter | Origin::Router => &config.ingest,
    }
}
