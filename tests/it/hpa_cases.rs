//! Single calls against known answers: rows computed and measured with the real functions of
//! Kubernetes 1.36.2, and, where `../shared` exists, the facts of its own table tests as well.

use std::fs;
use std::path::PathBuf;

use hpasim::hpa::behavior::{
    self, BehaviorRules, Bounds, Events, Recommendation, Rules, ScaleEvent,
};
use hpasim::hpa::calculator::{
    self, CalculatorRules, PodGroup, PodMetric, Proposal, Scratch, Tolerances, ValueSource,
};
use hpasim::hpa::spec::{ScalingPolicy, ScalingRules};
use hpasim::hpa::{
    ApiFault, ConditionType, ControllerConfig, FetchError, FieldErrorKind, Hpa, MetricFailure,
    MetricReading, Observation, PodPhase, PodRequest, PodSample, PodView, Quantity, Ready, Reason,
    ScaleWriteError, ValidationOptions,
};
use hpasim::manifest::{spec_from_json_value, spec_to_json_value};
use hpasim::units::{Milli, SimDuration, SimTime};
use serde_json::Value;

/// "Now" of the rows; their times are seconds before it.
const NOW_S: i64 = 2_000_000;

fn measured() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/hpa/hpa_cases_measured.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// All rows with those of upstream's own tests, which are not part of this project.
fn shared() -> Option<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/hpa/hpa_cases.json");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
}

fn i32_of(row: &Value, key: &str) -> i32 {
    i32::try_from(row[key].as_i64().unwrap_or_else(|| panic!("{key} in {row}"))).unwrap()
}

fn list<'a>(row: &'a Value, key: &str) -> &'a [Value] {
    row[key].as_array().map_or(&[], Vec::as_slice)
}

/// An instant relative to now; unset times are far in the past.
fn instant(seconds: &Value) -> SimTime {
    let ms = (seconds.as_f64().unwrap() * 1e3).round() as i64 + NOW_S * 1000;
    SimTime::ZERO + SimDuration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn nanos(seconds: &Value) -> i64 {
    instant(seconds).as_nanos()
}

fn now() -> SimTime {
    SimTime::from_secs(NOW_S as u64)
}

fn pod_key(row: &Value, names: &mut Vec<String>) -> u32 {
    let name = row.as_str().unwrap();
    let at = names.iter().position(|n| n == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    at as u32
}

fn pods_of(row: &Value, names: &mut Vec<String>) -> Vec<PodView> {
    let pod = |pod: &Value| PodView {
        key: pod_key(&pod["name"], names),
        phase: match pod["phase"].as_str().unwrap() {
            "Pending" => PodPhase::Pending,
            "Running" => PodPhase::Running,
            "Succeeded" => PodPhase::Succeeded,
            "Failed" => PodPhase::Failed,
            other => panic!("phase {other}"),
        },
        ready: match pod["ready"].as_str() {
            Some("True") => Ready::True,
            Some("False") => Ready::False,
            None => Ready::Absent,
            Some(other) => panic!("ready {other}"),
        },
        deleting: pod["deleting"].as_bool().unwrap(),
        start_time: (!pod["start_s"].is_null()).then(|| instant(&pod["start_s"])),
        ready_transition: if pod["ready_transition_s"].is_null() {
            SimTime::ZERO
        } else {
            instant(&pod["ready_transition_s"])
        },
    };
    list(row, "pods").iter().map(pod).collect()
}

/// Requests of the pods for one container, or for all of them.
fn requests_of(row: &Value, container: &str) -> Vec<PodRequest> {
    let request = |pod: &Value| {
        let containers = list(pod, "requests").iter();
        let mut wanted =
            containers.filter(|c| container.is_empty() || c["container"] == container).peekable();
        if wanted.peek().is_none() {
            return PodRequest::NoContainer;
        }
        let sum: Option<i64> = wanted.map(|c| c["cpu_milli"].as_i64()).sum();
        sum.map_or(PodRequest::Missing, |milli| PodRequest::Set(Milli(milli)))
    };
    list(row, "pods").iter().map(request).collect()
}

fn samples_of(metrics: &[Value], container: &str, names: &mut Vec<String>) -> Vec<PodSample> {
    let sample = |m: &Value| {
        let value = m["value_milli"].as_i64().unwrap_or_else(|| {
            let values = list(m, "container_milli").iter().map(|v| v.as_i64().unwrap());
            match container {
                "" => values.sum(),
                // Some rows list the wanted container's value alone.
                name => {
                    let index: usize = name.trim_start_matches("container").parse().unwrap();
                    let values: Vec<i64> = values.collect();
                    values[(index - 1).min(values.len() - 1)]
                }
            }
        });
        PodSample {
            pod: pod_key(&m["pod"], names),
            value: Milli(value),
            timestamp: instant(&m["t_s"]),
            window: SimDuration::from_secs(m["window_s"].as_u64().unwrap()),
        }
    };
    metrics.iter().map(sample).collect()
}

fn rules_of(row: &Value) -> CalculatorRules {
    let minor = match row["k8s_versions"].as_str() {
        Some("<=1.32") => 32,
        Some(">=1.33" | ">=1.28") | None => 36,
        Some(other) => panic!("versions {other}"),
    };
    let tolerance = |key: &str| row[key].as_f64().unwrap_or(0.1);
    let seconds = |key: &str| SimDuration::from_secs(row[key].as_u64().unwrap_or(300));
    CalculatorRules {
        tolerances: Tolerances {
            scale_down: tolerance("tolerance_down"),
            scale_up: tolerance("tolerance_up"),
            interval: minor >= 33,
        },
        kube_minor: minor,
        cpu_initialization_period: seconds("cpu_initialization_period_s"),
        initial_readiness_delay: seconds("initial_readiness_delay_s"),
    }
}

fn values_of(row: &Value, key: &str) -> Vec<Milli> {
    list(row, key).iter().map(|v| Milli(v.as_i64().unwrap())).collect()
}

fn replica_calc(row: &Value) {
    let id = &row["id"];
    let rules = rules_of(row);
    let mut names = Vec::new();
    let pods = pods_of(row, &mut names);
    let container = row["container"].as_str().unwrap_or_default();
    let samples = samples_of(list(row, "pod_metrics"), container, &mut names);
    let current_replicas = i32_of(row, "current_replicas");
    let cpu = row["resource"] == "cpu";
    let input =
        PodMetric { current_replicas, pods: &pods, samples: &samples, cpu, now_decide: now() };
    let scratch = &mut Scratch::default();
    let values = values_of(row, "values_milli");
    let target = Milli(row["target_milli"].as_i64().unwrap_or_default());
    let per_pod = |source| {
        Ok(calculator::get_per_pod_metric_replicas(
            current_replicas,
            &values,
            target,
            source,
            &rules,
        ))
    };
    let kind = row["metric_type"].as_str().unwrap();
    let result: Result<Proposal, MetricFailure> = match kind {
        "ResourceUtilization" | "PodsAverageValue" if samples.is_empty() => {
            Err(MetricFailure::Fetch(FetchError::Empty))
        }
        "ResourceUtilization" => calculator::get_resource_replicas(
            scratch,
            &input,
            &requests_of(row, container),
            i32_of(row, "target_utilization"),
            &rules,
        ),
        "PodsAverageValue" => {
            calculator::calc_plain_metric_replicas(scratch, &input, target, &rules)
        }
        "ObjectValue" | "ExternalValue" => {
            calculator::get_value_metric_replicas(current_replicas, &pods, &values, target, &rules)
        }
        "ObjectAverageValue" => per_pod(ValueSource::Object),
        "ExternalAverageValue" => per_pod(ValueSource::External),
        other => panic!("metric type {other}"),
    };
    let expect = &row["expect"];
    if let Some(text) = expect["error_contains"].as_str() {
        let failure = result.expect_err("an error is expected");
        let wanted = match text {
            t if t.ends_with("no metrics returned from resource metrics API") => {
                MetricFailure::Fetch(FetchError::Empty)
            }
            "no metrics returned matched known pods" => MetricFailure::NoMetricsMatchedKnownPods,
            "missing request for" => MetricFailure::MissingRequest,
            t if t.starts_with("did not receive metrics") => {
                MetricFailure::NoMetricsForTargetedPods
            }
            t if t.starts_with("no pods returned") => MetricFailure::NoPods,
            other => panic!("error {other}"),
        };
        assert_eq!(failure, wanted, "{id}");
        return;
    }
    let proposal = result.unwrap_or_else(|e| panic!("{id}: {e:?}"));
    assert_eq!(proposal.replicas, i32_of(expect, "replicas"), "{id}: {proposal:?}");
    let current = proposal.current;
    if let Some(usage) = expect["usage_milli"].as_i64() {
        let got = current.average_value.or(current.value);
        assert_eq!(got, Some(Milli(usage)), "{id}");
    }
    if let Some(utilization) = expect["utilization"].as_i64() {
        assert_eq!(current.average_utilization.map(i64::from), Some(utilization), "{id}");
        let raw = expect["raw_average_milli"].as_i64().map(Milli);
        assert_eq!(current.average_value, raw, "{id}");
    }
}

fn group_pods(row: &Value) {
    let mut names = Vec::new();
    let pods = pods_of(row, &mut names);
    let samples = samples_of(list(row, "pod_metrics"), "", &mut names);
    let cpu = row["resource"] == "cpu";
    let groups = calculator::classify(&pods, &samples, cpu, &rules_of(row), now());
    let expect = &row["expect"];
    for (key, group) in [
        ("ignored", PodGroup::Ignored),
        ("missing", PodGroup::Missing),
        ("unready", PodGroup::Unready),
    ] {
        let of_group = pods.iter().zip(&groups).filter(|(_, g)| **g == group);
        let mut got: Vec<&str> = of_group.map(|(p, _)| names[p.key as usize].as_str()).collect();
        got.sort_unstable();
        let mut wanted: Vec<&str> = list(expect, key).iter().map(|v| v.as_str().unwrap()).collect();
        wanted.sort_unstable();
        assert_eq!(got, wanted, "{}: {key}", row["id"]);
    }
    let ready = groups.iter().filter(|g| **g == PodGroup::Ready).count();
    assert_eq!(ready as u64, expect["ready_count"].as_u64().unwrap(), "{}", row["id"]);
}

fn recommendations_of(row: &Value) -> Vec<Recommendation> {
    let rec = |r: &Value| Recommendation { replicas: i32_of(r, "replicas"), at: nanos(&r["t_s"]) };
    list(row, "recommendations").iter().map(rec).collect()
}

fn events_of(row: &Value, key: &str) -> Vec<ScaleEvent> {
    let event = |e: &Value| ScaleEvent {
        change: i32_of(e, "change"),
        at: nanos(&e["t_s"]),
        outdated: e["outdated"].as_bool().unwrap_or(false),
    };
    list(row, key).iter().map(event).collect()
}

fn scaling_rules(value: &Value) -> Rules {
    let policy = |p: &Value| ScalingPolicy {
        kind: p["type"].as_str().unwrap().to_owned(),
        value: i32_of(p, "value"),
        period_seconds: i32_of(p, "periodSeconds"),
    };
    let rules = ScalingRules {
        stabilization_window_seconds: value["stabilizationWindowSeconds"]
            .as_i64()
            .map(|n| n as i32),
        select_policy: value["selectPolicy"].as_str().map(str::to_owned),
        policies: Some(list(value, "policies").iter().map(policy).collect()),
        tolerance: None,
    };
    Rules::new(&rules, 300_000_000_000)
}

fn bounds(row: &Value) -> Bounds {
    Bounds { min: i32_of(row, "min"), max: i32_of(row, "max") }
}

fn convert_legacy(row: &Value) {
    let limited = behavior::convert_desired_replicas_with_rules(
        i32_of(row, "current"),
        i32_of(row, "desired"),
        bounds(row),
        row["scale_up_limit_factor"].as_f64().unwrap(),
        row["scale_up_limit_minimum"].as_f64().unwrap(),
    );
    assert_limited(row, limited);
}

fn convert_behavior_rate(row: &Value) {
    let rules = BehaviorRules {
        scale_up: scaling_rules(&row["scale_up"]),
        scale_down: scaling_rules(&row["scale_down"]),
    };
    let (up, down) = (events_of(row, "up_events"), events_of(row, "down_events"));
    let limited = behavior::convert_desired_replicas_with_behavior_rate(
        i32_of(row, "current"),
        i32_of(row, "desired"),
        bounds(row),
        &rules,
        &Events { up: &up, down: &down },
        now().as_nanos(),
    );
    assert_limited(row, limited);
}

fn assert_limited(row: &Value, limited: behavior::Limited) {
    let expect = &row["expect"];
    assert_eq!(limited.replicas, i32_of(expect, "replicas"), "{}", row["id"]);
    assert_eq!(limited.reason.as_str(), expect["reason"].as_str().unwrap(), "{}", row["id"]);
}

fn stabilize_legacy(row: &Value) {
    let mut recommendations = recommendations_of(row);
    let window = row["window_s"].as_i64().unwrap() * 1_000_000_000;
    let desired = i32_of(row, "desired");
    let at = now().as_nanos();
    let got = behavior::stabilize_recommendation(&mut recommendations, desired, window, at);
    let expect = &row["expect"];
    assert_eq!(got.replicas, i32_of(expect, "replicas"), "{}", row["id"]);
    let length = expect["log_length"].as_u64().unwrap();
    assert_eq!(recommendations.len() as u64, length, "{}", row["id"]);
}

fn stabilize_behavior(row: &Value) {
    let mut recommendations = recommendations_of(row);
    let rules = |key: &str| Rules {
        window: row[key].as_i64().unwrap() * 1_000_000_000,
        select: behavior::SelectPolicy::Max,
        policies: Vec::new(),
    };
    let (current, desired) = (i32_of(row, "current"), i32_of(row, "desired"));
    let rules =
        BehaviorRules { scale_up: rules("up_window_s"), scale_down: rules("down_window_s") };
    let got = behavior::stabilize_recommendation_with_behaviors(
        &mut recommendations,
        current,
        desired,
        &rules,
        now().as_nanos(),
    );
    let expect = &row["expect"];
    assert_eq!(got.replicas, i32_of(expect, "replicas"), "{}", row["id"]);
    let reason = behavior::stabilization_reason(current, desired);
    assert_eq!(reason.as_str(), expect["actual_reason"].as_str().unwrap(), "{}", row["id"]);
    if let Some(after) = expect["recommendations_after"].as_array() {
        let got: Vec<i32> = recommendations.iter().map(|r| r.replicas).collect();
        let wanted: Vec<i32> = after.iter().map(|v| v.as_i64().unwrap() as i32).collect();
        assert_eq!(got, wanted, "{}", row["id"]);
    }
}

fn store_scale_event(row: &Value) {
    let mut events = events_of(row, "previous_events");
    let at = now().as_nanos();
    let expect = &row["expect"];
    let before = behavior::get_replicas_change_per_period(60_000_000_000, &events, at);
    assert_eq!(before, i32_of(expect, "change_in_last_60s_before_store"), "{}", row["id"]);
    if !row["rules"].is_null() {
        let longest = scaling_rules(&row["rules"]).longest_policy_period();
        behavior::store_scale_event(&mut events, i32_of(row, "replica_change"), longest, at);
    }
    let got: Vec<(i32, bool)> = events.iter().map(|e| (e.change, e.outdated)).collect();
    let wanted = list(expect, "events_after").iter();
    let wanted: Vec<(i32, bool)> =
        wanted.map(|e| (i32_of(e, "change"), e["outdated"].as_bool().unwrap())).collect();
    assert_eq!(got, wanted, "{}", row["id"]);
}

/// What a fault that a row injects does here.
fn fault_of(row: &Value) -> Option<ApiFault> {
    match row["inject"].as_str() {
        Some("selector_missing") => Some(ApiFault::SelectorMissing),
        Some("selector_unparsable") => Some(ApiFault::SelectorInvalid),
        Some("ambiguous_selector") => Some(ApiFault::SelectorAmbiguous),
        Some("scale_get_fails") => Some(ApiFault::GetScale),
        _ => None,
    }
}

/// An owned metric answer.
enum Answer {
    Error(FetchError),
    Pods(Vec<PodSample>, Vec<PodRequest>),
    Values(Vec<Milli>),
}

fn answers_of(row: &Value, names: &mut Vec<String>) -> Vec<Answer> {
    let metrics = list(&row["hpa_spec"], "metrics");
    let answer = |(metric, data): (&Value, &Value)| {
        if row["inject"] == "all_metrics_fail" || data["error"] == true {
            return Answer::Error(FetchError::Api("injected"));
        }
        let container = metric["containerResource"]["container"].as_str().unwrap_or_default();
        if let Some(samples) = data["pod_metrics"].as_array() {
            let samples = samples_of(samples, container, names);
            return Answer::Pods(samples, requests_of(row, container));
        }
        if data["values_milli"].is_array() {
            return Answer::Values(values_of(data, "values_milli"));
        }
        Answer::Error(FetchError::Empty)
    };
    // An HPA without metrics gets one by default.
    let none = Value::Null;
    let metrics: Vec<&Value> =
        if metrics.is_empty() { vec![&none] } else { metrics.iter().collect() };
    metrics.into_iter().zip(list(row, "metric_data")).map(answer).collect()
}

fn reconcile(row: &Value) {
    let id = &row["id"];
    let c = &row["controller"];
    let seconds = |key: &str| SimDuration::from_secs(c[key].as_u64().unwrap());
    let config = ControllerConfig {
        tolerance: c["tolerance"].as_f64().unwrap(),
        downscale_stabilization: seconds("downscale_stabilization_s"),
        cpu_initialization_period: seconds("cpu_initialization_period_s"),
        initial_readiness_delay: seconds("initial_readiness_delay_s"),
        scale_up_limit_factor: c["scale_up_limit_factor"].as_f64().unwrap(),
        scale_up_limit_minimum: c["scale_up_limit_minimum"].as_f64().unwrap(),
        scale_to_zero: row["features"]["HPAScaleToZero"] == true,
        configurable_tolerance: row["features"]["HPAConfigurableTolerance"] == true,
        ..ControllerConfig::for_minor(36)
    };
    let spec = spec_from_json_value(&row["hpa_spec"]).unwrap();
    let mut hpa = Hpa::new(&spec, config);
    let spec_replicas = i32_of(row, "spec_replicas");
    let conditions: Vec<_> = list(row, "initial_conditions")
        .iter()
        .map(|c| {
            assert_eq!(c["type"], "ScaledToZero");
            let on = c["status"] == "True";
            (ConditionType::ScaledToZero, on, Reason::ScaledToZero, SimTime::ZERO)
        })
        .collect();
    hpa.restore_status(spec_replicas, &conditions);
    if row["recommendations_given"] == true {
        hpa.restore_recommendations(&recommendations_of(row));
    }
    let mut names = Vec::new();
    let pods = pods_of(row, &mut names);
    let answers = answers_of(row, &mut names);
    let readings: Vec<MetricReading<'_>> = answers
        .iter()
        .map(|a| match a {
            Answer::Error(error) => MetricReading::Error(*error),
            Answer::Pods(samples, requests) => MetricReading::Resource { samples, requests },
            Answer::Values(values) => MetricReading::Values(values),
        })
        .collect();
    let scale_to = hpa
        .reconcile(&Observation {
            now: now(),
            now_decide: now(),
            spec_replicas,
            status_replicas: i32_of(row, "status_replicas"),
            pods: &pods,
            metrics: &readings,
            fault: fault_of(row),
        })
        .scale_to;
    if scale_to.is_some() {
        let failed = row["inject"] == "scale_update_fails";
        hpa.scale_written(now(), if failed { Err(ScaleWriteError("injected")) } else { Ok(()) });
    }
    let expect = &row["expect"];
    let written = scale_to.filter(|_| row["inject"] != "scale_update_fails");
    let action = match written {
        Some(n) if n > spec_replicas => "scale_up",
        Some(_) => "scale_down",
        None => "none",
    };
    let decision = hpa.decision();
    assert_eq!(action, expect["action"].as_str().unwrap(), "{id}: {decision:?}");
    assert_eq!(decision.desired_replicas, i32_of(expect, "desired_replicas"), "{id}");
    let got: Vec<(String, Value)> = decision
        .conditions
        .iter()
        .map(|c| {
            let value = serde_json::json!([c.status_str(), c.reason.as_str()]);
            (c.kind.as_str().to_owned(), value)
        })
        .collect();
    let got = Value::Object(got.into_iter().collect());
    assert_eq!(got, expect["conditions"], "{id}");
}

fn run(cases: &Value) -> usize {
    let cases = list(cases, "cases");
    for row in cases {
        match row["kind"].as_str().unwrap() {
            "replica_calc" => replica_calc(row),
            "group_pods" => group_pods(row),
            "convert_legacy" => convert_legacy(row),
            "convert_behavior_rate" => convert_behavior_rate(row),
            "stabilize_legacy" => stabilize_legacy(row),
            "stabilize_behavior" => stabilize_behavior(row),
            "store_scale_event" => store_scale_event(row),
            "reconcile" => reconcile(row),
            other => panic!("kind {other}"),
        }
    }
    cases.len()
}

#[test]
fn derived_rows_confirmed_on_the_real_functions() {
    assert_eq!(run(&measured()), 63);
}

#[test]
fn upstream_table_tests() {
    if let Some(cases) = shared() {
        assert_eq!(run(&cases), 329);
    }
}

#[test]
fn quantities() {
    let cases = measured();
    let rows = list(&cases["quantity_parse"], "rows");
    assert_eq!(rows.len(), 103);
    for row in rows {
        let input = row["input"].as_str().unwrap();
        let parsed = Quantity::parse(input);
        if let Some(error) = row["error"].as_str() {
            assert_eq!(parsed.expect_err(input).to_string(), error, "{input:?}");
            continue;
        }
        let q = parsed.unwrap_or_else(|e| panic!("{input:?}: {e}"));
        assert_eq!(q.canonical(), row["canonical"].as_str().unwrap(), "{input:?}");
        assert_eq!(q.milli_value(), row["milli"].as_i64().unwrap(), "{input:?}");
        assert_eq!(q.value(), row["value"].as_i64().unwrap(), "{input:?}");
        assert_eq!(i64::from(q.sign()), row["sign"].as_i64().unwrap(), "{input:?}");
        let float: f64 = row["float_after_canonical"].as_str().unwrap().parse().unwrap();
        assert_eq!(q.approximate_f64().to_bits(), float.to_bits(), "{input:?}");
    }
    let rows = list(&cases["milli_to_string"], "rows");
    assert!(!rows.is_empty());
    for row in rows {
        let q = Quantity::from_milli(row["milli_quantity"].as_i64().unwrap());
        assert_eq!(q.canonical(), row["string"].as_str().unwrap());
    }
}

#[test]
fn conversions_are_those_of_linux_amd64() {
    let cases = measured();
    for row in list(&cases["float_to_int_amd64"], "rows") {
        let float = match row["float"].as_str().unwrap() {
            "+Inf" => f64::INFINITY,
            text => text.parse().unwrap(),
        };
        assert_eq!(calculator::ceil_i32(float), i32_of(row, "int32"), "{float}");
        assert_eq!(calculator::ceil_i64(float), row["int64"].as_i64().unwrap(), "{float}");
    }
}

#[test]
fn validation() {
    let cases = measured();
    let rows = list(&cases["validation"], "rows");
    assert_eq!(rows.len(), 64);
    for row in rows {
        let name = &row["name"];
        let spec = spec_from_json_value(&row["spec"]);
        if row["decode_error"].is_string() {
            assert!(spec.is_err(), "{name}");
            continue;
        }
        let spec = spec.unwrap_or_else(|e| panic!("{name}: {e:?}")).defaulted();
        if !row["defaulted_spec"].is_null() {
            let wanted = spec_from_json_value(&row["defaulted_spec"]).unwrap();
            assert_eq!(spec_to_json_value(&spec), spec_to_json_value(&wanted), "{name}");
        }
        let scale_to_zero = row["feature_HPAScaleToZero"] == true;
        let options = ValidationOptions { scale_to_zero, ..ValidationOptions::default() };
        let got: Vec<_> = spec
            .validate(&options)
            .into_iter()
            .map(|e| {
                let kind = match e.kind {
                    FieldErrorKind::Required => "FieldValueRequired",
                    FieldErrorKind::Invalid => "FieldValueInvalid",
                    FieldErrorKind::NotSupported => "FieldValueNotSupported",
                    FieldErrorKind::Forbidden => "FieldValueForbidden",
                    FieldErrorKind::Unknown => "unknown",
                };
                serde_json::json!({"detail": e.message, "field": e.path, "type": kind})
            })
            .collect();
        assert_eq!(Value::Array(got), row["errors"], "{name}");
    }
}
