//! [`Cluster`]: engines without any I/O around them.
//!
//! Every write is durable at once and every message arrives at once, so what is measured is the protocol's own work:
//! its messages, its bookkeeping, its allocation.

use std::collections::VecDeque;

use bytes::Bytes;
use consensus_api::{
    Blob, Engine, EngineConfig, EngineError, Input, Limits, LogIndex, Member, Membership, MonoTime, NodeId, Recovered,
    RequestId, Role, StoreId, Timing,
};
use replica::core::Core;

/// Engines that talk to each other in one thread, in virtual time.
pub struct Cluster<E: Engine> {
    nodes: Vec<Core<E>>,
    mail: VecDeque<(NodeId, NodeId, E::Message)>,
    now: MonoTime,
    sequence: u64,
    applied: Vec<LogIndex>,
    /// Messages delivered so far.
    pub messages: u64,
}

impl<E: Engine> Cluster<E> {
    /// `voters` engines, the first of which has been elected.
    pub fn elected(voters: u64) -> Result<Cluster<E>, EngineError> {
        let member = |node| (NodeId(node), Member { address: format!("node{node}:1"), store: StoreId(node.into()) });
        let membership = Membership::of_voters((1..=voters).map(member));
        let now = MonoTime::from_micros(1);
        let nodes = (1..=voters).map(|node| {
            let config = EngineConfig {
                node: NodeId(node),
                store: None,
                boot: 1,
                seed: node,
                timing: Timing::default(),
                limits: Limits::default(),
            };
            Ok(Core::new(E::recover(config, Recovered::blank(membership.clone()), now)?, LogIndex::ZERO))
        });
        let mut cluster = Cluster {
            nodes: nodes.collect::<Result<_, EngineError>>()?,
            mail: VecDeque::new(),
            now,
            sequence: 0,
            applied: vec![LogIndex::ZERO; usize::try_from(voters).unwrap_or(0)],
            messages: 0,
        };
        cluster.nodes[0].step(now, Input::Campaign);
        cluster.settle();
        assert_eq!(cluster.nodes[0].engine().status().role, Role::Leader, "the first engine leads");
        Ok(cluster)
    }

    /// Proposes `count` commands of `data` at the leader at once and runs until every node has applied them.
    pub fn commit(&mut self, count: u64, data: &Bytes) {
        let before = self.applied[0].0;
        for _ in 0..count {
            self.sequence += 1;
            let id = RequestId { origin: NodeId(1), boot: 1, sequence: self.sequence };
            self.nodes[0].step(self.now, Input::Propose { id, data: Blob(data.clone()) });
        }
        self.settle();
        assert_eq!(self.applied[0].0, before + count, "everything that was proposed is applied");
    }

    /// Performs effects and delivers messages until nothing is left to do. No time passes.
    fn settle(&mut self) {
        loop {
            let mut busy = false;
            for place in 0..self.nodes.len() {
                busy |= self.perform(place);
            }
            while let Some((from, to, message)) = self.mail.pop_front() {
                busy = true;
                self.messages += 1;
                self.nodes[Self::place(to)].step(self.now, Input::Message { from, message });
            }
            if !busy {
                return;
            }
        }
    }

    fn perform(&mut self, place: usize) -> bool {
        let node = &mut self.nodes[place];
        let actions = node.take();
        let from = NodeId(place as u64 + 1);
        let mut busy = false;
        self.mail.extend(actions.messages.into_iter().map(|outgoing| (from, outgoing.to, outgoing.message)));
        if let Some(write) = actions.write {
            node.step(self.now, Input::Persisted { write: write.id });
            busy = true;
        }
        if let Some(last) = actions.apply.last() {
            self.applied[place] = last.index;
            node.step(self.now, Input::Applied { through: last.index });
            busy = true;
        }
        busy
    }

    fn place(node: NodeId) -> usize {
        usize::try_from(node.0 - 1).unwrap_or(usize::MAX)
    }
}
