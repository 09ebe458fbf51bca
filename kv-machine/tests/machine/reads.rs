//! Reading beside the machine.

use kv_machine::{ScanLimits, ScanRange};

use crate::world::{World, item};

fn keys_of(world: &World, range: &ScanRange, limits: ScanLimits) -> (Vec<String>, bool) {
    let page = world.reader().scan(range, limits).unwrap();
    let keys = page.items.iter().map(|found| String::from_utf8_lossy(&found.key.0).into_owned()).collect();
    (keys, page.more)
}

fn fruit() -> World {
    let mut world = World::new();
    for key in ["apple", "apricot", "banana", "cherry"] {
        world.put(key, "fruit");
    }
    world
}

#[test]
fn a_scan_finds_the_keys_of_a_prefix_or_of_a_range_in_order() {
    let world = fruit();
    let all = ScanLimits::default();
    assert_eq!(keys_of(&world, &ScanRange::prefix("ap"), all).0, ["apple", "apricot"]);
    assert_eq!(keys_of(&world, &ScanRange::prefix(""), all).0, ["apple", "apricot", "banana", "cherry"]);
    assert_eq!(keys_of(&world, &ScanRange::between("apricot", Some("cherry".into())), all).0, ["apricot", "banana"]);
    assert_eq!(keys_of(&world, &ScanRange::between("b", None), all).0, ["banana", "cherry"]);
}

#[test]
fn a_range_that_ends_before_it_begins_is_empty() {
    let nothing = keys_of(&fruit(), &ScanRange::between("c", Some("a".into())), ScanLimits::default());
    assert_eq!(nothing, (vec![], false));
}

#[test]
fn pages_follow_each_other_without_a_gap_and_the_last_says_so() {
    let world = fruit();
    let limits = ScanLimits { items_max: 2, ..ScanLimits::default() };
    let range = ScanRange::prefix("");
    assert_eq!(keys_of(&world, &range, limits), (vec!["apple".into(), "apricot".into()], true));
    assert_eq!(keys_of(&world, &range.after(b"apricot"), limits), (vec!["banana".into(), "cherry".into()], false));
}

#[test]
fn a_page_is_bounded_in_bytes_and_yet_holds_one_item() {
    let limits = ScanLimits { bytes_max: 1, ..ScanLimits::default() };
    assert_eq!(keys_of(&fruit(), &ScanRange::prefix(""), limits), (vec!["apple".into()], true));
}

#[test]
fn a_page_carries_the_revision_that_it_was_read_at() {
    let mut world = fruit();
    let reader = world.reader();
    let before = reader.scan(&ScanRange::prefix("apple"), ScanLimits::default()).unwrap();
    world.put("apple", "pie");
    let after = reader.scan(&ScanRange::prefix("apple"), ScanLimits::default()).unwrap();
    assert_eq!((before.revision, &before.items[0].item), (4, &item("fruit", 1, 1, 1)));
    assert_eq!((after.revision, &after.items[0].item), (5, &item("pie", 2, 1, 5)));
    assert_eq!(reader.revision().unwrap(), 5);
}
