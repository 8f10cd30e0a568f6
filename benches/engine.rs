//! One replica under the canonical loads, simulation only: requests per second of a core. Each load first
//! checks that the fast engine and the stepwise one agree, and that the result is the recorded one.

#![allow(missing_docs, reason = "a bench")]

mod engine_load;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine_load::{LIGHT, Load, MODERN, Outcome, SATURATED, SHARED, config, requests, run};
use hpasim::engine::EngineMode;

/// Part of each load: enough for a steady state, and quick enough for the test mode.
const REQUESTS: u64 = 5_000;

/// Digests of the loads. Logarithm and exponential of another system may differ in the last bit.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn check_digest(name: &str, outcome: Outcome) {
    let expected = match name {
        "light" => LIGHT_DIGEST,
        "modern" => MODERN_DIGEST,
        "shared" => SHARED_DIGEST,
        _ => SATURATED_DIGEST,
    };
    assert_eq!(outcome.digest, expected, "{name}: the result changed: {outcome:x?}");
}
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn check_digest(_name: &str, _outcome: Outcome) {}

const LIGHT_DIGEST: u64 = 0xfced_a3a0_0c83_2a43;
const MODERN_DIGEST: u64 = 0xb152_efd9_9c5f_d0e0;
const SHARED_DIGEST: u64 = 0x15c3_6e11_53fa_b2e1;
const SATURATED_DIGEST: u64 = 0xb107_5504_ec68_31cf;

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine");
    group.sample_size(20).throughput(Throughput::Elements(REQUESTS));
    for (name, load) in
        [("light", LIGHT), ("modern", MODERN), ("shared", SHARED), ("saturated", SATURATED)]
    {
        let load = Load { requests: REQUESTS, ..load };
        let requests = requests(&load);
        let [fast, stepwise] =
            [EngineMode::Fast, EngineMode::Stepwise].map(|mode| config(&load, mode));
        let outcome = run(&fast, &requests);
        assert_eq!(outcome, run(&stepwise, &requests), "{name}: both engines agree");
        assert_eq!(outcome.preemptions > 0, name == "saturated", "{name}: {outcome:?}");
        check_digest(name, outcome);
        group.bench_function(name, |b| b.iter(|| run(&fast, &requests)));
        group.bench_function(format!("{name}_stepwise"), |b| b.iter(|| run(&stepwise, &requests)));
    }
    group.finish();
}

criterion_group!(benches, engine);
criterion_main!(benches);
