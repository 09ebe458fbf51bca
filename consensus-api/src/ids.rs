//! The small names that everything else is spoken in: nodes, indexes, ballots, writes, proposals, reads.
//!
//! Each is a newtype, so that an index cannot be passed where a round is meant. All of them are `Copy`, ordered,
//! hashable and encodable.

use std::fmt;

use bincode::{Decode, Encode};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// A member of the cluster. Zero is nobody: it is never a member's id.
    NodeId(u64), ""
);
number!(
    /// A position in the log (a *slot* in the words of Paxos). The first entry has index 1; zero is "before the log".
    LogIndex(u64), ""
);
number!(
    /// Names one atomic write to the log store. Grows by one with each write of a replica's life; zero is durable
    /// by definition. Completion names the write and not an index and ballot, because in Raft an index can go from
    /// term 2 to 3 and back to 2, and the late completion of the first write must not vouch for the third.
    WriteId(u64), "w"
);
number!(
    /// One of several independent replicated logs that share a node. Constant for now.
    GroupId(u32), "g"
);
number!(
    /// A stretch of the log that one engine governs, ended by a StopSign. Constant for now.
    Era(u32), "e"
);
number!(
    /// Names one request of an engine to read entries back from the log store.
    ReadBackId(u64), "b"
);

impl NodeId {
    /// Nobody: no vote was given, no leader is known.
    pub const NONE: NodeId = NodeId(0);
}

impl LogIndex {
    /// Before the first entry.
    pub const ZERO: LogIndex = LogIndex(0);

    /// The index after this one.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }

    /// The index before this one; zero stays zero.
    pub fn previous(self) -> LogIndex {
        LogIndex(self.0.saturating_sub(1))
    }
}

/// Written as hexadecimal. Random, chosen once when a data directory is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct StoreId(pub u128);

/// The hash of the founders' node ids and store ids, so that two clusters can never share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClusterId(pub u128);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The name of an engine as it stands in stamps and frames: at most eight ASCII bytes, padded with zeros. Rooms that
/// must not know one engine from another carry it and compare it, nothing more.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct EngineName(pub [u8; 8]);

impl EngineName {
    /// Packs a name. Panics at compile time (it is `const`) when the name has more than eight bytes.
    pub const fn new(name: &str) -> EngineName {
        let bytes = name.as_bytes();
        assert!(bytes.len() <= 8, "an engine's name has at most eight bytes");
        let mut packed = [0; 8];
        let mut i = 0;
        while i < bytes.len() {
            packed[i] = bytes[i];
            i += 1;
        }
        EngineName(packed)
    }

    /// The name without its padding; `?` where the bytes are no text, as a damaged frame may have them.
    pub const fn as_str(&self) -> &str {
        let mut length = 0;
        while length < self.0.len() && self.0[length] != 0 {
            length += 1;
        }
        match std::str::from_utf8(self.0.split_at(length).0) {
            Ok(name) => name,
            Err(_) => "?",
        }
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_str().escape_default())
    }
}

impl fmt::Debug for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineName({self})")
    }
}

/// An epoch of leadership, ordered by round and then by node.
///
/// Multi-Paxos uses both parts, so that two nodes can never own the same ballot. Raft's term is the round and it
/// compares rounds only; the node is whom a voter voted for, or who leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct Ballot {
    /// Raft's term; the round of a Paxos ballot.
    pub round: u64,
    /// Raft's vote or leader; the owner of a Paxos ballot.
    pub node: NodeId,
}

impl Ballot {
    /// Below every ballot that anyone uses.
    pub const ZERO: Ballot = Ballot { round: 0, node: NodeId::NONE };

    /// The ballot of this round and node.
    pub const fn new(round: u64, node: NodeId) -> Ballot {
        Ballot { round, node }
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node)
    }
}

/// Names a request for the rest of time: who asked first, in which life, as its how-manyth.
///
/// The boot number grows durably with each start of a node, so that nothing of an earlier life is mistaken for the
/// present one's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct RequestId {
    /// The node whose client asked.
    pub origin: NodeId,
    /// How often that node had started.
    pub boot: u64,
    /// Counts the node's requests since then, from 1.
    pub sequence: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.origin, self.boot, self.sequence)
    }
}
