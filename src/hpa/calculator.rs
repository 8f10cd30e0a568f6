//! From metric samples to a proposed replica count.
//!
//! Four formulas: plain averages (Pods, Resource with averageValue), utilisation (Resource with
//! averageUtilization), whole values (Object, External) and values per replica (Object, External with
//! averageValue). All arithmetic is Go's: wrapping integers, binary64 rounded once per operation in
//! the order written, conversions as on linux/amd64.
//! Source: pkg/controller/podautoscaler/replica_calculator.go, metrics/utilization.go.

use crate::units::{Milli, SimDuration, SimTime};

use super::config::ControllerConfig;
use super::decision::{CurrentValue, MetricFailure, PodCounts};
use super::observation::{PodKey, PodPhase, PodRequest, PodSample, PodView, Ready};

/// The dead band around a ratio of 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Share below 1 that is ignored.
    pub scale_down: f64,
    /// Share above 1 that is ignored.
    pub scale_up: f64,
    /// The interval test of 1.33 and later; before, the distance from 1 is compared, which differs
    /// at a ratio of exactly 1.1.
    pub interval: bool,
}

impl Tolerances {
    /// Whether a ratio is too close to 1 to act on.
    pub fn is_within(&self, usage_ratio: f64) -> bool {
        if self.interval {
            (1.0 - self.scale_down) <= usage_ratio && usage_ratio <= (1.0 + self.scale_up)
        } else {
            (1.0 - usage_ratio).abs() <= self.scale_up
        }
    }
}

/// The settings that the formulas read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalculatorRules {
    /// Dead band.
    pub tolerances: Tolerances,
    /// Minor release 1.N.
    pub kube_minor: u32,
    /// cpu only: span after a pod's start in which its samples are distrusted.
    pub cpu_initialization_period: SimDuration,
    /// cpu only: span after a pod's start in which a first readiness change does not count.
    pub initial_readiness_delay: SimDuration,
}

impl CalculatorRules {
    /// The controller's own settings with the given dead band.
    pub fn new(config: &ControllerConfig, tolerances: Tolerances) -> Self {
        Self {
            tolerances,
            kube_minor: config.kube_minor,
            cpu_initialization_period: config.cpu_initialization_period,
            initial_readiness_delay: config.initial_readiness_delay,
        }
    }
}

/// What one metric asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Proposal {
    /// Replicas asked for.
    pub replicas: i32,
    /// What the status reports.
    pub current: CurrentValue,
    /// Ratio of the samples alone.
    pub usage_ratio: f64,
    /// Ratio with missing and unready pods filled in, if that was done; else the same.
    pub final_ratio: f64,
    /// Classification of the pods.
    pub pods: PodCounts,
}

/// How one pod counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodGroup {
    /// As it is.
    Ready,
    /// Pending, or for cpu still initialising.
    Unready,
    /// Without a sample.
    Missing,
    /// Terminating or failed.
    Ignored,
}

/// Buffers reused between reconciles.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    samples: Vec<PodSample>,
    groups: Vec<PodGroup>,
}

/// The pods and samples of one metric after classification.
struct Grouped<'a> {
    /// Samples with one entry per pod.
    samples: &'a [PodSample],
    groups: &'a [PodGroup],
    counts: PodCounts,
    /// Sum and number of the samples that are left: pods that count and pods not in the list.
    sum: i64,
    count: u32,
}

/// `int32(f)` of Go on amd64: out of range and NaN give the smallest value.
fn go_i32(f: f64) -> i32 {
    if f > -2_147_483_649.0 && f < 2_147_483_648.0 { f as i32 } else { i32::MIN }
}

/// `int64(f)` of Go on amd64.
fn go_i64(f: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&f) {
        f as i64
    } else {
        i64::MIN
    }
}

/// `int32(math.Ceil(f))` of Go on amd64.
pub fn ceil_i32(f: f64) -> i32 {
    go_i32(f.ceil())
}

/// `int64(math.Ceil(f))` of Go on amd64.
pub fn ceil_i64(f: f64) -> i64 {
    go_i64(f.ceil())
}

/// Upstream's classification of one pod. `cpu` turns the readiness rules on.
fn group_pod(
    pod: &PodView,
    sample: Option<&PodSample>,
    cpu: bool,
    rules: &CalculatorRules,
    now: SimTime,
) -> PodGroup {
    if pod.deleting || pod.phase == PodPhase::Failed {
        return PodGroup::Ignored;
    }
    if pod.phase == PodPhase::Pending {
        return PodGroup::Unready;
    }
    let Some(sample) = sample else {
        return PodGroup::Missing;
    };
    if !cpu {
        return PodGroup::Ready;
    }
    let unready = match (pod.ready, pod.start_time) {
        (Ready::Absent, _) | (_, None) => true,
        (ready, Some(start)) if start + rules.cpu_initialization_period > now => {
            ready == Ready::False || sample.timestamp < pod.ready_transition + sample.window
        }
        (ready, Some(start)) => {
            ready == Ready::False && start + rules.initial_readiness_delay > pod.ready_transition
        }
    };
    if unready { PodGroup::Unready } else { PodGroup::Ready }
}

/// The sample of `pod`; `hint` is where it is when pods and samples come in the same order.
fn find<'a>(samples: &'a [PodSample], pod: PodKey, hint: &mut usize) -> Option<&'a PodSample> {
    if let Some(sample) = samples.get(*hint)
        && sample.pod == pod
    {
        *hint += 1;
        return Some(sample);
    }
    let at = samples.binary_search_by_key(&pod, |s| s.pod).ok()?;
    *hint = at + 1;
    samples.get(at)
}

/// Upstream's `groupPods` followed by `removeMetricsForPods` of the ignored and unready ones.
fn group_pods<'a>(
    scratch: &'a mut Scratch,
    pods: &[PodView],
    samples: &'a [PodSample],
    cpu: bool,
    rules: &CalculatorRules,
    now: SimTime,
) -> Grouped<'a> {
    let Scratch { samples: sorted, groups } = scratch;
    let samples = if samples.windows(2).all(|w| w[0].pod < w[1].pod) {
        samples
    } else {
        sorted.clear();
        sorted.extend_from_slice(samples);
        // Reversed and stable: of several samples of one pod the last is found first and kept.
        sorted.reverse();
        sorted.sort_by_key(|s| s.pod);
        sorted.dedup_by_key(|s| s.pod);
        sorted.as_slice()
    };
    let mut sum = samples.iter().fold(0i64, |sum, s| sum.wrapping_add(s.value.0));
    let mut count = samples.len() as u32;
    let mut counts = PodCounts::default();
    let mut hint = 0;
    groups.clear();
    for pod in pods {
        let sample = find(samples, pod.key, &mut hint);
        let group = group_pod(pod, sample, cpu, rules, now);
        groups.push(group);
        match group {
            PodGroup::Ready => counts.ready += 1,
            PodGroup::Missing => counts.missing += 1,
            PodGroup::Unready => counts.unready += 1,
            PodGroup::Ignored => counts.ignored += 1,
        }
        if let (PodGroup::Unready | PodGroup::Ignored, Some(sample)) = (group, sample) {
            sum = sum.wrapping_sub(sample.value.0);
            count -= 1;
        }
    }
    Grouped { samples, groups, counts, sum, count }
}

/// The classification alone, in the order of `pods`, for tests and explanations.
pub fn classify(
    pods: &[PodView],
    samples: &[PodSample],
    cpu: bool,
    rules: &CalculatorRules,
    now: SimTime,
) -> Vec<PodGroup> {
    let mut scratch = Scratch::default();
    group_pods(&mut scratch, pods, samples, cpu, rules, now);
    scratch.groups
}

/// Upstream's `calcPlainMetricReplicas`: averages over pods. `target` is in thousandths per pod;
/// `cpu` turns the readiness rules on.
pub fn calc_plain_metric_replicas(
    scratch: &mut Scratch,
    input: &PodMetric<'_>,
    target: Milli,
    rules: &CalculatorRules,
) -> Result<Proposal, MetricFailure> {
    if input.pods.is_empty() {
        return Err(MetricFailure::NoPods);
    }
    let current_replicas = input.current_replicas;
    let grouped =
        group_pods(scratch, input.pods, input.samples, input.cpu, rules, input.now_decide);
    if grouped.count == 0 {
        return Err(MetricFailure::NoMetricsForTargetedPods);
    }
    let ratio_of = |sum: i64, count: u32| {
        let usage = sum.wrapping_div(i64::from(count));
        (usage as f64 / target.0 as f64, usage)
    };
    let pods = grouped.counts;
    let (usage_ratio, usage) = ratio_of(grouped.sum, grouped.count);
    let current = CurrentValue { average_value: Some(Milli(usage)), ..CurrentValue::default() };
    let proposal =
        |replicas, final_ratio| Ok(Proposal { replicas, current, usage_ratio, final_ratio, pods });
    let scale_up_with_unready = pods.unready > 0 && usage_ratio > 1.0;
    if !scale_up_with_unready && pods.missing == 0 {
        let replicas = if rules.tolerances.is_within(usage_ratio) {
            current_replicas
        } else {
            ceil_i32(usage_ratio * f64::from(pods.ready))
        };
        return proposal(replicas, usage_ratio);
    }
    let (mut sum, mut count) = (grouped.sum, grouped.count);
    if pods.missing > 0 {
        if usage_ratio < 1.0 {
            // On the way down a missing pod is taken to be at its target.
            sum = sum.wrapping_add(target.0.wrapping_mul(i64::from(pods.missing)));
            count += pods.missing;
        } else if usage_ratio > 1.0 || rules.kube_minor < 28 {
            // On the way up it is taken to be idle.
            count += pods.missing;
        }
    }
    if scale_up_with_unready {
        count += pods.unready;
    }
    let (new_ratio, _) = ratio_of(sum, count);
    let replicas = rerun_replicas(current_replicas, usage_ratio, new_ratio, count, rules);
    proposal(replicas, new_ratio)
}

/// The end of both per-pod formulas once missing and unready pods are filled in: no change if it
/// would be small or turn the direction around.
fn rerun_replicas(
    current_replicas: i32,
    usage_ratio: f64,
    new_ratio: f64,
    count: u32,
    rules: &CalculatorRules,
) -> i32 {
    if rules.tolerances.is_within(new_ratio)
        || (usage_ratio < 1.0 && new_ratio > 1.0)
        || (usage_ratio > 1.0 && new_ratio < 1.0)
    {
        return current_replicas;
    }
    let new_replicas = ceil_i32(new_ratio * f64::from(count));
    if (new_ratio < 1.0 && new_replicas > current_replicas)
        || (new_ratio > 1.0 && new_replicas < current_replicas)
    {
        return current_replicas;
    }
    new_replicas
}

/// What a per-pod metric is computed from.
#[derive(Clone, Copy, Debug)]
pub struct PodMetric<'a> {
    /// `scale.spec.replicas`.
    pub current_replicas: i32,
    /// Every pod that the selector matches.
    pub pods: &'a [PodView],
    /// The metric's samples.
    pub samples: &'a [PodSample],
    /// The resource is cpu.
    pub cpu: bool,
    /// Clock of the readiness rules.
    pub now_decide: SimTime,
}

/// Upstream's `GetResourceReplicas`: utilisation in percent of the requests, which are parallel to
/// `input.pods` (a pod without an entry has no request).
pub fn get_resource_replicas(
    scratch: &mut Scratch,
    input: &PodMetric<'_>,
    requests: &[PodRequest],
    target_utilization: i32,
    rules: &CalculatorRules,
) -> Result<Proposal, MetricFailure> {
    if input.pods.is_empty() {
        return Err(MetricFailure::NoPods);
    }
    let grouped =
        group_pods(scratch, input.pods, input.samples, input.cpu, rules, input.now_decide);
    if grouped.count == 0 && rules.kube_minor >= 26 {
        return Err(MetricFailure::NoMetricsForTargetedPods);
    }
    let request_of = |i: usize| request_milli(requests.get(i).copied(), rules.kube_minor);
    for i in 0..input.pods.len() {
        request_of(i)?;
    }
    if grouped.count == 0 {
        return Err(MetricFailure::NoMetricsForTargetedPods);
    }
    let pods = grouped.counts;
    let mut used = Utilization::default();
    let mut hint = 0;
    for (i, pod) in input.pods.iter().enumerate() {
        let sample = find(grouped.samples, pod.key, &mut hint);
        if let (PodGroup::Ready, Some(sample)) = (grouped.groups[i], sample) {
            used.add(sample.value.0, request_of(i)?);
        }
    }
    let (usage_ratio, utilization) = used.ratio(target_utilization)?;
    let current = CurrentValue {
        average_value: Some(Milli(used.total.wrapping_div(used.entries))),
        average_utilization: Some(utilization),
        ..CurrentValue::default()
    };
    let proposal =
        |replicas, final_ratio| Ok(Proposal { replicas, current, usage_ratio, final_ratio, pods });
    let scale_up_with_unready = pods.unready > 0 && usage_ratio > 1.0;
    if !scale_up_with_unready && pods.missing == 0 {
        let replicas = if rules.tolerances.is_within(usage_ratio) {
            input.current_replicas
        } else {
            ceil_i32(usage_ratio * f64::from(pods.ready))
        };
        return proposal(replicas, usage_ratio);
    }
    let mut count = grouped.count;
    let fallback = i64::from(target_utilization.max(100));
    for (i, group) in grouped.groups.iter().enumerate() {
        let request = request_of(i)?;
        match group {
            PodGroup::Missing if usage_ratio < 1.0 => {
                // Before 1.26 the request itself; the same for targets up to 100 %.
                let value = if rules.kube_minor >= 26 {
                    request.wrapping_mul(fallback).wrapping_div(100)
                } else {
                    request
                };
                used.add(value, request);
                count += 1;
            }
            // At exactly 1 it is left out in every release, unlike a plain average's before 1.28.
            PodGroup::Missing if usage_ratio > 1.0 => {
                used.add(0, request);
                count += 1;
            }
            PodGroup::Unready if scale_up_with_unready => {
                used.add(0, request);
                count += 1;
            }
            PodGroup::Ready | PodGroup::Unready | PodGroup::Missing | PodGroup::Ignored => {}
        }
    }
    let (new_ratio, _) = used.ratio(target_utilization)?;
    let replicas = rerun_replicas(input.current_replicas, usage_ratio, new_ratio, count, rules);
    proposal(replicas, new_ratio)
}

fn request_milli(request: Option<PodRequest>, kube_minor: u32) -> Result<i64, MetricFailure> {
    match request {
        Some(PodRequest::Set(milli)) => Ok(milli.0),
        Some(PodRequest::NoContainer) if kube_minor < 35 => Ok(0),
        Some(PodRequest::NoContainer) => Err(MetricFailure::NoContainer),
        Some(PodRequest::Missing) | None => Err(MetricFailure::MissingRequest),
    }
}

/// Running totals of upstream's `GetResourceUtilizationRatio`.
#[derive(Default)]
struct Utilization {
    total: i64,
    requests: i64,
    entries: i64,
}

impl Utilization {
    fn add(&mut self, value: i64, request: i64) {
        self.total = self.total.wrapping_add(value);
        self.requests = self.requests.wrapping_add(request);
        self.entries += 1;
    }
    fn ratio(&self, target_utilization: i32) -> Result<(f64, i32), MetricFailure> {
        if self.requests == 0 {
            return Err(MetricFailure::NoMetricsMatchedKnownPods);
        }
        let utilization = self.total.wrapping_mul(100).wrapping_div(self.requests) as i32;
        Ok((f64::from(utilization) / f64::from(target_utilization), utilization))
    }
}

/// Upstream's `getUsageRatioReplicaCount`: whole values against the ready pods.
fn get_usage_ratio_replica_count(
    current_replicas: i32,
    pods: &[PodView],
    usage_ratio: f64,
    rules: &CalculatorRules,
) -> Result<(i32, PodCounts), MetricFailure> {
    let mut counts = PodCounts::default();
    if current_replicas == 0 {
        return Ok((ceil_i32(usage_ratio), counts));
    }
    if rules.tolerances.is_within(usage_ratio) {
        return Ok((current_replicas, counts));
    }
    if pods.is_empty() {
        return Err(MetricFailure::NoPods);
    }
    let ready = |p: &&PodView| p.phase == PodPhase::Running && p.ready == Ready::True;
    counts.ready = pods.iter().filter(ready).count() as u32;
    let replicas = usage_ratio * f64::from(counts.ready);
    if rules.kube_minor >= 35 && replicas > f64::from(i32::MAX) {
        return Ok((i32::MAX, counts));
    }
    Ok((ceil_i32(replicas), counts))
}

/// Where a whole value comes from; the overflow guards of External metrics differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// An Object metric: one value.
    Object,
    /// An External metric: the sum of its series.
    External,
}

/// Upstream's `GetObjectMetricReplicas` and `GetExternalMetricReplicas`: target type Value.
pub fn get_value_metric_replicas(
    current_replicas: i32,
    pods: &[PodView],
    values: &[Milli],
    target: Milli,
    rules: &CalculatorRules,
) -> Result<Proposal, MetricFailure> {
    let mut usage = 0i64;
    for value in values {
        if rules.kube_minor >= 35 && value.0 > 0 && usage > i64::MAX - value.0 {
            usage = i64::MAX;
            break;
        }
        usage = usage.wrapping_add(value.0);
    }
    let usage_ratio = usage as f64 / target.0 as f64;
    let (replicas, pods) =
        get_usage_ratio_replica_count(current_replicas, pods, usage_ratio, rules)?;
    let current = CurrentValue { value: Some(Milli(usage)), ..CurrentValue::default() };
    Ok(Proposal { replicas, current, usage_ratio, final_ratio: usage_ratio, pods })
}

/// Upstream's `GetObjectPerPodMetricReplicas` and `GetExternalPerPodMetricReplicas`: target type
/// AverageValue, divided by `scale.status.replicas`.
pub fn get_per_pod_metric_replicas(
    status_replicas: i32,
    values: &[Milli],
    target: Milli,
    source: ValueSource,
    rules: &CalculatorRules,
) -> Proposal {
    let guarded = source == ValueSource::External && rules.kube_minor >= 34;
    let mut usage = 0i64;
    for value in values {
        usage = usage.wrapping_add(value.0);
        if guarded && usage < 0 {
            usage = i64::MAX;
            break;
        }
    }
    let usage_ratio = usage as f64 / (target.0 as f64 * f64::from(status_replicas));
    let mut replicas = status_replicas;
    if !rules.tolerances.is_within(usage_ratio) {
        let wanted = (usage as f64 / target.0 as f64).ceil();
        replicas = if guarded && wanted > f64::from(i32::MAX) { i32::MAX } else { go_i32(wanted) };
    }
    let average = if guarded && usage as f64 >= i64::MAX as f64 {
        i64::MAX
    } else {
        ceil_i64(usage as f64 / f64::from(status_replicas))
    };
    let current = CurrentValue { average_value: Some(Milli(average)), ..CurrentValue::default() };
    Proposal {
        replicas,
        current,
        usage_ratio,
        final_ratio: usage_ratio,
        pods: PodCounts::default(),
    }
}
