//! A snapshot that takes the place of tables is what its manifest says, names the members, and stands on the one
//! sequence of what is applied, further along than the tables were. That it is the canonical state there the digests
//! tell: each is taken down when the snapshot is taken (state machine safety, Raft paper §7).

use std::sync::Arc;

use consensus_api::{AppliedState, Entry, LogIndex, LogPosition, Membership, NodeId, SnapshotManifest};

use super::Violation;

/// Keeps no state of its own.
#[derive(Debug)]
pub(super) struct Installation;

impl Installation {
    pub(super) fn installed(
        &self,
        node: NodeId,
        manifest: &SnapshotManifest,
        state: &AppliedState,
        members: &Membership,
    ) -> Result<(), Violation> {
        let index = manifest.position.index;
        let broken = |what: String| Err(Violation::Installation { node, index, what });
        if state.position != manifest.position || state.log_time != manifest.log_time {
            return broken(format!("is said to be {:?}, and the tables say {:?}", manifest.position, state.position));
        }
        let named = [Some(&manifest.membership), state.membership.as_ref().map(Arc::as_ref)];
        if named.iter().any(|named| *named != Some(members)) {
            return broken(format!("names the members {named:?}, and {members:?} they are"));
        }
        Ok(())
    }

    /// Raft: what followed another entry than the snapshot's last is no longer in the log.
    pub(super) fn went_on_after(
        &self,
        node: NodeId,
        base: LogPosition,
        own: Option<&Entry>,
        last: LogIndex,
    ) -> Result<(), Violation> {
        match own {
            Some(own) if own.ballot.round != base.ballot.round && last > base.index => {
                let what = format!(
                    "ends under {}, and the log up to {last}, which goes on from {}, stays",
                    base.ballot, own.ballot
                );
                Err(Violation::Installation { node, index: base.index, what })
            }
            _ => Ok(()),
        }
    }
}
