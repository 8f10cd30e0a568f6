//! Constants of GPUs, shapes of models and machine types, and what follows from them.
//!
//! Source of the formulas: a roofline of weights, GEMM, KV reads and prefill attention, whose constants were
//! fitted on real vLLM steps; the built-in values with their sources are in `models/constants/`.

use super::super::diagnostic::{Code, Diagnostic};
use super::super::reader::Fields;
use crate::cluster::presets::Accelerator;
use crate::engine::StepCoefficients;

/// A positive number that no hardware exceeds.
const MAX: f64 = 1e15;
const POSITIVE: std::ops::RangeInclusive<f64> = 1e-9..=MAX;

/// What a GPU does under vLLM.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuConstants {
    /// Name in profiles and files, as `a100-80`.
    pub name: String,
    /// Full name for people.
    pub title: String,
    /// Whose node and start-up presets apply.
    pub accelerator: Accelerator,
    /// Streaming weights \[GB/s\].
    pub weight_gb_s: f64,
    /// GEMM in bf16 \[TFLOP/s\].
    pub bf16_tflops: f64,
    /// GEMM with fp8 weights \[TFLOP/s\]; `None` = this GPU has no fp8.
    pub fp8_tflops: Option<f64>,
    /// Share of `weight_gb_s` that remains with fp8 weights.
    pub fp8_weight_gb_s_factor: f64,
    /// Softness p of the corner between the memory and the compute roof.
    pub roof_softness: f64,
    /// Fixed cost of a step \[ms\].
    pub t0_ms: f64,
    /// Cost per decoding sequence \[ms\].
    pub seq: SeqCost,
    /// Reading the KV cache \[GB/s\].
    pub kv_gb_s: f64,
    /// Prefill attention \[TFLOP/s\].
    pub attention_tflops: f64,
    /// Latency of one all-reduce \[us\].
    pub all_reduce_latency_us: f64,
    /// Bandwidth of an all-reduce \[GB/s\].
    pub all_reduce_gb_s: f64,
    /// Memory that CUDA reports \[bytes\].
    pub memory_bytes: u64,
    /// Activations, graphs and contexts \[bytes\] at `overhead_tokens`.
    pub overhead_bytes: u64,
    /// `max_num_batched_tokens` at which `overhead_bytes` holds.
    pub overhead_tokens: u32,
    /// Work of the API server per request on the machines of this GPU \[ms\].
    pub api_work_ms: f64,
    /// Power limit \[W\].
    pub power_w: f64,
    /// Where the constants come from.
    pub source: String,
}

/// The cost of one more sequence in a decode step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SeqCost {
    /// The same for all models \[ms\].
    Fixed(f64),
    /// Two operations per linear parameter at this rate \[TFLOP/s\].
    PerParameter(f64),
}

/// The shape of a model, in the words of its `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelShape {
    /// Name in profiles and files, as `llama-3.1-8b`.
    pub name: String,
    /// Layers.
    pub num_hidden_layers: u32,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Width of the (gated) feed-forward layer.
    pub intermediate_size: u32,
    /// Query heads.
    pub num_attention_heads: u32,
    /// Key and value heads.
    pub num_key_value_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Tokens of the vocabulary.
    pub vocab_size: u32,
    /// Whether the input embedding and the output layer are one matrix.
    pub tie_word_embeddings: bool,
    /// Longest context the model was made for \[tokens\].
    pub max_position_embeddings: u32,
}

/// Number format of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Two bytes per parameter.
    Bf16,
    /// One byte per linear parameter, two per parameter of the output layer and the embedding.
    Fp8,
}

impl Weights {
    /// All, in order.
    pub const ALL: [Self; 2] = [Self::Bf16, Self::Fp8];

    /// Name in profiles.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
        }
    }
}

/// A machine type of the cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Name, as `g2-standard-24`.
    pub name: String,
    /// Name of its GPU constants.
    pub gpu: String,
    /// GPUs of one machine.
    pub gpus: u32,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory \[GiB\].
    pub memory_gib: u32,
    /// On-demand price \[USD/h\].
    pub usd_per_hour: f64,
    /// How sure the price is: high, medium or low.
    pub confidence: String,
}

impl ModelShape {
    /// Parameters of the linear layers, without output layer and embedding.
    pub fn linear_parameters(&self) -> u64 {
        let hidden = u64::from(self.hidden_size);
        let head = u64::from(self.head_dim);
        let queries = hidden * u64::from(self.num_attention_heads) * head * 2;
        let keys = hidden * u64::from(self.num_key_value_heads) * head * 2;
        let feed_forward = 3 * hidden * u64::from(self.intermediate_size);
        u64::from(self.num_hidden_layers) * (queries + keys + feed_forward)
    }

    /// Parameters of the output layer.
    pub fn head_parameters(&self) -> u64 {
        u64::from(self.hidden_size) * u64::from(self.vocab_size)
    }

    /// Bytes that are read in every step: linear layers and output layer; the embedding is a gather.
    pub fn step_bytes(&self, weights: Weights) -> u64 {
        let per_linear = match weights {
            Weights::Bf16 => 2,
            Weights::Fp8 => 1,
        };
        self.linear_parameters() * per_linear + self.head_parameters() * 2
    }

    /// Bytes of all weights.
    pub fn weight_bytes(&self, weights: Weights) -> u64 {
        let embedding = if self.tie_word_embeddings { 0 } else { self.head_parameters() * 2 };
        self.step_bytes(weights) + embedding
    }

    /// Bytes of the KV cache per token over all GPUs, in 16 bit.
    pub fn kv_bytes_per_token(&self) -> u64 {
        2 * u64::from(self.num_hidden_layers)
            * u64::from(self.num_key_value_heads)
            * u64::from(self.head_dim)
            * 2
    }
}

/// The coefficients that follow from constants, shape and tensor parallelism; host terms are zero.
/// `None` if the GPU has no such number format.
pub fn derive(
    gpu: &GpuConstants,
    model: &ModelShape,
    tensor_parallel_size: u32,
    weights: Weights,
) -> Option<StepCoefficients> {
    let tp = f64::from(tensor_parallel_size);
    let layers = f64::from(model.num_hidden_layers);
    let linear = model.linear_parameters() as f64;
    let (tflops, gb_s, speedup) = match weights {
        Weights::Bf16 => (gpu.bf16_tflops, gpu.weight_gb_s, 1.0),
        Weights::Fp8 => {
            let tflops = gpu.fp8_tflops?;
            let speedup = tflops / gpu.bf16_tflops;
            (tflops, gpu.weight_gb_s * gpu.fp8_weight_gb_s_factor, speedup)
        }
    };
    // Two all-reduces per layer, each of one hidden vector of two bytes per token.
    let (latency_ms, reduce_ms) = if tensor_parallel_size > 1 {
        let bytes = 2.0 * layers * f64::from(model.hidden_size) * 2.0;
        (2.0 * layers * gpu.all_reduce_latency_us / 1e3, bytes / (gpu.all_reduce_gb_s * 1e6))
    } else {
        (0.0, 0.0)
    };
    let heads = f64::from(model.num_attention_heads) * f64::from(model.head_dim);
    Some(StepCoefficients {
        t0_ms: gpu.t0_ms + latency_ms,
        m_ms: model.step_bytes(weights) as f64 / tp / (gb_s * 1e6),
        c_ms_per_token: 2.0 * linear / tp / (tflops * 1e9) + reduce_ms,
        p: gpu.roof_softness,
        c_seq_ms: match gpu.seq {
            SeqCost::Fixed(ms) => ms,
            SeqCost::PerParameter(rate) => 2.0 * linear / tp / (rate * speedup * 1e9),
        },
        c_kv_us: model.kv_bytes_per_token() as f64 / tp / (gpu.kv_gb_s * 1e3),
        c_att_1e6_ms: 4.0 * heads * layers / tp / (gpu.attention_tflops * 1e3),
        cpu_step_ms: 0.0,
        cpu_seq_ms: 0.0,
        cpu_launch_ms: 0.0,
        graph_tokens: u32::MAX,
        g_table: None,
    })
}

/// KV tokens that fit beside the weights, in whole blocks of 16; 0 if the weights do not fit.
///
/// Against 18 sizes that vLLM printed at start-up: median error 1.3 %, worst -11.5 %.
pub fn kv_tokens(
    gpu: &GpuConstants,
    model: &ModelShape,
    tensor_parallel_size: u32,
    weights: Weights,
    gpu_memory_utilization: f64,
    max_num_batched_tokens: u32,
) -> u64 {
    let tp = f64::from(tensor_parallel_size);
    // ASSUMPTION(A41): the overhead is linear in `max_num_batched_tokens` between the two fitted points, 1.3
    // GB at 2048 (L4, A100) and 3.8 GB at 8192 (H100), and is not extrapolated below 2048.
    let slope = (3.8e9 - 1.3e9) / (8192.0 - 2048.0);
    let tokens = f64::from(max_num_batched_tokens.max(2048)) - f64::from(gpu.overhead_tokens);
    let overhead = gpu.overhead_bytes as f64 + slope * tokens;
    let free = gpu_memory_utilization * gpu.memory_bytes as f64
        - model.weight_bytes(weights) as f64 / tp
        - overhead;
    let tokens = free / (model.kv_bytes_per_token() as f64 / tp);
    if tokens < 16.0 { 0 } else { (tokens / 16.0).floor() as u64 * 16 }
}

/// Reads the constants of a GPU.
pub(super) fn read_gpu(fields: &Fields<'_>, name: &str) -> GpuConstants {
    let number = |name, doc| fields.key(name, doc).required().number(POSITIVE).unwrap_or(1.0);
    let accelerators =
        [("l4", Accelerator::L4), ("a100", Accelerator::A100), ("h100", Accelerator::H100)];
    let fixed = fields
        .key("c_seq_ms", "Cost per decoding sequence [ms]; give this or `seq_tflops`")
        .number(0.0..=MAX);
    let per_parameter = fields
        .key("seq_tflops", "Rate of the work per decoding sequence [TFLOP/s]")
        .number(POSITIVE);
    if fixed.is_some() == per_parameter.is_some() {
        fields.report(
            Diagnostic::error(Code::Conflict, "a GPU needs either `c_seq_ms` or `seq_tflops`")
                .at(fields.span(), ""),
        );
    }
    GpuConstants {
        name: name.to_owned(),
        title: fields.key("title", "Full name of the GPU").string_or(name),
        accelerator: fields
            .key("accelerator", "Whose node and start-up presets apply")
            .choice_or(&accelerators, Accelerator::L4),
        weight_gb_s: number("weight_gb_s", "Streaming weights [GB/s]"),
        bf16_tflops: number("bf16_tflops", "GEMM in bf16 [TFLOP/s]"),
        fp8_tflops: fields
            .key("fp8_tflops", "GEMM with fp8 weights [TFLOP/s]; absent = no fp8")
            .number(POSITIVE),
        fp8_weight_gb_s_factor: fields
            .key("fp8_weight_gb_s_factor", "Share of `weight_gb_s` that remains with fp8 weights")
            .number_or(0.01..=1.0, 0.93),
        roof_softness: fields
            .key("roof_softness", "p of the corner between memory and compute roof")
            .number_or(1.0..=100.0, 1.4),
        t0_ms: number("t0_ms", "Fixed cost of a step [ms]"),
        seq: match (fixed, per_parameter) {
            (_, Some(rate)) => SeqCost::PerParameter(rate),
            (fixed, None) => SeqCost::Fixed(fixed.unwrap_or(0.0)),
        },
        kv_gb_s: number("kv_gb_s", "Reading the KV cache [GB/s]"),
        attention_tflops: number("attention_tflops", "Prefill attention [TFLOP/s]"),
        all_reduce_latency_us: fields
            .key("all_reduce_latency_us", "Latency of one all-reduce [us]")
            .number_or(0.0..=MAX, 6.0),
        all_reduce_gb_s: fields
            .key("all_reduce_gb_s", "Bandwidth of an all-reduce [GB/s]")
            .number_or(POSITIVE, 130.0),
        memory_bytes: fields
            .key("memory_bytes", "Memory that CUDA reports [bytes]")
            .required()
            .integer(1..=i64::MAX)
            .unwrap_or(1) as u64,
        overhead_bytes: fields
            .key("overhead_bytes", "Activations, graphs and contexts [bytes]")
            .integer_or(0..=i64::MAX, 1_300_000_000) as u64,
        overhead_tokens: fields
            .key("overhead_tokens", "`max_num_batched_tokens` at which `overhead_bytes` holds")
            .u32_or(1..=1 << 20, 2048),
        // ASSUMPTION(A209): 1 ms of parsing, template and tokenising: with all prompts sent at once, runs of vLLM 0.8.5
        // that only prefill lose 1.0-1.1 ms per prompt against their own step times, at 111 to 407 tokens per prompt.
        api_work_ms: fields
            .key("api_work_ms", "Work of the API server per request on this GPU's machines [ms]")
            .number_or(0.0..=1e3, 1.0),
        power_w: fields.key("power_w", "Power limit [W]").number_or(0.0..=1e5, 0.0),
        source: fields.key("source", "Where the constants come from").string_or(""),
    }
}

/// Reads the shape of a model.
pub(super) fn read_model(fields: &Fields<'_>, name: &str) -> ModelShape {
    let count = |name, doc| fields.key(name, doc).required().u32(1..=1 << 24).unwrap_or(1);
    ModelShape {
        name: name.to_owned(),
        num_hidden_layers: count("num_hidden_layers", "Layers"),
        hidden_size: count("hidden_size", "Width of the residual stream"),
        intermediate_size: count("intermediate_size", "Width of the gated feed-forward layer"),
        num_attention_heads: count("num_attention_heads", "Query heads"),
        num_key_value_heads: count("num_key_value_heads", "Key and value heads"),
        head_dim: count("head_dim", "Width of a head"),
        vocab_size: count("vocab_size", "Tokens of the vocabulary"),
        tie_word_embeddings: fields
            .key("tie_word_embeddings", "Whether embedding and output layer are one matrix")
            .boolean_or(false),
        max_position_embeddings: count("max_position_embeddings", "Longest context [tokens]"),
    }
}

/// Reads a machine type.
pub(super) fn read_machine(fields: &Fields<'_>, name: &str) -> Machine {
    Machine {
        name: name.to_owned(),
        gpu: fields.key("gpu", "Name of its GPU").required().string().unwrap_or("").to_owned(),
        gpus: fields.key("gpus", "GPUs of one machine").required().u32(1..=64).unwrap_or(1),
        vcpus: fields.key("vcpus", "Virtual CPUs").u32_or(0..=4096, 0),
        memory_gib: fields.key("memory_gib", "Memory [GiB]").u32_or(0..=1 << 20, 0),
        usd_per_hour: fields
            .key("usd_per_hour", "On-demand price [USD/h]")
            .required()
            .number(0.0..=1e6)
            .unwrap_or(0.0),
        confidence: fields.key("confidence", "How sure the price is").string_or("unstated"),
    }
}
