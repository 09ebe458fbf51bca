//! What the driver promises, whichever engine it runs.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::{Counter, MemoryLog, PATIENCE, start};
use consensus_api::{
    Event, LogIndex, Member, Membership, NodeId, ReadMode, Refusal, ReplicatedLog, RequestError, StoreId,
};
use futures_util::StreamExt;

#[tokio::test]
async fn a_proposal_is_answered_with_the_reply_of_the_machine() {
    let replica = start(&Arc::default(), Counter::default(), 16);
    let first = replica.propose(Bytes::from("a"), PATIENCE).await.unwrap();
    let second = replica.propose(Bytes::from("b"), PATIENCE).await.unwrap();
    assert_eq!((first.index, first.reply.as_ref()), (LogIndex(1), b"1".as_ref()));
    assert_eq!((second.index, second.reply.as_ref()), (LogIndex(2), b"2".as_ref()));
    assert_eq!(replica.digest().await.unwrap(), (LogIndex(2), [2; 32]));
}

#[tokio::test]
async fn proposals_that_wait_for_the_disk_share_one_write() {
    let log = Arc::new(MemoryLog::default());
    let replica = start(&log, Counter::default(), 64);
    log.hold();
    let proposals = (0..50).map(|_| replica.propose(Bytes::from("x"), PATIENCE));
    let all = futures_util::future::join_all(proposals);
    let (answers, ()) = tokio::join!(all, async {
        // Let every proposal reach the engine before the disk moves.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        log.release();
    });
    assert!(answers.iter().all(Result::is_ok));
    let groups = log.groups.load(Ordering::SeqCst);
    assert!(groups <= 3, "{groups} writes for 50 proposals");
}

#[tokio::test]
async fn a_read_waits_for_what_was_acknowledged_before_it() {
    let replica = start(&Arc::default(), Counter::default(), 16);
    for expected in 1..=20 {
        replica.propose(Bytes::from("x"), PATIENCE).await.unwrap();
        assert_eq!(replica.read_barrier(ReadMode::Index, PATIENCE).await, Ok(LogIndex(expected)));
    }
}

#[tokio::test]
async fn a_read_in_the_log_is_an_entry_that_is_waited_for_like_a_command() {
    let log = Arc::new(MemoryLog::default());
    let replica = start(&log, Counter::default(), 16);
    replica.propose(Bytes::from("x"), PATIENCE).await.unwrap();
    assert_eq!(replica.read_barrier(ReadMode::Log, PATIENCE).await, Ok(LogIndex(2)));
    assert_eq!(replica.read_barrier(ReadMode::Lease, PATIENCE).await, Ok(LogIndex(2)));
    log.hold();
    let late = replica.read_barrier(ReadMode::Log, Duration::from_millis(30)).await;
    assert!(matches!(late, Err(RequestError::Refused(Refusal::NoQuorum { .. }))), "{late:?}");
    log.release();
}

#[tokio::test]
async fn a_read_in_the_log_is_tried_again_until_somebody_leads() {
    let replica = start(&Arc::default(), Counter::default(), 16);
    replica.campaign().await.unwrap();
    let (read, campaigned) = tokio::join!(replica.read_barrier(ReadMode::Log, PATIENCE), async {
        tokio::task::yield_now().await;
        replica.campaign().await
    });
    assert_eq!((read, campaigned), (Ok(LogIndex(1)), Ok(())));
}

#[tokio::test]
async fn a_read_by_a_means_that_the_engine_lacks_is_refused_by_name() {
    let replica = start(&Arc::default(), Counter::default(), 16);
    let refused = replica.read_barrier(ReadMode::Quorum, PATIENCE).await;
    assert!(matches!(refused, Err(RequestError::Refused(Refusal::Unsupported { .. }))), "{refused:?}");
}

#[tokio::test]
async fn the_engine_hears_when_the_machine_wants_time_and_hears_it_once() {
    let machine = Counter { wants_time_from: Some(2), ..Counter::default() };
    let ticks = machine.ticks.clone();
    let replica = start(&Arc::default(), machine, 16);
    for _ in 0..10 {
        replica.propose(Bytes::from("x"), PATIENCE).await.unwrap();
    }
    assert_eq!(replica.read_barrier(ReadMode::Log, PATIENCE).await, Ok(LogIndex(12)));
    assert_eq!(ticks.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_machine_that_wants_time_when_it_starts_is_heard() {
    let machine = Counter { wants_time_from: Some(0), ..Counter::default() };
    let ticks = machine.ticks.clone();
    let replica = start(&Arc::default(), machine, 16);
    while ticks.load(Ordering::SeqCst) == 0 {
        replica.propose(Bytes::from("x"), PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_write_stops_the_replica_and_tells_everyone() {
    let log = Arc::new(MemoryLog::default());
    let replica = start(&log, Counter::default(), 16);
    replica.propose(Bytes::from("a"), PATIENCE).await.unwrap();
    let mut events = replica.events();
    log.fails.store(true, Ordering::SeqCst);
    let failed = replica.propose(Bytes::from("b"), PATIENCE).await;
    assert!(matches!(&failed, Err(RequestError::Stopped { reason }) if reason.contains("on fire")), "{failed:?}");
    log.fails.store(false, Ordering::SeqCst);
    let later = replica.propose(Bytes::from("c"), PATIENCE).await;
    assert!(matches!(later, Err(RequestError::Stopped { .. })), "a disk that failed once is not trusted again");
    while let Some(event) = events.next().await {
        if let Event::Stopped { reason } = event {
            assert!(reason.contains("on fire"));
            return;
        }
    }
    panic!("the end was not announced");
}

/// Under load the engine's task meets the closed channel of the thread before the thread's report.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_under_load_is_named_and_not_the_thread_that_died_of_it() {
    for _ in 0..50 {
        let log = Arc::new(MemoryLog::default());
        let replica = Arc::new(start(&log, Counter::default(), 256));
        let writers: Vec<_> = (0..32)
            .map(|_| {
                let replica = replica.clone();
                tokio::spawn(async move { while replica.propose(Bytes::from("x"), PATIENCE).await.is_ok() {} })
            })
            .collect();
        let mut events = replica.events();
        replica.propose(Bytes::from("a"), PATIENCE).await.unwrap();
        log.fails.store(true, Ordering::SeqCst);
        assert!(replica.propose(Bytes::from("b"), PATIENCE).await.is_err());
        while let Some(event) = events.next().await {
            if let Event::Stopped { reason } = event {
                assert!(reason.contains("on fire"), "{reason}");
                break;
            }
        }
        for writer in writers {
            writer.await.unwrap();
        }
    }
}

/// Whoever asks watches for another leader. If that ever needed a lock twice at a time, an asker that lost the processor
/// in between and the engine's task, which wants to tell of a change, would wait for each other for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn asking_while_the_role_is_told_never_holds_the_engine_up() {
    let replica = Arc::new(start(&Arc::default(), Counter::default(), 256));
    let askers = (0..3).map(|_| {
        let replica = replica.clone();
        tokio::spawn(async move {
            for _ in 0..100_000 {
                let _ = replica.read_barrier(ReadMode::Index, Duration::ZERO).await;
            }
        })
    });
    for asker in askers.collect::<Vec<_>>() {
        asker.await.unwrap();
    }
    assert_eq!(replica.propose(Bytes::from("x"), PATIENCE).await.unwrap().index, LogIndex(1));
}

#[tokio::test]
async fn a_state_machine_that_fails_stops_the_replica() {
    let replica = start(&Arc::default(), Counter::default(), 16);
    let failed = replica.propose(Bytes::from("fail"), PATIENCE).await;
    assert!(
        matches!(&failed, Err(RequestError::Stopped { reason }) if reason.contains("tables are gone")),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_broken_invariant_stops_the_replica() {
    let replica = start(&Arc::default(), Counter::default(), 16);
    let failed = replica.propose(Bytes::from("panic"), PATIENCE).await;
    assert!(
        matches!(&failed, Err(RequestError::Stopped { reason }) if reason.contains("asked to panic")),
        "{failed:?}"
    );
}

#[tokio::test]
async fn a_write_without_answer_in_time_has_an_unknown_outcome() {
    let log = Arc::new(MemoryLog::default());
    let replica = start(&log, Counter::default(), 16);
    log.hold();
    let outcome = replica.propose(Bytes::from("a"), Duration::from_millis(30)).await;
    assert!(matches!(outcome, Err(RequestError::Unknown { waited_ms: 30.. })), "{outcome:?}");
    log.release();
    assert_eq!(
        replica.propose(Bytes::from("b"), PATIENCE).await.unwrap().index,
        LogIndex(2),
        "it was written after all"
    );
}

#[tokio::test]
async fn without_a_leader_a_write_is_refused_for_certain_once_its_time_is_up() {
    let replica = start(&Arc::default(), Counter::default(), 16);
    replica.campaign().await.unwrap();
    let refused = replica.propose(Bytes::from("a"), Duration::from_millis(50)).await;
    assert_eq!(refused, Err(RequestError::Refused(Refusal::NoLeader)));
    replica.campaign().await.unwrap();
    assert_eq!(replica.propose(Bytes::from("b"), PATIENCE).await.unwrap().index, LogIndex(1));
}

#[tokio::test]
async fn more_requests_than_the_bound_are_refused_at_once() {
    let log = Arc::new(MemoryLog::default());
    let replica = start(&log, Counter::default(), 2);
    log.hold();
    let proposals = (0..3).map(|_| replica.propose(Bytes::from("x"), PATIENCE));
    let all = futures_util::future::join_all(proposals);
    let (answers, ()) = tokio::join!(all, async {
        tokio::task::yield_now().await;
        log.release();
    });
    let busy = answers.iter().filter(|answer| **answer == Err(RequestError::Refused(Refusal::Busy))).count();
    assert_eq!(busy, 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_no_trace() {
    let log = Arc::new(MemoryLog::default());
    let replica = start(&log, Counter::default(), 2);
    log.hold();
    for _ in 0..10 {
        let _ = tokio::time::timeout(Duration::from_millis(1), replica.propose(Bytes::from("x"), PATIENCE)).await;
    }
    log.release();
    assert!(replica.propose(Bytes::from("y"), PATIENCE).await.is_ok(), "the bound counts callers that wait");
}

#[tokio::test]
async fn what_the_engine_cannot_do_is_refused_by_name() {
    let replica = start(&Arc::default(), Counter::default(), 16);
    let refused = replica.transfer_leadership(None, PATIENCE).await;
    assert!(matches!(refused, Err(RequestError::Refused(Refusal::Unsupported { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_shutdown_flushes_what_is_applied() {
    let machine = Counter::default();
    let flushed = machine.flushed.clone();
    let replica = start(&Arc::default(), machine, 16);
    replica.propose(Bytes::from("a"), PATIENCE).await.unwrap();
    replica.shutdown().await;
    assert!(flushed.load(Ordering::SeqCst));
    let late = replica.propose(Bytes::from("b"), PATIENCE).await;
    assert!(matches!(late, Err(RequestError::Stopped { .. })));
}

#[tokio::test]
async fn a_machine_that_takes_a_few_entries_at_a_time_applies_them_all_in_order() {
    let log = Arc::new(MemoryLog::default());
    let replica = start(&log, Counter { entries_per_batch: Some(3), ..Counter::default() }, 64);
    log.hold();
    let proposals = (0..20).map(|_| replica.propose(Bytes::from("x"), PATIENCE));
    let all = futures_util::future::join_all(proposals);
    let (answers, ()) = tokio::join!(all, async { log.release() });
    let mut counts: Vec<u64> =
        answers.into_iter().map(|answer| String::from_utf8_lossy(&answer.unwrap().reply).parse().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, (1..=20).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_flush_that_fails_at_the_end_is_not_passed_over() {
    let replica = start(&Arc::default(), Counter { flush_fails: true, ..Counter::default() }, 16);
    replica.propose(Bytes::from("a"), PATIENCE).await.unwrap();
    replica.shutdown().await;
    let outcome = replica.stopped().await;
    assert!(matches!(&outcome, Err(reason) if reason.contains("no room")), "{outcome:?}");
}

#[tokio::test]
async fn a_thread_that_panics_stops_the_replica_though_nobody_writes() {
    let replica = start(&Arc::default(), Counter { panics: true, ..Counter::default() }, 16);
    let failed = replica.propose(Bytes::from("a"), PATIENCE).await;
    assert!(matches!(failed, Err(RequestError::Stopped { .. })), "{failed:?}");
    assert!(replica.stopped().await.is_err());
}

#[tokio::test]
async fn a_log_that_lost_what_the_tables_hold_is_refused() {
    let mut machine = Counter::default();
    machine.applied.position.index = LogIndex(7);
    let refused = common::try_start(&Arc::default(), machine, 16).err();
    let text = refused.map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("lost writes"), "{text}");
}

fn members(version: u64, voters: &[u64], learners: &[u64]) -> Membership {
    let member = |node: &u64| {
        (NodeId(*node), Member { address: format!("127.0.0.1:{node}"), store: StoreId(u128::from(*node)) })
    };
    let mut members = Membership { version, ..Membership::of_voters(voters.iter().map(member)) };
    members.learners = learners.iter().copied().map(NodeId).collect();
    members.members.extend(learners.iter().map(member));
    members
}

#[tokio::test]
async fn a_change_of_members_is_in_force_and_told_when_it_is_answered() {
    let replica = start(&Arc::default(), Counter::default(), 16);
    let founders = replica.status().engine.membership;
    let mut target = members(0, &[1, 2], &[3]);
    target.members.extend(founders.members.clone());
    assert!(replica.change_membership(Arc::new(target.clone()), PATIENCE).await.is_ok());
    let status = replica.status();
    assert!(status.engine.membership.names_the_same(&target) && !status.engine.is_changing);
    assert_eq!(status.engine.membership.version, 2, "one step for the newcomer as a learner, one for its vote");
    let stale = replica.change_membership(Arc::new(target), PATIENCE).await;
    assert_eq!(stale, Err(Refusal::MembershipMoved { asked: 0, present: 2 }.into()));
}

#[tokio::test]
async fn while_members_change_the_log_goes_on() {
    let log = Arc::new(MemoryLog::default());
    let replica = start(&log, Counter::default(), 64);
    let founders = replica.status().engine.membership;
    let mut target = members(0, &[1], &[2]);
    target.members.extend(founders.members.clone());
    log.hold();
    let change = replica.change_membership(Arc::new(target), PATIENCE);
    let puts = futures_util::future::join_all((0..20).map(|_| replica.propose(Bytes::from("x"), PATIENCE)));
    let (changed, puts, ()) = tokio::join!(change, puts, async {
        tokio::task::yield_now().await;
        log.release();
    });
    assert!(changed.is_ok() && puts.iter().all(Result::is_ok), "{changed:?}");
}
