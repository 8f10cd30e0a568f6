//! The windows method on metrics scraped from the simulated engine: what a Prometheus would have recorded.

use crate::calibrate_fit::{constants, server, truth};
use hpasim::calibrate::fit::{Outcome, fit};
use hpasim::calibrate::windows::{Recorded, points, windows};
use hpasim::calibrate::work::{NAMES, Theta};
use hpasim::engine::{EngineRequest, Prompt, Replica, SchedulerConfig};
use hpasim::rng::{Seed, Stream};
use hpasim::units::{RequestId, SimDuration, SimTime};
use rand_distr::{Distribution as _, Exp};

/// Scrape interval \[s\].
const SCRAPE_S: u64 = 15;

/// Ten stretches of Poisson load between 0.5 and 6 requests/s with several lengths, scraped every 15 s; of the
/// series the first `count`, of a server with these coefficients.
fn record(count: usize, seed: u64, truth: &Theta) -> Vec<Recorded> {
    record_of(count, seed, truth, true)
}

/// The same of a server with or without asynchronous scheduling.
fn record_of(count: usize, seed: u64, truth: &Theta, async_scheduling: bool) -> Vec<Recorded> {
    let mut server = server();
    server.scheduler.async_scheduling = async_scheduling;
    let mut replica = Replica::new(server.at(truth).unwrap(), SimTime::ZERO);
    replica.record_metrics();
    let mut random = Seed(seed).stream(Stream::Arrivals, 0);
    let loads = [
        (0.5, 128, 600),
        (1.0, 128, 600),
        (2.0, 128, 500),
        (4.0, 128, 500),
        (6.0, 128, 400),
        (1.0, 2000, 200),
        (2.0, 2000, 200),
        (3.0, 1500, 300),
        (1.0, 6000, 400),
        (2.0, 6000, 100),
    ];
    let stretch_s = 480.0;
    let mut requests = Vec::new();
    for (k, (rate, prompt_tokens, output_tokens)) in loads.into_iter().enumerate() {
        let mut at = stretch_s * k as f64;
        let end = at + stretch_s;
        let gap = Exp::new(rate).unwrap();
        loop {
            at += gap.sample(&mut random);
            if at >= end {
                break;
            }
            requests.push(EngineRequest {
                id: RequestId(requests.len() as u64),
                arrival: SimTime::ZERO + SimDuration::from_secs_f64(at),
                prompt_tokens,
                output_tokens,
                priority: 0,
                prompt: Prompt::Unique,
            });
        }
    }
    let names = [
        "num_requests_running",
        "num_requests_waiting",
        "kv_cache_usage_perc",
        "generation_tokens_total",
        "prompt_tokens_total",
        "request_success_total",
        "inter_token_latency_seconds_sum",
        "inter_token_latency_seconds_count",
    ];
    let mut samples: Vec<Vec<(f64, f64)>> = vec![Vec::new(); names.len()];
    let mut effects = Vec::new();
    let mut next = requests.into_iter().peekable();
    let scrapes = (stretch_s as u64 * loads.len() as u64) / SCRAPE_S;
    for scrape in 1..=scrapes {
        let now = SimTime::from_secs(scrape * SCRAPE_S);
        while let Some(request) = next.next_if(|r| r.arrival <= now) {
            replica.enqueue(request);
        }
        replica.advance_to(now, &mut effects);
        effects.clear();
        let gauges = replica.gauges();
        let metrics = replica.metrics().unwrap();
        let values = [
            f64::from(gauges.num_requests_running),
            f64::from(gauges.num_requests_waiting),
            gauges.kv_cache_usage_perc(),
            metrics.generation_tokens as f64,
            metrics.prompt_tokens as f64,
            metrics.finished_length as f64,
            metrics.inter_token_latency.sum() as f64 / 1e12,
            metrics.inter_token_latency.count() as f64,
        ];
        for (series, value) in samples.iter_mut().zip(values) {
            series.push((now.as_secs_f64(), value));
        }
    }
    names
        .iter()
        .zip(samples)
        .take(count)
        .map(|(name, samples)| Recorded { name: format!("vllm:{name}"), pod: None, samples })
        .collect()
}

/// What a fit says of the first two coefficients: (error, stated error), in the order of [`NAMES`].
fn fitted(series: &[Recorded], truth: &Theta) -> [(f64, f64); 2] {
    let found = windows(series).unwrap();
    let server = server().scheduler;
    let asked = [true, true, true, true, false, false];
    let fit = fit(&constants(), asked, |theta| Ok(points("prom", &found.usable, &server, theta)))
        .unwrap();
    [0, 1].map(|i| {
        let Outcome::Fitted { error } = &fit.outcomes[i] else { panic!("{:?}", fit.outcomes) };
        (fit.theta.unknowns()[i] / truth.unknowns()[i] - 1.0, *error)
    })
}

/// The errors are about as large as they are said to be, whatever is recorded: all series, without the gaps between
/// tokens, with what is needed only. Once all constants are wrong, once only those of the two coefficients.
#[test]
fn a_recording_gives_the_large_coefficients_and_their_errors() {
    // Largest mean error of `m_ms` and `c_ms_per_token`, and of the stated ones.
    for (count, allowed, stated) in [
        (8, [0.01, 0.1], [0.015, 0.12]),
        (6, [0.04, 0.12], [0.04, 0.2]),
        (5, [0.04, 0.12], [0.04, 0.2]),
    ] {
        for factors in [[1.25, 0.8, 1.6, 1.3, 0.7, 1.5], [0.8, 1.3, 1.0, 1.0, 1.0, 1.0]] {
            let mut x = constants().unknowns();
            x.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
            let truth = constants().with(&x);
            let fits: Vec<[(f64, f64); 2]> =
                (1..=8).map(|seed| fitted(&record(count, seed, &truth), &truth)).collect();
            for i in [0, 1] {
                let mean = |of: &dyn Fn((f64, f64)) -> f64| {
                    fits.iter().map(|fit| of(fit[i])).sum::<f64>() / fits.len() as f64
                };
                let (bias, said) = (mean(&|f| f.0), mean(&|f| f.1));
                let ratio = mean(&|f| (f.0 / f.1).powi(2)).sqrt();
                println!(
                    "{count} series, {}: mean error {:+.1} %, stated {:.1} %, in units of it {ratio:.2}",
                    NAMES[i],
                    bias * 100.0,
                    said * 100.0
                );
                assert!(bias.abs() < allowed[i], "{count} {}: {bias}", NAMES[i]);
                assert!(said < stated[i], "{count} {}: {said}", NAMES[i]);
                assert!(ratio < 2.2, "{count} {}: {ratio}", NAMES[i]);
            }
        }
    }
}

/// A gauge of a server that schedules synchronously does not count the first chunk of a prompt.
#[test]
fn synchronous_scheduling_is_known() {
    let truth = truth();
    let series = record_of(6, 1, &truth, false);
    let found = windows(&series).unwrap();
    let mut server = server().scheduler;
    let c_ms = |server: &SchedulerConfig| {
        let asked = [true, true, false, false, false, false];
        let fit = fit(&truth, asked, |theta| Ok(points("prom", &found.usable, server, theta)));
        fit.unwrap().theta.step.c_ms_per_token / truth.step.c_ms_per_token - 1.0
    };
    let asynchronous = c_ms(&server);
    server.async_scheduling = false;
    let synchronous = c_ms(&server);
    println!("{synchronous:+.3}, taken for asynchronous {asynchronous:+.3}");
    assert!(synchronous.abs() < 0.1 && asynchronous < synchronous - 0.03);
}
