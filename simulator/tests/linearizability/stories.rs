//! What each outcome means, one history each.

use simulator::linearizability::{Action, Doubt, Limits, Model, Offence, Operation, Verdict, check};

use crate::{append, cas, delete, failed, get, get_absent, ok, put, unknown};

fn holds(history: &[Operation]) -> bool {
    match check(history, Model::Kv, &Limits::default()) {
        Verdict::Linearizable => true,
        Verdict::NotLinearizable(_) => false,
        Verdict::Unknown(doubt) => panic!("{doubt}"),
    }
}

fn offence(history: &[Operation]) -> Offence {
    match check(history, Model::Kv, &Limits::default()) {
        Verdict::NotLinearizable(offence) => offence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn operations_that_touch_at_one_moment_overlap() {
    assert!(holds(&[ok(1, put("a"), 0, 10), ok(2, get_absent(), 10, 20)]));
    assert!(!holds(&[ok(1, put("a"), 0, 10), ok(2, get_absent(), 11, 20)]));
}

#[test]
fn an_unknown_write_may_take_effect_late_or_never_but_not_early() {
    let write = unknown(1, put("a"), 10);
    assert!(holds(&[write.clone(), ok(2, get_absent(), 20, 30), ok(2, get("a"), 900, 910)]));
    assert!(holds(&[write.clone(), ok(2, get_absent(), 900, 910)]));
    assert!(!holds(&[write.clone(), ok(2, get("a"), 0, 9)]));
    assert!(!holds(&[write, ok(2, get("a"), 20, 30), ok(2, get_absent(), 40, 50)]), "it takes effect once");
}

#[test]
fn a_write_without_a_return_is_an_unknown_one_whatever_its_outcome() {
    let write = Operation { returned: None, ..ok(1, put("a"), 10, 11) };
    assert!(holds(&[write.clone(), ok(2, get_absent(), 20, 30)]));
    assert!(holds(&[write, ok(2, get("a"), 20, 30)]));
}

#[test]
fn a_failed_write_had_no_effect() {
    assert!(!holds(&[failed(1, put("a"), 0, 10), ok(2, get("a"), 20, 30)]));
    assert!(holds(&[failed(1, put("a"), 0, 10), ok(2, get_absent(), 20, 30)]));
}

#[test]
fn a_get_that_failed_or_is_unknown_claims_nothing() {
    assert!(holds(&[failed(1, get("a"), 0, 10), unknown(2, get("b"), 20)]));
}

#[test]
fn a_cas_that_failed_claims_only_what_it_says_it_found() {
    let refused = |from: &str, found: &str| Action::CasRefused {
        key: "k".into(),
        from: Some(from.into()),
        to: "z".into(),
        found: found.into(),
    };
    let write = ok(1, put("a"), 0, 10);
    assert!(holds(&[write.clone(), failed(2, cas("a", "z"), 20, 30)]), "it may have failed for another reason");
    assert!(holds(&[write.clone(), failed(2, refused("x", "a"), 20, 30)]));
    assert!(!holds(&[write.clone(), failed(2, refused("x", "b"), 20, 30)]));
    assert!(!holds(&[write, failed(2, refused("a", "a"), 20, 30)]), "it expected what it found");
}

#[test]
fn an_append_to_an_absent_key_makes_the_value_and_a_delete_of_one_does_nothing() {
    assert!(holds(&[
        ok(1, delete(), 0, 1),
        ok(1, append("a"), 2, 3),
        ok(1, append("b"), 4, 5),
        ok(1, get("ab"), 6, 7)
    ]));
    assert!(!holds(&[ok(1, append("a"), 2, 3), ok(1, append("b"), 4, 5), ok(1, get("ba"), 6, 7)]));
}

#[test]
fn two_appends_are_not_one() {
    let history = [ok(1, append("a"), 0, 1), ok(2, get("aa"), 2, 3)];
    assert!(!holds(&history));
    assert!(holds(&[ok(1, append("a"), 0, 1), unknown(3, append("a"), 0), ok(2, get("aa"), 2, 3)]));
}

#[test]
fn a_new_value_and_then_the_old_one_is_the_whole_offence_and_others_are_left_out() {
    let mut history = vec![ok(1, put("old"), 0, 10), ok(1, put("new"), 20, 60), ok(2, get("new"), 30, 40)];
    history.push(ok(3, get("old"), 45, 55));
    history.push(ok(4, append("more"), 70, 80));
    history.push(ok(4, get("newmore"), 90, 95));
    history.push(unknown(5, put("unseen"), 1));
    let offence = offence(&history);
    // That the old value was written first need not be known: it could have been written only once either way.
    assert!(offence.operations.starts_with(&[0]) && offence.operations.ends_with(&[2, 3]), "{offence:?}");
    assert_eq!(offence.breaks_at, 3);
    assert_eq!(offence.would_fit, [Some("new".to_string())]);
    let words = offence.describe(&history);
    assert!(words.contains("client 3: get \"k\" → \"old\", ok, from 45 to 55 ns"), "{words}");
    assert!(words.contains("it could have seen \"new\""), "{words}");
}

#[test]
fn a_value_from_nowhere_is_an_offence_of_one_operation() {
    let history = [ok(1, put("a"), 0, 10), ok(2, get("b"), 20, 30), ok(3, put("b"), 40, 50)];
    let offence = offence(&history);
    assert_eq!((offence.operations.as_slice(), offence.breaks_at), (&[1][..], 1));
    assert!(offence.describe(&history).contains("nobody had begun by then to write what it saw"));
}

#[test]
fn a_lost_write_is_shown_with_the_get_that_misses_it() {
    let history = [ok(1, put("a"), 0, 10), ok(2, get("a"), 20, 30), ok(1, put("b"), 40, 50), ok(2, get("a"), 60, 70)];
    let offence = offence(&history);
    assert!(offence.operations.contains(&2) && offence.operations.contains(&3), "{offence:?}");
    assert_eq!(offence.breaks_at, 3);
}

#[test]
fn one_bad_key_among_good_ones_is_named() {
    let other = |at| ok(9, Action::Put { key: "other".into(), value: "x".into() }, at, at + 1);
    let history = [other(0), ok(1, get("a"), 20, 30), other(40)];
    assert_eq!(offence(&history).key, "k");
}

#[test]
fn a_register_has_no_append() {
    let history = [ok(1, put("a"), 0, 1), ok(1, append("a"), 2, 3)];
    let verdict = check(&history, Model::Register, &Limits::default());
    assert_eq!(verdict, Verdict::Unknown(Doubt::NotInModel { operation: 1 }));
}

#[test]
fn nothing_happened_and_that_is_linearizable() {
    assert!(holds(&[]));
}
