//! Traces that an experiment names, in hpasim's own format: bad rows become diagnostics at their lines.

use super::diagnostic::{Code, Diagnostic, Sources, Span};
use crate::workload::Recorded;
use crate::workload::import::{Content, ReadOptions, TraceError, read as read_any};

/// Most bad rows that are shown.
const SHOWN: usize = 5;

/// Reads a trace. All errors are returned at once; warnings come with the trace.
pub(crate) fn read(
    sources: &mut Sources,
    path: &str,
    bytes: &[u8],
) -> Result<(Recorded, Vec<Diagnostic>), Vec<Diagnostic>> {
    let error = match read_any(bytes, &ReadOptions::strict()) {
        Ok(imported) => match imported.content {
            Content::Trace(trace) => {
                let moved = imported.report.out_of_order;
                let warnings = (moved > 0).then(|| {
                    let title = format!("`{path}` is not in time order: {moved} rows were moved");
                    Diagnostic::warning(Code::TraceRow, title)
                });
                return Ok((trace, warnings.into_iter().collect()));
            }
            Content::Rate(_) => TraceError::File(crate::workload::import::RowError {
                line: 1,
                message: "holds a rate over time, not requests".to_owned(),
                hint: Some("use it as `[workload.rate_curve]` with `file`".to_owned()),
            }),
        },
        Err(error) => error,
    };
    // The text of a packed file is not at hand: its diagnostics name the line in words.
    let text = std::str::from_utf8(bytes).unwrap_or("");
    let source = sources.add(path, text);
    let diagnostics = error.row_errors().into_iter().take(SHOWN).map(|row| {
        let title = match (row.line, text.is_empty()) {
            (0, _) => format!("`{path}` {}", row.message),
            (line, true) => format!("`{path}` line {line}: {}", row.message),
            (_, false) => format!("`{path}` has a row that cannot be used"),
        };
        let label = if row.line > 0 && !text.is_empty() { row.message.as_str() } else { "" };
        let span = Span { source, range: line_range(text, row.line) };
        let diagnostic = Diagnostic::error(Code::TraceRow, title).at(&span, label);
        match row.hint {
            Some(hint) => diagnostic.help(hint),
            None => diagnostic,
        }
    });
    Err(diagnostics.collect())
}

/// Bytes of a line, counted from 1, without its end; empty at the start for line 0.
fn line_range(text: &str, line: u64) -> std::ops::Range<usize> {
    let mut offset = 0;
    for (i, content) in text.split_inclusive('\n').enumerate() {
        if i as u64 + 1 == line {
            return offset..offset + content.trim_end().len();
        }
        offset += content.len();
    }
    0..0
}
