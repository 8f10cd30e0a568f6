//! Parameters of the metrics path.

use crate::rng::Dist;
use crate::units::{SimDuration, SimTime};

/// Parameters of the metrics path.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineConfig {
    /// Scrape period of every target; each has its own fixed phase. Not 0.
    pub scrape_interval: SimDuration,
    /// From a scrape until the sample can be queried.
    pub ingest: Dist,
    /// Samples older than this are not served.
    pub lookback: SimDuration,
    /// What answers the HPA.
    pub adapter: Adapter,
    /// The platform's own metrics, which are not scraped.
    pub system: SystemMetrics,
    /// What goes wrong.
    pub faults: Faults,
}

/// What answers the HPA's queries.
#[derive(Clone, Debug, PartialEq)]
pub enum Adapter {
    /// Cloud Monitoring behind the custom-metrics Stackdriver adapter: the newest visible sample of
    /// the look-back window, also after scrapes have failed.
    Stackdriver {
        /// Further delay before the first sample of a new pod shows.
        new_series_delay: Dist,
        /// `--external-metric-cache-ttl`: for this long an answer of one value over all pods is given again; `None` =
        /// each is a query.
        external_cache_ttl: Option<SimDuration>,
    },
    /// Prometheus behind prometheus-adapter: a failed scrape ends the series at once.
    PrometheusAdapter {
        /// The adapter answers from a copy it renews at this period; `None` = a live query.
        refresh: Option<SimDuration>,
    },
    /// Prometheus behind KEDA's metrics server: one value per trigger.
    Keda {
        /// `useCachedMetrics`: the answer is that of the last poll, at this period, and live before the first;
        /// `None` = a live query.
        cached: Option<SimDuration>,
        /// `ignoreNullValues`: an empty result, NaN and infinity count as 0 instead of an error.
        ignore_null_values: bool,
    },
    /// GKE's own metrics agent behind an `AutoscalingMetric`: it reads the pods and answers the HPA past Cloud
    /// Monitoring; a failed scrape ends the series at once.
    GkeNative,
    /// The newest scrape, nothing in between; a failed scrape ends the series at once.
    Direct,
}

/// Metrics that GKE writes into Cloud Monitoring by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct SystemMetrics {
    /// Period of their samples. Not 0.
    pub interval: SimDuration,
    /// From a sample until it can be queried.
    pub delay: Dist,
}

impl Default for SystemMetrics {
    // Source: Google Cloud metrics list, kubernetes.io/container/accelerator/duty_cycle: sampled every 60 s, not
    // visible for up to 240 s.
    // ASSUMPTION(A241): the delay has a median of 150 s and reaches 240 s in one of twenty samples; only its
    // upper end is documented.
    fn default() -> Self {
        Self {
            interval: SimDuration::from_secs(60),
            delay: Dist::LogNormal {
                median: SimDuration::from_secs(150),
                p95: SimDuration::from_secs(240),
            },
        }
    }
}

/// What goes wrong with the metrics path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Share of scrapes that fail, drawn per target from a stream of its own.
    pub lost_scrapes: f64,
    /// Times at which a part of the path is down.
    pub outages: Vec<Outage>,
}

/// A time at which a part of the path is down: from `from` on, before `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// What is down.
    pub part: Part,
    /// Start, inclusive.
    pub from: SimTime,
    /// End, exclusive.
    pub until: SimTime,
}

/// A part of the path that can be down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The metrics API that the HPA asks: every call fails.
    Adapter,
    /// The collector: nothing is scraped, and no failure is noted either.
    Collector,
    /// The Prometheus server: nothing is scraped, and every query that an adapter makes fails.
    Prometheus,
}

impl Faults {
    /// Whether `part` is down at `now`.
    pub fn is_down(&self, part: Part, now: SimTime) -> bool {
        self.outages.iter().any(|o| o.part == part && o.from <= now && now < o.until)
    }
}

impl PipelineConfig {
    /// Further delay before the first sample of a new pod shows in Cloud Monitoring.
    // ASSUMPTION(A120): 10 s.
    pub const NEW_SERIES_DELAY: Dist = Dist::Constant(SimDuration::from_secs(10));

    /// The guide's path: `PodMonitoring` every 15 s, Cloud Monitoring, Stackdriver adapter.
    // Source: accelerated-platforms PodMonitoring (15 s); k8s-stackdriver (5 min window).
    // ASSUMPTION(A44): ingestion 5 s median, 10 s p95; Google documents "a few seconds" for existing series.
    pub fn stackdriver() -> Self {
        Self {
            scrape_interval: SimDuration::from_secs(15),
            ingest: Dist::LogNormal {
                median: SimDuration::from_secs(5),
                p95: SimDuration::from_secs(10),
            },
            lookback: SimDuration::from_secs(300),
            adapter: Adapter::Stackdriver {
                new_series_delay: Self::NEW_SERIES_DELAY,
                external_cache_ttl: None,
            },
            system: SystemMetrics::default(),
            faults: Faults::default(),
        }
    }

    /// Prometheus every 15 s behind prometheus-adapter with live queries.
    // Source: prometheus-adapter queries live; Prometheus looks back 5 min.
    // ASSUMPTION(A121): a scrape can be queried 0.05-1 s later, as the path is local.
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

    /// Prometheus every 15 s behind KEDA with live queries and its defaults.
    // Source: keda pkg/scalers/prometheus_scaler.go: ignoreNullValues is true unless set.
    pub fn keda() -> Self {
        Self {
            adapter: Adapter::Keda { cached: None, ignore_null_values: true },
            ..Self::prometheus_adapter()
        }
    }

    /// GKE's own metrics agent.
    // Source: GKE documentation, expose custom metrics for autoscaling: in the cluster, not through Cloud Monitoring.
    // ASSUMPTION(A375): it reads every 15 s like the guide's PodMonitoring, and what it read can be asked for 0.05-1 s
    // later, as on the Prometheus paths; Google publishes neither.
    pub fn gke_native() -> Self {
        Self { adapter: Adapter::GkeNative, ..Self::prometheus_adapter() }
    }

    /// Scrapes every 15 s that show at once.
    pub fn direct() -> Self {
        Self {
            ingest: Dist::Constant(SimDuration::ZERO),
            adapter: Adapter::Direct,
            ..Self::stackdriver()
        }
    }

    /// Whether nothing is scraped at `now`.
    pub(super) fn scrapes_nothing(&self, now: SimTime) -> bool {
        self.faults.is_down(Part::Collector, now) || self.faults.is_down(Part::Prometheus, now)
    }

    /// The period at which the adapter renews its copy, if it has one.
    pub(super) fn refresh(&self) -> Option<SimDuration> {
        match &self.adapter {
            Adapter::PrometheusAdapter { refresh } => *refresh,
            Adapter::Keda { cached, .. } => *cached,
            Adapter::Stackdriver { .. } | Adapter::GkeNative | Adapter::Direct => None,
        }
    }

    /// Whether the last point stays when scrapes fail or the pod goes away.
    pub(super) fn keeps_last(&self) -> bool {
        matches!(self.adapter, Adapter::Stackdriver { .. })
    }
}
