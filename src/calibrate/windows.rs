//! Recorded Prometheus series of a serving vLLM, without any benchmark.
//!
//! Over windows without waiting requests, every engine step yields one token per running sequence, so the mean
//! step takes `mean(num_requests_running) / rate(generation_tokens_total)`. What was in it follows from the same
//! series: the running sequences, the context in the cache (`kv_cache_usage_perc` times its size) and the share of
//! the prompt tokens that arrived meanwhile.
//!
//! A gauge is a sample every 15 s or so. Where sum and count of the inter-token latency were recorded too, the mean
//! step is their ratio and the number running follows from it, both without chance.

use super::fit::Point;
use super::work::{Steps, Theta, Work};
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
    /// Mean duration of a step \[ms\]; with `first_tokens`, mean time per output token.
    pub step_ms: f64,
    /// Share of the output tokens that are first tokens, if the time that they took is part of `step_ms`.
    pub first_tokens: f64,
    /// Prompt tokens per second.
    pub prompt_rate: f64,
    /// Requests per second, if a counter of them was recorded.
    pub request_rate: Option<f64>,
    /// Mean share of the KV cache in use.
    pub kv_usage: f64,
}

/// What a set of series gave.
#[derive(Clone, PartialEq, Debug)]
pub struct Windows {
    /// Windows that can be used.
    pub usable: Vec<Window>,
    /// Windows that cannot, by reason.
    pub left_out: BTreeMap<&'static str, usize>,
}

impl Windows {
    /// Which coefficients come out wrong for want of a series, in words.
    // Source: fits of series scraped from the engine, tests/it/calibrate_windows.rs.
    pub fn biases(&self) -> Vec<&'static str> {
        let any = |lacks: fn(&Window) -> bool| self.usable.iter().any(lacks);
        let gaps = any(|window| window.samples.is_some()).then_some(
            "without `vllm:inter_token_latency_seconds_sum` and `_count` the running requests are samples of a \
             gauge: `c_ms_per_token` tends to come out some 10 % too large, more where `c_kv_us` is not told \
             apart from it",
        );
        let requests = any(|window| window.request_rate.is_none()).then_some(
            "without `vllm:request_success_total` requests in prefill count as decoding and their length is not \
             known: `c_ms_per_token` tends to come out 10 to 15 % too large",
        );
        gaps.into_iter().chain(requests).collect()
    }
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
        let within = |series: &Recorded| -> Vec<f64> {
            let inside = |s: &&(f64, f64)| s.0 >= from && s.0 <= from + WINDOW_S;
            series.samples.iter().filter(inside).map(|s| s.1).collect()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let (running, waiting, kv) = (within(self.running), within(self.waiting), within(self.kv));
        if [&running, &waiting, &kv].iter().any(|v| v.len() < SAMPLES) {
            return Err("fewer than 4 samples");
        }
        if waiting.iter().any(|w| *w > 0.0) {
            return Err("requests waited");
        }
        if running.iter().any(|r| *r < 1.0) {
            return Err("the engine was idle at times");
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
        let samples = gaps.is_none().then_some(running.len());
        let (running, step_ms) = match gaps {
            // Every token of the window is one running sequence in one step.
            Some((sum, count)) => (generation_rate * sum / count, sum / count * 1e3),
            None => (mean(&running), mean(&running) / generation_rate * 1e3),
        };
        let request_rate = rate(&self.requests).ok().filter(|r| *r > 0.0);
        // The gauge counts requests whose prompt is still being computed.
        let first_tokens = match (gaps, request_rate) {
            (None, Some(requests)) => (requests / generation_rate).min(1.0),
            _ => 0.0,
        };
        let name = if pod.is_empty() { String::new() } else { format!("{pod} ") };
        let start = from - self.running.samples[0].0;
        Ok(Window {
            name: format!("{name}{start:.0} s"),
            running,
            samples,
            step_ms,
            first_tokens,
            prompt_rate: rate(&self.prompt)?,
            request_rate,
            kv_usage: mean(&kv),
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
    /// Weight of the window where its mean step should take `expected_ms`. It goes by the number of requests that
    /// such steps would make of the tokens, not by the one that was sampled: windows that were sampled too high
    /// would else weigh more, and all steps seem longer.
    fn weight(&self, expected_ms: f64) -> f64 {
        let Some(samples) = self.samples else { return 1.0 };
        let expected = self.running * expected_ms / self.step_ms * samples as f64;
        (EXACT * expected.sqrt()).min(1.0)
    }

    /// What the mean step was made of, at `theta`.
    fn work(&self, kv_tokens: f64, max_num_batched_tokens: f64, theta: &Theta) -> Work {
        let step_s = self.step_ms / 1e3;
        let decode = Steps {
            count: 1.0,
            tokens: self.running,
            decodes: self.running,
            kv_tokens: self.kv_usage * kv_tokens,
            pairs: 0.0,
        };
        let prompt_tokens = self.prompt_rate * step_s;
        let Some(requests) = self.request_rate else {
            // ASSUMPTION(A224): without a count of requests their length is not known: prefill work is taken to
            // add to a step in full, and its attention to be part of it.
            let mut work = Work::of(&decode, theta);
            work.by[1] += prompt_tokens;
            return work;
        };
        // The share of steps that carry prefill work, and how much each of them carries.
        let length = self.prompt_rate / requests;
        let chunks = (length / max_num_batched_tokens).ceil().max(1.0);
        let share = (requests * chunks * step_s).min(1.0);
        if share <= 0.0 {
            return Work::of(&decode, theta);
        }
        let tokens = prompt_tokens / share;
        let pairs = tokens * length / 2.0;
        let mixed = Steps { tokens: self.running + tokens, pairs, ..decode };
        let mixed = Work::of(&mixed, theta);
        let later = 1.0 - self.first_tokens;
        let mut work = Work::default();
        work.add(&Work::of(&decode, theta), later * (1.0 - share));
        work.add(&mixed, later * share + self.first_tokens * chunks);
        work
    }
}

/// Data points for a fit, at `theta`.
pub fn points(
    name: &str,
    windows: &[Window],
    kv_tokens: u64,
    max_num_batched_tokens: u32,
    theta: &Theta,
) -> Vec<Point> {
    windows
        .iter()
        .map(|window| {
            let work = window.work(kv_tokens as f64, f64::from(max_num_batched_tokens), theta);
            let weight = window.weight(work.at(&theta.unknowns()));
            Point {
                name: format!("{name}: {}", window.name),
                measured_ms: window.step_ms,
                work,
                weight,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(found.biases().len(), 2);
        // Nine samples of eight requests are good to 12 %, the window to 3 %. Had they been sampled twice too
        // high, steps of twice the time would follow, and no other weight.
        let window = &found.usable[0];
        assert_eq!(window.samples, Some(9));
        assert!((window.weight(20.0) - 0.03 * 72.0_f64.sqrt()).abs() < 1e-12);
        let twice = Window { running: 16.0, step_ms: 40.0, ..window.clone() };
        assert!((twice.weight(20.0) - window.weight(20.0)).abs() < 1e-12);
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
