//! What `/metrics` shows: the state after the most recently processed step.

/// The gauges of one replica. They change when a step has been processed and at no other time, so they
/// are stale during a long prefill and keep their last value while the engine is idle.
// Source: vllm 0.33.0, v1/metrics/loggers.py.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gauges {
    /// `vllm:num_requests_running` \[requests\].
    pub num_requests_running: u32,
    /// `vllm:num_requests_waiting` \[requests\].
    pub num_requests_waiting: u32,
    /// Blocks in use, without the null block.
    pub used_blocks: u32,
    /// Blocks of the pool, without the null block; at least 1.
    pub usable_blocks: u32,
}

impl Gauges {
    /// `vllm:kv_cache_usage_perc`: 0..1. Cached blocks that nobody holds count as free.
    pub fn kv_cache_usage_perc(&self) -> f64 {
        // Source: vllm 0.33.0, v1/core/block_pool.py get_usage: 1 - free / (num_gpu_blocks - 1).
        1.0 - f64::from(self.usable_blocks - self.used_blocks) / f64::from(self.usable_blocks)
    }
}
