//! `profile fit` on data that the engine made itself: the coefficients behind them are known.

use hpasim::calibrate::bench_json::{self, BenchRun};
use hpasim::calibrate::fit::{Fit, Residual, fit};
use hpasim::calibrate::replay::{Candidate, Job};
use hpasim::calibrate::work::{NAMES, Theta, UNKNOWNS};
use hpasim::engine::{
    Effect, EngineRequest, Prompt, Replica, RequestRecord, SchedulerConfig, StepCoefficients,
};
use hpasim::stats::LatencyHistogram;
use hpasim::units::{RequestId, SimDuration, SimTime};
use serde_json::json;

/// Llama-3.1-8B on an A100 80 GB, as the constants have it.
pub(crate) fn constants() -> Theta {
    let step = StepCoefficients::LLAMA_3_1_8B_ON_A100_80;
    Theta { step, ingest_ms: 12.0 }
}

/// What the measured server really is: every coefficient differs by 10 to 60 %.
pub(crate) fn truth() -> Theta {
    let c = constants();
    let factors = [1.25, 0.8, 1.6, 1.3, 0.7, 1.5];
    let mut x = c.unknowns();
    for (x, factor) in x.iter_mut().zip(factors) {
        *x *= factor;
    }
    c.with(&x)
}

pub(crate) fn server() -> Candidate {
    let scheduler = SchedulerConfig {
        num_gpu_blocks: 28_000,
        max_model_len: 32_768,
        enable_prefix_caching: false,
        ..SchedulerConfig::default()
    };
    Candidate { scheduler }
}

/// A multiplier for the `n`-th measured figure, within `size` of 1.
type Noise = dyn Fn(usize) -> f64;

/// One benchmark against the engine, as the result file of `vllm bench serve`. The client is written anew here, so
/// that the code under test does not check itself.
pub(crate) fn bench(
    theta: &Theta,
    users: u32,
    jobs: &[Job],
    detailed: bool,
    noise: &Noise,
) -> String {
    let mut replica = Replica::new(server().at(theta).unwrap(), SimTime::ZERO);
    let request = |i: usize, arrival| EngineRequest {
        id: RequestId(i as u64),
        arrival,
        prompt_tokens: jobs[i].prompt_tokens,
        output_tokens: jobs[i].output_tokens,
        priority: 0,
        prompt: Prompt::Unique,
    };
    let mut sent = 0;
    while sent < jobs.len().min(users as usize) {
        replica.enqueue(request(sent, SimTime::ZERO));
        sent += 1;
    }
    let mut gaps = LatencyHistogram::new();
    let mut records: Vec<RequestRecord> = Vec::new();
    let mut effects = Vec::new();
    while let Some(at) = replica.next_change() {
        replica.advance_to(at, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Gaps(g) => {
                    gaps.add_progression(g.first, g.increment, g.steps, g.tokens_per_step);
                }
                Effect::Finished(record) => {
                    records.push(record);
                    if sent < jobs.len() {
                        replica.enqueue(request(sent, at));
                        sent += 1;
                    }
                }
            }
        }
    }
    records.sort_by_key(|r| r.id);
    let ms = |d: SimDuration| d.as_secs_f64() * 1e3;
    let mut ttfts: Vec<f64> =
        records.iter().map(|r| ms(r.first_token.unwrap() - r.arrival)).collect();
    let tpots: Vec<f64> = records
        .iter()
        .filter(|r| r.output_tokens > 1)
        .map(|r| {
            ms(r.last_token.unwrap() - r.first_token.unwrap()) / f64::from(r.output_tokens - 1)
        })
        .collect();
    let mean = |v: &[f64]| if v.is_empty() { 0.0 } else { v.iter().sum::<f64>() / v.len() as f64 };
    let end = records.iter().map(|r| r.end).max().unwrap();
    let (mean_ttft, mean_tpot) = (mean(&ttfts), mean(&tpots));
    ttfts.sort_by(f64::total_cmp);
    let itl = gaps.quantile(500).map_or(0.0, ms);
    let mut result = json!({
        "date": "20261124-120000",
        "endpoint_type": "openai",
        "backend": "openai",
        "label": null,
        "model_id": "meta-llama/Llama-3.1-8B-Instruct",
        "tokenizer_id": "meta-llama/Llama-3.1-8B-Instruct",
        "num_prompts": jobs.len(),
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": users,
        "duration": (end - SimTime::ZERO).as_secs_f64(),
        "completed": jobs.len(),
        "failed": 0,
        "total_input_tokens": jobs.iter().map(|j| j.prompt_tokens).sum::<u32>(),
        "total_output_tokens": jobs.iter().map(|j| j.output_tokens).sum::<u32>(),
        "mean_ttft_ms": mean_ttft * noise(0),
        "median_ttft_ms": ttfts[ttfts.len() / 2] * noise(0),
        "mean_tpot_ms": mean_tpot * noise(1),
        "median_itl_ms": itl * noise(2),
    });
    if detailed {
        result["input_lens"] = jobs.iter().map(|j| j.prompt_tokens).collect();
        result["output_lens"] = jobs.iter().map(|j| j.output_tokens).collect();
        result["start_times"] = records.iter().map(|r| 1000.0 + r.arrival.as_secs_f64()).collect();
        result["errors"] = jobs.iter().map(|_| "").collect();
    }
    result.to_string()
}

pub(crate) fn equal(prompt_tokens: u32, output_tokens: u32, count: usize) -> Vec<Job> {
    vec![Job { prompt_tokens, output_tokens }; count]
}

/// The benchmarks of docs/calibration.md: (users, prompt, output, requests).
pub(crate) const COMMANDS: [(u32, u32, u32, usize); 11] = [
    (1, 128, 256, 10),
    (1, 8192, 128, 10),
    (1, 64, 1, 10),
    (1, 512, 1, 10),
    (1, 2048, 1, 10),
    (1, 8192, 1, 10),
    (8, 128, 512, 32),
    (32, 128, 512, 96),
    (64, 128, 512, 192),
    (128, 128, 512, 384),
    (32, 4096, 512, 96),
];

/// All of them, measured on the true server with an error of up to `size` either way.
fn measured(size: f64) -> Vec<BenchRun> {
    let mut runs = Vec::new();
    for (k, (users, prompt, output, count)) in COMMANDS.into_iter().enumerate() {
        let noise = move |n: usize| {
            // Fixed and without pattern: the fractional parts of multiples of the golden ratio.
            let share = ((3 * k + n + 1) as f64 * 0.618_034).fract();
            1.0 + size * (2.0 * share - 1.0)
        };
        let text = bench(&truth(), users, &equal(prompt, output, count), k % 2 == 0, &noise);
        runs.extend(bench_json::read(&format!("bench-{k}.json"), &text).unwrap());
    }
    runs
}

fn fitted(runs: &[BenchRun]) -> Fit {
    fit(&constants(), [true; UNKNOWNS], |theta| {
        let mut points = Vec::new();
        for run in runs {
            points.extend(run.points(&server(), theta)?);
        }
        Ok(points)
    })
    .unwrap()
}

/// Prints and returns the relative error of each coefficient.
fn errors(fit: &Fit) -> Vec<f64> {
    let pairs = fit.theta.unknowns().into_iter().zip(truth().unknowns());
    let errors: Vec<f64> = pairs.map(|(got, want)| got / want - 1.0).collect();
    for (i, error) in errors.iter().enumerate() {
        println!(
            "{}: {:.5} for {:.5} ({:+.2} %), {:?}",
            NAMES[i],
            fit.theta.unknowns()[i],
            truth().unknowns()[i],
            error * 100.0,
            fit.outcomes[i]
        );
    }
    errors
}

#[test]
fn known_coefficients_come_back() {
    let fit = fitted(&measured(0.0));
    let errors = errors(&fit);
    for (i, error) in errors.into_iter().enumerate() {
        assert!(fit.outcomes[i].is_fitted(), "{}", NAMES[i]);
        assert!(error.abs() < 0.01, "{}: {error}", NAMES[i]);
    }
    let (_, worst) = Fit::spread(fit.residuals.iter().map(Residual::error)).unwrap();
    assert!(worst < 0.002, "{worst}");
}

#[test]
fn an_error_of_one_percent_stays_one() {
    let fit = fitted(&measured(0.01));
    let errors = errors(&fit);
    // The large terms to a few per cent, the small ones as well as their share of a step allows.
    let allowed = [0.02, 0.04, 0.35, 0.15, 0.15, 0.15];
    for (i, error) in errors.into_iter().enumerate() {
        if fit.outcomes[i].is_fitted() {
            assert!(error.abs() < allowed[i], "{}: {error}", NAMES[i]);
        }
    }
    let (median, _) =
        Fit::spread(fit.residuals.iter().filter_map(Residual::left_out_error)).unwrap();
    assert!(median < 0.02, "{median}");
}

fn result(change: impl Fn(&mut serde_json::Value)) -> Result<BenchRun, String> {
    let text = bench(&truth(), 1, &equal(512, 16, 10), true, &|_| 1.0);
    let mut value = serde_json::from_str(&text).unwrap();
    change(&mut value);
    match bench_json::read("b.json", &value.to_string()) {
        Ok(mut runs) => Ok(runs.remove(0)),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
}

/// vllm 0.33.0, benchmarks/serve.py: with `--ramp-up-strategy`, or the times of a trace, `request_rate` is "inf".
#[test]
fn requests_sent_over_time_are_no_users() {
    let unlimited = |v: &mut serde_json::Value| v["max_concurrency"] = json!(null);
    let paced = result(unlimited).unwrap();
    assert!(paced.is_open_loop() && paced.notes.len() == 1, "{paced:?}");
    assert_eq!(paced.points(&server(), &truth()).unwrap(), []);
    let at_once = result(|v| {
        unlimited(v);
        v["start_times"] = (0..10).map(|i| 1000.0 + 0.001 * f64::from(i)).collect();
    });
    assert!(!at_once.unwrap().is_open_loop());
    let ramp = |v: &mut serde_json::Value| v["ramp_up_strategy"] = json!("linear");
    assert!(result(ramp).unwrap().is_open_loop());
    let unknown = result(|v| {
        ramp(v);
        v.as_object_mut().unwrap().remove("start_times");
    });
    assert!(unknown.unwrap_err().contains("--save-detailed"));
}

#[test]
fn results_that_cannot_be_used_say_why() {
    let drafts = result(|v| v["spec_decode_acceptance_length"] = json!(2.4));
    assert!(drafts.unwrap_err().contains("speculatively"));
    let without = |keys: &'static [&str]| {
        result(move |v| keys.iter().for_each(|key| drop(v.as_object_mut().unwrap().remove(*key))))
    };
    let figures = ["mean_ttft_ms", "median_ttft_ms", "mean_tpot_ms", "median_itl_ms"];
    let none =
        without(const { &["mean_ttft_ms", "median_ttft_ms", "mean_tpot_ms", "median_itl_ms"] });
    let error = none.unwrap_err();
    assert!(error.contains("--percentile-metrics ttft,tpot,itl"), "{error}");
    assert!(figures.iter().all(|figure| error.contains(figure)), "{error}");
    // Some of them are enough.
    assert_eq!(without(&["mean_ttft_ms", "median_ttft_ms"]).unwrap().ttft_mean_ms, None);
    let other = bench_json::read("b.json", "{\"benchmarks\": [], \"metadata\": {}}").unwrap_err();
    assert!(other.len() == 1 && other[0].message.contains("is no result of"), "{other:?}");
}

/// Random text of one length tokenises to one token more or less now and then, and some answers end early: the median
/// still stands for all, and the first request of a fresh server does not.
#[test]
fn a_token_more_is_no_other_length() {
    let points = |lengths: [u32; 10]| {
        let run = result(|v| v["input_lens"] = lengths.iter().copied().collect()).unwrap();
        run.points(&server(), &truth()).unwrap()[0].name.clone()
    };
    assert_eq!(points([512, 511, 512, 513, 512, 512, 512, 510, 512, 512]), "b.json: median TTFT");
    assert_eq!(points([512, 511, 512, 513, 512, 512, 512, 510, 512, 700]), "b.json: mean TTFT");
}
