//! The validated experiment: everything a command needs to run it.

use crate::rng::Seed;

/// Reads files for [`load`](super::load); implemented by `cli`, and by a map of strings in tests.
pub trait Loader {
    /// The bytes of `path`, which is already resolved against the file that names it. Errors are one
    /// line, as the operating system words it.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// One `--set KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The whole argument, `KEY=VALUE`. VALUE is TOML; what is no TOML is taken as a string.
    pub argument: String,
}

/// A file that was read, for the digest of the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The resolved path.
    pub path: String,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub digest: String,
}

/// A validated experiment.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// `name`: letters, digits, `-`, `_`, `.`; names the output directory.
    pub name: String,
    /// `seed` of all random streams.
    pub seed: Seed,
    /// Replications of each case, at least 1.
    pub replications: u32,
    /// Confidence level of all intervals, between 0.5 and 1.
    pub confidence: f64,
    /// Every file that was read, in order.
    pub inputs: Vec<Input>,
}
