//! raft-rs, TiKV's Raft: `RawNode` over its own `MemStorage`, driven as its examples drive it.
//!
//! Entries that wait for the same follower are put into one message (`batch_append`), as TiKV has it. Such a message has no
//! bound of its own, and takes a place in flight for each proposal in it: fewer and larger messages than ours.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};

use super::{Failover, Subject};

/// How many entries of an open tail are proposed at a time.
const PROPOSED_TOGETHER: u64 = 1_000;

/// Replicas that talk to each other in one thread.
pub(crate) struct RaftRs {
    nodes: Vec<Node>,
    mail: Vec<Message>,
    /// What is sent to this node is lost.
    deaf: Option<u64>,
}

struct Node {
    raw: RawNode<MemStorage>,
    applied_bytes: u64,
}

impl Node {
    fn new(id: u64, voters: u64) -> Node {
        let config =
            Config { id, max_size_per_msg: 1 << 20, max_inflight_msgs: 1024, batch_append: true, ..Config::default() };
        let members = ConfState::from(((1..=voters).collect::<Vec<_>>(), Vec::new()));
        let storage = MemStorage::new_with_conf_state(members);
        let raw = RawNode::new(&config, storage, &Logger::root(Discard, o!())).unwrap();
        Node { raw, applied_bytes: 0 }
    }

    /// Does what is ready to be done; returns whether anything was.
    fn perform(&mut self, mail: &mut Vec<Message>) -> bool {
        if !self.raw.has_ready() {
            return false;
        }
        let mut ready = self.raw.ready();
        mail.extend(ready.take_messages());
        self.apply(ready.take_committed_entries());
        {
            let mut storage = self.raw.mut_store().wl();
            storage.append(ready.entries()).unwrap();
            if let Some(hard_state) = ready.hs() {
                storage.set_hardstate(hard_state.clone());
            }
        }
        mail.extend(ready.take_persisted_messages());
        let mut light = self.raw.advance(ready);
        if let Some(commit) = light.commit_index() {
            self.raw.mut_store().wl().mut_hard_state().set_commit(commit);
        }
        mail.extend(light.take_messages());
        self.apply(light.take_committed_entries());
        self.raw.advance_apply();
        true
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        self.applied_bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
    }
}

impl RaftRs {
    fn settle_until(&mut self, is_enough: impl Fn(&Self) -> bool) {
        loop {
            let mut busy = false;
            for node in &mut self.nodes {
                busy |= node.perform(&mut self.mail);
            }
            for message in std::mem::take(&mut self.mail) {
                busy = true;
                if Some(message.to) != self.deaf {
                    self.nodes[message.to as usize - 1].raw.step(message).unwrap();
                }
            }
            if !busy || is_enough(self) {
                return;
            }
        }
    }

    fn propose(&mut self, count: u64, data: &[u8]) {
        for _ in 0..count {
            self.nodes[0].raw.propose(Vec::new(), data.to_vec()).unwrap();
        }
    }

    fn leads(&self, place: usize) -> bool {
        self.nodes[place].raw.raft.state == StateRole::Leader
    }
}

impl Subject for RaftRs {
    const NAME: &'static str = "raft-rs";

    fn elected(voters: u64) -> RaftRs {
        let nodes = (1..=voters).map(|id| Node::new(id, voters)).collect();
        let mut replicas = RaftRs { nodes, mail: Vec::new(), deaf: None };
        replicas.nodes[0].raw.campaign().unwrap();
        replicas.settle_until(|_| false);
        assert!(replicas.leads(0), "the first replica leads");
        replicas
    }

    fn commit(&mut self, count: u64, data: &[u8]) {
        self.propose(count, data);
        self.settle_until(|_| false);
    }

    fn applied_bytes(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.applied_bytes).collect()
    }
}

impl Failover for RaftRs {
    const NAME: &'static str = "raft-rs";

    fn with_open_tail(entries: u64, data: &[u8]) -> RaftRs {
        let mut replicas = RaftRs::elected(3);
        replicas.deaf = Some(1);
        // Many entries in a proposal: without answers it sends one message for each, and not more than 1,024 in all.
        let mut left = entries;
        while left > 0 {
            let together = left.min(PROPOSED_TOGETHER);
            let entry = || Entry { data: Bytes::copy_from_slice(data), ..Entry::default() };
            let mut proposal = Message { from: 1, ..Message::default() };
            proposal.set_msg_type(MessageType::MsgPropose);
            proposal.set_entries((0..together).map(|_| entry()).collect::<Vec<_>>().into());
            replicas.nodes[0].raw.raft.step(proposal).unwrap();
            replicas.settle_until(|_| false);
            left -= together;
        }
        assert_eq!(replicas.nodes[1].raw.raft.raft_log.last_index(), entries + 1, "accepted by the others");
        replicas
    }

    fn elect(&mut self) {
        self.nodes[1].raw.campaign().unwrap();
        self.settle_until(|replicas| replicas.leads(1));
        assert!(self.leads(1), "the second replica leads");
    }

    fn finish(&mut self) -> u64 {
        self.settle_until(|_| false);
        self.nodes[1].applied_bytes
    }
}
