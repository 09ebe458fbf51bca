//! Connections of clients: taken in by their certificates, counted, and handed to the service, which alone knows what is
//! said there.
//!
//! ```text
//!   TLS, ALPN of clients ──▶ ClientDoor: certificate of this cluster? a place free? somebody serving?
//!                                 │ yes ──▶ ClientConnections ──▶ the service
//!                                 └ no ───▶ closed, with a code that says why
//! ```
//!
//! A node may be a client, too. A client is never a peer: its certificate names no node.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, RecvStream, SendStream, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::context::Context;
use crate::endpoint;
use crate::locks::lock;
use crate::name::CertificateName;
use crate::tls::PEER_ALPN;

/// Accepted connections that wait for the service to look at them.
const BACKLOG: usize = 64;

/// Why a client's connection was closed by this room, as the code of the close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ClientClosed {
    /// The certificate is none of this cluster.
    OtherCluster = 0x101,
    /// As many clients are connected as there may be.
    Full = 0x102,
    /// Nobody serves clients here, or not yet.
    NotServing = 0x103,
}

/// Whether the connection's ends agreed on a protocol that is not the peers'.
pub(crate) fn is_client(connection: &Connection) -> bool {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    // Without a protocol there is no handshake: both sides insist on one.
    data.and_then(|data| data.protocol).is_some_and(|protocol| protocol != PEER_ALPN)
}

/// Where clients come in.
#[derive(Debug)]
pub(crate) struct ClientDoor {
    places: Arc<Semaphore>,
    service: Mutex<Option<mpsc::Sender<ClientConnection>>>,
}

impl ClientDoor {
    pub(crate) fn new(clients_max: usize) -> ClientDoor {
        ClientDoor { places: Arc::new(Semaphore::new(clients_max)), service: Mutex::new(None) }
    }

    /// From now on clients are handed to whom this is returned to.
    pub(crate) fn open(&self) -> ClientConnections {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        *lock(&self.service) = Some(sender);
        ClientConnections { receiver }
    }

    /// No client is handed to anybody any more.
    pub(crate) fn shut(&self) {
        *lock(&self.service) = None;
    }

    /// Hands the connection to the service, or closes it and says why.
    pub(crate) fn take_in(
        &self,
        context: &Context,
        connection: &Connection,
        certificate: Result<CertificateName, String>,
    ) -> Result<(), String> {
        let close = |code: ClientClosed, reason: String| {
            connection.close(VarInt::from_u32(code as u32), reason.as_bytes());
            Err(reason)
        };
        let ours = &context.cluster_name;
        let name = match certificate {
            Ok(name) if name.cluster() == ours => name,
            Ok(name) => {
                let reason =
                    format!("the certificate of {name} is none of the cluster \"{ours}\"; use one of that cluster");
                return close(ClientClosed::OtherCluster, reason);
            }
            Err(reason) => return close(ClientClosed::OtherCluster, format!("the certificate is of no use: {reason}")),
        };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return close(ClientClosed::Full, "too many clients are connected; try another node, or later".to_owned());
        };
        endpoint::grant_client(connection, &context.limits);
        let accepted = ClientConnection { connection: connection.clone(), name, _place: place };
        match lock(&self.service).as_ref().map(|service| service.try_send(accepted)) {
            Some(Ok(())) => Ok(()),
            Some(Err(mpsc::error::TrySendError::Full(_))) => {
                close(ClientClosed::Full, "too many clients connect at once; try another node, or later".to_owned())
            }
            Some(Err(mpsc::error::TrySendError::Closed(_))) | None => {
                close(ClientClosed::NotServing, "this node does not serve clients now; try another".to_owned())
            }
        }
    }
}

/// The clients that connect, one after the other.
#[derive(Debug)]
pub struct ClientConnections {
    receiver: mpsc::Receiver<ClientConnection>,
}

impl ClientConnections {
    /// The next one; `None` when the transport is gone. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ClientConnection> {
        self.receiver.recv().await
    }
}

/// The connection of a client whose certificate this cluster's authority has signed. Dropping it and its streams closes
/// it.
#[derive(Debug)]
pub struct ClientConnection {
    connection: Connection,
    name: CertificateName,
    _place: OwnedSemaphorePermit,
}

impl ClientConnection {
    /// Whom its certificate names: a client, or a node that acts as one.
    pub fn name(&self) -> &CertificateName {
        &self.name
    }

    /// Where it comes from.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// The next stream that the client opens. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Why the connection has ended.
    pub async fn accept_stream(&self) -> Result<(SendStream, RecvStream), ConnectionError> {
        self.connection.accept_bi().await
    }

    /// Ends the connection at once; the client is told this code and reason.
    pub fn close(&self, code: u32, reason: &str) {
        self.connection.close(VarInt::from_u32(code), reason.as_bytes());
    }

    /// Waits until the connection has ended, for whatever reason.
    pub async fn closed(&self) -> ConnectionError {
        self.connection.closed().await
    }
}
