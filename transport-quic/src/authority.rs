//! A certificate authority in two files, and the node certificates that it signs.
//!
//! ```text
//!   ca.key + ca.pem  ── sign(node-1.orders.quorate) ──▶  node.key + node.pem, beside a copy of ca.pem
//! ```

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::error::TransportError;
use crate::name::{CertificateName, CertificateRole};
use crate::tls::{CA_FILE, CLIENT_FILE, CLIENT_KEY_FILE, KEY_FILE, NODE_FILE, NodeTls};

/// The authority's key.
pub(crate) const CA_KEY_FILE: &str = "ca.key";
/// How long a certificate authority that we make is valid.
pub const CA_VALID_DAYS: u32 = 3650;

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A freshly signed certificate.
pub(crate) struct Signed {
    certificate_pem: String,
    key_pem: String,
}

impl Authority {
    /// Makes a new one, with a key of its own.
    pub fn generate(cluster: &str, valid_days: u32) -> Result<Authority, TransportError> {
        let key = KeyPair::generate()?;
        let mut params = parameters(&format!("Quorate CA of {cluster}"), Vec::new(), valid_days)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Authority { certificate_pem, issuer: Issuer::new(params, key) })
    }

    /// Reads `ca.pem` and `ca.key` from `dir`.
    pub fn load(dir: &Path) -> Result<Authority, TransportError> {
        let certificate_pem = read(&dir.join(CA_FILE))?;
        let key_pem = read(&dir.join(CA_KEY_FILE))?;
        let unusable = |file: &str, expected, error: rcgen::Error| TransportError::Content {
            path: dir.join(file),
            expected,
            reason: error.to_string(),
        };
        let key = KeyPair::from_pem(&key_pem).map_err(|error| unusable(CA_KEY_FILE, "private key", error))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
            .map_err(|error| unusable(CA_FILE, "CA certificate", error))?;
        Ok(Authority { certificate_pem, issuer })
    }

    /// Writes `ca.key` and `ca.pem` into `dir`, which it makes if need be. Never replaces an authority.
    pub fn save(&self, dir: &Path) -> Result<(), TransportError> {
        make_dir(dir)?;
        for file in [CA_FILE, CA_KEY_FILE] {
            if dir.join(file).exists() {
                return Err(TransportError::Exists { path: dir.join(file) });
            }
        }
        // The key first: where there is a certificate, there is a key.
        write_private(&dir.join(CA_KEY_FILE), &self.issuer.key().serialize_pem())?;
        write_private(&dir.join(CA_FILE), &self.certificate_pem)
    }

    /// Signs a new certificate for this name and writes `node.key`, `node.pem` and `ca.pem` into `dir`, which it makes
    /// if need be. An earlier certificate there is replaced.
    pub fn write_node(&self, dir: &Path, name: &CertificateName, valid_days: u32) -> Result<(), TransportError> {
        self.write(dir, name, valid_days, KEY_FILE, NODE_FILE)?;
        self.write_trust(dir)
    }

    /// The same for a client: `client.key` and `client.pem`. Whom to trust is written by [`Authority::write_trust`].
    pub fn write_client(&self, dir: &Path, name: &CertificateName, valid_days: u32) -> Result<(), TransportError> {
        self.write(dir, name, valid_days, CLIENT_KEY_FILE, CLIENT_FILE)
    }

    /// Signs, and writes the key first: where there is a certificate, there is a key.
    fn write(
        &self,
        dir: &Path,
        name: &CertificateName,
        valid_days: u32,
        key_file: &str,
        certificate_file: &str,
    ) -> Result<(), TransportError> {
        let signed = self.sign(name, valid_days)?;
        make_dir(dir)?;
        write_private(&dir.join(key_file), &signed.key_pem)?;
        write_private(&dir.join(certificate_file), &signed.certificate_pem)
    }

    /// Writes `ca.pem` into `dir`: whom to trust.
    pub fn write_trust(&self, dir: &Path) -> Result<(), TransportError> {
        make_dir(dir)?;
        write_private(&dir.join(CA_FILE), &self.certificate_pem)
    }

    /// Signs a new certificate for this name and keeps it in memory; `dir` only stands in error messages.
    pub fn node_tls(&self, dir: &Path, name: &CertificateName, valid_days: u32) -> Result<NodeTls, TransportError> {
        let Signed { certificate_pem, key_pem } = self.sign(name, valid_days)?;
        NodeTls::from_pem(dir, self.certificate_pem.as_bytes(), certificate_pem.as_bytes(), key_pem.as_bytes())
    }

    fn sign(&self, name: &CertificateName, valid_days: u32) -> Result<Signed, TransportError> {
        let key = KeyPair::generate()?;
        let mut params = parameters(&name.to_string(), vec![name.to_string()], valid_days)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A node dials and accepts; a client only dials.
        params.extended_key_usages = match name.role() {
            CertificateRole::Node(_) => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            CertificateRole::Client(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Signed { certificate_pem, key_pem: key.serialize_pem() })
    }
}

fn parameters(subject: &str, names: Vec<String>, valid_days: u32) -> Result<CertificateParams, TransportError> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let mut params = CertificateParams::new(names)?;
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, subject);
    params.distinguished_name = distinguished_name;
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_1970;
    // From yesterday on: the clocks of two machines are never quite the same.
    params.not_before = now - DAY;
    params.not_after = now + DAY * valid_days;
    Ok(params)
}

/// Makes a directory that only its owner may look into; one that exists stays as it is.
pub(crate) fn make_dir(dir: &Path) -> Result<(), TransportError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| TransportError::File {
        action: "cannot make the directory",
        path: dir.to_owned(),
        source,
    })
}

/// Writes a file for its owner alone, so that it is there whole or not at all.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<(), TransportError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = Path::new(&temporary);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(temporary, path)
    };
    write().map_err(|source| TransportError::File { action: "cannot write", path: path.to_owned(), source })
}

fn read(path: &Path) -> Result<String, TransportError> {
    fs::read_to_string(path).map_err(|source| TransportError::File {
        action: "cannot read",
        path: path.to_owned(),
        source,
    })
}
