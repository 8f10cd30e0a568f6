//! `hpasim trace import` and `hpasim trace stats`.

use super::{deliver, deliver_trace, print, show};
use crate::cli::{Context, Exit, output};
use crate::config::parse_duration;
use crate::rng::Seed;
use crate::units::SimDuration;
use crate::workload::import::{
    Columns, Content, Format, Imported, ReadOptions, TimeUnit, TraceError, ZeroOutput, read,
};
use crate::workload::{OverLength, Recorded, Sharing, Summary, Transform, WorkloadSpec};
use anyhow::{Context as _, Result, anyhow, bail};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// How to read the file.
#[derive(clap::Args, Debug, Clone)]
struct Reading {
    /// Format of the file [default: by its header or first keys]
    #[arg(long, value_enum)]
    format: Option<FormatName>,
    /// Names a column of a `csv` or `jsonl` file, as in `arrival=ts`, `prompt=in`, `output=out`; repeatable
    #[arg(long, value_name = "COLUMN=NAME")]
    map: Vec<String>,
    /// Unit of the time column [default: the format's own; seconds or dates for csv]
    #[arg(long, value_enum)]
    time_unit: Option<UnitName>,
    /// What becomes of requests without output
    #[arg(long, value_enum, default_value_t = ZeroName::Drop)]
    zero_output: ZeroName,
    /// Bad rows to tolerate, in percent of all rows
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    bad_rows: f64,
    /// Fail if rows are not in time order, instead of sorting them
    #[arg(long)]
    strict: bool,
    /// Keep the rows of this model (burstgpt) or request type (mooncake dialects)
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Keep the rows with this log type (burstgpt)
    #[arg(long, value_name = "NAME")]
    log_type: Option<String>,
    /// Tokens of one prefix block [default: 512 for mooncake, 16 for bailian]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    block_tokens: Option<u32>,
    /// Whether Prometheus series are counters [default: those named `.._total` or `.._count`]
    #[arg(long, value_name = "BOOL")]
    counter: Option<bool>,
}

/// Changes on the way, in this order.
#[derive(clap::Args, Debug, Clone)]
struct Changes {
    /// Keep arrivals from here on; becomes time zero
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    from: Option<SimDuration>,
    /// Keep arrivals before this
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    to: Option<SimDuration>,
    /// Longest prompt + output in tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..))]
    max_model_len: Option<u32>,
    /// What becomes of longer requests
    #[arg(long, value_enum, default_value_t = OverName::Drop, requires = "max_model_len")]
    over_length: OverName,
    /// Spread the rows of one time stamp at random up to the next stamp
    #[arg(long)]
    dequantize: bool,
    /// Multiply all times: 2 is twice as long, at half the rate
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    time_stretch: f64,
    /// Multiply the load: below 1 keeps each request with this probability, above 1 overlays rotated copies
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    rate_scale: f64,
}

/// Arguments of `hpasim trace import`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The file, plain or gzip; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    changes: Changes,
}

/// Arguments of `hpasim trace stats`.
#[derive(clap::Args, Debug)]
pub(super) struct StatsArgs {
    /// The file, plain or gzip, in any format that `trace import` reads; `-` is standard input
    file: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum FormatName {
    /// Azure LLM inference traces 2023, 2024, 2025, and vidur's form
    Azure,
    /// BurstGPT, all releases
    Burstgpt,
    /// Mooncake and its dialects (aiperf, qwen-bailian, vLLM timed traces)
    Mooncake,
    /// hpasim's own columns, or those named by `--map`
    Csv,
    /// JSON objects, one per line or in an array: hpasim's names or those named by `--map`; inference-perf's
    /// `per_request_lifecycle_metrics.json`
    Jsonl,
    /// Locust's `_stats_history.csv`: a rate of completions
    Locust,
    /// Result of `vllm bench serve --save-result --save-detailed`
    VllmBench,
    /// Prometheus `query_range` JSON: a rate
    Prometheus,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum UnitName {
    Ns,
    Us,
    Ms,
    S,
    /// Dates such as `2024-05-10 00:00:00.009930+00:00`
    Iso,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum ZeroName {
    /// Left out
    Drop,
    /// Kept with one output token
    One,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum OverName {
    /// Left out
    Drop,
    /// Prompt shortened
    ClipInput,
    /// Output shortened
    ClipOutput,
}

impl Reading {
    fn options(&self) -> Result<ReadOptions> {
        let mut columns = Columns::default();
        for entry in &self.map {
            let (column, name) = entry.split_once('=').with_context(|| {
                format!("`--map {entry}` needs the form COLUMN=NAME, as in `arrival=ts`")
            })?;
            let slot = match column.trim() {
                "arrival" | "arrival_s" => &mut columns.arrival,
                "prompt" | "prompt_tokens" => &mut columns.prompt,
                "output" | "output_tokens" => &mut columns.output,
                other => bail!("`--map`: `{other}` is not one of arrival, prompt, output"),
            };
            *slot = Some(name.trim().to_owned());
        }
        if !(0.0..=100.0).contains(&self.bad_rows) {
            bail!("`--bad-rows` must lie between 0 and 100 percent");
        }
        Ok(ReadOptions {
            format: self.format.map(|f| match f {
                FormatName::Azure => Format::Azure,
                FormatName::Burstgpt => Format::Burstgpt,
                FormatName::Mooncake => Format::Mooncake,
                FormatName::Csv => Format::Csv,
                FormatName::Jsonl => Format::Jsonl,
                FormatName::Locust => Format::Locust,
                FormatName::VllmBench => Format::VllmBench,
                FormatName::Prometheus => Format::Prometheus,
            }),
            columns,
            time_unit: self.time_unit.map(|u| match u {
                UnitName::Ns => TimeUnit::Ns,
                UnitName::Us => TimeUnit::Us,
                UnitName::Ms => TimeUnit::Ms,
                UnitName::S => TimeUnit::S,
                UnitName::Iso => TimeUnit::Iso,
            }),
            zero_output: match self.zero_output {
                ZeroName::Drop => ZeroOutput::Drop,
                ZeroName::One => ZeroOutput::KeepAsOne,
            },
            bad_rows_max: self.bad_rows / 100.0,
            strict_order: self.strict,
            model: self.model.clone(),
            log_type: self.log_type.clone(),
            block_tokens: self.block_tokens,
            counter: self.counter,
        })
    }

    fn read(&self, file: &Path) -> Result<Imported> {
        let input = output::open_input(file)?;
        read(input, &self.options()?).map_err(|error| {
            let tolerant = matches!(error, TraceError::Rows { .. });
            let error = anyhow!(error).context(format!("cannot use `{}`", file.display()));
            if tolerant {
                anyhow!("{error:#}\nhint: `--bad-rows PERCENT` leaves out that many")
            } else {
                error
            }
        })
    }
}

impl Changes {
    fn transform(&self) -> Transform {
        let window = (self.from.is_some() || self.to.is_some())
            .then(|| (self.from.unwrap_or_default(), self.to.unwrap_or(SimDuration::MAX)));
        let over = match self.over_length {
            OverName::Drop => OverLength::Drop,
            OverName::ClipInput => OverLength::ClipInput,
            OverName::ClipOutput => OverLength::ClipOutput,
        };
        Transform {
            window,
            max_model_len: self.max_model_len.map(|limit| (limit, over)),
            dequantize: self.dequantize,
            time_stretch: self.time_stretch,
            rate_scale: self.rate_scale,
            ..Transform::default()
        }
    }
}

/// Runs `hpasim trace import`.
pub(super) fn run(args: &Args, context: &Context) -> Result<Exit> {
    let imported = args.reading.read(&args.file)?;
    context.note(show::report(&imported.report).trim_end());
    let trace = match imported.content {
        Content::Rate(curve) => {
            context.note(show::curve(&curve).trim_end());
            deliver(context, |out| out.write_all(show::curve_csv(&curve).as_bytes()))?;
            return Ok(Exit::Done);
        }
        Content::Trace(trace) => trace,
    };
    let transform = args.changes.transform();
    transform.check()?;
    let trace = if transform.is_identity() {
        trace
    } else {
        if trace.side.is_some() {
            context.note(
                "note                  a changed trace has new names of sessions and prefixes, and no classes",
            );
        }
        let seed = context.common.seed.unwrap_or(Seed(1));
        let requests = transform.apply(&trace, seed, 0);
        Recorded::realised(requests, &WorkloadSpec::replay(trace).texts(seed))
    };
    let Some(summary) = Summary::of(&trace.requests) else {
        bail!("no request of `{}` is left", args.file.display());
    };
    context.note(&format!("\n{}", show::summary(&summary).trim_end()));
    for warning in show::warnings(&summary) {
        context.note(&format!("warning: {warning}"));
    }
    deliver_trace(&trace, &[], context)?;
    Ok(Exit::Done)
}

/// Runs `hpasim trace stats`.
pub(super) fn stats(args: &StatsArgs) -> Result<Exit> {
    let imported = args.reading.read(&args.file)?;
    let mut out = show::report(&imported.report);
    out.push('\n');
    match imported.content {
        Content::Rate(curve) => out.push_str(&show::curve(&curve)),
        Content::Trace(trace) => {
            if let Some(s) = Summary::of(&trace.requests) {
                out.push_str(&show::summary(&s));
                if let Some(sharing) = Sharing::of(&trace) {
                    out.push_str(&show::sharing(&sharing));
                }
                for warning in show::warnings(&s) {
                    out.extend(["\nwarning: ", &warning, "\n"]);
                }
            }
        }
    }
    print(&out)?;
    Ok(Exit::Done)
}
