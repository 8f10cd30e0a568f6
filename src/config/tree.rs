//! A TOML document in which every key and every value knows its place, in the order of the file.
//!
//! Overrides are put into the same tree with their own place ([`set`]), so that later checks need not
//! know where a value came from.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Diagnostic, SourceId, Sources, Span};

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The value.
    pub(crate) value: Value,
    /// Where it is written.
    pub(crate) span: Span,
}

/// What TOML can say.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// A string.
    String(String),
    /// A whole number; wide enough for a seed.
    Integer(i128),
    /// A number with a fraction or an exponent, and its literal text without underscores.
    Float(f64, String),
    /// `true` or `false`.
    Boolean(bool),
    /// A date or a time, as text.
    Datetime(String),
    /// `[..]`, or an array of tables.
    Array(Vec<Node>),
    /// `{..}`, or a table.
    Table(Table),
}

/// A table's entries in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// The entries; keys are unique.
    pub(crate) entries: Vec<Entry>,
}

/// `key = value`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The key without quotes.
    pub(crate) key: String,
    /// Where the key is written.
    pub(crate) key_span: Span,
    /// The value.
    pub(crate) node: Node,
}

impl Table {
    /// The entry of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }
    fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|e| e.key == key)
    }
}

impl Value {
    /// The type in words, with its article, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(..) => "a number with a fraction",
            Self::Boolean(_) => "a boolean",
            Self::Datetime(_) => "a date or time",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }

    /// The value as one would type it in a table of results: strings without quotes.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::String(s) | Self::Datetime(s) | Self::Float(_, s) => s.clone(),
            Self::Integer(i) => i.to_string(),
            Self::Boolean(b) => b.to_string(),
            Self::Array(items) => {
                let items: Vec<String> = items.iter().map(|n| n.value.text()).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Table(table) => {
                let entries: Vec<String> = table
                    .entries
                    .iter()
                    .map(|e| format!("{} = {}", e.key, e.node.value.text()))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}

/// Parses a document that `sources` already holds. All syntax errors are returned at once.
pub(crate) fn parse(sources: &Sources, source: SourceId) -> Result<Table, Vec<Diagnostic>> {
    let text = &sources.get(source).text;
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut found: Vec<Diagnostic> = errors
        .iter()
        .map(|e| {
            let range = e.span().unwrap_or(0..0);
            let message = e.message().lines().collect::<Vec<_>>().join(", ");
            Diagnostic::error(Code::Syntax, "this is not valid TOML")
                .at(&Span { source, range }, message)
        })
        .collect();
    let table = table_of(document.get_ref(), source, 0, &mut found);
    if found.is_empty() { Ok(table) } else { Err(found) }
}

fn table_of(
    table: &DeTable<'_>,
    source: SourceId,
    shift: usize,
    errors: &mut Vec<Diagnostic>,
) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_span: span_of(source, shift, key),
            node: node_of(value, source, shift, errors),
        })
        .collect();
    // The parser's map is sorted by key; people think in the order of the file.
    entries.sort_by_key(|e| e.key_span.range.start);
    Table { entries }
}

fn span_of<T>(source: SourceId, shift: usize, spanned: &Spanned<T>) -> Span {
    let range = spanned.span();
    Span { source, range: range.start + shift..range.end + shift }
}

fn node_of(
    value: &Spanned<DeValue<'_>>,
    source: SourceId,
    shift: usize,
    errors: &mut Vec<Diagnostic>,
) -> Node {
    let span = span_of(source, shift, value);
    let value = match value.get_ref() {
        DeValue::String(s) => Value::String(s.to_string()),
        DeValue::Integer(i) => {
            let number = i128::from_str_radix(i.as_str(), i.radix());
            if number.is_err() {
                errors.push(
                    Diagnostic::error(Code::Range, "an integer is too large")
                        .at(&span, "does not fit in 128 bits"),
                );
            }
            Value::Integer(number.unwrap_or(0))
        }
        DeValue::Float(f) => {
            let text = f.as_str().replace('_', "");
            Value::Float(text.parse().unwrap_or(f64::NAN), text)
        }
        DeValue::Boolean(b) => Value::Boolean(*b),
        DeValue::Datetime(d) => Value::Datetime(d.to_string()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|n| node_of(n, source, shift, errors)).collect())
        }
        DeValue::Table(table) => Value::Table(table_of(table, source, shift, errors)),
    };
    Node { value, span }
}

/// One step of a path into the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A key of a table.
    Key(String),
    /// An element of an array.
    Index(usize),
}

/// Parses `a.b[0]."c d"`. The error is a remark for a caret at the given byte offset.
pub(crate) fn parse_path(text: &str) -> Result<Vec<Step>, (usize, &'static str)> {
    let mut steps = Vec::new();
    let mut rest = text;
    let at = |rest: &str| text.len() - rest.len();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or((at(rest), "this quote is not closed"))?;
            steps.push(Step::Key(quoted[..end].to_owned()));
            rest = &quoted[end + 1..];
        } else {
            let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            let end = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
            if end == 0 {
                return Err((at(rest), "a key was expected here"));
            }
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        while let Some(index) = rest.strip_prefix('[') {
            let end = index.find(']').ok_or((at(rest), "this bracket is not closed"))?;
            let number = index[..end].parse().map_err(|_| (at(index), "not an index"))?;
            steps.push(Step::Index(number));
            rest = &index[end + 1..];
        }
        if rest.is_empty() {
            return Ok(steps);
        }
        rest = rest.strip_prefix('.').ok_or((at(rest), "`.`, `[` or the end was expected"))?;
    }
}

/// Parses the value of an override: TOML, or any other text as a string. `shift` is where `text`
/// begins in `source`.
pub(crate) fn parse_value(
    text: &str,
    source: SourceId,
    shift: usize,
) -> Result<Node, Vec<Diagnostic>> {
    let leading = text.len() - text.trim_start().len();
    let trimmed = text.trim();
    let span = Span { source, range: shift + leading..shift + leading + trimmed.len() };
    // A value that starts like a TOML collection or string is meant as one: report its errors.
    let collection = trimmed.starts_with(['[', '{', '"', '\'']);
    match DeValue::parse(trimmed) {
        Ok(value) => {
            let mut errors = Vec::new();
            let node = node_of(&value, source, shift + leading, &mut errors);
            if errors.is_empty() { Ok(node) } else { Err(errors) }
        }
        Err(e) if collection => Err(vec![
            Diagnostic::error(Code::Override, "this value is not valid TOML")
                .at(&span, e.message().lines().collect::<Vec<_>>().join(", ")),
        ]),
        Err(_) => Ok(Node { value: Value::String(trimmed.to_owned()), span }),
    }
}

/// Puts `node` at `path`, making tables on the way. An index may be one past the end of its array.
pub(crate) fn set(
    root: &mut Table,
    path: &[Step],
    key_span: &Span,
    node: Node,
) -> Result<(), Box<Diagnostic>> {
    let mut table = root;
    let mut steps = path.iter();
    let mut walked = String::new();
    let Some(Step::Key(mut key)) = steps.next().cloned() else {
        let error = Diagnostic::error(Code::Override, "a path starts with a key");
        return Err(Box::new(error.at(key_span, "")));
    };
    loop {
        walked.push_str(&key);
        if table.get(&key).is_none() {
            table.entries.push(Entry {
                key: key.clone(),
                key_span: key_span.clone(),
                node: Node { value: Value::Table(Table::default()), span: key_span.clone() },
            });
        }
        let entry = table.get_mut(&key).expect("just inserted");
        let mut here = &mut entry.node;
        let next = loop {
            match steps.next() {
                None => {
                    *here = node;
                    entry.key_span = key_span.clone();
                    return Ok(());
                }
                Some(Step::Key(k)) => break k.clone(),
                Some(Step::Index(i)) => here = element(here, *i, &walked, key_span)?,
            }
        };
        table = match &mut here.value {
            Value::Table(t) => t,
            other => {
                let title = format!("`{walked}` is {}, it has no keys", other.kind());
                let label = format!("cannot set `{next}` in it");
                let error = Diagnostic::error(Code::Override, title).at(key_span, label);
                return Err(Box::new(error));
            }
        };
        walked.push('.');
        key = next;
    }
}

fn element<'n>(
    node: &'n mut Node,
    index: usize,
    walked: &str,
    key_span: &Span,
) -> Result<&'n mut Node, Box<Diagnostic>> {
    // A table that was only just made on the way becomes an array.
    if matches!(&node.value, Value::Table(t) if t.entries.is_empty()) && node.span == *key_span {
        node.value = Value::Array(Vec::new());
    }
    let kind = node.value.kind();
    let Value::Array(items) = &mut node.value else {
        let title = format!("`{walked}` is {kind}, it has no elements");
        return Err(Box::new(Diagnostic::error(Code::Override, title).at(key_span, "")));
    };
    if index == items.len() {
        let value = Value::Table(Table::default());
        items.push(Node { value, span: key_span.clone() });
    }
    let length = items.len();
    items.get_mut(index).ok_or_else(|| {
        let title = format!("`{walked}` has {length} elements, there is no element {index}");
        Box::new(Diagnostic::error(Code::Override, title).at(key_span, "indices count from 0"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> (Table, Sources) {
        let mut sources = Sources::default();
        let id = sources.add("t.toml", text);
        (parse(&sources, id).unwrap(), sources)
    }

    fn put(
        table: &mut Table,
        sources: &mut Sources,
        argument: &str,
    ) -> Result<(), Box<Diagnostic>> {
        let (key, value) = argument.split_once('=').unwrap();
        let id = sources.add("--set", argument);
        let node = parse_value(value, id, key.len() + 1).unwrap();
        let span = Span { source: id, range: 0..key.len() };
        set(table, &parse_path(key).unwrap(), &span, node)
    }

    #[test]
    fn entries_keep_the_order_of_the_file() {
        let (table, _) = tree("z = 1\na = 2\n[m]\n[b]\n");
        let keys: Vec<&str> = table.entries.iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["z", "a", "m", "b"]);
    }

    #[test]
    fn all_syntax_errors_are_reported() {
        let mut sources = Sources::default();
        let id = sources.add("t.toml", "a = \nb = 1\nc = [1\n");
        assert!(parse(&sources, id).unwrap_err().len() >= 2);
    }

    #[test]
    fn overrides_reach_tables_and_elements() {
        let (mut table, mut sources) = tree("[[hpa.metrics]]\nname = \"a\"\n");
        put(&mut table, &mut sources, "hpa.metrics[0].target_average_value=5").unwrap();
        put(&mut table, &mut sources, "hpa.metrics[1].name=b c").unwrap();
        put(&mut table, &mut sources, "new.list[0]=7").unwrap();
        let text = Value::Table(table).text();
        assert_eq!(
            text,
            "{ hpa = { metrics = [{ name = a, target_average_value = 5 }, { name = b c }] }, \
             new = { list = [7] } }"
        );
    }

    #[test]
    fn overrides_of_nothing_are_errors() {
        let (mut table, mut sources) = tree("a = 1\nb = [1]\n");
        assert!(put(&mut table, &mut sources, "a.b=1").is_err());
        assert!(put(&mut table, &mut sources, "a[0]=1").is_err());
        assert!(put(&mut table, &mut sources, "b[7]=1").is_err());
        for bad in ["", ".", "a..b", "a[", "a[x]", "a b", "\"x"] {
            assert!(parse_path(bad).is_err(), "{bad}");
        }
    }
}
