//! Recorded Prometheus series of a serving vLLM, without any benchmark.
//!
//! Over windows without waiting requests every step yields one token per running sequence, so the mean step, as tokens
//! meet it, takes `mean(num_requests_running) / rate(generation_tokens_total)`. What was in it follows from the same
//! series: the running sequences, their context (`kv_cache_usage_perc` times the size of the cache) and the prompt
//! tokens that arrived meanwhile.
//!
//! Tokens meet more than the mean: a batch of n sequences makes n tokens, so it counts n times, and a gap that holds
//! prefill work is felt by all that decode.
//!
//! A gauge is a sample every 15 s or so. Where sum and count of the inter-token latency were recorded too, the mean
//! step is their ratio and the number running follows from it, both without chance. With the gauge alone the measured
//! step has the chance of the samples; nothing else that a point is made of may have it, or steps that were sampled
//! too long would also seem to hold more prefill work (`c_ms_per_token` came out 8 % too large, 20 % without a
//! count of requests). So the work is that of the step that the coefficients predict from the counters, which have no
//! chance: at g tokens per second, steps of time s make g s sequences running.

use super::fit::Point;
use super::work::{Steps, Theta, Work};
use crate::engine::{SchedulerConfig, usable_tokens};
use std::collections::BTreeMap;

/// One recorded series.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    /// Metric name, as recorded.
    pub name: String,
    /// The `pod` label, if there is one.
    pub pod: Option<String>,
    /// Time \[s\] and value, in time order.
    pub samples: Vec<(f64, f64)>,
}

/// One window of one pod.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// For people: pod and start.
    pub name: String,
    /// Mean number of running requests.
    pub running: f64,
    /// How many samples of a gauge that is the mean of, if it is.
    pub samples: Option<usize>,
    /// Mean duration of a step \[ms\]; of a gauge, with the time that first tokens took.
    pub step_ms: f64,
    /// Sequences that a token meets, itself among them, per running one: mean square over square of mean.
    pub met: f64,
    /// Share of the KV cache that a token meets in use, per running request.
    pub kv_met: f64,
    /// Output tokens per second.
    pub generation_rate: f64,
    /// Prompt tokens per second.
    pub prompt_rate: f64,
    /// Requests per second, if a counter of them was recorded.
    pub request_rate: Option<f64>,
}

/// What a set of series gave.
#[derive(Clone, PartialEq, Debug)]
pub struct Windows {
    /// Windows that can be used.
    pub usable: Vec<Window>,
    /// Windows that cannot, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
}

const RUNNING: &[&str] = &["num_requests_running"];
const WAITING: &[&str] = &["num_requests_waiting"];
const GENERATION: &[&str] = &["generation_tokens_total", "generation_tokens"];
const PROMPT: &[&str] = &["prompt_tokens_total", "prompt_tokens"];
const KV: &[&str] = &["kv_cache_usage_perc", "gpu_cache_usage_perc"];
const REQUESTS: &[&str] =
    &["request_success_total", "request_prompt_tokens_count", "e2e_request_latency_seconds_count"];

/// Sum and count of the gaps between tokens, newest name first.
const GAP_SUM: &[&str] = &["inter_token_latency_seconds_sum", "time_per_output_token_seconds_sum"];
const GAP_COUNT: &[&str] =
    &["inter_token_latency_seconds_count", "time_per_output_token_seconds_count"];

/// What a window is good to if its mean step is not chance.
// ASSUMPTION(A225): 3 %, as windows with the inter-token latency scatter. The mean of n samples of a gauge has the
// error of n independent Poisson numbers besides, by which its window weighs less.
const EXACT: f64 = 0.03;

/// How far the description of a window's mean step may be off, the same way for all windows of one kind.
// ASSUMPTION(A343): 0.5 %, as its mean differs from the engine's own steps under Poisson loads of one kind.
const DESCRIBED: f64 = 0.005;

/// Length of a window \[s\].
// Source: one to five minutes: long against a request's gaps, short against the change of a load.
pub const WINDOW_S: f64 = 120.0;
/// Samples that a window needs at least.
const SAMPLES: usize = 4;

/// Cuts series into windows.
///
/// # Errors
/// What is missing, for all pods at once.
pub fn windows(series: &[Recorded]) -> Result<Windows, Vec<String>> {
    let mut pods: BTreeMap<&str, Vec<&Recorded>> = BTreeMap::new();
    for one in series {
        pods.entry(one.pod.as_deref().unwrap_or_default()).or_default().push(one);
    }
    let mut found = Windows { usable: Vec::new(), left_out: BTreeMap::new() };
    let mut errors = Vec::new();
    for (pod, series) in pods {
        match Pod::new(&series) {
            Ok(parts) => parts.cut(pod, &mut found),
            Err(missing) => errors.extend(
                missing
                    .into_iter()
                    .map(|what| if pod.is_empty() { what } else { format!("pod `{pod}`: {what}") }),
            ),
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}

/// The series of one pod.
struct Pod<'a> {
    running: &'a Recorded,
    waiting: &'a Recorded,
    kv: &'a Recorded,
    generation: Vec<&'a Recorded>,
    prompt: Vec<&'a Recorded>,
    requests: Vec<&'a Recorded>,
    gap_sum: Vec<&'a Recorded>,
    gap_count: Vec<&'a Recorded>,
}

impl<'a> Pod<'a> {
    fn new(series: &[&'a Recorded]) -> Result<Self, Vec<String>> {
        let mut errors = Vec::new();
        let all = |names: &[&str]| -> Vec<&'a Recorded> {
            names
                .iter()
                .map(|name| {
                    let is = |s: &&&Recorded| s.name.rsplit(':').next() == Some(*name);
                    series.iter().filter(is).copied().collect::<Vec<_>>()
                })
                .find(|found| !found.is_empty())
                .unwrap_or_default()
        };
        let mut gauge = |names: &[&str]| match all(names).as_slice() {
            [one] => Some(*one),
            [] => {
                errors.push(format!("there is no `vllm:{}`", names[0]));
                None
            }
            _ => {
                errors.push(format!(
                    "several series of `vllm:{}` and no `pod` label to tell them apart; query one server",
                    names[0]
                ));
                None
            }
        };
        let (running, waiting, kv) = (gauge(RUNNING), gauge(WAITING), gauge(KV));
        let (generation, prompt) = (all(GENERATION), all(PROMPT));
        for (found, names) in [(&generation, GENERATION), (&prompt, PROMPT)] {
            if found.is_empty() {
                errors.push(format!(
                    "there is no `vllm:{}` (the counter itself: `rate()` takes the name away)",
                    names[0]
                ));
            }
        }
        match (running, waiting, kv) {
            (Some(running), Some(waiting), Some(kv)) if errors.is_empty() => {
                let [requests, gap_sum, gap_count] = [REQUESTS, GAP_SUM, GAP_COUNT].map(all);
                let parts =
                    Self { running, waiting, kv, generation, prompt, requests, gap_sum, gap_count };
                Ok(parts)
            }
            _ => Err(errors),
        }
    }

    fn cut(&self, pod: &str, found: &mut Windows) {
        let (Some(first), Some(last)) = (self.running.samples.first(), self.running.samples.last())
        else {
            return;
        };
        let count = ((last.0 - first.0) / WINDOW_S).floor() as usize;
        for k in 0..count {
            let from = first.0 + WINDOW_S * k as f64;
            match self.window(pod, from) {
                Ok(window) => found.usable.push(window),
                Err(reason) => *found.left_out.entry(reason).or_default() += 1,
            }
        }
    }

    fn window(&self, pod: &str, from: f64) -> Result<Window, &'static str> {
        let inside = |s: &&(f64, f64)| s.0 >= from && s.0 <= from + WINDOW_S;
        let within = |series: &'a Recorded| series.samples.iter().filter(inside);
        if [self.running, self.waiting, self.kv].iter().any(|s| within(s).count() < SAMPLES) {
            return Err("fewer than 4 samples");
        }
        if within(self.waiting).any(|w| w.1 > 0.0) {
            return Err("requests waited");
        }
        // Both gauges of one scrape.
        let scrape = |&(t, running): &(f64, f64)| {
            let near = |s: &&(f64, f64)| (s.0 - t).abs() < 1e-3;
            within(self.kv).find(near).map(|s| (running, s.1))
        };
        let scrapes: Vec<(f64, f64)> = within(self.running).filter_map(scrape).collect();
        if scrapes.len() < SAMPLES {
            return Err("the gauges were not sampled together");
        }
        let mean =
            |of: fn(&(f64, f64)) -> f64| scrapes.iter().map(of).sum::<f64>() / scrapes.len() as f64;
        let gauge = mean(|s| s.0);
        if gauge < 1.0 {
            return Err("less than one request ran");
        }
        let rate = |counters: &[&Recorded]| -> Result<f64, &'static str> {
            counters.iter().map(|counter| rate(counter, from)).sum()
        };
        let generation_rate = rate(&self.generation)?;
        if generation_rate <= 0.0 {
            return Err("no token was generated");
        }
        let gaps = rate(&self.gap_count)
            .and_then(|count| Ok((rate(&self.gap_sum)?, count)))
            .ok()
            .filter(|&(sum, count)| sum > 0.0 && count > 0.0);
        let (running, step_ms) = match gaps {
            // Every token of the window is one running sequence in one step.
            Some((sum, count)) => (generation_rate * sum / count, sum / count * 1e3),
            None => (gauge, gauge / generation_rate * 1e3),
        };
        let name = if pod.is_empty() { String::new() } else { format!("{pod} ") };
        let start = from - self.running.samples[0].0;
        Ok(Window {
            name: format!("{name}{start:.0} s"),
            running,
            samples: gaps.is_none().then_some(scrapes.len()),
            step_ms,
            met: mean(|s| s.0 * s.0) / (gauge * gauge),
            kv_met: mean(|s| s.0 * s.1) / (gauge * gauge),
            generation_rate,
            prompt_rate: rate(&self.prompt)?,
            request_rate: rate(&self.requests).ok().filter(|r| *r > 0.0),
        })
    }
}

/// Rate of a counter between its first and last sample of the window.
fn rate(counter: &Recorded, from: f64) -> Result<f64, &'static str> {
    let inside = |s: &&(f64, f64)| s.0 >= from && s.0 <= from + WINDOW_S;
    let samples: Vec<&(f64, f64)> = counter.samples.iter().filter(inside).collect();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return Err("fewer than 4 samples");
    };
    if samples.windows(2).any(|pair| pair[1].1 < pair[0].1) {
        return Err("a counter was reset");
    }
    if last.0 <= first.0 {
        return Err("fewer than 4 samples");
    }
    Ok((last.1 - first.1) / (last.0 - first.0))
}

impl Window {
    /// Weight of the window where its mean step should take `expected_ms`. It goes by what was expected, not by what
    /// was sampled: windows that were sampled too high or too low would else weigh more.
    fn weight(&self, expected_ms: f64) -> f64 {
        let Some(samples) = self.samples else { return 1.0 };
        let expected = self.generation_rate * expected_ms / 1e3 * samples as f64;
        (EXACT * expected.sqrt()).min(1.0) * self.step_ms / expected_ms
    }

    /// What a mean step of `step_ms` is made of, at `theta`.
    fn work(&self, step_ms: f64, server: &SchedulerConfig, theta: &Theta) -> Work {
        let step_s = step_ms / 1e3;
        let running =
            if self.samples.is_some() { self.generation_rate * step_s } else { self.running };
        let kv_tokens = usable_tokens(server.num_gpu_blocks, server.block_size) as f64;
        // The last block of a sequence is half full on average.
        let empty = f64::from(server.block_size - 1) / 2.0;
        let sequences = running * self.met;
        let decode = Steps {
            count: 1.0,
            tokens: sequences,
            decodes: sequences,
            kv_tokens: (running * self.kv_met * kv_tokens - empty * sequences).max(0.0),
            pairs: 0.0,
        };
        // ASSUMPTION(A224): without a count of requests there are as many as make the mean context out of prompts
        // and half an output each.
        let context = (self.kv_met / self.met * kv_tokens - empty).max(1.0);
        let guess = (self.prompt_rate + self.generation_rate / 2.0) / context;
        let requests = self.request_rate.unwrap_or(guess).min(self.generation_rate);
        let length = self.prompt_rate / requests;
        let chunks = (length / f64::from(server.max_num_batched_tokens)).ceil();
        if chunks < 1.0 {
            return Work::of(&decode, theta);
        }
        let tokens = length / chunks;
        let mixed = Steps { tokens: sequences + tokens, pairs: tokens * length / 2.0, ..decode };
        let mixed = Work::of(&mixed, theta);
        // Arrivals see the mean number running, but who is in prefill before them decodes when it is their turn;
        // meanwhile others finish. `prefilling` less `leaving` is the balance over the chunks of one prompt.
        let prefilling = requests * mixed.at(&theta.unknowns()) / 1e3 * (chunks + 1.0) / 2.0;
        let leaving = requests * step_s;
        let met = 1.0 + (prefilling - leaving) / running;
        // The share of tokens whose step holds prefill work.
        let share = (requests * chunks * step_s * met).min(1.0);
        // The gauge counts requests in prefill, under asynchronous scheduling from the first chunk on. The gaps between
        // tokens do not.
        let (first, counted) = match self.samples {
            None => (0.0, 0.0),
            Some(_) if server.async_scheduling => (requests / self.generation_rate, chunks),
            Some(_) => (requests / self.generation_rate, chunks - 1.0),
        };
        let mut work = Work::default();
        work.add(&Work::of(&decode, theta), (1.0 - first) * (1.0 - share));
        work.add(&mixed, (1.0 - first) * share + first * counted);
        work
    }

    /// The step that `theta` predicts, and its work; of a gauge, from the counters alone.
    fn predicted(&self, server: &SchedulerConfig, theta: &Theta) -> Work {
        if self.samples.is_none() {
            return self.work(self.step_ms, server, theta);
        }
        let x = theta.unknowns();
        let time = |step_ms: f64| self.work(step_ms, server, theta).at(&x);
        // A longer step holds more sequences and prompts, so its time grows with it, by less than itself on a server
        // that keeps up. Coefficients of early rounds may say otherwise: within a factor of four.
        let (mut low, mut high) = (self.step_ms / 4.0, self.step_ms * 4.0);
        while high - low > 1e-9 * high {
            let middle = f64::midpoint(low, high);
            if time(middle) > middle { low = middle } else { high = middle }
        }
        let step_ms = f64::midpoint(low, high);
        let slope = (time(step_ms * 1.001) - time(step_ms)) / (step_ms * 0.001);
        let mut work = self.work(step_ms, server, theta);
        // What a coefficient adds lengthens the step, which adds again.
        for by in &mut work.by {
            *by /= 1.0 - slope.clamp(0.0, 0.9);
        }
        work.rest_ms = 0.0;
        work.rest_ms = step_ms - work.at(&x);
        work
    }
}

/// Data points for a fit, of windows of `server`, at `theta`.
pub fn points(
    name: &str,
    windows: &[Window],
    server: &SchedulerConfig,
    theta: &Theta,
) -> Vec<Point> {
    windows
        .iter()
        .map(|window| {
            let work = window.predicted(server, theta);
            Point {
                name: format!("{name}: {}", window.name),
                measured_ms: window.step_ms,
                work,
                weight: window.weight(work.at(&theta.unknowns())),
                described: DESCRIBED,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::StepCoefficients;

    fn series(name: &str, value: impl Fn(f64) -> f64) -> Recorded {
        let samples = (0..25).map(|i| f64::from(i) * 15.0).map(|t| (t, value(t))).collect();
        Recorded { name: format!("vllm:{name}"), pod: None, samples }
    }

    fn steady() -> Vec<Recorded> {
        vec![
            series("num_requests_running", |_| 8.0),
            series("num_requests_waiting", |t| f64::from(u8::from(t > 250.0))),
            series("gpu_cache_usage_perc", |_| 0.25),
            series("generation_tokens_total", |t| 400.0 * t),
            series("prompt_tokens_total", |t| 1000.0 * t),
        ]
    }

    #[test]
    fn a_step_is_running_over_rate() {
        let found = windows(&steady()).unwrap();
        assert_eq!(found.usable.len(), 2);
        assert_eq!(found.left_out.get("requests waited"), Some(&1));
        assert!((found.usable[0].step_ms - 20.0).abs() < 1e-9);
        assert_eq!(found.usable[0].request_rate, None);
        // Nine samples of eight requests are good to 12 %, the window to 3 %. Had they been sampled twice too
        // high, steps of twice the time would follow, and the relative error counts for as much more.
        let window = &found.usable[0];
        assert_eq!(window.samples, Some(9));
        assert!((window.met - 1.0).abs() < 1e-12 && (window.kv_met - 0.25 / 8.0).abs() < 1e-12);
        assert!((window.weight(20.0) - 0.03 * 72.0_f64.sqrt()).abs() < 1e-12);
        let twice = Window { running: 16.0, step_ms: 40.0, ..window.clone() };
        assert!((twice.weight(20.0) - 2.0 * window.weight(20.0)).abs() < 1e-12);
    }

    #[test]
    fn a_gauge_is_predicted_from_the_counters() {
        let server = SchedulerConfig::default();
        let step = StepCoefficients::LLAMA_3_1_8B_ON_A100_80;
        let theta = Theta { step, ingest_ms: 0.0 };
        let window = &windows(&steady()).unwrap().usable[0];
        let x = theta.unknowns();
        let work = window.predicted(&server, &theta);
        // The prediction stands: a step of this time is made of what takes this time.
        let step_ms = work.at(&x);
        assert!((window.work(step_ms, &server, &theta).at(&x) / step_ms - 1.0).abs() < 1e-6);
        // The chance of the samples is in what was measured, and in nothing else.
        let chance = Window { running: 10.0, step_ms: 25.0, ..window.clone() };
        assert!((chance.predicted(&server, &theta).at(&x) / step_ms - 1.0).abs() < 1e-6);
        // The work is the derivative of the prediction.
        for i in 0..4 {
            let mut more = x;
            more[i] *= 1.0001;
            let moved = window.predicted(&server, &theta.with(&more)).at(&more) - step_ms;
            let told = work.by[i] * x[i] * 0.0001;
            assert!((moved - told).abs() < 0.05 * moved.abs() + 1e-9, "{i}: {moved} {told}");
        }
    }

    #[test]
    fn crowds_count_by_those_in_them() {
        let mut some = steady();
        some[0] = series("num_requests_running", |t| if t % 30.0 == 0.0 { 4.0 } else { 12.0 });
        let window = &windows(&some).unwrap().usable[0];
        let (fours, twelves) = (5.0, 4.0);
        let mean = (fours * 4.0 + twelves * 12.0) / 9.0;
        let square = (fours * 16.0 + twelves * 144.0) / 9.0;
        assert!((window.running - mean).abs() < 1e-12);
        assert!((window.met - square / (mean * mean)).abs() < 1e-12);
    }

    #[test]
    fn what_is_missing_is_named_at_once() {
        let mut some = steady();
        some.retain(|s| !s.name.contains("waiting") && !s.name.contains("generation"));
        some.push(series("num_requests_running", |_| 1.0));
        let errors = windows(&some).unwrap_err();
        for part in
            ["`vllm:num_requests_waiting`", "`vllm:generation_tokens_total`", "several series"]
        {
            assert!(errors.iter().any(|e| e.contains(part)), "{part}: {errors:?}");
        }
    }

    #[test]
    fn a_reset_leaves_the_window_out() {
        let mut some = steady();
        some[3] = series("generation_tokens_total", |t| if t < 60.0 { t } else { t - 60.0 });
        let found = windows(&some).unwrap();
        assert_eq!(found.left_out.get("a counter was reset"), Some(&1));
    }
}
