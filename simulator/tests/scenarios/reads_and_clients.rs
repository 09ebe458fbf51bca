//! Reads and clients: what a client was told is true for all who ask later, and what it was not told it does not know.

use std::time::Duration;

use consensus_api::{Limits, ReadMode};
use engine_multipaxos::MultiPaxos;
use simulator::answers::Answer;
use simulator::clients::{Clients, Habits, SessionHabits};
use simulator::faults::Survivors;
use simulator::linearizability::{self, Action, Model, Outcome, Verdict};

use crate::stage::{FIVE, FOUR, ONE, Stage, THREE, TWO, Words, holds};

stories! {
    both {
        a_new_leader_serves_no_read_before_an_entry_of_its_own_epoch_is_committed,
        a_read_that_outlives_its_leader_is_refused_and_its_retry_sees_the_new_write,
        a_late_answer_to_an_earlier_round_confirms_no_later_read,
        a_late_answer_to_an_earlier_epoch_confirms_no_read,
        a_read_whose_question_or_answer_is_lost_is_asked_again,
        a_restart_applies_nothing_twice,
        a_client_that_gives_up_hears_unknown_and_the_checker_allows_both,
        a_client_that_gives_a_number_of_its_session_up_hears_unknown_too,
    }
    raft {}
    multi_paxos { a_quorum_that_has_accepted_a_value_and_does_not_know_it_chosen_keeps_a_read_waiting }
}

/// x was acknowledged by 1; 2, elected since, has it and does not know that it is committed. A read at 2's commit index
/// would miss x, though a quorum confirms that 2 leads. So would one of a quorum that does not know x to be chosen. What a
/// lease has to do with it is in [`leases`](crate::leases).
fn a_new_leader_serves_no_read_before_an_entry_of_its_own_epoch_is_committed<P: Words>() {
    for mode in P::READS {
        new_leader_reads::<P>(*mode);
    }
}

fn new_leader_reads<P: Words>(mode: ReadMode) {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    let x = stage.append(ONE, "k", "x");
    stage.deliver(ONE, TWO);
    stage.write(TWO);
    stage.write(ONE);
    stage.deliver_kind(TWO, ONE, P::ACCEPTED);
    let index = stage.world.acknowledged_at(x).expect("two of three have it");
    stage.lose_all();
    stage.crash(ONE);
    stage.elect(TWO, &[THREE]);

    let read = stage.read_by(TWO, "k", mode);
    assert!(stage.deliver_kind(TWO, THREE, P::HEARTBEAT) > 0);
    stage.deliver_kind(TWO, THREE, "ReadQuery");
    stage.write(THREE);
    assert!(stage.deliver_kind(THREE, TWO, P::HEARTBEAT_REPLY) > 0, "no quorum has confirmed 2");
    let is_told = stage.deliver_kind(THREE, TWO, "ReadReport") > 0;
    assert!(is_told == (mode == ReadMode::Quorum), "no quorum has told what it has accepted");
    assert!(stage.commit(TWO) < index, "2 knows already");
    assert_eq!(stage.answers(read), [], "2 serves what it cannot know");
    stage.exchange(&[TWO, THREE]);
    assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));
}

/// 3 forwards a read to 1, which is paused with the question unread; 2 is elected and acknowledges x; 1 goes on, for a
/// short pause still in the belief that it leads. The read is refused and never served, nor is another one that a client
/// of 1 asks for now; asked again, it sees x.
fn a_read_that_outlives_its_leader_is_refused_and_its_retry_sees_the_new_write<P: Words>() {
    for timeouts in [0, 3] {
        let mut stage = Stage::<P>::led_by_one(3, Limits::default());
        let first = stage.read(THREE, "k");
        stage.world.pause(ONE);
        stage.stabilize();
        assert_eq!(stage.received(THREE, ONE, "Read"), 0, "1 is not paused");
        stage.campaign(TWO);
        stage.stabilize();
        stage.run(timeouts);
        assert!(stage.leads(TWO) && stage.leads(ONE), "1 has noticed while it stood still");
        let x = stage.append(TWO, "k", "x");
        stage.stabilize();
        assert!(stage.acknowledged(x));
        let retry = stage.read(THREE, "k");
        stage.stabilize();

        stage.world.resume(ONE);
        let other = stage.read(ONE, "k");
        stage.stabilize();
        stage.run(2);
        assert_eq!(stage.received(THREE, ONE, "Read"), 1, "1 was not asked");
        assert!(!stage.leads(ONE));
        for read in [first, other] {
            let answers = stage.answers(read);
            let is_refusal = |answer: &Answer| matches!(answer, Answer::Refused { .. });
            assert!(!answers.is_empty() && answers.iter().all(is_refusal), "{answers:?}");
        }
        assert_eq!(stage.what_was_read(retry).as_deref(), Some("x"));
    }
}

/// 2 has answered a heartbeat of 1's, then it is elected and acknowledges x. The answer reaches 1 after a client of 1 has
/// asked to read: it tells that 1 led before, and not that it does now.
fn a_late_answer_to_an_earlier_round_confirms_no_later_read<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    stage.elapse(1);
    stage.deliver_kind(ONE, TWO, P::HEARTBEAT);
    let late = stage.hold(TWO, ONE, P::HEARTBEAT_REPLY);
    assert_eq!(late.len(), 1);
    stage.lose_all();
    stage.elect(TWO, &[THREE]);
    let x = stage.append(TWO, "k", "x");
    stage.exchange(&[TWO, THREE]);
    assert!(stage.acknowledged(x) && stage.leads(ONE));

    let read = stage.read(ONE, "k");
    stage.hand_in(late);
    assert!(stage.leads(ONE), "1 knows that it is deposed");
    assert_eq!(stage.answers(read), [], "served by a leader that was deposed");
    stage.exchange(&[ONE, TWO, THREE]);
    let answers = stage.answers(read);
    assert!(matches!(answers.as_slice(), [Answer::Refused { .. }]), "{answers:?}");
}

/// 1 leads once more, and its rounds are counted from the beginning. An answer to a late round of its earlier leadership
/// would make up a quorum for an early one of this.
fn a_late_answer_to_an_earlier_epoch_confirms_no_read<P: Words>() {
    let mut stage = Stage::<P>::led_by_one(5, Limits::default());
    for _ in 0..4 {
        stage.elapse(1);
        stage.exchange(&[ONE, THREE, FOUR, FIVE]);
    }
    stage.deliver(ONE, TWO);
    let late = stage.hold(TWO, ONE, P::HEARTBEAT_REPLY);
    assert!(!late.is_empty());
    stage.lose_all();
    stage.crash(ONE);
    stage.restart(ONE);
    stage.elect(ONE, &[FOUR, FIVE]);
    let x = stage.append(ONE, "k", "x");
    stage.exchange(&[ONE, FOUR, FIVE]);
    assert!(stage.acknowledged(x));
    let read = stage.read(ONE, "k");
    assert!(stage.deliver_kind(ONE, FOUR, P::HEARTBEAT) > 0);
    assert!(stage.deliver_kind(FOUR, ONE, P::HEARTBEAT_REPLY) > 0);
    stage.hand_in(late);
    assert_eq!(stage.answers(read), [], "two of five have confirmed 1");
    stage.deliver_kind(ONE, FIVE, P::HEARTBEAT);
    stage.deliver_kind(FIVE, ONE, P::HEARTBEAT_REPLY);
    assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));
}

/// The question, or the answer, gets lost while the leader stays: it is asked again under the same name, and the client
/// hears once.
fn a_read_whose_question_or_answer_is_lost_is_asked_again<P: Words>() {
    for lost in ["Read", "ReadIndex"] {
        let mut stage = Stage::<P>::led_by_one(3, Limits::default());
        stage.append(ONE, "k", "x");
        stage.stabilize();
        let read = stage.read(THREE, "k");
        if lost == "ReadIndex" {
            stage.deliver(THREE, ONE);
            stage.deliver(ONE, TWO);
            stage.deliver(TWO, ONE);
        }
        let (from, to) = if lost == "Read" { (THREE, ONE) } else { (ONE, THREE) };
        assert_eq!(stage.lose_kind(from, to, lost), 1);
        assert_eq!(stage.answers(read), []);
        stage.run(2);
        assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));
        assert!(stage.leads(ONE));
    }
}

/// Tables reach the disk in their own time, so a crash takes some of what was applied. Data and applied index are one
/// write: whatever is left fits together, and the rest is applied again, once.
fn a_restart_applies_nothing_twice<P: Words>() {
    const LETTERS: [&str; 5] = ["a", "b", "c", "d", "e"];
    for (node, kept) in [ONE, TWO].into_iter().flat_map(|node| (0..=LETTERS.len()).map(move |kept| (node, kept))) {
        let mut stage = Stage::<P>::led_by_one(3, Limits::default());
        holds(stage.world.flush_tables(node));
        let mut indexes = vec![stage.world.persisted(node)];
        for letter in LETTERS {
            let id = stage.append(ONE, "k", letter);
            stage.stabilize();
            indexes.push(stage.world.acknowledged_at(id).expect("nothing is in its way"));
        }
        let applied = stage.world.applied(node).expect("it runs");
        assert_eq!(stage.world.at_stake(node).batches, LETTERS.len());
        holds(stage.world.crash(node, Survivors { writes: 0, batches: kept, incoming: true }));
        assert_eq!(stage.world.persisted(node), indexes[kept]);
        assert_eq!(stage.value(node, "k").unwrap_or_default(), LETTERS[..kept].concat(), "data and index disagree");
        assert!(kept == LETTERS.len() || stage.world.persisted(node) < applied, "nothing is applied again");

        stage.restart(node);
        stage.run(6);
        stage.converges(&[ONE, TWO, THREE]);
        assert_eq!(stage.value(node, "k"), Some(LETTERS.concat()), "after a crash that left {kept} batches");
    }
}

/// A client's write reaches 2, its node dies, and it gives up. It cannot know whether the write will be carried out, and
/// says so; it is. Had it called the write failed, what others read afterwards would be inexplicable.
fn a_client_that_gives_up_hears_unknown_and_the_checker_allows_both<P: Words>() {
    let habits = Habits {
        clients: 1,
        keys: 1,
        think: Duration::from_millis(1),
        patience: Duration::from_millis(100),
        reads_percent: 0,
        deletes: false,
        value_bytes_max: 0,
        reads: vec![ReadMode::Index],
        stale_permille: 0,
        sessions: None,
    };
    let patience = habits.patience;
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    // It asks node 1 alone.
    let mut clients = Clients::new(habits, 1, 1);
    stage.elapse(1);
    clients.allow(1, stage.world.now());
    clients.wake(&mut stage.world).expect("holds");
    let [asked] = clients.history() else { panic!("{:?}", clients.history()) };
    let (Action::Put { value: written, .. } | Action::Append { value: written, .. }) = asked.action.clone() else {
        panic!("{} writes nothing", asked.action)
    };

    stage.deliver(ONE, TWO);
    stage.write(TWO);
    stage.lose_all();
    stage.crash(ONE);
    holds(stage.world.elapse(patience));
    clients.wake(&mut stage.world).expect("holds");
    clients.hear(&mut stage.world).expect("holds");
    assert_eq!((clients.history()[0].outcome, clients.history()[0].returned), (Outcome::Unknown, None));

    stage.elect(TWO, &[THREE]);
    stage.exchange(&[TWO, THREE]);
    clients.audit(&[TWO], stage.world.now());
    clients.wake(&mut stage.world).expect("holds");
    stage.exchange(&[TWO, THREE]);
    clients.hear(&mut stage.world).expect("holds");
    assert!(clients.are_done());
    let Action::Get { value: found, .. } = &clients.history()[1].action else { panic!("2 was not read") };
    assert_eq!(*found, Some(written), "the write was not carried out after all");

    let verdict = |history: &[_]| linearizability::check(history, Model::Kv, &linearizability::Limits::default());
    let mut history = clients.history().to_vec();
    assert_eq!(verdict(&history), Verdict::Linearizable);
    // Nor would it be wrong if the write had been lost.
    let mut never = history.clone();
    let Action::Get { value, .. } = &mut never[1].action else { panic!("2 was not read") };
    *value = None;
    assert_eq!(verdict(&never), Verdict::Linearizable);
    history[0].outcome = Outcome::Fail;
    history[0].returned = Some(history[0].call + 1);
    assert!(matches!(verdict(&history), Verdict::NotLinearizable(_)), "failed is taken for unknown");
}

/// As the other one, but the write has a number in a session: it is asked again under it, and at last given up.
fn a_client_that_gives_a_number_of_its_session_up_hears_unknown_too<P: Words>() {
    let sessions = SessionHabits {
        window: 1,
        ttl: Duration::from_secs(60),
        retries_max: 2,
        doubled_permille: 0,
        naps_permille: 0,
    };
    let habits = Habits {
        clients: 1,
        keys: 1,
        think: Duration::from_millis(1),
        patience: Duration::from_millis(100),
        reads_percent: 0,
        deletes: false,
        value_bytes_max: 0,
        reads: vec![ReadMode::Index],
        stale_permille: 0,
        sessions: Some(sessions),
    };
    let patience = habits.patience;
    let mut stage = Stage::<P>::led_by_one(3, Limits::default());
    // It asks node 1 alone.
    let mut clients = Clients::new(habits, 1, 2);
    stage.elapse(1);
    clients.allow(1, stage.world.now());
    clients.wake(&mut stage.world).expect("holds");
    stage.stabilize();
    clients.hear(&mut stage.world).expect("holds");
    assert_eq!(stage.counts().sessions_opened, 1);
    stage.elapse(1);
    clients.wake(&mut stage.world).expect("holds");
    stage.deliver(ONE, TWO);
    stage.write(TWO);
    stage.lose_all();

    // Nobody answers, and then nobody is there to ask.
    holds(stage.world.elapse(patience));
    clients.wake(&mut stage.world).expect("holds");
    stage.crash(ONE);
    for _ in 0..40 {
        holds(stage.world.elapse(patience));
        clients.wake(&mut stage.world).expect("holds");
        clients.hear(&mut stage.world).expect("holds");
    }
    assert!(clients.are_done());
    let [written] = clients.history() else { panic!("a retry is no operation of its own: {:?}", clients.history()) };
    assert_eq!((written.outcome, written.returned), (Outcome::Unknown, None));
    assert!(written.call < 200_000_000, "it begins when it is asked first");
}

/// x was acknowledged by 1 and stands at 2, which does not know that it is chosen. 3 asks the two of them that are left, and must
/// wait until somebody finds out.
fn a_quorum_that_has_accepted_a_value_and_does_not_know_it_chosen_keeps_a_read_waiting() {
    let mut stage = Stage::<MultiPaxos>::led_by_one(3, Limits::default());
    let x = stage.append(ONE, "k", "x");
    stage.deliver(ONE, TWO);
    stage.write(TWO);
    stage.write(ONE);
    stage.deliver_kind(TWO, ONE, MultiPaxos::ACCEPTED);
    assert!(stage.acknowledged(x));
    stage.lose_all();
    stage.crash(ONE);
    let read = stage.read_by(THREE, "k", ReadMode::Quorum);
    assert_eq!(stage.deliver_kind(THREE, TWO, "ReadQuery"), 1);
    assert_eq!(stage.deliver_kind(TWO, THREE, "ReadReport"), 1);
    assert_eq!(stage.answers(read), [], "3 serves what it cannot know");
    stage.elect(TWO, &[THREE]);
    stage.exchange(&[TWO, THREE]);
    assert_eq!(stage.what_was_read(read).as_deref(), Some("x"));
    // And now nobody need lead.
    stage.crash(TWO);
    stage.restart(TWO);
    let again = stage.read_by(THREE, "k", ReadMode::Quorum);
    stage.exchange(&[TWO, THREE]);
    assert_eq!(stage.what_was_read(again).as_deref(), Some("x"));
}
