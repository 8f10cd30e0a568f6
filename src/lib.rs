//! `hpasim` tunes Kubernetes autoscaling for LLM serving offline: a discrete-event simulator of a fleet of
//! vLLM replicas on GKE GPU nodes under the exact HPA algorithm.
//!
//! An experiment file becomes scenarios ([`config`]), a scenario and a seed become a run ([`sim`]), a grid of scenarios
//! becomes a recommendation ([`sweep`]):
//!
//! ```
//! use hpasim::config::{self, Loader, Options};
//! use hpasim::sim::{RecordLevel, run_workload};
//!
//! struct Text;
//! impl Loader for Text {
//!     fn read(&self, _path: &str) -> Result<Vec<u8>, String> {
//!         Ok(br#"
//! schema = 1
//! name = "minute"
//! duration = "10m"
//! [model]
//! profile = "l4-llama-3.1-8b"
//! [workload.poisson]
//! rate_rps = 1
//! prompt_tokens = 500
//! output_tokens = 100
//! [replicas]
//! fixed = 2
//! [slo]
//! ttft = "2s"
//! tpot = "100ms"
//! "#
//!         .to_vec())
//!     }
//! }
//!
//! let loaded = config::load(&Text, "minute.toml", &Options::default()).expect("a valid file");
//! let experiment = loaded.experiment;
//! let run = run_workload(&experiment.base, experiment.plan.seed, RecordLevel::Timeline);
//! // Nothing is lost: every request that arrived is accounted for.
//! assert_eq!(run.accounting.arrived, run.accounting.accounted());
//! assert!(run.measures.slo_attainment > 0.9);
//! ```

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
