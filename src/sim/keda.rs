//! KEDA's own part: the step between no replica and one.
//!
//! KEDA generates an HPA with an External metric per trigger and lets it scale between one and the maximum. Beside
//! it runs a loop of its own, which asks the triggers every polling interval whether they are active, and writes the
//! scale only to wake the deployment from zero or to put it to sleep.
//!
//! Left out: `fallback`, `idleReplicaCount`, pausing, several scaled objects.
//!
//! Source: keda pkg/scaling/scale_handler.go, pkg/scaling/executor/scale_scaledobjects.go.

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
    /// `activationThreshold`: a trigger is active above it.
    pub activation_threshold: Milli,
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
        if active {
            self.last_active = Some(now);
            return (replicas == 0).then(|| self.config.min_replica_count.max(1));
        }
        // With an error among the triggers nothing is known: the scale stays.
        if failed || replicas == 0 || self.config.min_replica_count > 0 {
            return None;
        }
        let (since, wait) = match self.last_active {
            Some(active) => (active, self.config.cooldown_period),
            None => (SimTime::ZERO, self.config.initial_cooldown_period),
        };
        // Source: executor scaleToZeroOrIdle: all replicas at once, once the wait lies in the past.
        (since + wait < now).then_some(0)
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
            activation_threshold: Milli(2_000),
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
    }
}
