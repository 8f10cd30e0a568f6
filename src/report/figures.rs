//! Figures as a person reads them: few digits, with their unit.

use crate::stats::Interval;

/// `99.41 %`; two decimals, rounded down so that 99.999 % never reads as 100 %.
pub(crate) fn percent(share: f64) -> String {
    if share.is_nan() {
        return "-".to_owned();
    }
    // The small term keeps a share such as 0.9941 from reading as 99.40.
    format!("{:.2} %", (share * 10_000.0 + 1e-6).floor() / 100.0)
}

/// The same for a share of a whole: bounds of an interval outside 0 to 1 are cut.
pub(crate) fn share(value: f64) -> String {
    percent(value.clamp(0.0, 1.0))
}

/// At least three significant digits, at most `decimals` decimals.
pub(crate) fn short(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        return "-".to_owned();
    }
    let needed = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.*}", decimals.min(needed))
}

/// `61.2 (60.8 to 61.6)`; the mean alone where there is no interval or where it has no width.
pub(crate) fn with_interval(interval: &Interval, show: impl Fn(f64) -> String) -> String {
    let mean = show(interval.mean);
    if interval.low.is_nan() || interval.low == interval.high {
        return mean;
    }
    format!("{mean} ({} to {})", show(interval.low), show(interval.high))
}

/// A mean of counts: whole numbers without decimals, others with one.
pub(crate) fn count(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { short(value, 1) }
}

/// `1 case`, `2 cases`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_not_rounded_to_a_hit() {
        assert_eq!(percent(0.989_999), "98.99 %");
        assert_eq!(percent(0.9941), "99.41 %");
        assert_eq!(percent(1.0), "100.00 %");
        assert_eq!((share(-0.5), share(1.01)), ("0.00 %".to_owned(), "100.00 %".to_owned()));
        assert_eq!(share(f64::NAN), "-");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(short(1234.5, 2), "1234"); // ties to even
        assert_eq!(short(61.234, 2), "61.2");
        assert_eq!(short(0.081_234, 3), "0.081");
        assert_eq!(short(2.0, 0), "2");
        assert_eq!(counted(1, "case"), "1 case");
        assert_eq!((count(5.0), count(4.6)), ("5".to_owned(), "4.6".to_owned()));
        assert_eq!(count(f64::NAN), "-");
    }

    #[test]
    fn intervals_without_width_are_left_out() {
        let show = |value: f64| short(value, 1);
        let of = |mean, low, high| with_interval(&Interval { mean, low, high }, show);
        assert_eq!(of(2.0, 1.5, 2.5), "2.0 (1.5 to 2.5)");
        assert_eq!(of(2.0, f64::NAN, f64::NAN), "2.0");
        assert_eq!(of(2.0, 2.0, 2.0), "2.0");
    }
}
