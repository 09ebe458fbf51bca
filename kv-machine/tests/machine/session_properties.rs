//! What holds for every sequence of requests in sessions: a plain model says the same, however the log is cut into slices,
//! whatever crashes come between and wherever a snapshot is taken over.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{Entry, LogTime, Payload, SharedEntry, SnapshotStore, StateMachine};
use kv_machine::{
    Batch, Change, ChangeLimits, Changes, Command, Expect, Item, MemorySnapshots, Operation, OperationResult, Replies,
    Reply, Request, ScanRange, Txn,
};
use proptest::prelude::*;

use crate::snapshots::send;
use crate::world::{World, always, append, blob, entry, id, item, payload, put, tag};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

/// A session as a client would describe it.
struct Session {
    ttl_ms: u64,
    last_sign: u64,
    acked_below: u64,
    replies: Vec<(u64, Reply)>,
}

/// What the machine ought to be: lists that are searched from end to end.
#[derive(Default)]
struct Model {
    items: BTreeMap<String, Item>,
    sessions: BTreeMap<u128, Session>,
    ended: Vec<u128>,
    revision: u64,
    now: u64,
    changes: Vec<Change>,
}

impl Model {
    fn run(&mut self, entry: &Entry) -> Option<Vec<Reply>> {
        self.now = self.now.max(entry.log_time.millis);
        loop {
            let deadlines = self.sessions.iter().map(|(id, session)| (session.last_sign + session.ttl_ms, *id));
            match deadlines.min() {
                Some((deadline, session)) if deadline < self.now => self.end(session),
                _ => break,
            }
        }
        let Payload::Command { data, .. } = &entry.payload else { return None };
        let requests = Batch::decode(&data.0).unwrap().requests;
        Some(requests.iter().map(|request| self.request(request)).collect())
    }

    fn end(&mut self, session: u128) {
        self.sessions.remove(&session);
        self.ended.push(session);
        let its_own = |item: &Item| item.session == Some(id(session));
        let keys: Vec<String> = self.items.iter().filter(|(_, item)| its_own(item)).map(|it| it.0.clone()).collect();
        self.revision += u64::from(!keys.is_empty());
        keys.iter().for_each(|key| self.remove(key));
    }

    fn request(&mut self, Request { session, command }: &Request) -> Reply {
        match (command, session) {
            (Command::OpenSession { session: opened, ttl_ms }, tag) => {
                let reply = self.open(opened.0, *ttl_ms);
                if let (Some(tag), Some(session)) = (tag, self.sessions.get_mut(&opened.0))
                    && tag.session == *opened
                {
                    session.acked_below = session.acked_below.max(tag.acked_below);
                }
                reply
            }
            (Command::CloseSession { session }, _) => {
                let existed = self.sessions.contains_key(&session.0);
                if existed {
                    self.end(session.0);
                }
                Reply::SessionClosed { existed, revision: self.revision }
            }
            (command, None) => self.perform(command, None),
            (command, Some(tag)) => {
                let (now, of) = (self.now, tag.session.0);
                let Some(session) = self.sessions.get_mut(&of) else { return Reply::SessionExpired };
                session.last_sign = now;
                session.acked_below = session.acked_below.max(tag.acked_below);
                if tag.number < session.acked_below {
                    return Reply::Forgotten;
                }
                if let Some((_, first)) = session.replies.iter().find(|(number, _)| *number == tag.number) {
                    return first.clone();
                }
                let reply = self.perform(command, Some(of));
                self.sessions.get_mut(&of).unwrap().replies.push((tag.number, reply.clone()));
                reply
            }
        }
    }

    fn open(&mut self, session: u128, ttl_ms: u64) -> Reply {
        if self.ended.contains(&session) {
            return Reply::SessionExpired;
        }
        let blank = Session { ttl_ms, last_sign: 0, acked_below: 1, replies: Vec::new() };
        let opened = self.sessions.entry(session).or_insert(blank);
        (opened.ttl_ms, opened.last_sign) = (ttl_ms, self.now);
        Reply::SessionOpened { ttl_ms }
    }

    /// Carries out one of the few commands that are drawn.
    fn perform(&mut self, command: &Command, session: Option<u128>) -> Reply {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let written = |version, revision| Reply::Written { version, revision };
        match command {
            Command::PutEphemeral { .. } if session.is_none() => Reply::SessionNeeded,
            Command::Put { key, value, expect } => {
                if let Some(mismatch) = self.mismatch(&text(&key.0), *expect) {
                    return mismatch;
                }
                self.revision += 1;
                written(self.write(&text(&key.0), &text(&value.0), None), self.revision)
            }
            Command::PutEphemeral { key, value, .. } => {
                self.revision += 1;
                written(self.write(&text(&key.0), &text(&value.0), session), self.revision)
            }
            Command::Append { key, suffix, .. } => {
                self.revision += 1;
                let key = text(&key.0);
                let before = self.items.get(&key).map_or(String::new(), |item| text(&item.value.0));
                written(self.write(&key, &(before + &text(&suffix.0)), None), self.revision)
            }
            Command::Delete { key, .. } => {
                let deleted = self.items.contains_key(&text(&key.0));
                if deleted {
                    self.revision += 1;
                    self.remove(&text(&key.0));
                }
                Reply::Deleted { deleted, revision: self.revision }
            }
            // A get of one key and an ephemeral put of another.
            Command::Txn(Txn { then, .. }) => {
                let Some(of) = session else { return Reply::SessionNeeded };
                let [Operation::Get { key: read }, Operation::PutEphemeral { key, value }] = &then[..] else {
                    unreachable!("no other is drawn")
                };
                let got = self.items.get(&text(&read.0)).cloned();
                self.revision += 1;
                let version = self.write(&text(&key.0), &text(&value.0), Some(of));
                let results = vec![OperationResult::Got(got), OperationResult::Written { version }];
                Reply::Txn { succeeded: true, revision: self.revision, results }
            }
            Command::OpenSession { .. } | Command::CloseSession { .. } => unreachable!("these are no writes"),
        }
    }

    fn mismatch(&self, key: &str, expect: Expect) -> Option<Reply> {
        let (version, mod_revision) = self.items.get(key).map_or((0, 0), |item| (item.version, item.mod_revision));
        let differs = matches!(expect, Expect::Version(expected) if expected != version);
        differs.then_some(Reply::Mismatch { version, mod_revision })
    }

    fn write(&mut self, key: &str, value: &str, session: Option<u128>) -> u64 {
        let before = self.items.get(key);
        let version = before.map_or(0, |item| item.version) + 1;
        let created = before.map_or(self.revision, |item| item.create_revision);
        let after = Item { session: session.map(id), ..item(value, version, created, self.revision) };
        self.items.insert(key.to_owned(), after.clone());
        self.changes.push(Change { revision: self.revision, key: blob(key), item: Some(after) });
        version
    }

    fn remove(&mut self, key: &str) {
        self.items.remove(key);
        self.changes.push(Change { revision: self.revision, key: blob(key), item: None });
    }
}

fn command() -> impl Strategy<Value = Command> {
    let key = || prop::sample::select(KEYS.to_vec());
    let value = || prop::sample::select(vec!["x", "y"]);
    let ephemeral = |(key, value)| Command::PutEphemeral { key: blob(key), value: blob(value), expect: Expect::Any };
    let txn = |(read, key, value): (&str, &str, &str)| {
        let put = Operation::PutEphemeral { key: blob(key), value: blob(value) };
        always(vec![Operation::Get { key: blob(read) }, put])
    };
    prop_oneof![
        3 => (key(), value()).prop_map(|(key, value)| append(key, value, Expect::Any)),
        2 => (key(), value(), 0..3_u64).prop_map(|(key, value, version)| put(key, value, Expect::Version(version))),
        3 => (key(), value()).prop_map(ephemeral),
        1 => key().prop_map(|key| Command::Delete { key: blob(key), expect: Expect::Any }),
        2 => (key(), key(), value()).prop_map(txn),
    ]
}

/// Few sessions with few numbers, so that copies meet; the numbers lie on both sides of a page's end.
fn request() -> impl Strategy<Value = Request> {
    let session = || 1..4_u128;
    let place = (session(), 58..70_u64, 0..64_u64).prop_map(|(session, number, acked)| tag(session, number, acked));
    prop_oneof![
        2 => (session(), 1_000..3_000_u64)
            .prop_map(|(session, ttl_ms)| Command::OpenSession { session: id(session), ttl_ms }.into()),
        1 => (place.clone(), session()).prop_map(|(tag, session)| Request {
            session: Some(tag),
            command: Command::OpenSession { session: id(session), ttl_ms: 1_500 },
        }),
        9 => (place, command()).prop_map(|(tag, command)| Request { session: Some(tag), command }),
        2 => command().prop_map(Request::from),
        1 => session().prop_map(|session| Command::CloseSession { session: id(session) }.into()),
    ]
}

/// Entries whose time mostly goes on a little, at times a lot, and at times back.
fn log() -> impl Strategy<Value = Vec<SharedEntry>> {
    let step = prop_oneof![6 => 0..100_i64, 2 => 500..2_500_i64, 1 => -300..0_i64];
    let requests = prop_oneof![6 => prop::collection::vec(request(), 1..6), 1 => Just(Vec::new())];
    prop::collection::vec((step, requests), 1..40).prop_map(|steps| {
        let mut millis = 1_000;
        let entries = (1..).zip(steps).map(|(index, (step, requests))| {
            millis += step;
            let tick = requests.is_empty();
            let batch = || payload(Batch { requests }.encode().unwrap());
            let next = Entry::clone(&entry(index, if tick { Payload::Tick } else { batch() }));
            Arc::new(Entry { log_time: LogTime { millis: millis.max(0).unsigned_abs() }, ..next })
        });
        entries.collect()
    })
}

/// What happens between two slices.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Restart,
    /// A power loss that leaves so many of the batches that were not yet persisted.
    Crash(usize),
    /// Another machine goes on from a snapshot of this one.
    Snapshot,
}

fn between() -> impl Strategy<Value = Between> {
    prop_oneof![
        3 => Just(Between::Nothing),
        1 => Just(Between::Restart),
        1 => (0..4_usize).prop_map(Between::Crash),
        1 => Just(Between::Snapshot),
    ]
}

impl Between {
    fn happen(self, world: World) -> World {
        match self {
            Between::Nothing => world,
            Between::Restart => world.restart(),
            Between::Crash(kept) => {
                world.tables.crash(kept);
                world.restart()
            }
            Between::Snapshot => {
                let mut other = World::new();
                let stores = [&world, &other].map(|world| MemorySnapshots::new(world.tables.clone()));
                let manifest = send(&stores[0], &stores[1]);
                stores[1].install(manifest.id).unwrap();
                other.machine.reopened().unwrap();
                other
            }
        }
    }
}

/// Applies the log in slices of these lengths, over and over, with something between each two of them. Every reply to an
/// entry that is applied again must be the first one.
fn apply(log: &[SharedEntry], slices: &[(usize, Between)]) -> (World, Vec<Bytes>) {
    let mut world = World::new();
    let mut replies: Vec<Bytes> = Vec::new();
    for (step, (length, between)) in slices.iter().cycle().enumerate() {
        let at = world.applied_index().0 as usize;
        let end = log.len().min(at + length);
        for (offset, reply) in world.machine.apply(&log[at..end]).unwrap().into_iter().enumerate() {
            match replies.get(at + offset) {
                Some(first) => assert_eq!(*first, reply, "entry {} was answered differently", at + offset + 1),
                None => replies.push(reply),
            }
        }
        if end == log.len() {
            break;
        }
        // So many crashes and no more, or it would never end.
        world = if step < 60 { between.happen(world) } else { world };
    }
    (world, replies)
}

/// All changes, read in pages.
fn changes(world: &World, limits: ChangeLimits) -> Vec<Change> {
    let (mut all, mut from) = (Vec::new(), 1);
    while from <= world.machine.revision() {
        match world.reader().changes(&ScanRange::prefix(""), from, limits).unwrap() {
            Changes::Page { changes, next_revision } => {
                assert!(next_revision > from, "a watch would not go on");
                assert!(changes.iter().all(|change| (from..next_revision).contains(&change.revision)));
                all.extend(changes);
                from = next_revision;
            }
            Changes::Compacted { first_revision } => panic!("compacted up to {first_revision}"),
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_plain_model_answers_and_changes_the_same(
        log in log(),
        slices in prop::collection::vec((1..8_usize, between()), 1..6),
        changes_max in 0..6_usize,
    ) {
        let (world, replies) = apply(&log, &slices);
        let mut model = Model::default();
        for (entry, reply) in log.iter().zip(&replies) {
            let expected = model.run(entry);
            let found = (!reply.is_empty()).then(|| Replies::decode(reply).unwrap().replies);
            prop_assert_eq!(found, expected, "{:?}", entry);
        }
        let page = world.reader().scan(&ScanRange::prefix(""), Default::default()).unwrap();
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let items: BTreeMap<String, Item> =
            page.items.into_iter().map(|found| (text(&found.key.0), found.item)).collect();
        prop_assert_eq!(items, model.items);
        prop_assert_eq!(page.revision, model.revision);
        let limits = ChangeLimits { changes_max, ..ChangeLimits::default() };
        prop_assert_eq!(changes(&world, limits), model.changes);
    }

    #[test]
    fn slices_crashes_and_snapshots_do_not_matter(
        log in log(),
        slices in prop::collection::vec((1..8_usize, between()), 1..6),
    ) {
        let (world, replies) = apply(&log, &slices);
        let (whole, expected) = apply(&log, &[(log.len(), Between::Nothing)]);
        prop_assert_eq!(replies, expected);
        prop_assert_eq!(world.digest(), whole.digest());
        prop_assert_eq!(world.machine.time_wanted(), whole.machine.time_wanted());
        prop_assert_eq!(world.restart().machine.time_wanted(), whole.machine.time_wanted());
    }
}
