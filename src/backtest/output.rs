//! Results as text and CSV.

use super::{Comparison, Divergence, Row};
use std::fmt::Write as _;

/// What the result cannot tell.
pub const OPEN_LOOP: &str = "This backtest is open loop: the metric is the recorded one and does not react to the \
decisions. With other replica counts than recorded the load per replica, and so the metric, would have been different; \
after the first divergence the decisions are what the HPA does with these numbers, not what the system would have done.";

fn cell(value: Option<f64>) -> String {
    value.map(|v| format!("{}", (v * 1e6).round() / 1e6)).unwrap_or_default()
}

fn values(row: &Row) -> Vec<String> {
    row.values.iter().map(|v| if v.is_none() { "none".to_owned() } else { cell(*v) }).collect()
}

/// The changes of the desired count, one a line.
pub fn changes_text(rows: &[Row], metrics: &[String]) -> String {
    let mut text =
        format!("{:>12}  {:>4}  {:>4}  reason ({})\n", "t_s", "from", "to", metrics.join(", "));
    let mut last = rows.first().map_or(0, |r| r.current);
    for row in rows {
        if row.desired != last {
            let (t, to, why) = (cell(Some(row.t_s)), row.desired, &row.reason);
            let _ =
                writeln!(text, "{t:>12}  {last:>4}  {to:>4}  {why} ({})", values(row).join(", "));
            last = to;
        }
    }
    text
}

/// Agreement, divergences and steps.
pub fn comparison_text(found: &Comparison, rows: &[Row]) -> String {
    let hit = found.steps.iter().filter(|s| s.3).count();
    let percent = 100.0 * found.agreement;
    let mut text =
        format!("agreement with {}: {percent:.1} % of {} syncs\n", found.series, rows.len());
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
    let _ = writeln!(text, "recorded steps reproduced within 30 s: {hit} of {}", found.steps.len());
    if found.followed > 0 {
        let n = found.followed;
        let _ = writeln!(
            text,
            "  of these {n} followed: the replicas read had already changed, the HPA only kept them"
        );
    }
    for (t, from, to, _) in found.steps.iter().filter(|s| !s.3) {
        let _ = writeln!(text, "  not reproduced: {from} to {to} at {t} s");
    }
    let _ = writeln!(text, "steps that the recording lacks: {}", found.extra.len());
    for (t, to) in &found.extra {
        let _ = writeln!(text, "  to {to} at {t} s");
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

/// One row per start-up time and sync.
pub fn decisions_csv(runs: &[(f64, Vec<Row>)], metrics: &[String]) -> String {
    let names: Vec<String> = metrics.iter().map(|m| quoted(m)).collect();
    let mut text =
        format!("startup_s,t_s,current,reporting,proposed,desired,reason,{}\n", names.join(","));
    for (startup, rows) in runs {
        for r in rows {
            let proposed = r.proposed.map(|p| p.to_string()).unwrap_or_default();
            let values: Vec<String> = r.values.iter().map(|v| cell(*v)).collect();
            let (t, why) = (cell(Some(r.t_s)), quoted(&r.reason));
            let (current, reporting, desired) = (r.current, r.reporting, r.desired);
            let _ = writeln!(
                text,
                "{startup},{t},{current},{reporting},{proposed},{desired},{why},{}",
                values.join(",")
            );
        }
    }
    text
}

/// The last run as `t_s,series,value`, in the layout of a run's timeline.
pub fn timeline_csv(rows: &[Row], metrics: &[String]) -> String {
    let mut text = String::from("t_s,series,value\n");
    for r in rows {
        let t = cell(Some(r.t_s));
        let _ = writeln!(
            text,
            "{t},replicas_current,{}\n{t},replicas_desired,{}\n{t},pods_reporting,{}",
            r.current, r.desired, r.reporting
        );
        for (name, value) in metrics.iter().zip(&r.values) {
            if value.is_some() {
                let _ =
                    writeln!(text, "{t},{},{}", quoted(&format!("metric:{name}")), cell(*value));
            }
        }
    }
    text
}
