//! Reads by leases: what clocks may do, and pauses, forced elections and restarts, while a leader answers without asking
//! anybody. That no read misses what was acknowledged is looked at by the world itself.

use std::time::Duration;

use consensus_api::{LeaseTiming, MonoTime, ReadMode, Refusal, Timing};
use simulator::WorldConfig;
use simulator::answers::Answer;
use simulator::faults::Which;
use simulator::plan::{Fault, Target};

use crate::stage::{ONE, Stage, THREE, TWO, Words, election_timeouts, holds};

stories! {
    both {
        a_leader_with_a_lease_asks_nobody_before_it_answers,
        a_lease_that_is_over_is_followed_by_a_round,
        clocks_within_the_bound_never_let_two_leaders_answer,
        a_leader_that_stood_still_past_its_lease_answers_nothing_by_it,
        a_pause_that_is_shorter_than_the_lease_costs_nothing,
        a_forced_election_waits_for_the_lease,
        voters_that_restart_stand_by_what_they_pledged,
        a_new_leader_reads_nothing_by_its_lease_before_an_entry_of_its_own_epoch_is_committed,
        a_leader_that_hands_over_has_given_its_lease_up_and_nobody_waits_for_it,
        a_transfer_that_fails_leaves_a_leader_that_asks_before_it_answers,
    }
    raft {}
    multi_paxos {}
}

/// Leaders hold leases that rest on this bound.
fn leased(clock_drift_ppm: u32) -> WorldConfig {
    let lease = Some(LeaseTiming { clock_drift_ppm });
    WorldConfig { timing: Timing { lease, ..Timing::default() }, trace_max: 1_000_000, ..WorldConfig::default() }
}

/// By hand; 1 leads and holds a lease.
fn led_by_hand<P: Words>(clock_drift_ppm: u32) -> Stage<P> {
    let mut stage = Stage::with(leased(clock_drift_ppm));
    stage.campaign(ONE);
    stage.stabilize();
    stage.elapse(1);
    stage.stabilize();
    assert!(stage.leads(ONE));
    stage
}

/// A stage that runs; 1 leads, holds a lease, and has acknowledged x.
fn led<P: Words>(config: WorldConfig) -> Stage<P> {
    let mut stage = Stage::running_with(config);
    stage.campaign(ONE);
    stage.run(1);
    let x = stage.append(ONE, "k", "x");
    stage.run(1);
    assert!(stage.leads(ONE) && stage.acknowledged(x));
    stage
}

/// When a read was last served by 1 as a leader, and when 2 was elected.
struct Takeover {
    served: Option<MonoTime>,
    elected: MonoTime,
}

/// 2 is told again and again to take over, and acknowledges y as soon as it has. Clients of 1 read all the time, by its
/// lease.
fn taken_over<P: Words>(stage: &mut Stage<P>) -> Takeover {
    let (mut served, mut elected) = (None, None);
    for millisecond in 0..election_timeouts(4).as_millis() {
        if elected.is_none() && millisecond % 10 == 0 {
            stage.campaign(TWO);
        }
        let read = stage.read_by(ONE, "k", ReadMode::Lease);
        stage.run_for(Duration::from_millis(1));
        let is_served = matches!(stage.answers(read).as_slice(), [Answer::Read { .. }, ..]);
        if is_served && stage.leads(ONE) {
            served = Some(stage.world.now());
        }
        if elected.is_none() && stage.leads(TWO) {
            elected = Some(stage.world.now());
            stage.append(TWO, "k", "y");
        }
    }
    assert_eq!(stage.value(TWO, "k").as_deref(), Some("xy"), "2 has acknowledged nothing");
    Takeover { served, elected: elected.expect("2 was not elected") }
}

fn a_leader_with_a_lease_asks_nobody_before_it_answers<P: Words>() {
    let mut stage = led_by_hand::<P>(10_000);
    stage.append(ONE, "k", "x");
    stage.stabilize();
    let read = stage.read_by(ONE, "k", ReadMode::Lease);
    assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));
    assert_eq!(stage.world.on_the_way(&Which::default()), 0, "somebody is asked");
    assert_eq!(stage.counts().lease_reads, 1);

    // A follower asks the leader, and nobody else is asked.
    let read = stage.read_by(THREE, "k", ReadMode::Lease);
    assert_eq!(stage.deliver_kind(THREE, ONE, "Read"), 1);
    assert_eq!(stage.world.on_the_way(&Which::default()), 1);
    assert_eq!(stage.deliver_kind(ONE, THREE, "ReadIndex"), 1);
    assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));

    // Who asks for a round gets one.
    let read = stage.read_by(ONE, "k", ReadMode::Index);
    assert_eq!(stage.answers(read), []);
    stage.stabilize();
    assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));
}

/// For so long nobody has answered that the lease is over, and not so long that the leader steps down.
fn a_lease_that_is_over_is_followed_by_a_round<P: Words>() {
    let mut stage = led_by_hand::<P>(200_000);
    stage.elapse(8);
    stage.lose_all();
    assert!(stage.leads(ONE));
    let read = stage.read_by(ONE, "k", ReadMode::Lease);
    assert_eq!(stage.answers(read), []);
    stage.elapse(1);
    stage.stabilize();
    assert_eq!(stage.what_was_read(read), None);
    assert!(stage.counts().lease_reads == 0 && stage.leads(ONE));
}

/// 1 hears nobody any more. Its clock goes as slowly as is allowed and the others' as fast, or the other way round. In the
/// one case 2 is elected hardly after the lease has ended; in the other it takes longer.
fn clocks_within_the_bound_never_let_two_leaders_answer<P: Words>() {
    for (bound, is_one_slow) in [(0, true), (10_000, true), (10_000, false), (200_000, true), (200_000, false)] {
        let mut stage = led::<P>(leased(bound));
        let ppm = i64::from(bound) * if is_one_slow { 1 } else { -1 };
        for (node, ppm) in [(ONE, -ppm), (TWO, ppm), (THREE, ppm)] {
            stage.inflict(Fault::Drift(Target::Node(node), ppm), 1);
        }
        stage.run(2);
        assert!(stage.leads(ONE));
        stage.isolate(ONE);
        let parted = stage.world.now();
        let Takeover { served, elected } = taken_over(&mut stage);
        let served = served.expect("1 has served nothing");
        assert!(served > parted + Duration::from_millis(100), "1 has no lease");
        assert!(served <= elected, "at {bound} ppm 1 serves after 2 was elected");
        let gap = elected.since(served);
        assert!(!is_one_slow || gap < Duration::from_millis(120), "at {bound} ppm it was not close: {gap:?}");
    }
}

/// 3's question has reached 1, or a client of 1's asks, just after a pause in which 2 was elected. 1 still believes that it
/// leads, and must look at its clock first. Asked again, 3 sees what 2 has acknowledged.
fn a_leader_that_stood_still_past_its_lease_answers_nothing_by_it<P: Words>() {
    let mut stage = led::<P>(leased(10_000));
    let first = stage.read_by(THREE, "k", ReadMode::Lease);
    stage.world.pause(ONE);
    stage.run(3);
    assert_eq!(stage.received(THREE, ONE, "Read"), 0, "1 is not paused");
    let leader = stage.world.ids().into_iter().find(|node| *node != ONE && stage.leads(*node)).expect("one is elected");
    let y = stage.append(leader, "k", "y");
    stage.run(1);
    assert!(stage.acknowledged(y) && stage.leads(ONE), "1 has noticed while it stood still");
    let retry = stage.read_by(THREE, "k", ReadMode::Lease);
    stage.run(1);
    stage.world.resume(ONE);
    let other = stage.read_by(ONE, "k", ReadMode::Lease);
    stage.run(2);
    assert_eq!(stage.received(THREE, ONE, "Read"), 1, "1 was not asked");
    for read in [first, other] {
        let answers = stage.answers(read);
        let is_refusal = |answer: &Answer| matches!(answer, Answer::Refused { .. });
        assert!(!answers.is_empty() && answers.iter().all(is_refusal), "{answers:?}");
    }
    assert_eq!(stage.what_was_read(retry).as_deref(), Some("xy"));
}

fn a_pause_that_is_shorter_than_the_lease_costs_nothing<P: Words>() {
    let mut stage = led::<P>(leased(10_000));
    stage.world.pause(ONE);
    stage.run_for(Duration::from_millis(200));
    stage.world.resume(ONE);
    let read = stage.read_by(ONE, "k", ReadMode::Lease);
    assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));
    assert!(stage.counts().lease_reads == 1 && stage.leads(ONE));
}

/// Somebody in charge wants 2 to lead. Whether 1 hears of it or not, no voter helps 2 while it stands by 1.
fn a_forced_election_waits_for_the_lease<P: Words>() {
    for is_apart in [true, false] {
        let mut stage = led::<P>(leased(10_000));
        if is_apart {
            stage.isolate(ONE);
        }
        let began = stage.world.now();
        let Takeover { served, elected } = taken_over(&mut stage);
        let waited = elected.since(began);
        assert!(waited > election_timeouts(1) * 3 / 4, "2 is elected after {waited:?}, against what was pledged to 1");
        let went_on = served.is_some_and(|served| served > began + Duration::from_millis(100));
        assert!(went_on == is_apart, "1 goes on by its lease, unless it hears that it is not to");
    }
}

/// 2 and 3 have pledged it to 1 not to vote, and then lose their memory.
fn voters_that_restart_stand_by_what_they_pledged<P: Words>() {
    let mut stage = led::<P>(leased(10_000));
    stage.isolate(ONE);
    for node in [TWO, THREE] {
        stage.crash(node);
        stage.restart(node);
    }
    let restarted = stage.world.now();
    let Takeover { served, elected } = taken_over(&mut stage);
    let served = served.expect("1 has served nothing");
    assert!(served > restarted + Duration::from_millis(100) && served <= elected);
    let waited = elected.since(restarted);
    assert!(waited >= election_timeouts(1) * 98 / 100, "2 is elected {waited:?} after its start");
}

/// x was acknowledged by 1; 2, elected since, has it and does not know that it is committed. It holds a lease by now, and
/// must not read by it.
fn a_new_leader_reads_nothing_by_its_lease_before_an_entry_of_its_own_epoch_is_committed<P: Words>() {
    let mut stage = led_by_hand::<P>(10_000);
    let x = stage.append(ONE, "k", "x");
    stage.deliver(ONE, TWO);
    stage.write(TWO);
    stage.write(ONE);
    stage.deliver_kind(TWO, ONE, P::ACCEPTED);
    let index = stage.world.acknowledged_at(x).expect("two of three have it");
    stage.lose_all();
    stage.crash(ONE);
    // Until nothing that was pledged to 1 binds anybody any more.
    stage.elapse(11);
    stage.lose_all();
    stage.elect(TWO, &[THREE]);
    let early = stage.read_by(TWO, "k", ReadMode::Lease);
    stage.elapse(1);
    assert!(stage.deliver_kind(TWO, THREE, P::HEARTBEAT) > 0);
    stage.write(THREE);
    assert!(stage.deliver_kind(THREE, TWO, P::HEARTBEAT_REPLY) > 0, "2 has no lease");
    let late = stage.read_by(TWO, "k", ReadMode::Lease);
    assert!(stage.commit(TWO) < index, "2 knows already");
    for read in [early, late] {
        assert_eq!(stage.answers(read), [], "2 serves what it cannot know");
    }
    stage.exchange(&[TWO, THREE]);
    for read in [early, late] {
        assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));
    }
}

/// Else its voters would owe it their patience, and the other one would be elected when the lease is over.
fn a_leader_that_hands_over_has_given_its_lease_up_and_nobody_waits_for_it<P: Words>() {
    let mut stage = led::<P>(leased(10_000));
    stage.read_by(ONE, "k", ReadMode::Lease);
    stage.run_for(Duration::from_millis(1));
    let by_lease = stage.counts().lease_reads;
    assert_eq!(by_lease, 1, "1 holds no lease");
    let began = stage.world.now();
    holds(stage.world.transfer_leadership(ONE, Some(TWO)));
    for _ in 0..200 {
        stage.read_by(ONE, "k", ReadMode::Lease);
        stage.run_for(Duration::from_micros(500));
        if stage.leads(TWO) {
            break;
        }
    }
    assert!(stage.leads(TWO) && stage.world.now().since(began) < Timing::default().election_timeout / 2);
    assert_eq!(stage.counts().lease_reads, by_lease, "1 answers by a lease that it has given up");
    let y = stage.append(TWO, "k", "y");
    stage.run(1);
    assert!(stage.acknowledged(y));
    let read = stage.read_by(TWO, "k", ReadMode::Lease);
    stage.run(1);
    assert_eq!(stage.what_was_read(read).as_deref(), Some("xy"));
}

/// 2 is not there. 1 leads on, says so, and does not trust a lease that it has released its voters from.
fn a_transfer_that_fails_leaves_a_leader_that_asks_before_it_answers<P: Words>() {
    let mut stage = led::<P>(leased(10_000));
    let before = stage.counts().lease_reads;
    stage.crash(TWO);
    let asked = holds(stage.world.transfer_leadership(ONE, Some(TWO))).expect("1 runs");
    stage.run(3);
    let refusals = stage.refusals();
    let failed = Refusal::TransferFailed { to: Some(TWO) };
    assert!(refusals.contains(&(asked, failed)), "{refusals:?}");
    assert!(stage.leads(ONE));
    let read = stage.read_by(ONE, "k", ReadMode::Lease);
    stage.run(1);
    assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));
    assert_eq!(stage.counts().lease_reads, before, "1 answers by a lease that it has given up");
}
