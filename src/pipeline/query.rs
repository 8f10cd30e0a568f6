//! What an adapter is asked for.

use crate::units::SimDuration;

/// Where the samples of a metric come from. Every origin has targets, phases and random streams of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Origin {
    /// `/metrics` of the pods' servers.
    Server,
    /// The DCGM exporter, which tells of the pods' GPUs from the start of their container on.
    Exporter,
    /// GKE's system metrics.
    System,
    /// The router in front of the pods; one target.
    Router,
}

impl Origin {
    /// Every origin, in order.
    pub const ALL: [Self; 4] = [Self::Server, Self::Exporter, Self::System, Self::Router];
}

/// What is computed from the samples of one target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// The newest sample.
    Instant,
    /// Mean of the samples in the window.
    AvgOverTime(SimDuration),
    /// Largest of the samples in the window.
    MaxOverTime(SimDuration),
    /// Growth per second of a counter over the window.
    Rate(SimDuration),
    /// Growth of a counter over the window, as Prometheus extends it to the window's edges.
    Increase(SimDuration),
    /// `histogram_quantile` of the rates of a histogram's buckets over the window.
    Quantile {
        /// 0 to 1.
        quantile: f64,
        /// Window of the rates.
        window: SimDuration,
    },
}

impl Function {
    /// How far back it reads, 0 for the newest sample alone.
    pub fn window(self) -> SimDuration {
        match self {
            Self::Instant => SimDuration::ZERO,
            Self::AvgOverTime(window)
            | Self::MaxOverTime(window)
            | Self::Rate(window)
            | Self::Increase(window)
            | Self::Quantile { window, .. } => window,
        }
    }
}

/// How the values of several series become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// Their sum; for a quantile the sum of the bucket rates, before the quantile is taken.
    Sum,
    /// Their mean.
    Avg,
    /// The largest.
    Max,
}

/// One metric of an HPA, as the adapter computes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Where its samples come from.
    pub origin: Origin,
    /// What is computed per target.
    pub function: Function,
    /// How one value comes from all targets, where one is asked for.
    pub aggregate: Aggregate,
    /// Upper bounds of the buckets of a histogram, without +Inf; empty for any other metric.
    pub bounds: Vec<f64>,
    /// Series of equal value per target (GPUs of a pod), at least 1.
    pub series_per_target: u32,
    /// `> bool X`: the value of a series becomes 1 if it is above, else 0.
    pub above: Option<f64>,
    /// Factor on the result.
    pub factor: f64,
}

impl Query {
    /// The newest sample of a server's gauge.
    pub fn gauge() -> Self {
        Self {
            origin: Origin::Server,
            function: Function::Instant,
            aggregate: Aggregate::Sum,
            bounds: Vec::new(),
            series_per_target: 1,
            above: None,
            factor: 1.0,
        }
    }

    /// The value of one series after `> bool X`.
    pub(super) fn compared(&self, value: f64) -> f64 {
        match self.above {
            Some(limit) if value > limit => 1.0,
            Some(_) => 0.0,
            None => value,
        }
    }

    /// Values that it takes from each scrape.
    pub fn width(&self) -> usize {
        match self.function {
            Function::Quantile { .. } => self.bounds.len() + 1,
            Function::Instant
            | Function::AvgOverTime(_)
            | Function::MaxOverTime(_)
            | Function::Rate(_)
            | Function::Increase(_) => 1,
        }
    }
}
