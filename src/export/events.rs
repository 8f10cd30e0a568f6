//! `events.csv`: what the HPA and the cluster autoscaler told, in the words of Kubernetes events.

use super::number::seconds;
use super::pod_events::pod_events;
use super::table::Table;
use crate::hpa::{Event, rescale_text};
use crate::sim::{Death, EventRow, FaultEvent, RunRecord};
use crate::units::{PodId, SimDuration, SimTime};

/// Name, largest size and zone of a node pool.
pub type PoolName<'a> = (&'a str, u32, &'a str);

/// Rows: time, the object that the event is about, type, reason, message. Of the HPA's events it has the
/// rescales; those of failed metrics are in `decisions.csv`. `has_volume`: the model's volume is attached to nodes.
pub fn events_csv(record: &RunRecord, pools: &[PoolName<'_>], has_volume: bool) -> Vec<u8> {
    let mut rows: Vec<(SimTime, [String; 4])> = Vec::new();
    if let Some(hpa) = &record.hpa {
        for explanation in &record.explanations {
            let (decision, written) = (&explanation.decision, explanation.written_at);
            let (Some(at), Some(Event::SuccessfulRescale(n))) = (written, decision.event) else {
                continue;
            };
            let reason = rescale_text(hpa.spec(), decision.rescale_reason);
            let message = format!("New size: {n}; reason: {reason}");
            rows.push((at, cells("hpa", "Normal", "SuccessfulRescale", message)));
            // Source: kubernetes pkg/controller/deployment, scaleReplicaSet.
            let m = decision.current_replicas;
            let way = if n > m { "up" } else { "down" };
            let message = format!("Scaled {way} replica set to {n} from {m}");
            rows.push((at, cells("deployment", "Normal", "ScalingReplicaSet", message)));
        }
    }
    rows.extend(record.events.iter().map(|row| (row.at, autoscaler_cells(row, pools))));
    rows.extend(record.faults.iter().map(|row| (row.at, fault_cells(&row.event))));
    rows.extend(pod_events(record, has_volume).into_iter().map(|(at, pod, told)| {
        let (kind, reason, message) = told;
        (at, cells(&format!("pod-{}", pod.0), kind, reason, message))
    }));
    rows.sort_by_key(|row| row.0);
    let mut table = Table::new(["t_s", "object", "type", "reason", "message"]);
    for (at, cells) in rows {
        table.row(std::iter::once(seconds(at)).chain(cells));
    }
    table.finish()
}

fn cells(object: &str, kind: &str, reason: &str, message: String) -> [String; 4] {
    [object.to_owned(), kind.to_owned(), reason.to_owned(), message]
}

/// Source: words of the cluster autoscaler's events: clusterstate, core/scaleup, core/scaledown,
/// processors/status.
fn autoscaler_cells(row: &EventRow, pools: &[PoolName<'_>]) -> [String; 4] {
    use crate::sim::AutoscalerEvent as Told;
    let (warning, normal) = ("Warning", "Normal");
    let name = |pool: usize| pools.get(pool).map_or("unknown", |p| p.0);
    let object = |pool: usize| format!("pool/{}", name(pool));
    match row.event {
        Told::TriggeredScaleUp { pool, nodes } => {
            let (name, max, _) = pools.get(pool).copied().unwrap_or(("unknown", 0, ""));
            let (to, from) = (row.pool_nodes, row.pool_nodes.saturating_sub(nodes));
            let message = format!("pod triggered scale-up: [{{{name} {from}->{to} (max: {max})}}]");
            cells(&object(pool), normal, "TriggeredScaleUp", message)
        }
        Told::NotTriggerScaleUp { pods, full, backed_off } => {
            let reasons = [
                (backed_off, "in backoff after failed scale-up"),
                (full, "max node group size reached"),
            ];
            let reasons: Vec<String> = reasons
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, reason)| format!("{count} {reason}"))
                .collect();
            let message = format!(
                "pod didn't trigger scale-up: {} ({pods} without a node to come)",
                reasons.join(", ")
            );
            cells("cluster-autoscaler", normal, "NotTriggerScaleUp", message)
        }
        Told::StockOut { pool, backoff_until } => {
            let message = failed_scale_up(pools.get(pool), "GCE out of resources", backoff_until);
            cells(&object(pool), warning, "FailedScaleUp", message)
        }
        Told::QuotaExceeded { pool, backoff_until } => {
            let message = failed_scale_up(pools.get(pool), "GCE quota exceeded", backoff_until);
            cells(&object(pool), warning, "FailedScaleUp", message)
        }
        Told::TimedOut { pool, backoff_until } => {
            let message = format!(
                "Nodes added to group {} failed to register within max-node-provision-time \
                 (backoff until {} s)",
                name(pool),
                seconds(backoff_until)
            );
            cells(&object(pool), warning, "ScaleUpTimedOut", message)
        }
        Told::ScaleDown { node } => {
            let message = "marked the node as toBeDeleted/unschedulable".to_owned();
            cells(&format!("node-{}", node.0), normal, "ScaleDown", message)
        }
        Told::Drain { node, pods } => {
            let message = format!(
                "marked the node as toBeDeleted/unschedulable (pods to reschedule: {pods})"
            );
            cells(&format!("node-{}", node.0), normal, "ScaleDown", message)
        }
        Told::DrainFailed { node, pods } => {
            let message = format!(
                "failed to drain the node, aborting ScaleDown (evictions refused by the disruption budget: {pods})"
            );
            cells(&format!("node-{}", node.0), warning, "ScaleDownFailed", message)
        }
    }
}

/// Source: GKE documentation, cluster autoscaler visibility and troubleshooting: the pod event of a failed request.
fn failed_scale_up(pool: Option<&PoolName<'_>>, error: &str, backoff_until: SimTime) -> String {
    let zone = pool.map_or("unknown", |pool| if pool.2.is_empty() { pool.0 } else { pool.2 });
    format!(
        "Node scale up in zones {zone} associated with this pod failed: {error}. Pod is at risk of not being \
         scheduled. (backoff until {} s)",
        seconds(backoff_until)
    )
}

/// Source: words of the kubelet (BackOff, Unhealthy, pod status after graceful node shutdown), of GKE's Spot
/// documentation and of the cluster autoscaler's evictions.
fn fault_cells(event: &FaultEvent) -> [String; 4] {
    let (warning, normal) = ("Warning", "Normal");
    let pod = |pod: PodId| format!("pod-{}", pod.0);
    match *event {
        FaultEvent::ContainerDied { pod: id, death, wait } => {
            let cause = match death {
                Death::Crash => "exited with an error",
                Death::StartupProbe => "failed startup probe, will be restarted",
                Death::LivenessProbe => "failed liveness probe, will be restarted",
            };
            let message = if wait == SimDuration::ZERO {
                format!("Container vllm {cause}")
            } else {
                let wait = wait.as_secs_f64();
                format!("Container vllm {cause}; back-off {wait}s restarting failed container")
            };
            cells(&pod(id), warning, "BackOff", message)
        }
        FaultEvent::Unhealthy { pod: id } => {
            let message = "Readiness probe failed: context deadline exceeded".to_owned();
            cells(&pod(id), warning, "Unhealthy", message)
        }
        FaultEvent::Preempted { node } => {
            let message = "Node is shutting down: the machine was preempted".to_owned();
            cells(&format!("node-{}", node.0), warning, "Preempted", message)
        }
        FaultEvent::NodeLost { node } => {
            let message = "The machine died; nobody knows yet".to_owned();
            cells(&format!("node-{}", node.0), warning, "MachineLost", message)
        }
        FaultEvent::NodeNotReady { node } => {
            let message = "Node status is now: NodeNotReady".to_owned();
            cells(&format!("node-{}", node.0), normal, "NodeNotReady", message)
        }
        FaultEvent::NodeRepaired { node } => {
            let message = "GKE node auto-repair recreates the machine".to_owned();
            cells(&format!("node-{}", node.0), normal, "AutoRepair", message)
        }
        FaultEvent::FailedAttachVolume { pod: id } => {
            let message =
                "AttachVolume.Attach failed: as many nodes as can have the volume have it"
                    .to_owned();
            cells(&pod(id), warning, "FailedAttachVolume", message)
        }
        FaultEvent::PodFailed { pod: id } => {
            let message = "Pod was terminated in response to imminent node shutdown.".to_owned();
            cells(&pod(id), warning, "Terminated", message)
        }
        FaultEvent::Evicted { pod: id } => {
            let message = "deleting pod for node scale down".to_owned();
            cells(&pod(id), normal, "ScaleDown", message)
        }
        // Source: kubernetes pkg/controller/tainteviction, emitPodDeletionEvent.
        FaultEvent::TaintEvicted { pod: id } => {
            let message = format!("Marking for deletion Pod default/{}", pod(id));
            cells(&pod(id), normal, "TaintManagerEviction", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{AutoscalerEvent, FaultRow};

    #[test]
    fn events_read_as_in_kubernetes() {
        let row = |second, event, pool_nodes| EventRow {
            at: SimTime::from_secs(second),
            event,
            pool_nodes,
        };
        let until = SimTime::from_secs(350);
        let record = RunRecord {
            events: vec![
                row(40, AutoscalerEvent::TriggeredScaleUp { pool: 0, nodes: 2 }, 3),
                row(50, AutoscalerEvent::StockOut { pool: 0, backoff_until: until }, 2),
                row(60, AutoscalerEvent::NotTriggerScaleUp { pods: 1, full: 1, backed_off: 2 }, 0),
            ],
            faults: vec![FaultRow {
                at: SimTime::from_secs(70),
                event: FaultEvent::TaintEvicted { pod: PodId(3) },
            }],
            ..RunRecord::default()
        };
        let text =
            String::from_utf8(events_csv(&record, &[("gpu", 4, "us-central1-a")], true)).unwrap();
        let failed = "Node scale up in zones us-central1-a associated with this pod failed: GCE out of \
                      resources. Pod is at risk of not being scheduled. (backoff until 350 s)";
        let expected = format!(
            "t_s,object,type,reason,message\n\
             40,pool/gpu,Normal,TriggeredScaleUp,pod triggered scale-up: [{{gpu 1->3 (max: 4)}}]\n\
             50,pool/gpu,Warning,FailedScaleUp,{failed}\n\
             60,cluster-autoscaler,Normal,NotTriggerScaleUp,\"pod didn't trigger scale-up: 2 in backoff after failed scale-up, 1 max node group size reached (1 without a node to come)\"\n\
             70,pod-3,Normal,TaintManagerEviction,Marking for deletion Pod default/pod-3\n"
        );
        assert_eq!(text, expected);
    }
}
