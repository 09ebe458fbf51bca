//! The page: one file that needs nothing else, and reads without a script.

use super::data::Data;
use super::element::Element;
use super::{conditions, costs, curves, earlier, events, literature, meanwhile, repeated, tails, verdict};
use crate::comparison::results::Results;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn page(data: &Data<'_>, before: Option<&Results>) -> String {
    let sections: Vec<_> = [
        ("curves", "Latency against throughput", curves::section(data)),
        ("distributions", "Distributions", tails::section(data)),
        ("failover", "Lost leaders", events::failover(data)),
        ("partitions", "Lost links", events::partitions(data)),
        ("meanwhile", "Meanwhile", meanwhile::section(data)),
        ("costs", "Costs", costs::section(data)),
        ("repeated", "The same against itself", repeated::section(data)),
        ("literature", "The literature", literature::section(data)),
        ("conditions", "Conditions", Some(conditions::section(data))),
        ("earlier", "An earlier run", earlier::section(data, before)),
    ]
    .into_iter()
    .filter_map(|(id, title, section)| Some((id, title, section?)))
    .collect();
    let links = sections.iter().map(|(id, title, _)| Element::new("a").with("href", format_args!("#{id}")).text(title));
    let links = Element::new("nav").with("aria-label", "Contents").children(links);
    let main = Element::new("main").child(head(data)).child(links).child(legend(data));
    let main = main.children(sections.into_iter().map(|(_, _, section)| section));
    let html = Element::new("html").with("lang", "en").child(header(data)).child(Element::new("body").child(main));
    format!("<!DOCTYPE html>\n{html}\n")
}

/// What the comparison asks.
pub(super) fn question<'a>(data: &Data<'a>) -> &'a str {
    let question = data.results.plan.question.trim();
    if question.is_empty() { "A comparison" } else { question }
}

fn header(data: &Data<'_>) -> Element {
    Element::new("head")
        .child(Element::new("meta").with("charset", "utf-8"))
        .child(Element::new("meta").with("name", "viewport").with("content", "width=device-width, initial-scale=1"))
        .child(Element::new("meta").with("name", "color-scheme").with("content", "light dark"))
        .child(Element::new("title").text(question(data)))
        .child(Element::new("style").verbatim(STYLE).verbatim(fading(data)))
}

/// A subject that is not ticked in the legend fades, wherever it is drawn.
fn fading(data: &Data<'_>) -> String {
    let rule = |place: usize| format!("body:has(#show-{place}:not(:checked)) .s{place} {{ opacity: 0.06 }}\n");
    (0..data.subjects.len()).map(rule).collect()
}

fn head(data: &Data<'_>) -> Element {
    let of = &data.results.conditions;
    let day = of.began.split('T').next().unwrap_or_default();
    let byline = [day, &of.commit, &of.processor].map(str::trim).into_iter().filter(|part| !part.is_empty());
    let byline = byline.collect::<Vec<_>>().join(" · ");
    Element::new("header")
        .child(Element::of("p", "kicker").text("Quorate · comparison of consensus engines"))
        .child(Element::new("h1").text(question(data)))
        .child(Element::of("p", "byline").text(byline))
        .child(Element::of("p", "verdict").text(verdict::sentences(data).join(" ")))
        .child(verdict::glance(data))
        .children(verdict::reasons(data))
}

/// Always in sight: who has which colour. Unticked, a subject fades.
fn legend(data: &Data<'_>) -> Element {
    let entries = data.subjects.iter().map(|subject| {
        let id = format!("show-{}", subject.place);
        let tick = Element::new("input").with("type", "checkbox").with("id", &id).with("checked", "checked");
        Element::new("label").with("for", &id).child(tick).child(subject.swatch()).text(" ").text(subject)
    });
    Element::of("div", "legend")
        .with("role", "group")
        .with("aria-label", "Subjects")
        .children(entries)
        .child(Element::of("span", "hint").text("click one to fade it"))
}

pub(super) fn section(id: &'static str, title: &str) -> Element {
    Element::new("section").with("id", id).child(Element::new("h2").text(title))
}

pub(super) fn paragraph(text: &str) -> Element {
    Element::of("p", "intro").text(text)
}

/// Pictures side by side where there is room, with a caption.
pub(super) fn figure(title: &str, caption: &str, panels: impl IntoIterator<Item = Element>) -> Element {
    let figure = Element::new("figure");
    let figure = if title.is_empty() { figure } else { figure.child(Element::new("h3").text(title)) };
    let panels = Element::of("div", "panels").children(panels);
    figure.child(panels).child(Element::new("figcaption").text(caption))
}
