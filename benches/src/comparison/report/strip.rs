//! Rows of dots over one common axis: distributions of few values, all of them shown.
//!
//! ```text
//!   served
//!     raft     ·  ·· ·:|··  ·
//!     paxos      ·  · ·|·::   ·
//!           └──────┴──────┴──────
//! ```

use super::element::Element;
use super::scale::Scale;
use super::stats::{median, quantile};
use super::subjects::Shown;
use super::units::Unit;

const WIDTH: f64 = 560.0;
const LEFT: f64 = 118.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 24.0;
const ROW: f64 = 19.0;

/// A picture in the making.
pub(super) struct Strip {
    scale: Scale,
    unit: Unit,
    title: String,
    height: f64,
    drawn: Vec<Element>,
}

impl Strip {
    pub(super) fn new(title: impl Into<String>, scale: Scale, unit: Unit) -> Strip {
        Strip { scale, unit, title: title.into(), height: TOP, drawn: Vec::new() }
    }

    /// A heading over the rows that follow.
    pub(super) fn heading(&mut self, text: &str) {
        self.height += ROW * 0.95;
        self.drawn.push(Element::of("text", "heading").at("x", 0.0).at("y", self.height - 4.0).text(text));
    }

    /// All values of a subject, with their median.
    pub(super) fn dots(&mut self, subject: &Shown, values: &[f64]) {
        let y = self.row(subject);
        let dots = values.iter().enumerate().filter(|(_, value)| value.is_finite()).map(|(place, value)| {
            // Not by chance: the same figures make the same picture.
            let aside = ((place * 7) % 5) as f64 * 2.0 - 4.0;
            let dot = Element::of("circle", format!("dot {}", subject.class()));
            let dot = dot.at("cx", self.px(*value)).at("cy", y + aside).at("r", 2.3);
            dot.child(Element::new("title").text(format_args!("{subject}: {}", self.unit.show(*value))))
        });
        let dots: Vec<_> = dots.collect();
        self.drawn.extend(dots);
        let of = || values.iter().copied();
        if let (Some(median), Some(p90)) = (median(of()).filter(|m| m.is_finite()), quantile(of(), 0.9)) {
            let x = self.px(median);
            let line = Element::of("line", format!("median {}", subject.class()));
            let line = line.at("x1", x).at("x2", x).at("y1", y - 8.0).at("y2", y + 8.0);
            let title = format!("{subject}: median {}, p90 {}", self.unit.show(median), self.unit.show(p90));
            self.drawn.push(line.child(Element::new("title").text(title)));
        }
    }

    /// From one figure to another: hollow before, full after.
    pub(super) fn change(&mut self, subject: &Shown, before: f64, after: f64) {
        let y = self.row(subject);
        let (from, to) = (self.px(before), self.px(after));
        let line = Element::of("line", format!("curve {}", subject.class()));
        let title = format!("{subject}: {} before, {} meanwhile", self.unit.show(before), self.unit.show(after));
        let group = Element::new("g").child(Element::new("title").text(title));
        let group = group.child(line.at("x1", from).at("x2", to).at("y1", y).at("y2", y));
        self.drawn.push(group.child(subject.mark(from, y, true)).child(subject.mark(to, y, false)));
    }

    /// The picture; `what` says to whom cannot see it what it shows.
    pub(super) fn finish(self, what: &str) -> Element {
        let (bottom, height) = (self.height + 4.0, self.height + 26.0);
        let svg = Element::of("svg", "chart strip").with("viewBox", format_args!("0 0 {WIDTH} {height:.0}"));
        let svg = svg.with("role", "img").with("aria-label", what);
        let ticks = self.scale.ticks();
        let grid = ticks.iter().map(|tick| {
            let x = self.px(*tick);
            Element::new("line").at("x1", x).at("x2", x).at("y1", TOP).at("y2", bottom)
        });
        let labels = ticks.iter().map(|tick| {
            let at = Element::new("text").at("x", self.px(*tick)).at("y", bottom + 14.0);
            at.with("text-anchor", "middle").text(self.unit.tick(*tick))
        });
        svg.child(Element::of("text", "title").at("x", 0.0).at("y", 13.0).text(&self.title))
            .child(Element::of("g", "grid").children(grid))
            .child(Element::of("g", "labels").children(labels))
            .child(Element::new("g").children(self.drawn))
    }

    fn row(&mut self, subject: &Shown) -> f64 {
        let y = self.height + ROW / 2.0;
        self.height += ROW;
        let name: String = subject.name.chars().take(20).collect();
        let label = Element::of("text", format!("row s{}", subject.place)).at("x", LEFT - 12.0).at("y", y + 3.5);
        self.drawn.push(label.with("text-anchor", "end").text(name));
        y
    }

    fn px(&self, value: f64) -> f64 {
        LEFT + self.scale.place(value) * (WIDTH - LEFT - RIGHT)
    }
}
