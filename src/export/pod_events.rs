//! What the scheduler and the kubelet tell of a pod, from the stages that it went through.
//!
//! Source: words of kube-scheduler (FailedScheduling, Scheduled), the attach-detach controller and the kubelet
//! (Pulling, Pulled, Created, Started, Killing).

use crate::sim::{NodeStage, PodRow, PodStage, RunRecord};
use crate::units::{PodId, SimTime};
use std::collections::BTreeMap;

/// One event of a pod: type, reason, message.
type Told = (&'static str, &'static str, String);

/// The events of all pods in order of time. `has_volume`: the model's volume is attached to nodes.
pub(super) fn pod_events(record: &RunRecord, has_volume: bool) -> Vec<(SimTime, PodId, Told)> {
    let mut events = Vec::new();
    let mut last: BTreeMap<PodId, PodRow> = BTreeMap::new();
    for (i, row) in record.pods.iter().enumerate() {
        let before = last.insert(row.pod, *row);
        let mut tell = |kind: &'static str, reason: &'static str, message: String| {
            events.push((row.at, row.pod, (kind, reason, message)));
        };
        let mut normal = |reason, message: &str| tell("Normal", reason, message.to_owned());
        match row.stage {
            PodStage::Pending if waits(&record.pods[i + 1..], row) => {
                let nodes = ready_nodes(record, row.at);
                let message =
                    format!("0/{nodes} nodes are available: {nodes} Insufficient nvidia.com/gpu.");
                tell("Warning", "FailedScheduling", message);
            }
            PodStage::Attaching => {
                let node = row.node.map_or(0, |node| node.0);
                let message =
                    format!("Successfully assigned default/pod-{} to node-{node}", row.pod.0);
                normal("Scheduled", &message);
            }
            PodStage::Pulling | PodStage::Creating => {
                let attached = before.is_some_and(|row| row.stage == PodStage::Attaching);
                if attached && has_volume {
                    normal(
                        "SuccessfulAttachVolume",
                        "AttachVolume.Attach succeeded for the model's volume",
                    );
                }
                match (row.stage, attached) {
                    (PodStage::Pulling, _) => normal("Pulling", "Pulling image"),
                    (_, true) => normal("Pulled", "Container image already present on machine"),
                    (_, false) => normal("Pulled", "Successfully pulled image"),
                }
            }
            PodStage::Loading => {
                normal("Created", "Created container: vllm");
                normal("Started", "Started container vllm");
            }
            PodStage::Terminating => normal("Killing", "Stopping container vllm"),
            PodStage::Pending
            | PodStage::Initializing
            | PodStage::NotReady
            | PodStage::Ready
            | PodStage::InService
            | PodStage::Restarting
            | PodStage::Unreachable
            | PodStage::Failed
            | PodStage::Gone => {}
        }
    }
    events
}

/// Whether a pod that has just been created finds no node at once.
fn waits(later: &[PodRow], created: &PodRow) -> bool {
    let next = later.iter().find(|row| row.pod == created.pod);
    next.is_none_or(|row| row.at > created.at)
}

/// Nodes that the scheduler sees at a time.
fn ready_nodes(record: &RunRecord, at: SimTime) -> usize {
    let mut stages = BTreeMap::new();
    for row in record.nodes.iter().take_while(|row| row.at <= at) {
        stages.insert(row.node, row.stage);
    }
    let seen = |stage: &&NodeStage| {
        !matches!(stage, NodeStage::Requested | NodeStage::Failed | NodeStage::Deleted)
    };
    stages.values().filter(seen).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::NodeRow;
    use crate::units::NodeId;

    #[test]
    fn a_pod_tells_of_its_start() {
        let node = Some(NodeId(1));
        let row = |s, stage, node| PodRow { at: SimTime::from_secs(s), pod: PodId(3), stage, node };
        let nodes = |s, node, stage| NodeRow {
            at: SimTime::from_secs(s),
            node: NodeId(node),
            stage,
            pool: 0,
        };
        let record = RunRecord {
            nodes: vec![
                nodes(0, 0, NodeStage::Ready),
                nodes(40, 1, NodeStage::Requested),
                nodes(200, 1, NodeStage::Ready),
            ],
            pods: vec![
                row(10, PodStage::Pending, None),
                row(200, PodStage::Attaching, node),
                row(210, PodStage::Pulling, node),
                row(290, PodStage::Creating, node),
                row(292, PodStage::Loading, node),
                row(600, PodStage::Terminating, node),
            ],
            ..RunRecord::default()
        };
        let events = pod_events(&record, true);
        let told: Vec<(f64, &str)> =
            events.iter().map(|(at, _, told)| (at.as_secs_f64(), told.1)).collect();
        assert_eq!(
            told,
            [
                (10.0, "FailedScheduling"),
                (200.0, "Scheduled"),
                (210.0, "SuccessfulAttachVolume"),
                (210.0, "Pulling"),
                (290.0, "Pulled"),
                (292.0, "Created"),
                (292.0, "Started"),
                (600.0, "Killing"),
            ]
        );
        assert_eq!(events[0].2.2, "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.");
        assert_eq!(events[1].2.2, "Successfully assigned default/pod-3 to node-1");
        // A pod that finds room and the image at once says neither; a bucket is not attached.
        let warm = RunRecord {
            pods: vec![
                row(10, PodStage::Pending, None),
                row(10, PodStage::Attaching, node),
                row(12, PodStage::Creating, node),
            ],
            ..RunRecord::default()
        };
        let reasons: Vec<&str> = pod_events(&warm, false).iter().map(|e| e.2.1).collect();
        assert_eq!(reasons, ["Scheduled", "Pulled"]);
    }
}
