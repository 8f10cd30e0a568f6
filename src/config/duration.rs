//! Durations as people write them: `15s`, `7m30s`, `1.5h`, `1d`.

use std::fmt::Write as _;

use crate::units::{PS_PER_MS, PS_PER_S, SimDuration};

/// The units, largest first, with their picoseconds.
const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 86_400 * PS_PER_S),
    ("d", 86_400 * PS_PER_S),
    ("h", 3_600 * PS_PER_S),
    ("m", 60 * PS_PER_S),
    ("s", PS_PER_S),
    ("ms", PS_PER_MS),
];

/// What to say about a duration that has none or a wrong unit.
pub(crate) const HINT: &str = "durations are strings with a unit, as in \"15s\", \"7m30s\" or \"1d\"; units are ms, s, m, h, d, w";

/// Parses a duration exactly; the error is a remark for the caret.
pub(crate) fn parse(text: &str) -> Result<SimDuration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("this is empty".to_owned());
    }
    let mut total: u128 = 0;
    let mut largest_left = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        if number.is_empty() {
            return Err(format!("a number was expected at `{rest}`"));
        }
        if unit.is_empty() {
            return Err(format!("`{number}` has no unit, as `{number}s` has"));
        }
        let index = UNITS.iter().position(|(name, _)| *name == unit);
        let index = index.ok_or_else(|| format!("`{unit}` is not a unit"))?;
        if index < largest_left {
            return Err(format!("`{unit}` comes after a smaller or equal unit"));
        }
        largest_left = index + 1;
        let part = picoseconds(number, UNITS[index].1);
        total += part.ok_or_else(|| format!("`{number}` is not a number hpasim can keep"))?;
        rest = tail;
    }
    u64::try_from(total).map(SimDuration::from_ps).map_err(|_| "longer than 213 days".to_owned())
}

/// `number` units of `unit_ps`, rounded to the nearest picosecond.
fn picoseconds(number: &str, unit_ps: u64) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 15 || fraction.contains('.') || number.ends_with('.') {
        return None;
    }
    let scale = 10_u128.pow(fraction.len() as u32);
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    Some((digits.checked_mul(u128::from(unit_ps))? + scale / 2) / scale)
}

/// The shortest text that [`parse`] reads back, as in `7m30s`.
pub(crate) fn text(duration: SimDuration) -> String {
    let mut rest = duration.as_ps();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (name, ps) in &UNITS[1..] {
        let last = *name == "ms";
        let count = rest / ps;
        if count > 0 && !last {
            let _ = write!(out, "{count}{name}");
            rest %= ps;
        } else if last && rest > 0 {
            let fraction = format!("{:09}", rest % ps);
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            let _ = write!(out, "{count}{point}{fraction}ms");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_units_and_compounds() {
        for (text, ms) in [
            ("15s", 15_000),
            ("7m30s", 450_000),
            ("1.5h", 5_400_000),
            ("1d", 86_400_000),
            ("2w", 14 * 86_400_000),
            ("12ms", 12),
            ("0s", 0),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(parse(text), Ok(SimDuration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse("0.0000000263ms").unwrap().as_ps(), 26);
    }

    #[test]
    fn refuses_what_is_ambiguous() {
        for text in [
            "", "300", "1m30", "s", "5 s", "5x", "-5s", "1.s", ".5s", "1..2s", "5s5s", "1s2m",
            "40w",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn text_is_read_back() {
        for ms in [0, 1, 999, 1_000, 450_000, 93_784_005, 8 * 86_400_000] {
            let duration = SimDuration::from_millis(ms);
            assert_eq!(parse(&text(duration)), Ok(duration), "{}", text(duration));
        }
        assert_eq!(text(SimDuration::from_secs(450)), "7m30s");
        assert_eq!(text(SimDuration::from_ps(12_500_000_000)), "12.5ms");
    }
}
