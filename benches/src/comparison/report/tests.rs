//! The report of results that could have been measured.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use quick_xml::Reader;
use quick_xml::events::Event as Xml;

use super::data::Data;
use super::fixture::results;
use super::{Failure, literature, page, summary, write};
use crate::comparison::results::{Found, Results};

fn shown(results: &Results) -> String {
    page::page(&Data::of(results), None)
}

/// All text of the page, tags taken out; fails where it is not well-formed.
fn read(html: &str) -> String {
    let mut reader = Reader::from_str(html.trim_start_matches("<!DOCTYPE html>"));
    let mut text = String::new();
    loop {
        match reader.read_event().unwrap() {
            Xml::Eof => return text,
            Xml::Text(part) => text += &String::from_utf8_lossy(&part),
            _ => {}
        }
    }
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_but_itself() {
    let html = shown(&results());
    read(&html);
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn everyone_who_was_measured_is_in_the_legend_and_every_section_is_there() {
    let html = shown(&results());
    for name in ["raft", "paxos", "raft again", "paxos again"] {
        assert!(html.contains(&format!("</svg>\n {name}</label>")), "{name}");
    }
    for id in [
        "curves",
        "distributions",
        "failover",
        "partitions",
        "meanwhile",
        "costs",
        "repeated",
        "literature",
        "conditions",
    ] {
        assert!(html.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
}

#[test]
fn two_that_tie_are_said_to_tie_and_the_invalid_point_is_named() {
    let text = read(&shown(&results()));
    assert!(text.contains("In steady state raft and paxos tie in 4 of 4 settings"), "{text}");
    assert!(text.contains("tie in all"), "the repetitions tie");
    assert!(text.contains("Left out: the machine was busy beforehand (1)."), "{text}");
    assert!(text.contains("the machine was busy beforehand: 0.31"));
    assert!(text.contains("never served"), "one event had no end");
}

#[test]
fn a_subject_that_differs_from_itself_is_an_alarm() {
    let mut results = results();
    for point in results.points.iter_mut().filter(|point| point.key.subject == "raft again") {
        if let Found::Load(load) = &mut point.found {
            load.all.p50_us *= 3;
        }
    }
    let html = shown(&results);
    assert!(html.contains("class=\"alarm\""));
    assert!(read(&html).contains("The noise here is larger than the method assumes"));
}

#[test]
fn one_that_is_slower_is_said_to_be_and_by_how_much() {
    let mut results = results();
    for point in results.points.iter_mut().filter(|point| point.key.subject.starts_with("paxos")) {
        if let Found::Load(load) = &mut point.found {
            load.all.p99_us *= 2;
        }
    }
    let text = read(&shown(&results));
    assert!(text.contains("tie in 0 of 4 settings"), "{text}");
    assert!(text.contains("p99 of paxos is ") && text.contains(" that of raft"), "{text}");
}

#[test]
fn fewer_than_three_rounds_give_no_verdict() {
    let mut results = results();
    results.points.retain(|point| point.key.round <= 2);
    let text = read(&shown(&results));
    assert!(!text.contains("and paxos tie in"), "{text}");
    assert!(text.contains("In 4 settings there are too few valid rounds"), "{text}");
}

#[test]
fn what_the_literature_predicts_is_seen_in_the_figures_or_called_not_measured() {
    let results = results();
    let rows = literature::table(&Data::of(&results)).markdown();
    let row =
        |of: &str| rows.lines().find(|line| line.contains(of)).unwrap_or_else(|| panic!("{of}: {rows}")).to_owned();
    assert!(row("again under the new ballot").contains("| seen |"));
    assert!(row("moves accepted values").contains("| seen |"));
    assert!(row("one round trip").contains("| seen |"));
    assert!(row("Batching").contains("| seen |"));
    assert!(row("independent streams").contains("| not measured |"));
}

#[test]
fn streams_that_help_multi_paxos_alone_are_seen_under_loss() {
    let mut results = results();
    for subject in results.plan.subjects.iter_mut().filter(|subject| subject.same_as.is_some()) {
        subject.same_as = None;
        subject.flags = vec!["--replication-streams".to_owned(), "8".to_owned()];
    }
    for point in results.points.iter_mut().filter(|point| point.key.setting.network == "lan") {
        point.key.setting.network = "loss1".to_owned();
        if let (Found::Load(load), "paxos again") = (&mut point.found, point.key.subject.as_str()) {
            load.all.p99_us /= 2;
        }
    }
    let rows = literature::table(&Data::of(&results)).markdown();
    let row = rows.lines().find(|line| line.contains("independent streams")).unwrap();
    assert!(row.contains("| seen |") && row.contains("loss1: paxos differ (0."), "{row}");
}

#[test]
fn names_are_shown_as_they_are_and_do_nothing() {
    let mut results = results();
    let name = "<script>alert(1)</script> & \"co\" | x";
    results.plan.subjects[0].name = name.to_owned();
    for point in results.points.iter_mut().filter(|point| point.key.subject == "raft") {
        point.key.subject = name.to_owned();
    }
    let html = shown(&results);
    read(&html);
    assert!(!html.contains("<script"));
    assert!(summary::summary(&Data::of(&results)).contains("\\| x"));
}

#[test]
fn without_a_single_point_there_is_a_page_all_the_same() {
    let mut results = results();
    results.points.clear();
    assert!(read(&shown(&results)).contains("Conditions"));
    results.plan.subjects.clear();
    assert!(read(&shown(&results)).contains("no two subjects"));
}

#[test]
fn all_three_files_are_written_whole_and_the_data_read_back_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("not/there/yet");
    let results = results();
    write(&results, Some(&results), &out).unwrap();
    let mut names: Vec<_> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["index.html", "results.json", "summary.md"]);
    let back: Results = serde_json::from_str(&fs::read_to_string(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(back.points.len(), results.points.len());
    let html = fs::read_to_string(out.join("index.html")).unwrap();
    assert!(read(&html).contains("0 of them changed"), "a run against itself has changed in nothing");
}

#[test]
fn results_of_another_format_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = Results { format: 99, ..results() };
    assert!(matches!(write(&other, None, dir.path()), Err(Failure::Format { found: 99 })));
}

#[test]
fn the_summary_has_its_tables_and_how_to_repeat_it() {
    let text = summary::summary(&Data::of(&results()));
    assert!(text.contains("--bin compare -- --plan benches/experiments/quick.toml"));
    for title in ["## Steady state", "## When the leader is lost", "## The same against itself"] {
        assert!(text.contains(title), "{title}");
    }
}

/// To look at: `QUORATE_REPORT=DIR cargo nextest run -p benches -E 'test(a_page_to_look_at)' --run-ignored only`.
#[test]
#[ignore = "writes where one can look at it"]
fn a_page_to_look_at() {
    let dir = std::env::var("QUORATE_REPORT").expect("QUORATE_REPORT names a directory");
    write(&results(), Some(&results()), dir.as_ref()).unwrap();
}
