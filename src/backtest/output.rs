//! Results as text and CSV.

use super::{Comparison, Divergence, Row, Series, matching};
use std::fmt::Write as _;

/// What the result cannot tell.
pub const OPEN_LOOP: &str = "This backtest is open loop: the metric is the recorded one and does not react to the \
decisions. With other replica counts than recorded the load per replica, and so the metric, would have been different; \
after the first divergence the decisions are what the HPA does with these numbers, not what the system would have done.";

fn cell(value: Option<f64>) -> String {
    value.map(|v| format!("{}", (v * 1e6).round() / 1e6)).unwrap_or_default()
}

fn values(row: &Row) -> Vec<String> {
    let told = |v: Option<f64>| if v.is_none() { "none".to_owned() } else { cell(v) };
    row.metrics.iter().map(|m| told(m.value)).collect()
}

/// The changes of the desired count, one a line, each with the chain that led to it if `explain` is set.
pub fn changes_text(rows: &[Row], metrics: &[String], explain: bool) -> String {
    let mut text =
        format!("{:>12}  {:>4}  {:>4}  reason ({})\n", "t_s", "from", "to", metrics.join(", "));
    let mut last = rows.first().map_or(0, |r| r.current);
    for row in rows {
        if row.desired != last {
            let (t, to, why) = (cell(Some(row.t_s)), row.desired, &row.reason);
            let _ =
                writeln!(text, "{t:>12}  {last:>4}  {to:>4}  {why} ({})", values(row).join(", "));
            // The first line of the chain repeats the row.
            for line in row.explanation.iter().skip(1).filter(|_| explain) {
                let _ = writeln!(text, "              {line}");
            }
            last = to;
        }
    }
    text
}

/// Agreement, divergences and steps.
pub fn comparison_text(found: &Comparison, rows: &[Row]) -> String {
    let percent = 100.0 * found.agreement;
    let mut text =
        format!("agreement with {}: {percent:.1} % of {} syncs\n", found.series, found.compared);
    let mut divergence = |which: &str, d: Option<Divergence>| {
        if let Some(d) = d {
            let t = cell(rows.get(d.row).map(|r| r.t_s));
            let _ = writeln!(
                text,
                "{which} divergence: at {t} s decided {}, recorded {}",
                d.desired, d.recorded
            );
        }
    };
    divergence("first", found.first);
    divergence("worst", found.worst);
    let (hit, all) = (found.reproduced(), found.steps.len());
    let _ = writeln!(text, "recorded steps reproduced within 30 s: {hit} of {all}");
    let followed = found.followed();
    if followed > 0 {
        let _ = writeln!(
            text,
            "  of these {followed} followed: the replicas read had already changed, the HPA only kept them"
        );
    }
    for s in found.steps.iter().filter(|s| !s.reproduced) {
        let _ =
            writeln!(text, "  not reproduced: {} to {} at {} s", s.from, s.to, cell(Some(s.t_s)));
    }
    let _ = writeln!(text, "steps that the recording lacks: {}", found.extra.len());
    for (t, to) in &found.extra {
        let _ = writeln!(text, "  to {to} at {} s", cell(Some(*t)));
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// One row per start-up time and sync. A condition is written as `True:Reason`.
pub fn decisions_csv(runs: &[(f64, Vec<Row>)], metrics: &[String]) -> String {
    let mut text = String::from("startup_s,t_s,current,reporting");
    for m in metrics {
        let names = [m.clone(), format!("{m}:ratio"), format!("{m}:proposal")].map(|n| quoted(&n));
        let _ = write!(text, ",{}", names.join(","));
    }
    text.push_str(",proposed,stabilized,limited,desired,reason,able_to_scale,scaling_active,scaling_limited\n");
    let number = |n: Option<i32>| n.map(|n| n.to_string()).unwrap_or_default();
    for (startup, rows) in runs {
        for r in rows {
            let (t, current, reporting) = (cell(Some(r.t_s)), r.current, r.reporting);
            let _ = write!(text, "{startup},{t},{current},{reporting}");
            for m in &r.metrics {
                let _ = write!(text, ",{},{},{}", cell(m.value), cell(m.ratio), number(m.proposal));
            }
            let (proposed, stabilized) = (number(r.proposed), number(r.stabilized));
            let (limited, desired, why) = (number(r.limited), r.desired, quoted(&r.reason));
            let _ = write!(text, ",{proposed},{stabilized},{limited},{desired},{why}");
            for condition in r.conditions {
                let told =
                    condition.map(|(s, why)| format!("{}:{why}", if s { "True" } else { "False" }));
                let _ = write!(text, ",{}", told.unwrap_or_default());
            }
            text.push('\n');
        }
    }
    text
}

/// The last run as `t_s,series,value`, in the layout of a run's timeline; with the recorded count, where there is
/// one, as `replicas_recorded`.
pub fn timeline_csv(rows: &[Row], metrics: &[String], actual: Option<&[Series]>) -> String {
    let recorded = actual.and_then(matching::desired_series);
    let mut text = String::from("t_s,series,value\n");
    for r in rows {
        let t = cell(Some(r.t_s));
        let _ = writeln!(
            text,
            "{t},replicas_current,{}\n{t},replicas_desired,{}\n{t},pods_reporting,{}",
            r.current, r.desired, r.reporting
        );
        if let Some(count) = recorded.and_then(|s| s.held(r.t_s)) {
            let _ = writeln!(text, "{t},replicas_recorded,{}", cell(Some(count)));
        }
        for (name, metric) in metrics.iter().zip(&r.metrics) {
            if metric.value.is_some() {
                let name = quoted(&format!("metric:{name}"));
                let _ = writeln!(text, "{t},{name},{}", cell(metric.value));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::{MetricRow, parse};

    #[test]
    fn tables_have_one_cell_per_column() {
        let metric = MetricRow { value: Some(4.0), ratio: Some(2.0), proposal: Some(2) };
        let conditions =
            [Some((true, "ReadyForNewScale")), None, Some((false, "DesiredWithinRange"))];
        let reason = "pods metric q(a, b) above target".to_owned();
        let full = Row { metrics: vec![metric], desired: 2, conditions, reason, ..Row::default() };
        let gap = Row { t_s: 15.0, metrics: vec![MetricRow::default()], ..Row::default() };
        let names = ["q".to_owned()];
        let table = decisions_csv(&[(60.0, vec![full.clone(), gap.clone()])], &names);
        let mut reader = csv::Reader::from_reader(table.as_bytes());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].iter().skip(4).take(3).collect::<Vec<_>>(), ["4", "2", "2"]);
        assert_eq!(rows[0].iter().rev().nth(2), Some("True:ReadyForNewScale"));
        let actual = parse("t_s,replicas_desired\n0,3\n").unwrap();
        let line = timeline_csv(&[full, gap], &names, Some(&actual));
        assert!(line.contains("15,replicas_recorded,3\n"), "{line}");
        assert!(line.contains("0,metric:q,4\n") && !line.contains("15,metric:q"), "{line}");
    }
}
