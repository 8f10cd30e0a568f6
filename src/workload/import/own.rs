//! Writing hpasim's own trace format: CSV, exact decimal seconds.

use crate::units::PS_PER_S;
use crate::workload::recorded::Recorded;
use crate::workload::request::{NONE, Side, SideTable};
use std::io::{self, Write};

/// Writes `trace` with `comments` as `#` lines on top. Reading the bytes back gives the same trace. Side
/// columns are written if the trace has them.
pub fn write_csv(trace: &Recorded, comments: &[String], mut out: impl Write) -> io::Result<()> {
    for line in comments {
        writeln!(out, "# {line}")?;
    }
    let side = trace.side.as_deref();
    let more =
        if side.is_some() { ",session_id,turn,prefix_group,prefix_tokens,class" } else { "" };
    writeln!(out, "arrival_s,prompt_tokens,output_tokens{more}")?;
    for (i, r) in trace.requests.iter().enumerate() {
        let ps = r.arrival.as_ps();
        let (whole, part) = (ps / PS_PER_S, ps % PS_PER_S);
        if part == 0 {
            write!(out, "{whole}")?;
        } else {
            let (mut digits, mut width) = (part, 12);
            while digits % 10 == 0 {
                digits /= 10;
                width -= 1;
            }
            write!(out, "{whole}.{digits:0width$}")?;
        }
        write!(out, ",{},{}", r.prompt_tokens, r.output_tokens)?;
        if let Some(table) = side {
            let row = table.rows.get(i).copied().unwrap_or_default();
            write_side(table, &row, &mut out)?;
        }
        writeln!(out)?;
    }
    out.flush()
}

fn write_side(table: &SideTable, row: &Side, out: &mut impl Write) -> io::Result<()> {
    let turn = if row.turn == NONE { String::new() } else { row.turn.to_string() };
    write!(
        out,
        ",{},{turn},{},{},{}",
        quoted(table.name(row.session)),
        quoted(table.name(row.prefix_group)),
        row.prefix_tokens,
        quoted(table.name(row.class)),
    )
}

/// A cell, in quotes where it needs them.
fn quoted(text: &str) -> String {
    if text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
