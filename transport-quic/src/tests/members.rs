//! Members that come, go, move, and come back with another disk, as the nodes see it that are behind, and as those do that
//! are not.

use std::time::Duration;

use bytes::Bytes;
use consensus_api::{Lane, Member, Membership, NodeId, StoreId, Transport};
use tokio::time::{sleep, timeout};

use super::{Site, bind, member, reach, store_of, until, within};
use crate::{HelloRefused, QuicTransport, RefusalCause, TransportConfig};

/// Where nobody listens.
const GONE: &str = "127.0.0.1:9";

/// These nodes, each where it listens and with its store, as the entry of this version names them.
fn naming(site: &Site, version: u64, nodes: &[u64]) -> Membership {
    let member = |node: &u64| (NodeId(*node), member(NodeId(*node), &site.addresses[&NodeId(*node)]));
    Membership { version, ..Membership::of_voters(nodes.iter().map(member)) }
}

/// Puts a member elsewhere.
fn at(mut members: Membership, node: u64, address: &str, store: StoreId) -> Membership {
    members.members.insert(NodeId(node), Member { address: address.to_owned(), store });
    members.voters.insert(NodeId(node));
    members
}

fn without_contacts(site: &Site, node: u64) -> TransportConfig {
    TransportConfig { contacts: Default::default(), ..site.config(node) }
}

/// A stamped node that knows these members and no contacts.
async fn start(site: &Site, node: u64, members: &Membership) -> QuicTransport {
    let transport = bind(|| without_contacts(site, node)).await;
    transport.set_membership(members);
    transport
}

async fn meet(one: (u64, &QuicTransport), two: (u64, &QuicTransport)) {
    hear(one, two).await;
    hear(two, one).await;
}

/// Until the second hears the first. Whoever met it before has sent more than once, and some of that arrives only now.
async fn hear(from: (u64, &QuicTransport), receiver: (u64, &QuicTransport)) {
    within(async { while reach(from.1, NodeId(receiver.0), receiver.1).await.from != NodeId(from.0) {} }).await;
}

#[tokio::test]
async fn a_node_joins_a_cluster_whose_founders_are_all_gone() {
    let site = Site::new(4);
    let founders = at(at(Membership::default(), 8, GONE, StoreId(8)), 9, "127.0.0.1:10", StoreId(9));
    let present = naming(&site, 7, &[1, 2, 3]);
    let leader = start(&site, 1, &present).await;
    let other = start(&site, 2, &present).await;
    let joiner = start(&site, 4, &founders).await;
    assert!(!leader.peers().contains_key(&NodeId(4)), "nobody has added it yet");
    let added = naming(&site, 8, &[1, 2, 3, 4]);
    leader.set_membership(&added);
    meet((1, &leader), (4, &joiner)).await;
    // It goes through what the log says of the members, one after another, and stays in touch with the leader.
    for version in [1, 2, 5] {
        joiner.set_membership(&Membership { version, ..founders.clone() });
        meet((1, &leader), (4, &joiner)).await;
    }
    joiner.set_membership(&present);
    joiner.set_membership(&added);
    other.set_membership(&added);
    meet((1, &leader), (4, &joiner)).await;
    meet((2, &other), (4, &joiner)).await;
    assert!(!joiner.peers().contains_key(&NodeId(8)), "{:?}", joiner.peers());
}

#[tokio::test]
async fn a_joiner_is_led_by_a_founder_that_has_come_back_elsewhere_and_with_another_disk() {
    let site = Site::new(3);
    let founders = at(at(Membership::default(), 1, GONE, StoreId(99)), 2, "127.0.0.1:10", StoreId(98));
    let present = naming(&site, 5, &[1, 2, 3]);
    let leader = start(&site, 1, &present).await;
    let joiner = start(&site, 3, &founders).await;
    meet((1, &leader), (3, &joiner)).await;
    // There it was removed, and there it was not yet back.
    for (version, members) in [(1, founders.clone()), (2, at(Membership::default(), 2, GONE, StoreId(98)))] {
        joiner.set_membership(&Membership { version, ..members });
        meet((1, &leader), (3, &joiner)).await;
    }
    joiner.set_membership(&present);
    meet((1, &leader), (3, &joiner)).await;
    assert_eq!(joiner.peers()[&NodeId(1)].address, site.addresses[&NodeId(1)]);
    assert!(joiner.refusals().borrow().is_empty(), "{:?}", joiner.refusals().borrow());
}

#[tokio::test]
async fn a_node_that_is_behind_answers_a_leader_that_has_moved_since() {
    let site = Site::new(2);
    let before = at(naming(&site, 3, &[1, 2]), 1, GONE, store_of(NodeId(1)));
    let behind = start(&site, 2, &before).await;
    let leader = start(&site, 1, &naming(&site, 4, &[1, 2])).await;
    meet((1, &leader), (2, &behind)).await;
    behind.set_membership(&naming(&site, 4, &[1, 2]));
    meet((1, &leader), (2, &behind)).await;
}

#[tokio::test]
async fn a_member_whose_address_changes_is_dialed_there() {
    let site = Site::new(3);
    let before = naming(&site, 1, &[1, 2]);
    let one = start(&site, 1, &before).await;
    let two = start(&site, 2, &before).await;
    meet((1, &one), (2, &two)).await;
    drop(two);
    // Node 2 comes back where node 3 would have been.
    let elsewhere = site.addresses[&NodeId(3)].clone();
    let moved = bind(|| TransportConfig { listen: elsewhere.clone(), ..without_contacts(&site, 2) }).await;
    moved.set_membership(&before);
    let after = at(naming(&site, 2, &[1, 2]), 2, &elsewhere, store_of(NodeId(2)));
    one.set_membership(&after);
    moved.set_membership(&after);
    meet((1, &one), (2, &moved)).await;
    assert_eq!(one.peers()[&NodeId(2)].address, elsewhere);
}

#[tokio::test]
async fn of_a_member_that_came_back_with_another_disk_the_old_disk_is_refused_and_told_the_remedy() {
    let site = Site::new(2);
    let (before, removed) = (naming(&site, 1, &[1, 2]), naming(&site, 2, &[1]));
    let one = start(&site, 1, &before).await;
    let two = start(&site, 2, &before).await;
    meet((1, &one), (2, &two)).await;
    one.set_membership(&removed);
    let told = until(two.refusals(), |all| all.contains_key(&NodeId(1))).await;
    assert_eq!(told[&NodeId(1)].cause, RefusalCause::Hello(HelloRefused::UnknownNode { node: NodeId(2) }));
    let again = at(removed, 2, &site.addresses[&NodeId(2)], StoreId(99));
    one.set_membership(&Membership { version: 3, ..again.clone() });
    let replaced = HelloRefused::DiskReplaced { node: NodeId(2), known: StoreId(99), found: store_of(NodeId(2)) };
    let cause = RefusalCause::Hello(replaced.clone());
    until(two.refusals(), |all| all.get(&NodeId(1)).is_some_and(|refusal| refusal.cause == cause)).await;
    let remedy = replaced.to_string();
    assert!(remedy.contains("'kv-service members remove 2'") && remedy.contains("--join"), "{remedy}");
    drop(two);
    let new = bind(|| TransportConfig { store: StoreId(99), ..without_contacts(&site, 2) }).await;
    new.set_membership(&before);
    meet((1, &one), (2, &new)).await;
}

#[tokio::test]
async fn a_contact_goes_before_the_address_of_a_member_and_is_ignored_for_a_node_that_is_none() {
    let site = Site::new(3);
    let elsewhere = at(naming(&site, 1, &[1, 2]), 2, GONE, store_of(NodeId(2)));
    // It has all three as contacts.
    let one = bind(|| site.config(1)).await;
    assert!(one.peers().contains_key(&NodeId(3)));
    one.set_membership(&elsewhere);
    let two = start(&site, 2, &elsewhere).await;
    meet((1, &one), (2, &two)).await;
    assert_eq!(one.peers()[&NodeId(2)].address, site.addresses[&NodeId(2)]);
    assert!(!one.peers().contains_key(&NodeId(3)));
    let stranger = bind(|| TransportConfig { cluster: None, ..without_contacts(&site, 3) }).await;
    for _ in 0..5 {
        one.send(NodeId(3), Lane::Control, Bytes::from_static(b"hello"));
        assert!(timeout(Duration::from_millis(2), stranger.receive(&mut Vec::new())).await.is_err());
    }
}

#[tokio::test]
async fn a_member_that_moved_or_came_back_with_another_disk_is_dialed_there_also_by_whom_it_was_named_to_as_a_contact()
{
    let site = Site::new(3);
    let founders = naming(&site, 0, &[1, 2]);
    // It has all three as contacts.
    let one = bind(|| site.config(1)).await;
    one.set_membership(&founders);
    let two = start(&site, 2, &founders).await;
    meet((1, &one), (2, &two)).await;
    drop(two);
    // Node 2 comes back where node 3 would have been; at first with the disk that it had, then with another.
    let elsewhere = site.addresses[&NodeId(3)].clone();
    for (version, store) in [(1, store_of(NodeId(2))), (2, StoreId(99))] {
        let after = at(naming(&site, version, &[1, 2]), 2, &elsewhere, store);
        let back = bind(|| TransportConfig { listen: elsewhere.clone(), store, ..without_contacts(&site, 2) }).await;
        back.set_membership(&after);
        // One that is behind answers it as a guest.
        if version == 1 {
            meet((2, &back), (1, &one)).await;
        }
        one.set_membership(&after);
        meet((1, &one), (2, &back)).await;
        assert_eq!(one.peers()[&NodeId(2)].address, elsewhere);
    }
}

#[tokio::test]
async fn a_guest_that_leaves_is_forgotten_and_one_that_a_member_also_is_goes_back_to_its_place() {
    let site = Site::new(3);
    let known = at(Membership::default(), 2, GONE, store_of(NodeId(2)));
    let behind = start(&site, 1, &known).await;
    let later = naming(&site, 5, &[1, 2, 3]);
    let (two, three) = (start(&site, 2, &later).await, start(&site, 3, &later).await);
    meet((2, &two), (1, &behind)).await;
    meet((3, &three), (1, &behind)).await;
    two.close().await;
    three.close().await;
    within(async {
        while behind.peers().contains_key(&NodeId(3)) || behind.peers()[&NodeId(2)].address != GONE {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}
