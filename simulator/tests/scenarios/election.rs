//! Elections: votes that come late, entries of earlier epochs, beliefs that block each other, links of which half works,
//! and candidates that disturb each other. Progress is demanded within a stated number of election timeouts.

use consensus_api::{Limits, LogIndex, NodeId, Payload, Timing};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use simulator::WorldConfig;

use crate::stage::{FIVE, FOUR, ONE, Stage, THREE, TWO, Words};

stories! {
    both {
        a_late_or_doubled_vote_is_not_counted_for_another_epoch_or_twice,
        a_later_epoch_with_a_shorter_log_and_an_earlier_one_with_a_longer_log_find_a_leader,
        belief_in_a_dead_leader_blocks_votes_no_longer_than_a_timeout,
        in_a_chain_of_three_one_leader_is_found_and_stays,
        a_leader_at_the_end_of_a_chain_is_not_deposed,
        a_leader_without_a_quorum_steps_down_though_one_node_still_hears_it,
        a_leader_that_can_only_send_is_replaced,
        a_leader_that_can_only_receive_is_replaced,
        a_follower_that_can_only_send_deposes_nobody,
        a_follower_that_can_only_receive_deposes_nobody,
        a_node_that_comes_back_with_an_inflated_epoch_disturbs_once_at_most,
        candidates_that_duel_end_with_a_leader,
    }
    raft { an_entry_of_an_earlier_term_on_a_majority_is_not_committed_by_counting }
    multi_paxos { a_new_leader_proposes_the_highest_accepted_values_again_and_fills_holes }
}

/// Within so many election timeouts a majority that can speak with itself has a leader.
const TIMEOUTS_TO_SETTLE: u32 = 10;
/// For so many election timeouts a leader that works is watched.
const TIMEOUTS_TO_WATCH: u32 = 40;
/// What is left to chance is tried with so many seeds.
const SEEDS: u64 = 8;

/// Of five, 1 has two votes in its second epoch, and a third one comes that was given in its first; and in the first it
/// had two, one of them twice.
fn a_late_or_doubled_vote_is_not_counted_for_another_epoch_or_twice<P: Words>() {
    let mut stage = Stage::<P>::new(5);
    stage.campaign(ONE);
    stage.write(ONE);
    stage.deliver(ONE, TWO);
    stage.write(TWO);
    assert_eq!(stage.double(TWO, ONE, P::VOTE), 1);
    assert_eq!(stage.double(TWO, ONE, P::VOTE), 2);
    let mut late = stage.hold(TWO, ONE, P::VOTE);
    assert_eq!(late.len(), 4);
    let twice = late.split_off(2);
    stage.hand_in(twice);
    assert!(!stage.leads(ONE), "one voter is counted twice");

    stage.campaign_in_vain(ONE);
    stage.lose_all();
    stage.elapse(4);
    stage.deliver(ONE, FOUR);
    stage.write(FOUR);
    assert!(stage.deliver_kind(FOUR, ONE, P::VOTE) > 0);
    stage.hand_in(late);
    assert!(!stage.leads(ONE), "a vote for an earlier epoch is counted");
    stage.deliver(ONE, FIVE);
    stage.write(FIVE);
    stage.deliver(FIVE, ONE);
    assert!(stage.leads(ONE));
}

/// Figure 8 of the Raft paper. 1 gets its old entry x onto a majority and must not take it for committed: 5, whose log
/// ends in a later term, is elected without it and overwrites it.
fn an_entry_of_an_earlier_term_on_a_majority_is_not_committed_by_counting() {
    // A message takes one entry, so that the old one travels without the new leader's no-op.
    let limits = Limits { message_bytes_max: 64, ..Limits::default() };
    let mut stage = Stage::<Raft>::led_by_one(5, limits);
    let x = stage.append(ONE, "k", "x");
    stage.deliver(ONE, TWO);
    stage.write(ONE);
    stage.write(TWO);
    stage.lose_all();
    stage.crash(ONE);

    stage.elect(FIVE, &[THREE, FOUR]);
    let y = stage.append(FIVE, "k", "y");
    stage.write(FIVE);
    stage.lose_all();
    stage.crash(FIVE);

    stage.restart(ONE);
    stage.campaign_in_vain(ONE);
    stage.elect(ONE, &[TWO, THREE]);
    stage.write(ONE);
    stage.lose(ONE, TWO);
    stage.lose(ONE, FOUR);
    // 3 says what it lacks, and gets x.
    stage.deliver(ONE, THREE);
    stage.write(THREE);
    stage.deliver(THREE, ONE);
    stage.deliver(ONE, THREE);
    stage.write(THREE);
    stage.deliver_kind(THREE, ONE, Raft::ACCEPTED);
    let index = stage.index_on_disk(ONE, x).expect("1 has it");
    assert!([TWO, THREE].iter().all(|node| stage.index_on_disk(*node, x) == Some(index)), "x is on no majority");
    assert!(stage.commit(ONE) < index, "x is committed by counting");

    stage.lose_all();
    stage.crash(ONE);
    stage.restart(FIVE);
    stage.campaign_in_vain(FIVE);
    stage.elect(FIVE, &[THREE, FOUR]);
    stage.exchange(&[TWO, THREE, FOUR, FIVE]);
    assert!(stage.on_disk(THREE, y) && !stage.on_disk(THREE, x));
    assert_eq!(stage.value(TWO, "k").as_deref(), Some("y"));
    assert!(!stage.acknowledged(x));
}

/// Slot 1 was accepted under two ballots, slot 2 by nobody whom the new leader hears, slot 3 behind it. It proposes the
/// value of the highest ballot for slot 1, a no-op for slot 2, and for slot 3 what was accepted there: also where the
/// promise that tells of slot 3 comes in two pages.
fn a_new_leader_proposes_the_highest_accepted_values_again_and_fills_holes() {
    for message_bytes_max in [1 << 20, 64] {
        takes_over_open_slots(Limits { message_bytes_max, ..Limits::default() });
    }
}

fn takes_over_open_slots(limits: Limits) {
    let mut stage = Stage::<MultiPaxos>::led_by_one(5, limits);
    let x = stage.append(ONE, "k", "x");
    stage.write(ONE);
    stage.lose_all();
    stage.crash(ONE);

    stage.elect(FIVE, &[THREE, FOUR]);
    let y = stage.append(FIVE, "k", "y");
    stage.deliver(FIVE, FOUR);
    let z = stage.append(FIVE, "k", "z");
    stage.lose(FIVE, FOUR);
    let w = stage.append(FIVE, "k", "w");
    stage.deliver(FIVE, FOUR);
    stage.write(FOUR);
    stage.lose_all();
    stage.crash(FIVE);
    assert!(stage.counts().lossy_crashes > 0, "5 has lost what it proposed");
    let at = |stage: &Stage<MultiPaxos>, node, id| stage.index_on_disk(node, id).map(|index: LogIndex| index.0);
    assert_eq!((at(&stage, ONE, x), at(&stage, FOUR, y)), (Some(1), Some(1)), "two values for one slot");
    assert_eq!((at(&stage, FOUR, z), at(&stage, FOUR, w)), (None, Some(3)), "no hole");

    stage.restart(ONE);
    stage.campaign_in_vain(ONE);
    stage.campaign(ONE);
    stage.lose(ONE, THREE);
    stage.exchange(&[ONE, TWO, FOUR]);
    assert!(stage.leads(ONE));
    stage.exchange(&[ONE, TWO, THREE, FOUR]);
    for node in [ONE, TWO, THREE, FOUR] {
        let entries = stage.world.disk(node).expect("it has one").durable_entries();
        let request = |entry: usize| entries[entry].payload.request_id();
        assert_eq!(entries.len(), 3);
        assert_eq!((request(0), request(2)), (Some(y), Some(w)), "at {node}");
        assert_eq!(entries[1].payload, Payload::Noop, "at {node}");
        assert_eq!(stage.value(node, "k").as_deref(), Some("yw"), "at {node}");
    }
    assert!(!stage.acknowledged(x));
}

/// 1 has the longer log and will not vote for 2's; 2 has campaigned by itself and will not vote in 1's epoch; 3 is down
/// for good. They deadlock unless 1 learns of the later epoch, with pre-vote as well as without.
fn a_later_epoch_with_a_shorter_log_and_an_earlier_one_with_a_longer_log_find_a_leader<P: Words>() {
    for pre_check in [true, false] {
        let timing = Timing { pre_check, ..Timing::default() };
        let mut stage = Stage::<P>::with(WorldConfig { timing, ..WorldConfig::default() });
        stage.campaign(ONE);
        stage.stabilize();
        stage.isolate(TWO);
        let x = stage.append(ONE, "k", "x");
        stage.stabilize();
        assert!(stage.acknowledged(x));
        for _ in 0..3 {
            stage.campaign(TWO);
            stage.stabilize();
        }
        for node in [ONE, TWO, THREE] {
            stage.crash(node);
        }
        stage.world.heal();
        stage.restart(ONE);
        stage.restart(TWO);
        assert!(stage.ballot(TWO).round > stage.ballot(ONE).round && stage.last(ONE) > stage.last(TWO));
        stage.settles_within(TIMEOUTS_TO_SETTLE);
        stage.must_acknowledge(TWO);
        stage.converges(&[ONE, TWO]);
        assert_eq!(stage.value(TWO, "k").as_deref(), Some("x"));
    }
}

/// 3 hears the leader and 2 does not, so 3 refuses 2. Then the leader dies: what 3 believes must not keep 2 from being
/// elected for longer than it is true.
fn belief_in_a_dead_leader_blocks_votes_no_longer_than_a_timeout<P: Words>() {
    for seed in 0..SEEDS {
        let mut stage = Stage::<P>::running_under_one(3, seed);
        stage.world.cut(ONE, TWO);
        stage.stays_settled_for(5);
        assert!(stage.leads(ONE), "a leader that works is deposed");
        let refused = stage.letters(THREE, TWO, P::PRE_ANSWER).iter().filter(|words| words.contains("refused")).count();
        assert!(refused > 0, "3 has never refused 2");
        stage.crash(ONE);
        // One timeout of belief, and then at most two more until somebody asks who was refused just before its end.
        let leader = stage.settles_within(4);
        stage.must_acknowledge(leader);
        stage.stays_settled_for(TIMEOUTS_TO_SETTLE);
    }
}

/// Two of three nodes do not reach each other; the third reaches both. Each of the two may be deposed for ever by the
/// other, who does not hear it. So one leader is found, and then nobody is elected any more.
fn in_a_chain_of_three_one_leader_is_found_and_stays<P: Words>() {
    for seed in 0..SEEDS {
        for (end, other, middle) in [(ONE, THREE, TWO), (ONE, TWO, THREE), (TWO, THREE, ONE)] {
            let mut stage = Stage::<P>::running(3, seed);
            stage.part(end, other);
            stage.settles_within(TIMEOUTS_TO_SETTLE);
            stage.stays_settled_for(TIMEOUTS_TO_WATCH);
            stage.must_acknowledge(middle);
            assert!(stage.counts().elections <= 2, "{} elections until one lasts", stage.counts().elections);
        }
    }
}

/// 1 leads, and 2 follows it; 3 hears nothing of 1 and asks 2 for its vote, again and again.
fn a_leader_at_the_end_of_a_chain_is_not_deposed<P: Words>() {
    for seed in 0..SEEDS {
        let mut stage = Stage::<P>::running_under_one(3, seed);
        stage.part(ONE, THREE);
        stage.stays_settled_for(TIMEOUTS_TO_WATCH);
        assert!(stage.received(TWO, THREE, P::PRE_ANSWER) > 10, "3 has hardly asked");
        assert!(stage.leads(ONE));
        stage.must_acknowledge(TWO);
    }
}

/// Of five nodes, one of them down, 1 leads, and only 2 hears it and answers. Without 2 there is no quorum, and 2 helps
/// nobody while it hears 1. So 1 must step down; then the others elect somebody who stays.
fn a_leader_without_a_quorum_steps_down_though_one_node_still_hears_it<P: Words>() {
    for seed in 0..SEEDS {
        let mut stage = Stage::<P>::running_under_one(5, seed);
        stage.crash(FIVE);
        for other in [THREE, FOUR] {
            stage.part(ONE, other);
        }
        let heard = stage.received(ONE, TWO, P::HEARTBEAT);
        let leader = stage.settles_within(TIMEOUTS_TO_SETTLE);
        assert!(stage.received(ONE, TWO, P::HEARTBEAT) > heard, "2 has not heard 1 any more");
        assert!(leader != ONE && !stage.leads(ONE), "1 leads without a quorum");
        stage.stays_settled_for(TIMEOUTS_TO_WATCH);
        stage.must_acknowledge(leader);
        assert!(stage.counts().elections <= 4, "{} elections until one lasts", stage.counts().elections);
        stage.world.heal();
        stage.restart(FIVE);
        stage.converges(&[ONE, TWO, THREE, FOUR, FIVE]);
    }
}

/// 1 leads, these links fail, and either it goes on without an election or another one leads and stays. Then the links
/// are whole, and everybody has the same.
fn one_way<P: Words>(cut: [(NodeId, NodeId); 2], one_goes_on: bool) {
    for seed in 0..SEEDS {
        let mut stage = Stage::<P>::running_under_one(3, seed);
        let elections = stage.counts().elections;
        for (from, to) in cut {
            stage.world.cut(from, to);
        }
        let leader = stage.settles_within(TIMEOUTS_TO_SETTLE);
        assert_eq!((leader == ONE, stage.leads(ONE)), (one_goes_on, one_goes_on));
        assert!(stage.counts().elections - elections <= if one_goes_on { 0 } else { 2 });
        stage.stays_settled_for(TIMEOUTS_TO_WATCH);
        stage.must_acknowledge(leader);
        assert!(stage.counts().lost > 0, "the links have lost nothing");
        stage.world.heal();
        stage.settles_within(TIMEOUTS_TO_SETTLE);
        stage.converges(&[ONE, TWO, THREE]);
    }
}

/// The others hear it and suspect nothing: it must itself notice that nobody answers.
fn a_leader_that_can_only_send_is_replaced<P: Words>() {
    one_way::<P>([(TWO, ONE), (THREE, ONE)], false);
}

/// The others suspect it, and what they send reaches it.
fn a_leader_that_can_only_receive_is_replaced<P: Words>() {
    one_way::<P>([(ONE, TWO), (ONE, THREE)], false);
}

/// It hears nobody and asks to be elected again and again.
fn a_follower_that_can_only_send_deposes_nobody<P: Words>() {
    one_way::<P>([(ONE, THREE), (TWO, THREE)], true);
}

/// Its answers are missed, and the others do without.
fn a_follower_that_can_only_receive_deposes_nobody<P: Words>() {
    one_way::<P>([(THREE, ONE), (THREE, TWO)], true);
}

/// 3 has campaigned twenty times where nobody heard it. When it is back its epoch is far above the leader's: that costs
/// an election or two, and nothing that was acknowledged.
fn a_node_that_comes_back_with_an_inflated_epoch_disturbs_once_at_most<P: Words>() {
    for (seed, pre_check) in (0..SEEDS).flat_map(|seed| [(seed, true), (seed, false)]) {
        let timing = Timing { pre_check, ..Timing::default() };
        let mut stage = Stage::<P>::running_with(WorldConfig { seed, timing, ..WorldConfig::default() });
        stage.campaign(ONE);
        stage.run(1);
        stage.isolate(THREE);
        for _ in 0..20 {
            stage.campaign(THREE);
            stage.run_for(Timing::default().heartbeat_interval);
        }
        let x = stage.append(ONE, "k", "x");
        stage.run(1);
        assert!(stage.acknowledged(x) && stage.leads(ONE));
        assert!(stage.ballot(THREE).round >= stage.ballot(ONE).round + 20);
        let elections = stage.counts().elections;
        stage.world.heal();
        let leader = stage.settles_within(TIMEOUTS_TO_SETTLE);
        stage.stays_settled_for(TIMEOUTS_TO_SETTLE);
        assert!(stage.counts().elections - elections <= 2);
        stage.must_acknowledge(leader);
        stage.converges(&[ONE, TWO, THREE]);
        assert_eq!(stage.value(THREE, "k").as_deref(), Some("x"));
    }
}

/// 1 and 3 are told to campaign again and again, each before the other one can win. When that ends, randomised timeouts
/// must break the tie.
fn candidates_that_duel_end_with_a_leader<P: Words>() {
    const ROUNDS: u64 = 20;
    for seed in 0..SEEDS {
        let mut stage = Stage::<P>::running(3, seed);
        for _ in 0..ROUNDS {
            stage.campaign(ONE);
            stage.campaign(THREE);
            stage.run_for(Timing::default().heartbeat_interval / 50);
        }
        assert!(stage.counts().elections < ROUNDS / 2, "hardly a campaign was in vain");
        assert!(stage.ballot(ONE).round.max(stage.ballot(THREE).round) >= ROUNDS / 2);
        let leader = stage.settles_within(TIMEOUTS_TO_SETTLE);
        stage.stays_settled_for(TIMEOUTS_TO_WATCH);
        let id = stage.append(leader, "k", "x");
        stage.converges(&[ONE, TWO, THREE]);
        assert!(stage.acknowledged(id));
    }
}
