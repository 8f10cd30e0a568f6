//! What is wrong with an input, where, and what to do about it.
//!
//! Every finding has a [`Code`] that never changes its meaning, a title, the place in the source it is
//! about, and a hint. All findings of an input are collected and shown together, in the look of `rustc`.
//! Whether to print them, and where, is the caller's business: this module makes strings.

use std::fmt;
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

pub use super::code::Code;

/// One text that diagnostics point into: a file, or a `--set` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The path as the user gave it, or `--set` for an override.
    pub name: String,
    /// The text, or an excerpt of it; empty if it cannot be shown.
    pub text: String,
    /// Number of the text's first line in the file, from 1.
    pub first_line: usize,
}

/// Index of a [`Source`] in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceId(u32);

/// The texts that diagnostics of one load point into, in order of loading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a text and returns its id.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        self.add_excerpt(name, text, 1)
    }

    /// Adds lines of a text, of which the first has the number `first_line`.
    pub fn add_excerpt(
        &mut self,
        name: impl Into<String>,
        text: impl Into<String>,
        first_line: usize,
    ) -> SourceId {
        self.0.push(Source { name: name.into(), text: text.into(), first_line });
        SourceId(self.0.len() as u32 - 1)
    }

    /// The text of `id`. Panics on an id of another set.
    pub fn get(&self, id: SourceId) -> &Source {
        &self.0[id.0 as usize]
    }
}

/// A byte range of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which text.
    pub source: SourceId,
    /// Byte offsets, on character boundaries.
    pub range: Range<usize>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The input cannot be used; exit code 2.
    Error,
    /// The input can be used, but a careful colleague would ask.
    Warning,
}

/// A place with a remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// The remark beside the caret; may be empty.
    pub text: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of finding this is.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// The finding in one line, without a full stop.
    pub title: String,
    /// Where it is; `None` if it is about a whole input that has no text.
    pub primary: Option<Label>,
    /// Other places it depends on.
    pub secondary: Vec<Label>,
    /// What to do about it, each on its own line.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// The file at `path`, named at `span`, cannot be read.
    pub(crate) fn unreadable(path: &str, reason: &str, span: &Span) -> Self {
        Self::error(Code::Unreadable, format!("cannot read `{path}`: {reason}")).at(span, "")
    }

    /// An error of kind `code`.
    pub fn error(code: Code, title: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            title: title.into(),
            primary: None,
            secondary: Vec::new(),
            help: Vec::new(),
        }
    }

    /// A warning of kind `code`.
    pub fn warning(code: Code, title: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, title) }
    }

    /// Points at `span` with a remark.
    #[must_use]
    pub fn at(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.primary = Some(Label { span: span.clone(), text: label.into() });
        self
    }

    /// Points at a further place.
    #[must_use]
    pub fn and_at(mut self, span: &Span, label: impl Into<String>) -> Self {
        self.secondary.push(Label { span: span.clone(), text: label.into() });
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

/// The findings of one load, with the texts they point into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// The texts.
    pub sources: Sources,
    /// The findings, in the order they were made.
    pub items: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Whether any finding is an error.
    pub fn has_errors(&self) -> bool {
        self.items.iter().any(|d| d.severity == Severity::Error)
    }

    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.items.push(diagnostic);
    }

    /// All findings as text, in the look of `rustc`: title with code, path with line and column, the
    /// source line with a caret, hints; an empty line between findings.
    ///
    /// `color` adds ANSI styles; `width` is the terminal's width in columns.
    pub fn render(&self, color: bool, width: usize) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(width);
        let mut out = String::new();
        for diagnostic in &self.items {
            let report = [self.group(diagnostic)];
            out.push_str(&renderer.render(&report));
            out.push_str("\n\n");
        }
        out
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(diagnostic.title.as_str()).id(diagnostic.code.as_str());
        let mut group = Group::with_title(title);
        if let Some(primary) = &diagnostic.primary {
            // One snippet per source: the primary one first.
            let mut sources = vec![primary.span.source];
            for label in &diagnostic.secondary {
                if !sources.contains(&label.span.source) {
                    sources.push(label.span.source);
                }
            }
            for id in sources {
                let source = self.sources.get(id);
                if source.text.is_empty() {
                    group =
                        group.element(Origin::path(source.name.as_str()).line(source.first_line));
                    continue;
                }
                let labels = std::iter::once((primary, AnnotationKind::Primary))
                    .chain(diagnostic.secondary.iter().map(|l| (l, AnnotationKind::Context)))
                    .filter(|(label, _)| label.span.source == id);
                let annotations = labels.map(|(label, kind)| {
                    let text = (!label.text.is_empty()).then_some(label.text.as_str());
                    kind.span(within(&source.text, &label.span.range)).label(text)
                });
                group = group.element(
                    Snippet::source(source.text.as_str())
                        .path(source.name.as_str())
                        .line_start(source.first_line)
                        .annotations(annotations),
                );
            }
        }
        for help in &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }
}

/// `range` cut to `text` and moved outwards to character boundaries, so that no range can panic.
fn within(text: &str, range: &Range<usize>) -> Range<usize> {
    let mut start = range.start.min(text.len());
    let mut end = range.end.clamp(start, text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false, 100))
    }
}

impl std::error::Error for Diagnostics {}
