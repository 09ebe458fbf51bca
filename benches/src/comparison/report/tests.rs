//! The report of results that could have been measured.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;

use quick_xml::Reader;
use quick_xml::events::Event as Xml;

use super::data::Data;
use super::fixture::results;
use super::{Failure, curves, earlier, literature, meanwhile, page, summary, verdict, write};
use crate::comparison::results::{Found, History, Results};

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
fn a_wrong_answer_is_the_first_thing_that_is_said() {
    let mut results = results();
    let point = results.points.iter_mut().find(|point| point.key.subject == "paxos").unwrap();
    point.history = History::NotLinearizable { why: "key 7:\na read of what nobody wrote".to_owned() };
    point.invalid.push("the history is not linearizable".to_owned());
    results.points.last_mut().unwrap().history = History::Undecided { why: "key 9: time was up".to_owned() };
    let data = Data::of(&results);
    let sentences = verdict::sentences(&data);
    let first = &sentences[0];
    assert!(first.starts_with("Safety was violated: a history of paxos in puts (loopback"), "{first}");
    assert!(first.contains("key 7: a read of what nobody wrote"), "{first}");
    assert!(sentences.contains(&"1 history is undecided: the search for an order was given up.".to_owned()));
    let summary = summary::summary(&data);
    assert!(summary.contains("| not linearizable | key 7: a read of what nobody wrote |"), "{summary}");
    assert!(summary.contains("| undecided | key 9: time was up |"), "{summary}");
    assert!(summary.contains("Histories that are not: 1; undecided: 1."), "{summary}");
}

#[test]
fn a_setting_without_a_valid_point_is_told_and_not_forgotten() {
    let mut results = results();
    let is_lost = |point: &&mut crate::comparison::results::Point| {
        point.key.setting.network == "lan" || point.key.setting.open_tail == 4_000 || point.key.experiment == "moved"
    };
    for point in results.points.iter_mut().filter(is_lost) {
        point.invalid.push("the course broke down".to_owned());
        point.found = Found::Load(Default::default());
    }
    let data = Data::of(&results);
    let text = verdict::sentences(&data).join(" ");
    assert!(text.contains("tie in 3 of 3 settings"), "{text}");
    assert!(
        text.contains("In 1 setting there are too few valid rounds to say anything (puts (lan · 3 nodes"),
        "{text}"
    );
    assert!(text.contains("open tail 4,000)"), "{text}");
    assert!(text.contains("say anything (loopback · 3 nodes · transfer"), "{text}");
    assert!(curves::verdicts(&data).markdown().contains("| paxos | – | – | too few rounds | too few rounds |"));
}

#[test]
fn of_a_lost_leader_is_told_what_there_is() {
    let mut results = results();
    let is_event = |found: &Found| matches!(found, Found::Events { .. });
    results.points.retain(|p| !is_event(&p.found) || p.key.setting.open_tail > 0 || p.key.subject != "paxos");
    let text = verdict::sentences(&Data::of(&results)).join(" ");
    assert!(text.contains("After the loss of a leader (relay") && text.contains("open tail 1,000"), "{text}");
    results.points.retain(|p| !is_event(&p.found) || p.key.subject != "paxos");
    let text = verdict::sentences(&Data::of(&results)).join(" ");
    assert!(text.contains("with raft; of paxos nothing valid was measured."), "{text}");
}

#[test]
fn nothing_is_said_of_chance_where_nothing_was_judged() {
    let mut results = results();
    assert!(read(&shown(&results)).contains("8 comparisons judged"));
    results.plan.subjects.truncate(2);
    results.points.retain(|point| point.key.round <= 2 && !point.key.subject.ends_with("again"));
    let text = read(&shown(&results));
    assert!(!text.contains("by chance in"), "{text}");
    assert!(!text.contains("comparisons judged"), "{text}");
}

#[test]
fn what_too_few_rounds_or_events_show_is_called_not_measured() {
    let mut results = results();
    results.points.retain(|point| point.key.round == 1);
    for point in &mut results.points {
        if let Found::Events { events } = &mut point.found {
            events.truncate(2);
        }
    }
    let rows = literature::table(&Data::of(&results)).markdown();
    assert_eq!(rows.lines().filter(|line| line.contains("| not measured |")).count(), 8, "{rows}");
}

#[test]
fn tails_that_are_not_equally_long_are_not_compared() {
    let mut results = results();
    for point in results.points.iter_mut().filter(|point| point.key.subject == "paxos") {
        if let Found::Events { events } = &mut point.found {
            events.iter_mut().for_each(|event| event.open_tail /= 2);
        }
    }
    let rows = literature::table(&Data::of(&results)).markdown();
    let told = |line: &&str| line.contains("| not measured | the tails reached differ: raft 4,000, paxos 2,000 |");
    assert_eq!(rows.lines().filter(told).count(), 3, "{rows}");
    assert!(read(&shown(&results)).contains("paxos, 2,000 entries open of 4,000 asked for"));
}

#[test]
fn a_generator_that_is_later_than_the_median_is_marked() {
    let mut results = results();
    assert!(!shown(&results).contains(" !</td>"));
    for point in results.points.iter_mut().filter(|point| point.key.subject == "raft") {
        if let Found::Load(load) = &mut point.found {
            load.generator_lag_us = 900_000;
        }
    }
    assert!(shown(&results).contains("900 ms !</td>"));
}

#[test]
fn errors_meanwhile_are_counted() {
    let mut results = results();
    for point in results.points.iter_mut().filter(|point| point.key.subject == "paxos") {
        if let Found::Meanwhile { meanwhile, .. } = &mut point.found {
            meanwhile.errors.insert("504 unknown".to_owned(), 3);
        }
    }
    let rows = meanwhile::table(&Data::of(&results)).markdown();
    assert!(rows.contains("| 0 / 0 |") && rows.contains("| 0 / 15 |"), "{rows}");
}

#[test]
fn a_rate_that_was_only_the_lowest_is_marked_wherever_it_is_used() {
    let mut results = results();
    for point in &mut results.points {
        point.busy = 0.95;
    }
    let text = read(&shown(&results));
    assert!(text.contains("puts — loopback · 3 nodes · puts · 256 B · 1,000/s *"), "{text}");
}

#[test]
fn what_an_earlier_plan_defined_otherwise_is_left_out_and_named() {
    let (mut now, then) = (results(), results());
    now.plan.curves[0].seconds += 1;
    now.plan.subjects[1].flags.push("--pipeline".to_owned());
    let section = earlier::section(&Data::of(&now), Some(&then)).unwrap().to_string();
    let text = read(&section);
    assert!(text.contains("differently: experiment ") && text.contains("puts"), "{text}");
    assert!(text.contains("subject ") && !text.contains("p50"), "{text}");
    assert!(text.contains("served"), "the failovers are the same in both");
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
