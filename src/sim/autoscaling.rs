//! The HPA's side of a run: builds what a reconcile reads, keeps what it decided.
//!
//! The HPA sees only what the pipeline delivered and what the API server shows of the pods.

use super::explanation::{Explanation, PodReading};
use super::record::{RecordLevel, RunRecord};
use super::scenario::{FeedShape, HpaSetup, Signal};
use crate::cluster::{Cluster, Pod};
use crate::hpa::{
    ConditionType, Decision, FetchError, Hpa, MetricReading, Observation, PodPhase, PodSample,
    PodView, Ready, Reason, SyncSchedule, calculator,
};
use crate::pipeline::Pipeline;
use crate::units::{Milli, PodId, SimDuration, SimTime};

/// Two scale writes in opposite directions within this time are a flap.
const FLAP_WINDOW: SimDuration = SimDuration::from_secs(30 * 60);

/// Namespace that messages name.
const NAMESPACE: &str = "default";

/// One HPA in a run.
#[derive(Debug)]
pub(super) struct Controller {
    hpa: Hpa,
    setup: HpaSetup,
    pods: Vec<PodView>,
    samples: Vec<Vec<PodSample>>,
    sums: Vec<Vec<Milli>>,
    pending_write: Option<u32>,
    decisions: Vec<Decision>,
    explanations: Vec<Explanation>,
    /// What held the reconcile before, if it was held.
    last_hold: Option<Hold>,
}

/// What keeps a reconcile from following its proposal: reason of the window, reason of the limit, and the
/// replicas that are kept.
type Hold = (Option<Reason>, Option<Reason>, i32);

/// What a reconcile leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synced {
    /// When the scale write lands, if there is one.
    pub(super) write_at: Option<SimTime>,
    /// When the next reconcile starts.
    pub(super) next: SimTime,
}

impl Controller {
    pub(super) fn new(setup: &HpaSetup) -> Self {
        let hpa = Hpa::new(&setup.spec, setup.controller.clone());
        let metrics = hpa.spec().metrics.len();
        assert_eq!(metrics, setup.feeds.len(), "one feed per metric of the defaulted spec");
        Self {
            hpa,
            setup: setup.clone(),
            pods: Vec::new(),
            samples: vec![Vec::new(); metrics],
            sums: vec![Vec::new(); metrics],
            pending_write: None,
            decisions: Vec::new(),
            explanations: Vec::new(),
            last_hold: None,
        }
    }

    /// Times of the reconcile loop.
    pub(super) fn schedule(&self) -> &SyncSchedule {
        &self.setup.schedule
    }

    /// The quantity behind each metric, in order.
    pub(super) fn signals(&self) -> impl Iterator<Item = Signal> {
        self.setup.feeds.iter().map(|feed| feed.signal)
    }

    /// The last decision.
    pub(super) fn decision(&self) -> &Decision {
        self.hpa.decision()
    }

    /// Runs one reconcile that starts at `now`.
    pub(super) fn sync(
        &mut self,
        now: SimTime,
        spec_replicas: u32,
        cluster: &Cluster,
        pipeline: &mut Pipeline,
        level: RecordLevel,
    ) -> Synced {
        self.pods.clear();
        self.pods.extend(cluster.pods().iter().map(view));
        for (i, feed) in self.setup.feeds.iter().enumerate() {
            let samples = &mut self.samples[i];
            samples.clear();
            for pod in cluster.pods() {
                if let Some(sample) = pipeline.query(now, i, pod.id()) {
                    let key = pod.id().0;
                    samples.push(PodSample::new(key, sample.value, sample.scraped_at));
                }
            }
            if feed.shape == FeedShape::Sum {
                self.sums[i].clear();
                if !samples.is_empty() {
                    let sum = samples.iter().map(|s| s.value.0).sum();
                    self.sums[i].push(Milli(sum));
                }
            }
        }
        let readings: Vec<MetricReading<'_>> = self
            .setup
            .feeds
            .iter()
            .enumerate()
            .map(|(i, feed)| match feed.shape {
                _ if self.samples[i].is_empty() => MetricReading::Error(FetchError::Empty),
                FeedShape::PerPod => MetricReading::Pods(&self.samples[i]),
                FeedShape::Sum => MetricReading::Values(&self.sums[i]),
            })
            .collect();
        let decide = self.setup.schedule.decide_at(now);
        let seen = Observation {
            now,
            now_decide: decide,
            spec_replicas: spec_replicas.cast_signed(),
            status_replicas: cluster.status_replicas().cast_signed(),
            pods: &self.pods,
            metrics: &readings,
            fault: None,
        };
        let decision = self.hpa.reconcile(&seen);
        let write = decision.scale_to.map(|n| u32::try_from(n).unwrap_or(0));
        if write.is_none() && level > RecordLevel::Measures {
            self.decisions.push(decision.clone());
        }
        self.pending_write = write;
        let finished = match write {
            Some(_) => self.setup.schedule.written_at(decide),
            None => decide,
        };
        if level > RecordLevel::Measures && is_news(self.hpa.decision(), &mut self.last_hold) {
            let chain = self.hpa.explain(&seen, NAMESPACE);
            let decision = self.hpa.decision();
            self.explanations.push(Explanation {
                decision: decision.clone(),
                chain,
                conditions: decision.conditions,
                written_at: write.map(|_| finished),
                samples: (0..self.samples.len()).map(|i| self.readings(i)).collect(),
            });
        }
        Synced { write_at: write.map(|_| finished), next: self.setup.schedule.next(now, finished) }
    }

    /// The scale write of the last reconcile lands; returns the wanted number of replicas.
    pub(super) fn write(&mut self, now: SimTime, level: RecordLevel) -> u32 {
        let replicas = self.pending_write.take().expect("a write was scheduled by a decision");
        let decision = self.hpa.scale_written(now, Ok(()));
        if level > RecordLevel::Measures {
            self.decisions.push(decision.clone());
            if let Some(explanation) = self.explanations.last_mut() {
                explanation.conditions = decision.conditions;
                explanation.decision.event = decision.event;
            }
        }
        replicas
    }

    /// What the last reconcile read of each pod for metric `i`; nothing if it asked for no metric.
    fn readings(&self, i: usize) -> Vec<PodReading> {
        if self.hpa.decision().metrics.is_empty() {
            return Vec::new();
        }
        let samples = &self.samples[i];
        let per_pod = self.setup.feeds[i].shape == FeedShape::PerPod;
        let rules = self.hpa.calculator_rules();
        let now = self.hpa.decision().now_decide;
        // Gauges of a server are never the `cpu` resource.
        let groups = calculator::classify(&self.pods, samples, false, rules, now);
        let reading = |(pod, group): (&PodView, _)| {
            let sample = samples.iter().find(|sample| sample.pod == pod.key);
            PodReading {
                pod: PodId(pod.key),
                value: sample.map(|sample| sample.value),
                scraped_at: sample.map(|sample| sample.timestamp),
                group: Some(group).filter(|_| per_pod),
            }
        };
        self.pods.iter().zip(groups).map(reading).collect()
    }

    /// Puts what was kept into the record of the run.
    pub(super) fn hand_over(self, record: &mut RunRecord) {
        record.decisions = self.decisions;
        // A write that the horizon cut off did not happen.
        let written = |e: &Explanation| e.written_at.is_none() || e.decision.event.is_some();
        record.explanations = self.explanations.into_iter().filter(written).collect();
        record.hpa = Some(self.hpa);
    }
}

/// Whether a decision is worth an explanation: it scales, or a window or limit holds it as none did since the
/// last scale write.
fn is_news(decision: &Decision, last_hold: &mut Option<Hold>) -> bool {
    if decision.scale_to.is_some() {
        *last_hold = None;
        return true;
    }
    let wanted = decision.proposed_replicas.map(|n| n.max(0));
    let stabilized = decision.stabilized_replicas != wanted;
    let limited = decision.limited_replicas != decision.stabilized_replicas;
    if !(stabilized || limited) {
        return false;
    }
    let reason = |kind| decision.conditions.get(kind).map(|c| c.reason);
    let window = reason(ConditionType::AbleToScale).filter(|_| stabilized);
    let limit = reason(ConditionType::ScalingLimited).filter(|_| limited);
    let hold = Some((window, limit, decision.current_replicas));
    let news = hold != *last_hold;
    *last_hold = hold;
    news
}

/// A pod as the HPA's informer shows it.
fn view(pod: &Pod) -> PodView {
    PodView {
        key: pod.id().0,
        phase: if pod.is_kube_pending() { PodPhase::Pending } else { PodPhase::Running },
        ready: if pod.is_ready() { Ready::True } else { Ready::False },
        deleting: pod.is_deleting(),
        start_time: pod.start_time(),
        ready_transition: pod.ready_transition().unwrap_or(pod.created()),
    }
}

/// Counts scale writes by direction and the changes of direction.
#[derive(Debug, Default)]
pub(super) struct ScaleCounter {
    pub(super) ups: u32,
    pub(super) downs: u32,
    pub(super) flaps: u32,
    last: Option<(SimTime, bool)>,
}

impl ScaleCounter {
    /// The wanted number of replicas changed.
    pub(super) fn changed(&mut self, now: SimTime, from: u32, to: u32) {
        if from == to {
            return;
        }
        let up = to > from;
        if up {
            self.ups += 1;
        } else {
            self.downs += 1;
        }
        if let Some((at, was_up)) = self.last
            && was_up != up
            && now - at <= FLAP_WINDOW
        {
            self.flaps += 1;
        }
        self.last = Some((now, up));
    }

    /// The warm-up ends; what happened before does not count, but is remembered for flaps.
    pub(super) fn restart(&mut self) {
        (self.ups, self.downs, self.flaps) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flaps_are_direction_changes_within_half_an_hour() {
        let mut counter = ScaleCounter::default();
        let at = |minutes: u64| SimTime::from_secs(minutes * 60);
        counter.changed(at(0), 1, 2);
        counter.changed(at(10), 2, 4);
        counter.changed(at(40), 4, 3);
        counter.changed(at(71), 3, 4);
        counter.changed(at(71), 4, 4);
        assert_eq!((counter.ups, counter.downs, counter.flaps), (3, 1, 1));
    }
}
