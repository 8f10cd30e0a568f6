//! What a run prints: requests, latencies, replicas, cost.

use super::budget::start_up_text;
use super::explain::clock;
use super::figures::{count, counted, share, short, with_interval};
use super::sweep::Heading;
use super::text_table::{Align, text_table};
use crate::hpa::{HpaSpec, rescale_text};
use crate::sim::{Accounting, FaultEvent, Measures, RunRecord};
use crate::stats::Interval;
use std::fmt::Write as _;

/// The summary of one or more replications of a case, ending in a line feed.
///
/// Of several replications it shows the mean, with its interval at level `confidence` in (0, 1). `spec` is the HPA's,
/// defaulted; `None` without one.
pub fn run_summary(
    runs: &[RunRecord],
    confidence: f64,
    heading: &Heading,
    spec: Option<&HpaSpec>,
) -> String {
    let rows: Vec<Vec<f64>> = runs.iter().map(|run| run.measures.values()).collect();
    let measure = |name: &str| -> Interval {
        let column = Measures::COLUMNS.iter().position(|column| *column == name);
        let column = column.unwrap_or_else(|| panic!("`{name}` is a column"));
        let values: Vec<f64> = rows.iter().map(|row| row[column]).collect();
        Interval::of(&values, confidence)
    };
    let figure =
        |name: &str, decimals: usize| with_interval(&measure(name), |value| short(value, decimals));
    let mut text = String::new();
    let out = &mut text;
    let _ = writeln!(out, "workload:  {}", heading.workload);
    if !heading.profile.is_empty() {
        let _ = writeln!(out, "profile:   {}", heading.profile);
    }
    if let Some(spec) = spec {
        let _ = writeln!(out, "HPA:       {}", hpa_in_words(spec));
    }
    if runs.len() > 1 {
        let _ = writeln!(
            out,
            "{}, means with {} % confidence",
            counted(runs.len(), "replication"),
            (confidence * 1000.0).round() / 10.0
        );
    }
    let _ = writeln!(out, "requests:  {}", account(runs));
    let _ = writeln!(
        out,
        "SLO:       met by {} of requests ({}), goodput {}/s",
        with_interval(&measure("slo_attainment"), share),
        heading.slo,
        figure("goodput_rps", 2),
    );
    let _ = writeln!(out, "\n{}", latencies(&measure, heading.width));
    let _ = writeln!(
        out,
        "replicas:  {} on average, at most {}; {} scale-ups, {} scale-downs, {} flaps",
        figure("replicas_mean", 2),
        with_interval(&measure("replicas_max"), count),
        with_interval(&measure("scale_ups"), count),
        with_interval(&measure("scale_downs"), count),
        with_interval(&measure("flaps"), count),
    );
    let _ = writeln!(
        out,
        "GPUs:      {} GPU-hours on {} node-hours, idle for {}",
        figure("gpu_hours", 1),
        figure("node_hours", 1),
        with_interval(&measure("gpu_idle_ratio"), share),
    );
    let _ = writeln!(
        out,
        "cost:      {} USD, {} USD per million output tokens ({})",
        figure("cost_usd", 2),
        figure("usd_per_million_output_tokens", 3),
        heading.price,
    );
    text.push_str(&pools_and_faults(runs));
    let out = &mut text;
    let minutes = measure("slo_violation_minutes").mean;
    if minutes > 0.0 {
        let _ = writeln!(
            out,
            "missed:    the SLO in {} minutes",
            with_interval(&measure("slo_violation_minutes"), count)
        );
    }
    let budgets: Vec<_> = runs.iter().flat_map(RunRecord::budgets).collect();
    text.push_str(&start_up_text(&budgets, heading.width));
    text
}

/// What the HPA was asked to keep: `1 to 8 replicas, vllm:num_requests_running at 8 per pod`.
fn hpa_in_words(spec: &HpaSpec) -> String {
    let mut text = format!("{} to {} replicas", spec.min_replicas.unwrap_or(1), spec.max_replicas);
    for metric in &spec.metrics {
        let target = metric.target();
        let goal = match target.map(|t| (&t.average_value, &t.value, t.average_utilization)) {
            Some((Some(average), _, _)) => format!("{} per pod", average.canonical()),
            Some((None, Some(value), _)) => value.canonical().to_owned(),
            Some((None, None, Some(percent))) => format!("{percent} % of its request"),
            Some((None, None, None)) | None => "no target".to_owned(),
        };
        let _ = write!(text, ", {} at {goal}", metric.metric_name());
    }
    text
}

/// The scale writes of a run in the controller's words, at most `limit` of them; empty if there is none.
/// `spec` is the HPA's, defaulted.
pub fn scale_log(record: &RunRecord, spec: &HpaSpec, limit: usize) -> String {
    let writes = || record.decisions.iter().filter_map(|d| Some((d, d.scale_to?)));
    let total = writes().count();
    let mut text = String::new();
    if total == 0 {
        return text;
    }
    let _ = writeln!(
        text,
        "{} (every reconcile is a row of decisions.csv):",
        counted(total, "scale write")
    );
    for (decision, to) in writes().take(limit) {
        let _ = writeln!(
            text,
            "  {}  {:>3} -> {to:<3}  {}",
            clock(decision.now),
            decision.current_replicas,
            rescale_text(spec, decision.rescale_reason)
        );
    }
    if total > limit {
        let _ = writeln!(text, "  and {} more", total - limit);
    }
    text
}

/// Node-hours and cost by pool if there are several, and what went wrong; means over the replications.
fn pools_and_faults(runs: &[RunRecord]) -> String {
    let mut text = String::new();
    let count = runs.len() as f64;
    let pools = runs.first().map_or(0, |run| run.pools.len());
    if pools > 1 {
        let mean = |of: &dyn Fn(&RunRecord) -> f64| runs.iter().map(of).sum::<f64>() / count;
        let part = |i: usize| {
            let hours = mean(&|run| run.pools[i].node_hours);
            let usd = mean(&|run| run.pools[i].cost_usd);
            let name = &runs[0].pools[i].name;
            format!("{name} {} node-hours, {} USD", short(hours, 1), short(usd, 2))
        };
        let parts: Vec<String> = (0..pools).map(part).collect();
        let _ = writeln!(text, "pools:     {}", parts.join("; "));
    }
    let faults: [(&str, IsFault); 6] = [
        ("container deaths", |e| matches!(e, FaultEvent::ContainerDied { .. })),
        ("readiness flaps", |e| matches!(e, FaultEvent::Unhealthy { .. })),
        ("preempted nodes", |e| matches!(e, FaultEvent::Preempted { .. })),
        ("lost nodes", |e| matches!(e, FaultEvent::NodeLost { .. })),
        ("failed attachments", |e| matches!(e, FaultEvent::FailedAttachVolume { .. })),
        ("evicted pods", |e| {
            matches!(e, FaultEvent::Evicted { .. } | FaultEvent::TaintEvicted { .. })
        }),
    ];
    let counted = faults.iter().filter_map(|(name, is)| {
        let all = runs.iter().flat_map(|run| &run.faults).filter(|row| is(&row.event)).count();
        (all > 0).then(|| format!("{} {name}", short(all as f64 / count, 1)))
    });
    let counted: Vec<String> = counted.collect();
    if !counted.is_empty() {
        let _ = writeln!(text, "faults:    {} per run, warm-up included", counted.join(", "));
    }
    text
}

/// Whether a fault is of some kind.
type IsFault = fn(&FaultEvent) -> bool;

/// One number of an account.
type Count = fn(&Accounting) -> u64;

/// Where the requests went, summed over the replications; ends that did not occur are left out.
fn account(runs: &[RunRecord]) -> String {
    let sum = |of: Count| -> u64 { runs.iter().map(|run| of(&run.accounting)).sum() };
    let mut text = format!("{} arrived", sum(|a| a.arrived));
    let ends: [(Count, &str); 6] = [
        (|a| a.completed, "completed"),
        (|a| a.refused, "refused"),
        (|a| a.rejected, "rejected"),
        (|a| a.killed, "cut off by a replica that stopped or crashed"),
        (|a| a.cancelled, "given up by the client"),
        (|a| a.unfinished, "unfinished at the end"),
    ];
    for (of, name) in ends {
        let count = sum(of);
        if count > 0 {
            let _ = write!(text, ", {count} {name}");
        }
    }
    let retries = sum(|a| a.retries);
    if retries > 0 {
        let _ = write!(text, "; {retries} new attempts after a refusal or a lost replica");
    }
    let held = sum(|a| a.held);
    if held > 0 {
        let _ = write!(text, "; {held} attempts waited at the gateway");
    }
    let unsent = sum(|a| a.unsent);
    if unsent > 0 {
        let _ = write!(
            text,
            "; {unsent} more never left their client, where all connections were taken"
        );
    }
    let shed = sum(|a| a.shed);
    if shed > 0 {
        let _ = write!(text, "; {shed} attempts shed by the gateway");
    }
    text
}

/// The table of latency quantiles.
fn latencies(measure: &dyn Fn(&str) -> Interval, width: usize) -> String {
    let rows: [(&str, &str, f64); 4] = [
        ("TTFT s", "ttft", 1.0),
        ("TPOT ms", "tpot", 1000.0),
        ("ITL ms", "itl", 1000.0),
        ("E2E s", "e2e", 1.0),
    ];
    let columns = [
        ("latency".to_owned(), Align::Left),
        ("p50".to_owned(), Align::Right),
        ("p95".to_owned(), Align::Right),
        ("p99".to_owned(), Align::Right),
    ];
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|(label, stem, scale)| {
            let cells = ["p50", "p95", "p99"].map(|quantile| {
                let figure = measure(&format!("{stem}_{quantile}_s"));
                with_interval(&figure, |value| short(value * scale, 3))
            });
            std::iter::once((*label).to_owned()).chain(cells).collect()
        })
        .collect();
    text_table(&columns, &rows, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::Quantity;
    use crate::hpa::spec::{MetricSpec, MetricTarget};
    use crate::units::SimTime;

    fn spec() -> HpaSpec {
        let cpu = MetricSpec::resource("cpu", MetricTarget::utilization(80));
        let metrics = vec![MetricSpec::pods("m", Quantity::from_milli(500)), cpu];
        HpaSpec { max_replicas: 8, metrics, ..HpaSpec::default() }
    }

    fn record(cost_usd: f64) -> RunRecord {
        let mut record = RunRecord::default();
        record.accounting =
            Accounting { arrived: 100, completed: 97, killed: 3, ..record.accounting };
        record.measures = Measures {
            slo_attainment: 0.97,
            goodput_rps: 1.94,
            ttft_p50_s: 0.123_4,
            ttft_p95_s: 0.9,
            ttft_p99_s: f64::NAN,
            tpot_p50_s: 0.045,
            cost_usd,
            replicas_mean: 2.5,
            replicas_max: 4.0,
            scale_ups: 3.0,
            gpu_hours: 2.5,
            node_hours: 2.5,
            gpu_idle_ratio: 0.25,
            ..Measures::default()
        };
        record
    }

    fn heading() -> Heading {
        Heading {
            workload: "poisson".into(),
            slo: "TTFT <= 2s".into(),
            price: "1 USD/h".into(),
            profile: String::new(),
            width: 80,
        }
    }

    #[test]
    fn one_run_reads_well() {
        let text = run_summary(&[record(1.75)], 0.95, &heading(), Some(&spec()));
        assert_eq!(
            text,
            "\
workload:  poisson
HPA:       1 to 8 replicas, m at 500m per pod, cpu at 80 % of its request
requests:  100 arrived, 97 completed, 3 cut off by a replica that stopped or crashed
SLO:       met by 97.00 % of requests (TTFT <= 2s), goodput 1.94/s

latency    p50    p95    p99
TTFT s   0.123  0.900      -
TPOT ms   45.0  0.000  0.000
ITL ms   0.000  0.000  0.000
E2E s    0.000  0.000  0.000

replicas:  2.50 on average, at most 4; 3 scale-ups, 0 scale-downs, 0 flaps
GPUs:      2.5 GPU-hours on 2.5 node-hours, idle for 25.00 %
cost:      1.75 USD, 0.000 USD per million output tokens (1 USD/h)
"
        );
    }

    #[test]
    fn several_runs_have_intervals_and_summed_accounts() {
        let text = run_summary(&[record(1.0), record(3.0)], 0.95, &heading(), None);
        assert!(text.contains("2 replications, means with 95 % confidence"), "{text}");
        assert!(text.contains("200 arrived, 194 completed, 6 cut off"), "{text}");
        assert!(text.contains("cost:      2.00 (-10.7 to 14.7) USD"), "{text}");
    }

    #[test]
    fn scale_writes_read_like_events() {
        use crate::hpa::{Decision, RescaleReason};
        let spec = HpaSpec {
            metrics: vec![MetricSpec::pods("m", Quantity::from_milli(5000))],
            ..HpaSpec::default()
        };
        let write = |second, from, to, rescale_reason| Decision {
            now: SimTime::from_secs(second),
            current_replicas: from,
            scale_to: Some(to),
            rescale_reason,
            ..Decision::default()
        };
        let record = RunRecord {
            decisions: vec![
                write(75, 1, 4, RescaleReason::AboveTarget(0)),
                Decision::default(),
                write(90_000, 4, 2, RescaleReason::AllBelowTarget),
            ],
            ..RunRecord::default()
        };
        assert_eq!(
            scale_log(&record, &spec, 10),
            "2 scale writes (every reconcile is a row of decisions.csv):\n\
             \x20 00:01:15    1 -> 4    pods metric m above target\n\
             \x20 25:00:00    4 -> 2    All metrics below target\n"
        );
        assert!(scale_log(&record, &spec, 1).ends_with("target\n  and 1 more\n"));
        assert_eq!(scale_log(&RunRecord::default(), &spec, 1), "");
    }
}
