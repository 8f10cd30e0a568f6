//! Published serving benchmarks: one CSV row per measured load level.
//!
//! Columns are found by name; those that are not known are ignored, those that are absent are empty. An empty cell
//! means "not stated". Rows are kept as their source states them: what a row means is the business of
//! [`plan`](super::plan).

use std::collections::BTreeMap;

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

/// What is wrong with the file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct BenchmarkError {
    /// Line of the file, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
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
pub fn read(text: &str) -> Result<Vec<Row>, Vec<BenchmarkError>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let mut errors = Vec::new();
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return Err(vec![BenchmarkError { line: 1, message: error.to_string() }]),
    };
    let mut columns = BTreeMap::new();
    for (index, name) in header.iter().enumerate() {
        // A byte order mark is no part of the first name.
        columns.insert(name.trim_start_matches('\u{feff}').trim().to_owned(), index);
    }
    for name in REQUIRED {
        if !columns.contains_key(name) {
            errors.push(BenchmarkError { line: 1, message: format!("no column `{name}`") });
        }
    }
    if !Figure::ALL.iter().any(|f| columns.contains_key(f.column())) {
        let message =
            format!("no measured figure: no column such as `{}`", Figure::ALL[0].column());
        errors.push(BenchmarkError { line: 1, message });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(1, csv::Position::line);
                errors.push(BenchmarkError { line, message: error.to_string() });
                continue;
            }
        };
        let line = record.position().map_or(1, csv::Position::line);
        if record.len() != header.len() {
            let message = format!("{} cells, the header has {}", record.len(), header.len());
            errors.push(BenchmarkError { line, message });
            continue;
        }
        let mut cells = Cells { columns: &columns, record: &record, line, errors: &mut errors };
        rows.push(cells.row());
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

/// The cells of one record by name.
struct Cells<'a> {
    columns: &'a BTreeMap<String, usize>,
    record: &'a csv::StringRecord,
    line: u64,
    errors: &'a mut Vec<BenchmarkError>,
}

impl Cells<'_> {
    fn row(&mut self) -> Row {
        let id = self.text("id");
        let mut measured = [None; Figure::ALL.len()];
        for (slot, figure) in measured.iter_mut().zip(Figure::ALL) {
            *slot = self.number(figure.column(), 1e12);
        }
        Row {
            line: self.line,
            id: if id.is_empty() { format!("line {}", self.line) } else { id },
            source: self.text("source"),
            gpu: self.text("gpu"),
            n_replicas: self.count("n_replicas").unwrap_or(1),
            model: self.text("model"),
            tp: self.count("tp").unwrap_or(1),
            dtype: self.text("dtype"),
            engine_version: self.text("engine_version"),
            max_num_seqs: self.count("max_num_seqs"),
            max_num_batched_tokens: self.count("max_num_batched_tokens"),
            kv_tokens: self.number("kv_tokens", 1e12).map(|n| n as u64),
            prefix_cache: self.text("prefix_cache"),
            workload: self.text("workload"),
            input_len_mean: self.number("input_len_mean", 1e7),
            output_len_mean: self.number("output_len_mean", 1e7),
            len_dist: self.text("len_dist"),
            arrival: self.text("arrival"),
            request_rate: self.number("request_rate", 1e6),
            concurrency: self.count("concurrency"),
            num_prompts: self.count("num_prompts"),
            measured,
            notes: self.text("notes"),
        }
    }

    fn text(&self, name: &str) -> String {
        let cell = self.columns.get(name).and_then(|&index| self.record.get(index));
        cell.unwrap_or_default().trim().to_owned()
    }

    /// A number above 0 and at most `max`; empty cells, `nan` and the like are absent.
    fn number(&mut self, name: &str, max: f64) -> Option<f64> {
        let text = self.text(name);
        if ABSENT.iter().any(|absent| text.eq_ignore_ascii_case(absent)) {
            return None;
        }
        match text.parse::<f64>() {
            Ok(value) if value > 0.0 && value <= max => Some(value),
            _ => {
                let message = format!("`{name}`: `{text}` is no number above 0 (at most {max:e})");
                self.errors.push(BenchmarkError { line: self.line, message });
                None
            }
        }
    }

    /// A whole number; tables often write `256.0`.
    fn count(&mut self, name: &str) -> Option<u32> {
        let value = self.number(name, 1e9)?;
        if value.fract() != 0.0 {
            let message = format!("`{name}`: `{value}` is no whole number");
            self.errors.push(BenchmarkError { line: self.line, message });
            return None;
        }
        Some(value as u32)
    }
}
