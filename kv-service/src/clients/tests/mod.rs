//! What is asked is done in lumps, and every outcome is told as what it is: *not* carried out, or *perhaps*.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::time::Duration;

use consensus_api::{Blob, NodeId, Refusal, RequestError};
use kv_client::Expect;
use kv_client::protocol::Consistency;
use kv_client::wire::{
    Answer, Command, Failure, Numbered, Operation, Refused, Request, SessionId, Tag, Txn, WatchEvent, append_frame,
};
use kv_machine::{
    BATCH_RESULT_BYTES_MAX, BATCH_WRITTEN_BYTES_MAX, KvError, KvLimits, Quantity, Reply, TXN_RESULT_BYTES_MAX,
};

use super::backlog::{Backlog, WINDOW, WriteBatch};
use super::{answers, watch};
use crate::service::SubmitError;
use crate::watch::WatchPage;

const PATIENCE: Duration = Duration::from_secs(1);

fn put(id: u64, value_bytes: usize) -> Numbered {
    let tag = Some(Tag { session: SessionId(1), number: id, acked_below: 1 });
    let command = Command::Put { key: Blob::from("k"), value: Blob::from(vec![0; value_bytes]), expect: Expect::Any };
    Numbered { id, request: Request::Write { tag, command } }
}

/// One whose reads may return as much as a transaction's may at all.
fn txn_that_reads(id: u64) -> Numbered {
    let scan = Operation::Scan { start: Blob::from(""), end: None, limit: 1 };
    let command = Command::Txn(Txn::new().then(scan));
    Numbered { id, request: Request::Write { tag: None, command } }
}

fn get(id: u64, key: &'static str, consistency: Consistency) -> Numbered {
    Numbered { id, request: Request::Get { key: Blob::from(key), consistency } }
}

fn taken(requests: impl IntoIterator<Item = Numbered>) -> Backlog {
    let mut backlog = Backlog::default();
    for request in requests {
        assert_eq!(backlog.take(request, PATIENCE, &KvLimits::default()), None);
    }
    backlog
}

fn batches(backlog: &mut Backlog) -> Vec<WriteBatch> {
    std::iter::from_fn(|| backlog.next_batch()).collect()
}

#[test]
fn all_writes_that_wait_become_one_batch_in_their_order() {
    let mut backlog = taken((1..=100).map(|id| put(id, 256)));
    let batch = backlog.next_batch().expect("they wait");
    assert_eq!(batch.ids, (1..=100).collect::<Vec<_>>());
    let numbers = batch.requests.iter().map(|request| request.session.unwrap().number);
    assert!(numbers.eq(1..=100));
    assert!(backlog.next_batch().is_none());
    assert!(!backlog.is_settled());
    backlog.settle(100, batch.bytes);
    assert!(backlog.is_settled());
}

#[test]
fn a_batch_ends_at_its_bounds_and_has_one_request_whatever_that_weighs() {
    let sizes: Vec<usize> =
        batches(&mut taken((1..=5).map(|id| put(id, 400 << 10)))).iter().map(|b| b.ids.len()).collect();
    assert_eq!(sizes, [2, 2, 1]);
    let sizes: Vec<usize> =
        batches(&mut taken((1..=2).map(|id| put(id, 1 << 20)))).iter().map(|b| b.ids.len()).collect();
    assert_eq!(sizes, [1, 1]);
    let sizes: Vec<usize> = batches(&mut taken((1..=1500).map(|id| put(id, 1)))).iter().map(|b| b.ids.len()).collect();
    assert_eq!(sizes, [1024, 476]);
}

#[test]
fn a_batch_has_no_more_reads_than_its_replies_have_room_for() {
    let room = (BATCH_RESULT_BYTES_MAX / TXN_RESULT_BYTES_MAX) as u64;
    let reads = (1..=room + 1).map(txn_that_reads);
    let ids: Vec<Vec<u64>> =
        batches(&mut taken(reads.chain([put(99, 1)]))).into_iter().map(|batch| batch.ids).collect();
    assert_eq!(ids, [(1..=room).collect(), vec![room + 1, 99]]);
}

#[test]
fn a_batch_has_no_more_appends_than_one_entry_may_write() {
    let append = |id| {
        let command = Command::Append { key: Blob::from("k"), suffix: Blob::from("x"), expect: Expect::Any };
        Numbered { id, request: Request::Write { tag: None, command } }
    };
    let fit = (BATCH_WRITTEN_BYTES_MAX / ((1 << 20) + 1)) as u64;
    let sizes: Vec<usize> =
        batches(&mut taken((1..=fit + 1).map(append))).into_iter().map(|batch| batch.ids.len()).collect();
    assert_eq!(sizes, [fit as usize, 1]);
}

#[test]
fn gets_gather_by_how_fresh_they_must_be() {
    use Consistency::{Lease, Linearizable, Stale};
    let mut backlog = taken([get(1, "a", Linearizable), get(2, "b", Stale), get(3, "c", Linearizable)]);
    let ids = |backlog: &mut Backlog, consistency| {
        backlog.take_gets(consistency).gets.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&mut backlog, Linearizable), [1, 3]);
    assert_eq!(ids(&mut backlog, Stale), [2]);
    assert!(ids(&mut backlog, Lease).is_empty());
}

#[test]
fn what_breaks_a_rule_is_answered_at_once_and_spoils_nothing_else() {
    let mut backlog = taken([put(1, 1)]);
    let refusal = |answer: Option<kv_client::wire::Answered>| match answer.expect("refused").answer {
        Answer::Failed(Failure::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let limits = KvLimits::default();
    let mut take = |request| backlog.take(request, PATIENCE, &limits);
    assert_eq!(refusal(take(put(2, (1 << 20) + 1))), Refused::TooLarge);
    assert_eq!(refusal(take(get(3, "", Consistency::Stale))), Refused::BadInput);
    assert_eq!(backlog.next_batch().unwrap().ids, [1]);
}

#[test]
fn a_full_window_takes_no_more_and_an_answer_makes_room() {
    let mut backlog = taken((1..=WINDOW as u64).map(|id| get(id, "k", Consistency::Stale)));
    assert!(!backlog.has_room());
    backlog.settle(1, 0);
    assert!(backlog.has_room());
    let mut heavy = taken((1..=16).map(|id| put(id, 1 << 20)));
    assert!(!heavy.has_room());
    let batch = heavy.next_batch().unwrap();
    heavy.settle(batch.ids.len(), batch.bytes);
    assert!(heavy.has_room());
}

#[test]
fn what_nobody_has_begun_when_the_node_stops_is_definitely_not_done() {
    let mut backlog = taken([put(1, 1), txn_that_reads(2), get(3, "k", Consistency::Lease)]);
    let begun = backlog.next_batch().unwrap();
    assert_eq!(begun.ids, [1, 2]);
    let refused = backlog.refuse_all();
    let ids: Vec<u64> = refused.iter().map(|answered| answered.id).collect();
    assert_eq!(ids, [3], "the batch is under way, and will be answered for what becomes of it");
    assert!(!backlog.is_settled());
}

#[test]
fn a_write_is_unknown_exactly_where_it_may_have_been_carried_out() {
    let unknown = [
        SubmitError::Log(RequestError::Unknown { waited_ms: 1 }),
        SubmitError::Log(RequestError::Stopped { reason: "r".into() }),
        SubmitError::Codec(KvError::NotOneReply),
    ];
    for error in unknown {
        assert!(matches!(answers::of_write(&error), Failure::Unknown { .. }), "{error}");
    }
    let refused = [
        (Refusal::NoLeader, Refused::NoLeader),
        (Refusal::NotLeader { leader: Some(NodeId(2)) }, Refused::NoLeader),
        (Refusal::NoQuorum { waited_ms: 1 }, Refused::NoQuorum),
        (Refusal::Busy, Refused::Busy),
        (Refusal::TooLarge { bytes: 2, limit: 1 }, Refused::TooLarge),
        (Refusal::Unsupported { what: "w".into() }, Refused::Unsupported),
    ];
    for (refusal, expected) in refused {
        let answer = answers::of_write(&SubmitError::Log(refusal.clone().into()));
        assert!(matches!(answer, Failure::Refused { why, .. } if why == expected), "{refusal}");
    }
}

#[test]
fn a_read_is_never_unknown() {
    let errors = [
        (RequestError::Unknown { waited_ms: 1 }, Refused::NoQuorum),
        (RequestError::Stopped { reason: "r".into() }, Refused::Stopping),
        (RequestError::Refused(Refusal::NoLeader), Refused::NoLeader),
    ];
    for (error, expected) in errors {
        assert!(matches!(answers::of_read(&error), Failure::Refused { why, .. } if why == expected), "{error}");
    }
}

#[test]
fn what_the_machine_says_of_sessions_is_told_as_what_it_is() {
    let of = |reply| match answers::of_reply(reply) {
        Answer::Failed(failure) => failure,
        other => panic!("{other:?}"),
    };
    assert_eq!(of(Reply::SessionExpired), Failure::SessionExpired);
    assert_eq!(of(Reply::Forgotten), Failure::Forgotten);
    assert!(matches!(of(Reply::SessionFull), Failure::Refused { why: Refused::SessionFull, .. }));
    assert!(matches!(of(Reply::SessionNeeded), Failure::Refused { why: Refused::BadInput, .. }));
    // A reply of the machine, which a retry has again: no failure of the request's way.
    let large = answers::of_reply(Reply::TooLarge { what: Quantity::ValueBytes, found: 2, limit: 1 });
    assert!(matches!(large, Answer::TooLarge { .. }));
}

#[test]
fn a_range_is_no_longer_than_keys_are_and_what_waits_of_it_is_counted() {
    let limits = KvLimits::default();
    let scan = |id: u64, start: usize, end: usize| {
        let (start, end) = (Blob::from(vec![b'k'; start]), Some(Blob::from(vec![b'l'; end])));
        Numbered { id, request: Request::Scan { start, end, limit: 1, consistency: Consistency::Stale } }
    };
    let longest = limits.key_bytes_max + 1;
    let mut backlog = Backlog::default();
    for (start, end) in [(longest + 1, 1), (1, longest + 1)] {
        let answer = backlog.take(scan(1, start, end), PATIENCE, &limits).expect("refused").answer;
        assert!(matches!(answer, Answer::Failed(Failure::Refused { why: Refused::TooLarge, .. })), "{answer:?}");
    }
    let mut taken = 0;
    while backlog.has_room() {
        taken += 1;
        assert_eq!(backlog.take(scan(taken, longest, longest), PATIENCE, &limits), None);
    }
    assert_eq!(taken as usize, (16_usize << 20).div_ceil(2 * longest));
    assert_eq!(backlog.refuse_all().len(), taken as usize);
    assert!(backlog.is_settled() && backlog.has_room());
}

#[test]
fn an_opening_says_what_is_acknowledged() {
    let opening = Request::OpenSession { session: SessionId(1), ttl_ms: 1000, acked_below: 7 };
    let batch = taken([Numbered { id: 1, request: opening }]).next_batch().unwrap();
    let tag = batch.requests[0].session.unwrap();
    assert_eq!((tag.session.0, tag.acked_below), (1, 7));
}

/// A change of this revision whose value has so many bytes.
fn change(revision: u64, value_bytes: usize) -> kv_machine::Change {
    let value = Blob::from(vec![0; value_bytes]);
    let item = kv_machine::Item { value, version: 1, create_revision: 1, mod_revision: revision, session: None };
    kv_machine::Change { revision, key: Blob::from("k"), item: Some(item) }
}

#[test]
fn a_page_of_changes_becomes_frames_that_never_say_more_than_was_sent() {
    // One revision with more than a frame holds, between two that are small.
    let changes = [change(1, 1)].into_iter().chain((0..9).map(|_| change(2, 1 << 20))).chain([change(3, 1)]);
    let events = watch::events(WatchPage { changes: changes.collect(), reached: 5 });
    let mut revisions = Vec::new();
    let mut told = 0;
    for event in &events {
        append_frame(event, &mut Vec::new()).expect("a frame has room for it");
        let WatchEvent::Changes { changes, through } = event else { panic!("{event:?}") };
        assert!(changes.iter().all(|change| change.revision > told), "what was said to be complete was not");
        revisions.extend(changes.iter().map(|change| change.revision));
        assert!(*through >= told);
        told = *through;
    }
    assert_eq!(revisions, [&[1][..], &[2; 9], &[3]].concat());
    assert_eq!(told, 5);
    // What fits is one frame.
    let small = WatchPage { changes: (1..=100).map(|revision| change(revision, 100)).collect(), reached: 100 };
    assert_eq!(watch::events(small).len(), 1);
}
