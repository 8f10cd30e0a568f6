//! The files of `hpasim profile fit`: what each is, and its data points.

use super::output;
use crate::backtest;
use crate::calibrate::DataError;
use crate::calibrate::bench_json::{self, BenchRun, Load};
use crate::calibrate::fit::Point;
use crate::calibrate::replay::Candidate;
use crate::calibrate::requests::RequestTrace;
use crate::calibrate::steps::{self, MeasuredStep};
use crate::calibrate::windows::{self, Recorded, Window};
use crate::calibrate::work::Theta;
use crate::config::profile::gpu_name;
use crate::engine::StepModelError;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Everything read.
#[derive(Default)]
pub(super) struct Inputs {
    /// Runs of `vllm bench serve`, and whether each only checks the fit.
    pub(super) runs: Vec<(BenchRun, bool)>,
    /// Per-request traces, likewise.
    pub(super) traces: Vec<(String, RequestTrace, bool)>,
    /// Engine steps by file.
    pub(super) steps: Vec<(String, Vec<MeasuredStep>)>,
    /// Prometheus windows.
    pub(super) windows: Vec<Window>,
    /// What people should know about the files.
    pub(super) notes: Vec<String>,
    /// One line per file: what it is.
    pub(super) sources: Vec<String>,
}

/// Which rows of step files are meant.
pub(super) struct Wanted<'a> {
    /// GPU, as the profile names it.
    pub(super) gpu: &'a str,
    /// Model, as the profile names it.
    pub(super) model: &'a str,
    /// GPUs of one replica.
    pub(super) tp: u32,
    /// Weights in fp8 instead of 16 bit.
    pub(super) fp8: bool,
    /// GPU as the file spells it, if given.
    pub(super) steps_gpu: Option<&'a str>,
}

/// Reads all files; the error names every fault of every file.
pub(super) fn read(
    files: &[PathBuf],
    hold_out: &[PathBuf],
    wanted: &Wanted<'_>,
) -> anyhow::Result<Inputs> {
    let mut inputs = Inputs::default();
    let mut errors = Vec::new();
    let mut series = Vec::new();
    let held = files.iter().map(|f| (f, false)).chain(hold_out.iter().map(|f| (f, true)));
    for (path, only_check) in held {
        let name = path.display().to_string();
        let faults = match output::read_text(path) {
            Err(error) => vec![format!("{error:#}")],
            Ok(text) => inputs
                .take(path, &text, only_check, wanted, &mut series)
                .err()
                .unwrap_or_default()
                .into_iter()
                .map(|fault| format!("{name}: {fault}"))
                .collect(),
        };
        errors.extend(faults);
    }
    if !series.is_empty() {
        match windows::windows(&series) {
            Ok(found) => {
                for (reason, count) in &found.left_out {
                    inputs.notes.push(format!("{count} Prometheus windows left out: {reason}"));
                }
                if found.usable.is_empty() {
                    errors.push("Prometheus: no window can be used".to_owned());
                }
                inputs.windows = found.usable;
            }
            Err(missing) => errors.extend(missing.into_iter().map(|m| format!("Prometheus: {m}"))),
        }
    }
    if errors.is_empty() {
        let models: Vec<&str> = inputs.model_ids().into_iter().collect();
        if models.len() > 1 {
            let note =
                format!("benchmarks of several models are fitted as one: {}", models.join(", "));
            inputs.notes.push(note);
        }
        return Ok(inputs);
    }
    Err(anyhow::anyhow!("{}", errors.join("\nerror: ")))
}

fn base_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}

fn all(errors: &[DataError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

impl Inputs {
    /// Takes one file in.
    fn take(
        &mut self,
        path: &Path,
        text: &str,
        only_check: bool,
        wanted: &Wanted<'_>,
        series: &mut Vec<Recorded>,
    ) -> Result<(), Vec<String>> {
        let name = base_name(path);
        let start = text.trim_start_matches('\u{feff}').trim_start();
        let header = start.lines().next().unwrap_or_default();
        if start.is_empty() {
            return Err(vec!["the file is empty".to_owned()]);
        }
        if start.starts_with(['{', '[']) && !is_prometheus(start) {
            let runs = bench_json::read(&name, text).map_err(|e| all(&e))?;
            for run in runs {
                self.notes.extend(run.notes.iter().map(|note| format!("{}: {note}", run.name)));
                let date = if run.date.is_empty() { "undated" } else { &run.date };
                self.sources
                    .push(format!("{} (vllm bench serve, {date}, {})", run.name, run.model_id));
                let only_check = only_check || run.is_open_loop();
                self.runs.push((run, only_check));
            }
        } else if RequestTrace::is_header(header) {
            let trace = RequestTrace::read(text).map_err(|e| all(&e))?;
            self.sources.push(format!("{name} (trace of {} requests)", trace.requests.len()));
            self.traces.push((name, trace, only_check));
        } else if only_check {
            return Err(vec!["only benchmarks and traces can be held out".to_owned()]);
        } else if steps::is_header(header) {
            let rows = steps::read(text).map_err(|e| all(&e))?;
            let rows = self.matching(&name, rows, wanted).map_err(|e| vec![e])?;
            self.sources.push(format!("{name} ({} engine steps)", rows.len()));
            self.steps.push((name, rows));
        } else {
            let found = backtest::parse(text).map_err(|e| {
                let hint = "known are results of `vllm bench serve`, Prometheus query_range answers, per-request \
                            traces and step files";
                vec![format!("{e}\nhint: {hint}")]
            })?;
            self.sources.push(format!("{name} (Prometheus)"));
            series.extend(found.into_iter().map(|s| Recorded {
                name: s.name,
                pod: s.pod,
                samples: s.samples.iter().filter_map(|&(t, v)| Some((t, v?))).collect(),
            }));
        }
        Ok(())
    }

    /// The rows of the wanted GPU, model, number of GPUs and number format.
    fn matching(
        &mut self,
        name: &str,
        rows: Vec<MeasuredStep>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<MeasuredStep>, String> {
        let all = rows.len();
        let given = |row: &MeasuredStep| match wanted.steps_gpu {
            Some(gpu) => row.gpu.eq_ignore_ascii_case(gpu),
            // `H100-80` is an `h100`, an `L40S` is no `l4`; nothing said is taken to be right.
            None => row.gpu.is_empty() || gpu_name(&row.gpu) == gpu_name(wanted.gpu),
        };
        let model = |row: &MeasuredStep| row.model.is_empty() || row.model == wanted.model;
        let gpus: BTreeSet<String> = rows.iter().map(|r| r.gpu.clone()).collect();
        let wanted_row = |r: &MeasuredStep| {
            given(r) && model(r) && r.tp == wanted.tp && r.has_weights(wanted.fp8)
        };
        let kept: Vec<MeasuredStep> = rows.into_iter().filter(wanted_row).collect();
        let kinds: BTreeSet<&str> = kept.iter().map(|r| r.gpu.as_str()).collect();
        if kinds.len() > 1 {
            let kinds: Vec<&str> = kinds.into_iter().collect();
            return Err(format!("rows of {}: choose with --steps-gpu", kinds.join(", ")));
        }
        if kept.is_empty() {
            let gpus: Vec<String> = gpus.into_iter().collect();
            return Err(format!(
                "no row of {} in {} on `{}` with {} GPUs (the file has {}); choose with --steps-gpu, --dtype",
                wanted.model,
                if wanted.fp8 { "fp8" } else { "16 bit" },
                wanted.steps_gpu.unwrap_or(wanted.gpu),
                wanted.tp,
                gpus.join(", ")
            ));
        }
        if kept.len() < all {
            self.notes.push(format!("{name}: {} of {all} rows are of this server", kept.len()));
        }
        Ok(kept)
    }

    /// The models that benchmarks name, each once.
    pub(super) fn model_ids(&self) -> BTreeSet<&str> {
        let named = self.runs.iter().map(|(run, _)| run.model_id.as_str());
        named.filter(|id| !id.is_empty()).collect()
    }

    /// All data points at `theta`.
    pub(super) fn points(
        &self,
        server: &Candidate,
        theta: &Theta,
    ) -> Result<Vec<Point>, StepModelError> {
        let scheduler = &server.scheduler;
        let mut points = Vec::new();
        for (run, _) in self.runs.iter().filter(|(_, only_check)| !only_check) {
            points.extend(run.points(server, theta)?);
        }
        for (name, trace, _) in self.traces.iter().filter(|(_, _, only_check)| !only_check) {
            points.extend(trace.points(name, &server.at(theta)?, theta));
        }
        for (name, rows) in &self.steps {
            points.extend(steps::points(name, rows, theta));
        }
        points.extend(windows::points("Prometheus", &self.windows, scheduler, theta));
        Ok(points)
    }

    /// Sequences, contexts and chunks that the data points cover, in words.
    pub(super) fn range(&self, server: &Candidate) -> String {
        let most = f64::from(server.scheduler.max_num_seqs);
        let budget = f64::from(server.scheduler.max_num_batched_tokens);
        let mut sequences = Vec::new();
        let (mut context, mut chunk) = (0.0f64, 0.0f64);
        let mut job = |prompt: u32, output: u32| {
            context = context.max(f64::from(prompt) + f64::from(output));
            chunk = chunk.max(f64::from(prompt).min(budget));
        };
        for (run, _) in self.runs.iter().filter(|(_, only_check)| !only_check) {
            if let Load::Users(users) = run.load {
                sequences.push(f64::from(users).min(run.jobs.len() as f64).min(most));
            }
            run.jobs.iter().for_each(|j| job(j.prompt_tokens, j.output_tokens));
        }
        for (_, trace, _) in self.traces.iter().filter(|(_, _, only_check)| !only_check) {
            sequences.extend([1.0, (trace.requests.len() as f64).min(most)]);
            trace.requests.iter().for_each(|r| job(r.job.prompt_tokens, r.job.output_tokens));
        }
        for row in self.steps.iter().flat_map(|(_, rows)| rows) {
            sequences.push(row.steps.decodes.max(1.0));
            context = context.max(row.steps.kv_tokens / row.steps.decodes.max(1.0));
            chunk = chunk.max(row.steps.tokens - row.steps.decodes);
        }
        sequences.extend(self.windows.iter().map(|w| w.running));
        sequences.sort_by(f64::total_cmp);
        let (low, high) = (sequences.first().unwrap_or(&0.0), sequences.last().unwrap_or(&0.0));
        let mut text = format!("{low:.0} to {high:.0} sequences");
        if context > 0.0 {
            let _ = write!(text, ", contexts to {context:.0} tokens");
        }
        if chunk > 0.0 {
            let _ = write!(text, ", chunks to {chunk:.0} tokens");
        }
        text
    }
}

/// Whether a JSON text is an answer of Prometheus' HTTP API, or a list of series.
fn is_prometheus(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| {
        let series = |v: &serde_json::Value| v.get("metric").is_some() && v.get("values").is_some();
        value.pointer("/data/result").is_some()
            || value.get("status").is_some()
            || value.get("result").is_some()
            || value.as_array().is_some_and(|items| items.iter().any(series))
    })
}
