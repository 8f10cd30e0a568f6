//! Texts of conditions and events, against those of the real controller.

use std::fs::File;
use std::io::{BufRead, BufReader};

use flate2::read::GzDecoder;
use hpasim::hpa::spec::{HpaSpec, LabelSelector, MetricSpec, MetricTarget};
use hpasim::hpa::{
    ConditionType, ControllerConfig, FetchError, Hpa, MetricReading, Observation, PodPhase,
    PodSample, PodView, Quantity, Ready, ScaleWriteError,
};
use hpasim::units::{Milli, SimTime};
use proptest::prelude::*;
use serde_json::Value;

/// `sample_messages` in the header of the recording of 1.36: one message per reason.
fn recorded_messages() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hpa/hpa_traces_1.36.jsonl.gz");
    let mut header = String::new();
    let file = GzDecoder::new(File::open(path).unwrap());
    BufReader::new(file).read_line(&mut header).unwrap();
    serde_json::from_str::<Value>(&header).unwrap()["_header"]["sample_messages"].clone()
}

fn pods_spec() -> HpaSpec {
    let target = Quantity::parse("10").unwrap();
    HpaSpec {
        max_replicas: 10,
        metrics: vec![MetricSpec::pods("vllm:num_requests_running", target)],
        ..HpaSpec::default()
    }
}

/// One reconcile at time `s` with one running pod per replica, all at `value`.
fn step(hpa: &mut Hpa, s: u64, replicas: i32, value: i64) {
    let now = SimTime::from_secs(s);
    let keys = 0..replicas.unsigned_abs();
    let pods: Vec<PodView> = keys
        .clone()
        .map(|key| PodView {
            key,
            phase: PodPhase::Running,
            ready: Ready::True,
            deleting: false,
            start_time: Some(SimTime::ZERO),
            ready_transition: SimTime::ZERO,
        })
        .collect();
    let samples: Vec<PodSample> = keys.map(|key| PodSample::new(key, Milli(value), now)).collect();
    let external = [Milli(value)];
    let reading = if hpa.spec().metrics[0].kind == "Pods" {
        MetricReading::Pods(&samples)
    } else {
        MetricReading::Values(&external)
    };
    observe(hpa, s, replicas, &pods, reading);
    if hpa.decision().scale_to.is_some() {
        hpa.scale_written(now, Ok(()));
    }
}

fn observe(hpa: &mut Hpa, s: u64, replicas: i32, pods: &[PodView], reading: MetricReading<'_>) {
    let now = SimTime::from_secs(s);
    hpa.reconcile(&Observation {
        now,
        now_decide: now,
        spec_replicas: replicas,
        status_replicas: replicas,
        pods,
        metrics: &[reading],
        fault: None,
    });
}

/// Compares every present condition with the recorded message of its reason; returns the reasons.
fn check(hpa: &Hpa, recorded: &Value, seen: &mut Vec<&'static str>) {
    for condition in hpa.decision().conditions.iter() {
        let reason = condition.reason.as_str();
        let wanted = recorded[reason].as_str().unwrap_or_else(|| panic!("no sample of {reason}"));
        // The sample of a rescale is one to 4 replicas.
        let size = hpa.decision().scale_to.map_or(String::new(), |n| format!("scale to {n}"));
        let wanted = wanted.replace("scale to 4", &size);
        assert_eq!(hpa.condition_message(condition, "default"), wanted);
        if !seen.contains(&reason) {
            seen.push(reason);
        }
    }
}

#[test]
fn condition_messages_are_the_controllers() {
    let recorded = recorded_messages();
    let mut seen = Vec::new();
    let config = ControllerConfig::default();

    let mut hpa = Hpa::new(&pods_spec(), config.clone());
    observe(&mut hpa, 15, 1, &[], MetricReading::Pods(&[]));
    check(&hpa, &recorded, &mut seen);
    step(&mut hpa, 30, 1, 10_000);
    check(&hpa, &recorded, &mut seen);
    step(&mut hpa, 45, 1, 90_000);
    check(&hpa, &recorded, &mut seen);
    step(&mut hpa, 60, 4, 1_000);
    check(&hpa, &recorded, &mut seen);
    observe(&mut hpa, 75, 0, &[], MetricReading::Pods(&[]));
    check(&hpa, &recorded, &mut seen);

    let mut hpa = Hpa::new(&pods_spec(), config.clone());
    step(&mut hpa, 15, 4, 10_000);
    step(&mut hpa, 30, 4, 1_000);
    check(&hpa, &recorded, &mut seen);
    step(&mut hpa, 45, 8, 90_000);
    check(&hpa, &recorded, &mut seen);

    // Both directions limited and held back.
    let mut spec = pods_spec();
    spec.behavior = Some(hpasim::hpa::spec::Behavior {
        scale_up: Some(hpasim::hpa::spec::ScalingRules {
            stabilization_window_seconds: Some(60),
            ..Default::default()
        }),
        scale_down: Some(hpasim::hpa::spec::ScalingRules {
            stabilization_window_seconds: Some(0),
            policies: Some(vec![hpasim::hpa::spec::ScalingPolicy::pods(3, 60)]),
            ..Default::default()
        }),
    });
    spec.min_replicas = Some(4);
    let mut hpa = Hpa::new(&spec, config.clone());
    step(&mut hpa, 15, 4, 90_000);
    check(&hpa, &recorded, &mut seen);
    step(&mut hpa, 90, 4, 90_000);
    step(&mut hpa, 105, 10, 1_000);
    check(&hpa, &recorded, &mut seen);
    step(&mut hpa, 300, 10, 1_000);
    check(&hpa, &recorded, &mut seen);
    step(&mut hpa, 600, 5, 1_000);
    check(&hpa, &recorded, &mut seen);

    // External metric, scale to zero.
    let target = MetricTarget::average_value(Quantity::parse("5").unwrap());
    let spec = HpaSpec {
        min_replicas: Some(0),
        max_replicas: 3,
        metrics: vec![MetricSpec::external("q", target)],
        ..HpaSpec::default()
    };
    let zero = ControllerConfig { scale_to_zero: true, ..config };
    let mut hpa = Hpa::new(&spec, zero);
    observe(&mut hpa, 15, 1, &[], MetricReading::Error(FetchError::Api("down")));
    check(&hpa, &recorded, &mut seen);
    let able = |hpa: &Hpa, kind| *hpa.decision().conditions.get(kind).unwrap();
    step(&mut hpa, 400, 1, 0);
    let message = hpa.condition_message(&able(&hpa, ConditionType::ScaledToZero), "default");
    assert_eq!(message, recorded["ScaledToZero"].as_str().unwrap());
    step(&mut hpa, 415, 0, 90_000);
    let message = hpa.condition_message(&able(&hpa, ConditionType::ScaledToZero), "default");
    assert_eq!(message, recorded["NotScaledToZero"].as_str().unwrap());
    seen.extend(["ScaledToZero", "NotScaledToZero"]);

    let recorded: Vec<&String> = recorded.as_object().unwrap().keys().collect();
    let missed: Vec<_> = recorded.iter().filter(|r| !seen.contains(&r.as_str())).collect();
    // A reconcile that succeeds replaces this one at once.
    assert!(missed.iter().all(|r| ["SucceededGetScale"].contains(&r.as_str())), "{missed:?}");
}

#[test]
fn events_tell_size_and_reason() {
    let mut hpa = Hpa::new(&pods_spec(), ControllerConfig::default());
    step(&mut hpa, 15, 1, 90_000);
    let events: Vec<(String, String)> = hpa
        .decision()
        .events()
        .map(|e| (e.reason().to_owned(), hpa.event_message(e, "default")))
        .collect();
    let wanted = "New size: 4; reason: pods metric vllm:num_requests_running above target";
    assert_eq!(events, [("SuccessfulRescale".to_owned(), wanted.to_owned())]);

    let mut hpa = Hpa::new(&pods_spec(), ControllerConfig::default());
    observe(&mut hpa, 15, 11, &[], MetricReading::Pods(&[]));
    hpa.scale_written(SimTime::from_secs(15), Err(ScaleWriteError("conflict")));
    let event = hpa.decision().event.unwrap();
    assert_eq!((event.reason(), event.event_type()), ("FailedRescale", "Warning"));
    assert_eq!(
        hpa.event_message(event, "default"),
        "New size: 10; reason: Current number of replicas above Spec.MaxReplicas; error: conflict"
    );
    assert_eq!(hpa.decision().desired_replicas, 0, "the status keeps its old value");

    let mut hpa = Hpa::new(&pods_spec(), ControllerConfig::default());
    observe(&mut hpa, 15, 1, &[], MetricReading::Pods(&[]));
    let reasons: Vec<_> = hpa.decision().events().map(hpasim::hpa::Event::reason).collect();
    assert_eq!(reasons, ["FailedGetPodsMetric", "FailedComputeMetricsReplicas"]);
}

#[test]
fn selectors_print_as_go_does() {
    let mut selector = LabelSelector::default();
    selector.match_labels.insert("queue".into(), "worker_tasks".into());
    assert_eq!(
        selector.to_string(),
        "&LabelSelector{MatchLabels:map[string]string{queue: worker_tasks,},\
         MatchExpressions:[]LabelSelectorRequirement{},}"
    );
}

proptest! {
    /// No text makes the parser panic, and what it accepts it prints so that it reads back the same.
    #[test]
    fn quantities_read_back(text in "[+-]?[0-9]{0,12}(\\.[0-9]{0,12})?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})?") {
        if let Ok(q) = Quantity::parse(&text) {
            let again = Quantity::parse(q.canonical()).unwrap();
            prop_assert_eq!(again.canonical(), q.canonical());
            prop_assert_eq!(again.sign(), q.sign());
            if q.milli_fits() {
                prop_assert_eq!(again.milli_value(), q.milli_value());
            }
        }
    }

    /// Nothing at all panics.
    #[test]
    fn any_text_is_a_quantity_or_an_error(text in "\\PC{0,40}") {
        if let Ok(q) = Quantity::parse(&text) {
            let _ = (q.milli_value(), q.value(), q.approximate_f64());
        }
    }

    /// What is printed from thousandths reads back as the same number.
    #[test]
    fn milli_quantities_read_back(milli in any::<i64>()) {
        for q in [Quantity::from_milli(milli), Quantity::from_milli_binary(milli)] {
            prop_assert_eq!(Quantity::parse(q.canonical()).unwrap().milli_value(), milli);
        }
    }
}
