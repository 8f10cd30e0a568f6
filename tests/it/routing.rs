//! Routing policies in a whole run.

use crate::support;
use hpasim::cluster::{FaultKind, ScriptedFault};
use hpasim::gateway::{Admission, KeepAlive, Picker, Policy, Saturation};
use hpasim::rng::Seed;
use hpasim::sim::{Autoscaler, RecordLevel, RequestRow, RunRecord, Scenario, Series, run_workload};
use hpasim::units::{PodId, SimDuration, SimTime};
use hpasim::workload::{Arrivals, Clients, Recorded, StreamSpec, Transform, WorkloadSpec};

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

/// A picker that sheds by the limits of the inference gateway.
fn shedding(refresh_ms: u64) -> Policy {
    Policy::EndpointPicker(Picker {
        refresh: SimDuration::from_millis(refresh_ms),
        admission: Admission::Shed(Saturation::default()),
        ..Picker::default()
    })
}

/// Requests come at 0, 200, .. 800 ms of each second; metrics of every full second are stale from 201 ms on.
#[test]
fn a_picker_that_reads_too_rarely_sheds_what_it_could_serve() {
    let record = run(&growing(shedding(1_000)));
    // The pods serve from the start on, and the first reading is that of the first request.
    assert_eq!(record.accounting.shed, 3_000 * 3 / 5);
    assert_eq!(record.accounting.refused, record.accounting.shed);
    assert_eq!(run(&growing(shedding(50))).accounting.shed, 0);
}

/// Two streams at once, each more than the replica can take.
fn contended(priorities: [Option<i32>; 2]) -> RunRecord {
    let mut scenario = growing(shedding(50));
    scenario.engine = support::engine(4, 400).into();
    let stream = |priority| {
        let requests = (0..1_500).map(|i| support::request(400 * i, 50, 120)).collect();
        let replay = Arrivals::Replay(Recorded::new(requests), Transform::default());
        StreamSpec { priority, ..StreamSpec::new(replay) }
    };
    let streams = priorities.map(stream).into();
    scenario.workload = WorkloadSpec::new(streams, Clients::default()).expect("valid");
    run(&scenario)
}

/// Refused requests by stream: the first one's have even ids, because streams go in order at equal times.
fn refused(record: &RunRecord) -> [usize; 2] {
    [0, 1].map(|stream| {
        let of = |id: u64| id % 2 == stream;
        record.requests.iter().filter(|r| of(r.record.id.0) && r.outcome() == "refused").count()
    })
}

// Source: gateway-api-inference-extension, InferenceObjective: requests of a priority below 0 are shed.
#[test]
fn only_streams_below_priority_zero_are_shed() {
    let [kept, shed] = refused(&contended([None, Some(-1)]));
    assert!(kept == 0 && shed > 100, "{kept} {shed}");
    let [shed, kept] = refused(&contended([Some(-5), Some(3)]));
    assert!(kept == 0 && shed > 100, "{kept} {shed}");
    assert_eq!(refused(&contended([Some(0), None])), [0, 0]);
    // Without any priority all may be shed.
    let [first, second] = refused(&contended([None, None]));
    assert!(first > 100 && second > 100, "{first} {second}");
}

/// A machine dies without notice and its pod stays among the endpoints until the lease has run out: its metrics are
/// stale after 200 ms, so that what may be shed is shed at the door; the rest is sent there, as the scores go on, and
/// refused.
#[test]
fn a_pod_that_does_not_answer_has_no_room() {
    let run = |priority| {
        let mut scenario = growing(shedding(50));
        scenario.autoscaler = Autoscaler::Fixed(1);
        let at = SimTime::from_secs(200);
        let lost = ScriptedFault { at, replica: 0, kind: FaultKind::NodeLoss };
        scenario.cluster.faults.scripted = vec![lost];
        let requests = (0..3_000).map(|i| support::request(200 * i, 50, 20)).collect();
        let replay = Arrivals::Replay(Recorded::new(requests), Transform::default());
        let stream = StreamSpec { priority: Some(priority), ..StreamSpec::new(replay) };
        scenario.workload = WorkloadSpec::new(vec![stream], Clients::default()).expect("valid");
        run(&scenario)
    };
    let (shed, kept) = (run(-1).accounting, run(0).accounting);
    // Five a second over 40 to 55 s.
    assert!((200..=275).contains(&shed.shed), "{shed:?}");
    assert_eq!(kept.shed, 0);
    assert!(kept.refused > 200 && kept.refused.abs_diff(shed.refused) <= 2, "{kept:?} {shed:?}");
}

/// Gateway and replicas of a burst that the one replica takes minutes to serve.
fn burst(admission: Admission, clients: Clients, priorities: [i32; 2]) -> (Scenario, RunRecord) {
    let mut scenario = growing(shedding(50));
    let picker = Picker { admission, ..Picker::default() };
    scenario.gateway = Policy::EndpointPicker(picker);
    scenario.engine = support::engine(4, 400).into();
    let stream = |priority| {
        let requests = (0..150).map(|i| support::request(1_000 + 100 * i, 50, 120)).collect();
        let replay = Arrivals::Replay(Recorded::new(requests), Transform::default());
        StreamSpec { priority: Some(priority), ..StreamSpec::new(replay) }
    };
    let streams = priorities.map(stream).into();
    scenario.workload = WorkloadSpec::new(streams, clients).expect("valid");
    let record = run(&scenario);
    let accounting = &record.accounting;
    assert_eq!((accounting.arrived, accounting.accounted()), (300, 300));
    assert_eq!(record.requests.len(), 300);
    (scenario, record)
}

fn most(record: &RunRecord, series: Series) -> f64 {
    record.series(series).map(|row| row.value).fold(0.0, f64::max)
}

/// With flow control a queue builds up at the gateway instead of in the replica, nothing is refused, and the time
/// there counts in the time to the first token.
// Source: gateway-api-inference-extension, pkg/epp/flowcontrol.
#[test]
fn flow_control_holds_requests_back() {
    let hold = Admission::Hold(Saturation::default());
    let (_, sent) = burst(Admission::All, Clients::default(), [0, 0]);
    let (scenario, held) = burst(hold, Clients::default(), [0, 0]);
    assert_eq!((sent.accounting.completed, held.accounting.completed), (300, 300));
    assert_eq!(sent.accounting.held, 0);
    assert!((250..300).contains(&held.accounting.held), "{:?}", held.accounting);
    assert_eq!(sent.series(Series::FlowControlQueueSize).count(), 0);
    let queue = |record| most(record, Series::NumRequestsWaiting);
    assert!(queue(&sent) > 150.0, "{}", queue(&sent));
    // Between two looks of the gateway a few more than the limit of 5 may come; then all that it holds go at once.
    assert!(most(&held, Series::FlowControlQueueSize) > 150.0);
    let waits = |record: &RunRecord| {
        let all = record.requests.iter().map(|row| &row.record);
        let waits =
            all.map(|r| r.first_token.expect("served").as_secs_f64() - r.arrival.as_secs_f64());
        waits.sum::<f64>() / 300.0
    };
    let (direct, through) = (waits(&sent), waits(&held));
    assert!((through / direct - 1.0).abs() < 0.05, "{direct} {through}");
    for row in &held.requests {
        assert_eq!(row.outcome(), "completed");
        assert!(row.record.queued >= row.record.arrival);
    }
    // As long as no pod is in service requests wait, too.
    let mut none = scenario;
    none.autoscaler = Autoscaler::Schedule(vec![(SimTime::ZERO, 0), (SimTime::from_secs(60), 1)]);
    let record = run(&none);
    assert_eq!(record.accounting.refused, 0);
    assert_eq!(record.accounting.held, 300);
    assert_eq!(record.accounting.completed, 300);
}

#[test]
fn what_the_gateway_holds_goes_by_priority_and_ends_with_its_client() {
    let hold = Admission::Hold(Saturation::default());
    let (_, record) = burst(hold, Clients::default(), [0, 1]);
    // All that are held go at once when there is room; the order in which they go is what priority makes of it.
    let mean = |stream: u64| {
        let of = record.requests.iter().filter(|row| row.record.id.0 % 2 == stream);
        let first = |row: &RequestRow| row.record.first_token.expect("served").as_secs_f64();
        of.map(|row| first(row) - row.record.arrival.as_secs_f64()).sum::<f64>() / 150.0
    };
    assert!(mean(0) > mean(1) + 5.0, "{} {}", mean(0), mean(1));

    // Without a pod nobody is served before a minute has passed; clients wait for half of it.
    let patience = Some(SimDuration::from_secs(30));
    let clients = Clients { client_timeout: patience, ..Clients::default() };
    let (mut scenario, _) = burst(hold, clients, [0, 0]);
    scenario.autoscaler =
        Autoscaler::Schedule(vec![(SimTime::ZERO, 0), (SimTime::from_secs(60), 1)]);
    let record = run(&scenario);
    assert_eq!((record.accounting.cancelled, record.accounting.held), (300, 300));
    for row in &record.requests {
        assert_eq!((row.outcome(), row.pod), ("cancelled", None));
        let waited = row.record.end.as_secs_f64() - row.record.arrival.as_secs_f64();
        assert!((waited - 30.0).abs() < 1e-6, "{waited}");
    }
}
