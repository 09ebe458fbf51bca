//! Large histories: those of a true store are accepted in time, and one wrong answer among thousands is found.

use std::time::{Duration, Instant};

use consensus_api::random::SeededRandom;
use simulator::linearizability::{Action, Limits, Model, Operation, Outcome, Verdict, check};

use crate::generator::{self, Shape};

const TIME_MAX: Duration = Duration::from_secs(1);

fn shape(keys: u64) -> Shape {
    Shape { clients: 50, operations: 2_000, keys, values: 0, unknown_percent: 3, longest_ns: 1_000, kv: true }
}

/// The slowest of ten histories of this shape.
fn slowest(shape: &Shape) -> Duration {
    let took = (0..10).map(|seed| {
        let history = generator::history(shape, seed);
        let start = Instant::now();
        let verdict = check(&history, Model::Kv, &Limits::default());
        assert_eq!(verdict, Verdict::Linearizable, "seed {seed}");
        start.elapsed()
    });
    took.max().unwrap()
}

fn in_time(name: &str, shape: &Shape) {
    let slowest = slowest(shape);
    println!("2,000 operations by 50 clients, {name}: at most {slowest:?}");
    assert!(slowest < TIME_MAX, "{name} took {slowest:?}");
}

#[test]
fn two_thousand_operations_on_ten_keys_are_checked_in_time() {
    in_time("ten keys", &shape(10));
}

#[test]
fn two_thousand_operations_on_one_key_are_checked_in_time() {
    in_time("one key", &shape(1));
}

#[test]
fn two_thousand_operations_of_a_register_are_checked_in_time() {
    in_time("one register", &Shape { kv: false, ..shape(1) });
}

#[test]
fn two_thousand_operations_with_few_values_are_checked_in_time() {
    for values in [5, 20] {
        in_time(&format!("five registers of {values} values"), &Shape { kv: false, values, ..shape(5) });
    }
}

#[test]
fn a_key_that_is_only_appended_to_and_read_is_checked_in_time() {
    let mut history = Vec::new();
    let mut random = SeededRandom::new(7);
    let mut value = String::new();
    for number in 0..2_000_u64 {
        let effect = 100 * number;
        let (call, end) = (effect.saturating_sub(random.below(2_500)), effect + random.below(2_500));
        let key = "k".to_string();
        let action = if random.below(2) == 0 {
            value += &format!("{number},");
            Action::Append { key, value: format!("{number},") }
        } else {
            Action::Get { key, value: Some(value.clone()).filter(|value| !value.is_empty()) }
        };
        history.push(Operation { client: number % 50, action, call, returned: Some(end), outcome: Outcome::Ok });
    }
    let start = Instant::now();
    assert_eq!(check(&history, Model::Kv, &Limits::default()), Verdict::Linearizable);
    let took = start.elapsed();
    println!("2,000 appends and gets of one key, up to {} bytes: {took:?}", value.len());
    assert!(took < TIME_MAX, "took {took:?}");
}

/// Gives one get, late in the history, the value of one that was over long before.
fn make_stale(history: &mut [Operation]) -> usize {
    let seen = |operation: &Operation| match &operation.action {
        Action::Get { value: Some(value), .. } if operation.outcome == Outcome::Ok => Some(value.clone()),
        _ => None,
    };
    let early = history[history.len() / 10..].iter().find_map(seen).unwrap();
    let late = (history.len() / 2..history.len()).find(|at| seen(&history[*at]).is_some()).unwrap();
    let Action::Get { value, .. } = &mut history[late].action else { unreachable!() };
    *value = Some(early);
    late
}

#[test]
fn one_stale_get_among_two_thousand_operations_is_found_and_shown_alone() {
    for seed in 0..5 {
        for kv in [false, true] {
            let mut history = generator::history(&Shape { kv, ..shape(1) }, seed);
            let late = make_stale(&mut history);
            let start = Instant::now();
            let verdict = check(&history, Model::Kv, &Limits::default());
            let took = start.elapsed();
            let Verdict::NotLinearizable(offence) = verdict else { panic!("seed {seed}: {verdict:?}") };
            println!(
                "seed {seed}: {} operations in {took:?}\n{}",
                offence.operations.len(),
                offence.describe(&history)
            );
            assert!(offence.operations.contains(&late), "seed {seed}: the stale get is not in it");
            assert!(offence.operations.len() <= 12, "seed {seed}: the part is not small");
            assert!(took < 10 * TIME_MAX, "seed {seed}: took {took:?}");
        }
    }
}

#[test]
fn a_search_that_exceeds_its_bound_of_states_says_so() {
    // Every get overlaps every put and no value is its own: what an exhaustive search is bad at.
    let mut history: Vec<Operation> = Vec::new();
    for number in 0..40_u64 {
        let action = Action::Append { key: "k".into(), value: if number % 2 == 0 { "a" } else { "b" }.into() };
        history.push(Operation { client: number, action, call: number, returned: Some(100), outcome: Outcome::Ok });
    }
    let value = Some("ab".repeat(18) + "bbaaba");
    let get = Action::Get { key: "k".into(), value };
    history.push(Operation { client: 99, action: get, call: 101, returned: Some(102), outcome: Outcome::Ok });
    let limits = Limits { states_max: 10, time_max: None };
    let verdict = check(&history, Model::Kv, &limits);
    assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
}
