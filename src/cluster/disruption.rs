//! What protects replicas from drains: a PodDisruptionBudget and the autoscaler's `safe-to-evict` annotation.
//! Neither binds the cloud: preempted and lost machines take their pods along.
//!
//! Sources: kubernetes pkg/controller/disruption/disruption.go (`getExpectedPodCount`, `countHealthyPods`,
//! `updatePdbStatus`), pkg/registry/core/pod/storage/eviction.go (pods that are Pending or not ready);
//! cluster-autoscaler core/scaledown/pdb/basic.go (a node goes if one disruption is allowed).

use super::Cluster;

/// A number of pods, or a share of the wanted replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntOrPercent {
    /// Pods.
    Int(u32),
    /// Percent of `spec.replicas`; fractions of a pod are rounded up.
    Percent(u32),
}

impl IntOrPercent {
    // Source: `GetScaledValueFromIntOrPercent(.., roundUp = true)`, for both fields of policy/v1.
    fn of(self, replicas: u32) -> u32 {
        match self {
            Self::Int(pods) => pods,
            Self::Percent(percent) => {
                (u64::from(percent) * u64::from(replicas)).div_ceil(100) as u32
            }
        }
    }
}

/// The one field that a PodDisruptionBudget sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// `minAvailable`.
    MinAvailable(IntOrPercent),
    /// `maxUnavailable`.
    MaxUnavailable(IntOrPercent),
}

impl Budget {
    /// `status.desiredHealthy` of a deployment with `replicas` wanted pods.
    fn desired_healthy(self, replicas: u32) -> u32 {
        match self {
            Self::MinAvailable(pods) => pods.of(replicas),
            Self::MaxUnavailable(pods) => replicas.saturating_sub(pods.of(replicas)),
        }
    }
}

/// What the deployment says about disruptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disruption {
    /// Its PodDisruptionBudget; `None` = no such object.
    pub budget: Option<Budget>,
    /// `cluster-autoscaler.kubernetes.io/safe-to-evict`; false = no node with such a pod is drained.
    pub safe_to_evict: bool,
}

impl Cluster {
    /// Pods that are Ready and not being deleted: `status.currentHealthy`.
    fn current_healthy(&self) -> u32 {
        self.pods.iter().filter(|pod| pod.ready && !pod.is_deleting()).count() as u32
    }

    /// `status.disruptionsAllowed`; `u32::MAX` without a budget.
    pub(super) fn disruptions_allowed(&self) -> u32 {
        let Some(budget) = self.config.disruption.budget else { return u32::MAX };
        self.current_healthy().saturating_sub(budget.desired_healthy(self.wanted))
    }

    /// Whether the eviction of pod `i` is granted.
    pub(super) fn may_evict(&self, i: usize) -> bool {
        let Some(budget) = self.config.disruption.budget else { return true };
        let pod = &self.pods[i];
        if pod.is_kube_pending() {
            return true;
        }
        let desired = budget.desired_healthy(self.wanted);
        let healthy = self.current_healthy();
        // The default `unhealthyPodEvictionPolicy`, IfHealthyBudget.
        let spare = !pod.ready && desired > 0 && healthy >= desired;
        spare || healthy > desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Percentages round up, for `minAvailable` in favour of the pods, for `maxUnavailable` against them.
    #[test]
    fn percentages_round_up() {
        let min = |percent| Budget::MinAvailable(IntOrPercent::Percent(percent));
        let max = |percent| Budget::MaxUnavailable(IntOrPercent::Percent(percent));
        assert_eq!([1, 2, 3, 7].map(|n| min(50).desired_healthy(n)), [1, 1, 2, 4]);
        assert_eq!([1, 2, 3, 7].map(|n| max(50).desired_healthy(n)), [0, 1, 1, 3]);
        assert_eq!([0, 1, 9].map(|n| max(0).desired_healthy(n)), [0, 1, 9]);
        assert_eq!([1, 9].map(|n| min(100).desired_healthy(n)), [1, 9]);
        let two = IntOrPercent::Int(2);
        assert_eq!([1, 5].map(|n| Budget::MinAvailable(two).desired_healthy(n)), [2, 2]);
        assert_eq!([1, 5].map(|n| Budget::MaxUnavailable(two).desired_healthy(n)), [0, 3]);
    }
}
