//! Transactions: what they compare, what they do, and that they do it as one.

use consensus_api::{Blob, StateMachine};
use kv_machine::{
    Command, Compare, Expect, KvError, KvLimits, Operation, OperationResult, Quantity, Relation, Reply, ScanItem,
    TXN_RESULT_BYTES_MAX, Target, Txn,
};

use crate::world::{World, always, blob, entries, item, put, txn_put};

/// Whether the comparison holds in a world where `k` has value `m`, version 2, and was created at revision 2.
fn holds(key: &str, target: Target, relation: Relation) -> bool {
    let mut world = World::new();
    world.put("first", "x");
    world.put("k", "a");
    world.put("k", "m");
    let compare = vec![Compare { key: blob(key), target, relation }];
    match world.run(Command::Txn(Txn { compare, ..Txn::default() })) {
        Reply::Txn { succeeded, .. } => succeeded,
        other => panic!("a transaction was answered with {other:?}"),
    }
}

/// The relations that hold, in the order equal, not equal, less, greater.
fn relations(key: &str, target: &Target) -> [bool; 4] {
    let all = [Relation::Equal, Relation::NotEqual, Relation::Less, Relation::Greater];
    all.map(|relation| holds(key, target.clone(), relation))
}

const SAME: [bool; 4] = [true, false, false, false];
const BELOW: [bool; 4] = [false, true, true, false];
const ABOVE: [bool; 4] = [false, true, false, true];

#[test]
fn every_target_is_compared_by_every_relation() {
    for target in [Target::Version as fn(u64) -> Target, Target::CreateRevision] {
        assert_eq!(relations("k", &target(2)), SAME);
        assert_eq!(relations("k", &target(3)), BELOW);
        assert_eq!(relations("k", &target(1)), ABOVE);
    }
    assert_eq!(relations("k", &Target::ModRevision(3)), SAME);
    assert_eq!(relations("k", &Target::ModRevision(4)), BELOW);
    assert_eq!(relations("k", &Target::ModRevision(2)), ABOVE);
    assert_eq!(relations("k", &Target::Value(Some(blob("m")))), SAME);
    assert_eq!(relations("k", &Target::Value(Some(blob("ma")))), BELOW);
    assert_eq!(relations("k", &Target::Value(Some(blob("a")))), ABOVE);
}

#[test]
fn a_key_that_does_not_exist_has_zero_for_every_number_and_a_value_below_all() {
    for target in [Target::Version(0), Target::CreateRevision(0), Target::ModRevision(0), Target::Value(None)] {
        assert_eq!(relations("absent", &target), SAME);
    }
    assert_eq!(relations("absent", &Target::Value(Some(blob("")))), BELOW);
    assert_eq!(relations("k", &Target::Value(None)), ABOVE);
}

#[test]
fn all_comparisons_must_hold_or_the_other_branch_is_taken() {
    let mut world = World::new();
    world.put("k", "a");
    let compare = |version| Compare { key: blob("k"), target: Target::Version(version), relation: Relation::Equal };
    let txn =
        |compare| Command::Txn(Txn { compare, then: vec![txn_put("then", "")], otherwise: vec![txn_put("else", "")] });
    let one_fails = world.run(txn(vec![compare(1), compare(2)]));
    let results = vec![OperationResult::Written { version: 1 }];
    assert_eq!(one_fails, Reply::Txn { succeeded: false, revision: 2, results: results.clone() });
    assert_eq!(world.run(txn(vec![compare(1)])), Reply::Txn { succeeded: true, revision: 3, results });
    assert_eq!((world.item("else"), world.item("then")), (Some(item("", 1, 2, 2)), Some(item("", 1, 3, 3))));
}

#[test]
fn a_transaction_is_one_revision_whatever_it_writes() {
    let mut world = World::new();
    world.put("a", "1");
    world.put("b", "1");
    let reply = world.run(always(vec![
        txn_put("a", "2"),
        Operation::Append { key: blob("c"), suffix: blob("3") },
        Operation::Delete { key: blob("b") },
        Operation::Delete { key: blob("absent") },
    ]));
    let results = vec![
        OperationResult::Written { version: 2 },
        OperationResult::Written { version: 1 },
        OperationResult::Deleted { deleted: true },
        OperationResult::Deleted { deleted: false },
    ];
    assert_eq!(reply, Reply::Txn { succeeded: true, revision: 3, results });
    assert_eq!(world.item("a"), Some(item("2", 2, 1, 3)));
    assert_eq!(world.item("c"), Some(item("3", 1, 3, 3)));
    assert_eq!(world.item("b"), None);
}

#[test]
fn a_transaction_that_only_reads_is_no_revision() {
    let mut world = World::new();
    world.put("a", "1");
    let reply = world.run(always(vec![Operation::Get { key: blob("a") }, Operation::Get { key: blob("b") }]));
    let results = vec![OperationResult::Got(Some(item("1", 1, 1, 1))), OperationResult::Got(None)];
    assert_eq!(reply, Reply::Txn { succeeded: true, revision: 1, results });
    assert_eq!(world.machine.revision(), 1);
}

#[test]
fn later_steps_and_scans_see_what_earlier_steps_did() {
    let mut world = World::new();
    for key in ["a", "b", "d"] {
        world.put(key, "old");
    }
    let reply = world.run(always(vec![
        txn_put("c", "new"),
        Operation::Delete { key: blob("b") },
        txn_put("d", "new"),
        txn_put("e", "new"),
        Operation::Get { key: blob("c") },
        Operation::Scan { start: blob("b"), end: Some(blob("e")), limit: 10 },
        Operation::Scan { start: blob(""), end: None, limit: 2 },
    ]));
    let Reply::Txn { results, .. } = reply else { panic!("{reply:?}") };
    let found = |key: &str, item| ScanItem { key: blob(key), item };
    let (a, c, d) = (item("old", 1, 1, 1), item("new", 1, 4, 4), item("new", 2, 3, 4));
    assert_eq!(results[4], OperationResult::Got(Some(c.clone())));
    let between = vec![found("c", c.clone()), found("d", d)];
    assert_eq!(results[5], OperationResult::Scanned { items: between, more: false });
    let first = vec![found("a", a), found("c", c)];
    assert_eq!(results[6], OperationResult::Scanned { items: first, more: true });
}

#[test]
fn a_scan_sees_the_commands_of_the_same_slice() {
    let mut world = World::new();
    let scan = always(vec![Operation::Scan { start: blob(""), end: None, limit: 10 }]);
    let delete = Command::Delete { key: blob("a"), expect: Expect::Any };
    let commands = [put("a", "1", Expect::Any), put("b", "2", Expect::Any), delete, scan];
    let replies = world.machine.apply(&entries(&commands)).unwrap();
    let items = vec![ScanItem { key: blob("b"), item: item("2", 1, 2, 2) }];
    let results = vec![OperationResult::Scanned { items, more: false }];
    assert_eq!(Reply::decode(&replies[3]).unwrap(), Reply::Txn { succeeded: true, revision: 3, results });
}

#[test]
fn to_write_a_key_twice_in_one_branch_is_refused_before_and_after_it_is_chosen() {
    let twice =
        always(vec![txn_put("k", "a"), Operation::Get { key: blob("x") }, Operation::Delete { key: blob("k") }]);
    assert!(matches!(twice.check(&KvLimits::default()), Err(KvError::DuplicateKey { key }) if key == b"k"));
    let mut world = World::new();
    assert_eq!(world.run(twice), Reply::Malformed);
    assert_eq!((world.machine.revision(), world.item("k")), (0, None));
}

#[test]
fn each_branch_may_write_the_same_key() {
    let txn = Txn { then: vec![txn_put("k", "a")], otherwise: vec![txn_put("k", "b")], ..Txn::default() };
    assert!(Command::Txn(txn).check(&KvLimits::default()).is_ok());
}

#[test]
fn too_many_operations_are_refused_before_and_after_they_are_chosen() {
    let limit = KvLimits::APPLIED.txn_operations_max;
    let gets = |count| always((0..count).map(|_| Operation::Get { key: blob("k") }).collect());
    assert!(gets(limit).check(&KvLimits::default()).is_ok());
    assert!(matches!(gets(limit + 1).check(&KvLimits::default()), Err(KvError::TooLarge { .. })));
    let refused = Reply::TooLarge { what: Quantity::Operations, found: limit as u64 + 1, limit: limit as u64 };
    assert_eq!(World::new().run(gets(limit + 1)), refused);
}

#[test]
fn a_transaction_whose_append_is_refused_does_nothing_of_the_rest() {
    let mut world = World::new();
    let full = Blob(vec![0; KvLimits::APPLIED.value_bytes_max].into());
    world.run(Command::Put { key: blob("full"), value: full, expect: Expect::Any });
    let reply = world.run(always(vec![
        txn_put("a", "1"),
        Operation::Append { key: blob("full"), suffix: blob("x") },
        txn_put("b", "1"),
    ]));
    assert!(matches!(reply, Reply::TooLarge { what: Quantity::ValueBytes, .. }));
    assert_eq!((world.item("a"), world.item("b"), world.machine.revision()), (None, None, 1));
}

#[test]
fn what_a_transaction_returns_is_bounded() {
    let mut world = World::new();
    let large = Blob(vec![0; KvLimits::APPLIED.value_bytes_max].into());
    world.run(Command::Put { key: blob("large"), value: large, expect: Expect::Any });
    let get = || Operation::Get { key: blob("large") };
    let fits = TXN_RESULT_BYTES_MAX / KvLimits::APPLIED.value_bytes_max - 1;
    let scan = Operation::Scan { start: blob(""), end: None, limit: u32::MAX };
    let reply = world.run(always((0..fits).map(|_| get()).collect()));
    assert!(matches!(reply, Reply::Txn { .. }));
    let mut too_much: Vec<Operation> = (0..=fits).map(|_| get()).collect();
    too_much.insert(0, txn_put("witness", ""));
    too_much.push(scan);
    assert!(matches!(world.run(always(too_much)), Reply::TooLarge { what: Quantity::ResultBytes, .. }));
    assert_eq!((world.item("witness"), world.machine.revision()), (None, 1));
}
