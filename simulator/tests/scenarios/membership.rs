//! Changes of members: before a leader may, interrupted, of the leader itself; learners; nodes that were removed; snapshots
//! and slots of other members. That each entry is held by those who decide on it, and that every table names the same
//! members, is looked at by the world itself.

use std::time::Duration;

use consensus_api::membership_change::LEARNER_LAG_MAX;
use consensus_api::{Limits, NodeId, ReadMode, Refusal, Role, Timing};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use simulator::WorldConfig;

use crate::stage::members::with_blank_nodes;
use crate::stage::{FIVE, FOUR, ONE, Stage, THREE, TWO, Words, holds, often};

stories! {
    both {
        a_change_is_refused_before_the_leader_has_committed_in_its_own_epoch,
        two_leaders_whose_changes_were_cut_off_never_decide_by_disjoint_majorities,
        a_new_leader_ends_a_change_that_it_finds_unfinished,
        a_leader_that_removes_itself_leads_until_that_is_decided_and_hands_over,
        a_node_that_was_removed_while_it_was_away_disturbs_nobody,
        a_learner_that_was_promoted_without_knowing_it_votes,
        a_learner_that_lags_is_not_promoted,
        a_leader_that_others_have_replaced_reads_nothing_by_those_who_were_removed,
        one_node_becomes_three_and_five_and_three_again_under_load_with_crashes_at_every_step,
        a_change_that_was_meant_for_other_members_is_refused,
        a_node_that_lags_behind_the_return_of_its_leader_hears_it,
    }
    raft {
        a_snapshot_takes_the_place_of_members_that_were_never_committed,
    }
    multi_paxos {
        slots_that_were_proposed_before_a_change_are_decided_by_those_who_decided_then,
        voters_that_do_not_know_it_yet_learn_it_from_those_whom_they_replace,
        of_two_changes_to_the_same_members_that_are_chosen_the_second_is_void,
    }
}

/// A stage that runs, with blank nodes besides the founders, and that 1 leads.
fn led_by_one<P: Words>(nodes: u64, blank: u64) -> Stage<P> {
    let mut stage = Stage::running_with(with_blank_nodes(nodes, blank, 4));
    stage.campaign(ONE);
    stage.run(1);
    assert!(stage.leads(ONE));
    stage
}

/// 2 is elected and finds an entry of 1's epoch that it has yet to commit. Until then it knows nothing of what others may
/// have decided (Ongaro's mail to raft-dev, July 2015).
fn a_change_is_refused_before_the_leader_has_committed_in_its_own_epoch<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    stage.append(ONE, "k", "x");
    stage.write(ONE);
    stage.deliver(ONE, TWO);
    stage.write(TWO);
    stage.lose_all();
    stage.elect(TWO, &[THREE]);
    let early = stage.ask_for_members(TWO, &[TWO, THREE], &[]);
    let refusals = stage.refusals();
    assert!(matches!(refusals.last(), Some((id, Refusal::NotReady)) if *id == early), "{refusals:?}");
    stage.exchange(&[TWO, THREE]);
    let later = stage.ask_for_members(TWO, &[TWO, THREE], &[]);
    stage.exchange(&[TWO, THREE]);
    assert!(stage.acknowledged(later));
    assert_eq!(stage.world.changes_settled(), 1);
}

/// 1 asks for one more voter and is cut off; 2 removes 1; 1 comes back. Each counts by members of its own, and the sets of
/// voters that each needs have somebody in common.
fn two_leaders_whose_changes_were_cut_off_never_decide_by_disjoint_majorities<P: Words>() {
    let mut stage = led_by_one::<P>(4, 1);
    stage.change_members(&[ONE, TWO, THREE, FOUR], &[FIVE]);
    for other in [TWO, THREE, FOUR] {
        stage.part(ONE, other);
    }
    stage.ask_for_members(ONE, &[ONE, TWO, THREE, FOUR, FIVE], &[]);
    stage.run_for(Duration::from_millis(50));
    stage.part(ONE, FIVE);
    stage.run_until("another one leads", |stage| stage.world.leader().is_some_and(|leader| leader != ONE));
    stage.change_members(&[TWO, THREE, FOUR], &[FIVE]);
    let leader = stage.world.leader().expect("somebody leads");
    stage.must_acknowledge(leader);
    // 1 reaches 4 and 5 alone.
    stage.world.heal();
    for other in [TWO, THREE] {
        stage.part(ONE, other);
        stage.part(other, FOUR);
        stage.part(other, FIVE);
    }
    stage.campaign(ONE);
    stage.run(4);
    assert!(!stage.leads(ONE), "1 leads by votes that 2 and 3 know nothing of");
    stage.world.heal();
    stage.run(4);
    stage.must_acknowledge(TWO);
    assert!(stage.world.are_members_settled());
}

/// The leader dies when the first step is settled and the change is not over: joint in Raft, not yet in force in
/// Multi-Paxos. Whoever leads next brings it to its end.
fn a_new_leader_ends_a_change_that_it_finds_unfinished<P: Words>() {
    let mut stage = led_by_one::<P>(3, 2);
    stage.change_members(&[ONE, TWO, THREE], &[FOUR, FIVE]);
    stage.run(1);
    let before = stage.world.changes_settled();
    stage.ask_for_members(ONE, &[ONE, FOUR, FIVE], &[]);
    stage.run_until("the first step is settled", |stage| stage.world.changes_settled() > before);
    assert!(stage.world.status(ONE).is_some_and(|status| status.is_changing), "the change is over already");
    stage.crash(ONE);
    assert_eq!(stage.counts().changes_interrupted, 1);
    stage.run_until("the change ends", |stage| stage.world.are_members_settled());
    let settled = stage.world.settled_members();
    assert!(!settled.is_joint() && settled.voters.iter().eq(&[ONE, FOUR, FIVE]), "{settled:?}");
    let leader = stage.world.leader().expect("somebody leads");
    stage.must_acknowledge(leader);
    stage.restart(ONE);
    stage.converges(&[ONE, FOUR, FIVE]);
}

/// (Thesis §4.2.2.) It does not wait until somebody misses it: elections take less than it takes to suspect a leader.
fn a_leader_that_removes_itself_leads_until_that_is_decided_and_hands_over<P: Words>() {
    let mut stage = led_by_one::<P>(3, 0);
    let asked = stage.ask_for_members(ONE, &[TWO, THREE], &[]);
    stage.run_until("it is acknowledged", |stage| stage.acknowledged(asked));
    let before = stage.world.now();
    stage.run_until("another one leads", |stage| stage.leads(TWO) || stage.leads(THREE));
    let took = stage.world.now().since(before);
    assert!(took < Timing::default().election_timeout / 2, "1 has not handed over in {took:?}: {:#?}", stage.history());
    assert_eq!(stage.counts().elections, 2);
    stage.run(2);
    assert!(!stage.leads(ONE));
    stage.must_acknowledge(TWO);
    stage.stays_settled_for(10);
    stage.converges(&[TWO, THREE]);
}

/// 3 is cut off, removed, and back. It hears nobody who tells it, and asks for votes again and again.
fn a_node_that_was_removed_while_it_was_away_disturbs_nobody<P: Words>() {
    let mut stage = led_by_one::<P>(3, 0);
    stage.isolate(THREE);
    stage.change_members(&[ONE, TWO], &[]);
    stage.run(4);
    let ballot = stage.ballot(ONE);
    stage.world.heal();
    stage.stays_settled_for(10);
    assert_eq!(stage.ballot(ONE), ballot, "3 has made the others go on to another epoch");
    assert!(stage.leads(ONE) && !stage.leads(THREE));
    stage.must_acknowledge(TWO);
}

/// The entry that promotes 3 reaches 2 alone. Then 1 dies, and 2 cannot be elected without 3 (thesis §4.2.1).
fn a_learner_that_was_promoted_without_knowing_it_votes<P: Words>() {
    let mut stage = led_by_one::<P>(2, 1);
    stage.change_members(&[ONE, TWO], &[THREE]);
    stage.run(1);
    let asked = stage.ask_for_members(ONE, &[ONE, TWO, THREE], &[]);
    stage.part(ONE, THREE);
    stage.run_until("3 is a voter", |stage| stage.acknowledged(asked) && stage.world.are_members_settled());
    assert!(!stage.membership(THREE).is_voter(THREE), "3 knows it");
    stage.crash(ONE);
    // Where 2 has yet to hear that it is decided, it asks 3 all the same.
    stage.run_until("2 leads", |stage| stage.leads(TWO));
    assert!(stage.received(THREE, TWO, P::VOTE) > 0, "2 was elected without 3");
    stage.world.heal();
    stage.must_acknowledge(TWO);
    stage.converges(&[TWO, THREE]);
}

/// It would count for the size of a quorum, and not help to reach it.
fn a_learner_that_lags_is_not_promoted<P: Words>() {
    let config = with_blank_nodes(3, 1, 4096);
    let mut stage = Stage::<P>::running_with(config);
    stage.campaign(ONE);
    stage.run(1);
    stage.crash(FOUR);
    stage.change_members(&[ONE, TWO, THREE], &[FOUR]);
    for number in 0..LEARNER_LAG_MAX + 10 {
        stage.put(ONE, format!("k{}", number % 50), vec![1]);
    }
    stage.run(2);
    let early = stage.ask_for_members(ONE, &[ONE, TWO, THREE, FOUR], &[]);
    stage.run_for(Duration::from_millis(1));
    let refusals = stage.refusals();
    let is_meant = |refusal: &Refusal| matches!(refusal, Refusal::LearnerLags { node: FOUR, behind } if *behind > 1000);
    assert!(refusals.iter().any(|(id, reason)| *id == early && is_meant(reason)), "{refusals:?}");
    stage.restart(FOUR);
    stage.run(4);
    stage.change_members(&[ONE, TWO, THREE, FOUR], &[]);
    stage.converges(&[ONE, TWO, THREE, FOUR]);
    assert_eq!(stage.counts().learners_promoted, 1);
}

/// 2 and 3 vote no more, and answer 1 as if nothing had happened; 4 and 5, who vote now, have elected another leader.
fn a_leader_that_others_have_replaced_reads_nothing_by_those_who_were_removed<P: Words>() {
    let mut stage = led_by_one::<P>(3, 2);
    stage.append(ONE, "k", "x");
    stage.change_members(&[ONE, TWO, THREE], &[FOUR, FIVE]);
    stage.change_members(&[ONE, FOUR, FIVE], &[]);
    let leader = stage.world.leader().expect("somebody leads");
    if leader != ONE {
        holds(stage.world.transfer_leadership(leader, Some(ONE)));
        stage.run_until("1 leads", |stage| stage.leads(ONE));
        stage.run(1);
    }
    stage.part(ONE, FOUR);
    stage.part(ONE, FIVE);
    for _ in 0..40 {
        stage.read(ONE, "k");
        stage.run_for(Timing::default().election_timeout / 10);
    }
    let leader = stage.world.leader().expect("4 and 5 are a majority");
    assert_ne!(leader, ONE);
    let y = stage.append(leader, "k", "y");
    stage.run(1);
    assert!(stage.acknowledged(y));
    let stale = stage.read(ONE, "k");
    let by_lease = stage.read_by(ONE, "k", ReadMode::Lease);
    stage.run(2);
    for read in [stale, by_lease] {
        let answers = stage.answers(read);
        assert!(!answers.iter().any(|answer| matches!(answer, simulator::answers::Answer::Read { .. })), "{answers:?}");
    }
}

/// Crashes of the leader, of another one, and of everybody, each at another moment of a step.
fn one_node_becomes_three_and_five_and_three_again_under_load_with_crashes_at_every_step<P: Words>() {
    const CRASHES_IN_A_CHANGE: u64 = 8;
    let mut stage = led_by_one::<P>(1, 4);
    let all = [ONE, TWO, THREE, FOUR, FIVE];
    let mut interrupted = Vec::new();
    for voters in [&all[..1], &all[..3], &all[..], &all[2..]] {
        let (mut looks, mut crashes, before) = (0, 0, stage.counts().changes_interrupted);
        while !stage.takes_a_step(voters, &[]) {
            looks += 1;
            assert!(looks < 2_000, "{voters:?} are not the members: {:?}", stage.world.settled_members());
            let client = all[(looks % 5) as usize];
            if stage.world.is_up(client) {
                stage.append(client, "load", ".");
            }
            stage.run_for(Duration::from_micros(130 * (looks % 12)));
            if crashes < CRASHES_IN_A_CHANGE && stage.world.is_change_under_way() {
                crash_some(&mut stage, crashes, &all);
                crashes += 1;
            }
            stage.run_for(Duration::from_millis(40));
        }
        interrupted.push(stage.counts().changes_interrupted - before);
    }
    assert!(interrupted[1..].iter().all(|times| *times > 2), "no change was interrupted: {interrupted:?}");
    assert!(stage.world.settled_members().voters.iter().eq(&[THREE, FOUR, FIVE]));
    stage.must_acknowledge(FOUR);
    stage.converges(&[THREE, FOUR, FIVE]);
}

/// They are back at once; what they had not synced is lost.
fn crash_some<P: Words>(stage: &mut Stage<P>, turn: u64, all: &[NodeId]) {
    let leader = stage.world.leader();
    let victims: Vec<NodeId> = match turn % 3 {
        0 => leader.into_iter().collect(),
        1 => all.iter().copied().filter(|node| Some(*node) != leader).take(1).collect(),
        _ => all.to_vec(),
    };
    victims.iter().for_each(|node| stage.crash(*node));
    victims.iter().for_each(|node| stage.restart(*node));
}

/// Somebody else was quicker. Nothing happens twice, and nothing by mistake.
fn a_change_that_was_meant_for_other_members_is_refused<P: Words>() {
    let mut stage = led_by_one::<P>(3, 1);
    let target = stage.world.members(0, [ONE, TWO, THREE], [FOUR]);
    stage.change_members(&[ONE, TWO, THREE], &[FOUR]);
    let late = holds(stage.world.change_membership(TWO, target)).expect("2 runs");
    stage.run(1);
    let refusals = stage.refusals();
    let moved = Refusal::MembershipMoved { asked: 0, present: 1 };
    assert!(refusals.contains(&(late, moved)), "{refusals:?}");
    assert_eq!(stage.world.changes_settled(), 1);
}

/// 4 has seen 1 go, and not that it is back and leads. It hears the one who could tell it.
fn a_node_that_lags_behind_the_return_of_its_leader_hears_it<P: Words>() {
    let mut stage = led_by_one::<P>(3, 1);
    stage.change_members(&[ONE, TWO, THREE], &[FOUR]);
    stage.change_members(&[TWO, THREE], &[FOUR]);
    stage.run(2);
    assert!(!stage.membership(FOUR).contains(ONE), "4 has not seen 1 go");
    stage.isolate(FOUR);
    stage.change_members(&[ONE, TWO, THREE], &[FOUR]);
    stage.run(1);
    let leader = stage.world.leader().expect("somebody leads");
    if leader != ONE {
        holds(stage.world.transfer_leadership(leader, Some(ONE)));
        stage.run_until("1 leads", |stage| stage.leads(ONE));
    }
    stage.world.heal();
    stage.part(TWO, FOUR);
    stage.part(THREE, FOUR);
    stage.must_acknowledge(ONE);
    stage.converges(&[ONE, TWO, THREE, FOUR]);
}

/// 1 removes 5, and 3 alone hears of it, in force there at once. The others go on without them, and trim their logs: 3 is
/// sent a snapshot of members that never changed.
fn a_snapshot_takes_the_place_of_members_that_were_never_committed() {
    let mut stage =
        Stage::<Raft>::with_short_logs(WorldConfig { nodes: 5, snapshots: often(10), ..WorldConfig::default() });
    for apart in [ONE, THREE] {
        for other in [TWO, FOUR, FIVE] {
            stage.part(apart, other);
        }
    }
    stage.ask_for_members(ONE, &[ONE, TWO, THREE, FOUR], &[]);
    stage.run_for(Duration::from_millis(20));
    assert_eq!((stage.membership(THREE).version, stage.world.changes_settled()), (1, 0));
    stage.run_until("another one leads", |stage| stage.world.leader().is_some_and(|leader| leader != ONE));
    let leader = stage.world.leader().expect("somebody leads");
    for number in 0..40 {
        stage.put(leader, format!("k{number}"), vec![1; 20]);
        stage.run_for(Duration::from_millis(5));
    }
    stage.take_snapshot(leader);
    assert!(stage.world.trimmed_through(leader) > stage.commit(THREE));
    stage.crash(ONE);
    stage.world.heal();
    stage.run(4);
    assert!(stage.installed(THREE) > 0, "3 was not sent a snapshot");
    assert_eq!(stage.membership(THREE).version, 0, "3 goes by members that were never committed");
    stage.restart(ONE);
    stage.converges(&[ONE, TWO, THREE, FOUR, FIVE]);
}

/// 1 asks for itself alone, and for three commands in the slots behind. They belong to all three until the window has passed.
fn slots_that_were_proposed_before_a_change_are_decided_by_those_who_decided_then() {
    let mut stage = Stage::<MultiPaxos>::with(with_blank_nodes(3, 0, 8));
    stage.campaign(ONE);
    stage.stabilize();
    assert!(stage.leads(ONE));
    let asked = stage.ask_for_members(ONE, &[ONE], &[]);
    let behind = [stage.append(ONE, "k", "x"), stage.append(ONE, "k", "y"), stage.append(ONE, "k", "z")];
    stage.write(ONE);
    assert!(behind.iter().all(|id| stage.on_disk(ONE, *id)));
    assert!(!stage.acknowledged(asked), "1 has decided on its own what all three decide");
    // The change is chosen by 1 and 2, and what follows has reached nobody else.
    let held = stage.hold(ONE, TWO, MultiPaxos::ACCEPT);
    assert!(!held.is_empty());
    stage.lose_all();
    stage.write(ONE);
    assert!(!behind.iter().any(|id| stage.acknowledged(*id)));
    stage.hand_in(held);
    stage.exchange(&[ONE, TWO]);
    assert!(stage.acknowledged(asked) && behind.iter().all(|id| stage.acknowledged(*id)));
    stage.stabilize();
    stage.run(2);
    assert_eq!(stage.membership(ONE).voters.len(), 1);
    stage.must_acknowledge(ONE);
}

/// Learners that lag behind are all that is to vote, and know nothing of it; whoever knows it votes no more, and all crash.
/// They ask those whom they knew for voters.
fn voters_that_do_not_know_it_yet_learn_it_from_those_whom_they_replace() {
    let mut stage = led_by_one::<MultiPaxos>(3, 2);
    stage.change_members(&[ONE, TWO, THREE], &[FOUR, FIVE]);
    stage.run(1);
    for voter in [ONE, TWO, THREE] {
        for learner in [FOUR, FIVE] {
            stage.world.cut(voter, learner);
        }
    }
    stage.append(ONE, "k", "x");
    stage.run_for(Duration::from_millis(50));
    let asked = stage.ask_for_members(ONE, &[FOUR, FIVE], &[]);
    stage.run_until("it is chosen", |stage| stage.acknowledged(asked));
    stage.run_for(Duration::from_millis(100));
    for node in [ONE, TWO, THREE, FOUR, FIVE] {
        holds(stage.world.flush_tables(node));
        stage.crash(node);
    }
    stage.world.heal();
    for node in [ONE, TWO, THREE, FOUR, FIVE] {
        stage.restart(node);
    }
    stage.run(10);
    let leader = stage.world.leader().expect("4 or 5 leads");
    assert!(stage.world.status(leader).is_some_and(|status| status.role == Role::Leader && leader > THREE));
    stage.must_acknowledge(leader);
    stage.converges(&[FOUR, FIVE]);
}

/// 1 proposes a change in slot 1, and nobody hears of it. 3 leads by 4 and 5, and proposes another one in slot 2, which is
/// chosen; what it has in slot 1 nobody hears of. Then 1 leads by 2 and 4: both are chosen, and the second was meant for
/// the founders.
fn of_two_changes_to_the_same_members_that_are_chosen_the_second_is_void() {
    let mut stage = Stage::<MultiPaxos>::with(with_blank_nodes(5, 0, 8));
    stage.campaign(ONE);
    stage.stabilize();
    stage.ask_for_members(ONE, &[ONE, TWO, THREE, FOUR], &[]);
    stage.write(ONE);
    stage.lose_all();
    stage.elect(THREE, &[FOUR, FIVE]);
    stage.lose_all();
    stage.append(THREE, "k", "x");
    stage.write(THREE);
    stage.lose_all();
    stage.ask_for_members(THREE, &[TWO, THREE, FOUR, FIVE], &[]);
    stage.write(THREE);
    for voter in [FOUR, FIVE] {
        stage.deliver(THREE, voter);
        stage.write(voter);
    }
    stage.lose_all();
    stage.crash(ONE);
    stage.restart(ONE);
    stage.campaign_in_vain(ONE);
    stage.elect(ONE, &[TWO, FOUR]);
    stage.exchange(&[ONE, TWO, FOUR]);
    assert!(stage.counts().changes_void >= 1);
    assert_eq!(stage.world.changes_settled(), 1);
    stage.run(6);
    assert!(stage.world.settled_members().voters.iter().eq(&[ONE, TWO, THREE, FOUR]));
    stage.must_acknowledge(TWO);
    stage.converges(&[ONE, TWO, THREE, FOUR]);
}
