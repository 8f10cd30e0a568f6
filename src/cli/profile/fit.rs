//! `hpasim profile fit`: a profile from one's own measurements.

use super::inputs::{Inputs, Wanted, read};
use super::server::ServerArgs;
use super::{Context, Exit, load, output, percent, requests, signed_percent};
use crate::calibrate::fit::{Fit, Outcome, Residual, fit};
use crate::calibrate::replay::Candidate;
use crate::calibrate::requests::Figures;
use crate::calibrate::work::{NAMES, Theta, UNKNOWNS};
use crate::cli::terminal_width;
use crate::config::profile::{
    COEFFICIENTS, Constants, GpuProfile, MeasuredKv, NoProfile, ServerDefaults, Status, Weights,
    model_name,
};
use crate::report::{Align, counted, text_table};
use anyhow::{anyhow, bail};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Arguments of `profile fit`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Results of `vllm bench serve --save-result`, Prometheus query_range answers, per-request traces (CSV), engine
    /// steps (CSV); any mix
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// GPU of the server, as in l4; its constants are the start and what remains where the data say nothing
    #[arg(long, value_name = "GPU", requires = "model", required_unless_present = "base")]
    gpu: Option<String>,
    /// Model of the server, as in llama-3.1-8b
    #[arg(long, value_name = "MODEL", requires = "gpu")]
    model: Option<String>,
    /// GPUs of one replica
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    tp: u32,
    /// Number format of the weights
    #[arg(long, value_enum, default_value_t = Dtype::Bf16)]
    dtype: Dtype,
    /// Start from this profile instead: a built-in name, or a file (which may hold constants of its own GPU)
    #[arg(long, value_name = "PROFILE", conflicts_with_all = ["gpu", "model", "tp", "dtype"])]
    base: Option<String>,
    /// Name of the new profile [default: the file's, or `<gpu>-<model>[-tpN][-fp8]`]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Benchmarks or traces that only check the fit; open-loop benchmarks always do
    #[arg(long, value_name = "FILE")]
    hold_out: Vec<PathBuf>,
    /// Coefficients that keep their value, as in c_att_1e6_ms,ingest_ms
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse_name)]
    keep: Vec<usize>,
    /// GPU of the wanted rows, as a step file spells it
    #[arg(long, value_name = "GPU")]
    steps_gpu: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Dtype {
    /// 16-bit weights
    Bf16,
    /// 8-bit weights
    Fp8,
}

fn parse_name(text: &str) -> Result<usize, String> {
    NAMES
        .iter()
        .position(|name| *name == text.trim())
        .ok_or_else(|| format!("`{text}` is none of {}", NAMES.join(", ")))
}

/// Throughput of an open-loop run that was not fitted may be off by this much for the fit to be accepted.
// Source: the method: accept if the throughput near saturation is within 10 %.
const ACCEPTED: f64 = 0.1;

/// Runs the command.
pub(super) fn run(args: &Args, constants: &Constants, context: &Context) -> anyhow::Result<Exit> {
    let mut profile = base(args, constants)?;
    let wanted = Wanted {
        gpu: &profile.gpu.name.clone(),
        model: &profile.model.name.clone(),
        tp: profile.tensor_parallel_size,
        fp8: profile.weights == Weights::Fp8,
        steps_gpu: args.steps_gpu.as_deref(),
    };
    let inputs = read(&args.files, &args.hold_out, &wanted)?;
    let server = Candidate { scheduler: args.server.engine(&profile)?.scheduler };
    let start = start(&profile, args, &server);
    let mut asked = [true; UNKNOWNS];
    for &index in &args.keep {
        asked[index] = false;
    }
    let fit = fit(&start, asked, |theta| inputs.points(&server, theta))?;
    let checks = Checks::new(&inputs, &server, &fit.theta)?;

    let destination = destination(args, context, &profile);
    let name = args.name.clone().unwrap_or_else(|| match &destination {
        Some(path) if path.as_os_str() != "-" => {
            path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
        }
        _ => profile.name.clone(),
    });
    for note in &inputs.notes {
        context.note(note);
    }
    for model_id in inputs.model_ids() {
        if let Some(known) = model_name(model_id, constants)
            && known != profile.model.name
        {
            let fitted = &profile.model.name;
            context.warn(&format!(
                "a benchmark says that it is of `{model_id}` ({known}), not of {fitted}"
            ));
        }
    }
    if fit.residuals.len() <= SHOWN {
        for point in fit.residuals.iter().filter(|r| r.is_outlier()) {
            context.warn(&outlier(point));
        }
    }
    let report = report(&fit, &start, &inputs, &checks, args);
    profile.name = name;
    adopt(&mut profile, &fit, &inputs, &checks, args, &server);
    let text = profile.to_toml(&comment(&fit, &inputs, args), constants);
    match &destination {
        Some(path) if path.as_os_str() == "-" => {
            context.note(report.trim_end());
            output::print(&text)?;
        }
        Some(path) => {
            output::print(&report)?;
            output::write_stream(path, |out| out.write_all(text.as_bytes()))?;
            context.note(&format!("written to {}", path.display()));
        }
        None => {
            output::print(&report)?;
            context.note("nothing is written; `-o NAME.toml` writes the profile");
        }
    }
    let worst = checks.open_loop_error();
    if let Some(error) = worst.filter(|e| e.abs() > ACCEPTED) {
        context.warn(&format!(
            "the throughput of an open-loop run that was not fitted is off by {}: more than 10 %",
            signed_percent(error)
        ));
        return Ok(Exit::Negative);
    }
    Ok(Exit::Done)
}

/// The profile that the fit starts from.
fn base(args: &Args, constants: &Constants) -> anyhow::Result<GpuProfile> {
    if let Some(name) = &args.base {
        return load(name, constants);
    }
    let (Some(gpu), Some(model)) = (&args.gpu, &args.model) else {
        bail!("give --gpu and --model, or --base");
    };
    let weights = match args.dtype {
        Dtype::Bf16 => Weights::Bf16,
        Dtype::Fp8 => Weights::Fp8,
    };
    GpuProfile::of(gpu, model, args.tp, weights, constants).map_err(|missing| match missing {
        NoProfile::Gpu(name) => {
            let known: Vec<&str> = constants.gpus.iter().map(|g| g.name.as_str()).collect();
            anyhow!(
                "no constants of GPU `{name}` are built in (known: {})\nhint: --base FILE takes a profile with a \
                 table [gpu] of your own",
                known.join(", ")
            )
        }
        NoProfile::Model(name) => {
            let known: Vec<&str> = constants.models.iter().map(|m| m.name.as_str()).collect();
            anyhow!(
                "no shape of model `{name}` is built in (known: {})\nhint: --base FILE takes a profile with a table \
                 [model] in the words of its config.json",
                known.join(", ")
            )
        }
        NoProfile::NumberFormat(why) => anyhow!("{why}"),
    })
}

/// Where the fit starts: the profile's coefficients with the host terms of the measured version.
fn start(profile: &GpuProfile, args: &Args, server: &Candidate) -> Theta {
    let mut step = profile.step_coefficients(args.server.minor(), server.scheduler.max_num_seqs);
    // Knots are what a soft roof is fitted instead of.
    step.g_table = None;
    Theta { step, ingest_ms: profile.ingest().as_secs_f64() * 1e3 }
}

/// The file to write: `-o`, which may name a folder.
fn destination(args: &Args, context: &Context, profile: &GpuProfile) -> Option<PathBuf> {
    let path = context.common.output.as_ref()?;
    let toml = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml"));
    if toml || path.as_os_str() == "-" {
        return Some(path.clone());
    }
    let name = args.name.as_ref().unwrap_or(&profile.name);
    Some(path.join(format!("{name}.toml")))
}

/// One benchmark, simulated with the fit.
struct CheckedRun {
    name: String,
    fitted: bool,
    /// (measured, simulated) of throughput, TTFT and TPOT.
    figures: [Option<(f64, f64)>; 3],
}

/// Whole runs, simulated with the fit.
struct Checks {
    runs: Vec<CheckedRun>,
    open_loop: Vec<f64>,
    traces: Vec<(String, bool, Figures, Figures)>,
}

impl Checks {
    fn new(inputs: &Inputs, server: &Candidate, theta: &Theta) -> anyhow::Result<Self> {
        let mut runs = Vec::new();
        let mut open_loop = Vec::new();
        for (run, only_check) in &inputs.runs {
            let (measured, simulated) = (run.figures(), run.simulate(server, theta)?);
            let figures = [
                Some((measured.req_per_s, simulated.req_per_s)),
                measured.ttft_mean_ms.zip(simulated.ttft_mean_ms),
                measured.tpot_mean_ms.zip(simulated.tpot_mean_ms),
            ];
            if run.is_open_loop() {
                open_loop.push(simulated.req_per_s / measured.req_per_s - 1.0);
            }
            runs.push(CheckedRun { name: run.name.clone(), fitted: !only_check, figures });
        }
        let mut traces = Vec::new();
        for (name, trace, only_check) in &inputs.traces {
            let simulated = Figures::of(&trace.replay(&server.at(theta)?, false));
            traces.push((name.clone(), !only_check, trace.figures(), simulated));
        }
        Ok(Self { runs, open_loop, traces })
    }

    /// The largest error of throughput among open-loop runs.
    fn open_loop_error(&self) -> Option<f64> {
        self.open_loop.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()))
    }

    /// Largest errors of whole runs, in words; empty without any.
    fn words(&self) -> String {
        let mut parts = Vec::new();
        for (k, name) in ["throughput", "TTFT", "TPOT"].into_iter().enumerate() {
            let errors = self.runs.iter().filter_map(|r| r.figures[k]).map(|(m, s)| s / m - 1.0);
            if let Some((_, worst)) = Fit::spread(errors) {
                parts.push(format!("{name} within {}", percent(worst)));
            }
        }
        for (name, _, measured, simulated) in &self.traces {
            parts.push(format!(
                "{name}: mean TTFT {}, makespan {}",
                signed_percent(simulated.ttft_mean_s / measured.ttft_mean_s - 1.0),
                signed_percent(simulated.makespan_s / measured.makespan_s - 1.0)
            ));
        }
        parts.join(", ")
    }
}

/// Four digits.
fn figure(value: f64) -> String {
    let digits =
        if value >= 1000.0 { 0 } else { (3.0 - value.abs().max(1e-9).log10().floor()) as usize };
    format!("{value:.*}", digits.min(7))
}

fn columns(names: &[&str]) -> Vec<(String, Align)> {
    let align = |i: usize| if i == 0 { Align::Left } else { Align::Right };
    names.iter().enumerate().map(|(i, name)| ((*name).to_owned(), align(i))).collect()
}

fn report(fit: &Fit, start: &Theta, inputs: &Inputs, checks: &Checks, args: &Args) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} from {}, host terms of vLLM {}, {} rounds\n",
        counted(fit.residuals.len(), "data point"),
        counted(inputs.sources.len(), "file"),
        args.server.version(),
        fit.rounds
    );
    out.push_str(&coefficients(fit, start));
    out.push_str(&residuals(&fit.residuals));
    out.push_str(&whole_runs(checks));
    out
}

fn coefficients(fit: &Fit, start: &Theta) -> String {
    let mut names = columns(&["coefficient", "constants", "now", "std error"]);
    names.push(("status".to_owned(), Align::Left));
    let kept = |name: &str, value: f64, why: &str| {
        vec![name.to_owned(), figure(value), figure(value), String::new(), why.to_owned()]
    };
    let mut rows = vec![
        kept("t0_ms", start.step.t0_ms, "kept: one model cannot tell it from m_ms"),
        kept("p", start.step.p, "kept: of the GPU"),
    ];
    let values = start.unknowns().into_iter().zip(fit.theta.unknowns());
    for ((name, (before, now)), outcome) in NAMES.iter().zip(values).zip(&fit.outcomes) {
        rows.push(match outcome {
            Outcome::Fitted { error } => vec![
                (*name).to_owned(),
                figure(before),
                figure(now),
                percent(*error),
                if now == 0.0 { "fitted: no cost seen" } else { "fitted" }.to_owned(),
            ],
            Outcome::Unseen => kept(name, before, "kept: the data say too little of it"),
            Outcome::Inseparable { from } => {
                kept(name, before, &format!("kept: the data cannot tell it from {from}"))
            }
            Outcome::Kept => kept(name, before, "kept: not asked for"),
        });
    }
    text_table(&names, &rows, terminal_width())
}

/// A point that pulls the fit away from all others. Among many it would have no weight.
fn outlier(point: &Residual) -> String {
    let (off, times) = (point.left_out_error().unwrap_or(0.0), point.scatters.unwrap_or(0.0).abs());
    format!(
        "`{}`: a fit of the other points is {} off it, {times:.0} times their scatter; measure it again or leave it \
         out",
        point.name,
        percent(off)
    )
}

/// Data points shown; of more, the worst.
const SHOWN: usize = 40;

fn residuals(all: &[Residual]) -> String {
    let names = columns(&["data point", "measured ms", "fitted ms", "error", "left out"]);
    let mut shown: Vec<&Residual> = all.iter().collect();
    if shown.len() > SHOWN {
        shown.sort_by(|a, b| b.error().abs().total_cmp(&a.error().abs()));
        shown.truncate(SHOWN / 4);
    }
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|r| {
            let left_out = r.left_out_error().map_or_else(|| "-".to_owned(), signed_percent);
            let numbers =
                [figure(r.measured_ms), figure(r.fitted_ms), signed_percent(r.error()), left_out];
            std::iter::once(r.name.clone()).chain(numbers).collect()
        })
        .collect();
    let mut out = String::from("\n");
    if shown.len() < all.len() {
        let _ = writeln!(out, "the {} worst of {} data points", shown.len(), all.len());
    }
    out.push_str(&text_table(&names, &rows, terminal_width()));
    let _ = writeln!(out, "{}", errors(all));
    out
}

/// Errors of all data points, in words.
fn errors(all: &[Residual]) -> String {
    let mut text = String::new();
    if let Some((median, worst)) = Fit::spread(all.iter().map(Residual::error)) {
        let _ = write!(text, "median error {}, worst {}", percent(median), percent(worst));
    }
    let left_out: Vec<f64> = all.iter().filter_map(Residual::left_out_error).collect();
    let alone = all.len() - left_out.len();
    if let Some((median, worst)) = Fit::spread(left_out.into_iter()) {
        let _ = write!(
            text,
            "; each left out in turn: median {}, worst {}",
            percent(median),
            percent(worst)
        );
    }
    if alone > 0 {
        let _ = write!(text, "; {alone} cannot be left out: nothing else says the same");
    }
    text
}

fn whole_runs(checks: &Checks) -> String {
    let mut out = String::new();
    let used = |used: bool| if used { "fitted" } else { "held out" };
    if !checks.runs.is_empty() {
        out.push_str("\nwhole runs, simulated with the fit (measured, error)\n");
        let mut names = columns(&["run", "req/s", "", "mean TTFT ms", "", "mean TPOT ms", ""]);
        names.push((String::new(), Align::Left));
        let rows: Vec<Vec<String>> = checks
            .runs
            .iter()
            .map(|run| {
                let mut row = vec![run.name.clone()];
                for pair in run.figures {
                    let cells = pair.map_or_else(
                        || ["-".to_owned(), String::new()],
                        |(measured, simulated)| {
                            [figure(measured), signed_percent(simulated / measured - 1.0)]
                        },
                    );
                    row.extend(cells);
                }
                row.push(used(run.fitted).to_owned());
                row
            })
            .collect();
        out.push_str(&text_table(&names, &rows, terminal_width()));
    }
    for (name, fitted, measured, simulated) in &checks.traces {
        let _ = writeln!(out, "\n{name}, replayed with the fit ({})", used(*fitted));
        out.push_str(&requests::table(measured, simulated));
    }
    out
}

/// Puts the fit into the profile.
fn adopt(
    profile: &mut GpuProfile,
    fit: &Fit,
    inputs: &Inputs,
    checks: &Checks,
    args: &Args,
    server: &Candidate,
) {
    let derived = profile.status;
    profile.summary = format!(
        "{}, {}, {} x {}, fitted by hpasim {}",
        profile.model.name,
        profile.weights.as_str(),
        profile.tensor_parallel_size,
        profile.gpu.title,
        env!("CARGO_PKG_VERSION")
    );
    let theta = &fit.theta;
    let coefficients = &mut profile.coefficients;
    coefficients.m_ms = theta.step.m_ms;
    coefficients.c_ms_per_token = theta.step.c_ms_per_token;
    coefficients.c_seq_ms = theta.step.c_seq_ms;
    coefficients.c_kv_us = theta.step.c_kv_us;
    coefficients.c_att_1e6_ms = theta.step.c_att_1e6_ms;
    coefficients.g_table = None;
    for (index, name) in COEFFICIENTS.iter().enumerate() {
        let fitted = NAMES.iter().position(|n| n == name).map(|i| &fit.outcomes[i]);
        profile.status[index] = match fitted {
            Some(Outcome::Fitted { .. }) => Status::Fitted,
            // What a file says of another measurement is no measurement of this one.
            _ if args.base.is_some() => derived[index],
            _ => Status::Derived,
        };
    }
    if fit.outcomes[UNKNOWNS - 1].is_fitted() {
        profile.ingest_ms = Some((theta.ingest_ms, Status::Fitted));
    }
    if let Some(tokens) = args.server.kv_tokens() {
        // ASSUMPTION(A226): a KV cache size given to a fit was printed at the release's default share of the memory.
        let share = ServerDefaults::of(args.server.minor(), Some(profile)).gpu_memory_utilization;
        profile.measured_kv = Some(MeasuredKv {
            tokens,
            gpu_memory_utilization: share,
            source: format!("given to the fit, vLLM {}", args.server.version()),
        });
    }
    profile.vllm_versions = args.server.version();
    profile.valid_for = inputs.range(server);
    let whole = checks.words();
    profile.known_error = format!(
        "{}: {}{}{whole}",
        counted(fit.residuals.len(), "data point"),
        errors(&fit.residuals),
        if whole.is_empty() { "" } else { "; whole runs: " }
    );
    let mut sources: Vec<String> = Vec::new();
    for source in inputs.sources.iter().take(SOURCES) {
        sources.push(format!("fit of {source}"));
    }
    if inputs.sources.len() > SOURCES {
        sources.push(format!("and {} more files", inputs.sources.len() - SOURCES));
    }
    if !profile.gpu.source.is_empty() {
        sources.push(format!("coefficients that are not fitted: {}", profile.gpu.source));
    }
    profile.sources = sources;
}

/// Files named in a profile.
const SOURCES: usize = 12;

fn comment(fit: &Fit, inputs: &Inputs, args: &Args) -> String {
    let kept: Vec<&str> = NAMES
        .iter()
        .zip(&fit.outcomes)
        .filter(|(_, outcome)| !outcome.is_fitted())
        .map(|(name, _)| *name)
        .collect();
    let mut text = format!(
        "Fitted by `hpasim profile fit`: non-negative least squares on relative errors of {} from {},\n\
         host terms of vLLM {} taken off; t0 and p are the GPU's.",
        counted(fit.residuals.len(), "data point"),
        counted(inputs.sources.len(), "file"),
        args.server.version()
    );
    if !kept.is_empty() {
        let _ = write!(text, "\nThe data do not determine {}.", kept.join(", "));
    }
    text
}
