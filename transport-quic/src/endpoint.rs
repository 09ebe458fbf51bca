//! The UDP socket and the QUIC endpoint on it, with every setting that differs from the library's defaults.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use consensus_api::Lane;
use quinn::congestion::CubicConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::debug;

use crate::config::{LinkTiming, REPLICATION_STREAMS_MAX, TransportLimits};
use crate::error::TransportError;
use crate::tls::NodeTls;

/// The most connections that wait to be accepted.
const BACKLOG: usize = 256;
/// A burst of this size may leave before the first acknowledgement.
const INITIAL_WINDOW_BYTES: u64 = 256 << 10;
/// The most streams that a peer has for its lanes.
const STREAMS_MAX: u32 = (Lane::ALL.len() - 1 + REPLICATION_STREAMS_MAX) as u32;

/// Opens the socket and returns the endpoint, with what a dialer needs.
pub(crate) async fn open(
    listen: &str,
    tls: &NodeTls,
    client_alpn: Option<&[u8]>,
    limits: &TransportLimits,
    timing: &LinkTiming,
) -> Result<(Endpoint, ClientConfig), TransportError> {
    let address = resolve(listen).await?;
    let bind_error = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => TransportError::AddressInUse { address: listen.to_owned() },
        _ => TransportError::Bind { address: listen.to_owned(), source },
    };
    let mut accepting = transport_config(limits, timing);
    // Who has dialed is known only after the handshake: so everyone begins with the room of a client, and a peer is
    // given more then ([`grant_peer`]).
    accepting.receive_window(VarInt::from_u32(limits.client_window_bytes));
    let mut server = ServerConfig::with_crypto(Arc::new(tls.server_config(client_alpn)?));
    server.transport_config(Arc::new(accepting)).max_incoming(BACKLOG);
    let mut client = ClientConfig::new(Arc::new(tls.client_config()?));
    client.transport_config(Arc::new(transport_config(limits, timing)));
    let socket = open_socket(address, limits.socket_buffer_bytes).map_err(bind_error)?;
    let runtime = quinn::default_runtime().ok_or_else(|| bind_error(io::Error::other("there is no tokio runtime")))?;
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).map_err(bind_error)?;
    Ok((endpoint, client))
}

async fn resolve(listen: &str) -> Result<SocketAddr, TransportError> {
    let refused = |reason: String| TransportError::Address { address: listen.to_owned(), reason };
    let mut found = tokio::net::lookup_host(listen).await.map_err(|error| refused(error.to_string()))?;
    found.next().ok_or_else(|| refused("it has no address".to_owned()))
}

fn open_socket(address: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // The kernel gives as much as its limits allow; less is slower under load, and no reason to stop.
    let _ = socket.set_recv_buffer_size(buffer_bytes);
    let _ = socket.set_send_buffer_size(buffer_bytes);
    socket.bind(&address.into())?;
    debug!(receive = socket.recv_buffer_size().ok(), send = socket.send_buffer_size().ok(), "socket buffer bytes");
    Ok(socket.into())
}

/// Room for all streams of all lanes at once: or a full one, which nobody reads, would take the others' share. How many
/// a peer uses is its own affair; one that uses fewer fills less.
fn lanes_window(limits: &TransportLimits) -> VarInt {
    VarInt::from_u32(limits.stream_window_bytes.saturating_mul(STREAMS_MAX + 1).min(1 << 30))
}

/// Gives an accepted connection the room of a peer.
pub(crate) fn grant_peer(connection: &Connection, limits: &TransportLimits) {
    connection.set_receive_window(lanes_window(limits));
}

/// Gives an accepted connection the room of a client.
pub(crate) fn grant_client(connection: &Connection, limits: &TransportLimits) {
    connection.set_send_window(u64::from(limits.client_window_bytes));
    connection.set_max_concurrent_uni_streams(VarInt::from_u32(0));
    connection.set_max_concurrent_bi_streams(VarInt::from_u32(limits.client_streams_max));
}

fn transport_config(limits: &TransportLimits, timing: &LinkTiming) -> TransportConfig {
    let streams: usize = Lane::ALL.iter().map(|lane| limits.streams(*lane)).sum();
    let window = limits.stream_window_bytes;
    let mut cubic = CubicConfig::default();
    cubic.initial_window(INITIAL_WINDOW_BYTES);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(window))
        .receive_window(lanes_window(limits))
        .send_window(u64::from(window) * (streams as u64 + 1))
        .keep_alive_interval(Some(timing.keep_alive_interval))
        .max_idle_timeout(IdleTimeout::try_from(timing.idle_timeout).ok())
        .initial_rtt(timing.initial_rtt)
        .congestion_controller_factory(Arc::new(cubic))
        .datagram_receive_buffer_size(None);
    config
}
