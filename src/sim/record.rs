//! What a run leaves behind.

use super::budget::{self, Budget};
use super::explanation::{EventRow, Explanation, FaultRow};
use super::measures::Measures;
use super::phases::{NodeRow, PodRow};
use crate::engine::metrics::Metrics;
use crate::engine::{FinishReason, Gauges, RequestRecord};
use crate::hpa::{Decision, Hpa};
use crate::units::{PodId, SimTime};

/// How much a run records beside its measures.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RecordLevel {
    /// Measures only: what a sweep needs.
    Measures,
    /// Timeline, decisions, pods and nodes too.
    Timeline,
    /// And every request.
    Requests,
}

/// The result of one run.
#[derive(Clone, Debug, Default)]
pub struct RunRecord {
    /// One number per result column.
    pub measures: Measures,
    /// Where every request went, warm-up included (law L1).
    pub accounting: Accounting,
    /// Rows of `timeline.csv`, in time order.
    pub timeline: Vec<TimelineRow>,
    /// Rows of `decisions.csv`, in time order.
    pub decisions: Vec<Decision>,
    /// Scale decisions, and the first of each run of ones held for the same reason, with all that led to them; in
    /// time order.
    pub explanations: Vec<Explanation>,
    /// The HPA as it ended: its spec and rules.
    pub hpa: Option<Hpa>,
    /// What the cluster autoscaler did, in time order.
    pub events: Vec<EventRow>,
    /// Crashes, failing probes, preemptions and evictions, in time order.
    pub faults: Vec<FaultRow>,
    /// Rows of `pods.csv`, in time order.
    pub pods: Vec<PodRow>,
    /// Rows of `nodes.csv`, in time order.
    pub nodes: Vec<NodeRow>,
    /// What each pool came to, in order of preference.
    pub pools: Vec<PoolUse>,
    /// Rows of `requests.csv`, by request id.
    pub requests: Vec<RequestRow>,
    /// `/metrics` pages, by time and pod.
    pub pages: Vec<MetricsPage>,
}

/// What one server's `/metrics` shows at one instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetricsPage {
    /// When.
    pub at: SimTime,
    /// Whose.
    pub pod: PodId,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// Gauges.
    pub gauges: Gauges,
}

impl RunRecord {
    /// The rows of one series, in time order.
    pub fn series(&self, series: Series) -> impl Iterator<Item = &TimelineRow> {
        self.timeline.iter().filter(move |row| row.series == series)
    }

    /// Where the time of every pod that was created during the run went.
    pub fn budgets(&self) -> Vec<Budget> {
        let creations: Vec<_> =
            self.explanations.iter().filter_map(Explanation::creation).collect();
        budget::budgets(&self.pods, &self.nodes, &creations)
    }
}

/// Every request is in exactly one of these at the end (law L1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Accounting {
    /// Requests that arrived.
    pub arrived: u64,
    /// Got all their tokens.
    pub completed: u64,
    /// Refused: no endpoint was in service, or the chosen server no longer took requests.
    pub refused: u64,
    /// Rejected by the engine (longer than `max_model_len`).
    pub rejected: u64,
    /// Cut off by a replica that was terminated, crashed or lost its machine.
    pub killed: u64,
    /// Given up by the client.
    pub cancelled: u64,
    /// Still in a replica, or held by the gateway, at the end.
    pub unfinished: u64,
    /// New attempts after an attempt that was refused or cut off; no end of a request.
    pub retries: u64,
    /// Attempts that the gateway shed although there were endpoints; no end of a request.
    pub shed: u64,
    /// Attempts that waited at the gateway until there was room; no end of a request.
    pub held: u64,
    /// Never sent: at the end they still waited at their client for a connection (`max_connections`). Not among
    /// those that arrived.
    pub unsent: u64,
}

impl Accounting {
    /// Sum over all ends.
    pub fn accounted(&self) -> u64 {
        self.completed
            + self.refused
            + self.rejected
            + self.killed
            + self.cancelled
            + self.unfinished
    }
}

/// One row of a timeline.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TimelineRow {
    /// When.
    pub at: SimTime,
    /// Which series.
    pub series: Series,
    /// Its value.
    pub value: f64,
}

/// Series of a timeline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Series {
    /// Requests that arrived since the row before, per second.
    RequestRate,
    /// Pods that exist and are not terminating.
    ReplicasCurrent,
    /// `status.desiredReplicas` of the HPA.
    ReplicasDesired,
    /// Pods that are Ready.
    ReplicasReady,
    /// Pods whose containers have not started.
    PodsPending,
    /// Nodes that are billed.
    Nodes,
    /// Sum over the replicas.
    NumRequestsRunning,
    /// Sum over the replicas.
    NumRequestsWaiting,
    /// Mean over the replicas.
    KvCacheUsagePerc,
    /// Requests that the gateway holds; only with its flow control.
    FlowControlQueueSize,
    /// Value that the HPA used at its last sync, by index of the metric: the average per pod, or the value
    /// of a `Value` target.
    HpaMetric(u8),
    /// Mean time to first token of the requests that arrived in the minute before.
    TtftMean,
    /// Share of the decided requests of that minute that met the objectives.
    SloAttainment,
}

impl Series {
    /// The name in `timeline.csv`; metric series take the metric's own name.
    pub fn name(self, metric_names: &[String]) -> String {
        match self {
            Self::RequestRate => "request_rate_rps".into(),
            Self::ReplicasCurrent => "replicas_current".into(),
            Self::ReplicasDesired => "replicas_desired".into(),
            Self::ReplicasReady => "replicas_ready".into(),
            Self::PodsPending => "pods_pending_phase".into(),
            Self::Nodes => "nodes".into(),
            Self::NumRequestsRunning => "num_requests_running".into(),
            Self::NumRequestsWaiting => "num_requests_waiting".into(),
            Self::KvCacheUsagePerc => "kv_cache_usage_perc".into(),
            Self::FlowControlQueueSize => "flow_control_queue_size".into(),
            Self::HpaMetric(i) => {
                let name = metric_names.get(usize::from(i)).map_or("unknown", String::as_str);
                format!("metric_avg:{name}")
            }
            Self::TtftMean => "ttft_mean_1m_s".into(),
            Self::SloAttainment => "slo_attainment_1m".into(),
        }
    }
}

/// What the machines of one pool came to, after the warm-up.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolUse {
    /// The pool's name, with its zone if it has several.
    pub name: String,
    /// Hours of existing nodes.
    pub node_hours: f64,
    /// What they cost \[USD\]; a reservation costs the same whether used or not.
    pub cost_usd: f64,
}

/// How a request ended, and where it was.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RequestRow {
    /// Times and counts.
    pub record: RequestRecord,
    /// The replica that had it; `None` if none had.
    pub pod: Option<PodId>,
}

impl RequestRow {
    /// The word in the `outcome` column.
    pub fn outcome(&self) -> &'static str {
        match (self.pod, self.record.reason) {
            (_, FinishReason::Length) => "completed",
            (_, FinishReason::Killed) => "killed",
            (_, FinishReason::Aborted) => "cancelled",
            (_, FinishReason::Unfinished) => "unfinished",
            (None, FinishReason::Rejected) => "refused",
            (Some(_), FinishReason::Rejected) => "rejected",
        }
    }
}
