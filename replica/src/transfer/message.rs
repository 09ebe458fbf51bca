//! What two nodes say to each other about a snapshot, on the bulk lane.

use bincode::{Decode, Encode};
use bytes::Bytes;
use consensus_api::{Blob, LogIndex, SnapshotId, SnapshotManifest};

/// One message of a transfer. Each names its snapshot, so that none is taken for one of another transfer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum TransferMessage {
    /// From the sender: this is what there is; from which byte on do you need it?
    Offer {
        /// What the snapshot covers, and of what it consists.
        manifest: SnapshotManifest,
    },
    /// From the receiver: everything before `offset` is stored here.
    Have {
        /// Which snapshot.
        id: SnapshotId,
        /// The first byte that is missing.
        offset: u64,
    },
    /// From the sender: bytes of the stream.
    Chunk {
        /// Which snapshot.
        id: SnapshotId,
        /// Where in the stream they begin.
        offset: u64,
        /// The bytes.
        bytes: Blob,
        /// CRC-32 over them, from the moment they were read.
        crc: u32,
    },
    /// From the receiver: the tables stand for at least this snapshot.
    Installed {
        /// Which snapshot.
        id: SnapshotId,
        /// What is applied.
        index: LogIndex,
    },
    /// From the receiver: nothing comes of this transfer.
    Refused {
        /// Which snapshot.
        id: SnapshotId,
        /// Why.
        why: RefusedBecause,
    },
}

/// Why a receiver wants no more of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum RefusedBecause {
    /// Another sender is at it.
    #[error("it receives one from another node")]
    Busy,
    /// It cannot store it now.
    #[error("it cannot store it: {0}")]
    Failed(String),
    /// All of it was there, and it could not be installed; it was thrown away.
    #[error("it cannot install it: {0}")]
    NotInstalled(String),
}

impl TransferMessage {
    /// A chunk of these bytes.
    pub fn chunk(id: SnapshotId, offset: u64, bytes: Bytes) -> TransferMessage {
        let crc = crc32fast::hash(&bytes);
        TransferMessage::Chunk { id, offset, bytes: Blob(bytes), crc }
    }

    /// Which snapshot it is about.
    pub fn id(&self) -> SnapshotId {
        match self {
            TransferMessage::Offer { manifest } => manifest.id,
            TransferMessage::Have { id, .. }
            | TransferMessage::Chunk { id, .. }
            | TransferMessage::Installed { id, .. }
            | TransferMessage::Refused { id, .. } => *id,
        }
    }

    /// Whether it is from whoever sends the snapshot, and so for whoever receives it.
    pub fn is_from_sender(&self) -> bool {
        matches!(self, TransferMessage::Offer { .. } | TransferMessage::Chunk { .. })
    }
}
