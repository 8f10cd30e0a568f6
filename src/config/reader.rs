//! A typed reader over the tree. Each call registers the key it asks for and reports what is wrong with its
//! value; a table that goes out of use reports the keys that nobody asked for. So one pass finds everything.
//!
//! In *describing* mode there is no file: every alternative is walked, nothing is reported, and the
//! registry that results is the schema.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use super::diagnostic::{Code, Diagnostic, Severity, Span};
use super::duration;
use super::registry::{KeyInfo, Kind, Registry};
use super::tree::{self, Node, Table, Value};
use super::values::{
    Problem, delay_of, delay_text, duration_of, integer_of, nearest, number_of, word_of,
};
use crate::rng::Dist;
use crate::units::SimDuration;

/// What all readers of one load share.
pub(crate) struct Context<'c> {
    diagnostics: RefCell<Vec<Diagnostic>>,
    registry: RefCell<Registry>,
    /// All keys there are, for hints; `None` while describing.
    all: Option<&'c Registry>,
}

impl<'c> Context<'c> {
    /// For reading a file; `all` is what describing gave.
    pub(crate) fn reading(all: &'c Registry) -> Self {
        Self { diagnostics: RefCell::default(), registry: RefCell::default(), all: Some(all) }
    }
    /// For describing all keys.
    pub(crate) fn describing() -> Self {
        Self { diagnostics: RefCell::default(), registry: RefCell::default(), all: None }
    }
    /// Whether there is no file.
    pub(crate) fn is_describing(&self) -> bool {
        self.all.is_none()
    }
    /// Reports a finding.
    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        if !self.is_describing() {
            self.diagnostics.borrow_mut().push(diagnostic);
        }
    }
    /// How many errors there are, to see later whether some were added.
    pub(crate) fn errors(&self) -> usize {
        let is_error = |d: &&Diagnostic| d.severity == Severity::Error;
        self.diagnostics.borrow().iter().filter(is_error).count()
    }
    /// The findings in the order of their places, and the registry.
    pub(crate) fn into_parts(self) -> (Vec<Diagnostic>, Registry) {
        let mut found = self.diagnostics.into_inner();
        found.sort_by_key(|d| {
            d.primary.as_ref().map(|p| (p.span.source, p.span.range.start, p.span.range.end))
        });
        found.dedup();
        (found, self.registry.into_inner())
    }
}

/// A reader of one table.
pub(crate) struct Fields<'a> {
    context: &'a Context<'a>,
    /// Path with `[]` for elements.
    pattern: String,
    /// Path with indices, for messages.
    path: String,
    table: Option<&'a Table>,
    span: Span,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// The reader of a whole file; `span` is where missing keys are reported.
    pub(crate) fn root(context: &'a Context<'a>, table: Option<&'a Table>, span: Span) -> Self {
        let known = RefCell::default();
        Self { context, pattern: String::new(), path: String::new(), table, span, known }
    }

    /// The shared context.
    pub(crate) fn context(&self) -> &'a Context<'a> {
        self.context
    }
    /// Where the table is.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }
    /// The path of the table, empty for the root.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
    /// The full path of one of its keys.
    pub(crate) fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }
    /// Whether the file has this key.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.node(name).is_some()
    }
    /// The value of a key as it is written.
    pub(crate) fn node(&self, name: &str) -> Option<&'a Node> {
        self.table.and_then(|t| t.get(name)).map(|e| &e.node)
    }
    /// Where the value of a key is, or the table if it is absent.
    pub(crate) fn span_of(&self, name: &str) -> Span {
        self.node(name).map_or_else(|| self.span.clone(), |n| n.span.clone())
    }
    /// Where a key itself is, or the table if it is absent.
    pub(crate) fn key_span(&self, name: &str) -> Span {
        let entry = self.table.and_then(|t| t.get(name));
        entry.map_or_else(|| self.span.clone(), |e| e.key_span.clone())
    }
    /// Where `path` below this table is, as in `states[1].rate_rps`, or as much of it as there is.
    pub(crate) fn span_at(&self, path: &str) -> Span {
        let Ok(steps) = tree::parse_path(path) else { return self.span.clone() };
        let mut span = self.span.clone();
        let mut node: Option<&Node> = None;
        for step in &steps {
            let next = match (step, node.map(|n| &n.value)) {
                (tree::Step::Key(key), None) => self.node(key),
                (tree::Step::Key(key), Some(Value::Table(t))) => t.get(key).map(|e| &e.node),
                (tree::Step::Index(i), Some(Value::Array(items))) => items.get(*i),
                _ => None,
            };
            let Some(next) = next else { break };
            span = next.span.clone();
            node = Some(next);
        }
        span
    }
    /// Reports a finding.
    pub(crate) fn report(&self, diagnostic: Diagnostic) {
        self.context.report(diagnostic);
    }

    /// Asks for a key; finish with one of the typed methods of [`Key`].
    pub(crate) fn key(&self, name: &'static str, doc: &'static str) -> Key<'_, 'a> {
        self.known.borrow_mut().push(name);
        Key { fields: self, name, doc, shown: None, required: false }
    }
}

impl Drop for Fields<'_> {
    /// Reports the keys that nobody asked for.
    fn drop(&mut self) {
        let known = self.known.borrow();
        for entry in self.table.iter().flat_map(|t| &t.entries) {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let place = if self.path.is_empty() { "the file" } else { self.path.as_str() };
            let mut diagnostic = Diagnostic::error(
                Code::UnknownKey,
                format!("unknown key `{}`", join(&self.path, &entry.key)),
            )
            .at(&entry.key_span, format!("not a key of {}", quoted(place)));
            if let Some(near) = nearest(&entry.key, known.iter().copied()) {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            } else {
                let elsewhere = self.context.all.and_then(|r| r.elsewhere(&entry.key).next());
                diagnostic = match elsewhere {
                    Some(path) => diagnostic.help(format!("there is a key `{path}`")),
                    None if known.is_empty() => diagnostic,
                    None => {
                        let mut names = known.clone();
                        names.sort_unstable();
                        diagnostic.help(format!("valid keys: {}", names.join(", ")))
                    }
                };
            }
            self.context.report(diagnostic);
        }
    }
}

fn quoted(place: &str) -> String {
    if place == "the file" { place.to_owned() } else { format!("`{place}`") }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A key that is being asked for.
pub(crate) struct Key<'f, 'a> {
    fields: &'f Fields<'a>,
    name: &'static str,
    doc: &'static str,
    shown: Option<String>,
    required: bool,
}

impl<'a> Key<'_, 'a> {
    /// States the default in words, for defaults that depend on other keys.
    pub(crate) fn shown(mut self, text: impl Into<String>) -> Self {
        self.shown = Some(text.into());
        self
    }
    /// Makes absence an error.
    pub(crate) fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn register(&self, kind: Kind, default: Option<String>) {
        self.fields.context.registry.borrow_mut().add(KeyInfo {
            path: join(&self.fields.pattern, self.name),
            kind,
            default: self.shown.clone().or(default),
            required: self.required,
            doc: self.doc.to_owned(),
        });
    }

    /// The value's node; reports it missing if it is required.
    fn take(&self, kind: Kind, default: Option<String>) -> Option<&'a Node> {
        self.register(kind, default);
        let node = self.fields.node(self.name);
        if node.is_none() && self.required {
            let path = self.fields.path_of(self.name);
            let doc = self.doc.lines().next().unwrap_or_default();
            self.fields.report(
                Diagnostic::error(Code::MissingKey, format!("`{path}` is missing"))
                    .at(&self.fields.span, format!("`{}` belongs here", self.name))
                    .help(format!("`{}`: {doc}", self.name)),
            );
        }
        node
    }

    /// Reads the value with `parse`; reports what it finds wrong.
    pub(crate) fn parse<T>(
        self,
        kind: Kind,
        default: Option<String>,
        parse: impl FnOnce(&'a Node) -> Result<T, Problem>,
    ) -> Option<T> {
        let node = self.take(kind, default)?;
        match parse(node) {
            Ok(value) => Some(value),
            Err(problem) => {
                let path = self.fields.path_of(self.name);
                self.fields.report(problem.into_diagnostic(&path, &node.span));
                None
            }
        }
    }

    /// A whole number.
    pub(crate) fn integer(self, range: RangeInclusive<i64>) -> Option<i64> {
        self.integer_with(range, None)
    }
    fn integer_with(self, range: RangeInclusive<i64>, default: Option<i64>) -> Option<i64> {
        let kind = Kind::Integer { min: *range.start(), max: *range.end() };
        self.parse(kind, default.map(|d| d.to_string()), |node| integer_of(node, &range))
    }
    /// A whole number with a default.
    pub(crate) fn integer_or(self, range: RangeInclusive<i64>, default: i64) -> i64 {
        self.integer_with(range, Some(default)).unwrap_or(default)
    }
    /// A `u32`.
    pub(crate) fn u32(self, range: RangeInclusive<u32>) -> Option<u32> {
        let range = i64::from(*range.start())..=i64::from(*range.end());
        self.integer(range).map(|v| v as u32)
    }
    /// A `u32` with a default.
    pub(crate) fn u32_or(self, range: RangeInclusive<u32>, default: u32) -> u32 {
        let range = i64::from(*range.start())..=i64::from(*range.end());
        self.integer_or(range, i64::from(default)) as u32
    }

    /// A number; whole numbers are numbers.
    pub(crate) fn number(self, range: RangeInclusive<f64>) -> Option<f64> {
        self.number_with(range, None)
    }
    fn number_with(self, range: RangeInclusive<f64>, default: Option<f64>) -> Option<f64> {
        let kind = Kind::Number { min: *range.start(), max: *range.end() };
        self.parse(kind, default.map(|d| d.to_string()), |node| number_of(node, &range))
    }
    /// A number with a default.
    pub(crate) fn number_or(self, range: RangeInclusive<f64>, default: f64) -> f64 {
        self.number_with(range, Some(default)).unwrap_or(default)
    }

    /// A duration.
    pub(crate) fn duration(self, range: RangeInclusive<SimDuration>) -> Option<SimDuration> {
        self.duration_with(range, None)
    }
    fn duration_with(
        self,
        range: RangeInclusive<SimDuration>,
        default: Option<SimDuration>,
    ) -> Option<SimDuration> {
        let (min, max) = (duration::text(*range.start()), duration::text(*range.end()));
        let default = default.map(|d| format!("\"{}\"", duration::text(d)));
        self.parse(Kind::Duration { min, max }, default, |node| duration_of(node, &range))
    }
    /// A duration with a default.
    pub(crate) fn duration_or(
        self,
        range: RangeInclusive<SimDuration>,
        default: SimDuration,
    ) -> SimDuration {
        self.duration_with(range, Some(default)).unwrap_or(default)
    }

    /// A delay.
    pub(crate) fn delay(self) -> Option<Dist> {
        self.parse(Kind::Delay, None, delay_of)
    }
    /// A delay with a default: a duration, `{ median, p95 }` of a lognormal, or `{ values }`.
    pub(crate) fn delay_or(self, default: &Dist) -> Dist {
        let shown = delay_text(default);
        self.parse(Kind::Delay, Some(shown), delay_of).unwrap_or_else(|| default.clone())
    }

    /// A boolean with a default.
    pub(crate) fn boolean_or(self, default: bool) -> bool {
        self.boolean_with(Some(default)).unwrap_or(default)
    }
    fn boolean_with(self, default: Option<bool>) -> Option<bool> {
        self.parse(Kind::Boolean, default.map(|d| d.to_string()), |node| match node.value {
            Value::Boolean(b) => Ok(b),
            _ => Err(Problem::wrong_type("`true` or `false`", node)),
        })
    }

    /// A string.
    pub(crate) fn string(self) -> Option<&'a str> {
        self.string_with(None)
    }
    /// A string with a default.
    pub(crate) fn string_or(self, default: &str) -> String {
        self.string_with(Some(format!("\"{default}\""))).unwrap_or(default).to_owned()
    }
    fn string_with(self, default: Option<String>) -> Option<&'a str> {
        self.parse(Kind::Text, default, |node| match &node.value {
            Value::String(s) => Ok(s.as_str()),
            _ => Err(Problem::wrong_type("a string", node)),
        })
    }

    /// One of several words.
    pub(crate) fn choice<T: Clone>(self, words: &[(&str, T)]) -> Option<T> {
        self.choice_with(words, None)
    }
    fn choice_with<T: Clone>(self, words: &[(&str, T)], default: Option<String>) -> Option<T> {
        let names: Vec<String> = words.iter().map(|(w, _)| (*w).to_owned()).collect();
        self.parse(Kind::Choice(names), default, |node| {
            let Value::String(word) = &node.value else {
                return Err(Problem::wrong_type("a string", node));
            };
            word_of(word, words)
        })
    }
    /// One of several words, with a default.
    pub(crate) fn choice_or<T: Clone + PartialEq>(self, words: &[(&str, T)], default: T) -> T {
        let shown = words.iter().find(|(_, t)| *t == default).map(|(w, _)| format!("\"{w}\""));
        self.choice_with(words, shown).unwrap_or(default)
    }

    /// A list; the elements are the caller's to read.
    pub(crate) fn list(self) -> Option<&'a [Node]> {
        self.parse(Kind::List, None, |node| match &node.value {
            Value::Array(items) => Ok(items.as_slice()),
            _ => Err(Problem::wrong_type("an array", node)),
        })
    }

    /// Whatever is there; the caller reads it.
    pub(crate) fn any(self, kind: Kind) -> Option<&'a Node> {
        self.take(kind, None)
    }

    /// A sub-table, if it is there.
    pub(crate) fn table(self) -> Option<Fields<'a>> {
        let describing = self.fields.context.is_describing();
        let pattern = join(&self.fields.pattern, self.name);
        let path = self.fields.path_of(self.name);
        let (context, span) = (self.fields.context, self.fields.key_span(self.name));
        let table = self.parse(Kind::Table, None, |node| match &node.value {
            Value::Table(table) => Ok(table),
            _ => Err(Problem::wrong_type("a table", node)),
        });
        (table.is_some() || describing).then(|| Fields {
            context,
            pattern,
            path,
            table,
            span,
            known: RefCell::default(),
        })
    }

    /// A sub-table that reads as empty when it is absent.
    pub(crate) fn table_or_empty(self) -> Fields<'a> {
        let fields = self.fields;
        let pattern = join(&fields.pattern, self.name);
        let path = fields.path_of(self.name);
        self.table().unwrap_or_else(|| Fields {
            context: fields.context,
            pattern,
            path,
            table: None,
            span: fields.span.clone(),
            known: RefCell::default(),
        })
    }

    /// A table of tables whose keys are the user's, such as names; in the order of the file.
    pub(crate) fn map(self) -> Vec<(&'a str, Fields<'a>)> {
        let fields = self.fields;
        let (pattern, path) =
            (format!("{}.*", join(&fields.pattern, self.name)), fields.path_of(self.name));
        let table = self.parse(Kind::Table, None, |node| match &node.value {
            Value::Table(table) => Ok(table),
            _ => Err(Problem::wrong_type("a table", node)),
        });
        let reader = |name: &str, table, span| Fields {
            context: fields.context,
            pattern: pattern.clone(),
            path: join(&path, name),
            table,
            span,
            known: RefCell::default(),
        };
        if fields.context.is_describing() {
            return vec![("*", reader("*", None, fields.span.clone()))];
        }
        let mut out = Vec::new();
        for entry in table.iter().flat_map(|t| &t.entries) {
            if let Value::Table(table) = &entry.node.value {
                let child = reader(&entry.key, Some(table), entry.key_span.clone());
                out.push((entry.key.as_str(), child));
            } else {
                let problem = Problem::wrong_type("a table", &entry.node);
                let path = join(&path, &entry.key);
                fields.report(problem.into_diagnostic(&path, &entry.node.span));
            }
        }
        out
    }

    /// An array of tables; empty if absent.
    pub(crate) fn tables(self) -> Vec<Fields<'a>> {
        let fields = self.fields;
        let name = self.name;
        let pattern = format!("{}[]", join(&fields.pattern, name));
        let reader = |table, span, index: usize| Fields {
            context: fields.context,
            pattern: pattern.clone(),
            path: format!("{}[{index}]", fields.path_of(name)),
            table,
            span,
            known: RefCell::default(),
        };
        let items = self.parse(Kind::Tables, None, |node| match &node.value {
            Value::Array(items) => Ok(items.as_slice()),
            _ => Err(Problem::wrong_type("an array of tables", node)),
        });
        if fields.context.is_describing() {
            return vec![reader(None, fields.span.clone(), 0)];
        }
        let mut out = Vec::new();
        for (index, item) in items.unwrap_or_default().iter().enumerate() {
            if let Value::Table(table) = &item.value {
                out.push(reader(Some(table), item.span.clone(), index));
            } else {
                let path = format!("{}[{index}]", fields.path_of(name));
                let problem = Problem::wrong_type("a table", item);
                fields.report(problem.into_diagnostic(&path, &item.span));
            }
        }
        out
    }
}
