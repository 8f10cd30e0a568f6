//! One reconcile with ten pods and one metric, and the replay of all recordings.
//!
//! The digest of the decisions is asserted, so numbers of different versions are comparable only if
//! they computed the same.

#![allow(missing_docs, reason = "bench")]
#![allow(clippy::disallowed_methods, reason = "benches read the project's own files")]

use std::fs::File;
use std::io::{Cursor, Read};

use criterion::{Criterion, criterion_group, criterion_main};
use flate2::read::GzDecoder;
use hpasim::hpa::spec::{Behavior, HpaSpec, MetricSpec};
use hpasim::hpa::{
    ControllerConfig, Hpa, MetricReading, Observation, PodPhase, PodSample, PodView, Quantity,
    Ready,
};
use hpasim::units::{Milli, SimTime};
use hpasim::verify::hpa::replay;

const PODS: u32 = 10;

fn spec(behavior: bool) -> HpaSpec {
    HpaSpec {
        max_replicas: 20,
        metrics: vec![MetricSpec::pods(
            "vllm:num_requests_running",
            Quantity::parse("10").expect("a quantity"),
        )],
        behavior: behavior.then(Behavior::default),
        ..HpaSpec::default()
    }
}

fn pods() -> Vec<PodView> {
    (0..PODS)
        .map(|key| PodView {
            key,
            phase: PodPhase::Running,
            ready: Ready::True,
            deleting: false,
            start_time: Some(SimTime::ZERO),
            ready_transition: SimTime::ZERO,
        })
        .collect()
}

/// One reconcile per 15 s under a load that moves inside and outside the tolerance; the target is
/// put back after each, so the fleet stays at ten pods.
struct Loop {
    hpa: Hpa,
    pods: Vec<PodView>,
    samples: Vec<PodSample>,
    tick: u64,
    digest: u64,
}

impl Loop {
    fn new(behavior: bool) -> Self {
        let samples = (0..PODS).map(|k| PodSample::new(k, Milli(0), SimTime::ZERO)).collect();
        let hpa = Hpa::new(&spec(behavior), ControllerConfig::default());
        Self { hpa, pods: pods(), samples, tick: 0, digest: 0 }
    }

    fn step(&mut self) {
        self.tick += 1;
        let now = SimTime::from_secs(15 * self.tick);
        let load = 6_000 + (self.tick * 37 % 9) as i64 * 1_000;
        for (i, sample) in self.samples.iter_mut().enumerate() {
            sample.value = Milli(load + i as i64);
        }
        let decision = self.hpa.reconcile(&Observation {
            now,
            now_decide: now,
            spec_replicas: PODS as i32,
            status_replicas: PODS as i32,
            pods: &self.pods,
            metrics: &[MetricReading::Pods(&self.samples)],
            fault: None,
        });
        self.digest = self.digest.wrapping_mul(31).wrapping_add(decision.desired_replicas as u64);
        if decision.scale_to.is_some() {
            self.hpa.scale_written(now, Ok(()));
        }
    }
}

fn reconcile(c: &mut Criterion) {
    for (name, behavior, digest) in
        [("legacy", false, LEGACY_DIGEST), ("behavior", true, BEHAVIOR_DIGEST)]
    {
        let mut warm = Loop::new(behavior);
        (0..1_000).for_each(|_| warm.step());
        assert_eq!(warm.digest, digest, "the {name} decisions changed");
        c.bench_function(&format!("hpa_reconcile/10_pods/{name}"), |b| b.iter(|| warm.step()));
    }
}

/// Digests of the first thousand decisions.
const LEGACY_DIGEST: u64 = 4_204_243_077_334_467_458;
const BEHAVIOR_DIGEST: u64 = 15_846_069_847_103_428_930;

/// The recordings of the real controller, replayed as `hpasim verify hpa` does.
fn verify(c: &mut Criterion) {
    let recordings: Vec<String> = ["36", "32"]
        .map(|minor| {
            let root = env!("CARGO_MANIFEST_DIR");
            let path = format!("{root}/tests/data/hpa/hpa_traces_1.{minor}.jsonl.gz");
            let mut text = String::new();
            GzDecoder::new(File::open(path).expect("part of the project"))
                .read_to_string(&mut text)
                .expect("gzip of text");
            text
        })
        .to_vec();
    c.bench_function("hpa_verify/16892_reconciles", |b| {
        b.iter(|| {
            let steps: u64 = recordings
                .iter()
                .map(|text| {
                    let found = replay(Cursor::new(text)).expect("a recording");
                    assert_eq!(found.mismatches, 0);
                    found.steps
                })
                .sum();
            assert_eq!(steps, 16_892);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = reconcile, verify
}
criterion_main!(benches);
