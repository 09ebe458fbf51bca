//! Golden scripts: a text file of commands, run by both engines, with what each of them did.
//!
//! ```text
//!   # What the script claims.
//!   campaign 1
//!   stabilize
//!   ---
//!   both:
//!     1 is told to campaign
//!   raft:
//!     1 writes w1: ballot 1.1
//!     …
//!   paxos:
//!     …
//! ```
//!
//! No time passes and nothing is delivered or written to a disk unless a command says so. What both engines do alike is
//! shown once. All checks look on: a script in which a property breaks fails, whatever its output.

mod command;
mod summary;

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::{Blob, LogIndex, LogStore, NodeId};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use goldenscript::{Context, Runner};
use kv_machine::{Command as KvCommand, Expect, KvError};

use crate::checks::Violation;
use crate::faults::Survivors;
use crate::protocol::Protocol;
use crate::transcript;
use crate::world::{World, WorldConfig};

pub use command::Command;

/// Why a script stops.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A property does not hold.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The script names a node that is not there.
    #[error("there is no node {0}; name one of the cluster's")]
    NoSuchNode(u64),
    /// An operator asks the leader, and there is none.
    #[error("nobody leads; name the node that is asked: node=1")]
    NobodyLeads,
    /// Nothing is on its way that the command could mean.
    #[error("no such message is on its way")]
    NoSuchMessage,
    /// There is no such way to read.
    #[error("there is no read by \"{0}\"; there are index, lease, log and quorum")]
    NoSuchMode(String),
    /// A command of the state machine cannot be encoded.
    #[error(transparent)]
    Encoding(#[from] KvError),
}

/// One world for each engine.
pub struct Script {
    raft: World<Raft>,
    paxos: World<MultiPaxos>,
}

impl Script {
    /// Two worlds of three nodes.
    pub fn new() -> Result<Script, Violation> {
        Script::with(&WorldConfig::default())
    }

    fn with(config: &WorldConfig) -> Result<Script, Violation> {
        Ok(Script { raft: World::new(config.clone())?, paxos: World::new(config.clone())? })
    }
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        if let Some(config) = command.new_cluster() {
            *self = Script::with(&config)?;
            return Ok(String::new());
        }
        let raft = perform(&mut self.raft, command)?;
        let paxos = perform(&mut self.paxos, command)?;
        if command.needs_messages() && raft.is_empty() && paxos.is_empty() {
            return Err(ScriptError::NoSuchMessage.into());
        }
        Ok(if command.is_table() { line_by_line(&raft, &paxos) } else { one_under_the_other(&raft, &paxos) })
    }
}

/// Does what the command says in one world, and tells what came of it.
fn perform<P: Protocol>(world: &mut World<P>, command: &Command) -> Result<Vec<String>, ScriptError> {
    for node in command.nodes() {
        if world.disk(NodeId(node)).is_none() {
            return Err(ScriptError::NoSuchNode(node));
        }
    }
    match command {
        Command::Status => return Ok(statuses(world)),
        Command::Log => return Ok(logs(world)),
        _ => act(world, command)?,
    }
    world.settle_locally()?;
    let happenings = world.trace().take();
    Ok(if command.is_brief() { summary::lines::<P>(&happenings) } else { transcript::lines::<P>(&happenings) })
}

fn act<P: Protocol>(world: &mut World<P>, command: &Command) -> Result<(), ScriptError> {
    match command {
        Command::Tick(nodes) => nodes.iter().try_for_each(|node| world.tick(NodeId(*node)))?,
        Command::Elapse(ms) => world.elapse(Duration::from_millis(*ms))?,
        Command::Run { ms, .. } => world.run_until(world.now() + Duration::from_millis(*ms))?,
        Command::Campaign(nodes) => nodes.iter().try_for_each(|node| world.campaign(NodeId(*node)))?,
        Command::Propose { node, keys, count } => {
            let many = (1..=count.unwrap_or(0)).map(|number| format!("k{number}"));
            let batch: Result<Vec<Bytes>, KvError> = keys.iter().cloned().chain(many).map(put).collect();
            world.propose_together(NodeId(*node), batch?)?;
        }
        Command::Read { node, .. } => {
            world.read(NodeId(*node), command.read_mode()?)?;
        }
        Command::Members { voters, learner, node, version } => {
            let asked = who_is_asked(world, *node)?;
            let present = world.status(asked).map_or(0, |status| status.membership.version);
            let ids = |nodes: &[u64]| nodes.iter().copied().map(NodeId).collect::<Vec<_>>();
            let learners = learner.map(NodeId);
            let target = world.members(version.unwrap_or(present), ids(voters), learners);
            world.change_membership(asked, target)?;
        }
        Command::Transfer { to, node } => {
            let asked = who_is_asked(world, *node)?;
            world.transfer_leadership(asked, to.map(NodeId))?;
        }
        Command::Deliver { .. } => {
            world.deliver_which(&command.which())?;
        }
        Command::Drop { .. } => {
            world.drop_which(&command.which());
        }
        Command::Duplicate { .. } => {
            world.duplicate_which(&command.which());
        }
        Command::Stabilize { .. } => world.stabilize()?,
        Command::Persist { node, count } => world.persist(NodeId(*node), count.unwrap_or(usize::MAX))?,
        Command::Crash { node, keep } => {
            let batches = world.at_stake(NodeId(*node)).batches;
            world.crash(NodeId(*node), Survivors { writes: keep.unwrap_or(0), batches, incoming: true })?;
        }
        Command::Restart(nodes) => nodes.iter().try_for_each(|node| world.restart(NodeId(*node)))?,
        Command::Pause(node) => world.pause(NodeId(*node)),
        Command::Resume(node) => world.resume(NodeId(*node)),
        Command::Cut { .. } | Command::Isolate(_) => {
            for (from, to) in command.cuts(&world.ids()) {
                world.cut(from, to);
            }
        }
        Command::Heal => world.heal(),
        Command::Cluster { .. } | Command::Status | Command::Log => {}
    }
    Ok(())
}

/// The node that an operator names, or the leader.
fn who_is_asked<P: Protocol>(world: &World<P>, named: Option<u64>) -> Result<NodeId, ScriptError> {
    named.map(NodeId).or(world.leader()).ok_or(ScriptError::NobodyLeads)
}

/// A command that sets a key to its own name.
fn put(key: String) -> Result<Bytes, KvError> {
    let key = Blob::from(key.into_bytes());
    KvCommand::Put { value: key.clone(), key, expect: Expect::Any }.encode()
}

fn statuses<P: Protocol>(world: &World<P>) -> Vec<String> {
    let line = |node: NodeId| {
        let Some(status) = world.status(node) else { return format!("{node} is down") };
        let part = transcript::part(status.role, status.leader);
        let applied = world.applied(node).unwrap_or_default();
        let (ballot, commit, last) = (status.ballot, status.commit_index, status.last_index);
        format!("{node} {part}, at {ballot}; last {last}, commit {commit}, applied {applied}")
    };
    world.ids().into_iter().map(line).collect()
}

/// What the disks hold, holes included.
fn logs<P: Protocol>(world: &World<P>) -> Vec<String> {
    let line = |node: NodeId| {
        let Some(disk) = world.disk(node) else { return String::new() };
        let entries = disk.durable_entries();
        if entries.len() > 12 {
            return format!("{node}: {}", transcript::entries(&entries));
        }
        let mut words = Vec::new();
        let mut expected = disk.base().index.next();
        for entry in entries {
            words.extend((expected.0..entry.index.0).map(|hole| format!("{hole} (hole)")));
            expected = LogIndex(entry.index.0 + 1);
            words.push(transcript::entries(&[entry]));
        }
        if words.is_empty() { format!("{node}: empty") } else { format!("{node}: {}", words.join(", ")) }
    };
    world.ids().into_iter().map(line).collect()
}

fn under(heading: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return format!("{heading}:\n  (nothing)\n");
    }
    lines.iter().fold(format!("{heading}:\n"), |text, line| text + "  " + line + "\n")
}

/// Transcripts that are equal once, others one under the other.
fn one_under_the_other(raft: &[String], paxos: &[String]) -> String {
    match (raft == paxos, raft.is_empty()) {
        (true, true) => String::new(),
        (true, false) => under("both", raft),
        (false, _) => under("raft", raft) + &under("paxos", paxos),
    }
}

/// Tables of the same nodes: each line that is equal once.
fn line_by_line(raft: &[String], paxos: &[String]) -> String {
    let pairs = raft.iter().zip(paxos).map(|(raft, paxos)| match raft == paxos {
        true => format!("both:  {raft}\n"),
        false => format!("raft:  {raft}\npaxos: {paxos}\n"),
    });
    pairs.collect()
}
