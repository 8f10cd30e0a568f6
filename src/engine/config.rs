//! What a replica is configured with, in vLLM's own flag names.

use std::sync::Arc;

use super::StepModel;
use crate::units::SimDuration;

/// Order in which waiting requests are admitted and running ones preempted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SchedulingPolicy {
    /// First come, first served; the most recently admitted request is preempted.
    #[default]
    Fcfs,
    /// Smallest (priority, arrival) first; the running request with the largest is preempted.
    Priority,
}

/// Which release's scheduler rules apply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum SchedulerRules {
    /// vLLM 0.11.0: no full-prompt gate, no watermark, freed blocks always to the back of the queue.
    V0_11,
    /// vLLM 0.33.0.
    #[default]
    V0_33,
}

/// The scheduler's configuration: vLLM's flag names and meanings.
#[derive(Clone, PartialEq, Debug)]
pub struct SchedulerConfig {
    /// Release whose rules apply.
    pub rules: SchedulerRules,
    /// Most requests in the running list \[requests\].
    pub max_num_seqs: u32,
    /// Budget of one step, prefill and decode together \[tokens\].
    pub max_num_batched_tokens: u32,
    /// Size of the KV pool, **including** the reserved null block \[blocks\].
    pub num_gpu_blocks: u32,
    /// Tokens per KV block.
    pub block_size: u32,
    /// Longest prompt plus output \[tokens\].
    pub max_model_len: u32,
    /// Whether full blocks are found again by content.
    pub enable_prefix_caching: bool,
    /// Whether a prompt may be computed in several steps.
    pub enable_chunked_prefill: bool,
    /// Admission and preemption order.
    pub policy: SchedulingPolicy,
    /// Whether step k+1 is scheduled while step k runs.
    pub async_scheduling: bool,
    /// Longest chunk of a request while others exist; 0 = off \[tokens\].
    pub long_prefill_token_threshold: u32,
    /// Raises that threshold to an equal share of the budget.
    pub long_prefill_token_threshold_adaptive: bool,
    /// The full-prompt admission gate.
    pub scheduler_reserve_full_isl: bool,
    /// Share of the pool that admissions leave free, 0..1.
    pub watermark: f64,
    /// Calls between prefills; 1 = every call may prefill.
    pub prefill_schedule_interval: u32,
    /// Cap on running requests below `max_num_seqs`; `None` = `max_num_seqs`.
    pub max_num_active_seqs: Option<u32>,
}

impl Default for SchedulerConfig {
    /// `vllm serve` 0.33.0 on a GPU below 70 GiB or an A100, with the pool of Llama-3.1-8B on an L4.
    // Source: vllm 0.33.0, engine/arg_utils.py.
    fn default() -> Self {
        Self {
            rules: SchedulerRules::V0_33,
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            // ASSUMPTION(A30): 1.3 GiB of overhead at gpu_memory_utilization 0.92 on 22.1 GiB.
            num_gpu_blocks: 2086,
            block_size: 16,
            max_model_len: 8192,
            enable_prefix_caching: true,
            enable_chunked_prefill: true,
            policy: SchedulingPolicy::Fcfs,
            async_scheduling: true,
            long_prefill_token_threshold: 0,
            long_prefill_token_threshold_adaptive: false,
            scheduler_reserve_full_isl: true,
            watermark: 0.0,
            prefill_schedule_interval: 1,
            max_num_active_seqs: None,
        }
    }
}

/// Why a [`SchedulerConfig`] cannot run; the field is vLLM's name.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct ConfigError {
    /// vLLM's name of the offending field.
    pub field: &'static str,
    /// What is wrong, with the value.
    pub message: String,
}

/// Tokens that a KV pool of `num_gpu_blocks` blocks holds.
// Source: vllm 0.33.0, v1/core/block_pool.py: block 0 is the null block.
pub fn usable_tokens(num_gpu_blocks: u32, block_size: u32) -> u64 {
    u64::from(num_gpu_blocks.saturating_sub(1)) * u64::from(block_size)
}

impl SchedulerConfig {
    /// Every reason why vLLM would refuse this configuration; empty when it runs.
    // Source: vllm 0.33.0, config/scheduler.py, verify_max_model_len.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut err = |field, message: String| errors.push(ConfigError { field, message });
        for (field, value) in [
            ("max_num_seqs", self.max_num_seqs),
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("block_size", self.block_size),
            ("max_model_len", self.max_model_len),
            ("prefill_schedule_interval", self.prefill_schedule_interval),
        ] {
            if value == 0 {
                err(field, "must be at least 1".to_owned());
            }
        }
        if self.num_gpu_blocks < 2 {
            err("num_gpu_blocks", format!("{} leaves no usable block", self.num_gpu_blocks));
        }
        if !(0.0..1.0).contains(&self.watermark) {
            err("watermark", format!("{} is outside [0, 1)", self.watermark));
        }
        if self.max_num_active_seqs == Some(0) {
            err("max_num_active_seqs", "must be at least 1".to_owned());
        }
        if !self.enable_chunked_prefill && self.max_num_batched_tokens < self.max_model_len {
            err(
                "max_num_batched_tokens",
                format!(
                    "{} is below max_model_len {} while chunked prefill is off",
                    self.max_num_batched_tokens, self.max_model_len
                ),
            );
        }
        if self.max_num_batched_tokens < self.max_num_seqs {
            let (tokens, seqs) = (self.max_num_batched_tokens, self.max_num_seqs);
            err("max_num_batched_tokens", format!("{tokens} is below max_num_seqs {seqs}"));
        }
        if let Some(active) = self.max_num_active_seqs.filter(|n| *n > self.max_num_seqs) {
            let seqs = self.max_num_seqs;
            err("max_num_active_seqs", format!("{active} is above max_num_seqs {seqs}"));
        }
        // 0.11.0 lets it pass.
        if self.rules >= SchedulerRules::V0_33
            && self.long_prefill_token_threshold > self.max_model_len
        {
            let (chunk, len) = (self.long_prefill_token_threshold, self.max_model_len);
            let message = format!("{chunk} is above max_model_len {len}");
            err("long_prefill_token_threshold", message);
        }
        if self.block_size > 0 {
            let needed = self.max_model_len.div_ceil(self.block_size);
            let usable = self.num_gpu_blocks.saturating_sub(1);
            if needed > usable {
                err(
                    "max_model_len",
                    format!(
                        "{} tokens need {needed} blocks of {}, the pool has {usable}",
                        self.max_model_len, self.block_size
                    ),
                );
            }
        }
        errors
    }
}

/// How a replica computes its steps. Both modes give identical effects in identical order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EngineMode {
    /// Runs of pure decode steps are jumped in closed form.
    #[default]
    Fast,
    /// Every engine step is executed.
    Stepwise,
}

/// Everything a replica needs; shared by the replicas of a scenario.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The scheduler's flags; must pass [`SchedulerConfig::validate`].
    pub scheduler: SchedulerConfig,
    /// Duration of a step.
    pub step_model: Arc<StepModel>,
    /// Front-end time (tokenising, transfer) before the engine sees a request.
    pub ingest: SimDuration,
    /// Fast or step by step.
    pub mode: EngineMode,
}
