//! What nodes answer their clients, kept until the clients look.

use bytes::Bytes;
use consensus_api::{Input, LogIndex, NodeId, ReadMode, Refusal, RequestId};
use kv_machine::{Item, KvReader};

use crate::checks::Violation;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// What stands under a key, if anything does.
pub type Found = Option<Item>;

/// What a client wants to read, and how.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    /// Which key, if it is more than the index that it wants to know.
    key: Option<Vec<u8>>,
    mode: ReadMode,
    /// How much its node had heard when it was asked.
    heard: u64,
}

/// How it came that a node could serve a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Means {
    /// The leader has asked a quorum, or whatever else took the talk of several nodes.
    #[default]
    Round,
    /// By a lease, at once.
    Lease,
    /// As an entry of the log.
    Log,
    /// Without a leader.
    Quorum,
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its command is applied.
    Done {
        /// Which request.
        id: RequestId,
        /// What the machine says.
        reply: Bytes,
    },
    /// Its request had no effect and never will.
    Refused {
        /// Which request.
        id: RequestId,
        /// Why.
        reason: Refusal,
    },
    /// What it asked to read.
    Read {
        /// Which request.
        id: RequestId,
        /// What stood under the key when the node served the read.
        found: Found,
    },
}

impl Answer {
    /// Which request is answered.
    pub fn id(&self) -> RequestId {
        match self {
            Answer::Done { id, .. } | Answer::Refused { id, .. } | Answer::Read { id, .. } => *id,
        }
    }
}

impl<P: Protocol> World<P> {
    /// A client of the node wants to read, by some means; `None` where nobody is there to serve it.
    pub fn read(&mut self, node: NodeId, mode: ReadMode) -> Result<Option<RequestId>, Violation> {
        self.ask_to_read(node, None, mode)
    }

    /// A client of the node reads a key; `None` where nobody is there to serve it. The answer is the first of the
    /// request's [`Answer`]s.
    pub fn read_key(&mut self, node: NodeId, key: Vec<u8>, mode: ReadMode) -> Result<Option<RequestId>, Violation> {
        self.ask_to_read(node, Some(key), mode)
    }

    fn ask_to_read(
        &mut self,
        node: NodeId,
        key: Option<Vec<u8>>,
        mode: ReadMode,
    ) -> Result<Option<RequestId>, Violation> {
        let Some(id) = self.next_request(node) else { return Ok(None) };
        let heard = self.process(node).map_or(0, |process| process.heard);
        self.checks.read_asked(id);
        self.reading.insert(id, Reading { key, mode, heard });
        self.input(node, Happening::ReadAsked(id, mode), Input::Read { id, mode })?;
        Ok(Some(id))
    }

    /// What a node answers to a read that is content with whatever it has.
    pub fn read_stale(&mut self, node: NodeId, key: &[u8]) -> Result<Found, Violation> {
        self.note(Happening::ReadStale(node));
        self.peek(node, key)
    }

    /// What stands under a key in a node's tables now, whether or not a client may read it there.
    pub fn peek(&self, node: NodeId, key: &[u8]) -> Result<Found, Violation> {
        let Some(tables) = self.nodes.get(&node).map(|node| node.tables.clone()) else { return Ok(None) };
        let found = KvReader::new(tables).get(key);
        found.map_err(|error| Violation::Engine { node, what: error.to_string() })
    }

    /// From now on answers are kept for clients.
    pub fn listen(&mut self) {
        self.answers = Some(Vec::new());
    }

    /// What was answered since somebody last looked.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        self.answers.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn answer(&mut self, answer: Answer) {
        if let Some(answers) = &mut self.answers {
            answers.push(answer);
        }
    }

    /// The node may serve a read: what it finds in its tables at this moment is the answer.
    pub(crate) fn serve_read(&mut self, node: NodeId, id: RequestId) -> Result<(), Violation> {
        let applied = self.applied(node).unwrap_or_default();
        self.serve_read_at(node, id, applied)
    }

    /// As [`World::serve_read`], where the tables have come as far as `applied`.
    pub(crate) fn serve_read_at(&mut self, node: NodeId, id: RequestId, applied: LogIndex) -> Result<(), Violation> {
        let reading = self.reading.remove(&id);
        let means = reading.as_ref().map(|reading| self.means(node, reading));
        self.note(Happening::ReadServed(id, applied, means.unwrap_or_default()));
        self.checks.read_served(id, applied)?;
        if let Some(key) = reading.and_then(|reading| reading.key) {
            let found = self.peek(node, &key)?;
            self.answer(Answer::Read { id, found });
        }
        Ok(())
    }

    /// How it came that the node may serve a read. Among several nodes, one that has heard from nobody since it was asked
    /// has asked nobody: it served by a lease.
    fn means(&self, node: NodeId, reading: &Reading) -> Means {
        let is_alone = self.status(node).is_none_or(|status| status.membership.all_voters().count() == 1);
        let heard = self.process(node).map_or(0, |process| process.heard);
        match reading.mode {
            ReadMode::Lease if heard == reading.heard && !is_alone => Means::Lease,
            ReadMode::Quorum if P::READS.contains(&ReadMode::Quorum) => Means::Quorum,
            ReadMode::Log => Means::Log,
            _ => Means::Round,
        }
    }
}
