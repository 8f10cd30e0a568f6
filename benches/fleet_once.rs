//! Runs a fleet of four replicas once, for figures per CPU-second, peak memory and instruction counts:
//! `fleet_once random|least|saturated [requests]`. Arrivals are streamed from the generator.

#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, reason = "a bench")]
#![allow(dead_code, reason = "the tests' small systems hold more than a bench needs")]

#[path = "../tests/it/support.rs"]
mod support;

use hpasim::engine::{EngineConfig, EngineMode, SchedulerConfig, StepModel};
use hpasim::gateway::Policy;
use hpasim::hpa::{HpaSpec, Quantity, spec::MetricSpec};
use hpasim::rng::Seed;
use hpasim::sim::{RecordLevel, RunRecord, Scenario, Signal, run_workload};
use hpasim::units::SimDuration;
use hpasim::workload::{LengthDist, LengthKind, LengthModel, WorkloadSpec};
use std::sync::Arc;

/// CPU time of this process, or wall time where the system does not tell [s].
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").ok();
    let on_cpu = stat.and_then(|s| s.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()));
    on_cpu.map_or_else(
        || std::time::UNIX_EPOCH.elapsed().map_or(0.0, |wall| wall.as_secs_f64()),
        |ns| ns / 1e9,
    )
}

/// Largest resident size so far [MB], where the system tells.
fn peak_megabytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kb| kb / 1024.0)
}

/// W(n, rate): exponential gaps, lognormal lengths; four A100-80 replicas with Llama-3.1-8B and vLLM's
/// present defaults, scrapes every 15 s, an HPA that watches and has no room to act.
fn scenario(requests: u64, rate: f64, policy: Policy, blocks: u32) -> Scenario {
    let lognormal = |median: f64, sigma, min, max| {
        LengthDist::new(LengthKind::Lognormal { mu: median.ln(), sigma }, min, max).expect("valid")
    };
    let lengths = LengthModel::Independent {
        prompt: lognormal(400.0, 0.8, 16, 3072),
        output: lognormal(150.0, 0.7, 8, 1024),
    };
    let scheduler = SchedulerConfig { num_gpu_blocks: blocks, ..SchedulerConfig::default() };
    let step_model = StepModel::new(&support::coefficients(), 2048).expect("valid");
    let engine = EngineConfig {
        scheduler,
        step_model: Arc::new(step_model),
        ingest: SimDuration::ZERO,
        mode: EngineMode::Fast,
    };
    let spec = HpaSpec {
        min_replicas: Some(4),
        max_replicas: 4,
        metrics: vec![MetricSpec::pods(
            Signal::NumRequestsRunning.name(),
            Quantity::parse("100").expect("a quantity"),
        )],
        ..HpaSpec::default()
    };
    let autoscaler = support::hpa(spec, &[Signal::NumRequestsRunning]);
    let duration = (requests as f64 / rate).ceil() as u64;
    let mut scenario = support::scenario(engine, autoscaler, Vec::new(), duration);
    scenario.gateway = policy;
    scenario.workload = WorkloadSpec::poisson(rate, lengths).expect("valid");
    scenario
}

/// A number that changes if any measure does.
fn digest(record: &RunRecord) -> u64 {
    record.measures.values().iter().fold(0, |digest: u64, value| {
        (digest ^ value.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let name = args.first().map_or("random", String::as_str);
    // Under `cargo test` a small load suffices.
    let requests = args.get(1).and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let scenario = match name {
        "least" => scenario(requests, 20.0, Policy::LeastRequest, 28_000),
        "saturated" => scenario(requests, 60.0, Policy::Random, 2_000),
        _ => scenario(requests, 20.0, Policy::Random, 28_000),
    };
    let start = cpu_seconds();
    let record = run_workload(&scenario, Seed(1), RecordLevel::Measures);
    let seconds = cpu_seconds() - start;
    let arrived = record.accounting.arrived;
    println!(
        "fleet {name}: {arrived} requests, digest {:016x}, {} preemptions, {seconds:.3} CPU s, {:.0} requests/s, peak {:.0} MB",
        digest(&record),
        record.measures.preemptions,
        arrived as f64 / seconds,
        peak_megabytes().unwrap_or(f64::NAN),
    );
}
