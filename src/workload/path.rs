//! λ(t) as a sequence of straight pieces, made one at a time.

use super::draw;
use super::rate::{Diurnal, Generated, Interpolation, LogNoise, Mmpp, RateCurve, RateModel};
use crate::rng::{Generator, Seed, Stream};
use crate::units::{PS_PER_S, SimDuration};

/// One straight piece of λ: from `start` to `end` \[ps\], rates at its ends \[requests/s\].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Segment {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) from_rps: f64,
    pub(super) to_rps: f64,
}

impl Segment {
    /// The rate at `t`, which lies inside.
    fn at(&self, t: u64) -> f64 {
        if self.from_rps == self.to_rps {
            return self.from_rps;
        }
        let part = (t - self.start) as f64 / (self.end - self.start) as f64;
        self.from_rps + (self.to_rps - self.from_rps) * part
    }
}

/// The pieces of a rate, in order, without end: the last one reaches `u64::MAX`.
pub(super) struct RatePath {
    base: Base,
    factor: f64,
    noise: Option<Noise>,
    current: Segment,
}

enum Base {
    Constant(f64),
    Curve { curve: RateCurve, stretch: f64, next: usize, cycle: u64 },
    Diurnal { diurnal: Diurnal, stretch: f64, half_hours: u64 },
    Mmpp { mmpp: Mmpp, stretch: f64, state: Option<usize>, rng: Generator },
}

/// AR(1) on a grid; between grid points the factor is linear.
struct Noise {
    rng: Generator,
    rho: f64,
    sd: f64,
    innovation: f64,
    step: u64,
    x: f64,
    cell: Segment,
}

/// Grid points per time constant of the noise.
// ASSUMPTION(A201): the AR(1) noise of the week preset (15 min constant) is refreshed each minute and linear
// in between; the source gives only its standard deviation and time constant.
const NOISE_STEPS: f64 = 15.0;

fn to_ps(seconds: f64) -> u64 {
    (seconds * PS_PER_S as f64).round() as u64
}

impl RatePath {
    /// The path of `g`; `stream` is the ordinal of the stream within the workload.
    pub(super) fn new(g: &Generated, seed: Seed, stream: u64) -> Self {
        let stretch = g.modulation_stretch;
        // Even indices carry jumps of a chain, odd ones the noise: neither shifts the other.
        let base = match &g.rate {
            RateModel::Constant(r) => Base::Constant(*r),
            RateModel::Curve(c) => Base::Curve { curve: c.clone(), stretch, next: 0, cycle: 0 },
            RateModel::Diurnal(d) => {
                Base::Diurnal { diurnal: d.clone(), stretch, half_hours: u64::MAX }
            }
            RateModel::Mmpp(m) => {
                let rng = seed.stream(Stream::RateNoise, 2 * stream);
                Base::Mmpp { mmpp: m.clone(), stretch, state: None, rng }
            }
        };
        let noise = g
            .noise
            .filter(|n| n.sd > 0.0)
            .map(|n| Noise::new(n, stretch, seed.stream(Stream::RateNoise, 2 * stream + 1)));
        let mut path = Self {
            base,
            factor: g.rate_scale / g.batch_mean,
            noise,
            current: Segment { start: 0, end: 0, from_rps: 0.0, to_rps: 0.0 },
        };
        path.current = path.base.next(0);
        path
    }

    /// The next piece, which starts where the previous one ended.
    pub(super) fn next(&mut self, start: u64) -> Segment {
        while self.current.end <= start && self.current.end != u64::MAX {
            self.current = self.base.next(self.current.end);
        }
        let base = self.current;
        let mut piece = Segment { start, ..base };
        if let Some(noise) = &mut self.noise {
            let cell = noise.cell_at(start);
            piece.end = base.end.min(cell.end);
            piece.from_rps = base.at(start) * cell.at(start);
            piece.to_rps = base.at(piece.end) * cell.at(piece.end);
        } else {
            piece.from_rps = base.at(start);
        }
        piece.from_rps *= self.factor;
        piece.to_rps *= self.factor;
        piece
    }
}

impl Noise {
    fn new(noise: LogNoise, stretch: f64, mut rng: Generator) -> Self {
        let tau = noise.time_constant_s * stretch;
        let step = to_ps((tau / NOISE_STEPS).max(1e-3));
        let rho = draw::exp(-(step as f64 / PS_PER_S as f64) / tau);
        let x = noise.sd * draw::normal(&mut rng);
        let start = draw::exp(x - noise.sd * noise.sd / 2.0);
        let mut this = Self {
            rng,
            rho,
            sd: noise.sd,
            innovation: noise.sd * (1.0 - rho * rho).sqrt(),
            step,
            x,
            cell: Segment { start: 0, end: 0, from_rps: start, to_rps: start },
        };
        this.advance();
        this
    }

    fn advance(&mut self) {
        self.x = self.rho * self.x + self.innovation * draw::normal(&mut self.rng);
        let to = draw::exp(self.x - self.sd * self.sd / 2.0);
        let start = self.cell.end;
        self.cell =
            Segment { start, end: start + self.step, from_rps: self.cell.to_rps, to_rps: to };
    }

    fn cell_at(&mut self, t: u64) -> Segment {
        while self.cell.end <= t {
            self.advance();
        }
        self.cell
    }
}

impl Base {
    /// The piece from `start` on; calls come in order.
    fn next(&mut self, start: u64) -> Segment {
        let hold = |rate: f64, end: u64| Segment { start, end, from_rps: rate, to_rps: rate };
        match self {
            Self::Constant(rate) => hold(*rate, u64::MAX),
            Self::Curve { curve, stretch, next, cycle } => {
                let points = curve.points();
                let offset = curve.period().map_or(0.0, |p| p * *cycle as f64);
                let at = |t: f64| to_ps((offset + t) * *stretch);
                let i = *next;
                if i < points.len() {
                    *next += 1;
                    if i == 0 {
                        // Before the first point the rate is already that of the point.
                        return hold(points[0].1, at(points[0].0));
                    }
                    let (from, to) = (points[i - 1].1, points[i].1);
                    let to = if curve.interpolation() == Interpolation::Step { from } else { to };
                    return Segment { start, end: at(points[i].0), from_rps: from, to_rps: to };
                }
                let last = points[points.len() - 1].1;
                let Some(period) = curve.period() else { return hold(last, u64::MAX) };
                let end = at(period);
                *next = 0;
                *cycle += 1;
                hold(last, end)
            }
            Self::Diurnal { diurnal, stretch, half_hours } => {
                if *half_hours == u64::MAX {
                    *half_hours = (diurnal.start_hour() - 0.5).ceil().max(0.0) as u64;
                } else {
                    *half_hours += 1;
                }
                // The piece ends at the centre of hour number `half_hours` of the week.
                let end_hour = *half_hours as f64 + 0.5;
                let begun =
                    diurnal.start_hour() + start as f64 / (3600.0 * PS_PER_S as f64 * *stretch);
                let end = to_ps((end_hour - diurnal.start_hour()) * 3600.0 * *stretch);
                Segment {
                    start,
                    end: end.max(start),
                    from_rps: diurnal.rate_at(begun),
                    to_rps: diurnal.rate_at(end_hour),
                }
            }
            Self::Mmpp { mmpp, stretch, state, rng } => {
                let now = match *state {
                    None => mmpp.draw_stationary(draw::uniform(rng)),
                    Some(s) => mmpp.draw_jump(s, draw::uniform(rng)),
                };
                *state = Some(now);
                let s = mmpp.states()[now];
                let stay = to_ps(draw::exponential(rng) * s.mean_sojourn_s * *stretch);
                hold(s.rate_rps, start.saturating_add(stay.max(1)))
            }
        }
    }
}

impl Generated {
    /// Expected mean rate from the start to `over` [requests/s]: of the curve's part, or of a chain in the
    /// long run. Noise keeps the mean.
    pub fn mean_rps(&self, over: SimDuration) -> f64 {
        if let RateModel::Mmpp(chain) = &self.rate {
            return chain.mean_rps() * self.rate_scale;
        }
        let plain = Self { noise: None, batch_mean: 1.0, ..self.clone() };
        let mut path = RatePath::new(&plain, Seed(0), 0);
        let (mut at, mut requests) = (0, 0.0);
        while at < over.as_ps() {
            let piece = path.next(at);
            let end = piece.end.min(over.as_ps());
            let seconds = (end - at) as f64 / PS_PER_S as f64;
            requests += seconds * f64::midpoint(piece.from_rps, piece.at(end));
            at = end;
        }
        requests / over.as_secs_f64()
    }
}

impl Diurnal {
    /// The rate at an hour of the week, counted from Monday 00:00 and past Sunday \[requests/s\].
    pub fn rate_at(&self, hour: f64) -> f64 {
        let left = (hour - 0.5).floor();
        let part = hour - 0.5 - left;
        let value = |h: f64| {
            let h = h.rem_euclid(168.0) as usize;
            if h / 24 < 5 { self.weekday()[h % 24] } else { self.weekend()[h % 24] }
        };
        self.mean_rps() * (value(left) + (value(left + 1.0) - value(left)) * part)
    }
}

impl Mmpp {
    /// Share of time in each state in the long run.
    pub fn stationary(&self) -> Vec<f64> {
        let k = self.states().len();
        // Stationary law of the jump chain by averaging powers of its matrix: it may be periodic.
        let mut v = vec![1.0 / k as f64; k];
        for _ in 0..10_000 {
            let mut next = vec![0.0; k];
            for (i, &p) in v.iter().enumerate() {
                for (j, q) in next.iter_mut().enumerate() {
                    *q += 0.5 * p * self.jump(i, j);
                }
                next[i] += 0.5 * p;
            }
            v = next;
        }
        let time: Vec<f64> =
            v.iter().zip(self.states()).map(|(p, s)| p * s.mean_sojourn_s).collect();
        let sum: f64 = time.iter().sum();
        time.iter().map(|t| t / sum).collect()
    }

    /// Mean rate in the long run \[requests/s\].
    pub fn mean_rps(&self) -> f64 {
        self.stationary().iter().zip(self.states()).map(|(p, s)| p * s.rate_rps).sum()
    }

    fn draw_stationary(&self, u: f64) -> usize {
        pick(self.stationary().into_iter(), u)
    }

    fn draw_jump(&self, from: usize, u: f64) -> usize {
        pick((0..self.states().len()).map(|j| self.jump(from, j)), u)
    }
}

/// Index of the weight in which `u` of the total falls; weights sum to about 1.
fn pick(weights: impl Iterator<Item = f64> + Clone, u: f64) -> usize {
    let mut left = u * weights.clone().sum::<f64>();
    let mut last = 0;
    for (i, w) in weights.enumerate() {
        if w > 0.0 {
            if left < w {
                return i;
            }
            last = i;
        }
        left -= w;
    }
    last
}
