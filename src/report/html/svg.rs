//! Charts as SVG text: panels with axes, lines, points with error bars, reference levels and a legend.
//!
//! Coordinates have one decimal, so the bytes depend on the data alone. Series differ by colour, dash and marker,
//! so that a print in grey can be read.

use std::fmt::Write as _;

/// Looks of the charts: a palette that colour-blind readers can tell apart, for light and dark screens and print.
// Source: Okabe and Ito, Color Universal Design (2008); black is the text colour here, yellow is left out.
pub(super) const STYLE: &str = include_str!("chart.css");

/// Series styles that differ; more series than that share styles.
pub(super) const STYLES: usize = 6;

/// Width of every figure in user units.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 18.0;
/// Pixels that markers may stick out of the plot area.
const EDGE: f64 = 7.0;
/// Average width of a character at the size of the labels.
const CHARACTER: f64 = 6.3;

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
        Self::with(label, low, high, |value, decimals| format!("{value:.decimals$}"))
    }

    /// A linear scale of shares from 0 to 1, shown in per cent.
    pub(super) fn share(label: &str, low: f64, high: f64) -> Self {
        let text = |value: f64, decimals: usize| {
            format!("{:.*} %", decimals.saturating_sub(2), value * 100.0)
        };
        let mut axis = Self::with(label, low, high, text);
        axis.high = axis.high.min(1.0).max(axis.low + 1e-9);
        axis.ticks.retain(|(value, _)| *value <= axis.high + 1e-9);
        axis
    }

    fn with(label: &str, low: f64, high: f64, text: impl Fn(f64, usize) -> String) -> Self {
        let (low, high) =
            if low.is_finite() && high.is_finite() { (low, high) } else { (0.0, 1.0) };
        let step = round_step((high - low).max(1e-9) / 5.0);
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

    fn render(&self, namespace: &str, style: &str) -> String {
        let mut body = String::new();
        let mut top = 26.0;
        for panel in &self.panels {
            top = panel.draw(&mut body, top);
        }
        let title = escaped(&self.title);
        format!(
            "<svg{namespace} class=\"chart\" viewBox=\"0 0 {WIDTH:.0} {top:.0}\" role=\"img\" \
             aria-label=\"{title}\">\n{style}<rect class=\"bg\" width=\"{WIDTH:.0}\" height=\"{top:.0}\"/>\n\
             <text class=\"t\" x=\"{LEFT:.0}\" y=\"18\">{title}</text>\n{body}</svg>"
        )
    }
}

impl Panel {
    /// Draws the panel below `top`; returns where the next one may begin.
    fn draw(&self, out: &mut String, top: f64) -> f64 {
        let top = self.legend(out, top) + 8.0;
        let width = WIDTH - LEFT - RIGHT;
        let bottom = top + self.height;
        self.axes(out, top, width);
        let _ = writeln!(
            out,
            "<svg x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" overflow=\"hidden\">",
            LEFT - EDGE,
            top - EDGE,
            width + 2.0 * EDGE,
            self.height + 2.0 * EDGE
        );
        let place = |x: f64, y: f64| {
            (EDGE + self.x.place(x) * width, EDGE + (1.0 - self.y.place(y)) * self.height)
        };
        for (value, _) in &self.levels {
            let y = place(self.x.low, *value).1;
            let (from, to) = (EDGE, EDGE + width);
            let _ = writeln!(out, "<path class=\"lv\" d=\"M{from:.1} {y:.1}H{to:.1}\"/>");
        }
        for series in &self.series {
            series.draw(out, &place, (width, self.height));
        }
        out.push_str("</svg>\n");
        // Words on the levels go on top, on the right, where lines of growing load seldom are.
        for (value, text) in &self.levels {
            let place = self.y.place(*value);
            if (0.0..=1.0).contains(&place) {
                let y = bottom - place * self.height;
                let y = if place > 0.9 { y + 13.0 } else { y - 4.0 };
                let _ = writeln!(
                    out,
                    "<text class=\"h e\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                    WIDTH - RIGHT - 3.0,
                    escaped(text)
                );
            }
        }
        bottom + if self.x.label.is_empty() { 10.0 } else { 42.0 }
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
                Draw::Ring => marker(out, "r", 0, x + 14.0, middle, 6.0, ""),
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
    fn axes(&self, out: &mut String, top: f64, width: f64) {
        let bottom = top + self.height;
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

impl Series {
    fn draw(
        &self,
        out: &mut String,
        place: &impl Fn(f64, f64) -> (f64, f64),
        (width, height): (f64, f64),
    ) {
        let style = self.style % STYLES;
        let floor = EDGE + height;
        if matches!(self.draw, Draw::Line | Draw::Steps | Draw::Marked) {
            let mut path = String::new();
            let mut pen = None;
            for point in &self.points {
                if point.y.is_nan() {
                    pen = None;
                    continue;
                }
                let (x, y) = place(point.x, point.y);
                let _ = match pen {
                    None => write!(path, "M{x:.1} {y:.1}"),
                    Some(_) if self.draw == Draw::Steps => write!(path, "H{x:.1}V{y:.1}"),
                    Some(_) => write!(path, "L{x:.1} {y:.1}"),
                };
                pen = Some(y);
            }
            if self.draw == Draw::Steps && pen.is_some() {
                let _ = write!(path, "H{:.1}", EDGE + width);
            }
            // A line that is alone in its panel needs no dash to be told apart.
            let plain = if self.name.is_empty() { " p" } else { "" };
            let _ = writeln!(out, "<path class=\"l s{style}{plain}\" d=\"{path}\"/>");
        }
        for point in self.points.iter().filter(|point| !point.y.is_nan()) {
            let (x, y) = place(point.x, point.y);
            match self.draw {
                Draw::Line | Draw::Steps => {}
                Draw::Faint => marker(out, "f", 0, x, y, 2.5, &point.title),
                Draw::Marked => {
                    if !point.low.is_nan() {
                        error_bar(
                            out,
                            style,
                            x,
                            place(point.x, point.low).1,
                            place(point.x, point.high).1,
                            floor,
                        );
                    }
                    marker(out, &format!("m{style}"), style, x, y, 4.0, &point.title);
                }
                Draw::Ring => {
                    marker(out, "r", 0, x, y, 7.5, &point.title);
                    // The label goes where there is room.
                    let (class, at) =
                        if x > width * 0.72 { ("h e", x - 12.0) } else { ("h", x + 12.0) };
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
fn error_bar(out: &mut String, style: usize, x: f64, low: f64, high: f64, floor: f64) {
    let (from, to) = (low.min(floor), high.max(EDGE));
    if from <= to || x < EDGE {
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
}
