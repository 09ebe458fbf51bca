//! What a client asks of a node: a read by its own means, a write, the opening of its session.

use std::time::Duration;

use bytes::Bytes;
use consensus_api::{MonoTime, NodeId, Refusal, RequestId};
use kv_machine::{Batch, Command, KvError, Request, SessionTag};

use super::wish::Wish;
use super::{ClientError, Clients, Wanted, nanoseconds};
use crate::linearizability::{Operation, Outcome};
use crate::protocol::Protocol;
use crate::world::World;

impl Clients {
    pub(super) fn ask<P: Protocol>(&mut self, at: usize, world: &mut World<P>) -> Result<(), ClientError> {
        let now = world.now();
        let stale_permille = self.habits.stale_permille;
        if stale_permille > 0 && self.clients[at].wish.is_none() && self.random.below(1000) < stale_permille {
            return self.read_stale(at, world);
        }
        let Some(mut wanted) = self.clients[at].wish.take().or_else(|| self.begin(at, now)) else {
            self.clients[at].wakes_at = MonoTime::NEVER;
            return Ok(());
        };
        // What was refused had no effect: the operation begins with the question that is not refused.
        if !wanted.is_unsure {
            self.history[wanted.place].call = nanoseconds(now);
        }
        wanted.tries += 1;
        let node = self.clients[at].node;
        let request = match wanted.wish.command() {
            None => {
                let mode = Some(self.clients[at].reads).filter(|mode| P::READS.contains(mode));
                world.read_key(node, wanted.wish.key().into_bytes(), mode.unwrap_or_default())?
            }
            Some(command) => match self.clients[at].session {
                None => world.propose(node, command.encode()?)?,
                Some(session) if wanted.name.is_none() && !self.sessions[session].is_open() => {
                    self.open(at, session, world)?
                }
                Some(session) => self.ask_numbered(&mut wanted, command, (node, session), world)?,
            },
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

    /// What the node has, however old that is.
    fn read_stale<P: Protocol>(&mut self, at: usize, world: &mut World<P>) -> Result<(), ClientError> {
        let node = self.clients[at].node;
        if self.history.len() < self.allowed && world.is_up(node) {
            let key = self.random.below(self.habits.keys);
            self.look_at(&world.read_stale(node, &Wish::Get { key }.key().into_bytes())?)?;
        }
        self.clients[at].wakes_at = world.now() + self.pause();
        Ok(())
    }

    /// Opening is the same however often it is asked.
    fn open<P: Protocol>(
        &mut self,
        at: usize,
        session: usize,
        world: &mut World<P>,
    ) -> Result<Option<RequestId>, ClientError> {
        let ttl = self.habits.sessions.as_ref().map_or(Duration::ZERO, |sessions| sessions.ttl);
        let id = self.sessions[session].id();
        self.clients[at].opens = Some(id);
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Ok(world.propose(self.clients[at].node, Command::OpenSession { session: id, ttl_ms }.encode()?)?)
    }

    /// Now and then two nodes are asked at once, and for the first request of a session at any rate.
    fn ask_numbered<P: Protocol>(
        &mut self,
        wanted: &mut Wanted,
        command: Command,
        (node, session): (NodeId, usize),
        world: &mut World<P>,
    ) -> Result<Option<RequestId>, ClientError> {
        let session = &mut self.sessions[session];
        let name = *wanted.name.get_or_insert_with(|| (session.id(), session.number()));
        if let Some(value) = wanted.wish.value() {
            self.once.asked(value);
        }
        let data = numbered(session.tag(name), command)?;
        let doubled_permille = self.habits.sessions.as_ref().map_or(0, |sessions| sessions.doubled_permille);
        if name.1 % 5 == 1 || self.random.below(1000) < doubled_permille {
            let other = NodeId(1 + self.random.below(self.nodes));
            wanted.is_unsure |= world.propose(other, data.clone())?.is_some();
        }
        Ok(world.propose(node, data)?)
    }

    /// A new operation, written down as open; none where enough has been done.
    fn begin(&mut self, at: usize, now: MonoTime) -> Option<Wanted> {
        if self.history.len() >= self.allowed {
            return None;
        }
        let wish = Wish::draw(&self.habits, &mut self.random, &self.clients[at].seen, &mut self.written);
        Some(self.write_down(at, wish, now))
    }

    pub(super) fn write_down(&mut self, at: usize, wish: Wish, now: MonoTime) -> Wanted {
        let place = self.history.len();
        let (call, action) = (nanoseconds(now), wish.action());
        self.history.push(Operation { client: at as u64, action, call, returned: None, outcome: Outcome::Unknown });
        Wanted { wish, place, name: None, tries: 0, retries: 0, is_unsure: false }
    }
}

/// A command in its place in a session, as bytes.
fn numbered(tag: SessionTag, command: Command) -> Result<Bytes, KvError> {
    Batch { requests: vec![Request { session: Some(tag), command }] }.encode()
}
