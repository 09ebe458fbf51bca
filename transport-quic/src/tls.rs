//! A node's TLS identity: whom it trusts, who it is, and the rustls configurations of both sides.
//!
//! ```text
//!   ca.pem     whom to trust ─────┐
//!   node.pem   who this is  ──────┼──▶ NodeTls ──▶ dialer: TLS 1.3, asks for node-<id>.<cluster>.quorate
//!   node.key   the proof    ──────┘           └──▶ acceptor: TLS 1.3, demands a certificate of the same CA
//! ```
//!
//! Sessions are not resumed and nothing is sent before the handshake ends: a resumed session would outlive a change of
//! certificates, and early data can be replayed.

use std::path::Path;
use std::sync::Arc;
use std::{fmt, fs, io};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::TransportError;
use crate::name::CertificateName;

/// What two peers must agree to speak; a client of the service speaks something else, and so is never a peer.
pub(crate) const PEER_ALPN: &[u8] = b"quorate-peer/1";
/// The trusted certificates.
pub(crate) const CA_FILE: &str = "ca.pem";
/// A node's own certificate, with what leads from it to the CA.
pub(crate) const NODE_FILE: &str = "node.pem";
/// The key of that certificate.
pub(crate) const KEY_FILE: &str = "node.key";
/// A client's own certificate.
pub(crate) const CLIENT_FILE: &str = "client.pem";
/// The key of that certificate.
pub(crate) const CLIENT_KEY_FILE: &str = "client.key";

/// A node's certificate, its key, and whom it trusts.
pub struct NodeTls {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    name: CertificateName,
}

impl NodeTls {
    /// Reads `ca.pem`, `node.pem` and `node.key` from `dir`. The error names the file that is missing or unusable.
    pub fn from_dir(dir: &Path) -> Result<NodeTls, TransportError> {
        let ca = read(&dir.join(CA_FILE))?;
        let node = read(&dir.join(NODE_FILE))?;
        let key = read(&dir.join(KEY_FILE))?;
        NodeTls::from_pem(dir, &ca, &node, &key)
    }

    /// From the contents of the three files; `dir` is where they stand, for the error messages.
    pub(crate) fn from_pem(dir: &Path, ca: &[u8], node: &[u8], key: &[u8]) -> Result<NodeTls, TransportError> {
        let mut roots = RootCertStore::empty();
        let unusable =
            |file: &str, expected, reason: String| TransportError::Content { path: dir.join(file), expected, reason };
        for certificate in certificates(ca).map_err(|reason| unusable(CA_FILE, "certificate", reason))? {
            roots.add(certificate).map_err(|error| unusable(CA_FILE, "CA certificate", error.to_string()))?;
        }
        let chain = certificates(node).map_err(|reason| unusable(NODE_FILE, "certificate", reason))?;
        let name = CertificateName::of_certificate(&chain[0])
            .map_err(|reason| unusable(NODE_FILE, "node certificate", reason))?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable(KEY_FILE, "private key", error.to_string()))?;
        Ok(NodeTls { roots: Arc::new(roots), chain, key, name })
    }

    /// Whom the certificate names.
    pub fn name(&self) -> &CertificateName {
        &self.name
    }

    /// What a dialer uses.
    pub(crate) fn client_config(&self) -> Result<QuicClientConfig, TransportError> {
        self.client_config_for(PEER_ALPN)
    }

    /// The same for another protocol than the peers'.
    pub(crate) fn client_config_for(&self, alpn: &[u8]) -> Result<QuicClientConfig, TransportError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![alpn.to_vec()];
        config.resumption = Resumption::disabled();
        QuicClientConfig::try_from(config).map_err(|error| rustls::Error::General(error.to_string()).into())
    }

    /// What an acceptor uses. Besides peers it takes clients that speak `client_alpn`, where there is such a protocol.
    pub(crate) fn server_config(&self, client_alpn: Option<&[u8]>) -> Result<QuicServerConfig, TransportError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = [PEER_ALPN].into_iter().chain(client_alpn).map(<[u8]>::to_vec).collect();
        config.send_tls13_tickets = 0;
        QuicServerConfig::try_from(config).map_err(|error| rustls::Error::General(error.to_string()).into())
    }
}

impl fmt::Debug for NodeTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("NodeTls").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The cryptography, named explicitly: a process-wide default may be another crate's choice.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Every certificate of a PEM file; at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found =
        CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    if found.is_empty() { Err("there is no PEM certificate in it".to_owned()) } else { Ok(found) }
}

fn read(path: &Path) -> Result<Vec<u8>, TransportError> {
    fs::read(path).map_err(|source: io::Error| TransportError::File {
        action: "cannot read",
        path: path.to_owned(),
        source,
    })
}
