//! Histories as text: what is written is read back, and what is no history is refused by its line.

use simulator::linearizability::{
    Action, HistoryError, Model, Operation, Outcome, read_history, read_history_for, write_history,
};

use crate::generator::{self, Shape};
use crate::{failed, get_absent, ok, put, unknown};

fn text(history: &[Operation]) -> String {
    let mut bytes = Vec::new();
    write_history(&mut bytes, history).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The line and what is wrong with it.
fn refused(line: &str) -> String {
    let text = format!("\n{}{line}\n", text(&[ok(1, put("a"), 0, 1)]));
    let error = read_history(text.as_bytes()).unwrap_err();
    assert!(matches!(error, HistoryError::Line { line: 3, .. }), "{error}");
    error.to_string()
}

#[test]
fn what_is_written_is_read_back() {
    for seed in 0..20 {
        let shape =
            Shape { clients: 5, operations: 100, keys: 3, values: 0, unknown_percent: 20, longest_ns: 50, kv: true };
        let mut history = generator::history(&shape, seed);
        history.push(ok(7, put("\"quoted\"\n\u{0}\u{1f600}"), u64::MAX, u64::MAX));
        // What a get would have seen that never returned is not told.
        history.retain(|operation| {
            operation.outcome != Outcome::Unknown || !matches!(operation.action, Action::CasRefused { .. })
        });
        assert_eq!(read_history(text(&history).as_bytes()).unwrap(), history);
    }
}

#[test]
fn a_line_is_what_the_format_says() {
    let refusal = Action::CasRefused { key: "k".into(), from: None, to: "w".into(), found: "x".into() };
    let history = [ok(3, get_absent(), 100, 250), unknown(4, put("v"), 120), failed(5, refusal, 310, 400)];
    assert_eq!(
        text(&history),
        "{\"client\":3,\"op\":\"get\",\"key\":\"k\",\"value\":null,\"call\":100,\"return\":250,\"outcome\":\"ok\"}\n\
         {\"client\":4,\"op\":\"put\",\"key\":\"k\",\"value\":\"v\",\"call\":120,\"return\":null,\"outcome\":\"unknown\"}\n\
         {\"client\":5,\"op\":\"cas\",\"key\":\"k\",\"value\":\"x\",\"from\":null,\"to\":\"w\",\"call\":310,\"return\":400,\"outcome\":\"fail\"}\n"
    );
}

#[test]
fn fields_that_are_null_may_stand_where_they_mean_nothing() {
    let line = r#"{"client":1,"op":"cas","key":"k","value":null,"from":"a","to":"b","call":1,"return":2,"outcome":"fail"}
{"client":1,"op":"delete","key":"k","value":null,"from":null,"to":null,"call":1,"return":2,"outcome":"ok"}"#;
    let history = read_history(line.as_bytes()).unwrap();
    assert!(matches!(history[0].action, Action::Cas { .. }), "without a value it claims nothing");
    assert_eq!(history[1].action, Action::Delete { key: "k".into() });
}

#[test]
fn a_malformed_line_is_refused_with_what_is_wrong_and_what_is_expected() {
    let base = r#"{"client":1,"op":"put","key":"k","value":"v","call":10,"return":20,"outcome":"ok"}"#;
    let spoilt = |from: &str, to: &str| {
        assert!(base.contains(from));
        refused(&base.replace(from, to))
    };
    let contains = |message: String, expected: &str| assert!(message.contains(expected), "{message}");
    contains(refused("nonsense"), "3: not JSON");
    contains(refused("[1]"), "expected one JSON object");
    contains(refused(&base[..40]), "not JSON");
    contains(spoilt("put", "set"), "\"set\" is no operation; expected get, put, append, delete or cas");
    contains(spoilt("\"ok\"", "\"yes\""), "\"yes\" is no outcome; expected ok, fail or unknown");
    contains(spoilt("\"key\"", "\"kee\""), "\"kee\" is no field; expected client, op, key");
    contains(spoilt("\"key\":\"k\",", ""), "\"key\" is missing");
    contains(spoilt("\"call\":10", "\"call\":-1"), "\"call\" is -1; expected a whole number of nanoseconds");
    contains(spoilt("\"call\":10", "\"call\":1.5"), "\"call\" is 1.5; expected a whole number");
    contains(spoilt("\"return\":20", "\"return\":\"20\""), "\"return\" is a string; expected a whole number");
    contains(spoilt("\"return\":20", "\"return\":9"), "it returned at 9, before it was called at 10");
    contains(spoilt("\"return\":20,", ""), "\"return\" is missing");
    contains(spoilt("\"value\":\"v\"", "\"value\":null"), "\"value\" is null; expected a string");
    contains(spoilt("\"value\":\"v\"", "\"value\":\"v\",\"from\":\"u\""), "a put has no \"from\"");
    contains(spoilt("\"op\":\"put\"", "\"op\":\"cas\""), "\"from\" is missing");
    contains(spoilt("\"op\":\"put\"", "\"op\":\"delete\""), "a delete has no \"value\"");
    contains(spoilt("\"op\":\"put\"", "\"op\":\"cas\",\"from\":\"a\",\"to\":\"b\""), "only a cas that failed has a");
}

#[test]
fn bytes_that_are_no_text_are_refused_by_their_line() {
    let error = read_history(&b"{\"client\":\xff}\n"[..]).unwrap_err();
    assert!(error.to_string().starts_with("1: not JSON"), "{error}");
}

#[test]
fn an_append_in_the_history_of_a_register_is_refused_by_its_line() {
    let text = text(&[ok(1, put("a"), 0, 1), ok(1, crate::append("b"), 2, 3)]);
    let error = read_history_for(Model::Register, text.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2: a register has no append, only get, put and cas; check the history with --model kv"
    );
}
