//! Writes a profile as the file that [`GpuProfile::parse`] reads.

use super::{COEFFICIENTS, Constants, GpuConstants, GpuProfile, ModelShape, SeqCost};
use std::fmt::Write as _;

/// What each coefficient is, for the comments of a file, in the order of [`COEFFICIENTS`].
const WORDS: [&str; 7] = [
    "ms: fixed GPU-side cost of a step",
    "ms: streaming the weights once",
    "ms/token: GEMM",
    "softness of the corner between both",
    "ms per decoding sequence",
    "us per token of context: reading the KV cache",
    "1e-6 ms per (query, key) pair of prefill",
];

impl GpuProfile {
    /// The text of a profile file; `comment` comes first, one `#` line per line. Constants of GPU and model are
    /// written out where they are not the built-in ones of that name. Coefficients have six digits.
    pub fn to_toml(&self, comment: &str, constants: &Constants) -> String {
        let mut out = String::new();
        for line in comment.lines() {
            let _ = writeln!(out, "{}", format!("# {line}").trim_end());
        }
        let known_gpu = constants.gpus.contains(&self.gpu);
        let known_model = constants.models.contains(&self.model);
        self.write_identity(&mut out, known_gpu, known_model);
        self.write_coefficients(&mut out);
        self.write_memory(&mut out);
        self.write_validity(&mut out);
        if !known_gpu {
            out.push_str(&gpu_table(&self.gpu));
        }
        if !known_model {
            out.push_str(&model_table(&self.model));
        }
        out
    }

    /// What the profile is of, and where it comes from.
    fn write_identity(&self, out: &mut String, known_gpu: bool, known_model: bool) {
        let _ = writeln!(out, "schema = 1\nname = {}", quoted(&self.name));
        let _ = writeln!(out, "summary = {}", quoted(&self.summary));
        if known_gpu {
            let _ = writeln!(out, "gpu = {}", quoted(&self.gpu.name));
        }
        if known_model {
            let _ = writeln!(out, "model = {}", quoted(&self.model.name));
        }
        let _ = writeln!(out, "tensor_parallel_size = {}", self.tensor_parallel_size);
        let _ = writeln!(out, "weights = {}", quoted(self.weights.as_str()));
        if let Some((value, status)) = self.ingest_ms {
            let value = six_digits(value);
            let _ = writeln!(
                out,
                "ingest_ms = {{ value = {value}, status = \"{}\" }} # ms before the engine sees a request",
                status.as_str()
            );
        }
        out.push_str("sources = [\n");
        for source in &self.sources {
            let _ = writeln!(out, "  {},", quoted(source));
        }
        out.push_str("]\n");
    }

    fn write_coefficients(&self, out: &mut String) {
        out.push_str("\n[coefficients]\n");
        for (index, name) in COEFFICIENTS.iter().enumerate() {
            let value = six_digits(self.coefficient(index));
            let status = self.status[index].as_str();
            let _ = writeln!(
                out,
                "{name} = {{ value = {value}, status = \"{status}\" }} # {}",
                WORDS[index]
            );
        }
        if let Some((step, seq)) = self.host {
            let _ = writeln!(out, "cpu_step_ms = {step}\ncpu_seq_ms = {seq}");
        }
        if let Some(table) = &self.coefficients.g_table {
            let knots: Vec<String> =
                table.iter().map(|(tokens, ms)| format!("[{tokens}, {ms}]")).collect();
            let _ = writeln!(out, "g_table = [{}]", knots.join(", "));
        }
    }

    fn write_memory(&self, out: &mut String) {
        if let Some(kv) = &self.measured_kv {
            let _ = writeln!(
                out,
                "\n[measured_kv_cache]\ntokens = {}\ngpu_memory_utilization = {}\nsource = {}",
                kv.tokens,
                kv.gpu_memory_utilization,
                quoted(&kv.source)
            );
        }
    }

    /// What it holds for, and the price if it has one of its own.
    fn write_validity(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "\n[validity]\nvllm_versions = {}\nrange = {}\nknown_error = {}",
            quoted(&self.vllm_versions),
            quoted(&self.valid_for),
            quoted(&self.known_error)
        );
        let price = &self.price;
        if !price.machine_type.is_empty() {
            let _ = writeln!(
                out,
                "\n[price]\nmachine_type = {}\ngpus = {}\nusd_per_hour = {}\nbasis = {}\nconfidence = {}",
                quoted(&price.machine_type),
                price.gpus,
                price.usd_per_hour,
                quoted(&price.basis),
                quoted(&price.confidence)
            );
        }
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.replace(['\n', '\r'], " ")).to_string()
}

/// The shortest number that has the first six digits of `value`.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

fn gpu_table(gpu: &GpuConstants) -> String {
    let mut out =
        format!("\n[gpu]\nname = {}\ntitle = {}\n", quoted(&gpu.name), quoted(&gpu.title));
    let accelerator = format!("{:?}", gpu.accelerator).to_lowercase();
    let _ = writeln!(out, "accelerator = {}", quoted(&accelerator));
    let mut number = |name: &str, value: f64| {
        let _ = writeln!(out, "{name} = {value}");
    };
    number("weight_gb_s", gpu.weight_gb_s);
    number("bf16_tflops", gpu.bf16_tflops);
    if let Some(tflops) = gpu.fp8_tflops {
        number("fp8_tflops", tflops);
    }
    number("fp8_weight_gb_s_factor", gpu.fp8_weight_gb_s_factor);
    number("roof_softness", gpu.roof_softness);
    number("t0_ms", gpu.t0_ms);
    match gpu.seq {
        SeqCost::Fixed(ms) => number("c_seq_ms", ms),
        SeqCost::PerParameter(tflops) => number("seq_tflops", tflops),
    }
    number("kv_gb_s", gpu.kv_gb_s);
    number("attention_tflops", gpu.attention_tflops);
    number("all_reduce_latency_us", gpu.all_reduce_latency_us);
    number("all_reduce_gb_s", gpu.all_reduce_gb_s);
    number("api_work_ms", gpu.api_work_ms);
    number("power_w", gpu.power_w);
    let _ = writeln!(
        out,
        "memory_bytes = {}\noverhead_bytes = {}\noverhead_tokens = {}\nsource = {}",
        gpu.memory_bytes,
        gpu.overhead_bytes,
        gpu.overhead_tokens,
        quoted(&gpu.source)
    );
    out
}

fn model_table(model: &ModelShape) -> String {
    format!(
        "\n[model]\nname = {}\nnum_hidden_layers = {}\nhidden_size = {}\nintermediate_size = {}\n\
         num_attention_heads = {}\nnum_key_value_heads = {}\nhead_dim = {}\nvocab_size = {}\n\
         tie_word_embeddings = {}\nmax_position_embeddings = {}\n",
        quoted(&model.name),
        model.num_hidden_layers,
        model.hidden_size,
        model.intermediate_size,
        model.num_attention_heads,
        model.num_key_value_heads,
        model.head_dim,
        model.vocab_size,
        model.tie_word_embeddings,
        model.max_position_embeddings
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;
    use crate::config::Diagnostics;

    fn read(text: &str, constants: &Constants) -> GpuProfile {
        let mut found = Diagnostics::default();
        let source = found.sources.add("written.toml", text);
        let profile = GpuProfile::parse(&mut found, source, constants);
        assert!(found.items.is_empty(), "{found}\n{text}");
        profile.unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let constants = Constants::builtin().unwrap();
        for name in GpuProfile::builtin_names() {
            let profile = read(GpuProfile::builtin_text(name).unwrap(), &constants);
            let again = read(&profile.to_toml("A comment\nof two lines", &constants), &constants);
            assert_eq!(again, profile, "{name}");
        }
    }

    #[test]
    fn own_constants_and_odd_words_survive() {
        let constants = Constants::builtin().unwrap();
        let text = GpuProfile::builtin_text("l4-qwen2.5-7b").unwrap();
        let mut profile = read(text, &constants);
        profile.gpu.name = "mine".to_owned();
        profile.gpu.seq = SeqCost::Fixed(0.01);
        profile.model.hidden_size += 128;
        profile.model.name = "other".to_owned();
        profile.known_error = "a \"quoted\" \\ word".to_owned();
        profile.ingest_ms = Some((9.5, Status::Fitted));
        profile.coefficients.g_table = Some(vec![(1, 10.0), (64, 12.5)]);
        assert_eq!(read(&profile.to_toml("", &constants), &constants), profile);
    }
}
