//! GPU profiles: how long a step of one model takes on one GPU type, how much KV cache it has, what it costs,
//! and how sure each of these numbers is.
//!
//! A profile names a GPU and a model (built in, or given in the file by their constants and shape), from which
//! the coefficients of the step model follow. A file may state coefficients itself, each with its status; the
//! built-in profiles state all of them, and a test holds the derived ones to the formula.

mod builtin;
mod constants;
mod find;
mod read;
mod server;
mod write;

pub use builtin::Constants;
pub use constants::{GpuConstants, Machine, ModelShape, SeqCost, Weights, derive, kv_tokens};
pub use find::{NoName, NoProfile, gpu_name, model_name};
pub(crate) use server::num_gpu_blocks;
pub use server::{INGEST, ServerDefaults, ServerFlags};

use super::diagnostic::{Diagnostics, SourceId, Span};
use super::reader::{Context, Fields};
use super::registry::Registry;
use super::tree;
use crate::engine::StepCoefficients;
use crate::units::SimDuration;

/// How a number was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Measured on this GPU and model by the cited source.
    Measured,
    /// Fitted on measurements of this GPU and model.
    Fitted,
    /// Follows from constants of the GPU and the shape of the model; this pair was not measured.
    Derived,
    /// A guess.
    Assumption,
}

impl Status {
    /// The word used in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Fitted => "fitted",
            Self::Derived => "derived",
            Self::Assumption => "assumption",
        }
    }
}

/// What a node of the profile's usual machine type costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// Machine type.
    pub machine_type: String,
    /// GPUs of one machine.
    pub gpus: u32,
    /// On-demand price \[USD/h\].
    pub usd_per_hour: f64,
    /// Region and date of the price.
    pub basis: String,
    /// How sure the price is: high, medium or low.
    pub confidence: String,
}

/// One GPU profile.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuProfile {
    /// `<gpu>-<model>[-tpN][-fp8]`.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Constants of the GPU.
    pub gpu: GpuConstants,
    /// Shape of the model.
    pub model: ModelShape,
    /// GPUs of one replica.
    pub tensor_parallel_size: u32,
    /// Number format of the weights.
    pub weights: Weights,
    /// The step model, with host terms zero: they depend on the engine version, see [`host_terms`].
    pub coefficients: StepCoefficients,
    /// Host part of a step and of a sequence \[ms\], if the file states it for the machine it was measured on;
    /// otherwise it follows from the engine version.
    pub host: Option<(f64, f64)>,
    /// Time before the engine sees a request \[ms\] with its status, if the file states it; otherwise [`INGEST`].
    pub ingest_ms: Option<(f64, Status)>,
    /// Status of each coefficient, in the order `t0_ms m_ms c_ms_per_token p c_seq_ms c_kv_us c_att_1e6_ms`.
    pub status: [Status; 7],
    /// KV cache that a server printed, if the file states it.
    pub measured_kv: Option<MeasuredKv>,
    /// vLLM versions for which the coefficients hold.
    pub vllm_versions: String,
    /// Range of batch sizes, contexts and chunks for which they hold.
    pub valid_for: String,
    /// Known error against measurements, in words.
    pub known_error: String,
    /// Where the numbers come from, with versions.
    pub sources: Vec<String>,
    /// What a node costs.
    pub price: Price,
    /// Whether it follows from constants and shape alone: no file of this pair states anything.
    pub composed: bool,
}

/// A KV cache size that a server printed at start-up.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredKv {
    /// "GPU KV cache size" \[tokens\].
    pub tokens: u64,
    /// `gpu_memory_utilization` of that server.
    pub gpu_memory_utilization: f64,
    /// Its vLLM version and source.
    pub source: String,
}

/// Names of the coefficients in files, in the order of [`GpuProfile::status`].
pub const COEFFICIENTS: [&str; 7] =
    ["t0_ms", "m_ms", "c_ms_per_token", "p", "c_seq_ms", "c_kv_us", "c_att_1e6_ms"];

impl GpuProfile {
    /// The names of all built-in profiles, sorted.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        builtin::PROFILES.iter().map(|(name, _)| *name)
    }

    /// The text of a built-in profile.
    pub fn builtin_text(name: &str) -> Option<&'static str> {
        builtin::PROFILES.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
    }

    /// That the profile is an estimate, and how good; `None` if a file states it.
    pub fn estimate(&self) -> Option<String> {
        self.composed.then(|| format!("{}; {}", self.summary, self.known_error))
    }

    /// Whether a profile's name is meant as the path of a file.
    pub fn is_path(name: &str) -> bool {
        let toml =
            std::path::Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"));
        toml || name.contains(['/', '\\'])
    }

    /// The value of a coefficient by its place in [`COEFFICIENTS`].
    pub fn coefficient(&self, index: usize) -> f64 {
        let c = &self.coefficients;
        [c.t0_ms, c.m_ms, c.c_ms_per_token, c.p, c.c_seq_ms, c.c_kv_us, c.c_att_1e6_ms][index]
    }

    /// Time before the engine sees a request.
    pub fn ingest(&self) -> SimDuration {
        self.ingest_ms.map_or(INGEST, |(ms, _)| SimDuration::from_secs_f64(ms / 1e3))
    }

    /// The step model with the host terms of vLLM 0.`minor` and its largest CUDA graph.
    pub fn step_coefficients(&self, minor: u32, max_num_seqs: u32) -> StepCoefficients {
        let host = match self.host {
            Some((step_ms, seq_ms)) => HostTerms { step_ms, seq_ms, ..HostTerms::NONE },
            None => host_terms(minor, self.model.num_hidden_layers, max_num_seqs),
        };
        StepCoefficients {
            cpu_step_ms: host.step_ms,
            cpu_seq_ms: host.seq_ms,
            cpu_launch_ms: host.launch_ms,
            graph_tokens: host.graph_tokens,
            ..self.coefficients.clone()
        }
    }

    /// KV tokens at these settings. A printed size is used where it was printed at the same utilisation and
    /// the usual `max_num_batched_tokens`; otherwise the rule decides.
    pub fn kv_tokens(&self, gpu_memory_utilization: f64, max_num_batched_tokens: u32) -> u64 {
        if let Some(kv) = &self.measured_kv
            && kv.gpu_memory_utilization == gpu_memory_utilization
            && max_num_batched_tokens == self.gpu.overhead_tokens
        {
            return kv.tokens;
        }
        kv_tokens(
            &self.gpu,
            &self.model,
            self.tensor_parallel_size,
            self.weights,
            gpu_memory_utilization,
            max_num_batched_tokens,
        )
    }

    /// KV tokens of vLLM 0.`minor`, see [`GpuProfile::kv_tokens`].
    pub fn kv_tokens_of(&self, minor: u32, utilization: f64, max_num_batched_tokens: u32) -> u64 {
        let tokens = self.kv_tokens(utilization, max_num_batched_tokens);
        let printed = self.measured_kv.as_ref().is_some_and(|kv| kv.tokens == tokens);
        if minor > 11 || printed || tokens == 0 {
            return tokens;
        }
        // ASSUMPTION(A214): up to 0.11 the overhead is 0.6 GB less than the fitted one: the two sizes that 0.11.0
        // printed on an L4 show 0.62 and 0.54 GB, for CUDA graphs were captured outside of the budget then.
        let per_gpu = self.model.kv_bytes_per_token() as f64 / f64::from(self.tensor_parallel_size);
        tokens + (0.6e9 / per_gpu / 16.0) as u64 * 16
    }

    /// Reads a profile from a text that `found` already holds as `source`. All errors go to `found`.
    pub fn parse(found: &mut Diagnostics, source: SourceId, constants: &Constants) -> Option<Self> {
        let table = match tree::parse(&found.sources, source) {
            Ok(table) => table,
            Err(errors) => {
                found.items.extend(errors);
                return None;
            }
        };
        let all = registry();
        let context = Context::reading(&all);
        let profile = {
            let root = Fields::root(&context, Some(&table), Span { source, range: 0..0 });
            read::profile(&root, constants)
        };
        let (errors, _) = context.into_parts();
        let ok = errors.is_empty();
        found.items.extend(errors);
        profile.filter(|_| ok)
    }
}

/// The host part of a step that the GPU does not hide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostTerms {
    /// Per step \[ms\].
    pub step_ms: f64,
    /// Per decoding sequence \[ms\].
    pub seq_ms: f64,
    /// Per step that is not one whole CUDA graph \[ms\].
    pub launch_ms: f64,
    /// Largest step that is one whole CUDA graph \[tokens\].
    pub graph_tokens: u32,
}

impl HostTerms {
    /// A host that the GPU hides.
    pub const NONE: Self =
        Self { step_ms: 0.0, seq_ms: 0.0, launch_ms: 0.0, graph_tokens: u32::MAX };
}

/// The host terms of vLLM 0.`vllm_minor` for a model of `layers` layers.
///
/// Source: fitted on published H100 runs of vLLM 0.11.0, which schedules synchronously; runs of 0.29 and 0.30
/// fit with none.
// ASSUMPTION(A42): asynchronous scheduling is the default from 0.14 on.
// ASSUMPTION(A211): 0.032 ms per layer where layers are launched one by one, learned by BLIS; single decode steps of
// 0.8.5 agree. Pure decode steps are whole graphs from 0.11 on (`FULL_AND_PIECEWISE`), up to min(2 max_num_seqs, 512)
// tokens; steps with prefill never are.
pub fn host_terms(vllm_minor: u32, layers: u32, max_num_seqs: u32) -> HostTerms {
    if vllm_minor >= 14 {
        return HostTerms::NONE;
    }
    let graph_tokens = if vllm_minor >= 11 { max_num_seqs.saturating_mul(2).min(512) } else { 0 };
    HostTerms { step_ms: 0.75, seq_ms: 0.012, launch_ms: 0.032 * f64::from(layers), graph_tokens }
}

/// All keys of a profile file.
pub fn registry() -> Registry {
    let context = Context::describing();
    {
        let mut sources = super::diagnostic::Sources::default();
        let span = Span { source: sources.add("", ""), range: 0..0 };
        let root = Fields::root(&context, None, span);
        let empty = Constants {
            gpus: Vec::new(),
            models: Vec::new(),
            machines: Vec::new(),
            price_basis: String::new(),
        };
        let _ = read::profile(&root, &empty);
    }
    context.into_parts().1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builtin(name: &str) -> GpuProfile {
        let constants = Constants::builtin().unwrap();
        let mut found = Diagnostics::default();
        let text = GpuProfile::builtin_text(name).unwrap();
        let source = found.sources.add(format!("models/{name}.toml"), text);
        let profile = GpuProfile::parse(&mut found, source, &constants);
        assert!(found.items.is_empty(), "{found}");
        profile.unwrap()
    }

    #[test]
    fn every_builtin_profile_loads_and_is_complete() {
        for name in GpuProfile::builtin_names() {
            let profile = builtin(name);
            assert_eq!(profile.name, name);
            assert!(!profile.sources.is_empty(), "{name} states no source");
            assert_ne!(profile.known_error, "unknown", "{name} states no error");
            assert!(profile.price.usd_per_hour > 0.0, "{name} has no price");
            assert!(profile.price.gpus >= profile.tensor_parallel_size, "{name}");
            let status = profile.status.map(Status::as_str);
            assert!(profile.kv_tokens(0.9, 2048) > 8192, "{name} {status:?}");
        }
        assert!(GpuProfile::builtin_names().is_sorted());
    }

    /// The files state all coefficients as numbers; this holds them to the formula.
    #[test]
    fn stated_coefficients_follow_from_the_constants() {
        for name in GpuProfile::builtin_names() {
            let profile = builtin(name);
            let text = GpuProfile::builtin_text(name).unwrap();
            for coefficient in COEFFICIENTS {
                assert!(text.contains(&format!("\n{coefficient} = {{ value")), "{name}");
            }
            let formula =
                derive(&profile.gpu, &profile.model, profile.tensor_parallel_size, profile.weights);
            let derived = GpuProfile { coefficients: formula.unwrap(), ..profile.clone() };
            for (index, key) in COEFFICIENTS.iter().enumerate() {
                let (stated, formula) = (profile.coefficient(index), derived.coefficient(index));
                assert!((stated / formula - 1.0).abs() < 1e-4, "{name} {key}: {stated} {formula}");
            }
        }
    }

    #[test]
    fn kv_cache_by_rule() {
        // The rule's own published values at utilisation 0.90.
        for (name, tokens) in [
            ("l4-llama-3.1-8b", 30_016),
            ("l4-gemma-2-9b-tp2", 62_512),
            ("a100-40-llama-3.1-8b", 158_016),
            ("h100-llama-3.1-8b", 432_144),
        ] {
            let profile = builtin(name);
            let kv = profile.kv_tokens(0.9, profile.gpu.overhead_tokens);
            assert!((kv as f64 / f64::from(tokens) - 1.0).abs() < 1e-3, "{name}: {kv}");
        }
        // A printed size wins where it was printed.
        assert_eq!(builtin("a100-80-llama-3.1-8b").kv_tokens(0.9, 2048), 453_968);
        assert_eq!(builtin("a100-80-llama-3.1-8b").kv_tokens(0.92, 2048) % 16, 0);
    }

    #[test]
    fn a_short_file_of_the_users_own_is_enough() {
        let constants = Constants::builtin().unwrap();
        let mut found = Diagnostics::default();
        let text = "schema = 1\nname = \"mine\"\ngpu = \"l4\"\n[model]\nnum_hidden_layers = 32\n\
            hidden_size = 4096\nintermediate_size = 14336\nnum_attention_heads = 32\n\
            num_key_value_heads = 8\nhead_dim = 128\nvocab_size = 128256\n\
            max_position_embeddings = 8192\n";
        let source = found.sources.add("mine.toml", text);
        let profile = GpuProfile::parse(&mut found, source, &constants);
        assert!(found.items.is_empty(), "{found}");
        let profile = profile.unwrap();
        assert!((profile.coefficients.m_ms - 59.5556).abs() < 0.02);
        assert_eq!(profile.price.machine_type, "g2-standard-4");
    }

    #[test]
    fn mistakes_are_all_named() {
        let constants = Constants::builtin().unwrap();
        let mut found = Diagnostics::default();
        let text = "schema = 1\nname = 7\ngpu = \"l44\"\nmodel = \"qwen3-8b\"\nweigths = \"fp8\"\n\
            [coefficients]\nt0_ms = \"x\"\n";
        let source = found.sources.add("mine.toml", text);
        assert!(GpuProfile::parse(&mut found, source, &constants).is_none());
        let text = found.to_string();
        for part in ["`name` must be a string", "did you mean `l4`?", "did you mean `weights`?"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.contains("`coefficients.t0_ms` must be a number"), "{text}");
    }
}
