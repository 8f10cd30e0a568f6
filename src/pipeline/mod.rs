//! How a gauge becomes a number that the HPA sees: scrape, ingestion, adapter.

use crate::rng::{Dist, Seed};
use crate::units::{Milli, PodId, SimDuration, SimTime};

/// Parameters of the metrics path.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineConfig {
    /// Scrape period of every pod; each pod has its own fixed phase.
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

/// One answer of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The value as the HPA gets it.
    pub value: Milli,
    /// When the pod was scraped. The HPA does not see this; reports do.
    pub scraped_at: SimTime,
}

/// The metrics path of one deployment.
#[derive(Debug)]
pub struct Pipeline {
    config: PipelineConfig,
    metric_count: usize,
    seed: Seed,
}

impl Pipeline {
    /// A path for `metric_count` gauges per pod.
    pub fn new(config: &PipelineConfig, metric_count: usize, seed: Seed) -> Self {
        Self { config: config.clone(), metric_count, seed }
    }

    /// A pod's server listens from `now`; returns the time of its first scrape, at or after `now`.
    pub fn target_up(&mut self, now: SimTime, pod: PodId) -> SimTime {
        let _ = (pod, self.seed);
        now
    }

    /// A scrape of `pod`: the gauges in the order agreed on, or `None` if it failed. Returns the time
    /// of the next scrape.
    pub fn scrape(&mut self, now: SimTime, pod: PodId, values: Option<&[f64]>) -> SimTime {
        let _ = (pod, values, self.metric_count);
        now + self.config.scrape_interval
    }

    /// The pod is gone; its scrapes end.
    pub fn target_down(&mut self, now: SimTime, pod: PodId) {
        let _ = (now, pod);
    }

    /// What the adapter answers for one pod at `now`; `None` = no sample. Times of queries must not
    /// go back.
    pub fn query(&mut self, now: SimTime, metric: usize, pod: PodId) -> Option<Sample> {
        let _ = (now, metric, pod);
        None
    }
}
