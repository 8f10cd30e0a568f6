//! Measured engine steps: one row per batch composition.
//!
//! CSV with the columns `kind` (`decode_step`, `prefill_step`, ..), `measured_ms`, and of the batch `n_prefill`
//! (prompts), `prefill_tokens` (of all), `prefill_len` (of each), `n_decode`, `decode_ctx` (tokens of context of
//! each) or `kv_tokens` (of all); `gpu`, `model`, `tp` and `dtype` choose rows where a file holds several.

use super::data::{DataError, Table, whole};
use super::fit::Point;
use super::plan::number_format;
use super::work::{Steps, Theta, Work};

/// One row.
#[derive(Clone, PartialEq, Debug)]
pub struct MeasuredStep {
    /// Its line.
    pub line: u64,
    /// GPU, as the file spells it.
    pub gpu: String,
    /// Model, as the file spells it.
    pub model: String,
    /// GPUs of one replica.
    pub tp: u32,
    /// What was measured, as in `decode_step`.
    pub kind: String,
    /// Number format of the weights.
    pub dtype: String,
    /// Version of the engine.
    pub engine_version: String,
    /// What was in the batch.
    pub steps: Steps,
    /// How long it took \[ms\].
    pub measured_ms: f64,
}

impl MeasuredStep {
    /// Whether the weights were in fp8 if `fp8`, else in 16 bit; a row that does not say is taken to be right.
    pub fn has_weights(&self, fp8: bool) -> bool {
        self.dtype.is_empty() || number_format(&self.dtype.to_lowercase()) == Ok(fp8)
    }
}

const REQUIRED: [&str; 4] = ["kind", "n_decode", "prefill_tokens", "measured_ms"];

/// Whether a CSV header is that of such a file.
pub fn is_header(header: &str) -> bool {
    let has = |name: &&str| header.split(',').any(|h| h.trim().trim_matches('"') == *name);
    REQUIRED.iter().filter(|name| has(name)).count() >= 3
}

/// Reads all rows.
///
/// # Errors
/// All faults of the text, with their lines.
pub fn read(text: &str) -> Result<Vec<MeasuredStep>, Vec<DataError>> {
    let mut table = Table::new(text, &REQUIRED);
    let mut rows = Vec::new();
    while let Some(mut row) = table.next() {
        let measured = row.required("measured_ms", 1e-9);
        let [n_prefill, prefill_tokens, prefill_len, n_decode, context, kv, tp] = [
            "n_prefill",
            "prefill_tokens",
            "prefill_len",
            "n_decode",
            "decode_ctx",
            "kv_tokens",
            "tp",
        ]
        .map(|name| row.number(name, 0.0).unwrap_or(0.0));
        let Some(measured_ms) = measured else { continue };
        if n_decode + prefill_tokens < 1.0 {
            row.fault("the batch is empty: `n_decode` and `prefill_tokens` are 0".to_owned());
            continue;
        }
        // A rate over a growing sequence: the mean context is half the growth further on.
        let growth = if row.text("metric") == "step_from_tok_per_s" { GROWTH / 2.0 } else { 0.0 };
        let length = match () {
            () if prefill_len > 0.0 => prefill_len,
            () if n_prefill > 0.0 => prefill_tokens / n_prefill,
            () => prefill_tokens,
        };
        let kv_tokens = if kv > 0.0 { kv } else { n_decode * context };
        rows.push(MeasuredStep {
            line: row.line,
            gpu: row.text("gpu").to_owned(),
            model: row.text("model").to_owned(),
            tp: tp.max(1.0) as u32,
            kind: row.text("kind").to_owned(),
            dtype: row.text("dtype").to_owned(),
            engine_version: row.text("engine_version").to_owned(),
            steps: Steps {
                count: 1.0,
                tokens: n_decode + prefill_tokens,
                decodes: n_decode,
                kv_tokens: kv_tokens + n_decode * growth,
                // Every prompt whole: its tokens see half of it on average.
                pairs: prefill_tokens * length / 2.0,
            },
            measured_ms,
        });
    }
    if table.errors.is_empty() && rows.is_empty() {
        table.errors.push(whole("the file holds no step"));
    }
    if table.errors.is_empty() { Ok(rows) } else { Err(table.errors) }
}

/// Tokens that a sequence grows while a `step_from_tok_per_s` is measured.
const GROWTH: f64 = 128.0;

/// Data points for a fit.
pub fn points(name: &str, rows: &[MeasuredStep], theta: &Theta) -> Vec<Point> {
    rows.iter()
        .map(|row| Point {
            name: format!("{name}:{}", row.line),
            measured_ms: row.measured_ms,
            work: Work::of(&row.steps, theta),
            weight: 1.0,
            described: 0.0,
        })
        .collect()
}
