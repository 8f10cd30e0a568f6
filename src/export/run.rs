//! The tables of one run: `timeline.csv`, `decisions.csv`, `pods.csv`, `nodes.csv`, `requests.csv`.
//!
//! Times are seconds since the start of the run, exact to the picosecond.

use super::events::PoolName;
use super::number::{milli, number, seconds};
use super::table::Table;
use crate::hpa::{ConditionType, Decision, HpaSpec, MetricOutcome, rescale_text};
use crate::sim::{RequestRow, RunRecord};
use crate::units::SimTime;

/// Conditions of an HPA that have columns.
const CONDITIONS: [(ConditionType, &str); 3] = [
    (ConditionType::AbleToScale, "able_to_scale"),
    (ConditionType::ScalingActive, "scaling_active"),
    (ConditionType::ScalingLimited, "scaling_limited"),
];

/// Names of the metrics of a defaulted spec, in order.
fn metric_names(spec: &HpaSpec) -> Vec<String> {
    spec.metrics.iter().map(|metric| metric.metric_name().to_owned()).collect()
}

/// `timeline.csv`: one observation per row. `spec` is the HPA's, defaulted; without an HPA the default one
/// will do.
pub fn timeline_csv(record: &RunRecord, spec: &HpaSpec) -> Vec<u8> {
    let metric_names = metric_names(spec);
    let mut table = Table::new(["t_s", "series", "value"]);
    for row in &record.timeline {
        table.row([seconds(row.at), row.series.name(&metric_names), number(row.value)]);
    }
    table.finish()
}

/// `decisions.csv`: one row per reconcile of an HPA with the defaulted `spec`. The columns of metric `i`
/// start with its name; a name that occurs
/// twice is followed by `#` and its index.
pub fn decisions_csv(record: &RunRecord, spec: &HpaSpec) -> Vec<u8> {
    let metric_names = metric_names(spec);
    let mut header: Vec<String> =
        ["t_s", "decided_s", "branch", "current_replicas"].map(str::to_owned).into();
    for (index, name) in metric_names.iter().enumerate() {
        let repeated = metric_names.iter().filter(|other| *other == name).count() > 1;
        let name = if repeated { format!("{name}#{index}") } else { name.clone() };
        for part in [
            "value",
            "ratio",
            "proposal",
            "pods_ready",
            "pods_unready",
            "pods_missing",
            "pods_ignored",
            "failure",
        ] {
            header.push(format!("{name}.{part}"));
        }
    }
    header.extend(
        [
            "chosen_metric",
            "proposed_replicas",
            "scale_up_limit",
            "scale_down_limit",
            "stabilized_replicas",
            "limited_replicas",
            "desired_replicas",
            "scale_to",
            "rescale_reason",
        ]
        .map(str::to_owned),
    );
    for (_, name) in CONDITIONS {
        header.extend([name.to_owned(), format!("{name}_reason")]);
    }
    header.push("event".to_owned());
    let mut table = Table::new(header);
    for decision in &record.decisions {
        table.row(decision_cells(decision, &metric_names, spec));
    }
    table.finish()
}

fn decision_cells(decision: &Decision, metric_names: &[String], spec: &HpaSpec) -> Vec<String> {
    let mut cells = vec![
        seconds(decision.now),
        seconds(decision.now_decide),
        format!("{:?}", decision.branch),
        decision.current_replicas.to_string(),
    ];
    for index in 0..metric_names.len() {
        match decision.metrics.get(index) {
            Some(metric) => cells.extend(metric_cells(metric)),
            None => cells.extend(std::iter::repeat_n(String::new(), 8)),
        }
    }
    let chosen = decision.chosen_metric.and_then(|index| metric_names.get(index));
    cells.push(chosen.cloned().unwrap_or_default());
    cells.extend([
        optional(decision.proposed_replicas),
        optional(decision.limits.scale_up_limit),
        optional(decision.limits.scale_down_limit),
        optional(decision.stabilized_replicas),
        optional(decision.limited_replicas),
        decision.desired_replicas.to_string(),
        optional(decision.scale_to),
    ]);
    cells.push(rescale_text(spec, decision.rescale_reason));
    for (kind, _) in CONDITIONS {
        let condition = decision.conditions.get(kind);
        cells.push(condition.map_or("", |c| c.status_str()).to_owned());
        cells.push(condition.map_or("", |c| c.reason.as_str()).to_owned());
    }
    cells.push(decision.event.map_or("", |event| event.reason()).to_owned());
    cells
}

/// The cells of one metric, in the order of the header.
fn metric_cells(metric: &MetricOutcome) -> [String; 8] {
    let current = metric.current;
    let value = match (current.average_value.or(current.value), current.average_utilization) {
        (Some(value), _) => milli(value),
        (None, Some(percent)) => percent.to_string(),
        (None, None) => String::new(),
    };
    let pods = metric.pods;
    [
        value,
        metric.final_ratio.or(metric.usage_ratio).map_or(String::new(), number),
        optional(metric.proposal),
        pods.ready.to_string(),
        pods.unready.to_string(),
        pods.missing.to_string(),
        pods.ignored.to_string(),
        metric.failure.map_or(String::new(), |failure| format!("{failure:?}")),
    ]
}

/// `pods.csv`: one row per stage that a pod entered.
pub fn pods_csv(record: &RunRecord) -> Vec<u8> {
    let mut table = Table::new(["t_s", "pod", "stage", "node"]);
    for row in &record.pods {
        let node = row.node.map_or(String::new(), |node| format!("node-{}", node.0));
        table.row([seconds(row.at), format!("pod-{}", row.pod.0), row.stage.as_str().into(), node]);
    }
    table.finish()
}

/// `nodes.csv`: one row per stage that a node entered.
pub fn nodes_csv(record: &RunRecord, pools: &[PoolName<'_>]) -> Vec<u8> {
    let mut table = Table::new(["t_s", "node", "stage", "pool"]);
    for row in &record.nodes {
        let (pool, _, zone) = pools.get(row.pool).copied().unwrap_or_default();
        let pool = if zone.is_empty() { pool.to_owned() } else { format!("{pool}/{zone}") };
        let node = format!("node-{}", row.node.0);
        table.row([seconds(row.at), node, row.stage.as_str().into(), pool]);
    }
    table.finish()
}

/// `requests.csv`: one row per request, by id; times of what never happened are empty.
pub fn requests_csv(record: &RunRecord) -> Vec<u8> {
    let mut table = Table::new([
        "request_id",
        "pod",
        "outcome",
        "arrival_s",
        "queued_s",
        "first_scheduled_s",
        "first_token_s",
        "last_token_s",
        "end_s",
        "prompt_tokens",
        "output_tokens",
        "cached_tokens",
        "preemptions",
        "ttft_s",
        "tpot_s",
        "e2e_s",
    ]);
    for row in &record.requests {
        let request = &row.record;
        let time = |at: Option<SimTime>| at.map_or(String::new(), seconds);
        table.row([
            request.id.0.to_string(),
            row.pod.map_or(String::new(), |pod| format!("pod-{}", pod.0)),
            row.outcome().to_owned(),
            seconds(request.arrival),
            seconds(request.queued),
            time(request.first_scheduled),
            time(request.first_token),
            time(request.last_token),
            seconds(request.end),
            request.prompt_tokens.to_string(),
            request.output_tokens.to_string(),
            request.cached_tokens.to_string(),
            request.preemptions.to_string(),
            latency(row, |row| row.record.first_token),
            tpot(row),
            latency(row, |row| row.record.last_token.filter(|_| row.outcome() == "completed")),
        ]);
    }
    table.finish()
}

/// Time from the arrival to an instant \[s\]; empty if it never came.
fn latency(row: &RequestRow, at: impl Fn(&RequestRow) -> Option<SimTime>) -> String {
    at(row).map_or(String::new(), |at| seconds(SimTime::ZERO + (at - row.record.arrival)))
}

/// Mean gap after the first token \[s\]; empty with fewer than two tokens.
fn tpot(row: &RequestRow) -> String {
    let request = &row.record;
    match (request.first_token, request.last_token) {
        (Some(first), Some(last)) if request.output_tokens >= 2 => {
            number((last - first).as_secs_f64() / f64::from(request.output_tokens - 1))
        }
        _ => String::new(),
    }
}

fn optional(value: Option<i32>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::spec::MetricSpec;
    use crate::hpa::{Branch, Quantity, RescaleReason};
    use crate::sim::{Series, TimelineRow};
    use crate::units::Milli;

    fn spec(names: &[&str]) -> HpaSpec {
        let metric = |name: &&str| MetricSpec::pods(name, Quantity::from_milli(5000));
        HpaSpec { metrics: names.iter().map(metric).collect(), ..HpaSpec::default() }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn timeline_is_long() {
        let row =
            |second, series, value| TimelineRow { at: SimTime::from_secs(second), series, value };
        let record = RunRecord {
            timeline: vec![
                row(0, Series::ReplicasReady, 1.0),
                row(15, Series::HpaMetric(0), 12.5),
                row(15, Series::TtftMean, f64::NAN),
            ],
            ..RunRecord::default()
        };
        assert_eq!(
            text(timeline_csv(&record, &spec(&["vllm:num_requests_waiting"]))),
            "t_s,series,value\n0,replicas_ready,1\n\
             15,metric_avg:vllm:num_requests_waiting,12.5\n15,ttft_mean_1m_s,\n"
        );
    }

    #[test]
    fn decisions_have_one_block_per_metric() {
        let mut decision = Decision {
            now: SimTime::from_ps(15_500_000_000_000),
            now_decide: SimTime::from_secs(16),
            current_replicas: 2,
            branch: Branch::Metrics,
            chosen_metric: Some(0),
            proposed_replicas: Some(5),
            stabilized_replicas: Some(5),
            limited_replicas: Some(4),
            desired_replicas: 4,
            scale_to: Some(4),
            rescale_reason: RescaleReason::AboveTarget(0),
            ..Decision::default()
        };
        decision.metrics.push(MetricOutcome {
            current: crate::hpa::CurrentValue {
                average_value: Some(Milli(12_500)),
                ..Default::default()
            },
            usage_ratio: Some(2.5),
            final_ratio: Some(2.5),
            proposal: Some(5),
            failure: None,
            failure_reason: None,
            pods: crate::hpa::PodCounts { ready: 2, ..Default::default() },
        });
        let record = RunRecord { decisions: vec![decision], ..RunRecord::default() };
        assert_eq!(
            text(decisions_csv(&record, &spec(&["m"]))),
            "t_s,decided_s,branch,current_replicas,m.value,m.ratio,m.proposal,m.pods_ready,\
             m.pods_unready,m.pods_missing,m.pods_ignored,m.failure,chosen_metric,\
             proposed_replicas,scale_up_limit,scale_down_limit,stabilized_replicas,\
             limited_replicas,desired_replicas,scale_to,rescale_reason,able_to_scale,\
             able_to_scale_reason,scaling_active,scaling_active_reason,scaling_limited,\
             scaling_limited_reason,event\n\
             15.5,16,Metrics,2,12.5,2.5,5,2,0,0,0,,m,5,,,5,4,4,4,pods metric m above target,,,,,,,\n"
        );
    }

    #[test]
    fn equal_metric_names_get_their_index() {
        let header = text(decisions_csv(&RunRecord::default(), &spec(&["m", "m"])));
        assert!(header.contains("m#0.value") && header.contains("m#1.value"), "{header}");
    }

    #[test]
    fn headers_of_the_other_tables() {
        let record = RunRecord::default();
        assert_eq!(text(pods_csv(&record)), "t_s,pod,stage,node\n");
        assert_eq!(text(nodes_csv(&record, &[])), "t_s,node,stage,pool\n");
        assert_eq!(
            text(requests_csv(&record)),
            "request_id,pod,outcome,arrival_s,queued_s,first_scheduled_s,first_token_s,\
             last_token_s,end_s,prompt_tokens,output_tokens,cached_tokens,preemptions,ttft_s,\
             tpot_s,e2e_s\n"
        );
    }
}
