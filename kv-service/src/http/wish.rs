//! What a request for a member asks for: as far as it makes sense by itself, and then as the members are.
//!
//! ```text
//!   body ─▶ wish: an id, a place, a part ─▶ barrier ─▶ the members as they are, who has ever voted ─▶ the members wanted
//!             └─ makes no sense: 400                                                  └─ another disk: 409
//! ```

use std::collections::BTreeMap;

use consensus_api::{AppliedMembership, Member, Membership, NodeId, StoreId};
use kv_client::protocol::MemberRequest;

use super::errors::ApiError;
use super::members::{drop_member, member_id};
use crate::address;

/// A member that somebody wants.
#[derive(Debug)]
pub(super) struct Wish {
    node: NodeId,
    address: Option<String>,
    store: Option<StoreId>,
    learner: bool,
    /// Who goes in the same change.
    replaces: Option<NodeId>,
}

impl Wish {
    /// What the request wants, where that makes sense whoever the members are.
    pub(super) fn of(request: MemberRequest) -> Result<Wish, ApiError> {
        let node = member_id(request.id)?;
        let store = request.store.as_deref().map(parse_store).transpose()?;
        if let Some(address) = &request.address {
            address::check(node, address).map_err(|refusal| ApiError::bad_input(refusal.to_string()))?;
        }
        let replaces = request.replaces.map(member_id).transpose()?;
        if replaces == Some(node) {
            return Err(ApiError::bad_input(format!("node {node} cannot replace itself; leave out replaces")));
        }
        Ok(Wish { node, address: request.address, store, learner: request.learner, replaces })
    }

    /// The members that it wants in place of the present ones.
    pub(super) fn target(&self, present: &Membership, applied: &AppliedMembership) -> Result<Membership, ApiError> {
        let node = self.node;
        let member = self.member(present, applied)?;
        let mut target = present.clone();
        target.members.insert(node, member);
        let (joined, left) = match self.learner {
            true => (&mut target.learners, &mut target.voters),
            false => (&mut target.voters, &mut target.learners),
        };
        joined.insert(node);
        left.remove(&node);
        // One that is gone already was replaced, if the other is in its place; or else it was never there.
        if let Some(replaced) = self.replaces
            && !drop_member(&mut target, replaced)
            && !target.names_the_same(present)
        {
            return Err(ApiError::no_such_member(replaced));
        }
        Ok(target)
    }

    /// The member itself, with the disk that it has always had.
    fn member(&self, present: &Membership, applied: &AppliedMembership) -> Result<Member, ApiError> {
        let node = self.node;
        let known = present.members.get(&node);
        let member = match (known, &self.address, self.store) {
            (Some(known), address, store) => Member {
                address: address.clone().unwrap_or_else(|| known.address.clone()),
                store: store.unwrap_or(known.store),
            },
            (None, Some(address), Some(store)) => Member { address: address.clone(), store },
            (None, ..) => {
                let message = format!(
                    "node {node} is no member, and a new one needs its address and store; start it with --join, or see \
                     'kv-service inspect' for its store"
                );
                return Err(ApiError::bad_input(message));
            }
        };
        let alone = Membership { members: BTreeMap::from([(node, member.clone())]), ..Membership::default() };
        if let Some((node, voted)) = applied.another_disk(&alone) {
            return Err(ApiError::disk_lost(node, voted));
        }
        match known {
            Some(known) if known.store != member.store => Err(ApiError::id_in_use(node, known, member.store)),
            _ => Ok(member),
        }
    }
}

fn parse_store(text: &str) -> Result<StoreId, ApiError> {
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let store = if is_hex { u128::from_str_radix(text, 16).ok() } else { None };
    store.filter(|store| *store != 0).map(StoreId).ok_or_else(|| {
        ApiError::bad_input("store must be a store id, 32 hexadecimal digits; 'kv-service inspect' shows it")
    })
}
