//! A machine over memory, and short words for what the tests say most.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{
    AppliedMembership, Ballot, Blob, Entry, LogIndex, LogTime, Member, Membership, NodeId, Payload, RequestId,
    SharedEntry, StateMachine, StoreId, Table, TableBatch, TableRead, Tables,
};
use kv_machine::{
    Batch, Command, Expect, Item, KvMachine, KvReader, MemoryTables, Operation, Replies, Reply, Request, SessionId,
    SessionTag, Txn, schema,
};

pub(crate) struct World {
    pub(crate) tables: Arc<MemoryTables>,
    pub(crate) machine: KvMachine<MemoryTables>,
    /// Entries carry this log time, or else a millisecond each.
    time: Option<u64>,
}

impl World {
    pub(crate) fn new() -> World {
        World::over(MemoryTables::new())
    }

    pub(crate) fn over(tables: MemoryTables) -> World {
        let tables = Arc::new(tables);
        World { machine: KvMachine::open(tables.clone()).unwrap(), tables, time: None }
    }

    /// The machine is started anew over the same tables.
    pub(crate) fn restart(self) -> World {
        World { machine: KvMachine::open(self.tables.clone()).unwrap(), ..self }
    }

    pub(crate) fn applied_index(&self) -> LogIndex {
        self.machine.applied().unwrap().position.index
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        self.machine.digest().unwrap()
    }

    pub(crate) fn reader(&self) -> KvReader<MemoryTables> {
        self.machine.reader()
    }

    /// Applies bytes as the next entry.
    pub(crate) fn run_bytes(&mut self, bytes: Bytes) -> Reply {
        Reply::decode(&self.apply_next(payload(bytes))).unwrap()
    }

    pub(crate) fn apply_next(&mut self, payload: Payload) -> Bytes {
        let mut next = Entry::clone(&entry(self.applied_index().next().0, payload));
        next.log_time = self.time.map_or(next.log_time, |millis| LogTime { millis });
        let mut replies = self.machine.apply(&[Arc::new(next)]).unwrap();
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }

    /// Applies an entry that names these members as the next one.
    pub(crate) fn name(&mut self, membership: Arc<Membership>) -> Bytes {
        self.apply_next(Payload::Membership { id: RequestId::default(), membership })
    }

    /// What all tables but the record of progress hold.
    pub(crate) fn content(&self) -> Vec<(Bytes, Bytes)> {
        let mut content = Vec::new();
        for table in [schema::DATA, schema::META, schema::SESSIONS] {
            let Ok(()) = self.tables.scan(table, &[], None, &mut |key, value| {
                if key != schema::PROGRESS_KEY && key != schema::POSITION_KEY {
                    content.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
                }
                ControlFlow::Continue(())
            });
        }
        content
    }

    /// The log's time of the last entry, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.machine.applied().unwrap().log_time.millis
    }

    /// From now on the entries carry this log time.
    pub(crate) fn at(&mut self, millis: u64) {
        self.time = Some(millis);
    }

    /// Nothing happens, at this log time.
    pub(crate) fn tick(&mut self, millis: u64) {
        self.at(millis);
        self.apply_next(Payload::Tick);
    }

    /// Applies a batch as the next entry.
    pub(crate) fn run_batch(&mut self, requests: Vec<Request>) -> Vec<Reply> {
        let batch = Batch { requests }.encode().unwrap();
        Replies::decode(&self.apply_next(payload(batch))).unwrap().replies
    }

    /// Applies a command of a session as the next entry.
    pub(crate) fn request(&mut self, tag: SessionTag, command: Command) -> Reply {
        self.run_batch(vec![Request { session: Some(tag), command }]).remove(0)
    }

    pub(crate) fn open(&mut self, session: u128, ttl_ms: u64) -> Reply {
        self.run(Command::OpenSession { session: id(session), ttl_ms })
    }

    /// How many records the table of sessions has.
    pub(crate) fn session_records(&self) -> usize {
        self.records(schema::SESSIONS).len()
    }

    /// What the table of recent changes takes.
    pub(crate) fn history_bytes(&self) -> usize {
        self.records(schema::CHANGES).iter().map(|(_, bytes)| bytes).sum()
    }

    /// The tables are those of a machine that kept no history.
    pub(crate) fn drop_history(&self) {
        while self.drop_newest_of_history() {}
    }

    /// Takes the newest slice out of the history; false where there is none.
    pub(crate) fn drop_newest_of_history(&self) -> bool {
        let Some((newest, _)) = self.records(schema::CHANGES).pop() else { return false };
        let mut batch = TableBatch::default();
        batch.delete(schema::CHANGES, newest);
        self.tables.write(batch).unwrap();
        true
    }

    /// The keys of a table, each with the bytes of its value.
    fn records(&self, table: Table) -> Vec<(Bytes, usize)> {
        let mut records = Vec::new();
        let Ok(()) = self.tables.scan(table, &[], None, &mut |key, value| {
            records.push((Bytes::copy_from_slice(key), value.len()));
            ControlFlow::Continue(())
        });
        records
    }

    /// Applies a command as the next entry.
    pub(crate) fn run(&mut self, command: Command) -> Reply {
        self.run_bytes(command.encode().unwrap())
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> Reply {
        self.run(put(key, value, Expect::Any))
    }

    pub(crate) fn delete(&mut self, key: &str) -> Reply {
        self.run(Command::Delete { key: blob(key), expect: Expect::Any })
    }

    pub(crate) fn item(&self, key: &str) -> Option<Item> {
        self.reader().get(key.as_bytes()).unwrap()
    }

    pub(crate) fn value(&self, key: &str) -> Option<Blob> {
        self.item(key).map(|item| item.value)
    }
}

pub(crate) fn id(session: u128) -> SessionId {
    SessionId(session)
}

pub(crate) fn tag(session: u128, number: u64, acked_below: u64) -> SessionTag {
    SessionTag { session: id(session), number, acked_below }
}

pub(crate) fn blob(text: &str) -> Blob {
    Blob(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn put(key: &str, value: &str, expect: Expect) -> Command {
    Command::Put { key: blob(key), value: blob(value), expect }
}

pub(crate) fn append(key: &str, suffix: &str, expect: Expect) -> Command {
    Command::Append { key: blob(key), suffix: blob(suffix), expect }
}

pub(crate) fn txn_put(key: &str, value: &str) -> Operation {
    Operation::Put { key: blob(key), value: blob(value) }
}

/// A transaction that does these without a condition.
pub(crate) fn always(then: Vec<Operation>) -> Command {
    Command::Txn(Txn { then, ..Txn::default() })
}

pub(crate) fn item(value: &str, version: u64, create_revision: u64, mod_revision: u64) -> Item {
    Item { value: blob(value), version, create_revision, mod_revision, session: None }
}

pub(crate) fn payload(bytes: Bytes) -> Payload {
    Payload::Command { id: RequestId::default(), data: Blob(bytes) }
}

pub(crate) fn entry(index: u64, payload: Payload) -> SharedEntry {
    let ballot = Ballot::new(1, NodeId(1));
    Arc::new(Entry { index: LogIndex(index), ballot, log_time: LogTime { millis: index }, payload })
}

/// The commands as entries from index 1 on.
pub(crate) fn entries(commands: &[Command]) -> Vec<SharedEntry> {
    (1..).zip(commands).map(|(index, command)| entry(index, payload(command.encode().unwrap()))).collect()
}

pub(crate) fn voters(nodes: impl IntoIterator<Item = u64>) -> Arc<Membership> {
    let member = |node| Member { address: format!("node-{node}:7000"), store: StoreId(u128::from(node)) };
    Arc::new(Membership::of_voters(nodes.into_iter().map(|node| (NodeId(node), member(node)))))
}

/// These founders, before any entry has named others.
pub(crate) fn founded(nodes: impl IntoIterator<Item = u64>) -> AppliedMembership {
    AppliedMembership::founded(voters(nodes))
}

/// These voters, as the entry of this version names them.
pub(crate) fn naming(version: u64, nodes: &[u64]) -> Arc<Membership> {
    Arc::new(Membership { version, ..Membership::clone(&voters(nodes.iter().copied())) })
}
