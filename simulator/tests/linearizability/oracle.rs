//! Thousands of small histories, legal, spoilt and made up: the checker and the oracle agree on every one.

use consensus_api::random::SeededRandom;
use simulator::linearizability::{Action, Limits, Model, Operation, Outcome, Verdict, check};

use crate::brute_force;
use crate::generator::{self, Shape};

#[derive(Default)]
struct Counts {
    linearizable: usize,
    not: usize,
}

/// Holds the verdict, and the offence's part taken alone, against the oracle.
fn agree(history: &[Operation], model: Model, counts: &mut Counts, seed: u64) {
    let verdict = check(history, model, &Limits::default());
    let expected = brute_force::explains(history);
    match &verdict {
        Verdict::Linearizable => {
            assert!(expected, "seed {seed}: accepted what no order explains: {history:#?}");
            counts.linearizable += 1;
        }
        Verdict::NotLinearizable(offence) => {
            assert!(!expected, "seed {seed}: rejected what an order explains: {history:#?}\n{offence:?}");
            let part: Vec<Operation> = offence.operations.iter().map(|at| history[*at].clone()).collect();
            assert!(!brute_force::explains(&part), "seed {seed}: the part alone is no offence: {part:#?}");
            assert!(offence.operations.contains(&offence.breaks_at));
            counts.not += 1;
        }
        Verdict::Unknown(doubt) => panic!("seed {seed}: {doubt}"),
    }
}

/// A history of which every detail is drawn at random, answers too.
fn made_up(random: &mut SeededRandom, model: Model) -> Vec<Operation> {
    let values = ["a", "b", "ab", "", "ba", "aab"];
    let value = |random: &mut SeededRandom| values[random.below(6) as usize].to_string();
    let maybe = |random: &mut SeededRandom| (random.below(4) > 0).then(|| value(random));
    let kinds = if model == Model::Kv { 10 } else { 7 };
    (0..1 + random.below(7))
        .map(|client| {
            let key = "k".to_string();
            let action = match random.below(kinds) {
                0..=2 => Action::Get { key, value: maybe(random) },
                3 | 4 => Action::Put { key, value: value(random) },
                5 => Action::Cas { key, from: maybe(random), to: value(random) },
                6 => Action::CasRefused { key, from: maybe(random), to: value(random), found: value(random) },
                7 | 8 => Action::Append { key, value: value(random) },
                _ => Action::Delete { key },
            };
            let call = random.below(12);
            let outcome = match (&action, random.below(8)) {
                (Action::CasRefused { .. }, _) | (_, 0) => Outcome::Fail,
                (_, 1 | 2) => Outcome::Unknown,
                _ => Outcome::Ok,
            };
            let returned = (random.below(8) > 0).then(|| call + random.below(8));
            Operation { client, action, call, returned, outcome }
        })
        .collect()
}

fn made_up_histories(model: Model) {
    let mut counts = Counts::default();
    for seed in 0..20_000 {
        agree(&made_up(&mut SeededRandom::new(seed), model), model, &mut counts, seed);
    }
    println!("{model:?}: {} linearizable, {} not", counts.linearizable, counts.not);
    assert!(counts.linearizable > 4_000 && counts.not > 4_000, "one of the verdicts is rare");
}

#[test]
fn made_up_kv_histories_are_judged_as_the_oracle_judges_them() {
    made_up_histories(Model::Kv);
}

#[test]
fn made_up_register_histories_are_judged_as_the_oracle_judges_them() {
    made_up_histories(Model::Register);
}

/// Histories of a true store, whole and with one answer spoilt; with few values and with one for each write.
fn recorded_histories(model: Model) {
    let (mut whole, mut spoilt) = (Counts::default(), Counts::default());
    for seed in 0..12_000 {
        let shape = Shape {
            clients: 2 + seed % 3,
            operations: 7,
            keys: 1,
            values: seed % 4,
            unknown_percent: 20,
            longest_ns: 12,
            kv: model == Model::Kv,
        };
        let mut history = generator::history(&shape, seed);
        agree(&history, model, &mut whole, seed);
        if generator::spoil(&mut history, &mut SeededRandom::new(seed)) {
            agree(&history, model, &mut spoilt, seed);
        }
    }
    println!("{model:?}: whole {}, spoilt {} and {} not", whole.linearizable, spoilt.linearizable, spoilt.not);
    assert_eq!(whole.not, 0, "a true store was accused");
    assert!(spoilt.linearizable > 2_000 && spoilt.not > 2_000, "one of the verdicts is rare");
}

#[test]
fn recorded_kv_histories_are_judged_as_the_oracle_judges_them() {
    recorded_histories(Model::Kv);
}

#[test]
fn recorded_register_histories_are_judged_as_the_oracle_judges_them() {
    recorded_histories(Model::Register);
}
