//! Reports and statistics of traces as text.

use crate::units::SimDuration;
use crate::workload::import::Report;
use crate::workload::summary::PERCENTILES;
use crate::workload::{Interpolation, RateCurve, Sharing, Summary};
use std::fmt::Write as _;

/// What happened during an import.
pub(super) fn report(report: &Report) -> String {
    let mut out = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(out, "{label:<22}{value}");
    };
    line("format", report.format.to_owned());
    line("rows read", report.rows.to_string());
    line("rows kept", report.kept.to_string());
    for (reason, count) in &report.dropped {
        line("rows dropped", format!("{count}: {reason}"));
    }
    for (reason, bad) in &report.bad {
        let lines: Vec<String> = bad.lines.iter().map(u64::to_string).collect();
        let more = if bad.count > bad.lines.len() as u64 { ", .." } else { "" };
        line("rows bad", format!("{}: {reason} (line {}{more})", bad.count, lines.join(", ")));
    }
    if report.out_of_order > 0 {
        line("rows out of order", format!("{}, sorted", report.out_of_order));
    }
    if let Some(share) = report.prefix_reuse {
        let text = "of prompt tokens are a prefix of an earlier request";
        line("prefix reuse", format!("{:.1} % {text}", share * 100.0));
    }
    for note in &report.notes {
        line("note", note.clone());
    }
    out
}

/// The figures of a trace.
pub(super) fn summary(s: &Summary) -> String {
    let mut out = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(out, "{label:<22}{value}");
    };
    line("requests", s.requests.to_string());
    // Exact, because a span identifies a trace.
    line("span", SimDuration::from_ps(s.span_ps).to_string());
    // One instant has no rate.
    let if_any = |value: f64, text: String| if value.is_finite() { text } else { "-".to_owned() };
    line("mean rate", if_any(s.mean_rps, format!("{:.3} requests/s", s.mean_rps)));
    line("gap CV", if_any(s.gap_cv, format!("{:.4}", s.gap_cv)));
    line("longest gap", format!("{:.1} s", s.gap_max_s));
    line("distinct time stamps", format!("{:.3}", s.distinct_ratio));
    line("prompt-output corr.", if_any(s.correlation, format!("{:.2}", s.correlation)));
    out.push('\n');
    let _ = writeln!(
        out,
        "{:<10}{:>10}{:>10}{:>8}{:>8}{:>10}{:>10}{:>10}",
        "window", "mean", "sd", "min", "max", "max/mean", "var/mean", "empty"
    );
    for w in &s.windows {
        let _ = writeln!(
            out,
            "{:<10}{:>10.2}{:>10.2}{:>8}{:>8}{:>10.2}{:>10.2}{:>10.3}",
            format!("{} s", w.width_s),
            w.mean,
            w.sd,
            w.min,
            w.max,
            w.peak_to_mean(),
            w.idc(),
            w.empty
        );
    }
    out.push('\n');
    let _ = write!(out, "{:<10}{:>10}{:>8}", "tokens", "mean", "min");
    for p in PERCENTILES {
        let _ = write!(out, "{:>8}", format!("p{p}"));
    }
    let _ = writeln!(out, "{:>8}", "max");
    for (name, l) in [("prompt", &s.prompt), ("output", &s.output)] {
        let _ = write!(out, "{name:<10}{:>10.1}{:>8}", l.mean, l.min);
        for value in l.percentiles {
            let _ = write!(out, "{value:>8.0}");
        }
        let _ = writeln!(out, "{:>8}", l.max);
    }
    out
}

/// What the requests of a trace share, if they do.
pub(super) fn sharing(s: &Sharing) -> String {
    format!(
        "\nshared prefixes       {:.1} % of prompt tokens were said before, in {} requests of {} sessions\n",
        s.reuse * 100.0,
        s.requests,
        s.sessions
    )
}

/// Remarks on a trace that deserve attention.
pub(super) fn warnings(s: &Summary) -> Vec<String> {
    let mut all = Vec::new();
    if s.distinct_ratio < 0.5 {
        all.push(format!(
            "only {:.0} % of the time stamps are distinct: a coarse clock made batches that were none\n\
             hint: `--dequantize` spreads the rows of one stamp up to the next",
            s.distinct_ratio * 100.0
        ));
    }
    // Three times the peak of the busiest recorded trace (Azure 2024, 88/s over ten minutes); seconds read as
    // milliseconds come near it.
    if s.mean_rps.is_finite() && s.mean_rps > 300.0 {
        all.push(format!(
            "{:.0} requests/s is a very high rate\nhint: is the time unit right? see `--time-unit`",
            s.mean_rps
        ));
    }
    all
}

/// The figures of a rate over time.
pub(super) fn curve(c: &RateCurve) -> String {
    let points = c.points();
    let step = c.interpolation() == Interpolation::Step;
    let span = points.last().map_or(0.0, |p| p.0);
    let requests: f64 = points
        .windows(2)
        .map(|w| (w[1].0 - w[0].0) * if step { w[0].1 } else { f64::midpoint(w[0].1, w[1].1) })
        .sum();
    let peak = points.iter().map(|p| p.1).fold(0.0, f64::max);
    let mut out = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(out, "{label:<22}{value}");
    };
    line("points", format!("{} ({})", points.len(), if step { "steps" } else { "linear" }));
    line("span", format!("{span:.1} s"));
    line("requests", format!("{requests:.0}"));
    line("mean rate", format!("{:.3} requests/s", requests / span));
    line("highest rate", format!("{peak:.3} requests/s"));
    out
}

/// A rate as a table for `[workload.rate_curve]`.
pub(super) fn curve_csv(c: &RateCurve) -> String {
    let mut out = String::from("t_s,rate_rps\n");
    for (t, rate) in c.points() {
        let _ = writeln!(out, "{t},{rate}");
    }
    out
}
