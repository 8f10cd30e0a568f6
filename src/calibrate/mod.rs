//! GPU profiles against measurements: how far off the simulated figures are, and fits.
//!
//! Fits: [`work`] says what a measured time is made of, [`fit`] finds the coefficients; [`bench_json`], [`requests`],
//! [`steps`] and [`windows`] turn files into data points, where needed by playing them ([`replay`]) on the engine.
//!
//! Nothing here opens a file or prints: texts and profiles come in, values go out.

pub mod bench_json;
mod data;
pub mod fit;
mod nnls;
pub mod replay;
pub mod requests;
pub mod steps;
pub mod windows;
pub mod work;

pub use data::DataError;
