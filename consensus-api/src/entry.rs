//! What the log holds: an [`Entry`] per index, each with the ballot under which it was accepted.

use std::sync::Arc;

use bincode::de::{BorrowDecoder, Decoder, read::Reader};
use bincode::enc::{Encoder, write::Writer};
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use bytes::Bytes;

use crate::ids::{Ballot, EngineName, LogIndex, RequestId};
use crate::membership::Membership;
use crate::time::LogTime;

/// One entry of the log. Shared by reference count: the same entry is in the window of the engine, in a write to the
/// log and in several messages at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Entry {
    /// Its place.
    pub index: LogIndex,
    /// The ballot under which it was accepted here. Local metadata: in Paxos two replicas may hold the same chosen
    /// value under different ballots.
    pub ballot: Ballot,
    /// The leader's stamp. Along a Raft log it never decreases; a Paxos leader may adopt an old value for one slot and a
    /// younger one, stamped by a slower clock, for the next. So a state machine takes the running maximum.
    pub log_time: LogTime,
    /// What it says.
    pub payload: Payload,
}

/// A reference-counted entry.
pub type SharedEntry = Arc<Entry>;

/// The kinds of entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub enum Payload {
    /// Says nothing: a new Raft leader's first entry, or a hole that a new Paxos leader filled.
    Noop,
    /// A command for the state machine.
    Command {
        /// Who asked. A proposal completes when an entry with its id is applied, never because an index was reached.
        id: RequestId,
        /// The command, opaque to everything but the state machine.
        data: Blob,
    },
    /// From here on this membership is in force, by the rules of the engine.
    Membership {
        /// Who asked.
        id: RequestId,
        /// The members.
        membership: Arc<Membership>,
    },
    /// Carries the log's time forward while sessions exist and nobody writes.
    Tick,
    /// The last entry of an era: slots after it are void.
    StopSign {
        /// Who asked.
        id: RequestId,
        /// The engine of the next era.
        engine: EngineName,
        /// The members with which the next era begins.
        membership: Arc<Membership>,
    },
}

impl Payload {
    /// The id of the request that this entry answers, if it answers one. Members that are on the way from one set of voters
    /// to another do not: the entry that ends the change has the same id.
    pub fn request_id(&self) -> Option<RequestId> {
        match self {
            Payload::Membership { membership, .. } if membership.is_joint() => None,
            Payload::Command { id, .. } | Payload::Membership { id, .. } | Payload::StopSign { id, .. } => Some(*id),
            Payload::Noop | Payload::Tick => None,
        }
    }
}

impl Entry {
    /// What the entry counts as in every bound that is stated in bytes: its data and a flat charge for the rest.
    pub fn size_bytes(&self) -> usize {
        const FLAT_BYTES: usize = 64;
        FLAT_BYTES + self.payload_bytes()
    }

    /// About how many bytes of it are payload: a command's own, exactly.
    pub fn payload_bytes(&self) -> usize {
        match &self.payload {
            Payload::Command { data, .. } => data.0.len(),
            Payload::Membership { membership, .. } | Payload::StopSign { membership, .. } => membership.size_bytes(),
            Payload::Noop | Payload::Tick => 0,
        }
    }

    /// The same value at the same index under another ballot, as a new Paxos leader re-proposes it.
    pub fn under(&self, ballot: Ballot) -> Entry {
        Entry { ballot, ..self.clone() }
    }
}

/// Bytes that are shared, not copied, and that are encoded as one run (a derived byte vector would be too, but through
/// `Vec`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Blob(pub Bytes);

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob(bytes.into())
    }
}

impl From<&'static str> for Blob {
    fn from(text: &'static str) -> Blob {
        Blob(Bytes::from_static(text.as_bytes()))
    }
}

impl Encode for Blob {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.0.len() as u64).encode(encoder)?;
        encoder.writer().write(&self.0)
    }
}

impl<C> Decode<C> for Blob {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = u64::decode(decoder)?;
        let length = usize::try_from(length).map_err(|_| DecodeError::OutsideUsizeRange(length))?;
        // Claimed before the allocation, or a hostile length would be believed.
        decoder.claim_container_read::<u8>(length)?;
        let mut bytes = vec![0; length];
        decoder.reader().read(&mut bytes)?;
        Ok(Blob(bytes.into()))
    }
}

impl<'de, C> BorrowDecode<'de, C> for Blob {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Blob::decode(decoder)
    }
}
