//! What will go wrong in a run, and when: drawn from the seed alone, before the run begins, so that the same seed breaks
//! both engines' worlds in the same way.
//!
//! ```text
//!   seed, profile, nodes ──draw──▶ Planned { at, lasting, fault, seed }   one after another, some overlapping
//!                                     │ at                     │ at + lasting
//!                                     ▼                        ▼
//!                               World::inflict           World::relieve
//! ```
//!
//! What depends on the run (who leads, which writes are under way) is resolved when the moment comes, with the planned
//! fault's own seed. Each profile promises kinds of faults: its plans contain them, one after another in slots of their
//! own, and a run in which one of them did not take place is vacuous. It is the event that counts: a disk that would have
//! failed the next sync has not failed one.

mod draw;
mod words;

use std::time::Duration;

use consensus_api::NodeId;

use crate::disk::{Ailment, Damage};
use crate::network::{LinkFaults, Shape};
use crate::profile::Profile;
use crate::trace::Counts;

/// For how long a plan breaks things.
pub const FAULTS: Duration = Duration::from_secs(6);

/// Whom a fault is meant for; resolved when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// This node.
    Node(NodeId),
    /// Whoever leads then; where nobody does, whom the fault's seed says.
    Leader,
    /// The how-manyth of the others, from 0, around and around.
    Follower(u64),
}

/// When a crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// At once.
    Now,
    /// Just after the node has sent a message.
    NextSend,
    /// Just after it has handed a write to its disk.
    NextWriteBegun,
    /// Just after a sync is done, before the engine hears of it.
    NextSyncDone,
    /// Just after it was elected.
    NextElected,
    /// Just after its tables have applied entries, before anybody hears of it.
    NextApply,
    /// Just after it has told a client that its command is applied, before other clients and its own engine hear of it.
    NextAnswer,
    /// Just after a snapshot is taken, before anybody hears of it.
    NextSnapshotTaken,
    /// Just after its log is trimmed, before the engine hears of it.
    NextTrim,
    /// Just after it has sent a piece of a snapshot.
    NextChunkSent,
    /// Just after it has stored a piece of a snapshot.
    NextChunkReceived,
    /// Just before a snapshot takes the place of its tables.
    NextInstall,
    /// Just after that, before the log is trimmed.
    NextSwap,
    /// Just after the engine has heard of it.
    NextInstalled,
}

impl Moment {
    /// Those that come without snapshots.
    pub const ALL: [Moment; 7] = [
        Moment::Now,
        Moment::NextSend,
        Moment::NextWriteBegun,
        Moment::NextSyncDone,
        Moment::NextElected,
        Moment::NextApply,
        Moment::NextAnswer,
    ];

    /// Those in the life of a snapshot.
    pub const OF_SNAPSHOTS: [Moment; 7] = [
        Moment::NextSnapshotTaken,
        Moment::NextTrim,
        Moment::NextChunkSent,
        Moment::NextChunkReceived,
        Moment::NextInstall,
        Moment::NextSwap,
        Moment::NextInstalled,
    ];
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The process dies, and what was not synced is lost in any subset. It runs again at the end of the span.
    Crash(Target, Moment),
    /// When the moment comes for the target, all nodes die together.
    CrashAll(Target, Moment),
    /// The power fails in the middle of the node's next write.
    TornWrite(Target),
    /// The node stands still, as under SIGSTOP.
    Pause(Target),
    /// The node's work and its syncs take this many times as long.
    SlowNode(Target, u32),
    /// Its syncs do.
    SlowDisk(Target, u32),
    /// There is no room for snapshots on its disk, and it goes on.
    NoRoom(Target),
    /// A bit flips in a snapshot that it keeps or is receiving.
    Spoil(Target),
    /// Its disk fails. The node stops, and comes back when the disk is well.
    Disk(Target, Ailment),
    /// A record that was synced is damaged or gone: when the node finds that out, it stops for good.
    Damage(Target, Damage),
    /// Disk and tables are blank, under the old node id: a stranger to its peers.
    Wipe(Target),
    /// Links are cut.
    Partition(Target, Shape),
    /// Links let nothing through, and all at once afterwards.
    Clog(Target, Shape),
    /// All links behave like this.
    Weather(LinkFaults),
    /// The clock gains this many microseconds a second.
    Drift(Target, i64),
    /// The node is told to start an election.
    Campaign(Target),
}

/// A fault without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is told by the fault of its name")]
pub enum Kind {
    Crash,
    CrashAll,
    TornWrite,
    Pause,
    SlowNode,
    SlowDisk,
    SyncFails,
    ReadsFail,
    DiskFull,
    Corrupt,
    Misplaced,
    LostRecord,
    Wipe,
    Partition,
    OneWayCut,
    Clog,
    Weather,
    Drift,
    Campaign,
    SnapshotCrash,
    NoRoom,
    SpoiltSnapshot,
}

impl Kind {
    /// All of them, in order.
    pub const ALL: [Kind; 22] = [
        Kind::Crash,
        Kind::CrashAll,
        Kind::TornWrite,
        Kind::Pause,
        Kind::SlowNode,
        Kind::SlowDisk,
        Kind::SyncFails,
        Kind::ReadsFail,
        Kind::DiskFull,
        Kind::Corrupt,
        Kind::Misplaced,
        Kind::LostRecord,
        Kind::Wipe,
        Kind::Partition,
        Kind::OneWayCut,
        Kind::Clog,
        Kind::Weather,
        Kind::Drift,
        Kind::Campaign,
        Kind::SnapshotCrash,
        Kind::NoRoom,
        Kind::SpoiltSnapshot,
    ];

    /// Whether it costs a node for good.
    pub fn is_for_good(self) -> bool {
        matches!(self, Kind::Corrupt | Kind::Misplaced | Kind::LostRecord | Kind::Wipe)
    }
}

impl Fault {
    /// What kind of fault it is.
    pub fn kind(&self) -> Kind {
        match self {
            Fault::Crash(_, moment) if Moment::OF_SNAPSHOTS.contains(moment) => Kind::SnapshotCrash,
            Fault::Crash(..) => Kind::Crash,
            Fault::NoRoom(_) => Kind::NoRoom,
            Fault::Spoil(_) => Kind::SpoiltSnapshot,
            Fault::CrashAll(..) => Kind::CrashAll,
            Fault::TornWrite(_) => Kind::TornWrite,
            Fault::Pause(_) => Kind::Pause,
            Fault::SlowNode(..) => Kind::SlowNode,
            Fault::SlowDisk(..) => Kind::SlowDisk,
            Fault::Disk(_, Ailment::SyncFails) => Kind::SyncFails,
            Fault::Disk(_, Ailment::ReadsFail) => Kind::ReadsFail,
            Fault::Disk(_, Ailment::Full) => Kind::DiskFull,
            Fault::Damage(_, Damage::Corrupt) => Kind::Corrupt,
            Fault::Damage(_, Damage::Misplaced) => Kind::Misplaced,
            Fault::Damage(_, Damage::Lost) => Kind::LostRecord,
            Fault::Wipe(_) => Kind::Wipe,
            Fault::Partition(_, Shape::Deaf | Shape::Mute | Shape::Link) => Kind::OneWayCut,
            Fault::Partition(..) => Kind::Partition,
            Fault::Clog(..) => Kind::Clog,
            Fault::Weather(_) => Kind::Weather,
            Fault::Drift(..) => Kind::Drift,
            Fault::Campaign(_) => Kind::Campaign,
        }
    }

    /// Whom it is meant for; `None` where it is for all.
    pub fn target(&self) -> Option<Target> {
        match self {
            Fault::Crash(target, _)
            | Fault::CrashAll(target, _)
            | Fault::TornWrite(target)
            | Fault::Pause(target)
            | Fault::SlowNode(target, _)
            | Fault::SlowDisk(target, _)
            | Fault::NoRoom(target)
            | Fault::Spoil(target)
            | Fault::Disk(target, _)
            | Fault::Damage(target, _)
            | Fault::Wipe(target)
            | Fault::Partition(target, _)
            | Fault::Clog(target, _)
            | Fault::Drift(target, _)
            | Fault::Campaign(target) => Some(*target),
            Fault::Weather(_) => None,
        }
    }

    /// Whether it stops a node, or may: such faults keep out of each other's way.
    pub fn stops(&self) -> bool {
        use Fault::{Crash, CrashAll, Damage, Disk, Pause, TornWrite, Wipe};
        matches!(self, Crash(..) | CrashAll(..) | TornWrite(_) | Pause(_) | Disk(..) | Damage(..) | Wipe(_))
    }
}

/// A fault, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Planned {
    /// Its number in the plan, from 0.
    pub number: u64,
    /// When it begins, after the beginning of the plan.
    pub at: Duration,
    /// How long it lasts.
    pub lasting: Duration,
    /// What goes wrong.
    pub fault: Fault,
    /// Decides whatever is left to chance inside it.
    pub seed: u64,
    /// Whether the profile has promised it: then it takes place even where it must push another fault aside.
    pub promised: bool,
}

/// Kinds of which at least one takes place in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise(pub &'static [Kind]);

impl Promise {
    /// How often it was kept.
    pub fn count(self, counts: &Counts) -> u64 {
        self.0.iter().map(|kind| counts.of(*kind)).sum()
    }
}

/// Everything that goes wrong in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// From which set it was drawn.
    pub profile: Profile,
    /// Among how many nodes.
    pub nodes: u64,
    /// When the last fault is over, and never before things would break elsewhere.
    pub lasts: Duration,
    /// In the order of their beginnings.
    pub faults: Vec<Planned>,
}

impl FaultPlan {
    /// What the profile promises of every run.
    pub fn promises(&self) -> Vec<Promise> {
        draw::promises(self.profile, self.nodes)
    }
}

#[cfg(test)]
mod tests;
