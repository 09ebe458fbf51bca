//! What must hold, whatever happens: one property in one file, looked at after each event that could break it.
//!
//! The checks see more than any node does: every disk, also of nodes that are down, and everything that any client was
//! ever told.

mod accepts;
mod agreement;
mod ballots;
mod chain;
mod chosen;
mod configurations;
mod digests;
mod durability;
mod installation;
mod leadership;
mod log_matching;
mod reads;
mod requests;
mod sessions;
mod trimming;
mod vouching;

use bytes::Bytes;
use consensus_api::{
    AppliedState, Ballot, EngineStatus, Entry, LogIndex, LogPosition, LogStore, Membership, NodeId, Refusal, RequestId,
    SharedEntry, SnapshotManifest, StoreId, Write, WriteId,
};

use crate::disk::Disk;
use crate::protocol::{Carried, Vouched};

use accepts::Accepts;
use agreement::Agreement;
use ballots::Ballots;
use chain::Chain;
use chosen::Chosen;
use configurations::Configurations;
use digests::Digests;
use durability::Durability;
use installation::Installation;
use leadership::Leadership;
use log_matching::LogMatching;
use reads::Reads;
use requests::Requests;
use sessions::Sessions;
use trimming::Trimming;
use vouching::Vouching;

pub use sessions::SessionNews;

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two nodes committed different values at one index, or one node did at two times.
    #[error("agreement: node {node} commits {found:?} at {index}, where {expected:?} was committed before")]
    Agreement {
        /// Who.
        node: NodeId,
        /// Where.
        index: LogIndex,
        /// What it commits.
        found: SharedEntry,
        /// What was committed there.
        expected: SharedEntry,
    },
    /// A majority accepted one value at an index, and another before.
    #[error("chosen: a majority of disks has accepted {found:?} at {index}, and {expected:?} was chosen there")]
    ChosenTwice {
        /// Where.
        index: LogIndex,
        /// What is accepted now.
        found: SharedEntry,
        /// What was chosen.
        expected: SharedEntry,
    },
    /// A node commits what no majority has accepted under one ballot.
    #[error("chosen: node {node} commits {found:?} at {index}, where {chosen:?} is chosen by what disks hold")]
    NotChosen {
        /// Who.
        node: NodeId,
        /// Where.
        index: LogIndex,
        /// What it commits.
        found: SharedEntry,
        /// What is chosen, if anything is.
        chosen: Option<SharedEntry>,
    },
    /// A node leaves the one sequence of what is applied.
    #[error("chain: node {node} {what}, at {index}")]
    Chain {
        /// Who.
        node: NodeId,
        /// Where.
        index: LogIndex,
        /// What it does.
        what: String,
    },
    /// What is committed is not on a quorum of disks.
    #[error("durability: {index} is committed, but only {holders:?} hold its value on disk")]
    NotOnAQuorum {
        /// Where.
        index: LogIndex,
        /// Whose disks hold it.
        holders: Vec<NodeId>,
    },
    /// A node applies what its own log could lose.
    #[error("durability: node {node} hands {index} to its state machine before its own log holds it durably")]
    AppliedBeforeLogged {
        /// Who.
        node: NodeId,
        /// Where.
        index: LogIndex,
    },
    /// A node says what its disk does not know.
    #[error("durability: node {node} sends a message that vouches for {what}, which its disk does not hold")]
    NotOnDisk {
        /// Who.
        node: NodeId,
        /// What the message vouches for.
        what: String,
    },
    /// Two leaders in one epoch.
    #[error("leadership: node {node} leads in {ballot}, and node {other} led in that epoch, maybe in an earlier life")]
    TwoLeaders {
        /// The epoch.
        ballot: Ballot,
        /// The one.
        node: NodeId,
        /// The other; the same where it led in an earlier life.
        other: NodeId,
    },
    /// Something went back that must not.
    #[error("ballots: node {node}: {what} goes back from {from} to {to}")]
    WentBack {
        /// Who.
        node: NodeId,
        /// What.
        what: &'static str,
        /// From what.
        from: String,
        /// To what.
        to: String,
    },
    /// Two different values stand under one index and ballot.
    #[error("log matching: node {node} has {found:?} at {index} under {ballot}, where {expected:?} was seen before")]
    LogMatching {
        /// Who has it on disk, or sends it.
        node: NodeId,
        /// Where.
        index: LogIndex,
        /// Under which ballot.
        ballot: Ballot,
        /// What it has.
        found: SharedEntry,
        /// What was seen there before.
        expected: SharedEntry,
    },
    /// Entries of one index and term have different logs below them.
    #[error("log matching: node {node} has {below:?} below {index} of {ballot}, where {expected:?} was seen before")]
    LogsPart {
        /// Who has it on disk, or sends it.
        node: NodeId,
        /// Where.
        index: LogIndex,
        /// The entry's term.
        ballot: Ballot,
        /// The term of the entry below; `None` where there is none.
        below: Option<Ballot>,
        /// The term of the entry that was below.
        expected: Ballot,
    },
    /// A request was carried out twice, or although its client was told that it was not.
    #[error("requests: {id} {what}")]
    Request {
        /// Which request.
        id: RequestId,
        /// What is wrong with it.
        what: String,
    },
    /// A machine answers what it must not.
    #[error("sessions: node {node} at {index} {what}")]
    Session {
        /// Which.
        node: NodeId,
        /// Where.
        index: LogIndex,
        /// What it answers.
        what: String,
    },
    /// A read misses what was acknowledged before it was asked.
    #[error("reads: {id} is served at {served}, but {floor} was visible to a client before it was asked")]
    StaleRead {
        /// Which read.
        id: RequestId,
        /// What the tables had applied when it was served.
        served: LogIndex,
        /// What they should have at least.
        floor: LogIndex,
    },
    /// A log lets go of what is still needed.
    #[error("trimming: node {node}: {index} {what}")]
    Trimming {
        /// Whose log.
        node: NodeId,
        /// Up to where it is trimmed.
        index: LogIndex,
        /// What is wrong with that.
        what: String,
    },
    /// A snapshot that took the place of tables is not what it should be.
    #[error("installation: node {node}: the snapshot through {index} {what}")]
    Installation {
        /// Whose tables.
        node: NodeId,
        /// What it covers.
        index: LogIndex,
        /// What is wrong with it.
        what: String,
    },
    /// Somebody goes by other members than those in force, or acts as a voter and is none.
    #[error("members: node {node} {what}, at {index}")]
    Members {
        /// Who.
        node: NodeId,
        /// Up to where it has applied or knows what is committed, or where the entry stands.
        index: LogIndex,
        /// What it does.
        what: String,
    },
    /// A slot is filled before it is known who decides on it.
    #[error("members: node {node} accepts {index} before it is settled who decides there")]
    TooEarly {
        /// Who.
        node: NodeId,
        /// Which slot.
        index: LogIndex,
    },
    /// An acceptor has forgotten what it had accepted.
    #[error("accepts: node {node} {what}")]
    Accepts {
        /// Who.
        node: NodeId,
        /// What.
        what: String,
    },
    /// Tables that have applied the same entries differ.
    #[error("digests: node {node} at {index} has other tables than node {other} had there")]
    Digests {
        /// The one.
        node: NodeId,
        /// The other.
        other: NodeId,
        /// Where.
        index: LogIndex,
    },
    /// The engine contradicts itself, or does not go on.
    #[error("engine of node {node}: {what}")]
    Engine {
        /// Whose.
        node: NodeId,
        /// What is wrong.
        what: String,
    },
}

/// Whether two entries say the same. The ballot is local: in Paxos a chosen value may stand under several.
pub(crate) fn same_value(a: &Entry, b: &Entry) -> bool {
    a.payload == b.payload && a.log_time == b.log_time
}

/// What has at most one leader: a ballot, or in Raft all ballots of a round.
fn epoch(round_is_epoch: bool, ballot: Ballot) -> Ballot {
    if round_is_epoch { Ballot::new(ballot.round, NodeId::NONE) } else { ballot }
}

/// What was kept beside a log, or asked of it, when its trimming was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// What the newest snapshot covers.
    pub(crate) newest: LogIndex,
    /// What the one before it does.
    pub(crate) older: Option<LogIndex>,
    /// How many entries up to the newest are to stay, but for those that the older one covers.
    pub(crate) tail_entries: u64,
    /// What a peer goes on from that is being sent a snapshot.
    pub(crate) log_from: Option<LogIndex>,
}

/// A log that was trimmed, and what it was before.
#[derive(Debug)]
pub(crate) struct Trim {
    /// Up to where.
    pub(crate) base: LogPosition,
    /// What stands for that; `None` where it is tables that were sent, and not the own ones.
    pub(crate) kept: Option<Kept>,
    /// All that it held.
    pub(crate) before: Vec<SharedEntry>,
    /// Its hard state.
    pub(crate) hard_state: Option<Bytes>,
    /// What the tables would keep through a power loss.
    pub(crate) persisted: LogIndex,
}

impl Trim {
    /// Whether tables that were sent stand for what is trimmed.
    fn is_installation(&self) -> bool {
        self.kept.is_none()
    }
}

/// A log around an installation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage {
    /// What the snapshot ends with.
    pub(crate) base: LogPosition,
    /// Under which ballot the log had its own entry there, if it had one.
    pub(crate) own: Option<Ballot>,
    /// Where it ended before.
    pub(crate) before: LogIndex,
    /// Where it ends now.
    pub(crate) after: LogIndex,
}

/// All properties.
#[derive(Debug)]
pub(crate) struct Checks {
    muted: bool,
    agreement: Agreement,
    chosen: Chosen,
    configurations: Configurations,
    chain: Chain,
    durability: Durability,
    vouching: Vouching,
    leadership: Leadership,
    ballots: Ballots,
    log_matching: LogMatching,
    round_is_epoch: bool,
    accepts: Accepts,
    trimming: Trimming,
    installation: Installation,
    pub(crate) requests: Requests,
    pub(crate) reads: Reads,
    sessions: Sessions,
    digests: Digests,
}

/// A disk of the moment, and whose it is.
pub(crate) type OwnDisk<'a> = (NodeId, &'a Disk);

/// A node, and the disk that it is known by.
pub(crate) type Identity = (NodeId, StoreId);

/// A disk, whose it is or was, and what it is known by.
pub(crate) type OwnedDisk<'a> = (Identity, &'a Disk);

impl Checks {
    /// The founders are these, and of Multi-Paxos' slots so many may be open.
    pub(crate) fn new(round_is_epoch: bool, founders: Membership, window: u64) -> Checks {
        Checks {
            muted: false,
            agreement: Agreement::default(),
            chosen: Chosen::new(round_is_epoch),
            configurations: Configurations::new(round_is_epoch, founders, window),
            chain: Chain::default(),
            durability: Durability,
            vouching: Vouching::new(round_is_epoch),
            leadership: Leadership::new(round_is_epoch),
            ballots: Ballots::new(round_is_epoch),
            log_matching: LogMatching::new(round_is_epoch),
            round_is_epoch,
            accepts: Accepts::default(),
            trimming: Trimming,
            installation: Installation::new(round_is_epoch),
            requests: Requests::default(),
            reads: Reads::default(),
            sessions: Sessions::default(),
            digests: Digests::default(),
        }
    }

    /// From now on nothing that is found is told: what clients see must speak for itself.
    #[cfg(any(test, feature = "planted-bugs"))]
    pub(crate) fn mute(&mut self) {
        self.muted = true;
    }

    fn tell(&self, found: Result<(), Violation>) -> Result<(), Violation> {
        if self.muted { Ok(()) } else { found }
    }

    /// A node runs again: what it remembered in memory alone is gone, what it wrote is not.
    pub(crate) fn started(
        &mut self,
        (node, disk): OwnDisk<'_>,
        status: &EngineStatus,
        applied: LogIndex,
    ) -> Result<(), Violation> {
        self.leadership.started(node);
        let kept = self.kept_by_recovery((node, disk), status.last_index);
        // A start may have moved the base up to the tables.
        self.log_matching.started(node, disk.base());
        let (chain, ballots) = (self.chain.started(node, applied), self.ballots.started(node, status));
        self.tell(chain.and(ballots).and(kept))
    }

    /// A start goes on with what its disk holds above the base, as after an installation: it may be one that it ends.
    fn kept_by_recovery(&mut self, (node, disk): OwnDisk<'_>, after: LogIndex) -> Result<(), Violation> {
        let base = disk.base();
        let entries = disk.durable_entries();
        let before = entries.last().map_or(base.index, |entry| entry.index);
        // Terms never go down along a log: where they do, its own entry at the base was another one.
        let lower = entries.first().map(|first| first.ballot).filter(|first| first.round < base.ballot.round);
        let own = lower.or(self.log_matching.epoch_at(node, base.index));
        let passage = Passage { base, own, before, after };
        // Where they do not, and the log was trimmed before the crash, nothing on the disk tells that any more, and what
        // follows stays until a leader removes it (figure 8).
        let is_hidden = self.log_matching.waits_for_engine(node) && lower.is_none();
        if !self.round_is_epoch {
            self.accepts.trimmed(node, base.index);
            self.accepts.started(node, &entries)?;
        }
        if is_hidden { Ok(()) } else { self.installation.went_on_after(node, &passage) }
    }

    /// A node's disk is blank from now on: what it had promised is forgotten.
    pub(crate) fn wiped(&mut self, node: NodeId) {
        self.chain.wiped(node);
        self.ballots.wiped(node);
        self.log_matching.wiped(node);
        self.accepts.wiped(node);
        self.configurations.wiped(node);
    }

    /// Who decides where.
    pub(crate) fn configurations(&self) -> &Configurations {
        &self.configurations
    }

    /// What is chosen at an index.
    pub(crate) fn chosen_at(&self, index: LogIndex) -> Option<&SharedEntry> {
        self.chosen.at(index)
    }

    /// A node begins with tables that say this.
    pub(crate) fn begins_with(&mut self, (node, disk): OwnDisk<'_>, state: &AppliedState) -> Result<(), Violation> {
        self.configurations.begins_with(node, state, &disk.durable_entries());
        self.members_at(node, state)
    }

    /// A node's tables say this.
    pub(crate) fn members_at(&self, node: NodeId, state: &AppliedState) -> Result<(), Violation> {
        self.tell(self.configurations.tables(node, state))
    }

    /// A node has applied an entry that names members, and says whether it is void.
    pub(crate) fn named(&self, node: NodeId, index: LogIndex, is_void: bool) -> Result<(), Violation> {
        self.tell(self.configurations.applied(node, index, is_void))
    }

    /// A node gives a vote or a promise.
    pub(crate) fn voted(&self, voter: Identity) -> Result<(), Violation> {
        self.tell(self.configurations.voted(voter))
    }

    /// A node's engine hands a write out. Where a leader changes its members by it, those count from now on who have what
    /// it has sent before.
    pub(crate) fn logs(
        &mut self,
        (node, _): Identity,
        write: &Write,
        disks: &[OwnedDisk<'_>],
    ) -> Result<(), Violation> {
        let Some(term) = self.configurations.logs(node, write) else { return Ok(()) };
        let found = self.chosen.counted_anew(term, &mut self.configurations, disks);
        self.tell(found)
    }

    /// A node has taken inputs in and handed its effects out.
    pub(crate) fn stepped(&mut self, node: NodeId, status: &EngineStatus) -> Result<(), Violation> {
        let found = self.leadership.stepped(node, status).and_then(|()| self.ballots.stepped(node, status));
        let found = found.and(self.configurations.stepped(node, status));
        self.tell(found)
    }

    /// A node's disk has performed writes.
    pub(crate) fn written(
        &mut self,
        owner: Identity,
        writes: &[Write],
        disks: &[OwnedDisk<'_>],
    ) -> Result<(), Violation> {
        let found = writes.iter().try_for_each(|write| self.written_one(owner, write, disks));
        self.tell(found)
    }

    fn written_one(&mut self, owner: Identity, write: &Write, disks: &[OwnedDisk<'_>]) -> Result<(), Violation> {
        let (node, _) = owner;
        self.ballots.written(node, write)?;
        self.chosen.written(owner, self.ballots.on_disk(node), write, (&mut self.configurations, disks))?;
        self.log_matching.written(node, write)?;
        if !self.round_is_epoch {
            self.accepts.written(node, write)?;
        }
        self.durability.written(write, self.agreement.committed(), (&self.configurations, disks))
    }

    /// A message leaves, of a node that knows everything up to `commit` to be committed.
    pub(crate) fn sent(
        &mut self,
        own: OwnDisk<'_>,
        commit: LogIndex,
        vouched: &Vouched,
        carried: Option<&Carried<'_>>,
    ) -> Result<(), Violation> {
        let mut found = self.vouching.sent(own, vouched).and_then(|()| self.accepts.sent(own.0, commit, vouched));
        if let Some(carried) = carried {
            self.vouching.led(carried);
            found = found.and_then(|()| self.log_matching.sent(own.0, carried));
        }
        self.tell(found)
    }

    /// A node hands committed entries to its state machine.
    pub(crate) fn committed(
        &mut self,
        own: OwnDisk<'_>,
        entries: &[SharedEntry],
        disks: &[OwnedDisk<'_>],
    ) -> Result<(), Violation> {
        let found = entries.iter().try_for_each(|entry| self.committed_one(own, entry, disks));
        self.tell(found)
    }

    fn committed_one(
        &mut self,
        own: OwnDisk<'_>,
        entry: &SharedEntry,
        disks: &[OwnedDisk<'_>],
    ) -> Result<(), Violation> {
        let is_new = self.agreement.committed_by(own.0, entry)?;
        self.durability.handed_out(own, entry)?;
        if is_new {
            self.chosen.committed(own.0, entry)?;
            self.durability.on_a_quorum(entry, (&self.configurations, disks))?;
            self.requests.committed(entry)?;
        }
        Ok(())
    }

    /// A node has applied entries.
    pub(crate) fn applied(&mut self, node: NodeId, entries: &[SharedEntry]) -> Result<(), Violation> {
        let found = self.chain.applied(node, entries);
        self.tell(found)
    }

    /// A node has applied entries and answers them; tells what that meant for sessions.
    pub(crate) fn replied(
        &mut self,
        node: NodeId,
        entries: &[SharedEntry],
        replies: &[Bytes],
    ) -> Result<Vec<SessionNews>, Violation> {
        let mut news = Vec::new();
        for (entry, reply) in entries.iter().zip(replies) {
            match self.sessions.replied(node, entry, reply) {
                Ok(found) => news.extend(found),
                Err(violation) => self.tell(Err(violation))?,
            }
        }
        Ok(news)
    }

    /// A snapshot has taken the place of a node's tables.
    pub(crate) fn installed(
        &mut self,
        node: NodeId,
        manifest: &SnapshotManifest,
        state: &AppliedState,
    ) -> Result<(), Violation> {
        let chain = self.chain.installed(node, state.position.index);
        let members = self.configurations.applied_at(state.position.index);
        let found = chain.and(self.installation.installed(node, manifest, state, &members));
        self.tell(found)
    }

    /// A node's log was trimmed.
    pub(crate) fn trimmed(&mut self, own: OwnDisk<'_>, trim: &Trim) -> Result<(), Violation> {
        let base = own.1.base();
        self.accepts.trimmed(own.0, base.index);
        if trim.is_installation() {
            self.log_matching.installed(own.0, base);
        }
        let found = self.trimming.trimmed(own, trim, &self.chosen);
        self.tell(found)
    }

    /// A node's engine hears now of the installation that its log was trimmed for; its next write is `next`.
    pub(crate) fn heard_of_installation(&mut self, node: NodeId, next: WriteId, state: &AppliedState) {
        self.log_matching.heard_of_installation(node, next);
        self.configurations.installed(node, state);
    }

    /// The engine has heard of an installation.
    pub(crate) fn went_on_after(&mut self, node: NodeId, passage: &Passage) -> Result<(), Violation> {
        let found = self.installation.went_on_after(node, passage);
        self.tell(found)
    }

    /// A client is told that its command is applied.
    pub(crate) fn acknowledged(&mut self, id: RequestId, index: LogIndex) -> Result<(), Violation> {
        self.reads.visible(index);
        let found = self.requests.acknowledged(id, index);
        self.tell(found)
    }

    /// A client is told that its request was not carried out, and never will be.
    pub(crate) fn refused(&mut self, id: RequestId, reason: &Refusal) -> Result<(), Violation> {
        self.reads.refused(id);
        let found = self.requests.refused(id, reason);
        self.tell(found)
    }

    /// A client asks to read.
    pub(crate) fn read_asked(&mut self, id: RequestId) {
        self.reads.asked(id);
    }

    /// A client reads tables that have applied up to `served`.
    pub(crate) fn read_served(&mut self, id: RequestId, served: LogIndex) -> Result<(), Violation> {
        let found = self.reads.served(id, served);
        self.tell(found)
    }

    /// A node's tables hash to this.
    pub(crate) fn digest(&mut self, node: NodeId, index: LogIndex, digest: [u8; 32]) -> Result<(), Violation> {
        let found = self.digests.seen(node, index, digest);
        self.tell(found)
    }

    /// The last index that anybody has handed out as committed.
    pub(crate) fn last_committed(&self) -> LogIndex {
        self.agreement.committed().keys().next_back().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
