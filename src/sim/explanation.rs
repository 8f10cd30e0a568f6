//! What an explanation of a decision needs, as it was when the decision was made.

use super::budget::Creation;
use crate::cluster::{AutoscalerEvent, Cluster, FaultEvent, NodeStage};
use crate::hpa::calculator::PodGroup;
use crate::hpa::{self, Conditions, Decision};
use crate::units::{Milli, PodId, SimTime};

/// One decision with the samples, recommendations and scale events that led to it.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The decision, with the conditions from before the scale write.
    pub decision: Decision,
    /// The chain that led to it.
    pub chain: hpa::Explanation,
    /// The conditions at the end of the reconcile.
    pub conditions: Conditions,
    /// When the scale write landed; `None` if a window or a limit held the scale.
    pub written_at: Option<SimTime>,
    /// By metric: what each pod that the selector matches contributed; empty if no metric was asked for.
    pub samples: Vec<Vec<PodReading>>,
}

/// One pod's part in a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PodReading {
    /// Which pod.
    pub pod: PodId,
    /// Its sample; `None` if it has none.
    pub value: Option<Milli>,
    /// When the sample was scraped.
    pub scraped_at: Option<SimTime>,
    /// How the HPA counted the pod; `None` if it only saw the sum over the pods.
    pub group: Option<PodGroup>,
}

impl Explanation {
    /// Times of a decision that wrote the scale.
    pub fn creation(&self) -> Option<Creation> {
        Some(Creation {
            read_at: self.decision.now,
            written_at: self.written_at?,
            oldest_sample: self.oldest_sample(),
        })
    }

    /// When the oldest sample of the chosen metric was scraped, among those that counted.
    fn oldest_sample(&self) -> Option<SimTime> {
        let readings = self.samples.get(self.decision.chosen_metric?)?;
        let counted = |r: &&PodReading| matches!(r.group, None | Some(PodGroup::Ready));
        readings.iter().filter(counted).filter_map(|r| r.scraped_at).min()
    }
}

/// One fault, eviction or preemption.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FaultRow {
    /// When.
    pub at: SimTime,
    /// What happened.
    pub event: FaultEvent,
}

/// One event of the cluster autoscaler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventRow {
    /// When.
    pub at: SimTime,
    /// What happened.
    pub event: AutoscalerEvent,
    /// Nodes of its pool that exist or were asked for, right after it; 0 for an event without a pool.
    pub pool_nodes: u32,
}

impl EventRow {
    /// The event with the present size of its pool.
    pub(super) fn new(at: SimTime, event: AutoscalerEvent, cluster: &Cluster) -> Self {
        let pool = match event {
            AutoscalerEvent::TriggeredScaleUp { pool, .. }
            | AutoscalerEvent::StockOut { pool, .. }
            | AutoscalerEvent::QuotaExceeded { pool, .. }
            | AutoscalerEvent::TimedOut { pool, .. } => Some(pool),
            AutoscalerEvent::NotTriggerScaleUp { .. }
            | AutoscalerEvent::ScaleDown { .. }
            | AutoscalerEvent::Drain { .. }
            | AutoscalerEvent::DrainFailed { .. } => None,
        };
        let counts = |stage| matches!(stage, NodeStage::Requested | NodeStage::Ready);
        let nodes = cluster.nodes().iter();
        let nodes = nodes.filter(|n| Some(n.pool()) == pool && counts(n.stage())).count();
        Self { at, event, pool_nodes: nodes as u32 }
    }
}
