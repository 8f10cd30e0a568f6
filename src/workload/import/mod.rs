//! Reading traces: hpasim's own format and those of other tools.
//!
//! Rules of every format: columns are found by name, without regard to case; the zero point is the earliest
//! arrival of the file *before* any filter, so a filter does not shift time; rows out of order are sorted
//! stably and counted; equal times keep the order of the file; bad rows are counted by reason with their
//! line numbers and fail the import above a set share. Text goes in as `impl Read`, gzip or plain.
// Source: the tools themselves; the format of each tool is described in its own file.

mod bench;
mod collect;
mod header;
mod json;
mod lines;
mod number;
mod own;
mod series;
mod tables;

pub use collect::{Bad, Report};
pub use number::TimeUnit;
pub use series::read_rate_csv;

use super::rate::RateCurve;
use super::recorded::Recorded;
use std::fmt;
use std::io::{self, Read};

/// A kind of file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// hpasim's own: `arrival_s,prompt_tokens,output_tokens[,session_id,turn,prefix_group,...]`; other
    /// column names through [`ReadOptions::columns`].
    Csv,
    /// One JSON object per line, or an array of them, with the same names; also inference-perf's
    /// `per_request_lifecycle_metrics.json`.
    Jsonl,
    /// Azure LLM inference traces of 2023, 2024 and 2025, and vidur's form of the first.
    Azure,
    /// BurstGPT, all releases.
    Burstgpt,
    /// Mooncake and its dialects (aiperf, qwen-bailian, vLLM timed traces).
    Mooncake,
    /// Locust's `*_stats_history.csv`: gives a rate of completions, not requests.
    Locust,
    /// Result JSON of `vllm bench serve --save-result --save-detailed`.
    VllmBench,
    /// Prometheus `query_range` JSON: gives a rate.
    Prometheus,
}

/// What becomes of a row that generated nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ZeroOutput {
    /// It is left out and counted.
    #[default]
    Drop,
    /// It counts as one output token.
    KeepAsOne,
}

/// Names of the columns of a CSV or JSONL file that does not use hpasim's own.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Columns {
    /// Column of the arrival time; `None`: `arrival_s`.
    pub arrival: Option<String>,
    /// Column of the prompt length; `None`: `prompt_tokens`.
    pub prompt: Option<String>,
    /// Column of the output length; `None`: `output_tokens`.
    pub output: Option<String>,
}

/// How to read.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadOptions {
    /// The format; `None`: by the header or the first keys.
    pub format: Option<Format>,
    /// Column names for `csv` and `jsonl`.
    pub columns: Columns,
    /// Unit of the time column; `None`: the format's own.
    pub time_unit: Option<TimeUnit>,
    /// Rows without output.
    pub zero_output: ZeroOutput,
    /// Bad rows allowed, as a share of all rows; 0 makes any bad row an error.
    pub bad_rows_max: f64,
    /// Whether rows out of time order are an error.
    pub strict_order: bool,
    /// Keep only rows whose model (BurstGPT) or request type (Bailian) is this.
    pub model: Option<String>,
    /// Keep only rows with this log type (BurstGPT).
    pub log_type: Option<String>,
    /// Tokens of one prefix block; `None`: 512 for Mooncake, 16 for Bailian.
    pub block_tokens: Option<u32>,
    /// Whether a Prometheus series is a counter whose increase counts; `None`: if its name ends in `_total`
    /// or `_count`.
    pub counter: Option<bool>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            format: None,
            columns: Columns::default(),
            time_unit: None,
            zero_output: ZeroOutput::Drop,
            bad_rows_max: 0.01,
            strict_order: false,
            model: None,
            log_type: None,
            block_tokens: None,
            counter: None,
        }
    }
}

impl ReadOptions {
    /// For a trace that an experiment names: hpasim's own format, and every bad row is an error.
    pub fn strict() -> Self {
        Self { format: Some(Format::Csv), bad_rows_max: 0.0, ..Self::default() }
    }
}

/// What a file held.
#[derive(Clone, Debug)]
pub enum Content {
    /// Requests.
    Trace(Recorded),
    /// A rate of requests over time; zero is its first sample.
    Rate(RateCurve),
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Imported {
    /// What it held.
    pub content: Content,
    /// What happened on the way.
    pub report: Report,
}

/// One fault of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Line from 1; 0 if the fault has no line.
    pub line: u64,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do about it, if known.
    pub hint: Option<String>,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\nhint: {hint}"))
    }
}

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The bytes could not be read or unpacked.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file as a whole is not what it should be.
    #[error("{0}")]
    File(RowError),
    /// Too many bad rows: the first of them, and how many there are.
    #[error("{} of {read} rows are bad; the first:\n{}", total, first_lines(rows))]
    Rows {
        /// The first bad rows, at most [`ROWS_SHOWN`].
        rows: Vec<RowError>,
        /// Number of bad rows.
        total: u64,
        /// Number of rows.
        read: u64,
    },
}

/// Bad rows that an error lists.
pub const ROWS_SHOWN: usize = 20;

fn first_lines(rows: &[RowError]) -> String {
    rows.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl TraceError {
    /// The single faults, for diagnostics with line numbers.
    pub fn row_errors(&self) -> Vec<RowError> {
        match self {
            Self::Io(e) => vec![RowError { line: 0, message: e.to_string(), hint: None }],
            Self::File(e) => vec![e.clone()],
            Self::Rows { rows, .. } => rows.clone(),
        }
    }

    fn file(line: u64, message: impl Into<String>, hint: Option<String>) -> Self {
        Self::File(RowError { line, message: message.into(), hint })
    }
}

/// Bytes looked at to tell one format from another.
const HEAD: u64 = 16 * 1024;

/// Reads a trace or a rate series.
pub fn read(input: impl Read, options: &ReadOptions) -> Result<Imported, TraceError> {
    let mut input = lines::open(input)?;
    let mut head = Vec::new();
    input.by_ref().take(HEAD).read_to_end(&mut head)?;
    if let Some((what, remedy)) = foreign(&head) {
        return Err(TraceError::file(0, format!("is {what}"), Some(remedy.to_owned())));
    }
    let start = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head).trim_ascii_start();
    let array = start.starts_with(b"[");
    let json = array || start.starts_with(b"{");
    let format = match options.format {
        None if json && json::is_bench(start) => Some(Format::VllmBench),
        None if json && json::is_prometheus(start) => Some(Format::Prometheus),
        None if json => Some(Format::Jsonl),
        given => given,
    };
    let input = io::Cursor::new(head).chain(input);
    // JSON documents are read whole; tables and JSON lines row by row.
    match format {
        Some(Format::VllmBench) => bench::read(input, options),
        Some(Format::Prometheus) => series::read_prometheus(input, options),
        Some(Format::Jsonl | Format::Mooncake) if array => json::read_array(input, options),
        Some(Format::Jsonl | Format::Mooncake) => {
            json::read_lines(lines::Lines::new(input), options)
        }
        None | Some(Format::Csv | Format::Azure | Format::Burstgpt | Format::Locust) => {
            tables::read(lines::Lines::new(input), options)
        }
    }
}

/// What a file is that begins with `head`, if it is none that can be read, and what to do.
fn foreign(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const PIPE: &str = "unpack it into a pipe, as in `zstd -dc FILE | hpasim trace import -`";
    const MAGIC: [(&[u8], &str, &str); 7] = [
        (b"\x28\xb5\x2f\xfd", "compressed by zstd", PIPE),
        (b"\xfd7zXZ", "compressed by xz", PIPE),
        (b"BZh", "compressed by bzip2", PIPE),
        (b"PK\x03\x04", "a zip archive", "unpack it, and name one of its files"),
        (
            b"PAR1",
            "a Parquet table",
            "write it as CSV, as in pandas' `read_parquet(FILE).to_csv(..)`",
        ),
        (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
        (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
    ];
    if head.get(257..262) == Some(b"ustar") {
        return Some(("a tar archive", "unpack it, and name one of its files"));
    }
    MAGIC
        .iter()
        .find(|(magic, ..)| head.starts_with(magic))
        .map(|&(_, what, remedy)| (what, remedy))
}

/// Reads requests: as [`read`], and a rate series is an error.
pub fn read_trace(input: impl Read, options: &ReadOptions) -> Result<Recorded, TraceError> {
    match read(input, options)?.content {
        Content::Trace(trace) => Ok(trace),
        Content::Rate(_) => Err(TraceError::file(
            0,
            "holds a rate over time, not requests",
            Some("use it as [workload.rate_curve]".to_owned()),
        )),
    }
}

pub use own::write_csv;
