//! Nodes that talk to each other over a network that loses what it is told to; each may be switched off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::*;

/// Whether a message is lost: from whom, to whom, and what it says.
pub type Loss = Box<dyn Fn(u64, u64, &Message) -> bool>;

/// A few nodes, of which some are members.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub off: BTreeSet<u64>,
    /// What the network loses, from whom and to whom.
    pub loses: Loss,
    /// What each node has applied.
    pub applied: BTreeMap<u64, Vec<SharedEntry>>,
    network: VecDeque<(u64, u64, Message)>,
    sequence: u64,
}

impl Cluster {
    /// So many nodes, 1 and on; the founders vote.
    pub fn of(count: u64, founders: &Membership, tune: impl Fn(&mut EngineConfig)) -> Cluster {
        let node = |id| {
            let mut config = config(id);
            tune(&mut config);
            Node::on(config, founders.clone(), Disk::default())
        };
        Cluster {
            nodes: (1..=count).map(node).collect(),
            off: BTreeSet::new(),
            loses: Box::new(|_, _, _| false),
            applied: BTreeMap::new(),
            network: VecDeque::new(),
            sequence: 0,
        }
    }

    pub fn node(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[(id - 1) as usize]
    }

    /// Whoever leads in the highest ballot.
    pub fn leader(&self) -> u64 {
        let leads = |node: &&Node| node.role() == Role::Leader && !self.off.contains(&node.id().0);
        let leader = self.nodes.iter().filter(leads).max_by_key(|node| node.promised());
        leader.map(|node| node.id().0).expect("somebody leads")
    }

    pub fn next_id(&mut self, origin: u64) -> RequestId {
        self.sequence += 1;
        RequestId { origin: NodeId(origin), boot: self.node(origin).config.boot, sequence: self.sequence }
    }

    pub fn propose(&mut self, at: u64) -> RequestId {
        let id = self.next_id(at);
        self.node(at).step(Input::Propose { id, data: Blob::from("value") });
        id
    }

    /// Asks for these voters and learners, of whom each new voter is a learner.
    pub fn change(&mut self, at: u64, voters: &[u64], learners: &[u64]) -> RequestId {
        let id = self.next_id(at);
        let version = self.node(at).paxos.status().membership.version;
        let target = Arc::new(Membership { version, ..members(voters, learners) });
        self.node(at).step(Input::ChangeMembership { id, target });
        id
    }

    pub fn transfer(&mut self, at: u64, to: Option<u64>) -> RequestId {
        let id = self.next_id(at);
        self.node(at).step(Input::TransferLeadership { id, to: to.map(NodeId) });
        id
    }

    /// Lets so many times 5 ms pass, in which everything arrives and is synced, read and applied.
    pub fn run(&mut self, rounds: usize) {
        for _ in 0..rounds {
            for at in 0..self.nodes.len() {
                let id = self.nodes[at].id().0;
                if !self.off.contains(&id) {
                    self.nodes[at].tick(5);
                    self.settle(id);
                }
            }
            while let Some((from, to, message)) = self.network.pop_front() {
                let is_lost = (self.loses)(from, to, &message);
                if !is_lost && !self.off.contains(&from) && !self.off.contains(&to) {
                    self.node(to).hear(from, message);
                    self.settle(to);
                }
            }
        }
    }

    fn settle(&mut self, id: u64) {
        let node = &mut self.nodes[(id - 1) as usize];
        node.sync();
        node.answer_read_backs();
        while !node.committed.is_empty() {
            let entries = std::mem::take(&mut node.committed);
            let through = entries.last().expect("there is one").index;
            node.applied = through;
            node.step(Input::Applied { through });
            self.applied.entry(id).or_default().extend(entries);
            node.sync();
            node.answer_read_backs();
        }
        let sent = self.node(id).sent();
        let count = self.nodes.len() as u64;
        self.network.extend(sent.into_iter().filter(|(to, _)| *to <= count).map(|(to, message)| (id, to, message)));
    }

    /// Whether the node has applied an entry with this id.
    pub fn has_applied(&self, at: u64, id: RequestId) -> bool {
        let applied = self.applied.get(&at).into_iter().flatten();
        applied.filter(|entry| entry.payload.request_id() == Some(id)).count() == 1
    }

    pub fn refusals(&mut self, at: u64) -> Vec<consensus_api::Refusal> {
        std::mem::take(&mut self.node(at).refused).into_iter().map(|refused| refused.reason).collect()
    }

    /// The voters in force at this node.
    pub fn voters_at(&self, at: u64) -> Vec<u64> {
        let members = self.nodes[(at - 1) as usize].paxos.status().membership;
        members.voters.iter().map(|node| node.0).collect()
    }
}
