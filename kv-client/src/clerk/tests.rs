//! The ledger, rule by rule: what is sent, with which number, and what may be said of it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use consensus_api::Blob;

use super::error::ClerkError;
use super::ledger::{Ask, Ledger, Outcome, Waiter};
use super::session::IDLE_REST;
use crate::http::Expect;
use crate::wire::{
    Answer, Command, FRAME_BYTES_MAX, Failure, Refused, Request, SESSION_NUMBERS_MAX, SessionId, Tag, append_frame,
};

const TIMEOUT: Duration = Duration::from_secs(10);
const TTL: Duration = Duration::from_secs(60);
const WINDOW: usize = 100;

/// A caller by name, who may leave.
#[derive(Clone, Debug)]
struct Caller {
    name: u32,
    left: Arc<Mutex<BTreeSet<u32>>>,
}

impl Waiter for Caller {
    fn has_left(&self) -> bool {
        self.left.lock().unwrap().contains(&self.name)
    }
}

/// A ledger with its time and its callers.
struct World {
    ledger: Ledger<Caller>,
    now: Instant,
    left: Arc<Mutex<BTreeSet<u32>>>,
}

impl World {
    fn new() -> World {
        let mut sessions = 0;
        let draw = move || {
            sessions += 1;
            SessionId(sessions)
        };
        World { ledger: Ledger::new(TTL, 7, Box::new(draw)), now: Instant::now(), left: Arc::default() }
    }

    /// One whose session is open.
    fn open() -> World {
        let mut world = World::new();
        world.write(0);
        world.open_on(1);
        let (id, _) = world.frame(1).remove(0);
        world.answer(1, id, written());
        assert_eq!(world.outcomes().len(), 1);
        world
    }

    fn write(&mut self, name: u32) {
        let command = Command::Append { key: Blob::from("k"), suffix: Blob::from("s"), expect: Expect::Any };
        let caller = Caller { name, left: self.left.clone() };
        self.ledger.submit(Ask::Write(command), Some(caller), Some(self.now + TIMEOUT));
    }

    /// Opens the session over this link.
    fn open_on(&mut self, link: u64) {
        let (id, request) = self.frame(link).remove(0);
        assert!(matches!(request, Request::OpenSession { .. }), "{request:?}");
        self.answer(link, id, Answer::SessionOpened { ttl_ms: TTL.as_millis() as u64 });
    }

    fn frame(&mut self, link: u64) -> Vec<(u64, Request)> {
        let requests = self.ledger.next_frame(link, WINDOW, self.now).requests;
        requests.into_iter().map(|numbered| (numbered.id, numbered.request)).collect()
    }

    fn answer(&mut self, link: u64, id: u64, answer: Answer) {
        self.ledger.answered(link, id, answer, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.ledger.turn(self.now);
    }

    fn outcomes(&mut self) -> Vec<(u32, Outcome)> {
        self.ledger.take_done().into_iter().map(|(caller, outcome)| (caller.name, outcome)).collect()
    }

    /// The outcome of the only request.
    fn outcome(&mut self) -> Outcome {
        let mut outcomes = self.outcomes();
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes.remove(0).1
    }
}

fn written() -> Answer {
    Answer::Written { version: 1, revision: 1 }
}

fn refused(why: Refused) -> Answer {
    Answer::Failed(Failure::Refused { why, message: format!("{why:?}") })
}

fn unknown() -> Answer {
    Answer::Failed(Failure::Unknown { message: "no answer".into() })
}

fn tag_of(request: &Request) -> Tag {
    match request {
        Request::Write { tag: Some(tag), .. } => *tag,
        other => panic!("no write in a session: {other:?}"),
    }
}

#[test]
fn a_session_is_opened_before_the_first_write_and_only_once() {
    let mut world = World::new();
    world.write(1);
    world.write(2);
    let opening = world.frame(1);
    assert_eq!(opening.len(), 1);
    assert!(world.frame(1).is_empty(), "nothing goes before the session is open");
    world.answer(1, opening[0].0, Answer::SessionOpened { ttl_ms: 60_000 });
    let numbers: Vec<u64> = world.frame(1).iter().map(|(_, request)| tag_of(request).number).collect();
    assert_eq!(numbers, [1, 2]);
}

#[test]
fn a_retry_after_a_lost_link_keeps_its_number() {
    let mut world = World::open();
    world.write(1);
    let first = tag_of(&world.frame(1)[0].1);
    world.ledger.lost(1, "gone");
    let (id, again) = world.frame(2).remove(0);
    assert_eq!(tag_of(&again), first);
    world.answer(2, id, written());
    assert_eq!(world.outcome(), Ok(written()));
}

#[test]
fn what_is_answered_is_acknowledged_and_what_is_given_up_too() {
    let mut world = World::open();
    for name in 1..=3 {
        world.write(name);
    }
    let sent = world.frame(1);
    assert!(sent.iter().all(|(_, request)| tag_of(request).acked_below == 2), "number 1 opened the world");
    world.answer(1, sent[1].0, written());
    world.pass(TIMEOUT);
    assert_eq!(world.outcomes().len(), 3);
    world.write(4);
    let tag = tag_of(&world.frame(1)[0].1);
    assert_eq!((tag.number, tag.acked_below), (5, 5));
}

#[test]
fn an_answer_that_nobody_waits_for_on_its_link_is_ignored() {
    let mut world = World::open();
    world.write(1);
    let id = world.frame(1)[0].0;
    world.ledger.lost(1, "gone");
    world.frame(2);
    world.answer(1, id, refused(Refused::BadInput));
    world.answer(2, 999, written());
    assert!(world.outcomes().is_empty());
    world.answer(2, id, written());
    assert_eq!(world.outcome(), Ok(written()));
}

/// What becomes of one write before its time is over, and what may be said then.
#[test]
fn the_deadline_says_not_applied_only_where_no_copy_can_have_happened() {
    type Life = fn(&mut World);
    let not_applied: [(&str, Life); 3] = [
        ("never sent", |_| ()),
        ("refused", |world| {
            let id = world.frame(1)[0].0;
            world.answer(1, id, refused(Refused::NoLeader));
        }),
        ("refused twice", |world| {
            for _ in 0..2 {
                let id = world.frame(1)[0].0;
                world.answer(1, id, refused(Refused::Busy));
                world.pass(Duration::from_secs(1));
            }
        }),
    ];
    let maybe: [(&str, Life); 5] = [
        ("under way", |world| drop(world.frame(1))),
        ("link lost", |world| {
            world.frame(1);
            world.ledger.lost(1, "gone");
        }),
        ("unknown", |world| {
            let id = world.frame(1)[0].0;
            world.answer(1, id, unknown());
        }),
        ("unknown, then refused", |world| {
            let id = world.frame(1)[0].0;
            world.answer(1, id, unknown());
            world.pass(Duration::from_secs(1));
            world.frame(1);
            world.answer(1, id, refused(Refused::NoLeader));
        }),
        ("refused, then under way", |world| {
            let id = world.frame(1)[0].0;
            world.answer(1, id, refused(Refused::NoLeader));
            world.pass(Duration::from_secs(1));
            world.frame(1);
        }),
    ];
    for (name, life) in not_applied {
        let mut world = World::open();
        world.write(1);
        life(&mut world);
        world.pass(TIMEOUT);
        assert!(matches!(world.outcome(), Err(ClerkError::NotApplied { .. })), "{name}");
    }
    for (name, life) in maybe {
        let mut world = World::open();
        world.write(1);
        life(&mut world);
        world.pass(TIMEOUT);
        assert!(matches!(world.outcome(), Err(ClerkError::Maybe { .. })), "{name}");
    }
}

#[test]
fn a_refusal_that_will_not_change_is_final_unless_an_earlier_copy_is_in_doubt() {
    let mut world = World::open();
    world.write(1);
    let id = world.frame(1)[0].0;
    world.answer(1, id, refused(Refused::TooLarge));
    assert!(matches!(world.outcome(), Err(ClerkError::TooLarge { .. })));
    world.write(2);
    world.frame(1);
    world.ledger.lost(1, "gone");
    let id = world.frame(2)[0].0;
    world.answer(2, id, refused(Refused::TooLarge));
    assert!(matches!(world.outcome(), Err(ClerkError::Maybe { .. })));
}

#[test]
fn an_expired_session_is_definite_for_a_first_copy_and_maybe_for_a_later_one() {
    let expired = || Answer::Failed(Failure::SessionExpired);
    let mut world = World::open();
    world.write(1);
    let (id, request) = world.frame(1).remove(0);
    let old = tag_of(&request).session;
    world.answer(1, id, expired());
    assert_eq!(world.outcome(), Err(ClerkError::SessionExpired));
    assert_eq!(world.ledger.open_session(), None);
    // Later ones run in another.
    world.write(2);
    world.open_on(1);
    let (id, request) = world.frame(1).remove(0);
    assert_ne!(tag_of(&request).session, old);
    world.ledger.lost(1, "gone");
    world.frame(2);
    world.answer(2, id, expired());
    assert!(matches!(world.outcome(), Err(ClerkError::Maybe { .. })));
}

#[test]
fn a_write_of_an_ended_session_keeps_its_place_there() {
    let mut world = World::open();
    world.write(1);
    world.write(2);
    let sent = world.frame(1);
    let (one, two) = (tag_of(&sent[0].1), tag_of(&sent[1].1));
    world.answer(1, sent[0].0, Answer::Failed(Failure::SessionExpired));
    world.ledger.lost(1, "gone");
    world.open_on(2);
    let (_, again) = world.frame(2).remove(0);
    // In the new session it would be another request, and might be carried out a second time.
    assert_eq!((tag_of(&again).session, tag_of(&again).number), (one.session, two.number));
}

#[test]
fn the_session_is_refreshed_long_before_it_ends() {
    let mut world = World::open();
    world.pass(IDLE_REST);
    world.open_on(1);
    for _ in 0..2 {
        world.pass(TTL / 3 - Duration::from_millis(1));
        assert!(world.frame(1).is_empty());
        world.pass(Duration::from_millis(1));
        world.open_on(1);
    }
}

#[test]
fn what_was_answered_last_is_acknowledged_soon_after_and_once() {
    let mut world = World::open();
    world.write(1);
    let id = world.frame(1)[0].0;
    world.pass(IDLE_REST);
    assert!(world.frame(1).is_empty(), "it is not idle");
    world.answer(1, id, written());
    world.pass(IDLE_REST - Duration::from_millis(1));
    assert!(world.frame(1).is_empty());
    world.pass(Duration::from_millis(1));
    let (id, request) = world.frame(1).remove(0);
    assert!(matches!(request, Request::OpenSession { acked_below: 3, .. }), "{request:?}");
    world.answer(1, id, Answer::SessionOpened { ttl_ms: TTL.as_millis() as u64 });
    world.pass(TTL / 3 - Duration::from_millis(1));
    assert!(world.frame(1).is_empty(), "it was said");
}

#[test]
fn a_session_that_could_not_be_refreshed_for_its_whole_life_is_given_up() {
    let mut world = World::open();
    let old = world.ledger.open_session();
    world.write(1);
    let one = tag_of(&world.frame(1)[0].1);
    world.ledger.lost(1, "gone");
    world.ledger.slept(TTL / 2);
    world.pass(TTL / 2 - Duration::from_millis(1));
    assert_eq!(world.ledger.open_session(), old, "it may live");
    world.write(2);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.ledger.open_session(), None, "a sleep counts");
    let (_, request) = world.frame(2).remove(0);
    // Another is opened: this one might be forgotten, and would begin anew.
    assert!(matches!(request, Request::OpenSession { session, .. } if session != one.session), "{request:?}");
}

#[test]
fn no_number_is_drawn_that_the_cluster_may_have_no_room_for() {
    let mut world = World::open();
    let count = SESSION_NUMBERS_MAX as u32 + 1000;
    for name in 1..=count {
        world.write(name);
    }
    let now = world.now;
    let mut sent = Vec::new();
    while let requests = world.ledger.next_frame(1, 100_000, now).requests
        && !requests.is_empty()
    {
        sent.extend(requests.into_iter().map(|numbered| (numbered.id, numbered.request)));
    }
    assert_eq!(sent.len() as u64, SESSION_NUMBERS_MAX);
    let lowest = tag_of(&sent[0].1).number;
    for (id, _) in &sent[1..] {
        world.answer(1, *id, written());
    }
    assert!(world.frame(1).is_empty() && !world.ledger.is_ready(), "the lowest has no answer");
    // Its retry and reads go, and the others behind them once it is answered.
    world.answer(1, sent[0].0, unknown());
    world.pass(Duration::from_millis(100));
    let (id, request) = world.frame(1).remove(0);
    assert_eq!(tag_of(&request).number, lowest);
    world.answer(1, id, written());
    assert!(world.ledger.is_ready());
    let next = tag_of(&world.frame(1)[0].1);
    assert_eq!((next.number, next.acked_below), (lowest + SESSION_NUMBERS_MAX, lowest + SESSION_NUMBERS_MAX));
}

#[test]
fn requests_that_are_given_up_while_nobody_can_be_asked_leave_nothing_behind() {
    let mut world = World::open();
    for round in 0..50 {
        for name in 0..100 {
            world.write(round * 100 + name);
        }
        world.pass(TIMEOUT);
        assert_eq!(world.outcomes().len(), 100);
    }
    assert!(world.ledger.waiting() < 300, "{}", world.ledger.waiting());
}

#[test]
fn a_caller_who_left_before_anything_was_sent_costs_no_number() {
    let mut world = World::open();
    world.write(1);
    world.left.lock().unwrap().insert(1);
    world.write(2);
    let sent = world.frame(1);
    assert_eq!(sent.len(), 1);
    assert_eq!(tag_of(&sent[0].1).number, 2);
}

#[test]
fn a_caller_who_leaves_afterwards_leaks_no_number_and_holds_up_nobody() {
    let mut world = World::open();
    world.write(1);
    let gone = world.frame(1)[0].0;
    world.left.lock().unwrap().insert(1);
    world.answer(1, gone, refused(Refused::Busy));
    world.pass(IDLE_REST / 2);
    assert!(world.frame(1).is_empty(), "nobody wants the answer, so it is not sent again");
    world.write(2);
    let tag = tag_of(&world.frame(1)[0].1);
    assert_eq!((tag.number, tag.acked_below), (3, 3));
}

#[test]
fn no_more_is_under_way_on_a_link_than_its_window() {
    let mut world = World::open();
    for name in 0..5 {
        world.write(name);
    }
    let now = world.now;
    let sent = world.ledger.next_frame(1, 2, now).requests;
    assert_eq!(sent.len(), 2);
    assert!(world.ledger.next_frame(1, 2, now).requests.is_empty());
    world.answer(1, sent[0].id, written());
    assert_eq!(world.ledger.next_frame(1, 2, now).requests.len(), 1);
    assert_eq!(world.ledger.in_flight(1), 2);
}

#[test]
fn a_frame_of_large_requests_stays_within_what_a_frame_may_have() {
    let mut world = World::open();
    let large = Blob::from(vec![0; FRAME_BYTES_MAX / 2]);
    for name in 0..3 {
        let command = Command::Put { key: Blob::from("k"), value: large.clone(), expect: Expect::Any };
        let caller = Caller { name, left: world.left.clone() };
        world.ledger.submit(Ask::Write(command), Some(caller), Some(world.now + TIMEOUT));
    }
    for _ in 0..3 {
        let requests = world.ledger.next_frame(1, WINDOW, world.now);
        assert_eq!(requests.requests.len(), 1);
        append_frame(&requests, &mut Vec::new()).unwrap();
    }
}

#[test]
fn a_session_that_cannot_be_opened_fails_the_writes_that_wait_for_it() {
    let mut world = World::new();
    world.write(1);
    let id = world.frame(1)[0].0;
    world.answer(1, id, refused(Refused::Unsupported));
    assert!(matches!(world.outcome(), Err(ClerkError::NotApplied { .. })));
}

#[test]
fn what_is_left_when_the_clerk_closes_is_not_said_to_be_undone() {
    let mut world = World::open();
    world.write(1);
    world.frame(1);
    world.write(2);
    world.ledger.give_up_all("closed");
    let outcomes = world.outcomes();
    assert!(matches!(outcomes[0], (1, Err(ClerkError::Maybe { .. }))), "{outcomes:?}");
    assert!(matches!(outcomes[1], (2, Err(ClerkError::NotApplied { .. }))), "{outcomes:?}");
}
