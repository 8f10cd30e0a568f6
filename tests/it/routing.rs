//! Routing policies in a whole run.

use crate::support;
use hpasim::gateway::{KeepAlive, Picker, Policy};
use hpasim::rng::Seed;
use hpasim::sim::{Autoscaler, RecordLevel, RunRecord, Scenario, run_workload};
use hpasim::units::{PodId, SimDuration, SimTime};

/// Five requests a second for ten minutes on one replica, two from the fourth minute on.
fn growing(policy: Policy) -> Scenario {
    let requests = (0..3_000).map(|i| support::request(200 * i, 50, 20)).collect();
    let script = vec![(SimTime::ZERO, 1), (SimTime::from_secs(180), 2)];
    let mut scenario =
        support::scenario(support::engine(64, 4_000), Autoscaler::Schedule(script), requests, 600);
    scenario.gateway = policy;
    scenario
}

fn run(scenario: &Scenario) -> RunRecord {
    run_workload(scenario, Seed(11), RecordLevel::Requests)
}

/// Share of the requests of the last five minutes that the second pod answered.
fn share_of_the_new_pod(policy: Policy) -> f64 {
    let record = run(&growing(policy));
    let late = |at: SimTime| at >= SimTime::from_secs(300);
    let pods: Vec<_> =
        record.requests.iter().filter(|r| late(r.record.arrival)).map(|r| r.pod).collect();
    assert!(pods.len() > 1_000);
    pods.iter().filter(|pod| **pod == Some(PodId(1))).count() as f64 / pods.len() as f64
}

fn kept(idle_s: u64, mean_requests: Option<f64>) -> Policy {
    let idle_timeout = SimDuration::from_secs(idle_s);
    Policy::RandomPerConnection(KeepAlive { idle_timeout, mean_requests })
}

// Source: Kubernetes, kube-proxy: behind a ClusterIP a new replica gets nothing from kept connections.
#[test]
fn old_connections_stay_with_the_old_pod() {
    let random = share_of_the_new_pod(Policy::Random);
    assert!((random - 0.5).abs() < 0.07, "{random}");
    // Requests come more often than connections time out: no new connection is ever made.
    assert!(share_of_the_new_pod(kept(5, None)) < 0.02);
    // A connection of ten requests is replaced soon enough.
    let replaced = share_of_the_new_pod(kept(5, Some(10.0)));
    assert!((replaced - 0.5).abs() < 0.15, "{replaced}");
}

/// Law: clients that keep no connection are clients that connect anew.
#[test]
fn no_keep_alive_is_random_per_request() {
    let requests = |policy| format!("{:?}", run(&growing(policy)).requests);
    assert_eq!(requests(kept(0, None)), requests(Policy::Random));
}

#[test]
fn the_picker_balances_the_kv_caches() {
    let refresh = SimDuration::from_millis(50);
    let picker = Picker { queue_weight: 2.0, kv_weight: 2.0, refresh, ..Picker::default() };
    let share = share_of_the_new_pod(Policy::EndpointPicker(picker));
    assert!((share - 0.5).abs() < 0.1, "{share}");
}
