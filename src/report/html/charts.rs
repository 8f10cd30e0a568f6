//! Which charts a sweep has: the Pareto front and the response surface.

use super::super::figures::{share, short, with_interval};
use super::super::sweep::{heading_of, value_of, varies};
use super::svg::{Axis, Draw, Figure, Panel, Point, STYLES, Series};
use crate::hpa::Quantity;
use crate::sweep::{Plan, SweepResult};

/// Lines of one chart; more cannot be told apart.
const MAX_LINES: usize = STYLES;

/// A plan with its result: what every chart is drawn from.
struct Sweep<'a, S> {
    plan: &'a Plan<S>,
    result: &'a SweepResult,
}

/// Cost against attainment: all cases, the front with its intervals, the recommended and the present case. A
/// second, closer view follows where the objective is high up in a wide range.
pub(super) fn pareto<S>(plan: &Plan<S>, result: &SweepResult) -> Vec<Figure> {
    let sweep = Sweep { plan, result };
    let complete: Vec<usize> =
        (0..plan.cases.len()).filter(|&index| result.cases[index].is_complete()).collect();
    let all = sweep.on_the_plane(&complete);
    if all.is_empty() {
        return Vec::new();
    }
    let series = sweep.front_series(&all);
    let goal = plan.objective.attainment;
    let figure = |name: &str, title: &str, low: f64, shown: &[&Point]| Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        panels: vec![Panel {
            height: 300.0,
            x: cost_axis(shown),
            y: Axis::share("SLO met", low, 1.0),
            series: series.clone(),
            levels: vec![(goal, "objective".to_owned())],
        }],
    };
    let least = all.iter().map(|p| p.y).fold(goal, f64::min);
    let every: Vec<&Point> = all.iter().collect();
    let title = "Cost against SLO attainment, all cases";
    let mut figures = vec![figure("pareto", title, (least - 0.02).max(0.0), &every)];
    // The closer view reaches four times as far down as the objective leaves to 100 %; it is worth its place where
    // the cases reach at least twice as far.
    let close = goal - 3.0 * (1.0 - goal);
    let near: Vec<&Point> = all.iter().filter(|p| p.y >= close).collect();
    if least < close - (1.0 - close) && near.len() > 1 {
        figures.push(figure("pareto-near", "The same near the objective", close, &near));
    }
    figures
}

/// The costs of the points, with some room on both sides; where they hardly differ, with room for that to be seen.
fn cost_axis(shown: &[&Point]) -> Axis {
    let costs = shown.iter().map(|p| p.x);
    let (least, most) = costs.fold((f64::INFINITY, 0.0f64), |(a, b), x| (a.min(x), b.max(x)));
    let room = (0.03 * (most - least)).max(0.02 * most);
    Axis::linear("cost [USD]", (least - room).max(0.0), most + room)
}

/// Attainment and cost over the target, one pair of charts per metric. Without targets the first varied number
/// takes their place; without any there is no surface. The second value holds what a reader must know: values
/// at which the other axes are held.
pub(super) fn surfaces<S>(plan: &Plan<S>, result: &SweepResult) -> Vec<(Figure, String)> {
    let sweep = Sweep { plan, result };
    let grid: Vec<usize> = (0..plan.cases.len()).filter(|i| plan.current != Some(*i)).collect();
    let Some((x_key, others)) = sweep.axes(&grid) else { return Vec::new() };
    let mut figures: Vec<(Figure, String)> = Vec::new();
    for metric in distinct(grid.iter().map(|&i| plan.cases[i].knob("metric"))) {
        let of: Vec<usize> =
            grid.iter().filter(|&&i| plan.cases[i].knob("metric") == metric).copied().collect();
        let surface = Surface::new(&sweep, &of, x_key, &others);
        let stem = match plain(metric) {
            name if name.is_empty() => "surface".to_owned(),
            name => format!("surface-{name}"),
        };
        // Two metrics may have the same plain name under different adapters.
        let taken =
            figures.iter().filter(|(f, _)| f.name == format!("{stem}-slo_attainment")).count();
        let stem = if taken > 0 { format!("{stem}-{}", figures.len()) } else { stem };
        figures.extend(surface.figures(&sweep, &stem, metric));
    }
    figures
}

impl<'a, S> Sweep<'a, S> {
    /// Cases by cost and attainment; those that have none of them are left out.
    fn on_the_plane(&self, of: &[usize]) -> Vec<Point> {
        let cost = |index: usize| self.result.cases[index].measure("cost_usd").mean;
        let points = of.iter().map(|&index| self.point(index, cost(index), "slo_attainment"));
        points.filter(|p| !p.x.is_nan() && !p.y.is_nan()).collect()
    }

    /// A measure of a case with its bounds.
    fn point(&self, index: usize, x: f64, column: &str) -> Point {
        let figures = &self.result.cases[index];
        let value = figures.measure(column);
        let bound = |b: f64| if column == "slo_attainment" { b.clamp(0.0, 1.0) } else { b };
        let title = format!(
            "{}{}: SLO met {}, {} USD",
            self.plan.cases[index].id,
            knobs(self.plan, index),
            with_interval(&figures.measure("slo_attainment"), share),
            with_interval(&figures.measure("cost_usd"), |usd| short(usd, 2))
        );
        Point { x, y: value.mean, low: bound(value.low), high: bound(value.high), title }
    }

    /// All cases, the front, and rings around the two cases that a reader looks for.
    fn front_series(&self, all: &[Point]) -> Vec<Series> {
        let confidence = (self.plan.confidence * 1000.0).round() / 10.0;
        let mut series = vec![
            Series { name: "a case".into(), style: 0, draw: Draw::Faint, points: all.to_vec() },
            Series {
                name: format!("Pareto front, {confidence} % confidence"),
                style: 0,
                draw: Draw::Marked,
                points: self.on_the_plane(&self.result.pareto),
            },
        ];
        let present = self.plan.current.filter(|index| Some(*index) != self.result.recommended);
        let rings = [("recommended", self.result.recommended), ("present", present)];
        for (style, (name, index)) in rings.into_iter().enumerate() {
            series.extend(index.map(|index| Series {
                name: name.to_owned(),
                style,
                draw: Draw::Ring,
                points: self.on_the_plane(&[index]),
            }));
        }
        series
    }

    /// The key of the x axis, and those keys beside it and the metric that take several values in `grid`.
    fn axes(&self, grid: &[usize]) -> Option<(&'a str, Vec<&'a str>)> {
        let cases = &self.plan.cases;
        let differs =
            |key: &&str| grid.iter().any(|&i| cases[i].knob(key) != cases[grid[0]].knob(key));
        let keys = self.plan.knob_keys().into_iter().filter(|key| varies(self.plan, key));
        let keys: Vec<&str> = keys.filter(differs).collect();
        let numeric = |key: &&&str| grid.iter().all(|&i| number(cases[i].knob(key)).is_some());
        let x_key =
            *keys.iter().find(|key| **key == "target").or_else(|| keys.iter().find(numeric))?;
        let others = keys.into_iter().filter(|key| *key != x_key && *key != "metric").collect();
        Some((x_key, others))
    }

    /// The values of a case for these keys.
    fn values(&self, index: usize, keys: &[&str]) -> Vec<&'a str> {
        keys.iter().map(|key| self.plan.cases[index].knob(key)).collect()
    }

    /// The recommended case if it is one of `of`, else the one with the highest attainment.
    fn reference(&self, of: &[usize]) -> usize {
        let met = |index: usize| self.result.cases[index].measure("slo_attainment").low_or_mean();
        let best = || {
            let known = of.iter().copied().filter(|&index| !met(index).is_nan());
            known.reduce(|best, index| if met(index) > met(best) { index } else { best })
        };
        self.result.recommended.filter(|index| of.contains(index)).or_else(best).unwrap_or(of[0])
    }
}

/// The values in the order of their first appearance.
fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// The cases of one metric as lines.
struct Surface {
    /// Name of each line with the place and index of its cases.
    lines: Vec<(String, Vec<(f64, usize)>)>,
    x: Axis,
    note: String,
}

impl Surface {
    /// Cases `of` one metric over `x_key`, a line for each combination of values of the other keys.
    fn new<S>(sweep: &Sweep<'_, S>, of: &[usize], x_key: &str, others: &[&str]) -> Self {
        let reference = sweep.reference(of);
        let lines_by = |keys: &[&str]| distinct(of.iter().map(|&index| sweep.values(index, keys)));
        // The last keys are held at the reference's value if there would be too many lines.
        let mut free = others.len();
        while free > 1 && lines_by(&others[..free]).len() > MAX_LINES {
            free -= 1;
        }
        let (drawn, held) = others.split_at(free);
        let all = lines_by(drawn);
        let lines = around(&all, &sweep.values(reference, drawn));
        let mut note = Vec::new();
        if !held.is_empty() {
            let values = held.iter().zip(sweep.values(reference, held));
            let values =
                values.map(|(key, value)| format!("{} = {value}", heading_of(key, others)));
            note.push(format!("Held at {}.", values.collect::<Vec<_>>().join(", ")));
        }
        if lines.len() < all.len() {
            note.push(format!("{} of {} lines, those around the best.", lines.len(), all.len()));
        }
        let places = Places::new(of.iter().map(|&index| sweep.plan.cases[index].knob(x_key)));
        let line = |values: &Vec<&str>| {
            let belongs = |index: &usize| {
                sweep.values(*index, held) == sweep.values(reference, held)
                    && sweep.values(*index, drawn) == *values
            };
            let cases = of.iter().copied().filter(belongs);
            let place = |index: usize| places.of(sweep.plan.cases[index].knob(x_key));
            let mut cases: Vec<(f64, usize)> = cases.map(|index| (place(index), index)).collect();
            cases.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let words = drawn.iter().zip(values);
            let name = words.map(|(key, value)| named(&heading_of(key, others), value));
            (name.collect::<Vec<_>>().join(", "), cases)
        };
        Self {
            lines: lines.iter().map(line).collect(),
            x: places.axis(x_key),
            note: note.join(" "),
        }
    }

    /// The chart of the attainment and that of the cost.
    fn figures<S>(&self, sweep: &Sweep<'_, S>, stem: &str, metric: &str) -> Vec<(Figure, String)> {
        let goal = sweep.plan.objective.attainment;
        let (met, cost) = (self.series(sweep, "slo_attainment"), self.series(sweep, "cost_usd"));
        let low = range(&met).0.min(goal);
        let met_axis = Axis::share("SLO met", low - 0.05 * (1.0 - low), 1.0);
        let (cheap, dear) = range(&cost);
        let cost_axis = Axis::linear("cost [USD]", 0.97 * cheap, 1.01 * dear);
        let what = if metric.is_empty() { String::new() } else { format!("{}: ", plain(metric)) };
        let figure = |name: &str, title: &str, y: Axis, series: Vec<Series>, levels| Figure {
            name: format!("{stem}-{name}"),
            title: format!("{what}{title}"),
            panels: vec![Panel { height: 200.0, x: self.x.clone(), y, series, levels }],
        };
        let objective = vec![(goal, "objective".to_owned())];
        let met = figure("slo_attainment", "SLO attainment", met_axis, met, objective);
        let cost = figure("cost_usd", "cost", cost_axis, cost, Vec::new());
        vec![(met, self.note.clone()), (cost, String::new())]
    }

    /// A measure along each line.
    fn series<S>(&self, sweep: &Sweep<'_, S>, column: &str) -> Vec<Series> {
        let lines = self.lines.iter().enumerate();
        let series = lines.map(|(style, (name, cases))| Series {
            name: name.clone(),
            style,
            draw: Draw::Marked,
            points: cases.iter().map(|&(x, index)| sweep.point(index, x, column)).collect(),
        });
        series.collect()
    }
}

/// As many lines as can be told apart, those next to `own` in their order.
fn around<'a, T: PartialEq>(lines: &'a [T], own: &T) -> &'a [T] {
    let at = lines.iter().position(|line| line == own).unwrap_or(0);
    let most = MAX_LINES.min(lines.len());
    let start = at.saturating_sub(MAX_LINES / 2).min(lines.len() - most);
    &lines[start..start + most]
}

/// Smallest and largest value of some series.
fn range(series: &[Series]) -> (f64, f64) {
    let values = series.iter().flat_map(|s| &s.points).map(|p| p.y).filter(|y| !y.is_nan());
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)))
}

/// Where the values of the x axis lie: numbers at their value, words at equal distances in the order of the grid.
struct Places<'a> {
    texts: Vec<&'a str>,
    numbers: bool,
}

impl<'a> Places<'a> {
    fn new(texts: impl Iterator<Item = &'a str>) -> Self {
        let texts = distinct(texts);
        let numbers = texts.iter().all(|text| number(text).is_some());
        Self { texts, numbers }
    }

    fn of(&self, text: &str) -> f64 {
        let place = self.texts.iter().position(|other| *other == text).unwrap_or(0) as f64;
        if self.numbers { number(text).unwrap_or(place) } else { place }
    }

    fn axis(&self, key: &str) -> Axis {
        let ticks = self.texts.iter().map(|text| (self.of(text), (*text).to_owned()));
        Axis::values(&heading_of(key, &[key]), &ticks.collect::<Vec<_>>())
    }
}

/// `window 300 s` of `window s` and `300`.
fn named(heading: &str, value: &str) -> String {
    match heading.strip_suffix(" s") {
        Some(what) => format!("{what} {value} s"),
        None => format!("{heading} {value}"),
    }
}

/// A value as a number: `5`, `2500m`, `0.85`.
pub(super) fn number(text: &str) -> Option<f64> {
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
