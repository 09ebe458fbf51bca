//! What a client hears, or does not, and what it makes of that.

use std::fmt;
use std::time::Duration;

use consensus_api::{MonoTime, NodeId, Refusal};
use kv_machine::Reply;

use super::{ClientError, Clients, nanoseconds, wish};
use crate::answers::Found;
use crate::linearizability::Outcome;

/// How often one operation is asked for before it is given up as refused.
const TRIES_MAX: u32 = 8;
/// After so many operations, on average, a client goes to another node, though nothing is wrong with its own.
const MOVES_EVERY: u64 = 20;

impl Clients {
    pub(super) fn replied(&mut self, at: usize, reply: &Reply, now: MonoTime) -> Result<(), ClientError> {
        if let (Some(id), Some(session)) = (self.clients[at].opens.take(), self.clients[at].session) {
            match reply {
                Reply::SessionOpened { .. } => self.sessions[session].opened(id),
                Reply::SessionExpired => self.sessions[session].expired(id, &mut self.random),
                Reply::SessionFull => {}
                reply => return Err(wrong(&id, reply)),
            }
            self.clients[at].wakes_at = now + self.pause();
            return Ok(());
        }
        let Some(wanted) = self.clients[at].wish.clone() else { return Ok(()) };
        match (reply, wanted.name, self.clients[at].session) {
            // An earlier question of the same number may have been carried out before.
            (Reply::SessionExpired, Some((id, _)), Some(session)) => {
                self.sessions[session].expired(id, &mut self.random);
                let outcome = if wanted.is_unsure { Outcome::Unknown } else { Outcome::Fail };
                self.finish(at, outcome, now);
            }
            (Reply::SessionFull, Some(_), _) => self.refused(at, &Refusal::Busy, now),
            _ => {
                let outcome = wanted.wish.outcome(reply).ok_or_else(|| wrong(&wanted.wish, reply))?;
                self.finish(at, outcome, now);
            }
        }
        Ok(())
    }

    pub(super) fn read(&mut self, at: usize, found: Found, now: MonoTime) -> Result<(), ClientError> {
        self.look_at(&found)?;
        if let Some(wanted) = &self.clients[at].wish {
            let (place, key) = (wanted.place, wanted.wish.key_number());
            self.history[place].action = wanted.wish.read(&found);
            self.clients[at].seen.insert(key, found);
        }
        self.finish(at, Outcome::Ok, now);
        Ok(())
    }

    /// Nothing in it was done twice.
    pub(super) fn look_at(&self, found: &Found) -> Result<(), ClientError> {
        let Some(value) = found.as_ref().map(|item| wish::text(&item.value)) else { return Ok(()) };
        match self.once.twice(&value) {
            None => Ok(()),
            Some(mark) => Err(ClientError::DoneTwice { mark, value }),
        }
    }

    /// It had no effect. The same is asked for elsewhere, for a while.
    pub(super) fn refused(&mut self, at: usize, reason: &Refusal, now: MonoTime) {
        let any = NodeId(1 + self.random.below(self.nodes));
        let soon = now + self.pause();
        let client = &mut self.clients[at];
        client.opens = None;
        client.wakes_at = soon;
        if client.pinned {
            return;
        }
        client.node = match reason {
            Refusal::NotLeader { leader: Some(leader) } => *leader,
            Refusal::Busy => client.node,
            _ => any,
        };
        if let Some(wanted) = client.wish.as_ref().filter(|wanted| wanted.tries >= TRIES_MAX) {
            let outcome = if wanted.is_unsure { Outcome::Unknown } else { Outcome::Fail };
            self.finish(at, outcome, now);
        }
    }

    /// Nothing was heard. What was asked for may have happened, may yet happen, or never will: in a session it is asked
    /// again for a while, which cannot make it twice.
    pub(super) fn unanswered(&mut self, at: usize, now: MonoTime) {
        let soon = now + self.pause();
        let retries_max = self.habits.sessions.as_ref().map_or(0, |sessions| sessions.retries_max);
        let any = NodeId(1 + self.random.below(self.nodes));
        let client = &mut self.clients[at];
        if client.opens.take().is_some() {
            (client.node, client.wakes_at) = (any, soon);
            return;
        }
        let Some(wanted) = &mut client.wish else { return };
        if wanted.name.is_some() && wanted.retries < retries_max {
            (wanted.is_unsure, wanted.tries) = (true, 0);
            wanted.retries += 1;
            (client.node, client.wakes_at) = (any, soon);
            return;
        }
        self.give_up(at, now);
    }

    /// A client with a session does not try the same under another number.
    fn give_up(&mut self, at: usize, now: MonoTime) {
        let Some(wanted) = self.clients[at].wish.take() else { return };
        self.clients[at].wakes_at = now + self.thought();
        if let (Some(name), Some(session)) = (wanted.name, self.clients[at].session) {
            self.sessions[session].is_done_with(name);
        } else if self.clients[at].pinned || self.random.below(4) == 0 {
            // Some try the same again, without knowing whether that makes it twice.
            self.clients[at].wish = Some(self.write_down(at, wanted.wish, now));
        }
        if !self.clients[at].pinned {
            self.clients[at].node = NodeId(1 + self.random.below(self.nodes));
        }
    }

    fn finish(&mut self, at: usize, outcome: Outcome, now: MonoTime) {
        let (thought, moves) = (self.thought(), self.random.below(MOVES_EVERY) == 0);
        let any = NodeId(1 + self.random.below(self.nodes));
        let client = &mut self.clients[at];
        client.wakes_at = now + thought;
        if moves && !client.pinned {
            client.node = any;
        }
        let Some(wanted) = client.wish.take() else { return };
        let operation = &mut self.history[wanted.place];
        operation.outcome = outcome;
        operation.returned = (outcome != Outcome::Unknown).then(|| nanoseconds(now));
        let (Some(session), Some(habits)) = (self.clients[at].session, &self.habits.sessions) else { return };
        if let Some(name) = wanted.name {
            self.sessions[session].is_done_with(name);
        }
        if self.random.below(1000) < habits.naps_permille {
            let ttl_us = u64::try_from(habits.ttl.as_micros()).unwrap_or(u64::MAX / 2);
            self.sessions[session].sleeps_until = now + habits.ttl + Duration::from_micros(self.random.below(ttl_us));
        }
    }

    /// Before something is asked again.
    pub(super) fn pause(&mut self) -> Duration {
        Duration::from_micros(1_000 + self.random.below(30_000))
    }

    fn thought(&mut self) -> Duration {
        let average_us = u64::try_from(self.habits.think.as_micros()).unwrap_or(u64::MAX / 4);
        Duration::from_micros(self.random.below(2 * average_us + 1))
    }
}

fn wrong(wish: &impl fmt::Debug, reply: &Reply) -> ClientError {
    ClientError::WrongReply { wish: format!("{wish:?}"), reply: format!("{reply:?}") }
}
