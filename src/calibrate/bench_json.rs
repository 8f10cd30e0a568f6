//! Results of `vllm bench serve --save-result`, simple or with `--save-detailed`.
//!
//! Source: vllm 0.33.0, benchmarks/serve.py: one object per run, with `date`, `model_id`, `num_prompts`, `request_rate`
//! (a number or `"inf"`), `max_concurrency`, `duration` \[s\], `completed`, `failed`, `total_input_tokens`,
//! `total_output_tokens`, `mean_`, `median_` and `p99_` of `ttft_ms`, `tpot_ms`, `itl_ms`; with `--save-detailed`
//! also `input_lens`, `output_lens`, `start_times`, `ttfts`, `itls`, where a failed request keeps its place with
//! zeros. `--append-result` puts several objects into one file. `benchmark_serving.py` of older releases writes the
//! same without `start_times`.

use super::data::{DataError, whole};
use super::fit::Point;
use super::replay::{Arrivals, Candidate, Job, Replayed, replay};
use super::work::{Steps, Theta, Timeline, Work};
use crate::engine::{StepModelError, StepRecord};
use crate::units::{SimDuration, SimTime};
use crate::workload::VllmBench;
use serde_json::Value;

/// How the client sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Load {
    /// So many users, each with one request at a time.
    Users(u32),
    /// A rate \[requests/s\] with gaps of this burstiness (1 = Poisson).
    Rate(f64, f64),
}

/// One run.
#[derive(Clone, PartialEq, Debug)]
pub struct BenchRun {
    /// For people: file, and which of several.
    pub name: String,
    /// When it was made, as the file says.
    pub date: String,
    /// The model, as the file says.
    pub model_id: String,
    /// How the client sent.
    pub load: Load,
    /// Lengths of the answered requests, in the order sent.
    pub jobs: Vec<Job>,
    /// When they were sent \[s\], if the file says.
    pub starts_s: Option<Vec<f64>>,
    /// Whether all prompts are about equally long, so that the median time to first token is that of their mean.
    pub equal_prompts: bool,
    /// From the first request to the last answer \[s\].
    pub duration_s: f64,
    /// Mean time to first token \[ms\].
    pub ttft_mean_ms: Option<f64>,
    /// Its median \[ms\].
    pub ttft_median_ms: Option<f64>,
    /// Mean over requests of the mean gap \[ms\].
    pub tpot_mean_ms: Option<f64>,
    /// Median gap \[ms\].
    pub itl_median_ms: Option<f64>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// What every result has.
const REQUIRED: [&str; 4] = ["duration", "completed", "total_input_tokens", "total_output_tokens"];
/// The figures of a result, of which it has those that `--percentile-metrics` names.
const FIGURES: [&str; 4] = ["mean_ttft_ms", "median_ttft_ms", "mean_tpot_ms", "median_itl_ms"];
/// Prompts that differ by this share count as equally long: random text does not always tokenise to the length that was
/// asked for.
const ALIKE: f64 = 0.02;
/// A client that may send everything at once takes no longer than this share of the run to do so.
// Source: 4096 prompts at once take a client 2 s of 26 s; a ramp or a trace takes most of its run.
const AT_ONCE: f64 = 0.25;

/// Requests of one run; more are no benchmark.
const JOBS_MAX: usize = 1 << 20;

/// Reads all runs of a file.
///
/// # Errors
/// All faults.
pub fn read(name: &str, text: &str) -> Result<Vec<BenchRun>, Vec<DataError>> {
    let mut runs = Vec::new();
    let mut errors = Vec::new();
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match value {
            // Some tools collect the objects in an array.
            Ok(Value::Array(items)) => values.extend(items),
            Ok(value) => values.push(value),
            Err(e) => {
                let line = e.line() as u64;
                errors.push(DataError { line, message: format!("is not JSON: {e}") });
                break;
            }
        }
    }
    let several = values.len() > 1;
    for (index, value) in values.iter().enumerate() {
        let name = if several { format!("{name}#{}", index + 1) } else { name.to_owned() };
        let mut reader = Reader { value, of: several.then_some(index + 1), errors: &mut errors };
        if let Some(run) = reader.run(name) {
            runs.push(run);
        }
    }
    if errors.is_empty() && runs.is_empty() {
        errors.push(whole("the file holds no result"));
    }
    if errors.is_empty() { Ok(runs) } else { Err(errors) }
}

struct Reader<'a> {
    value: &'a Value,
    of: Option<usize>,
    errors: &'a mut Vec<DataError>,
}

impl Reader<'_> {
    fn fault(&mut self, message: &str) {
        let place = self.of.map_or(String::new(), |n| format!("result {n}: "));
        self.errors.push(whole(format!("{place}{message}")));
    }

    /// A number of at least `min`; `None` where it is absent.
    fn number(&mut self, key: &str, min: f64) -> Option<f64> {
        match self.value.get(key) {
            None | Some(Value::Null) => None,
            Some(value) => match value.as_f64() {
                Some(number) if number >= min => Some(number),
                _ => {
                    self.fault(&format!("`{key}` is {value}, not a number of at least {min}"));
                    None
                }
            },
        }
    }

    fn required(&mut self, key: &str, min: f64) -> Option<f64> {
        if self.value.get(key).is_none_or(Value::is_null) {
            self.fault(&format!("has no `{key}`; run `vllm bench serve` with --save-result"));
        }
        self.number(key, min)
    }

    /// An array of numbers, `None` where it is absent.
    fn numbers(&mut self, key: &str) -> Option<Vec<f64>> {
        let items = self.value.get(key)?.as_array()?;
        let numbers: Option<Vec<f64>> = items.iter().map(Value::as_f64).collect();
        if numbers.is_none() {
            self.fault(&format!("`{key}` holds something that is no number"));
        }
        numbers
    }

    fn text(&self, key: &str) -> String {
        self.value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn run(&mut self, name: String) -> Option<BenchRun> {
        if !self.value.is_object() {
            self.fault("is no object");
            return None;
        }
        let before = self.errors.len();
        if REQUIRED.iter().all(|key| self.value.get(key).is_none()) {
            self.fault(&format!(
                "is no result of `vllm bench serve`, which has `{}`",
                REQUIRED.join("`, `")
            ));
            return None;
        }
        let duration = self.required("duration", 1e-6);
        let completed = self.required("completed", 0.0);
        let input = self.required("total_input_tokens", 0.0);
        let output = self.required("total_output_tokens", 0.0);
        let [ttft_mean_ms, ttft_median, tpot_mean, itl_median] =
            FIGURES.map(|key| self.number(key, 0.0));
        self.modelled();
        let load = self.load();
        let (completed, input, output) = (completed?, input?, output?);
        if completed < 1.0 {
            self.fault("no request was answered (`completed` is 0)");
        }
        if completed > JOBS_MAX as f64 {
            self.fault(&format!("`completed` is {completed}, above {JOBS_MAX}"));
        }
        if self.errors.len() > before {
            return None;
        }
        let mut notes = Vec::new();
        let (jobs, starts_s) = self
            .detail(&mut notes)?
            .unwrap_or_else(|| (equal_jobs(completed, input, output, &mut notes), None));
        let positive = |ms: Option<f64>| ms.filter(|ms| *ms > 0.0);
        let (load, duration_s) = (load?, duration?);
        let span_s = arrival_span_s(load, starts_s.as_deref(), jobs.len());
        if span_s.max(duration_s) > SimTime::MAX_HORIZON.as_secs_f64() {
            self.fault(
                "the run takes more than 90 days; are `duration` and `start_times` seconds?",
            );
            return None;
        }
        let load = self.paced(load, starts_s.as_deref(), duration_s, &mut notes)?;
        let lengths = || jobs.iter().map(|job| f64::from(job.prompt_tokens));
        let (shortest, longest) =
            (lengths().fold(f64::MAX, f64::min), lengths().fold(0.0, f64::max));
        Some(BenchRun {
            name,
            date: self.text("date"),
            model_id: self.text("model_id"),
            load,
            starts_s,
            equal_prompts: longest <= shortest * (1.0 + ALIKE),
            duration_s,
            ttft_mean_ms: positive(ttft_mean_ms),
            ttft_median_ms: positive(ttft_median),
            tpot_mean_ms: positive(tpot_mean),
            itl_median_ms: positive(itl_median),
            jobs,
            notes,
        })
    }

    /// Notes what the engine does not model, and a result without a figure.
    fn modelled(&mut self) {
        let Some(fields) = self.value.as_object() else { return };
        let has = |prefix: &str| fields.keys().any(|key| key.starts_with(prefix));
        if has("spec_decode_") || has("diffusion_") {
            self.fault(
                "the server decodes speculatively, several tokens per step, which is not modelled",
            );
        }
        if !FIGURES.iter().any(|key| fields.contains_key(*key)) {
            let names = FIGURES.join("`, `");
            self.fault(&format!(
                "has none of `{names}`; --percentile-metrics ttft,tpot,itl writes them"
            ));
        }
    }

    /// The load by when requests were really sent: with a rising rate, or at the times of a trace, the file says that
    /// the rate is unlimited. `None` after an error.
    fn paced(
        &mut self,
        load: Load,
        starts_s: Option<&[f64]>,
        duration_s: f64,
        notes: &mut Vec<String>,
    ) -> Option<Load> {
        let Load::Users(users) = load else {
            if starts_s.is_none() && self.value.get("max_concurrency").is_some_and(|v| !v.is_null())
            {
                notes.push(
                    "a rate with --max-concurrency: how long clients held requests back is not in the file \
                     (--save-detailed keeps it), and not simulated"
                        .to_owned(),
                );
            }
            return Some(load);
        };
        let rises = self.value.get("ramp_up_strategy").is_some_and(|v| !v.is_null());
        let Some(starts) = starts_s else {
            if rises {
                self.fault("its rate rises (`ramp_up_strategy`), but not when requests were sent; use --save-detailed");
                return None;
            }
            return Some(load);
        };
        let span_s = arrival_span_s(load, starts_s, starts.len());
        if rises || users == u32::MAX && span_s > AT_ONCE * duration_s {
            notes.push(format!(
                "requests were sent over {span_s:.0} s: an open loop, which only checks"
            ));
            return Some(Load::Rate(starts.len() as f64 / span_s.max(1e-9), 1.0));
        }
        Some(load)
    }

    fn load(&mut self) -> Option<Load> {
        let users = self.number("max_concurrency", 1.0);
        let endless = |v: &Value| v.as_str().is_some_and(|s| s.eq_ignore_ascii_case("inf"));
        match self.value.get("request_rate") {
            None | Some(Value::Null) => {}
            Some(value) if endless(value) => {}
            Some(_) => {
                let rate = self.number("request_rate", 1e-9)?;
                let burstiness = self.number("burstiness", 1e-9).unwrap_or(1.0);
                return Some(Load::Rate(rate, burstiness));
            }
        }
        // Without a limit all come at once: as many users as requests.
        Some(Load::Users(users.map_or(u32::MAX, |users| users.min(f64::from(u32::MAX)) as u32)))
    }

    /// Lengths and times of the answered requests. `None` after an error, `Some(None)` if there are none.
    #[allow(clippy::type_complexity, reason = "two parallel lists")]
    fn detail(&mut self, notes: &mut Vec<String>) -> Option<Option<(Vec<Job>, Option<Vec<f64>>)>> {
        if self.value.get("input_lens").is_none() || self.value.get("output_lens").is_none() {
            return Some(None);
        }
        let before = self.errors.len();
        let (inputs, outputs) = (self.numbers("input_lens"), self.numbers("output_lens"));
        let starts = self.numbers("start_times");
        let (inputs, outputs) = (inputs?, outputs?);
        if inputs.len() != outputs.len() || starts.as_ref().is_some_and(|s| s.len() != inputs.len())
        {
            self.fault("`input_lens`, `output_lens` and `start_times` differ in length");
        }
        let length = |x: f64| (0.0..f64::from(1u32 << 24)).contains(&x) && x.fract() == 0.0;
        if !inputs.iter().chain(&outputs).all(|&x| length(x)) {
            self.fault("`input_lens` or `output_lens` holds something that is no length in tokens");
        }
        if self.errors.len() > before {
            return None;
        }
        let mut jobs = Vec::new();
        let mut times = Vec::new();
        for (i, (&input, &output)) in inputs.iter().zip(&outputs).enumerate() {
            if input < 1.0 || output < 1.0 {
                continue;
            }
            jobs.push(Job { prompt_tokens: input as u32, output_tokens: output as u32 });
            times.extend(starts.as_ref().map(|starts| starts[i]));
        }
        let failed = inputs.len() - jobs.len();
        if failed > 0 {
            notes.push(format!("{failed} failed requests are left out"));
        }
        if jobs.is_empty() {
            self.fault("all requests failed");
            return None;
        }
        Some(Some((jobs, starts.is_some().then_some(times))))
    }
}

/// Requests of the mean lengths, where only totals are known.
fn equal_jobs(completed: f64, input: f64, output: f64, notes: &mut Vec<String>) -> Vec<Job> {
    if (input / completed).fract() > 0.0 || (output / completed).fract() > 0.0 {
        notes.push(
            "lengths vary, but only totals are in the file: means are used (--save-detailed keeps them)"
                .to_owned(),
        );
    }
    let mean = |sum: f64| (sum / completed).round().max(1.0) as u32;
    vec![Job { prompt_tokens: mean(input), output_tokens: mean(output) }; completed as usize]
}

/// From the first to the last arrival \[s\]; users send when they are answered, which the duration covers.
fn arrival_span_s(load: Load, starts_s: Option<&[f64]>, jobs: usize) -> f64 {
    match (starts_s, load) {
        (Some(starts), _) => {
            starts.iter().copied().fold(f64::MIN, f64::max)
                - starts.iter().copied().fold(f64::MAX, f64::min)
        }
        (None, Load::Rate(rate, _)) => jobs as f64 / rate,
        (None, Load::Users(_)) => 0.0,
    }
}

/// Figures of a run, measured or simulated.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct BenchFigures {
    /// Answered requests per second.
    pub req_per_s: f64,
    /// Mean time to first token \[ms\].
    pub ttft_mean_ms: Option<f64>,
    /// Mean over requests of the mean gap \[ms\].
    pub tpot_mean_ms: Option<f64>,
}

/// Share of gaps that may hold prefill work if their median is to be a decode step.
// ASSUMPTION(A223): with more, the median is near the edge between the two kinds of step, where chance decides.
const MIXED_MAX: f64 = 0.4;

impl BenchRun {
    /// Whether the load is an open loop: such runs check a fit, and are no part of it.
    pub fn is_open_loop(&self) -> bool {
        matches!(self.load, Load::Rate(..))
    }

    /// What was measured.
    pub fn figures(&self) -> BenchFigures {
        BenchFigures {
            req_per_s: self.jobs.len() as f64 / self.duration_s,
            ttft_mean_ms: self.ttft_mean_ms,
            tpot_mean_ms: self.tpot_mean_ms,
        }
    }

    /// The same, simulated.
    ///
    /// # Errors
    /// The first coefficient that no engine has.
    pub fn simulate(
        &self,
        server: &Candidate,
        theta: &Theta,
    ) -> Result<BenchFigures, StepModelError> {
        let run = replay(&server.at(theta)?, &self.jobs, &self.arrivals(), false);
        let mean_ms = |times: Vec<f64>| {
            (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64 * 1e3)
        };
        let answered = run.answered().count() as f64;
        Ok(BenchFigures {
            req_per_s: answered / run.makespan_s().max(1e-12),
            ttft_mean_ms: mean_ms(run.ttfts_s()),
            tpot_mean_ms: mean_ms(run.tpots_s()),
        })
    }

    fn arrivals(&self) -> Arrivals {
        let (rate, burstiness) = match self.load {
            Load::Users(users) => return Arrivals::Users(users),
            Load::Rate(rate, burstiness) => (rate, burstiness),
        };
        let at = |s: f64| SimTime::ZERO + SimDuration::from_secs_f64(s.max(0.0));
        if let Some(starts) = &self.starts_s {
            let first = starts.iter().copied().fold(f64::MAX, f64::min);
            let mut times: Vec<SimTime> = starts.iter().map(|s| at(s - first)).collect();
            // The order of sending; a client's event loop may be off by a hair.
            times.sort();
            return Arrivals::At(times);
        }
        // ASSUMPTION(A222): where the file has no `start_times`, the run had the tool's own `--seed`, 0.
        let num_prompts = self.jobs.len() as u64;
        let bench =
            VllmBench { request_rate: rate, num_prompts, seed: 0, burstiness, test_run: None };
        let times: Vec<SimTime> = bench.times().collect();
        // The clock starts with the first request.
        let first = times.first().copied().unwrap_or(SimTime::ZERO);
        Arrivals::At(times.into_iter().map(|at| SimTime::ZERO + (at - first)).collect())
    }

    /// Data points for a fit, at `theta`. One user gives its time to first token and its mean gap; more
    /// users give their median gap, if it is a decode step.
    ///
    /// # Errors
    /// The first coefficient that no engine has.
    pub fn points(&self, server: &Candidate, theta: &Theta) -> Result<Vec<Point>, StepModelError> {
        let Load::Users(users) = self.load else { return Ok(Vec::new()) };
        let run = replay(&server.at(theta)?, &self.jobs, &self.arrivals(), true);
        let timeline = Timeline::new(&run.steps, theta);
        let mut points = Vec::new();
        let mut push = |figure: &str, measured: Option<f64>, work: Option<Work>| {
            if let (Some(measured_ms), Some(work)) = (measured, work) {
                let name = format!("{}: {figure}", self.name);
                points.push(Point { name, measured_ms, work, weight: 1.0, described: 0.0 });
            }
        };
        if users == 1 {
            // The first requests of a fresh server are slow: the median does not see them.
            let (figure, measured) = match self.ttft_median_ms {
                Some(median) if self.equal_prompts => ("median TTFT", Some(median)),
                _ => ("mean TTFT", self.ttft_mean_ms),
            };
            push(figure, measured, first_token_work(&run, &timeline, theta));
            push("mean TPOT", self.tpot_mean_ms, gap_work(&run, &timeline, theta));
        } else {
            push("median ITL", self.itl_median_ms, median_gap_work(&run.steps, theta));
        }
        Ok(points)
    }
}

/// Mean work from a request to its first token.
fn first_token_work(run: &Replayed, timeline: &Timeline, theta: &Theta) -> Option<Work> {
    let spans: Vec<_> = run.answered().filter_map(|r| Some((r.arrival, r.first_token?))).collect();
    let mut mean = Work::default();
    for &(from, to) in &spans {
        let mut work = timeline.between(from, to, theta);
        work.by[5] = 1.0;
        work.rest_ms -= theta.ingest_ms;
        mean.add(&work, 1.0 / spans.len() as f64);
    }
    (!spans.is_empty()).then_some(mean)
}

/// Mean over requests of the mean work of a gap.
fn gap_work(run: &Replayed, timeline: &Timeline, theta: &Theta) -> Option<Work> {
    let spans: Vec<_> = run
        .answered()
        .filter(|r| r.output_tokens > 1)
        .filter_map(|r| Some((r.first_token?, r.last_token?, f64::from(r.output_tokens - 1))))
        .collect();
    let mut mean = Work::default();
    for &(from, to, gaps) in &spans {
        mean.add(&timeline.between(from, to, theta), 1.0 / gaps / spans.len() as f64);
    }
    (!spans.is_empty()).then_some(mean)
}

/// Work of the step of the median gap: the mean of the steps from the 45th to the 55th percentile. `None` if too many
/// gaps hold prefill work.
fn median_gap_work(steps: &[StepRecord], theta: &Theta) -> Option<Work> {
    let mut gaps: Vec<&StepRecord> = steps.iter().filter(|s| s.shape.decodes > 0).collect();
    let weight = |s: &StepRecord| f64::from(s.shape.decodes);
    let all: f64 = gaps.iter().map(|s| weight(s)).sum();
    let mixed: f64 =
        gaps.iter().filter(|s| s.shape.tokens > s.shape.decodes).map(|s| weight(s)).sum();
    if all == 0.0 || mixed > MIXED_MAX * all {
        return None;
    }
    gaps.sort_by_key(|s| s.end - s.start);
    let (mut seen, mut taken, mut work) = (0.0, 0.0, Work::default());
    for step in gaps {
        let (from, to) = (seen, seen + weight(step));
        seen = to;
        let inside = to.min(0.55 * all) - from.max(0.45 * all);
        if inside > 0.0 {
            work.add(&Work::of(&Steps::from(&step.shape), theta), inside);
            taken += inside;
        }
    }
    let mut mean = Work::default();
    mean.add(&work, 1.0 / taken);
    Some(mean)
}
