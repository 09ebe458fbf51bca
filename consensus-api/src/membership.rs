//! Who belongs to the cluster, who may vote, and where each can be found; and what a state machine keeps of that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::ids::{LogIndex, NodeId, StoreId};
use crate::planted::{Bug, is_planted};
use crate::quorum::Quorums;

/// Where a member listens, and which disk it is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Member {
    /// `host:port` of its peer endpoint.
    pub address: String,
    /// A member that comes back with another store id has lost what it promised, and must not vote.
    pub store: StoreId,
}

/// The members at some index of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Membership {
    /// How many entries have named members before this one; zero for the founders. Each names the one that it follows by
    /// counting on from it, so that of two changes that were proposed to the same members one is void, whoever led.
    pub version: u64,
    /// Who votes; while the members change, who will vote.
    pub voters: BTreeSet<NodeId>,
    /// While the members change, who voted until now: both majorities must agree. Empty otherwise.
    pub outgoing: BTreeSet<NodeId>,
    /// Who receives the log without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Where all of these are found.
    pub members: BTreeMap<NodeId, Member>,
}

impl Membership {
    /// A membership in which all of these vote.
    pub fn of_voters(members: impl IntoIterator<Item = (NodeId, Member)>) -> Membership {
        let members: BTreeMap<NodeId, Member> = members.into_iter().collect();
        Membership { voters: members.keys().copied().collect(), members, ..Membership::default() }
    }

    /// The quorums by which this membership decides.
    pub fn quorums(&self) -> Quorums<'_> {
        Quorums::new(&self.voters, &self.outgoing)
    }

    /// Whether it is on the way from one set of voters to another, and decides by both.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the node votes, in either half of a joint configuration.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether the node receives the log at all.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }

    /// Everyone who votes, in order of id.
    pub fn all_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.voters.union(&self.outgoing).copied()
    }

    /// Everyone but `me` who receives the log, in order of id.
    pub fn peers_of(&self, me: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let everyone: BTreeSet<NodeId> = self.all_voters().chain(self.learners.iter().copied()).collect();
        everyone.into_iter().filter(move |node| *node != me)
    }

    /// Whether both name the same members in the same parts, whatever came before.
    pub fn names_the_same(&self, other: &Membership) -> bool {
        let Membership { version: _, voters, outgoing, learners, members } = self;
        (voters, outgoing, learners, members) == (&other.voters, &other.outgoing, &other.learners, &other.members)
    }

    /// What the membership counts as in bounds that are stated in bytes.
    pub fn size_bytes(&self) -> usize {
        self.members.values().map(|member| 48 + member.address.len()).sum::<usize>()
            + 8 * (self.voters.len() + self.outgoing.len() + self.learners.len())
    }
}

/// What a state machine replies to an entry that names members and is void.
pub const VOID_REPLY: &[u8] = b"void";

/// The members as of an applied index, part of the state machine's tables: the same at every replica.
///
/// ```text
///   entries    … members v3 at 40 …………… members v4 at 90 …………………… applied
///                    previous                 latest, since 90
/// ```
///
/// Two of them, because an engine may bring a change into force some way behind its entry, and whoever restarts in
/// between must know who decides until then.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct AppliedMembership {
    /// Those that the latest entry has named, or the founders.
    pub latest: Arc<Membership>,
    /// Where that entry stands; zero for the founders.
    pub since: LogIndex,
    /// Those before; `None` for the founders.
    pub previous: Option<Arc<Membership>>,
    /// Everyone who has ever voted, and with which disk.
    pub voted: BTreeMap<NodeId, StoreId>,
}

impl AppliedMembership {
    /// The founders, before any entry.
    pub fn founded(founders: Arc<Membership>) -> AppliedMembership {
        let mut applied =
            AppliedMembership { latest: founders, since: LogIndex::ZERO, previous: None, voted: BTreeMap::new() };
        applied.remember_voters();
        applied
    }

    fn remember_voters(&mut self) {
        let members = self.latest.all_voters().filter_map(|node| Some((node, self.latest.members.get(&node)?.store)));
        self.voted.extend(members);
    }

    /// Takes the entry at `index`, which names these. False where it is void: another change has come between it and the
    /// members that it was meant for, and it changes nothing. That is decided by what is chosen and nothing else, so every
    /// replica decides alike.
    ///
    /// In Multi-Paxos it does happen: a leader proposes v4 at 90 and is cut off; the next one, whose quorum has not seen
    /// that, proposes another v4 at 95, behind a hole at 90; a third finds both, and each may have been chosen.
    pub fn take(&mut self, index: LogIndex, members: &Arc<Membership>) -> bool {
        if members.version != self.latest.version + 1 && !is_planted(Bug::VoidChangeTaken) {
            return false;
        }
        self.previous = Some(std::mem::replace(&mut self.latest, members.clone()));
        self.since = index;
        self.remember_voters();
        true
    }

    /// Who of these would come with another disk than the one that has voted under its id; the first, with that disk. An id
    /// that has voted keeps its disk for ever, or a member that lags, and decides by members of long ago, would count the
    /// new disk's word for the old one's: with 1, 2 and 3, of which 3 lags and 2 has lost its disk and was taken in again
    /// blank, 3 is elected by itself and the new 2, and neither has what 1 and the old 2 have decided. The engines leave
    /// this to whoever names members.
    pub fn another_disk(&self, members: &Membership) -> Option<(NodeId, StoreId)> {
        let voted = |node| self.voted.get(node).copied();
        let differs = members.members.iter().filter_map(|(node, member)| Some((*node, voted(node)?, member.store)));
        differs.into_iter().find(|(_, known, store)| known != store).map(|(node, known, _)| (node, known))
    }

    /// Who decides at `index`, where a change is in force from `window` indexes behind its entry on. It may be asked of
    /// any index that is above what this tells of by no more than the window, and not below: nothing that is yet to be
    /// chosen has a say there.
    pub fn governing(&self, index: LogIndex, window: u64) -> &Arc<Membership> {
        match &self.previous {
            Some(previous) if index.0 < self.in_force_from(window).0 => previous,
            _ => &self.latest,
        }
    }

    /// From which index on the latest are in force.
    pub fn in_force_from(&self, window: u64) -> LogIndex {
        if self.previous.is_none() { LogIndex::ZERO } else { LogIndex(self.since.0.saturating_add(window)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(version: u64, voters: &[u64]) -> Arc<Membership> {
        let member = Member { address: "127.0.0.1:1".to_owned(), store: StoreId(1) };
        let members = voters.iter().map(|voter| (NodeId(*voter), member.clone()));
        Arc::new(Membership { version, ..Membership::of_voters(members) })
    }

    #[test]
    fn a_change_that_was_meant_for_other_members_is_void() {
        let mut applied = AppliedMembership::founded(members(0, &[1]));
        assert!(applied.take(LogIndex(5), &members(1, &[1, 2])));
        let before = applied.clone();
        assert!(!applied.take(LogIndex(6), &members(1, &[1, 3])), "it was proposed to the founders");
        assert!(!applied.take(LogIndex(7), &members(3, &[1, 3])));
        assert_eq!(applied, before);
        assert!(applied.take(LogIndex(8), &members(2, &[1, 3])));
    }

    #[test]
    fn an_id_that_has_voted_keeps_its_disk_also_when_it_is_gone() {
        let mut applied = AppliedMembership::founded(members(0, &[1, 2]));
        assert!(applied.take(LogIndex(5), &members(1, &[1])));
        assert_eq!(applied.another_disk(&members(1, &[1, 2, 3])), None);
        let mut replaced = Membership::clone(&members(1, &[1, 2, 3]));
        for member in replaced.members.values_mut() {
            member.store = StoreId(9);
        }
        replaced.members.remove(&NodeId(1));
        assert_eq!(applied.another_disk(&replaced), Some((NodeId(2), StoreId(1))), "3 has never voted");
    }

    #[test]
    fn until_the_window_has_passed_the_previous_members_decide() {
        let (founders, next) = (members(0, &[1]), members(1, &[2]));
        let mut applied = AppliedMembership::founded(founders.clone());
        assert_eq!(*applied.governing(LogIndex(1), 4), founders);
        assert!(applied.take(LogIndex(5), &next));
        assert_eq!(*applied.governing(LogIndex(8), 4), founders);
        assert_eq!(*applied.governing(LogIndex(9), 4), next);
        assert_eq!((applied.in_force_from(4), applied.in_force_from(0)), (LogIndex(9), LogIndex(5)));
    }
}
