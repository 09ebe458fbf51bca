//! What operators ask of nodes: other members, another leader. And which configurations have a say, so that nobody breaks
//! more than they survive.

use std::collections::BTreeSet;
use std::sync::Arc;

use consensus_api::{Input, LogIndex, LogStore, Membership, NodeId, RequestId};

use crate::checks::{Identity, Violation, same_value};
use crate::disk::Disk;
use crate::node::Node;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::{World, member};

impl<P: Protocol> World<P> {
    /// An operator asks the node for these members, by one change; `None` where nobody is there to take it.
    pub fn change_membership(&mut self, node: NodeId, target: Membership) -> Result<Option<RequestId>, Violation> {
        let Some(id) = self.next_request(node) else { return Ok(None) };
        let target = Arc::new(target);
        self.ordered.push(target.clone());
        let cause = Happening::MembersAsked(id, target.clone());
        self.input(node, cause, Input::ChangeMembership { id, target })?;
        Ok(Some(id))
    }

    /// An operator asks the node for another leader; `None` where nobody is there to hear it.
    pub fn transfer_leadership(&mut self, node: NodeId, to: Option<NodeId>) -> Result<Option<RequestId>, Violation> {
        let Some(id) = self.next_request(node) else { return Ok(None) };
        self.input(node, Happening::TransferAsked(id, to), Input::TransferLeadership { id, to })?;
        Ok(Some(id))
    }

    /// These voters and learners, each with the disk that it has now, to follow the members of this version.
    pub fn members(
        &self,
        version: u64,
        voters: impl IntoIterator<Item = NodeId>,
        learners: impl IntoIterator<Item = NodeId>,
    ) -> Membership {
        let named = |node: NodeId| (node, member(node, self.store(node).unwrap_or_default()));
        let learners: Vec<NodeId> = learners.into_iter().collect();
        let mut members = Membership::of_voters(voters.into_iter().map(named));
        members.learners = learners.iter().copied().collect();
        members.members.extend(learners.into_iter().map(named));
        Membership { version, ..members }
    }

    /// The members that are settled: those that the last entry has named of which everything up to it is chosen.
    pub fn settled_members(&self) -> Arc<Membership> {
        self.checks.configurations().settled().1.clone()
    }

    /// How many changes of members are settled.
    pub fn changes_settled(&self) -> u64 {
        self.settled_members().version
    }

    /// The configurations that may yet decide something, or on whose disks alone something is that was decided; first
    /// the oldest. An earlier one is out of it once a quorum of its successor's disks holds everything that it had a say in.
    pub fn configurations_with_a_say(&self) -> Vec<Arc<Membership>> {
        let configurations = self.checks.configurations();
        let chain = configurations.chain();
        let is_safe = |(since, members): &&(LogIndex, Arc<Membership>)| {
            let through = configurations.last_before(*since);
            members.quorums().reached(|node| {
                let member = members.members.get(&node).map(|member| (node, member.store));
                member.is_some_and(|identity| self.keeps(identity, through))
            })
        };
        let first = chain.iter().enumerate().rev().find(|(_, it)| is_safe(it)).map_or(0, |(place, _)| place);
        let settled = configurations.settled().1.version;
        let mut all: Vec<Arc<Membership>> = chain[first..].iter().map(|(_, members)| members.clone()).collect();
        all.extend(configurations.open().filter(|members| members.version > settled).cloned());
        all.extend(self.ordered.iter().filter(|target| target.version >= settled).cloned());
        all
    }

    /// Whether nobody who has a say counts on this node.
    pub fn can_spare(&mut self, node: NodeId) -> bool {
        self.update_atlas();
        self.atlas.may_lose_for_good(node) && !self.atlas.has_a_say(node)
    }

    /// Whether the node's process is there, paused or not.
    pub fn is_running(&self, node: NodeId) -> bool {
        self.process(node).is_some()
    }

    /// Whether a change of members is on its way: open, joint, or settled and not in force.
    pub fn is_change_under_way(&self) -> bool {
        self.ids().into_iter().any(|node| self.is_change_under_way_with(node))
    }

    /// Whether one is that this node has a part in.
    pub(crate) fn is_change_under_way_with(&self, id: NodeId) -> bool {
        let configurations = self.checks.configurations();
        let (since, settled) = configurations.settled();
        let is_on_its_way = settled.is_joint() || self.last_committed() < configurations.last_before(*since);
        let takes_part = |members: &Membership| members.contains(id);
        configurations.open().any(|members| takes_part(members)) || (is_on_its_way && takes_part(settled))
    }

    /// Whether a disk would give back everything up to there by itself after a loss of power.
    fn keeps(&self, (id, store): Identity, through: LogIndex) -> bool {
        let Some(node) = self.nodes.get(&id).filter(|node| node.store == store && !node.condemned) else {
            return false;
        };
        node.persisted() >= through || (P::ROUND_IS_EPOCH && self.holds_chosen(&node.disk, through))
    }

    fn holds_chosen(&self, disk: &Disk, through: LogIndex) -> bool {
        let held = |index: u64| disk.durable_entry(LogIndex(index));
        let is_chosen = |index: u64| {
            let chosen = self.checks.chosen_at(LogIndex(index));
            chosen.zip(held(index)).is_some_and(|(chosen, held)| same_value(chosen, &held))
        };
        (disk.base().index.0 + 1..=through.0).all(is_chosen)
    }

    /// No more nodes that can be brought back than it takes for everyone who decides; `None` where too few are left.
    pub fn majority_to_repair(&mut self, seed: u64) -> Option<BTreeSet<NodeId>> {
        self.update_atlas();
        self.atlas.majority_to_repair(seed)
    }

    /// Whether somebody leads who votes, and the members are not about to change.
    pub fn are_members_settled(&self) -> bool {
        let Some((leader, status)) = self.leader().and_then(|leader| Some((leader, self.status(leader)?))) else {
            return false;
        };
        let is_last = status.membership == self.settled_members();
        is_last && status.membership.voters.contains(&leader) && !status.membership.is_joint() && !status.is_changing
    }

    /// The atlas hears who decides now. A node is no longer lost where none of them knows it by the disk that it lost.
    pub(crate) fn update_atlas(&mut self) {
        let settled = self.settled_members().version;
        self.ordered.retain(|target| target.version >= settled);
        let all = self.configurations_with_a_say();
        let is_whole = |node: &Node<P>| {
            let knows_another =
                |members: &Arc<Membership>| members.members.get(&node.id).is_some_and(|it| it.store != node.store);
            !node.condemned && !node.disk.is_damaged() && !all.iter().any(knows_another)
        };
        let whole: Vec<NodeId> = self.nodes.values().filter(|node| is_whole(node)).map(|node| node.id).collect();
        self.atlas.decide_by(all, &whole);
    }
}
