//! What goes wrong on its own: servers that crash, probes that fail for a while, machines that are taken or die.
//!
//! Chances are exponential, drawn from streams of the pod's or node's ordinal, so that what a run does with
//! one of them shifts no other draw.

use super::Cluster;
use super::effect::{ClusterEvent, Effect, PodStage};
use super::fault_event::{Death, FaultEvent};
use crate::rng::{Dist, Seed, Stream};
use crate::units::{NodeId, PodId, SimDuration, SimTime};
use rand::RngExt as _;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultConfig {
    /// Crashes (out of memory, Xid) per hour of a listening server; 0 = none.
    pub crash_per_hour: f64,
    /// Spells of a failing readiness probe per hour of a listening server; 0 = none.
    pub unready_per_hour: f64,
    /// How long a spell lasts.
    pub unready_for: Dist,
    /// Faults at given times, in any order.
    pub scripted: Vec<ScriptedFault>,
    /// Machines that die without notice (kernel panic, host error) per node and hour; 0 = none.
    pub node_loss_per_hour: f64,
    /// `--node-monitor-grace-period`: a node that does not renew its lease for this long turns NotReady.
    pub node_monitor_grace_period: SimDuration,
    /// `tolerationSeconds` of a pod on an unreachable node: it is deleted this long after NotReady.
    pub unreachable_toleration: SimDuration,
    /// GKE recreates a machine this long after its node turned NotReady; `None` = auto-repair is off.
    pub node_repair: Option<SimDuration>,
    /// Wait before the second restart of a container; the first restart does not wait.
    pub restart_backoff_initial: SimDuration,
    /// Longest wait before a restart.
    pub restart_backoff_max: SimDuration,
}

/// One fault at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScriptedFault {
    /// When.
    pub at: SimTime,
    /// Which pod: index among those whose server listens and that are not being deleted, oldest first.
    /// Nothing happens if there are fewer.
    pub replica: usize,
    /// What.
    pub kind: FaultKind,
}

/// What a scripted fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The server process dies.
    Crash,
    /// Its health check fails for this long; requests go on.
    Unready(SimDuration),
    /// The pod's node is preempted, whatever its pool.
    Preemption,
    /// The pod's machine dies without notice.
    NodeLoss,
}

impl FaultConfig {
    pub(super) fn check(&self, mut require: impl FnMut(bool, &str, &str)) {
        for (rate, field) in [
            (self.crash_per_hour, "faults.crash_per_hour"),
            (self.unready_per_hour, "faults.unready_per_hour"),
            (self.node_loss_per_hour, "faults.node_loss_per_hour"),
        ] {
            require(rate.is_finite() && rate >= 0.0, field, "must not be negative");
        }
        require(self.unready_for.is_drawable(), "faults.unready_for", Dist::RULE);
        require(
            self.restart_backoff_initial <= self.restart_backoff_max,
            "faults.restart_backoff_initial",
            "must not exceed `restart_backoff_max`",
        );
    }
}

/// Time to the next event of a Poisson process with `per_hour` events, drawn from one stream; `None` = later
/// than any run.
pub(super) fn wait(
    per_hour: f64,
    seed: Seed,
    stream: Stream,
    ordinal: u32,
    count: u32,
) -> Option<SimDuration> {
    if per_hour <= 0.0 {
        return None;
    }
    let index = (u64::from(ordinal) << 32) | u64::from(count);
    let luck: f64 = seed.stream(stream, index).random();
    let seconds = -libm::log(1.0 - luck) / per_hour * 3_600.0;
    (seconds < SimDuration::LONGEST_RUN.as_secs_f64()).then(|| SimDuration::from_secs_f64(seconds))
}

/// How often the kubelet renews its lease, and how often the controller looks.
// Source: kubernetes pkg/kubelet: a quarter of nodeLeaseDurationSeconds = 40; --node-monitor-period 5 s.
const LEASE_RENEWAL: SimDuration = SimDuration::from_secs(10);
const MONITOR_PERIOD: SimDuration = SimDuration::from_secs(5);

/// From the death of a machine until its node turns NotReady: what is left of the grace period since the last
/// renewal, and the wait for the controller's next look.
pub(super) fn loss_detection(grace: SimDuration, seed: Seed, id: NodeId) -> SimDuration {
    let index = (u64::from(id.0) << 32) | 1;
    let mut rng = seed.stream(Stream::NodeLoss, index);
    let mut phase = |p: SimDuration| SimDuration::from_ps(rng.random_range(0..p.as_ps()));
    let lease_age = phase(LEASE_RENEWAL);
    grace.saturating_sub(lease_age) + phase(MONITOR_PERIOD)
}

impl Cluster {
    /// Asks for the scripted faults.
    pub(super) fn arm_script(&self, out: &mut Vec<Effect>) {
        for (index, fault) in self.config.faults.scripted.iter().enumerate() {
            out.push(Effect::At(fault.at, ClusterEvent::Scripted { index }));
        }
    }

    /// A scripted fault happens.
    pub(super) fn scripted(&mut self, now: SimTime, index: usize, out: &mut Vec<Effect>) {
        let fault = self.config.faults.scripted[index];
        let listening = |i: &usize| self.pods[*i].stage.listens() && !self.pods[*i].lost;
        let Some(i) = (0..self.pods.len()).filter(listening).nth(fault.replica) else { return };
        match fault.kind {
            FaultKind::Crash => self.container_died(now, i, Death::Crash, out),
            FaultKind::Unready(lasts) => self.health_fails(now, i, lasts, out),
            FaultKind::Preemption => {
                let node = self.pods[i].node.expect("law L8: a listening pod is bound");
                self.preempt(now, node, out);
            }
            FaultKind::NodeLoss => {
                let node = self.pods[i].node.expect("law L8: a listening pod is bound");
                self.lose_node(now, node, out);
            }
        }
    }

    /// Asks for the faults of a server that has just come up.
    pub(super) fn arm_faults(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        let (pod, faults) = (&self.pods[i], &self.config.faults);
        let (id, life) = (pod.id, pod.life);
        let rate = faults.crash_per_hour;
        if let Some(wait) = wait(rate, self.seed, Stream::Crash, id.0, life) {
            out.push(Effect::At(now + wait, ClusterEvent::Crash { pod: id, life }));
        }
        self.arm_unready(now, i, out);
    }

    fn arm_unready(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        let pod = &mut self.pods[i];
        let rate = self.config.faults.unready_per_hour;
        let Some(wait) = wait(rate, self.seed, Stream::Unready, pod.id.0, pod.unready_spells)
        else {
            return;
        };
        let event = ClusterEvent::HealthFails { pod: pod.id, life: pod.life };
        out.push(Effect::At(now + wait, event));
    }

    /// The pod if it is alive and its container is the one that `life` means.
    fn living(&self, pod: PodId, life: u32) -> Option<usize> {
        self.pod_index(pod).filter(|i| self.pods[*i].life == life)
    }

    /// A server's time is up.
    pub(super) fn crash_due(&mut self, now: SimTime, pod: PodId, life: u32, out: &mut Vec<Effect>) {
        if let Some(i) = self.living(pod, life).filter(|i| self.pods[*i].stage.listens()) {
            self.container_died(now, i, Death::Crash, out);
        }
    }

    /// A spell of failing health checks begins.
    pub(super) fn health_due(
        &mut self,
        now: SimTime,
        pod: PodId,
        life: u32,
        out: &mut Vec<Effect>,
    ) {
        let Some(i) = self.living(pod, life) else { return };
        let index = (u64::from(pod.0) << 32) | u64::from(self.pods[i].unready_spells);
        let mut rng = self.seed.stream(Stream::UnreadyFor, index);
        let lasts = self.config.faults.unready_for.sample(&mut rng);
        self.pods[i].unready_spells += 1;
        self.arm_unready(now, i, out);
        self.health_fails(now, i, lasts, out);
    }

    /// From now on and for `lasts` the readiness probe fails.
    // Source: kubernetes pkg/kubelet/prober/worker.go: a Ready pod turns unready at the failureThreshold-th failure in
    // a row, and ready again at the first success (successThreshold 1).
    fn health_fails(&mut self, now: SimTime, i: usize, lasts: SimDuration, out: &mut Vec<Effect>) {
        let pod = &mut self.pods[i];
        if !matches!(pod.stage, PodStage::Ready | PodStage::InService) {
            return;
        }
        let probe = self.config.probe.readiness;
        let first = pod.readiness_tick(probe.period, now);
        let noticed = first + probe.period * u64::from(probe.failure_threshold.saturating_sub(1));
        pod.unhealthy_until = pod.unhealthy_until.max(now + lasts);
        if noticed < pod.unhealthy_until {
            let event = ClusterEvent::Unready { pod: pod.id, life: pod.life };
            out.push(Effect::At(noticed, event));
        }
        if let Some(probe) = self.config.probe.liveness {
            let killed = pod.liveness_deadline(probe, now);
            if killed < pod.unhealthy_until {
                let event = ClusterEvent::Unlive { pod: pod.id, life: pod.life };
                out.push(Effect::At(killed, event));
            }
        }
    }

    /// The liveness probe has failed often enough: the kubelet restarts the container.
    // ASSUMPTION(A374): the server ends at once, with what it has; the kubelet would grant it the grace period, which a
    // hung server waits out and one that aborts does not.
    pub(super) fn unlive_due(
        &mut self,
        now: SimTime,
        pod: PodId,
        life: u32,
        out: &mut Vec<Effect>,
    ) {
        if let Some(i) = self.living(pod, life).filter(|i| self.pods[*i].stage.listens()) {
            self.container_died(now, i, Death::LivenessProbe, out);
        }
    }

    /// The probe has failed often enough.
    pub(super) fn unready_due(
        &mut self,
        now: SimTime,
        pod: PodId,
        life: u32,
        out: &mut Vec<Effect>,
    ) {
        let serving = |i: &usize| {
            let stage = self.pods[*i].stage;
            matches!(stage, PodStage::Ready | PodStage::InService)
        };
        let Some(i) = self.living(pod, life).filter(serving) else { return };
        self.enter(i, PodStage::NotReady, out);
        self.lose_readiness(now, i, out);
        out.push(Effect::Fault(FaultEvent::Unhealthy { pod }));
        let until = self.pods[i].unhealthy_until;
        let again = self.pods[i].readiness_tick(self.config.probe.readiness.period, until);
        self.pod_timer(i, again, out);
    }

    /// The Ready condition turns False and the gateway will hear of it.
    pub(super) fn lose_readiness(&mut self, now: SimTime, i: usize, out: &mut Vec<Effect>) {
        let pod = &mut self.pods[i];
        if pod.ready {
            pod.ready = false;
            pod.ready_transition = Some(now);
        }
        self.forget_endpoint(now, i, out);
    }

    /// A container dies; the kubelet starts a new one on the same node, where image, volume and page cache stay.
    // Source: kubernetes pkg/kubelet/kuberuntime, doBackOff, and client-go util/flowcontrol/backoff.go: the first
    // restart does not wait, later ones 10 s doubling to 300 s, counted from the death; forgotten when a container
    // lives for more than twice the longest wait.
    pub(super) fn container_died(
        &mut self,
        now: SimTime,
        i: usize,
        death: Death,
        out: &mut Vec<Effect>,
    ) {
        let listened = self.pods[i].stage.listens();
        self.stop_load(now, i, out);
        self.enter(i, PodStage::Restarting, out);
        self.pods[i].life += 1;
        self.lose_readiness(now, i, out);
        let pod = &mut self.pods[i];
        if listened {
            out.push(Effect::ServerDown(pod.id));
        }
        let faults = &self.config.faults;
        let (first, longest) = (faults.restart_backoff_initial, faults.restart_backoff_max);
        let known = pod.backoff.filter(|(_, last)| now.saturating_since(*last) <= longest * 2);
        let wait = known.map_or(SimDuration::ZERO, |(wait, _)| wait);
        let next = known.map_or(first, |(wait, _)| (wait * 2).min(longest));
        let start = now + wait;
        pod.backoff = Some((next, start));
        let loading = start + pod.delays.create;
        let id = pod.id;
        out.push(Effect::Fault(FaultEvent::ContainerDied { pod: id, death, wait }));
        self.pod_timer(i, loading, out);
    }

    /// The probe that watches over the start has failed too often.
    pub(super) fn startup_overdue(
        &mut self,
        now: SimTime,
        pod: PodId,
        life: u32,
        out: &mut Vec<Effect>,
    ) {
        let starting =
            |i: &usize| matches!(self.pods[*i].stage, PodStage::Loading | PodStage::Initializing);
        if let Some(i) = self.living(pod, life).filter(starting) {
            let death = match self.config.probe.startup {
                Some(_) => Death::StartupProbe,
                None => Death::LivenessProbe,
            };
            self.container_died(now, i, death, out);
        }
    }
}
