//! CSV: RFC 4180, UTF-8, one header row, an empty cell where a value does not exist.

/// A CSV table under construction.
pub(crate) struct Table {
    writer: csv::Writer<Vec<u8>>,
    columns: usize,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new<S: AsRef<str>>(header: impl IntoIterator<Item = S>) -> Self {
        let mut table = Self { writer: csv::Writer::from_writer(Vec::new()), columns: 0 };
        let header: Vec<S> = header.into_iter().collect();
        table.columns = header.len();
        table.row(header.iter().map(AsRef::as_ref));
        table
    }

    /// Appends a row. Panics if it does not have one cell per column.
    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut count = 0;
        for cell in cells {
            self.writer.write_field(cell.as_ref()).expect("memory takes every field");
            count += 1;
        }
        assert_eq!(count, self.columns, "a row has one cell per column");
        self.writer.write_record(None::<&[u8]>).expect("memory takes every row");
    }

    /// The whole table.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.writer.into_inner().expect("memory takes every byte")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_needed() {
        let mut table = Table::new(["case_id", "note"]);
        table.row(["c001", "a, \"b\""]);
        table.row(["c002", ""]);
        assert_eq!(
            String::from_utf8(table.finish()).unwrap(),
            "case_id,note\nc001,\"a, \"\"b\"\"\"\nc002,\n"
        );
    }

    #[test]
    #[should_panic(expected = "one cell per column")]
    fn a_short_row_is_a_bug() {
        Table::new(["a", "b"]).row(["1"]);
    }
}
