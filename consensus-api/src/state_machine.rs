//! What the log is for: a deterministic machine that applies its entries in order.

use std::time::Duration;

use bytes::Bytes;

use crate::engine::LogPosition;
use crate::entry::SharedEntry;
use crate::ids::LogIndex;
use crate::membership::AppliedMembership;
use crate::time::LogTime;

/// How far a state machine has come, as its own tables say. The members are part of the tables, so that a checkpoint
/// says by itself who may go on from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppliedState {
    /// The last applied entry. Its ballot is local metadata and no part of a digest.
    pub position: LogPosition,
    /// The highest log time of the entries so far.
    pub log_time: LogTime,
    /// The members, as of that entry; `None` until the founding has named some.
    pub membership: Option<AppliedMembership>,
}

/// A deterministic machine above the log. One thread owns it.
pub trait StateMachine: Send + 'static {
    /// Why it failed; final for the replica.
    type Error: std::error::Error + Send + Sync + 'static;

    /// How far it has come.
    fn applied(&self) -> Result<AppliedState, Self::Error>;

    /// The last index whose effects survive a power loss now; at or below the applied one. The log is never trimmed
    /// past it.
    fn persisted(&self) -> Result<LogIndex, Self::Error>;

    /// Applies these entries, which follow the applied index without a gap, or as many of the first of them (at least
    /// one) as the machine's memory allows, in one atomic step together with the new [`AppliedState`]. Returns one
    /// reply for each entry that was applied, empty for those that are not commands. A command that makes
    /// no sense to the machine gets a reply that says so, the same at every replica; it is not an error. A command without
    /// bytes says nothing, as one that stands for a read does ([`ReadMode::Log`](crate::ReadMode::Log)): it changes nothing
    /// and its reply is empty. An entry that names members is [taken](AppliedMembership::take), with an empty reply, or is
    /// void, with [`VOID_REPLY`](crate::membership::VOID_REPLY).
    fn apply(&mut self, entries: &[SharedEntry]) -> Result<Vec<Bytes>, Self::Error>;

    /// How often the machine wants the log's time to go forward while nobody writes, as things stand now; `None`: it
    /// does not care. A machine that lets something expire wants it while there is something to expire.
    fn time_wanted(&self) -> Option<Duration> {
        None
    }

    /// Makes everything that is applied durable.
    fn flush(&mut self) -> Result<(), Self::Error>;

    /// Other tables stand in the place of the machine's own, as after a snapshot was installed: forgets what it knew of the
    /// old ones, and returns how far the new ones have come.
    fn reopened(&mut self) -> Result<AppliedState, Self::Error>;

    /// A hash over the tables, without local metadata: equal at equal applied indexes, on every replica.
    fn digest(&self) -> Result<[u8; 32], Self::Error>;
}
