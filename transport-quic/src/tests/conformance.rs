//! The suite that every transport must pass: with one stream for each lane, and with several for replication, where only the
//! order within that lane is not promised.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use consensus_api::testkit::transport::{self as suite, Testbed};
use consensus_api::{Membership, NodeId};

use super::{Site, bind, member};
use crate::{QuicTransport, REPLICATION_STREAMS_MAX};

struct Loopback {
    site: Site,
    started: Mutex<BTreeMap<NodeId, String>>,
    /// Over how many streams a node spreads replication.
    replication_streams: fn(NodeId) -> usize,
}

impl Loopback {
    fn new(replication_streams: fn(NodeId) -> usize) -> Loopback {
        Loopback { site: Site::new(3), started: Mutex::default(), replication_streams }
    }
}

#[async_trait]
impl Testbed for Loopback {
    type Transport = QuicTransport;

    async fn start(&self, node: NodeId) -> QuicTransport {
        let transport = bind(|| {
            let mut config = self.site.config(node.0);
            config.contacts = BTreeMap::new();
            config.limits.replication_streams = (self.replication_streams)(node);
            config
        })
        .await;
        self.started.lock().unwrap().insert(node, transport.local_addr().to_string());
        transport
    }

    fn membership(&self, nodes: &[NodeId]) -> Membership {
        let started = self.started.lock().unwrap();
        Membership::of_voters(nodes.iter().map(|node| (*node, member(*node, &started[node]))))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

macro_rules! conforms {
    ($streams:expr; $($claim:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                suite::$claim(&Loopback::new($streams)).await;
            }
        )*
    };
}

conforms!(
    |_| 1;
    messages_arrive_in_order_on_each_lane,
    payloads_of_any_size_arrive_whole,
    each_message_names_its_sender,
    a_message_to_an_unknown_node_is_dropped,
    nothing_piles_up_for_a_peer_that_is_gone,
    nothing_piles_up_for_a_peer_that_does_not_receive,
    a_flooded_lane_does_not_hold_up_another,
    a_peer_that_restarts_is_reached_again,
    closing_ends_receive,
    a_new_member_is_reached,
    a_former_member_is_not_reached,
);

mod with_four_streams {
    use super::*;

    conforms!(
        |_| 4;
        messages_arrive_complete_on_each_lane,
        nothing_piles_up_for_a_peer_that_is_gone,
        nothing_piles_up_for_a_peer_that_does_not_receive,
        a_flooded_lane_does_not_hold_up_another,
        a_peer_that_restarts_is_reached_again,
    );
}

/// Node 1 has one stream, node 2 has sixteen.
mod with_different_numbers_of_streams {
    use super::*;

    conforms!(
        |node| if node == NodeId(1) { 1 } else { REPLICATION_STREAMS_MAX };
        messages_arrive_complete_on_each_lane,
        each_message_names_its_sender,
        a_flooded_lane_does_not_hold_up_another,
    );
}
