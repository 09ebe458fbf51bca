//! The flow of entries: commit indexes that run ahead of them, followers that lag, and a leader that has lost its quorum.

use std::time::Duration;

use consensus_api::{Limits, Refusal, RequestId, Timing};
use simulator::WorldConfig;

use crate::stage::{FIVE, FOUR, ONE, Stage, THREE, TWO, Words};

stories! {
    both {
        a_commit_index_never_passes_what_is_verified_to_match,
        what_a_deposed_leader_calls_committed_is_learnt_from_its_successor,
        a_lagging_follower_catches_up_while_the_load_goes_on,
        a_follower_that_has_caught_up_is_sent_entries_without_waiting_for_answers,
        the_log_stays_bounded_when_the_quorum_is_lost,
    }
    raft {}
    multi_paxos {}
}

/// A heartbeat tells 3 that so much is committed before the entries have come; at that index, and behind it, stands what
/// only an earlier leader has proposed.
fn a_commit_index_never_passes_what_is_verified_to_match<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(5, Limits::default());
    let [x, behind, far_behind] = ["x", "x", "x"].map(|letter| stage.append(ONE, "k", letter));
    stage.deliver(ONE, THREE);
    stage.write(THREE);
    let index = stage.index_on_disk(THREE, x).expect("3 has it");
    assert!(stage.on_disk(THREE, behind) && stage.on_disk(THREE, far_behind));
    stage.lose_all();
    stage.elect(TWO, &[FOUR, FIVE]);
    let y = stage.append(TWO, "k", "y");
    stage.exchange(&[TWO, FOUR, FIVE]);
    assert!(stage.acknowledged(y) && stage.commit(TWO) >= index);
    stage.lose(TWO, THREE);

    stage.elapse(1);
    stage.lose_kind(TWO, THREE, P::ACCEPT);
    assert!(stage.deliver_kind(TWO, THREE, P::HEARTBEAT) > 0);
    stage.write(THREE);
    assert_eq!(stage.ballot(THREE).round, stage.ballot(TWO).round, "3 has not heard 2");
    assert!(stage.on_disk(THREE, x) && stage.commit(THREE) < index, "3 commits what 2 has never proposed");
    assert_eq!(stage.value(THREE, "k"), None);

    stage.run(1);
    stage.converges(&[TWO, THREE, FOUR, FIVE]);
    assert!(!stage.on_disk(THREE, x));
    // In Paxos what is accepted stays until something is chosen there; in Raft it goes with what it followed.
    assert_eq!(stage.on_disk(THREE, behind) || stage.on_disk(THREE, far_behind), !P::ROUND_IS_EPOCH);
    assert_eq!(stage.value(THREE, "k").as_deref(), Some("y"));
}

/// 1's heartbeat, which calls x committed, reaches 3 when 3 follows another leader and has not heard of x. It is true,
/// and 3 must not act on it: what stands at that index is its present leader's to say.
fn what_a_deposed_leader_calls_committed_is_learnt_from_its_successor<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    let x = stage.append(ONE, "k", "x");
    stage.exchange(&[ONE, TWO]);
    let index = stage.world.acknowledged_at(x).expect("two of three have it");
    stage.lose(ONE, THREE);
    stage.elapse(1);
    let late = stage.hold(ONE, THREE, P::HEARTBEAT);
    assert!(!late.is_empty());
    stage.lose_all();
    stage.crash(ONE);
    stage.elect(TWO, &[THREE]);

    let (commit, letters) = (stage.commit(THREE), late.len());
    assert!(commit < index);
    stage.hand_in(late);
    assert_eq!(stage.commit(THREE), commit, "3 believes a leader that it has left");
    assert_eq!(stage.on_the_way(THREE, ONE, P::NACK), letters, "3 does not say that the epoch is over");
    stage.exchange(&[TWO, THREE]);
    stage.elapse(1);
    stage.exchange(&[TWO, THREE]);
    assert!(stage.commit(THREE) >= index);
    assert_eq!(stage.value(THREE, "k").as_deref(), Some("x"));
}

/// A command each millisecond, for so long.
fn load<P: Words>(stage: &mut Stage<P>, ms: u64, mut look: impl FnMut(&Stage<P>)) {
    for number in 0..ms {
        stage.put(ONE, format!("k{}", number % 10), vec![b'v'; 64]);
        stage.run_for(Duration::from_millis(1));
        look(stage);
    }
}

/// 3 was away for a second, and what it lacks has left the leader's memory. It catches up within a second while the load
/// goes on, and then stays close behind.
fn a_lagging_follower_catches_up_while_the_load_goes_on<P: Words>() {
    let limits = Limits { window_bytes_max: 16 << 10, message_bytes_max: 4 << 10, ..Limits::default() };
    let mut stage = Stage::<P>::running_with(WorldConfig { limits, ..WorldConfig::default() });
    stage.campaign(ONE);
    stage.run(1);
    stage.isolate(THREE);
    load(&mut stage, 1000, |_| ());
    let behind = |stage: &Stage<P>| {
        let applied = |node| stage.world.applied(node).expect("it runs").0;
        applied(ONE).saturating_sub(applied(THREE))
    };
    assert!(behind(&stage) > 900, "3 is not behind");
    assert_eq!(stage.counts().read_backs, 0);

    stage.world.heal();
    load(&mut stage, 1000, |_| ());
    assert!(stage.counts().read_backs > 0, "it was all in memory");
    let mut worst = 0;
    load(&mut stage, 1000, |stage| worst = worst.max(behind(stage)));
    assert!(worst <= 100, "3 is {worst} entries behind, a second after it came back");
    assert!(stage.leads(ONE) && stage.counts().elections == 1);
    stage.converges(&[ONE, TWO, THREE]);
}

/// A follower that was away and has caught up gets every entry at once again, not one message for each answer.
fn a_follower_that_has_caught_up_is_sent_entries_without_waiting_for_answers<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    stage.isolate(THREE);
    for letter in ["a", "b", "c"] {
        stage.append(ONE, "k", letter);
        stage.run(1);
    }
    assert_eq!(stage.value(THREE, "k"), None, "3 was not away");
    stage.world.heal();
    stage.converges(&[ONE, TWO, THREE]);
    assert!(stage.leads(ONE));

    stage.stabilize();
    let more: Vec<RequestId> = ["d", "e", "f"].map(|letter| stage.append(ONE, "k", letter)).to_vec();
    assert_eq!(stage.on_the_way(ONE, THREE, P::ACCEPT), 3, "3 is left probing");
    stage.deliver(ONE, THREE);
    stage.write(THREE);
    assert!(more.iter().all(|id| stage.on_disk(THREE, *id)));
    stage.stabilize();
    assert!(more.iter().all(|id| stage.acknowledged(*id)));
}

/// Clients go on and on while nobody follows. The leader takes what its bounds allow and refuses the rest, for as long
/// as it leads; and what it took is carried out when a quorum is back.
fn the_log_stays_bounded_when_the_quorum_is_lost<P: Words>() {
    let few = Limits { open_entries_max: 50, ..Limits::default() };
    let small = Limits { open_bytes_max: 8 << 10, ..Limits::default() };
    for (limits, check_quorum) in [(few.clone(), true), (few, false), (small, false)] {
        let timing = Timing { check_quorum, ..Timing::default() };
        let mut stage = Stage::<P>::with(WorldConfig { limits, timing, ..WorldConfig::default() });
        stage.campaign(ONE);
        stage.stabilize();
        let before = stage.last(ONE);
        stage.crash(TWO);
        stage.crash(THREE);
        let mut asked = Vec::new();
        for number in 0..2000 {
            asked.push(stage.put(ONE, format!("k{number}"), vec![b'v'; 100]));
            stage.run_for(Duration::from_millis(1));
        }
        assert_eq!(stage.leads(ONE), !check_quorum);
        let refusals = stage.refusals();
        let of = |wanted: Refusal| refusals.iter().filter(|(_, reason)| *reason == wanted).count();
        assert!(of(Refusal::Busy) > 100, "nobody was told that the leader is busy");
        assert_eq!(of(Refusal::NoLeader) > 0, check_quorum, "a leader without a quorum takes commands");
        assert_eq!(of(Refusal::Busy) + of(Refusal::NoLeader), refusals.len());

        let taken: Vec<RequestId> = asked.into_iter().filter(|id| !stage.world.is_refused(*id)).collect();
        let grown = stage.last(ONE).0 - before.0;
        assert_eq!(taken.len() as u64, grown, "something was taken and not appended");
        assert!((20..=100).contains(&grown), "the log has grown by {grown}");
        let on_disk = stage.world.disk(ONE).expect("it has one").durable_entries().len() as u64;
        assert!(on_disk <= before.0 + grown);
        assert!(!taken.iter().any(|id| stage.acknowledged(*id)));

        stage.restart(TWO);
        stage.settles_within(10);
        stage.run(2);
        assert!(taken.iter().all(|id| stage.acknowledged(*id)), "what was taken is lost");
        stage.must_acknowledge(ONE);
    }
}
