//! Traces in hpasim's own format, with bad rows at their lines.

use super::diagnostic::{Code, Diagnostic, Sources, Span};
use crate::units::SimTime;
use crate::workload::{Recorded, Request};

/// Most bad rows that are shown.
const SHOWN: usize = 5;

/// Reads a trace. All errors are returned at once; warnings come with the trace.
pub(crate) fn read(
    sources: &mut Sources,
    path: &str,
    bytes: &[u8],
) -> Result<(Recorded, Vec<Diagnostic>), Vec<Diagnostic>> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        let source = sources.add(path, "");
        let title = format!("`{path}` is not UTF-8");
        let d = Diagnostic::error(Code::Unreadable, title).at(&Span { source, range: 0..0 }, "");
        return Err(vec![d]);
    };
    let mut bad = Vec::new();
    let mut requests = Vec::new();
    let mut offset = 0;
    let mut header = false;
    for line in text.split_inclusive('\n') {
        let range = offset..offset + line.trim_end().len();
        offset += line.len();
        let row = line.trim();
        if row.is_empty() || row.starts_with('#') {
            continue;
        }
        let cells: Vec<&str> = row.split(',').map(str::trim).collect();
        if !header {
            header = true;
            if cells.len() < 3 || cells[..3] != ["arrival_s", "prompt_tokens", "output_tokens"] {
                bad.push((range, "the header must be `arrival_s,prompt_tokens,output_tokens`"));
                break;
            }
            continue;
        }
        let parsed = match cells.as_slice() {
            [a, p, o, ..] => match (a.parse::<f64>(), p.parse::<u32>(), o.parse::<u32>()) {
                (Ok(a), Ok(p), Ok(o)) if a.is_finite() && a >= 0.0 && p > 0 && o > 0 => {
                    Some((a, p, o))
                }
                _ => None,
            },
            _ => None,
        };
        match parsed {
            Some((arrival, prompt_tokens, output_tokens)) => requests.push(Request {
                arrival: SimTime::ZERO + crate::units::SimDuration::from_secs_f64(arrival),
                prompt_tokens,
                output_tokens,
            }),
            None => bad.push((range, "a time and two token counts of at least 1 were expected")),
        }
    }
    if bad.is_empty() && !requests.is_empty() {
        return Ok((Recorded::new(requests), Vec::new()));
    }
    if bad.is_empty() {
        bad.push((0..0, "no rows"));
    }
    let source = sources.add(path, text);
    Err(bad
        .into_iter()
        .take(SHOWN)
        .map(|(range, label)| {
            Diagnostic::error(Code::TraceRow, format!("`{path}` has a row that cannot be read"))
                .at(&Span { source, range }, label)
        })
        .collect())
}
