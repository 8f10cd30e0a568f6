//! Why a reconcile decided as it did: the chain from samples to the final reason.
//!
//! Built on demand from the HPA, its last decision and what that reconcile read; the hot path pays
//! nothing for it.

use crate::units::{Milli, SimDuration, SimTime};

use super::behavior::{
    self, Nanos, Policy, PolicyType, Rules, ScaleEvent, SelectPolicy,
    get_replicas_change_per_period,
};
use super::calculator::{self, PodGroup};
use super::controller::Hpa;
use super::decision::{Branch, PodCounts};
use super::observation::{MetricReading, Observation, PodKey};
use super::plan::Formula;
use super::quantity::Quantity;
use super::spec::MetricTarget;

/// One reconcile explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// When it decided.
    pub at: SimTime,
    /// Which way it went.
    pub branch: Branch,
    /// Replicas as read.
    pub current_replicas: i32,
    /// Replicas decided.
    pub desired_replicas: i32,
    /// One entry per metric; empty if none was consulted.
    pub metrics: Vec<MetricExplanation>,
    /// Index and value of the winning proposal.
    pub proposal: Option<(usize, i32)>,
    /// The scale-up window (behavior path only).
    pub up_window: Option<Window>,
    /// The scale-down window.
    pub down_window: Option<Window>,
    /// After the windows.
    pub stabilized: Option<i32>,
    /// Rate limits in the direction of the change.
    pub rates: Rates,
    /// After policies and bounds.
    pub limited: Option<i32>,
    /// `minReplicas` and `maxReplicas`.
    pub bounds: (i32, i32),
    /// Conditions as type, status, reason and message.
    pub conditions: Vec<(&'static str, &'static str, &'static str, String)>,
    /// Why the target is rescaled; empty if it is not.
    pub reason: String,
}

/// One metric's part.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricExplanation {
    /// As the controller names it.
    pub name: String,
    /// Samples in the order of the answer.
    pub samples: Vec<Sample>,
    /// Field of the target and its quantity.
    pub target: (&'static str, String),
    /// The value that the status reports.
    pub current: Option<String>,
    /// Value over target.
    pub ratio: Option<f64>,
    /// The same after missing and unready pods were filled in.
    pub final_ratio: Option<f64>,
    /// Ratios from .. to within which nothing changes.
    pub tolerance: (f64, f64),
    /// The final ratio is within the tolerance.
    pub within: bool,
    /// How the pods were counted (per-pod metrics).
    pub pods: Option<PodCounts>,
    /// Replicas asked for.
    pub proposal: Option<i32>,
    /// Why it failed, in the controller's words.
    pub failure: Option<String>,
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its pod and how it counts; `None` for a value that is no pod's, a group `None` for a pod that
    /// is not in the list.
    pub pod: Option<(PodKey, Option<PodGroup>)>,
    /// Thousandths.
    pub value: Milli,
    /// Age at the decision.
    pub age: Option<SimDuration>,
}

/// A stabilisation window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its length.
    pub length: SimDuration,
    /// Recommendations in it, newest first, with their age; the new one is the first.
    pub recommendations: Vec<(i32, SimDuration)>,
    /// The one that counts: the lowest upwards, the highest downwards.
    pub picked: i32,
}

/// What limits the size of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rates {
    /// The windows left nothing to change, or no metric was consulted.
    Unused,
    /// Without `behavior`: upwards twice the replicas or four, downwards nothing.
    Legacy {
        /// Most replicas of this step.
        limit: i32,
    },
    /// Policies of one direction.
    Policies {
        /// Upwards.
        up: bool,
        /// `selectPolicy`.
        select: &'static str,
        /// The policies in order.
        policies: Vec<PolicyExplanation>,
        /// What they leave together.
        limit: i32,
    },
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyExplanation {
    /// `Pods` or `Percent`.
    pub kind: &'static str,
    /// Pods or percent.
    pub value: i32,
    /// Length of the period.
    pub period: SimDuration,
    /// Scale events inside the period: change (negative downwards) and age, newest first.
    pub events: Vec<(i32, SimDuration)>,
    /// Replicas at the start of the period.
    pub start: i32,
    /// Replicas that it admits.
    pub limit: i32,
}

impl Hpa {
    /// Explains the last decision, which was made from `seen`. Call it before [`Hpa::scale_written`],
    /// which adds the event of this very decision to the memory.
    pub fn explain(&self, seen: &Observation<'_>, namespace: &str) -> Explanation {
        let d = self.decision();
        let now = d.now_decide.as_nanos();
        let plan = self.plan();
        let metrics =
            (0..d.metrics.len()).map(|i| self.explain_metric(i, seen, namespace)).collect();
        let message = |c: &super::Condition| {
            let text = self.condition_message(c, namespace);
            (c.kind.as_str(), c.status_str(), c.reason.as_str(), text)
        };
        let behavior = plan.behavior.as_ref();
        let down_length = behavior.map_or(plan.downscale_stabilization, |b| b.scale_down.window);
        let window = |length: Nanos, inclusive: bool, picked: Option<i32>| {
            picked.map(|picked| self.window(length, inclusive, picked, now))
        };
        Explanation {
            at: d.now_decide,
            branch: d.branch,
            current_replicas: d.current_replicas,
            desired_replicas: d.desired_replicas,
            metrics,
            proposal: d.chosen_metric.zip(d.proposed_replicas),
            up_window: behavior
                .and_then(|b| window(b.scale_up.window, false, d.limits.up_recommendation)),
            down_window: window(down_length, behavior.is_none(), d.limits.down_recommendation),
            stabilized: d.stabilized_replicas,
            rates: self.explain_rates(now),
            limited: d.limited_replicas,
            bounds: (plan.bounds.min, plan.bounds.max),
            conditions: d.conditions.iter().map(message).collect(),
            reason: self.rescale_reason_text(),
        }
    }

    fn explain_metric(
        &self,
        i: usize,
        seen: &Observation<'_>,
        namespace: &str,
    ) -> MetricExplanation {
        let (d, plan) = (self.decision(), self.plan());
        let outcome = &d.metrics[i];
        let formula = plan.metrics.get(i).map(|m| m.formula);
        let cpu = matches!(
            formula,
            Some(Formula::PodsAverage { cpu: true, .. } | Formula::Utilization { cpu: true, .. })
        );
        let age = |at: SimTime| Some(seen.now_decide.saturating_since(at));
        let samples = match seen.metrics.get(i) {
            Some(MetricReading::Pods(samples) | MetricReading::Resource { samples, .. }) => {
                let rules = &plan.calculator;
                let groups = calculator::classify(seen.pods, samples, cpu, rules, seen.now_decide);
                let group = |key| seen.pods.iter().position(|p| p.key == key).map(|at| groups[at]);
                let sample = |s: &super::PodSample| Sample {
                    pod: Some((s.pod, group(s.pod))),
                    value: s.value,
                    age: age(s.timestamp),
                };
                samples.iter().map(sample).collect()
            }
            Some(MetricReading::Values(values)) => {
                values.iter().map(|v| Sample { pod: None, value: *v, age: None }).collect()
            }
            Some(MetricReading::Error(_)) | None => Vec::new(),
        };
        let tolerances = plan.calculator.tolerances;
        let per_pod =
            matches!(formula, Some(Formula::PodsAverage { .. } | Formula::Utilization { .. }));
        let current = outcome.current;
        let percent = current.average_utilization.map(|p| format!("{p}%"));
        MetricExplanation {
            name: self.metric_display_name(i),
            samples,
            target: self
                .spec()
                .metrics
                .get(i)
                .and_then(|m| m.target())
                .map_or(("target", String::new()), target_text),
            current: percent.or_else(|| current.quantity().map(|q| q.canonical().to_owned())),
            ratio: outcome.usage_ratio,
            final_ratio: outcome.final_ratio,
            tolerance: (1.0 - tolerances.scale_down, 1.0 + tolerances.scale_up),
            within: outcome.final_ratio.is_some_and(|r| tolerances.is_within(r)),
            pods: (per_pod && outcome.failure.is_none()).then_some(outcome.pods),
            proposal: outcome.proposal,
            failure: outcome.failure.map(|f| self.failure_text(i, f, namespace)),
        }
    }

    /// The recommendations inside a window; the legacy window includes its own edge.
    fn window(&self, length: Nanos, inclusive: bool, picked: i32, now: Nanos) -> Window {
        let cutoff = now.wrapping_sub(length);
        let inside = |at: Nanos| at > cutoff || (inclusive && at == cutoff);
        // The new recommendation counts whatever the window, but it is stored like the others.
        let new = (self.decision().proposed_replicas.unwrap_or(0).max(0), 0);
        let mut list: Vec<(i32, Nanos)> =
            self.recommendations().iter().rev().map(|r| (r.replicas, now - r.at)).collect();
        if let Some(stored) = list.iter().position(|r| *r == new) {
            list.remove(stored);
        }
        list.retain(|r| inside(now - r.1));
        list.sort_by_key(|r| r.1);
        list.insert(0, new);
        let recommendations = list.into_iter().map(|(n, age)| (n, span(age))).collect();
        Window { length: span(length), recommendations, picked }
    }

    fn explain_rates(&self, now: Nanos) -> Rates {
        let d = self.decision();
        let (Some(stabilized), current) = (d.stabilized_replicas, d.current_replicas) else {
            return Rates::Unused;
        };
        let Some(behavior) = &self.plan().behavior else {
            return d.limits.scale_up_limit.map_or(Rates::Unused, |limit| Rates::Legacy { limit });
        };
        let up = stabilized > current;
        let limit = if up { d.limits.scale_up_limit } else { d.limits.scale_down_limit };
        let Some(limit) = limit else { return Rates::Unused };
        let rules = if up { &behavior.scale_up } else { &behavior.scale_down };
        let select = match rules.select {
            SelectPolicy::Max => "Max",
            SelectPolicy::Min => "Min",
            SelectPolicy::Disabled => "Disabled",
        };
        let policies = rules.policies.iter().map(|p| self.explain_policy(p, up, now)).collect();
        Rates::Policies { up, select, policies, limit }
    }

    fn explain_policy(&self, policy: &Policy, up: bool, now: Nanos) -> PolicyExplanation {
        let memory = self.scale_events();
        let current = self.decision().current_replicas;
        let cutoff = now.wrapping_sub(policy.period);
        let inside = |events: &[ScaleEvent], sign: i32| -> Vec<(i32, Nanos)> {
            let inside = events.iter().filter(|e| e.at > cutoff);
            inside.map(|e| (e.change.wrapping_mul(sign), now - e.at)).collect()
        };
        let mut events = inside(memory.up, 1);
        events.extend(inside(memory.down, -1));
        events.sort_by_key(|e| e.1);
        let added = get_replicas_change_per_period(policy.period, memory.up, now);
        let removed = get_replicas_change_per_period(policy.period, memory.down, now);
        let alone = Rules { window: 0, select: SelectPolicy::Max, policies: vec![*policy] };
        let limit = if up {
            behavior::calculate_scale_up_limit_with_scaling_rules(current, &memory, &alone, now)
        } else {
            behavior::calculate_scale_down_limit_with_behaviors(current, &memory, &alone, now)
        };
        PolicyExplanation {
            kind: match policy.kind {
                PolicyType::Pods => "Pods",
                PolicyType::Percent => "Percent",
            },
            value: policy.value,
            period: span(policy.period),
            events: events.into_iter().map(|(change, age)| (change, span(age))).collect(),
            start: current.wrapping_sub(added).wrapping_add(removed),
            limit,
        }
    }
}

fn span(nanos: Nanos) -> SimDuration {
    SimDuration::from_ps(nanos.max(0).unsigned_abs().saturating_mul(1_000))
}

fn target_text(target: &MetricTarget) -> (&'static str, String) {
    if let Some(quantity) = &target.average_value {
        ("averageValue", quantity.canonical().to_owned())
    } else if let Some(quantity) = &target.value {
        ("value", quantity.canonical().to_owned())
    } else {
        let percent = target.average_utilization.map(|p| format!("{p}%"));
        ("averageUtilization", percent.unwrap_or_default())
    }
}

fn seconds(span: SimDuration) -> String {
    format!("{} s", (span.as_secs_f64() * 1e3).round() / 1e3)
}

fn quantity(value: Milli) -> String {
    Quantity::from_milli(value.0).canonical().to_owned()
}

impl Explanation {
    /// The chain as lines, in the controller's words where it has some. `pod_name` names a pod.
    pub fn lines(&self, pod_name: &dyn Fn(PodKey) -> String) -> Vec<String> {
        let mut lines = vec![format!(
            "{}: {} replicas, {} desired",
            seconds(self.at.saturating_since(SimTime::ZERO)),
            self.current_replicas,
            self.desired_replicas
        )];
        for metric in &self.metrics {
            metric.lines(pod_name, &mut lines);
        }
        if let Some((metric, replicas)) = self.proposal {
            let name = self.metrics.get(metric).map_or("", |m| m.name.as_str());
            lines.push(format!("  highest proposal: {replicas} replicas, from {name}"));
        }
        if let Some(window) = &self.up_window {
            lines.push(window.line("scaleUp", "lowest"));
        }
        if let Some(window) = &self.down_window {
            lines.push(window.line("scaleDown", "highest"));
        }
        if let Some(stabilized) = self.stabilized {
            lines.push(format!("  after the windows: {stabilized} replicas"));
        }
        self.rates.lines(&mut lines);
        if let Some(limited) = self.limited {
            let (min, max) = self.bounds;
            lines.push(format!(
                "  within minReplicas {min} and maxReplicas {max}: {limited} replicas"
            ));
        }
        for (kind, status, reason, message) in &self.conditions {
            lines.push(format!("  {kind} {status} {reason}: {message}"));
        }
        if !self.reason.is_empty() && self.desired_replicas != self.current_replicas {
            lines.push(format!("  New size: {}; reason: {}", self.desired_replicas, self.reason));
        }
        lines
    }
}

impl MetricExplanation {
    fn lines(&self, pod_name: &dyn Fn(PodKey) -> String, lines: &mut Vec<String>) {
        if let Some(failure) = &self.failure {
            lines.push(format!("  {}: {failure}", self.name));
            return;
        }
        let current = self.current.as_deref().unwrap_or("unknown");
        let (field, target) = &self.target;
        lines.push(format!("  {}: {current}, {field} {target}", self.name));
        for sample in &self.samples {
            let age = sample.age.map(|a| format!(", {} old", seconds(a))).unwrap_or_default();
            let value = quantity(sample.value);
            let text = match sample.pod {
                None => format!("    series: {value}{age}"),
                Some((pod, group)) => {
                    let counted = match group {
                        Some(PodGroup::Ready) => "",
                        Some(PodGroup::Unready) => ", not counted: unready",
                        Some(PodGroup::Ignored) => ", not counted: terminating or failed",
                        Some(PodGroup::Missing) => ", missing",
                        None => ", of a pod outside the list",
                    };
                    format!("    {}: {value}{age}{counted}", pod_name(pod))
                }
            };
            lines.push(text);
        }
        if let Some(p) = self.pods {
            lines.push(format!(
                "    pods: {} ready, {} unready, {} without a sample, {} terminating or failed",
                p.ready, p.unready, p.missing, p.ignored
            ));
        }
        let (low, high) = self.tolerance;
        let within = if self.within { "within" } else { "outside" };
        if let (Some(ratio), Some(last)) = (self.ratio, self.final_ratio) {
            if ratio != last {
                let assumed = if ratio > 1.0 { "idle" } else { "at the target" };
                lines.push(format!(
                    "    ratio {ratio:.3}; {last:.3} with the pods that do not count taken to be {assumed}"
                ));
            }
            lines.push(format!(
                "    ratio {last:.3} is {within} the tolerance {low:.3} to {high:.3}"
            ));
        }
        if let Some(proposal) = self.proposal {
            lines.push(format!("    proposal: {proposal} replicas"));
        }
    }
}

impl Window {
    fn line(&self, direction: &str, which: &str) -> String {
        let list: Vec<String> = self
            .recommendations
            .iter()
            .map(|(n, age)| format!("{n} ({} ago)", seconds(*age)))
            .collect();
        let (length, picked) = (seconds(self.length), self.picked);
        format!("  {direction} window of {length}: {}; {which} {picked}", list.join(", "))
    }
}

impl Rates {
    fn lines(&self, lines: &mut Vec<String>) {
        match self {
            Self::Unused => {}
            Self::Legacy { limit } => lines.push(format!(
                "  no behavior: a step up reaches at most twice the replicas or four, {limit} replicas"
            )),
            Self::Policies { up, select, policies, limit } => {
                let (name, most) = if *up { ("scaleUp", "at most") } else { ("scaleDown", "at least") };
                for p in policies {
                    let events: Vec<String> = p
                        .events
                        .iter()
                        .map(|(change, age)| format!("{change:+} {} ago", seconds(*age)))
                        .collect();
                    let used = if events.is_empty() {
                        "no scale event".to_owned()
                    } else {
                        events.join(", ")
                    };
                    lines.push(format!(
                        "  {name} policy {} {} per {}: {used}; {} replicas at the start of the period, {most} {}",
                        p.kind,
                        p.value,
                        seconds(p.period),
                        p.start,
                        p.limit
                    ));
                }
                lines.push(format!("  {name} selectPolicy {select}: {most} {limit} replicas"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::spec::{Behavior, MetricSpec, ScalingPolicy, ScalingRules};
    use crate::hpa::{ControllerConfig, HpaSpec, PodPhase, PodSample, PodView, Ready};

    fn pods(n: u32) -> Vec<PodView> {
        let pod = |key| PodView {
            key,
            phase: PodPhase::Running,
            ready: Ready::True,
            deleting: false,
            start_time: Some(SimTime::ZERO),
            ready_transition: SimTime::ZERO,
        };
        (0..n).map(pod).collect()
    }

    /// Reconciles at `t` seconds with `replicas` pods, the first of which report `values` 3 s before.
    fn step(hpa: &mut Hpa, t: u64, replicas: u32, values: &[i64]) -> Explanation {
        let now = SimTime::from_secs(t);
        let at = now - SimDuration::from_secs(3);
        let sample = |(i, v): (usize, &i64)| PodSample::new(i as u32, Milli(v * 1000), at);
        let samples: Vec<PodSample> = values.iter().enumerate().map(sample).collect();
        let (pods, readings) = (pods(replicas), [MetricReading::Pods(&samples)]);
        let seen = Observation {
            now,
            now_decide: now,
            spec_replicas: replicas as i32,
            status_replicas: replicas as i32,
            pods: &pods,
            metrics: &readings,
            fault: None,
        };
        hpa.reconcile(&seen);
        let told = hpa.explain(&seen, "default");
        if hpa.decision().scale_to.is_some() {
            hpa.scale_written(now, Ok(()));
        }
        told
    }

    fn spec(behavior: Option<Behavior>) -> HpaSpec {
        let metrics = vec![MetricSpec::pods("q", Quantity::from_milli(2_000))];
        HpaSpec { max_replicas: 20, metrics, behavior, ..HpaSpec::default() }
    }

    #[test]
    fn the_chain_names_windows_policies_and_the_events_that_consumed_them() {
        let rules = |window, policies| ScalingRules {
            stabilization_window_seconds: Some(window),
            policies: Some(policies),
            ..ScalingRules::default()
        };
        let behavior = Behavior {
            scale_up: Some(rules(0, vec![ScalingPolicy::pods(2, 60)])),
            scale_down: Some(rules(300, vec![ScalingPolicy::percent(100, 15)])),
        };
        let mut hpa = Hpa::new(&spec(Some(behavior)), ControllerConfig::default());
        let first = step(&mut hpa, 15, 2, &[10, 10]);
        assert_eq!((first.proposal, first.desired_replicas), (Some((0, 10)), 4));
        // The count at first sight is in memory too, but not in a window of no length.
        let now = SimDuration::ZERO;
        assert_eq!(first.up_window.unwrap().recommendations, [(10, now)]);
        assert_eq!(first.down_window.unwrap().recommendations, [(10, now), (2, now)]);
        let second = step(&mut hpa, 30, 4, &[10, 6]);
        // (10 + 6) over four pods is the target of 4 x 2: ratio 2 as it stands for four.
        let metric = &second.metrics[0];
        assert_eq!(
            (metric.ratio, metric.final_ratio, metric.within),
            (Some(4.0), Some(2.0), false)
        );
        assert_eq!(metric.pods.unwrap().missing, 2);
        assert_eq!(metric.samples[1].age, Some(SimDuration::from_secs(3)));
        let Rates::Policies { up: true, select: "Max", policies, limit } = &second.rates else {
            panic!("{:?}", second.rates);
        };
        assert_eq!((*limit, policies[0].start, policies[0].limit), (4, 2, 4));
        assert_eq!(policies[0].events, [(2, SimDuration::from_secs(15))]);
        assert_eq!(second.desired_replicas, 4);
        let lines = second.lines(&|pod| format!("pod-{pod}")).join("\n");
        for part in [
            "30 s: 4 replicas, 4 desired",
            "pods metric q: 8, averageValue 2",
            "pod-1: 6, 3 s old",
            "2 ready, 0 unready, 2 without a sample",
            "ratio 4.000; 2.000 with the pods that do not count taken to be idle",
            "outside the tolerance 0.900 to 1.100",
            "highest proposal: 8 replicas, from pods metric q",
            "scaleUp window of 0 s: 8 (0 s ago); lowest 8",
            "scaleUp policy Pods 2 per 60 s: +2 15 s ago; 2 replicas at the start of the period, at most 4",
            "ScalingLimited True ScaleUpLimit: the desired replica count is increasing faster",
        ] {
            assert!(lines.contains(part), "{part}\n{lines}");
        }
        // The load is gone: the window holds the count, with its contents in order of age.
        let third = step(&mut hpa, 45, 4, &[0, 0, 0, 0]);
        let window = third.down_window.as_ref().unwrap();
        let held: Vec<i32> = window.recommendations.iter().map(|r| r.0).collect();
        assert_eq!((held, window.picked), (vec![0, 8, 10, 2], 10));
        assert_eq!((third.stabilized, third.rates.clone()), (Some(4), Rates::Unused));
        let able = third.conditions.iter().find(|c| c.0 == "AbleToScale").unwrap();
        let message = &able.3;
        assert!(message.starts_with("recent recommendations were higher"), "{message}");
    }

    #[test]
    fn the_legacy_path_and_a_failure() {
        let mut hpa = Hpa::new(&spec(None), ControllerConfig::default());
        let told = step(&mut hpa, 15, 1, &[30]);
        assert_eq!(
            (told.rates.clone(), told.up_window.clone()),
            (Rates::Legacy { limit: 4 }, None)
        );
        let lines = told.lines(&|pod| pod.to_string()).join("\n");
        assert!(lines.ends_with("New size: 4; reason: pods metric q above target"), "{lines}");
        let told = step(&mut hpa, 30, 4, &[]);
        assert_eq!((told.branch, told.proposal), (Branch::FailedMetrics, None));
        let lines = told.lines(&|pod| pod.to_string()).join("\n");
        assert!(lines.contains("no metrics returned from custom metrics API"), "{lines}");
        assert!(!lines.contains("New size"), "{lines}");
    }
}
