//! Traces and rate tables with bad rows at their lines.

use super::diagnostic::{Code, Diagnostic, Sources, Span};
use crate::workload::import::{
    Content, ReadOptions, RowError, TraceError, read as read_any, read_rate_csv,
};
use crate::workload::{Interpolation, RateCurve, Recorded};

/// Most bad rows that are shown.
const SHOWN: usize = 5;

/// Reads a trace in hpasim's own format, gzip or plain. All errors are returned at once; warnings come with the
/// trace.
pub(crate) fn trace(
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
                    Diagnostic::warning(Code::Suspicious, title)
                });
                return Ok((trace, warnings.into_iter().collect()));
            }
            Content::Rate(_) => TraceError::File(RowError {
                line: 1,
                message: "it holds a rate over time, not requests".to_owned(),
                hint: Some("use it as `[workload.rate_curve]` with `file`".to_owned()),
            }),
        },
        Err(error) => error,
    };
    Err(diagnostics(sources, path, bytes, &error))
}

/// Reads a table of rates over time.
pub(crate) fn rates(
    sources: &mut Sources,
    path: &str,
    bytes: &[u8],
    interpolation: Interpolation,
) -> Result<RateCurve, Vec<Diagnostic>> {
    read_rate_csv(bytes, interpolation).map_err(|e| diagnostics(sources, path, bytes, &e))
}

fn diagnostics(
    sources: &mut Sources,
    path: &str,
    bytes: &[u8],
    error: &TraceError,
) -> Vec<Diagnostic> {
    let rows = error.row_errors();
    let hidden = match error {
        TraceError::Rows { total, .. } => total.saturating_sub(SHOWN as u64),
        TraceError::Io(_) | TraceError::File(_) => 0,
    };
    let last = rows.len().min(SHOWN);
    let mut out = Vec::with_capacity(last);
    for (index, row) in rows.iter().take(SHOWN).enumerate() {
        let line = usize::try_from(row.line).unwrap_or(0);
        // Traces are large: the diagnostic holds the line it is about, not the file.
        let text = std::str::from_utf8(bytes)
            .ok()
            .filter(|_| line > 0)
            .and_then(|t| t.lines().nth(line - 1))
            .map_or_else(String::new, |t| t.chars().take(200).collect());
        let range = 0..text.len();
        let source = sources.add_excerpt(path, text, line.max(1));
        let title = if line > 0 {
            format!("line {line} of `{path}` cannot be used: {}", row.message)
        } else {
            format!("`{path}` cannot be used: {}", row.message)
        };
        let mut diagnostic =
            Diagnostic::error(Code::TraceRow, title).at(&Span { source, range }, "");
        if let Some(hint) = &row.hint {
            diagnostic = diagnostic.help(hint.clone());
        }
        if index + 1 == last && hidden > 0 {
            diagnostic = diagnostic.help(format!("{hidden} more rows are bad"));
        }
        out.push(diagnostic);
    }
    out
}
