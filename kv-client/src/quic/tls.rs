//! Who the Clerk is and whom it trusts.
//!
//! ```text
//!   ca.pem      whom to trust ──┐
//!   client.pem  who this is  ───┼──▶ Identity ──▶ TLS 1.3: any node of the same cluster, by its certificate
//!   client.key  the proof    ───┘
//! ```
//!
//! A certificate names its holder in one DNS name: `node-3.orders.quorate`, `client-ada.orders.quorate`. A Clerk dials an
//! address and does not know which node is there; so it asks for *a node of its own certificate's cluster*: the name is
//! taken from the certificate that the node shows, and everything else is checked as always. It does not resume sessions
//! and sends nothing before the handshake ends: early data can be replayed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use quinn::crypto::rustls::QuicClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;

use crate::wire::ALPN;

/// Behind the cluster's name.
const SUFFIX: &str = ".quorate";

/// Where the certificates are. `kv-service cert client` makes all three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whom to trust: the authority's certificate.
    pub ca: PathBuf,
    /// The client's certificate.
    pub cert: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
}

impl TlsFiles {
    /// `ca.pem`, `client.pem` and `client.key` in this directory.
    pub fn in_dir(dir: impl AsRef<Path>) -> TlsFiles {
        let dir = dir.as_ref();
        TlsFiles { ca: dir.join("ca.pem"), cert: dir.join("client.pem"), key: dir.join("client.key") }
    }

    /// Those of this user's development nodes, which make them when they first start: in `$XDG_STATE_HOME/quorate`, or
    /// else in `~/.local/state/quorate`.
    ///
    /// # Errors
    /// [`TlsError::NoStateDirectory`] where neither is known.
    pub fn development() -> Result<TlsFiles, TlsError> {
        // The XDG base directory specification: a relative path is to be ignored.
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        Ok(TlsFiles::in_dir(state.ok_or(TlsError::NoStateDirectory)?.join("quorate")))
    }
}

/// Why the certificates are of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(
        "cannot read {}: {reason}; development nodes make it when they start, 'kv-service cert client' makes it for others",
        .path.display()
    )]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file holds something else than it should.
    #[error("{} holds no usable {expected}: {reason}; 'kv-service cert client' makes a new one", .path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key cannot be used together.
    #[error("the certificates cannot be used: {reason}; 'kv-service cert client' makes new ones")]
    Unusable {
        /// Why not.
        reason: String,
    },
    /// There is no place for development certificates.
    #[error("no place for development certificates; set HOME or XDG_STATE_HOME, or name the files")]
    NoStateDirectory,
}

/// The certificates, read and ready.
#[derive(Clone)]
pub(crate) struct Identity {
    config: Arc<QuicClientConfig>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the files.
    pub(crate) fn read(files: &TlsFiles) -> Result<Identity, TlsError> {
        let unusable =
            |path: &PathBuf, expected, reason: String| TlsError::Content { path: path.clone(), expected, reason };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca)? {
            roots.add(certificate).map_err(|error| unusable(&files.ca, "CA certificate", error.to_string()))?;
        }
        let chain = certificates(&files.cert)?;
        let cluster = chain.first().ok_or_else(|| "there is none".to_owned()).and_then(cluster_of);
        let cluster = cluster.map_err(|reason| unusable(&files.cert, "client certificate", reason))?;
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
            .map_err(|error| unusable(&files.key, "private key", error.to_string()))?;
        let config = config(Arc::new(roots), chain, key, cluster);
        config.map(|config| Identity { config: Arc::new(config) }).map_err(|reason| TlsError::Unusable { reason })
    }

    /// For a connection.
    pub(crate) fn config(&self) -> Arc<QuicClientConfig> {
        self.config.clone()
    }
}

fn config(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    cluster: String,
) -> Result<QuicClientConfig, String> {
    // Named explicitly: a process-wide default may be another crate's choice.
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| error.to_string())?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyNode { inner, cluster }))
        .with_client_auth_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|error| error.to_string())
}

/// Accepts the certificate of any node of one cluster: what webpki accepts for the one name of that form in it.
#[derive(Debug)]
struct AnyNode {
    inner: Arc<WebPkiServerVerifier>,
    cluster: String,
}

impl ServerCertVerifier for AnyNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let other = |reason: String| {
            rustls::Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::new(io::Error::other(
                reason,
            )))))
        };
        let (holder, cluster) = name_of(end_entity).map_err(other)?;
        if !holder.starts_with("node-") || cluster != self.cluster {
            let found = format!("{holder}.{cluster}{SUFFIX} is no node of the cluster \"{}\"", self.cluster);
            return Err(other(found));
        }
        let name =
            ServerName::try_from(format!("{holder}.{cluster}{SUFFIX}")).map_err(|error| other(error.to_string()))?;
        self.inner.verify_server_cert(end_entity, intermediates, &name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn cluster_of(certificate: &CertificateDer<'_>) -> Result<String, String> {
    name_of(certificate).map(|(_, cluster)| cluster)
}

/// Holder and cluster of the one name of our form in a certificate; with several it would be open whom it stands for.
fn name_of(certificate: &CertificateDer<'_>) -> Result<(String, String), String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
    let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let mut ours = names.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
        GeneralName::DNSName(name) => name.strip_suffix(SUFFIX)?.split_once('.'),
        _ => None,
    });
    match (ours.next(), ours.next()) {
        (Some((holder, cluster)), None) => Ok((holder.to_owned(), cluster.to_owned())),
        (None, _) => Err(format!("it names nobody in the form node-<id>.<cluster>{SUFFIX}")),
        (Some(_), Some(_)) => Err("it names several".to_owned()),
    }
}

/// Every certificate of a PEM file; at least one.
fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<Vec<_>, _>>();
    let unusable = |reason: String| TlsError::Content { path: path.clone(), expected: "certificate", reason };
    match found {
        Ok(found) if found.is_empty() => Err(unusable("there is no PEM certificate in it".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn read(path: &PathBuf) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::File { path: path.clone(), reason: error.to_string() })
}
