//! What is wrong with a file of measurements.

/// A fault of one line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}{message}", place(*.line))]
pub struct DataError {
    /// Line of the file, from 1; 0 = the file as a whole.
    pub line: u64,
    /// What is wrong, with the value.
    pub message: String,
}

fn place(line: u64) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

/// A fault of the whole file.
pub(super) fn whole(message: impl Into<String>) -> DataError {
    DataError { line: 0, message: message.into() }
}

/// Rows of a CSV text, whose columns are found by name. Errors are collected, not returned one by one.
pub(super) struct Table<'a> {
    reader: csv::Reader<&'a [u8]>,
    text: &'a str,
    /// Places of the line ends.
    ends: Vec<usize>,
    header: Vec<String>,
    /// What was wrong so far.
    pub(super) errors: Vec<DataError>,
}

/// One row.
pub(super) struct Record<'a> {
    /// Its line.
    pub(super) line: u64,
    cells: csv::StringRecord,
    header: &'a [String],
    /// What was wrong so far, in all rows.
    pub(super) errors: &'a mut Vec<DataError>,
}

impl<'a> Table<'a> {
    /// Reads the header; an error for each of `required` that it lacks.
    pub(super) fn new(text: &'a str, required: &[&str]) -> Self {
        let text = text.trim_start_matches('\u{feff}');
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let header: Vec<String> =
            reader.headers().map(|h| h.iter().map(str::to_owned).collect()).unwrap_or_default();
        let missing = required.iter().filter(|name| !header.iter().any(|h| h == *name));
        let error = |name| DataError { line: 1, message: format!("there is no column `{name}`") };
        let errors = missing.map(error).collect();
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i).collect();
        Self { reader, text, ends, header, errors }
    }

    /// Whether there is a column of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.header.iter().any(|h| h == name)
    }

    /// The next row; rows that are no CSV are errors and skipped.
    pub(super) fn next(&mut self) -> Option<Record<'_>> {
        let mut cells = csv::StringRecord::new();
        loop {
            match self.reader.read_record(&mut cells) {
                Ok(false) => return None,
                Ok(true) => break,
                Err(error) => {
                    let line = error.position().map_or(0, csv::Position::line);
                    self.errors.push(DataError { line, message: format!("is no CSV: {error}") });
                    // Nothing follows an error of the reader itself.
                    if error.is_io_error() {
                        return None;
                    }
                }
            }
        }
        // The reader's own count is one short after CRLF, and blank lines come before the row.
        let start = cells.position().map_or(0, |p| p.byte() as usize);
        let blank = |b: &u8| b.is_ascii_whitespace();
        let start = start + self.text.as_bytes()[start..].iter().take_while(|b| blank(b)).count();
        let line = self.ends.partition_point(|end| *end < start) as u64 + 1;
        let (header, errors) = (&self.header, &mut self.errors);
        Some(Record { line, cells, header, errors })
    }
}

impl Record<'_> {
    /// Its number of cells, and that of the header.
    pub(super) fn width(&self) -> (usize, usize) {
        (self.cells.len(), self.header.len())
    }

    /// The cell of a column; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        let column = self.header.iter().position(|h| h == name);
        column.and_then(|i| self.cells.get(i)).unwrap_or_default()
    }

    /// A finite number of at least `min`; `None` for an empty cell.
    pub(super) fn number(&mut self, name: &str, min: f64) -> Option<f64> {
        let text = self.text(name).to_owned();
        if text.is_empty() {
            return None;
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= min => Some(value),
            Ok(value) if value.is_finite() => {
                self.fault(format!("`{name}` is {text}, below {min}"));
                None
            }
            _ => {
                self.fault(format!("`{name}` is `{text}`, not a number"));
                None
            }
        }
    }

    /// The same, and an empty cell is an error.
    pub(super) fn required(&mut self, name: &str, min: f64) -> Option<f64> {
        let known = self.header.iter().any(|h| h == name);
        if known && self.text(name).is_empty() {
            self.fault(format!("`{name}` is empty"));
        }
        self.number(name, min)
    }

    /// Notes an error of this row.
    pub(super) fn fault(&mut self, message: String) {
        self.errors.push(DataError { line: self.line, message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_an_editor() {
        for (end, blank) in [("\n", ""), ("\r\n", ""), ("\n", "\n"), ("\r\n", "\r\n")] {
            let text = ["a,b", "1,2", "\"x, y\",3", "4,5", ""].join(&format!("{end}{blank}"));
            let mut table = Table::new(&text, &["a", "b"]);
            let mut lines = Vec::new();
            while let Some(row) = table.next() {
                lines.push(row.line);
            }
            let expected = if blank.is_empty() { [2, 3, 4] } else { [3, 5, 7] };
            assert_eq!(lines, expected, "{end:?} {blank:?}");
        }
    }
}
