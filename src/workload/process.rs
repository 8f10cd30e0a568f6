//! Generated arrivals: a renewal process in operational time, micro-batches, lengths by ordinal.

use super::draw;
use super::lengths::LengthModel;
use super::path::{RatePath, Segment};
use super::rate::{Generated, Renewal};
use super::request::{Request, TextId};
use crate::rng::{Generator, Seed, Stream};
use crate::units::{PS_PER_MS, PS_PER_S, SimTime};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Spacing of the requests of one micro-batch.
// Source: our own choice: what a client can tell apart.
const BATCH_SPACING_PS: u64 = PS_PER_MS;

/// Requests at given times with lengths from a model.
pub(super) struct Drawn<T> {
    times: T,
    lengths: LengthModel,
    length_rng: Generator,
    /// Number of the next text, where other streams send the same.
    next_text: Option<u64>,
}

impl<T: Iterator<Item = SimTime>> Drawn<T> {
    /// `stream`: ordinal within the workload; `request_seed`: what the requests are drawn with, besides the seed of the
    /// realisation, if other streams send the same.
    pub(super) fn new(
        times: T,
        lengths: &LengthModel,
        seed: Seed,
        stream: u64,
        request_seed: Option<u64>,
    ) -> Self {
        Self {
            times,
            lengths: lengths.clone(),
            length_rng: match request_seed {
                Some(request_seed) => seed.stream(Stream::SharedRequests, request_seed),
                None => seed.stream(Stream::Lengths, stream),
            },
            next_text: request_seed.map(|_| 0),
        }
    }
}

impl<T: Iterator<Item = SimTime>> Iterator for Drawn<T> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let arrival = self.times.next()?;
        let (prompt_tokens, output_tokens) = self.lengths.sample(&mut self.length_rng);
        let text = match &mut self.next_text {
            Some(next) => {
                *next += 1;
                TextId::of_stream(0, *next - 1)
            }
            None => TextId::UNIQUE,
        };
        Some(Request { arrival, prompt_tokens, output_tokens, text })
    }
}

/// Times of one generated stream, in order, all before its end.
pub(super) struct ProcessTimes {
    events: Events,
    batch_mean: f64,
    batch_rng: Generator,
    /// Requests of open micro-batches.
    pending: BinaryHeap<Reverse<u64>>,
    next_event: Option<u64>,
    until: u64,
}

impl ProcessTimes {
    /// `stream`: ordinal within the workload; times before `until`.
    pub(super) fn new(g: &Generated, seed: Seed, stream: u64, until: SimTime) -> Self {
        let until = until.as_ps();
        let mut events = Events::new(g, seed, stream);
        let next_event = events.next(until);
        Self {
            events,
            batch_mean: g.batch_mean,
            batch_rng: seed.stream(Stream::Arrivals, 2 * stream + 1),
            pending: BinaryHeap::new(),
            next_event,
            until,
        }
    }

    fn next_ps(&mut self) -> Option<u64> {
        if self.batch_mean <= 1.0 {
            let now = self.next_event?;
            self.next_event = self.events.next(self.until);
            return Some(now);
        }
        loop {
            let pending = self.pending.peek().map(|r| r.0);
            match (pending, self.next_event) {
                (Some(p), event) if event.is_none_or(|e| p <= e) => {
                    self.pending.pop();
                    return (p < self.until).then_some(p);
                }
                (_, Some(event)) => {
                    let size = draw::geometric(&mut self.batch_rng, self.batch_mean);
                    for i in 0..u64::from(size) {
                        self.pending.push(Reverse(event + i * BATCH_SPACING_PS));
                    }
                    self.next_event = self.events.next(self.until);
                }
                (_, None) => return None,
            }
        }
    }
}

impl Iterator for ProcessTimes {
    type Item = SimTime;

    fn next(&mut self) -> Option<SimTime> {
        self.next_ps().map(SimTime::from_ps)
    }
}

/// Times of events: unit-mean gaps mapped through the inverse of the integral of λ.
struct Events {
    path: RatePath,
    piece: Segment,
    position: u64,
    gaps: Gaps,
    rng: Generator,
}

/// Unit-mean gaps with what can be computed once.
enum Gaps {
    Deterministic,
    Exponential,
    Gamma { shape: f64 },
    Weibull { inverse_shape: f64, scale: f64 },
}

impl Gaps {
    fn new(renewal: Renewal) -> Self {
        match renewal {
            Renewal::Deterministic => Self::Deterministic,
            Renewal::Exponential => Self::Exponential,
            Renewal::Gamma { shape } => Self::Gamma { shape },
            Renewal::Weibull { shape } => Self::Weibull {
                inverse_shape: 1.0 / shape,
                scale: draw::exp(-draw::ln_gamma(1.0 + 1.0 / shape)),
            },
        }
    }

    fn draw(&self, rng: &mut Generator) -> f64 {
        match *self {
            Self::Deterministic => 1.0,
            Self::Exponential => draw::exponential(rng),
            Self::Gamma { shape } => draw::gamma(rng, shape) / shape,
            Self::Weibull { inverse_shape, scale } => {
                scale * draw::exp(inverse_shape * draw::ln(draw::exponential(rng)))
            }
        }
    }
}

impl Events {
    fn new(g: &Generated, seed: Seed, stream: u64) -> Self {
        let mut path = RatePath::new(g, seed, stream);
        let piece = path.next(0);
        let gaps = Gaps::new(g.renewal);
        Self { path, piece, position: 0, gaps, rng: seed.stream(Stream::Arrivals, 2 * stream) }
    }

    /// The next event before `until` \[ps\].
    fn next(&mut self, until: u64) -> Option<u64> {
        let mut gap = self.gaps.draw(&mut self.rng);
        // Every turn moves to a later piece or returns; pieces up to `until` are finitely many.
        loop {
            let piece = self.piece;
            let left_s = (piece.end - self.position) as f64 / PS_PER_S as f64;
            let length = (piece.end - piece.start).max(1) as f64;
            let part = (self.position - piece.start) as f64 / length;
            let rate = piece.from_rps + (piece.to_rps - piece.from_rps) * part;
            let capacity = left_s * f64::midpoint(rate, piece.to_rps);
            if gap < capacity {
                let slope = (piece.to_rps - rate) / left_s;
                // The root of rate x + slope x^2 / 2 = gap that stays exact for a slope near zero.
                let root = (rate * rate + 2.0 * slope * gap).max(0.0).sqrt();
                let ahead_s = 2.0 * gap / (rate + root);
                let ahead = (ahead_s * PS_PER_S as f64).round() as u64;
                self.position = self.position.saturating_add(ahead).min(piece.end);
                return (self.position < until).then_some(self.position);
            }
            if piece.end >= until {
                self.position = piece.end;
                return None;
            }
            gap -= capacity;
            self.position = piece.end;
            self.piece = self.path.next(piece.end);
        }
    }
}
