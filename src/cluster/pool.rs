//! Node pools: what kind of machines, how many, at which price, and which pool a scale-up goes to.

use crate::rng::Dist;
use crate::units::{SimDuration, SimTime};

/// How the machines of a pool are had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// On demand.
    OnDemand,
    /// Spot: cheaper, may be taken away.
    Spot,
    /// Reserved, paid for whether used or not.
    Reservation,
    /// Dynamic Workload Scheduler, flex-start: for a limited time.
    FlexStart,
}

impl Capacity {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::OnDemand, Self::Spot, Self::Reservation, Self::FlexStart];

    /// Name in experiments, as in a ComputeClass.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
            Self::Reservation => "reservation",
            Self::FlexStart => "flex-start",
        }
    }

    /// Whether its GPUs count against the preemptible quota.
    // Source: Google Cloud documentation, allocation quotas, for Spot; Google Cloud blog of 25 September 2025,
    // "Introducing Flex-start VMs", for flex-start.
    pub const fn uses_preemptible_quota(self) -> bool {
        matches!(self, Self::Spot | Self::FlexStart)
    }
}

/// One group of equal nodes in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePool {
    /// Name, for reports.
    pub name: String,
    /// Machine type, for reports and prices, as `g2-standard-24`.
    pub machine_type: String,
    /// Zone, for messages; empty if none was named.
    pub zone: String,
    /// How its machines are had.
    pub capacity: Capacity,
    /// GPUs on one node.
    pub gpus_per_node: u32,
    /// Memory of one node for pods and page cache \[bytes\]; `None` = enough for everything.
    pub memory_bytes: Option<u64>,
    /// Pods that fit on one node (GPUs, CPU and memory all counted).
    pub replicas_per_node: u32,
    /// No node is removed while the pool has this many or fewer, those asked for included; this many
    /// exist at the start. A node that is then given up is not replaced before a pod needs it (upstream's
    /// default, `--enforce-node-group-min-size=false`).
    pub min_nodes: u32,
    /// The autoscaler never goes above. Of a reservation: the machines reserved.
    pub max_nodes: u32,
    /// Price of one node \[USD/h\].
    pub usd_per_hour: f64,
    /// From the request of a node to its GPUs being allocatable.
    pub provisioning: Dist,
    /// Requests that the cloud cannot serve.
    pub stock_out: StockOut,
    /// From the removal decision until the VM is gone; it is billed until then.
    pub delete: Dist,
    /// Machines that are taken away.
    pub preemption: Preemption,
    /// A node is drained and removed this long after it became ready; `None` = never.
    pub max_run_duration: Option<SimDuration>,
    /// A replacement of a node in use is asked for this long before the end of its run; `None` = none is.
    pub recycling_lead_time: Option<SimDuration>,
    /// Flex-start with queued provisioning: the nodes of a request come together or not at all, a request waits as long
    /// as it takes, a refused one is repeated after the queue's own backoff.
    pub queued: bool,
}

/// Failing node requests.
#[derive(Clone, Debug, PartialEq)]
pub struct StockOut {
    /// Chance that one requested node cannot be had, 0..=1.
    pub probability: f64,
    /// Times (from, until) in which no node can be had.
    pub windows: Vec<(SimTime, SimTime)>,
    /// From the request until the failure is reported.
    pub report_delay: Dist,
}

impl StockOut {
    /// Whether no node can be had at `now`.
    pub(super) fn is_empty_at(&self, now: SimTime) -> bool {
        self.windows.iter().any(|(from, until)| (*from..*until).contains(&now))
    }
}

/// Machines that are taken away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preemption {
    /// Mean number per node and hour, 0 = never.
    pub per_node_hour: f64,
    /// Before the shutdown starts, pods are told this much earlier.
    pub notice: SimDuration,
    /// Longest grace period of a pod from the start of the shutdown.
    pub pod_grace: SimDuration,
    /// From the start of the shutdown until the VM is gone.
    pub shutdown: SimDuration,
}

/// GPUs that the project may have at one time; `None` = no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// On demand and reserved.
    pub standard: Option<u32>,
    /// Spot and flex-start.
    pub preemptible: Option<u32>,
}

impl Quota {
    /// The limit for machines of a kind.
    pub(super) fn limit(&self, capacity: Capacity) -> Option<u32> {
        if capacity.uses_preemptible_quota() { self.preemptible } else { self.standard }
    }
}

/// Which pool gets a scale-up, among those that are neither full nor backed off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expander {
    /// The first in order, as a ComputeClass does.
    Priority,
    /// The least money per helped pod, then the first.
    Price,
    /// The least share of GPUs left unused, then the first.
    LeastWaste,
}

impl NodePool {
    /// Tells `require` about every rule, with the field's name.
    pub(super) fn check(&self, gpus_per_replica: u32, mut require: impl FnMut(bool, &str, &str)) {
        let asked = u64::from(self.replicas_per_node) * u64::from(gpus_per_replica);
        require(self.replicas_per_node > 0, "replicas_per_node", "must be at least 1");
        require(
            asked <= u64::from(self.gpus_per_node),
            "replicas_per_node",
            "the pods ask for more GPUs than the node has",
        );
        require(self.min_nodes <= self.max_nodes, "min_nodes", "must not exceed `max_nodes`");
        require(
            self.usd_per_hour.is_finite() && self.usd_per_hour >= 0.0,
            "usd_per_hour",
            "must not be negative",
        );
        require(
            (0.0..=1.0).contains(&self.stock_out.probability),
            "stock_out.probability",
            "must be between 0 and 1",
        );
        require(self.provisioning.is_drawable(), "provisioning", Dist::RULE);
        require(self.stock_out.report_delay.is_drawable(), "stock_out.report_delay", Dist::RULE);
        require(self.delete.is_drawable(), "delete", Dist::RULE);
        let rate = self.preemption.per_node_hour;
        require(
            rate.is_finite() && rate >= 0.0,
            "preemption.per_node_hour",
            "must not be negative",
        );
        require(
            self.max_run_duration.is_none_or(|d| d > SimDuration::ZERO),
            "max_run_duration",
            "must be above 0",
        );
        require(
            self.recycling_lead_time.is_none_or(|lead| {
                lead > SimDuration::ZERO && self.max_run_duration.is_some_and(|run| lead < run)
            }),
            "recycling_lead_time",
            "must be above 0 and below `max_run_duration`",
        );
    }
}
