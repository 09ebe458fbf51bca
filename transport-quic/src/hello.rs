//! The handshake: each side says who it is before anything else, on the connection's first bidirectional stream.
//!
//! ```text
//!   dialer                                          acceptor
//!     │ Hello{engine, group, era, node, store, …} ──▶ │  checks it against the certificate and the roster
//!     │ ◀────────────────────────────────────── Hello │  or closes with HelloRefused
//!     │  checks it, or closes with HelloRefused       │
//!     │ ═══ one stream per lane ════════════════════▶ │
//! ```
//!
//! A refusal travels as the reason of the connection's close, so that both sides know it and can tell their operators.

use bincode::{Decode, Encode};
use bytes::{BufMut, BytesMut};
use consensus_api::{ClusterId, EngineName, Era, GroupId, NodeId, SnapshotId, StoreId, codec};
use quinn::{Connection, RecvStream, SendStream};

use crate::frame::{MAGIC, PROTOCOL_VERSION};
use crate::link::LinkError;

/// The most that an encoded hello may take; its parts of variable size are two addresses, so this is ample.
const HELLO_BYTES_MAX: usize = 1024;
/// The longest address of a service that a node may pass on to its peers: a host's name, a port and some more.
pub const SERVICE_ADDRESS_BYTES_MAX: usize = 300;
/// Magic, version, a zero, and the length.
const PREFIX_BYTES: usize = 6;

/// Who a node says it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Hello {
    pub(crate) engine: EngineName,
    pub(crate) group: GroupId,
    pub(crate) era: Era,
    pub(crate) node: NodeId,
    pub(crate) store: StoreId,
    /// Where it says that it can be reached.
    pub(crate) address: String,
    /// Where it says that it serves others than its peers, if it says so. Nothing here depends on it.
    pub(crate) service_address: Option<String>,
    /// The snapshot that its data directory was made from, if it was made from one.
    pub(crate) restored_from: Option<SnapshotId>,
    /// Drawn anew at each start of the process: a peer with another one has restarted, and the connection to its
    /// earlier life is dead, whether that was noticed yet or not.
    pub(crate) life: u64,
    /// `None` until the node is stamped.
    pub(crate) cluster: Option<ClusterId>,
    /// The version of the latest members that it knows. Whoever knows later ones is right about who belongs to them, and
    /// where and with which store.
    pub(crate) members_version: u64,
}

/// Why one node will not talk to another. Told to both, hence in the third person.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
pub enum HelloRefused {
    /// The two speak different versions.
    #[error("protocol version {refused}, but version {refuser} is required; run the same build on every node")]
    OtherProtocol {
        /// The version of the side that refused.
        refuser: u8,
        /// The version of the side that was refused.
        refused: u8,
    },
    /// The two run different engines.
    #[error("engine {refused}, but {refuser} is required; start every node with the same engine")]
    OtherEngine {
        /// The engine of the side that refused.
        refuser: EngineName,
        /// The engine of the side that was refused.
        refused: EngineName,
    },
    /// The two serve different groups.
    #[error("group {refused}, but {refuser} is required; the nodes belong to different logs")]
    OtherGroup {
        /// The group of the side that refused.
        refuser: GroupId,
        /// The group of the side that was refused.
        refused: GroupId,
    },
    /// The two are in different eras.
    #[error("era {refused}, but {refuser} is required; the node that is behind must catch up first")]
    OtherEra {
        /// The era of the side that refused.
        refuser: Era,
        /// The era of the side that was refused.
        refused: Era,
    },
    /// The two belong to different clusters.
    #[error("cluster {refused}, but {refuser} is required; check the peers' addresses and the data directory")]
    OtherCluster {
        /// The cluster of the side that refused.
        refuser: ClusterId,
        /// The cluster of the side that was refused.
        refused: ClusterId,
    },
    /// Two founders begin with different tables.
    #[error(
        "it begins with {}, but {} is required; make the data directories of all founders from the same snapshot, or \
         none",
        origin(.refused),
        origin(.refuser)
    )]
    OtherOrigin {
        /// What the side that refused was made from.
        refuser: Option<SnapshotId>,
        /// What the side that was refused was made from.
        refused: Option<SnapshotId>,
    },
    /// Who the node says it is, is not what its certificate says.
    #[error("it claims to be node {claimed}, but its certificate says: {certificate}; give it its own certificate")]
    NotTheCertificates {
        /// The id in the hello.
        claimed: NodeId,
        /// What the certificate says.
        certificate: String,
    },
    /// Both sides claim the same node id.
    #[error("both sides are node {node}; give every node its own id")]
    SameNode {
        /// The id.
        node: NodeId,
    },
    /// The node is not, or no longer, a member.
    #[error(
        "node {node} is not a member of the cluster; start it with --join and an empty data directory, or, while a \
         cluster is founded, name it as a peer on every node"
    )]
    UnknownNode {
        /// The id.
        node: NodeId,
    },
    /// A member comes back with another store: what it promised is lost.
    #[error(
        "node {node} was known with store {known} and comes with store {found}: its disk was replaced, and with it \
         went what it promised; remove it ('kv-service members remove {node}') and join under an id that was never used, \
         with --join and an empty data directory"
    )]
    DiskReplaced {
        /// The id.
        node: NodeId,
        /// The store that the membership names.
        known: StoreId,
        /// The store that it has now.
        found: StoreId,
    },
    /// What was sent is no hello.
    #[error("no valid hello: {what}; run the same build on every node")]
    Malformed {
        /// What is wrong.
        what: String,
    },
}

fn origin(restored_from: &Option<SnapshotId>) -> String {
    restored_from.map_or_else(|| "blank tables".to_owned(), |id| format!("the tables of snapshot {:032x}", id.0))
}

/// The dialer's half: says who we are and hears who they are.
pub(crate) async fn offer(connection: &Connection, mine: &Hello) -> Result<Hello, LinkError> {
    let (mut send, mut receive) = connection.open_bi().await?;
    write(connection, &mut send, mine).await?;
    read(connection, &mut receive).await
}

/// The first half of the acceptor's: hears who they are. The stream is for [`answer`].
pub(crate) async fn hear(connection: &Connection) -> Result<(Hello, SendStream), LinkError> {
    let (send, mut receive) = connection.accept_bi().await?;
    Ok((read(connection, &mut receive).await?, send))
}

/// The second half of the acceptor's: says who we are.
pub(crate) async fn answer(connection: &Connection, mut send: SendStream, mine: &Hello) -> Result<(), LinkError> {
    write(connection, &mut send, mine).await
}

async fn write(connection: &Connection, send: &mut SendStream, hello: &Hello) -> Result<(), LinkError> {
    let body = codec::encode(hello).map_err(|error| malformed(error.to_string()))?;
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + body.len());
    out.put_slice(&MAGIC);
    out.put_u8(PROTOCOL_VERSION);
    out.put_u8(0);
    out.put_u16_le(u16::try_from(body.len()).map_err(|_| malformed("too long".to_owned()))?);
    out.put_slice(&body);
    let sent = send.write_all(&out).await;
    sent.map_err(|error| lost(connection, error.to_string()))?;
    // The stream may be closed already where the connection is; then the next step says so.
    let _ = send.finish();
    Ok(())
}

/// The prefix is laid out for ever, so that a node of any later version is told which version is wanted.
async fn read(connection: &Connection, receive: &mut RecvStream) -> Result<Hello, LinkError> {
    let mut prefix = [0; PREFIX_BYTES];
    receive.read_exact(&mut prefix).await.map_err(|error| lost(connection, error.to_string()))?;
    if prefix[..2] != MAGIC {
        return Err(malformed("another protocol".to_owned()));
    }
    if prefix[2] != PROTOCOL_VERSION {
        return Err(HelloRefused::OtherProtocol { refuser: PROTOCOL_VERSION, refused: prefix[2] }.into());
    }
    let length = usize::from(u16::from_le_bytes([prefix[4], prefix[5]]));
    if length > HELLO_BYTES_MAX {
        return Err(malformed(format!("{length} bytes, over the limit of {HELLO_BYTES_MAX}")));
    }
    let mut body = vec![0; length];
    receive.read_exact(&mut body).await.map_err(|error| lost(connection, error.to_string()))?;
    codec::decode(&body).map_err(|error| malformed(error.to_string()))
}

fn malformed(what: String) -> LinkError {
    HelloRefused::Malformed { what }.into()
}

/// A stream fails because its connection did, and then that is the reason; or the peer ended it early.
fn lost(connection: &Connection, what: String) -> LinkError {
    connection.close_reason().map_or_else(|| malformed(what), LinkError::Connection)
}
