//! GPU profiles against measurements: how far off the simulated figures are, and fits.
//!
//! Published serving benchmarks: [`benchmark`] reads their rows, [`plan`] says what a row means or why it cannot be
//! modelled, [`lengths`] draws its requests, [`drive`] plays them against the engine as a benchmark tool would,
//! [`check`] compares; [`step_check`] does the same for single engine steps.
//!
//! Fits: [`work`] says what a measured time is made of, [`fit`] finds the coefficients; [`bench_json`], [`requests`],
//! [`steps`] and [`windows`] turn files into data points, where needed by playing them ([`replay`]) on the engine.
//!
//! Nothing here opens a file or prints: texts, profiles and engines come in, values go out.

pub mod bench_json;
pub mod benchmark;
pub mod check;
mod data;
pub mod drive;
pub mod fit;
pub mod lengths;
mod nnls;
pub mod plan;
pub mod replay;
pub mod requests;
pub mod step_check;
pub mod steps;
pub mod windows;
pub mod work;

pub use data::DataError;
