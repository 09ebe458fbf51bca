//! A cluster that is being formed, or joined.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::{ClusterId, Incoming, Lane, NodeId, StoreId, Transport};
use tokio::time::timeout;

use super::{CLUSTER, Site, bind, reach, store_of, until, within};
use crate::{Founder, HelloRefused, QuicTransport, RefusalCause, TransportError};

async fn forming(site: &Site, node: u64) -> QuicTransport {
    bind(|| {
        let mut config = site.config(node);
        config.cluster = None;
        config
    })
    .await
}

async fn three_founders(site: &Site) -> Vec<QuicTransport> {
    let mut founders = Vec::new();
    for node in 1..=3 {
        founders.push(forming(site, node).await);
    }
    for founder in &founders {
        until(founder.founders(), |seen| seen.len() == 2).await;
    }
    founders
}

#[tokio::test]
async fn three_founders_learn_each_others_stores_and_addresses() {
    let site = Site::new(3);
    let founders = three_founders(&site).await;
    for (node, founder) in (1..).map(NodeId).zip(&founders) {
        let expected: BTreeMap<NodeId, Founder> = (1..=3)
            .map(NodeId)
            .filter(|other| *other != node)
            .map(|other| (other, site.founder(other, None)))
            .collect();
        assert_eq!(*founder.founders().borrow(), expected, "as node {node} sees it");
    }
}

#[tokio::test]
async fn messages_flow_once_both_ends_are_stamped_and_not_before() {
    let site = Site::new(3);
    let founders = three_founders(&site).await;
    founders[0].send(NodeId(2), Lane::Control, Bytes::from_static(b"too early"));
    founders[0].set_cluster(CLUSTER, &site.membership());
    let mut batch = Vec::new();
    // Node 2 is not stamped; however often it is spoken to, it hears nothing.
    for _ in 0..10 {
        founders[0].send(NodeId(2), Lane::Control, Bytes::from_static(b"early"));
        let heard = timeout(Duration::from_millis(2), founders[1].receive(&mut batch)).await;
        assert!(heard.is_err(), "heard {batch:?} while forming");
    }
    let life = |founder: &QuicTransport| founder.peers()[&NodeId(2)].sending;
    let connected = life(&founders[0]);
    founders[1].set_cluster(CLUSTER, &site.membership());
    assert!(connected && life(&founders[0]), "stamping cuts no link");
    let heard: Incoming = reach(&founders[0], NodeId(2), &founders[1]).await;
    assert_eq!(heard.from, NodeId(1));
    assert_eq!(reach(&founders[1], NodeId(1), &founders[0]).await.from, NodeId(2));
}

#[tokio::test]
async fn a_founder_that_was_down_while_the_others_were_stamped_is_let_in() {
    let site = Site::new(2);
    let one = site.start(1).await;
    let late = forming(&site, 2).await;
    let seen = until(late.founders(), |seen| seen.contains_key(&NodeId(1))).await;
    assert_eq!(seen[&NodeId(1)], site.founder(NodeId(1), Some(CLUSTER)));
    late.set_cluster(CLUSTER, &site.membership());
    assert_eq!(reach(&one, NodeId(2), &late).await.from, NodeId(1));
}

#[tokio::test]
async fn a_replaced_disk_is_refused_and_both_sides_know_why() {
    let site = Site::new(2);
    let one = site.start(1).await;
    let wiped = bind(|| {
        let mut config = site.config(2);
        config.cluster = None;
        config.store = StoreId(99);
        config
    })
    .await;
    let reason = RefusalCause::Hello(HelloRefused::DiskReplaced {
        node: NodeId(2),
        known: store_of(NodeId(2)),
        found: StoreId(99),
    });
    until(one.refusals(), |all| all.get(&NodeId(2)).is_some_and(|refusal| refusal.cause == reason)).await;
    let told = until(wiped.refusals(), |all| all.contains_key(&NodeId(1))).await;
    assert!(told[&NodeId(1)].by_peer && told[&NodeId(1)].cause == reason, "{told:?}");
    assert!(wiped.founders().borrow().is_empty(), "nobody introduced themselves to it");
}

#[tokio::test]
async fn founders_that_stamp_different_clusters_part() {
    let site = Site::new(3);
    let founders = three_founders(&site).await;
    founders[0].set_cluster(ClusterId(1), &site.membership());
    founders[1].set_cluster(ClusterId(2), &site.membership());
    // The link was made before either was stamped; the first frame shows the difference.
    let refused = within(async {
        loop {
            founders[0].send(NodeId(2), Lane::Control, Bytes::from_static(b"hello"));
            let mut refusals = founders[0].refusals();
            if let Ok(Ok(all)) =
                timeout(Duration::from_millis(10), refusals.wait_for(|all| all.contains_key(&NodeId(2)))).await
            {
                return all[&NodeId(2)].clone();
            }
        }
    });
    let refusal = refused.await;
    assert!(refusal.cause.to_string().contains(&ClusterId(1).to_string()), "{refusal}");
    assert!(timeout(Duration::ZERO, founders[1].receive(&mut Vec::new())).await.is_err());
}

#[tokio::test]
async fn a_stamped_node_that_we_have_not_heard_of_is_served_as_a_guest_and_answered() {
    let site = Site::new(3);
    let behind = bind(|| site.config(1)).await;
    let mut old = site.membership();
    old.members.remove(&NodeId(3));
    old.voters.remove(&NodeId(3));
    behind.set_membership(&old);
    let leader = site.start(3).await;
    assert_eq!(reach(&leader, NodeId(1), &behind).await.from, NodeId(3));
    assert_eq!(reach(&behind, NodeId(3), &leader).await.from, NodeId(1));
}

#[tokio::test]
async fn a_peer_says_where_it_serves_others_and_is_believed_while_it_is_connected() {
    let site = Site::new(2);
    let serving = |node, address: &str| {
        let mut config = site.config(node);
        config.service_address = Some(address.to_owned());
        config
    };
    let one = bind(|| serving(1, "one.example:8001")).await;
    let two = bind(|| serving(2, "two.example:8002")).await;
    assert_eq!(reach(&one, NodeId(2), &two).await.from, NodeId(1));
    assert_eq!(reach(&two, NodeId(1), &one).await.from, NodeId(2));
    assert_eq!(one.service_address(NodeId(2)).as_deref(), Some("two.example:8002"));
    assert_eq!(two.service_address(NodeId(1)).as_deref(), Some("one.example:8001"));
    assert_eq!(one.service_address(NodeId(3)), None, "nobody has heard of it");
    // It comes back elsewhere.
    drop(two);
    let two = bind(|| serving(2, "elsewhere.example:8002")).await;
    assert_eq!(reach(&two, NodeId(1), &one).await.from, NodeId(2));
    assert_eq!(one.service_address(NodeId(2)).as_deref(), Some("elsewhere.example:8002"));
}

#[tokio::test]
async fn a_service_address_that_no_hello_has_room_for_is_refused_at_the_start() {
    let mut config = Site::new(1).config(1);
    config.service_address = Some("x".repeat(crate::SERVICE_ADDRESS_BYTES_MAX + 1));
    let refused = QuicTransport::bind(config).await;
    assert!(matches!(refused, Err(TransportError::ServiceAddressTooLong { .. })), "{refused:?}");
}
