//! The same in short, for whoever reads Markdown.

use super::data::Data;
use super::{costs, curves, events, literature, meanwhile, page, repeated, verdict};
use crate::comparison::results::Point;

/// The summary.
pub(super) fn summary(data: &Data<'_>) -> String {
    let mut text = format!("# {}\n\n{}\n", page::question(data), verdict::sentences(data).join(" "));
    text += &conditions(data);
    let tables = [
        ("Histories in doubt", verdict::doubtful(data)),
        ("Steady state", curves::verdicts(data)),
        ("When the leader is lost", events::times(data, false).originals()),
        ("What that takes", events::costs(data, false).originals()),
        ("When links are lost", events::times(data, true).originals()),
        ("Meanwhile", meanwhile::table(data).originals()),
        ("What an operation costs", costs::table(data).originals()),
        ("The same against itself", repeated::table(data, false)),
        ("What the literature predicts", literature::table(data)),
        ("Invalid points", verdict::invalid(data)),
    ];
    for (title, table) in tables.iter().filter(|(_, table)| !table.is_empty()) {
        text += &format!("\n## {title}\n\n{}", table.markdown());
    }
    text
}

fn conditions(data: &Data<'_>) -> String {
    let of = &data.results.conditions;
    let points = &data.results.points;
    let invalid = points.iter().filter(|point| !point.is_valid()).count();
    let bound = points.iter().filter(|point| Point::is_cpu_bound(point)).count();
    format!(
        "\n{} points in {} rounds, {invalid} of them invalid, {bound} bound by the processor. {} {} × {}, {}, {}; \
         commit {}, {}.\n\n`cargo run --release -p benches --bin compare -- --plan {}` repeats it.\n",
        points.len(),
        data.results.plan.rounds,
        verdict::histories(data),
        of.cores,
        of.processor,
        of.disk,
        of.kernel,
        of.commit,
        of.began,
        of.further.get("plan").map_or("PLAN.toml", String::as_str),
    )
}
