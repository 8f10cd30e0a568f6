//! Numbers as text, the same everywhere: no locale, no exponent, no digits that mean nothing.

use crate::units::{Milli, PS_PER_S, SimTime};

/// Significant digits of a measured quantity.
const DIGITS: i32 = 9;

/// A quantity with at most nine significant digits, without trailing zeros; integers below 2^53 in full;
/// empty for NaN (an undefined quantity), `inf` and `-inf` for infinities.
pub fn number(value: f64) -> String {
    if value.is_nan() {
        return String::new();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() };
    }
    if value == 0.0 {
        return "0".to_owned(); // also for -0
    }
    if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        return format!("{value:.0}");
    }
    // The decimal exponent comes from the formatter, which rounds correctly; log10 would not.
    let scientific = format!("{value:.*e}", DIGITS as usize - 1);
    let exponent: i32 =
        scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    let decimals = (DIGITS - 1 - exponent).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A point of simulated time in seconds, exact to the picosecond, without trailing zeros.
pub fn seconds(at: SimTime) -> String {
    let (whole, fraction) = (at.as_ps() / PS_PER_S, at.as_ps() % PS_PER_S);
    if fraction == 0 {
        return whole.to_string();
    }
    let digits = format!("{fraction:012}");
    format!("{whole}.{}", digits.trim_end_matches('0'))
}

/// Thousandths as a decimal, exact, without trailing zeros.
pub fn milli(value: Milli) -> String {
    let (sign, size) = (if value.0 < 0 { "-" } else { "" }, value.0.unsigned_abs());
    if size.is_multiple_of(1000) {
        return format!("{sign}{}", size / 1000);
    }
    let text = format!("{sign}{}.{:03}", size / 1000, size % 1000);
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_significant_digits() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "0"),
            (172_800.0, "172800"),
            (0.1 + 0.2, "0.3"),
            (1.0 / 3.0, "0.333333333"),
            (2.0 / 3.0 * 1000.0, "666.666667"),
            (-12_345.678_912_3, "-12345.6789"),
            (0.000_012_345_678_91, "0.0000123456789"),
            (9.999_999_999_9, "10"),
            (123_456_789_012.5, "123456789012"),
            (f64::NAN, ""),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(value), want, "{value:e}");
        }
    }

    #[test]
    fn seconds_are_exact() {
        assert_eq!(seconds(SimTime::from_secs(86_400)), "86400");
        assert_eq!(seconds(SimTime::from_ps(1_500_000_000_001)), "1.500000000001");
    }

    #[test]
    fn thousandths_are_exact() {
        assert_eq!(milli(Milli(2500)), "2.5");
        assert_eq!(milli(Milli(-1)), "-0.001");
        assert_eq!(milli(Milli(10_000)), "10");
    }
}
