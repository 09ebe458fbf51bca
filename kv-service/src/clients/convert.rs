//! Between the client's words and the machine's, which are alike and not the same: each can change without the other.

use kv_client::wire;
use kv_machine::{Command, Compare, Expect, Item, Operation, OperationResult, Relation, ScanItem, Target, Txn};
use kv_machine::{SESSION_REPLIES_MAX, SessionId, SessionTag};

/// Clients may use as many numbers as the machine has room for replies.
const _: () = assert!(wire::SESSION_NUMBERS_MAX <= SESSION_REPLIES_MAX as u64);

/// A write as the machine knows it.
pub(super) fn request(tag: Option<wire::Tag>, command: wire::Command) -> kv_machine::Request {
    let session =
        tag.map(|tag| SessionTag { session: session(tag.session), number: tag.number, acked_below: tag.acked_below });
    kv_machine::Request { session, command: of_command(command) }
}

/// A session's name.
pub(super) fn session(id: wire::SessionId) -> SessionId {
    SessionId(id.0)
}

fn of_command(command: wire::Command) -> Command {
    match command {
        wire::Command::Put { key, value, expect } => Command::Put { key, value, expect: of_expect(expect) },
        wire::Command::Append { key, suffix, expect } => Command::Append { key, suffix, expect: of_expect(expect) },
        wire::Command::Delete { key, expect } => Command::Delete { key, expect: of_expect(expect) },
        wire::Command::Txn(txn) => Command::Txn(Txn {
            compare: txn.compare.into_iter().map(of_compare).collect(),
            then: txn.then.into_iter().map(of_operation).collect(),
            otherwise: txn.otherwise.into_iter().map(of_operation).collect(),
        }),
        wire::Command::PutEphemeral { key, value, expect } => {
            Command::PutEphemeral { key, value, expect: of_expect(expect) }
        }
    }
}

fn of_expect(expect: kv_client::Expect) -> Expect {
    match expect {
        kv_client::Expect::Any => Expect::Any,
        kv_client::Expect::Version(version) => Expect::Version(version),
        kv_client::Expect::ModRevision(revision) => Expect::ModRevision(revision),
    }
}

fn of_compare(compare: wire::Compare) -> Compare {
    let target = match compare.target {
        wire::Target::Version(version) => Target::Version(version),
        wire::Target::CreateRevision(revision) => Target::CreateRevision(revision),
        wire::Target::ModRevision(revision) => Target::ModRevision(revision),
        wire::Target::Value(value) => Target::Value(value),
    };
    let relation = match compare.relation {
        wire::Relation::Equal => Relation::Equal,
        wire::Relation::NotEqual => Relation::NotEqual,
        wire::Relation::Less => Relation::Less,
        wire::Relation::Greater => Relation::Greater,
    };
    Compare { key: compare.key, target, relation }
}

fn of_operation(operation: wire::Operation) -> Operation {
    match operation {
        wire::Operation::Get { key } => Operation::Get { key },
        wire::Operation::Put { key, value } => Operation::Put { key, value },
        wire::Operation::Append { key, suffix } => Operation::Append { key, suffix },
        wire::Operation::PutEphemeral { key, value } => Operation::PutEphemeral { key, value },
        wire::Operation::Delete { key } => Operation::Delete { key },
        wire::Operation::Scan { start, end, limit } => Operation::Scan { start, end, limit },
    }
}

/// What an operation of a transaction found or did.
pub(super) fn operation_result(result: OperationResult) -> wire::OperationResult {
    match result {
        OperationResult::Got(found) => wire::OperationResult::Got(found.map(item)),
        OperationResult::Written { version } => wire::OperationResult::Written { version },
        OperationResult::Deleted { deleted } => wire::OperationResult::Deleted { deleted },
        OperationResult::Scanned { items, more } => {
            wire::OperationResult::Scanned { items: items.into_iter().map(scan_item).collect(), more }
        }
    }
}

/// A key with what stands under it.
pub(super) fn scan_item(found: ScanItem) -> wire::ScanItem {
    wire::ScanItem { key: found.key, item: item(found.item) }
}

/// What stands under a key.
pub(super) fn item(found: Item) -> wire::Item {
    wire::Item {
        value: found.value,
        version: found.version,
        create_revision: found.create_revision,
        mod_revision: found.mod_revision,
    }
}
