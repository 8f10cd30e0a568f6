//! Replays recordings of the real software and compares every decision.

pub mod engine;
pub mod hpa;
