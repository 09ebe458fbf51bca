//! [`Cluster`]: engines without any I/O around them.
//!
//! Every write is durable at once and every message arrives at once, so what is measured is the protocol's own work:
//! its messages, its bookkeeping, its allocation.

use std::collections::VecDeque;

use bytes::Bytes;
use consensus_api::{
    Blob, Engine, EngineConfig, EngineError, Input, Limits, LogIndex, Member, Membership, MonoTime, NodeId, Payload,
    Recovered, RequestId, Role, SharedEntry, StoreId, Timing,
};
use replica::core::Core;

/// The leader that a cluster begins with.
const FIRST: NodeId = NodeId(1);

/// Engines that talk to each other in one thread, in virtual time.
pub struct Cluster<E: Engine> {
    nodes: Vec<Node<E>>,
    mail: VecDeque<(NodeId, NodeId, E::Message)>,
    now: MonoTime,
    sequence: u64,
    /// What is sent to this node is lost.
    deaf: Option<NodeId>,
    /// Messages delivered so far.
    pub messages: u64,
}

struct Node<E: Engine> {
    core: Core<E>,
    applied_bytes: u64,
}

/// Voters that know each other from the start, as nodes 1 to `voters`.
pub fn founders(voters: u64) -> Membership {
    let member = |node| (NodeId(node), Member { address: format!("node{node}:1"), store: StoreId(node.into()) });
    Membership::of_voters((1..=voters).map(member))
}

/// What a node of the benches is told before it starts.
pub fn config(node: NodeId, limits: Limits) -> EngineConfig {
    EngineConfig { node, store: None, boot: 1, seed: node.0, timing: Timing::default(), limits }
}

impl<E: Engine> Cluster<E> {
    /// `voters` engines, the first of which has been elected.
    pub fn elected(voters: u64) -> Result<Cluster<E>, EngineError> {
        Cluster::elected_within(voters, &Limits::default())
    }

    /// The same under other limits.
    pub fn elected_within(voters: u64, limits: &Limits) -> Result<Cluster<E>, EngineError> {
        let (membership, now) = (founders(voters), MonoTime::from_micros(1));
        let nodes = (1..=voters).map(NodeId).map(|node| {
            let engine = E::recover(config(node, limits.clone()), Recovered::blank(membership.clone()), now)?;
            Ok(Node { core: Core::new(engine, LogIndex::ZERO), applied_bytes: 0 })
        });
        let mut cluster = Cluster {
            nodes: nodes.collect::<Result<_, EngineError>>()?,
            mail: VecDeque::new(),
            now,
            sequence: 0,
            deaf: None,
            messages: 0,
        };
        cluster.campaign(FIRST);
        cluster.settle();
        assert!(cluster.leads(FIRST), "the first engine leads");
        Ok(cluster)
    }

    /// Proposes `count` commands at the leader at once, each a copy of `data`, and runs until every node has applied them.
    pub fn commit(&mut self, count: u64, data: &[u8]) {
        self.propose(count, data);
        self.settle();
    }

    /// As [`commit`](Self::commit), but the leader never hears that the others have accepted: nothing is committed. From
    /// then on nothing reaches it, as if it were down.
    pub fn leave_open(&mut self, count: u64, data: &[u8]) {
        self.deaf = Some(FIRST);
        self.propose(count, data);
        self.settle();
        let last = self.node(FIRST).core.engine().status().last_index;
        for node in &self.nodes {
            let status = node.core.engine().status();
            assert_eq!((status.last_index, node.applied_bytes), (last, 0), "accepted everywhere, and not committed");
        }
    }

    /// Has a node campaign; [`settle`](Self::settle) or [`settle_until`](Self::settle_until) does the rest.
    pub fn campaign(&mut self, node: NodeId) {
        let now = self.now;
        self.node_mut(node).core.step(now, Input::Campaign);
    }

    /// Whether a node takes itself for the leader.
    pub fn leads(&self, node: NodeId) -> bool {
        self.node(node).core.engine().status().role == Role::Leader
    }

    /// How many bytes of commands each node has applied.
    pub fn applied_bytes(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.applied_bytes).collect()
    }

    /// Performs effects and delivers messages until nothing is left to do. No time passes.
    pub fn settle(&mut self) {
        self.settle_until(|_| false);
    }

    /// The same, but no further than until this holds.
    pub fn settle_until(&mut self, is_enough: impl Fn(&Self) -> bool) {
        loop {
            let mut busy = false;
            for place in 0..self.nodes.len() {
                busy |= self.perform(place);
            }
            while let Some((from, to, message)) = self.mail.pop_front() {
                busy = true;
                if Some(to) != self.deaf {
                    self.messages += 1;
                    let now = self.now;
                    self.node_mut(to).core.step(now, Input::Message { from, message });
                }
            }
            if !busy || is_enough(self) {
                return;
            }
        }
    }

    fn propose(&mut self, count: u64, data: &[u8]) {
        for _ in 0..count {
            self.sequence += 1;
            let id = RequestId { origin: FIRST, boot: 1, sequence: self.sequence };
            let (now, data) = (self.now, Blob(Bytes::copy_from_slice(data)));
            self.node_mut(FIRST).core.step(now, Input::Propose { id, data });
        }
    }

    fn perform(&mut self, place: usize) -> bool {
        let node = &mut self.nodes[place];
        let actions = node.core.take();
        assert!(actions.refused.is_empty(), "within the limits nothing is refused: {:?}", actions.refused.first());
        assert!(actions.read_back.is_empty() && actions.snapshots.is_empty(), "everything is in the window");
        let from = NodeId(place as u64 + 1);
        let mut busy = false;
        self.mail.extend(actions.messages.into_iter().map(|outgoing| (from, outgoing.to, outgoing.message)));
        if let Some(write) = actions.write {
            node.core.step(self.now, Input::Persisted { write: write.id });
            busy = true;
        }
        if let Some(last) = actions.apply.last() {
            node.applied_bytes += actions.apply.iter().map(command_bytes).sum::<u64>();
            node.core.step(self.now, Input::Applied { through: last.index });
            busy = true;
        }
        busy
    }

    fn node(&self, node: NodeId) -> &Node<E> {
        &self.nodes[Self::place(node)]
    }

    fn node_mut(&mut self, node: NodeId) -> &mut Node<E> {
        &mut self.nodes[Self::place(node)]
    }

    fn place(node: NodeId) -> usize {
        usize::try_from(node.0 - 1).unwrap_or(usize::MAX)
    }
}

fn command_bytes(entry: &SharedEntry) -> u64 {
    match &entry.payload {
        Payload::Command { data, .. } => data.0.len() as u64,
        _ => 0,
    }
}
