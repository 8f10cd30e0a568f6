//! Published serving benchmarks: one CSV row per measured load level.
//!
//! Columns are found by name; those that are not known are ignored, those that are absent are empty. An empty cell
//! means "not stated". Rows are kept as their source states them: what a row means is the business of
//! [`plan`](super::plan).

use super::data::{DataError, Record, Table};

/// What one row measured, in the order of [`Figure::ALL`]; `None` = not stated.
pub type Measured = [Option<f64>; Figure::ALL.len()];

/// A measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Completed requests per second of the whole run.
    ReqPerS,
    /// Output tokens per second of the whole run.
    OutTokPerS,
    /// Time to first token \[ms\].
    TtftMean,
    /// Median time to first token \[ms\].
    TtftP50,
    /// 90th percentile \[ms\].
    TtftP90,
    /// 95th percentile \[ms\].
    TtftP95,
    /// 99th percentile \[ms\].
    TtftP99,
    /// (e2e - ttft) / (output tokens - 1) per request \[ms\].
    TpotMean,
    /// Median over requests \[ms\].
    TpotP50,
    /// 99th percentile \[ms\].
    TpotP99,
    /// Every single gap between tokens \[ms\].
    ItlMean,
    /// Median gap \[ms\].
    ItlP50,
    /// 99th percentile \[ms\].
    ItlP99,
    /// Whole request \[ms\].
    E2eMean,
    /// 90th percentile \[ms\].
    E2eP90,
    /// 99th percentile \[ms\].
    E2eP99,
}

impl Figure {
    /// All figures in the order of the columns.
    pub const ALL: [Self; 16] = [
        Self::ReqPerS,
        Self::OutTokPerS,
        Self::TtftMean,
        Self::TtftP50,
        Self::TtftP90,
        Self::TtftP95,
        Self::TtftP99,
        Self::TpotMean,
        Self::TpotP50,
        Self::TpotP99,
        Self::ItlMean,
        Self::ItlP50,
        Self::ItlP99,
        Self::E2eMean,
        Self::E2eP90,
        Self::E2eP99,
    ];

    /// The column's name.
    pub const fn column(self) -> &'static str {
        match self {
            Self::ReqPerS => "req_per_s",
            Self::OutTokPerS => "out_tok_per_s",
            Self::TtftMean => "ttft_mean_ms",
            Self::TtftP50 => "ttft_p50_ms",
            Self::TtftP90 => "ttft_p90_ms",
            Self::TtftP95 => "ttft_p95_ms",
            Self::TtftP99 => "ttft_p99_ms",
            Self::TpotMean => "tpot_mean_ms",
            Self::TpotP50 => "tpot_p50_ms",
            Self::TpotP99 => "tpot_p99_ms",
            Self::ItlMean => "itl_mean_ms",
            Self::ItlP50 => "itl_p50_ms",
            Self::ItlP99 => "itl_p99_ms",
            Self::E2eMean => "e2e_mean_ms",
            Self::E2eP90 => "e2e_p90_ms",
            Self::E2eP99 => "e2e_p99_ms",
        }
    }
}

/// One row of the file.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Row {
    /// Line of the file, from 1.
    pub line: u64,
    /// Name of the row.
    pub id: String,
    /// Who published it, with the path of the record.
    pub source: String,
    /// GPU, as in `A100-80`.
    pub gpu: String,
    /// Replicas behind the measured address.
    pub n_replicas: u32,
    /// Model, as in `llama-3.1-8b`.
    pub model: String,
    /// GPUs of one replica.
    pub tp: u32,
    /// Number format of the weights, with remarks.
    pub dtype: String,
    /// vLLM version, or when the run was made.
    pub engine_version: String,
    /// `--max-num-seqs`; absent = the version's default.
    pub max_num_seqs: Option<u32>,
    /// `--max-num-batched-tokens`; absent = the version's default.
    pub max_num_batched_tokens: Option<u32>,
    /// KV cache that the server printed \[tokens\].
    pub kv_tokens: Option<u64>,
    /// Prefix caching: off, default, on, with a share of hits.
    pub prefix_cache: String,
    /// Name of the workload.
    pub workload: String,
    /// Mean prompt length \[tokens\].
    pub input_len_mean: Option<f64>,
    /// Mean output length \[tokens\].
    pub output_len_mean: Option<f64>,
    /// How lengths are distributed, in a word.
    pub len_dist: String,
    /// How requests arrive, in a word.
    pub arrival: String,
    /// Offered rate \[requests/s\].
    pub request_rate: Option<f64>,
    /// Users of a closed loop.
    pub concurrency: Option<u32>,
    /// Requests of the run.
    pub num_prompts: Option<u32>,
    /// What was measured.
    pub measured: Measured,
    /// Remarks.
    pub notes: String,
}

impl Row {
    /// What the row measured of `figure`.
    pub fn measured(&self, figure: Figure) -> Option<f64> {
        self.measured[figure as usize]
    }
}

/// Spellings of a cell without a value. A rate of `inf` is none: the arrival says what it was.
const ABSENT: [&str; 7] = ["", "nan", "n/a", "na", "-", "none", "inf"];

/// Columns without which a row says nothing.
const REQUIRED: [&str; 6] =
    ["gpu", "model", "engine_version", "input_len_mean", "output_len_mean", "arrival"];

/// Reads all rows.
///
/// # Errors
/// Everything that is wrong, at once: missing columns, rows of another width, cells that are no number.
pub fn read(text: &str) -> Result<Vec<Row>, Vec<DataError>> {
    let mut table = Table::new(text, &REQUIRED);
    if !Figure::ALL.iter().any(|f| table.has(f.column())) {
        let message =
            format!("no measured figure: no column such as `{}`", Figure::ALL[0].column());
        table.errors.push(DataError { line: 1, message });
    }
    if !table.errors.is_empty() {
        return Err(table.errors);
    }
    let mut rows = Vec::new();
    while let Some(mut record) = table.next() {
        let (cells, columns) = record.width();
        if cells == columns {
            rows.push(row(&mut record));
        } else {
            record.fault(format!("{cells} cells, the header has {columns}"));
        }
    }
    if table.errors.is_empty() { Ok(rows) } else { Err(table.errors) }
}

fn row(record: &mut Record<'_>) -> Row {
    let mut measured = [None; Figure::ALL.len()];
    for (slot, figure) in measured.iter_mut().zip(Figure::ALL) {
        *slot = number(record, figure.column(), 1e12);
    }
    let text = |record: &Record<'_>, name| record.text(name).to_owned();
    let id = text(record, "id");
    Row {
        line: record.line,
        id: if id.is_empty() { format!("line {}", record.line) } else { id },
        source: text(record, "source"),
        gpu: text(record, "gpu"),
        n_replicas: count(record, "n_replicas").unwrap_or(1),
        model: text(record, "model"),
        tp: count(record, "tp").unwrap_or(1),
        dtype: text(record, "dtype"),
        engine_version: text(record, "engine_version"),
        max_num_seqs: count(record, "max_num_seqs"),
        max_num_batched_tokens: count(record, "max_num_batched_tokens"),
        kv_tokens: number(record, "kv_tokens", 1e12).map(|n| n as u64),
        prefix_cache: text(record, "prefix_cache"),
        workload: text(record, "workload"),
        input_len_mean: number(record, "input_len_mean", 1e7),
        output_len_mean: number(record, "output_len_mean", 1e7),
        len_dist: text(record, "len_dist"),
        arrival: text(record, "arrival"),
        request_rate: number(record, "request_rate", 1e6),
        concurrency: count(record, "concurrency"),
        num_prompts: count(record, "num_prompts"),
        measured,
        notes: text(record, "notes"),
    }
}

/// A number above 0 and at most `max`; empty cells, `nan` and the like are absent.
fn number(record: &mut Record<'_>, name: &str, max: f64) -> Option<f64> {
    let text = record.text(name);
    if ABSENT.iter().any(|absent| text.eq_ignore_ascii_case(absent)) {
        return None;
    }
    let value = text.parse::<f64>().ok().filter(|value| *value > 0.0 && *value <= max);
    if value.is_none() {
        let message = format!("`{name}`: `{text}` is no number above 0 (at most {max:e})");
        record.fault(message);
    }
    value
}

/// A whole number; tables often write `256.0`.
fn count(record: &mut Record<'_>, name: &str) -> Option<u32> {
    let value = number(record, name, 1e9)?;
    if value.fract() != 0.0 {
        record.fault(format!("`{name}`: `{value}` is no whole number"));
        return None;
    }
    Some(value as u32)
}
