//! Figures as people read them: three digits that mean something, and a unit.

use super::stats::{Spread, Verdict};

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Microseconds.
    Time,
    /// Operations in a second.
    Rate,
    /// Bytes.
    Bytes,
    /// Things.
    Count,
}

impl Unit {
    /// The figure with its unit.
    pub(super) fn show(self, value: f64) -> String {
        let (divisor, suffix) = self.scale(value);
        format!("{}{suffix}", digits(value / divisor))
    }

    /// The figure at a tick.
    pub(super) fn tick(self, value: f64) -> String {
        if value == 0.0 { "0".to_owned() } else { self.show(value) }
    }

    /// The range, in the unit of its upper end; only the ends.
    pub(super) fn range(self, spread: &Spread) -> String {
        let (divisor, suffix) = self.scale(if spread.max.is_finite() { spread.max } else { spread.min });
        format!("{}–{}{suffix}", digits(spread.min / divisor), digits(spread.max / divisor))
    }

    /// The median, and the range behind it.
    pub(super) fn spread(self, spread: &Spread) -> String {
        let median = self.show(spread.median);
        if self.is_one(spread) { median } else { format!("{median} ({})", self.range(spread)) }
    }

    /// Whether three digits do not tell the ends of the range apart, so that one figure says it all.
    pub(super) fn is_one(self, spread: &Spread) -> bool {
        self.show(spread.min) == self.show(spread.max)
    }

    fn scale(self, value: f64) -> (f64, &'static str) {
        let size = value.abs();
        match self {
            Unit::Time if size >= 999_500.0 && size.is_finite() => (1e6, " s"),
            Unit::Time if size >= 999.5 && size.is_finite() => (1e3, " ms"),
            Unit::Time if size.is_finite() => (1.0, " µs"),
            Unit::Rate => (1.0, "/s"),
            Unit::Bytes if size >= 1_048_576.0 * 1024.0 => (1_048_576.0 * 1024.0, " GiB"),
            Unit::Bytes if size >= 1_048_576.0 => (1_048_576.0, " MiB"),
            Unit::Bytes if size >= 1024.0 => (1024.0, " KiB"),
            Unit::Bytes => (1.0, " B"),
            Unit::Time | Unit::Count => (1.0, ""),
        }
    }
}

/// Three significant digits, with separators from a thousand on.
pub(super) fn digits(value: f64) -> String {
    if value.is_infinite() {
        return "never".to_owned();
    }
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { "–".to_owned() };
    }
    let magnitude = value.abs().log10().floor() as i32;
    let unit = 10f64.powi(magnitude - 2);
    let rounded = (value / unit).round() * unit;
    if value.fract() == 0.0 || rounded.abs() >= 100.0 {
        return grouped(rounded.round() as i64);
    }
    // Rounding may have made it one digit longer.
    let magnitude = (rounded.abs() * (1.0 + 1e-12)).log10().floor() as i32;
    let decimals = (2 - magnitude).clamp(0, 6) as usize;
    format!("{rounded:.decimals$}")
}

/// A whole number, exactly.
pub(super) fn whole(value: u64) -> String {
    grouped(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A share, in percent.
pub(super) fn percent(share: f64) -> String {
    let percent = format!("{:.1}", share * 100.0);
    format!("{} %", percent.strip_suffix(".0").unwrap_or(&percent))
}

/// A ratio, as `1.04 ×`.
pub(super) fn ratio(ratio: f64) -> String {
    match ratio {
        endless if endless.is_infinite() => "∞ ×".to_owned(),
        large if large >= 10.0 => format!("{} ×", digits(large)),
        near => format!("{near:.2} ×"),
    }
}

/// A verdict in words, with the ratio.
pub(super) fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Tie { ratio: by } => format!("tie ({})", ratio(by)),
        Verdict::Differ { ratio: by } => format!("differ ({})", ratio(by)),
        Verdict::TooFew => "too few rounds".to_owned(),
    }
}

/// `1 point`, `2 points`.
pub(super) fn several(count: usize, what: &str) -> String {
    format!("{} {what}{}", grouped(count as i64), if count == 1 { "" } else { "s" })
}

fn grouped(value: i64) -> String {
    let plain = value.unsigned_abs().to_string();
    let mut out = String::from(if value < 0 { "−" } else { "" });
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(Unit::Time.show(312.0), "312 µs");
        assert_eq!(Unit::Time.show(1_234.0), "1.23 ms");
        assert_eq!(Unit::Time.show(999.7), "1.00 ms");
        assert_eq!(Unit::Time.show(2_000.0), "2 ms");
        assert_eq!(Unit::Time.show(1_023_400.0), "1.02 s");
        assert_eq!(Unit::Rate.show(12_345.0), "12,300/s");
        assert_eq!(Unit::Bytes.show(1_536.0), "1.50 KiB");
        assert_eq!(Unit::Count.show(0.125), "0.125");
        assert_eq!(Unit::Count.show(0.0), "0");
    }

    #[test]
    fn a_range_has_one_unit() {
        let spread = Spread { median: 1_200.0, min: 900.0, max: 1_500.0, rounds: 3 };
        assert_eq!(Unit::Time.spread(&spread), "1.20 ms (0.900–1.50 ms)");
        let never = Spread { median: 1_200.0, min: 1_100.0, max: f64::INFINITY, rounds: 3 };
        assert_eq!(Unit::Time.range(&never), "1.10–never ms");
    }

    #[test]
    fn whole_numbers_are_grouped() {
        assert_eq!(whole(1_234_567), "1,234,567");
        assert_eq!(whole(12), "12");
        assert_eq!(several(1, "point"), "1 point");
        assert_eq!(percent(0.9512), "95.1 %");
        assert_eq!(percent(0.14), "14 %");
    }
}
