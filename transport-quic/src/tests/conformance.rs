//! The suite that every transport must pass.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use consensus_api::testkit::transport::{self as suite, Testbed};
use consensus_api::{Membership, NodeId};

use super::{Site, bind, member};
use crate::QuicTransport;

struct Loopback {
    site: Site,
    started: Mutex<BTreeMap<NodeId, String>>,
}

impl Loopback {
    fn new() -> Loopback {
        Loopback { site: Site::new(3), started: Mutex::default() }
    }
}

#[async_trait]
impl Testbed for Loopback {
    type Transport = QuicTransport;

    async fn start(&self, node: NodeId) -> QuicTransport {
        let transport = bind(|| {
            let mut config = self.site.config(node.0);
            config.contacts = BTreeMap::new();
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
    ($($claim:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                suite::$claim(&Loopback::new()).await;
            }
        )*
    };
}

conforms!(
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
