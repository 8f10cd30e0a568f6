//! Measured engine steps against a profile's step model.

use super::drive::quantile;
use super::plan::{Reason, Server, engine, number_format};
use super::steps::MeasuredStep;
use crate::engine::{BatchShape, StepModel};
use std::collections::BTreeMap;

/// Looks up the step model of a server, or says why there is none.
pub type StepLookup<'a> = dyn Fn(&Server) -> Result<StepModel, Reason> + 'a;

/// The steps of one kind, GPU and model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepErrors {
    /// Number of steps compared.
    pub steps: usize,
    /// Median absolute error.
    pub median: f64,
    /// 95th percentile of absolute errors.
    pub p95: f64,
}

/// Which steps belong together: GPU, model, kind.
pub type StepGroup = (String, String, String);

/// Errors by group, and the steps that were left out, counted by reason.
pub type StepReport = (BTreeMap<StepGroup, StepErrors>, BTreeMap<&'static str, usize>);

/// Compares every step with the step model that `lookup` finds for it.
pub fn check_steps(rows: &[MeasuredStep], lookup: &StepLookup<'_>) -> StepReport {
    let mut models: BTreeMap<(String, String, u32, String, String), _> = BTreeMap::new();
    let mut errors: BTreeMap<StepGroup, Vec<f64>> = BTreeMap::new();
    let mut left_out = BTreeMap::new();
    for row in rows {
        let tokens = row.steps.tokens.round() as u32;
        let key = (
            row.gpu.clone(),
            row.model.clone(),
            row.tp,
            row.dtype.clone(),
            row.engine_version.clone(),
        );
        let model = models.entry(key).or_insert_with(|| lookup(&server(row)?));
        let model = match model {
            Ok(model) if tokens <= model.max_num_batched_tokens() => model,
            Ok(_) => {
                *left_out.entry("more tokens than a step may have").or_insert(0) += 1;
                continue;
            }
            Err(reason) => {
                *left_out.entry(reason.kind()).or_insert(0) += 1;
                continue;
            }
        };
        let shape = BatchShape {
            tokens,
            decodes: row.steps.decodes.round() as u32,
            kv_tokens: row.steps.kv_tokens.round() as u64,
            pairs_twice: (row.steps.pairs * 2.0).round() as u64,
        };
        let simulated_ms = model.duration(&shape).as_secs_f64() * 1e3;
        let group = (row.gpu.clone(), format!("{}{}", row.model, suffix(row)), row.kind.clone());
        errors.entry(group).or_default().push((simulated_ms / row.measured_ms - 1.0).abs());
    }
    let errors = errors.into_iter().map(|(group, mut list)| {
        list.sort_unstable_by(f64::total_cmp);
        let at = |q| quantile(&list, q).unwrap_or(0.0);
        (group, StepErrors { steps: list.len(), median: at(0.5), p95: at(0.95) })
    });
    (errors.collect(), left_out)
}

fn suffix(row: &MeasuredStep) -> String {
    let tp = if row.tp > 1 { format!(" tp{}", row.tp) } else { String::new() };
    format!("{tp} {}", row.dtype)
}

/// The server that a step ran on.
fn server(row: &MeasuredStep) -> Result<Server, Reason> {
    // Sums of kernel times have no host part: as if the GPU hid it.
    let composed = row.kind.ends_with("_composed");
    Ok(Server {
        gpu: row.gpu.clone(),
        model: row.model.clone(),
        tensor_parallel_size: row.tp,
        fp8: number_format(&row.dtype.to_lowercase())?,
        vllm_minor: if composed {
            HIDDEN_HOST
        } else {
            engine(&row.engine_version.to_lowercase())?
        },
        max_num_seqs: Some(1024),
        max_num_batched_tokens: Some(STEP_MAX),
        kv_tokens: None,
        prefix_caching: false,
    })
}

/// A release that hides the host's part behind the GPU.
const HIDDEN_HOST: u32 = 33;
/// Longest step that is compared \[tokens\].
const STEP_MAX: u32 = 8192;
