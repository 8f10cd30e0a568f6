//! Lines and cells of text files, with the line numbers that an editor shows.
//!
//! Accepts gzip (by its magic bytes), a byte order mark, LF and CRLF, no line end after the last row. Blank
//! lines and lines that start with `#` are skipped but counted.

use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};

/// Bytes read at a time.
const BUFFER: usize = 1 << 16;

/// `input`, unpacked if it is gzip.
pub(super) fn open<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut head = Vec::with_capacity(2);
    input.by_ref().take(2).read_to_end(&mut head)?;
    let packed = head == [0x1f, 0x8b];
    let whole = io::Cursor::new(head).chain(input);
    Ok(if packed {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(whole)))
    } else {
        Box::new(BufReader::with_capacity(BUFFER, whole))
    })
}

/// Lines that hold something, with their numbers from 1.
pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), number: 0 }
    }

    /// The next line without its end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        loop {
            self.buffer.clear();
            if self.input.read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            while matches!(self.buffer.last(), Some(b'\n' | b'\r')) {
                self.buffer.pop();
            }
            if self.number == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
                self.buffer.drain(..3);
            }
            let text = self.buffer.trim_ascii_start();
            if !text.is_empty() && text[0] != b'#' {
                break;
            }
        }
        Ok(Some((self.number, &self.buffer)))
    }
}

/// The cells of one line; reused from line to line.
#[derive(Default)]
pub(super) struct Cells {
    text: String,
    ends: Vec<(usize, usize)>,
}

impl Cells {
    /// Takes `line` apart. Quoted cells may hold the delimiter and doubled quotes, but no line end. False if
    /// the line is not UTF-8 or ends inside quotes.
    pub(super) fn split(&mut self, line: &[u8], delimiter: u8) -> bool {
        self.text.clear();
        self.ends.clear();
        let Ok(line) = std::str::from_utf8(line) else { return false };
        if line.contains('"') {
            return self.split_quoted(line, delimiter as char);
        }
        self.text.push_str(line);
        let mut start = 0;
        for (i, b) in line.bytes().enumerate() {
            if b == delimiter {
                self.ends.push((start, i));
                start = i + 1;
            }
        }
        self.ends.push((start, line.len()));
        true
    }

    fn split_quoted(&mut self, line: &str, delimiter: char) -> bool {
        let (mut start, mut quoted) = (0, false);
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '"' {
                if quoted && chars.peek() == Some(&'"') {
                    chars.next();
                    self.text.push('"');
                } else {
                    quoted = !quoted;
                }
            } else if c == delimiter && !quoted {
                self.ends.push((start, self.text.len()));
                start = self.text.len();
            } else {
                self.text.push(c);
            }
        }
        self.ends.push((start, self.text.len()));
        !quoted
    }

    /// Number of cells.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Cell `i` without surrounding blanks; `None` past the end.
    pub(super) fn get(&self, i: usize) -> Option<&str> {
        self.ends.get(i).map(|&(from, to)| self.text[from..to].trim())
    }
}

/// The delimiter that a header uses: comma, else tab or semicolon.
pub(super) fn delimiter(header: &[u8]) -> u8 {
    if header.contains(&b',') {
        return b',';
    }
    [b'\t', b';'].into_iter().find(|d| header.contains(d)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut lines = Lines::new(open(bytes).unwrap());
        let mut all = Vec::new();
        while let Some((n, line)) = lines.next().unwrap() {
            all.push((n, String::from_utf8(line.to_vec()).unwrap()));
        }
        all
    }

    #[test]
    fn numbers_are_those_of_an_editor() {
        let want = vec![(2, "a,b".to_owned()), (4, "1,2".to_owned()), (6, "3,4".to_owned())];
        assert_eq!(lines(b"# x\na,b\n\n1,2\n   \n3,4"), want);
        assert_eq!(lines(b"\xef\xbb\xbf# x\r\na,b\r\n\r\n1,2\r\n # y\r\n3,4\r\n"), want);
        assert_eq!(lines(b""), vec![]);
        assert_eq!(lines(b"\n"), vec![]);
    }

    #[test]
    fn quotes_hold_delimiters() {
        let mut cells = Cells::default();
        assert!(cells.split(b"a,\"b,\"\"c\"\"\" , d,", b','));
        let got: Vec<&str> = (0..cells.len()).filter_map(|i| cells.get(i)).collect();
        assert_eq!(got, ["a", "b,\"c\"", "d", ""]);
        assert!(!cells.split(b"a,\"b", b','));
        assert!(!cells.split(b"a,\xff", b','));
    }
}
