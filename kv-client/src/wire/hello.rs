//! The first words on a connection. The prefix is laid out for ever, so that each side can tell another version from
//! garbage.

use bincode::{Decode, Encode};
use consensus_api::{ClusterId, EngineName, NodeId, codec};

use super::PROTOCOL_VERSION;

const MAGIC: [u8; 2] = *b"Qc";
const PREFIX_BYTES: usize = 6;
/// No hello is longer.
const BODY_BYTES_MAX: usize = 4096;

/// What a Clerk says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ClientHello {
    /// The cluster that it talks to, once it knows that.
    pub cluster: Option<ClusterId>,
}

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Leader {
    /// Which node, if one is known.
    pub node: Option<NodeId>,
    /// Where its peers find it, and so its clients.
    pub address: Option<String>,
}

/// What a node says to a Clerk that it serves.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Welcome {
    /// Which node it is.
    pub node: NodeId,
    /// Of which cluster.
    pub cluster: ClusterId,
    /// Which engine runs.
    pub engine: EngineName,
    /// Whom it takes for the leader.
    pub leader: Leader,
    /// The most requests that it takes from this connection before it has answered some.
    pub window: u32,
}

/// Why a node does not serve a Clerk.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum HelloRefused {
    /// The Clerk talks to another cluster.
    #[error("the node belongs to cluster {}, and this client talks to {}; its endpoints mix two clusters", .node.0, .client.0)]
    OtherCluster {
        /// The node's.
        node: ClusterId,
        /// The Clerk's.
        client: ClusterId,
    },
}

/// What a node answers to a Clerk's hello.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum ServerHello {
    /// It serves.
    Welcome(Welcome),
    /// It does not.
    Refused(HelloRefused),
}

/// Why a hello is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// The other side speaks another version.
    #[error(
        "the other side speaks version {found} of the client protocol, this one version {PROTOCOL_VERSION}; run the same version on both sides"
    )]
    Version {
        /// The other side's.
        found: u8,
    },
    /// The bytes are no hello.
    #[error("no valid hello: {reason}; check that the endpoint is a node")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// The node does not serve this client.
    #[error(transparent)]
    Refused(HelloRefused),
    /// The stream ended or the connection was lost.
    #[error("the connection was lost during the hello: {reason}")]
    Lost {
        /// Why.
        reason: String,
    },
}

/// The bytes of a hello.
///
/// # Errors
/// [`HelloError::Malformed`] where it is too long.
pub fn encode<T: Encode>(hello: &T) -> Result<Vec<u8>, HelloError> {
    let malformed = |reason: String| HelloError::Malformed { reason };
    let mut out = vec![MAGIC[0], MAGIC[1], PROTOCOL_VERSION, 0, 0, 0];
    codec::encode_into(hello, &mut out).map_err(|error| malformed(error.to_string()))?;
    let length = u16::try_from(out.len() - PREFIX_BYTES).map_err(|_| malformed("it is too long".to_owned()))?;
    out[4..6].copy_from_slice(&length.to_le_bytes());
    Ok(out)
}

/// Reads a hello from a stream.
///
/// # Errors
/// [`HelloError`].
pub async fn read<T: Decode<()>>(stream: &mut quinn::RecvStream) -> Result<T, HelloError> {
    let mut prefix = [0; PREFIX_BYTES];
    stream.read_exact(&mut prefix).await.map_err(|error| HelloError::Lost { reason: error.to_string() })?;
    if prefix[..2] != MAGIC {
        return Err(HelloError::Malformed { reason: "another protocol".to_owned() });
    }
    if prefix[2] != PROTOCOL_VERSION {
        return Err(HelloError::Version { found: prefix[2] });
    }
    let length = usize::from(u16::from_le_bytes([prefix[4], prefix[5]]));
    if length > BODY_BYTES_MAX {
        let reason = format!("{length} bytes, over the limit of {BODY_BYTES_MAX}");
        return Err(HelloError::Malformed { reason });
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(|error| HelloError::Lost { reason: error.to_string() })?;
    codec::decode(&body).map_err(|error| HelloError::Malformed { reason: error.to_string() })
}

/// Writes a hello to a stream.
///
/// # Errors
/// [`HelloError`].
pub async fn write<T: Encode>(stream: &mut quinn::SendStream, hello: &T) -> Result<(), HelloError> {
    let bytes = encode(hello)?;
    stream.write_all(&bytes).await.map_err(|error| HelloError::Lost { reason: error.to_string() })
}
