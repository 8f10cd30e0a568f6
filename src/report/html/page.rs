//! The page's text: sections, tables, and the charts between them.

use super::super::figures::{count, counted, percent, share, short, with_interval};
use super::super::sweep::{heading_of, knobs_of, value_of, varies, way_out};
use super::charts::number;
use super::svg::{Figure, STYLE, escaped};
use super::{Background, Heading, Role};
use crate::export::Provenance;
use crate::stats::Interval;
use crate::sweep::{Plan, SweepResult, Warning};
use std::fmt::Write as _;

/// Looks of the page.
const PAGE_STYLE: &str = include_str!("page.css");

/// Everything that the page shows.
pub(super) struct Page<'a, S> {
    pub(super) plan: &'a Plan<S>,
    pub(super) result: &'a SweepResult,
    pub(super) heading: &'a Heading,
    pub(super) provenance: &'a Provenance,
    pub(super) warnings: &'a [Warning],
    pub(super) background: &'a Background,
    pub(super) pareto: Vec<Figure>,
    /// With a note each, which may be empty.
    pub(super) surfaces: Vec<(Figure, String)>,
    pub(super) timelines: Vec<Figure>,
    /// What one column of the timelines covers.
    pub(super) column: Option<String>,
    pub(super) shown: Vec<(Role, usize)>,
}

/// A measure in the table of the shown cases.
struct Measure {
    name: &'static str,
    column: &'static str,
    text: fn(f64) -> String,
}

const MEASURES: [Measure; 15] = [
    Measure { name: "SLO met", column: "slo_attainment", text: share },
    Measure { name: "cost [USD]", column: "cost_usd", text: |v| short(v, 2) },
    Measure {
        name: "USD per million output tokens",
        column: "usd_per_million_output_tokens",
        text: |v| short(v, 3),
    },
    Measure { name: "TTFT p50 [s]", column: "ttft_p50_s", text: |v| short(v, 3) },
    Measure { name: "TTFT p95 [s]", column: "ttft_p95_s", text: |v| short(v, 3) },
    Measure { name: "TTFT p99 [s]", column: "ttft_p99_s", text: |v| short(v, 3) },
    Measure { name: "TPOT p95 [ms]", column: "tpot_p95_s", text: |v| short(v * 1e3, 1) },
    Measure { name: "replicas, mean", column: "replicas_mean", text: |v| short(v, 2) },
    Measure { name: "replicas, most", column: "replicas_max", text: count },
    Measure { name: "GPU hours", column: "gpu_hours", text: |v| short(v, 1) },
    Measure { name: "GPU time idle", column: "gpu_idle_ratio", text: share },
    Measure { name: "scale-ups", column: "scale_ups", text: count },
    Measure { name: "scale-downs", column: "scale_downs", text: count },
    Measure { name: "flaps", column: "flaps", text: count },
    Measure { name: "requests failed", column: "requests_failed", text: count },
];

impl<S> Page<'_, S> {
    pub(super) fn render(&self) -> String {
        let mut page = String::new();
        let out = &mut page;
        let name = escaped(&self.provenance.experiment);
        let _ = writeln!(
            out,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{name}: autoscaling report</title>\n<style>\n{PAGE_STYLE}{STYLE}</style>\n</head>\n<body>\n\
             <h1>{name}</h1>"
        );
        let links = [
            ("front", "Cost and SLO", !self.pareto.is_empty()),
            ("surface", "Response surface", !self.surfaces.is_empty()),
            ("time", "Over time", !self.timelines.is_empty()),
            ("assumptions", "Assumptions", true),
            ("origin", "Origin", true),
        ];
        out.push_str("<nav>");
        for (id, text, _) in links.iter().filter(|(_, _, there)| *there) {
            let _ = write!(out, "<a href=\"#{id}\">{text}</a>");
        }
        out.push_str("</nav>\n");
        self.recommendation(out);
        self.front(out);
        self.surface(out);
        self.over_time(out);
        self.assumptions(out);
        self.origin(out);
        out.push_str("</body>\n</html>\n");
        page
    }

    /// The answer, what to know before applying it, and what it is an answer to.
    fn recommendation(&self, out: &mut String) {
        match self.result.recommended {
            Some(index) => self.recommended(out, index),
            None => self.not_recommended(out),
        }
        for warning in self.warnings {
            let _ = writeln!(out, "<p class=\"warn\">{}</p>", marked_up(&warning.text));
        }
        self.question(out);
        self.figures(out);
    }

    fn recommended(&self, out: &mut String, index: usize) {
        let case = &self.plan.cases[index];
        let _ = writeln!(
            out,
            "<div class=\"lead\"><p>Recommended: case <b class=\"id\">{}</b>. It meets the SLO for {} of requests \
             at {} USD; no case that holds at the lower bound of {} % confidence is cheaper.</p>",
            escaped(&case.id),
            self.met(index),
            self.cost(index),
            self.confidence()
        );
        out.push_str("<table>\n");
        for key in self.plan.knob_keys() {
            if !case.knob(key).is_empty() {
                let (key, value) = (escaped(key), escaped(case.knob(key)));
                let _ = writeln!(out, "<tr><th>{key}</th><td class=\"id\">{value}</td></tr>");
            }
        }
        out.push_str("</table>\n");
        let _ = writeln!(out, "<p>{}</p></div>", self.savings(index));
    }

    fn not_recommended(&self, out: &mut String) {
        let best = self.shown.iter().find(|(role, _)| *role == Role::Nearest);
        let best = best.map_or_else(
            || "No case has all its replications.".to_owned(),
            |&(_, index)| {
                format!(
                    "The nearest is <b class=\"id\">{}</b> ({}) with {} at {} USD. Hint: {}.",
                    escaped(&self.plan.cases[index].id),
                    escaped(&knobs_of(self.plan, &self.plan.cases[index])),
                    self.met(index),
                    self.cost(index),
                    marked_up(way_out(self.plan, self.result, index))
                )
            },
        );
        let _ = writeln!(
            out,
            "<div class=\"lead none\"><p>No recommendation: no case meets the SLO for {} of requests at the \
             lower bound of {} % confidence. {best}</p></div>",
            percent(self.plan.objective.attainment),
            self.confidence()
        );
    }

    /// What was simulated, under which prices and for which objective.
    fn question(&self, out: &mut String) {
        out.push_str("<table>\n");
        let heading = [
            ("Workload", &self.heading.workload),
            ("SLO", &self.heading.slo),
            ("Prices", &self.heading.price),
            ("GPU profile", &self.heading.profile),
        ];
        for (what, text) in heading.into_iter().filter(|(_, text)| !text.is_empty()) {
            let _ = writeln!(out, "<tr><th>{what}</th><td>{}</td></tr>", escaped(text));
        }
        let _ = writeln!(
            out,
            "<tr><th>Simulated</th><td>{} with {} each, every replication a new draw of load and delays</td></tr>\n</table>",
            counted(self.plan.cases.len(), "case"),
            counted(self.plan.replications as usize, "replication")
        );
    }

    /// SLO attainment of a case with its interval.
    fn met(&self, index: usize) -> String {
        with_interval(&self.result.cases[index].measure("slo_attainment"), share)
    }

    /// Cost of a case with its interval \[USD\].
    fn cost(&self, index: usize) -> String {
        with_interval(&self.result.cases[index].measure("cost_usd"), |usd| short(usd, 2))
    }

    /// Level of the intervals \[%\].
    fn confidence(&self) -> f64 {
        (self.plan.confidence * 1000.0).round() / 10.0
    }

    fn savings(&self, index: usize) -> String {
        let Some(current) = self.plan.current else {
            return "Give the manifest in use today with <code>--current</code> to see what this saves.".to_owned();
        };
        if current == index {
            return "That is the present HPA: no case is cheaper within the SLO.".to_owned();
        }
        let Some(savings) = self.result.savings else { return String::new() };
        let present = self.result.cases[current].measure("slo_attainment").low_or_mean();
        let cheaper = savings.cost_usd.mean >= 0.0;
        let sign = if cheaper { 1.0 } else { -1.0 };
        let Interval { mean, low, high } = savings.cost_usd;
        let (low, high) = if cheaper { (low, high) } else { (-high, -low) };
        let amount = with_interval(&Interval { mean: mean * sign, low, high }, |usd| short(usd, 2));
        format!(
            "That is {amount} USD ({}) {} than the present HPA, which {} the SLO.",
            percent(savings.share.abs()),
            if cheaper { "less" } else { "more" },
            if present >= self.plan.objective.attainment { "meets" } else { "misses" },
        )
    }

    /// The shown cases side by side.
    fn figures(&self, out: &mut String) {
        if self.shown.is_empty() {
            return;
        }
        out.push_str("<div class=\"scroll\"><table>\n<tr><th></th>");
        for (role, index) in &self.shown {
            let id = escaped(&self.plan.cases[*index].id);
            let _ =
                write!(out, "<th class=\"n\">{} <span class=\"id\">{id}</span></th>", role.name());
        }
        out.push_str("</tr>\n");
        for measure in &MEASURES {
            let _ = write!(out, "<tr><th>{}</th>", measure.name);
            for (_, index) in &self.shown {
                // No measure is below zero, whatever a symmetric interval says.
                let mut value = self.result.cases[*index].measure(measure.column);
                if value.low < 0.0 {
                    value.low = 0.0;
                }
                let _ = write!(out, "<td class=\"n\">{}</td>", with_interval(&value, measure.text));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</table></div>\n");
    }

    fn front(&self, out: &mut String) {
        if self.pareto.is_empty() {
            return;
        }
        out.push_str("<h2 id=\"front\">Cost and SLO attainment</h2>\n");
        out.push_str(
            "<p>Each point is a case, the mean over its replications. Cases on the line are beaten by no other case in \
             both cost and attainment; bars are confidence intervals. Point at a marker to read it.</p>\n",
        );
        for figure in &self.pareto {
            chart(out, figure);
        }
        self.front_table(out);
    }

    fn front_table(&self, out: &mut String) {
        let plan = self.plan;
        let keys: Vec<&str> =
            plan.knob_keys().into_iter().filter(|key| varies(plan, key)).collect();
        let alignments: Vec<&str> = keys.iter().map(|key| alignment(plan, key)).collect();
        let columns: Vec<(&str, &str)> = keys.iter().copied().zip(alignments).collect();
        out.push_str("<details open><summary>The front in figures</summary>\n<div class=\"scroll\"><table>\n<tr><th>case</th>");
        for (key, alignment) in &columns {
            let _ = write!(out, "<th{alignment}>{}</th>", escaped(&heading_of(key, &keys)));
        }
        for name in ["SLO met [%]", "cost [USD]", "TTFT p95 [s]", "TPOT p95 [ms]", "replicas"] {
            let _ = write!(out, "<th class=\"n\">{name}</th>");
        }
        out.push_str("</tr>\n");
        let mut rows = self.result.pareto.clone();
        rows.extend(plan.current.filter(|current| !rows.contains(current)));
        let cost = |index: usize| self.result.cases[index].measure("cost_usd").mean;
        rows.sort_by(|&a, &b| cost(a).total_cmp(&cost(b)));
        for index in rows {
            self.front_row(out, index, &columns);
        }
        out.push_str("</table></div></details>\n<p class=\"note\">Every case is a row of cases.csv, every replication one of runs.csv.</p>\n");
    }

    /// `columns` are the keys with the alignment of their cells.
    fn front_row(&self, out: &mut String, index: usize, columns: &[(&str, &str)]) {
        let (case, figures) = (&self.plan.cases[index], &self.result.cases[index]);
        let (class, mark) = match Some(index) {
            it if it == self.result.recommended => (" class=\"pick\"", ", recommended"),
            it if it == self.plan.current => ("", ", present"),
            _ => ("", ""),
        };
        let id = escaped(&case.id);
        let _ = write!(out, "<tr{class}><td><span class=\"id\">{id}</span>{mark}</td>");
        for (key, alignment) in columns {
            // The parts of a metric's name in Cloud Monitoring are long and have no space between them.
            let value = escaped(&value_of(case, key)).replace('|', "|<wbr/>");
            let _ = write!(out, "<td{alignment}>{value}</td>");
        }
        let mean = |column: &str, factor: f64, decimals: usize| {
            short(figures.measure(column).mean * factor, decimals)
        };
        for cell in [
            self.met(index).replace(" %", ""),
            self.cost(index),
            mean("ttft_p95_s", 1.0, 2),
            mean("tpot_p95_s", 1e3, 1),
            mean("replicas_mean", 1.0, 2),
        ] {
            let _ = write!(out, "<td class=\"n\">{cell}</td>");
        }
        out.push_str("</tr>\n");
    }

    fn surface(&self, out: &mut String) {
        if self.surfaces.is_empty() {
            return;
        }
        out.push_str("<h2 id=\"surface\">Response surface</h2>\n<p>How attainment and cost follow the settings; bars are confidence intervals.</p>\n");
        for (figure, note) in &self.surfaces {
            chart(out, figure);
            if !note.is_empty() {
                let _ = writeln!(out, "<p class=\"note\">{}</p>", escaped(note));
            }
        }
    }

    fn over_time(&self, out: &mut String) {
        if self.timelines.is_empty() {
            return;
        }
        let column = self.column.as_ref().map_or(String::new(), |column| {
            format!(
                " A column of the charts covers {column}: load is its mean, replicas are those at its end, queue and TTFT its peak."
            )
        });
        let _ = writeln!(
            out,
            "<h2 id=\"time\">Over time</h2>\n<p>The first replication, warm-up included, the same load in each.{column} Load and \
             replicas have the same scale in all, queue and TTFT their own; the \
             TTFT is that of the requests that arrived in the minute and ends where none of them gets an answer.</p>"
        );
        for figure in &self.timelines {
            chart(out, figure);
        }
    }

    fn assumptions(&self, out: &mut String) {
        out.push_str("<h2 id=\"assumptions\">Assumptions in force</h2>\n");
        if !self.background.facts.is_empty() {
            out.push_str("<div class=\"scroll\"><table>\n");
            for fact in &self.background.facts {
                let _ = writeln!(
                    out,
                    "<tr><th>{}</th><td>{}</td><td class=\"note\">{}</td></tr>",
                    escaped(&fact.what),
                    escaped(&fact.value),
                    escaped(&fact.basis)
                );
            }
            out.push_str("</table></div>\n");
        }
        if !self.background.estimates.is_empty() {
            out.push_str(
                "<details><summary>Estimates of the model that these figures may rest on</summary>\n\
                 <p class=\"note\">Guesses without a measurement behind them; those of features that this experiment does not \
                 use are left out where that is known. Details in docs/model.md.</p>\n<div class=\"scroll\"><table>\n",
            );
            for estimate in &self.background.estimates {
                let _ = writeln!(
                    out,
                    "<tr><td class=\"id\">{}</td><td>{}</td><td>{}</td></tr>",
                    escaped(&estimate.tag),
                    escaped(&estimate.part),
                    escaped(&estimate.text)
                );
            }
            out.push_str("</table></div></details>\n");
        }
    }

    fn origin(&self, out: &mut String) {
        let origin = self.provenance;
        let _ = writeln!(
            out,
            "<h2 id=\"origin\">Origin</h2>\n<p>This command makes the same page again:</p>\n<p><code>{}</code></p>\n\
             <div class=\"scroll\"><table>\n<tr><th>hpasim</th><td>{}</td></tr>\n<tr><th>seed</th><td>{}</td></tr>\n\
             <tr><th>digest</th><td class=\"id\">{}</td></tr>",
            escaped(&origin.command),
            Provenance::VERSION,
            origin.seed,
            escaped(&origin.digest())
        );
        for (path, digest) in &origin.inputs {
            let (path, digest) = (escaped(path), escaped(digest));
            let _ = writeln!(out, "<tr><th>{path}</th><td class=\"id\">blake3:{digest}</td></tr>");
        }
        out.push_str("</table></div>\n");
    }
}

/// Numbers stand to the right, words to the left.
fn alignment<S>(plan: &Plan<S>, key: &str) -> &'static str {
    let mut values = plan.cases.iter().map(|case| case.knob(key)).filter(|value| !value.is_empty());
    if values.all(|value| number(value).is_some()) { " class=\"n\"" } else { "" }
}

/// A chart; where a screen is narrower than it can be read, it scrolls.
fn chart(out: &mut String, figure: &Figure) {
    let _ = writeln!(out, "<div class=\"scroll\">{}</div>", figure.inline());
}

/// Text with what stands between backticks as code.
fn marked_up(text: &str) -> String {
    let mut parts = text.split('`');
    let mut out = escaped(parts.next().unwrap_or(""));
    while let Some(part) = parts.next() {
        let part = escaped(part);
        match parts.next() {
            Some(after) => {
                let _ = write!(out, "<code>{part}</code>{}", escaped(after));
            }
            // A backtick without a partner is one.
            None => {
                let _ = write!(out, "`{part}");
            }
        }
    }
    out
}
