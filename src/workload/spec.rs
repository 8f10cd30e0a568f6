//! What a workload is: one or more overlapping streams of arrivals with their lengths.

use super::client::Clients;
use super::lengths::LengthModel;
use super::rate::{Generated, RateModel, Renewal};
use super::request::{Recorded, Request, Trace};
use super::transform::Transform;
use super::{ClosedLoop, ParamError, positive};
use crate::rng::Seed;
use crate::units::{SimDuration, SimTime};

/// Where the arrival times of a stream come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// A recorded trace with its own lengths.
    Replay(Recorded, Transform),
    /// A generated process with lengths from a model.
    Generated(Generated, LengthModel),
    /// Users who wait for their answer.
    ClosedLoop(ClosedLoop),
}

/// One stream of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSpec {
    /// Name of the traffic class; may be empty.
    pub class: String,
    /// Times and lengths.
    pub arrivals: Arrivals,
    /// When the stream starts within the workload.
    pub start: SimDuration,
    /// When it ends, counted from its start; `None`: with the trace, or with the workload.
    pub duration: Option<SimDuration>,
}

/// A validated workload.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadSpec {
    streams: Vec<StreamSpec>,
    clients: Clients,
}

impl StreamSpec {
    /// A stream that starts at time zero and has no end of its own.
    pub fn new(arrivals: Arrivals) -> Self {
        Self { class: String::new(), arrivals, start: SimDuration::ZERO, duration: None }
    }
}

impl WorkloadSpec {
    /// Streams that overlap; at least one.
    pub fn new(streams: Vec<StreamSpec>, clients: Clients) -> Result<Self, ParamError> {
        if streams.is_empty() {
            return Err(ParamError::new("workload", "needs at least one source of requests"));
        }
        for (i, stream) in streams.iter().enumerate() {
            let place = |e: ParamError| if i > 0 { e.within(&format!("stream[{i}]")) } else { e };
            match &stream.arrivals {
                Arrivals::Replay(_, t) => {
                    positive("time_stretch", t.time_stretch).map_err(place)?;
                    positive("rate_scale", t.rate_scale).map_err(place)?;
                }
                Arrivals::Generated(g, _) => g.check().map_err(place)?,
                Arrivals::ClosedLoop(_) => {}
            }
        }
        Ok(Self { streams, clients })
    }

    /// One stream, clients without limits.
    pub fn single(arrivals: Arrivals) -> Result<Self, ParamError> {
        Self::new(vec![StreamSpec::new(arrivals)], Clients::default())
    }

    /// Poisson arrivals at `rate_rps`.
    pub fn poisson(rate_rps: f64, lengths: LengthModel) -> Result<Self, ParamError> {
        let g = Generated::new(RateModel::Constant(rate_rps), Renewal::Exponential);
        Self::single(Arrivals::Generated(g, lengths))
    }

    /// A recorded trace, unchanged.
    pub fn replay(trace: Recorded) -> Self {
        let stream = StreamSpec::new(Arrivals::Replay(trace, Transform::default()));
        Self { streams: vec![stream], clients: Clients::default() }
    }

    /// The streams.
    pub fn streams(&self) -> &[StreamSpec] {
        &self.streams
    }
    /// Limits of the clients.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }
    /// Whether arrivals depend on completions: such a workload cannot be materialised.
    pub fn is_closed_loop(&self) -> bool {
        self.streams.iter().any(|s| matches!(s.arrivals, Arrivals::ClosedLoop(_)))
    }

    /// The length that the workload has by itself: the longest trace or curve. `None` if a stream goes on
    /// for ever, and the experiment must say how long it runs.
    pub fn natural_duration(&self) -> Option<SimDuration> {
        None
    }

    /// All requests before `until`, in time order; closed-loop streams are left out. The same seed gives
    /// the same requests, whatever the caller does with them.
    pub fn source(
        &self,
        seed: Seed,
        until: SimTime,
    ) -> Box<dyn Iterator<Item = Request> + Send + 'static> {
        let _ = (seed, until);
        Box::new(std::iter::empty())
    }

    /// All requests before `until` as one shared trace.
    pub fn materialise(&self, seed: Seed, until: SimTime) -> Trace {
        self.source(seed, until).collect()
    }
}
