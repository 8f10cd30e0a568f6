//! KEDA's own part: the step between no replica and one, and what it answers while a trigger fails.
//!
//! KEDA generates an HPA with an External metric per trigger and lets it scale between one and the maximum. Beside
//! it runs a loop of its own, which asks the triggers every polling interval whether they are active, and writes the
//! scale only to wake the deployment from zero (or from `idleReplicaCount`) or to put it to sleep.
//!
//! Left out: pausing, forced activation, scaling modifiers, several scaled objects.
//!
//! Source: keda pkg/scaling/scale_handler.go, pkg/scaling/executor/scale_scaledobjects.go, pkg/fallback/fallback.go.

use crate::units::{Milli, SimDuration, SimTime};

/// What a ScaledObject says besides its HPA.
#[derive(Clone, Debug, PartialEq)]
pub struct KedaConfig {
    /// `pollingInterval`. Not 0.
    pub polling_interval: SimDuration,
    /// `cooldownPeriod`: from the last time a trigger was active to zero replicas.
    pub cooldown_period: SimDuration,
    /// `initialCooldownPeriod`: from the creation of the object to zero replicas, if no trigger was active yet.
    pub initial_cooldown_period: SimDuration,
    /// `minReplicaCount`; 0 lets it go to zero, while the HPA's own minimum is 1.
    pub min_replica_count: u32,
    /// `idleReplicaCount`, below `min_replica_count`: what it goes to instead. Only with 0 does the HPA leave it there.
    pub idle_replica_count: Option<u32>,
    /// `activationThreshold`: a trigger is active above it.
    pub activation_threshold: Milli,
    /// `fallback`.
    pub fallback: Option<Fallback>,
}

/// What KEDA answers to the HPA while a trigger fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fallback {
    /// `failureThreshold`: so many failed queries in a row are passed on as errors; those after them get an answer.
    pub failure_threshold: u32,
    /// `replicas`.
    pub replicas: u32,
    /// `behavior`.
    pub behavior: FallbackBehavior,
}

/// How many replicas a fallback aims at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FallbackBehavior {
    /// [`Fallback::replicas`].
    #[default]
    Static,
    /// As many as there are.
    CurrentReplicas,
    /// The larger of the two.
    CurrentReplicasIfHigher,
    /// The smaller of the two.
    CurrentReplicasIfLower,
}

impl FallbackBehavior {
    /// Every behaviour, with KEDA's word for it.
    pub const ALL: [(&'static str, Self); 4] = [
        ("static", Self::Static),
        ("currentReplicas", Self::CurrentReplicas),
        ("currentReplicasIfHigher", Self::CurrentReplicasIfHigher),
        ("currentReplicasIfLower", Self::CurrentReplicasIfLower),
    ];

    /// KEDA's word.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, own)| *own == self).expect("`ALL` has every behaviour").0
    }
}

/// The goal of a trigger, as the HPA has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Goal {
    /// Per replica.
    AverageValue(Milli),
    /// Of the whole, times the ready pods.
    Value(Milli),
}

impl Fallback {
    /// The value that leads the HPA to the replicas of the fallback, where `current` are written in the scale and
    /// `ready` serve; `None` if there is none.
    // Source: keda pkg/fallback/fallback.go, doFallback.
    pub(super) fn value(&self, goal: Goal, current: u32, ready: u32) -> Option<Milli> {
        let replicas = match self.behavior {
            FallbackBehavior::Static => self.replicas,
            FallbackBehavior::CurrentReplicas => current,
            FallbackBehavior::CurrentReplicasIfHigher => current.max(self.replicas),
            FallbackBehavior::CurrentReplicasIfLower => current.min(self.replicas),
        };
        let replicas = f64::from(replicas);
        let (target, replicas) = match goal {
            Goal::AverageValue(target) => (target, replicas),
            Goal::Value(_) if ready == 0 => return None,
            Goal::Value(target) => (target, replicas / f64::from(ready)),
        };
        Some(Milli((target.0 as f64 * replicas) as i64))
    }
}

/// The loop of one ScaledObject.
#[derive(Clone, Debug)]
pub(super) struct ScaleLoop {
    config: KedaConfig,
    last_active: Option<SimTime>,
}

impl ScaleLoop {
    pub(super) fn new(config: &KedaConfig) -> Self {
        assert!(config.polling_interval > SimDuration::ZERO, "the polling interval is above 0");
        Self { config: config.clone(), last_active: None }
    }

    /// Time between two polls.
    pub(super) fn interval(&self) -> SimDuration {
        self.config.polling_interval
    }

    /// One poll: what each trigger answered, `None` for an error. Returns the replicas to write, if any.
    pub(super) fn poll(
        &mut self,
        now: SimTime,
        replicas: u32,
        triggers: impl Iterator<Item = Option<Milli>>,
    ) -> Option<u32> {
        let (mut active, mut failed) = (false, false);
        for value in triggers {
            match value {
                Some(value) => active |= value > self.config.activation_threshold,
                None => failed = true,
            }
        }
        let (min, idle) = (self.config.min_replica_count, self.config.idle_replica_count);
        if active {
            let wakes = replicas == 0 || (idle.is_some() && replicas < min);
            // An error beside an active trigger leaves the time of the last activity as it was.
            if wakes || !failed {
                self.last_active = Some(now);
            }
            return wakes.then_some(min.max(1));
        }
        // With an error among the triggers nothing is known: the scale stays, and the HPA follows a fallback. One
        // of no replicas does not stop the way to sleep.
        if failed && self.config.fallback.is_none_or(|fallback| fallback.replicas > 0) {
            return None;
        }
        let sleeps = idle.is_some_and(|idle| replicas > idle) || (replicas > 0 && min == 0);
        if !sleeps {
            return (idle.is_none() && replicas < min).then_some(min);
        }
        let (since, wait) = match self.last_active {
            Some(active) => (active, self.config.cooldown_period),
            None => (SimTime::ZERO, self.config.initial_cooldown_period),
        };
        // Source: executor scaleToZeroOrIdle: all replicas at once, once the wait lies in the past.
        (since + wait < now).then_some(idle.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(min_replica_count: u32) -> KedaConfig {
        KedaConfig {
            polling_interval: SimDuration::from_secs(30),
            cooldown_period: SimDuration::from_secs(300),
            initial_cooldown_period: SimDuration::from_secs(60),
            min_replica_count,
            idle_replica_count: None,
            activation_threshold: Milli(2_000),
            fallback: None,
        }
    }

    fn poll(scale: &mut ScaleLoop, s: u64, replicas: u32, values: &[Option<i64>]) -> Option<u32> {
        let values = values.iter().map(|v| v.map(Milli));
        scale.poll(SimTime::from_secs(s), replicas, values)
    }

    #[test]
    fn sleeps_after_the_cooldown_and_wakes_above_the_threshold() {
        let mut scale = ScaleLoop::new(&config(0));
        // Never active: the initial cooldown counts from the start.
        assert_eq!(poll(&mut scale, 60, 1, &[Some(0)]), None);
        assert_eq!(poll(&mut scale, 90, 1, &[Some(0)]), Some(0));
        // At the threshold it is not active; above it is.
        assert_eq!(poll(&mut scale, 120, 0, &[Some(2_000)]), None);
        assert_eq!(poll(&mut scale, 150, 0, &[Some(0), Some(2_001)]), Some(1));
        assert_eq!(poll(&mut scale, 180, 3, &[Some(5_000)]), None);
        // 300 s after 180 s: not at 480 s, but at the poll after it; every replica goes.
        assert_eq!(poll(&mut scale, 480, 3, &[Some(0)]), None);
        assert_eq!(poll(&mut scale, 510, 3, &[Some(0)]), Some(0));
    }

    #[test]
    fn an_error_keeps_the_scale_and_a_minimum_is_left_to_the_hpa() {
        let mut scale = ScaleLoop::new(&config(0));
        assert_eq!(poll(&mut scale, 900, 2, &[None]), None);
        assert_eq!(poll(&mut scale, 930, 2, &[Some(0), None]), None);
        assert_eq!(poll(&mut scale, 960, 2, &[Some(0)]), Some(0));
        let mut scale = ScaleLoop::new(&config(2));
        assert_eq!(poll(&mut scale, 900, 2, &[Some(0)]), None);
        assert_eq!(poll(&mut scale, 930, 0, &[Some(9_000)]), Some(2));
        // Below the minimum it puts that right, active or not.
        assert_eq!(poll(&mut scale, 960, 1, &[Some(0)]), Some(2));
    }

    #[test]
    fn an_error_beside_an_active_trigger_counts_as_no_activity() {
        let mut scale = ScaleLoop::new(&config(0));
        assert_eq!(poll(&mut scale, 100, 1, &[Some(5_000), Some(0)]), None);
        assert_eq!(poll(&mut scale, 400, 1, &[Some(5_000), None]), None);
        assert_eq!(poll(&mut scale, 430, 1, &[Some(0), Some(0)]), Some(0));
        // Waking is activity all the same.
        assert_eq!(poll(&mut scale, 460, 0, &[Some(5_000), None]), Some(1));
        assert_eq!(poll(&mut scale, 760, 1, &[Some(0), Some(0)]), None);
    }

    #[test]
    fn an_idle_count_takes_the_place_of_zero_and_of_the_minimum() {
        let idle = KedaConfig { idle_replica_count: Some(0), ..config(3) };
        let mut scale = ScaleLoop::new(&idle);
        assert_eq!(poll(&mut scale, 30, 5, &[Some(3_000)]), None);
        assert_eq!(poll(&mut scale, 330, 5, &[Some(0)]), None);
        assert_eq!(poll(&mut scale, 360, 5, &[Some(0)]), Some(0));
        // Asleep: nothing raises it to the minimum but an active trigger.
        assert_eq!(poll(&mut scale, 390, 0, &[Some(0)]), None);
        assert_eq!(poll(&mut scale, 420, 0, &[Some(3_000)]), Some(3));
        let one = KedaConfig { idle_replica_count: Some(1), ..config(3) };
        let mut scale = ScaleLoop::new(&one);
        assert_eq!(poll(&mut scale, 90, 3, &[Some(0)]), Some(1));
        assert_eq!(poll(&mut scale, 120, 1, &[Some(0)]), None);
        assert_eq!(poll(&mut scale, 150, 1, &[Some(3_000)]), Some(3));
    }

    #[test]
    fn a_fallback_keeps_the_loop_still_unless_it_is_none() {
        let fallback = |replicas| {
            Some(Fallback { failure_threshold: 3, replicas, behavior: FallbackBehavior::Static })
        };
        let mut scale = ScaleLoop::new(&KedaConfig { fallback: fallback(2), ..config(0) });
        assert_eq!(poll(&mut scale, 900, 1, &[None]), None);
        let mut scale = ScaleLoop::new(&KedaConfig { fallback: fallback(0), ..config(0) });
        assert_eq!(poll(&mut scale, 900, 1, &[None]), Some(0));
    }

    /// ceil(value / target) is what the HPA makes of an average, ready x value / target of a value.
    #[test]
    fn a_fallback_answers_what_leads_to_its_replicas() {
        let value = |behavior, goal, current, ready| {
            Fallback { failure_threshold: 0, replicas: 6, behavior }.value(goal, current, ready)
        };
        let average = Goal::AverageValue(Milli(2_500));
        let of = |behavior, current| value(behavior, average, current, 1);
        assert_eq!(of(FallbackBehavior::Static, 9), Some(Milli(15_000)));
        assert_eq!(of(FallbackBehavior::CurrentReplicas, 9), Some(Milli(22_500)));
        assert_eq!(of(FallbackBehavior::CurrentReplicasIfHigher, 9), Some(Milli(22_500)));
        assert_eq!(of(FallbackBehavior::CurrentReplicasIfHigher, 4), Some(Milli(15_000)));
        assert_eq!(of(FallbackBehavior::CurrentReplicasIfLower, 9), Some(Milli(15_000)));
        assert_eq!(of(FallbackBehavior::CurrentReplicasIfLower, 4), Some(Milli(10_000)));
        let whole = Goal::Value(Milli(100_000));
        assert_eq!(value(FallbackBehavior::Static, whole, 9, 4), Some(Milli(150_000)));
        assert_eq!(value(FallbackBehavior::Static, whole, 9, 0), None);
    }
}
