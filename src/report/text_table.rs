//! Plain aligned tables.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// Which side a column's cells stand on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table of `columns` (header and alignment) at most `width` characters wide; wide cells wrap.
pub(crate) fn text_table(
    columns: &[(String, Align)],
    rows: &[Vec<String>],
    width: usize,
) -> String {
    let cell = |text: &str, align: Align| {
        Cell::new(text).set_alignment(match align {
            Align::Left => CellAlignment::Left,
            Align::Right => CellAlignment::Right,
        })
    };
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width.min(usize::from(u16::MAX)) as u16)
        .set_header(columns.iter().map(|(name, align)| cell(name, *align)));
    for row in rows {
        table.add_row(row.iter().zip(columns).map(|(text, (_, align))| cell(text, *align)));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let columns = [("case".to_owned(), Align::Left), ("cost USD".to_owned(), Align::Right)];
        let rows = [vec!["c000".to_owned(), "7.5".to_owned()], vec!["c1".into(), "12".into()]];
        assert_eq!(
            text_table(&columns, &rows, 100),
            " case  cost USD\n c000       7.5\n c1          12\n"
        );
    }
}
