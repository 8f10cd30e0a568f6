//! Charts as SVG text: panels with axes, lines, points with error bars, reference levels and a legend.
//!
//! Coordinates have one decimal, so the bytes depend on the data alone. Series differ by colour, dash and marker,
//! so that a print in grey can be read.

use std::fmt::Write as _;

/// Looks of the charts: palettes that colour-blind readers can tell apart, for light screens and print and for dark
/// screens; a test holds them to it.
// Source: colours of Okabe and Ito (Color Universal Design, 2008), P. Tol's and IBM's palettes, some made brighter for
// dark screens; chosen from them for the largest distance between any two.
pub(super) const STYLE: &str = include_str!("chart.css");

/// Series styles that differ; more series than that share styles.
pub(super) const STYLES: usize = 6;

/// Width of every figure in user units.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 18.0;
/// Width of the area in which values are drawn.
const PLOT_WIDTH: f64 = WIDTH - LEFT - RIGHT;
/// From the base line of the legend to the plot area: half the height of the topmost tick's text, and some air.
const LEGEND_GAP: f64 = 13.0;
/// Pixels between the error bars of lines that have values at the same place.
const BAR_GAP: f64 = 4.0;
/// Pixels that markers may stick out of the plot area.
const EDGE: f64 = 7.0;
/// Average width of a character at the size of the labels, in the widest of the usual fonts (DejaVu Sans).
const CHARACTER: f64 = 7.2;

/// One scale.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) low: f64,
    pub(super) high: f64,
    /// Positions by the logarithm.
    pub(super) log: bool,
    /// Values with their text, ascending.
    pub(super) ticks: Vec<(f64, String)>,
}

/// One value with its bounds (NaN without) and what a pointer on it shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) title: String,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// A line that a NaN interrupts.
    Line,
    /// A line that keeps its value until the next point.
    Steps,
    /// A line with markers and error bars.
    Marked,
    /// Small faint points.
    Faint,
    /// A ring around each point and its title as a label.
    Ring,
}

/// Points that belong together.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// Name in the legend; none if empty.
    pub(super) name: String,
    /// Colour, dash and marker, taken modulo [`STYLES`].
    pub(super) style: usize,
    pub(super) draw: Draw,
    pub(super) points: Vec<Point>,
}

/// One plot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Panel {
    /// Height of the plot area.
    pub(super) height: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
    /// Drawn in order, the last on top.
    pub(super) series: Vec<Series>,
    /// Horizontal reference lines with their text.
    pub(super) levels: Vec<(f64, String)>,
}

/// One SVG picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    /// Name of the file without its ending.
    pub(super) name: String,
    pub(super) title: String,
    /// From top to bottom.
    pub(super) panels: Vec<Panel>,
}

impl Axis {
    /// A linear scale from `low` to `high`, widened to whole ticks.
    pub(super) fn linear(label: &str, low: f64, high: f64) -> Self {
        Self::with(label, (low, high), 0.0, |value, decimals| format!("{value:.decimals$}"))
    }

    /// A linear scale of whole numbers from 0 to `high`.
    pub(super) fn count(label: &str, high: f64) -> Self {
        Self::with(label, (0.0, high), 1.0, |value, _| format!("{value:.0}"))
    }

    /// A linear scale of shares from 0 to 1, shown in per cent.
    pub(super) fn share(label: &str, low: f64, high: f64) -> Self {
        let text = |value: f64, decimals: usize| {
            format!("{:.*} %", decimals.saturating_sub(2), value * 100.0)
        };
        let mut axis = Self::with(label, (low, high), 0.0, text);
        axis.high = axis.high.min(1.0).max(axis.low + 1e-9);
        axis.ticks.retain(|(value, _)| *value <= axis.high + 1e-9);
        axis
    }

    /// A linear scale with ticks at least `least_step` apart; `text` is given a tick and its decimals.
    fn with(
        label: &str,
        (low, high): (f64, f64),
        least_step: f64,
        text: impl Fn(f64, usize) -> String,
    ) -> Self {
        let (low, high) =
            if low.is_finite() && high.is_finite() { (low, high) } else { (0.0, 1.0) };
        let step = round_step((high - low).max(1e-9) / 5.0).max(least_step);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (low / step + 1e-9).floor();
        let last = (high / step - 1e-9).ceil().max(first + 1.0);
        let ticks = (0..=(last - first) as usize)
            .map(|i| (first + i as f64) * step)
            .map(|value| (value, text(value, decimals)))
            .collect();
        Self { label: label.to_owned(), low: first * step, high: last * step, log: false, ticks }
    }

    /// A logarithmic scale of powers of ten that holds all of `low` to `high`, both above 0.
    pub(super) fn decades(label: &str, low: f64, high: f64) -> Self {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let last = last.max(first + 1);
        let power = |exponent: i32| 10f64.powi(exponent);
        let ticks = (first..=last).map(|exponent| (power(exponent), power(exponent).to_string()));
        let ticks = ticks.collect();
        Self { label: label.to_owned(), low: power(first), high: power(last), log: true, ticks }
    }

    /// Simulated time from 0 to `seconds`.
    pub(super) fn time(seconds: f64) -> Self {
        const STEPS: [f64; 17] = [
            1.0, 5.0, 15.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0,
            21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0,
        ];
        let step = STEPS.into_iter().find(|step| seconds / step <= 13.0).unwrap_or(2_592_000.0);
        let (unit, name) = match step {
            s if s >= 86_400.0 => (86_400.0, "day"),
            s if s >= 1800.0 => (3600.0, "h"),
            s if s >= 60.0 => (60.0, "min"),
            _ => (1.0, "s"),
        };
        let ticks = (0..=(seconds / step + 1e-9) as usize)
            .map(|i| i as f64 * step)
            .map(|value| (value, format!("{}", value / unit)))
            .collect();
        let high = seconds.max(1.0);
        Self { label: format!("time [{name}]"), low: 0.0, high, log: false, ticks }
    }

    /// A scale whose ticks are the values themselves, each with its text; logarithmic if they span much.
    pub(super) fn values(label: &str, values: &[(f64, String)]) -> Self {
        let mut ticks = values.to_vec();
        ticks.sort_by(|a, b| a.0.total_cmp(&b.0));
        ticks.dedup_by(|a, b| a.0 == b.0);
        let low = ticks.first().map_or(0.0, |tick| tick.0);
        let high = ticks.last().map_or(1.0, |tick| tick.0);
        let log = low > 0.0 && high / low >= 6.0;
        let (low, high) = match (log, high > low) {
            (_, false) => (low - 1.0, high + 1.0),
            (true, _) => (low * (low / high).powf(0.04), high * (high / low).powf(0.04)),
            (false, _) => (low - 0.04 * (high - low), high + 0.04 * (high - low)),
        };
        Self { label: label.to_owned(), low, high, log, ticks }
    }

    /// Where a value lies, 0 at the low end and 1 at the high end.
    fn place(&self, value: f64) -> f64 {
        if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powi(step.log10().floor() as i32);
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= step * 0.999);
    factor.unwrap_or(10.0) * power
}

/// Text that XML and HTML take as text, quotes included.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 knows no control characters but these three.
            c if c.is_control() && !matches!(c, '\n' | '\t' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

impl Figure {
    /// The picture as part of a page that holds [`STYLE`].
    pub(super) fn inline(&self) -> String {
        self.render("", "")
    }

    /// The picture as a file of its own.
    pub(super) fn file(&self) -> String {
        let style = format!("<style>{STYLE}</style>\n");
        let mut text = self.render(" xmlns=\"http://www.w3.org/2000/svg\"", &style);
        text.push('\n');
        text
    }

    /// What a reader who does not see the picture should know of it.
    fn description(&self) -> String {
        let over = self.panels.last().map_or("", |panel| panel.x.label.as_str());
        let panels: Vec<String> = self.panels.iter().map(Panel::description).collect();
        format!("{}. From left to right: {over}.", panels.join("; "))
    }

    fn render(&self, namespace: &str, style: &str) -> String {
        let mut body = String::new();
        let mut top = 26.0;
        for panel in &self.panels {
            top = panel.draw(&mut body, top);
        }
        let (title, description) = (escaped(&self.title), escaped(&self.description()));
        format!(
            "<svg{namespace} class=\"chart\" viewBox=\"0 0 {WIDTH:.0} {top:.0}\" role=\"img\" \
             aria-label=\"{title}\">\n<desc>{description}</desc>\n{style}<rect class=\"bg\" width=\"{WIDTH:.0}\" height=\"{top:.0}\"/>\n\
             <text class=\"t\" x=\"{LEFT:.0}\" y=\"18\">{title}</text>\n{body}</svg>"
        )
    }
}

impl Panel {
    /// What is drawn, as in `replicas: wanted, ready`.
    fn description(&self) -> String {
        let named = self.series.iter().map(|series| series.name.as_str());
        let names: Vec<&str> = named.filter(|name| !name.is_empty()).collect();
        match names.as_slice() {
            [] => self.y.label.clone(),
            names => format!("{}: {}", self.y.label, names.join(", ")),
        }
    }

    /// Draws the panel below `top`; returns where the next one may begin.
    fn draw(&self, out: &mut String, top: f64) -> f64 {
        let area = Area { top: self.legend(out, top) + LEGEND_GAP, height: self.height };
        self.axes(out, &area);
        let place = |x: f64, y: f64| {
            (LEFT + self.x.place(x) * PLOT_WIDTH, area.bottom() - self.y.place(y) * area.height)
        };
        area.clipped(out, 1.0, |out| {
            for (value, _) in &self.levels {
                let (y, end) = (place(self.x.low, *value).1, LEFT + PLOT_WIDTH);
                let _ = writeln!(out, "<path class=\"lv\" d=\"M{LEFT:.1} {y:.1}H{end:.1}\"/>");
            }
            for series in &self.series {
                series.line(out, &place);
            }
        });
        let barred = self.series.iter().filter(|series| series.draw == Draw::Marked).count();
        let mut shift = -BAR_GAP * barred.saturating_sub(1) as f64 / 2.0;
        area.clipped(out, EDGE, |out| {
            for series in &self.series {
                series.marks(out, &place, &area, shift);
                if series.draw == Draw::Marked {
                    shift += BAR_GAP;
                }
            }
        });
        self.level_names(out, &area);
        area.bottom() + if self.x.label.is_empty() { 10.0 } else { 42.0 }
    }

    /// Words on the levels go on top, on the right, where lines of growing load seldom are.
    fn level_names(&self, out: &mut String, area: &Area) {
        for (value, text) in &self.levels {
            let place = self.y.place(*value);
            if (0.0..=1.0).contains(&place) {
                let y = area.bottom() - place * area.height;
                let y = if place > 0.9 { y + 13.0 } else { y - 4.0 };
                let (x, text) = (WIDTH - RIGHT - 3.0, escaped(text));
                let _ =
                    writeln!(out, "<text class=\"h e\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
            }
        }
    }

    /// Names of the series with their look, in as many rows as needed, and the name of the y axis.
    fn legend(&self, out: &mut String, top: f64) -> f64 {
        let mut y = top + 12.0;
        let label = escaped(&self.y.label);
        let _ = writeln!(out, "<text class=\"h\" x=\"6\" y=\"{y:.1}\">{label}</text>");
        let start = 6.0 + CHARACTER * self.y.label.chars().count() as f64 + 22.0;
        let mut x = start;
        for series in self.series.iter().filter(|series| !series.name.is_empty()) {
            let needed = 34.0 + CHARACTER * series.name.chars().count() as f64 + 14.0;
            if x + needed > WIDTH - RIGHT && x > start {
                (x, y) = (start, y + 17.0);
            }
            let style = series.style % STYLES;
            let middle = y - 4.0;
            match series.draw {
                Draw::Faint => marker(out, "f", 0, x + 14.0, middle, 2.5, ""),
                Draw::Ring => marker(out, &format!("r r{style}"), 0, x + 14.0, middle, 6.0, ""),
                Draw::Line | Draw::Steps | Draw::Marked => {
                    let end = x + 28.0;
                    let _ = writeln!(
                        out,
                        "<path class=\"l s{style}\" d=\"M{x:.1} {middle:.1}H{end:.1}\"/>"
                    );
                    if series.draw == Draw::Marked {
                        marker(out, &format!("m{style}"), style, x + 14.0, middle, 4.0, "");
                    }
                }
            }
            let name = escaped(&series.name);
            let _ =
                writeln!(out, "<text class=\"h\" x=\"{:.1}\" y=\"{y:.1}\">{name}</text>", x + 34.0);
            x += needed;
        }
        y
    }

    /// Grid, frame, ticks and the name of the x axis.
    fn axes(&self, out: &mut String, area: &Area) {
        let (top, bottom, width) = (area.top, area.bottom(), PLOT_WIDTH);
        for (value, text) in &self.y.ticks {
            let y = bottom - self.y.place(*value) * self.height;
            let (end, at) = (LEFT + width, LEFT - 6.0);
            let _ = writeln!(out, "<path class=\"g\" d=\"M{LEFT:.1} {y:.1}H{end:.1}\"/>");
            let text = escaped(text);
            let _ = writeln!(
                out,
                "<text class=\"k e\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>",
                y + 4.0
            );
        }
        let mut free = f64::NEG_INFINITY;
        for (value, text) in &self.x.ticks {
            let x = LEFT + self.x.place(*value) * width;
            if x > LEFT + width + 0.5 {
                continue;
            }
            let _ = writeln!(out, "<path class=\"a\" d=\"M{x:.1} {bottom:.1}v4\"/>");
            let half = 0.5 * CHARACTER * text.chars().count() as f64;
            // Panels above share the numbers of the lowest one.
            if !self.x.label.is_empty() && x - half > free {
                let text = escaped(text);
                let y = bottom + 17.0;
                let _ =
                    writeln!(out, "<text class=\"k c\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
                free = x + half + 5.0;
            }
        }
        let end = LEFT + width;
        let _ = writeln!(out, "<path class=\"a\" d=\"M{LEFT:.1} {top:.1}V{bottom:.1}H{end:.1}\"/>");
        if !self.x.label.is_empty() {
            let (x, y) = (LEFT + width / 2.0, bottom + 34.0);
            let label = escaped(&self.x.label);
            let _ = writeln!(out, "<text class=\"h c\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>");
        }
    }
}

/// Where a panel's values are drawn, as far as panels differ.
struct Area {
    top: f64,
    height: f64,
}

impl Area {
    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// What `draw` draws, cut `margin` pixels around the area.
    fn clipped(&self, out: &mut String, margin: f64, draw: impl FnOnce(&mut String)) {
        let (x, y) = (LEFT - margin, self.top - margin);
        let (width, height) = (PLOT_WIDTH + 2.0 * margin, self.height + 2.0 * margin);
        let _ = writeln!(
            out,
            "<svg x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             viewBox=\"{x:.1} {y:.1} {width:.1} {height:.1}\" overflow=\"hidden\">"
        );
        draw(out);
        out.push_str("</svg>\n");
    }
}

impl Series {
    /// The line, where the series has one.
    fn line(&self, out: &mut String, place: &impl Fn(f64, f64) -> (f64, f64)) {
        if matches!(self.draw, Draw::Faint | Draw::Ring) {
            return;
        }
        let mut path = String::new();
        let mut down = false;
        for point in &self.points {
            if point.y.is_nan() {
                down = false;
                continue;
            }
            let (x, y) = place(point.x, point.y);
            let _ = match self.draw {
                _ if !down => write!(path, "M{x:.1} {y:.1}"),
                Draw::Steps => write!(path, "H{x:.1}V{y:.1}"),
                _ => write!(path, "L{x:.1} {y:.1}"),
            };
            down = true;
        }
        if self.draw == Draw::Steps && down {
            let _ = write!(path, "H{:.1}", LEFT + PLOT_WIDTH);
        }
        let style = self.style % STYLES;
        // A line that is alone in its panel needs no dash to be told apart.
        let plain = if self.name.is_empty() { " p" } else { "" };
        let _ = writeln!(out, "<path class=\"l s{style}{plain}\" d=\"{path}\"/>");
    }

    /// Markers, error bars and rings; bars stand `shift` pixels beside their markers.
    fn marks(
        &self,
        out: &mut String,
        place: &impl Fn(f64, f64) -> (f64, f64),
        area: &Area,
        shift: f64,
    ) {
        let style = self.style % STYLES;
        for point in self.points.iter().filter(|point| !point.y.is_nan()) {
            let (x, y) = place(point.x, point.y);
            match self.draw {
                Draw::Line | Draw::Steps => {}
                Draw::Faint => marker(out, "f", 0, x, y, 2.5, &point.title),
                Draw::Marked => {
                    if !point.low.is_nan() {
                        let [low, high] = [point.low, point.high].map(|bound| place(x, bound).1);
                        error_bar(out, style, x + shift, (low, high), area);
                    }
                    marker(out, &format!("m{style}"), style, x, y, 4.0, &point.title);
                }
                Draw::Ring => {
                    marker(out, &format!("r r{style}"), 0, x, y, 7.5, &point.title);
                    // The label goes where there is room.
                    let (class, at) = if x > LEFT + PLOT_WIDTH * 0.72 {
                        ("h e", x - 12.0)
                    } else {
                        ("h", x + 12.0)
                    };
                    let (title, y) = (escaped(&self.name), y + 16.0);
                    let _ = writeln!(
                        out,
                        "<text class=\"{class}\" x=\"{at:.1}\" y=\"{y:.1}\">{title}</text>"
                    );
                }
            }
        }
    }
}

/// A bar from `low` to `high` (pixels downwards); an end outside the plot area is cut there and has no cap.
fn error_bar(out: &mut String, style: usize, x: f64, (low, high): (f64, f64), area: &Area) {
    let (from, to) = (low.min(area.bottom()), high.max(area.top));
    if from <= to || x < LEFT {
        return;
    }
    let cap = |at: f64, whole: bool| {
        if whole { format!("M{:.1} {at:.1}h6", x - 3.0) } else { String::new() }
    };
    let (lower, upper) = (cap(from, from == low), cap(to, to == high));
    let _ =
        writeln!(out, "<path class=\"b s{style}\" d=\"M{x:.1} {from:.1}V{to:.1}{lower}{upper}\"/>");
}

/// One marker with its tooltip; `shape` modulo six.
fn marker(out: &mut String, class: &str, shape: usize, x: f64, y: f64, size: f64, title: &str) {
    let path = match shape % STYLES {
        1 => format!(
            "M{:.1} {:.1}h{s:.1}v{s:.1}h-{s:.1}z",
            x - size * 0.9,
            y - size * 0.9,
            s = size * 1.8
        ),
        2 => format!(
            "M{x:.1} {:.1}L{:.1} {:.1}H{:.1}z",
            y - size * 1.2,
            x + size * 1.2,
            y + size * 0.9,
            x - size * 1.2
        ),
        3 => format!(
            "M{x:.1} {:.1}L{:.1} {y:.1}L{x:.1} {:.1}L{:.1} {y:.1}z",
            y - size * 1.3,
            x + size * 1.3,
            y + size * 1.3,
            x - size * 1.3
        ),
        4 => format!(
            "M{x:.1} {:.1}L{:.1} {:.1}H{:.1}z",
            y + size * 1.2,
            x + size * 1.2,
            y - size * 0.9,
            x - size * 1.2
        ),
        5 => format!(
            "M{:.1} {:.1}h{s:.1}v{h:.1}h-{s:.1}z",
            x - size * 1.2,
            y - size * 0.5,
            s = size * 2.4,
            h = size
        ),
        _ => format!(
            "M{:.1} {y:.1}a{size:.1} {size:.1} 0 1 0 {d:.1} 0a{size:.1} {size:.1} 0 1 0 -{d:.1} 0z",
            x - size,
            d = 2.0 * size
        ),
    };
    if title.is_empty() {
        let _ = writeln!(out, "<path class=\"{class}\" d=\"{path}\"/>");
    } else {
        let title = escaped(title);
        let _ = writeln!(out, "<path class=\"{class}\" d=\"{path}\"><title>{title}</title></path>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(texts(&Axis::linear("", 0.0, 16.0)), ["0", "5", "10", "15", "20"]);
        assert_eq!(
            texts(&Axis::linear("", 87.3, 92.1)),
            ["87", "88", "89", "90", "91", "92", "93"]
        );
        assert_eq!(
            texts(&Axis::share("", 0.975, 1.0)),
            ["97.5 %", "98.0 %", "98.5 %", "99.0 %", "99.5 %", "100.0 %"]
        );
        assert_eq!(texts(&Axis::count("", 1.0)), ["0", "1"]);
        assert_eq!(texts(&Axis::count("", 12.0)), ["0", "5", "10", "15"]);
        assert_eq!(texts(&Axis::linear("", 0.0, 0.0)).len(), 2, "no extent");
        assert_eq!(texts(&Axis::linear("", f64::NAN, f64::NAN)).len(), 6, "no data");
        let wide = Axis::decades("", 0.3, 5000.0);
        assert_eq!(texts(&wide), ["0.1", "1", "10", "100", "1000", "10000"]);
        assert!((wide.place(10.0) - 0.4).abs() < 1e-9);
        let day = Axis::time(86_400.0);
        assert_eq!((texts(&day)[1], day.ticks.len(), day.label.as_str()), ("2", 13, "time [h]"));
        assert_eq!(texts(&Axis::time(1800.0)).last(), Some(&"30"));
        assert_eq!(Axis::time(604_800.0).label, "time [day]");
    }

    #[test]
    fn wide_values_are_spread_by_their_logarithm() {
        let values =
            |of: &[f64]| -> Vec<(f64, String)> { of.iter().map(|v| (*v, v.to_string())).collect() };
        let axis = Axis::values("target", &values(&[8.0, 1.0, 2.0, 4.0]));
        assert_eq!(texts(&axis), ["1", "2", "4", "8"]);
        let gaps = [1.0, 2.0, 4.0, 8.0].map(|v| axis.place(v));
        assert!((gaps[1] - gaps[0] - (gaps[3] - gaps[2])).abs() < 1e-9, "{gaps:?}");
        assert!(!Axis::values("target", &values(&[0.3, 0.9])).log);
        let one = Axis::values("target", &values(&[5.0]));
        assert_eq!(one.place(5.0), 0.5);
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escaped("a<b & \"c\">\u{1}"), "a&lt;b &amp; &quot;c&quot;&gt;\u{fffd}");
    }

    /// Red, green and blue in linear light, from `#rrggbb`.
    fn linear(colour: &str) -> [f64; 3] {
        [1, 3, 5].map(|at| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        })
    }

    fn product(matrix: [[f64; 3]; 3], v: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row.iter().zip(v).map(|(a, b)| a * b).sum())
    }

    /// Lightness, green to red, blue to yellow.
    fn lab(rgb: [f64; 3]) -> [f64; 3] {
        let xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]];
        let [x, y, z] = product(xyz, rgb.map(|c| c.clamp(0.0, 1.0)));
        let [x, y, z] = [x / 0.9505, y, z / 1.089]
            .map(|c| if c > 0.008_856 { c.cbrt() } else { 7.787 * c + 16.0 / 116.0 });
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    /// Source: Machado, Oliveira and Fernandes (2009), a physiologically based model, full severity: protanopia,
    /// deuteranopia, tritanopia.
    const SIGHTS: [[[f64; 3]; 3]; 4] = [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [
            [0.152_286, 1.052_583, -0.204_868],
            [0.114_503, 0.786_281, 0.099_216],
            [-0.003_882, -0.048_116, 1.051_998],
        ],
        [
            [0.367_322, 0.860_646, -0.227_968],
            [0.280_085, 0.672_501, 0.047_413],
            [-0.011_820, 0.042_940, 0.968_881],
        ],
        [
            [1.255_528, -0.076_749, -0.178_779],
            [-0.078_411, 0.930_809, 0.147_602],
            [0.004_733, 0.691_367, 0.303_900],
        ],
    ];

    /// Lines of any two styles differ for every sight (CIE 1976, where 2.3 is just noticeable), and stand out from the
    /// background as WCAG 2.1 asks of graphics (3 to 1).
    #[test]
    fn colours_can_be_told_apart() {
        let (light, dark) = STYLE.split_once("@media").unwrap();
        for (style, background) in [(light, "#ffffff"), (dark, "#16191d")] {
            assert!(style.contains(&format!(".bg{{fill:{}", &background.replace("ffffff", "fff"))));
            let colours: Vec<&str> = (0..STYLES)
                .map(|i| style.split_once(&format!(".s{i}{{stroke:")).unwrap().1.get(..7).unwrap())
                .collect();
            let luminance = |colour| product([[0.2126, 0.7152, 0.0722]; 3], linear(colour))[0];
            for (i, colour) in colours.iter().enumerate() {
                assert!(style.contains(&format!(".m{i}{{fill:{colour}}}")), "marker {i}");
                let (a, b) = (luminance(colour), luminance(background));
                let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
                assert!(contrast >= 3.0, "{colour} on {background}: {contrast:.2}");
                for other in &colours[..i] {
                    for sight in SIGHTS {
                        let [a, b] = [colour, other].map(|c| lab(product(sight, linear(c))));
                        let distance =
                            a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
                        assert!(distance > 20.0, "{colour} and {other}: {distance:.0}");
                    }
                }
            }
        }
    }
}
