//! What a story is told with: a world, the words of both engines for the same kinds of message, and short forms for what
//! stories do and ask again and again.
//!
//! On a stage that is set [by hand](Stage::new) nothing takes time: nothing is delivered and no disk writes unless the
//! story says so. On one that [runs](Stage::running) links and disks take their time, and stories let it pass. Either
//! way a property that breaks ends the story.

mod asks;
pub(crate) mod members;
pub(crate) mod sessions;

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::{Blob, Limits, NodeId, ReadMode, RequestId, Timing};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use kv_machine::{Command, Expect};
use replica::SnapshotSettings;
use replica::transfer::TransferSettings;
use simulator::answers::Answer;
use simulator::faults::{Survivors, Which};
use simulator::plan::{Fault, Planned};
use simulator::trace::{Happening, Parcel};
use simulator::world::{LinkFaults, SpanUs};
use simulator::{Protocol, Violation, World, WorldConfig};

pub(crate) const ONE: NodeId = NodeId(1);
pub(crate) const TWO: NodeId = NodeId(2);
pub(crate) const THREE: NodeId = NodeId(3);
pub(crate) const FOUR: NodeId = NodeId(4);
pub(crate) const FIVE: NodeId = NodeId(5);

/// How often messages go back and forth before nodes are taken for talking without end.
const EXCHANGES_MAX: u32 = 100;

/// What the engines call the same kinds of message.
pub(crate) trait Words: Protocol {
    /// Asks whether a campaign would succeed; this is the answer.
    const PRE_ANSWER: &str;
    /// Asks for a vote or a promise.
    const CANVASS: &str;
    /// Gives it.
    const VOTE: &str;
    /// Carries entries.
    const ACCEPT: &str;
    /// Acknowledges them.
    const ACCEPTED: &str;
    const HEARTBEAT: &str = "Heartbeat";
    const HEARTBEAT_REPLY: &str = "HeartbeatReply";
    const NACK: &str = "Nack";
}

impl Words for Raft {
    const PRE_ANSWER: &str = "PreVoteReply";
    const CANVASS: &str = "RequestVote";
    const VOTE: &str = "Vote";
    const ACCEPT: &str = "Append";
    const ACCEPTED: &str = "AppendReply";
}

impl Words for MultiPaxos {
    const PRE_ANSWER: &str = "PreCheckReply";
    const CANVASS: &str = "Prepare";
    const VOTE: &str = "Promise";
    const ACCEPT: &str = "Accept";
    const ACCEPTED: &str = "Accepted";
}

/// A message, and who sent it to whom.
pub(crate) type Letter<P> = Parcel<<P as consensus_api::Engine>::Message>;

/// A world, and what has happened in it.
pub(crate) struct Stage<P: Words> {
    pub(crate) world: World<P>,
    history: Vec<Happening<P::Message>>,
    answers: Vec<Answer>,
    faults: u64,
}

/// What must hold holds.
#[track_caller]
pub(crate) fn holds<T>(result: Result<T, Violation>) -> T {
    result.unwrap_or_else(|violation| panic!("{violation}"))
}

pub(crate) fn election_timeouts(count: u32) -> Duration {
    Timing::default().election_timeout * count
}

fn meant(from: NodeId, to: NodeId, kind: &str) -> Which {
    Which { from: Some(from), to: Some(to), kind: Some(kind.to_owned()), nth: None }
}

fn between(from: NodeId, to: NodeId) -> Which {
    Which { from: Some(from), to: Some(to), ..Which::default() }
}

fn encoded(command: &Command) -> Bytes {
    command.encode().expect("is small")
}

/// Snapshots after so many entries, small pieces, and patience for nobody.
pub(crate) fn often(entries: u64) -> SnapshotSettings {
    let transfer = TransferSettings {
        chunk_bytes: 100,
        window_bytes: 400,
        bytes_per_second: 1 << 20,
        offer_again_after: Duration::from_millis(100),
        give_up_after: Duration::from_secs(2),
        yield_after: Duration::from_millis(500),
        rest: Duration::from_millis(100),
        keep_log_for: Duration::from_secs(1),
    };
    SnapshotSettings { entries, tail_entries: 0, transfer, ..SnapshotSettings::on_demand() }
}

/// How a stage is set.
impl<P: Words> Stage<P> {
    pub(crate) fn with(config: WorldConfig) -> Stage<P> {
        let mut world = holds(World::new(config));
        world.listen();
        Stage { world, history: Vec::new(), answers: Vec::new(), faults: 0 }
    }

    /// By hand, and nobody leads yet.
    pub(crate) fn new(nodes: u64) -> Stage<P> {
        Stage::with(WorldConfig { nodes, ..WorldConfig::default() })
    }

    /// By hand; 1 leads, and nothing is under way.
    pub(crate) fn led_by_one(nodes: u64, limits: Limits) -> Stage<P> {
        let mut stage = Stage::with(WorldConfig { nodes, limits, ..WorldConfig::default() });
        stage.campaign(ONE);
        stage.stabilize();
        assert!(stage.leads(ONE));
        stage
    }

    /// Links and disks take their time.
    pub(crate) fn running_with(config: WorldConfig) -> Stage<P> {
        let links = LinkFaults { delay: SpanUs::new(100, 1000), ..LinkFaults::default() };
        Stage::with(WorldConfig { links, sync: SpanUs::new(100, 1000), local: SpanUs::new(10, 100), ..config })
    }

    /// As [`Stage::running_with`], and the seed decides how long.
    pub(crate) fn running(nodes: u64, seed: u64) -> Stage<P> {
        Stage::running_with(WorldConfig { nodes, seed, ..WorldConfig::default() })
    }

    /// A stage that runs and that 1 leads, on which a log keeps nothing behind a snapshot.
    pub(crate) fn with_short_logs(config: WorldConfig) -> Stage<P> {
        let SnapshotSettings { entries, bytes, transfer, .. } = config.snapshots.clone();
        let is_chosen = transfer != TransferSettings::default();
        let transfer = if is_chosen { transfer } else { often(1).transfer };
        let snapshots = SnapshotSettings { entries, bytes, tail_entries: 0, transfer };
        let mut stage = Stage::running_with(WorldConfig { snapshots, trace_max: 1_000_000, ..config });
        stage.campaign(ONE);
        stage.run(1);
        assert!(stage.leads(ONE));
        stage
    }

    /// A stage that runs, and that 1 leads.
    pub(crate) fn running_under_one(nodes: u64, seed: u64) -> Stage<P> {
        let mut stage = Stage::running(nodes, seed);
        stage.campaign(ONE);
        stage.run(1);
        assert!(stage.leads(ONE));
        stage
    }
}

/// What stories do.
impl<P: Words> Stage<P> {
    /// A client of the node appends to a key: what is applied twice stands there twice.
    pub(crate) fn append(&mut self, node: NodeId, key: &'static str, suffix: &'static str) -> RequestId {
        let command = Command::Append { key: key.into(), suffix: suffix.into(), expect: Expect::Any };
        holds(self.world.propose(node, encoded(&command))).expect("the node runs")
    }

    pub(crate) fn put(&mut self, node: NodeId, key: String, value: Vec<u8>) -> RequestId {
        let (key, value) = (Blob::from(key.into_bytes()), Blob::from(value));
        let command = Command::Put { key, value, expect: Expect::Any };
        holds(self.world.propose(node, encoded(&command))).expect("the node runs")
    }

    pub(crate) fn read(&mut self, node: NodeId, key: &str) -> RequestId {
        self.read_by(node, key, ReadMode::Index)
    }

    pub(crate) fn read_by(&mut self, node: NodeId, key: &str, mode: ReadMode) -> RequestId {
        holds(self.world.read_key(node, key.as_bytes().to_vec(), mode)).expect("the node runs")
    }

    pub(crate) fn campaign(&mut self, node: NodeId) {
        holds(self.world.campaign(node));
    }

    /// The disk performs what waits.
    pub(crate) fn write(&mut self, node: NodeId) {
        holds(self.world.persist(node, usize::MAX));
        holds(self.world.settle_locally());
    }

    /// What is on its way arrives, but not what is sent in answer.
    pub(crate) fn deliver(&mut self, from: NodeId, to: NodeId) -> usize {
        let count = holds(self.world.deliver_which(&between(from, to)));
        holds(self.world.settle_locally());
        count
    }

    pub(crate) fn deliver_kind(&mut self, from: NodeId, to: NodeId, kind: &str) -> usize {
        let count = holds(self.world.deliver_which(&meant(from, to, kind)));
        holds(self.world.settle_locally());
        count
    }

    pub(crate) fn lose(&mut self, from: NodeId, to: NodeId) -> usize {
        self.world.drop_which(&between(from, to))
    }

    pub(crate) fn lose_kind(&mut self, from: NodeId, to: NodeId, kind: &str) -> usize {
        self.world.drop_which(&meant(from, to, kind))
    }

    pub(crate) fn lose_all(&mut self) {
        self.world.drop_which(&Which::default());
    }

    pub(crate) fn double(&mut self, from: NodeId, to: NodeId, kind: &str) -> usize {
        self.world.duplicate_which(&meant(from, to, kind))
    }

    pub(crate) fn hold(&mut self, from: NodeId, to: NodeId, kind: &str) -> Vec<Letter<P>> {
        self.world.hold_which(&meant(from, to, kind))
    }

    /// What was held arrives at nodes that run.
    #[track_caller]
    pub(crate) fn hand_in(&mut self, letters: Vec<Letter<P>>) {
        for letter in letters {
            let (from, to, kind) = (letter.from, letter.to, P::name(&letter.message));
            let before = self.received(from, to, &kind);
            holds(self.world.hand_in(letter));
            holds(self.world.settle_locally());
            assert_eq!(self.received(from, to, &kind), before + 1, "{kind} has not arrived");
        }
    }

    /// Asks for votes, and nobody hears it.
    pub(crate) fn campaign_in_vain(&mut self, candidate: NodeId) {
        self.campaign(candidate);
        self.write(candidate);
        self.world.drop_which(&Which { from: Some(candidate), ..Which::default() });
    }

    /// Wins the votes of these and asks nobody else; the first messages of its leadership are on their way.
    #[track_caller]
    pub(crate) fn elect(&mut self, candidate: NodeId, voters: &[NodeId]) {
        self.campaign(candidate);
        self.write(candidate);
        for voter in voters {
            self.deliver(candidate, *voter);
            self.write(*voter);
        }
        let canvass = Some(P::CANVASS.to_owned());
        self.world.drop_which(&Which { from: Some(candidate), kind: canvass, ..Which::default() });
        for voter in voters {
            self.deliver(*voter, candidate);
        }
        assert!(self.leads(candidate), "{candidate} is not elected by {voters:?}");
    }

    /// These nodes write and say to each other whatever there is to.
    #[track_caller]
    pub(crate) fn exchange(&mut self, nodes: &[NodeId]) {
        let round = |stage: &mut Stage<P>| {
            let mut delivered = 0;
            for from in nodes {
                stage.write(*from);
                for to in nodes.iter().filter(|to| *to != from) {
                    delivered += stage.deliver(*from, *to);
                }
            }
            if delivered == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let ended = (0..EXCHANGES_MAX).try_for_each(|_| round(self)).is_break();
        assert!(ended, "{nodes:?} talk without end");
    }

    pub(crate) fn stabilize(&mut self) {
        holds(self.world.stabilize());
    }

    /// So many election timeouts pass, and everything happens that happens by itself.
    pub(crate) fn run(&mut self, timeouts: u32) {
        self.run_for(election_timeouts(timeouts));
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        holds(self.world.run_until(self.world.now() + span));
    }

    /// So many heartbeat intervals pass for the nodes' timers, and nothing arrives.
    pub(crate) fn elapse(&mut self, intervals: u32) {
        holds(self.world.elapse(Timing::default().heartbeat_interval * intervals));
    }

    /// A node's tables reach its disk, it takes a snapshot, and its log is trimmed behind it.
    pub(crate) fn take_snapshot(&mut self, node: NodeId) {
        holds(self.world.flush_tables(node));
        self.world.order_snapshot(node);
        self.run_for(Duration::from_millis(20));
    }

    /// What goes on within the nodes happens.
    pub(crate) fn settle(&mut self) {
        holds(self.world.settle_locally());
        holds(self.world.elapse(Duration::from_millis(2)));
    }

    /// What links do on a stage that runs.
    pub(crate) fn links(&self) -> LinkFaults {
        LinkFaults { delay: SpanUs::new(100, 1000), ..LinkFaults::default() }
    }

    /// The power fails, and nothing survives that was not synced.
    pub(crate) fn crash(&mut self, node: NodeId) {
        holds(self.world.crash(node, Survivors::default()));
    }

    pub(crate) fn restart(&mut self, node: NodeId) {
        holds(self.world.restart(node));
    }

    /// Nothing gets through between the two.
    pub(crate) fn part(&mut self, one: NodeId, other: NodeId) {
        self.world.cut(one, other);
        self.world.cut(other, one);
    }

    /// Nothing gets through between the node and any other.
    pub(crate) fn isolate(&mut self, node: NodeId) {
        for other in self.world.ids().into_iter().filter(|other| *other != node) {
            self.part(node, other);
        }
    }

    /// A fault takes place, and lasts until it is [relieved](World::relieve).
    #[track_caller]
    pub(crate) fn inflict(&mut self, fault: Fault, seed: u64) -> Planned {
        let (at, lasting) = (Duration::ZERO, Duration::ZERO);
        let planned = Planned { number: self.faults, at, lasting, fault, seed, promised: false };
        self.faults += 1;
        assert!(holds(self.world.inflict(&planned)), "nothing comes of {fault}");
        planned
    }
}
