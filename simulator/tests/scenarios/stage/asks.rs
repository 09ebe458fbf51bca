//! What stories ask of a stage, and what they demand of it in the end.

use consensus_api::engine::decode_ballot;
use consensus_api::{Ballot, LogIndex, NodeId, Refusal, RequestId, Role};
use simulator::answers::Answer;
use simulator::trace::{Counts, Happening};

use super::{Stage, Words, holds, meant};

/// What stories ask.
impl<P: Words> Stage<P> {
    /// Everything that has happened.
    pub(crate) fn history(&mut self) -> &[Happening<P::Message>] {
        let news = self.world.trace().take();
        self.history.extend(news.into_iter().map(|(_, happening)| happening));
        &self.history
    }

    /// How many messages of this name have arrived.
    pub(crate) fn received(&mut self, from: NodeId, to: NodeId, kind: &str) -> usize {
        self.letters(from, to, kind).len()
    }

    /// Those messages, in the engine's words.
    pub(crate) fn letters(&mut self, from: NodeId, to: NodeId, kind: &str) -> Vec<String> {
        let arrived = self.history().iter().filter_map(|happening| match happening {
            Happening::Received(letter) if (letter.from, letter.to) == (from, to) => Some(P::describe(&letter.message)),
            _ => None,
        });
        arrived.filter(|words| words.split(' ').next() == Some(kind)).collect()
    }

    pub(crate) fn on_the_way(&self, from: NodeId, to: NodeId, kind: &str) -> usize {
        self.world.on_the_way(&meant(from, to, kind))
    }

    /// How many snapshots have taken the place of the node's tables.
    pub(crate) fn installed(&mut self, node: NodeId) -> u64 {
        let is_meant = |it: &&Happening<P::Message>| matches!(it, Happening::SnapshotInstalled(id, _) if *id == node);
        self.history().iter().filter(is_meant).count() as u64
    }

    pub(crate) fn counts(&self) -> Counts {
        self.world.counts()
    }

    pub(crate) fn leads(&self, node: NodeId) -> bool {
        self.world.status(node).is_some_and(|status| status.role == Role::Leader)
    }

    #[track_caller]
    pub(crate) fn ballot(&self, node: NodeId) -> Ballot {
        self.world.status(node).expect("the node runs").ballot
    }

    #[track_caller]
    pub(crate) fn commit(&self, node: NodeId) -> LogIndex {
        self.world.status(node).expect("the node runs").commit_index
    }

    #[track_caller]
    pub(crate) fn last(&self, node: NodeId) -> LogIndex {
        self.world.status(node).expect("the node runs").last_index
    }

    /// The promise or vote that a power failure would leave.
    pub(crate) fn ballot_on_disk(&self, node: NodeId) -> Ballot {
        let hard_state = self.world.disk(node).expect("the node has one").durable_hard_state();
        decode_ballot(hard_state.as_deref()).expect("is legible")
    }

    /// Where a command stands in the log that a power failure would leave.
    pub(crate) fn index_on_disk(&self, node: NodeId, id: RequestId) -> Option<LogIndex> {
        let entries = self.world.disk(node).expect("the node has one").durable_entries();
        entries.iter().find(|entry| entry.payload.request_id() == Some(id)).map(|entry| entry.index)
    }

    pub(crate) fn on_disk(&self, node: NodeId, id: RequestId) -> bool {
        self.index_on_disk(node, id).is_some()
    }

    pub(crate) fn acknowledged(&self, id: RequestId) -> bool {
        self.world.acknowledged_at(id).is_some()
    }

    /// What the node's tables hold under a key.
    pub(crate) fn value(&self, node: NodeId, key: &str) -> Option<String> {
        let found = holds(self.world.peek(node, key.as_bytes()));
        found.map(|item| String::from_utf8_lossy(&item.value.0).into_owned())
    }

    /// What the client of a request has heard so far.
    pub(crate) fn answers(&mut self, id: RequestId) -> Vec<Answer> {
        self.answers.extend(self.world.take_answers());
        self.answers.iter().filter(|answer| answer.id() == id).cloned().collect()
    }

    /// What the client of a read was told, if it was told something, and only once.
    #[track_caller]
    pub(crate) fn what_was_read(&mut self, id: RequestId) -> Option<String> {
        match self.answers(id).as_slice() {
            [Answer::Read { found, .. }] => {
                found.as_ref().map(|item| String::from_utf8_lossy(&item.value.0).into_owned())
            }
            other => panic!("{id} is not read once: {other:?}"),
        }
    }

    /// Why requests were refused, each with its reason.
    pub(crate) fn refusals(&mut self) -> Vec<(RequestId, Refusal)> {
        let refused = self.history().iter().filter_map(|happening| match happening {
            Happening::Refused(refused) => Some((refused.id, refused.reason.clone())),
            _ => None,
        });
        refused.collect()
    }
}

/// What stories demand in the end.
impl<P: Words> Stage<P> {
    /// Within so many election timeouts somebody leads whom a majority follows.
    #[track_caller]
    pub(crate) fn settles_within(&mut self, timeouts: u32) -> NodeId {
        self.run(timeouts);
        let ids = self.world.ids();
        let leader = self.world.leader().unwrap_or_else(|| panic!("nobody leads after {timeouts} election timeouts"));
        let follows = |node: &&NodeId| self.world.status(**node).is_some_and(|status| status.leader == Some(leader));
        let followers = ids.iter().filter(follows).count();
        assert!(2 * followers > ids.len(), "{leader} leads, and only {followers} of {} follow", ids.len());
        leader
    }

    /// For so many election timeouts nobody is elected.
    #[track_caller]
    pub(crate) fn stays_settled_for(&mut self, timeouts: u32) {
        let before = self.counts().elections;
        self.run(timeouts);
        assert_eq!(
            self.counts().elections,
            before,
            "elections within {timeouts} election timeouts of a working leader"
        );
    }

    /// A client of the node gets its command through.
    #[track_caller]
    pub(crate) fn must_acknowledge(&mut self, node: NodeId) {
        let id = self.append(node, "alive", ".");
        self.run(2);
        assert!(self.acknowledged(id), "nothing that a client of {node} wants is acknowledged");
    }

    /// Within a few election timeouts these nodes have applied the same, to the byte.
    #[track_caller]
    pub(crate) fn converges(&mut self, nodes: &[NodeId]) {
        self.run(4);
        let applied: Vec<LogIndex> = nodes.iter().filter_map(|node| self.world.applied(*node)).collect();
        assert_eq!(applied.len(), nodes.len(), "not all of {nodes:?} run");
        assert!(applied.windows(2).all(|pair| pair[0] == pair[1]), "{nodes:?} have applied {applied:?}");
        for node in nodes {
            holds(self.world.compare_digest(*node));
        }
    }
}
