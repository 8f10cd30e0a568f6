//! `explain.jsonl`: one line per scale decision with everything that led to it, written by `run`, read by
//! `explain`. Decisions that a window or a limit held have a line too, the first of each run of them.

use crate::hpa::calculator::PodGroup;
use crate::hpa::{
    Conditions, Decision, Event, Hpa, MetricOutcome, PolicyExplanation, Rates, Reason, Window,
    rescale_text,
};
use crate::sim::{Explanation, PodReading, RunRecord};
use crate::units::{Milli, SimDuration, SimTime};
use serde::{Deserialize, Serialize};

/// Namespace that messages name.
const NAMESPACE: &str = "default";

/// One line. Field names are part of the file format; times and ages are seconds.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct DecisionLine {
    /// When the reconcile read the scale.
    pub t_s: f64,
    /// When it decided.
    pub decided_s: f64,
    /// When the scale write landed; none if the scale was held.
    pub written_s: Option<f64>,
    /// The controller's branch: `Metrics`, `AboveMax`, `BelowMin`.
    pub branch: String,
    /// `spec.replicas` as read.
    pub current_replicas: i32,
    /// One entry per metric; empty if none was asked for.
    pub metrics: Vec<MetricLine>,
    /// Index of the metric whose proposal won.
    pub chosen_metric: Option<usize>,
    /// The winning proposal.
    pub proposed_replicas: Option<i32>,
    /// The stabilisation windows.
    pub window: WindowLine,
    /// After the windows.
    pub stabilized_replicas: Option<i32>,
    /// The rate limit of the direction wanted; none if no change is wanted.
    pub policy: Option<PolicyLine>,
    /// `minReplicas`.
    pub min_replicas: i32,
    /// `maxReplicas`.
    pub max_replicas: i32,
    /// After policies, minimum and maximum.
    pub limited_replicas: Option<i32>,
    /// `status.desiredReplicas`.
    pub desired_replicas: i32,
    /// The scale written.
    pub scale_to: Option<i32>,
    /// Why, in the controller's words; empty if the scale was held.
    pub rescale_reason: String,
    /// Conditions at the end of the reconcile.
    pub conditions: Vec<ConditionLine>,
    /// The event that ended it.
    pub event: Option<EventLine>,
}

/// One metric of a decision.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct MetricLine {
    /// Metric name.
    pub name: String,
    /// `Pods`, `External`, ...
    pub r#type: String,
    /// `AverageValue`, `Value` or `Utilization`.
    pub target_type: String,
    /// Target as a quantity, or percent.
    pub target: String,
    /// By pod, in order of pod.
    pub samples: Vec<SampleLine>,
    /// Pods that counted as they are.
    pub pods_ready: u32,
    /// Pending pods.
    pub pods_unready: u32,
    /// Pods without a sample.
    pub pods_missing: u32,
    /// Terminating and failed pods.
    pub pods_ignored: u32,
    /// What the HPA computed from the samples, as its status shows it.
    pub usage: Option<String>,
    /// Usage over target.
    pub usage_ratio: Option<f64>,
    /// The same with missing and pending pods filled in.
    pub final_ratio: Option<f64>,
    /// Ratios from here ...
    pub tolerance_low: f64,
    /// ... to here change nothing.
    pub tolerance_high: f64,
    /// The ratio that decided is inside.
    pub within_tolerance: bool,
    /// Replicas asked for.
    pub proposal: Option<i32>,
    /// Why there is no proposal.
    pub failure: Option<String>,
}

/// One pod's part in a metric.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct SampleLine {
    /// Pod name.
    pub pod: String,
    /// Value as the adapter gave it.
    pub value: Option<f64>,
    /// Time from its scrape to the reconcile.
    pub age_s: Option<f64>,
    /// `ready`, `unready`, `missing`, `ignored`; `sum` where the HPA only saw the sum.
    pub counted: String,
}

/// The stabilisation windows.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct WindowLine {
    /// Length of the scale-up window.
    pub scale_up_s: f64,
    /// Length of the scale-down window.
    pub scale_down_s: f64,
    /// Lowest recommendation of the scale-up window.
    pub scale_up_floor: Option<i32>,
    /// Highest recommendation of the scale-down window.
    pub scale_down_ceiling: Option<i32>,
    /// Recommendations inside a window, newest first; the first is this reconcile's.
    pub recommendations: Vec<RecommendationLine>,
    /// Reason of `AbleToScale` before the write.
    pub reason: Option<ConditionLine>,
}

/// One recommendation.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct RecommendationLine {
    /// Replicas.
    pub replicas: i32,
    /// Age at the decision.
    pub age_s: f64,
    /// Inside the scale-up window.
    pub in_scale_up: bool,
    /// Inside the scale-down window.
    pub in_scale_down: bool,
    /// It is what the stabilisation went back to.
    pub held: bool,
}

/// The rate limit of one direction.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct PolicyLine {
    /// `scaleUp` or `scaleDown`.
    pub direction: String,
    /// `Max`, `Min`, `Disabled`; empty without `behavior`, where a fixed rule holds.
    pub select_policy: String,
    /// The policies in order.
    pub policies: Vec<PolicyBudgetLine>,
    /// What they admit together.
    pub limit: Option<i32>,
}

/// One policy and what is left of it.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct PolicyBudgetLine {
    /// `Pods` or `Percent`.
    pub r#type: String,
    /// Pods or percent.
    pub value: i32,
    /// `periodSeconds`.
    pub period_s: f64,
    /// Replicas at the start of the period.
    pub start_replicas: i32,
    /// Replicas that it admits.
    pub limit: i32,
    /// Scale events inside the period, newest first.
    pub events: Vec<ScaleEventLine>,
}

/// A scale event that a policy looked back at.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ScaleEventLine {
    /// Replicas added, or removed if negative.
    pub change: i32,
    /// Age at the decision.
    pub age_s: f64,
}

/// One condition of the HPA's status.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct ConditionLine {
    /// `type`.
    pub r#type: String,
    /// `True` or `False`.
    pub status: String,
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
}

/// A Kubernetes event.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct EventLine {
    /// `Normal` or `Warning`.
    pub r#type: String,
    /// `reason`.
    pub reason: String,
    /// `message`.
    pub message: String,
}

/// The whole file; empty without an HPA.
pub fn explain_jsonl(record: &RunRecord) -> Vec<u8> {
    let mut text = String::new();
    if let Some(hpa) = &record.hpa {
        for explanation in &record.explanations {
            let line = line(explanation, hpa);
            text.push_str(&serde_json::to_string(&line).expect("numbers and strings are JSON"));
            text.push('\n');
        }
    }
    text.into_bytes()
}

/// The decisions of a file.
///
/// # Errors
/// Names the line that is not one of `explain.jsonl`.
pub fn read_explain_jsonl(text: &str) -> Result<Vec<DecisionLine>, String> {
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| format!("line {}: {error}", i + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

fn line(explanation: &Explanation, hpa: &Hpa) -> DecisionLine {
    let decision = &explanation.decision;
    let spec = hpa.spec();
    let metrics = decision.metrics.iter().enumerate();
    DecisionLine {
        t_s: decision.now.as_secs_f64(),
        decided_s: decision.now_decide.as_secs_f64(),
        written_s: explanation.written_at.map(SimTime::as_secs_f64),
        branch: format!("{:?}", decision.branch),
        current_replicas: decision.current_replicas,
        metrics: metrics.map(|(i, m)| metric_line(i, m, explanation, hpa)).collect(),
        chosen_metric: decision.chosen_metric,
        proposed_replicas: decision.proposed_replicas,
        window: window_line(explanation, hpa),
        stabilized_replicas: decision.stabilized_replicas,
        policy: policy_line(explanation),
        min_replicas: spec.min_replicas.unwrap_or(1),
        max_replicas: spec.max_replicas,
        limited_replicas: decision.limited_replicas,
        desired_replicas: decision.desired_replicas,
        scale_to: decision.scale_to,
        rescale_reason: rescale_text(spec, decision.rescale_reason),
        conditions: condition_lines(&explanation.conditions, hpa),
        event: decision.event.map(|event| event_line(event, decision, hpa)),
    }
}

fn metric_line(
    index: usize,
    outcome: &MetricOutcome,
    explanation: &Explanation,
    hpa: &Hpa,
) -> MetricLine {
    let metric = hpa.spec().metrics.get(index);
    let target_type = metric.and_then(|m| m.target()).map_or(String::new(), |t| t.kind.clone());
    let chain = &explanation.chain.metrics[index];
    let at = explanation.decision.now;
    let readings = explanation.samples.get(index).map_or(&[][..], Vec::as_slice);
    MetricLine {
        name: metric.map_or(String::new(), |m| m.metric_name().to_owned()),
        r#type: metric.map_or(String::new(), |m| m.kind.clone()),
        target_type,
        target: chain.target.1.clone(),
        samples: readings.iter().map(|reading| sample_line(reading, at)).collect(),
        pods_ready: outcome.pods.ready,
        pods_unready: outcome.pods.unready,
        pods_missing: outcome.pods.missing,
        pods_ignored: outcome.pods.ignored,
        usage: chain.current.clone(),
        usage_ratio: chain.ratio,
        final_ratio: chain.final_ratio,
        tolerance_low: chain.tolerance.0,
        tolerance_high: chain.tolerance.1,
        within_tolerance: chain.within,
        proposal: chain.proposal,
        failure: chain.failure.clone(),
    }
}

fn sample_line(reading: &PodReading, at: SimTime) -> SampleLine {
    let counted = match reading.group {
        Some(PodGroup::Ready) => "ready",
        Some(PodGroup::Unready) => "unready",
        Some(PodGroup::Missing) => "missing",
        Some(PodGroup::Ignored) => "ignored",
        None => "sum",
    };
    SampleLine {
        pod: format!("pod-{}", reading.pod.0),
        value: reading.value.map(|Milli(milli)| milli as f64 / 1000.0),
        age_s: reading.scraped_at.map(|scraped| at.saturating_since(scraped).as_secs_f64()),
        counted: counted.to_owned(),
    }
}

fn window_line(explanation: &Explanation, hpa: &Hpa) -> WindowLine {
    let (decision, chain) = (&explanation.decision, &explanation.chain);
    let length = |window: &Option<Window>| window.as_ref().map_or(0.0, |w| w.length.as_secs_f64());
    let list = |window: &Option<Window>| -> Vec<(i32, SimDuration)> {
        window.as_ref().map_or(Vec::new(), |w| w.recommendations.clone())
    };
    let (up, down) = (list(&chain.up_window), list(&chain.down_window));
    let (in_up, in_down) = (up.len(), down.len());
    // Both are newest first, so the shorter window is the beginning of the longer one.
    let list = if in_up > in_down { up } else { down };
    let wanted = decision.proposed_replicas.map(|n| n.max(0));
    // Only a recommendation other than the proposal holds anything.
    let held = decision.stabilized_replicas.filter(|n| Some(*n) != wanted);
    let holder = held.and_then(|n| list.iter().position(|r| r.0 == n));
    let recommendation = |(i, (replicas, age)): (usize, &(i32, SimDuration))| RecommendationLine {
        replicas: *replicas,
        age_s: age.as_secs_f64(),
        in_scale_up: i < in_up,
        in_scale_down: i < in_down,
        held: holder == Some(i),
    };
    let mut conditions = condition_lines(&decision.conditions, hpa);
    conditions.retain(|c| c.r#type == "AbleToScale");
    WindowLine {
        scale_up_s: length(&chain.up_window),
        scale_down_s: length(&chain.down_window),
        scale_up_floor: chain.up_window.as_ref().map(|w| w.picked),
        scale_down_ceiling: chain.down_window.as_ref().map(|w| w.picked),
        recommendations: list.iter().enumerate().map(recommendation).collect(),
        reason: conditions.pop(),
    }
}

fn policy_line(explanation: &Explanation) -> Option<PolicyLine> {
    let decision = &explanation.decision;
    match &explanation.chain.rates {
        Rates::Unused => None,
        // Without `behavior` only scale-ups have a rate limit.
        Rates::Legacy { limit } => {
            let up = decision.stabilized_replicas > Some(decision.current_replicas);
            up.then(|| PolicyLine {
                direction: "scaleUp".to_owned(),
                select_policy: String::new(),
                policies: Vec::new(),
                limit: Some(*limit),
            })
        }
        Rates::Policies { up, select, policies, limit } => Some(PolicyLine {
            direction: if *up { "scaleUp" } else { "scaleDown" }.to_owned(),
            select_policy: (*select).to_owned(),
            policies: policies.iter().map(policy_budget).collect(),
            limit: Some(*limit),
        }),
    }
}

fn policy_budget(policy: &PolicyExplanation) -> PolicyBudgetLine {
    let event = |(change, age): &(i32, SimDuration)| ScaleEventLine {
        change: *change,
        age_s: age.as_secs_f64(),
    };
    PolicyBudgetLine {
        r#type: policy.kind.to_owned(),
        value: policy.value,
        period_s: policy.period.as_secs_f64(),
        start_replicas: policy.start,
        limit: policy.limit,
        events: policy.events.iter().map(event).collect(),
    }
}

fn condition_lines(conditions: &Conditions, hpa: &Hpa) -> Vec<ConditionLine> {
    let line = |condition: &crate::hpa::Condition| ConditionLine {
        r#type: condition.kind.as_str().to_owned(),
        status: condition.status_str().to_owned(),
        reason: Reason::as_str(condition.reason).to_owned(),
        message: hpa.condition_message(condition, NAMESPACE),
    };
    conditions.iter().map(line).collect()
}

fn event_line(event: Event, decision: &Decision, hpa: &Hpa) -> EventLine {
    let message = match event {
        Event::SuccessfulRescale(n) => {
            format!("New size: {n}; reason: {}", rescale_text(hpa.spec(), decision.rescale_reason))
        }
        _ => String::new(),
    };
    EventLine { r#type: event.event_type().to_owned(), reason: event.reason().to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::spec::{Behavior, MetricSpec, ScalingPolicy, ScalingRules};
    use crate::hpa::{
        ControllerConfig, HpaSpec, MetricReading, Observation, PodPhase, PodSample, PodView,
        Quantity, Ready,
    };
    use crate::units::PodId;

    /// An HPA at two replicas with `waiting` thousandths per pod, which just went from one to two.
    fn explained(waiting: i64) -> (Explanation, Hpa) {
        let up = ScalingRules {
            policies: Some(vec![ScalingPolicy::pods(2, 60), ScalingPolicy::percent(100, 15)]),
            ..ScalingRules::default()
        };
        let spec = HpaSpec {
            min_replicas: Some(1),
            max_replicas: 10,
            metrics: vec![MetricSpec::pods("waiting", Quantity::from_milli(5000))],
            behavior: Some(Behavior { scale_up: Some(up), scale_down: None }),
            ..HpaSpec::default()
        };
        let mut hpa = Hpa::new(&spec, ControllerConfig::for_minor(34));
        let pod = |key| PodView {
            key,
            phase: PodPhase::Running,
            ready: Ready::True,
            deleting: false,
            start_time: Some(SimTime::ZERO),
            ready_transition: SimTime::ZERO,
        };
        let pods = [pod(0), pod(1)];
        let mut at = SimTime::from_secs(100);
        let mut chain = None;
        for (replicas, value) in [(1, 10_000), (2, waiting)] {
            let scraped = SimTime::from_ps(at.as_ps() - 12_500_000_000_000);
            let samples: Vec<PodSample> =
                (0..replicas).map(|key| PodSample::new(key, Milli(value), scraped)).collect();
            let readings = [MetricReading::Pods(&samples)];
            let seen = Observation {
                now: at,
                now_decide: at,
                spec_replicas: replicas.cast_signed(),
                status_replicas: replicas.cast_signed(),
                pods: &pods[..replicas as usize],
                metrics: &readings,
                fault: None,
            };
            hpa.reconcile(&seen);
            chain = Some(hpa.explain(&seen, NAMESPACE));
            if replicas == 1 {
                hpa.scale_written(at, Ok(()));
                at = SimTime::from_secs(120);
            }
        }
        let reading = |pod| PodReading {
            pod: PodId(pod),
            value: Some(Milli(waiting)),
            scraped_at: Some(SimTime::from_ps(107_500_000_000_000)),
            group: Some(PodGroup::Ready),
        };
        let explanation = Explanation {
            decision: hpa.decision().clone(),
            chain: chain.unwrap(),
            conditions: hpa.decision().conditions,
            written_at: hpa.decision().scale_to.map(|_| at),
            samples: vec![vec![reading(0), reading(1)]],
        };
        (explanation, hpa)
    }

    #[test]
    fn a_scale_up_tells_what_consumed_its_policies() {
        let (explanation, hpa) = explained(50_000);
        let line = line(&explanation, &hpa);
        let metric = &line.metrics[0];
        assert_eq!((metric.final_ratio, metric.proposal), (Some(10.0), Some(20)));
        assert_eq!((metric.target.as_str(), metric.usage.as_deref()), ("5", Some("50")));
        assert_eq!((metric.tolerance_low, metric.tolerance_high), (0.9, 1.1));
        assert_eq!((metric.samples[0].age_s, metric.samples[0].value), (Some(12.5), Some(50.0)));
        let policy = line.policy.unwrap();
        assert_eq!((policy.direction.as_str(), policy.select_policy.as_str()), ("scaleUp", "Max"));
        // Two pods a minute from one: the event of 20 s ago took one. 100 % of two in 15 s: nothing yet.
        let [pods, percent] = policy.policies.as_slice() else { panic!("two policies") };
        assert_eq!((pods.start_replicas, pods.limit, pods.events.len()), (1, 3, 1));
        assert_eq!((pods.events[0].change, pods.events[0].age_s), (1, 20.0));
        assert_eq!((percent.start_replicas, percent.limit, percent.events.len()), (2, 4, 0));
        assert_eq!(
            (policy.limit, line.limited_replicas, line.scale_to),
            (Some(4), Some(4), Some(4))
        );
        assert_eq!(line.rescale_reason, "pods metric waiting above target");
        let limited = line.conditions.iter().find(|c| c.r#type == "ScalingLimited").unwrap();
        assert_eq!(limited.reason, "ScaleUpLimit");
    }

    #[test]
    fn a_held_scale_down_names_the_recommendation_that_held_it() {
        let (explanation, hpa) = explained(0);
        let line = line(&explanation, &hpa);
        assert_eq!((line.proposed_replicas, line.stabilized_replicas), (Some(0), Some(2)));
        assert_eq!((line.scale_to, line.written_s, line.policy.is_none()), (None, None, true));
        let window = &line.window;
        assert_eq!((window.scale_up_s, window.scale_down_s), (0.0, 300.0));
        assert_eq!((window.recommendations[0].replicas, window.recommendations[0].age_s), (0, 0.0));
        let held: Vec<_> = window.recommendations.iter().filter(|r| r.held).collect();
        assert_eq!(held.len(), 1);
        assert_eq!((held[0].replicas, held[0].age_s, held[0].in_scale_up), (2, 20.0, false));
        assert_eq!(window.reason.as_ref().unwrap().reason, "ScaleDownStabilized");
    }

    #[test]
    fn lines_are_read_back() {
        let (explanation, hpa) = explained(50_000);
        let want = line(&explanation, &hpa);
        let record = RunRecord {
            explanations: vec![explanation.clone(), explanation],
            hpa: Some(hpa),
            ..RunRecord::default()
        };
        let text = String::from_utf8(explain_jsonl(&record)).unwrap();
        assert_eq!(read_explain_jsonl(&text), Ok(vec![want.clone(), want]));
        assert!(read_explain_jsonl("{}").unwrap_err().starts_with("line 1: "));
    }
}
