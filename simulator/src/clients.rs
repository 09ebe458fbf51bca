//! Clients: each does one thing at a time, and everything that it asked and heard is written down as a history. Some share
//! a session, as the callers of one Clerk do, and number their writes in it.
//!
//! ```text
//!            ┌──────────── think ◀────────────┐
//!            ▼                                │ done · refused too often · given up
//!   draw an operation ──▶ ask a node ──▶ wait for the answer
//!            ▲              ▲ │ refused, or nobody there: it had no effect
//!            └─ another node┘ │
//!                    ▲        │ silence, in a session: the same number again, at another node
//!                    └────────┘
//! ```
//!
//! A client tells apart what a real one can tell apart. A refusal means that the question had no effect, so it may be
//! asked again elsewhere and still be one operation. Silence means nothing. In a session the same number may be asked
//! again, and all of it is one operation, from the first question to the answer. Without one, or where it is given up, it
//! is unknown; where a client without a session tries the same once more, that is another operation.

mod asking;
mod habits;
mod hearing;
mod once;
mod session;
mod wish;

use std::collections::BTreeMap;
use std::time::Duration;

use consensus_api::random::SeededRandom;
use consensus_api::{MonoTime, NodeId, ReadMode, RequestId};
use kv_machine::{KvError, Reply, SessionId};

use crate::answers::{Answer, Found};
use crate::checks::Violation;
use crate::linearizability::Operation;
use crate::protocol::Protocol;
use crate::world::World;

use once::Once;
use session::Session;
use wish::Wish;

pub use habits::{Habits, SessionHabits};

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
    /// The session that this request opens; otherwise it is for its wish.
    opens: Option<SessionId>,
    /// What it last saw under each key.
    seen: BTreeMap<u64, Found>,
    /// Whether it asks this node and no other, until it has its answer.
    pinned: bool,
    /// Its place among the sessions.
    session: Option<usize>,
    /// By which means it reads.
    reads: ReadMode,
}

impl Client {
    fn new(node: NodeId, wakes_at: MonoTime) -> Client {
        Client {
            node,
            wakes_at,
            wish: None,
            request: None,
            opens: None,
            seen: BTreeMap::new(),
            pinned: false,
            session: None,
            reads: ReadMode::Index,
        }
    }
}

#[derive(Clone, Debug)]
struct Wanted {
    wish: Wish,
    /// Its place in the history.
    place: usize,
    /// Its name in a session, once it has one.
    name: Option<(SessionId, u64)>,
    tries: u32,
    retries: u32,
    /// Whether something that was asked may yet take place, or has.
    is_unsure: bool,
}

/// All clients, and what they have seen.
#[derive(Debug)]
pub struct Clients {
    habits: Habits,
    nodes: u64,
    random: SeededRandom,
    clients: Vec<Client>,
    sessions: Vec<Session>,
    awaited: BTreeMap<RequestId, usize>,
    history: Vec<Operation>,
    once: Once,
    /// How many operations there may be by now.
    allowed: usize,
    /// Makes every value that is ever written another one.
    written: u64,
}

impl Clients {
    /// Clients of these habits, of nodes 1 to `nodes`.
    pub fn new(habits: Habits, nodes: u64, seed: u64) -> Clients {
        let mut random = SeededRandom::new(seed);
        let random_ref = &mut random;
        let windows = habits.sessions.as_ref().map(|sessions| sessions.window.max(1));
        let client = |number: u64| {
            let node = NodeId(1 + random_ref.below(nodes));
            let wakes_at = MonoTime::default() + Duration::from_micros(random_ref.below(50_000));
            let reads = habits.reads.iter().cycle().nth(number as usize).copied().unwrap_or_default();
            let session = windows.map(|window| (number / window) as usize);
            Client { session, reads, ..Client::new(node, wakes_at) }
        };
        let clients = (0..habits.clients).map(client).collect();
        let sessions = windows.map_or(0, |window| habits.clients.div_ceil(window));
        let sessions = (0..sessions).map(|_| Session::draw(&mut random)).collect();
        Clients {
            habits,
            nodes,
            random,
            clients,
            sessions,
            awaited: BTreeMap::new(),
            history: Vec::new(),
            once: Once::default(),
            allowed: 0,
            written: 0,
        }
    }

    /// The last of everything that any client of theirs does before their sessions have expired: from now on all of them
    /// nap as long as a session lives, and half as long again.
    pub fn nap(&mut self, now: MonoTime) {
        let Some(habits) = &self.habits.sessions else { return };
        for session in &mut self.sessions {
            session.sleeps_until = now + habits.ttl * 3 / 2;
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
            (client.wish, client.request, client.opens) = (None, None, None);
        }
    }

    /// One more client for each node and key reads it there, however often it must ask, and nobody does anything else.
    pub fn audit(&mut self, nodes: &[NodeId], now: MonoTime) {
        self.stop();
        for node in nodes {
            for key in 0..self.habits.keys {
                let wish = Some(self.write_down(self.clients.len(), Wish::Get { key }, now));
                self.clients.push(Client { wish, pinned: true, ..Client::new(*node, now) });
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
            let now = world.now();
            if self.clients[at].wakes_at > now {
                continue;
            }
            if let Some(until) = self.sleeps_until(at).filter(|until| *until > now) {
                self.clients[at].wakes_at = until;
            } else if let Some(request) = self.clients[at].request.take() {
                self.awaited.remove(&request);
                self.unanswered(at, now);
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
            // What nobody waits for any more is not heard, nor what comes to one that naps.
            let Some(at) = self.awaited.remove(&answer.id()) else { continue };
            if self.sleeps_until(at).is_some_and(|until| until > now) {
                continue;
            }
            self.clients[at].request = None;
            match answer {
                Answer::Done { reply, .. } => self.replied(at, &Reply::decode(&reply)?, now)?,
                Answer::Read { found, .. } => self.read(at, found, now)?,
                Answer::Refused { reason, .. } => self.refused(at, &reason, now),
            }
        }
        Ok(())
    }

    fn sleeps_until(&self, at: usize) -> Option<MonoTime> {
        self.clients[at].session.map(|session| self.sessions[session].sleeps_until)
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
    /// What was asked in a session was carried out more than once.
    #[error("sessions: what was asked as {mark} in a session stands more than once in {value:?}")]
    DoneTwice {
        /// Which write.
        mark: u64,
        /// What was read.
        value: String,
    },
    /// A command or a reply has no form on the wire.
    #[error("a client cannot read or write the wire's form: {0}")]
    Wire(#[from] KvError),
}
