//! A picture with two axes, and what can be drawn into it: curves, marks, whiskers, bands.
//!
//! ```text
//!    title
//!    figure on y
//!    │        ╱
//!    ├── ── ─╱─ ──   faint lines at the ticks
//!    └───┴───┴───┴
//!             figure on x
//! ```

use super::element::Element;
use super::scale::Scale;
use super::stats::Spread;
use super::subjects::Shown;
use super::units::Unit;

const LEFT: f64 = 54.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 38.0;

/// One axis.
pub(super) struct Axis {
    scale: Scale,
    label: String,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis with round figures as ticks.
    pub(super) fn new(scale: Scale, label: &str, unit: Unit) -> Axis {
        let ticks = scale.ticks().into_iter().map(|tick| (tick, unit.tick(tick))).collect();
        Axis { scale, label: label.to_owned(), ticks }
    }

    /// An axis with ticks of one's own.
    pub(super) fn with_ticks(scale: Scale, label: &str, ticks: Vec<(f64, String)>) -> Axis {
        Axis { scale, label: label.to_owned(), ticks }
    }
}

/// A picture in the making.
pub(super) struct Chart {
    width: f64,
    height: f64,
    title: String,
    x: Axis,
    y: Axis,
    drawn: Vec<Element>,
}

impl Chart {
    pub(super) fn new(title: impl Into<String>, x: Axis, y: Axis) -> Chart {
        Chart { width: 500.0, height: 260.0, title: title.into(), x, y, drawn: Vec::new() }
    }

    /// Another size than the usual one, in units of which a letter is 11 high.
    pub(super) fn sized(self, width: f64, height: f64) -> Chart {
        Chart { width, height, ..self }
    }

    pub(super) fn px(&self, x: f64) -> f64 {
        LEFT + self.x.scale.place(x) * (self.width - LEFT - RIGHT)
    }

    pub(super) fn py(&self, y: f64) -> f64 {
        self.height - BOTTOM - self.y.scale.place(y) * (self.height - TOP - BOTTOM)
    }

    /// A line through points.
    pub(super) fn curve(&mut self, subject: &Shown, kind: &str, points: &[(f64, f64)]) {
        let places: Vec<_> = points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.px(*x), self.py(*y))).collect();
        let line = Element::of("polyline", format!("{kind} {}", subject.class())).with("points", places.join(" "));
        self.drawn.push(line);
    }

    /// The area between two lines over the same places.
    pub(super) fn band(&mut self, subject: &Shown, points: &[(f64, f64, f64)]) {
        let upper = points.iter().map(|(x, _, high)| (x, high));
        let lower = points.iter().rev().map(|(x, low, _)| (x, low));
        let places: Vec<_> =
            upper.chain(lower).map(|(x, y)| format!("{:.1},{:.1}", self.px(*x), self.py(*y))).collect();
        self.drawn.push(Element::of("polygon", format!("band {}", subject.class())).with("points", places.join(" ")));
    }

    /// A median as a mark and its range as a whisker, moved sideways by so much that subjects do not cover each other.
    pub(super) fn point(&mut self, subject: &Shown, x: f64, y: &Spread, aside: f64, hollow: bool, title: &str) {
        let at = self.px(x) + aside;
        let (high, low) = (self.py(y.max), self.py(y.min));
        let whisker = Element::of("path", format!("whisker {}", subject.class()))
            .with("d", format!("M{at:.1} {high:.1}V{low:.1}M{:.1} {high:.1}h4M{:.1} {low:.1}h4", at - 2.0, at - 2.0));
        let group = Element::new("g").child(Element::new("title").text(title));
        self.drawn.push(group.child(whisker).child(subject.mark(at, self.py(y.median), hollow)));
    }

    /// How far a subject stayed behind: from where it came to where it should have come.
    pub(super) fn shortfall(&mut self, subject: &Shown, from: f64, to: f64, y: f64) {
        let (from, to, y) = (self.px(from), self.px(to), self.py(y));
        let path = format!("M{from:.1} {y:.1}H{to:.1}M{to:.1} {:.1}v8", y - 4.0);
        self.drawn.push(Element::of("path", format!("shortfall {}", subject.class())).with("d", path));
    }

    /// From here on to the right something else holds.
    pub(super) fn region(&mut self, from: f64, label: &str) {
        let (at, end) = (self.px(from), self.width - RIGHT);
        let height = self.height - TOP - BOTTOM;
        let area = Element::of("rect", "region").at("x", at).at("y", TOP).at("width", end - at).at("height", height);
        let text = Element::of("text", "region-label").at("x", end - 4.0).at("y", self.height - BOTTOM - 6.0);
        // Beneath everything else.
        self.drawn.insert(0, area);
        self.drawn.insert(1, text.with("text-anchor", "end").text(label));
    }

    /// An upright line where something happens.
    pub(super) fn moment(&mut self, x: f64, class: &str, title: &str) {
        let x = self.px(x);
        let line = Element::of("line", class).at("x1", x).at("x2", x).at("y1", TOP).at("y2", self.height - BOTTOM);
        self.drawn.push(line.child(Element::new("title").text(title)));
    }

    /// The picture; `what` says to whom cannot see it what it shows.
    pub(super) fn finish(self, what: &str) -> Element {
        let svg = Element::of("svg", "chart").with("viewBox", format_args!("0 0 {} {}", self.width, self.height));
        let svg = svg.with("role", "img").with("aria-label", what);
        let title = Element::of("text", "title").at("x", LEFT).at("y", 13.0).text(&self.title);
        let (grid, ticks) = (self.grid(), self.labels());
        svg.child(title).child(grid).child(ticks).child(Element::new("g").children(self.drawn))
    }

    fn grid(&self) -> Element {
        let (bottom, right) = (self.height - BOTTOM, self.width - RIGHT);
        let across = self.y.ticks.iter().map(|(tick, _)| {
            let y = self.py(*tick);
            Element::new("line").at("x1", LEFT).at("x2", right).at("y1", y).at("y2", y)
        });
        let upright = self.x.ticks.iter().map(|(tick, _)| {
            let x = self.px(*tick);
            Element::new("line").at("x1", x).at("x2", x).at("y1", bottom).at("y2", bottom + 4.0)
        });
        let base = Element::of("line", "base").at("x1", LEFT).at("x2", right).at("y1", bottom).at("y2", bottom);
        Element::of("g", "grid").children(across).children(upright).child(base)
    }

    fn labels(&self) -> Element {
        let bottom = self.height - BOTTOM;
        let left = self.y.ticks.iter().map(|(tick, text)| {
            let at = Element::new("text").at("x", LEFT - 6.0).at("y", self.py(*tick) + 3.5);
            at.with("text-anchor", "end").text(text)
        });
        let below = self.x.ticks.iter().map(|(tick, text)| {
            let at = Element::new("text").at("x", self.px(*tick)).at("y", bottom + 15.0);
            at.with("text-anchor", "middle").text(text)
        });
        let x = Element::of("text", "axis").at("x", self.width - RIGHT).at("y", self.height - 6.0);
        let y = Element::of("text", "axis").at("x", LEFT).at("y", 27.0).text(&self.y.label);
        let x = x.with("text-anchor", "end").text(&self.x.label);
        Element::of("g", "labels").children(left).children(below).child(x).child(y)
    }
}
