//! What every [`Transport`] must do, as tests that any implementor can run.
//!
//! ```text
//!   Testbed (the implementor's)  ── start(node) ──▶  transports on one network
//!        │                                                │
//!        └── sleep: the only clock there is               ▼
//!                                        one function here = one claim, panics where it fails
//! ```
//!
//! The suite brings no runtime: it waits by what the testbed gives it, and uses time only as an upper bound and to
//! repeat a probe, because a transport may lose what it is given until the peers have found each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::ids::NodeId;
use crate::membership::Membership;
use crate::transport::{Incoming, Lane, Transport};

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a probe is waited for before the next one is sent.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// What finds out whether a peer is reached; never counted as a message.
const PROBE: &[u8] = b"probe";
/// The most that a transport may hold for one peer and lane that takes nothing.
const HELD_BYTES_MAX: usize = 64 << 20;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// Makes transports that can reach each other, on a network of their own.
#[async_trait]
pub trait Testbed: Send + Sync {
    /// What is tested.
    type Transport: Transport;

    /// Starts this node; or starts it again, once its transport is closed, under the same address and identity. It
    /// talks to nobody before its membership is set.
    async fn start(&self, node: NodeId) -> Self::Transport;

    /// The membership of these nodes, each of which was started before.
    fn membership(&self, nodes: &[NodeId]) -> Membership;

    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// On each lane, messages of a peer arrive complete and in order as long as nothing fails.
pub async fn messages_arrive_in_order_on_each_lane<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    for number in 0..1000 {
        for lane in Lane::ALL {
            one.send(TWO, lane, numbered(number));
        }
    }
    let mut next: BTreeMap<Lane, u64> = BTreeMap::new();
    for _ in 0..1000 * Lane::ALL.len() {
        let message = two.next(bed).await;
        let expected = next.entry(message.lane).or_default();
        assert_eq!(message.payload, numbered(*expected), "out of order on lane {:?}", message.lane);
        *expected += 1;
    }
    assert_eq!(next.values().copied().collect::<Vec<_>>(), [1000; 4]);
}

/// Messages of a peer arrive complete and none twice as long as nothing fails: on each lane, in whatever order.
pub async fn messages_arrive_complete_on_each_lane<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    for number in 0..1000 {
        for lane in Lane::ALL {
            one.send(TWO, lane, numbered(number));
        }
    }
    let mut arrived: BTreeMap<Lane, BTreeSet<u64>> = BTreeMap::new();
    for _ in 0..1000 * Lane::ALL.len() {
        let message = two.next(bed).await;
        let number = number_of(&message.payload);
        assert!(arrived.entry(message.lane).or_default().insert(number), "{number} twice on lane {:?}", message.lane);
    }
    assert_eq!(arrived.values().map(BTreeSet::len).collect::<Vec<_>>(), [1000; 4]);
}

/// A payload arrives as it was given: an empty one, and one of a mebibyte.
pub async fn payloads_of_any_size_arrive_whole<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    let sizes = [0, 1, 1200, 65_536, 1 << 20, 0];
    let payload = |size: usize| Bytes::from((0..size).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
    for size in sizes {
        one.send(TWO, Lane::Replication, payload(size));
    }
    for size in sizes {
        let message = two.next(bed).await;
        assert_eq!((message.lane, message.payload.len()), (Lane::Replication, size));
        assert!(message.payload == payload(size), "{size} bytes were changed on their way");
    }
}

/// A message says who sent it, whoever else sends at the same time.
pub async fn each_message_names_its_sender<B: Testbed>(bed: &B) {
    let mut nodes = cluster(bed, &[ONE, TWO, THREE]).await;
    let mut three = nodes.pop().expect("three nodes");
    for node in &mut nodes {
        meet(bed, node, &mut three).await;
    }
    for number in 0..100 {
        for node in &nodes {
            node.send(THREE, Lane::Control, numbered(1000 * node.id.0 + number));
        }
    }
    for _ in 0..200 {
        let message = three.next(bed).await;
        assert_eq!(number_of(&message.payload) / 1000, message.from.0, "the wrong sender is named");
    }
}

/// What is sent to a node that nobody knows is dropped, and nothing else happens.
pub async fn a_message_to_an_unknown_node_is_dropped<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    one.send(NodeId(99), Lane::Control, numbered(1));
    one.send(TWO, Lane::Control, numbered(2));
    let message = two.next(bed).await;
    assert_eq!((message.from, number_of(&message.payload)), (ONE, 2));
}

/// Sending to a peer that is gone neither blocks nor piles up.
pub async fn nothing_piles_up_for_a_peer_that_is_gone<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    two.transport.close().await;
    let flood = Flood::default();
    flood.pour(&one, Lane::Replication);
    let held = flood.held_bytes();
    assert!(held <= HELD_BYTES_MAX, "{held} bytes are held for a peer that is gone");
}

/// Sending to a peer that takes nothing neither blocks nor piles up; and the peer finds what was kept for it.
pub async fn nothing_piles_up_for_a_peer_that_does_not_receive<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    let flood = Flood::default();
    flood.pour(&one, Lane::Replication);
    let held = flood.held_bytes();
    assert!(held <= HELD_BYTES_MAX, "{held} bytes are held for a peer that does not receive");
    assert_eq!(two.next(bed).await.from, ONE, "the first of them must be there");
}

/// While one lane is full, another still gets through.
pub async fn a_flooded_lane_does_not_hold_up_another<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    fill(bed, &one, Lane::Bulk).await;
    one.send(TWO, Lane::Control, numbered(7));
    while two.next(bed).await.lane != Lane::Control {}
    // Had the control message waited for its turn, no bulk would be left behind it.
    assert_eq!(two.next(bed).await.lane, Lane::Bulk);
}

/// A peer that was stopped and started again is reached without anyone's help, in both directions.
pub async fn a_peer_that_restarts_is_reached_again<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    two.transport.close().await;
    drop(two);
    let mut two = Node::start(bed, TWO).await;
    two.transport.set_membership(&bed.membership(&[ONE, TWO]));
    meet(bed, &mut one, &mut two).await;
    one.send(TWO, Lane::Requests, numbered(1));
    assert_eq!(number_of(&two.next(bed).await.payload), 1);
}

/// Closing ends a `receive` that waits, and every later one; a later `send` does no harm.
pub async fn closing_ends_receive<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    // Behind every probe that is still under way.
    two.send(ONE, Lane::Control, numbered(0));
    assert_eq!(number_of(&one.next(bed).await.payload), 0);
    let mut batch = Vec::new();
    let ended = {
        let mut receive = pin!(one.transport.receive(&mut batch));
        let mut close = pin!(one.transport.close());
        // Polled once before the closing begins, so that it really waits.
        let already = poll_fn(|context| Poll::Ready(receive.as_mut().poll(context))).await;
        assert!(already.is_pending(), "nothing was sent, yet receive returned");
        within(bed, "close", &mut close).await;
        within(bed, "receive after close", receive).await
    };
    assert!(!ended, "receive says that there is more to come");
    assert!(!within(bed, "a second receive", one.transport.receive(&mut batch)).await);
    one.send(TWO, Lane::Control, numbered(1));
    assert!(batch.is_empty());
}

/// A node that the membership newly names is reached, without disturbing the others.
pub async fn a_new_member_is_reached<B: Testbed>(bed: &B) {
    let (mut one, mut two) = pair(bed).await;
    meet(bed, &mut one, &mut two).await;
    let mut three = Node::start(bed, THREE).await;
    let all = bed.membership(&[ONE, TWO, THREE]);
    for node in [&one, &two, &three] {
        node.transport.set_membership(&all);
    }
    meet(bed, &mut one, &mut three).await;
    meet(bed, &mut two, &mut three).await;
    one.send(TWO, Lane::Control, numbered(1));
    one.send(THREE, Lane::Control, numbered(2));
    assert_eq!(number_of(&two.next(bed).await.payload), 1);
    assert_eq!(number_of(&three.next(bed).await.payload), 2);
}

/// What is sent to a node that the membership no longer names is dropped, also when it is named again later.
pub async fn a_former_member_is_not_reached<B: Testbed>(bed: &B) {
    let mut nodes = cluster(bed, &[ONE, TWO, THREE]).await;
    let (mut three, mut two, mut one) = (nodes.pop().expect("3"), nodes.pop().expect("2"), nodes.pop().expect("1"));
    meet(bed, &mut one, &mut three).await;
    meet(bed, &mut one, &mut two).await;

    one.transport.set_membership(&bed.membership(&[ONE, TWO]));
    one.send(THREE, Lane::Control, numbered(1));
    one.send(TWO, Lane::Control, numbered(2));
    assert_eq!(number_of(&two.next(bed).await.payload), 2, "the members that stay are still reached");

    one.transport.set_membership(&bed.membership(&[ONE, TWO, THREE]));
    meet(bed, &mut one, &mut three).await;
    one.send(THREE, Lane::Control, numbered(3));
    assert_eq!(number_of(&three.next(bed).await.payload), 3, "what was sent meanwhile must be gone");
}

/// A node under test, with what has arrived and was not looked at yet.
struct Node<T> {
    id: NodeId,
    transport: T,
    arrived: VecDeque<Incoming>,
}

impl<T: Transport> Node<T> {
    async fn start<B: Testbed<Transport = T>>(bed: &B, id: NodeId) -> Node<T> {
        Node { id, transport: bed.start(id).await, arrived: VecDeque::new() }
    }

    fn send(&self, to: NodeId, lane: Lane, payload: Bytes) {
        self.transport.send(to, lane, payload);
    }

    /// The next message that is not a probe.
    async fn next<B: Testbed<Transport = T>>(&mut self, bed: &B) -> Incoming {
        let found = within(bed, "a message", async {
            loop {
                match self.arrived.pop_front() {
                    Some(message) if message.payload == PROBE => continue,
                    Some(message) => return message,
                    None => self.receive().await,
                }
            }
        });
        found.await
    }

    async fn receive(&mut self) {
        let mut batch = Vec::new();
        assert!(self.transport.receive(&mut batch).await, "node {} is closed", self.id);
        assert!(!batch.is_empty(), "receive returned without a message");
        self.arrived.extend(batch);
    }
}

/// Starts these nodes and makes them members of one cluster.
async fn cluster<B: Testbed>(bed: &B, ids: &[NodeId]) -> Vec<Node<B::Transport>> {
    let mut nodes = Vec::new();
    for id in ids {
        nodes.push(Node::start(bed, *id).await);
    }
    let membership = bed.membership(ids);
    for node in &nodes {
        node.transport.set_membership(&membership);
    }
    nodes
}

async fn pair<B: Testbed>(bed: &B) -> (Node<B::Transport>, Node<B::Transport>) {
    let mut nodes = cluster(bed, &[ONE, TWO]).await;
    let two = nodes.pop().expect("two nodes");
    (nodes.pop().expect("two nodes"), two)
}

/// Returns once each of the two has heard the other.
async fn meet<B: Testbed>(bed: &B, a: &mut Node<B::Transport>, b: &mut Node<B::Transport>) {
    reach(bed, a, b).await;
    reach(bed, b, a).await;
}

/// Sends probes until one arrives.
async fn reach<B: Testbed>(bed: &B, from: &Node<B::Transport>, to: &mut Node<B::Transport>) {
    within(bed, "the first probe", async {
        loop {
            from.send(to.id, Lane::Control, Bytes::from_static(PROBE));
            unless_later(bed, PROBE_INTERVAL, to.receive()).await;
            let probes = to.arrived.iter().filter(|message| message.payload == PROBE && message.from == from.id);
            if probes.count() > 0 {
                to.arrived.retain(|message| message.payload != PROBE);
                return;
            }
        }
    })
    .await;
}

/// Floods a lane to node two, which does not receive, until nothing leaves the sender any more: everything on the way
/// is full.
async fn fill<B: Testbed>(bed: &B, from: &Node<B::Transport>, lane: Lane) {
    let flood = Flood::default();
    let filled = within(bed, "a full lane", async {
        let mut still = 0;
        while still < 3 {
            flood.pour(from, lane);
            let before = flood.held_bytes();
            bed.sleep(PROBE_INTERVAL).await;
            still = if flood.held_bytes() == before { still + 1 } else { 0 };
        }
    });
    filled.await;
}

/// Many large messages. Every payload shares one buffer and counts itself, so that the flood itself costs nothing and
/// it is known how much of it the sender still holds.
struct Flood {
    content: Arc<[u8]>,
    alive: Arc<AtomicUsize>,
}

impl Default for Flood {
    fn default() -> Flood {
        Flood { content: vec![0; 256 << 10].into(), alive: Arc::default() }
    }
}

impl Flood {
    /// Sends a quarter of a gibibyte to node two.
    fn pour<T: Transport>(&self, from: &Node<T>, lane: Lane) {
        for _ in 0..1024 {
            self.alive.fetch_add(1, Ordering::Relaxed);
            let counted = Counted { content: Arc::clone(&self.content), alive: Arc::clone(&self.alive) };
            from.send(TWO, lane, Bytes::from_owner(counted));
        }
    }

    fn held_bytes(&self) -> usize {
        self.alive.load(Ordering::Relaxed) * self.content.len()
    }
}

/// A payload that tells when it is let go.
struct Counted {
    content: Arc<[u8]>,
    alive: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

fn numbered(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn number_of(payload: &Bytes) -> u64 {
    u64::from_le_bytes(payload.as_ref().try_into().expect("a numbered payload"))
}

async fn within<B: Testbed, F: Future>(bed: &B, what: &str, future: F) -> F::Output {
    unless_later(bed, PATIENCE, future).await.unwrap_or_else(|| panic!("{what} did not come within {PATIENCE:?}"))
}

/// The future's result, or `None` if it takes longer than `limit`.
async fn unless_later<B: Testbed, F: Future>(bed: &B, limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut limit = pin!(bed.sleep(limit));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        limit.as_mut().poll(context).map(|()| None)
    })
    .await
}
