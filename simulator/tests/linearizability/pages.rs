//! The page: it needs nothing else, shows every operation, and lets nothing of the history become markup.

use simulator::linearizability::{Action, Limits, Model, Operation, check, page};

use crate::generator::{self, Shape};
use crate::{get, ok, put, unknown};

fn drawn(history: &[Operation], title: &str) -> String {
    page(history, &check(history, Model::Kv, &Limits::default()), title)
}

fn count(page: &str, what: &str) -> usize {
    page.matches(what).count()
}

#[test]
fn an_offence_is_marked_and_explained_where_it_breaks() {
    let history = [ok(1, put("a"), 0, 10), ok(2, get("b"), 20, 30), unknown(3, put("c"), 5)];
    let page = drawn(&history, "t");
    assert!(page.contains("not linearizable"));
    assert!(page.contains("nobody had begun by then to write what it saw"));
    assert!(page.contains("it breaks here"));
    assert_eq!(count(&page, "<rect "), 3);
    assert_eq!(count(&page, "class=\"ok offending\""), 1);
    assert_eq!(count(&page, "class=\"unknown\""), 1);
    for client in 1..=3 {
        assert!(page.contains(&format!(">client {client}</text>")), "no lane for client {client}");
    }
}

#[test]
fn a_page_loads_nothing() {
    let page = drawn(&[ok(1, put("a"), 0, 10)], "t");
    for outside in ["<script", "<link", "<img", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(outside), "the page has {outside}");
    }
}

#[test]
fn nothing_of_a_history_becomes_markup() {
    let nasty = "</title><script>alert('\"&\")</script>\u{0}";
    let action = |value: &str| Action::Get { key: nasty.into(), value: Some(value.into()) };
    for history in
        [vec![ok(1, action(nasty), 0, 10)], vec![ok(1, Action::Put { key: nasty.into(), value: nasty.into() }, 0, 9)]]
    {
        let page = drawn(&history, nasty);
        assert!(!page.contains("<script") && !page.contains('\u{0}'), "{page}");
        assert_eq!(count(&page, "</title>"), 2, "one of the page, one of the bar");
    }
}

#[test]
fn a_huge_history_is_cut_to_its_offending_key_and_says_so() {
    let shape =
        Shape { clients: 50, operations: 20_000, keys: 4, values: 0, unknown_percent: 0, longest_ns: 500, kv: false };
    let mut history = generator::history(&shape, 1);
    let end = history.iter().filter_map(|operation| operation.returned).max().unwrap();
    history.push(ok(3, Action::Get { key: "k2".into(), value: Some("nobody's".into()) }, end + 1, end + 2));
    let page = drawn(&history, "huge");
    assert!(count(&page, "<rect ") <= 2_000);
    assert!(page.contains("of 20001 operations are drawn"));
    assert!(!page.contains("&quot;k1&quot;"), "another key is drawn");
    assert_eq!(count(&page, "offending\" x="), 1);
}

#[test]
fn operations_of_one_client_that_overlap_stand_one_under_the_other() {
    let page = drawn(&[unknown(1, put("a"), 0), ok(1, put("b"), 5, 10)], "t");
    assert_eq!(count(&page, "class=\"lane\""), 2);
    assert_eq!(count(&page, ">client 1</text>"), 1);
}
