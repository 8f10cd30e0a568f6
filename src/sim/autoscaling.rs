//! The HPA's side of a run: builds what a reconcile reads, keeps what it decided.
//!
//! The HPA sees only what the pipeline delivered and what the API server shows of the pods.

use super::explanation::{Explanation, PodReading};
use super::keda::Goal;
use super::record::{RecordLevel, RunRecord};
use super::scenario::HpaSetup;
use super::signal::{CpuModel, FeedShape, MetricFeed};
use crate::cluster::{Cluster, Pod};
use crate::hpa::{
    ConditionType, Decision, FetchError, Hpa, MetricReading, Observation, PodPhase, PodRequest,
    PodSample, PodView, Quantity, Ready, Reason, SyncSchedule, calculator,
};
use crate::pipeline::{Pipeline, Query, ResourceMetrics, Total};
use crate::units::{Milli, PodId, SimDuration, SimTime};

/// Two scale writes in opposite directions within this time are a flap.
const FLAP_WINDOW: SimDuration = SimDuration::from_secs(30 * 60);

/// Namespace that messages name.
const NAMESPACE: &str = "default";

/// Metrics for which a reconcile needs no memory of its own; the guides use one or two.
const FEW: usize = 4;

/// What an HPA is told while its metrics API is down.
// Source: kube-aggregator's answer for an APIService without endpoints.
const UNAVAILABLE: FetchError =
    FetchError::Api("the server is currently unable to handle the request");

/// What KEDA's metrics server answers for an empty result unless it ignores null values.
// Source: keda pkg/scalers/prometheus_scaler.go.
const TARGET_LOST: FetchError =
    FetchError::Api("prometheus metrics 'prometheus' target may be lost, the result is empty");

/// What an adapter answers that finds no Prometheus.
// Source: prometheus-adapter pkg/custom-provider/provider.go; KEDA's words differ and name the address.
const NO_PROMETHEUS: FetchError =
    FetchError::Api("Internal error occurred: unable to fetch metrics");

/// One HPA in a run.
#[derive(Debug)]
pub(super) struct Controller {
    hpa: Hpa,
    setup: HpaSetup,
    /// By metric: its number in the pipeline; `None` for a resource.
    queries: Vec<Option<usize>>,
    pods: Vec<PodView>,
    /// Requests of the pods, as the resource metrics need them.
    requests: Vec<PodRequest>,
    cpu: CpuModel,
    samples: Vec<Vec<PodSample>>,
    totals: Vec<[Milli; 1]>,
    errors: Vec<Option<FetchError>>,
    /// By metric: queries of the HPA in a row that KEDA could not answer.
    failures: Vec<u32>,
    pending_write: Option<u32>,
    decisions: Vec<Decision>,
    explanations: Vec<Explanation>,
    /// What held the reconcile before, if it was held.
    last_hold: Option<Hold>,
}

/// What keeps a reconcile from following its proposal: reason of the window or of the limit, and the replicas that
/// are kept.
type Hold = (Option<Reason>, i32);

/// What a reconcile leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synced {
    /// When the scale write lands, if there is one.
    pub(super) write_at: Option<SimTime>,
    /// When the next reconcile starts.
    pub(super) next: SimTime,
}

impl Controller {
    pub(super) fn new(setup: &HpaSetup, cpu: &CpuModel) -> Self {
        let hpa = Hpa::new(&setup.spec, setup.controller.clone());
        let metrics = hpa.spec().metrics.len();
        assert_eq!(metrics, setup.feeds.len(), "one feed per metric of the defaulted spec");
        let mut count = 0;
        let number = |feed: &MetricFeed| {
            feed.signal.origin()?;
            count += 1;
            Some(count - 1)
        };
        Self {
            hpa,
            queries: setup.feeds.iter().map(number).collect(),
            setup: setup.clone(),
            pods: Vec::new(),
            requests: Vec::new(),
            cpu: cpu.clone(),
            samples: vec![Vec::new(); metrics],
            totals: vec![[Milli(0)]; metrics],
            errors: vec![None; metrics],
            failures: vec![0; metrics],
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

    /// What it asks of the pipeline, in the order of its metrics, for pods with `gpus` GPUs.
    pub(super) fn queries(setup: &HpaSetup, gpus: u32) -> Vec<Query> {
        setup.feeds.iter().filter_map(|feed| feed.query(gpus)).collect()
    }

    /// Where each metric's value comes from, in order.
    pub(super) fn feeds(&self) -> &[MetricFeed] {
        &self.setup.feeds
    }

    /// What each of KEDA's triggers answers at `now`; `None` for an error.
    pub(super) fn triggers<'a>(
        &'a self,
        now: SimTime,
        pipeline: &'a mut Pipeline,
    ) -> impl Iterator<Item = Option<Milli>> + 'a {
        self.queries.iter().flatten().map(move |&query| match pipeline.query_live(now, query) {
            Total::Value(value) => Some(value),
            Total::Empty | Total::Error | Total::Unreachable => None,
        })
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
        resources: &ResourceMetrics,
        level: RecordLevel,
    ) -> Synced {
        self.pods.clear();
        self.pods.extend(cluster.pods().iter().map(view));
        self.read(now, cluster, pipeline, resources, level);
        // An HPA of no replicas is off and asks for nothing.
        if spec_replicas > 0 && !pipeline.is_down(now) {
            self.fall_back(spec_replicas);
        }
        // On the stack unless somebody has a great many metrics: no allocation per reconcile.
        let mut few = [MetricReading::Error(FetchError::Empty); FEW];
        let mut many = Vec::new();
        let count = self.setup.feeds.len();
        let readings = if count <= FEW {
            &mut few[..count]
        } else {
            many.resize(count, MetricReading::Error(FetchError::Empty));
            many.as_mut_slice()
        };
        for (i, reading) in readings.iter_mut().enumerate() {
            *reading = match (self.errors[i], self.setup.feeds[i].shape) {
                (Some(error), _) => MetricReading::Error(error),
                (None, FeedShape::PerPod) => MetricReading::Pods(&self.samples[i]),
                (None, FeedShape::Total(_)) => MetricReading::Values(&self.totals[i]),
                (None, FeedShape::Resource) => {
                    MetricReading::Resource { samples: &self.samples[i], requests: &self.requests }
                }
            };
        }
        let decide = self.setup.schedule.decide_at(now);
        let seen = Observation {
            now,
            now_decide: decide,
            spec_replicas: spec_replicas.cast_signed(),
            status_replicas: cluster.status_replicas().cast_signed(),
            pods: &self.pods,
            metrics: readings,
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
        let write_at = write.map(|_| finished);
        if level > RecordLevel::Measures && is_news(self.hpa.decision(), &mut self.last_hold) {
            let chain = self.hpa.explain(&seen, NAMESPACE);
            let decision = self.hpa.decision();
            self.explanations.push(Explanation {
                decision: decision.clone(),
                chain,
                conditions: decision.conditions,
                written_at: write_at,
                samples: (0..self.samples.len()).map(|i| self.readings(i)).collect(),
            });
        }
        Synced { write_at, next: self.setup.schedule.next(now, finished) }
    }

    /// Asks every metrics API.
    fn read(
        &mut self,
        now: SimTime,
        cluster: &Cluster,
        pipeline: &mut Pipeline,
        resources: &ResourceMetrics,
        level: RecordLevel,
    ) {
        let down = if pipeline.is_down(now) {
            Some(UNAVAILABLE)
        } else {
            pipeline.prometheus_is_down(now).then_some(NO_PROMETHEUS)
        };
        for i in 0..self.setup.feeds.len() {
            let shape = self.setup.feeds[i].shape;
            self.samples[i].clear();
            let Some(query) = self.queries[i] else {
                self.read_resource(i, cluster, resources);
                continue;
            };
            if down.is_some() {
                self.errors[i] = down;
                continue;
            }
            // The parts of a total are read for the explanation only.
            if shape == FeedShape::PerPod || level > RecordLevel::Measures {
                let samples = &mut self.samples[i];
                for pod in cluster.pods() {
                    let sample = pipeline.query(now, query, pod.id());
                    samples
                        .extend(sample.map(|s| PodSample::new(pod.id().0, s.value, s.scraped_at)));
                }
            }
            self.errors[i] = match shape {
                FeedShape::PerPod | FeedShape::Resource => {
                    self.samples[i].is_empty().then_some(FetchError::Empty)
                }
                FeedShape::Total(_) => match pipeline.query_total(now, query) {
                    Total::Value(value) => {
                        self.totals[i] = [value];
                        None
                    }
                    Total::Empty => Some(FetchError::Empty),
                    Total::Error => Some(TARGET_LOST),
                    Total::Unreachable => Some(NO_PROMETHEUS),
                },
            };
        }
    }

    /// Asks the resource metrics API for metric `i`: CPU usage, and what the pods ask for.
    fn read_resource(&mut self, i: usize, cluster: &Cluster, resources: &ResourceMetrics) {
        let samples = &mut self.samples[i];
        for pod in cluster.pods() {
            samples.extend(resources.query(pod.id()).map(|usage| PodSample {
                pod: pod.id().0,
                value: usage.usage,
                timestamp: usage.timestamp,
                window: usage.window,
            }));
        }
        let request = match self.cpu.request_cores {
            Some(cores) => PodRequest::Set(Milli((cores * 1000.0).round() as i64)),
            None => PodRequest::Missing,
        };
        self.requests.clear();
        self.requests.resize(self.pods.len(), request);
        self.errors[i] = samples.is_empty().then_some(FetchError::Empty);
    }

    /// KEDA counts the queries that fail, and answers in their place once they are too many in a row.
    // Source: keda pkg/fallback/fallback.go, GetMetricsWithFallback; only the HPA's queries count, not the polls.
    fn fall_back(&mut self, current: u32) {
        let Some(fallback) = self.setup.keda.as_ref().and_then(|keda| keda.fallback) else {
            return;
        };
        let serves = |pod: &&PodView| pod.phase == PodPhase::Running && pod.ready == Ready::True;
        let ready = self.pods.iter().filter(serves).count() as u32;
        for (i, metric) in self.hpa.spec().metrics.iter().enumerate() {
            let Some(external) = &metric.external else { continue };
            if self.errors[i].is_none() {
                self.failures[i] = 0;
                continue;
            }
            self.failures[i] += 1;
            if self.failures[i] <= fallback.failure_threshold {
                continue;
            }
            let milli = |quantity: &Quantity| Milli(quantity.milli_value());
            let target = &external.target;
            let average = target.average_value.as_ref().map(|q| Goal::AverageValue(milli(q)));
            let whole = target.value.as_ref().map(|q| Goal::Value(milli(q)));
            let value = average.or(whole).and_then(|goal| fallback.value(goal, current, ready));
            if let Some(value) = value {
                self.errors[i] = None;
                self.totals[i] = [value];
            }
        }
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
        let shape = self.setup.feeds[i].shape;
        let per_pod = !matches!(shape, FeedShape::Total(_));
        let rules = self.hpa.calculator_rules();
        let now = self.hpa.decision().now_decide;
        let cpu = shape == FeedShape::Resource;
        let groups = calculator::classify(&self.pods, samples, cpu, rules, now);
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
    let (stabilized, limited) = (decision.stabilized_replicas, decision.limited_replicas);
    if limited == wanted {
        return false;
    }
    // What a limit cuts from the window's recommendation it would have cut from the proposal.
    let by_window = stabilized.cmp(&limited) != wanted.cmp(&limited);
    let holder = if by_window { ConditionType::AbleToScale } else { ConditionType::ScalingLimited };
    let reason = decision.conditions.get(holder).map(|c| c.reason);
    let hold = Some((reason, decision.current_replicas));
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
