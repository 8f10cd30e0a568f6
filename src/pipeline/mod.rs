//! How a gauge becomes a number that the HPA sees: scrape, ingestion, adapter.
//!
//! Every pod is scraped at its own fixed phase. A sample shows after its ingestion delay; the adapter
//! answers a query with the newest sample that shows, by the rules of its kind. Nothing else of a
//! pod's state reaches the HPA (law L9): a gauge that changes between two scrapes changes no answer.
//!
//! Sources: prometheus-engine and k8s-stackdriver custom-metrics-stackdriver-adapter (metrics path),
//! prometheus-adapter (live queries, truncation).

mod series;

use crate::rng::{Dist, Generator, Seed, Stream};
use crate::units::{Milli, PodId, SimDuration, SimTime};
use rand::RngExt as _;
use series::Series;

/// Parameters of the metrics path.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineConfig {
    /// Scrape period of every pod; each pod has its own fixed phase. Not 0.
    pub scrape_interval: SimDuration,
    /// From a scrape until the sample can be queried.
    pub ingest: Dist,
    /// Samples older than this are not served.
    pub lookback: SimDuration,
    /// What answers the HPA.
    pub adapter: Adapter,
}

/// What answers the HPA's queries.
#[derive(Clone, Debug, PartialEq)]
pub enum Adapter {
    /// Cloud Monitoring behind the custom-metrics Stackdriver adapter: the newest visible sample of
    /// the look-back window, also after scrapes have failed.
    Stackdriver {
        /// Further delay before the first sample of a new pod shows.
        new_series_delay: Dist,
    },
    /// Prometheus behind prometheus-adapter: a failed scrape ends the series at once.
    PrometheusAdapter {
        /// The adapter answers from a copy it renews at this period; `None` = a live query.
        refresh: Option<SimDuration>,
    },
    /// The newest scrape, nothing in between; a failed scrape ends the series at once.
    Direct,
}

impl PipelineConfig {
    /// The guide's path: `PodMonitoring` every 15 s, Cloud Monitoring, Stackdriver adapter.
    // Source: accelerated-platforms PodMonitoring (15 s); k8s-stackdriver (5 min window).
    // ASSUMPTION(A120): ingestion 5 s median, 10 s p95; a new pod's first sample 10 s later.
    pub fn stackdriver() -> Self {
        Self {
            scrape_interval: SimDuration::from_secs(15),
            ingest: Dist::LogNormal {
                median: SimDuration::from_secs(5),
                p95: SimDuration::from_secs(10),
            },
            lookback: SimDuration::from_secs(300),
            adapter: Adapter::Stackdriver {
                new_series_delay: Dist::Constant(SimDuration::from_secs(10)),
            },
        }
    }

    /// Prometheus every 15 s behind prometheus-adapter with live queries.
    // Source: prometheus-adapter queries live; Prometheus looks back 5 min.
    // ASSUMPTION(A121): a scrape can be queried 0.05-1 s later.
    pub fn prometheus_adapter() -> Self {
        Self {
            ingest: Dist::LogNormal {
                median: SimDuration::from_millis(200),
                p95: SimDuration::from_secs(1),
            },
            adapter: Adapter::PrometheusAdapter { refresh: None },
            ..Self::stackdriver()
        }
    }

    /// Scrapes every 15 s that show at once.
    pub fn direct() -> Self {
        Self {
            ingest: Dist::Constant(SimDuration::ZERO),
            adapter: Adapter::Direct,
            ..Self::stackdriver()
        }
    }
}

/// One answer of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The value as the HPA gets it.
    pub value: Milli,
    /// When the pod was scraped. The HPA does not see this; reports do.
    pub scraped_at: SimTime,
}

/// The metrics path of one deployment.
#[derive(Clone, Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    metric_count: usize,
    seed: Seed,
    /// Live targets in order of pod.
    targets: Vec<Target>,
    /// Memory of targets that are gone.
    spare: Vec<Series>,
    /// First renewal of an adapter's copy.
    refresh_phase: SimDuration,
}

/// One scrape target.
#[derive(Clone, Debug)]
struct Target {
    pod: PodId,
    rng: Generator,
    /// Extra delay of a new series.
    new_series_delay: SimDuration,
    /// Before this instant the series does not show; `None` = no successful scrape yet.
    shows_from: Option<SimTime>,
    series: Series,
}

impl Pipeline {
    /// A path for `metric_count` gauges per pod.
    ///
    /// # Panics
    /// If the scrape interval or a refresh period is 0.
    pub fn new(config: &PipelineConfig, metric_count: usize, seed: Seed) -> Self {
        assert!(config.scrape_interval > SimDuration::ZERO, "the scrape interval must be above 0");
        let refresh_phase = config.refresh().map_or(SimDuration::ZERO, |period| {
            assert!(period > SimDuration::ZERO, "the adapter's refresh period must be above 0");
            let mut rng = seed.stream(Stream::ScrapePhase, u64::MAX);
            SimDuration::from_ps(rng.random_range(0..period.as_ps()))
        });
        Self {
            config: config.clone(),
            metric_count,
            seed,
            targets: Vec::new(),
            spare: Vec::new(),
            refresh_phase,
        }
    }

    /// A pod's server listens from `now`; returns the time of its first scrape, at or after `now`.
    /// A server that restarts calls this again.
    pub fn target_up(&mut self, now: SimTime, pod: PodId) -> SimTime {
        let index = u64::from(pod.0);
        if let Err(at) = self.find(pod) {
            let mut series = self.spare.pop().unwrap_or_else(|| Series::new(self.metric_count));
            series.clear();
            let mut rng = self.seed.stream(Stream::Ingestion, index);
            let new_series_delay = match &self.config.adapter {
                Adapter::Stackdriver { new_series_delay } => new_series_delay.sample(&mut rng),
                Adapter::PrometheusAdapter { .. } | Adapter::Direct => SimDuration::ZERO,
            };
            let target = Target { pod, rng, new_series_delay, shows_from: None, series };
            self.targets.insert(at, target);
        }
        // Source: Prometheus scrape/target.go, offset: each target has a fixed phase in [0, interval).
        let interval = self.config.scrape_interval.as_ps();
        let phase = self.seed.stream(Stream::ScrapePhase, index).random_range(0..interval);
        let behind = now.as_ps().saturating_sub(phase).div_ceil(interval);
        SimTime::from_ps(phase + behind * interval)
    }

    /// A scrape of `pod`: the gauges in the order agreed on, or `None` if it failed. Returns the time
    /// of the next scrape. A pod that is down is not scraped: nothing happens.
    pub fn scrape(&mut self, now: SimTime, pod: PodId, values: Option<&[f64]>) -> SimTime {
        let next = now + self.config.scrape_interval;
        let Ok(i) = self.find(pod) else { return next };
        let target = &mut self.targets[i];
        // One draw per scrape, failed or not: faults shift no later delay.
        let visible_at = now + self.config.ingest.sample(&mut target.rng);
        if values.is_some() && target.shows_from.is_none() {
            target.shows_from = Some(visible_at + target.new_series_delay);
        }
        let oldest = now - self.config.lookback;
        // An adapter with a copy of its own may still answer as of its last renewal.
        let seen_until = self.config.refresh().map_or(now, |period| now - period);
        target.series.forget(seen_until, oldest - self.config.refresh().unwrap_or_default());
        match &self.config.adapter {
            // Cloud Monitoring keeps serving the last point: a failed scrape leaves no trace.
            Adapter::Stackdriver { .. } if values.is_none() => {}
            // Prometheus writes a staleness marker.
            Adapter::Stackdriver { .. } | Adapter::PrometheusAdapter { .. } | Adapter::Direct => {
                target.series.push(now, visible_at, values);
            }
        }
        next
    }

    /// The pod is gone; its scrapes end.
    pub fn target_down(&mut self, _now: SimTime, pod: PodId) {
        if let Ok(i) = self.find(pod) {
            self.spare.push(self.targets.remove(i).series);
        }
    }

    /// What the adapter answers for one pod at `now`; `None` = no sample. Times of queries and
    /// scrapes must not go back.
    pub fn query(&mut self, now: SimTime, metric: usize, pod: PodId) -> Option<Sample> {
        assert!(metric < self.metric_count, "metric {metric} of {}", self.metric_count);
        let asked_at = self.answered_as_of(now)?;
        let target = &self.targets[self.find(pod).ok()?];
        if target.shows_from.is_none_or(|from| from > asked_at) {
            return None;
        }
        let (scrape, value) = target.series.newest(asked_at, metric)?;
        // Source: k8s-stackdriver, aligner NEXT_OLDER over the last 5 min; the edge counts as inside.
        let fresh = scrape.scraped_at >= asked_at - self.config.lookback;
        (scrape.has_values && fresh)
            .then(|| Sample { value: truncate(value), scraped_at: scrape.scraped_at })
    }

    /// The instant whose state an answer at `now` shows; `None` before an adapter's first renewal.
    fn answered_as_of(&self, now: SimTime) -> Option<SimTime> {
        let Some(period) = self.config.refresh() else { return Some(now) };
        let first = SimTime::ZERO + self.refresh_phase;
        if now < first {
            return None;
        }
        Some(now - (now - first) % period)
    }

    /// Index of a live target, or where it would be.
    fn find(&self, pod: PodId) -> Result<usize, usize> {
        self.targets.binary_search_by_key(&pod, |target| target.pod)
    }
}

impl PipelineConfig {
    /// The period at which the adapter renews its copy, if it has one.
    fn refresh(&self) -> Option<SimDuration> {
        match &self.adapter {
            Adapter::PrometheusAdapter { refresh } => *refresh,
            Adapter::Stackdriver { .. } | Adapter::Direct => None,
        }
    }
}

/// `int64(value * 1000)` milli: truncation toward zero, NaN as 0.
// Source: prometheus-adapter pkg/custom-provider/provider.go; k8s-stackdriver pkg/adapter/translator.
fn truncate(value: f64) -> Milli {
    Milli((value * 1000.0) as i64)
}

#[cfg(test)]
mod tests;
