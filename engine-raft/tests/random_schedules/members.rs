//! Members that come and go: whoever is in charge wants others now and then, and takes whichever step comes next; a node
//! that was removed may come back with another disk.
//!
//! A link is made between two disks, each of which the other end has to know, or not to know at all, unless it learns by it
//! that it knows less than that one: what travels on it reaches no other disk, as [`engine_raft`] takes for granted.

use std::sync::Arc;

use consensus_api::membership_change::next_step;
use consensus_api::{Engine, Input, LogIndex, Member, Membership, NodeId, Payload, Role, StoreId};
use engine_raft::Message;

use super::World;
use super::common::{Disk, Node};

/// A message on its way, with the disks between which it travels.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) from: u64,
    pub(crate) to: u64,
    between: (StoreId, StoreId),
    /// The version of the members that the sender knew.
    version: u64,
    pub(crate) message: Message,
}

fn knows(node: &Node, other: NodeId) -> Option<StoreId> {
    node.contacts.members.get(&other).map(|member| member.store)
}

/// Whether this node talks to another one that has this disk and knows these members: one that lags may know it by a disk
/// that is gone, and could never be told so if it did not listen.
fn accepts(node: &Node, other: NodeId, store: StoreId, version: u64) -> bool {
    knows(node, other).is_none_or(|known| known == store) || version > node.contacts.version
}

impl World {
    pub(crate) fn send(&mut self, at: usize, messages: Vec<(u64, Message)>) {
        for (to, message) in messages {
            let (here, there) = (&self.nodes[at], &self.nodes[(to - 1) as usize]);
            let between = (self.stores[at], self.stores[(to - 1) as usize]);
            let (version, is_known) = (here.contacts.version, knows(here, there.id()).or(knows(there, here.id())));
            if is_known.is_some() && accepts(here, there.id(), between.1, there.contacts.version) {
                self.network.push(Sent { from: here.id().0, to, between, version, message });
            }
        }
    }

    /// Whether both ends of the link are what they were when it was made.
    pub(crate) fn arrives(&self, sent: &Sent) -> bool {
        let to = (sent.to - 1) as usize;
        self.stores[to] == sent.between.1 && accepts(&self.nodes[to], NodeId(sent.from), sent.between.0, sent.version)
    }

    /// Somebody in charge wants other members.
    pub(crate) fn want(&mut self) {
        let mut goal = Membership::default();
        for at in 0..self.nodes.len() {
            let part = self.random.below(10);
            let set = if part < 5 { &mut goal.voters } else { &mut goal.learners };
            if part < 7 {
                set.insert(self.nodes[at].id());
            }
        }
        if goal.voters.is_empty() {
            goal.voters.extend(goal.learners.pop_first());
        }
        if !goal.voters.is_empty() {
            self.goal = Some(goal);
        }
    }

    /// Asks one node for the next step on the way.
    pub(crate) fn change(&mut self, at: usize) {
        let Some(goal) = self.goal_here() else { return };
        let present = self.nodes[at].raft.status().membership;
        if let Some(step) = next_step(&present, &goal) {
            let id = self.next_id(at);
            self.proposed.insert(id);
            self.nodes[at].step(Input::ChangeMembership { id, target: Arc::new(step) });
        }
    }

    /// The goal, with the disks as they are by now.
    fn goal_here(&self) -> Option<Membership> {
        let mut goal = self.goal.clone()?;
        let named: Vec<NodeId> = goal.voters.iter().chain(&goal.learners).copied().collect();
        goal.members = named.into_iter().map(|node| (node, self.member(node))).collect();
        Some(goal)
    }

    pub(crate) fn member(&self, node: NodeId) -> Member {
        Member { address: format!("node-{}:1", node.0), store: self.stores[(node.0 - 1) as usize] }
    }

    pub(crate) fn transfer(&mut self, at: usize) {
        let id = self.next_id(at);
        let to = if self.chance(50) { None } else { Some(NodeId(1 + self.random.below(self.nodes.len() as u64))) };
        self.nodes[at].step(Input::TransferLeadership { id, to });
    }

    /// Gives a node another disk that nobody counts among the members.
    pub(crate) fn wipe(&mut self, at: usize) {
        let id = self.nodes[at].id();
        let is_member = |node: &Node| node.id() != id && node.contacts.members.contains_key(&id);
        if self.goal.is_none() || self.nodes.iter().any(is_member) {
            return;
        }
        let Node { config, members, now, .. } = &self.nodes[at];
        let mut config = config.clone();
        (config.boot, config.seed) = (config.boot + 1, config.seed + 100);
        let (members, now) = (members.clone(), *now);
        self.nodes[at] = Node::on(config, members, Disk::default());
        self.nodes[at].now = now.max(self.nodes[at].now);
        self.stores[at] = StoreId(self.stores[at].0 + 100);
        self.counts.wipes += 1;
    }

    /// Takes the committed members, in order.
    pub(crate) fn note_members(&mut self, payload: &Payload) {
        let Payload::Membership { membership, .. } = payload else { return };
        let before = std::mem::replace(&mut self.members, Membership::clone(membership));
        assert_eq!(membership.version, before.version + 1, "a change of other members than those before");
        let moved = before.voters.symmetric_difference(&membership.voters).count();
        assert!(moved <= 1 || membership.is_joint() && membership.outgoing == before.voters);
        assert!(!before.is_joint() || membership.voters == before.voters && !membership.is_joint());
        self.counts.changes += 1;
        self.counts.joint += u64::from(membership.is_joint());
    }

    /// Whether these nodes are enough to hold what is committed at `index`: for the leader that has committed it, or for
    /// members that some log has named since.
    pub(crate) fn may_decide(&self, index: LogIndex, has: impl Fn(&Node) -> bool) -> bool {
        let is_quorum = |members: &Membership| members.quorums().reached(|id| has(&self.nodes[(id.0 - 1) as usize]));
        self.counted_by.get(&index).is_some_and(|members| is_quorum(members))
            || self.nodes.iter().any(|node| is_quorum(&node.raft.status().membership))
    }

    /// Goes on towards the goal at whoever leads.
    pub(crate) fn press_on(&mut self) {
        let newest = (0..self.nodes.len()).filter(|at| self.nodes[*at].role() == Role::Leader);
        if let Some(leader) = newest.max_by_key(|at| self.nodes[*at].term())
            && !self.nodes[leader].raft.status().is_changing
        {
            self.change(leader);
            self.settle(leader);
        }
    }

    /// Who has to have everything in the end; they are who was wanted.
    pub(crate) fn check_members(&self) -> Vec<&Node> {
        if let Some(goal) = self.goal_here() {
            assert!(self.members.names_the_same(&goal), "{:?} are wanted, and there are {:?}", goal, self.members);
        }
        let is_member = |node: &&Node| self.members.contains(node.id());
        self.nodes.iter().filter(is_member).collect()
    }
}
