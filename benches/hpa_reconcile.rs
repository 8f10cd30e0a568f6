//! One reconcile with ten pods and one metric, and a whole scale-up and scale-down cycle.
//!
//! The digest of the decisions is asserted, so numbers of different versions are comparable only if
//! they computed the same.

#![allow(missing_docs, reason = "bench")]

use criterion::{Criterion, criterion_group, criterion_main};
use hpasim::hpa::spec::{Behavior, HpaSpec, MetricSpec};
use hpasim::hpa::{
    ControllerConfig, Hpa, MetricReading, Observation, PodPhase, PodSample, PodView, Quantity,
    Ready,
};
use hpasim::units::{Milli, SimTime};

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
const BEHAVIOR_DIGEST: u64 = 0;

criterion_group!(benches, reconcile);
criterion_main!(benches);
