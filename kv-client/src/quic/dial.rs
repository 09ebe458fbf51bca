//! From an address to a node that has said who it is.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use consensus_api::ClusterId;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, RecvStream, SendStream, TransportConfig};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::timeout;

use super::tls::Identity;
use crate::wire::{ClientHello, HelloError, HelloRefused, ServerHello, Welcome, hello};

/// How long resolving, the handshake and the hello may each take.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often an idle connection shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// A connection that is silent for so long is given up.
const IDLE_TIMEOUT: Duration = Duration::from_millis(2500);
/// The round trip that is assumed before one was measured.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// What may be under way to this side on one stream, and on all of them.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const WINDOW_BYTES: u32 = 16 << 20;
/// The kernel's buffer in each direction, as far as it allows. Small ones lose packets under load.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Why a node could not be connected to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    /// There is nobody, or nobody who serves.
    #[error("{0}")]
    Unreachable(String),
    /// It speaks something else, or belongs to another cluster.
    #[error(transparent)]
    Hello(HelloError),
}

impl DialError {
    /// Whether the node and this client will never understand each other.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, DialError::Hello(HelloError::Version { .. } | HelloError::Refused(_)))
    }
}

/// A node that serves us.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) connection: Connection,
    pub(crate) send: SendStream,
    pub(crate) receive: RecvStream,
    pub(crate) welcome: Welcome,
}

/// Dials. Its sockets are opened when they are first needed, one for each family of addresses.
#[derive(Debug)]
pub(crate) struct Dialer {
    config: ClientConfig,
    endpoints: Mutex<[Option<Endpoint>; 2]>,
}

impl Dialer {
    pub(crate) fn new(identity: &Identity) -> Dialer {
        let mut transport = TransportConfig::default();
        transport
            .max_concurrent_bidi_streams(0_u8.into())
            .max_concurrent_uni_streams(0_u8.into())
            .stream_receive_window(STREAM_WINDOW_BYTES.into())
            .receive_window(WINDOW_BYTES.into())
            .keep_alive_interval(Some(KEEP_ALIVE))
            .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
            .initial_rtt(INITIAL_RTT)
            .datagram_receive_buffer_size(None);
        let mut config = ClientConfig::new(identity.config());
        config.transport_config(Arc::new(transport));
        Dialer { config, endpoints: Mutex::default() }
    }

    /// Connects to `host:port` and exchanges hellos.
    pub(crate) async fn dial(&self, address: &str, cluster: Option<ClusterId>) -> Result<Dialed, DialError> {
        let late = || DialError::Unreachable(format!("{address} does not answer"));
        let failed = |error: String| DialError::Unreachable(format!("{address}: {error}"));
        let resolving = timeout(PATIENCE, tokio::net::lookup_host(address));
        let mut found = resolving.await.map_err(|_| late())?.map_err(|error| failed(error.to_string()))?;
        let target = found.next().ok_or_else(|| failed("the host has no address".to_owned()))?;
        let endpoint = self.endpoint(target).map_err(|error| failed(error.to_string()))?;
        // The name is not what is verified: see `tls`.
        let connecting = endpoint.connect_with(self.config.clone(), target, "node.quorate");
        let connecting = connecting.map_err(|error| failed(error.to_string()))?;
        let connected = timeout(PATIENCE, connecting).await.map_err(|_| late())?;
        let connection = connected.map_err(|error| failed(error.to_string()))?;
        let greeted = timeout(PATIENCE, greet(&connection, cluster)).await.map_err(|_| late())?;
        greeted.map_err(|error| match error {
            // A node that closes says why in the close.
            HelloError::Lost { reason } => {
                failed(connection.close_reason().map_or(reason, |reason| reason.to_string()))
            }
            error => DialError::Hello(error),
        })
    }

    fn endpoint(&self, target: SocketAddr) -> io::Result<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut endpoints[usize::from(target.is_ipv6())];
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let runtime = quinn::default_runtime().ok_or_else(|| io::Error::other("there is no tokio runtime"))?;
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket(target.is_ipv6())?, runtime)?;
        Ok(slot.insert(endpoint).clone())
    }

    /// Waits until the other sides have heard that the connections were closed.
    pub(crate) async fn flush(&self) {
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for endpoint in endpoints.into_iter().flatten() {
            // A node that does not hear of it notices by itself, later.
            let _ = timeout(PATIENCE, endpoint.wait_idle()).await;
        }
    }
}

async fn greet(connection: &Connection, cluster: Option<ClusterId>) -> Result<Dialed, HelloError> {
    let lost = |error: quinn::ConnectionError| HelloError::Lost { reason: error.to_string() };
    let (mut send, mut receive) = connection.open_bi().await.map_err(lost)?;
    hello::write(&mut send, &ClientHello { cluster }).await?;
    match hello::read(&mut receive).await? {
        ServerHello::Refused(refused) => Err(HelloError::Refused(refused)),
        ServerHello::Welcome(welcome) => match cluster {
            Some(client) if client != welcome.cluster => {
                Err(HelloError::Refused(HelloRefused::OtherCluster { node: welcome.cluster, client }))
            }
            _ => Ok(Dialed { connection: connection.clone(), send, receive, welcome }),
        },
    }
}

fn socket(is_ipv6: bool) -> io::Result<UdpSocket> {
    let (domain, local): (Domain, SocketAddr) = if is_ipv6 {
        (Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into())
    } else {
        (Domain::IPV4, (Ipv4Addr::UNSPECIFIED, 0).into())
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel gives as much as its limits allow; less is slower under load, and no reason to stop.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&local.into())?;
    Ok(socket.into())
}
