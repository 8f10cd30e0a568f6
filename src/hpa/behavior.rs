//! From a proposal to the desired replicas: stabilisation windows and rate policies.
//!
//! Two paths exist. Without `behavior` the *legacy* path holds scale-downs for the controller's
//! window and caps a step up at twice the replicas or four. With `behavior` each direction has its own
//! window and policies over the stored scale events. Times are nanoseconds, as in Go.
//! Source: pkg/controller/podautoscaler/horizontal.go.

use super::decision::Reason;
use super::spec;

/// Nanoseconds since the start of the run.
pub type Nanos = i64;

const SECOND: Nanos = 1_000_000_000;

/// An unstabilised recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommendation {
    /// Replicas.
    pub replicas: i32,
    /// When.
    pub at: Nanos,
}

/// A scale write that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScaleEvent {
    /// Replicas added or removed, not negative.
    pub change: i32,
    /// When.
    pub at: Nanos,
    /// Older than the longest period; its slot may be reused.
    pub outdated: bool,
}

/// `type` of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyType {
    /// An absolute number of pods.
    Pods,
    /// Percent of the replicas at the start of the period.
    Percent,
}

/// One policy, lowered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Kind.
    pub kind: PolicyType,
    /// Pods or percent.
    pub value: i32,
    /// Length of the period.
    pub period: Nanos,
}

/// `selectPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The policy that changes most.
    Max,
    /// The policy that changes least.
    Min,
    /// No change in this direction.
    Disabled,
}

/// The rules of one direction, defaulted and lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Length of the stabilisation window.
    pub window: Nanos,
    /// Which policy counts.
    pub select: SelectPolicy,
    /// Policies in order.
    pub policies: Vec<Policy>,
}

impl Rules {
    /// Lowers defaulted rules; an unset window takes `default_window`.
    pub fn new(rules: &spec::ScalingRules, default_window: Nanos) -> Self {
        let window = rules
            .stabilization_window_seconds
            .map_or(default_window, |seconds| i64::from(seconds) * SECOND);
        // Anything that is not Min or Disabled acts as Max; validation refuses other words.
        let select = match rules.select_policy.as_deref() {
            Some("Min") => SelectPolicy::Min,
            Some("Disabled") => SelectPolicy::Disabled,
            Some(_) | None => SelectPolicy::Max,
        };
        let lower = |p: &spec::ScalingPolicy| {
            let kind = match p.kind.as_str() {
                "Pods" => PolicyType::Pods,
                "Percent" => PolicyType::Percent,
                _ => return None,
            };
            let period = i64::from(p.period_seconds) * SECOND;
            Some(Policy { kind, value: p.value, period })
        };
        let policies = rules.policies.iter().flatten().filter_map(lower).collect();
        Self { window, select, policies }
    }

    /// Upstream's `getLongestPolicyPeriod`.
    pub fn longest_policy_period(&self) -> Nanos {
        self.policies.iter().map(|p| p.period).max().unwrap_or(0).max(0)
    }
}

/// Both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BehaviorRules {
    /// Rules for adding replicas.
    pub scale_up: Rules,
    /// Rules for removing replicas.
    pub scale_down: Rules,
}

/// Outcome of a stabilisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stabilized {
    /// Replicas after the windows.
    pub replicas: i32,
    /// Lowest recommendation of the scale-up window, the new one included.
    pub up_recommendation: Option<i32>,
    /// Highest recommendation of the scale-down window, the new one included.
    pub down_recommendation: i32,
}

/// Upstream's `stabilizeRecommendation` (legacy): the highest recommendation of the window.
pub fn stabilize_recommendation(
    recommendations: &mut Vec<Recommendation>,
    prenormalized: i32,
    window: Nanos,
    now: Nanos,
) -> Stabilized {
    let cutoff = now.wrapping_sub(window);
    let (mut max, mut old) = (prenormalized, None);
    for (i, rec) in recommendations.iter().enumerate() {
        if rec.at < cutoff {
            old = Some(i);
        } else {
            max = max.max(rec.replicas);
        }
    }
    store(recommendations, old, Recommendation { replicas: prenormalized, at: now });
    Stabilized { replicas: max, up_recommendation: None, down_recommendation: max }
}

/// Upstream's `stabilizeRecommendationWithBehaviors`: current replicas, raised to the lowest
/// recommendation of the up window and lowered to the highest of the down window.
pub fn stabilize_recommendation_with_behaviors(
    recommendations: &mut Vec<Recommendation>,
    current: i32,
    prenormalized: i32,
    rules: &BehaviorRules,
    now: Nanos,
) -> Stabilized {
    let up_cutoff = now.wrapping_sub(rules.scale_up.window);
    let down_cutoff = now.wrapping_sub(rules.scale_down.window);
    let (mut up, mut down, mut old) = (prenormalized, prenormalized, None);
    for (i, rec) in recommendations.iter().enumerate() {
        if rec.at > up_cutoff {
            up = up.min(rec.replicas);
        }
        if rec.at > down_cutoff {
            down = down.max(rec.replicas);
        }
        if rec.at < up_cutoff && rec.at < down_cutoff {
            old = Some(i);
        }
    }
    let mut replicas = current;
    if replicas < up {
        replicas = up;
    }
    if replicas > down {
        replicas = down;
    }
    store(recommendations, old, Recommendation { replicas: prenormalized, at: now });
    Stabilized { replicas, up_recommendation: Some(up), down_recommendation: down }
}

/// The stabilisation reason that upstream returns with `behavior`; it is shown only if the windows
/// changed the proposal.
pub fn stabilization_reason(current: i32, prenormalized: i32) -> Reason {
    if prenormalized >= current { Reason::ScaleUpStabilized } else { Reason::ScaleDownStabilized }
}

fn store(list: &mut Vec<Recommendation>, slot: Option<usize>, entry: Recommendation) {
    match slot {
        Some(i) => list[i] = entry,
        None => list.push(entry),
    }
}

/// Upstream's `storeScaleEvent` for one direction.
pub fn store_scale_event(
    events: &mut Vec<ScaleEvent>,
    change: i32,
    longest_period: Nanos,
    now: Nanos,
) {
    let cutoff = now.wrapping_sub(longest_period);
    let mut old = None;
    for (i, event) in events.iter_mut().enumerate() {
        if event.at < cutoff {
            event.outdated = true;
        }
        if event.outdated {
            old = Some(i);
        }
    }
    let entry = ScaleEvent { change, at: now, outdated: false };
    match old {
        Some(i) => events[i] = entry,
        None => events.push(entry),
    }
}

/// Upstream's `getReplicasChangePerPeriod`.
pub fn get_replicas_change_per_period(period: Nanos, events: &[ScaleEvent], now: Nanos) -> i32 {
    let cutoff = now.wrapping_sub(period);
    let inside = events.iter().filter(|e| e.at > cutoff);
    inside.fold(0i32, |sum, e| sum.wrapping_add(e.change))
}

/// Replicas at the start of a policy's period, by the stored events of both directions.
fn period_start(period: Nanos, current: i32, events: &Events<'_>, now: Nanos) -> i32 {
    let added = get_replicas_change_per_period(period, events.up, now);
    let removed = get_replicas_change_per_period(period, events.down, now);
    current.wrapping_sub(added).wrapping_add(removed)
}

/// The stored scale events.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    /// Scale-ups.
    pub up: &'a [ScaleEvent],
    /// Scale-downs.
    pub down: &'a [ScaleEvent],
}

/// Upstream's `calculateScaleUpLimitWithScalingRules`.
pub fn calculate_scale_up_limit_with_scaling_rules(
    current: i32,
    events: &Events<'_>,
    rules: &Rules,
    now: Nanos,
) -> i32 {
    let limit = |p: &Policy| {
        let start = period_start(p.period, current, events, now);
        match p.kind {
            PolicyType::Pods => start.wrapping_add(p.value),
            PolicyType::Percent => {
                super::calculator::ceil_i32(f64::from(start) * (1.0 + f64::from(p.value) / 100.0))
            }
        }
    };
    match rules.select {
        SelectPolicy::Disabled => current,
        SelectPolicy::Min => rules.policies.iter().map(limit).min().unwrap_or(i32::MAX),
        SelectPolicy::Max => rules.policies.iter().map(limit).max().unwrap_or(i32::MIN),
    }
}

/// Upstream's `calculateScaleDownLimitWithBehaviors`.
pub fn calculate_scale_down_limit_with_behaviors(
    current: i32,
    events: &Events<'_>,
    rules: &Rules,
    now: Nanos,
) -> i32 {
    let limit = |p: &Policy| {
        let start = period_start(p.period, current, events, now);
        match p.kind {
            PolicyType::Pods => start.wrapping_sub(p.value),
            PolicyType::Percent => trunc_i32(f64::from(start) * (1.0 - f64::from(p.value) / 100.0)),
        }
    };
    match rules.select {
        SelectPolicy::Disabled => current,
        SelectPolicy::Min => rules.policies.iter().map(limit).max().unwrap_or(i32::MIN),
        SelectPolicy::Max => rules.policies.iter().map(limit).min().unwrap_or(i32::MAX),
    }
}

/// `int32(f)` of Go on amd64.
fn trunc_i32(f: f64) -> i32 {
    super::calculator::ceil_i32(f.trunc())
}

/// Outcome of the limiting step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Replicas after the limits.
    pub replicas: i32,
    /// The limit in question, or `DesiredWithinRange`.
    pub reason: Reason,
    /// The rate limit that applied to the direction of the change, if any.
    pub rate_limit: Option<i32>,
}

/// Bounds of the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `minReplicas`.
    pub min: i32,
    /// `maxReplicas`.
    pub max: i32,
}

/// Upstream's `convertDesiredReplicasWithBehaviorRate`.
pub fn convert_desired_replicas_with_behavior_rate(
    current: i32,
    desired: i32,
    bounds: Bounds,
    rules: &BehaviorRules,
    events: &Events<'_>,
    now: Nanos,
) -> Limited {
    if desired > current {
        let limit =
            calculate_scale_up_limit_with_scaling_rules(current, events, &rules.scale_up, now)
                .max(current);
        let (allowed, reason) = if bounds.max > limit {
            (limit, Reason::ScaleUpLimit)
        } else {
            (bounds.max, Reason::TooManyReplicas)
        };
        if desired > allowed {
            return Limited { replicas: allowed, reason, rate_limit: Some(limit) };
        }
        return within(desired, Some(limit));
    }
    if desired < current {
        let limit =
            calculate_scale_down_limit_with_behaviors(current, events, &rules.scale_down, now)
                .min(current);
        let (allowed, reason) = if bounds.min < limit {
            (limit, Reason::ScaleDownLimit)
        } else {
            (bounds.min, Reason::TooFewReplicas)
        };
        if desired < allowed {
            return Limited { replicas: allowed, reason, rate_limit: Some(limit) };
        }
        return within(desired, Some(limit));
    }
    within(desired, None)
}

fn within(replicas: i32, rate_limit: Option<i32>) -> Limited {
    Limited { replicas, reason: Reason::DesiredWithinRange, rate_limit }
}

/// Upstream's `calculateScaleUpLimit` (legacy).
pub fn calculate_scale_up_limit(current: i32, factor: f64, minimum: f64) -> i32 {
    // `f64::max` ignores a NaN, which neither operand is.
    trunc_i32((factor * f64::from(current)).max(minimum))
}

/// Upstream's `convertDesiredReplicasWithRules` (legacy).
pub fn convert_desired_replicas_with_rules(
    current: i32,
    desired: i32,
    bounds: Bounds,
    factor: f64,
    minimum: f64,
) -> Limited {
    let limit = calculate_scale_up_limit(current, factor, minimum);
    let (allowed, why) = if bounds.max > limit {
        (limit, Reason::ScaleUpLimit)
    } else {
        (bounds.max, Reason::TooManyReplicas)
    };
    let (replicas, reason) = if desired < bounds.min {
        (bounds.min, Reason::TooFewReplicas)
    } else if desired > allowed {
        (allowed, why)
    } else {
        (desired, Reason::DesiredWithinRange)
    };
    Limited { replicas, reason, rate_limit: Some(limit) }
}
