//! What has happened, kept as values and put into words only when somebody reads it.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use consensus_api::{
    Lane, LogIndex, Membership, MonoTime, NodeId, Payload, ReadBack, ReadMode, Refusal, Refused, RequestId, Role,
    RoleChange, SendSnapshot, SharedEntry, StoreId, Write, WriteId,
};

use crate::answers::Means;
use crate::checks::SessionNews;
use crate::disk::DiskError;
use crate::inflict::LeftBroken;
use crate::plan::Kind;

/// Why a message did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lost {
    /// The link is cut, or it lost the message.
    OnTheWay,
    /// Nobody runs at the other end.
    NobodyThere,
    /// Somebody decided so.
    Dropped,
    /// Too much is on its way on this link already.
    NoRoom,
    /// One of the two has another disk than the one that the other knows it by, was removed, or neither knows the other.
    Stranger,
}

/// A message and its ends.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Parcel<M> {
    /// Who sent it.
    pub from: NodeId,
    /// For whom it is.
    pub to: NodeId,
    /// On which of the link's lanes.
    pub lane: Lane,
    /// Between which disks of the two the connection was made: with another one at either end it is another connection.
    pub stores: (StoreId, StoreId),
    /// What it says; shared by all who keep it.
    pub message: Arc<M>,
}

// Derived, it would ask for messages that can be cloned.
impl<M> Clone for Parcel<M> {
    fn clone(&self) -> Parcel<M> {
        Parcel { from: self.from, to: self.to, lane: self.lane, stores: self.stores, message: self.message.clone() }
    }
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
    /// Cause: an operator asks the node that its client names for other members.
    MembersAsked(RequestId, Arc<Membership>),
    /// Cause: an operator asks for another leader.
    TransferAsked(RequestId, Option<NodeId>),
    /// Effect: it is settled who the members are; so many of the voters were learners before.
    Settled(Arc<Membership>, usize),
    /// Cause: a member has died while a change of members was under way.
    ChangeInterrupted(NodeId),
    /// Cause: another leader has taken over, as an operator wanted.
    Transferred(NodeId),
    /// Cause: a client of the node wants to read, by these means.
    ReadAsked(RequestId, ReadMode),
    /// Cause: a client of the node is content with whatever it has.
    ReadStale(NodeId),
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
    /// Cause: the log was trimmed behind a snapshot.
    Trimmed(NodeId, LogIndex),
    /// Cause: the engine hears that a snapshot stands for everything up to here.
    GoesOnFrom(NodeId, LogIndex),
    /// Cause: a log lets go of so many entries up to here.
    LogTrimmed {
        /// Whose.
        node: NodeId,
        /// The last that is gone.
        through: LogIndex,
        /// How many went.
        entries: u64,
    },
    /// Cause: a snapshot was taken that covers everything up to here.
    SnapshotTaken(NodeId, LogIndex),
    /// Cause: there was no room for what was to be taken or received.
    NoRoom(NodeId),
    /// Cause: a snapshot that covers everything up to here has taken the place of the tables.
    SnapshotInstalled(NodeId, LogIndex),
    /// Cause: what was received is not what it should be, and was thrown away.
    NotInstalled(NodeId, String),
    /// Cause: a sender hears that this node could not install what it was sent.
    SnapshotRefused(NodeId, String),
    /// Cause: a message of a transfer, in words, arrived.
    PieceReceived(NodeId, NodeId, String),
    /// Cause: a bit flips in what this node sends of a snapshot.
    Garbled(NodeId),
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
    /// Cause: a link is whole again.
    Mended(NodeId, NodeId),
    /// Cause: all links are whole.
    Healed,
    /// Cause: a fault takes place, at this node or at all.
    Struck(Kind, Option<NodeId>),
    /// Cause: it is over.
    Over(Kind, Option<NodeId>),
    /// Cause: the node's disk fails, and so the process ends.
    DiskFailed(NodeId, DiskError),
    /// Cause: the node does not start on such a disk.
    NotStarted(NodeId, DiskError),
    /// Cause: a majority is repaired, and this node stays broken.
    LeftBroken(NodeId, LeftBroken),
    /// Cause: of what was being written when the power failed, so many records are there and so many come back.
    TailCut {
        /// Whose disk.
        node: NodeId,
        /// How many records are there.
        found: usize,
        /// How many of them come back.
        kept: usize,
    },

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
    ReadServed(RequestId, LogIndex, Means),
    /// Effect: the node is in touch with these from now on.
    Contacts(NodeId, Vec<NodeId>),
    /// Effect: a node has applied an entry that names members, or is void.
    Named(NodeId, SharedEntry, bool),
    /// Effect: what an entry meant for a session.
    Session(NodeId, SessionNews),
    /// Effect: entries are wanted from the log store.
    ReadBackWanted(NodeId, ReadBack),
    /// Effect: a peer needs a snapshot.
    SnapshotWanted(NodeId, SendSnapshot),
    /// Effect: this node begins to send one.
    TransferBegun(NodeId),
    /// Effect: a message of a transfer, in words, left.
    PieceSent(NodeId, NodeId, String),
    /// A message of a transfer will not arrive.
    PieceLost(NodeId, NodeId, String, Lost),
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
    /// Faults that took place, by [`Kind`].
    pub faults: [u64; Kind::ALL.len()],
    /// Processes that ended because their disk failed.
    pub disk_failures: u64,
    /// Nodes that ran while they were left broken beside a repaired majority.
    pub left_broken: u64,
    /// Starts that a disk prevented.
    pub starts_refused: u64,
    /// Times that records were cut off because one before them was missing or torn.
    pub tails_cut: u64,
    /// Messages lost because too much was on its way.
    pub overflows: u64,
    /// Messages refused because one end had another disk than the other knew.
    pub strangers_refused: u64,
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
    /// Reads served by a lease.
    pub lease_reads: u64,
    /// Reads served as an entry of the log.
    pub log_reads: u64,
    /// Reads served without a leader.
    pub quorum_reads: u64,
    /// Reads that were content with whatever a node had.
    pub stale_reads: u64,
    /// Sessions opened.
    pub sessions_opened: u64,
    /// Sessions of which a client heard that they have expired.
    pub sessions_expired: u64,
    /// Requests that were carried out before and answered from the table.
    pub duplicates: u64,
    /// Requests refused because their answers had been acknowledged.
    pub forgotten: u64,
    /// Entries handed to state machines that carry nothing but the time, counted at each node.
    pub ticks: u64,
    /// Times that entries were read back.
    pub read_backs: u64,
    /// Logs trimmed.
    pub trims: u64,
    /// Entries that logs have let go of, counted at each node.
    pub entries_trimmed: u64,
    /// Snapshots wanted.
    pub snapshots_wanted: u64,
    /// Snapshots taken.
    pub snapshots_taken: u64,
    /// Snapshots begun to be sent.
    pub transfers: u64,
    /// Pieces of snapshots that were damaged on their way.
    pub chunks_garbled: u64,
    /// Snapshots that have taken the place of tables.
    pub snapshots_installed: u64,
    /// Snapshots received that were not what they should be.
    pub snapshots_refused: u64,
    /// Snapshots that found no room.
    pub snapshots_without_room: u64,
    /// Changes of members that are settled, the ways there (joint ones) not counted.
    pub members_changed: u64,
    /// Those ways.
    pub members_joint: u64,
    /// Learners that became voters.
    pub learners_promoted: u64,
    /// Crashes of a member while a change was under way.
    pub changes_interrupted: u64,
    /// Void changes of members that a node has passed over.
    pub changes_void: u64,
    /// Changes that were refused because others had come between.
    pub changes_moved: u64,
    /// Leaders that took over as was wanted.
    pub transfers_done: u64,
    /// Transfers of leadership of which it was told that they failed.
    pub transfers_failed: u64,
}

impl Counts {
    /// How many faults of this kind took place.
    pub fn of(&self, kind: Kind) -> u64 {
        self.faults[kind as usize]
    }

    /// These, too, have happened.
    pub fn add(&mut self, other: &Counts) {
        for (sum, count) in self.faults.iter_mut().zip(&other.faults) {
            *sum += count;
        }
        self.happenings += other.happenings;
        self.elections += other.elections;
        self.crashes += other.crashes;
        self.lossy_crashes += other.lossy_crashes;
        self.restarts += other.restarts;
        self.pauses += other.pauses;
        self.cuts += other.cuts;
        self.disk_failures += other.disk_failures;
        self.left_broken += other.left_broken;
        self.starts_refused += other.starts_refused;
        self.tails_cut += other.tails_cut;
        self.overflows += other.overflows;
        self.strangers_refused += other.strangers_refused;
        self.sent += other.sent;
        self.lost += other.lost;
        self.committed += other.committed;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.reads_served += other.reads_served;
        self.lease_reads += other.lease_reads;
        self.log_reads += other.log_reads;
        self.quorum_reads += other.quorum_reads;
        self.stale_reads += other.stale_reads;
        self.sessions_opened += other.sessions_opened;
        self.sessions_expired += other.sessions_expired;
        self.duplicates += other.duplicates;
        self.forgotten += other.forgotten;
        self.ticks += other.ticks;
        self.read_backs += other.read_backs;
        self.trims += other.trims;
        self.snapshots_wanted += other.snapshots_wanted;
        self.entries_trimmed += other.entries_trimmed;
        self.snapshots_taken += other.snapshots_taken;
        self.transfers += other.transfers;
        self.chunks_garbled += other.chunks_garbled;
        self.snapshots_installed += other.snapshots_installed;
        self.snapshots_refused += other.snapshots_refused;
        self.snapshots_without_room += other.snapshots_without_room;
        self.members_changed += other.members_changed;
        self.members_joint += other.members_joint;
        self.learners_promoted += other.learners_promoted;
        self.changes_interrupted += other.changes_interrupted;
        self.changes_void += other.changes_void;
        self.changes_moved += other.changes_moved;
        self.transfers_done += other.transfers_done;
        self.transfers_failed += other.transfers_failed;
    }

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
            Happening::NotDelivered(_, why) => {
                self.lost += 1;
                self.overflows += u64::from(*why == Lost::NoRoom);
                self.strangers_refused += u64::from(*why == Lost::Stranger);
            }
            Happening::Struck(kind, _) => self.faults[*kind as usize] += 1,
            Happening::DiskFailed(..) => self.disk_failures += 1,
            Happening::LeftBroken(_, how) => self.left_broken += u64::from(*how != LeftBroken::Down),
            Happening::NotStarted(..) => self.starts_refused += 1,
            Happening::TailCut { .. } => self.tails_cut += 1,
            Happening::Committed(_, entries) => {
                self.committed += entries.len() as u64;
                self.ticks += entries.iter().filter(|entry| entry.payload == Payload::Tick).count() as u64;
            }
            Happening::Acknowledged(..) => self.acknowledged += 1,
            Happening::Refused(refused) => {
                self.refused += 1;
                self.changes_moved += u64::from(matches!(refused.reason, Refusal::MembershipMoved { .. }));
                self.transfers_failed += u64::from(matches!(refused.reason, Refusal::TransferFailed { .. }));
            }
            Happening::Settled(members, promoted) => {
                self.members_changed += u64::from(!members.is_joint());
                self.members_joint += u64::from(members.is_joint());
                self.learners_promoted += *promoted as u64;
            }
            Happening::ChangeInterrupted(_) => self.changes_interrupted += 1,
            Happening::Named(_, _, is_void) => self.changes_void += u64::from(*is_void),
            Happening::Transferred(_) => self.transfers_done += 1,
            Happening::ReadServed(_, _, means) => {
                self.reads_served += 1;
                match means {
                    Means::Round => {}
                    Means::Lease => self.lease_reads += 1,
                    Means::Log => self.log_reads += 1,
                    Means::Quorum => self.quorum_reads += 1,
                }
            }
            Happening::ReadStale(_) => self.stale_reads += 1,
            Happening::Session(_, news) => match news {
                SessionNews::Opened(_) => self.sessions_opened += 1,
                SessionNews::Expired(_) => self.sessions_expired += 1,
                SessionNews::Answered { .. } => self.duplicates += 1,
                SessionNews::Forgotten { .. } => self.forgotten += 1,
            },
            Happening::EntriesRead(..) => self.read_backs += 1,
            Happening::LogTrimmed { entries, .. } => {
                self.trims += 1;
                self.entries_trimmed += entries;
            }
            Happening::SnapshotTaken(..) => self.snapshots_taken += 1,
            Happening::TransferBegun(_) => self.transfers += 1,
            Happening::Garbled(_) => self.chunks_garbled += 1,
            Happening::SnapshotInstalled(..) => self.snapshots_installed += 1,
            Happening::NotInstalled(..) => self.snapshots_refused += 1,
            Happening::NoRoom(_) => self.snapshots_without_room += 1,
            Happening::SnapshotWanted(..) => self.snapshots_wanted += 1,
            _ => {}
        }
    }
}

/// A hash over a history. Nobody attacks it, and each event goes through it: so it is a fast one, a multiplication for
/// each word.
#[derive(Clone, Copy, Debug, Default)]
struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// What has happened since somebody last looked, bounded; and a fingerprint of everything that ever did.
#[derive(Debug)]
pub struct Trace<M> {
    happenings: VecDeque<(MonoTime, Happening<M>)>,
    kept_max: usize,
    fingerprint: Fingerprint,
    counts: Counts,
}

impl<M: Hash> Trace<M> {
    pub(crate) fn new(kept_max: usize) -> Trace<M> {
        Trace { happenings: VecDeque::new(), kept_max, fingerprint: Fingerprint::default(), counts: Counts::default() }
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

    /// The same for the same history, to the byte.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.finish()
    }
}
