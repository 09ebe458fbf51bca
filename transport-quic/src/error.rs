//! What keeps a transport from starting, or a certificate from being made. Once it runs, nothing a peer does is an
//! error to its owner: see [`Refusals`](crate::Refusals).

use std::io;
use std::path::PathBuf;

use consensus_api::NodeId;

/// Why a transport or a certificate could not be made. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address to listen on makes no sense or names no host.
    #[error("cannot listen on `{address}`: {reason}; give host:port, for example 127.0.0.1:7001")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the port.
    #[error("{address} is in use; stop the process that listens there, or listen on another port")]
    AddressInUse {
        /// What was given.
        address: String,
    },
    /// The address of the service is longer than a hello has room for.
    #[error("the service's address has {found} bytes, over the limit of {limit}; give a shorter host name")]
    ServiceAddressTooLong {
        /// Its length.
        found: usize,
        /// The most.
        limit: usize,
    },
    /// The socket could not be made.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// What was given.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// A file of the TLS directory, or of the certificate authority, is missing or cannot be read or written.
    #[error("{action} {}: {source}; `kv-service cert` makes these files", .path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{} holds no usable {expected}: {reason}; replace it, `kv-service cert` makes a new one", .path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// What would be overwritten is still there.
    #[error("{} exists; whoever trusts it would be cut off, so remove it yourself if that is meant", .path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// A name that cannot stand in a certificate.
    #[error("`{name}` cannot stand in a certificate: {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The certificate is another node's.
    #[error("the certificate is for {found}, but this is node {node}; use the certificate of node {node}")]
    CertificateOfAnother {
        /// Whom the certificate names.
        found: String,
        /// Who this is.
        node: NodeId,
    },
    /// Certificate and key do not go together, or cannot be used for TLS.
    #[error("the certificates cannot be used: {0}; make new ones with `kv-service cert`")]
    Tls(#[from] rustls::Error),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Signing(#[from] rcgen::Error),
    /// There is no place for development certificates.
    #[error("no place for development certificates; set HOME or XDG_STATE_HOME, or give certificates with --tls-dir")]
    NoStateDirectory,
}
