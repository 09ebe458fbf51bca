//! What nodes answer their clients, kept until the clients look.

use bytes::Bytes;
use consensus_api::{Input, NodeId, ReadMode, Refusal, RequestId};
use kv_machine::{Item, KvReader};

use crate::checks::Violation;
use crate::protocol::Protocol;
use crate::trace::Happening;
use crate::world::World;

/// What stands under a key, if anything does.
pub type Found = Option<Item>;

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
    /// A client of the node reads a key; `None` where nobody is there to serve it. The answer is the first of the
    /// request's [`Answer`]s.
    pub fn read_key(&mut self, node: NodeId, key: Vec<u8>) -> Result<Option<RequestId>, Violation> {
        let Some(id) = self.next_request(node) else { return Ok(None) };
        self.checks.read_asked(id);
        self.reading.insert(id, key);
        self.input(node, Happening::ReadAsked(id), Input::Read { id, mode: ReadMode::Index })?;
        Ok(Some(id))
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

    /// The node serves a read: what it finds in its tables at this moment is the answer.
    pub(crate) fn answer_read(&mut self, node: NodeId, id: RequestId) -> Result<(), Violation> {
        let Some(key) = self.reading.remove(&id) else { return Ok(()) };
        let found = self.peek(node, &key)?;
        self.answer(Answer::Read { id, found });
        Ok(())
    }
}
