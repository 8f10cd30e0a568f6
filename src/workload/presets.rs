//! Named workloads that imitate real traces by parameters only; no trace content.

use super::ParamError;
use super::lengths::LengthModel;
use super::rate::Generated;

/// The names of length presets.
pub const LENGTHS: [&str; 5] =
    ["azure-conv-like", "azure-code-like", "azure-code-week", "reasoning-like", "seed-locust"];

/// The names of arrival presets.
pub const ARRIVALS: [&str; 5] =
    ["azure-conv-like", "azure-code-like", "azure-code-week", "hill-8min", "reasoning-like"];

/// The length model with this name.
pub fn lengths(name: &str) -> Result<LengthModel, ParamError> {
    Err(ParamError::new("preset", format!("unknown: `{name}`")))
}

/// The arrival process with this name at its own rate; scale it by `rate_scale`.
pub fn arrivals(name: &str) -> Result<Generated, ParamError> {
    Err(ParamError::new("preset", format!("unknown: `{name}`")))
}
