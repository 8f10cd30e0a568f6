//! The rate of arrivals over time, and the gaps between them in operational time.

use super::{ParamError, not_negative, positive};
use crate::units::SimDuration;
use std::sync::Arc;

/// Unit-mean gaps in operational time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Renewal {
    /// All gaps alike.
    Deterministic,
    /// Exponential: a (non-homogeneous) Poisson process.
    Exponential,
    /// Gamma gaps: CV = 1/sqrt(shape). vLLM's `--burstiness` is this shape: small is bursty.
    Gamma {
        /// Shape, above 0.
        shape: f64,
    },
    /// Weibull gaps.
    Weibull {
        /// Shape, above 0; 1 is exponential.
        shape: f64,
    },
}

impl Renewal {
    /// Gamma gaps with this coefficient of variation.
    pub fn gamma_cv(cv: f64) -> Result<Self, ParamError> {
        positive("cv", cv)?;
        Ok(Self::Gamma { shape: 1.0 / (cv * cv) })
    }

    fn check(self) -> Result<(), ParamError> {
        match self {
            Self::Deterministic | Self::Exponential => Ok(()),
            Self::Gamma { shape } | Self::Weibull { shape } => positive("shape", shape).map(drop),
        }
    }
}

/// What lies between two points of a [`RateCurve`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Interpolation {
    /// A straight line.
    #[default]
    Linear,
    /// The rate of the earlier point.
    Step,
}

/// A rate over time through given points; constant before the first and after the last.
#[derive(Clone, Debug, PartialEq)]
pub struct RateCurve {
    /// (time \[s\], rate \[requests/s\]).
    points: Arc<[(f64, f64)]>,
    interpolation: Interpolation,
    /// Start again after this long \[s\].
    period: Option<f64>,
}

impl RateCurve {
    /// `points`: (time \[s\], rate \[requests/s\]), times strictly increasing from 0 or later. With `period`
    /// \[s\] (not before the last point) the curve repeats.
    pub fn new(
        points: Vec<(f64, f64)>,
        interpolation: Interpolation,
        period: Option<f64>,
    ) -> Result<Self, ParamError> {
        if points.is_empty() {
            return Err(ParamError::new("points", "needs at least one (time, rate)"));
        }
        for (i, &(t, rate)) in points.iter().enumerate() {
            not_negative(&format!("points[{i}].t_s"), t)?;
            not_negative(&format!("points[{i}].rate_rps"), rate)?;
        }
        if !points.windows(2).all(|w| w[0].0 < w[1].0) {
            return Err(ParamError::new("points", "times must increase"));
        }
        if let Some(p) = period {
            if positive("period", p)? < 1.0 {
                return Err(ParamError::new("period", "must be at least 1 s"));
            }
            if points.last().is_some_and(|l| p < l.0) {
                return Err(ParamError::new("period", "ends before the last point"));
            }
        }
        Ok(Self { points: points.into(), interpolation, period })
    }

    /// A step: `base`, and `peak` from `start` \[s\] for `duration` \[s\].
    pub fn step(base: f64, peak: f64, start: f64, duration: f64) -> Result<Self, ParamError> {
        let mut points = vec![(start, peak), (start + duration, base)];
        if start > 0.0 {
            points.insert(0, (0.0, base));
        }
        Self::new(points, Interpolation::Step, None)
    }

    /// A ramp from `base` to `peak` between `start` and `start + duration` \[s\], then `peak`.
    pub fn ramp(base: f64, peak: f64, start: f64, duration: f64) -> Result<Self, ParamError> {
        Self::new(vec![(start, base), (start + duration, peak)], Interpolation::Linear, None)
    }

    /// A spike: up from `base` within `up` \[s\], `hold` \[s\] at `peak`, down again within `down` \[s\].
    pub fn spike(
        base: f64,
        peak: f64,
        start: f64,
        (up, hold, down): (f64, f64, f64),
    ) -> Result<Self, ParamError> {
        let mut points = vec![(start, base), (start + up, peak)];
        if hold > 0.0 {
            points.push((start + up + hold, peak));
        }
        points.push((start + up + hold + down, base));
        Self::new(points, Interpolation::Linear, None)
    }

    /// The points: (time \[s\], rate \[requests/s\]).
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }
    /// What lies between them.
    pub fn interpolation(&self) -> Interpolation {
        self.interpolation
    }
    /// Length of one repetition \[s\].
    pub fn period(&self) -> Option<f64> {
        self.period
    }
}

/// Hours of weekdays and weekend days as multiples of the mean rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Diurnal {
    /// Mean over a whole week if the multipliers average 1 \[requests/s\].
    mean_rps: f64,
    /// Multiplier of each hour of Monday to Friday, at the hour's centre.
    weekday: Arc<[f64; 24]>,
    /// Multiplier of each hour of Saturday and Sunday.
    weekend: Arc<[f64; 24]>,
    /// Hours from Monday 00:00 at which the workload starts.
    start_hour: f64,
}

impl Diurnal {
    /// `start_weekday`: 0 = Monday .. 6 = Sunday; `start_hour` in `[0, 24)`. Rates are linear between the
    /// centres of the hours.
    pub fn new(
        mean_rps: f64,
        weekday: [f64; 24],
        weekend: [f64; 24],
        start_weekday: u32,
        start_hour: f64,
    ) -> Result<Self, ParamError> {
        positive("mean_rps", mean_rps)?;
        for (name, hours) in [("weekday", &weekday), ("weekend", &weekend)] {
            for (h, &m) in hours.iter().enumerate() {
                not_negative(&format!("{name}[{h}]"), m)?;
            }
        }
        if start_weekday > 6 {
            return Err(ParamError::new("start_weekday", "must be 0 (Monday) to 6 (Sunday)"));
        }
        if !(0.0..24.0).contains(&start_hour) {
            return Err(ParamError::new("start_hour", "must lie in 0..24"));
        }
        let start_hour = f64::from(start_weekday) * 24.0 + start_hour;
        let (weekday, weekend) = (Arc::new(weekday), Arc::new(weekend));
        Ok(Self { mean_rps, weekday, weekend, start_hour })
    }

    /// Mean over a whole week if the multipliers average 1 \[requests/s\].
    pub fn mean_rps(&self) -> f64 {
        self.mean_rps
    }
    /// Multiplier of each hour of Monday to Friday.
    pub fn weekday(&self) -> &[f64; 24] {
        &self.weekday
    }
    /// Multiplier of each hour of Saturday and Sunday.
    pub fn weekend(&self) -> &[f64; 24] {
        &self.weekend
    }
    /// Hours from Monday 00:00 at which the workload starts.
    pub fn start_hour(&self) -> f64 {
        self.start_hour
    }

    /// The same days started at another time.
    pub fn with_start(self, start_weekday: u32, start_hour: f64) -> Result<Self, ParamError> {
        Self::new(self.mean_rps, *self.weekday, *self.weekend, start_weekday, start_hour)
    }

    /// The same days at another weekly mean \[requests/s\].
    pub fn with_mean_rps(mut self, mean_rps: f64) -> Result<Self, ParamError> {
        self.mean_rps = positive("mean_rps", mean_rps)?;
        Ok(self)
    }
}

/// One state of a modulated process.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MmppState {
    /// Rate while in this state \[requests/s\].
    pub rate_rps: f64,
    /// Mean stay \[s\].
    pub mean_sojourn_s: f64,
}

/// A Markov-modulated rate: exponential stays, jumps by a matrix, started from the stationary law.
#[derive(Clone, Debug, PartialEq)]
pub struct Mmpp {
    states: Arc<[MmppState]>,
    /// Jump probabilities, row by row.
    jumps: Arc<[f64]>,
}

impl Mmpp {
    /// `jumps[i][j]`: probability of going to `j` when `i` ends; `None` for two states that alternate.
    pub fn new(states: Vec<MmppState>, jumps: Option<Vec<Vec<f64>>>) -> Result<Self, ParamError> {
        let k = states.len();
        if k < 2 {
            return Err(ParamError::new("states", "needs at least two"));
        }
        for (i, s) in states.iter().enumerate() {
            not_negative(&format!("states[{i}].rate_rps"), s.rate_rps)?;
            positive(&format!("states[{i}].sojourn"), s.mean_sojourn_s)?;
        }
        if states.iter().all(|s| s.rate_rps == 0.0) {
            return Err(ParamError::new("states", "at least one rate must be above 0"));
        }
        let jumps = match jumps {
            Some(rows) => rows,
            None if k == 2 => vec![vec![0.0, 1.0], vec![1.0, 0.0]],
            None => return Err(ParamError::new("jumps", "is needed for more than two states")),
        };
        if jumps.len() != k || jumps.iter().any(|r| r.len() != k) {
            return Err(ParamError::new("jumps", format!("must be {k} rows of {k}")));
        }
        for (i, row) in jumps.iter().enumerate() {
            for (j, &p) in row.iter().enumerate() {
                not_negative(&format!("jumps[{i}][{j}]"), p)?;
            }
            let sum: f64 = row.iter().sum();
            if (sum - 1.0).abs() > 1e-3 {
                let message = format!("must sum to 1, not {sum}");
                return Err(ParamError::new(format!("jumps[{i}]"), message));
            }
            if row[i] >= 1.0 {
                return Err(ParamError::new(format!("jumps[{i}]"), "never leaves its state"));
            }
        }
        Ok(Self { states: states.into(), jumps: jumps.concat().into() })
    }

    /// The states.
    pub fn states(&self) -> &[MmppState] {
        &self.states
    }
    /// Probability of going to `to` when `from` ends.
    pub fn jump(&self, from: usize, to: usize) -> f64 {
        self.jumps[from * self.states.len() + to]
    }
}

/// AR(1) noise on the logarithm of the rate; the mean rate is kept.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LogNoise {
    /// Standard deviation of the log rate.
    pub sd: f64,
    /// Time constant of its autocorrelation \[s\].
    pub time_constant_s: f64,
}

/// λ(t).
#[derive(Clone, Debug, PartialEq)]
pub enum RateModel {
    /// The same all the time \[requests/s\].
    Constant(f64),
    /// Through given points.
    Curve(RateCurve),
    /// By the hour of the week.
    Diurnal(Diurnal),
    /// Jumping between states.
    Mmpp(Mmpp),
}

/// A generated arrival process.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// λ(t).
    pub rate: RateModel,
    /// Gaps in operational time.
    pub renewal: Renewal,
    /// Noise on λ.
    pub noise: Option<LogNoise>,
    /// Mean size of a micro-batch (geometric, requests 1 ms apart); 1 for none. λ is divided by it.
    pub batch_mean: f64,
    /// Multiplies λ; above 0.
    pub rate_scale: f64,
    /// Multiplies sojourns, knots and the noise's time constant, but not the rates; above 0.
    pub modulation_stretch: f64,
}

impl Generated {
    /// `rate` with `renewal` and nothing else.
    pub fn new(rate: RateModel, renewal: Renewal) -> Self {
        Self {
            rate,
            renewal,
            noise: None,
            batch_mean: 1.0,
            rate_scale: 1.0,
            modulation_stretch: 1.0,
        }
    }

    /// Every parameter that cannot be.
    pub fn check(&self) -> Result<(), ParamError> {
        if let RateModel::Constant(r) = self.rate {
            positive("rate_rps", r)?;
        }
        self.renewal.check()?;
        if let Some(n) = self.noise {
            not_negative("noise.sd", n.sd)?;
            positive("noise.time_constant", n.time_constant_s)?;
        }
        if !(1.0..=1e6).contains(&self.batch_mean) {
            return Err(ParamError::new("batch_mean", "must be at least 1"));
        }
        positive("rate_scale", self.rate_scale)?;
        positive("modulation_stretch", self.modulation_stretch).map(drop)
    }

    /// End of the curve or period, if it has one: the natural length of the workload.
    pub fn natural_duration(&self) -> Option<SimDuration> {
        let RateModel::Curve(curve) = &self.rate else { return None };
        let end = curve.period.or(curve.points.last().map(|p| p.0))?;
        (end > 0.0).then(|| SimDuration::from_secs_f64(end * self.modulation_stretch))
    }
}
