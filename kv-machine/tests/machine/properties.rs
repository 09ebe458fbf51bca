//! What holds for every sequence of commands: slices do not matter, and a plain map would say the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus_api::{Blob, StateMachine};
use kv_machine::{
    Batch, Command, Compare, Expect, Item, Operation, OperationResult, Relation, Reply, Request, ScanItem, Target, Txn,
};
use proptest::prelude::*;

use crate::world::{World, entries};

fn key() -> impl Strategy<Value = Blob> {
    // Few keys, so that commands meet; some of them prefixes of others.
    prop::sample::select(vec!["a", "aa", "ab", "b", "c"]).prop_map(Blob::from)
}

fn value() -> impl Strategy<Value = Blob> {
    prop::collection::vec(any::<u8>(), 0..4).prop_map(Blob::from)
}

fn expect() -> impl Strategy<Value = Expect> {
    prop_oneof![
        3 => Just(Expect::Any),
        1 => (0..4_u64).prop_map(Expect::Version),
        1 => (0..20_u64).prop_map(Expect::ModRevision),
    ]
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0..4_u64).prop_map(Target::Version),
        (0..20_u64).prop_map(Target::CreateRevision),
        (0..20_u64).prop_map(Target::ModRevision),
        prop::option::of(value()).prop_map(Target::Value),
    ];
    let relation = prop::sample::select(vec![Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater]);
    (key(), target, relation).prop_map(|(key, target, relation)| Compare { key, target, relation })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        key().prop_map(|key| Operation::Get { key }),
        (key(), value()).prop_map(|(key, value)| Operation::Put { key, value }),
        (key(), value()).prop_map(|(key, suffix)| Operation::Append { key, suffix }),
        key().prop_map(|key| Operation::Delete { key }),
        (key(), prop::option::of(key()), 0..4_u32).prop_map(|(start, end, limit)| Operation::Scan {
            start,
            end,
            limit
        }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let branch = || prop::collection::vec(operation(), 0..5);
    prop_oneof![
        3 => (key(), value(), expect()).prop_map(|(key, value, expect)| Command::Put { key, value, expect }),
        2 => (key(), value(), expect()).prop_map(|(key, suffix, expect)| Command::Append { key, suffix, expect }),
        2 => (key(), expect()).prop_map(|(key, expect)| Command::Delete { key, expect }),
        3 => (prop::collection::vec(compare(), 0..3), branch(), branch())
            .prop_map(|(compare, then, otherwise)| Command::Txn(Txn { compare, then, otherwise })),
    ]
}

/// What the machine ought to be: a map and a number, changed in place, and a copy of both to fall back on.
#[derive(Clone, Default)]
struct Model {
    items: BTreeMap<Bytes, Item>,
    revision: u64,
}

impl Model {
    fn run(&mut self, command: &Command) -> Reply {
        let mut next = self.clone();
        let reply = next.perform(command);
        let changed = next.items != self.items;
        if !matches!(reply, Reply::Malformed) {
            self.items = next.items;
        }
        self.revision += u64::from(changed);
        match reply {
            Reply::Txn { succeeded, results, .. } => Reply::Txn { succeeded, revision: self.revision, results },
            other => other,
        }
    }

    fn perform(&mut self, command: &Command) -> Reply {
        let (key, expect) = match command {
            Command::Txn(txn) => return self.transact(txn),
            Command::Put { key, expect, .. }
            | Command::Append { key, expect, .. }
            | Command::Delete { key, expect } => (&key.0, *expect),
            // Sessions have a model of their own.
            Command::PutEphemeral { .. } | Command::OpenSession { .. } | Command::CloseSession { .. } => {
                return Reply::Malformed;
            }
        };
        let (version, mod_revision) = self.items.get(key).map_or((0, 0), |item| (item.version, item.mod_revision));
        if expect != Expect::Any && expect != Expect::Version(version) && expect != Expect::ModRevision(mod_revision) {
            return Reply::Mismatch { version, mod_revision };
        }
        let revision = self.revision + 1;
        match command {
            Command::Put { value, .. } => Reply::Written { version: self.write(key, value.0.to_vec()), revision },
            Command::Append { suffix, .. } => Reply::Written { version: self.append(key, suffix), revision },
            _ => {
                let deleted = self.items.remove(key).is_some();
                Reply::Deleted { deleted, revision: self.revision + u64::from(deleted) }
            }
        }
    }

    fn write(&mut self, key: &Bytes, value: Vec<u8>) -> u64 {
        let mod_revision = self.revision + 1;
        let fresh =
            Item { value: Blob::default(), version: 0, create_revision: mod_revision, mod_revision, session: None };
        let item = self.items.entry(key.clone()).or_insert(fresh);
        *item = Item { value: value.into(), version: item.version + 1, mod_revision, ..*item };
        item.version
    }

    fn append(&mut self, key: &Bytes, suffix: &Blob) -> u64 {
        let mut value = self.items.get(key).map_or(Vec::new(), |item| item.value.0.to_vec());
        value.extend_from_slice(&suffix.0);
        self.write(key, value)
    }

    fn transact(&mut self, txn: &Txn) -> Reply {
        if [&txn.then, &txn.otherwise].into_iter().any(|branch| writes_twice(branch)) {
            return Reply::Malformed;
        }
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let branch = if succeeded { &txn.then } else { &txn.otherwise };
        let results = branch.iter().map(|operation| self.operate(operation)).collect();
        Reply::Txn { succeeded, revision: 0, results }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let item = self.items.get(&compare.key.0);
        // Every property as a sortable list of numbers: that is not how the machine does it.
        let numbers = |value: Option<&[u8]>| value.map(|bytes| bytes.iter().map(|b| u64::from(*b)).collect::<Vec<_>>());
        let (left, right) = match &compare.target {
            Target::Version(n) => (Some(vec![item.map_or(0, |item| item.version)]), Some(vec![*n])),
            Target::CreateRevision(n) => (Some(vec![item.map_or(0, |item| item.create_revision)]), Some(vec![*n])),
            Target::ModRevision(n) => (Some(vec![item.map_or(0, |item| item.mod_revision)]), Some(vec![*n])),
            Target::Value(value) => {
                (numbers(item.map(|item| &item.value.0[..])), numbers(value.as_ref().map(|value| &value.0[..])))
            }
        };
        match compare.relation {
            Relation::Equal => left == right,
            Relation::NotEqual => left != right,
            Relation::Less => left < right,
            Relation::Greater => left > right,
        }
    }

    fn operate(&mut self, operation: &Operation) -> OperationResult {
        match operation {
            Operation::Get { key } => OperationResult::Got(self.items.get(&key.0).cloned()),
            Operation::Put { key, value } => OperationResult::Written { version: self.write(&key.0, value.0.to_vec()) },
            Operation::PutEphemeral { .. } => unreachable!("none is drawn"),
            Operation::Append { key, suffix } => OperationResult::Written { version: self.append(&key.0, suffix) },
            Operation::Delete { key } => OperationResult::Deleted { deleted: self.items.remove(&key.0).is_some() },
            Operation::Scan { start, end, limit } => {
                let inside = |key: &Bytes| *key >= start.0 && end.as_ref().is_none_or(|end| *key < end.0);
                let all: Vec<ScanItem> = self
                    .items
                    .iter()
                    .filter(|(key, _)| inside(key))
                    .map(|(key, item)| ScanItem { key: Blob(key.clone()), item: item.clone() })
                    .collect();
                let more = all.len() > *limit as usize;
                OperationResult::Scanned { items: all.into_iter().take(*limit as usize).collect(), more }
            }
        }
    }
}

fn writes_twice(branch: &[Operation]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    branch.iter().any(|operation| match operation {
        Operation::Put { key, .. } | Operation::Append { key, .. } | Operation::Delete { key } => !seen.insert(&key.0),
        _ => false,
    })
}

/// The log cut into slices of these lengths, over and over.
fn slices<'a, T>(log: &'a [T], lengths: &'a [usize]) -> impl Iterator<Item = &'a [T]> + 'a {
    let mut rest = log;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = (*lengths.next()?).min(rest.len());
        let (slice, left) = rest.split_at(length);
        rest = left;
        (!slice.is_empty()).then_some(slice)
    })
}

proptest! {
    #[test]
    fn slices_do_not_matter(
        commands in prop::collection::vec(command(), 1..60),
        lengths in prop::collection::vec(1..12_usize, 1..6),
    ) {
        let log = entries(&commands);
        let (mut whole, mut single) = (World::new(), World::new());
        let in_slices: Vec<Bytes> =
            slices(&log, &lengths).flat_map(|slice| whole.machine.apply(slice).unwrap()).collect();
        let one_by_one: Vec<Bytes> = log.chunks(1).flat_map(|one| single.machine.apply(one).unwrap()).collect();
        prop_assert_eq!(in_slices, one_by_one);
        prop_assert_eq!(whole.digest(), single.digest());
    }

    #[test]
    fn a_plain_map_says_the_same(
        commands in prop::collection::vec(command(), 1..60),
        lengths in prop::collection::vec(1..12_usize, 1..6),
    ) {
        let log = entries(&commands);
        let mut world = World::new();
        let replies: Vec<Bytes> =
            slices(&log, &lengths).flat_map(|slice| world.machine.apply(slice).unwrap()).collect();
        let mut model = Model::default();
        for (command, reply) in commands.iter().zip(&replies) {
            prop_assert_eq!(Reply::decode(reply).unwrap(), model.run(command), "{:?}", command);
        }
        let page = world.reader().scan(&kv_machine::ScanRange::prefix(""), Default::default()).unwrap();
        let items: BTreeMap<Bytes, Item> = page.items.into_iter().map(|found| (found.key.0, found.item)).collect();
        prop_assert_eq!(items, model.items);
        prop_assert_eq!(page.revision, model.revision);
    }

    #[test]
    fn a_crash_anywhere_and_a_replay_lead_to_the_same_tables(
        commands in prop::collection::vec(command(), 1..40),
        lengths in prop::collection::vec(1..8_usize, 1..4),
        kept in 0..40_usize,
    ) {
        let log = entries(&commands);
        let (mut steady, mut crashed) = (World::new(), World::new());
        for slice in slices(&log, &lengths) {
            steady.machine.apply(slice).unwrap();
            crashed.machine.apply(slice).unwrap();
        }
        crashed.tables.crash(kept);
        let mut crashed = crashed.restart();
        let applied = crashed.applied_index().0 as usize;
        crashed.machine.apply(&log[applied..]).unwrap();
        prop_assert_eq!(crashed.digest(), steady.digest());
    }

    #[test]
    fn no_bytes_can_stop_the_machine(bytes in prop::collection::vec(any::<u8>(), 1..64), framed in any::<bool>()) {
        let payload = consensus_api::codec::encode(&RawBytes(bytes.clone())).unwrap();
        let mut world = World::new();
        world.run_bytes(if framed { payload } else { bytes.into() });
        prop_assert_eq!(world.applied_index().0, 1);
    }

    #[test]
    fn commands_survive_their_encoding(command in command()) {
        prop_assert_eq!(Batch::decode(&command.encode().unwrap()).unwrap().requests, [Request::from(command)]);
    }
}

/// Bytes as they are, with no length before them: whatever the frame's payload may be.
struct RawBytes(Vec<u8>);

impl bincode::Encode for RawBytes {
    fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        bincode::enc::write::Writer::write(encoder.writer(), &self.0)
    }
}
