//! Changes to a recorded trace, applied in this order: time window, length limit, `dequantize`,
//! `time_stretch`, `rate_scale`, repeat, truncate.
//!
//! Two words only, because tools use "scale" in opposite senses: `rate_scale` 2 is twice the load,
//! `time_stretch` 2 is twice as long (half the rate, every burst twice as long).

use super::draw;
use super::recorded::Recorded;
use super::request::{Request, TextId};
use super::{ParamError, positive};
use crate::rng::{Generator, Seed, Stream};
use crate::units::{PS_PER_S, SimDuration, SimTime};

/// What becomes of a request longer than the model's limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OverLength {
    /// It is left out.
    #[default]
    Drop,
    /// Its prompt is shortened so that prompt + output fit; left out if the output alone does not.
    ClipInput,
    /// Its output is shortened; left out if the prompt alone does not fit.
    ClipOutput,
}

/// How copies are laid over each other for `rate_scale` above 1.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Overlay {
    /// Each copy is rotated by its own random offset: right for stationary traces, smooths bursts.
    #[default]
    Rotate,
    /// Each request of a copy is moved by up to ± this long: bursts stay in step (the pessimistic case).
    Jitter(SimDuration),
}

/// Changes to a recorded trace; the default changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// Keep arrivals in `[from, to)`; `from` becomes time zero.
    pub window: Option<(SimDuration, SimDuration)>,
    /// Longest prompt + output \[tokens\], and what to do with longer ones.
    pub max_model_len: Option<(u32, OverLength)>,
    /// Spread the rows of one time stamp at random, uniformly, up to the next stamp: undoes batching by a
    /// coarse clock.
    pub dequantize: bool,
    /// Multiply all times by this; above 0.
    pub time_stretch: f64,
    /// Multiply the load by this; above 0. Below 1 keeps each request with this probability (which
    /// shrinks dispersion: IDC_p = 1 + p (IDC - 1)); above 1 overlays copies.
    pub rate_scale: f64,
    /// How copies are overlaid.
    pub overlay: Overlay,
    /// Play the trace this many times in a row; at least 1.
    pub repeat: u32,
    /// Drop arrivals at or after this time.
    pub truncate: Option<SimDuration>,
}

impl Default for Transform {
    fn default() -> Self {
        Self {
            window: None,
            max_model_len: None,
            dequantize: false,
            time_stretch: 1.0,
            rate_scale: 1.0,
            overlay: Overlay::Rotate,
            repeat: 1,
            truncate: None,
        }
    }
}

impl Transform {
    /// Every parameter that cannot be.
    pub fn check(&self) -> Result<(), ParamError> {
        positive("time_stretch", self.time_stretch)?;
        positive("rate_scale", self.rate_scale)?;
        if self.rate_scale > 1000.0 {
            return Err(ParamError::new("rate_scale", "must be at most 1000"));
        }
        if self.window.is_some_and(|(from, to)| from >= to) {
            return Err(ParamError::new("window", "ends before it starts"));
        }
        if self.max_model_len.is_some_and(|(limit, _)| limit < 2) {
            return Err(ParamError::new("max_model_len", "must be at least 2 tokens"));
        }
        if self.repeat == 0 {
            return Err(ParamError::new("repeat", "must be at least 1"));
        }
        Ok(())
    }

    /// Whether it leaves every trace as it is.
    pub fn is_identity(&self) -> bool {
        *self == Self::default()
    }

    /// Length of the transformed trace: its last arrival rounded up to a whole second, so that the last
    /// arrival lies inside; the window or the cut where there is one.
    pub fn natural_duration(&self, trace: &Recorded) -> SimDuration {
        let once = match self.window {
            Some((from, to)) => to.min(whole_seconds(trace.span())).saturating_sub(from),
            None => whole_seconds(trace.span()),
        };
        let all = stretch(once.as_ps(), self.time_stretch).saturating_mul(u64::from(self.repeat));
        self.truncate.map_or(SimDuration::from_ps(all), |cut| cut.min(SimDuration::from_ps(all)))
    }

    /// The transformed requests, in time order. `stream` is the ordinal within the workload.
    pub fn apply(&self, trace: &Recorded, seed: Seed, stream: u64) -> Vec<Request> {
        let mut rng = seed.stream(Stream::Thinning, stream);
        let mut rows: Vec<Request> =
            trace.requests.iter().filter_map(|r| self.windowed(*r)).collect();
        if let Some((limit, policy)) = self.max_model_len {
            rows.retain_mut(|r| fit(r, limit, policy));
        }
        if self.dequantize {
            dequantize(&mut rows, &mut rng);
        }
        for r in &mut rows {
            r.arrival = SimTime::from_ps(stretch(r.arrival.as_ps(), self.time_stretch));
        }
        let uncut = Self { truncate: None, repeat: 1, ..self.clone() };
        let length = uncut.natural_duration(trace);
        let texts = trace.texts.as_deref();
        let text = |r: &Request, copy| texts.map_or(r.text, |t| t.in_copy(r.text, copy));
        rows = self.scaled(rows, length, &mut rng, text);
        if self.repeat > 1 {
            let once = rows.clone();
            let copies = self.rate_scale as u64 + 1;
            for i in 1..u64::from(self.repeat) {
                let shift = SimDuration::from_ps(length.as_ps().saturating_mul(i));
                rows.extend(once.iter().map(|r| Request {
                    arrival: r.arrival + shift,
                    text: text(r, i * copies),
                    ..*r
                }));
            }
        }
        if let Some(cut) = self.truncate {
            rows.retain(|r| r.arrival < SimTime::ZERO + cut);
        }
        rows
    }

    fn windowed(&self, r: Request) -> Option<Request> {
        let Some((from, to)) = self.window else { return Some(r) };
        let at = r.arrival.saturating_since(SimTime::ZERO);
        (from <= at && at < to).then(|| Request { arrival: r.arrival - from, ..r })
    }

    /// `rate_scale`: thinning below 1, overlaid copies above.
    /// Copies are other clients: they have the conversations of their `text`.
    fn scaled(
        &self,
        rows: Vec<Request>,
        length: SimDuration,
        rng: &mut Generator,
        text: impl Fn(&Request, u64) -> TextId,
    ) -> Vec<Request> {
        let scale = self.rate_scale;
        if scale == 1.0 {
            return rows;
        }
        let whole = scale.floor() as u32;
        let part = scale - f64::from(whole);
        let mut all = Vec::with_capacity((rows.len() as f64 * scale * 1.05) as usize + 16);
        for copy in 0..=whole {
            let keep = if copy < whole { 1.0 } else { part };
            // The first copy stays in place; each further one has its own offset.
            let offset =
                if copy == 0 { 0 } else { (draw::uniform(rng) * length.as_ps() as f64) as u64 };
            if keep == 0.0 {
                continue;
            }
            for r in &rows {
                if keep < 1.0 && draw::uniform(rng) >= keep {
                    continue;
                }
                let t = r.arrival.as_ps();
                let moved = match self.overlay {
                    Overlay::Rotate if length > SimDuration::ZERO => {
                        // Two long spans do not fit into 64 bits.
                        ((u128::from(t) + u128::from(offset)) % u128::from(length.as_ps())) as u64
                    }
                    Overlay::Jitter(j) if copy > 0 => {
                        let by = (2.0 * draw::uniform(rng) - 1.0) * j.as_ps() as f64;
                        ((t as f64 + by).max(0.0) as u64).min(length.as_ps().saturating_sub(1))
                    }
                    Overlay::Rotate | Overlay::Jitter(_) => t,
                };
                let arrival = SimTime::from_ps(moved);
                all.push(Request { arrival, text: text(r, u64::from(copy)), ..*r });
            }
        }
        all.sort_by_key(|r| r.arrival);
        all
    }
}

/// The next whole second after `span`.
fn whole_seconds(span: SimDuration) -> SimDuration {
    SimDuration::from_secs(span.as_ps() / PS_PER_S + 1)
}

fn stretch(ps: u64, factor: f64) -> u64 {
    if factor == 1.0 { ps } else { (ps as f64 * factor).round() as u64 }
}

/// Makes `r` fit into `limit` tokens; false if it is to be left out.
fn fit(r: &mut Request, limit: u32, policy: OverLength) -> bool {
    let total = u64::from(r.prompt_tokens) + u64::from(r.output_tokens);
    if total <= u64::from(limit) {
        return true;
    }
    match policy {
        OverLength::ClipInput if r.output_tokens < limit => {
            r.prompt_tokens = limit - r.output_tokens;
            true
        }
        OverLength::ClipOutput if r.prompt_tokens < limit => {
            r.output_tokens = limit - r.prompt_tokens;
            true
        }
        OverLength::Drop | OverLength::ClipInput | OverLength::ClipOutput => false,
    }
}

fn dequantize(rows: &mut [Request], rng: &mut Generator) {
    let mut start = 0;
    let mut last_gap = 0;
    let mut offsets = Vec::new();
    while start < rows.len() {
        let stamp = rows[start].arrival;
        let count = rows[start..].iter().take_while(|r| r.arrival == stamp).count();
        // The last stamp has no next one: it spreads over the gap before it.
        let gap = rows.get(start + count).map_or(last_gap, |next| (next.arrival - stamp).as_ps());
        offsets.clear();
        offsets.extend((0..count).map(|_| (draw::uniform(rng) * gap as f64) as u64));
        offsets.sort_unstable();
        for (r, &offset) in rows[start..].iter_mut().zip(&offsets) {
            r.arrival = stamp + SimDuration::from_ps(offset);
        }
        last_gap = gap;
        start += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(rows: &[(u64, u32, u32)]) -> Recorded {
        let rows = rows.iter().map(|&(t, prompt_tokens, output_tokens)| Request {
            arrival: SimTime::from_secs(t),
            prompt_tokens,
            output_tokens,
            ..Request::default()
        });
        Recorded::new(rows.collect())
    }

    #[test]
    fn window_moves_the_zero_point() {
        let t = Transform {
            window: Some((SimDuration::from_secs(10), SimDuration::from_secs(20))),
            ..Transform::default()
        };
        let source = trace(&[(0, 1, 1), (10, 2, 2), (19, 3, 3), (20, 4, 4)]);
        let rows = t.apply(&source, Seed(1), 0);
        let got: Vec<_> = rows.iter().map(|r| (r.arrival.as_secs_f64(), r.prompt_tokens)).collect();
        assert_eq!(got, [(0.0, 2), (9.0, 3)]);
        assert_eq!(t.natural_duration(&source), SimDuration::from_secs(10));
    }

    #[test]
    fn long_requests_by_policy() {
        let one = |policy, prompt, output| {
            let t = Transform { max_model_len: Some((100, policy)), ..Transform::default() };
            let rows = t.apply(&trace(&[(0, prompt, output)]), Seed(1), 0);
            rows.first().map(|r| (r.prompt_tokens, r.output_tokens))
        };
        assert_eq!(one(OverLength::Drop, 90, 10), Some((90, 10)));
        assert_eq!(one(OverLength::Drop, 90, 11), None);
        assert_eq!(one(OverLength::ClipInput, 90, 20), Some((80, 20)));
        assert_eq!(one(OverLength::ClipInput, 90, 100), None);
        assert_eq!(one(OverLength::ClipOutput, 90, 20), Some((90, 10)));
        assert_eq!(one(OverLength::ClipOutput, 100, 20), None);
        assert_eq!(one(OverLength::ClipOutput, u32::MAX, u32::MAX), None);
    }

    #[test]
    fn stretch_repeat_truncate() {
        let t = Transform {
            time_stretch: 2.0,
            repeat: 2,
            truncate: Some(SimDuration::from_secs(25)),
            ..Transform::default()
        };
        let source = trace(&[(0, 1, 1), (5, 2, 2)]);
        let times: Vec<f64> =
            t.apply(&source, Seed(1), 0).iter().map(|r| r.arrival.as_secs_f64()).collect();
        assert_eq!(times, [0.0, 10.0, 12.0, 22.0]);
        assert_eq!(t.natural_duration(&source), SimDuration::from_secs(24));
    }
}
