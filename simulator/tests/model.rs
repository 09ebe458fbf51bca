//! Model checking, small enough for every run of the tests. Larger scopes: the command `model`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use simulator::Protocol;
use simulator::model::{Bug, Flaw, Report, Scope, check};

fn search<P: Protocol<Message: Sync> + Sync>(scope: Scope) -> Report {
    let report = check::<P>(scope, |_| ()).expect("the engine starts from a blank disk");
    println!("{report}");
    report
}

/// Nothing is violated on any path, nothing is left to search, and the model is alive.
fn holds_on_every_path<P: Protocol<Message: Sync> + Sync>(scope: Scope) {
    let report = search::<P>(scope);
    assert!(report.is_good(), "{report}");
    assert!(report.is_complete, "{report}");
}

/// The search stumbles over the bug, and this is what it does.
fn shows<P: Protocol<Message: Sync> + Sync>(flaw: Flaw, scope: Scope) {
    let report = search::<P>(Scope { seek: Some(flaw), states_max: 6_000_000, ..scope });
    let finding = report.found(flaw).unwrap_or_else(|| panic!("{flaw:?} was not found: {report}"));
    assert!(finding.path.iter().any(|step| step.contains("loses power")), "{report}");
}

#[test]
fn raft_keeps_its_promises_through_two_campaigns_and_a_loss_of_power() {
    holds_on_every_path::<Raft>(Scope::default());
}

#[test]
fn multipaxos_keeps_its_promises_through_two_campaigns_and_a_loss_of_power() {
    holds_on_every_path::<MultiPaxos>(Scope::default());
}

#[test]
fn raft_keeps_two_commands_of_two_leaders_apart() {
    holds_on_every_path::<Raft>(Scope { commands: 2, crashes: 0, slow_disks: 0, ..Scope::default() });
}

#[test]
fn multipaxos_keeps_two_commands_of_two_leaders_apart() {
    holds_on_every_path::<MultiPaxos>(Scope { commands: 2, crashes: 0, slow_disks: 0, ..Scope::default() });
}

#[test]
fn heartbeats_and_refusals_change_nothing_that_is_promised() {
    let scope = Scope { campaigns: 1, hurries: true, ..Scope::default() };
    holds_on_every_path::<Raft>(scope.clone());
    holds_on_every_path::<MultiPaxos>(scope);
}

#[test]
fn a_vote_that_leaves_before_it_is_durable_elects_two_leaders_in_one_term() {
    let scope = Scope { bug: Some(Bug::SendsBeforeDurable), commands: 0, ..Scope::default() };
    shows::<Raft>(Flaw::Leadership, scope);
}

#[test]
fn a_vote_that_a_loss_of_power_takes_elects_two_leaders_in_one_term() {
    let scope = Scope { bug: Some(Bug::ForgetsHardState), commands: 0, slow_disks: 0, ..Scope::default() };
    shows::<Raft>(Flaw::Leadership, scope);
}

#[test]
fn a_promise_that_leaves_before_it_is_durable_lets_two_values_be_chosen() {
    let scope = Scope { bug: Some(Bug::SendsBeforeDurable), commands: 2, ..Scope::default() };
    shows::<MultiPaxos>(Flaw::Agreement, scope);
}

#[test]
fn a_promise_that_a_loss_of_power_takes_lets_two_values_be_chosen() {
    let scope = Scope { bug: Some(Bug::ForgetsHardState), commands: 2, slow_disks: 0, ..Scope::default() };
    shows::<MultiPaxos>(Flaw::Agreement, scope);
}

#[test]
fn depth_first_and_breadth_first_come_to_the_same_states() {
    let scope = Scope { campaigns: 1, commands: 2, ..Scope::default() };
    let breadth = search::<MultiPaxos>(scope.clone());
    let depth = search::<MultiPaxos>(Scope { depth_first: true, ..scope });
    assert!(breadth.is_complete && depth.is_complete, "{breadth}{depth}");
    assert_eq!((breadth.states, breadth.steps), (depth.states, depth.steps));
}

#[test]
fn a_bound_on_states_ends_the_search_and_is_told() {
    let report = search::<Raft>(Scope { states_max: 5_000, ..Scope::default() });
    assert!(!report.is_complete && report.states >= 5_000 && report.violations().next().is_none(), "{report}");
}
