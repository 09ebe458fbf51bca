//! From a figure to a place on an axis, and where an axis has its ticks.

/// An axis's range, and how figures are spread over it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// A linear scale over exactly this range.
    pub(super) fn exactly(from: f64, to: f64) -> Scale {
        Scale { from, to: if to > from { to } else { from + 1.0 }, log: false }
    }

    /// A linear scale from zero that holds all of these.
    pub(super) fn from_zero(values: impl IntoIterator<Item = f64>) -> Scale {
        let most = values.into_iter().filter(|value| value.is_finite()).fold(0.0, f64::max);
        let step = round_step(most / 5.0);
        Scale::exactly(0.0, (most / step).ceil().max(1.0) * step)
    }

    /// A logarithmic scale that holds all of these and ends at 1, 2 or 5 of a decade; not positive ones are left out.
    pub(super) fn log(values: impl IntoIterator<Item = f64>) -> Scale {
        let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
        for value in values.into_iter().filter(|value| value.is_finite() && *value > 0.0) {
            least = least.min(value);
            most = most.max(value);
        }
        if most == 0.0 {
            return Scale { from: 1.0, to: 10.0, log: true };
        }
        // A little air, so that nothing sits on the frame.
        let (from, to) = (below(least / 1.08), above(most * 1.08));
        Scale { from, to, log: true }
    }

    /// Where a figure lies, from 0 to 1; what lies outside is held at the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = if self.log {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }

    /// Round figures, at most about seven.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.log { self.log_ticks() } else { self.linear_ticks() }
    }

    /// The upper end.
    pub(super) fn end(&self) -> f64 {
        self.to
    }

    fn linear_ticks(&self) -> Vec<f64> {
        let step = round_step((self.to - self.from) / 5.0);
        let first = (self.from / step - 1e-9).ceil() as i64;
        let last = (self.to / step + 1e-9).floor() as i64;
        (first..=last).map(|tick| tick as f64 * step).collect()
    }

    fn log_ticks(&self) -> Vec<f64> {
        let decades = (self.to / self.from).log10();
        let steps: &[f64] = match decades {
            few if few <= 2.1 => &[1.0, 2.0, 5.0],
            some if some <= 3.6 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let (first, last) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
        // Over very many decades every second or third is enough.
        let stride = ((last - first) as usize / 7) + 1;
        let within = |tick: &f64| *tick >= self.from * (1.0 - 1e-9) && *tick <= self.to * (1.0 + 1e-9);
        let decades = (first..=last).step_by(stride);
        decades.flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade))).filter(within).collect()
    }
}

/// 1, 2 or 5 of a decade, not less than this.
fn round_step(least: f64) -> f64 {
    if least > 0.0 { above(least) } else { 1.0 }
}

fn above(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|step| step * decade)
        .into_iter()
        .find(|step| *step >= value * (1.0 - 1e-9))
        .unwrap_or(value)
}

fn below(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].map(|step| step * decade).into_iter().find(|step| *step <= value * (1.0 + 1e-9)).unwrap_or(decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: &[f64], wanted: &[f64]) {
        assert_eq!(found.len(), wanted.len(), "{found:?}");
        assert!(found.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < wanted.abs() * 1e-6 + 1e-9));
    }

    #[test]
    fn a_log_scale_ends_at_round_figures_and_has_ticks_there() {
        near(&Scale::log([300.0, 1_700.0]).ticks(), &[200.0, 500.0, 1_000.0, 2_000.0]);
        near(&Scale::log([3.0, 80_000.0]).ticks(), &[10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]);
    }

    #[test]
    fn each_decade_is_as_long_as_the_next() {
        let scale = Scale { from: 1.0, to: 100.0, log: true };
        assert!((scale.place(10.0) - 0.5).abs() < 1e-9);
        assert_eq!((scale.place(0.0), scale.place(1e9)), (0.0, 1.0));
    }

    #[test]
    fn a_linear_scale_begins_at_zero_and_holds_all() {
        let scale = Scale::from_zero([3.0, 47.0]);
        near(&scale.ticks(), &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert!((scale.place(25.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn no_figures_make_a_scale_all_the_same() {
        assert!(Scale::log([]).ticks().len() >= 2);
        assert!(Scale::from_zero([]).ticks().len() >= 2);
        assert!(Scale::log([0.0, f64::INFINITY]).place(5.0).is_finite());
    }
}
