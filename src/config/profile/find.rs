//! Profiles by the names of a GPU and a model, as other people spell them.

use super::{Constants, GpuConstants, GpuProfile, ModelShape, Status, Weights, derive};
use crate::config::diagnostic::Diagnostics;
use crate::config::values::nearest;
use std::fmt::Write as _;

/// Why there is no profile for a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoProfile {
    /// No constants of this GPU are known.
    Gpu(String),
    /// No shape of this model is known.
    Model(String),
    /// The GPU has no arithmetic for this number format.
    NumberFormat(String),
}

/// Other spellings of GPUs whose constants are known, as [`gpu_name`] has them before it looks here.
const GPUS: [(&str, &str); 6] = [
    ("l4-24", "l4"),
    ("h100-80", "h100"),
    ("h100-64-hbm2e", "h100-64"),
    ("h100-nvl-94", "h100-nvl"),
    ("a100", "a100-40"),
    ("rtx-4090", "rtx4090"),
];

/// Words that do not tell one GPU of a name from another: maker, board and memory of the only variant that has them.
// Source: labels of GKE (`nvidia-tesla-a100`, `nvidia-h100-80gb`) and names of nvidia-smi (`NVIDIA A100-SXM4-80GB`,
// `NVIDIA H100 80GB HBM3`). `PCIe` does tell: those boards are slower.
const GPU_WORDS: [&str; 7] = ["nvidia", "tesla", "geforce", "sxm", "sxm4", "sxm5", "hbm3"];

/// A GPU by its usual names, as the constants spell it if they know it.
pub fn gpu_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split([' ', '-', '_']).filter(|w| !w.is_empty() && !GPU_WORDS.contains(w));
    // `80GB` and `80G` are 80.
    let word = |w: &str| {
        let size = w.trim_end_matches('b').trim_end_matches('g');
        let is_size = !size.is_empty() && size.bytes().all(|b| b.is_ascii_digit());
        if is_size { size.to_owned() } else { w.to_owned() }
    };
    let name = words.map(word).collect::<Vec<_>>().join("-");
    GPUS.iter().find(|(n, _)| *n == name).map_or(name, |(_, n)| (*n).to_owned())
}

/// Ends of model names that do not change a model's shape.
const SUFFIXES: [&str; 10] = [
    "-instruct",
    "-chat",
    "-hf",
    "-it",
    "-base",
    "-2407",
    "-fp8-dynamic",
    "-fp8",
    "-v0.3",
    "-v0.2",
];

/// Models that are another one's shape under another name.
const MODELS: [(&str, &str); 6] = [
    ("mistral-nemo", "mistral-nemo-12b"),
    ("qwen2-7b", "qwen2.5-7b"),
    ("deepseek-r1-distill-llama-8b", "llama-3.1-8b"),
    ("deepseek-r1-distill-llama-70b", "llama-3.1-70b"),
    ("deepseek-r1-distill-qwen-14b", "qwen2.5-14b"),
    ("deepseek-r1-distill-qwen-32b", "qwen2.5-32b"),
];

/// The name here of a model, as in `llama-3.1-8b` of `meta-llama/Llama-3.1-8B-Instruct`; `None` if its shape is not
/// built in.
pub fn model_name<'a>(text: &str, constants: &'a Constants) -> Option<&'a str> {
    shape(text, constants).map(|model| model.name.as_str())
}

impl GpuProfile {
    /// The built-in profile of a GPU and a model by their usual names, or one that follows from the constants of
    /// the one and the shape of the other.
    ///
    /// # Errors
    /// Which of the two is not known, or that the GPU has no fp8.
    pub fn of(
        gpu: &str,
        model: &str,
        tensor_parallel_size: u32,
        weights: Weights,
        constants: &Constants,
    ) -> Result<Self, NoProfile> {
        let gpu_name = gpu_name(gpu);
        // A checkpoint that is called fp8 has such weights, whatever is said of its activations.
        let weights = if model.to_lowercase().contains("fp8") { Weights::Fp8 } else { weights };
        let Some(gpu) = constants.gpus.iter().find(|g| g.name == gpu_name) else {
            return Err(NoProfile::Gpu(gpu.to_owned()));
        };
        let Some(model) = shape(model, constants) else {
            return Err(NoProfile::Model(model.to_owned()));
        };
        let mut name = format!("{gpu_name}-{}", model.name);
        if tensor_parallel_size > 1 {
            let _ = write!(name, "-tp{tensor_parallel_size}");
        }
        if weights == Weights::Fp8 {
            name.push_str("-fp8");
        }
        if let Some(text) = Self::builtin_text(&name) {
            let mut found = Diagnostics::default();
            let source = found.sources.add(format!("models/{name}.toml"), text);
            if let Some(profile) = Self::parse(&mut found, source, constants) {
                return Ok(profile);
            }
        }
        let Some(coefficients) = derive(gpu, model, tensor_parallel_size, weights) else {
            return Err(NoProfile::NumberFormat(format!("{} has no fp8", gpu.title)));
        };
        let format = weights.as_str();
        let (model_name, title) = (&model.name, &gpu.title);
        Ok(Self {
            summary: format!(
                "{model_name}, {format}, {tensor_parallel_size} x {title}, composed from constants of the GPU and the \
                 shape of the model"
            ),
            name,
            gpu: gpu.clone(),
            model: model.clone(),
            tensor_parallel_size,
            weights,
            coefficients,
            host: None,
            ingest_ms: None,
            status: [Status::Derived; 7],
            measured_kv: None,
            vllm_versions: "unstated".to_owned(),
            valid_for: "unstated".to_owned(),
            known_error: composed_error(gpu, tensor_parallel_size, weights),
            sources: vec![gpu.source.clone()],
            price: constants.usual_price(gpu, tensor_parallel_size),
            composed: true,
        })
    }
}

/// What to expect of a pair of GPU and model that nobody measured, in words.
// ASSUMPTION(A350): 15 % as the built-in profiles of unmeasured models; 20 % where the fp8 speed of the GPU is an
// assumption (all but the L4's), 30 % where the all-reduce crosses PCIe (below 100 GB/s).
fn composed_error(gpu: &GpuConstants, tensor_parallel_size: u32, weights: Weights) -> String {
    let (percent, why) = if tensor_parallel_size > 1 && gpu.all_reduce_gb_s < 100.0 {
        (30, ": the all-reduce over PCIe is an estimate")
    } else if weights == Weights::Fp8 && gpu.name != "l4" {
        (20, ": the fp8 speed of this GPU is an assumption")
    } else {
        (15, "")
    };
    format!("an estimate, this pair is unmeasured; state {percent} %{why}")
}

/// Why a name is not that of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoName {
    /// What is wrong with it, or the nearest name.
    pub label: String,
    /// What there is instead.
    pub help: String,
}

impl GpuProfile {
    /// The profile of `<gpu>-<model>[-tpN][-fp8]`, built in or composed from the constants of GPU and model.
    ///
    /// # Errors
    /// What of the name is unknown, with the nearest name that is known.
    pub fn named(name: &str, constants: &Constants) -> Result<Self, NoName> {
        let (rest, weights) = match name.strip_suffix("-fp8") {
            Some(rest) => (rest, Weights::Fp8),
            None => (name, Weights::Bf16),
        };
        let tp = rest.rsplit_once("-tp").and_then(|(pair, tp)| {
            Some((pair, tp.parse().ok().filter(|tp| (1..=64).contains(tp))?))
        });
        let (pair, tp) = tp.unwrap_or((rest, 1));
        // GPU names hold dashes themselves: the longest that fits.
        let gpus = constants.gpus.iter().filter_map(|g| {
            let model = pair.strip_prefix(g.name.as_str())?.strip_prefix('-')?;
            Some((g.name.as_str(), model))
        });
        let Some((gpu, model)) = gpus.max_by_key(|(gpu, _)| gpu.len()) else {
            return Err(unknown(name, pair, None, constants));
        };
        let profile = match Self::of(gpu, model, tp, weights, constants) {
            Ok(profile) => profile,
            Err(NoProfile::Gpu(_) | NoProfile::Model(_)) => {
                return Err(unknown(name, pair, Some(gpu), constants));
            }
            Err(NoProfile::NumberFormat(label)) => {
                return Err(NoName { label, help: format!("`{rest}` has bf16 weights") });
            }
        };
        let heads = profile.model.num_attention_heads;
        if heads % tp != 0 {
            // Source: vLLM, config/model.py: attention heads must be divisible by the tensor parallel size.
            let label = format!("{heads} attention heads cannot be split over {tp} GPUs");
            let help = "the number after `-tp` must divide the heads".to_owned();
            return Err(NoName { label, help });
        }
        Ok(profile)
    }
}

/// No profile is called `name`, whose part before `-tpN` and `-fp8` is `pair`, and whose GPU is `gpu` if it is known.
fn unknown(name: &str, pair: &str, gpu: Option<&str>, constants: &Constants) -> NoName {
    let gpus: Vec<&str> = constants.gpus.iter().map(|g| g.name.as_str()).collect();
    let models: Vec<&str> = constants.models.iter().map(|m| m.name.as_str()).collect();
    let pairs: Vec<String> =
        gpus.iter().flat_map(|g| models.iter().map(move |m| format!("{g}-{m}"))).collect();
    let (what, known) = match gpu {
        Some(_) => ("model", models),
        None => ("GPU", gpus),
    };
    let label = match nearest(pair, pairs.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}{}`?", &name[pair.len()..]),
        None => format!("its {what} is not known"),
    };
    let help = format!(
        "a name is `<gpu>-<model>[-tpN][-fp8]` (`hpasim profile list` shows those with a profile of their own), a path \
         names a file; known {what}s: {}",
        known.join(", ")
    );
    NoName { label, help }
}

/// The shape of a model by its usual name.
fn shape<'a>(name: &str, constants: &'a Constants) -> Option<&'a ModelShape> {
    let lower = name.to_lowercase();
    // An organisation may stand before the name.
    let mut name = lower.rsplit('/').next().unwrap_or(&lower);
    loop {
        let known = MODELS.iter().find(|(n, _)| *n == name).map_or(name, |(_, n)| n);
        for known in [known, known.strip_prefix("meta-").unwrap_or(known)] {
            if let Some(model) = constants.models.iter().find(|m| m.name == known) {
                return Some(model);
            }
        }
        name = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_a_name() {
        let constants = Constants::builtin().unwrap();
        let named = |name: &str| GpuProfile::named(name, &constants);
        let composed = named("l4-qwen3-14b-tp2").unwrap();
        assert_eq!(composed.name, "l4-qwen3-14b-tp2");
        assert_eq!(composed.price.machine_type, "g2-standard-24");
        assert!(composed.composed && composed.known_error.contains("state 30 %"));
        assert!(!named("l4-llama-3.1-8b").unwrap().composed);
        assert!(named("a100-80-qwen2.5-72b-tp4").unwrap().known_error.contains("state 15 %"));
        assert!(named("h100-qwen3-32b-tp2-fp8").unwrap().known_error.contains("state 20 %"));
    }

    #[test]
    fn others_spell_them_otherwise() {
        let constants = Constants::builtin().unwrap();
        let of = |gpu: &str, model: &str| {
            GpuProfile::of(gpu, model, 1, Weights::Bf16, &constants).map(|p| p.name)
        };
        for (gpu, name) in [
            ("NVIDIA L4", "l4"),
            ("nvidia-l4", "l4"),
            ("NVIDIA A100-SXM4-80GB", "a100-80"),
            ("A100_80G", "a100-80"),
            ("nvidia-a100-80gb", "a100-80"),
            ("nvidia-tesla-a100", "a100-40"),
            ("NVIDIA H100 80GB HBM3", "h100"),
            ("nvidia-h100-80gb", "h100"),
            ("H100-64GB-HBM2e", "h100-64"),
            ("H100-NVL-94", "h100-nvl"),
            ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ] {
            assert_eq!(of(gpu, "llama-3.1-8b"), Ok(format!("{name}-llama-3.1-8b")), "{gpu}");
        }
        for gpu in ["NVIDIA H100 PCIe", "A100-PCIE-40GB", "A10", "H200"] {
            assert_eq!(of(gpu, "llama-3.1-8b"), Err(NoProfile::Gpu(gpu.to_owned())));
        }
        // Weights are what the name of the checkpoint says.
        let fp8 = of("L4", "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic");
        assert_eq!(fp8.as_deref(), Ok("l4-llama-3.1-8b-fp8"));
    }

    #[test]
    fn what_has_no_profile_says_what_is_near() {
        let constants = Constants::builtin().unwrap();
        let label = |name: &str| GpuProfile::named(name, &constants).unwrap_err().label;
        assert_eq!(label("l4-qwen3-14-tp2"), "did you mean `l4-qwen3-14b-tp2`?");
        assert_eq!(label("l5-llama-3.1-8b"), "did you mean `l4-llama-3.1-8b`?");
        assert_eq!(label("zzz"), "its GPU is not known");
        assert_eq!(label("l4-foo"), "its model is not known");
        assert_eq!(label("a100-80-qwen3-8b-fp8"), "NVIDIA A100 80 GB has no fp8");
        assert_eq!(
            label("h100-llama-3.1-8b-tp3"),
            "32 attention heads cannot be split over 3 GPUs"
        );
    }
}
