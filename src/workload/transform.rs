//! Changes to a recorded trace, applied in this order: time window, length limit, `dequantize`,
//! `time_stretch`, `rate_scale`, repeat, truncate.
//!
//! Two words only, because tools use "scale" in opposite senses: `rate_scale` 2 is twice the load,
//! `time_stretch` 2 is twice as long (half the rate, every burst twice as long).

use crate::units::SimDuration;

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
    /// Longest prompt + output [tokens], and what to do with longer ones.
    pub max_model_len: Option<(u32, OverLength)>,
    /// Spread the rows of one time stamp evenly up to the next stamp.
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
