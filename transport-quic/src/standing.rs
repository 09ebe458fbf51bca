//! Where this node stands, and with whom it will talk: the rule by which a hello is accepted or refused.
//!
//! | the peer                                             | is                                               |
//! | ---------------------------------------------------- | ------------------------------------------------ |
//! | of another engine, group, era or cluster             | refused                                          |
//! | forming a cluster as we do, from other tables        | refused                                          |
//! | of our cluster, and knows later members than we do   | a guest, where our members say otherwise of it   |
//! | a member or contact, with the store it is known by   | a member; also while it, or we, are not stamped  |
//! | a member with another store                          | refused: its disk was replaced                   |
//! | of our cluster, but not in our membership            | a guest, unless it was removed before our eyes   |
//! | not stamped and not known                            | refused                                          |
//!
//! Why guests: a node that has fallen behind knows old members, and may have to be brought up to date by a leader that
//! joined since, that has moved, or that came back with another disk. If it refused that leader, or answered it where it
//! no longer is, it would never learn of it. (Ongaro 2014, §4.1: a server takes entries from a leader that is not in its
//! configuration.) A node that joins knows the founders and nobody else, and these may all be gone. So a guest is dialed
//! where it came from, and not where our members have it, until we know as much as it does.
//!
//! A contact is the operator's word about a node as it was when the contact was given: it holds for as long as the members
//! have that node at the address and with the store that the first of them had. A member that has moved, or came back with
//! another disk, is dialed where the members have it: otherwise nobody who was once given a contact would reach it again.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::{ClusterId, Member, Membership, NodeId};

use crate::hello::{Hello, HelloRefused};

/// The most former members that are remembered.
const REMOVED_MAX: usize = 1024;

/// What this node says of itself, and whom it knows.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    mine: Hello,
    contacts: BTreeMap<NodeId, String>,
    /// Whom the contacts were given for, as the first membership names them; `None` before there is one.
    given_for: Option<BTreeMap<NodeId, Member>>,
    known: BTreeMap<NodeId, Known>,
    removed: BTreeSet<NodeId>,
}

/// Where a peer is dialed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where our members, or a contact, have it.
    Recorded(String),
    /// Where it came from.
    WhereItCameFrom,
    /// Nowhere: we have nothing to do with it.
    Nowhere,
}

/// A peer that a membership names, or that we were given as a first contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Where it is dialed.
    address: String,
    /// What the membership says of it; `None` for a contact: its first hello tells.
    member: Option<Member>,
}

/// What an accepted peer is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Member,
    Guest,
}

impl Standing {
    pub(crate) fn new(mine: Hello, contacts: BTreeMap<NodeId, String>) -> Standing {
        let me = mine.node;
        let known = contacts.iter().map(|(node, address)| (*node, Known { address: address.clone(), member: None }));
        let known = known.filter(|(node, _)| *node != me).collect();
        Standing { mine, contacts, given_for: None, known, removed: BTreeSet::new() }
    }

    pub(crate) fn hello(&self) -> &Hello {
        &self.mine
    }

    pub(crate) fn known(&self) -> &BTreeMap<NodeId, Known> {
        &self.known
    }

    fn is_removed(&self, node: NodeId) -> bool {
        self.removed.contains(&node)
    }

    /// Stamps this node. A stamp is for ever.
    pub(crate) fn set_cluster(&mut self, cluster: ClusterId) {
        let before = self.mine.cluster.replace(cluster);
        assert!(before.is_none_or(|before| before == cluster), "stamped with {before:?}, and now with {cluster}");
    }

    /// Where to dial a peer from which a link with this hello has come, if one has.
    pub(crate) fn place_of(&self, node: NodeId, incoming: Option<&Hello>) -> Place {
        let is_guest = incoming.is_some_and(|hello| self.check(hello) == Ok(Relation::Guest));
        match self.known.get(&node) {
            Some(known) if !is_guest => Place::Recorded(known.address.clone()),
            _ if is_guest => Place::WhereItCameFrom,
            _ => Place::Nowhere,
        }
    }

    /// From now on the membership says who is known, and where, except where a contact says otherwise of a member that is
    /// what it was in the first membership.
    pub(crate) fn set_members(&mut self, membership: &Membership) {
        self.mine.members_version = membership.version;
        if self.given_for.is_none() {
            let founders = membership.members.iter().filter(|(node, _)| self.contacts.contains_key(node));
            self.given_for = Some(founders.map(|(node, member)| (*node, member.clone())).collect());
        }
        let members = membership.members.iter().filter(|(node, _)| **node != self.mine.node);
        let known: BTreeMap<NodeId, Known> = members
            .map(|(node, member)| {
                let address = self.contact_of(*node, member).unwrap_or(&member.address).clone();
                (*node, Known { address, member: Some(member.clone()) })
            })
            .collect();
        let before = std::mem::replace(&mut self.known, known);
        // A contact that no membership has named yet was never a member, and so is not removed.
        self.removed.extend(before.into_iter().filter(|(_, known)| known.member.is_some()).map(|(node, _)| node));
        self.removed.retain(|node| !self.known.contains_key(node));
        while self.removed.len() > REMOVED_MAX {
            self.removed.pop_first();
        }
    }

    /// Where the operator of this node says that a member is reached from here, if that was said of this very member.
    fn contact_of(&self, node: NodeId, member: &Member) -> Option<&String> {
        let given_for = self.given_for.as_ref()?.get(&node)?;
        self.contacts.get(&node).filter(|_| given_for == member)
    }

    /// Whether to talk to a peer that says this of itself; who it is was proven already.
    pub(crate) fn check(&self, theirs: &Hello) -> Result<Relation, HelloRefused> {
        let ours = &self.mine;
        let node = theirs.node;
        if ours.engine != theirs.engine {
            return Err(HelloRefused::OtherEngine { refuser: ours.engine, refused: theirs.engine });
        }
        if ours.group != theirs.group {
            return Err(HelloRefused::OtherGroup { refuser: ours.group, refused: theirs.group });
        }
        if ours.era != theirs.era {
            return Err(HelloRefused::OtherEra { refuser: ours.era, refused: theirs.era });
        }
        if let (Some(refuser), Some(refused)) = (ours.cluster, theirs.cluster)
            && refuser != refused
        {
            return Err(HelloRefused::OtherCluster { refuser, refused });
        }
        let both_forming = ours.cluster.is_none() && theirs.cluster.is_none();
        if both_forming && ours.restored_from != theirs.restored_from {
            let (refuser, refused) = (ours.restored_from, theirs.restored_from);
            return Err(HelloRefused::OtherOrigin { refuser, refused });
        }
        if ours.node == node {
            return Err(HelloRefused::SameNode { node });
        }
        let is_ours = theirs.cluster.is_some();
        let knows_more = is_ours && theirs.members_version > ours.members_version;
        match self.known.get(&node) {
            Some(known) if knows_more && !known.is_as(theirs) => Ok(Relation::Guest),
            Some(Known { member: Some(Member { store: known, .. }), .. }) if *known != theirs.store => {
                Err(HelloRefused::DiskReplaced { node, known: *known, found: theirs.store })
            }
            Some(_) => Ok(Relation::Member),
            None if is_ours && (knows_more || !self.is_removed(node)) => Ok(Relation::Guest),
            None => Err(HelloRefused::UnknownNode { node }),
        }
    }
}

impl Known {
    /// Whether a peer says of itself what is known of it. Of a first contact nothing is.
    fn is_as(&self, theirs: &Hello) -> bool {
        let said = (theirs.store, theirs.address.as_str());
        self.member.as_ref().is_none_or(|member| (member.store, member.address.as_str()) == said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus_api::{EngineName, Era, GroupId, SnapshotId, StoreId};

    fn hello(node: u64, store: u128, cluster: Option<u128>) -> Hello {
        Hello {
            engine: EngineName::new("any"),
            group: GroupId(0),
            era: Era(0),
            node: NodeId(node),
            store: StoreId(store),
            address: format!("127.0.0.1:{node}"),
            service_address: None,
            restored_from: None,
            life: 1,
            cluster: cluster.map(ClusterId),
            members_version: 0,
        }
    }

    fn members(nodes: &[(u64, u128)]) -> Membership {
        let member = |store| Member { address: "127.0.0.1:1".to_owned(), store: StoreId(store) };
        Membership::of_voters(nodes.iter().map(|(node, store)| (NodeId(*node), member(*store))))
    }

    fn stamped() -> Standing {
        let mut standing = Standing::new(hello(1, 11, None), BTreeMap::new());
        standing.set_cluster(ClusterId(7));
        standing.set_members(&members(&[(1, 11), (2, 22), (3, 33)]));
        standing
    }

    fn forming() -> Standing {
        Standing::new(hello(1, 11, None), BTreeMap::from([(NodeId(2), "127.0.0.1:2".to_owned())]))
    }

    #[test]
    fn while_forming_contacts_and_stamped_nodes_are_welcome_and_nobody_else() {
        let standing = forming();
        assert_eq!(standing.check(&hello(2, 99, None)), Ok(Relation::Member));
        assert_eq!(standing.check(&hello(3, 33, Some(7))), Ok(Relation::Guest));
        assert_eq!(standing.check(&hello(3, 33, None)), Err(HelloRefused::UnknownNode { node: NodeId(3) }));
    }

    #[test]
    fn a_stamped_node_knows_its_members_by_their_stores() {
        let standing = stamped();
        assert_eq!(standing.check(&hello(2, 22, Some(7))), Ok(Relation::Member));
        assert_eq!(standing.check(&hello(2, 22, None)), Ok(Relation::Member), "it crashed before it was stamped");
        let replaced = HelloRefused::DiskReplaced { node: NodeId(2), known: StoreId(22), found: StoreId(23) };
        assert_eq!(standing.check(&hello(2, 23, None)), Err(replaced.clone()));
        assert_eq!(standing.check(&hello(2, 23, Some(7))), Err(replaced));
    }

    #[test]
    fn a_stamped_stranger_is_a_guest_and_a_removed_member_is_not() {
        let mut standing = stamped();
        assert_eq!(standing.check(&hello(4, 44, Some(7))), Ok(Relation::Guest));
        standing.set_members(&members(&[(1, 11), (2, 22)]));
        assert_eq!(standing.check(&hello(3, 33, Some(7))), Err(HelloRefused::UnknownNode { node: NodeId(3) }));
        standing.set_members(&members(&[(1, 11), (3, 33)]));
        assert_eq!(standing.check(&hello(3, 33, Some(7))), Ok(Relation::Member));
    }

    fn knowing(members_version: u64, node: u64, store: u128) -> Hello {
        Hello { members_version, address: "127.0.0.1:1".to_owned(), ..hello(node, store, Some(7)) }
    }

    /// Nodes 2 and 3 as of version 4, as node 1 knows them.
    fn behind() -> Standing {
        let mut standing = stamped();
        standing.set_members(&Membership { version: 4, ..members(&[(1, 11), (2, 22), (3, 33)]) });
        standing
    }

    #[test]
    fn whoever_knows_later_members_is_believed_about_its_store_its_place_and_its_membership() {
        let mut standing = behind();
        let came = Place::WhereItCameFrom;
        let replaced = knowing(5, 2, 99);
        assert_eq!(standing.check(&replaced), Ok(Relation::Guest));
        assert_eq!(standing.place_of(NodeId(2), Some(&replaced)), came);
        let moved = Hello { address: "elsewhere:2".to_owned(), ..knowing(5, 2, 22) };
        assert_eq!(
            (standing.check(&moved), standing.place_of(NodeId(2), Some(&moved))),
            (Ok(Relation::Guest), came.clone())
        );
        assert_eq!(standing.check(&knowing(5, 2, 22)), Ok(Relation::Member), "nothing of it has changed");
        standing.set_members(&Membership { version: 5, ..members(&[(1, 11), (3, 33)]) });
        assert_eq!(standing.check(&knowing(6, 2, 99)), Ok(Relation::Guest), "it was removed, and came back since");
    }

    #[test]
    fn whoever_knows_no_later_members_comes_from_the_past() {
        let standing = behind();
        for version in [0, 3, 4] {
            let refused = standing.check(&knowing(version, 2, 99));
            assert!(matches!(refused, Err(HelloRefused::DiskReplaced { .. })), "{version}: {refused:?}");
            let moved = Hello { address: "elsewhere:2".to_owned(), ..knowing(version, 2, 22) };
            assert_eq!(standing.check(&moved), Ok(Relation::Member));
            let recorded = Place::Recorded("127.0.0.1:1".to_owned());
            assert_eq!(
                standing.place_of(NodeId(2), Some(&moved)),
                recorded,
                "it may say of itself what others cannot use"
            );
        }
        let wiped = Hello { cluster: None, ..knowing(9, 2, 99) };
        assert!(
            matches!(standing.check(&wiped), Err(HelloRefused::DiskReplaced { .. })),
            "nobody has admitted it again"
        );
    }

    fn recorded(address: &str) -> Place {
        Place::Recorded(address.to_owned())
    }

    /// Node 1, stamped with nodes 1 to 3, and told of another way to node 2.
    fn told_of_a_way_to_two() -> Standing {
        let contacts = [(2, "by another way:2"), (9, "nobody:9")];
        let contacts = contacts.map(|(node, address)| (NodeId(node), address.to_owned()));
        let mut standing = Standing::new(hello(1, 11, None), BTreeMap::from(contacts));
        standing.set_cluster(ClusterId(7));
        standing.set_members(&members(&[(1, 11), (2, 22), (3, 33)]));
        standing
    }

    #[test]
    fn a_contact_says_where_a_member_is_dialed_and_is_no_member_by_itself() {
        let standing = told_of_a_way_to_two();
        let another_way = recorded("by another way:2");
        assert_eq!(standing.place_of(NodeId(2), None), another_way);
        assert_eq!(standing.place_of(NodeId(2), Some(&knowing(5, 2, 22))), another_way, "nothing of it has changed");
        assert_eq!(standing.place_of(NodeId(3), None), recorded("127.0.0.1:1"));
        assert_eq!(standing.place_of(NodeId(9), None), Place::Nowhere);
    }

    #[test]
    fn a_contact_holds_while_the_members_have_that_node_as_the_founders_had_it() {
        let mut standing = told_of_a_way_to_two();
        let founders = members(&[(1, 11), (2, 22), (3, 33)]);
        let mut moved = founders.clone();
        moved.members.insert(NodeId(2), Member { address: "elsewhere:2".to_owned(), store: StoreId(22) });
        let replaced = members(&[(1, 11), (2, 99), (3, 33)]);
        for (version, members, place) in [
            (1, &moved, recorded("elsewhere:2")),
            (2, &founders, recorded("by another way:2")),
            (3, &replaced, recorded("127.0.0.1:1")),
            (4, &members(&[(1, 11), (9, 99)]), Place::Nowhere),
            (5, &founders, recorded("by another way:2")),
        ] {
            standing.set_members(&Membership { version, ..members.clone() });
            assert_eq!(standing.place_of(NodeId(2), None), place, "version {version}");
            let is_there = members.contains(NodeId(9));
            let place = if is_there { recorded("127.0.0.1:1") } else { Place::Nowhere };
            assert_eq!(standing.place_of(NodeId(9), None), place, "its contact was given for no founder");
        }
    }

    #[test]
    fn whoever_knows_later_members_and_is_not_what_the_contact_was_given_for_is_dialed_where_it_came_from() {
        let standing = told_of_a_way_to_two();
        let moved = Hello { address: "elsewhere:2".to_owned(), ..knowing(5, 2, 22) };
        for guest in [knowing(5, 2, 99), moved] {
            assert_eq!(standing.check(&guest), Ok(Relation::Guest));
            assert_eq!(standing.place_of(NodeId(2), Some(&guest)), Place::WhereItCameFrom);
        }
    }

    #[test]
    fn founders_that_begin_with_different_tables_refuse_each_other() {
        let restored = Hello { restored_from: Some(SnapshotId(5)), ..hello(2, 22, None) };
        let refused = HelloRefused::OtherOrigin { refuser: None, refused: Some(SnapshotId(5)) };
        assert_eq!(forming().check(&restored), Err(refused));
        let stamped = Hello { cluster: Some(ClusterId(7)), ..restored };
        assert_eq!(forming().check(&stamped), Ok(Relation::Member), "whoever joins later begins as it likes");
    }

    #[test]
    fn what_differs_is_named() {
        let standing = stamped();
        let refused = |change: fn(&mut Hello)| {
            let mut theirs = hello(2, 22, Some(7));
            change(&mut theirs);
            standing.check(&theirs)
        };
        assert!(matches!(
            refused(|theirs| theirs.engine = EngineName::new("other")),
            Err(HelloRefused::OtherEngine { .. })
        ));
        assert!(matches!(refused(|theirs| theirs.group = GroupId(1)), Err(HelloRefused::OtherGroup { .. })));
        assert!(matches!(refused(|theirs| theirs.era = Era(1)), Err(HelloRefused::OtherEra { .. })));
        assert!(matches!(
            refused(|theirs| theirs.cluster = Some(ClusterId(8))),
            Err(HelloRefused::OtherCluster { .. })
        ));
        assert!(matches!(refused(|theirs| theirs.node = NodeId(1)), Err(HelloRefused::SameNode { .. })));
    }
}
