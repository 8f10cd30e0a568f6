//! What a single value must look like, and what is wrong with it if it does not.

use std::ops::RangeInclusive;

use super::diagnostic::{Code, Diagnostic, Span};
use super::duration;
use super::tree::{Node, Value};
use crate::rng::Dist;
use crate::units::SimDuration;

/// Why a value cannot be used: code, title without the key, remark, hints.
pub(crate) struct Problem {
    code: Code,
    title: String,
    label: String,
    help: Vec<String>,
}

impl Problem {
    /// A problem; `title` follows the key's name, as in "must be an integer".
    pub(crate) fn new(code: Code, title: impl Into<String>, label: impl Into<String>) -> Self {
        Self { code, title: title.into(), label: label.into(), help: Vec::new() }
    }
    /// Adds a hint.
    pub(crate) fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
    /// A value of another type than `expected`.
    pub(crate) fn wrong_type(expected: &str, node: &Node) -> Self {
        Self::new(
            Code::Type,
            format!("must be {expected}"),
            format!("this is {}", node.value.kind()),
        )
    }
    /// The diagnostic about `what` at `span`.
    pub(crate) fn into_diagnostic(self, what: &str, span: &Span) -> Diagnostic {
        let mut d =
            Diagnostic::error(self.code, format!("`{what}` {}", self.title)).at(span, self.label);
        d.help = self.help;
        d
    }
}

/// The most similar of `candidates`, if it is similar enough to be meant.
pub(crate) fn nearest<'n>(
    word: &str,
    candidates: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&word, &c.to_lowercase()), c))
        .filter(|(score, _)| *score > 0.82)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, c)| c)
}

/// What `make` knows under the name that the node holds, one of `names`.
pub(crate) fn preset_of<T, E>(
    node: &Node,
    names: &[&str],
    make: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Problem> {
    let Value::String(name) = &node.value else {
        return Err(Problem::wrong_type("the name of a preset", node));
    };
    make(name).map_err(|_| {
        let label = nearest(name, names.iter().copied())
            .map_or_else(|| "no preset".to_owned(), |near| format!("did you mean `{near}`?"));
        Problem::new(Code::Choice, format!("must be one of {}", names.join(", ")), label)
    })
}

/// The choice that `word` names.
pub(crate) fn word_of<T: Clone>(word: &str, words: &[(&str, T)]) -> Result<T, Problem> {
    if let Some((_, value)) = words.iter().find(|(w, _)| *w == word) {
        return Ok(value.clone());
    }
    let names: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
    let list = names.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
    let label = match nearest(word, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "not one of them".to_owned(),
    };
    Err(Problem::new(Code::Choice, format!("must be one of {list}"), label))
}

/// The minor release N of `major.N` or `major.N.P`, if it is one of those `supported`.
pub(crate) fn minor_of(text: &str, major: &str, supported: &RangeInclusive<u32>) -> Option<u32> {
    let mut parts = text.trim_start_matches('v').split('.');
    let is_major = parts.next() == Some(major);
    let minor = parts.next().and_then(|minor| minor.parse().ok());
    minor.filter(|minor| is_major && supported.contains(minor))
}

/// The minor release that a node names, as `example` does; `hint` helps with one that is not supported.
pub(crate) fn release_of(
    node: &Node,
    major: &str,
    supported: &RangeInclusive<u32>,
    example: &str,
    hint: Option<&str>,
) -> Result<u32, Problem> {
    // A number is fine too: its literal text is kept, and shells take quotes away.
    let (Value::String(text) | Value::Float(_, text)) = &node.value else {
        return Err(Problem::wrong_type(&format!("a string, as in \"{example}\""), node));
    };
    minor_of(text, major, supported).ok_or_else(|| {
        let (first, last) = (supported.start(), supported.end());
        let title = format!("must be a release from {major}.{first} to {major}.{last}");
        let problem = Problem::new(Code::Version, title, "not modelled");
        hint.into_iter().fold(problem, Problem::help)
    })
}

/// A whole number within `range`.
pub(crate) fn integer_of(node: &Node, range: &RangeInclusive<i64>) -> Result<i64, Problem> {
    let Value::Integer(value) = node.value else {
        let problem = Problem::wrong_type("an integer", node);
        return Err(match &node.value {
            Value::String(s) if s.parse::<i128>().is_ok() => problem.help("leave out the quotes"),
            _ => problem,
        });
    };
    match i64::try_from(value) {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => {
            let title = between(range.start(), range.end(), &i64::MAX);
            Err(Problem::new(Code::Range, title, "out of range"))
        }
    }
}

/// A number within `range`.
pub(crate) fn number_of(node: &Node, range: &RangeInclusive<f64>) -> Result<f64, Problem> {
    let value = match node.value {
        Value::Integer(i) => i as f64,
        Value::Float(f, _) => f,
        _ => return Err(Problem::wrong_type("a number", node)),
    };
    if range.contains(&value) && value.is_finite() {
        return Ok(value);
    }
    Err(Problem::new(Code::Range, between(range.start(), range.end(), &f64::MAX), "out of range"))
}

/// A duration within `range`.
pub(crate) fn duration_of(
    node: &Node,
    range: &RangeInclusive<SimDuration>,
) -> Result<SimDuration, Problem> {
    let text = match &node.value {
        Value::String(text) => text,
        Value::Integer(_) | Value::Float(..) => {
            let title = "must be a duration with a unit";
            return Err(Problem::new(Code::Duration, title, "a bare number").help(duration::HINT));
        }
        _ => return Err(Problem::wrong_type("a duration", node).help(duration::HINT)),
    };
    let value = duration::parse(text).map_err(|remark| {
        Problem::new(Code::Duration, "is not a duration", remark).help(duration::HINT)
    })?;
    if range.contains(&value) {
        return Ok(value);
    }
    let (min, max) = (duration::text(*range.start()), duration::text(*range.end()));
    let title = if *range.end() == SimDuration::MAX {
        format!("must be at least {min}")
    } else {
        format!("must be between {min} and {max}")
    };
    Err(Problem::new(Code::Range, title, "out of range"))
}

fn between<T: std::fmt::Display + PartialEq>(min: &T, max: &T, open: &T) -> String {
    if max == open {
        format!("must be at least {min}")
    } else {
        format!("must be between {min} and {max}")
    }
}

/// A delay: a duration, `{ median, p95 }`, or `{ values }`.
pub(crate) fn delay_of(node: &Node) -> Result<Dist, Problem> {
    let hint = "a delay is a duration, `{ median = \"60s\", p95 = \"120s\" }` or \
                `{ values = [\"50s\", \"70s\"] }`";
    let all = SimDuration::ZERO..=SimDuration::DAY;
    let Value::Table(table) = &node.value else {
        return duration_of(node, &all).map(Dist::Constant).map_err(|p| p.help(hint));
    };
    let keys: Vec<&str> = table.entries.iter().map(|e| e.key.as_str()).collect();
    let positive = SimDuration::from_ps(1)..=SimDuration::DAY;
    match (table.get("median"), table.get("p95"), table.get("values")) {
        (Some(median), Some(p95), None) if keys.len() == 2 => {
            let median = duration_of(&median.node, &positive)?;
            let p95 = duration_of(&p95.node, &positive)?;
            if p95 < median {
                let title = "has a `p95` below its `median`";
                return Err(Problem::new(Code::Range, title, "not a distribution"));
            }
            Ok(Dist::LogNormal { median, p95 })
        }
        (None, None, Some(values)) if keys.len() == 1 => {
            let Value::Array(items) = &values.node.value else {
                return Err(Problem::wrong_type("a list of durations", &values.node).help(hint));
            };
            let values: Result<Vec<_>, _> = items.iter().map(|n| duration_of(n, &all)).collect();
            let values = values?;
            if values.is_empty() {
                return Err(Problem::new(Code::Range, "has no values", "empty").help(hint));
            }
            Ok(Dist::Empirical(values))
        }
        _ => {
            let label = format!("it has {}", keys.join(", "));
            Err(Problem::new(Code::Type, "is not a delay", label).help(hint))
        }
    }
}

/// A delay as one would write it.
pub(crate) fn delay_text(delay: &Dist) -> String {
    match delay {
        Dist::Constant(d) => format!("\"{}\"", duration::text(*d)),
        Dist::LogNormal { median, p95 } => format!(
            "{{ median = \"{}\", p95 = \"{}\" }}",
            duration::text(*median),
            duration::text(*p95)
        ),
        Dist::Empirical(values) => {
            let values: Vec<String> =
                values.iter().map(|d| format!("\"{}\"", duration::text(*d))).collect();
            format!("{{ values = [{}] }}", values.join(", "))
        }
    }
}
