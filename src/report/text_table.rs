//! Plain aligned tables.
//!
//! Own code, because the names and figures in it must never be broken within a word: only headings wrap, at
//! their spaces, and the caller leaves columns out when even that is too wide.

/// Which side a column's cells stand on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Between two columns.
const GAP: usize = 2;

/// The width below which [`text_table`] cannot go, in characters.
pub(crate) fn narrowest(columns: &[(String, Align)], rows: &[Vec<String>]) -> usize {
    let cells: usize =
        (0..columns.len()).map(|column| narrowest_column(columns, rows, column)).sum();
    cells + GAP * columns.len().saturating_sub(1)
}

/// A table of `columns` (heading and alignment), at most `width` characters wide if headings that wrap at
/// their spaces make that possible.
pub(crate) fn text_table(
    columns: &[(String, Align)],
    rows: &[Vec<String>],
    width: usize,
) -> String {
    let mut widths: Vec<usize> =
        (0..columns.len()).map(|column| narrowest_column(columns, rows, column)).collect();
    let mut spare = width.saturating_sub(narrowest(columns, rows));
    for (width, (heading, _)) in widths.iter_mut().zip(columns) {
        let wanted = length(heading).saturating_sub(*width).min(spare);
        *width += wanted;
        spare -= wanted;
    }
    let headings: Vec<Vec<String>> =
        columns.iter().zip(&widths).map(|((heading, _), width)| wrapped(heading, *width)).collect();
    let height = headings.iter().map(Vec::len).max().unwrap_or(0);

    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut out = String::new();
        for ((cell, (_, align)), width) in cells.zip(columns).zip(&widths) {
            let fill = " ".repeat(width.saturating_sub(length(cell)));
            match align {
                Align::Left => out.extend([cell, fill.as_str()]),
                Align::Right => out.extend([fill.as_str(), cell]),
            }
            out.push_str("  ");
        }
        text.push_str(out.trim_end());
        text.push('\n');
    };
    for row in 0..height {
        line(&mut headings.iter().map(|lines| lines.get(row).map_or("", String::as_str)));
    }
    for row in rows {
        line(&mut row.iter().map(String::as_str));
    }
    text
}

/// The table on its side: a row per column, for few rows of many figures. Headings that were broken to be narrow
/// are whole again.
pub(crate) fn transposed(
    columns: &[(String, Align)],
    rows: &[Vec<String>],
) -> (Vec<(String, Align)>, Vec<Vec<String>>) {
    let mut lines = columns.iter().enumerate().map(|(column, (heading, _))| {
        let cells = rows.iter().map(|row| row.get(column).cloned().unwrap_or_default());
        std::iter::once(heading.replace("- ", "")).chain(cells).collect::<Vec<String>>()
    });
    let headings = lines.next().unwrap_or_default();
    let align = |i| if i == 0 { Align::Left } else { Align::Right };
    let headings = headings.into_iter().enumerate().map(|(i, text)| (text, align(i))).collect();
    (headings, lines.collect())
}

/// The longest of a column's cells and of its heading's words.
fn narrowest_column(columns: &[(String, Align)], rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| length(cell));
    let words = columns[column].0.split(' ').map(length);
    cells.chain(words).max().unwrap_or(0)
}

/// `text` in lines of at most `width` characters, broken at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ([(String, Align); 3], [Vec<String>; 2]) {
        let columns = [
            ("case".to_owned(), Align::Left),
            ("cost of it".to_owned(), Align::Right),
            ("n".to_owned(), Align::Right),
        ];
        let rows = [
            vec!["c000".to_owned(), "7.5".to_owned(), "1".to_owned()],
            vec!["c1".to_owned(), "12".to_owned(), "100".to_owned()],
        ];
        (columns, rows)
    }

    #[test]
    fn columns_are_aligned() {
        let (columns, rows) = example();
        assert_eq!(
            text_table(&columns, &rows, 100),
            "case  cost of it    n\nc000         7.5    1\nc1            12  100\n"
        );
    }

    #[test]
    fn headings_wrap_and_cells_do_not() {
        let (columns, rows) = example();
        assert_eq!(narrowest(&columns, &rows), 15);
        assert_eq!(
            text_table(&columns, &rows, 18),
            "case  cost of    n\n           it     \nc000      7.5    1\nc1         12  100\n"
                .replace("     \n", "\n")
        );
        let tight = text_table(&columns, &rows, 5);
        assert!(tight.lines().all(|line| line.len() <= 15), "{tight}");
    }
}
