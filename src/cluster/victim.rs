//! Which pods a scale-down deletes.
//!
//! Source: Kubernetes v1.36 pkg/controller/controller_utils.go, `ActivePodsWithRanks`, and
//! replica_set.go `getPodsRankedByRelatedPodsOnSameNode`: the first of eight criteria that differs
//! decides. Time stamps have a resolution of one second, ages are compared as floor(log2(ns)).
//! The fourth criterion (pod-deletion-cost) is 0 for all pods unless [`super::DeletionCost`] says otherwise.

use super::pod::Pod;
use crate::units::{PS_PER_S, PodId, SimTime};
use std::cmp::Ordering;

/// Puts the `count` pods to delete, first victim first, into `victims`.
pub(super) fn select(pods: &[Pod], now: SimTime, count: usize, victims: &mut Vec<PodId>) {
    victims.clear();
    // The order is not transitive where equal time stamps meet equal age buckets, so victims are
    // taken one by one instead of by sorting.
    for _ in 0..count {
        let left = pods.iter().filter(|p| !p.is_deleting() && !victims.contains(&p.id));
        let first =
            left.reduce(
                |best, pod| {
                    if compare(pods, pod, best, now) == Ordering::Less { pod } else { best }
                },
            );
        let Some(first) = first else { return };
        victims.push(first.id);
    }
}

/// `Less` if `a` is deleted before `b`.
fn compare(pods: &[Pod], a: &Pod, b: &Pod, now: SimTime) -> Ordering {
    // 1: unassigned before assigned.
    let by_node = a.node.is_some().cmp(&b.node.is_some());
    // 2: Pending before Running.
    let by_phase = b.is_kube_pending().cmp(&a.is_kube_pending());
    // 3: not ready before ready.
    let by_ready = a.ready.cmp(&b.ready);
    // 4: lower pod-deletion-cost first.
    let by_cost = a.deletion_cost.cmp(&b.deletion_cost);
    // 5: more active pods of the same owner on its node first.
    let by_company = || company(pods, b).cmp(&company(pods, a));
    // 7: more restarts first.
    let by_restarts = || b.restarts.cmp(&a.restarts);
    by_node
        .then(by_phase)
        .then(by_ready)
        .then(by_cost)
        .then_with(by_company)
        .then_with(|| by_ready_time(a, b, now))
        .then_with(by_restarts)
        .then_with(|| by_age(a.created, b.created, now).decide(a, b))
        .then_with(|| a.uid.cmp(&b.uid))
}

/// Pods of the deployment on the node of `pod` that are not being deleted.
fn company(pods: &[Pod], pod: &Pod) -> usize {
    pods.iter().filter(|p| p.node == pod.node && p.node.is_some() && !p.is_deleting()).count()
}

/// 6: both ready: the shorter ready first; one age bucket: by UID; the same second: undecided.
fn by_ready_time(a: &Pod, b: &Pod, now: SimTime) -> Ordering {
    match (a.ready, b.ready, a.ready_transition, b.ready_transition) {
        (true, true, Some(a_since), Some(b_since)) => by_age(a_since, b_since, now).decide(a, b),
        _ => Ordering::Equal,
    }
}

/// Outcome of comparing two time stamps.
enum Age {
    SameSecond,
    SameBucket,
    Differs(Ordering),
}

impl Age {
    fn decide(self, a: &Pod, b: &Pod) -> Ordering {
        match self {
            Self::SameSecond => Ordering::Equal,
            Self::SameBucket => a.uid.cmp(&b.uid),
            Self::Differs(order) => order,
        }
    }
}

/// Compares how long ago two time stamps are; the more recent is `Less`.
fn by_age(a: SimTime, b: SimTime, now: SimTime) -> Age {
    let (a, b) = (whole_second(a), whole_second(b));
    if a == b {
        return Age::SameSecond;
    }
    match log_age(a, now).cmp(&log_age(b, now)) {
        Ordering::Equal => Age::SameBucket,
        order => Age::Differs(order),
    }
}

/// A `metav1.Time` keeps whole seconds.
fn whole_second(t: SimTime) -> u64 {
    t.as_ps() / PS_PER_S
}

/// floor(log2(age in ns)), -1 for no age.
fn log_age(second: u64, now: SimTime) -> i32 {
    let age = now.saturating_since(SimTime::from_secs(second)).as_nanos();
    if age <= 0 { -1 } else { age.ilog2().cast_signed() }
}
