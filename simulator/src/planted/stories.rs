//! Bugs that chance meets too rarely, each with the schedule that shows it. The same story told without its bug breaks
//! nothing, which is tested too.

mod leases;
mod members;

use std::panic::catch_unwind;

use consensus_api::planted::Bug;
use consensus_api::{NodeId, ReadMode, RequestId, Timing};
use kv_machine::{Command, Expect};
use replica::SnapshotSettings;

use crate::checks::Violation;
use crate::disk::Fate;
use crate::faults::{Survivors, Which};
use crate::planted::Engine;
use crate::protocol::Protocol;
use crate::world::{World, WorldConfig};

/// A bug's own schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// A vote for a candidate's first campaign comes during its third one.
    LateVote,
    /// A leader that was deposed without its knowledge is asked to read.
    DeposedLeaderReads,
    /// Before it was deposed it has sent a round of heartbeats, the answer to one of which comes after the read.
    LateReplyToDeposedLeader,
    /// An entry is replaced, and then put back: its first write was completed, its second one is under way.
    EntryComesBack,
    /// A leader can send, and hears nobody.
    LeaderOnlySends,
    /// Two of three nodes do not reach each other, the third reaches both.
    Chain,
    /// Of two nodes the one has the later term and the other one the longer log.
    LaterTermAgainstLongerLog,
    /// The promise of a node is lost in a crash, and the entry that it accepted under it is not.
    PromiseLostAcceptKept,
    /// A deposed leader is sent a snapshot that ends within what it alone has written.
    SnapshotEndsInStrayEntries,
    /// A follower is sent a snapshot that ends within what it has from its leader.
    SnapshotEndsInSharedEntries,
    /// A leader that is cut off reads by its lease, and its clock is slow.
    SlowLeaderAndFastVoters,
    /// A leader stands still while another one is elected, and is then asked to read.
    LeaderStandsStill,
    /// A leader that is cut off reads by its lease, and its voters restart.
    VotersRestart,
    /// A leader that is cut off reads by its lease, and somebody forces an election.
    ElectionIsForced,
    /// Of two leaders each begins a change of the same members, and neither knows of the other's.
    TwoChangesFromTheSameMembers,
    /// Of two changes to the same members both are chosen, and the second one is void.
    SecondChangeIsVoid,
    /// A leader whose voters were replaced reads, and those answer who vote no more.
    ReplacedVotersAnswer,
    /// The old members elect a leader after new ones have decided, of which it has heard nothing.
    OldMembersElect,
}

impl Story {
    /// The story for a bug that seeds do not find.
    pub fn of(bug: Bug, engine: Engine) -> Option<Story> {
        match (bug, engine) {
            (Bug::StaleVoteCounted, _) => Some(Story::LateVote),
            (Bug::ReadWithoutRound, _) => Some(Story::DeposedLeaderReads),
            (Bug::ReadJoinsEarlierRound, _) => Some(Story::LateReplyToDeposedLeader),
            (Bug::DurableByIndexAndBallot, Engine::Raft) => Some(Story::EntryComesBack),
            (Bug::LeaderNeverStepsDown, _) => Some(Story::LeaderOnlySends),
            (Bug::LiveLeaderDeposed, _) => Some(Story::Chain),
            (Bug::RefusalTeachesNothing, _) => Some(Story::LaterTermAgainstLongerLog),
            (Bug::TailGapSkipped, _) => Some(Story::PromiseLostAcceptKept),
            (Bug::InstallationKeepsSuffix, _) => Some(Story::SnapshotEndsInStrayEntries),
            (Bug::InstallationDropsSuffix, _) => Some(Story::SnapshotEndsInSharedEntries),
            (Bug::LeaseWithoutMargin, _) => Some(Story::SlowLeaderAndFastVoters),
            (Bug::LeaseSurvivesPause, _) => Some(Story::LeaderStandsStill),
            (Bug::LeaseForgottenByRestart, _) => Some(Story::VotersRestart),
            (Bug::ForcedElectionIgnoresLease, _) => Some(Story::ElectionIsForced),
            (Bug::OwnEpochBarrierMissing, Engine::Raft) => Some(Story::TwoChangesFromTheSameMembers),
            (Bug::OwnEpochBarrierMissing, Engine::Paxos) => Some(Story::OldMembersElect),
            (Bug::VoidChangeTaken, Engine::Paxos) => Some(Story::SecondChangeIsVoid),
            (Bug::ReadCountedAmongOthers, Engine::Paxos) => Some(Story::ReplacedVotersAnswer),
            _ => None,
        }
    }

    /// In a few words.
    pub fn name(self) -> &'static str {
        match self {
            Story::LateVote => "a vote comes two campaigns late",
            Story::DeposedLeaderReads => "a deposed leader is asked to read",
            Story::LateReplyToDeposedLeader => "an answer to a deposed leader comes late",
            Story::EntryComesBack => "an entry goes and comes back",
            Story::LeaderOnlySends => "a leader can send and not receive",
            Story::Chain => "a chain of three nodes",
            Story::LaterTermAgainstLongerLog => "a later term against a longer log",
            Story::PromiseLostAcceptKept => "a promise is lost and what was accepted under it is not",
            Story::SnapshotEndsInStrayEntries => "a snapshot ends within a deposed leader's entries",
            Story::SnapshotEndsInSharedEntries => "a snapshot ends within what a follower has from its leader",
            Story::SlowLeaderAndFastVoters => "a leader with a slow clock reads by its lease",
            Story::LeaderStandsStill => "a leader stands still past its lease",
            Story::VotersRestart => "voters restart while a lease lasts",
            Story::ElectionIsForced => "an election is forced while a lease lasts",
            Story::TwoChangesFromTheSameMembers => "two leaders change the same members",
            Story::SecondChangeIsVoid => "a change of members that others have changed is chosen",
            Story::ReplacedVotersAnswer => "voters that were replaced answer a read",
            Story::OldMembersElect => "the old members elect a leader after the new ones have decided",
        }
    }

    /// Plays it; returns what breaks, in words.
    pub fn breaks<P: Protocol>(self) -> Option<String> {
        match catch_unwind(|| self.play::<P>()) {
            Ok(outcome) => outcome.err().map(|violation| violation.to_string()),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Some(format!("assertion: {}", text.unwrap_or("a panic without words")))
            }
        }
    }

    fn play<P: Protocol>(self) -> Result<(), Violation> {
        match self {
            Story::LateVote => late_vote(&mut Stage::<P>::new(3)?),
            Story::DeposedLeaderReads => deposed_leader_reads(&mut Stage::<P>::new(3)?),
            Story::LateReplyToDeposedLeader => late_reply_to_deposed_leader(&mut Stage::<P>::new(3)?),
            Story::EntryComesBack => entry_comes_back(&mut Stage::<P>::new(5)?),
            Story::LeaderOnlySends => leader_only_sends(&mut Stage::<P>::new(3)?),
            Story::Chain => chain(&mut Stage::<P>::new(3)?),
            Story::LaterTermAgainstLongerLog => later_term_against_longer_log(&mut Stage::<P>::new(3)?),
            Story::PromiseLostAcceptKept => promise_lost_accept_kept(&mut Stage::<P>::new(3)?),
            Story::SnapshotEndsInStrayEntries => snapshot_ends_in_stray_entries(&mut Stage::<P>::with_short_logs(3)?),
            Story::SnapshotEndsInSharedEntries => snapshot_ends_in_shared_entries(&mut Stage::<P>::with_short_logs(3)?),
            Story::SlowLeaderAndFastVoters => leases::slow_leader_and_fast_voters::<P>(),
            Story::LeaderStandsStill => leases::leader_stands_still::<P>(),
            Story::VotersRestart => leases::voters_restart::<P>(),
            Story::ElectionIsForced => leases::election_is_forced::<P>(),
            Story::TwoChangesFromTheSameMembers => members::two_changes_from_the_same_members::<P>(),
            Story::SecondChangeIsVoid => members::second_change_is_void::<P>(),
            Story::ReplacedVotersAnswer => members::replaced_voters_answer::<P>(),
            Story::OldMembersElect => members::old_members_elect::<P>(),
        }
    }
}

/// Since 2 voted for 1 it has voted for 3, and has helped to commit what 1 knows nothing of.
fn late_vote<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(ONE)?;
    stage.write(ONE)?;
    stage.deliver(ONE, TWO)?;
    stage.write(TWO)?;
    stage.lose(ONE, THREE);

    stage.campaign_in_vain(THREE)?;
    stage.elect(THREE, &[TWO])?;
    stage.put(THREE)?;
    stage.exchange(&[TWO, THREE])?;

    stage.campaign_in_vain(ONE)?;
    stage.campaign_in_vain(ONE)?;
    stage.exchange(&[ONE, TWO])
}

/// 2 leads and has acknowledged a write that 1, which leads too as far as it knows, has not heard of.
fn deposed_leader_reads<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    for other in [TWO, THREE] {
        stage.world.cut(ONE, other);
        stage.world.cut(other, ONE);
    }
    stage.world.campaign(TWO)?;
    stage.world.stabilize()?;
    stage.put(TWO)?;
    stage.world.stabilize()?;
    stage.world.read(ONE, ReadMode::Index)?;
    stage.world.stabilize()
}

/// The answer was sent before 2 was elected, so it proves nothing about the time since.
fn late_reply_to_deposed_leader<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    stage.world.elapse(Timing::default().heartbeat_interval)?;
    stage.deliver(ONE, TWO)?;
    stage.lose(ONE, THREE);
    stage.world.campaign(TWO)?;
    stage.exchange(&[TWO, THREE])?;
    stage.put(TWO)?;
    stage.exchange(&[TWO, THREE])?;
    stage.world.read(ONE, ReadMode::Index)?;
    let late = Which { from: Some(TWO), to: Some(ONE), kind: Some("HeartbeatReply".into()), nth: Some(1) };
    stage.world.deliver_which(&late)?;
    stage.world.settle_locally()
}

/// Index 2 goes from term 1 to 2 and back to 1 at node 3, which hears from 1, 2 and again 1 as leaders. What its disk
/// holds at the end is the entry of term 2.
fn entry_comes_back<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    stage.put(ONE)?;
    stage.write(ONE)?;
    stage.deliver(ONE, THREE)?;
    stage.write(THREE)?;
    stage.lose_all();

    stage.elect(TWO, &[FOUR, FIVE])?;
    stage.deliver(TWO, THREE)?;
    stage.write(THREE)?;
    stage.lose_all();

    // 1 hears from 4 that its term is over.
    stage.world.elapse(Timing::default().heartbeat_interval)?;
    stage.exchange(&[ONE, FOUR])?;
    stage.lose_all();
    stage.elect(ONE, &[FOUR, FIVE])?;
    stage.exchange(&[ONE, FOUR, FIVE])?;

    // 3 tells where the logs part, and gets the old entry again.
    stage.deliver(ONE, THREE)?;
    stage.write(THREE)?;
    stage.deliver(THREE, ONE)?;
    stage.deliver(ONE, THREE)?;
    stage.world.settle_locally()
}

/// The others hear 1 and do not suspect it, so 1 itself must notice.
fn leader_only_sends<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    stage.world.cut(TWO, ONE);
    stage.world.cut(THREE, ONE);
    stage.run(TIMEOUTS_TO_SETTLE)?;
    stage.must_acknowledge(TWO)
}

/// 1 leads, and 3 does not hear it. 2 does, and so must not help 3 to depose it.
fn chain<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    stage.world.cut(ONE, THREE);
    stage.world.cut(THREE, ONE);
    let before = stage.world.counts().elections;
    stage.run(TIMEOUTS_TO_WATCH)?;
    let elections = stage.world.counts().elections - before;
    if elections > 0 {
        let what = format!("{elections} elections in {TIMEOUTS_TO_WATCH} timeouts, though a quorum hears the leader");
        return Err(stuck(ONE, what));
    }
    stage.must_acknowledge(TWO)
}

/// 1 has the longer log, 2 has campaigned by itself; 3 is down for good. 1 will not vote for 2's log, and 2 not in 1's
/// term.
fn later_term_against_longer_log<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    stage.world.cut(ONE, TWO);
    stage.world.cut(TWO, ONE);
    stage.world.cut(TWO, THREE);
    stage.world.cut(THREE, TWO);
    stage.put(ONE)?;
    stage.world.stabilize()?;
    for _ in 0..3 {
        stage.world.campaign(TWO)?;
        stage.world.stabilize()?;
    }
    for node in [ONE, TWO, THREE] {
        stage.world.crash(node, Survivors::default())?;
    }
    stage.world.heal();
    stage.world.restart(ONE)?;
    stage.world.restart(TWO)?;
    stage.run(TIMEOUTS_TO_SETTLE)?;
    stage.must_acknowledge(ONE)
}

/// 2 has promised 3's ballot, and accepted an entry under it, with two writes: of these the second one survives.
fn promise_lost_accept_kept<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(THREE)?;
    stage.write(THREE)?;
    stage.deliver(THREE, ONE)?;
    stage.deliver(THREE, TWO)?;
    stage.write(ONE)?;
    stage.deliver(ONE, THREE)?;
    stage.put(THREE)?;
    stage.deliver(THREE, TWO)?;
    let mut fates = vec![Fate::Whole; stage.world.at_stake(TWO).writes];
    if let Some(first) = fates.first_mut() {
        *first = Fate::Missing;
    }
    stage.world.crash_with(TWO, &fates, Survivors::default())?;
    stage.world.restart(TWO)
}

/// 1 has written three entries that nobody else knows of. 2 and 3 have others there, and the snapshot that 1 is sent ends
/// at the second one.
fn snapshot_ends_in_stray_entries<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    for other in [TWO, THREE] {
        stage.world.cut(ONE, other);
        stage.world.cut(other, ONE);
    }
    for _ in 0..3 {
        stage.put(ONE)?;
    }
    stage.world.campaign(TWO)?;
    stage.world.stabilize()?;
    stage.put(TWO)?;
    stage.world.stabilize()?;
    stage.world.flush_tables(TWO)?;
    stage.world.order_snapshot(TWO);
    stage.world.stabilize()?;
    stage.world.heal();
    stage.run(TIMEOUTS_TO_SETTLE)
}

/// 2 has three entries of 1's, and has not heard of any that it is committed. The snapshot that it is sent ends at the first
/// one, which 3 has helped to commit.
fn snapshot_ends_in_shared_entries<P: Protocol>(stage: &mut Stage<P>) -> Result<(), Violation> {
    stage.world.campaign(ONE)?;
    stage.world.stabilize()?;
    for _ in 0..3 {
        stage.put(ONE)?;
    }
    stage.write(ONE)?;
    stage.deliver(ONE, TWO)?;
    stage.write(TWO)?;
    stage.lose(TWO, ONE);
    stage.world.deliver_which(&Which { nth: Some(1), ..between(ONE, THREE) })?;
    stage.write(THREE)?;
    stage.deliver(THREE, ONE)?;
    stage.world.flush_tables(ONE)?;
    stage.world.order_snapshot(ONE);
    stage.world.settle_locally()?;
    stage.lose_all();
    stage.world.offer_snapshot(ONE, TWO)?;
    stage.world.stabilize()?;
    stage.run(TIMEOUTS_TO_SETTLE)
}

/// Election timeouts after which a majority that can speak with itself has a leader.
const TIMEOUTS_TO_SETTLE: u32 = 20;
/// Election timeouts in which a leader that lives is watched.
const TIMEOUTS_TO_WATCH: u32 = 50;

fn stuck(node: NodeId, what: String) -> Violation {
    Violation::Engine { node, what: format!("liveness: {what}") }
}

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);
const FOUR: NodeId = NodeId(4);
const FIVE: NodeId = NodeId(5);

/// How often messages go back and forth before nodes are taken for talking without end.
const EXCHANGES_MAX: u32 = 100;

/// A world in which nothing is delivered or written unless a story says so.
struct Stage<P: Protocol> {
    world: World<P>,
}

impl<P: Protocol> Stage<P> {
    fn new(nodes: u64) -> Result<Stage<P>, Violation> {
        Ok(Stage { world: World::new(WorldConfig { nodes, ..WorldConfig::default() })? })
    }

    /// Nothing is kept of a log behind a snapshot.
    fn with_short_logs(nodes: u64) -> Result<Stage<P>, Violation> {
        let snapshots = SnapshotSettings { tail_entries: 0, ..SnapshotSettings::on_demand() };
        Ok(Stage { world: World::new(WorldConfig { nodes, snapshots, ..WorldConfig::default() })? })
    }

    fn put(&mut self, node: NodeId) -> Result<Option<RequestId>, Violation> {
        let command = Command::Put { key: "k".into(), value: "v".into(), expect: Expect::Any };
        let data = command.encode().map_err(|error| Violation::Engine { node, what: error.to_string() })?;
        self.world.propose(node, data)
    }

    /// Everything happens that happens by itself in so many election timeouts.
    fn run(&mut self, timeouts: u32) -> Result<(), Violation> {
        self.world.run_until(self.world.now() + Timing::default().election_timeout * timeouts)
    }

    /// A client of the node gets its command through.
    fn must_acknowledge(&mut self, node: NodeId) -> Result<(), Violation> {
        let asked = self.put(node)?;
        self.run(TIMEOUTS_TO_SETTLE)?;
        match asked.and_then(|id| self.world.acknowledged_at(id)) {
            Some(_) => Ok(()),
            None => Err(stuck(node, format!("nothing is acknowledged in {TIMEOUTS_TO_SETTLE} election timeouts"))),
        }
    }

    /// The disk performs what waits.
    fn write(&mut self, node: NodeId) -> Result<(), Violation> {
        self.world.persist(node, usize::MAX)?;
        self.world.settle_locally()
    }

    /// What is on its way arrives, but not what is sent in answer.
    fn deliver(&mut self, from: NodeId, to: NodeId) -> Result<usize, Violation> {
        let count = self.world.deliver_which(&between(from, to))?;
        self.world.settle_locally()?;
        Ok(count)
    }

    fn lose(&mut self, from: NodeId, to: NodeId) {
        self.world.drop_which(&between(from, to));
    }

    fn lose_all(&mut self) {
        self.world.drop_which(&Which::default());
    }

    /// Asks for votes, and nobody hears it.
    fn campaign_in_vain(&mut self, candidate: NodeId) -> Result<(), Violation> {
        self.world.campaign(candidate)?;
        self.write(candidate)?;
        self.world.drop_which(&Which { from: Some(candidate), ..Which::default() });
        Ok(())
    }

    /// Wins the votes of these, and sends the first messages of its leadership.
    fn elect(&mut self, candidate: NodeId, voters: &[NodeId]) -> Result<(), Violation> {
        self.world.campaign(candidate)?;
        self.ask(candidate, voters)
    }

    /// What the node has to say reaches these, and their answers reach it; what it says to that is on its way.
    fn ask(&mut self, node: NodeId, others: &[NodeId]) -> Result<(), Violation> {
        self.write(node)?;
        for other in others {
            self.deliver(node, *other)?;
            self.write(*other)?;
        }
        for other in others {
            self.deliver(*other, node)?;
        }
        Ok(())
    }

    /// These nodes write and say to each other whatever there is to.
    fn exchange(&mut self, nodes: &[NodeId]) -> Result<(), Violation> {
        for _ in 0..EXCHANGES_MAX {
            let mut delivered = 0;
            for from in nodes {
                self.write(*from)?;
                for to in nodes.iter().filter(|to| *to != from) {
                    delivered += self.deliver(*from, *to)?;
                }
            }
            if delivered == 0 {
                return Ok(());
            }
        }
        Err(Violation::Engine { node: nodes[0], what: "talks without end".into() })
    }
}

fn between(from: NodeId, to: NodeId) -> Which {
    Which { from: Some(from), to: Some(to), ..Which::default() }
}
