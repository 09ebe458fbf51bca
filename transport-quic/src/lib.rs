//! Peers over QUIC with mutual TLS.
//!
//! ```text
//!      send ──▶ roster ──▶ peer: lanes ══ a stream per lane ══▶ incoming ──▶ inbox ──▶ receive
//!                            │                                        │
//!                            └── dials, hello ◀────────────────▶ hello, admits
//!                                           standing: who is welcome
//! ```
//!
//! Each node dials every other and sends on the connections that it dialed; it receives on those it accepted. A
//! certificate proves which node of which cluster is at the other end ([`CertificateName`]); a hello says which engine,
//! cluster and store it has, and is refused with a reason that both sides learn ([`HelloRefused`]); every frame names
//! its cluster again. While a cluster is being formed no frames flow, and the founders learn each other's stores from
//! the hellos ([`QuicTransport::founders`]).
//!
//! The replication lane may be spread over several streams ([`TransportLimits::replication_streams`]); the receiver takes
//! each frame as it comes, and need not know.
//!
//! Clients of the service come to the same port and speak a protocol of their own, by which TLS keeps them apart (ALPN).
//! This room proves who they are and hands their connections to the service, [`ClientConnections`]; what is said there
//! it does not know.
//!
//! Nothing that a peer sends, and nothing that it fails to do, is an error to the owner of a transport: messages are
//! lost, and [`QuicTransport::refusals`] says why where a reason is known.

mod authority;
mod clients;
mod config;
mod context;
mod counters;
pub mod dev_certs;
mod endpoint;
mod error;
mod frame;
mod hello;
mod inbox;
mod incoming;
mod lanes;
mod link;
mod locks;
mod name;
mod peer;
mod refusals;
mod roster;
mod standing;
mod tls;
mod transport;

#[cfg(test)]
mod tests;

pub use authority::{Authority, CA_VALID_DAYS};
pub use clients::{ClientClosed, ClientConnection, ClientConnections};
pub use config::{LinkTiming, REPLICATION_STREAMS_MAX, TransportConfig, TransportLimits};
pub use context::Founder;
pub use counters::{LaneCounts, TransportCounts, WireCounts};
pub use error::TransportError;
pub use hello::{HelloRefused, SERVICE_ADDRESS_BYTES_MAX};
pub use name::{CertificateName, CertificateRole};
/// The streams of a client's connection, and how they fail.
pub use quinn::{ReadError, RecvStream, SendStream, WriteError};
pub use refusals::{Refusal, RefusalCause};
pub use tls::NodeTls;
pub use transport::{PeerStatus, QuicTransport};
