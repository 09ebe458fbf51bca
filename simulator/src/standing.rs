//! With whom a process is in touch: what the transport decides by the hellos of both ends, in spirit.
//!
//! | the peer                                       | is                                            |
//! | ---------------------------------------------- | --------------------------------------------- |
//! | a contact, with the store that it is known by  | heard and talked to                           |
//! | a contact with another store                   | refused: its disk was replaced                |
//! | no contact, and removed before our eyes        | refused                                       |
//! | no contact otherwise                           | a guest: served where it knows us             |
//!
//! Why guests: whoever has fallen behind knows old members, and may have to be brought up to date by a leader that joined
//! since. A process forgets whom it saw removed, as the transport does.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{Membership, NodeId, StoreId};

use crate::protocol::Protocol;
use crate::world::World;

/// Whom a process knows.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    known: BTreeMap<NodeId, StoreId>,
    removed: BTreeSet<NodeId>,
}

impl Standing {
    /// Of a process that begins with these members.
    pub(crate) fn new(members: &Membership) -> Standing {
        Standing { known: stores(members), removed: BTreeSet::new() }
    }

    /// From now on these are the contacts.
    pub(crate) fn change(&mut self, contacts: &Membership) {
        let before = std::mem::replace(&mut self.known, stores(contacts));
        self.removed.extend(before.into_keys());
        self.removed.retain(|node| !self.known.contains_key(node));
    }

    fn knows(&self, node: NodeId) -> bool {
        self.known.contains_key(&node)
    }

    fn accepts(&self, node: NodeId, store: StoreId) -> bool {
        match self.known.get(&node) {
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
        let end = |id| Some((self.store(id)?, self.process(id).map(|process| &process.standing)));
        let Some(((from_store, sender), (to_store, receiver))) = end(from).zip(end(to)) else { return false };
        let knows = sender.is_some_and(|standing| standing.knows(to));
        let is_known = receiver.is_some_and(|standing| standing.knows(from));
        let accepts = |standing: Option<&Standing>, node, store| standing.is_none_or(|it| it.accepts(node, store));
        (knows || is_known) && accepts(sender, to, to_store) && accepts(receiver, from, from_store)
    }
}
