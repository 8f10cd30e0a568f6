//! `hpasim profile show`: one profile in words and figures.

use super::{MINOR, UTILIZATION};
use crate::config::profile::{COEFFICIENTS, GpuProfile};
use crate::engine::{BatchShape, StepModel};
use crate::report::counted;
use std::fmt::Write as _;

/// The profile as text.
pub(super) fn describe(profile: &GpuProfile) -> anyhow::Result<String> {
    let mut out = String::new();
    let gpus = profile.tensor_parallel_size;
    writeln!(out, "{}: {}", profile.name, profile.summary)?;
    writeln!(
        out,
        "{gpus} x {} ({}), {:.1} GB of weights in {}\n",
        profile.gpu.title,
        profile.gpu.name,
        profile.model.weight_bytes(profile.weights) as f64 / 1e9,
        profile.weights.as_str(),
    )?;
    let words = [
        "ms, fixed cost of a step",
        "ms to stream the weights once",
        "ms per token of GEMM work",
        "softness of the corner between the two",
        "ms per decoding sequence",
        "us per token of context read from the KV cache",
        "1e-6 ms per (query, key) pair of prefill attention",
    ];
    writeln!(out, "step_ms = t0 + (m^p + (c T)^p)^(1/p) + c_seq N + c_kv KV + c_att A")?;
    for (index, name) in COEFFICIENTS.iter().enumerate() {
        let value = profile.coefficient(index);
        let status = profile.status[index].as_str();
        writeln!(out, "  {name:<15} {value:>10.6}  {:<52} {status}", words[index])?;
    }
    if let Some((ms, status)) = profile.ingest_ms {
        let word = "ms before the engine sees a request";
        writeln!(out, "  {:<15} {ms:>10.6}  {word:<52} {}", "ingest_ms", status.as_str())?;
    }
    let budget = profile.gpu.overhead_tokens;
    let coefficients = profile.step_coefficients(MINOR, 256);
    let model = StepModel::new(&coefficients, budget)?;
    let kv = profile.kv_tokens(UTILIZATION, budget);
    writeln!(
        out,
        "\nKV cache: {kv} tokens, {} blocks of 16 (gpu_memory_utilization {UTILIZATION}, \
         max_num_batched_tokens {budget})",
        kv / 16
    )?;
    if let Some(measured) = &profile.measured_kv {
        writeln!(
            out,
            "  a server printed {} tokens at {} ({})",
            measured.tokens, measured.gpu_memory_utilization, measured.source
        )?;
    }
    out.push_str(&chart(&model, kv));
    let (batch, rate) = saturation(&model, kv);
    writeln!(
        out,
        "\nsaturated with {batch} sequences of 1024 tokens: {rate:.0} output tokens/s per replica"
    )?;
    let chunk = BatchShape {
        tokens: budget,
        decodes: 0,
        kv_tokens: 0,
        pairs_twice: u64::from(budget) * u64::from(budget),
    };
    let ms = model.duration(&chunk).as_secs_f64() * 1e3;
    writeln!(
        out,
        "prefill: {budget} tokens in {ms:.0} ms, {:.0} tokens/s",
        f64::from(budget) / ms * 1e3
    )?;
    writeln!(out, "\nvalid for: vLLM {}; {}", profile.vllm_versions, profile.valid_for)?;
    writeln!(out, "known error: {}", profile.known_error)?;
    let price = &profile.price;
    if price.machine_type.is_empty() {
        writeln!(out, "price: no machine type with this GPU is known")?;
    } else {
        writeln!(
            out,
            "price: {} USD/h per {} with {} ({}, confidence {})",
            price.usd_per_hour,
            price.machine_type,
            counted(price.gpus as usize, "GPU"),
            price.basis,
            price.confidence
        )?;
    }
    let of_gpu = (!profile.sources.contains(&profile.gpu.source)).then_some(&profile.gpu.source);
    for source in profile.sources.iter().chain(of_gpu) {
        writeln!(out, "source: {source}")?;
    }
    Ok(out)
}

/// Duration of a decode step of `batch` sequences with `context` tokens each \[ms\].
fn decode_ms(model: &StepModel, batch: u32, context: u64) -> f64 {
    let shape = BatchShape {
        tokens: batch,
        decodes: batch,
        kv_tokens: u64::from(batch) * context,
        pairs_twice: 0,
    };
    model.duration(&shape).as_secs_f64() * 1e3
}

/// Decode step time against batch and context, as bars.
fn chart(model: &StepModel, kv: u64) -> String {
    const CONTEXTS: [u64; 3] = [256, 1024, 4096];
    let batches = [1, 4, 16, 64, 256];
    let most = batches
        .iter()
        .flat_map(|&b| CONTEXTS.map(|c| (b, c)))
        .filter(|&(b, c)| u64::from(b) * c <= kv)
        .map(|(b, c)| decode_ms(model, b, c))
        .fold(0.0, f64::max);
    let mut out = "\ndecode step, ms, by sequences and tokens of context each\n".to_owned();
    for context in CONTEXTS {
        for batch in batches {
            if u64::from(batch) * context > kv {
                continue;
            }
            let ms = decode_ms(model, batch, context);
            let bar = "#".repeat((ms / most * 40.0).round() as usize);
            let _ = writeln!(out, "  {batch:>4} x {context:<5} {ms:>8.1} {bar}");
        }
    }
    out
}

/// The batch of 1024-token sequences with the highest output rate that fits the KV cache, at most 256, and
/// its rate \[tokens/s\].
fn saturation(model: &StepModel, kv: u64) -> (u32, f64) {
    let most = (kv / 1024).clamp(1, 256) as u32;
    (1..=most)
        .map(|batch| (batch, f64::from(batch) * 1e3 / decode_ms(model, batch, 1024)))
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((1, 0.0))
}
