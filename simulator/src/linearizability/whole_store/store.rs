//! The store as one sequential map: what the machine must look like from outside.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus_api::Blob;
use kv_machine::{
    Command, Compare, Expect, Item, KvError, KvLimits, Operation, OperationResult, Relation, Reply, ScanItem, ScanPage,
    ScanRange, Target, Txn,
};

use super::{Answer, Request};

/// What stands under a key. [`Item`] without the wrappers, so that a store can be a key of the memo.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Record {
    value: Bytes,
    version: u64,
    create_revision: u64,
    mod_revision: u64,
}

impl Record {
    fn item(&self) -> Item {
        let Record { version, create_revision, mod_revision, .. } = *self;
        Item { value: Blob(self.value.clone()), version, create_revision, mod_revision, session: None }
    }
}

/// All keys and the revision. It answers each request at once, one after the other.
///
/// It has the machine's limits of keys, values and transactions, but not the one of what the reads of a transaction may
/// return, which is megabytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Store {
    records: BTreeMap<Bytes, Record>,
    revision: u64,
}

impl Store {
    /// Carries out the request.
    pub fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Command(command) => Answer::Reply(self.run(command)),
            Request::Get { key } => Answer::Item(self.records.get(key).map(Record::item)),
            Request::Scan { range, items_max } => {
                let (items, more) = self.scan(range, *items_max);
                Answer::Page(ScanPage { items, more, revision: self.revision })
            }
        }
    }

    fn run(&mut self, command: &Command) -> Reply {
        let mut after = self.clone();
        match command.check(&KvLimits::APPLIED).map_err(refusal).and_then(|()| after.perform(command)) {
            Ok(reply) => {
                *self = after;
                reply
            }
            Err(reply) => reply,
        }
    }

    /// Does it, or says why not; then what was done is to be forgotten.
    fn perform(&mut self, command: &Command) -> Result<Reply, Reply> {
        let next = self.revision + 1;
        match command {
            Command::Put { key, value, expect } => {
                self.expect(key, *expect)?;
                let version = self.put(key, value.0.clone(), next);
                self.revision = next;
                Ok(Reply::Written { version, revision: next })
            }
            Command::Append { key, suffix, expect } => {
                self.expect(key, *expect)?;
                let version = self.append(key, suffix, next)?;
                self.revision = next;
                Ok(Reply::Written { version, revision: next })
            }
            Command::Delete { key, expect } => {
                self.expect(key, *expect)?;
                let deleted = self.records.remove(&key.0).is_some();
                self.revision += u64::from(deleted);
                Ok(Reply::Deleted { deleted, revision: self.revision })
            }
            Command::Txn(txn) => self.transact(txn, next),
            // What a session does is for the checks of sessions; a model of keys alone has none.
            Command::PutEphemeral { .. } | Command::OpenSession { .. } | Command::CloseSession { .. } => {
                Err(Reply::Malformed)
            }
        }
    }

    fn expect(&self, key: &Blob, expect: Expect) -> Result<(), Reply> {
        let record = self.records.get(&key.0);
        let (version, mod_revision) = record.map_or((0, 0), |record| (record.version, record.mod_revision));
        let holds = match expect {
            Expect::Any => true,
            Expect::Version(expected) => version == expected,
            Expect::ModRevision(expected) => mod_revision == expected,
        };
        if holds { Ok(()) } else { Err(Reply::Mismatch { version, mod_revision }) }
    }

    /// Writes the value at the revision and returns the key's version.
    fn put(&mut self, key: &Blob, value: Bytes, revision: u64) -> u64 {
        let created = Record { value: Bytes::new(), version: 0, create_revision: revision, mod_revision: revision };
        let record = self.records.entry(key.0.clone()).or_insert(created);
        record.version += 1;
        record.mod_revision = revision;
        record.value = value;
        record.version
    }

    fn append(&mut self, key: &Blob, suffix: &Blob, revision: u64) -> Result<u64, Reply> {
        let before = self.records.get(&key.0).map(|record| record.value.clone());
        let value = [before.as_deref().unwrap_or_default(), &suffix.0].concat();
        let (found, limit) = (value.len() as u64, KvLimits::APPLIED.value_bytes_max as u64);
        if found > limit {
            return Err(Reply::TooLarge { what: kv_machine::Quantity::ValueBytes, found, limit });
        }
        Ok(self.put(key, value.into(), revision))
    }

    fn transact(&mut self, txn: &Txn, next: u64) -> Result<Reply, Reply> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let mut changed = false;
        let mut results = Vec::new();
        for operation in if succeeded { &txn.then } else { &txn.otherwise } {
            results.push(match operation {
                Operation::PutEphemeral { .. } => return Err(Reply::SessionNeeded),
                Operation::Get { key } => OperationResult::Got(self.records.get(&key.0).map(Record::item)),
                Operation::Put { key, value } => {
                    changed = true;
                    OperationResult::Written { version: self.put(key, value.0.clone(), next) }
                }
                Operation::Append { key, suffix } => {
                    changed = true;
                    OperationResult::Written { version: self.append(key, suffix, next)? }
                }
                Operation::Delete { key } => {
                    let deleted = self.records.remove(&key.0).is_some();
                    changed |= deleted;
                    OperationResult::Deleted { deleted }
                }
                Operation::Scan { start, end, limit } => {
                    let range = ScanRange::between(start.0.clone(), end.as_ref().map(|end| end.0.clone()));
                    let (items, more) = self.scan(&range, *limit as usize);
                    OperationResult::Scanned { items, more }
                }
            });
        }
        self.revision += u64::from(changed);
        Ok(Reply::Txn { succeeded, revision: self.revision, results })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let record = self.records.get(&compare.key.0);
        let ordering = match &compare.target {
            Target::Version(version) => record.map_or(0, |record| record.version).cmp(version),
            Target::CreateRevision(revision) => record.map_or(0, |record| record.create_revision).cmp(revision),
            Target::ModRevision(revision) => record.map_or(0, |record| record.mod_revision).cmp(revision),
            Target::Value(value) => record.map(|record| &record.value).cmp(&value.as_ref().map(|value| &value.0)),
        };
        match compare.relation {
            Relation::Equal => ordering.is_eq(),
            Relation::NotEqual => ordering.is_ne(),
            Relation::Less => ordering.is_lt(),
            Relation::Greater => ordering.is_gt(),
        }
    }

    fn scan(&self, range: &ScanRange, items_max: usize) -> (Vec<ScanItem>, bool) {
        let from = self.records.iter().skip_while(|(key, _)| **key < range.start);
        let within = from.take_while(|(key, _)| range.end.as_ref().is_none_or(|end| *key < end));
        let mut items: Vec<ScanItem> = within
            .take(items_max.saturating_add(1))
            .map(|(key, record)| ScanItem { key: Blob(key.clone()), item: record.item() })
            .collect();
        let more = items.len() > items_max;
        items.truncate(items_max);
        (items, more)
    }
}

fn refusal(error: KvError) -> Reply {
    match error {
        KvError::TooLarge { what, found, limit } => Reply::TooLarge { what, found, limit },
        _ => Reply::Malformed,
    }
}
