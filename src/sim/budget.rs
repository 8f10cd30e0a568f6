//! Where the time between a rising load and a ready replica went, link by link.

use super::phases::{NodeRow, PodRow};
use crate::cluster::{NodeStage, PodStage};
use crate::units::{NodeId, PodId, SimDuration, SimTime};
use std::collections::BTreeMap;

/// One link of the chain from a metric sample to a replica in service, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Link {
    /// From the scrape of the oldest sample that counted to the reconcile that read it: scrape phase,
    /// ingestion, waiting for the HPA's sync.
    MetricAge,
    /// From the start of the reconcile to the pod's creation: metric fetches and the scale write.
    Sync,
    /// Pending until the cluster autoscaler asked for the pod's node; zero if the node was there or on its way.
    Autoscaler,
    /// From there until the pod was bound: the node's provisioning, or waiting for room on one.
    Node,
    /// Volume attach and mount.
    Attach,
    /// Image pull.
    Image,
    /// Container creation.
    Container,
    /// Model weights.
    Load,
    /// Engine start.
    Init,
    /// From a listening server to the readiness probe that passed.
    Probe,
    /// From Ready to traffic.
    Endpoint,
}

impl Link {
    /// All links in order.
    pub const ALL: [Self; 11] = [
        Self::MetricAge,
        Self::Sync,
        Self::Autoscaler,
        Self::Node,
        Self::Attach,
        Self::Image,
        Self::Container,
        Self::Load,
        Self::Init,
        Self::Probe,
        Self::Endpoint,
    ];

    /// Its name in tables and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MetricAge => "metric_age",
            Self::Sync => "sync",
            Self::Autoscaler => "autoscaler",
            Self::Node => "node",
            Self::Attach => "attach",
            Self::Image => "image",
            Self::Container => "container",
            Self::Load => "load",
            Self::Init => "init",
            Self::Probe => "probe",
            Self::Endpoint => "endpoint",
        }
    }
}

/// Times of a scale write, which may create pods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Creation {
    /// When the reconcile read the scale and the metrics.
    pub read_at: SimTime,
    /// When the write landed.
    pub written_at: SimTime,
    /// When the oldest sample that counted was scraped; `None` if no metric led to the write.
    pub oldest_sample: Option<SimTime>,
}

/// How a pod's start ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It came into service.
    InService,
    /// It was deleted before; the last link ends there.
    Deleted,
    /// It had not come into service when the run ended; the link it was in is not counted.
    Starting,
}

/// The time budget of one pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Which pod.
    pub pod: PodId,
    /// Index of the scale write that created it; `None` if no autoscaler did.
    pub creation: Option<usize>,
    /// Where the first link starts.
    pub start: SimTime,
    /// When the pod was created.
    pub created: SimTime,
    /// Durations in the order of [`Link::ALL`]; zero for links that were skipped or not reached.
    pub links: [SimDuration; Link::ALL.len()],
    /// The last link that has begun.
    pub last: Link,
    /// How it ended.
    pub outcome: Outcome,
}

impl Budget {
    /// From the start of the first link to the end of the last one.
    pub fn total(&self) -> SimDuration {
        self.links.iter().copied().sum()
    }
}

/// What the rows of one pod say.
#[derive(Default)]
struct Trail {
    entered: [Option<SimTime>; PodStage::ALL.len()],
    node: Option<NodeId>,
}

impl Trail {
    fn at(&self, stage: PodStage) -> Option<SimTime> {
        PodStage::ALL.iter().position(|s| *s == stage).and_then(|i| self.entered[i])
    }
}

/// A file keeps the time of a write in binary seconds, a pod's creation exactly.
const SAME_INSTANT: SimDuration = SimDuration::from_ps(1_000_000);

/// The budgets of all pods that were created in a run, in order of pod. Those that were in service from the
/// start have none. `pods`, `nodes` and `creations` are in time order.
pub fn budgets(pods: &[PodRow], nodes: &[NodeRow], creations: &[Creation]) -> Vec<Budget> {
    let mut trails: BTreeMap<PodId, Trail> = BTreeMap::new();
    for row in pods {
        let trail = trails.entry(row.pod).or_default();
        if let Some(i) = PodStage::ALL.iter().position(|stage| *stage == row.stage) {
            trail.entered[i].get_or_insert(row.at);
        }
        trail.node = row.node.or(trail.node);
    }
    let requested: BTreeMap<NodeId, SimTime> = nodes
        .iter()
        .filter(|row| row.stage == NodeStage::Requested)
        .map(|row| (row.node, row.at))
        .collect();
    let budget = |(pod, trail): (&PodId, &Trail)| {
        let created = trail.at(PodStage::Pending)?;
        let same = |c: &Creation| {
            let (early, late) = (c.written_at.min(created), c.written_at.max(created));
            late - early <= SAME_INSTANT
        };
        let creation = creations.iter().position(same);
        let node_requested = trail.node.and_then(|node| requested.get(&node).copied());
        Some(one(*pod, trail, created, creation.map(|i| (i, creations[i])), node_requested))
    };
    trails.iter().filter_map(budget).collect()
}

fn one(
    pod: PodId,
    trail: &Trail,
    created: SimTime,
    creation: Option<(usize, Creation)>,
    node_requested: Option<SimTime>,
) -> Budget {
    let read_at = creation.map_or(created, |(_, c)| c.read_at.min(created));
    let start = creation.and_then(|(_, c)| c.oldest_sample).map_or(read_at, |at| at.min(read_at));
    let bound = trail.at(PodStage::Attaching);
    let container_made = trail.at(PodStage::Creating);
    let ends: [Option<SimTime>; Link::ALL.len()] = [
        Some(read_at),
        Some(created),
        bound.map(|bound| node_requested.map_or(created, |at| at.min(bound))),
        bound,
        trail.at(PodStage::Pulling).or(container_made),
        container_made,
        trail.at(PodStage::Loading),
        trail.at(PodStage::Initializing),
        trail.at(PodStage::NotReady),
        trail.at(PodStage::Ready),
        trail.at(PodStage::InService),
    ];
    let mut budget = Budget {
        pod,
        creation: creation.map(|(i, _)| i),
        start,
        created,
        links: [SimDuration::ZERO; Link::ALL.len()],
        last: Link::MetricAge,
        outcome: Outcome::InService,
    };
    let mut reached = start;
    for (i, end) in ends.into_iter().enumerate() {
        budget.last = Link::ALL[i];
        let Some(end) = end else {
            let deleted = trail.at(PodStage::Terminating).or(trail.at(PodStage::Gone));
            budget.outcome = if deleted.is_some() { Outcome::Deleted } else { Outcome::Starting };
            budget.links[i] = deleted.map_or(SimDuration::ZERO, |at| at.saturating_since(reached));
            return budget;
        };
        budget.links[i] = end.saturating_since(reached);
        reached = reached.max(end);
    }
    budget
}

/// The mean of each link \[s\] over the pods that came into service, and their number; `None` if none did.
pub fn mean_links<'a>(
    budgets: impl IntoIterator<Item = &'a Budget>,
) -> Option<([f64; Link::ALL.len()], usize)> {
    let (mut sums, mut count) = ([0.0; Link::ALL.len()], 0_usize);
    for budget in budgets.into_iter().filter(|b| b.outcome == Outcome::InService) {
        count += 1;
        for (sum, link) in sums.iter_mut().zip(budget.links) {
            *sum += link.as_secs_f64();
        }
    }
    (count > 0).then(|| (sums.map(|sum| sum / count as f64), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(second: u64, stage: PodStage) -> PodRow {
        let node = (stage > PodStage::Pending).then_some(NodeId(7));
        PodRow { at: SimTime::from_secs(second), pod: PodId(3), stage, node }
    }

    fn node(second: u64, stage: NodeStage) -> NodeRow {
        NodeRow { at: SimTime::from_secs(second), node: NodeId(7), stage, pool: 0 }
    }

    fn write(second: u64) -> Creation {
        Creation {
            read_at: SimTime::from_secs(second - 1),
            written_at: SimTime::from_secs(second),
            oldest_sample: Some(SimTime::from_secs(second - 13)),
        }
    }

    fn seconds(budget: &Budget) -> Vec<u64> {
        budget.links.iter().map(|link| link.as_ps() / 1_000_000_000_000).collect()
    }

    fn whole_start() -> Vec<PodRow> {
        vec![
            pod(100, PodStage::Pending),
            pod(300, PodStage::Attaching),
            pod(310, PodStage::Pulling),
            pod(400, PodStage::Creating),
            pod(402, PodStage::Loading),
            pod(450, PodStage::Initializing),
            pod(500, PodStage::NotReady),
            pod(505, PodStage::Ready),
            pod(506, PodStage::InService),
            pod(900, PodStage::Terminating),
        ]
    }

    #[test]
    fn links_of_a_cold_start_sum_to_the_whole() {
        let nodes = [node(140, NodeStage::Requested), node(300, NodeStage::Ready)];
        let found = budgets(&whole_start(), &nodes, &[write(50), write(100)]);
        assert_eq!(found.len(), 1);
        assert_eq!(seconds(&found[0]), [12, 1, 40, 160, 10, 90, 2, 48, 50, 5, 1]);
        assert_eq!(found[0].total(), SimTime::from_secs(506) - found[0].start);
        assert_eq!((found[0].creation, found[0].outcome), (Some(1), Outcome::InService));
        let (mean, count) = mean_links(&found).unwrap();
        assert_eq!((mean[3], count), (160.0, 1));
    }

    #[test]
    fn a_warm_node_costs_nothing() {
        let rows = [
            pod(100, PodStage::Pending),
            pod(100, PodStage::Attaching),
            pod(110, PodStage::Creating),
            pod(112, PodStage::Loading),
            pod(120, PodStage::Initializing),
            pod(130, PodStage::NotReady),
            pod(131, PodStage::Ready),
            pod(132, PodStage::InService),
        ];
        // Asked for long before, or there from the start.
        for nodes in [vec![node(20, NodeStage::Requested)], vec![node(0, NodeStage::Ready)]] {
            let found = budgets(&rows, &nodes, &[write(100)]);
            assert_eq!(seconds(&found[0]), [12, 1, 0, 0, 10, 0, 2, 8, 10, 1, 1]);
            assert_eq!(found[0].total(), SimTime::from_secs(132) - found[0].start);
        }
    }

    #[test]
    fn a_pod_deleted_while_starting_ends_in_its_link() {
        let nodes = [node(140, NodeStage::Requested)];
        let mut rows: Vec<PodRow> = whole_start().into_iter().take(5).collect();
        rows.push(pod(430, PodStage::Terminating));
        rows.push(pod(460, PodStage::Gone));
        let found = budgets(&rows, &nodes, &[write(100)]);
        assert_eq!(seconds(&found[0]), [12, 1, 40, 160, 10, 90, 2, 28, 0, 0, 0]);
        assert_eq!((found[0].last, found[0].outcome), (Link::Load, Outcome::Deleted));
        assert_eq!(found[0].total(), SimTime::from_secs(430) - found[0].start);
        assert!(mean_links(&found).is_none());
    }

    #[test]
    fn the_end_of_the_run_leaves_a_pod_starting() {
        let found = budgets(&[pod(100, PodStage::Pending)], &[], &[]);
        assert_eq!((found[0].last, found[0].outcome), (Link::Autoscaler, Outcome::Starting));
        assert_eq!((found[0].creation, found[0].total()), (None, SimDuration::ZERO));
    }

    #[test]
    fn pods_in_service_from_the_start_have_no_budget() {
        assert!(budgets(&[pod(0, PodStage::InService)], &[], &[]).is_empty());
    }
}
