//! Clients: each does one thing at a time, and everything that it asked and heard is written down as a history.
//!
//! ```text
//!            ┌──────────── think ◀───────────┐
//!            ▼                               │ done · refused too often · given up
//!   draw an operation ──▶ ask a node ──▶ wait for the answer
//!            ▲                │ refused, or nobody there: it had no effect
//!            └── another node ┘
//! ```
//!
//! A client tells apart what a real one can tell apart. A refusal means that the operation had no effect, so it may be
//! asked again elsewhere and still be one operation. Silence means nothing: the operation is given up as unknown, and
//! where the client tries the same once more, that is another operation.

mod wish;

use std::collections::BTreeMap;
use std::time::Duration;

use consensus_api::random::SeededRandom;
use consensus_api::{MonoTime, NodeId, Refusal, RequestId};
use kv_machine::{KvError, Reply};

use crate::answers::{Answer, Found};
use crate::checks::Violation;
use crate::linearizability::{Operation, Outcome};
use crate::protocol::Protocol;
use crate::world::World;

use wish::Wish;

/// What the clients of a run are like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Habits {
    /// How many there are.
    pub clients: u64,
    /// How many keys they share.
    pub keys: u64,
    /// How long they think between two operations, on average.
    pub think: Duration,
    /// How long they wait for an answer.
    pub patience: Duration,
    /// Reads, of a hundred operations.
    pub reads_percent: u64,
    /// Whether keys are deleted.
    pub deletes: bool,
    /// How long a value can be.
    pub value_bytes_max: u64,
}

/// How often one operation is asked for before it is given up as refused.
const TRIES_MAX: u32 = 8;

#[derive(Debug)]
struct Client {
    /// Whom it asks.
    node: NodeId,
    /// When it stops thinking, or waiting.
    wakes_at: MonoTime,
    /// What it wants, from the first time it asks.
    wish: Option<Wanted>,
    /// The request of which it awaits the answer.
    request: Option<RequestId>,
    /// What it last saw under each key.
    seen: BTreeMap<u64, Found>,
    /// Whether it asks this node and no other, until it has its answer.
    pinned: bool,
}

#[derive(Clone, Debug)]
struct Wanted {
    wish: Wish,
    /// Its place in the history.
    place: usize,
    tries: u32,
}

/// All clients, and what they have seen.
#[derive(Debug)]
pub struct Clients {
    habits: Habits,
    nodes: u64,
    random: SeededRandom,
    clients: Vec<Client>,
    awaited: BTreeMap<RequestId, usize>,
    history: Vec<Operation>,
    /// How many operations there may be by now.
    allowed: usize,
    /// Makes every value that is ever written another one.
    written: u64,
}

impl Clients {
    /// Clients of these habits, of nodes 1 to `nodes`.
    pub fn new(habits: Habits, nodes: u64, seed: u64) -> Clients {
        let mut random = SeededRandom::new(seed);
        let client = |_| Client {
            node: NodeId(1 + random.below(nodes)),
            wakes_at: MonoTime::default() + Duration::from_micros(random.below(50_000)),
            wish: None,
            request: None,
            seen: BTreeMap::new(),
            pinned: false,
        };
        let clients = (0..habits.clients).map(client).collect();
        Clients {
            habits,
            nodes,
            random,
            clients,
            awaited: BTreeMap::new(),
            history: Vec::new(),
            allowed: 0,
            written: 0,
        }
    }

    /// When the next of them wants to do something.
    pub fn wakes_at(&self) -> MonoTime {
        self.clients.iter().map(|client| client.wakes_at).min().unwrap_or(MonoTime::NEVER)
    }

    /// What they did, and what they saw.
    pub fn history(&self) -> &[Operation] {
        &self.history
    }

    /// So many operations more may begin. Without a bound that grows with time, fast links would use up in the calm what
    /// is there for the faults.
    pub fn allow(&mut self, operations: usize, now: MonoTime) {
        self.allowed = self.history.len() + operations;
        for client in self.clients.iter_mut().filter(|client| client.wakes_at == MonoTime::NEVER) {
            client.wakes_at = now;
        }
    }

    /// Nobody asks for anything new, and who waits gives up: what is open stays unknown.
    pub fn stop(&mut self) {
        self.allowed = 0;
        self.awaited.clear();
        for client in &mut self.clients {
            client.wakes_at = MonoTime::NEVER;
            (client.wish, client.request) = (None, None);
        }
    }

    /// One more client for each node and key reads it there, however often it must ask, and nobody does anything else.
    pub fn audit(&mut self, nodes: &[NodeId], now: MonoTime) {
        self.stop();
        for node in nodes {
            for key in 0..self.habits.keys {
                let wish = Some(self.write_down(self.clients.len(), Wish::Get { key }, now));
                let (request, seen) = (None, BTreeMap::new());
                self.clients.push(Client { node: *node, wakes_at: now, wish, request, seen, pinned: true });
            }
        }
    }

    /// Whether nobody wants or awaits anything.
    pub fn are_done(&self) -> bool {
        self.clients.iter().all(|client| client.wish.is_none())
    }

    /// Whoever has thought or waited long enough acts.
    pub fn wake<P: Protocol>(&mut self, world: &mut World<P>) -> Result<(), ClientError> {
        for at in 0..self.clients.len() {
            if self.clients[at].wakes_at > world.now() {
                continue;
            }
            if let Some(request) = self.clients[at].request.take() {
                self.awaited.remove(&request);
                self.give_up(at, world.now());
            } else {
                self.ask(at, world)?;
            }
        }
        Ok(())
    }

    /// Clients hear what the nodes have answered.
    pub fn hear<P: Protocol>(&mut self, world: &mut World<P>) -> Result<(), ClientError> {
        for answer in world.take_answers() {
            let now = world.now();
            // What nobody waits for any more is not heard.
            let Some(at) = self.awaited.remove(&answer.id()) else { continue };
            self.clients[at].request = None;
            match answer {
                Answer::Done { reply, .. } => self.done(at, &Reply::decode(&reply)?, now)?,
                Answer::Read { found, .. } => self.read(at, found, now),
                Answer::Refused { reason, .. } => self.refused(at, &reason, now),
            }
        }
        Ok(())
    }

    fn ask<P: Protocol>(&mut self, at: usize, world: &mut World<P>) -> Result<(), ClientError> {
        let now = world.now();
        let Some(mut wanted) = self.clients[at].wish.take().or_else(|| self.begin(at, now)) else {
            self.clients[at].wakes_at = MonoTime::NEVER;
            return Ok(());
        };
        // What was refused had no effect: the operation begins with the question that is not refused.
        self.history[wanted.place].call = nanoseconds(now);
        wanted.tries += 1;
        let node = self.clients[at].node;
        let request = match wanted.wish.command() {
            Some(command) => world.propose(node, command.encode()?)?,
            None => world.read_key(node, wanted.wish.key().into_bytes())?,
        };
        let client = &mut self.clients[at];
        client.wish = Some(wanted);
        match request {
            Some(request) => {
                client.request = Some(request);
                client.wakes_at = now + self.habits.patience;
                self.awaited.insert(request, at);
            }
            None => self.refused(at, &Refusal::NoLeader, now),
        }
        Ok(())
    }

    /// A new operation, written down as open; none where enough has been done.
    fn begin(&mut self, at: usize, now: MonoTime) -> Option<Wanted> {
        if self.history.len() >= self.allowed {
            return None;
        }
        let wish = Wish::draw(&self.habits, &mut self.random, &self.clients[at].seen, &mut self.written);
        Some(self.write_down(at, wish, now))
    }

    fn write_down(&mut self, at: usize, wish: Wish, now: MonoTime) -> Wanted {
        let place = self.history.len();
        let (call, action) = (nanoseconds(now), wish.action());
        self.history.push(Operation { client: at as u64, action, call, returned: None, outcome: Outcome::Unknown });
        Wanted { wish, place, tries: 0 }
    }

    fn done(&mut self, at: usize, reply: &Reply, now: MonoTime) -> Result<(), ClientError> {
        let Some(wanted) = &self.clients[at].wish else { return Ok(()) };
        let outcome = wanted.wish.outcome(reply).ok_or_else(|| ClientError::WrongReply {
            wish: format!("{:?}", wanted.wish),
            reply: format!("{reply:?}"),
        })?;
        self.finish(at, outcome, now);
        Ok(())
    }

    fn read(&mut self, at: usize, found: Found, now: MonoTime) {
        if let Some(wanted) = &self.clients[at].wish {
            let (place, key) = (wanted.place, wanted.wish.key_number());
            self.history[place].action = wanted.wish.read(&found);
            self.clients[at].seen.insert(key, found);
        }
        self.finish(at, Outcome::Ok, now);
    }

    /// It had no effect. The same is asked for elsewhere, for a while.
    fn refused(&mut self, at: usize, reason: &Refusal, now: MonoTime) {
        let any = NodeId(1 + self.random.below(self.nodes));
        let soon = now + Duration::from_micros(1_000 + self.random.below(30_000));
        let client = &mut self.clients[at];
        client.wakes_at = soon;
        if client.pinned {
            return;
        }
        client.node = match reason {
            Refusal::NotLeader { leader: Some(leader) } => *leader,
            Refusal::Busy => client.node,
            _ => any,
        };
        if client.wish.as_ref().is_some_and(|wanted| wanted.tries >= TRIES_MAX) {
            self.finish(at, Outcome::Fail, now);
        }
    }

    /// Nothing was heard. What was asked for may have happened, may yet happen, or never will.
    fn give_up(&mut self, at: usize, now: MonoTime) {
        let Some(wanted) = self.clients[at].wish.take() else { return };
        self.clients[at].wakes_at = now + self.thought();
        // Some try the same again, without knowing whether that makes it twice.
        if self.clients[at].pinned || self.random.below(4) == 0 {
            self.clients[at].wish = Some(self.write_down(at, wanted.wish, now));
        }
        if !self.clients[at].pinned {
            self.clients[at].node = NodeId(1 + self.random.below(self.nodes));
        }
    }

    fn finish(&mut self, at: usize, outcome: Outcome, now: MonoTime) {
        let thought = self.thought();
        let client = &mut self.clients[at];
        client.wakes_at = now + thought;
        if let Some(wanted) = client.wish.take() {
            let operation = &mut self.history[wanted.place];
            (operation.returned, operation.outcome) = (Some(nanoseconds(now)), outcome);
        }
    }

    fn thought(&mut self) -> Duration {
        let average_us = u64::try_from(self.habits.think.as_micros()).unwrap_or(u64::MAX / 4);
        Duration::from_micros(self.random.below(2 * average_us + 1))
    }
}

fn nanoseconds(time: MonoTime) -> u64 {
    u64::try_from(time.since(MonoTime::default()).as_nanos()).unwrap_or(u64::MAX)
}

/// A client could not go on; this is never its own doing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Something that must hold does not.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// A node answers what cannot be the answer.
    #[error("replies: to {wish} the machine says {reply}")]
    WrongReply {
        /// What the client asked for.
        wish: String,
        /// What it was told.
        reply: String,
    },
    /// A command or a reply has no form on the wire.
    #[error("a client cannot read or write the wire's form: {0}")]
    Wire(#[from] KvError),
}
