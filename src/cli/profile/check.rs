//! `hpasim profile check`: profiles against published serving benchmarks.

use super::server::ServerArgs;
use super::{Context, Exit, output, percent, requests, signed_percent};
use crate::calibrate::benchmark::{self, Figure, Row};
use crate::calibrate::check::{
    Checked, Kind, Machine, Medians, Outcome, check, family, left_out, medians,
};
use crate::calibrate::plan::{Load, Reason, Server};
use crate::calibrate::step_check::{StepErrors, StepGroup, StepReport, check_steps};
use crate::calibrate::steps::{self, MeasuredStep};
use crate::cli::terminal_width;
use crate::config::profile::{Constants, GpuProfile, NoProfile, ServerFlags, Weights};
use crate::engine::StepModel;
use crate::report::{Align, text_table};
use crate::rng::Seed;
use crate::units::SimDuration;
use anyhow::{anyhow, bail};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Arguments of `profile check`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Serving benchmarks, one row per load level (CSV; `-` for standard input)
    #[arg(long, value_name = "FILE.csv", required_unless_present_any = ["steps", "requests"])]
    benchmarks: Option<PathBuf>,
    /// Measured engine steps, one row per batch composition (CSV); repeatable
    #[arg(long, value_name = "FILE.csv")]
    steps: Vec<PathBuf>,
    /// Per-request trace of one server (CSV): replays its arrivals and lengths on `--profile` instead
    #[arg(long, value_name = "FILE.csv", requires = "profile",
          conflicts_with_all = ["benchmarks", "steps", "fail_on", "markdown"])]
    requests: Option<PathBuf>,
    /// Profile of the traced server: a built-in name, or the path of a file
    #[arg(long, value_name = "PROFILE", requires = "requests")]
    profile: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// Medians of absolute errors that may not be exceeded by any GPU, as in `tpot=5%,throughput=5%,ttft=12%`
    #[arg(long, value_name = "LIMITS", value_delimiter = ',', value_parser = parse_limit)]
    fail_on: Vec<(Kind, f64)>,
    /// Write the summary without any measured row as a Markdown page
    #[arg(long, value_name = "FILE.md")]
    markdown: Option<PathBuf>,
}

/// Seed of lengths and arrivals; `--seed` changes it.
const SEED: Seed = Seed(20_261_124);

fn parse_limit(text: &str) -> Result<(Kind, f64), String> {
    let names = Kind::ALL.map(Kind::as_str).join(", ");
    let wrong = || format!("`{text}`: expected NAME=PERCENT% with a name of {names}");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let kind = Kind::ALL.into_iter().find(|k| k.as_str() == name.trim()).ok_or_else(wrong)?;
    let percent = value.trim().strip_suffix('%').ok_or_else(wrong)?;
    let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
    if percent.is_finite() && percent >= 0.0 { Ok((kind, percent / 100.0)) } else { Err(wrong()) }
}

/// Runs the command.
pub(super) fn run(args: &Args, constants: &Constants, context: &Context) -> anyhow::Result<Exit> {
    if let (Some(path), Some(profile)) = (&args.requests, &args.profile) {
        return requests::run(path, profile, &args.server, constants);
    }
    if args.server.given() {
        bail!(
            "--vllm-version and the like are the server of --requests; other rows state their own"
        );
    }
    // All input is read before anything is simulated or written.
    let rows = args.benchmarks.as_deref().map_or(Ok(Vec::new()), read_benchmarks)?;
    let steps = read_steps(&args.steps)?;
    let seed = context.common.seed.unwrap_or(SEED);
    let lookup = |server: &Server| machine(server, constants);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(context.jobs()).build()?;
    let outcomes: Vec<Outcome> =
        pool.install(|| rows.par_iter().map(|row| check(row, &lookup, seed)).collect());
    let step_lookup = |server: &Server| {
        let Machine { engine, .. } = machine(server, constants)?;
        Ok(StepModel::clone(&engine.step_model))
    };
    let steps = check_steps(&steps, &step_lookup);
    let pairs = || rows.iter().zip(&outcomes);
    let by_gpu = medians(pairs(), |row| row.gpu.clone());
    let by_family = medians(pairs(), |row| family(&row.gpu).to_owned());

    if let Some(path) = &context.common.output {
        output::write_stream(path, |out| out.write_all(&tidy(&rows, &outcomes)))?;
    }
    if let Some(path) = &args.markdown {
        let page = markdown(&outcomes, &by_gpu, &by_family, &steps);
        output::write_stream(path, |out| out.write_all(page.as_bytes()))?;
    }
    let mut text = each_row(&rows, &outcomes);
    text.push_str(&not_modelled(&rows, &outcomes));
    text.push_str(&step_table(&steps));
    if !rows.is_empty() {
        text.push_str(&summary(&by_gpu, &by_family));
    }
    output::print(&text)?;
    let broken = broken(&args.fail_on, &by_family);
    for line in &broken {
        context.note(line);
    }
    Ok(if broken.is_empty() { Exit::Done } else { Exit::Negative })
}

fn text_of(path: &Path) -> anyhow::Result<(String, String)> {
    Ok((path.display().to_string(), output::read_text(path)?))
}

fn read_benchmarks(path: &Path) -> anyhow::Result<Vec<Row>> {
    let (name, text) = text_of(path)?;
    let rows = benchmark::read(&text).map_err(|errors| {
        let lines: Vec<String> =
            errors.iter().map(|e| format!("{name}:{}: {}", e.line, e.message)).collect();
        anyhow!("{}\nhint: docs/accuracy.md lists the columns", lines.join("\n"))
    })?;
    if rows.is_empty() {
        bail!("{name}: no rows below the header");
    }
    Ok(rows)
}

fn read_steps(paths: &[PathBuf]) -> anyhow::Result<Vec<MeasuredStep>> {
    let mut steps = Vec::new();
    for path in paths {
        let (name, text) = text_of(path)?;
        let read = steps::read(&text).map_err(|errors| {
            let lines: Vec<String> =
                errors.iter().map(|e| format!("{name}:{}: {}", e.line, e.message)).collect();
            anyhow!("{}", lines.join("\n"))
        })?;
        steps.extend(read);
    }
    Ok(steps)
}

/// The engine and the front end of a row's server.
fn machine(server: &Server, constants: &Constants) -> Result<Machine, Reason> {
    let weights = if server.fp8 { Weights::Fp8 } else { Weights::Bf16 };
    let tp = server.tensor_parallel_size;
    let profile =
        GpuProfile::of(&server.gpu, &server.model, tp, weights, constants).map_err(|missing| {
            match missing {
                NoProfile::Gpu(name) => Reason::Gpu(name),
                NoProfile::Model(name) => Reason::Model(name),
                NoProfile::NumberFormat(why) => Reason::NumberFormat(why),
            }
        })?;
    let engine = profile
        .engine(&ServerFlags {
            vllm_minor: server.vllm_minor,
            max_num_seqs: server.max_num_seqs,
            max_num_batched_tokens: server.max_num_batched_tokens,
            kv_tokens: server.kv_tokens,
            enable_prefix_caching: server.prefix_caching,
        })
        .map_err(Reason::DoesNotFit)?;
    let api_work = SimDuration::from_secs_f64(profile.gpu.api_work_ms / 1e3);
    Ok(Machine { engine, api_work })
}

/// What breaks `limits`, one line each.
fn broken(limits: &[(Kind, f64)], by_family: &Medians) -> Vec<String> {
    let mut lines = Vec::new();
    for (gpu, medians) in by_family {
        for &(kind, limit) in limits {
            if let Some((median, rows)) = medians[kind as usize]
                && median > limit
            {
                lines.push(format!(
                    "{gpu}: median {} error {} of {rows} rows exceeds {}",
                    kind.as_str(),
                    percent(median),
                    percent(limit)
                ));
            }
        }
    }
    lines
}

/// Three to five digits of a figure.
fn figure(value: f64) -> String {
    let decimals = if value >= 1000.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        3
    };
    format!("{value:.decimals$}")
}

/// What a row was, in one line.
fn describe(row: &Row, checked: &Checked) -> String {
    let load = match checked.plan.load {
        Load::AllAtOnce => format!("{} at once", checked.plan.requests),
        Load::ClosedLoop { users } => format!("{users} users"),
        Load::Open { rate, .. } => format!("{rate} req/s"),
    };
    let tp = if row.tp > 1 { format!(" tp{}", row.tp) } else { String::new() };
    format!(
        "{}: {} {}{tp} {}, vLLM {}, {}/{} tokens, {load}{}",
        row.id,
        row.gpu,
        row.model,
        row.dtype,
        row.engine_version,
        checked.plan.prompt.1,
        checked.plan.output.1,
        if checked.saturated { ", saturated" } else { "" },
    )
}

fn each_row(rows: &[Row], outcomes: &[Outcome]) -> String {
    let columns = [
        ("figure".to_owned(), Align::Left),
        ("measured".to_owned(), Align::Right),
        ("simulated".to_owned(), Align::Right),
        ("error".to_owned(), Align::Right),
    ];
    let mut out = String::new();
    for (row, outcome) in rows.iter().zip(outcomes) {
        let Ok(checked) = outcome else { continue };
        let lines: Vec<Vec<String>> = Figure::ALL
            .into_iter()
            .filter_map(|f| {
                let (measured, error) = (row.measured(f)?, checked.error(row, f)?);
                let simulated = checked.simulated[f as usize]?;
                let name = format!("  {}", f.column());
                Some(vec![name, figure(measured), figure(simulated), signed_percent(error)])
            })
            .collect();
        let _ = writeln!(out, "{}", describe(row, checked));
        let table = text_table(&columns, &lines, terminal_width());
        // One heading for all rows would be out of sight; one for each would be noise.
        for line in table.lines().skip(1) {
            let _ = writeln!(out, "{line}");
        }
    }
    if out.is_empty() { out } else { format!("figure, measured, simulated, error\n\n{out}\n") }
}

fn not_modelled(rows: &[Row], outcomes: &[Outcome]) -> String {
    let left: Vec<(&Row, &Reason)> =
        rows.iter().zip(outcomes).filter_map(|(r, o)| Some((r, o.as_ref().err()?))).collect();
    let mut out = String::new();
    let mut list = |title: &str, with_assumption: bool| {
        let mut lines = left.iter().filter(|(_, r)| r.assumption().is_some() == with_assumption);
        if let Some((row, reason)) = lines.next() {
            let _ = writeln!(out, "{title}\n  {}: {reason}", row.id);
            for (row, reason) in lines {
                let _ = writeln!(out, "  {}: {reason}", row.id);
            }
            out.push('\n');
        }
    };
    list("not modelled:", false);
    list("not counted, for they need an assumption:", true);
    out
}

/// The last table: medians of absolute errors per GPU, and per family where it has several.
fn summary(by_gpu: &Medians, by_family: &Medians) -> String {
    let heading = ["tpot or itl", "throughput", "ttft below saturation", "ttft of all rows"];
    let mut columns = vec![("GPU".to_owned(), Align::Left)];
    columns.extend(heading.map(|name| (name.to_owned(), Align::Right)));
    let rows = summary_rows(by_gpu, by_family);
    format!(
        "median absolute error (number of rows)\n{}",
        text_table(&columns, &rows, terminal_width())
    )
}

fn summary_rows(by_gpu: &Medians, by_family: &Medians) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, medians) in by_family {
        let members: Vec<_> = by_gpu.iter().filter(|(gpu, _)| family(gpu) == name).collect();
        for (gpu, medians) in &members {
            rows.push(summary_row(gpu, medians));
        }
        if members.len() > 1 {
            rows.push(summary_row(&format!("{name}, all"), medians));
        }
    }
    rows
}

fn summary_row(name: &str, medians: &[Option<(f64, usize)>; Kind::ALL.len()]) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    cells.extend(medians.iter().map(|median| match median {
        Some((error, rows)) => format!("{} ({rows})", percent(*error)),
        None => "-".to_owned(),
    }));
    cells
}

/// One line per row and figure.
fn tidy(rows: &[Row], outcomes: &[Outcome]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = [
        "id",
        "gpu",
        "model",
        "figure",
        "measured",
        "simulated",
        "error",
        "saturated",
        "counts_for",
        "left_out",
    ];
    let mut lines: Vec<[String; 10]> = vec![header.map(str::to_owned)];
    for (row, outcome) in rows.iter().zip(outcomes) {
        let line = |figure: &str| {
            let mut cells: [String; 10] = Default::default();
            cells[0].clone_from(&row.id);
            cells[1].clone_from(&row.gpu);
            cells[2].clone_from(&row.model);
            figure.clone_into(&mut cells[3]);
            cells
        };
        match outcome {
            Err(reason) => {
                let mut cells = line("");
                cells[9] = reason.to_string();
                lines.push(cells);
            }
            Ok(checked) => {
                for f in Figure::ALL {
                    let (Some(measured), Some(error)) = (row.measured(f), checked.error(row, f))
                    else {
                        continue;
                    };
                    let counted: Vec<&str> = Kind::ALL
                        .into_iter()
                        .filter(|&k| checked.counted(row, k).is_some_and(|(c, _)| c == f))
                        .map(Kind::as_str)
                        .collect();
                    let mut cells = line(f.column());
                    cells[4] = crate::export::number(measured);
                    cells[5] = checked.simulated[f as usize]
                        .map(crate::export::number)
                        .unwrap_or_default();
                    cells[6] = crate::export::number(error);
                    cells[7] = checked.saturated.to_string();
                    cells[8] = counted.join(" ");
                    lines.push(cells);
                }
            }
        }
    }
    for cells in &lines {
        writer.write_record(cells).expect("memory takes every row");
    }
    writer.into_inner().expect("memory takes every byte")
}

/// Errors of single steps by GPU, model and kind.
fn step_table((errors, left_out): &StepReport) -> String {
    if errors.is_empty() && left_out.is_empty() {
        return String::new();
    }
    let mut columns = vec![("GPU".to_owned(), Align::Left), ("model".to_owned(), Align::Left)];
    columns.push(("steps".to_owned(), Align::Left));
    for name in ["number", "median error", "95th percentile"] {
        columns.push((name.to_owned(), Align::Right));
    }
    let mut out = text_table(&columns, &step_rows(errors), terminal_width());
    for (reason, count) in left_out {
        let _ = writeln!(out, "{count} steps left out: {reason}");
    }
    out.push('\n');
    out
}

fn step_rows(errors: &BTreeMap<StepGroup, StepErrors>) -> Vec<Vec<String>> {
    errors
        .iter()
        .map(|((gpu, model, kind), e)| {
            let (median, p95) = (percent(e.median), percent(e.p95));
            vec![gpu.clone(), model.clone(), kind.clone(), e.steps.to_string(), median, p95]
        })
        .collect()
}

/// The page that is published: medians, numbers and reasons, no measured row.
fn markdown(
    outcomes: &[Outcome],
    by_gpu: &Medians,
    by_family: &Medians,
    (steps, steps_left_out): &StepReport,
) -> String {
    let mut out = include_str!("accuracy_head.md").to_owned();
    let used = outcomes.iter().filter(|o| o.is_ok()).count();
    let _ = writeln!(
        out,
        "Median absolute errors, with the number of rows:\n\n\
         | GPU | TPOT or ITL | throughput | TTFT below saturation | TTFT of all rows |\n\
         |---|---|---|---|---|"
    );
    for cells in summary_rows(by_gpu, by_family) {
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    let _ = writeln!(
        out,
        "\n{used} of {} rows were simulated; no share of prefix hits is invented.\n\n\
         | left out because | rows |\n|---|---|",
        outcomes.len()
    );
    let counts: BTreeMap<&str, usize> = left_out(outcomes.iter());
    for (reason, rows) in counts {
        let _ = writeln!(out, "| {reason} | {rows} |");
    }
    if !steps.is_empty() {
        let _ = writeln!(
            out,
            "\n## Engine steps\n\nMeasured steps (and sums of measured kernels, `_composed`) against the step \
             model.\n\n| GPU | model | steps | number | median error | 95th percentile |\n|---|---|---|---|---|---|"
        );
        for cells in step_rows(steps) {
            let _ = writeln!(out, "| {} |", cells.join(" | "));
        }
        for (reason, count) in steps_left_out {
            let _ = writeln!(out, "\n{count} steps left out: {reason}.");
        }
    }
    out.push('\n');
    out.push_str(include_str!("accuracy_tail.md"));
    out
}
