//! Histories of a true linearizable store: each operation takes effect at one moment between its call and its return,
//! and answers what the store was at that moment.

use std::collections::BTreeMap;

use consensus_api::random::SeededRandom;
use simulator::linearizability::{Action, Operation, Outcome};

/// What a generated history is like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) clients: u64,
    pub(crate) operations: usize,
    pub(crate) keys: u64,
    /// How many values there are to write; zero: each write has its own.
    pub(crate) values: u64,
    /// Of a hundred operations, how many never return.
    pub(crate) unknown_percent: u64,
    /// The longest an operation takes; clients are busy all the time.
    pub(crate) longest_ns: u64,
    /// Whether there are appends and deletes.
    pub(crate) kv: bool,
}

struct Started {
    client: u64,
    call: u64,
    effect: u64,
    end: u64,
}

/// A legal history.
pub(crate) fn history(shape: &Shape, seed: u64) -> Vec<Operation> {
    let mut random = SeededRandom::new(seed);
    let mut free_at: Vec<u64> = (0..shape.clients).map(|_| random.below(shape.longest_ns)).collect();
    let mut started: Vec<Started> = Vec::new();
    for _ in 0..shape.operations {
        let client = (0..free_at.len()).min_by_key(|client| (free_at[*client], *client)).unwrap();
        let call = free_at[client];
        let end = call + random.below(shape.longest_ns + 1);
        let effect = call + random.below(end - call + 1);
        free_at[client] = end + random.below(2);
        started.push(Started { client: client as u64, call, effect, end });
    }
    started.sort_by_key(|started| started.effect);
    let mut store: BTreeMap<String, String> = BTreeMap::new();
    let mut operations = Vec::new();
    for (number, Started { client, call, effect, end }) in started.into_iter().enumerate() {
        let key = format!("k{}", random.below(shape.keys));
        let value = if shape.values == 0 { format!("v{number};") } else { format!("v{};", random.below(shape.values)) };
        let lost = random.below(100) < shape.unknown_percent;
        let (action, mut outcome) = act(&mut random, shape, &mut store, key, value, lost && effect % 2 == 0);
        let mut returned = Some(end);
        if lost {
            (outcome, returned) = (Outcome::Unknown, (effect % 3 == 0).then_some(end));
        }
        operations.push(Operation { client, action, call, returned, outcome });
    }
    operations.sort_by_key(|operation| operation.call);
    operations
}

/// Carries out one operation, unless its request is lost on the way.
fn act(
    random: &mut SeededRandom,
    shape: &Shape,
    store: &mut BTreeMap<String, String>,
    key: String,
    value: String,
    is_lost: bool,
) -> (Action, Outcome) {
    let before = store.get(&key).cloned();
    let mut write = |value: Option<String>| match value {
        _ if is_lost => {}
        Some(value) => _ = store.insert(key.clone(), value),
        None => _ = store.remove(&key),
    };
    match random.below(if shape.kv { 10 } else { 7 }) {
        0..=2 => (Action::Get { key, value: before }, Outcome::Ok),
        3 | 4 => {
            write(Some(value.clone()));
            (Action::Put { key, value }, Outcome::Ok)
        }
        5 => {
            write(Some(value.clone()));
            (Action::Cas { key, from: before, to: value }, Outcome::Ok)
        }
        6 => match before {
            Some(found) => {
                let from = Some(format!("not {found}"));
                (Action::CasRefused { key, from, to: value, found }, Outcome::Fail)
            }
            None => (Action::Cas { key, from: Some("no".into()), to: value }, Outcome::Fail),
        },
        7 | 8 => {
            write(Some(before.unwrap_or_default() + &value));
            (Action::Append { key, value }, Outcome::Ok)
        }
        _ => {
            write(None);
            (Action::Delete { key }, Outcome::Ok)
        }
    }
}

/// Changes what one get has seen to what another has, or to nothing. Returns whether there was one.
pub(crate) fn spoil(history: &mut [Operation], random: &mut SeededRandom) -> bool {
    let seen: Vec<(usize, Option<String>)> = history
        .iter()
        .enumerate()
        .filter_map(|(at, operation)| match &operation.action {
            Action::Get { value, .. } if operation.outcome == Outcome::Ok => Some((at, value.clone())),
            _ => None,
        })
        .collect();
    if seen.is_empty() {
        return false;
    }
    let (at, old) = &seen[random.below(seen.len() as u64) as usize];
    let (_, other) = &seen[random.below(seen.len() as u64) as usize];
    let new = if other == old { None } else { other.clone() };
    let Action::Get { value, .. } = &mut history[*at].action else { return false };
    *value = new;
    true
}
