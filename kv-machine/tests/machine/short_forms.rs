//! Put, append and delete, each on a condition or none; versions and revisions as in etcd.

use bytes::Bytes;
use consensus_api::{Blob, codec};
use kv_machine::{Batch, Command, Expect, KvError, KvLimits, Quantity, Reply, Request};

use crate::world::{World, append, blob, item, put};

#[test]
fn a_put_creates_a_key_and_then_counts_its_versions() {
    let mut world = World::new();
    assert_eq!(world.put("k", "a"), Reply::Written { version: 1, revision: 1 });
    assert_eq!(world.put("other", "x"), Reply::Written { version: 1, revision: 2 });
    assert_eq!(world.put("k", "b"), Reply::Written { version: 2, revision: 3 });
    assert_eq!(world.item("k"), Some(item("b", 2, 1, 3)));
}

#[test]
fn a_deleted_key_begins_again_at_version_one_and_a_later_revision() {
    let mut world = World::new();
    world.put("k", "a");
    world.put("k", "b");
    assert_eq!(world.delete("k"), Reply::Deleted { deleted: true, revision: 3 });
    assert_eq!(world.item("k"), None);
    assert_eq!(world.put("k", "c"), Reply::Written { version: 1, revision: 4 });
    assert_eq!(world.item("k"), Some(item("c", 1, 4, 4)));
}

#[test]
fn deleting_what_is_not_there_changes_nothing() {
    let mut world = World::new();
    world.put("k", "a");
    assert_eq!(world.delete("absent"), Reply::Deleted { deleted: false, revision: 1 });
    assert_eq!(world.machine.revision(), 1);
}

#[test]
fn an_append_creates_a_key_or_lengthens_its_value() {
    let mut world = World::new();
    assert_eq!(world.run(append("k", "ab", Expect::Any)), Reply::Written { version: 1, revision: 1 });
    assert_eq!(world.run(append("k", "cd", Expect::Any)), Reply::Written { version: 2, revision: 2 });
    assert_eq!(world.item("k"), Some(item("abcd", 2, 1, 2)));
}

#[test]
fn version_zero_means_that_the_key_must_not_exist() {
    let mut world = World::new();
    assert_eq!(world.run(put("k", "a", Expect::Version(0))), Reply::Written { version: 1, revision: 1 });
    assert_eq!(world.run(put("k", "b", Expect::Version(0))), Reply::Mismatch { version: 1, mod_revision: 1 });
    assert_eq!(world.run(put("k", "b", Expect::ModRevision(0))), Reply::Mismatch { version: 1, mod_revision: 1 });
    assert_eq!(world.value("k"), Some(blob("a")));
    assert_eq!(world.machine.revision(), 1, "a mismatch is no revision");
}

#[test]
fn each_short_form_takes_place_only_at_the_expected_version() {
    let mut world = World::new();
    world.put("k", "a");
    let mismatch = Reply::Mismatch { version: 1, mod_revision: 1 };
    let delete = |expect| Command::Delete { key: blob("k"), expect };
    for wrong in [Expect::Version(2), Expect::ModRevision(2)] {
        assert_eq!(world.run(put("k", "b", wrong)), mismatch);
        assert_eq!(world.run(append("k", "b", wrong)), mismatch);
        assert_eq!(world.run(delete(wrong)), mismatch);
    }
    assert_eq!(world.run(put("k", "b", Expect::Version(1))), Reply::Written { version: 2, revision: 2 });
    assert_eq!(world.run(append("k", "c", Expect::ModRevision(2))), Reply::Written { version: 3, revision: 3 });
    assert_eq!(world.run(delete(Expect::Version(3))), Reply::Deleted { deleted: true, revision: 4 });
}

#[test]
fn a_mod_revision_tells_a_recreated_key_from_the_first_though_their_versions_are_equal() {
    let mut world = World::new();
    world.put("k", "first");
    world.delete("k");
    world.put("k", "second");
    assert_eq!(world.run(put("k", "x", Expect::ModRevision(1))), Reply::Mismatch { version: 1, mod_revision: 3 });
    assert_eq!(world.run(put("k", "x", Expect::Version(1))), Reply::Written { version: 2, revision: 4 });
}

#[test]
fn bytes_that_are_no_command_are_answered_and_change_nothing() {
    let mut world = World::new();
    world.put("k", "a");
    let mut cut = put("k", "b", Expect::Any).encode().unwrap().to_vec();
    cut.pop();
    for bytes in [Bytes::from_static(b"nonsense"), cut.into(), codec::encode(&77_u8).unwrap()] {
        assert_eq!(world.run_bytes(bytes), Reply::Malformed);
    }
    assert_eq!(world.run(put("", "b", Expect::Any)), Reply::Malformed, "an empty key");
    assert_eq!((world.machine.revision(), world.value("k")), (1, Some(blob("a"))));
}

#[test]
fn an_append_never_makes_a_value_longer_than_any_may_be() {
    let mut world = World::new();
    let limit = KvLimits::APPLIED.value_bytes_max;
    let full = Blob(vec![b'x'; limit].into());
    world.run(Command::Put { key: blob("k"), value: full.clone(), expect: Expect::Any });
    let refused = Reply::TooLarge { what: Quantity::ValueBytes, found: limit as u64 + 1, limit: limit as u64 };
    assert_eq!(world.run(append("k", "y", Expect::Any)), refused);
    assert_eq!((world.machine.revision(), world.value("k")), (1, Some(full)));
}

#[test]
fn an_oversized_command_that_was_chosen_all_the_same_is_refused_by_every_replica() {
    let mut world = World::new();
    let limit = KvLimits::APPLIED.key_bytes_max;
    let reply = world.put(&"k".repeat(limit + 1), "v");
    assert_eq!(reply, Reply::TooLarge { what: Quantity::KeyBytes, found: limit as u64 + 1, limit: limit as u64 });
    assert_eq!(world.machine.revision(), 0);
}

#[test]
fn a_node_refuses_to_propose_what_is_over_its_own_limits() {
    let limits = KvLimits { key_bytes_max: 2, value_bytes_max: 3, txn_operations_max: 1 };
    assert!(put("kk", "vvv", Expect::Any).check(&limits).is_ok());
    assert!(matches!(put("", "v", Expect::Any).check(&limits), Err(KvError::EmptyKey)));
    let key = put("kkk", "v", Expect::Any).check(&limits);
    assert!(matches!(key, Err(KvError::TooLarge { what: Quantity::KeyBytes, found: 3, limit: 2 })));
    let value = append("k", "vvvv", Expect::Any).check(&limits);
    assert!(matches!(value, Err(KvError::TooLarge { what: Quantity::ValueBytes, found: 4, limit: 3 })));
}

#[test]
fn no_configuration_lets_a_node_propose_more_than_is_applied() {
    let limits = KvLimits { key_bytes_max: usize::MAX, value_bytes_max: usize::MAX, txn_operations_max: usize::MAX };
    let long = "k".repeat(KvLimits::APPLIED.key_bytes_max + 1);
    assert!(matches!(put(&long, "v", Expect::Any).check(&limits), Err(KvError::TooLarge { .. })));
}

#[test]
fn a_short_form_is_a_few_bytes_around_its_key_and_value() {
    let encoded = put("key", "value", Expect::Any).encode().unwrap();
    assert!(encoded.len() - codec::HEADER_BYTES <= "keyvalue".len() + 6, "{} bytes", encoded.len());
    let sent = Request::from(put("key", "value", Expect::Any));
    assert_eq!(Batch::decode(&encoded).unwrap().requests, [sent]);
}
