//! Counters and histograms of `/metrics`: what a Prometheus scrape of one replica sees.
//!
//! Optional: a replica records them only when asked ([`Replica::record_metrics`](super::Replica)), and a run
//! of decode steps enters them in closed form. Like the gauges they change when a step was processed.
//!
//! Left out, since nothing here could move them: LoRA, speculative decoding, KV connector and multi-modal
//! metrics, the `_created` time stamps of the Python client, process and HTTP metrics. Left out too: the
//! counters that split prompt tokens by source again.
//!
//! Source: vllm 0.33.0, v1/metrics/loggers.py, v1/metrics/stats.py, v1/metrics/buckets.py,
//! v1/engine/async_llm.py.

mod exposition;
mod histogram;

pub use exposition::exposition;
pub use histogram::Histogram;

use super::{FinishReason, GapRun, RequestRecord};
use crate::units::{PS_PER_MS, SimDuration};

/// Upper bounds in milliseconds, as picoseconds.
fn bounds_ms(ms: &[u64]) -> Vec<u64> {
    ms.iter().map(|ms| ms * PS_PER_MS).collect()
}

const TTFT_MS: [u64; 22] = [
    1, 5, 10, 20, 40, 60, 80, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000, 20_000,
    40_000, 80_000, 160_000, 640_000, 2_560_000,
];
const TOKEN_MS: [u64; 19] = [
    10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000, 20_000,
    40_000, 80_000,
];
const REQUEST_MS: [u64; 21] = [
    300, 500, 800, 1_000, 1_500, 2_000, 2_500, 5_000, 10_000, 15_000, 20_000, 30_000, 40_000,
    50_000, 60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000, 7_680_000,
];
const ITERATION_TOKENS: [u64; 13] =
    [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
const PREEMPTIONS: [u64; 7] = [1, 2, 3, 4, 5, 10, 20];
const SEQUENCES: [u64; 5] = [1, 2, 5, 10, 20];

/// 1, 2, 5, 10, 20, 50, ... up to `max`.
fn one_two_five(max: u64) -> Vec<u64> {
    let decades = (0..19).map(|e| 10u64.pow(e));
    let steps = decades.flat_map(|decade| [1, 2, 5].map(|m| decade.saturating_mul(m)));
    steps.take_while(|&bound| bound <= max).collect()
}

/// Counters and histograms of one replica. Times are in picoseconds, the rest are counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metrics {
    /// `vllm:num_preemptions_total`.
    pub num_preemptions: u64,
    /// `vllm:prompt_tokens_total`: whole prompts, counted at their first token.
    pub prompt_tokens: u64,
    /// `vllm:generation_tokens_total`.
    pub generation_tokens: u64,
    /// `vllm:request_success_total{finished_reason="length"}`.
    pub finished_length: u64,
    /// `vllm:prefix_cache_queries_total` \[tokens\]: prompts at their first admission.
    pub prefix_cache_queries: u64,
    /// `vllm:prefix_cache_hits_total` \[tokens\].
    pub prefix_cache_hits: u64,
    /// `vllm:time_to_first_token_seconds`.
    pub time_to_first_token: Histogram,
    /// `vllm:inter_token_latency_seconds`.
    pub inter_token_latency: Histogram,
    /// `vllm:request_time_per_output_token_seconds`.
    pub time_per_output_token: Histogram,
    /// `vllm:e2e_request_latency_seconds`.
    pub e2e_request_latency: Histogram,
    /// `vllm:request_queue_time_seconds`.
    pub request_queue_time: Histogram,
    /// `vllm:request_inference_time_seconds`.
    pub request_inference_time: Histogram,
    /// `vllm:request_prefill_time_seconds`.
    pub request_prefill_time: Histogram,
    /// `vllm:request_decode_time_seconds`.
    pub request_decode_time: Histogram,
    /// `vllm:iteration_tokens_total`: tokens of a step that gave output: generated ones, and the prompts of
    /// first tokens, since 0.33 without what the prefix cache gave.
    pub iteration_tokens: Histogram,
    /// `vllm:request_prompt_tokens`.
    pub request_prompt_tokens: Histogram,
    /// `vllm:request_generation_tokens`; equal to `vllm:request_max_num_generation_tokens`, since a request
    /// has one sequence.
    pub request_generation_tokens: Histogram,
    /// `vllm:request_params_max_tokens`, capped at what `max_model_len` leaves, as the API does.
    pub request_params_max_tokens: Histogram,
    /// `vllm:request_params_n`.
    pub request_params_n: Histogram,
    /// `vllm:request_num_preemptions`.
    pub request_num_preemptions: Histogram,
}

impl Metrics {
    /// All zero, as before the first request. The bounds of token counts go up to `max_model_len`.
    pub fn new(max_model_len: u32) -> Self {
        let lengths = || Histogram::new(one_two_five(u64::from(max_model_len)));
        let request_time = || Histogram::new(bounds_ms(&REQUEST_MS));
        Self {
            num_preemptions: 0,
            prompt_tokens: 0,
            generation_tokens: 0,
            finished_length: 0,
            prefix_cache_queries: 0,
            prefix_cache_hits: 0,
            time_to_first_token: Histogram::new(bounds_ms(&TTFT_MS)),
            inter_token_latency: Histogram::new(bounds_ms(&TOKEN_MS)),
            time_per_output_token: Histogram::new(bounds_ms(&TOKEN_MS)),
            e2e_request_latency: request_time(),
            request_queue_time: request_time(),
            request_inference_time: request_time(),
            request_prefill_time: request_time(),
            request_decode_time: request_time(),
            iteration_tokens: Histogram::new(ITERATION_TOKENS.to_vec()),
            request_prompt_tokens: lengths(),
            request_generation_tokens: lengths(),
            request_params_max_tokens: lengths(),
            request_params_n: Histogram::new(SEQUENCES.to_vec()),
            request_num_preemptions: Histogram::new(PREEMPTIONS.to_vec()),
        }
    }

    /// Later tokens of requests: in a step, or in a whole run of steps without anything else.
    pub(super) fn gaps(&mut self, run: &GapRun) {
        let (steps, tokens) = (run.steps, run.tokens_per_step);
        self.inter_token_latency.add_progression(
            run.first.as_ps(),
            run.increment.as_ps(),
            steps,
            tokens,
        );
        self.generation_tokens += steps * tokens;
    }

    /// A request's first token.
    pub(super) fn first_token(&mut self, since_arrival: SimDuration, prompt_tokens: u32) {
        self.time_to_first_token.add(since_arrival.as_ps(), 1);
        self.prompt_tokens += u64::from(prompt_tokens);
        self.generation_tokens += 1;
    }

    /// `steps` steps with `tokens` prompt and generated tokens each.
    pub(super) fn iterations(&mut self, tokens: u64, steps: u64) {
        if tokens > 0 {
            self.iteration_tokens.add(tokens, steps);
        }
    }

    /// A request ended. Only requests that finished by themselves are counted.
    // ASSUMPTION(A31): a request aborted by its client leaves no trace in these metrics, since its end is
    // no output of a step; the label `abort` exists and stays 0.
    pub(super) fn finished(&mut self, r: &RequestRecord) {
        let (FinishReason::Length, Some(scheduled), Some(first), Some(last)) =
            (r.reason, r.first_scheduled, r.first_token, r.last_token)
        else {
            return;
        };
        self.finished_length += 1;
        let ps = SimDuration::as_ps;
        self.e2e_request_latency.add(ps(r.end - r.arrival), 1);
        self.request_queue_time.add(ps(scheduled - r.queued), 1);
        self.request_prefill_time.add(ps(first - scheduled), 1);
        self.request_decode_time.add(ps(last - first), 1);
        self.request_inference_time.add(ps(last - scheduled), 1);
        let tokens = u64::from(r.output_tokens);
        // A request of one token counts with a time of zero.
        let per_token = if tokens > 1 { ps(last - first) / (tokens - 1) } else { 0 };
        self.time_per_output_token.add(per_token, 1);
        self.request_prompt_tokens.add(u64::from(r.prompt_tokens), 1);
        self.request_generation_tokens.add(tokens, 1);
        self.request_params_max_tokens.add(tokens, 1);
        self.request_params_n.add(1, 1);
        self.request_num_preemptions.add(u64::from(r.preemptions), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_buckets_stop_at_the_longest_request() {
        assert_eq!(one_two_five(100), [1, 2, 5, 10, 20, 50, 100]);
        assert_eq!(one_two_five(8192).last(), Some(&5000));
    }
}
