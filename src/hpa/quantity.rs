//! `resource.Quantity`: Kubernetes' exact decimal numbers with a unit suffix.
//!
//! A quantity is held as upstream holds it, either as an `i64` mantissa with a decimal scale or, when
//! that is too small, as a wider decimal: the two differ in what an overflow gives, and both are
//! reproduced. Numbers with more than 36 significant digits are refused (upstream takes any).
//! Source: staging/src/k8s.io/apimachinery/pkg/api/resource (quantity.go, amount.go, suffix.go).

use std::fmt;

/// Decimal exponent of the smallest unit, `n`. Smaller digits are rounded away from zero.
const NANO: i32 = -9;
/// Digits that surely fit an `i64`.
const MAX_INT64_DIGITS: i32 = 18;
/// Powers of 1024.
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
/// Digits that fit the wide form with room for a binary suffix.
const MAX_DIGITS: i32 = 36;

/// A parsed Kubernetes quantity. Equality is that of the canonical text.
#[derive(Clone, Debug)]
pub struct Quantity {
    amount: Amount,
    format: Format,
    /// What upstream's `String()` prints.
    text: String,
}

/// `value * 10^scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    /// Upstream's `int64Amount`: scaling up gives 0 on overflow.
    Int64 { value: i64, scale: i32 },
    /// Upstream's `infDecAmount`: scaling up wraps.
    Dec { value: i128, scale: i32 },
}

/// Notation of the suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    DecimalExponent,
    DecimalSi,
    BinarySi,
}

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Does not look like a number with a suffix.
    #[error(
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
    )]
    Format,
    /// Looks like one, but the suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// More digits than are kept here.
    #[error("quantities of more than 36 digits are not supported")]
    TooLong,
}

/// The pieces of a quantity's text.
struct Parts<'a> {
    positive: bool,
    /// Digits before the point, without leading zeros (`0` if there are none).
    num: &'a str,
    /// Digits after the point.
    denom: &'a str,
    suffix: &'a str,
}

impl Parts<'_> {
    /// Digits after the point.
    fn decimals(&self) -> i32 {
        i32::try_from(self.denom.len()).unwrap_or(i32::MAX)
    }
    /// All digits.
    fn digits(&self) -> i32 {
        i32::try_from(self.num.len()).unwrap_or(i32::MAX).saturating_add(self.decimals())
    }
}

impl Quantity {
    /// Parses a quantity such as `10`, `500m`, `1e3` or `1.5Gi`. Blanks are not admitted; a JSON or
    /// YAML reader trims them.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let parts = split(text)?;
        let (base, exponent, format) = interpret_suffix(parts.suffix)?;
        if let Some(amount) = fast_amount(&parts, base, exponent) {
            let scale = if base == 10 { exponent - parts.decimals() } else { 0 };
            // Upstream keeps the text when it is already in groups of three digits.
            let first = parts.num.as_bytes().first().copied();
            let echo =
                base == 10 && scale % 3 == 0 && first != Some(b'0') && !ends_in_thousands(&parts);
            let mut quantity = Self { amount, format, text: String::new() };
            quantity.text = if echo { text.to_owned() } else { quantity.canonicalize() };
            return Ok(quantity);
        }
        if parts.digits() > MAX_DIGITS {
            return Err(QuantityError::TooLong);
        }
        let (amount, format) = slow_amount(&parts, base, exponent, format)?;
        let mut quantity = Self { amount, format, text: String::new() };
        quantity.text = quantity.canonicalize();
        Ok(quantity)
    }

    /// The quantity of `milli` thousandths, printed with decimal suffixes.
    pub fn from_milli(milli: i64) -> Self {
        Self::of_milli(milli, Format::DecimalSi)
    }

    /// The quantity of `milli` thousandths, printed with binary suffixes where that is exact:
    /// how memory is reported since 1.34.
    pub fn from_milli_binary(milli: i64) -> Self {
        Self::of_milli(milli, Format::BinarySi)
    }

    fn of_milli(milli: i64, format: Format) -> Self {
        let amount = Amount::Int64 { value: milli, scale: -3 };
        let mut quantity = Self { amount, format, text: String::new() };
        quantity.text = quantity.canonicalize();
        quantity
    }

    /// Value in thousandths, rounded away from zero. Out of range it is 0 or wraps, as upstream's.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// Value in whole units, rounded away from zero. Out of range it is 0 or wraps.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// Whether [`Quantity::milli_value`] is the true value rather than an overflow.
    pub fn milli_fits(&self) -> bool {
        let (value, scale) = self.parts();
        let up = scale.saturating_add(3);
        if up <= 0 {
            return true;
        }
        let Some(factor) = u32::try_from(up).ok().and_then(|up| 10i128.checked_pow(up)) else {
            return value == 0;
        };
        value.checked_mul(factor).is_some_and(|v| i64::try_from(v).is_ok())
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.parts().0.signum() as i32
    }

    /// What upstream's `String()` prints: the text a manifest should carry.
    pub fn canonical(&self) -> &str {
        &self.text
    }

    /// Upstream's `AsApproximateFloat64` of the canonical text, which is what the controller reads
    /// for a tolerance: mantissa times a power of ten, both rounded.
    pub fn approximate_f64(&self) -> f64 {
        let stored = Self::parse(&self.text).unwrap_or_else(|_| self.clone());
        let (value, scale) = stored.parts();
        let base = value as f64;
        if scale == 0 { base } else { base * pow10(scale) }
    }

    fn parts(&self) -> (i128, i32) {
        match self.amount {
            Amount::Int64 { value, scale } => (i128::from(value), scale),
            Amount::Dec { value, scale } => (value, scale),
        }
    }

    fn scaled_value(&self, scale: i32) -> i64 {
        let (value, own) = self.parts();
        let up = own.saturating_sub(scale);
        if up <= 0 {
            return divide_away(value, up.saturating_neg()) as i64;
        }
        match self.amount {
            Amount::Int64 { value, .. } => u32::try_from(up)
                .ok()
                .and_then(|up| 10i64.checked_pow(up))
                .and_then(|factor| value.checked_mul(factor))
                .unwrap_or(0),
            Amount::Dec { value, .. } => {
                value.wrapping_mul(10i128.wrapping_pow(up.unsigned_abs())) as i64
            }
        }
    }

    /// Upstream's `CanonicalizeBytes`.
    fn canonicalize(&self) -> String {
        let (value, scale) = self.parts();
        if value == 0 {
            return "0".to_owned();
        }
        if self.format == Format::BinarySi
            && let Some(text) = canonical_binary(value, scale)
        {
            return text;
        }
        canonical_decimal(value, scale, self.format)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Quantity {}

impl Default for Quantity {
    fn default() -> Self {
        Self::from_milli(0)
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Splits a text into sign, digits and suffix. Quirks are upstream's: all-zero digits, also none at
/// all as in `+`, end the scan as zero whatever follows the sign.
fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let bytes = text.as_bytes();
    let digits_from = |from: usize| {
        bytes[from..].iter().position(|b| !b.is_ascii_digit()).map_or(bytes.len(), |n| from + n)
    };
    let positive = bytes[0] != b'-';
    let mut at = usize::from(matches!(bytes[0], b'+' | b'-'));
    at += bytes[at..].iter().take_while(|b| **b == b'0').count();
    let end = digits_from(at);
    let num = if end == at { "0" } else { &text[at..end] };
    at = end;
    let mut denom = "";
    if bytes.get(at) == Some(&b'.') {
        let end = digits_from(at + 1);
        denom = &text[at + 1..end];
        at = end;
    }
    let suffix = &text[at..];
    let letters = suffix.bytes().take_while(|b| b"eEinumkKMGTP".contains(b)).count();
    let mut rest = &suffix.as_bytes()[letters..];
    if let Some(b'+' | b'-') = rest.first() {
        rest = &rest[1..];
    }
    if rest.iter().all(u8::is_ascii_digit) {
        Ok(Parts { positive, num, denom, suffix })
    } else {
        Err(QuantityError::Format)
    }
}

/// Base, exponent and notation of a suffix.
fn interpret_suffix(suffix: &str) -> Result<(u32, i32, Format), QuantityError> {
    let decimal = |exponent| Ok((10, exponent, Format::DecimalSi));
    let binary = |exponent| Ok((2, exponent, Format::BinarySi));
    match suffix {
        "" => decimal(0),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            let exponent: i32 = exponent.parse().map_err(|_| QuantityError::Suffix)?;
            Ok((10, exponent, Format::DecimalExponent))
        }
    }
}

fn ends_in_thousands(parts: &Parts<'_>) -> bool {
    let last = parts.num.bytes().chain(parts.denom.bytes()).rev();
    last.take(3).filter(|b| *b == b'0').count() == 3
}

/// Upstream's fast path: few digits, nothing to round.
fn fast_amount(parts: &Parts<'_>, base: u32, exponent: i32) -> Option<Amount> {
    let digits = parts.digits();
    let (precision, scale, mantissa) = if base == 10 {
        (MAX_INT64_DIGITS - digits, exponent, 1i64)
    } else if parts.denom.is_empty() {
        // 2^10 has about three decimal digits. Source: quantity.go, ParseQuantity.
        (15 - digits - exponent * 3 / 10 - 1, 0, 1i64 << exponent)
    } else {
        return None;
    };
    let scale = scale.checked_sub(parts.decimals())?;
    if precision < 0 || scale < NANO {
        return None;
    }
    let value = digits_value(parts)?.checked_mul(i128::from(mantissa))?;
    let value = i64::try_from(value).ok()?;
    Some(Amount::Int64 { value: if parts.positive { value } else { -value }, scale })
}

/// Upstream's wide path: rounds to nano away from zero and caps binary values.
fn slow_amount(
    parts: &Parts<'_>,
    base: u32,
    exponent: i32,
    mut format: Format,
) -> Result<(Amount, Format), QuantityError> {
    let mut value = digits_value(parts).ok_or(QuantityError::TooLong)?;
    let mut scale = -parts.decimals();
    if base == 2 {
        value = value.checked_mul(1i128 << exponent).ok_or(QuantityError::TooLong)?;
    } else {
        scale = scale.saturating_add(exponent);
    }
    if scale < NANO {
        value = divide_away(value, NANO.saturating_sub(scale));
        scale = NANO;
    }
    if format == Format::BinarySi {
        let unit = 10i128.pow(scale.unsigned_abs());
        if value > i128::from(i64::MAX).saturating_mul(unit) {
            (value, scale) = (i128::from(i64::MAX), 0);
        } else if value > 0 && value < unit {
            format = Format::DecimalSi;
        }
    }
    if !parts.positive {
        value = -value;
    }
    Ok((Amount::Dec { value, scale }, format))
}

/// All digits as one number.
fn digits_value(parts: &Parts<'_>) -> Option<i128> {
    parts.num.bytes().chain(parts.denom.bytes()).try_fold(0i128, |value, digit| {
        value.checked_mul(10)?.checked_add(i128::from(digit - b'0'))
    })
}

/// `value / 10^down`, rounded away from zero.
fn divide_away(value: i128, down: i32) -> i128 {
    let Some(divisor) = 10i128.checked_pow(down.unsigned_abs()) else {
        return value.signum();
    };
    let (quotient, rest) = (value / divisor, value % divisor);
    quotient + rest.signum()
}

/// `10^exponent`, correctly rounded.
fn pow10(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(f64::INFINITY)
}

fn canonical_decimal(value: i128, scale: i32, format: Format) -> String {
    let (mut value, mut scale) = (value, scale);
    while value % 10 == 0 {
        (value, scale) = (value / 10, scale.saturating_add(1));
    }
    let surplus = scale.rem_euclid(3);
    scale -= surplus;
    let factor = 10i128.pow(surplus.unsigned_abs());
    let Some(value) = value.checked_mul(factor) else {
        return format!("{value}e{}", scale + surplus);
    };
    let suffix = match scale {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        0 => "",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        18 => "E",
        _ => return format!("{value}e{scale}"),
    };
    if format == Format::DecimalExponent && scale != 0 {
        return format!("{value}e{scale}");
    }
    format!("{value}{suffix}")
}

/// Binary notation, if the value is whole and at least 1024.
fn canonical_binary(value: i128, scale: i32) -> Option<String> {
    let whole = if scale >= 0 {
        value.checked_mul(10i128.checked_pow(scale.unsigned_abs())?)?
    } else {
        let divisor = 10i128.checked_pow(scale.unsigned_abs())?;
        if value % divisor != 0 {
            return None;
        }
        value / divisor
    };
    if whole.abs() < 1024 {
        return None;
    }
    let (mut whole, mut power) = (whole, 0usize);
    while whole % 1024 == 0 && power + 1 < BINARY_SUFFIXES.len() {
        (whole, power) = (whole / 1024, power + 1);
    }
    Some(format!("{whole}{}", BINARY_SUFFIXES[power]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn milli_values_are_rounded_away_from_zero() {
        for (text, milli) in
            [("1500u", 2), ("0.0001", 1), ("12.345", 12345), ("-1500u", -2), ("1e3", 1_000_000)]
        {
            assert_eq!(quantity(text).milli_value(), milli, "{text}");
        }
    }

    #[test]
    fn canonical_text_groups_by_three() {
        for (text, canonical) in [
            ("0.5", "500m"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("2000m", "2"),
            ("0.0001", "100u"),
            ("1e20", "100e18"),
            ("1.5Gi", "1536Mi"),
            ("1.5Ki", "1536"),
            ("12.5", "12500m"),
        ] {
            assert_eq!(quantity(text).canonical(), canonical, "{text}");
        }
    }

    #[test]
    fn overflow_is_zero_in_the_narrow_form_and_wraps_in_the_wide_one() {
        assert_eq!(quantity("1E").milli_value(), 0);
        assert_eq!(quantity("9223372036854775807").milli_value(), -1000);
        assert!(!quantity("1E").milli_fits());
        assert!(quantity("9.2P").milli_fits());
    }

    #[test]
    fn odd_texts_do_not_panic() {
        for text in ["1e2147483647", "1e-2147483648", "-", "é", "1é", &"9".repeat(60), "0e999999"]
        {
            let _ = Quantity::parse(text).map(|q| (q.milli_value(), q.approximate_f64()));
        }
    }
}
