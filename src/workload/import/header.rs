//! The header of a CSV file: which column is where.

use super::TraceError;
use super::lines::Cells;

/// Characters of a header that an error shows: the first line of what is no table can be the whole file.
const SHOWN: usize = 300;

/// Names of the columns of a header, in order.
pub(super) struct Header {
    names: Vec<String>,
}

impl Header {
    pub(super) fn new(cells: &Cells) -> Self {
        let names = (0..cells.len()).filter_map(|i| cells.get(i)).map(str::to_ascii_lowercase);
        Self { names: names.collect() }
    }

    /// Number of columns.
    pub(super) fn width(&self) -> usize {
        self.names.len()
    }

    /// Index of the column `name`, in any case.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n.eq_ignore_ascii_case(name))
    }

    /// Whether all these columns are there.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|n| self.find(n).is_some())
    }

    /// Index of a column that must be there.
    pub(super) fn need(&self, name: &str, line: u64) -> Result<usize, TraceError> {
        self.find(name).ok_or_else(|| {
            let mut found = self.names.join(", ");
            if let Some((end, _)) = found.char_indices().nth(SHOWN) {
                found.truncate(end);
                found.push_str(", ..");
            }
            let hint = format!(
                "the columns are: {found}; `hpasim trace import --map arrival=NAME` and the like name others"
            );
            TraceError::file(line, format!("has no column `{name}`"), Some(hint))
        })
    }
}
