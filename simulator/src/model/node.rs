//! One node of the model: the driver's core around an engine, a disk, and the writes between them. What it does is a
//! function of what it is and what it is told.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use consensus_api::membership::Member;
use consensus_api::{
    AppliedMembership, Ballot, Blob, EngineConfig, EngineError, Era, Input, Limits, LogIndex, LogPosition, LogTime,
    Membership, MonoTime, NodeId, Outgoing, Recovered, RequestId, Role, StoreId, Timing, Write,
};
use replica::core::Core;

use crate::model::history::{Deeds, Flaw};
use crate::model::platter::Platter;
use crate::model::{Bug, Scope};
use crate::protocol::Protocol;

/// The number of nodes.
pub(crate) const NODES: usize = 3;

/// The reading of a clock that stands still.
const NOW: MonoTime = MonoTime::from_micros(0);

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Envelope<M> {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) message: M,
}

/// What may happen to a node.
#[derive(Clone, Debug)]
pub(crate) enum Happening<M> {
    /// Its election timeout ends.
    Campaign,
    /// A client asks it for this command, the nth of all.
    Propose(u8),
    /// A message arrives.
    Hear(Arc<Envelope<M>>),
    /// Its oldest write reaches the disk.
    Sync,
    /// It loses power, and starts again.
    Crash,
}

/// A node, with a disk that outlives its processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node<P: Protocol> {
    id: NodeId,
    boot: u64,
    // None once an engine has given up: it stopped, or refused its disk.
    core: Option<Core<P>>,
    platter: Platter,
    pending: VecDeque<Write>,
}

/// What comes of a happening.
pub(crate) struct Reaction<P: Protocol> {
    pub(crate) node: Node<P>,
    pub(crate) sent: Vec<Envelope<P::Message>>,
    pub(crate) deeds: Deeds,
}

impl<P: Protocol> Node<P> {
    /// A node with a blank disk.
    pub(crate) fn blank(id: NodeId) -> Result<Node<P>, EngineError> {
        let mut node = Node { id, boot: 0, core: None, platter: Platter::default(), pending: VecDeque::new() };
        node.start()?;
        Ok(node)
    }

    pub(crate) fn platter(&self) -> &Platter {
        &self.platter
    }

    /// What the node does when this happens. A failed assertion of the engine ends it, and is a flaw.
    pub(crate) fn react(&self, happening: Happening<P::Message>, scope: &Scope) -> Reaction<P> {
        let promised = self.platter.ballot();
        // The engine inside is thrown away where it panics, so nobody sees it half changed.
        let step = catch_unwind(AssertUnwindSafe(|| {
            let mut step = Step::new(self.clone(), scope);
            step.happen(happening);
            step.reaction
        }));
        let mut reaction = step.unwrap_or_else(|_| {
            let mut deeds = Deeds::default();
            deeds.flaws.insert(Flaw::Contradiction);
            Reaction { node: Node { core: None, ..self.clone() }, sent: Vec::new(), deeds }
        });
        if is_revoked::<P>(promised, reaction.node.platter.ballot()) {
            reaction.deeds.flaws.insert(Flaw::BallotLowered);
        }
        reaction
    }

    /// Starts a process from what the disk holds. The tables are taken to be empty: the log brings all of it back.
    fn start(&mut self) -> Result<(), EngineError> {
        self.boot += 1;
        self.core = None;
        let recovered = Recovered {
            era: Era(0),
            base: LogPosition::default(),
            applied: LogPosition::default(),
            log_time: LogTime::default(),
            membership: AppliedMembership::founded(Arc::new(founders())),
            log: self.platter.recover(),
        };
        let engine = P::recover(config(self.id, self.boot), recovered, NOW)?;
        self.core = Some(Core::new(engine, LogIndex::ZERO));
        Ok(())
    }
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Whether what a disk vouched for was taken back. In Raft that includes a vote given to somebody else.
fn is_revoked<P: Protocol>(before: Ballot, after: Ballot) -> bool {
    let voted = before.node != NodeId::NONE && P::ROUND_IS_EPOCH;
    after < before || (voted && after.round == before.round && after.node != before.node)
}

fn founders() -> Membership {
    let ids = (1..=NODES as u64).map(NodeId);
    Membership::of_voters(ids.map(|id| (id, Member { address: String::new(), store: StoreId(u128::from(id.0)) })))
}

/// No timeout ever ends: elections are choices.
fn config(node: NodeId, boot: u64) -> EngineConfig {
    let timing = Timing {
        heartbeat_interval: Duration::from_secs(1),
        election_timeout: Duration::MAX,
        pre_check: false,
        check_quorum: false,
        lease: None,
    };
    EngineConfig { node, store: None, boot, seed: 0, timing, limits: Limits::default() }
}

/// A node in the middle of a step.
struct Step<'a, P: Protocol> {
    scope: &'a Scope,
    reaction: Reaction<P>,
}

impl<'a, P: Protocol> Step<'a, P> {
    fn new(node: Node<P>, scope: &'a Scope) -> Step<'a, P> {
        Step { scope, reaction: Reaction { node, sent: Vec::new(), deeds: Deeds::default() } }
    }

    fn happen(&mut self, happening: Happening<P::Message>) {
        match happening {
            Happening::Campaign => self.input(Input::Campaign),
            Happening::Propose(number) => self.propose(number),
            Happening::Hear(envelope) => {
                self.input(Input::Message { from: envelope.from, message: envelope.message.clone() });
            }
            Happening::Sync => self.sync(),
            Happening::Crash => self.crash(),
        }
        self.settle();
        if let Some(core) = &mut self.reaction.node.core {
            core.merge_held(digest);
        }
        let status = self.reaction.node.core.as_ref().map(|core| core.engine().status());
        self.reaction.deeds.leads = status.filter(|status| status.role == Role::Leader).map(|status| status.ballot);
    }

    fn input(&mut self, input: Input<P::Message>) {
        if let Some(core) = &mut self.reaction.node.core {
            core.step(NOW, input);
        }
    }

    /// Only a leader is asked: forwarding is not in the scope.
    fn propose(&mut self, number: u8) {
        let Some(core) = &self.reaction.node.core else { return };
        if core.engine().status().role == Role::Leader {
            let id = RequestId { origin: self.reaction.node.id, boot: 1, sequence: u64::from(number) };
            self.input(Input::Propose { id, data: Blob::default() });
        }
    }

    fn sync(&mut self) {
        if let Some(write) = self.reaction.node.pending.pop_front() {
            let id = write.id;
            self.reaction.node.platter.write(write);
            self.input(Input::Persisted { write: id });
        }
    }

    fn crash(&mut self) {
        let node = &mut self.reaction.node;
        node.pending.clear();
        if self.scope.bug == Some(Bug::ForgetsHardState) {
            node.platter.forget_hard_state();
        }
        if node.start().is_err() {
            self.reaction.deeds.flaws.insert(Flaw::Contradiction);
        }
    }

    /// Does what the engine wants done, until it wants nothing more than its slow disk.
    fn settle(&mut self) {
        while let Some(core) = &mut self.reaction.node.core {
            let mut messages = Vec::new();
            if self.scope.bug == Some(Bug::SendsBeforeDurable) {
                messages = core.engine().clone().take_effects().messages;
            }
            let actions = core.take();
            messages.extend(actions.messages);
            let mut is_done = actions.apply.is_empty() && actions.read_back.is_empty();
            if let Some(last) = actions.apply.last() {
                core.step(NOW, Input::Applied { through: last.index });
            }
            for asked in &actions.read_back {
                core.step(NOW, Input::EntriesRead { id: asked.id, entries: self.reaction.node.platter.read(asked) });
            }
            self.send(messages);
            self.reaction.deeds.applied.extend(actions.apply);
            if let Some(write) = actions.write {
                self.reaction.deeds.written.extend(write.entries.iter().cloned());
                self.reaction.node.pending.push_back(write);
            }
            if !self.is_slow() && !self.reaction.node.pending.is_empty() {
                self.sync();
                is_done = false;
            }
            if is_done {
                return;
            }
        }
    }

    fn send(&mut self, messages: Vec<Outgoing<P::Message>>) {
        let (from, hurries) = (self.reaction.node.id, self.scope.hurries);
        let is_worth_it = |outgoing: &Outgoing<P::Message>| match P::name(&outgoing.message).as_str() {
            "HeartbeatReply" => false,
            "Heartbeat" | "Nack" => hurries,
            _ => true,
        };
        let worth_telling = messages.into_iter().filter(is_worth_it);
        let envelopes = worth_telling.map(|outgoing| Envelope { from, to: outgoing.to, message: outgoing.message });
        self.reaction.sent.extend(envelopes);
    }

    fn is_slow(&self) -> bool {
        const ORDER: [u64; NODES] = [3, 1, 2];
        ORDER.iter().take(usize::from(self.scope.slow_disks)).any(|id| *id == self.reaction.node.id.0)
    }
}
