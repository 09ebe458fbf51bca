//! What the check of sessions finds.

use kv_machine::{Batch, Command, Expect, Quantity, Replies, Reply, Request, SessionId, SessionTag};

use super::*;

const SESSION: SessionId = SessionId(7);

fn opening() -> Request {
    Command::OpenSession { session: SESSION, ttl_ms: 1_000 }.into()
}

fn append(number: u64, acked_below: u64) -> Request {
    let command = Command::Append { key: "k".into(), suffix: "x".into(), expect: Expect::Any };
    Request { session: Some(SessionTag { session: SESSION, number, acked_below }), command }
}

fn written(version: u64) -> Reply {
    Reply::Written { version, revision: version }
}

/// The checks, and the entries that were applied so far.
struct Applied {
    checks: Checks,
    last: u64,
}

impl Applied {
    /// The session is open, as of 10 s.
    fn new() -> Applied {
        let mut applied = Applied { checks: checks(PAXOS), last: 0 };
        let opened = applied.applies(10_000, opening(), Reply::SessionOpened { ttl_ms: 1_000 });
        assert_eq!(opened.unwrap(), [SessionNews::Opened(SESSION)]);
        applied
    }

    fn replies(
        &mut self,
        (node, index): (NodeId, u64),
        millis: u64,
        request: Request,
        reply: Reply,
    ) -> Result<Vec<SessionNews>, Violation> {
        let data = Batch { requests: vec![request] }.encode().unwrap();
        let payload = Payload::Command { id: id(index), data: Blob(data) };
        let (index, ballot, log_time) = (LogIndex(index), Ballot::new(1, ONE), LogTime { millis });
        let entry = Arc::new(Entry { index, ballot, log_time, payload });
        self.checks.replied(node, &[entry], &[Replies { replies: vec![reply] }.encode().unwrap()])
    }

    /// Node 1 applies the next entry.
    fn applies(&mut self, millis: u64, request: Request, reply: Reply) -> Result<Vec<SessionNews>, Violation> {
        self.last += 1;
        self.replies((ONE, self.last), millis, request, reply)
    }

    #[track_caller]
    fn finds(&mut self, millis: u64, request: Request, reply: Reply, what: &str) {
        let found = self.applies(millis, request, reply).expect_err("it must be found").to_string();
        assert!(found.starts_with("sessions: ") && found.contains(what), "{found}");
    }
}

#[test]
fn the_first_answer_once_more_is_news_and_another_one_is_a_violation() {
    let mut applied = Applied::new();
    assert_eq!(applied.applies(10_000, append(1, 1), written(1)), Ok(vec![]));
    let again = SessionNews::Answered { session: SESSION, number: 1 };
    assert_eq!(applied.applies(10_000, append(1, 1), written(1)), Ok(vec![again]));
    applied.finds(10_000, append(1, 1), written(2), "was its first answer");
}

#[test]
fn replicas_that_answer_differently_are_found() {
    let mut applied = Applied::new();
    applied.applies(10_000, append(1, 1), written(1)).unwrap();
    assert_eq!(applied.replies((TWO, 2), 10_000, append(1, 1), written(1)), Ok(vec![]));
    let found = applied.replies((THREE, 2), 10_000, append(1, 1), Reply::SessionExpired);
    assert!(matches!(found, Err(Violation::Session { node: THREE, .. })), "{found:?}");
}

#[test]
fn what_is_acknowledged_is_forgotten_and_nothing_else() {
    let mut applied = Applied::new();
    applied.applies(10_000, append(1, 1), written(1)).unwrap();
    applied.applies(10_000, append(3, 2), written(2)).unwrap();
    let forgotten = SessionNews::Forgotten { session: SESSION, number: 1 };
    assert_eq!(applied.applies(10_000, append(1, 1), Reply::Forgotten), Ok(vec![forgotten]));
    applied.finds(10_000, append(1, 1), written(3), "which is acknowledged");
    applied.finds(10_000, append(2, 1), Reply::Forgotten, "has forgotten 2");
}

#[test]
fn a_session_lives_as_long_as_it_may_and_no_longer() {
    let mut applied = Applied::new();
    assert_eq!(applied.applies(11_000, append(1, 1), written(1)), Ok(vec![]));
    applied.finds(12_000, append(2, 1), Reply::SessionExpired, "before its time");
    let expired = SessionNews::Expired(SESSION);
    assert_eq!(applied.applies(13_001, append(1, 1), Reply::SessionExpired), Ok(vec![expired]));
    assert_eq!(applied.applies(13_001, opening(), Reply::SessionExpired), Ok(vec![]));
    applied.finds(13_001, append(1, 1), written(1), "which is over");
    applied.finds(13_001, opening(), Reply::SessionOpened { ttl_ms: 1_000 }, "opens session");
}

#[test]
fn nothing_is_carried_out_in_a_session_that_was_never_opened() {
    let mut applied = Applied { checks: checks(PAXOS), last: 0 };
    applied.finds(10_000, append(1, 1), written(1), "which is not open");
}

#[test]
fn a_sign_of_life_acknowledges_and_a_copy_of_what_was_acknowledged_must_be_refused() {
    let mut applied = Applied::new();
    applied.applies(10_000, append(1, 1), written(1)).unwrap();
    let sign = || Request { session: append(0, 2).session, ..opening() };
    applied.applies(10_000, sign(), Reply::SessionOpened { ttl_ms: 1_000 }).unwrap();
    let forgotten = SessionNews::Forgotten { session: SESSION, number: 1 };
    assert_eq!(applied.applies(10_000, append(1, 1), Reply::Forgotten), Ok(vec![forgotten]));
    applied.finds(10_000, append(1, 1), written(1), "which is acknowledged");
}

#[test]
fn a_session_is_open_until_its_close_is_not_refused() {
    let mut applied = Applied::new();
    let close = || Request::from(Command::CloseSession { session: SESSION });
    applied.applies(10_000, close(), Reply::SessionFull).unwrap();
    assert_eq!(applied.applies(10_000, append(1, 1), written(1)), Ok(vec![]));
    applied.applies(10_000, close(), Reply::SessionClosed { existed: true, revision: 1 }).unwrap();
    applied.finds(10_000, append(2, 1), written(2), "which is over");
}

#[test]
fn what_a_batch_had_no_room_for_is_no_answer() {
    let mut applied = Applied::new();
    let no_room = |what| Reply::TooLarge { what, found: 2, limit: 1 };
    applied.applies(10_000, append(1, 1), no_room(Quantity::BatchBytes)).unwrap();
    assert_eq!(applied.applies(10_000, append(1, 1), no_room(Quantity::ValueBytes)), Ok(vec![]));
    applied.finds(10_000, append(1, 1), written(1), "was its first answer");
}
