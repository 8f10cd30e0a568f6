//! One reconcile, step by step as upstream's `reconcileAutoscaler`.
//! Source: pkg/controller/podautoscaler/horizontal.go.

use crate::units::SimTime;

use super::behavior::{
    self, Events, Limited, Recommendation, ScaleEvent, Stabilized, stabilization_reason,
};
use super::calculator::{self, CalculatorRules, PodMetric, Proposal, Scratch};
use super::config::ControllerConfig;
use super::decision::{
    Branch, ConditionType, CurrentValue, Decision, Detail, Event, Limits, MetricFailure,
    MetricOutcome, Reason, RescaleReason,
};
use super::observation::{ApiFault, FetchError, MetricReading, Observation, PodSample};
use super::plan::{Formula, MetricPlan, Plan};
use super::spec::HpaSpec;

/// One HPA object and the controller's memory of it.
#[derive(Clone, Debug)]
pub struct Hpa {
    spec: HpaSpec,
    config: ControllerConfig,
    plan: Plan,
    /// Unstabilised recommendations; slots are reused, the order is not chronological.
    recommendations: Vec<Recommendation>,
    /// The controller's memory has an entry for this HPA, be it empty.
    remembered: bool,
    scale_up_events: Vec<ScaleEvent>,
    scale_down_events: Vec<ScaleEvent>,
    decision: Decision,
    /// A scale write is awaited, with `status.desiredReplicas` from before it.
    pending: Option<i32>,
    scratch: Scratch,
}

/// The scale update was refused by the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleWriteError(
    /// The server's answer.
    pub &'static str,
);

impl Hpa {
    /// An HPA the controller has just seen. Absent fields of `spec` take the API's defaults; a spec
    /// that [`HpaSpec::validate`] refuses gives failing metrics, never a panic.
    pub fn new(spec: &HpaSpec, config: ControllerConfig) -> Self {
        let spec = spec.defaulted();
        let plan = Plan::new(&spec, &config);
        Self {
            spec,
            config,
            plan,
            recommendations: Vec::new(),
            remembered: false,
            scale_up_events: Vec::new(),
            scale_down_events: Vec::new(),
            decision: Decision::default(),
            pending: None,
            scratch: Scratch::default(),
        }
    }

    /// Forgets recommendations and scale events, as a restart or a leader change of the controller
    /// does. Conditions and counts stay: they live in the object's status.
    pub fn restart_controller(&mut self) {
        self.recommendations.clear();
        self.remembered = false;
        self.scale_up_events.clear();
        self.scale_down_events.clear();
    }

    /// Restores a status read from the cluster: `status.desiredReplicas` and conditions, each with
    /// the time of its last transition.
    pub fn restore_status(
        &mut self,
        desired_replicas: i32,
        conditions: &[(ConditionType, bool, Reason, SimTime)],
    ) {
        self.decision.desired_replicas = desired_replicas;
        for &(kind, status, reason, at) in conditions {
            self.decision.conditions.set(kind, status, reason, Detail::None, at);
        }
    }

    /// Replaces the recommendations in the controller's memory. Even an empty list counts as known:
    /// the next reconcile does not seed it with the current replicas.
    pub fn restore_recommendations(&mut self, recommendations: &[Recommendation]) {
        self.recommendations.clear();
        self.recommendations.extend_from_slice(recommendations);
        self.remembered = true;
    }

    /// The spec in force, defaulted.
    pub fn spec(&self) -> &HpaSpec {
        &self.spec
    }
    /// The spec, lowered.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }
    /// The last decision.
    pub fn decision(&self) -> &Decision {
        &self.decision
    }
    /// The unstabilised recommendations in memory, in slot order.
    pub fn recommendations(&self) -> &[Recommendation] {
        &self.recommendations
    }
    /// The scale events in memory, in slot order.
    pub fn scale_events(&self) -> Events<'_> {
        Events { up: &self.scale_up_events, down: &self.scale_down_events }
    }

    /// The settings of the formulas in force, tolerances among them.
    pub fn calculator_rules(&self) -> &CalculatorRules {
        &self.plan.calculator
    }

    /// Runs one reconcile. If the decision has `scale_to`, write it and call
    /// [`Hpa::scale_written`] before the next reconcile.
    pub fn reconcile(&mut self, seen: &Observation<'_>) -> &Decision {
        assert!(self.pending.is_none(), "scale_written was not called after the last decision");
        assert!(seen.now_decide >= seen.now, "law L3: decided before the scale was read");
        self.begin(seen);
        if seen.fault == Some(ApiFault::GetScale) {
            self.decision.branch = Branch::FailedGetScale;
            self.decision.event = Some(Event::FailedGetScale);
            self.able_to_scale(false, Reason::FailedGetScale, seen.now);
            return &self.decision;
        }
        self.able_to_scale(true, Reason::SucceededGetScale, seen.now);
        let current = seen.spec_replicas;
        if !self.remembered {
            self.remembered = true;
            let at = seen.now.as_nanos();
            self.recommendations.push(Recommendation { replicas: current, at });
        }
        let scaled_to_zero = self.scaled_to_zero();
        let (desired, rescale) = match self.choose_branch(current, scaled_to_zero) {
            Branch::Disabled => {
                let (kind, reason) = (ConditionType::ScalingActive, Reason::ScalingDisabled);
                self.decision.conditions.set(kind, false, reason, Detail::None, seen.now);
                if self.config.kube_minor >= 36 && !self.config.scale_to_zero {
                    self.decision.conditions.remove(ConditionType::ScaledToZero);
                }
                self.decision.branch = Branch::Disabled;
                self.decision.current_metrics.clear();
                (0, false)
            }
            Branch::AboveMax => {
                self.decision.branch = Branch::AboveMax;
                self.decision.rescale_reason = RescaleReason::AboveMaxReplicas;
                self.decision.current_metrics.clear();
                (self.plan.bounds.max, true)
            }
            Branch::BelowMin => {
                self.decision.branch = Branch::BelowMin;
                self.decision.rescale_reason = RescaleReason::BelowMinReplicas;
                self.decision.current_metrics.clear();
                (self.plan.bounds.min, true)
            }
            Branch::Metrics | Branch::FailedMetrics | Branch::FailedGetScale => {
                let Some(proposal) = self.compute_replicas_for_metrics(seen) else {
                    self.decision.branch = Branch::FailedMetrics;
                    self.decision.event = Some(Event::FailedComputeMetricsReplicas);
                    return &self.decision;
                };
                self.decision.branch = Branch::Metrics;
                let desired = self.normalize(current, proposal, scaled_to_zero, seen.now_decide);
                (desired, desired != current)
            }
        };
        self.finish(current, desired, rescale);
        &self.decision
    }

    /// Reports how the scale update of the last decision went, at the time of its answer. Write
    /// conflicts that a retry resolves are a success.
    pub fn scale_written(&mut self, at: SimTime, result: Result<(), ScaleWriteError>) -> &Decision {
        let old_desired = self.pending.take();
        let (Some(old_desired), Some(new)) = (old_desired, self.decision.scale_to) else {
            return &self.decision;
        };
        let current = self.decision.current_replicas;
        if let Err(error) = result {
            self.decision.desired_replicas = old_desired;
            self.decision.event = Some(Event::FailedRescale(new));
            let detail = Detail::Text(error.0);
            let (kind, reason) = (ConditionType::AbleToScale, Reason::FailedUpdateScale);
            self.decision.conditions.set(kind, false, reason, detail, at);
            return &self.decision;
        }
        self.decision.event = Some(Event::SuccessfulRescale(new));
        let (kind, reason) = (ConditionType::AbleToScale, Reason::SucceededRescale);
        self.decision.conditions.set(kind, true, reason, Detail::Replicas(new), at);
        self.store_scale_event(current, new, at);
        self.update_scaled_to_zero(current, new, at);
        &self.decision
    }

    /// Drops the scale update of the last decision: it was not sent. Nothing is stored, no condition
    /// changes. For replays in which somebody else's writes count.
    pub fn scale_not_written(&mut self) {
        self.pending = None;
    }

    /// Stores a scale event that this state machine did not decide, as a recording of the controller
    /// shows it. Equal counts store nothing.
    pub fn restore_scale_event(&mut self, previous: i32, new: i32, at: SimTime) {
        if new != previous {
            self.store_scale_event(previous, new, at);
        }
    }

    /// Clears what belongs to one reconcile; status fields stay.
    fn begin(&mut self, seen: &Observation<'_>) {
        let d = &mut self.decision;
        d.now = seen.now;
        d.now_decide = seen.now_decide;
        d.current_replicas = seen.spec_replicas;
        d.metrics.clear();
        d.chosen_metric = None;
        d.proposed_replicas = None;
        d.stabilized_replicas = None;
        d.limited_replicas = None;
        d.limits = Limits::default();
        d.scale_to = None;
        d.rescale_reason = RescaleReason::None;
        d.event = None;
    }

    fn able_to_scale(&mut self, status: bool, reason: Reason, now: SimTime) {
        self.decision.conditions.set(ConditionType::AbleToScale, status, reason, Detail::None, now);
    }

    /// Since 1.36 only the controller's own scale to zero may be undone; a condition tells.
    fn scaled_to_zero(&self) -> bool {
        let condition = self.decision.conditions.get(ConditionType::ScaledToZero);
        self.config.scale_to_zero && condition.is_some_and(|c| c.status)
    }

    fn choose_branch(&self, current: i32, scaled_to_zero: bool) -> Branch {
        let bounds = self.plan.bounds;
        if current == 0 {
            let wake = if self.config.kube_minor >= 36 {
                scaled_to_zero && (bounds.min != 0 || self.plan.has_object_or_external)
            } else {
                bounds.min == 0
            };
            return if wake { Branch::Metrics } else { Branch::Disabled };
        }
        if current > bounds.max {
            Branch::AboveMax
        } else if current < bounds.min {
            Branch::BelowMin
        } else {
            Branch::Metrics
        }
    }

    /// Upstream's `computeReplicasForMetrics`: the highest proposal, or `None` if the failures leave
    /// none that may be used.
    fn compute_replicas_for_metrics(&mut self, seen: &Observation<'_>) -> Option<i32> {
        let selector = match seen.fault {
            Some(ApiFault::SelectorMissing | ApiFault::SelectorInvalid) => {
                Some(Reason::InvalidSelector)
            }
            Some(ApiFault::SelectorAmbiguous) if self.config.kube_minor >= 26 => {
                Some(Reason::AmbiguousSelector)
            }
            Some(ApiFault::SelectorAmbiguous | ApiFault::GetScale) | None => None,
        };
        if let Some(reason) = selector {
            let detail = seen.fault.map_or(Detail::None, Detail::Fault);
            let kind = ConditionType::ScalingActive;
            self.decision.conditions.set(kind, false, reason, detail, seen.now);
            self.keep_status_metrics_before_29();
            return None;
        }
        let mut best = 0;
        let mut first_failure = None;
        for (i, plan) in self.plan.metrics.iter().enumerate() {
            let reading = seen.metrics.get(i).copied();
            let reading = reading.unwrap_or(MetricReading::Error(FetchError::Empty));
            let outcome = compute_metric(&mut self.scratch, plan, &self.plan, seen, reading);
            match (outcome.proposal, outcome.failure) {
                (Some(proposal), _) if best == 0 || proposal > best => {
                    best = proposal;
                    self.decision.chosen_metric = Some(i);
                }
                (Some(_), _) | (None, None) => {}
                (None, Some(failure)) => {
                    first_failure.get_or_insert((i, plan.failure_reason, failure));
                }
            }
            self.decision.metrics.push(outcome);
        }
        let all_failed = self.decision.metrics.iter().all(|m| m.failure.is_some());
        let kind = ConditionType::ScalingActive;
        if let Some((i, reason, failure)) = first_failure
            && (all_failed || best < seen.spec_replicas)
        {
            self.decision.chosen_metric = None;
            let detail = Detail::Failure(i, failure);
            self.decision.conditions.set(kind, false, reason, detail, seen.now_decide);
            self.keep_status_metrics_before_29();
            return None;
        }
        self.decision.current_metrics.clear();
        self.decision.current_metrics.extend(self.decision.metrics.iter().map(|m| m.current));
        let chosen = self.decision.chosen_metric.unwrap_or(0);
        let (reason, detail) = (Reason::ValidMetricFound, Detail::Metric(chosen));
        self.decision.conditions.set(kind, true, reason, detail, seen.now_decide);
        self.decision.proposed_replicas = Some(best);
        Some(best)
    }

    /// On failure the status shows the metrics of this reconcile since 1.29; before, the old ones.
    fn keep_status_metrics_before_29(&mut self) {
        if self.config.kube_minor >= 29 {
            let d = &mut self.decision;
            d.current_metrics.clear();
            d.current_metrics.extend(d.metrics.iter().map(|m| m.current));
        }
    }

    /// Upstream's `normalizeDesiredReplicas` and `normalizeDesiredReplicasWithBehaviors`.
    fn normalize(
        &mut self,
        current: i32,
        proposal: i32,
        scaled_to_zero: bool,
        now: SimTime,
    ) -> i32 {
        // A proposal below zero (a negative metric) leaves the initial zero.
        let prenormalized = proposal.max(0);
        if prenormalized > current {
            let metric = self.decision.chosen_metric.unwrap_or(0);
            self.decision.rescale_reason = RescaleReason::AboveTarget(metric);
        } else if prenormalized < current {
            self.decision.rescale_reason = RescaleReason::AllBelowTarget;
        }
        let (stabilized, limited) = self.stabilize_and_limit(current, prenormalized, now);
        self.record_normalization(current, prenormalized, stabilized, limited, now);
        let mut desired = limited.replicas;
        let bounds = self.plan.bounds;
        let from_zero = self.config.kube_minor >= 36 && current == 0 && bounds.min != 0;
        if from_zero && scaled_to_zero && desired < bounds.min {
            desired = bounds.min;
            if self.decision.rescale_reason == RescaleReason::None {
                self.decision.rescale_reason = RescaleReason::BelowMinReplicas;
            }
        }
        desired
    }

    /// The windows, then the policies, with the rules of `behavior` or those before them.
    fn stabilize_and_limit(
        &mut self,
        current: i32,
        proposal: i32,
        now: SimTime,
    ) -> (Stabilized, Limited) {
        let at = now.as_nanos();
        let Some(rules) = &self.plan.behavior else {
            let stabilized = behavior::stabilize_recommendation(
                &mut self.recommendations,
                proposal,
                self.plan.downscale_stabilization,
                at,
            );
            let limited = behavior::convert_desired_replicas_with_rules(
                current,
                stabilized.replicas,
                self.plan.bounds,
                self.config.scale_up_limit_factor,
                self.config.scale_up_limit_minimum,
            );
            return (stabilized, limited);
        };
        let stabilized = behavior::stabilize_recommendation_with_behaviors(
            &mut self.recommendations,
            current,
            proposal,
            rules,
            at,
        );
        let events = Events { up: &self.scale_up_events, down: &self.scale_down_events };
        let limited = behavior::convert_desired_replicas_with_behavior_rate(
            current,
            stabilized.replicas,
            self.plan.bounds,
            rules,
            &events,
            at,
        );
        (stabilized, limited)
    }

    fn record_normalization(
        &mut self,
        current: i32,
        prenormalized: i32,
        stabilized: Stabilized,
        limited: Limited,
        now: SimTime,
    ) {
        let d = &mut self.decision;
        d.stabilized_replicas = Some(stabilized.replicas);
        d.limited_replicas = Some(limited.replicas);
        d.limits.up_recommendation = stabilized.up_recommendation;
        d.limits.down_recommendation = Some(stabilized.down_recommendation);
        let down = self.plan.behavior.is_some() && stabilized.replicas < current;
        if down {
            d.limits.scale_down_limit = limited.rate_limit;
        } else {
            d.limits.scale_up_limit = limited.rate_limit;
        }
        let able = if stabilized.replicas == prenormalized {
            Reason::ReadyForNewScale
        } else if self.plan.behavior.is_some() {
            stabilization_reason(current, prenormalized)
        } else {
            Reason::ScaleDownStabilized
        };
        d.conditions.set(ConditionType::AbleToScale, true, able, Detail::None, now);
        let cut = limited.replicas != stabilized.replicas;
        d.conditions.set(ConditionType::ScalingLimited, cut, limited.reason, Detail::None, now);
    }

    fn finish(&mut self, current: i32, desired: i32, rescale: bool) {
        if rescale {
            self.pending = Some(self.decision.desired_replicas);
            self.decision.scale_to = Some(desired);
            self.decision.desired_replicas = desired;
        } else {
            self.decision.desired_replicas = current;
        }
    }

    /// Upstream's `storeScaleEvent`: only with `behavior`, for any successful write.
    fn store_scale_event(&mut self, previous: i32, new: i32, at: SimTime) {
        let Some(rules) = &self.plan.behavior else {
            return;
        };
        let (events, rules, change) = if new > previous {
            (&mut self.scale_up_events, &rules.scale_up, new.wrapping_sub(previous))
        } else {
            (&mut self.scale_down_events, &rules.scale_down, previous.wrapping_sub(new))
        };
        behavior::store_scale_event(events, change, rules.longest_policy_period(), at.as_nanos());
    }

    fn update_scaled_to_zero(&mut self, current: i32, new: i32, at: SimTime) {
        if self.config.kube_minor < 36 {
            return;
        }
        let kind = ConditionType::ScaledToZero;
        if !self.config.scale_to_zero {
            self.decision.conditions.remove(kind);
            return;
        }
        let by_us = current > 0
            && new == 0
            && self.plan.bounds.min == 0
            && self.plan.has_object_or_external;
        let reason = if by_us { Reason::ScaledToZero } else { Reason::NotScaledToZero };
        self.decision.conditions.set(kind, by_us, reason, Detail::None, at);
    }
}

/// Upstream's `computeReplicasForMetric`.
fn compute_metric(
    scratch: &mut Scratch,
    metric: &MetricPlan,
    plan: &Plan,
    seen: &Observation<'_>,
    reading: MetricReading<'_>,
) -> MetricOutcome {
    match propose(scratch, metric, plan, seen, reading) {
        Ok(p) => MetricOutcome {
            current: CurrentValue { binary: metric.binary, ..p.current },
            usage_ratio: Some(p.usage_ratio),
            final_ratio: Some(p.final_ratio),
            proposal: Some(p.replicas),
            failure: None,
            failure_reason: None,
            pods: p.pods,
        },
        Err(failure) => MetricOutcome {
            failure: Some(failure),
            failure_reason: Some(metric.failure_reason),
            ..MetricOutcome::EMPTY
        },
    }
}

fn propose(
    scratch: &mut Scratch,
    metric: &MetricPlan,
    plan: &Plan,
    seen: &Observation<'_>,
    reading: MetricReading<'_>,
) -> Result<Proposal, MetricFailure> {
    let rules = &plan.calculator;
    match metric.formula {
        Formula::Broken(failure) => Err(failure),
        Formula::PodsAverage { target, cpu } => {
            let input = pod_metric(seen, reading, cpu)?;
            calculator::calc_plain_metric_replicas(scratch, &input, target, rules)
        }
        Formula::Utilization { percent, cpu } => {
            let input = pod_metric(seen, reading, cpu)?;
            let requests = match reading {
                MetricReading::Resource { requests, .. } => requests,
                MetricReading::Error(_) | MetricReading::Pods(_) | MetricReading::Values(_) => &[],
            };
            calculator::get_resource_replicas(scratch, &input, requests, percent, rules)
        }
        Formula::Value { target, source } => {
            let values = values_of(reading, source)?;
            let current = seen.spec_replicas;
            calculator::get_value_metric_replicas(current, seen.pods, values, target, rules)
        }
        Formula::PerReplica { target, source } => {
            let values = values_of(reading, source)?;
            let status = seen.status_replicas;
            Ok(calculator::get_per_pod_metric_replicas(status, values, target, source, rules))
        }
    }
}

fn pod_metric<'a>(
    seen: &Observation<'a>,
    reading: MetricReading<'a>,
    cpu: bool,
) -> Result<PodMetric<'a>, MetricFailure> {
    let samples: &[PodSample] = match reading {
        MetricReading::Error(error) => return Err(MetricFailure::Fetch(error)),
        MetricReading::Pods(samples) | MetricReading::Resource { samples, .. } => samples,
        MetricReading::Values(_) => &[],
    };
    if samples.is_empty() {
        return Err(MetricFailure::Fetch(FetchError::Empty));
    }
    Ok(PodMetric {
        current_replicas: seen.spec_replicas,
        pods: seen.pods,
        samples,
        cpu,
        now_decide: seen.now_decide,
    })
}

fn values_of(
    reading: MetricReading<'_>,
    source: calculator::ValueSource,
) -> Result<&[crate::units::Milli], MetricFailure> {
    match (reading, source) {
        (MetricReading::Error(error), _) => Err(MetricFailure::Fetch(error)),
        (MetricReading::Values(values @ [first, ..]), source) => match source {
            calculator::ValueSource::Object => Ok(std::slice::from_ref(first)),
            calculator::ValueSource::External => Ok(values),
        },
        (MetricReading::Values(_) | MetricReading::Pods(_) | MetricReading::Resource { .. }, _) => {
            Err(MetricFailure::Fetch(FetchError::Empty))
        }
    }
}
