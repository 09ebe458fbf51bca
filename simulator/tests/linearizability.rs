//! The linearizability checker against a brute-force oracle, against histories of a true linearizable store, and against
//! the clock.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "linearizability/brute_force.rs"]
mod brute_force;
#[path = "linearizability/generator.rs"]
mod generator;
#[path = "linearizability/histories.rs"]
mod histories;
#[path = "linearizability/large.rs"]
mod large;
#[path = "linearizability/oracle.rs"]
mod oracle;
#[path = "linearizability/pages.rs"]
mod pages;
#[path = "linearizability/store.rs"]
mod store;
#[path = "linearizability/stories.rs"]
mod stories;

use simulator::linearizability::{Action, Operation, Outcome};

/// An operation that is known to have taken effect.
fn ok(client: u64, action: Action, call: u64, returned: u64) -> Operation {
    Operation { client, action, call, returned: Some(returned), outcome: Outcome::Ok }
}

/// An operation of which nobody knows.
fn unknown(client: u64, action: Action, call: u64) -> Operation {
    Operation { client, action, call, returned: None, outcome: Outcome::Unknown }
}

fn failed(client: u64, action: Action, call: u64, returned: u64) -> Operation {
    Operation { client, action, call, returned: Some(returned), outcome: Outcome::Fail }
}

fn get(value: &str) -> Action {
    Action::Get { key: "k".into(), value: Some(value.into()) }
}

fn get_absent() -> Action {
    Action::Get { key: "k".into(), value: None }
}

fn put(value: &str) -> Action {
    Action::Put { key: "k".into(), value: value.into() }
}

fn append(value: &str) -> Action {
    Action::Append { key: "k".into(), value: value.into() }
}

fn delete() -> Action {
    Action::Delete { key: "k".into() }
}

fn cas(from: &str, to: &str) -> Action {
    Action::Cas { key: "k".into(), from: Some(from.into()), to: to.into() }
}
