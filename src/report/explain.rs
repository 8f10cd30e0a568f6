//! One scale decision in Kubernetes' words: samples, ratio, tolerance, window, policies, limits, reasons.

use super::figures::{counted, short};
use crate::export::{
    DecisionLine, MetricLine, PolicyBudgetLine, PolicyLine, RecommendationLine, WindowLine,
};
use crate::units::{PS_PER_S, SimTime};
use std::fmt::Write as _;

/// Widest line of an explanation: longer ones are hard to read on any terminal.
pub(crate) const WIDTH: usize = 100;
/// Where the text of a labelled line starts.
const INDENT: usize = 16;
/// Recommendations that are listed one by one.
const MAX_RECOMMENDATIONS: usize = 8;

/// One decision, several lines of at most `width` columns (or 100), ending in a line feed.
pub fn decision_text(line: &DecisionLine, width: usize) -> String {
    let mut page = Page::new(width);
    let at = clock_s(line.t_s);
    let _ = match (line.scale_to, line.current_replicas) {
        (Some(to), from) => {
            writeln!(page.text, "{at}  {from} -> {to} replicas: {}", line.rescale_reason)
        }
        (None, from) => writeln!(page.text, "{at}  {} kept", counted_replicas(from)),
    };
    let mut reconcile = format!(
        "read at {} s, decided {} s later",
        decimals(line.t_s),
        decimals(line.decided_s - line.t_s)
    );
    if let Some(written) = line.written_s {
        let _ = write!(reconcile, ", scale written after {} s", decimals(written - line.t_s));
    }
    page.labelled("reconcile", &reconcile);
    if line.metrics.is_empty() {
        page.labelled("metrics", &format!("not asked for (branch {})", line.branch));
    }
    for (i, metric) in line.metrics.iter().enumerate() {
        let wins = line.metrics.len() > 1 && line.chosen_metric == Some(i);
        metric_text(&mut page, metric, wins);
    }
    if let Some(proposed) = line.proposed_replicas {
        window_text(&mut page, &line.window, line, proposed);
        policy_text(&mut page, line.policy.as_ref(), line);
        limit_text(&mut page, line);
    }
    page.labelled("desired", &counted_replicas(line.desired_replicas));
    for condition in &line.conditions {
        let words = format!(
            "{} {} {}: {}",
            condition.r#type, condition.status, condition.reason, condition.message
        );
        page.labelled("condition", &words);
    }
    if let Some(event) = &line.event {
        page.labelled("event", &format!("{} {}: {}", event.r#type, event.reason, event.message));
    }
    page.text
}

/// A decision that a window or a limit held, in one line without its time.
pub fn held_text(line: &DecisionLine) -> String {
    let proposed = line.proposed_replicas.unwrap_or(line.current_replicas);
    let stabilized = line.stabilized_replicas.unwrap_or(proposed);
    let kept = line.limited_replicas.unwrap_or(line.current_replicas);
    let limited = line.conditions.iter().find(|c| c.r#type == "ScalingLimited");
    // What a limit cuts from the window's recommendation it would have cut from the proposal.
    let by_window = stabilized.cmp(&kept) != proposed.max(0).cmp(&kept);
    let holder = line.window.reason.as_ref().filter(|_| by_window).or(limited);
    let (reason, message) = holder.map_or(("", ""), |c| (&c.reason, &c.message));
    format!(
        "{} kept though {proposed} proposed, from here on: {reason}: {message}",
        counted_replicas(line.current_replicas)
    )
}

/// Lines of an event log under a heading, each behind its time, at most `width` columns wide (or 100).
pub fn events_text(heading: &str, events: &[(SimTime, String)], width: usize) -> String {
    let mut page = Page::new(width);
    let _ = writeln!(page.text, "{heading}");
    for (at, words) in events {
        page.labelled(&clock(*at), words);
    }
    page.text
}

fn metric_text(page: &mut Page, metric: &MetricLine, wins: bool) {
    let wins = if wins { ", the highest proposal" } else { "" };
    let head = format!(
        "{} ({}), target {} ({}){wins}",
        metric.name, metric.r#type, metric.target, metric.target_type
    );
    page.labelled("metric", &head);
    let mut samples = Vec::new();
    for sample in &metric.samples {
        let mut words = match (sample.value, sample.age_s) {
            (Some(value), Some(age)) => {
                format!("{} {} ({} s old)", sample.pod, trimmed(value), short(age, 1))
            }
            _ => format!("{} no sample", sample.pod),
        };
        if !matches!(sample.counted.as_str(), "ready" | "sum") {
            let _ = write!(words, " [{}]", sample.counted);
        }
        samples.push(words);
    }
    if !samples.is_empty() {
        page.labelled("  samples", &samples.join(", "));
    }
    let classified =
        metric.pods_ready + metric.pods_unready + metric.pods_missing + metric.pods_ignored;
    if classified > 0 {
        let words = format!(
            "{} ready, {} unready (pending), {} missing (no sample), {} ignored (terminating)",
            metric.pods_ready, metric.pods_unready, metric.pods_missing, metric.pods_ignored
        );
        page.labelled("  pods", &words);
    }
    if let Some(failure) = &metric.failure {
        page.labelled("  failure", failure);
    }
    if let (Some(usage_ratio), Some(ratio)) = (metric.usage_ratio, metric.final_ratio) {
        let usage = metric.usage.as_deref().unwrap_or("-");
        let mut words =
            format!("usage {usage} / target {} = {}", metric.target, trimmed(usage_ratio));
        if usage_ratio.total_cmp(&ratio).is_ne() {
            let how = if usage_ratio > 1.0 { "0" } else { "their target" };
            let _ = write!(words, "; with missing and pending pods at {how}: {}", trimmed(ratio));
        }
        page.labelled("  ratio", &words);
        let (low, high) = (trimmed(metric.tolerance_low), trimmed(metric.tolerance_high));
        let words = if metric.within_tolerance {
            format!("{} lies within {low} to {high}: no change", trimmed(ratio))
        } else {
            format!("{} lies outside {low} to {high}", trimmed(ratio))
        };
        page.labelled("  tolerance", &words);
    }
    if let Some(proposal) = metric.proposal {
        page.labelled("  proposal", &counted_replicas(proposal));
    }
}

fn window_text(page: &mut Page, window: &WindowLine, line: &DecisionLine, proposed: i32) {
    let mut parts = Vec::new();
    if let Some(floor) = window.scale_up_floor {
        let up = trimmed(window.scale_up_s);
        parts.push(format!("scaleUp {up} s, lowest recommendation {floor}"));
    }
    if let Some(ceiling) = window.scale_down_ceiling {
        let down = trimmed(window.scale_down_s);
        parts.push(format!("scaleDown {down} s, highest recommendation {ceiling}"));
    }
    page.labelled("window", &parts.join("; "));
    let one = |r: &RecommendationLine| {
        let held = if r.held { " [held]" } else { "" };
        format!("{} ({} s ago){held}", r.replicas, short(r.age_s, 1))
    };
    let list = &window.recommendations;
    let mut words: Vec<String> = list.iter().take(MAX_RECOMMENDATIONS).map(one).collect();
    if let Some(rest) = list.get(MAX_RECOMMENDATIONS..).filter(|rest| !rest.is_empty()) {
        words.extend(rest.iter().filter(|r| r.held).map(one));
        let lowest = rest.iter().map(|r| r.replicas).min().unwrap_or_default();
        let highest = rest.iter().map(|r| r.replicas).max().unwrap_or_default();
        let oldest = rest.last().map_or(0.0, |r| r.age_s);
        words.push(format!(
            "{} more of {lowest} to {highest} back to {} s ago",
            rest.len(),
            short(oldest, 1)
        ));
    }
    page.labelled("  contents", &words.join(", "));
    let stabilized = line.stabilized_replicas.unwrap_or(proposed);
    let mut words = format!("{proposed} -> {stabilized}");
    if let Some(reason) = window.reason.as_ref().filter(|_| stabilized != proposed.max(0)) {
        let _ = write!(words, ", {}: {}", reason.reason, reason.message);
    }
    page.labelled("  stabilised", &words);
}

fn policy_text(page: &mut Page, policy: Option<&PolicyLine>, line: &DecisionLine) {
    let Some(policy) = policy else {
        let words = if line.stabilized_replicas == Some(line.current_replicas) {
            "none asked: no change is wanted"
        } else {
            "without behavior a scale-down has no rate limit"
        };
        page.labelled("policy", words);
        return;
    };
    let limit = policy.limit.map_or("-".to_owned(), |limit| limit.to_string());
    if policy.select_policy.is_empty() {
        let words =
            format!("without behavior: at most max(2 x {}, 4) = {limit}", line.current_replicas);
        page.labelled("policy", &words);
        return;
    }
    let words = format!("{} selectPolicy {}: {limit}", policy.direction, policy.select_policy);
    page.labelled("policy", &words);
    for budget in &policy.policies {
        page.labelled("  ", &budget_words(budget));
    }
}

fn budget_words(budget: &PolicyBudgetLine) -> String {
    let unit = if budget.r#type == "Percent" { " %" } else { "" };
    let events: Vec<String> = budget
        .events
        .iter()
        .map(|event| format!("{:+} ({} s ago)", event.change, short(event.age_s, 1)))
        .collect();
    let consumed = if events.is_empty() {
        "no scale event in the period".to_owned()
    } else {
        format!("consumed by {}", events.join(", "))
    };
    format!(
        "{} {}{unit} per {} s from {}: {}; {consumed}",
        budget.r#type,
        budget.value,
        trimmed(budget.period_s),
        counted_replicas(budget.start_replicas),
        budget.limit,
    )
}

fn limit_text(page: &mut Page, line: &DecisionLine) {
    let stabilized = line.stabilized_replicas.unwrap_or_default();
    let limited = line.limited_replicas.unwrap_or(stabilized);
    let reason = line.conditions.iter().find(|c| c.r#type == "ScalingLimited");
    let reason = reason.map_or(String::new(), |c| format!(", {}", c.reason));
    let words = format!(
        "min {}, max {}: {stabilized} -> {limited}{reason}",
        line.min_replicas, line.max_replicas
    );
    page.labelled("limit", &words);
}

/// One row of `decisions.csv` in words, in lines of at most `width` columns (or 100). `cells` are pairs of a column's
/// name and its cell.
pub fn reconcile_text(cells: &[(&str, &str)], width: usize) -> String {
    let cell = |name: &str| {
        let found = cells.iter().find(|(column, _)| *column == name).map(|c| c.1);
        found.filter(|text| !text.is_empty()).unwrap_or("-")
    };
    let mut page = Page::new(width);
    let at = cell("t_s").parse().unwrap_or(f64::NAN);
    let current = cell("current_replicas");
    let _ = match cell("scale_to") {
        "-" => writeln!(page.text, "{}  {} kept", clock_s(at), {
            current.parse().map_or("replicas".to_owned(), counted_replicas)
        }),
        to => {
            writeln!(
                page.text,
                "{}  {current} -> {to} replicas: {}",
                clock_s(at),
                cell("rescale_reason")
            )
        }
    };
    let names = cells.iter().filter_map(|(column, _)| column.strip_suffix(".proposal"));
    for name in names {
        let part = |part: &str| cell(&format!("{name}.{part}")).to_owned();
        let pods = format!(
            "{} ready, {} unready, {} missing, {} ignored",
            part("pods_ready"),
            part("pods_unready"),
            part("pods_missing"),
            part("pods_ignored")
        );
        let words = match part("failure").as_str() {
            "-" => format!(
                "{name}: value {}, ratio {}, proposal {} ({pods})",
                part("value"),
                part("ratio"),
                part("proposal")
            ),
            failure => format!("{name}: no proposal, {failure}"),
        };
        page.labelled("metric", &words);
    }
    let chain = format!(
        "proposed {}, stabilised by the windows to {}, limited by policies, min and max to {}, desired {}",
        cell("proposed_replicas"),
        cell("stabilized_replicas"),
        cell("limited_replicas"),
        cell("desired_replicas")
    );
    page.labelled("chain", &chain);
    for (column, kind) in [
        ("able_to_scale", "AbleToScale"),
        ("scaling_active", "ScalingActive"),
        ("scaling_limited", "ScalingLimited"),
    ] {
        if cell(column) != "-" {
            let words = format!("{kind} {} {}", cell(column), cell(&format!("{column}_reason")));
            page.labelled("condition", &words);
        }
    }
    page.text
}

/// Text in lines of a certain width.
pub(crate) struct Page {
    pub(crate) text: String,
    width: usize,
}

impl Page {
    /// An empty page, `width` columns wide but not more than [`WIDTH`].
    pub(crate) fn new(width: usize) -> Self {
        Self { text: String::new(), width: width.min(WIDTH) }
    }

    /// A line of an explanation: its label, and its words behind it.
    fn labelled(&mut self, label: &str, words: &str) {
        self.labelled_in(&format!("  {label}"), INDENT, words);
    }

    /// `words` from column `indent` on, behind `label`, broken at spaces so that no line is wider than the page
    /// if words allow it.
    pub(crate) fn labelled_in(&mut self, label: &str, indent: usize, words: &str) {
        let mut line = format!("{label:<indent$}");
        let mut used = line.chars().count();
        let mut fresh = true;
        for word in words.split(' ') {
            let length = word.chars().count();
            if !fresh && used + 1 + length > self.width {
                let _ = writeln!(self.text, "{}", line.trim_end());
                line = " ".repeat(indent);
                (used, fresh) = (indent, true);
            }
            if !fresh {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
            fresh = false;
        }
        let _ = writeln!(self.text, "{}", line.trim_end());
    }
}

fn counted_replicas(count: i32) -> String {
    if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") }
}

/// `3 scale decisions` and the like.
pub fn explained_count(decisions: usize) -> String {
    counted(decisions, "scale decision")
}

/// At most three decimals, without trailing zeros.
fn trimmed(value: f64) -> String {
    let text = decimals(value);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn decimals(value: f64) -> String {
    format!("{value:.3}")
}

fn clock_s(seconds: f64) -> String {
    clock(SimTime::from_ps((seconds * PS_PER_S as f64) as u64))
}

/// `27:03:15` since the start, whole seconds.
pub(crate) fn clock(at: SimTime) -> String {
    let seconds = at.as_ps() / PS_PER_S;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_wrap_behind_their_label() {
        for (width, widest) in [(60, 60), (100, WIDTH), (200, WIDTH)] {
            let mut page = Page::new(width);
            page.labelled("samples", &"pod-10 3 (1 s old), ".repeat(12));
            let text = page.text;
            assert!(text.lines().all(|line| line.len() <= widest), "{text}");
            assert!(text.lines().any(|line| line.len() + 8 > widest), "{text}");
            let indent = " ".repeat(INDENT);
            assert!(text.lines().skip(1).all(|line| line.starts_with(&indent)), "{text}");
        }
    }

    #[test]
    fn a_reconcile_that_kept_the_scale_reads_in_words() {
        let cells = [
            ("t_s", "3675.25"),
            ("current_replicas", "3"),
            ("m.value", "4.9"),
            ("m.ratio", "0.98"),
            ("m.proposal", "3"),
            ("m.pods_ready", "3"),
            ("m.pods_unready", "0"),
            ("m.pods_missing", "0"),
            ("m.pods_ignored", "0"),
            ("m.failure", ""),
            ("proposed_replicas", "3"),
            ("stabilized_replicas", "3"),
            ("limited_replicas", "3"),
            ("desired_replicas", "3"),
            ("scale_to", ""),
            ("able_to_scale", "True"),
            ("able_to_scale_reason", "ReadyForNewScale"),
        ];
        assert_eq!(
            reconcile_text(&cells, WIDTH),
            "\
01:01:15  3 replicas kept
  metric        m: value 4.9, ratio 0.98, proposal 3 (3 ready, 0 unready, 0 missing, 0 ignored)
  chain         proposed 3, stabilised by the windows to 3, limited by policies, min and max to 3,
                desired 3
  condition     AbleToScale True ReadyForNewScale
"
        );
    }
}
