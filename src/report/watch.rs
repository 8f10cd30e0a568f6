//! What `kubectl get hpa --watch` and `kubectl get pods --watch` would have shown, row by row.
//!
//! Source: k8s.io/kubernetes pkg/printers/internalversion/printers.go (columns, TARGETS, STATUS) and
//! k8s.io/apimachinery pkg/util/duration (AGE).

use super::explain::clock;
use crate::hpa::spec::{MetricSpec, MetricTarget};
use crate::hpa::{CurrentValue, HpaSpec};
use crate::sim::{PodStage, RunRecord};
use crate::units::{PodId, SimDuration, SimTime};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Metrics that the TARGETS column has room for.
const MAX_METRICS: usize = 2;

/// The rows of both watches in order of time, below the header of each: one whenever something but the AGE
/// changes, with the time since the start of the run in front.
///
/// `sidecars`: containers of a pod beside the server's.
pub fn watch(record: &RunRecord, hpa_name: &str, sidecars: u32) -> String {
    let mut rows: Vec<(SimTime, Vec<String>)> = Vec::new();
    let mut text = String::new();
    if let Some(hpa) = &record.hpa {
        hpa_rows(record, hpa.spec(), hpa_name, &mut rows);
        let header = ["NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"];
        text.push_str(&aligned(&header, &rows));
        rows.clear();
        text.push('\n');
    }
    pod_rows(record, sidecars, &mut rows);
    text.push_str(&aligned(&["NAME", "READY", "STATUS", "RESTARTS", "AGE"], &rows));
    text
}

fn hpa_rows(
    record: &RunRecord,
    spec: &HpaSpec,
    name: &str,
    rows: &mut Vec<(SimTime, Vec<String>)>,
) {
    let spec = spec.defaulted();
    let target = &spec.scale_target_ref;
    let reference = format!("{}/{}", target.kind, target.name);
    for decision in &record.decisions {
        let cells = vec![
            name.to_owned(),
            reference.clone(),
            targets(&spec, &decision.current_metrics),
            spec.min_replicas.map_or("<unset>".to_owned(), |n| n.to_string()),
            spec.max_replicas.to_string(),
            decision.current_replicas.to_string(),
            age(decision.now.saturating_since(SimTime::ZERO)),
        ];
        push_if_new(rows, decision.now, cells, |_| true);
    }
}

/// What RESTARTS goes by.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: u32,
    /// When the last container ended.
    died: Option<SimTime>,
    waits: bool,
}

impl Restarts {
    /// As kubectl prints it: `1 (5s ago)`.
    fn cell(self, now: SimTime) -> String {
        match self.died {
            Some(died) if self.count > 0 => {
                format!("{} ({} ago)", self.count, age(now.saturating_since(died)))
            }
            _ => self.count.to_string(),
        }
    }
}

fn pod_rows(record: &RunRecord, sidecars: u32, rows: &mut Vec<(SimTime, Vec<String>)>) {
    let mut created: BTreeMap<PodId, SimTime> = BTreeMap::new();
    let mut restarts: BTreeMap<PodId, Restarts> = BTreeMap::new();
    for row in &record.pods {
        let from = *created.entry(row.pod).or_insert(row.at);
        let name = format!("pod-{}", row.pod.0);
        if row.stage == PodStage::Unreachable {
            // The Ready condition turns, but the container keeps the status that its kubelet last reported.
            continue;
        }
        let (ready, status) = shown(row.stage, sidecars);
        let restarted = restarts.entry(row.pod).or_default();
        // A new container counts when it starts.
        restarted.count += u32::from(restarted.waits && row.stage == PodStage::Loading);
        restarted.waits = row.stage == PodStage::Restarting;
        if restarted.waits {
            restarted.died = Some(row.at);
        }
        let cells = vec![
            name.clone(),
            format!("{ready}/{}", 1 + sidecars),
            status.to_owned(),
            restarted.cell(row.at),
            age(row.at.saturating_since(from)),
        ];
        push_if_new(rows, row.at, cells, |cells: &[String]| cells[0] == name);
    }
}

/// Adds a row unless the last one of the same object differs from it in nothing but how long ago things were.
fn push_if_new(
    rows: &mut Vec<(SimTime, Vec<String>)>,
    at: SimTime,
    cells: Vec<String>,
    same_object: impl Fn(&[String]) -> bool,
) {
    let last = rows.iter().rev().find(|row| same_object(&row.1));
    let timeless = |cell: &String| cell.split(" (").next().unwrap_or_default().to_owned();
    let but_age = |cells: &[String]| -> Vec<String> {
        let shown = &cells[..cells.len() - 1];
        shown.iter().map(|c| if c.ends_with(" ago)") { timeless(c) } else { c.clone() }).collect()
    };
    if last.is_none_or(|row| but_age(&row.1) != but_age(&cells)) {
        rows.push((at, cells));
    }
}

/// Ready containers and STATUS of a pod.
fn shown(stage: PodStage, sidecars: u32) -> (u32, &'static str) {
    match stage {
        PodStage::Pending => (0, "Pending"),
        // The kubelet shows volume attach, image pull and creation alike.
        PodStage::Attaching | PodStage::Pulling | PodStage::Creating => (0, "ContainerCreating"),
        PodStage::Loading | PodStage::Initializing | PodStage::NotReady => (sidecars, "Running"),
        PodStage::Ready | PodStage::InService | PodStage::Unreachable => (1 + sidecars, "Running"),
        // `Error` or `OOMKilled` at first; kubectl shows the wait as CrashLoopBackOff.
        PodStage::Restarting => (sidecars, "CrashLoopBackOff"),
        PodStage::Failed => (0, "Error"),
        PodStage::Terminating => (1 + sidecars, "Terminating"),
        PodStage::Gone => (0, "Terminating"),
    }
}

fn targets(spec: &HpaSpec, current: &[CurrentValue]) -> String {
    let cells = spec.metrics.iter().enumerate().take(MAX_METRICS);
    let mut text: Vec<String> =
        cells.map(|(i, metric)| target_cell(metric, current.get(i).copied())).collect();
    if text.is_empty() {
        return "<none>".to_owned();
    }
    if let Some(more) = spec.metrics.len().checked_sub(MAX_METRICS).filter(|n| *n > 0) {
        return format!("{} + {more} more...", text.join(", "));
    }
    std::mem::take(&mut text).join(", ")
}

fn target_cell(metric: &MetricSpec, current: Option<CurrentValue>) -> String {
    let current = current.unwrap_or(CurrentValue::EMPTY);
    let unknown = || "<unknown>".to_owned();
    let quantity = current.quantity().map_or_else(unknown, |q| q.canonical().to_owned());
    let percent = current.average_utilization.map_or_else(unknown, |p| format!("{p}%"));
    let Some(target) = metric.target() else { return unknown() };
    let resource = metric.resource.is_some() || metric.container_resource.is_some();
    let (now, goal) = match goal(target) {
        Goal::Percent(goal) => (percent, goal),
        Goal::Quantity(goal) => (quantity, goal),
    };
    match metric.kind.as_str() {
        _ if resource => format!("{}: {now}/{goal}", metric.metric_name()),
        "External" | "Object" if target.average_value.is_some() => format!("{now}/{goal} (avg)"),
        _ => format!("{now}/{goal}"),
    }
}

enum Goal {
    Percent(String),
    Quantity(String),
}

fn goal(target: &MetricTarget) -> Goal {
    let quantity = target.average_value.as_ref().or(target.value.as_ref());
    match (quantity, target.average_utilization) {
        (Some(quantity), _) => Goal::Quantity(quantity.canonical().to_owned()),
        (None, Some(percent)) => Goal::Percent(format!("{percent}%")),
        (None, None) => Goal::Percent("<auto>".to_owned()),
    }
}

/// `duration.HumanDuration`: two units where the first is small.
fn age(span: SimDuration) -> String {
    let seconds = span.as_secs_f64() as u64;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let two = |first: u64, unit: char, second: u64, small: char| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{small}"),
    };
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => two(hours / 24, 'd', hours % 24, 'h'),
        () => format!("{}d", hours / 24),
    }
}

/// Columns three blanks apart, as kubectl prints them, with the time in front.
fn aligned(header: &[&str], rows: &[(SimTime, Vec<String>)]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().map(|row| row.1[i].chars().count());
        cells.max().unwrap_or(0).max(header[i].len())
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let mut line = |at: &str, cells: &[&str]| {
        let mut line = format!("{at:<8}");
        for (cell, width) in cells.iter().zip(&widths) {
            let _ = write!(line, "   {cell:<width$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line("TIME", header);
    for (at, cells) in rows {
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        line(&clock(*at), &cells);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::Quantity;
    use crate::sim::PodRow;
    use crate::units::Milli;

    fn value(milli: i64) -> CurrentValue {
        CurrentValue { average_value: Some(Milli(milli)), ..CurrentValue::EMPTY }
    }

    /// Source: kubectl's printers; the production stack's documentation shows `0/5 (avg)`.
    #[test]
    fn targets_read_as_kubectl_prints_them() {
        let pods = MetricSpec::pods("q", Quantity::from_milli(10_000));
        let average = MetricTarget::average_value(Quantity::from_milli(5_000));
        let external = MetricSpec::external("q", average);
        let plain = MetricSpec::external("q", MetricTarget::value(Quantity::from_milli(5_000)));
        let cpu = MetricSpec::resource("cpu", MetricTarget::utilization(50));
        let used = CurrentValue { average_utilization: Some(30), ..CurrentValue::EMPTY };
        let whole = CurrentValue { value: Some(Milli(3_000)), ..CurrentValue::EMPTY };
        let cases = [
            (&pods, Some(value(0)), "0/10"),
            (&pods, Some(value(1_500)), "1500m/10"),
            (&pods, None, "<unknown>/10"),
            (&external, Some(value(0)), "0/5 (avg)"),
            (&plain, Some(whole), "3/5"),
            (&cpu, Some(used), "cpu: 30%/50%"),
        ];
        for (metric, current, want) in cases {
            assert_eq!(target_cell(metric, current), want);
        }
        let spec = HpaSpec { metrics: vec![pods, external, cpu], ..HpaSpec::default() };
        let all = targets(&spec, &[value(1_000), value(2_000), used]);
        assert_eq!(all, "1/10, 2/5 (avg) + 1 more...");
    }

    #[test]
    fn ages_read_as_kubectl_prints_them() {
        let cases = [
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (28_740, "7h59m"),
            (172_799, "47h"),
            (180_000, "2d2h"),
            (700_000, "8d"),
        ];
        for (seconds, want) in cases {
            assert_eq!(age(SimDuration::from_secs(seconds)), want);
        }
    }

    fn row(at: u64, pod: u32, stage: PodStage) -> PodRow {
        PodRow { at: SimTime::from_secs(at), pod: PodId(pod), stage, node: None }
    }

    /// A pod with GCSFuse's sidecar shows two containers, and a restart tells how long ago the last one ended.
    #[test]
    fn sidecars_and_restarts_are_shown() {
        let pods = vec![
            row(0, 0, PodStage::Creating),
            row(10, 0, PodStage::Loading),
            row(100, 0, PodStage::Ready),
            row(300, 0, PodStage::Restarting),
            row(302, 0, PodStage::Loading),
            row(350, 0, PodStage::Initializing),
            row(400, 0, PodStage::Ready),
        ];
        let text = watch(&RunRecord { pods, ..RunRecord::default() }, "vllm", 1);
        assert_eq!(
            text,
            "TIME       NAME    READY   STATUS              RESTARTS       AGE\n\
             00:00:00   pod-0   0/2     ContainerCreating   0              0s\n\
             00:00:10   pod-0   1/2     Running             0              10s\n\
             00:01:40   pod-0   2/2     Running             0              100s\n\
             00:05:00   pod-0   1/2     CrashLoopBackOff    0              5m\n\
             00:05:02   pod-0   1/2     Running             1 (2s ago)     5m2s\n\
             00:06:40   pod-0   2/2     Running             1 (100s ago)   6m40s\n"
        );
    }

    #[test]
    fn a_pod_has_a_row_whenever_its_line_changes() {
        let record = RunRecord {
            pods: vec![
                row(0, 0, PodStage::Pending),
                row(5, 1, PodStage::Pending),
                row(40, 0, PodStage::Attaching),
                row(50, 0, PodStage::Pulling),
                row(90, 0, PodStage::Loading),
                row(200, 0, PodStage::Ready),
                row(201, 0, PodStage::InService),
                row(250, 0, PodStage::Unreachable),
                row(300, 0, PodStage::Terminating),
            ],
            ..RunRecord::default()
        };
        let text = watch(&record, "vllm", 0);
        assert_eq!(
            text,
            "TIME       NAME    READY   STATUS              RESTARTS   AGE\n\
             00:00:00   pod-0   0/1     Pending             0          0s\n\
             00:00:05   pod-1   0/1     Pending             0          0s\n\
             00:00:40   pod-0   0/1     ContainerCreating   0          40s\n\
             00:01:30   pod-0   0/1     Running             0          90s\n\
             00:03:20   pod-0   1/1     Running             0          3m20s\n\
             00:05:00   pod-0   1/1     Terminating         0          5m\n"
        );
    }
}
