//! Peers that go without a word.

use std::time::Duration;

use consensus_api::NodeId;

use super::{Site, bind, reach};
use crate::TransportConfig;

/// A connection that only its silence could end would not end within this test.
fn never_times_out(site: &Site, node: u64) -> TransportConfig {
    let mut config = site.config(node);
    config.timing.idle_timeout = Duration::from_secs(600);
    config
}

#[test]
fn a_peer_that_was_killed_and_started_again_is_reached_before_its_old_link_times_out() {
    let site = Site::new(2);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let one = runtime.block_on(bind(|| never_times_out(&site, 1)));

    // A runtime of its own, which ends as a killed process does: no task runs again, and nothing says goodbye.
    let victim = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let two = victim.block_on(bind(|| never_times_out(&site, 2)));
    assert_eq!(runtime.block_on(reach(&one, NodeId(2), &two)).from, NodeId(1));
    victim.shutdown_timeout(Duration::from_secs(5));
    drop(two);
    assert!(one.peers()[&NodeId(2)].sending, "node 1 has not noticed, and would not for a long time");

    let again = runtime.block_on(bind(|| never_times_out(&site, 2)));
    assert_eq!(runtime.block_on(reach(&one, NodeId(2), &again)).from, NodeId(1));
    assert_eq!(runtime.block_on(reach(&again, NodeId(1), &one)).from, NodeId(2));
    let _context = runtime.enter();
    drop((one, again));
}
