//! What has happened, kept as values and put into words only when somebody reads it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use consensus_api::{
    LogIndex, MonoTime, NodeId, ReadBack, Refused, RequestId, Role, RoleChange, SendSnapshot, SharedEntry, Write,
    WriteId,
};

/// Why a message did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// The link is cut, or it lost the message.
    OnTheWay,
    /// Nobody runs at the other end.
    NobodyThere,
    /// Somebody decided so.
    Dropped,
}

/// A message and its ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Parcel<M> {
    /// Who sent it.
    pub from: NodeId,
    /// For whom it is.
    pub to: NodeId,
    /// What it says.
    pub message: M,
}

/// One thing that happened. Causes come from the world; effects are what a node answers to the cause before them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Happening<M> {
    /// Cause: a node's timer went off.
    Ticked(NodeId),
    /// Cause: a node was told to start an election.
    Campaigned(NodeId),
    /// Cause: a client of the node proposed.
    Proposed(RequestId, bytes::Bytes),
    /// Cause: a client of the node wants to read.
    ReadAsked(RequestId),
    /// Cause: a message arrived.
    Received(Parcel<M>),
    /// Cause: the network doubled a message.
    Doubled(Parcel<M>),
    /// Cause: the node's disk has performed every write up to this one.
    Synced(NodeId, WriteId),
    /// Cause: the state machine has applied everything up to here.
    Applied(NodeId, LogIndex),
    /// Cause: entries were read back.
    EntriesRead(NodeId, usize),
    /// Cause: the log was trimmed.
    Trimmed(NodeId, LogIndex),
    /// Cause: the process died.
    Crashed {
        /// Whose.
        node: NodeId,
        /// How many of its pending writes died with it.
        lost: usize,
        /// How many reached the disk all the same.
        kept: usize,
    },
    /// Cause: it runs again, for the how-manyth time.
    Restarted(NodeId, u64),
    /// Cause: it stands still.
    Paused(NodeId),
    /// Cause: it goes on.
    Resumed(NodeId),
    /// Cause: nothing gets from the one to the other any more.
    Cut(NodeId, NodeId),
    /// Cause: all links are whole.
    Healed,

    /// Effect: a message left.
    Sent(Parcel<M>),
    /// A message will not arrive.
    NotDelivered(Parcel<M>, Lost),
    /// Effect: a write was handed to the disk.
    Wrote(NodeId, Write),
    /// Effect: the node's part has changed.
    Role(NodeId, RoleChange),
    /// Effect: entries were handed to the state machine.
    Committed(NodeId, Vec<SharedEntry>),
    /// Effect: the proposer was told that its command is applied.
    Acknowledged(RequestId, LogIndex),
    /// Effect: the client was told that its request was not carried out.
    Refused(Refused),
    /// Effect: the client may read tables that have applied up to here.
    ReadServed(RequestId, LogIndex),
    /// Effect: entries are wanted from the log store.
    ReadBackWanted(NodeId, ReadBack),
    /// Effect: a peer needs a snapshot.
    SnapshotWanted(NodeId, SendSnapshot),
}

/// How much of everything has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All happenings.
    pub happenings: u64,
    /// Times that a node became leader.
    pub elections: u64,
    /// Crashes.
    pub crashes: u64,
    /// Crashes that lost a write.
    pub lossy_crashes: u64,
    /// Restarts.
    pub restarts: u64,
    /// Pauses.
    pub pauses: u64,
    /// Directed links cut.
    pub cuts: u64,
    /// Messages sent and not lost at once.
    pub sent: u64,
    /// Messages lost.
    pub lost: u64,
    /// Entries handed to state machines, counted at each node.
    pub committed: u64,
    /// Proposals acknowledged.
    pub acknowledged: u64,
    /// Requests refused.
    pub refused: u64,
    /// Reads served.
    pub reads_served: u64,
    /// Times that entries were read back.
    pub read_backs: u64,
    /// Logs trimmed.
    pub trims: u64,
    /// Snapshots wanted.
    pub snapshots_wanted: u64,
}

impl Counts {
    fn count<M>(&mut self, happening: &Happening<M>) {
        self.happenings += 1;
        match happening {
            Happening::Role(_, change) if change.role == Role::Leader => self.elections += 1,
            Happening::Crashed { lost, .. } => {
                self.crashes += 1;
                self.lossy_crashes += u64::from(*lost > 0);
            }
            Happening::Restarted(..) => self.restarts += 1,
            Happening::Paused(_) => self.pauses += 1,
            Happening::Cut(..) => self.cuts += 1,
            Happening::Sent(_) => self.sent += 1,
            Happening::NotDelivered(..) => self.lost += 1,
            Happening::Committed(_, entries) => self.committed += entries.len() as u64,
            Happening::Acknowledged(..) => self.acknowledged += 1,
            Happening::Refused(_) => self.refused += 1,
            Happening::ReadServed(..) => self.reads_served += 1,
            Happening::EntriesRead(..) => self.read_backs += 1,
            Happening::Trimmed(..) => self.trims += 1,
            Happening::SnapshotWanted(..) => self.snapshots_wanted += 1,
            _ => {}
        }
    }
}

/// What has happened since somebody last looked, bounded; and a fingerprint of everything that ever did.
#[derive(Debug)]
pub struct Trace<M> {
    happenings: VecDeque<(MonoTime, Happening<M>)>,
    kept_max: usize,
    fingerprint: DefaultHasher,
    counts: Counts,
}

impl<M: Hash> Trace<M> {
    pub(crate) fn new(kept_max: usize) -> Trace<M> {
        Trace { happenings: VecDeque::new(), kept_max, fingerprint: DefaultHasher::new(), counts: Counts::default() }
    }

    pub(crate) fn note(&mut self, at: MonoTime, happening: Happening<M>) {
        (at, &happening).hash(&mut self.fingerprint);
        self.counts.count(&happening);
        if self.happenings.len() == self.kept_max {
            self.happenings.pop_front();
        }
        self.happenings.push_back((at, happening));
    }

    /// Takes out what is kept, oldest first.
    pub fn take(&mut self) -> Vec<(MonoTime, Happening<M>)> {
        self.happenings.drain(..).collect()
    }

    /// How much has happened in all.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The same for the same history, to the byte. (Only within one build: the hash is the standard library's.)
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.finish()
    }
}
