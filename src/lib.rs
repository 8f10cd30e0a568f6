//! `hpasim` tunes Kubernetes autoscaling for LLM serving offline: a discrete-event simulator of a fleet of
//! vLLM replicas on GKE GPU nodes under the exact HPA algorithm.

pub mod backtest;
pub mod calibrate;
pub mod cluster;
pub mod config;
pub mod engine;
pub mod export;
pub mod gateway;
pub mod hpa;
pub mod manifest;
pub mod pipeline;
pub mod report;
pub mod rng;
pub mod sim;
pub mod stats;
pub mod sweep;
pub mod units;
pub mod verify;
pub mod workload;

pub mod cli;
