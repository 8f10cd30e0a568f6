//! One GPU node, and the machine time of a pool.

use super::config::{ClusterConfig, ImagePull};
use super::effect::NodeStage;
use super::faults::{loss_detection, wait};
use super::pool::NodePool;
use super::{Usage, rate};
use crate::rng::{Seed, Stream};
use crate::units::{NodeId, SimDuration, SimTime};
use rand::RngExt as _;

/// How a node request will end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The GPUs are allocatable at this time.
    Ready(SimTime),
    /// The cloud reports at this time that it cannot be had.
    Refused(SimTime, Refusal),
}

impl Outcome {
    /// The end of a request whose nodes come together or not at all.
    pub(super) fn joined(self, other: Self) -> Self {
        match (self, other) {
            (Self::Ready(a), Self::Ready(b)) => Self::Ready(a.max(b)),
            (Self::Refused(a, why), Self::Refused(b, _)) => Self::Refused(a.max(b), why),
            (refused @ Self::Refused(..), Self::Ready(_))
            | (Self::Ready(_), refused @ Self::Refused(..)) => refused,
        }
    }
}

/// Why the cloud refuses a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has none.
    StockOut,
    /// The project may have no more.
    Quota,
}

/// Whether the container image is on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ImageState {
    Absent,
    Pulling,
    Present,
}

/// A node that exists or is asked for.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) id: NodeId,
    pub(super) pool: usize,
    pub(super) stage: NodeStage,
    pub(super) requested: SimTime,
    pub(super) outcome: Outcome,
    /// Since when it has had no pods or they would fit elsewhere; `None` while it is needed.
    pub(super) unneeded_since: Option<SimTime>,
    /// The drain is given up if evictions are refused until then; `None` = nobody asks for permission.
    pub(super) drain_until: Option<SimTime>,
    /// Pods bound to it.
    pub(super) pods: u32,
    /// Placeholder pods on it.
    pub(super) placeholders: u32,
    /// Its instance group replaces it if it is taken away.
    pub(super) recreate: bool,
    /// The node that it replaces before that one's time is over.
    pub(super) replaces: Option<NodeId>,
    /// Its replacement is ready: the scheduler leaves it alone.
    pub(super) cordoned: bool,
    /// Its machine died without notice.
    pub(super) lost: bool,
    /// GKE recreates it.
    pub(super) repaired: bool,
    pub(super) image: ImageState,
    /// A pod on this node has read all weights since the volume was mounted.
    pub(super) weights_cached: bool,
    /// It has the model's volume, or a place for it.
    pub(super) attached: bool,
    pub(super) delays: NodeDelays,
}

/// What is drawn for a node from its ordinal.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeDelays {
    /// Whether the request fails.
    pub(super) stock_out: bool,
    pub(super) provisioning: SimDuration,
    pub(super) report: SimDuration,
    pub(super) delete: SimDuration,
    pub(super) pull: SimDuration,
    /// From ready until it is taken away; `None` = not within a run.
    pub(super) preempted_after: Option<SimDuration>,
    /// From ready until the machine dies without notice; `None` = not within a run.
    pub(super) lost_after: Option<SimDuration>,
    /// From then until the node turns NotReady.
    pub(super) loss_detection: SimDuration,
}

impl NodeDelays {
    /// Draws everything at once, so that what a run does with the node shifts no other draw.
    pub(super) fn draw(pool: &NodePool, config: &ClusterConfig, seed: Seed, id: NodeId) -> Self {
        let faults = &config.faults;
        let mut rng = seed.stream(Stream::Provisioning, u64::from(id.0));
        let luck: f64 = rng.random();
        Self {
            stock_out: luck < pool.stock_out.probability,
            provisioning: pool.provisioning.sample(&mut rng),
            report: pool.stock_out.report_delay.sample(&mut rng),
            delete: pool.delete.sample(&mut rng),
            pull: match &config.startup.image {
                ImagePull::Rate { unpacked_bytes, rate } => {
                    rate::time_for(*unpacked_bytes, rate::sample(*rate, &mut rng))
                }
                ImagePull::Time(dist) => dist.sample(&mut rng),
            },
            preempted_after: wait(pool.preemption.per_node_hour, seed, Stream::Preemption, id.0, 0),
            lost_after: wait(faults.node_loss_per_hour, seed, Stream::NodeLoss, id.0, 0),
            loss_detection: loss_detection(faults.node_monitor_grace_period, seed, id),
        }
    }
}

impl Node {
    /// Its id.
    pub fn id(&self) -> NodeId {
        self.id
    }
    /// Index of its pool.
    pub fn pool(&self) -> usize {
        self.pool
    }
    /// Its stage.
    pub fn stage(&self) -> NodeStage {
        self.stage
    }
    /// Pods bound to it.
    pub fn pods(&self) -> u32 {
        self.pods
    }

    /// Whether the scheduler may bind pods to it.
    pub(super) fn is_schedulable(&self) -> bool {
        self.stage == NodeStage::Ready && !self.cordoned
    }

    /// Replicas and placeholders on it.
    pub(super) fn occupied(&self) -> u32 {
        self.pods + self.placeholders
    }

    /// Whether it is paid for: refused machines never exist.
    // ASSUMPTION(A101): a VM is billed from the request on; the seconds before it runs are not known.
    pub(super) fn is_billed(&self) -> bool {
        match self.stage {
            NodeStage::Requested => matches!(self.outcome, Outcome::Ready(_)),
            NodeStage::Ready
            | NodeStage::Draining
            | NodeStage::Deleting
            | NodeStage::Preempted
            | NodeStage::NotReady => true,
            NodeStage::Failed | NodeStage::Deleted => false,
        }
    }
}

/// Integrals over the nodes of one pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    sum: Usage,
    since: SimTime,
    nodes: u32,
    bound_gpus: u32,
}

impl Meter {
    /// The integrals up to `now`.
    pub(super) fn read(&self, now: SimTime, gpus_per_node: u32) -> Usage {
        let elapsed = u128::from((now - self.since).as_ps());
        let node_ps = elapsed * u128::from(self.nodes);
        Usage {
            node_ps: self.sum.node_ps + node_ps,
            gpu_ps: self.sum.gpu_ps + node_ps * u128::from(gpus_per_node),
            gpu_bound_ps: self.sum.gpu_bound_ps + elapsed * u128::from(self.bound_gpus),
        }
    }

    /// From `now` on, this many more (or fewer) billed nodes and GPUs held by pods.
    pub(super) fn change(&mut self, now: SimTime, gpus_per_node: u32, nodes: i32, gpus: i32) {
        self.sum = self.read(now, gpus_per_node);
        self.since = now;
        self.nodes = self.nodes.checked_add_signed(nodes).expect("billed nodes are counted once");
        self.bound_gpus =
            self.bound_gpus.checked_add_signed(gpus).expect("law L8: GPUs are freed once");
        assert!(
            u64::from(self.bound_gpus) <= u64::from(self.nodes) * u64::from(gpus_per_node),
            "law L8: {} GPUs held on {} nodes of {gpus_per_node}",
            self.bound_gpus,
            self.nodes,
        );
    }
}
