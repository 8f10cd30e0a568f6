//! One vLLM replica as a state machine: the scheduler of vLLM's V1 engine, decision for decision, over an
//! integer-affine step cost.
//!
//! Reading order: [`SchedulerConfig`] and [`StepModel`] say what a replica is, [`EngineRequest`] goes in,
//! [`Effect`]s come out, [`Replica`] is the engine-core loop between them. [`scheduler`] holds the rules
//! and knows no time; the private `replica` module adds the clock.
//!
//! Units: tokens and blocks are counts in `u32`, time is [`SimTime`](crate::units::SimTime).
//!
//! Left out: pipeline parallelism, speculative decoding, LoRA, KV connectors, structured output, models
//! with several KV groups (sliding windows), the V0 engine.
//!
//! Source: vllm 0.33.0, v1/core/sched/scheduler.py, v1/core/kv_cache_manager.py, v1/core/block_pool.py,
//! v1/engine/core.py.

mod blocks;
mod config;
mod effect;
mod flights;
mod gauges;
pub mod metrics;
mod replica;
mod request;
mod run;
pub mod scheduler;
mod step_model;

pub use config::{
    ConfigError, EngineConfig, EngineMode, SchedulerConfig, SchedulerRules, SchedulingPolicy,
    usable_tokens,
};
pub use effect::{Effect, FinishReason, GapRun, RequestRecord, StepRecord};
pub use gauges::Gauges;
pub use replica::Replica;
pub use request::{Chain, EngineRequest, Prompt, Segment, TokenSpan};
pub use step_model::{BatchShape, StepCoefficients, StepModel, StepModelError};
