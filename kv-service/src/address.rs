//! What may be a member's address, by the one rule that the cluster itself goes by.

use consensus_api::membership_change;
use consensus_api::{Member, Membership, NodeId, Refusal, StoreId};

/// Whether the node could be found there, whoever the other members are.
///
/// # Errors
/// [`Refusal::InvalidMembership`], with what is wrong.
pub fn check(node: NodeId, address: &str) -> Result<(), Refusal> {
    let alone = Membership::of_voters([(node, Member { address: address.to_owned(), store: StoreId(1) })]);
    membership_change::check(&alone, &alone)
}
