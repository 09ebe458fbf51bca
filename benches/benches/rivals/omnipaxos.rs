//! OmniPaxos, a Sequence Paxos with its own leader election, over its own in-memory storage.
//!
//! The first replica is made leader by hand, and no tick follows: so nobody else campaigns. What is decided is read from
//! the log, which copies the entries' references, since that is how the library hands it out.

use bytes::Bytes;
use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

use super::{Failover, Subject};

/// A command, opaque.
#[derive(Clone, Debug)]
pub(crate) struct Command(Bytes);

impl Entry for Command {
    type Snapshot = NoSnapshot;
}

/// Replicas that talk to each other in one thread.
pub(crate) struct OmniPaxosReplicas {
    nodes: Vec<Node>,
    mail: Vec<Message<Command>>,
    /// What is sent to this node is lost.
    deaf: Option<u64>,
}

struct Node {
    omni: OmniPaxos<Command, MemoryStorage<Command>>,
    applied: usize,
    applied_bytes: u64,
}

impl Node {
    fn apply_decided(&mut self) {
        if self.omni.get_decided_idx() == self.applied {
            return;
        }
        for entry in self.omni.read_decided_suffix(self.applied).unwrap() {
            let LogEntry::Decided(Command(data)) = entry else { panic!("nothing is trimmed, nothing reconfigured") };
            self.applied_bytes += data.len() as u64;
            self.applied += 1;
        }
    }

    fn leads(&self) -> bool {
        self.omni.get_current_leader() == Some((self.omni.get_pid(), true))
    }
}

impl OmniPaxosReplicas {
    fn settle_until(&mut self, is_enough: impl Fn(&Self) -> bool) {
        loop {
            for node in &mut self.nodes {
                node.apply_decided();
                node.omni.take_outgoing_messages(&mut self.mail);
            }
            if self.mail.is_empty() || is_enough(self) {
                return;
            }
            for message in std::mem::take(&mut self.mail) {
                let to = message.get_receiver();
                if Some(to) != self.deaf {
                    self.nodes[to as usize - 1].omni.handle_incoming(message);
                }
            }
        }
    }

    fn propose(&mut self, count: u64, data: &[u8]) {
        for _ in 0..count {
            self.nodes[0].omni.append(Command(Bytes::copy_from_slice(data))).unwrap();
        }
    }
}

impl Subject for OmniPaxosReplicas {
    const NAME: &'static str = "omnipaxos";

    fn elected(voters: u64) -> OmniPaxosReplicas {
        let cluster = ClusterConfig { configuration_id: 1, nodes: (1..=voters).collect(), flexible_quorum: None };
        let node = |pid| {
            let server = ServerConfig { pid, ..ServerConfig::default() };
            let omni = cluster.clone().build_for_server(server, MemoryStorage::default()).unwrap();
            Node { omni, applied: 0, applied_bytes: 0 }
        };
        let mut replicas = OmniPaxosReplicas { nodes: (1..=voters).map(node).collect(), mail: Vec::new(), deaf: None };
        replicas.nodes[0].omni.try_become_leader();
        replicas.settle_until(|_| false);
        assert!(replicas.nodes[0].leads(), "the first replica leads");
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

impl Failover for OmniPaxosReplicas {
    const NAME: &'static str = "omnipaxos";

    fn with_open_tail(entries: u64, data: &[u8]) -> OmniPaxosReplicas {
        let mut replicas = OmniPaxosReplicas::elected(3);
        replicas.deaf = Some(1);
        replicas.propose(entries, data);
        replicas.settle_until(|_| false);
        assert_eq!(replicas.nodes[1].omni.get_accepted_idx() as u64, entries, "accepted by the others");
        replicas
    }

    fn elect(&mut self) {
        self.nodes[1].omni.try_become_leader();
        self.settle_until(|replicas| replicas.nodes[1].leads());
        assert!(self.nodes[1].leads(), "the second replica leads");
    }

    fn finish(&mut self) -> u64 {
        self.settle_until(|_| false);
        self.nodes[1].applied_bytes
    }
}
