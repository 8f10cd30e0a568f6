//! Exact numbers from text: decimals to picoseconds, time stamps, token counts.

use crate::units::PS_PER_NS;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::Offset;

/// Unit of a column of numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeUnit {
    /// Nanoseconds.
    Ns,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// A date and time such as `2024-05-10 00:00:00.009930+00:00`; without a zone it is UTC.
    Iso,
}

impl TimeUnit {
    /// Power of ten from the unit to picoseconds.
    fn power(self) -> i32 {
        match self {
            Self::Ns => 3,
            Self::Us => 6,
            Self::Ms => 9,
            Self::S | Self::Iso => 12,
        }
    }
}

/// Picoseconds of a time stamp in `unit`; `None` if it is none or out of range. Relative to any fixed zero.
pub(super) fn time(text: &str, unit: TimeUnit) -> Option<i128> {
    if unit == TimeUnit::Iso { iso(text) } else { decimal(text, unit.power()) }
}

/// Unit of a column without one of its own, by one of its cells: a date, or `number`.
pub(super) fn unit_of(text: &str, number: TimeUnit) -> TimeUnit {
    if looks_like_date(text) { TimeUnit::Iso } else { number }
}

/// Whether `text` is a date rather than a number.
fn looks_like_date(text: &str) -> bool {
    text.contains([':', '/'])
        || (text.chars().skip(1).any(|c| c == '-') && !text.contains(['e', 'E']))
}

/// `text` times ten to the `power`, rounded half away from zero.
pub(super) fn decimal(text: &str, power: i32) -> Option<i128> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let (mut value, mut seen, mut point) = (0_i128, 0_i32, None);
    let mut exponent = 0_i32;
    for (i, &b) in digits.iter().enumerate() {
        match b {
            b'0'..=b'9' => {
                value = value.checked_mul(10)?.checked_add(i128::from(b - b'0'))?;
                seen += 1;
            }
            b'.' if point.is_none() => point = Some(seen),
            b'e' | b'E' if seen > 0 => {
                exponent = std::str::from_utf8(&digits[i + 1..]).ok()?.parse().ok()?;
                break;
            }
            _ => return None,
        }
    }
    if seen == 0 {
        return None;
    }
    let decimals = point.map_or(0, |p| seen - p);
    let shift = power.checked_add(exponent)?.checked_sub(decimals)?;
    let value = if shift >= 0 {
        if value == 0 { 0 } else { value.checked_mul(10_i128.checked_pow(shift as u32)?)? }
    } else {
        match 10_i128.checked_pow(shift.unsigned_abs()) {
            Some(scale) => (value + scale / 2) / scale,
            None => 0,
        }
    };
    Some(if negative { -value } else { value })
}

static PARSER: DateTimeParser = DateTimeParser::new();

/// Picoseconds since 1970 of a date and time. Also `2024/05/10`, and `UTC` for `Z`, as spreadsheets and logs write
/// them; not dates that start with a day or a month, which nobody can tell apart.
fn iso(text: &str) -> Option<i128> {
    let respelled = (text.as_bytes().get(4) == Some(&b'/') || text.ends_with("UTC")).then(|| {
        let text = text
            .strip_suffix("UTC")
            .map_or_else(|| text.to_owned(), |t| format!("{}Z", t.trim_end()));
        text.replace('/', "-")
    });
    let text = respelled.as_deref().unwrap_or(text);
    // The date parser stops at nine fraction digits; more are rounded off here.
    let mut short = String::new();
    let text = match text.find(['.', ',']) {
        Some(at) => {
            let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
            if digits > 9 {
                short.push_str(&text[..at + 10]);
                short.push_str(&text[at + 1 + digits..]);
                &short
            } else {
                text
            }
        }
        None => text,
    };
    let bytes = text.as_bytes();
    // A zone follows the time of day: after `hh:mm:ss`, so past the date's own dashes.
    let zoned = bytes.iter().skip(11).any(|b| matches!(b, b'Z' | b'z' | b'+' | b'-'));
    let stamp: Timestamp = if zoned {
        PARSER.parse_timestamp(bytes).ok()?
    } else {
        Offset::UTC.to_timestamp(PARSER.parse_datetime(bytes).ok()?).ok()?
    };
    Some(stamp.as_nanosecond() * i128::from(PS_PER_NS))
}

/// A count of tokens: an integer, or a number with a zero fraction as tools write it (`906.0`).
pub(super) fn tokens(text: &str) -> Option<i64> {
    if text.len() <= 9 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(text.bytes().fold(0, |n, b| n * 10 + i64::from(b - b'0')));
    }
    let thousandths = decimal(text, 3)?;
    (thousandths % 1000 == 0).then(|| i64::try_from(thousandths / 1000).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (text, want) in [
            ("0", Some(0)),
            ("1.5", Some(1_500_000_000_000)),
            ("-2", Some(-2_000_000_000_000)),
            ("+.5", Some(500_000_000_000)),
            ("3.", Some(3_000_000_000_000)),
            ("0.000000000001", Some(1)),
            ("0.0000000000005", Some(1)),
            ("0.0000000000004", Some(0)),
            ("5.1e-05", Some(51_000_000)),
            ("1E3", Some(1_000_000_000_000_000)),
            ("0e99999", Some(0)),
            ("1e99999", None),
            ("1e-99999", Some(0)),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("1e", None),
            ("e5", None),
            ("nan", None),
            ("99999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(decimal(text, 12), want, "{text}");
        }
    }

    #[test]
    fn dates_with_any_fraction_and_zone_agree() {
        let base = time("2024-05-10 00:00:00", TimeUnit::Iso).unwrap();
        for (text, ps) in [
            ("2024-05-10", 0),
            ("2024-05-10T00:00:00Z", 0),
            ("2024-05-10 00:00:00+00:00", 0),
            ("2024-05-10T02:00:00+02:00", 0),
            ("2024-05-09 22:30:00-01:30", 0),
            ("2024-05-10 00:00:00.01", 10_000_000_000),
            ("2024-05-10 00:00:00.009", 9_000_000_000),
            ("2024-05-10 00:00:00.009930+00:00", 9_930_000_000),
            ("2024-05-10 00:00:00.0099300", 9_930_000_000),
            ("2024-05-10 00:00:00.009930001", 9_930_001_000),
            ("2024-05-10 00:00:00.009930001999999Z", 9_930_001_000),
        ] {
            assert_eq!(time(text, TimeUnit::Iso), Some(base + ps), "{text}");
        }
        for text in ["2024/05/10 01:00:00", "2024-05-10 01:00:00 UTC", "2024/05/10T01:00:00Z"] {
            assert_eq!(time(text, TimeUnit::Iso), Some(base + 3_600_000_000_000_000), "{text}");
        }
        for text in [
            "05/10/2024 00:00:00",
            "2024-13-01 00:00:00",
            "2024-05",
            "yesterday",
            "",
            "2024-05-10 00:00:00.x",
        ] {
            assert_eq!(time(text, TimeUnit::Iso), None, "{text}");
        }
    }

    #[test]
    fn token_counts() {
        for (text, want) in [
            ("17", Some(17)),
            ("906.0", Some(906)),
            ("-3", Some(-3)),
            ("3.5", None),
            ("", None),
            ("12345678901", Some(12_345_678_901)),
            ("x", None),
        ] {
            assert_eq!(tokens(text), want, "{text}");
        }
    }
}
