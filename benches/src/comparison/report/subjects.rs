//! Who is compared, and how each looks: one colour and one mark throughout, the original's in dashes for a repetition.

use std::fmt::{self, Display, Formatter};

use super::element::Element;
use crate::comparison::results::Results;

/// How many colours the page has; from there on they repeat.
const COLOURS: usize = 7;

/// One subject as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) engine: String,
    pub(super) flags: Vec<String>,
    /// The place of the subject that this one only repeats.
    pub(super) same_as: Option<usize>,
    /// Its place among all subjects.
    pub(super) place: usize,
    /// Its colour and mark.
    pub(super) colour: usize,
}

impl Display for Shown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Shown {
    /// The classes of all that is drawn of it.
    pub(super) fn class(&self) -> String {
        format!("s{} c{}{}", self.place, self.colour, if self.same_as.is_some() { " again" } else { "" })
    }

    /// Its mark, around a place; hollow where the processor was the limit.
    pub(super) fn mark(&self, x: f64, y: f64, hollow: bool) -> Element {
        let class = format!("mark {}{}", self.class(), if hollow { " hollow" } else { "" });
        let path = |d: String| Element::of("path", &class).with("d", d);
        match self.colour % 4 {
            0 => Element::of("circle", &class).at("cx", x).at("cy", y).at("r", 3.2),
            1 => Element::of("rect", &class).at("x", x - 2.9).at("y", y - 2.9).at("width", 5.8).at("height", 5.8),
            2 => path(format!("M{x:.1} {:.1}l4 4l-4 4l-4 -4z", y - 4.0)),
            _ => path(format!("M{x:.1} {:.1}l4 7h-8z", y - 4.3)),
        }
    }

    /// A short line with its mark, for a legend or a table.
    pub(super) fn swatch(&self) -> Element {
        let line = Element::of("line", format!("curve {}", self.class()));
        let line = line.at("x1", 0.0).at("x2", 26.0).at("y1", 6.0).at("y2", 6.0);
        let picture = Element::of("svg", "swatch").with("viewBox", "0 0 26 12").with("aria-hidden", "true");
        picture.child(line).child(self.mark(13.0, 6.0, false))
    }
}

/// All subjects: those of the plan in its order, then any that was measured all the same.
pub(super) fn all(results: &Results) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for (place, subject) in results.plan.subjects.iter().enumerate() {
        let (name, engine, flags) = (subject.name.clone(), subject.engine.clone(), subject.flags.clone());
        shown.push(Shown { name, engine, flags, same_as: None, place, colour: 0 });
    }
    for point in &results.points {
        if !shown.iter().any(|known| known.name == point.key.subject) {
            let (name, place) = (point.key.subject.clone(), shown.len());
            shown.push(Shown { engine: name.clone(), name, flags: Vec::new(), same_as: None, place, colour: 0 });
        }
    }
    for (place, subject) in results.plan.subjects.iter().enumerate() {
        let original = subject.same_as.as_ref().and_then(|name| shown.iter().position(|known| known.name == *name));
        shown[place].same_as = original.filter(|original| *original != place);
    }
    colour(&mut shown);
    shown
}

/// Raft is blue and Multi-Paxos orange wherever they appear; further subjects take what is left, in order.
fn colour(shown: &mut [Shown]) {
    let mut taken = Vec::new();
    for place in 0..shown.len() {
        if let Some(original) = shown[place].same_as {
            shown[place].colour = shown[original].colour;
            continue;
        }
        let own = match shown[place].engine.as_str() {
            "raft" => 0,
            "paxos" => 1,
            _ => 2,
        };
        let free = |colour: &usize| !taken.contains(colour);
        let colour = [own].into_iter().chain(2..COLOURS).find(free).unwrap_or(2 + place % (COLOURS - 2));
        taken.push(colour);
        shown[place].colour = colour;
    }
    // A repetition may stand before its original in the plan.
    for place in 0..shown.len() {
        if let Some(original) = shown[place].same_as {
            shown[place].colour = shown[original].colour;
        }
    }
}
