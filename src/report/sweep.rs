//! What a sweep prints: the workload, the Pareto front, the recommendation, what it saves.

use super::figures::{count, counted, percent, share, short, with_interval};
use super::text_table::{Align, narrowest, text_table};
use crate::manifest::plain_metric_name;
use crate::sim::Measures;
use crate::sweep::{Case, CaseResult, Plan, SweepResult};
use std::fmt::Write as _;

/// Rows of the Pareto table; the whole front is in `cases.csv`.
const MAX_ROWS: usize = 12;

/// What the tables say about the experiment besides its results.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heading {
    /// The load in one line: kind, mean rate, lengths, duration.
    pub workload: String,
    /// The objectives as a person writes them: `TTFT <= 2s and TPOT <= 100ms for 99 %`.
    pub slo: String,
    /// The price of a node and where it comes from.
    pub price: String,
    /// That the GPU profile is an estimate, and how good; empty if a file states it.
    pub profile: String,
    /// Width of the terminal in columns.
    pub width: usize,
}

/// The summary of a finished sweep, ending in a line feed.
pub fn sweep_summary<S>(plan: &Plan<S>, result: &SweepResult, heading: &Heading) -> String {
    let mut text = String::new();
    let out = &mut text;
    let _ = writeln!(out, "workload: {}", heading.workload);
    let _ = writeln!(out, "SLO:      {}", heading.slo);
    let _ = writeln!(out, "prices:   {}", heading.price);
    if !heading.profile.is_empty() {
        let _ = writeln!(out, "profile:  {}", heading.profile);
    }
    let _ = writeln!(
        out,
        "{} x {}; no cheaper case meets the SLO more often than these:\n",
        counted(plan.cases.len(), "case"),
        counted(plan.replications as usize, "replication"),
    );
    out.push_str(&pareto_table(plan, result, heading.width));
    out.push('\n');
    match result.recommended {
        Some(index) => recommendation(out, plan, result, index),
        None => no_recommendation(out, plan, result),
    }
    text
}

/// The front, cut to [`MAX_ROWS`] rows that keep the recommended and the present case, and the cheapest case
/// of each metric that holds.
fn pareto_table<S>(plan: &Plan<S>, result: &SweepResult, width: usize) -> String {
    let mut shown = around(&result.pareto, result.recommended, MAX_ROWS);
    let best = best_of_each_metric(plan, result);
    for extra in [result.recommended, plan.current].into_iter().flatten().chain(best) {
        if !shown.contains(&extra) {
            shown.push(extra);
        }
    }
    let cost = |index: usize| result.cases[index].measure("cost_usd").mean;
    shown.sort_by(|&a, &b| cost(a).total_cmp(&cost(b)));

    let keys: Vec<&str> = plan.knob_keys().into_iter().filter(|key| varies(plan, key)).collect();
    // As many figures as fit; those that decide stay.
    let (columns, rows) = (0..=LEAST_IMPORTANT)
        .rev()
        .map(|importance| table_of(plan, result, &shown, &keys, importance))
        .find(|(columns, rows)| narrowest(columns, rows) <= width)
        .unwrap_or_else(|| table_of(plan, result, &shown, &keys, 0));
    let mut table = text_table(&columns, &rows, width);
    let left_out = result.pareto.iter().filter(|index| !shown.contains(index)).count();
    if left_out > 0 {
        let _ = writeln!(table, "  and {left_out} more on the front, in cases.csv");
    }
    let marks = [(">", "recommended"), ("=", "the present HPA"), ("+", "cheapest of its metric")];
    let used = marks.iter().filter(|(mark, _)| rows.iter().any(|row| row[0] == *mark));
    let legend: Vec<String> = used.map(|(mark, meaning)| format!("{mark} {meaning}")).collect();
    if !legend.is_empty() {
        let _ = writeln!(table, "  {}", legend.join("   "));
    }
    table
}

/// Columns and rows of the `shown` cases, with the figures up to an importance.
fn table_of<S>(
    plan: &Plan<S>,
    result: &SweepResult,
    shown: &[usize],
    keys: &[&str],
    importance: u8,
) -> (Vec<(String, Align)>, Vec<Vec<String>>) {
    let mut columns: Vec<(String, Align)> = vec![left(""), left("case")];
    columns.extend(keys.iter().map(|key| (heading_of(key, keys), side_of(plan, key))));
    let figures: Vec<&Figure> = FIGURES.iter().filter(|f| f.importance <= importance).collect();
    columns.extend(figures.iter().map(|figure| (figure.heading.to_owned(), Align::Right)));
    let rows = shown
        .iter()
        .map(|&index| {
            let mark = match index {
                _ if result.recommended == Some(index) => ">",
                _ if plan.current == Some(index) => "=",
                _ if !result.pareto.contains(&index) => "+",
                _ => "",
            };
            let mut row = vec![mark.to_owned(), plan.cases[index].id.clone()];
            row.extend(keys.iter().map(|key| value_of(&plan.cases[index], key)));
            row.extend(figures.iter().map(|figure| (figure.text)(&result.cases[index])));
            row
        })
        .collect();
    (columns, rows)
}

/// Names stand on the left, numbers on the right.
fn side_of<S>(plan: &Plan<S>, key: &str) -> Align {
    let number = |case: &Case<S>| !case.knob(key).starts_with(|c: char| c.is_alphabetic());
    if plan.cases.iter().all(number) { Align::Right } else { Align::Left }
}

/// For each value of the key `metric`, the cheapest case whose attainment holds.
fn best_of_each_metric<S>(plan: &Plan<S>, result: &SweepResult) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::new();
    let cost = |index: usize| result.cases[index].measure("cost_usd").mean;
    for index in 0..plan.cases.len() {
        let metric = plan.cases[index].knob("metric");
        let attainment = result.cases[index].measure("slo_attainment").low_or_mean();
        if metric.is_empty()
            || !result.cases[index].is_complete()
            || attainment < plan.objective.attainment
        {
            continue;
        }
        match best.iter_mut().find(|other| plan.cases[**other].knob("metric") == metric) {
            Some(other) if cost(index) < cost(*other) => *other = index,
            Some(_) => {}
            None => best.push(index),
        }
    }
    best
}

/// At most `count` entries of `front`, those around `centre`.
fn around(front: &[usize], centre: Option<usize>, count: usize) -> Vec<usize> {
    let at = front.iter().position(|index| Some(*index) == centre).unwrap_or(front.len());
    let start = at.saturating_sub(count / 2).min(front.len().saturating_sub(count));
    front.iter().skip(start).take(count).copied().collect()
}

/// One figure of a case in the table.
struct Figure {
    heading: &'static str,
    /// Narrow tables leave out the figures with the highest number.
    importance: u8,
    text: fn(&CaseResult) -> String,
}

/// The figures that are left out first.
const LEAST_IMPORTANT: u8 = 4;

const FIGURES: [Figure; 7] = [
    Figure {
        heading: "SLO met",
        importance: 0,
        text: |case| share(case.measure("slo_attainment").mean),
    },
    Figure {
        heading: "at least",
        importance: 1,
        text: |case| share(case.measure("slo_attainment").low_or_mean()),
    },
    Figure {
        heading: "cost USD",
        importance: 0,
        text: |case| short(case.measure("cost_usd").mean, 2),
    },
    Figure {
        heading: "TTFT p95 s",
        importance: 0,
        text: |case| short(case.measure("ttft_p95_s").mean, 2),
    },
    Figure {
        heading: "TPOT p95 ms",
        importance: 3,
        text: |case| short(case.measure("tpot_p95_s").mean * 1000.0, 1),
    },
    Figure {
        heading: "replicas",
        importance: 2,
        text: |case| short(case.measure("replicas_mean").mean, 2),
    },
    Figure { heading: "max", importance: 4, text: |case| count(case.measure("replicas_max").mean) },
];

fn recommendation<S>(out: &mut String, plan: &Plan<S>, result: &SweepResult, index: usize) {
    let (case, figures) = (&plan.cases[index], &result.cases[index]);
    let level = (plan.confidence * 1000.0).round() / 10.0;
    let _ = writeln!(out, "recommended: {} ({level} % confidence)", case.id);
    for key in plan.knob_keys() {
        if !case.knob(key).is_empty() {
            let _ = writeln!(out, "  {key} = {}", case.knob(key));
        }
    }
    let met = with_interval(&figures.measure("slo_attainment"), share);
    let cost = with_interval(&figures.measure("cost_usd"), |usd| short(usd, 2));
    let ttft = with_interval(&figures.measure("ttft_p95_s"), |s| short(s, 2));
    let _ = writeln!(out, "  SLO met    {met}\n  cost       {cost} USD\n  TTFT p95   {ttft} s");
    let Some(current) = plan.current else { return };
    let present = result.cases[current].measure("slo_attainment").low_or_mean();
    if current == index {
        out.push_str("  that is the present HPA: no case is cheaper within the SLO\n");
    } else if let Some(savings) = result.savings {
        let (verb, sign) =
            if savings.cost_usd.mean >= 0.0 { ("saves", 1.0) } else { ("costs", -1.0) };
        let mut interval = savings.cost_usd;
        if sign < 0.0 {
            (interval.low, interval.high) = (interval.high, interval.low);
        }
        let _ = writeln!(
            out,
            "  {verb} {} USD, {} {}than the present HPA, which {} the SLO",
            with_interval(&interval, |usd| short(usd * sign, 2)),
            percent(savings.share.abs()),
            if sign > 0.0 { "less " } else { "more " },
            if present >= plan.objective.attainment { "meets" } else { "misses" },
        );
    }
}

fn no_recommendation<S>(out: &mut String, plan: &Plan<S>, result: &SweepResult) {
    let wanted = percent(plan.objective.attainment);
    let Some(best) = nearest(result) else {
        let _ = writeln!(out, "no recommendation: no case has all its replications");
        return;
    };
    let _ = writeln!(
        out,
        "no case meets the SLO for {wanted} of requests with confidence; the nearest is {}{} with {}",
        plan.cases[best].id,
        in_brackets(&knobs_of(plan, &plan.cases[best])),
        with_interval(&result.cases[best].measure("slo_attainment"), share),
    );
    let _ = writeln!(out, "hint: {}", way_out(plan, result, best));
}

/// ` (text)`, or nothing.
fn in_brackets(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

/// What may help where no case meets the SLO with confidence, `best` coming nearest.
pub(super) fn way_out<S>(plan: &Plan<S>, result: &SweepResult, best: usize) -> &'static str {
    if result.cases[best].measure("slo_attainment").mean >= plan.objective.attainment {
        "its mean meets it: more `sweep.replications` narrow the interval"
    } else {
        "raise `hpa.max_replicas`, lower the targets, or relax `slo`"
    }
}

/// Of the front, the case whose attainment is highest at the lower confidence bound.
pub(super) fn nearest(result: &SweepResult) -> Option<usize> {
    let bound = |index: usize| result.cases[index].measure("slo_attainment").low_or_mean();
    result.pareto.iter().copied().max_by(|&a, &b| bound(a).total_cmp(&bound(b)))
}

/// Cost and attainment in a few words, for progress: `86.4 USD, SLO 98.51 %`.
pub fn progress_text(measures: &Measures) -> String {
    format!("{} USD, SLO {}", short(measures.cost_usd, 2), percent(measures.slo_attainment))
}

/// The case's varied keys in one line, with full key names.
pub(super) fn knobs_of<S>(plan: &Plan<S>, case: &Case<S>) -> String {
    let knobs: Vec<String> = plan
        .knob_keys()
        .into_iter()
        .filter(|key| !case.knob(key).is_empty())
        .map(|key| format!("{key} = {}", case.knob(key)))
        .collect();
    knobs.join(", ")
}

pub(super) fn varies<S>(plan: &Plan<S>, key: &str) -> bool {
    plan.cases.iter().any(|case| case.knob(key) != plan.cases[0].knob(key))
}

/// A case's value in the table; metric names go without their `vllm:` prefix and their adapter's form.
pub(super) fn value_of<S>(case: &Case<S>, key: &str) -> String {
    let value = case.knob(key);
    let value = plain_metric_name(value).unwrap_or(value);
    value.strip_prefix("vllm:").unwrap_or(value).to_owned()
}

/// The last words of a key that tell it from the other keys: `scale_down stabilization_window_seconds`.
pub(super) fn heading_of(key: &str, keys: &[&str]) -> String {
    let words: Vec<&str> = key.split('.').collect();
    for take in 1..words.len() {
        let tail = &words[words.len() - take..];
        let alike = |other: &&&str| {
            let other: Vec<&str> = other.split('.').collect();
            other.ends_with(tail)
        };
        if keys.iter().filter(alike).count() == 1 {
            return spoken(&tail.join(" "));
        }
    }
    spoken(key)
}

/// A key as a person says it, shorter where the field has a short word.
fn spoken(key: &str) -> String {
    key.replace("stabilization_window_seconds", "window s").replace(['.', '_'], " ")
}

fn left(name: &str) -> (String, Align) {
    (name.to_owned(), Align::Left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;
    use crate::sweep::{Objective, Outcome, Unit};

    const WINDOW: &str = "hpa.behavior.scale_down.stabilization_window_seconds";

    /// `cases[i]` = (target, cost and attainment of each replication).
    fn swept(cases: &[(&str, &[(f64, f64)])], current: Option<usize>) -> (Plan<()>, SweepResult) {
        let case = |index: usize, target: &str| Case {
            id: format!("c{index:03}"),
            knobs: vec![
                ("metric".into(), "vllm:num_requests_waiting".into()),
                ("target".into(), target.into()),
                (WINDOW.into(), "300".into()),
            ],
            scenario: (),
            digest: String::new(),
        };
        let plan = Plan {
            cases: cases.iter().enumerate().map(|(i, (target, _))| case(i, target)).collect(),
            replications: cases[0].1.len() as u32,
            confidence: 0.95,
            seed: Seed(1),
            objective: Objective { attainment: 0.99 },
            current,
        };
        let outcomes = cases.iter().enumerate().flat_map(|(case, (_, runs))| {
            runs.iter().zip(0..).map(move |(&(cost_usd, slo_attainment), replication)| {
                let measures = Measures {
                    cost_usd,
                    slo_attainment,
                    ttft_p95_s: 0.8127,
                    tpot_p95_s: 0.0561,
                    replicas_mean: 2.314,
                    replicas_max: 5.0,
                    ..Measures::default()
                };
                (Unit { case, replication }, Some(Outcome::Done(measures)))
            })
        });
        let result = SweepResult::of(&plan, outcomes);
        (plan, result)
    }

    fn heading(width: usize) -> Heading {
        Heading {
            workload: "poisson, 2 requests/s".to_owned(),
            slo: "TTFT <= 2s".to_owned(),
            price: "1 USD/h".to_owned(),
            profile: String::new(),
            width,
        }
    }

    #[test]
    fn summary_reads_well() {
        let cases: [(&str, &[(f64, f64)]); 3] = [
            ("21", &[(50.0, 0.97), (52.0, 0.975)]),
            ("13", &[(60.0, 0.994), (62.0, 0.994)]),
            ("2", &[(90.0, 1.0), (94.0, 1.0)]),
        ];
        let (plan, result) = swept(&cases, Some(2));
        assert_eq!(
            sweep_summary(&plan, &result, &heading(100)),
            "\
workload: poisson, 2 requests/s
SLO:      TTFT <= 2s
prices:   1 USD/h
3 cases x 2 replications; no cheaper case meets the SLO more often than these:

   case  target   SLO met  at least  cost USD  TTFT p95 s  TPOT p95 ms  replicas  max
   c000      21   97.25 %   94.07 %      51.0        0.81         56.1      2.31    5
>  c001      13   99.40 %   99.40 %      61.0        0.81         56.1      2.31    5
=  c002       2  100.00 %  100.00 %      92.0        0.81         56.1      2.31    5
  > recommended   = the present HPA

recommended: c001 (95 % confidence)
  metric = vllm:num_requests_waiting
  target = 13
  hpa.behavior.scale_down.stabilization_window_seconds = 300
  SLO met    99.40 %
  cost       61.0 (48.3 to 73.7) USD
  TTFT p95   0.81 s
  saves 31.0 (18.3 to 43.7) USD, 33.69 % less than the present HPA, which meets the SLO
"
        );
    }

    #[test]
    fn each_metric_shows_its_cheapest_case() {
        let cases: [(&str, &[(f64, f64)]); 4] = [
            ("21", &[(50.0, 1.0)]),
            ("13", &[(60.0, 0.999)]),
            ("8", &[(55.0, 0.999)]),
            ("5", &[(52.0, 0.5)]),
        ];
        let (mut plan, result) = swept(&cases, None);
        for case in &mut plan.cases[1..] {
            case.knobs[0].1 = "vllm:num_requests_running".into();
        }
        let table = pareto_table(&plan, &result, 100);
        assert!(table.contains(">  c000"), "{table}");
        assert!(table.contains("+  c002"), "the cheapest that holds: {table}");
        assert!(!table.contains("c001") && !table.contains("c003"), "{table}");
        assert!(table.ends_with("  > recommended   + cheapest of its metric\n"), "{table}");
    }

    #[test]
    fn a_dearer_recommendation_says_so() {
        let cases: [(&str, &[(f64, f64)]); 2] =
            [("21", &[(50.0, 0.5), (50.0, 0.5)]), ("2", &[(75.0, 1.0), (75.0, 1.0)])];
        let (plan, result) = swept(&cases, Some(0));
        let text = sweep_summary(&plan, &result, &heading(100));
        assert!(
            text.contains(
                "  costs 25.0 USD, 50.00 % more than the present HPA, which misses the SLO\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn without_recommendation_the_best_is_named() {
        let cases: [(&str, &[(f64, f64)]); 2] = [("21", &[(50.0, 0.5)]), ("2", &[(75.0, 0.9)])];
        let (plan, result) = swept(&cases, None);
        let text = sweep_summary(&plan, &result, &heading(100));
        assert!(
            text.contains("the nearest is c001 (metric = vllm:num_requests_waiting, target = 2"),
            "{text}"
        );
        assert!(text.contains("hint: raise `hpa.max_replicas`"), "{text}");
    }

    /// Where the interval alone is in the way, the settings are not the fault.
    #[test]
    fn a_wide_interval_wants_replications() {
        let cases: [(&str, &[(f64, f64)]); 1] = [("2", &[(50.0, 0.985), (50.0, 0.999)])];
        let (plan, result) = swept(&cases, None);
        let text = sweep_summary(&plan, &result, &heading(100));
        assert!(text.contains("hint: its mean meets it: more `sweep.replications`"), "{text}");
    }

    #[test]
    fn tables_fit_eighty_columns() {
        let cases: [(&str, &[(f64, f64)]); 2] = [("21", &[(50.0, 1.0)]), ("2", &[(750.0, 1.0)])];
        let (mut plan, result) = swept(&cases, None);
        plan.cases[1].knobs[0].1 = "vllm:kv_cache_usage_perc".into();
        plan.cases[1].knobs[2].1 = "60".into();
        let table = pareto_table(&plan, &result, 80);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(table.contains("num_requests_waiting"), "names do not wrap: {table}");
        assert!(table.contains("least"), "the bound that decides stays: {table}");
    }

    #[test]
    fn headings_keep_what_tells_keys_apart() {
        let keys = ["target", "a.scale_up.window", "a.scale_down.window"];
        assert_eq!(heading_of("target", &keys), "target");
        assert_eq!(heading_of("a.scale_down.window", &keys), "scale down window");
    }

    #[test]
    fn the_front_is_cut_around_the_recommendation() {
        let front: Vec<usize> = (0..40).collect();
        assert_eq!(around(&front, Some(20), 4), [18, 19, 20, 21]);
        assert_eq!(around(&front, Some(0), 4), [0, 1, 2, 3]);
        assert_eq!(around(&front, None, 4), [36, 37, 38, 39]);
        assert_eq!(around(&front[..2], Some(1), 4), [0, 1]);
    }
}
