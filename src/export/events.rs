//! `events.csv`: what the HPA and the cluster autoscaler told, in the words of Kubernetes events.

use super::number::seconds;
use super::table::Table;
use crate::hpa::{Event, rescale_text};
use crate::sim::{EventRow, RunRecord};
use crate::units::SimTime;

/// Name and largest size of a node pool.
pub type PoolName<'a> = (&'a str, u32);

/// Rows: time, the object that the event is about, type, reason, message. Of the HPA's events it has the
/// rescales; those of failed metrics are in `decisions.csv`.
pub fn events_csv(record: &RunRecord, pools: &[PoolName<'_>]) -> Vec<u8> {
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
        }
    }
    rows.extend(record.events.iter().map(|row| (row.at, autoscaler_cells(row, pools))));
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
            let (name, max) = pools.get(pool).copied().unwrap_or(("unknown", 0));
            let (to, from) = (row.pool_nodes, row.pool_nodes.saturating_sub(nodes));
            let message = format!("pod triggered scale-up: [{{{name} {from}->{to} (max: {max})}}]");
            cells(&object(pool), normal, "TriggeredScaleUp", message)
        }
        Told::NotTriggerScaleUp { pods } => {
            let message = format!(
                "pod didn't trigger scale-up: max node group size reached or in backoff \
                 ({pods} without a node to come)"
            );
            cells("cluster-autoscaler", normal, "NotTriggerScaleUp", message)
        }
        Told::StockOut { pool, backoff_until } => {
            let message = format!(
                "Node scale up in {} failed: out of resources; backoff until {} s",
                name(pool),
                seconds(backoff_until)
            );
            cells(&object(pool), warning, "FailedScaleUp", message)
        }
        Told::TimedOut { pool, backoff_until } => {
            let message = format!(
                "Nodes added to group {} failed to register in time; backoff until {} s",
                name(pool),
                seconds(backoff_until)
            );
            cells(&object(pool), warning, "ScaleUpTimedOut", message)
        }
        Told::ScaleDown { node } => {
            let message = "marked the node as toBeDeleted/unschedulable".to_owned();
            cells(&format!("node-{}", node.0), normal, "ScaleDown", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::AutoscalerEvent;

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
                row(60, AutoscalerEvent::NotTriggerScaleUp { pods: 1 }, 0),
            ],
            ..RunRecord::default()
        };
        let text = String::from_utf8(events_csv(&record, &[("gpu", 4)])).unwrap();
        assert_eq!(
            text,
            "t_s,object,type,reason,message\n\
             40,pool/gpu,Normal,TriggeredScaleUp,pod triggered scale-up: [{gpu 1->3 (max: 4)}]\n\
             50,pool/gpu,Warning,FailedScaleUp,Node scale up in gpu failed: out of resources; backoff until 350 s\n\
             60,cluster-autoscaler,Normal,NotTriggerScaleUp,pod didn't trigger scale-up: max node group size reached or in backoff (1 without a node to come)\n"
        );
    }
}
