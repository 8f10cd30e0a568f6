//! Replays recorded decisions of the real HPA controller.
//!
//! A recording is a file of JSON lines: a header, then one scenario per line with the HPA's spec, the
//! controller's settings and the steps of its reconciles, each with inputs and outputs. Every step
//! is replayed through [`crate::hpa`] and compared in scale write, `status.desiredReplicas`,
//! conditions (status and reason) and the reported metric values.
//!
//! Fields of a step: `t_get_ms`, `t_decide_ms`, `t_scaled_ms` (omitted with no write), `spec`, `status`
//! (replica counts read), `pods` (`[name, phase, ready, deleting]`, omitted if unchanged), `metrics` (one
//! entry per metric: `error`, `pods` or `values`; empty if none was consulted), `scaled_to`,
//! `desired`, `conditions` (omitted if unchanged), `current` (quantities, empty for a failed metric).

use std::collections::BTreeMap;
use std::io::BufRead;

use serde::Deserialize;

use crate::hpa::{
    Condition, ControllerConfig, Decision, FetchError, Hpa, HpaSpec, MetricReading, Observation,
    PodPhase, PodRequest, PodSample, PodView, Ready, ScaleWriteError,
};
use crate::manifest;
use crate::units::{Milli, SimDuration, SimTime};

/// What a replay found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HpaReplay {
    /// Scenarios replayed.
    pub scenarios: u64,
    /// Reconciles compared.
    pub steps: u64,
    /// Reconciles that differ in any compared value.
    pub mismatches: u64,
    /// The first differences in full.
    pub first: Vec<String>,
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct HpaReplayError {
    /// Line of the recording, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

/// Differences reported in full per recording.
const FIRST_MAX: usize = 3;

/// One line of a recording.
#[derive(Deserialize)]
struct Scenario {
    name: String,
    #[serde(default)]
    controller: Controller,
    #[serde(default)]
    features: Features,
    hpa_spec_defaulted: serde_json::Value,
    /// Minor release of the recorded controller; absent in the recordings of 1.36.
    k8s_minor: Option<u32>,
    steps: Vec<Step>,
}

/// Flags; absent ones have their defaults.
#[derive(Default, Deserialize)]
struct Controller {
    downscale_stabilization_s: Option<f64>,
    tolerance: Option<f64>,
    cpu_initialization_period_s: Option<f64>,
    initial_readiness_delay_s: Option<f64>,
}

/// Feature gates; absent ones have the default of the minor release.
#[derive(Default, Deserialize)]
struct Features {
    #[serde(rename = "HPAScaleToZero")]
    scale_to_zero: Option<bool>,
    #[serde(rename = "HPAConfigurableTolerance")]
    configurable_tolerance: Option<bool>,
}

#[derive(Deserialize)]
struct Step {
    t_get_ms: f64,
    t_decide_ms: f64,
    t_scaled_ms: Option<f64>,
    spec: i32,
    status: i32,
    pods: Option<Vec<PodRow>>,
    #[serde(default)]
    metrics: Vec<Reading>,
    scaled_to: Option<i32>,
    desired: i32,
    conditions: Option<BTreeMap<String, (String, String)>>,
    #[serde(default)]
    current: Vec<String>,
}

/// `[name, phase, ready, deleting]`.
type PodRow = (String, String, bool, bool);

#[derive(Deserialize)]
struct Reading {
    #[serde(default)]
    error: bool,
    pods: Option<BTreeMap<String, i64>>,
    values: Option<Vec<i64>>,
    /// Requests per pod in thousandths, for utilisation targets.
    requests: Option<BTreeMap<String, i64>>,
}

/// Replays every scenario of a recording and says what differs.
pub fn replay(mut reader: impl BufRead) -> Result<HpaReplay, HpaReplayError> {
    let mut out = HpaReplay::default();
    let mut text = String::new();
    for line in 1.. {
        text.clear();
        let fail = |message: String| HpaReplayError { line, message };
        if reader.read_line(&mut text).map_err(|e| fail(e.to_string()))? == 0 {
            break;
        }
        if text.trim().is_empty() {
            continue;
        }
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|e| fail(e.to_string()))?;
        if value.get("_header").is_some() {
            continue;
        }
        let scenario: Scenario = serde_json::from_value(value).map_err(|e| fail(e.to_string()))?;
        let spec = manifest::spec_from_json_value(&scenario.hpa_spec_defaulted)
            .map_err(|e| fail(e.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
        let minor = scenario.k8s_minor.unwrap_or(ControllerConfig::DEFAULT_MINOR);
        if !ControllerConfig::SUPPORTED_MINORS.contains(&minor) {
            return Err(fail(format!("k8s_minor {minor} is not supported")));
        }
        if let Some(message) = scenario.steps.iter().find_map(Step::fault) {
            return Err(fail(message));
        }
        replay_scenario(&scenario, &spec, &mut out);
        out.scenarios += 1;
    }
    if out.scenarios == 0 {
        return Err(HpaReplayError { line: 1, message: "no scenario in this file".to_owned() });
    }
    Ok(out)
}

impl Step {
    /// Why the step cannot be replayed: times outside the simulator's clock or not in order, or a pod
    /// listed twice (names are unique in a namespace).
    fn fault(&self) -> Option<String> {
        let horizon = SimTime::MAX_HORIZON.as_secs_f64() * 1e3;
        let times = [Some(self.t_get_ms), Some(self.t_decide_ms), self.t_scaled_ms];
        let times: Vec<f64> = times.into_iter().flatten().collect();
        let at = self.t_get_ms;
        if !times.is_sorted() || times.iter().any(|t| !(0.0..=horizon).contains(t)) {
            return Some(format!("times of the step at {at:?} ms are not in order within 90 days"));
        }
        let mut names: Vec<&str> = self.pods.iter().flatten().map(|row| row.0.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).find(|pair| pair[0] == pair[1])?;
        Some(format!("pod `{}` is listed twice in the step at {at:?} ms", twice[0]))
    }
}

/// Milliseconds of a recording, which has microseconds at most.
fn instant(ms: f64) -> SimTime {
    SimTime::ZERO + SimDuration::from_ps((ms * 1e6).round() as u64 * 1000)
}

fn config(scenario: &Scenario) -> ControllerConfig {
    let minor = scenario.k8s_minor.unwrap_or(ControllerConfig::DEFAULT_MINOR);
    let default = ControllerConfig::for_minor(minor);
    let (flags, gates) = (&scenario.controller, &scenario.features);
    let duration = |s: Option<f64>, or: SimDuration| s.map_or(or, SimDuration::from_secs_f64);
    ControllerConfig {
        tolerance: flags.tolerance.unwrap_or(default.tolerance),
        downscale_stabilization: duration(
            flags.downscale_stabilization_s,
            default.downscale_stabilization,
        ),
        cpu_initialization_period: duration(
            flags.cpu_initialization_period_s,
            default.cpu_initialization_period,
        ),
        initial_readiness_delay: duration(
            flags.initial_readiness_delay_s,
            default.initial_readiness_delay,
        ),
        scale_to_zero: gates.scale_to_zero.unwrap_or(default.scale_to_zero),
        configurable_tolerance: gates
            .configurable_tolerance
            .unwrap_or(default.configurable_tolerance),
        ..default
    }
}

/// Pod names get keys in order of appearance.
#[derive(Default)]
struct Names {
    keys: BTreeMap<String, u32>,
}

impl Names {
    fn key(&mut self, name: &str) -> u32 {
        if let Some(key) = self.keys.get(name) {
            return *key;
        }
        let key = self.keys.len() as u32;
        self.keys.insert(name.to_owned(), key);
        key
    }
}

/// The answer to one metric call, owned.
enum Answer {
    Error,
    Pods(Vec<PodSample>, Vec<PodRequest>),
    Values(Vec<Milli>),
}

impl Answer {
    fn new(reading: &Reading, names: &mut Names, pods: &[PodRow], at: SimTime) -> Self {
        if let (false, Some(samples)) = (reading.error, &reading.pods) {
            let samples = samples
                .iter()
                .map(|(name, value)| PodSample::new(names.key(name), Milli(*value), at))
                .collect();
            let request = |row: &PodRow| {
                let requests = reading.requests.as_ref().and_then(|r| r.get(&row.0));
                requests.map_or(PodRequest::Missing, |milli| PodRequest::Set(Milli(*milli)))
            };
            return Self::Pods(samples, pods.iter().map(request).collect());
        }
        match (&reading.values, reading.error) {
            (Some(values), false) => Self::Values(values.iter().map(|v| Milli(*v)).collect()),
            _ => Self::Error,
        }
    }

    fn reading(&self) -> MetricReading<'_> {
        match self {
            Self::Error => MetricReading::Error(FetchError::Api("recorded failure")),
            Self::Pods(samples, requests) => MetricReading::Resource { samples, requests },
            Self::Values(values) => MetricReading::Values(values),
        }
    }
}

fn pod_view(row: &PodRow, names: &mut Names) -> PodView {
    PodView {
        key: names.key(&row.0),
        phase: match row.1.as_str() {
            "Pending" => PodPhase::Pending,
            "Running" => PodPhase::Running,
            "Succeeded" => PodPhase::Succeeded,
            "Failed" => PodPhase::Failed,
            _ => PodPhase::Unknown,
        },
        ready: if row.2 { Ready::True } else { Ready::False },
        deleting: row.3,
        start_time: None,
        ready_transition: SimTime::ZERO,
    }
}

fn replay_scenario(scenario: &Scenario, spec: &HpaSpec, out: &mut HpaReplay) {
    let mut hpa = Hpa::new(spec, config(scenario));
    let mut names = Names::default();
    let mut rows: &[PodRow] = &[];
    let mut pods: Vec<PodView> = Vec::new();
    let mut expected_conditions: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (i, step) in scenario.steps.iter().enumerate() {
        if let Some(list) = &step.pods {
            rows = list;
            pods = list.iter().map(|row| pod_view(row, &mut names)).collect();
        }
        let decide = instant(step.t_decide_ms);
        let answers: Vec<Answer> =
            step.metrics.iter().map(|m| Answer::new(m, &mut names, rows, decide)).collect();
        let readings: Vec<MetricReading<'_>> = answers.iter().map(Answer::reading).collect();
        let decision = hpa.reconcile(&Observation {
            now: instant(step.t_get_ms),
            now_decide: decide,
            spec_replicas: step.spec,
            status_replicas: step.status,
            pods: &pods,
            metrics: &readings,
            fault: None,
        });
        let scale_to = decision.scale_to;
        if scale_to.is_some() {
            // A write that the recording lacks is a mismatch; it is taken as done at once.
            let at = step.t_scaled_ms.map_or(decide, instant);
            hpa.scale_written(at, Ok::<(), ScaleWriteError>(()));
        }
        if let Some(conditions) = &step.conditions {
            expected_conditions.clone_from(conditions);
        }
        out.steps += 1;
        let differences = compare(step, &expected_conditions, scale_to, hpa.decision());
        if differences.is_empty() {
            continue;
        }
        out.mismatches += 1;
        if out.first.len() < FIRST_MAX {
            let mut text = format!("scenario {}, step {i}:\n", scenario.name);
            for line in differences.into_iter().chain(render(step, &hpa)) {
                text.push_str("  ");
                text.push_str(&line);
                text.push('\n');
            }
            out.first.push(text);
        }
    }
}

/// What differs, each as `field: recorded .., replayed ..`.
fn compare(
    step: &Step,
    conditions: &BTreeMap<String, (String, String)>,
    scale_to: Option<i32>,
    decision: &Decision,
) -> Vec<String> {
    let mut out = Vec::new();
    let shown = |n: Option<i32>| n.map_or_else(|| "none".to_owned(), |n| n.to_string());
    if step.scaled_to != scale_to {
        let (recorded, replayed) = (shown(step.scaled_to), shown(scale_to));
        out.push(format!("scale write: recorded {recorded}, replayed {replayed}"));
    }
    if step.desired != decision.desired_replicas {
        let (recorded, replayed) = (step.desired, decision.desired_replicas);
        out.push(format!("desiredReplicas: recorded {recorded}, replayed {replayed}"));
    }
    let same = |c: &Condition| {
        conditions
            .get(c.kind.as_str())
            .is_some_and(|(status, reason)| status == c.status_str() && reason == c.reason.as_str())
    };
    let replayed = &decision.conditions;
    if replayed.iter().count() != conditions.len() || !replayed.iter().all(same) {
        let recorded: Vec<_> = conditions
            .iter()
            .map(|(kind, (status, reason))| format!("{kind}={status}/{reason}"))
            .collect();
        let replayed: Vec<_> = replayed
            .iter()
            .map(|c| format!("{}={}/{}", c.kind.as_str(), c.status_str(), c.reason.as_str()))
            .collect();
        let (recorded, replayed) = (recorded.join(" "), replayed.join(" "));
        out.push(format!("conditions: recorded {recorded}, replayed {replayed}"));
    }
    let current = &decision.current_metrics;
    let same_value = |(text, value): (&String, &crate::hpa::CurrentValue)| match value.quantity() {
        Some(quantity) => quantity.canonical() == text,
        None => text.is_empty(),
    };
    let equal =
        step.current.len() == current.len() && step.current.iter().zip(current).all(same_value);
    if !equal {
        let replayed: Vec<_> = current
            .iter()
            .map(|v| v.quantity().map_or_else(String::new, |q| q.to_string()))
            .collect();
        let recorded = &step.current;
        out.push(format!("current metrics: recorded {recorded:?}, replayed {replayed:?}"));
    }
    out
}

/// Everything that led to a decision, for a mismatch's text.
fn render(step: &Step, hpa: &Hpa) -> Vec<String> {
    let decision = hpa.decision();
    let mut out = vec![format!(
        "t={} ms, decided {} ms, spec.replicas {}, status.replicas {}",
        step.t_get_ms, step.t_decide_ms, step.spec, step.status
    )];
    for (i, reading) in step.metrics.iter().enumerate() {
        let name = hpa.metric_display_name(i);
        let got = match (&reading.pods, &reading.values) {
            _ if reading.error => "failed".to_owned(),
            (Some(pods), _) => format!("{pods:?}"),
            (None, Some(values)) => format!("{values:?}"),
            (None, None) => "nothing".to_owned(),
        };
        out.push(format!("{name} (milli): {got}"));
        if let Some(metric) = decision.metrics.get(i) {
            out.push(format!("  -> {metric:?}"));
        }
    }
    out.push(format!("branch {:?}, {:?}", decision.branch, decision.limits));
    out.push(format!(
        "proposed {:?}, stabilized {:?}, limited {:?}",
        decision.proposed_replicas, decision.stabilized_replicas, decision.limited_replicas
    ));
    out.push(format!("recommendations {:?}", hpa.recommendations()));
    out.push(format!("scale events {:?}", hpa.scale_events()));
    out
}
