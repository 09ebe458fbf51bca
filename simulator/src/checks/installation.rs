//! A snapshot that takes the place of tables is what its manifest says, names the members, and stands on the one
//! sequence of what is applied, further along than the tables were. That it is the canonical state there the digests
//! tell: each is taken down when the snapshot is taken (state machine safety, Raft paper §7).
//!
//! What the log has above the snapshot stays: it was vouched for. In Raft it goes where the log had another entry than
//! the snapshot's last, and there alone (§7, "retain any following entries").

use consensus_api::{AppliedMembership, AppliedState, NodeId, SnapshotManifest};

use super::{Passage, Violation};

/// Keeps no state of its own.
#[derive(Debug)]
pub(super) struct Installation {
    round_is_epoch: bool,
}

impl Installation {
    pub(super) fn new(round_is_epoch: bool) -> Installation {
        Installation { round_is_epoch }
    }

    pub(super) fn installed(
        &self,
        node: NodeId,
        manifest: &SnapshotManifest,
        state: &AppliedState,
        members: &AppliedMembership,
    ) -> Result<(), Violation> {
        let index = manifest.position.index;
        let broken = |what: String| Err(Violation::Installation { node, index, what });
        if state.position != manifest.position || state.log_time != manifest.log_time {
            return broken(format!("is said to be {:?}, and the tables say {:?}", manifest.position, state.position));
        }
        if manifest.membership != *members.latest || state.membership.as_ref() != Some(members) {
            let named = (&manifest.membership, &state.membership);
            return broken(format!("names the members {named:?}, and {members:?} they are"));
        }
        Ok(())
    }

    /// The engine goes on with what its log had above the base, or without where that belongs to another log.
    pub(super) fn went_on_after(&self, node: NodeId, passage: &Passage) -> Result<(), Violation> {
        let Passage { base, own, before, after } = *passage;
        let broken = |what: String| Err(Violation::Installation { node, index: base.index, what });
        let other = own.filter(|own| self.round_is_epoch && own.round != base.ballot.round);
        match other {
            Some(own) if after > base.index => broken(format!(
                "ends under {}, and the log up to {after}, which goes on from {own}, stays",
                base.ballot
            )),
            None if after < before => broken(format!("is gone on from, and the log up to {before} ends at {after}")),
            _ => Ok(()),
        }
    }
}
