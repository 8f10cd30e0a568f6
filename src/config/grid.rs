//! Value lists of a sweep: `[..]`, or `{ from, to, steps, scale }`, or `{ from, to, step }`, in exact decimals.

use super::diagnostic::{Code, Span};
use super::registry::Kind;
use super::tree::{Node, Table, Value};
use super::values::Problem;
use std::collections::BTreeSet;

/// Most values of one list.
const MAX_VALUES: usize = 10_000;
/// The same as a number of a file.
const MAX_STEPS: i128 = 10_000;

/// What a list of values looks like, for messages.
pub(super) const HINT: &str = "give a list, or `{ from = 8, to = 128, steps = 9, scale = \"log\" }`, or \
                               `{ from = 1, to = 5, step = 0.5 }`";

/// A decimal number: `digits * 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Decimal {
    digits: i128,
    scale: u32,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        let plain = !all.is_empty() && all.bytes().all(|b| b.is_ascii_digit());
        if !plain || all.len() > 18 {
            return None;
        }
        let digits: i128 = all.parse().ok()?;
        Some(Self { digits: sign * digits, scale: fraction.len() as u32 })
    }

    /// The digits at a larger scale.
    fn at(self, scale: u32) -> i128 {
        self.digits * 10_i128.pow(scale - self.scale)
    }

    fn as_f64(self) -> f64 {
        self.digits as f64 / 10_i128.pow(self.scale) as f64
    }

    /// The shortest text.
    fn text(self) -> String {
        let (mut digits, mut scale) = (self.digits, self.scale);
        while scale > 0 && digits % 10 == 0 {
            digits /= 10;
            scale -= 1;
        }
        if scale == 0 {
            return digits.to_string();
        }
        let sign = if digits < 0 { "-" } else { "" };
        let text = format!("{:0width$}", digits.abs(), width = scale as usize + 1);
        let (whole, fraction) = text.split_at(text.len() - scale as usize);
        format!("{sign}{whole}.{fraction}")
    }
}

/// The values of a list or a range; numbers of a range become numbers in the tree.
pub(super) fn values(node: &Node) -> Result<Vec<Node>, Problem> {
    match &node.value {
        Value::Array(items) if items.is_empty() => {
            Err(Problem::new(Code::Range, "has no values", "empty"))
        }
        Value::Array(items) if items.len() > MAX_VALUES => {
            Err(Problem::new(Code::TooManyCases, "has too many values", format!("{}", items.len())))
        }
        Value::Array(items) => match repeated(items) {
            Some(text) => Err(Problem::new(Code::Conflict, "holds a value twice", text)),
            None => Ok(items.clone()),
        },
        Value::Table(table) => range(table, &node.span),
        _ => Err(Problem::wrong_type("a list or a range", node).help(HINT)),
    }
}

/// The first value that is there before: it would be the same case once more.
fn repeated(items: &[Node]) -> Option<String> {
    let mut seen = BTreeSet::new();
    items.iter().map(|item| item.value.text()).find(|text| !seen.insert(text.clone()))
}

fn range(table: &Table, span: &Span) -> Result<Vec<Node>, Problem> {
    let wrong = |label: String| Problem::new(Code::Type, "is not a range", label).help(HINT);
    for entry in &table.entries {
        if !["from", "to", "steps", "step", "scale"].contains(&entry.key.as_str()) {
            return Err(wrong(format!("unknown key `{}`", entry.key)));
        }
    }
    let decimal = |key: &str| -> Result<Option<Decimal>, Problem> {
        let Some(entry) = table.get(key) else { return Ok(None) };
        let number = match &entry.node.value {
            Value::Integer(i) => Decimal::parse(&i.to_string()),
            Value::Float(_, text) | Value::String(text) => Decimal::parse(text),
            _ => None,
        };
        number.map(Some).ok_or_else(|| wrong(format!("`{key}` is not a plain decimal number")))
    };
    let missing = |key: &str| wrong(format!("`{key}` is missing"));
    let from = decimal("from")?.ok_or_else(|| missing("from"))?;
    let to = decimal("to")?.ok_or_else(|| missing("to"))?;
    let step = decimal("step")?;
    let steps = match table.get("steps").map(|e| &e.node.value) {
        None => None,
        Some(Value::Integer(n)) if (2..=MAX_STEPS).contains(n) => Some(*n),
        Some(_) => return Err(wrong(format!("`steps` must be 2 to {MAX_VALUES}"))),
    };
    let log = match table.get("scale").map(|e| &e.node.value) {
        None => false,
        Some(Value::String(s)) if s == "linear" => false,
        Some(Value::String(s)) if s == "log" => true,
        Some(_) => return Err(wrong("`scale` must be \"linear\" or \"log\"".to_owned())),
    };
    if from.as_f64() >= to.as_f64() {
        return Err(Problem::new(
            Code::Range,
            "has a `from` that is not below `to`",
            "empty range",
        ));
    }
    let numbers = match (steps, step) {
        (Some(steps), None) if log => logarithmic(from, to, steps)
            .ok_or_else(|| wrong("a log scale starts above 0".to_owned()))?,
        (Some(steps), None) => linear(from, to, steps),
        (None, Some(step)) if !log => stepped(from, to, step)?,
        (None, Some(_)) => return Err(wrong("`step` has no log scale, give `steps`".to_owned())),
        _ => return Err(wrong("give either `steps` or `step`".to_owned())),
    };
    Ok(numbers
        .into_iter()
        .map(|number| {
            let text = number.text();
            let value = match text.parse::<i128>() {
                Ok(integer) => Value::Integer(integer),
                Err(_) => Value::Float(number.as_f64(), text),
            };
            Node { value, span: span.clone() }
        })
        .collect())
}

/// Exact multiples of `step`; `to` is included if it is one.
fn stepped(from: Decimal, to: Decimal, step: Decimal) -> Result<Vec<Decimal>, Problem> {
    let scale = from.scale.max(to.scale).max(step.scale);
    let (first, last, step) = (from.at(scale), to.at(scale), step.at(scale));
    if step <= 0 {
        return Err(Problem::new(Code::Range, "has a `step` that is not above 0", ""));
    }
    if (last - first) / step >= MAX_VALUES as i128 {
        return Err(Problem::new(Code::TooManyCases, "has too many values", "step too small"));
    }
    let count = (last - first) / step;
    Ok((0..=count).map(|i| Decimal { digits: first + i * step, scale }).collect())
}

/// `steps` values at equal distances, rounded to thousandths (the resolution of a Kubernetes quantity); ends
/// exact.
fn linear(from: Decimal, to: Decimal, steps: i128) -> Vec<Decimal> {
    let scale = from.scale.max(to.scale).max(3);
    let (first, last) = (from.at(scale), to.at(scale));
    let mut out: Vec<Decimal> = (0..steps)
        .map(|i| {
            let whole = (last - first) * i;
            let digits = first + (2 * whole + (steps - 1)).div_euclid(2 * (steps - 1));
            if i == 0 || i == steps - 1 || scale == 3 {
                Decimal { digits, scale }
            } else {
                let unit = 10_i128.pow(scale - 3);
                Decimal { digits: (digits + unit / 2).div_euclid(unit), scale: 3 }
            }
        })
        .collect();
    out.dedup_by(|a, b| a.text() == b.text());
    out
}

/// `steps` values at equal ratios, rounded to three significant digits; ends exact.
fn logarithmic(from: Decimal, to: Decimal, steps: i128) -> Option<Vec<Decimal>> {
    let (first, last) = (from.as_f64(), to.as_f64());
    if first <= 0.0 {
        return None;
    }
    let ratio = last / first;
    let mut out = Vec::with_capacity(steps as usize);
    for i in 0..steps {
        let number = if i == 0 {
            from
        } else if i == steps - 1 {
            to
        } else {
            // libm: the same bits on every platform.
            let value = first * libm::pow(ratio, i as f64 / (steps - 1) as f64);
            let magnitude = libm::floor(libm::log10(value)) as i32;
            let scale = (2 - magnitude).max(0) as u32;
            let unit = libm::pow(10.0, f64::from(magnitude - 2));
            let digits =
                (value / unit).round() as i128 * 10_i128.pow((magnitude - 2).max(0) as u32);
            Decimal { digits, scale }
        };
        out.push(number);
    }
    out.dedup_by(|a, b| a.text() == b.text());
    Some(out)
}

/// The registered kind of such a list.
pub(super) fn kind() -> Kind {
    Kind::Grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Sources;
    use crate::config::tree;

    fn of(text: &str) -> Result<Vec<String>, String> {
        let mut sources = Sources::default();
        let source = sources.add("t", text);
        let node = tree::parse_value(text, source, 0).unwrap();
        values(&node)
            .map(|nodes| nodes.iter().map(|n| n.value.text()).collect())
            .map_err(|p| p.into_diagnostic("x", &node.span).title)
    }

    #[test]
    fn decimal_steps_are_exact() {
        let got = of("{ from = 0.1, to = 0.5, step = 0.1 }").unwrap();
        assert_eq!(got, ["0.1", "0.2", "0.3", "0.4", "0.5"]);
        assert_eq!(of("{ from = 1, to = 10, step = 4 }").unwrap(), ["1", "5", "9"]);
        assert_eq!(of("{ from = -1, to = 1, steps = 3 }").unwrap(), ["-1", "0", "1"]);
        assert_eq!(of("{ from = 0, to = 1, steps = 4 }").unwrap(), ["0", "0.333", "0.667", "1"]);
    }

    #[test]
    fn logarithmic_steps_have_three_digits() {
        let got = of("{ from = 8, to = 128, steps = 9, scale = \"log\" }").unwrap();
        assert_eq!(got, ["8", "11.3", "16", "22.6", "32", "45.3", "64", "90.5", "128"]);
        let got = of("{ from = 1, to = 100000, steps = 6, scale = \"log\" }").unwrap();
        assert_eq!(got, ["1", "10", "100", "1000", "10000", "100000"]);
    }

    #[test]
    fn bad_ranges_have_their_own_messages() {
        for (text, part) in [
            ("[]", "no values"),
            ("[1, 2, 1]", "holds a value twice"),
            ("[5, \"5\"]", "holds a value twice"),
            ("{ from = 5, to = 1, steps = 3 }", "not below"),
            ("{ from = 1, to = 2, step = 0 }", "not above 0"),
            ("{ from = 1, to = 2 }", "not a range"),
            ("{ from = 1, to = 2, steps = 1 }", "not a range"),
            ("{ from = 0, to = 2, steps = 3, scale = \"log\" }", "not a range"),
            ("{ from = 0, to = 1, step = 0.0000001 }", "too many"),
            ("7", "must be a list"),
            ("{ from = 1, to = 2, steps = 3, by = 4 }", "not a range"),
        ] {
            let title = of(text).unwrap_err();
            assert!(title.contains(part), "{text}: {title}");
        }
    }
}
