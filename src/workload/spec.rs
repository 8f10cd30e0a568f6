//! What a workload is: one or more overlapping streams of arrivals with their lengths.

use super::client::Clients;
use super::lengths::LengthModel;
use super::process::{Drawn, ProcessTimes};
use super::rate::{Generated, RateModel, Renewal};
use super::recorded::Recorded;
use super::request::{Request, Trace};
use super::sessions::{SessionPool, Sessions};
use super::text::{StreamTexts, Texts};
use super::transform::Transform;
use super::vllm_bench::VllmBench;
use super::{ClosedLoop, ParamError};
use crate::rng::Seed;
use crate::units::{SimDuration, SimTime};

/// Where the arrival times of a stream come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// A recorded trace with its own lengths.
    Replay(Recorded, Transform),
    /// A generated process with lengths from a model.
    Generated(Generated, LengthModel),
    /// The load of `vllm bench serve`: its own instants, lengths from a model.
    VllmBench(VllmBench, LengthModel),
    /// Users who wait for their answer.
    ClosedLoop(ClosedLoop),
    /// Conversations, whose next turn waits for the answer unless it is stamped beforehand.
    Sessions(Box<Sessions>),
}

/// One stream of requests.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSpec {
    /// Name of the traffic class; may be empty.
    pub class: String,
    /// Priority of its InferenceObjective: below 0, a gateway may shed its requests. `None`: not said.
    pub priority: Option<i32>,
    /// Times and lengths.
    pub arrivals: Arrivals,
    /// When the stream starts within the workload.
    pub start: SimDuration,
    /// When it ends, counted from its start; `None`: with the trace, or with the workload.
    pub duration: Option<SimDuration>,
    /// It ends after this many requests, as a load generator with a number of prompts does. Users of a closed
    /// loop have no such end.
    pub requests: Option<u64>,
    /// At most this many of its requests in flight, the rest waits at its clients. On top of
    /// [`Clients::max_connections`], which counts all streams.
    pub max_connections: Option<u32>,
    /// Streams with the same value send the same prompts with the same lengths in the same order, as load
    /// generators do that are started with one `--seed`. Only for generated arrivals; `None`: requests of its own, or
    /// those of [`VllmBench::seed`].
    pub request_seed: Option<u64>,
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
        Self {
            class: String::new(),
            priority: None,
            arrivals,
            start: SimDuration::ZERO,
            duration: None,
            requests: None,
            max_connections: None,
            request_seed: None,
        }
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
            if stream.request_seed.is_some() && !matches!(stream.arrivals, Arrivals::Generated(..))
            {
                let what = match stream.arrivals {
                    Arrivals::VllmBench(..) => {
                        "does not go with `vllm_bench`, which has a `seed` of its own"
                    }
                    _ => "needs a source that draws its arrivals, such as `poisson`",
                };
                return Err(place(ParamError::new("request_seed", what)));
            }
            match &stream.arrivals {
                Arrivals::Replay(_, t) => t.check().map_err(place)?,
                Arrivals::Generated(g, _) => g.check().map_err(place)?,
                Arrivals::VllmBench(bench, _) => bench.check().map_err(place)?,
                Arrivals::Sessions(s) => s.check().map_err(place)?,
                Arrivals::ClosedLoop(_) => {}
            }
            let twin = |s: &&StreamSpec| s.shares_requests_with(stream);
            if let Some(first) = streams[..i].iter().find(twin)
                && first.lengths() != stream.lengths()
            {
                let what =
                    "streams with one seed need the same lengths: they send the same requests";
                let field = if stream.request_seed.is_some() { "request_seed" } else { "seed" };
                return Err(place(ParamError::new(field, what)));
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
        self.streams.iter().any(|stream| match &stream.arrivals {
            Arrivals::ClosedLoop(_) => true,
            Arrivals::Sessions(sessions) => !sessions.open,
            Arrivals::Replay(..) | Arrivals::Generated(..) | Arrivals::VllmBench(..) => false,
        })
    }

    /// Priority of the requests of the stream with this ordinal.
    // Source: gateway-api-inference-extension, InferenceObjective: the default is 0.
    pub fn priority(&self, stream: usize) -> i32 {
        self.streams.get(stream).and_then(|stream| stream.priority).unwrap_or(0)
    }

    /// Whether a gateway may shed requests of the stream with this ordinal: its priority is below 0, or no stream
    /// says a priority at all.
    // Source: gateway-api-inference-extension, InferenceObjective: priority below 0 is sheddable, the default is 0.
    // ASSUMPTION(A341): somebody who asks for shedding and names no priority means all requests.
    pub fn is_sheddable(&self, stream: usize) -> bool {
        match self.streams.get(stream).and_then(|stream| stream.priority) {
            Some(priority) => priority < 0,
            None => self.streams.iter().all(|stream| stream.priority.is_none()),
        }
    }

    /// Whether a stream starts when its test run is answered ([`VllmBench::test_run`]).
    pub fn has_test_run(&self) -> bool {
        self.streams.iter().any(|stream| stream.test_run().is_some())
    }

    /// Whether a realisation can be made in advance: no closed-loop stream, no test run and no cap on connections.
    pub fn is_realisable(&self) -> bool {
        !self.is_closed_loop()
            && !self.has_test_run()
            && self.clients.max_connections.is_none()
            && self.streams.iter().all(|s| s.max_connections.is_none())
    }

    /// The length that the workload has by itself: the latest end of a stream with a trace, a curve or a
    /// duration. `None` if no stream has an end, and the experiment must say how long it runs.
    pub fn natural_duration(&self) -> Option<SimDuration> {
        self.streams
            .iter()
            .filter_map(|s| {
                let own = match &s.arrivals {
                    Arrivals::Replay(trace, t) => Some(t.natural_duration(trace)),
                    Arrivals::Generated(g, _) => g.natural_duration(),
                    // After a test run it depends on the answer.
                    Arrivals::VllmBench(bench, _) if bench.test_run.is_none() => {
                        Some(SimDuration::from_secs_f64(bench.last_s()))
                    }
                    Arrivals::Sessions(s) => s.arrivals.natural_duration(),
                    Arrivals::VllmBench(..) | Arrivals::ClosedLoop(_) => None,
                };
                s.duration.or(own).map(|d| s.start + d)
            })
            .max()
    }

    /// What the prompts of the realisation that `seed` gives have in common.
    pub fn texts(&self, seed: Seed) -> Texts {
        let texts = |(i, stream): (usize, &StreamSpec)| match &stream.arrivals {
            Arrivals::Replay(trace, _) => {
                trace.texts.clone().map_or(StreamTexts::None, StreamTexts::Recorded)
            }
            Arrivals::Generated(..) | Arrivals::VllmBench(..)
                if stream.shared_requests().is_some() =>
            {
                let same = |other: &StreamSpec| other.shares_requests_with(stream);
                StreamTexts::Whole(self.streams.iter().position(same).unwrap_or(i) as u64)
            }
            Arrivals::Generated(..) | Arrivals::VllmBench(..) | Arrivals::ClosedLoop(_) => {
                StreamTexts::None
            }
            Arrivals::Sessions(s) => StreamTexts::Sessions(s.texts(seed, i as u64)),
        };
        Texts { streams: self.streams.iter().enumerate().map(texts).collect() }
    }

    /// All requests before `until`, in time order; equal times in the order of the streams. Closed-loop
    /// streams are left out. The same seed gives the same requests, whatever the caller does with them.
    ///
    /// Generated streams are drawn one request at a time; a trace is copied only if it is transformed.
    pub fn source(
        &self,
        seed: Seed,
        until: SimTime,
    ) -> Box<dyn Iterator<Item = Request> + Send + 'static> {
        let mut sources: Vec<BoxedSource> = self
            .streams
            .iter()
            .enumerate()
            .filter_map(|(i, stream)| stream.source(seed, i as u64, until))
            .collect();
        if sources.len() == 1 {
            return sources.swap_remove(0);
        }
        Box::new(Merged { sources: sources.into_iter().map(Iterator::peekable).collect() })
    }

    /// All requests before `until` as one shared trace.
    pub fn materialise(&self, seed: Seed, until: SimTime) -> Trace {
        self.source(seed, until).collect()
    }
}

/// Requests in time order.
pub(super) type BoxedSource = Box<dyn Iterator<Item = Request> + Send + 'static>;

impl StreamSpec {
    /// Output tokens of its test run.
    pub(super) fn test_run(&self) -> Option<u32> {
        match &self.arrivals {
            Arrivals::VllmBench(bench, _) => bench.test_run,
            _ => None,
        }
    }

    /// What its requests are drawn with, if other streams may send the same.
    fn shared_requests(&self) -> Option<u64> {
        match &self.arrivals {
            Arrivals::VllmBench(bench, _) => Some(u64::from(bench.seed)),
            _ => self.request_seed,
        }
    }

    fn shares_requests_with(&self, other: &Self) -> bool {
        let own = self.shared_requests();
        own.is_some() && own == other.shared_requests()
    }

    fn lengths(&self) -> Option<&LengthModel> {
        match &self.arrivals {
            Arrivals::Generated(_, lengths) | Arrivals::VllmBench(_, lengths) => Some(lengths),
            Arrivals::Replay(..) | Arrivals::ClosedLoop(_) | Arrivals::Sessions(_) => None,
        }
    }

    /// Its requests before `until`, in time order and without regard to any cap; `None` for a closed loop.
    pub(super) fn source(&self, seed: Seed, ordinal: u64, until: SimTime) -> Option<BoxedSource> {
        let own_end = self.duration.map_or(SimTime::NEVER, |d| SimTime::ZERO + d);
        let end = own_end.min(SimTime::ZERO + until.saturating_since(SimTime::ZERO + self.start));
        let inner: BoxedSource = match &self.arrivals {
            Arrivals::Replay(trace, t) if t.is_identity() => {
                let trace = Trace::clone(&trace.requests);
                let mut next = 0;
                let rows = std::iter::from_fn(move || {
                    let r = trace.get(next).copied()?;
                    next += 1;
                    Some(r)
                });
                Box::new(rows.take_while(move |r| r.arrival < end))
            }
            Arrivals::Replay(trace, t) => {
                let rows = t.apply(trace, seed, ordinal).into_iter();
                Box::new(rows.take_while(move |r| r.arrival < end))
            }
            Arrivals::Generated(g, lengths) => {
                let times = ProcessTimes::new(g, seed, ordinal, end);
                Box::new(Drawn::new(times, lengths, seed, ordinal, self.request_seed))
            }
            Arrivals::VllmBench(bench, lengths) => {
                let times = bench.times().take_while(move |at| *at < end);
                Box::new(Drawn::new(times, lengths, seed, ordinal, self.shared_requests()))
            }
            Arrivals::Sessions(sessions) if sessions.open => {
                Box::new(SessionPool::new(sessions, seed, ordinal, SimDuration::ZERO, end))
            }
            Arrivals::ClosedLoop(_) | Arrivals::Sessions(_) => return None,
        };
        let inner: BoxedSource = if ordinal > 0 && !matches!(self.arrivals, Arrivals::Sessions(_)) {
            Box::new(inner.map(move |r| Request { text: r.text.in_stream(ordinal), ..r }))
        } else {
            inner
        };
        let inner: BoxedSource = match self.requests {
            Some(n) => Box::new(inner.take(usize::try_from(n).unwrap_or(usize::MAX))),
            None => inner,
        };
        if self.start == SimDuration::ZERO {
            return Some(inner);
        }
        let start = self.start;
        Some(Box::new(inner.map(move |r| Request { arrival: r.arrival + start, ..r })))
    }
}

/// Several streams in one time order.
struct Merged {
    sources: Vec<std::iter::Peekable<BoxedSource>>,
}

impl Iterator for Merged {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let mut first: Option<(SimTime, usize)> = None;
        for (i, source) in self.sources.iter_mut().enumerate() {
            if let Some(r) = source.peek()
                && first.is_none_or(|(t, _)| r.arrival < t)
            {
                first = Some((r.arrival, i));
            }
        }
        self.sources[first?.1].next()
    }
}
