//! One pod: its stage, its drawn delays, and what Kubernetes shows of it.

use super::config::{ClusterConfig, ModelLoad, Probe};
use super::effect::PodStage;
use super::rate;
use super::storage::StreamId;
use crate::rng::{Seed, Stream};
use crate::units::{NodeId, PodId, SimDuration, SimTime};
use rand::{Rng as _, RngExt as _};

/// A live pod, terminating ones included.
#[derive(Clone, Debug)]
pub struct Pod {
    pub(super) id: PodId,
    pub(super) stage: PodStage,
    /// Counts stages and timers; a timer of an earlier generation is stale.
    pub(super) generation: u32,
    pub(super) node: Option<NodeId>,
    pub(super) created: SimTime,
    pub(super) bound: Option<SimTime>,
    pub(super) container_start: Option<SimTime>,
    pub(super) ready: bool,
    pub(super) ready_transition: Option<SimTime>,
    pub(super) deleted: Option<SimTime>,
    /// Container restarts.
    pub(super) restarts: u32,
    /// Containers that died; a timer of an earlier one is stale.
    pub(super) life: u32,
    /// Next wait of CrashLoopBackOff and when it was set.
    pub(super) backoff: Option<(SimDuration, SimTime)>,
    /// Spells of failing readiness probes so far.
    pub(super) unready_spells: u32,
    /// Its health check fails until then.
    pub(super) unhealthy_until: SimTime,
    /// Its machine is being taken: it ends as Failed.
    pub(super) interrupted: bool,
    /// Its machine died without notice: nothing of it runs.
    pub(super) lost: bool,
    /// `controller.kubernetes.io/pod-deletion-cost`.
    pub(super) deletion_cost: i32,
    /// SIGKILL comes then, if the pod is ending.
    pub(super) kill_at: SimTime,
    /// Orders pods as random UIDs do.
    pub(super) uid: u64,
    /// The gateway routes to it.
    pub(super) routed: bool,
    pub(super) endpoint_generation: u32,
    pub(super) load: LoadState,
    /// Too many nodes have the volume for its own to get it.
    pub(super) waits_for_volume: bool,
    /// A container of it has read all weights.
    pub(super) has_read: bool,
    pub(super) shutdown: Shutdown,
    pub(super) delays: PodDelays,
}

/// How a pod in [`PodStage::Loading`] gets its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadState {
    /// Not reading, or reading by a timer of its own.
    Timer,
    /// Reading from the volume.
    Reads(StreamId),
    /// Reading what another pod of its node brings into the page cache.
    Follows { stream: StreamId, since: SimTime },
}

/// How far the end of a pod in [`PodStage::Terminating`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// Not deleted, or nothing was running.
    None,
    /// The preStop hook runs.
    PreStop {
        /// The server listened; if not, it ends on SIGTERM at once.
        serves: bool,
    },
    /// SIGTERM was sent; the server finishes what it has.
    Draining,
}

/// What is drawn for a pod from its ordinal.
#[derive(Clone, Copy, Debug)]
pub(super) struct PodDelays {
    pub(super) attach: SimDuration,
    pub(super) create: SimDuration,
    /// Own reading rate \[bytes/s\] of a load from storage.
    pub(super) load_rate: u64,
    /// Duration of a load of given time.
    pub(super) load_time: SimDuration,
    pub(super) init: SimDuration,
    /// First tick of the readiness probe after the start of the container.
    pub(super) readiness_phase: SimDuration,
    /// First tick of the startup probe after the start of the container.
    pub(super) startup_phase: SimDuration,
    /// First tick of the liveness probe after the start of the container.
    pub(super) liveness_phase: SimDuration,
    pub(super) endpoint: SimDuration,
    pub(super) endpoint_removal: SimDuration,
}

impl PodDelays {
    /// Draws everything at once, so that what a run does with the pod shifts no other draw.
    fn draw(config: &ClusterConfig, seed: Seed, id: PodId) -> Self {
        let mut start = seed.stream(Stream::PodStart, u64::from(id.0));
        let attach = config.startup.attach.sample(&mut start);
        let create = config.startup.container_start.sample(&mut start);
        let init = config.startup.init.sample(&mut start);
        let (load_rate, load_time) = match &config.startup.load {
            ModelLoad::Storage(load) => {
                (rate::sample(load.pod_rate, &mut start), SimDuration::ZERO)
            }
            ModelLoad::Time(dist) => (1, dist.sample(&mut start)),
        };
        let mut probe = seed.stream(Stream::Probe, u64::from(id.0));
        let mut phase = |period: SimDuration| {
            SimDuration::from_ps(probe.random_range(0..period.as_ps().max(1)))
        };
        let readiness_phase = phase(config.probe.readiness.period);
        let startup_phase = phase(config.probe.startup.map_or(SimDuration::ZERO, |p| p.period));
        let endpoint = config.probe.endpoint_delay.sample(&mut probe);
        let endpoint_removal = config.termination.endpoint_removal.sample(&mut probe);
        let liveness = config.probe.liveness.map_or(SimDuration::ZERO, |p| p.period);
        let liveness_phase = SimDuration::from_ps(probe.random_range(0..liveness.as_ps().max(1)));
        Self {
            attach,
            create,
            load_rate,
            load_time,
            init,
            readiness_phase,
            startup_phase,
            liveness_phase,
            endpoint,
            endpoint_removal,
        }
    }
}

impl Pod {
    /// A new Pending pod.
    pub(super) fn new(config: &ClusterConfig, seed: Seed, id: PodId, now: SimTime) -> Self {
        Self {
            id,
            stage: PodStage::Pending,
            generation: 0,
            node: None,
            created: now,
            bound: None,
            container_start: None,
            ready: false,
            ready_transition: None,
            deleted: None,
            restarts: 0,
            life: 0,
            backoff: None,
            unready_spells: 0,
            unhealthy_until: SimTime::ZERO,
            interrupted: false,
            lost: false,
            deletion_cost: 0,
            kill_at: SimTime::NEVER,
            uid: seed.stream(Stream::Victim, u64::from(id.0)).next_u64(),
            routed: false,
            endpoint_generation: 0,
            load: LoadState::Timer,
            waits_for_volume: false,
            has_read: false,
            shutdown: Shutdown::None,
            delays: PodDelays::draw(config, seed, id),
        }
    }

    /// When the readiness probe first passes if the server listens from `http_up` on.
    // Source: kubernetes pkg/kubelet/prober: ticks run from the pod's admission, and those before the initial delay do
    // nothing (worker.go); a pod is Ready at the first tick that finds the server, or at once when its startup probe
    // passes, which has the readiness probe run outside its ticks (prober_manager.go, UpdatePodStatus).
    pub(super) fn ready_at(&self, config: &ClusterConfig, http_up: SimTime) -> SimTime {
        let started = self.container_start.expect("law L8: a listening pod has a container");
        let tick = |probe: Probe, phase: SimDuration, not_before: SimTime| {
            let earliest = not_before.max(started + probe.initial_delay);
            first_tick(started + phase, probe.period, earliest)
        };
        let readiness = config.probe.readiness;
        let from = match config.probe.startup {
            Some(probe) => tick(probe, self.delays.startup_phase, http_up),
            None => http_up,
        };
        if config.probe.startup.is_some() && started + readiness.initial_delay <= from {
            return from;
        }
        tick(readiness, self.delays.readiness_phase, from)
    }

    /// The first tick of the readiness probe at or after `earliest`.
    pub(super) fn readiness_tick(&self, period: SimDuration, earliest: SimTime) -> SimTime {
        let started = self.container_start.expect("law L8: a listening pod has a container");
        first_tick(started + self.delays.readiness_phase, period, earliest)
    }

    /// When a server that still starts is killed: its startup probe has failed `failureThreshold` times in a row or,
    /// where there is none, its liveness probe; `None` = never.
    // Source: kubernetes pkg/kubelet/prober/worker.go: liveness is not probed before the startup probe has passed.
    pub(super) fn startup_deadline(&self, config: &ClusterConfig) -> Option<SimTime> {
        let started = self.container_start.expect("law L8: a starting pod has a container");
        let (probe, phase) = match (config.probe.startup, config.probe.liveness) {
            (Some(startup), _) => (startup, self.delays.startup_phase),
            (None, Some(liveness)) => (liveness, self.delays.liveness_phase),
            (None, None) => return None,
        };
        Some(nth_failure(started + phase, probe, started + probe.initial_delay))
    }

    /// When the liveness probe has failed `failureThreshold` times in a row, from `now` on.
    pub(super) fn liveness_deadline(&self, probe: Probe, now: SimTime) -> SimTime {
        let started = self.container_start.expect("law L8: a listening pod has a container");
        let from = now.max(started + probe.initial_delay);
        nth_failure(started + self.delays.liveness_phase, probe, from)
    }

    /// Its id.
    pub fn id(&self) -> PodId {
        self.id
    }
    /// Its stage.
    pub fn stage(&self) -> PodStage {
        self.stage
    }
    /// The node it is bound to.
    pub fn node(&self) -> Option<NodeId> {
        self.node
    }
    /// `metadata.creationTimestamp`.
    pub fn created(&self) -> SimTime {
        self.created
    }
    /// `status.startTime`: when the kubelet took it, which is when it was bound.
    pub fn start_time(&self) -> Option<SimTime> {
        self.bound
    }
    /// Whether `status.phase` is `Pending` (otherwise it is `Running`).
    pub fn is_kube_pending(&self) -> bool {
        self.stage.is_kube_pending()
    }
    /// Whether the `Ready` condition is True. A terminating pod keeps it until it is gone.
    pub fn is_ready(&self) -> bool {
        self.ready
    }
    /// `lastTransitionTime` of the `Ready` condition; `None` before the kubelet set one.
    pub fn ready_transition(&self) -> Option<SimTime> {
        self.ready_transition
    }
    /// Whether its process is being ended.
    pub(super) fn is_terminating(&self) -> bool {
        self.stage == PodStage::Terminating
    }
    /// Restarts of its container.
    pub fn restarts(&self) -> u32 {
        self.restarts
    }
    /// Whether it has a deletion time stamp.
    pub fn is_deleting(&self) -> bool {
        self.deleted.is_some()
    }
    /// Whether the gateway routes to it.
    pub fn is_routed(&self) -> bool {
        self.routed
    }
}

/// The `failureThreshold`-th tick of a probe from `from` on.
fn nth_failure(ticks: SimTime, probe: Probe, from: SimTime) -> SimTime {
    let more = u64::from(probe.failure_threshold.saturating_sub(1));
    first_tick(ticks, probe.period, from) + probe.period * more
}

/// The first of the instants `origin + n * period` at or after `earliest`.
pub(super) fn first_tick(origin: SimTime, period: SimDuration, earliest: SimTime) -> SimTime {
    let behind = earliest.saturating_since(origin).as_ps();
    origin + period * behind.div_ceil(period.as_ps())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_at_both_sides_of_the_edge() {
        let (origin, period) = (SimTime::from_secs(3), SimDuration::from_secs(5));
        let at = |s| first_tick(origin, period, s);
        assert_eq!(at(SimTime::ZERO), SimTime::from_secs(3));
        assert_eq!(at(SimTime::from_secs(243)), SimTime::from_secs(243));
        let just_after = SimTime::from_secs(243) + SimDuration::from_ps(1);
        assert_eq!(at(just_after), SimTime::from_secs(248));
    }
}
