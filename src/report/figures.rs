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

/// `30 s`, `240 s` as `4 min`, `24 h`.
pub(crate) fn span(seconds: f64) -> String {
    match seconds {
        s if s >= 7_200.0 => format!("{} h", trimmed(s / 3_600.0)),
        s if s >= 120.0 => format!("{} min", trimmed(s / 60.0)),
        s => format!("{} s", trimmed(s)),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_not_rounded_to_a_hit() {
        assert_eq!(percent(0.989_999), "98.99 %");
        assert_eq!(percent(0.9941), "99.41 %");
        assert_eq!(percent(1.0), "100.00 %");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(short(1234.5, 2), "1234"); // ties to even
        assert_eq!(short(61.234, 2), "61.2");
        assert_eq!(short(0.081_234, 3), "0.081");
        assert_eq!(short(2.0, 0), "2");
        assert_eq!(span(86_400.0), "24 h");
        assert_eq!(span(600.0), "10 min");
        assert_eq!(span(5400.0), "90 min");
        assert_eq!(span(15.0), "15 s");
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
