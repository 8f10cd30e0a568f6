//! Profiles by the names of a GPU and a model, as other people spell them.

use super::{Constants, GpuProfile, ModelShape, Price, Status, Weights, derive};
use crate::config::diagnostic::Diagnostics;
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

/// Other spellings of GPUs whose constants are known, in lower case.
const GPUS: [(&str, &str); 8] = [
    ("h100-80", "h100"),
    ("h100-80gb", "h100"),
    ("h100-sxm", "h100"),
    ("h100-64gb-hbm2e", "h100-64"),
    ("h100-nvl-94", "h100-nvl"),
    ("a100-40gb", "a100-40"),
    ("a100-80gb", "a100-80"),
    ("a100", "a100-40"),
];

/// Ends of model names that do not change a model's shape.
const SUFFIXES: [&str; 9] =
    ["-instruct", "-chat", "-hf", "-it", "-base", "-2407", "-fp8-dynamic", "-fp8", "-v0.3"];

/// Models that are another one's shape under another name.
const MODELS: [(&str, &str); 6] = [
    ("mistral-nemo", "mistral-nemo-12b"),
    ("qwen2-7b", "qwen2.5-7b"),
    ("deepseek-r1-distill-llama-8b", "llama-3.1-8b"),
    ("deepseek-r1-distill-llama-70b", "llama-3.1-70b"),
    ("deepseek-r1-distill-qwen-14b", "qwen2.5-14b"),
    ("deepseek-r1-distill-qwen-32b", "qwen2.5-32b"),
];

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
        let wanted = gpu.to_lowercase();
        let gpu_name = GPUS.iter().find(|(n, _)| *n == wanted).map_or(wanted.as_str(), |(_, n)| n);
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
        Ok(Self {
            name,
            summary: format!("{} on {}, derived", model.name, gpu.title),
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
            known_error: "derived from constants and shape; state 15 %".to_owned(),
            sources: vec![gpu.source.clone()],
            price: Price {
                machine_type: String::new(),
                gpus: tensor_parallel_size,
                usd_per_hour: 0.0,
                basis: constants.price_basis.clone(),
                confidence: "unstated".to_owned(),
            },
        })
    }
}

impl GpuProfile {
    /// The profile of `<gpu>-<model>[-tpN][-fp8]`, built in or derived, if GPU and model are known.
    pub fn named(name: &str, constants: &Constants) -> Option<Self> {
        let (rest, weights) = match name.strip_suffix("-fp8") {
            Some(rest) => (rest, Weights::Fp8),
            None => (name, Weights::Bf16),
        };
        let (rest, tp) = match rest.rsplit_once("-tp") {
            Some((rest, tp)) => (rest, tp.parse().ok().filter(|tp| (1..=64).contains(tp))?),
            None => (rest, 1),
        };
        // GPU names hold dashes themselves: the longest that fits.
        let gpus = constants.gpus.iter().filter_map(|g| {
            let model = rest.strip_prefix(g.name.as_str())?.strip_prefix('-')?;
            Some((g.name.as_str(), model))
        });
        let (gpu, model) = gpus.max_by_key(|(gpu, _)| gpu.len())?;
        Self::of(gpu, model, tp, weights, constants).ok()
    }
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
