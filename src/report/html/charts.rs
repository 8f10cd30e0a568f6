//! Which charts a sweep has: the Pareto front and the response surface.

use super::super::figures::{share, short, with_interval};
use super::super::sweep::{heading_of, value_of, varies};
use super::svg::{Axis, Draw, Figure, Panel, Point, STYLES, Series};
use crate::hpa::Quantity;
use crate::sweep::{Plan, SweepResult};

/// Lines of one chart; more cannot be told apart.
const MAX_LINES: usize = STYLES;

/// Cost against attainment: all cases, the front with its intervals, the recommended and the present case. A
/// second, closer view follows where the objective is high up in a wide range.
pub(super) fn pareto<S>(plan: &Plan<S>, result: &SweepResult) -> Vec<Figure> {
    let complete: Vec<usize> =
        (0..plan.cases.len()).filter(|&index| result.cases[index].is_complete()).collect();
    let point = |index: usize| {
        let (cost, met) = (
            result.cases[index].measure("cost_usd"),
            result.cases[index].measure("slo_attainment"),
        );
        let title = format!(
            "{}{}: SLO met {}, {} USD",
            plan.cases[index].id,
            knobs(plan, index),
            with_interval(&met, share),
            with_interval(&cost, |usd| short(usd, 2))
        );
        Point { x: cost.mean, y: met.mean, low: cut(met.low), high: cut(met.high), title }
    };
    let points = |of: &[usize]| -> Vec<Point> {
        of.iter().map(|&index| point(index)).filter(|p| !p.x.is_nan() && !p.y.is_nan()).collect()
    };
    let all = points(&complete);
    if all.is_empty() {
        return Vec::new();
    }
    let ring = |name: &str, index: usize| Series {
        name: name.to_owned(),
        style: 0,
        draw: Draw::Ring,
        points: points(&[index]),
    };
    let present = plan.current.filter(|current| Some(*current) != result.recommended);
    let mut series = vec![
        Series { name: "a case".into(), style: 0, draw: Draw::Faint, points: all.clone() },
        Series {
            name: format!(
                "Pareto front, {} % confidence",
                (plan.confidence * 1000.0).round() / 10.0
            ),
            style: 0,
            draw: Draw::Marked,
            points: points(&result.pareto),
        },
    ];
    series.extend(result.recommended.map(|index| ring("recommended", index)));
    series.extend(present.map(|index| ring("present", index)));
    let goal = plan.objective.attainment;
    let figure = |name: &str, title: &str, low: f64, shown: &[&Point]| {
        let costs = shown.iter().map(|p| p.x);
        let (least, most) = costs.fold((f64::INFINITY, 0.0f64), |(a, b), x| (a.min(x), b.max(x)));
        let room = 0.03 * (most - least).max(0.02 * most);
        Figure {
            name: name.to_owned(),
            title: title.to_owned(),
            panels: vec![Panel {
                height: 300.0,
                x: Axis::linear("cost [USD]", (least - room).max(0.0), most + room),
                y: Axis::share("SLO met", low, 1.0),
                series: series.clone(),
                levels: vec![(goal, "objective".to_owned())],
            }],
        }
    };
    let least = all.iter().map(|p| p.y).fold(goal, f64::min);
    let every: Vec<&Point> = all.iter().collect();
    let mut figures = vec![figure(
        "pareto",
        "Cost against SLO attainment, all cases",
        (least - 0.02).max(0.0),
        &every,
    )];
    let close = goal - 3.0 * (1.0 - goal);
    let near: Vec<&Point> = all.iter().filter(|p| p.y >= close).collect();
    if least < close - (1.0 - close) && near.len() > 1 {
        figures.push(figure("pareto-near", "The same near the objective", close, &near));
    }
    figures
}

/// Attainment and cost over the target, one pair of charts per metric. Without targets the first varied number
/// takes their place; without any there is no surface. The second value holds what a reader must know: values
/// at which the other axes are held.
pub(super) fn surfaces<S>(plan: &Plan<S>, result: &SweepResult) -> Vec<(Figure, String)> {
    let keys: Vec<&str> = plan.knob_keys().into_iter().filter(|key| varies(plan, key)).collect();
    let grid: Vec<usize> = (0..plan.cases.len()).filter(|i| plan.current != Some(*i)).collect();
    let differs = |key: &&&str| {
        grid.iter().any(|&i| plan.cases[i].knob(key) != plan.cases[grid[0]].knob(key))
    };
    let keys: Vec<&str> = keys.iter().filter(differs).copied().collect();
    let numeric = |key: &&&str| grid.iter().all(|&i| number(plan.cases[i].knob(key)).is_some());
    let Some(x_key) =
        keys.iter().find(|key| **key == "target").or_else(|| keys.iter().find(numeric))
    else {
        return Vec::new();
    };
    let others: Vec<&str> =
        keys.iter().filter(|key| *key != x_key && **key != "metric").copied().collect();
    let mut metrics: Vec<&str> = Vec::new();
    for &index in &grid {
        let metric = plan.cases[index].knob("metric");
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    let mut figures: Vec<(Figure, String)> = Vec::new();
    for metric in metrics {
        let of: Vec<usize> =
            grid.iter().filter(|&&i| plan.cases[i].knob("metric") == metric).copied().collect();
        let surface = Surface::new(plan, result, &of, x_key, &others);
        let stem = match plain(metric) {
            name if name.is_empty() => "surface".to_owned(),
            name => format!("surface-{name}"),
        };
        // Two metrics may have the same plain name under different adapters.
        let taken =
            figures.iter().filter(|(f, _)| f.name == format!("{stem}-slo_attainment")).count();
        let stem = if taken > 0 { format!("{stem}-{}", figures.len()) } else { stem };
        figures.extend(surface.figures(plan, result, &stem, metric));
    }
    figures
}

/// The cases of one metric as lines.
struct Surface {
    /// Name of each line with its cases.
    lines: Vec<(String, Vec<(f64, usize)>)>,
    x: Axis,
    note: String,
}

impl Surface {
    fn new<S>(
        plan: &Plan<S>,
        result: &SweepResult,
        of: &[usize],
        x_key: &str,
        others: &[&str],
    ) -> Self {
        let reference = reference(result, of);
        // The other axes that are drawn as lines; the last ones are held at the reference's value if there
        // would be too many.
        let mut free = others.len();
        let names = |free: usize| {
            let mut names: Vec<Vec<&str>> = Vec::new();
            for &index in of {
                let name = others[..free].iter().map(|key| plan.cases[index].knob(key)).collect();
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            names
        };
        while free > 1 && names(free).len() > MAX_LINES {
            free -= 1;
        }
        let mut lines = names(free);
        let mut note = Vec::new();
        for key in &others[free..] {
            note.push(format!("{} = {}", heading_of(key, others), plan.cases[reference].knob(key)));
        }
        let mut note =
            if note.is_empty() { String::new() } else { format!("Held at {}.", note.join(", ")) };
        if lines.len() > MAX_LINES {
            let all = lines.len();
            let own: Vec<&str> =
                others[..free].iter().map(|key| plan.cases[reference].knob(key)).collect();
            let at = lines.iter().position(|line| *line == own).unwrap_or(0);
            let start = at.saturating_sub(MAX_LINES / 2).min(all - MAX_LINES);
            lines = lines.split_off(start);
            lines.truncate(MAX_LINES);
            note = format!("{note} {MAX_LINES} of {all} lines, those around the best. ");
        }
        let all_numbers = of.iter().all(|&i| number(plan.cases[i].knob(x_key)).is_some());
        let mut texts: Vec<&str> = Vec::new();
        for &index in of {
            if !texts.contains(&plan.cases[index].knob(x_key)) {
                texts.push(plan.cases[index].knob(x_key));
            }
        }
        // Words stand at equal distances in the order of the grid.
        let position = |text: &str| {
            let place = texts.iter().position(|other| *other == text).unwrap_or(0) as f64;
            if all_numbers { number(text).unwrap_or(place) } else { place }
        };
        let ticks: Vec<(f64, String)> =
            texts.iter().map(|text| (position(text), (*text).to_owned())).collect();
        let x = Axis::values(&heading_of(x_key, &[x_key]), &ticks);
        let lines = lines
            .into_iter()
            .map(|line| {
                let mut points: Vec<(f64, usize)> = of
                    .iter()
                    .filter(|&&i| {
                        let same =
                            |key: &&str| plan.cases[i].knob(key) == plan.cases[reference].knob(key);
                        others[free..].iter().all(same)
                            && others[..free]
                                .iter()
                                .zip(&line)
                                .all(|(k, v)| plan.cases[i].knob(k) == *v)
                    })
                    .map(|&i| (position(plan.cases[i].knob(x_key)), i))
                    .collect();
                points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let words = others[..free].iter().zip(&line);
                let name: Vec<String> =
                    words.map(|(key, value)| named(&heading_of(key, others), value)).collect();
                (name.join(", "), points)
            })
            .collect();
        Self { lines, x, note }
    }

    /// The chart of the attainment and that of the cost.
    fn figures<S>(
        &self,
        plan: &Plan<S>,
        result: &SweepResult,
        stem: &str,
        metric: &str,
    ) -> Vec<(Figure, String)> {
        let of = |column: &str| -> Vec<Series> {
            self.lines
                .iter()
                .enumerate()
                .map(|(style, (name, cases))| Series {
                    name: name.clone(),
                    style,
                    draw: Draw::Marked,
                    points: cases
                        .iter()
                        .map(|&(x, index)| {
                            let value = result.cases[index].measure(column);
                            let met = with_interval(
                                &result.cases[index].measure("slo_attainment"),
                                share,
                            );
                            let cost =
                                with_interval(&result.cases[index].measure("cost_usd"), |usd| {
                                    short(usd, 2)
                                });
                            let title = format!(
                                "{}{}: SLO met {met}, {cost} USD",
                                plan.cases[index].id,
                                knobs(plan, index)
                            );
                            let bound =
                                |b: f64| if column == "slo_attainment" { cut(b) } else { b };
                            let (low, high) = (bound(value.low), bound(value.high));
                            Point { x, y: value.mean, low, high, title }
                        })
                        .collect(),
                })
                .collect()
        };
        let range = |series: &[Series]| {
            let values = series.iter().flat_map(|s| &s.points).map(|p| p.y).filter(|y| !y.is_nan());
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)))
        };
        let goal = plan.objective.attainment;
        let (met, cost) = (of("slo_attainment"), of("cost_usd"));
        let (least, _) = range(&met);
        let (cheap, dear) = range(&cost);
        let what = if metric.is_empty() { String::new() } else { format!("{}: ", plain(metric)) };
        let figure = |name: &str, title: &str, y: Axis, series: Vec<Series>, levels| Figure {
            name: format!("{stem}-{name}"),
            title: format!("{what}{title}"),
            panels: vec![Panel { height: 200.0, x: self.x.clone(), y, series, levels }],
        };
        let low = least.min(goal);
        let met = figure(
            "slo_attainment",
            "SLO attainment",
            Axis::share("SLO met", low - 0.05 * (1.0 - low), 1.0),
            met,
            vec![(goal, "objective".to_owned())],
        );
        let cost = figure(
            "cost_usd",
            "cost",
            Axis::linear("cost [USD]", 0.97 * cheap, 1.01 * dear),
            cost,
            Vec::new(),
        );
        vec![(met, self.note.clone()), (cost, String::new())]
    }
}

/// A bound of a share, within 0 and 1; NaN stays.
fn cut(bound: f64) -> f64 {
    bound.clamp(0.0, 1.0)
}

/// The recommended case if it is one of `of`, else the one with the highest attainment.
fn reference(result: &SweepResult, of: &[usize]) -> usize {
    let met = |index: usize| result.cases[index].measure("slo_attainment").low_or_mean();
    let best = || {
        let known = of.iter().copied().filter(|&index| !met(index).is_nan());
        known.reduce(|best, index| if met(index) > met(best) { index } else { best })
    };
    result.recommended.filter(|index| of.contains(index)).or_else(best).unwrap_or(of[0])
}

/// `window 300 s` of `window s` and `300`.
fn named(heading: &str, value: &str) -> String {
    match heading.strip_suffix(" s") {
        Some(what) => format!("{what} {value} s"),
        None => format!("{heading} {value}"),
    }
}

/// A value as a number: `5`, `2500m`, `0.85`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite()).or_else(|| {
        let quantity = Quantity::parse(text).ok()?;
        Some(quantity.milli_value() as f64 / 1000.0)
    })
}

/// A metric's name without its adapter's form, fit for a file name.
fn plain(metric: &str) -> String {
    let name = crate::manifest::plain_metric_name(metric).unwrap_or(metric);
    let name = name.strip_prefix("vllm:").unwrap_or(name);
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' })
        .collect()
}

/// The varied values of a case in one line, with a comma before each.
fn knobs<S>(plan: &Plan<S>, index: usize) -> String {
    let keys: Vec<&str> = plan.knob_keys().into_iter().filter(|key| varies(plan, key)).collect();
    let mut words = vec![String::new()];
    let applies = |key: &&&str| !plan.cases[index].knob(key).is_empty();
    for key in keys.iter().filter(applies) {
        words.push(named(&heading_of(key, &keys), &value_of(&plan.cases[index], key)));
    }
    words.join(", ")
}
