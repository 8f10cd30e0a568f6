//! What can happen, and in which order at one instant.
//!
//! The order of events is (time, rank, sequence) and is defined here and nowhere else. Ties are real: on
//! integer time a 300 s window and a 15 s period always meet.

use crate::cluster::{ClusterEvent, EventRank};
use crate::pipeline::Origin;
use crate::units::{PodId, RequestId};

/// Position of an event among those of the same instant; lower goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Rank {
    /// An engine finished something somebody waits for: what ends at an instant has ended for all that follows.
    ReplicaWake,
    /// A pod's or node's stage ends, so that requests of this instant already meet the new endpoint set.
    ClusterStage,
    /// Statistics start: the first counted arrival may fall on this very instant.
    Warmup,
    /// Clients that give up do so before new requests come in, so that those meet the freed connection.
    ClientTimeout,
    /// Requests come in after everything that ended and before anybody looks.
    Arrival,
    /// A scrape sees the arrivals' effect on the gauges, as far as the engine has processed them.
    Scrape,
    /// Our own sampling for the timeline sees what a scrape sees.
    Sample,
    /// A scale write of an earlier sync lands before the next sync reads the scale.
    HpaWrite,
    /// The HPA decides after all samples of the instant were taken.
    HpaSync,
    /// The cluster autoscaler looks after the HPA, so that it sees the pods that were just created.
    NodeScan,
    /// The end of the run sees everything.
    Horizon,
}

/// Everything that sits in the queue. Arrivals do not: they come from a cursor (see [`super::queue`]).
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A replica's next finished request (only armed while somebody waits for it).
    ReplicaWake(PodId),
    /// Something the cluster asked to be reminded of.
    Cluster(ClusterEvent),
    /// A client's patience is over.
    ClientTimeout,
    /// A client tries again.
    Retry(RequestId),
    /// The gateway looks whether what it holds may go on.
    Dispatch,
    /// Start of the statistics.
    Warmup,
    /// Collect the metrics of one target.
    Scrape(Origin, PodId),
    /// The span starts that the next reading of a pod's GPUs covers.
    WindowOpens(Origin, PodId),
    /// The DCGM exporter reads a pod's GPUs.
    Collect(PodId),
    /// metrics-server reads the CPU of all pods.
    ReadCpu,
    /// KEDA asks its triggers whether they are active.
    KedaPoll,
    /// Write one row per timeline series.
    Sample,
    /// Keep the `/metrics` page of every server.
    Expose,
    /// The scale decided by an earlier sync reaches the API server.
    HpaWrite,
    /// Start of a reconcile.
    HpaSync,
    /// Next row of a scripted replica schedule.
    Schedule,
    /// End of the run.
    Horizon,
}

impl Event {
    /// The event's rank among those of its instant.
    pub fn rank(&self) -> Rank {
        match self {
            Self::ReplicaWake(_) => Rank::ReplicaWake,
            Self::Cluster(event) => match event.rank() {
                EventRank::StageEnd => Rank::ClusterStage,
                EventRank::Scan => Rank::NodeScan,
            },
            Self::ClientTimeout => Rank::ClientTimeout,
            Self::Retry(_) | Self::Dispatch => Rank::Arrival,
            Self::Warmup => Rank::Warmup,
            Self::Scrape(..) | Self::WindowOpens(..) | Self::Collect(_) | Self::ReadCpu => {
                Rank::Scrape
            }
            Self::Sample | Self::Expose => Rank::Sample,
            // KEDA's writes come between two reconciles as well.
            Self::HpaWrite | Self::Schedule | Self::KedaPoll => Rank::HpaWrite,
            Self::HpaSync => Rank::HpaSync,
            Self::Horizon => Rank::Horizon,
        }
    }
}
