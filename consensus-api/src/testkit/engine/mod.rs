//! What every [`Engine`](crate::Engine) must do, as tests that any engine can run.
//!
//! ```text
//!   claim ──▶ world: time, mail, disks ──▶ step, take_effects ──▶ referee: what holds at every moment
//! ```
//!
//! One function is one claim and panics where it fails. [`engine_conformance!`](crate::engine_conformance) makes a test of
//! each, in one line for an engine, which says by [`Claims`] what it does not do; then the claim is that it refuses that, or
//! stands still and does no harm.
//!
//! The world is small and knows no protocol. What it cannot see, such as two leaders in one term, or what leases and joint
//! quorums rest on, an engine tests by itself.

pub mod catching_up;
pub mod durability;
mod node;
pub mod orders;
pub mod ordinary;
pub mod reads;
mod referee;
pub mod schedules;
pub mod without_leader;
mod world;

/// What an engine says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// While a majority runs it goes on, whoever is gone.
    pub survives_loss_of_leader: bool,
    /// Members come and go.
    pub changes_members: bool,
    /// Another node leads when an operator wants it.
    pub hands_over: bool,
}

impl Claims {
    /// Everything.
    pub const ALL: Claims = Claims { survives_loss_of_leader: true, changes_members: true, hands_over: true };
}

/// Makes a test of every claim: `engine_conformance!(Raft, Claims::ALL)`.
#[macro_export]
macro_rules! engine_conformance {
    ($engine:ty, $claims:expr) => {
        $crate::engine_conformance! { @tests $engine, $claims;
            ordinary: a_lone_node_commits, all_apply_the_same_in_the_same_order,
                a_proposal_is_carried_out_once_though_all_mail_comes_twice,
                a_proposal_at_a_follower_is_carried_out_or_refused_with_the_leaders_name,
                what_is_too_much_is_refused, a_minority_commits_nothing, an_idle_leader_carries_the_time_forward;
            orders: another_node_leads_on_request, a_learner_is_added_and_has_everything;
            reads: a_read_sees_what_was_acknowledged, a_read_after_everybody_restarted_sees_what_was_acknowledged,
                who_is_cut_off_serves_nothing_old;
            durability: a_disk_that_hangs_counts_for_nothing, a_restart_keeps_the_log,
                a_crash_of_everybody_at_any_point_loses_nothing;
            catching_up: a_node_that_was_away_catches_up, a_node_that_needs_what_is_trimmed_gets_a_snapshot;
            schedules: no_schedule_changes_what_is_committed, the_same_inputs_give_the_same_effects;
            without_leader: others_go_on_when_the_leader_is_gone, a_leader_that_comes_back_finds_its_place;
        }
    };
    (@tests $engine:ty, $claims:expr; $($group:ident: $($claim:ident),*;)*) => {
        $($(
            #[test]
            fn $claim() {
                $crate::testkit::engine::$group::$claim::<$engine>($claims);
            }
        )*)*
    };
}
