//! GPU profiles against measurements: how far off the simulated figures are, and fits.
//!
//! Nothing here opens a file or prints: texts and profiles come in, values go out.
