//! With whom a process is in touch: what the transport decides by the hellos of both ends, in spirit.
//!
//! | the peer                                       | is                                            |
//! | ---------------------------------------------- | --------------------------------------------- |
//! | goes by later members than we do               | a guest, where our members say otherwise      |
//! | a contact, with the store that it is known by  | heard and talked to                           |
//! | a contact with another store                   | refused: its disk was replaced                |
//! | no contact, and removed before our eyes        | refused                                       |
//! | no contact otherwise                           | a guest: served where it knows us             |
//!
//! Why guests: whoever has fallen behind knows old members, and may have to be brought up to date by a leader that joined
//! since, that left and came back, or that came back with another disk. A process forgets whom it saw removed, as the
//! transport does.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Membership, NodeId, StoreId};

use crate::protocol::Protocol;
use crate::world::World;

/// Whom a process knows.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    version: u64,
    known: BTreeMap<NodeId, StoreId>,
    removed: BTreeSet<NodeId>,
}

impl Standing {
    /// Of a process that begins with these members.
    pub(crate) fn new(members: &Membership) -> Standing {
        Standing { version: members.version, known: stores(members), removed: BTreeSet::new() }
    }

    /// From now on these are the contacts.
    pub(crate) fn change(&mut self, contacts: &Membership) {
        let before = std::mem::replace(&mut self.known, stores(contacts));
        self.version = contacts.version;
        self.removed.extend(before.into_keys());
        self.removed.retain(|node| !self.known.contains_key(node));
    }

    fn knows(&self, node: NodeId) -> bool {
        self.known.contains_key(&node)
    }

    /// Whether it talks to a peer with this disk, which goes by members of that version, if it is there to say so.
    fn accepts(&self, node: NodeId, store: StoreId, version: Option<u64>) -> bool {
        version.is_some_and(|version| version > self.version)
            || match self.known.get(&node) {
                Some(known) => *known == store || is_planted(Bug::WipedDiskAdmitted),
                None => !self.removed.contains(&node),
            }
    }
}

fn stores(members: &Membership) -> BTreeMap<NodeId, StoreId> {
    members.members.iter().map(|(node, member)| (*node, member.store)).collect()
}

impl<P: Protocol> World<P> {
    /// Whether there is a connection between the two: one end knows the other, and neither refuses the other. What comes
    /// from a process that is gone by now, or to one that is not there, is judged by the end that is.
    pub(crate) fn admits(&self, from: NodeId, to: NodeId) -> bool {
        let Some((from_store, to_store)) = self.store(from).zip(self.store(to)) else { return false };
        let standing = |id| self.process(id).map(|process| &process.standing);
        let (sender, receiver) = (standing(from), standing(to));
        let knows = |one: Option<&Standing>, other| one.is_some_and(|standing| standing.knows(other));
        let accepts = |one: Option<&Standing>, node, store, other: Option<&Standing>| {
            one.is_none_or(|standing| standing.accepts(node, store, other.map(|it| it.version)))
        };
        (knows(sender, to) || knows(receiver, from))
            && accepts(sender, to, to_store, receiver)
            && accepts(receiver, from, from_store, sender)
    }
}
