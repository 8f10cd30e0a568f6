//! Where requests come from: recorded traces, seeded generators, length models, importers.
//!
//! A workload is one or more overlapping **streams**; a stream has four independent parts, each with its
//! own named random stream, so that changing one leaves the others bit-identical:
//!
//! 1. **rate** λ(t) in requests per second ([`RateModel`]: constant, curve, diurnal, modulated),
//! 2. **renewal** in operational time ([`Renewal`]): unit-mean gaps mapped through the inverse of ∫λ,
//! 3. **lengths** ([`LengthModel`]): prompt and output tokens, jointly,
//! 4. **sessions and prefixes** ([`text`]: which prompts begin alike; [`sessions`]: conversations).
//!
//! [`WorkloadSpec::source`] streams requests in time order and holds no more than it must;
//! [`WorkloadSpec::materialise`] gives the [`Trace`] that every case of a sweep replays (common random
//! numbers). Only closed-loop sources ([`ClosedLoop`]) depend on the case, through [`ArrivalSource`].
//!
//! Readers and writers ([`import`]) work on `impl Read` and `impl Write`: this module opens no file.
//! Random draws are portable ([`draw`]): a seed gives the same bytes everywhere.

pub mod client;
pub mod draw;
pub mod import;
pub mod lengths;
pub mod live;
mod path;
pub mod presets;
mod process;
pub mod rate;
pub mod recorded;
pub mod request;
pub mod sessions;
pub mod sharing;
pub mod spec;
pub mod summary;
pub mod text;
pub mod transform;
pub mod vllm_bench;

pub use client::{ArrivalSource, Clients, ClosedLoop, OpenLoop, Wait};
pub use lengths::{LengthDist, LengthKind, LengthModel, LognormalComponent};
pub use live::Live;
pub use rate::{
    Diurnal, Generated, Interpolation, LogNoise, Mmpp, MmppState, RateCurve, RateModel, Renewal,
};
pub use recorded::Recorded;
pub use request::{Request, Side, SideTable, TextId, Trace};
pub use sessions::{Growth, Sessions, Think};
pub use sharing::Sharing;
pub use spec::{Arrivals, StreamSpec, WorkloadSpec};
pub use summary::Summary;
pub use text::{TextTable, Texts};
pub use transform::{OverLength, Overlay, Transform};
pub use vllm_bench::VllmBench;

/// A parameter that a workload cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct ParamError {
    /// The parameter's name as in the experiment file, such as `rate_rps` or `states[1].rate_rps`.
    pub field: String,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
}

impl ParamError {
    /// An error at `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }

    /// The same error one level deeper in the file.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self { field: format!("{parent}.{}", self.field), message: self.message }
    }
}

/// `value`, if it is finite and above zero.
fn positive(field: &str, value: f64) -> Result<f64, ParamError> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(ParamError::new(field, format!("must be a number above 0, not {value}")))
    }
}

/// `value`, if it is finite and not negative.
fn not_negative(field: &str, value: f64) -> Result<f64, ParamError> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(ParamError::new(field, format!("must be a number of at least 0, not {value}")))
    }
}
