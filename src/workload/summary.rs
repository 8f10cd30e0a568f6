//! Figures that describe a trace: rate, burstiness, lengths.
//!
//! Conventions: a gap is the time between consecutive arrivals; CV = standard deviation / mean of gaps
//! (population); windows are those that lie whole between the first arrival and the last; p/m@w is the
//! largest count in a window of w seconds over the mean count; IDC@w is variance over mean of the counts;
//! percentiles are linear between order statistics.

use super::request::Request;
use crate::units::{PS_PER_S, SimTime};

/// Widths of the windows \[s\].
pub const WINDOWS_S: [u64; 4] = [1, 15, 60, 300];

/// The percentiles that are reported.
pub const PERCENTILES: [f64; 7] = [5.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0];

/// Counts of arrivals in windows of one width.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowFigures {
    /// Width \[s\].
    pub width_s: u64,
    /// Whole windows in the trace.
    pub windows: u64,
    /// Mean count.
    pub mean: f64,
    /// Standard deviation of the count.
    pub sd: f64,
    /// Smallest count.
    pub min: u64,
    /// Largest count.
    pub max: u64,
    /// Share of windows without an arrival.
    pub empty: f64,
}

impl WindowFigures {
    /// Largest over mean count; NaN without a window.
    pub fn peak_to_mean(&self) -> f64 {
        self.max as f64 / self.mean
    }
    /// Variance over mean: 1 for Poisson arrivals.
    pub fn idc(&self) -> f64 {
        self.sd * self.sd / self.mean
    }
}

/// Token counts of one side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LengthFigures {
    /// Smallest \[tokens\].
    pub min: u32,
    /// Largest \[tokens\].
    pub max: u32,
    /// Mean \[tokens\].
    pub mean: f64,
    /// At [`PERCENTILES`], in order \[tokens\].
    pub percentiles: [f64; 7],
}

/// What `trace stats` prints.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Number of requests.
    pub requests: u64,
    /// First to last arrival \[s\].
    pub span_s: f64,
    /// The same, exact \[ps\].
    pub span_ps: u64,
    /// Requests over span \[1/s\].
    pub mean_rps: f64,
    /// Coefficient of variation of the gaps.
    pub gap_cv: f64,
    /// Longest gap \[s\].
    pub gap_max_s: f64,
    /// Distinct time stamps over requests: below 0.5 the clock was coarse.
    pub distinct_ratio: f64,
    /// One entry per [`WINDOWS_S`] that fits into the span.
    pub windows: Vec<WindowFigures>,
    /// Prompt lengths.
    pub prompt: LengthFigures,
    /// Output lengths.
    pub output: LengthFigures,
    /// Pearson correlation of prompt and output length; NaN if one of them is constant.
    pub correlation: f64,
}

impl Summary {
    /// The figures of `requests`, which are in time order; `None` if there are none.
    pub fn of(requests: &[Request]) -> Option<Self> {
        let (first, last) = (requests.first()?, requests.last()?);
        let n = requests.len() as f64;
        let span_ps = (last.arrival - first.arrival).as_ps();
        let span_s = span_ps as f64 / PS_PER_S as f64;
        let gaps = || {
            requests
                .windows(2)
                .map(|w| (w[1].arrival - w[0].arrival).as_ps() as f64 / PS_PER_S as f64)
        };
        let mean_gap = span_s / (n - 1.0);
        let variance = gaps().map(|g| (g - mean_gap) * (g - mean_gap)).sum::<f64>() / (n - 1.0);
        let repeated = requests.windows(2).filter(|w| w[0].arrival == w[1].arrival).count();
        let windows = WINDOWS_S
            .iter()
            .filter_map(|&width| window_figures(requests, first.arrival, span_ps, width))
            .collect();
        Some(Self {
            requests: requests.len() as u64,
            span_s,
            span_ps,
            mean_rps: n / span_s,
            gap_cv: variance.sqrt() / mean_gap,
            gap_max_s: gaps().fold(0.0, f64::max),
            distinct_ratio: (requests.len() - repeated) as f64 / n,
            windows,
            prompt: length_figures(requests.iter().map(|r| r.prompt_tokens).collect()),
            output: length_figures(requests.iter().map(|r| r.output_tokens).collect()),
            correlation: correlation(requests),
        })
    }

    /// Largest over mean count in windows of `width_s`, if the trace is long enough.
    pub fn peak_to_mean(&self, width_s: u64) -> Option<f64> {
        self.windows.iter().find(|w| w.width_s == width_s).map(WindowFigures::peak_to_mean)
    }
}

fn window_figures(
    requests: &[Request],
    start: SimTime,
    span_ps: u64,
    width_s: u64,
) -> Option<WindowFigures> {
    let width = width_s * PS_PER_S;
    let windows = span_ps / width;
    if windows == 0 {
        return None;
    }
    let mut figures =
        WindowFigures { width_s, windows, mean: 0.0, sd: 0.0, min: u64::MAX, max: 0, empty: 0.0 };
    let (mut sum, mut squares, mut occupied) = (0_u64, 0_u128, 0_u64);
    let mut rest = requests;
    while let Some(first) = rest.first() {
        let window = (first.arrival - start).as_ps() / width;
        if window >= windows {
            break;
        }
        let end = start.as_ps() + (window + 1) * width;
        let count = rest.iter().take_while(|r| r.arrival.as_ps() < end).count();
        rest = &rest[count..];
        let count = count as u64;
        occupied += 1;
        sum += count;
        squares += u128::from(count) * u128::from(count);
        figures.min = figures.min.min(count);
        figures.max = figures.max.max(count);
    }
    if occupied < windows {
        figures.min = 0;
    }
    let n = windows as f64;
    figures.mean = sum as f64 / n;
    figures.sd = (squares as f64 / n - figures.mean * figures.mean).max(0.0).sqrt();
    figures.empty = (windows - occupied) as f64 / n;
    Some(figures)
}

/// Figures of a list that is not empty.
fn length_figures(mut tokens: Vec<u32>) -> LengthFigures {
    tokens.sort_unstable();
    let at = |p: f64| {
        let x = p / 100.0 * (tokens.len() - 1) as f64;
        let low = tokens[x as usize];
        let high = tokens[(x as usize + 1).min(tokens.len() - 1)];
        f64::from(low) + f64::from(high - low) * x.fract()
    };
    LengthFigures {
        min: tokens[0],
        max: tokens[tokens.len() - 1],
        mean: tokens.iter().map(|&t| u64::from(t)).sum::<u64>() as f64 / tokens.len() as f64,
        percentiles: PERCENTILES.map(at),
    }
}

fn correlation(requests: &[Request]) -> f64 {
    let n = requests.len() as f64;
    let mean =
        |f: fn(&Request) -> u32| requests.iter().map(|r| u64::from(f(r))).sum::<u64>() as f64 / n;
    let (mx, my) = (mean(|r| r.prompt_tokens), mean(|r| r.output_tokens));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for r in requests {
        let (x, y) = (f64::from(r.prompt_tokens) - mx, f64::from(r.output_tokens) - my);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    xy / (xx * yy).sqrt()
}
