//! vLLM's defaults by version and GPU, and the engine that a profile and a few flags make.

use super::GpuProfile;
use crate::engine::{
    EngineConfig, EngineMode, SchedulerConfig, SchedulerRules, SchedulingPolicy, StepModel,
    usable_tokens,
};
use crate::units::{PS_PER_US, SimDuration};
use std::sync::Arc;

/// What `vllm serve` does when a flag is absent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServerDefaults {
    /// Which scheduler's rules apply.
    pub rules: SchedulerRules,
    /// `--max-num-seqs`.
    pub max_num_seqs: u32,
    /// `--max-num-batched-tokens`.
    pub max_num_batched_tokens: u32,
    /// `--gpu-memory-utilization`.
    pub gpu_memory_utilization: f64,
    /// Whether a step is scheduled while the last one runs.
    pub async_scheduling: bool,
    /// The full-prompt admission gate.
    pub scheduler_reserve_full_isl: bool,
}

impl ServerDefaults {
    /// The defaults of vLLM 0.`minor` on this GPU; without a GPU those of a small one.
    pub fn of(minor: u32, profile: Option<&GpuProfile>) -> Self {
        // ASSUMPTION(A47): the scheduler of 0.33.0 from 0.22 on, that of 0.11.0 before, 0.92 of the memory from
        // 0.33 on: only 0.11.0 and 0.33.0 were compared with the real one; other releases get a warning.
        let modern = minor >= 22;
        // Source: vllm 0.11.0 and 0.33.0, engine/arg_utils.py: GPUs of at least 70 GiB whose name has no "a100";
        // 0.8.5 has no exception for the A100.
        let large = profile.is_some_and(|p| {
            p.gpu.memory_bytes >= 70 << 30
                && (minor < 9 || !p.gpu.title.to_lowercase().contains("a100"))
        });
        Self {
            rules: if modern { SchedulerRules::V0_33 } else { SchedulerRules::V0_11 },
            max_num_seqs: if large { 1024 } else { 256 },
            max_num_batched_tokens: if large { 8192 } else { 2048 },
            gpu_memory_utilization: if minor >= 33 { 0.92 } else { 0.9 },
            async_scheduling: minor >= 14,
            scheduler_reserve_full_isl: modern,
        }
    }
}

/// Time before the engine sees a request.
// ASSUMPTION(A43): 15.6 ms, learned by BLIS on H100 servers; single users of published runs imply 11 to 19 ms on
// large machines and 20 on g2-standard-4, localhost with token-id prompts measured 4 ms.
pub const INGEST: SimDuration = SimDuration::from_ps(15_600 * PS_PER_US);

/// The flags of a server that differ from vLLM's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct ServerFlags {
    /// Minor release of vLLM 0.x.
    pub vllm_minor: u32,
    /// `--max-num-seqs`.
    pub max_num_seqs: Option<u32>,
    /// `--max-num-batched-tokens`.
    pub max_num_batched_tokens: Option<u32>,
    /// The KV cache that the server printed \[tokens\].
    pub kv_tokens: Option<u64>,
    /// Whether full blocks are found again by content.
    pub enable_prefix_caching: bool,
}

/// `num_gpu_blocks` of a KV pool for `kv_tokens` tokens.
pub(crate) fn num_gpu_blocks(kv_tokens: u64, block_size: u32) -> u32 {
    u32::try_from(kv_tokens / u64::from(block_size)).unwrap_or(u32::MAX)
}

impl GpuProfile {
    /// `--max-model-len auto`: what the model was made for, or what its KV pool holds.
    pub(crate) fn max_model_len(&self, num_gpu_blocks: u32, block_size: u32) -> u32 {
        let fits = u32::try_from(usable_tokens(num_gpu_blocks, block_size)).unwrap_or(u32::MAX);
        self.model.max_position_embeddings.min(fits).max(1)
    }

    /// The engine of this profile under `flags`.
    ///
    /// # Errors
    /// Why vLLM would not start, in one sentence.
    pub fn engine(&self, flags: &ServerFlags) -> Result<EngineConfig, String> {
        let defaults = ServerDefaults::of(flags.vllm_minor, Some(self));
        let max_num_seqs = flags.max_num_seqs.unwrap_or(defaults.max_num_seqs);
        let max_num_batched_tokens = flags
            .max_num_batched_tokens
            .unwrap_or(defaults.max_num_batched_tokens.max(max_num_seqs));
        let block_size = 16;
        let kv_tokens = flags.kv_tokens.unwrap_or_else(|| {
            let utilization = defaults.gpu_memory_utilization;
            self.kv_tokens_of(flags.vllm_minor, utilization, max_num_batched_tokens)
        });
        let num_gpu_blocks = num_gpu_blocks(kv_tokens, block_size);
        if num_gpu_blocks < 2 {
            let gb = self.model.weight_bytes(self.weights) as f64 / 1e9;
            return Err(format!("{gb:.1} GB of weights leave no memory for the KV cache"));
        }
        let scheduler = SchedulerConfig {
            rules: defaults.rules,
            max_num_seqs,
            max_num_batched_tokens,
            num_gpu_blocks,
            block_size,
            max_model_len: self.max_model_len(num_gpu_blocks, block_size),
            enable_prefix_caching: flags.enable_prefix_caching,
            enable_chunked_prefill: true,
            policy: SchedulingPolicy::Fcfs,
            async_scheduling: defaults.async_scheduling,
            long_prefill_token_threshold: 0,
            long_prefill_token_threshold_adaptive: false,
            scheduler_reserve_full_isl: defaults.scheduler_reserve_full_isl,
            watermark: 0.0,
            prefill_schedule_interval: 1,
            max_num_active_seqs: None,
        };
        if let Some(error) = scheduler.validate().into_iter().next() {
            return Err(error.to_string());
        }
        let coefficients = self.step_coefficients(flags.vllm_minor, max_num_seqs);
        let step_model =
            StepModel::new(&coefficients, max_num_batched_tokens).map_err(|e| e.to_string())?;
        Ok(EngineConfig {
            scheduler,
            step_model: Arc::new(step_model),
            ingest: self.ingest(),
            mode: EngineMode::Fast,
        })
    }
}
