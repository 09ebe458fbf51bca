//! Connections to nodes over QUIC: certificates, sockets, the handshake, the hello.

mod dial;
mod tls;

pub(crate) use dial::{DialError, Dialed, Dialer};
pub(crate) use tls::Identity;
pub use tls::{TlsError, TlsFiles};
