//! Votes, acknowledgements and epochs across crashes: what was told to anybody is on disk, and what was not synced was
//! told to nobody.

use consensus_api::Limits;
use engine_raft::Raft;
use simulator::faults::Survivors;

use crate::stage::members::with_blank_nodes;
use crate::stage::{FIVE, FOUR, ONE, Stage, THREE, TWO, Words, holds};

stories! {
    both {
        a_vote_that_was_not_synced_is_not_sent,
        a_vote_that_reached_the_disk_binds_after_the_crash,
        an_acknowledgement_waits_for_its_write,
        a_leader_counts_its_own_copy_once_it_is_durable,
        the_late_completion_of_an_overwritten_write_vouches_for_nothing,
        a_restarted_candidate_never_uses_its_epoch_again,
        a_candidate_asks_nobody_before_its_epoch_is_durable,
        a_late_acknowledgement_of_an_earlier_life_counts_for_nothing,
        accepting_under_a_higher_epoch_raises_the_promise,
        a_wiped_disk_does_not_vote_until_it_is_re_admitted,
        a_founder_without_its_disk_does_not_found_the_cluster_again,
    }
    raft { an_entry_that_goes_and_comes_back_is_durable_by_its_latest_write }
    multi_paxos {}
}

/// A node crashes between its vote and the sync of it. It may then vote for somebody else in the same epoch, so nobody
/// must have heard of the first vote.
fn a_vote_that_was_not_synced_is_not_sent<P: Words>() {
    let mut stage = Stage::<P>::new(3);
    stage.campaign(ONE);
    stage.write(ONE);
    stage.deliver(ONE, TWO);
    assert_eq!(stage.world.at_stake(TWO).writes, 1, "2 has not voted");
    assert_eq!(stage.on_the_way(TWO, ONE, P::VOTE), 0, "the vote leaves before it is durable");
    stage.crash(TWO);
    assert_eq!(stage.counts().lossy_crashes, 1);
    stage.lose_all();
    stage.restart(TWO);

    // 2 knows nothing of its vote, and gives it to 3, in the same round.
    stage.elect(THREE, &[TWO]);
    assert_eq!(stage.ballot(THREE).round, stage.ballot(ONE).round);
    // 1 asks again.
    stage.elapse(4);
    assert!(stage.on_the_way(ONE, TWO, P::CANVASS) > 0);
    stage.exchange(&[ONE, TWO, THREE]);
    assert!(stage.leads(THREE) && !stage.leads(ONE));
}

/// The same crash, but the vote reached the disk, though nobody was told: it binds as if somebody had been.
fn a_vote_that_reached_the_disk_binds_after_the_crash<P: Words>() {
    let mut stage = Stage::<P>::new(3);
    stage.campaign(ONE);
    stage.write(ONE);
    stage.deliver(ONE, TWO);
    holds(stage.world.crash(TWO, Survivors { writes: 1, batches: 0, incoming: true }));
    assert_eq!(stage.ballot_on_disk(TWO), stage.ballot(ONE));
    stage.lose_all();
    stage.restart(TWO);

    stage.campaign(THREE);
    stage.write(THREE);
    stage.deliver(THREE, TWO);
    stage.write(TWO);
    stage.deliver(TWO, THREE);
    // 1 asks again.
    stage.elapse(4);
    stage.exchange(&[ONE, TWO]);
    if P::ROUND_IS_EPOCH {
        assert!(!stage.leads(THREE), "a second, different vote in one epoch");
        assert!(stage.leads(ONE), "the vote was given, and is given again");
    } else {
        assert!(stage.leads(THREE), "3's ballot is the higher one, and 2 was free to promise it");
        assert!(!stage.leads(ONE), "2 has promised to accept nothing of 1's any more");
    }
}

/// A follower crashes between taking an entry in and syncing it: the leader must not have counted it.
fn an_acknowledgement_waits_for_its_write<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    stage.isolate(THREE);
    let x = stage.append(ONE, "k", "x");
    stage.write(ONE);
    stage.deliver(ONE, TWO);
    assert_eq!(stage.world.at_stake(TWO).writes, 1, "2 has not taken the entry in");
    assert_eq!(stage.on_the_way(TWO, ONE, P::ACCEPTED), 0, "the acknowledgement leaves before the write is durable");
    stage.crash(TWO);
    assert_eq!(stage.counts().lossy_crashes, 1);
    assert!(stage.on_disk(ONE, x) && !stage.on_disk(TWO, x));
    assert!(!stage.acknowledged(x), "acknowledged with one copy");

    stage.restart(TWO);
    stage.run(3);
    assert!(stage.acknowledged(x) && stage.on_disk(TWO, x));
}

/// The leader's messages do not wait for its own disk, so an entry may be durable elsewhere first. That is one copy.
fn a_leader_counts_its_own_copy_once_it_is_durable<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    let before = stage.commit(ONE);
    let x = stage.append(ONE, "k", "x");
    assert_eq!(stage.world.at_stake(ONE).writes, 1);
    stage.deliver(ONE, TWO);
    stage.write(TWO);
    assert_eq!(stage.deliver_kind(TWO, ONE, P::ACCEPTED), 1);
    assert!(stage.on_disk(TWO, x) && !stage.on_disk(ONE, x));
    assert_eq!(stage.commit(ONE), before, "one of three disks holds it");
    assert!(!stage.acknowledged(x));
    stage.write(ONE);
    assert!(stage.commit(ONE) > before && stage.acknowledged(x));
}

/// 3 has two writes under way for one index, of two leaders. The first completes: that says nothing of the second.
fn the_late_completion_of_an_overwritten_write_vouches_for_nothing<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(5, Limits::default());
    let x = stage.append(ONE, "k", "x");
    stage.write(ONE);
    stage.deliver(ONE, THREE);
    stage.lose_all();
    stage.elect(TWO, &[FOUR, FIVE]);
    let y = stage.append(TWO, "k", "y");
    stage.deliver_kind(TWO, THREE, P::ACCEPT);
    assert_eq!(stage.world.at_stake(THREE).writes, 2, "both are under way");

    holds(stage.world.persist(THREE, 1));
    assert!(stage.on_disk(THREE, x), "the first is done");
    assert_eq!(stage.on_the_way(THREE, TWO, P::ACCEPTED), 0, "what is not durable is acknowledged");
    stage.crash(THREE);
    assert_eq!(stage.counts().lossy_crashes, 1);
    assert!(stage.on_disk(THREE, x), "the second is lost");

    stage.restart(THREE);
    stage.run(2);
    stage.converges(&[ONE, TWO, THREE, FOUR, FIVE]);
    assert!(stage.acknowledged(y) && !stage.acknowledged(x));
    assert_eq!(stage.value(THREE, "k").as_deref(), Some("y"));
}

/// An index goes from term 1 to term 2 and back to the very entry of term 1, whose first write was completed long ago.
/// Index and ballot would call it durable; what the disk holds is the entry of term 2.
fn an_entry_that_goes_and_comes_back_is_durable_by_its_latest_write() {
    let mut stage = Stage::<Raft>::led_by_one(5, Limits::default());
    let x = stage.append(ONE, "k", "x");
    stage.write(ONE);
    stage.deliver(ONE, THREE);
    stage.write(THREE);
    let index = stage.index_on_disk(THREE, x).expect("3 has written it");
    stage.lose_all();

    // The no-op of 2's leadership takes its place.
    stage.elect(TWO, &[FOUR, FIVE]);
    stage.deliver(TWO, THREE);
    stage.write(THREE);
    assert!(!stage.on_disk(THREE, x));
    stage.lose_all();

    // 1 hears from 4 that its term is over, is elected again, and has the old entry sent to 3.
    stage.elapse(1);
    stage.exchange(&[ONE, FOUR]);
    stage.lose_all();
    stage.elect(ONE, &[FOUR, FIVE]);
    stage.exchange(&[ONE, FOUR, FIVE]);
    stage.deliver(ONE, THREE);
    stage.write(THREE);
    stage.deliver(THREE, ONE);
    stage.deliver(ONE, THREE);
    assert!(stage.world.at_stake(THREE).writes > 0, "the entry is not on its way to the disk");
    let on_disk = stage.world.disk(THREE).and_then(|disk| disk.durable_entry(index)).expect("an entry");
    assert_eq!(on_disk.ballot.round, 2, "the disk holds the other one");
    assert_eq!(stage.on_the_way(THREE, ONE, Raft::ACCEPTED), 0, "acknowledged by a write that was overwritten since");
    stage.write(THREE);
    assert!(stage.on_disk(THREE, x));
    assert_eq!(stage.on_the_way(THREE, ONE, Raft::ACCEPTED), 1);
}

/// A candidate restarts: its old epoch is on disk, its new one is above it, and a vote for the old one finds nothing to
/// count for.
fn a_restarted_candidate_never_uses_its_epoch_again<P: Words>() {
    let mut stage = Stage::<P>::new(3);
    stage.campaign(ONE);
    stage.write(ONE);
    let first = stage.ballot(ONE);
    stage.deliver(ONE, TWO);
    stage.write(TWO);
    let late = stage.hold(TWO, ONE, P::VOTE);
    assert_eq!(late.len(), 1);
    stage.lose_all();

    stage.crash(ONE);
    stage.restart(ONE);
    assert_eq!(stage.ballot(ONE), first, "the epoch is remembered");
    stage.campaign(ONE);
    stage.write(ONE);
    assert!(stage.ballot(ONE) > first, "{first} is used twice");
    stage.hand_in(late);
    assert!(!stage.leads(ONE), "elected by a vote for an earlier life");
    stage.exchange(&[ONE, TWO]);
    assert!(stage.leads(ONE));
}

/// A candidate whose own epoch is not on disk may use it again after a crash. So nobody hears of it before.
fn a_candidate_asks_nobody_before_its_epoch_is_durable<P: Words>() {
    let mut stage = Stage::<P>::new(3);
    stage.campaign(ONE);
    let epoch = stage.ballot(ONE);
    assert_eq!(stage.counts().sent, 0, "somebody hears of an epoch that a crash would take back");
    stage.crash(ONE);
    assert_eq!(stage.counts().lossy_crashes, 1);
    stage.restart(ONE);
    assert!(stage.ballot(ONE) < epoch);
    stage.campaign(ONE);
    assert_eq!(stage.ballot(ONE), epoch, "nobody has heard of it, so it is still free");
    stage.exchange(&[ONE, TWO, THREE]);
    assert!(stage.leads(ONE));
}

/// A leader restarts and leads again. The acknowledgement of an entry that it sent before comes now; the entry is the
/// same, but it was acknowledged to another epoch.
fn a_late_acknowledgement_of_an_earlier_life_counts_for_nothing<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    let x = stage.append(ONE, "k", "x");
    stage.write(ONE);
    stage.deliver(ONE, TWO);
    stage.write(TWO);
    let late = stage.hold(TWO, ONE, P::ACCEPTED);
    assert_eq!(late.len(), 1);
    stage.lose_all();
    stage.crash(ONE);
    stage.restart(ONE);
    stage.elect(ONE, &[THREE]);
    stage.write(ONE);

    let (commit, index) = (stage.commit(ONE), stage.index_on_disk(ONE, x).expect("it was synced"));
    assert!(commit < index);
    stage.hand_in(late);
    assert_eq!(stage.commit(ONE), commit, "counted for an epoch that it was not meant for");
    stage.exchange(&[ONE, THREE]);
    assert!(stage.commit(ONE) >= index);
    assert_eq!(stage.value(ONE, "k").as_deref(), Some("x"));
}

/// 2 first hears of a higher epoch by an entry of it. If it took the entry and kept its old promise, it would take an
/// entry of the old epoch afterwards. Both are one write, of which a crash leaves all or nothing.
fn accepting_under_a_higher_epoch_raises_the_promise<P: Words>() {
    for survives in [false, true] {
        let mut stage = Stage::<P>::led_by_one(5, Limits::default());
        let x = stage.append(ONE, "k", "x");
        let old = stage.hold(ONE, TWO, P::ACCEPT);
        assert_eq!(old.len(), 1);
        stage.lose_all();
        stage.elect(THREE, &[FOUR, FIVE]);
        stage.append(THREE, "k", "y");
        stage.deliver_kind(THREE, TWO, P::ACCEPT);
        let higher = stage.ballot(THREE).round;
        assert_eq!(stage.world.at_stake(TWO).writes, 1, "promise and entry are not one write");
        assert!(stage.ballot_on_disk(TWO).round < higher);
        holds(stage.world.crash(TWO, Survivors { writes: usize::from(survives), batches: 0, incoming: true }));
        stage.lose_all();

        let entries = stage.world.disk(TWO).expect("it has one").durable_entries();
        let accepted = entries.iter().any(|entry| entry.ballot.round == higher);
        assert_eq!((accepted, stage.ballot_on_disk(TWO).round == higher), (survives, survives));
        stage.restart(TWO);
        stage.hand_in(old);
        stage.write(TWO);
        // Where nothing survived, 2 has told nobody of the higher epoch and is free to take the old entry.
        assert_eq!(stage.on_disk(TWO, x), !survives);
        assert_eq!(stage.on_the_way(TWO, ONE, P::NACK), usize::from(survives));
    }
}

/// 3 comes back with a blank disk, and has forgotten what it promised. It votes for nobody, with 2 away, until it was removed
/// and has come back as a learner.
fn a_wiped_disk_does_not_vote_until_it_is_re_admitted<P: Words>() {
    let mut stage = Stage::<P>::running_under_one(3, 1);
    stage.append(ONE, "k", "x");
    stage.run(1);
    let votes = |stage: &mut Stage<P>| stage.received(THREE, ONE, P::VOTE) + stage.received(THREE, TWO, P::VOTE);
    let before = votes(&mut stage);
    holds(stage.world.replace_disk(THREE));
    stage.crash(TWO);
    stage.run(6);
    assert!(!stage.leads(ONE) && !stage.leads(THREE), "somebody leads by the vote of a disk that is gone");

    stage.restart(TWO);
    stage.run(4);
    stage.change_members(&[ONE, TWO], &[]);
    stage.change_members(&[ONE, TWO], &[THREE]);
    assert_eq!(votes(&mut stage), before, "3 has voted with a disk by which nobody knew it");
    stage.change_members(&[ONE, TWO, THREE], &[]);
    stage.converges(&[ONE, TWO, THREE]);
    // Now it counts: the others are not a majority without it.
    stage.crash(TWO);
    stage.run(6);
    stage.must_acknowledge(THREE);
    assert_eq!(stage.value(THREE, "k").as_deref(), Some("x"));
}

/// 1 has founded a cluster of one, which has grown; then its disk is gone. By its founders it would be elected by itself.
fn a_founder_without_its_disk_does_not_found_the_cluster_again<P: Words>() {
    let mut stage = Stage::<P>::running_with(with_blank_nodes(1, 2, 4));
    stage.run(3);
    stage.append(ONE, "k", "x");
    stage.change_members(&[ONE, TWO, THREE], &[]);
    stage.run(1);
    // What 1 alone had decided is on the others' disks.
    [ONE, TWO, THREE].iter().for_each(|node| holds(stage.world.flush_tables(*node)));
    holds(stage.world.replace_disk(ONE));
    stage.run(6);
    assert!(!stage.leads(ONE), "1 leads a cluster that it has founded again");
    let leader = stage.world.leader().expect("2 or 3 leads");
    stage.must_acknowledge(leader);
    stage.change_members(&[TWO, THREE], &[]);
    stage.change_members(&[ONE, TWO, THREE], &[]);
    stage.converges(&[ONE, TWO, THREE]);
    assert_eq!(stage.value(ONE, "k").as_deref(), Some("x"));
}
