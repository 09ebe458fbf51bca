//! What stories do in sessions, and what the clients of these hear.

use std::time::Duration;

use consensus_api::{Blob, NodeId, RequestId};
use kv_machine::{Batch, Command, Expect, Reply, Request, SessionId, SessionTag};
use simulator::answers::Answer;

use super::{Stage, Words, encoded, holds};

/// The session that stories are about.
pub(crate) const SESSION: SessionId = SessionId(7);

/// A request of it, none of whose answers the client has acknowledged.
pub(crate) fn numbered(number: u64) -> SessionTag {
    SessionTag { session: SESSION, number, acked_below: 1 }
}

impl<P: Words> Stage<P> {
    /// A client of the node opens a session, for so long after each of its signs.
    pub(crate) fn open(&mut self, node: NodeId, ttl: Duration) -> RequestId {
        let ttl_ms = ttl.as_millis() as u64;
        let command = Command::OpenSession { session: SESSION, ttl_ms };
        holds(self.world.propose(node, encoded(&command))).expect("the node runs")
    }

    /// As [`Stage::append`], to "k" and in a session.
    pub(crate) fn append_as(&mut self, node: NodeId, tag: SessionTag, suffix: &str) -> RequestId {
        let suffix = Blob::from(suffix.as_bytes().to_vec());
        let command = Command::Append { key: "k".into(), suffix, expect: Expect::Any };
        let batch = Batch { requests: vec![Request { session: Some(tag), command }] };
        holds(self.world.propose(node, batch.encode().expect("is small"))).expect("the node runs")
    }

    /// What a client was told, once.
    #[track_caller]
    pub(crate) fn reply(&mut self, id: RequestId) -> Reply {
        match self.answers(id).as_slice() {
            [Answer::Done { reply, .. }] => Reply::decode(reply).expect("is legible"),
            other => panic!("{id} is not answered once: {other:?}"),
        }
    }

    /// A client of the node opens the session, on a stage that runs.
    #[track_caller]
    pub(crate) fn opens(&mut self, node: NodeId, ttl: Duration) -> Reply {
        let id = self.open(node, ttl);
        self.run_for(Duration::from_millis(100));
        self.reply(id)
    }

    /// A client of the node appends in the session, on a stage that runs, and hears this.
    #[track_caller]
    pub(crate) fn asks(&mut self, node: NodeId, tag: SessionTag, suffix: &str) -> Reply {
        let id = self.append_as(node, tag, suffix);
        self.run_for(Duration::from_millis(100));
        self.reply(id)
    }
}
