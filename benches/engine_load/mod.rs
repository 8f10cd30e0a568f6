//! The canonical workload of the engine benches: W(n, rate).

use std::sync::Arc;

use hpasim::engine::{
    Effect, EngineConfig, EngineMode, EngineRequest, FinishReason, Prompt, Replica,
    SchedulerConfig, Segment, StepCoefficients, StepModel, TokenSpan,
};
use hpasim::units::{RequestId, SimDuration, SimTime};
use rand::SeedableRng;
use rand_distr::{Distribution, Exp, LogNormal};
use rand_pcg::Pcg64Mcg;

/// One load on one replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    /// Arrivals per second.
    pub(crate) rate: f64,
    /// Asynchronous scheduling and prefix caching, vLLM's present defaults.
    pub(crate) modern: bool,
    /// All prompts begin with the same 200 tokens, so that blocks have identities.
    pub(crate) shared: bool,
    /// Usable blocks.
    pub(crate) blocks: u32,
}

/// Llama-3.1-8B on one A100-80.
pub(crate) fn config(load: &Load, mode: EngineMode) -> Arc<EngineConfig> {
    let coefficients = StepCoefficients::LLAMA_3_1_8B_ON_A100_80;
    let scheduler = SchedulerConfig {
        num_gpu_blocks: load.blocks + 1,
        max_num_seqs: 256,
        max_num_batched_tokens: 2048,
        max_model_len: 8192,
        enable_prefix_caching: load.modern,
        async_scheduling: load.modern,
        ..SchedulerConfig::default()
    };
    Arc::new(EngineConfig {
        step_model: Arc::new(StepModel::new(&coefficients, 2048).expect("valid coefficients")),
        scheduler,
        ingest: SimDuration::ZERO,
        mode,
    })
}

/// The requests of a load, in order of arrival.
pub(crate) fn requests(load: &Load) -> Vec<EngineRequest> {
    let mut rng = Pcg64Mcg::seed_from_u64(20_261_124);
    let gap = Exp::new(load.rate).expect("a positive rate");
    let prompt = LogNormal::new(400f64.ln(), 0.8).expect("valid");
    let output = LogNormal::new(150f64.ln(), 0.7).expect("valid");
    let mut at = 0.0;
    let span = |segment, len| TokenSpan { segment: Segment::Text(segment), start: 0, len };
    (0..load.requests)
        .map(|id| {
            at += gap.sample(&mut rng);
            let prompt_tokens = prompt.sample(&mut rng).round().clamp(16.0, 3072.0) as u32;
            let common = prompt_tokens.min(200);
            let spans = [span(0, common), span(id + 1, prompt_tokens - common)];
            EngineRequest {
                id: RequestId(id),
                arrival: SimTime::ZERO + SimDuration::from_secs_f64(at),
                prompt_tokens,
                output_tokens: output.sample(&mut rng).round().clamp(8.0, 1024.0) as u32,
                priority: 0,
                prompt: if load.shared { Prompt::Spans(spans.into()) } else { Prompt::Unique },
            }
        })
        .collect()
}

/// Runs a load to its end; the digest covers every request's times and all gaps.
pub(crate) fn run(config: &Arc<EngineConfig>, requests: &[EngineRequest]) -> Outcome {
    let mut replica = Replica::new(config.clone(), SimTime::ZERO);
    let mut out = Vec::new();
    let mut digest = Digest::default();
    for request in requests {
        replica.advance_to(request.arrival, &mut out);
        digest.take(&mut out);
        replica.enqueue(request.clone());
    }
    while let Some(at) = replica.next_change() {
        replica.advance_to(at, &mut out);
        digest.take(&mut out);
    }
    replica.drain_unfinished(SimTime::MAX_HORIZON, FinishReason::Unfinished, &mut out);
    digest.take(&mut out);
    assert_eq!(digest.finished, requests.len() as u64, "law L1: every request leaves once");
    Outcome { digest: digest.value(), preemptions: digest.preemptions }
}

/// What a load came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) digest: u64,
    pub(crate) preemptions: u64,
}

#[derive(Default)]
struct Digest {
    finished: u64,
    preemptions: u64,
    requests: u64,
    gap_tokens: u64,
    gap_ps: u64,
}

impl Digest {
    fn take(&mut self, out: &mut Vec<Effect>) {
        for effect in out.drain(..) {
            match effect {
                Effect::Finished(r) => {
                    self.finished += 1;
                    self.preemptions += u64::from(r.preemptions);
                    let first = r.first_token.unwrap_or_default().as_ps();
                    for word in [r.id.0, first, r.end.as_ps(), u64::from(r.preemptions)] {
                        self.requests = (self.requests ^ word)
                            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                            .rotate_left(29);
                    }
                }
                Effect::Gaps(run) => {
                    let (k, n) = (run.steps, run.tokens_per_step);
                    self.gap_tokens += k * n;
                    let sum = k * run.first.as_ps() + run.increment.as_ps() * (k * (k - 1) / 2);
                    self.gap_ps = self.gap_ps.wrapping_add(n.wrapping_mul(sum));
                }
            }
        }
    }

    fn value(&self) -> u64 {
        self.requests ^ self.gap_tokens.rotate_left(17) ^ self.gap_ps
    }
}

/// The three loads of the targets.
pub(crate) const LIGHT: Load =
    Load { requests: 100_000, rate: 5.0, modern: false, shared: false, blocks: 28_000 };
/// As [`LIGHT`] with vLLM's present defaults.
pub(crate) const MODERN: Load = Load { modern: true, ..LIGHT };
/// As [`MODERN`] with prefixes found again.
pub(crate) const SHARED: Load = Load { shared: true, ..MODERN };
/// A pool so small that requests are preempted all the time.
pub(crate) const SATURATED: Load =
    Load { requests: 20_000, rate: 60.0, modern: false, shared: false, blocks: 6_000 };
