//! What a transport counts of its own work.

use super::*;
use crate::TransportCounts;

fn lane(counts: &TransportCounts, lane: Lane) -> crate::LaneCounts {
    counts.lanes[lane as usize]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_counted_once_at_both_ends_and_the_wire_keeps_what_connections_have_counted() {
    let site = Site::new(2);
    let (one, two) = (site.start(1).await, site.start(2).await);
    reach(&one, NodeId(2), &two).await;
    assert_eq!(lane(&one.counts(), Lane::Requests), crate::LaneCounts::default());
    for _ in 0..10 {
        one.send(NodeId(2), Lane::Requests, Bytes::from_static(b"seven b"));
    }
    let mut batch = Vec::new();
    let requests = |batch: &[Incoming]| batch.iter().filter(|message| message.lane == Lane::Requests).count();
    while requests(&batch) < 10 {
        assert!(within(two.receive(&mut batch)).await);
    }
    let (sent, received) = (lane(&one.counts(), Lane::Requests), lane(&two.counts(), Lane::Requests));
    assert_eq!((sent.sent_messages, sent.sent_bytes, sent.received_messages), (10, 70, 0));
    assert_eq!((received.received_messages, received.received_bytes, received.sent_messages), (10, 70, 0));

    let live = one.counts().wire;
    assert!(live.sent_bytes > 70 && live.sent_datagrams > 0, "{live:?}");
    one.close().await;
    let ended = one.counts().wire;
    assert!(ended.sent_bytes >= live.sent_bytes && ended.sent_datagrams >= live.sent_datagrams, "{ended:?}");
}
