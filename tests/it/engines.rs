//! Promise 2: the closed-form and the step-by-step engine write the same bytes.

use crate::cli_support::Scratch;
use crate::support;
use hpasim::engine::EngineMode;
use hpasim::gateway::{Admission, KeepAlive, Picker, Policy, Saturation};
use hpasim::rng::Seed;
use hpasim::sim::{Autoscaler, RecordLevel, Scenario, run_workload};
use hpasim::units::{SimDuration, SimTime};
use hpasim::workload::{Clients, Request, WorkloadSpec};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// Runs `scenario` with both engines; their whole records must be the same text.
pub(crate) fn assert_engines_agree(scenario: &mut Scenario, seed: u64) {
    let mut run = |mode| {
        Arc::make_mut(&mut scenario.engine).mode = mode;
        format!("{:?}", run_workload(scenario, Seed(seed), RecordLevel::Requests))
    };
    let (fast, stepwise) = (run(EngineMode::Fast), run(EngineMode::Stepwise));
    let same = fast.bytes().zip(stepwise.bytes()).take_while(|(a, b)| a == b).count();
    let around = |text: &str| {
        let from = same.saturating_sub(300);
        String::from_utf8_lossy(&text.as_bytes()[from..text.len().min(same + 60)]).into_owned()
    };
    assert!(fast == stepwise, "{}\nagainst\n{}", around(&fast), around(&stepwise));
}

/// Every shipped experiment, cut to twenty minutes: all files of a run, every request included.
#[test]
fn every_shipped_experiment_writes_the_same_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let mut experiments = 0;
    for entry in std::fs::read_dir(folder).expect("experiments") {
        let path = entry.expect("readable").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        experiments += 1;
        let scratch = Scratch::new();
        let path = path.to_str().expect("utf-8").to_owned();
        for engine in ["fast", "stepwise"] {
            let args = ["run", &path, "--requests", "--engine", engine, "-o", "out"];
            let cut = ["--set", "duration=\"20m\"", "--scrape-at", "7m", "--scrape-at", "15m"];
            scratch.hpasim(&[&args[..], &cut[..]].concat()).expect(0);
            std::fs::rename(scratch.path().join("out"), scratch.path().join(engine))
                .expect("renamed");
        }
        let (fast, stepwise) = (scratch.files("fast"), scratch.files("stepwise"));
        assert!(fast.len() > 6, "{path} wrote {} files", fast.len());
        for ((name, fast), (other, stepwise)) in fast.iter().zip(&stepwise) {
            assert_eq!(name, other);
            if name == "summary.json" {
                // It names its command.
                let plain = |bytes: &[u8]| {
                    String::from_utf8_lossy(bytes).replace("--engine stepwise", "--engine fast")
                };
                assert_eq!(plain(fast), plain(stepwise), "{path}: {name}");
            } else {
                assert!(fast == stepwise, "{path}: {name} differs");
            }
        }
        assert_eq!(fast.len(), stepwise.len());
    }
    assert!(experiments >= 5, "{experiments} experiments");
}

/// Policies that look at nothing, at the replicas, at connections and at everything.
pub(crate) fn policies() -> impl Strategy<Value = Policy> {
    let second = SimDuration::from_secs(1);
    prop::sample::select(vec![
        Policy::Random,
        Policy::LeastRequest,
        Policy::RandomPerConnection(KeepAlive {
            idle_timeout: SimDuration::from_secs(5),
            mean_requests: Some(9.0),
        }),
        Policy::EndpointPicker(Picker {
            queue_weight: 2.0,
            kv_weight: 1.0,
            refresh: second,
            ..Picker::default()
        }),
        Policy::EndpointPicker(Picker {
            admission: Admission::Hold(Saturation::default()),
            ..Picker::default()
        }),
    ])
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let one = (0..600_000_u64, 1_u32..900, 1_u32..400);
    let requests = prop::collection::vec(one, 1..250).prop_map(|mut list| {
        list.sort_unstable();
        list.into_iter().map(|(at, p, o)| support::request(at, p, o)).collect::<Vec<Request>>()
    });
    let engine = (1_u32..40, 65_u32..400, any::<bool>(), any::<bool>());
    let clients = (prop::option::of(1_u64..90), 0_u32..2, prop::option::of(3_u32..30));
    let policy = policies();
    let faults = crate::laws::faults();
    (requests, engine, clients, policy, faults).prop_map(
        |(
            requests,
            (seqs, blocks, asynchronous, caching),
            (patience, retries, cap),
            policy,
            faults,
        )| {
            let mut engine = support::engine(seqs, blocks);
            engine.scheduler.async_scheduling = asynchronous;
            engine.scheduler.enable_prefix_caching = caching;
            // A script that starts, drains and kills replicas at awkward moments.
            let at = SimTime::from_secs;
            let script = vec![(at(0), 1), (at(100), 3), (at(301), 1), (at(420), 2), (at(500), 1)];
            let mut scenario =
                support::scenario(engine, Autoscaler::Schedule(script), requests, 600);
            let clients = Clients {
                client_timeout: patience.map(SimDuration::from_secs),
                max_connections: cap,
                retries,
            };
            let streams = scenario.workload.streams().to_vec();
            scenario.workload = WorkloadSpec::new(streams, clients).expect("valid");
            scenario.gateway = policy;
            faults.put_into(&mut scenario);
            scenario.expose_at = vec![at(77), at(303), at(599)];
            scenario
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whole systems with preemption storms, aborts, caps, drains, crashes, lost machines and scrapes at any time.
    #[test]
    fn random_systems_do_not_tell_the_engines_apart(mut scenario in scenarios(), seed: u64) {
        assert_engines_agree(&mut scenario, seed);
    }
}
