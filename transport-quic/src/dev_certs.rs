//! Development certificates: one certificate authority per user, made once, and a fresh node certificate in memory at
//! each start. So nodes that are started in three terminals trust each other without anyone's help.
//!
//! ```text
//!   start ──▶ lock DIR/lock ──▶ is DIR/ca.pem there? ──yes──▶ load ──┬──▶ unlock ──▶ sign node-<id>.dev.quorate
//!                                       └──no──▶ make and save ──────┘
//! ```
//!
//! Beside it stands a certificate for clients of the same user, client.pem and client.key, made once: so a client only
//! reads files.
//!
//! They prove no more than "a process of this user", and so are for loopback only: [`is_loopback`]. Which cluster a node
//! belongs to is told by the cluster id that its frames carry.

use std::fs::{self, File, OpenOptions, Permissions};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use consensus_api::NodeId;

use crate::authority::{Authority, CA_VALID_DAYS, make_dir};
use crate::error::TransportError;
use crate::name::CertificateName;
use crate::tls::{CA_FILE, CLIENT_FILE, NodeTls};

/// The cluster name in every development certificate.
pub const DEV_CLUSTER: &str = "dev";
/// The name of every client that has a development certificate.
const DEV_CLIENT: &str = "local";
/// Held while the authority is looked for or made.
const LOCK_FILE: &str = "lock";

/// A node's development certificate, signed by the authority in `dir`, or by the user's own in `default_dir`. Makes
/// the authority if there is none; several processes may do so at once. Waits for whoever is making one.
pub fn node_tls(node: NodeId, dir: Option<&Path>) -> Result<NodeTls, TransportError> {
    let dir = match dir {
        Some(dir) => dir.to_owned(),
        None => default_dir()?,
    };
    // As long as the authority: a node that runs for years must still be able to reconnect.
    authority(&dir)?.node_tls(&dir, &CertificateName::node(node, DEV_CLUSTER)?, CA_VALID_DAYS)
}

/// `$XDG_STATE_HOME/quorate`, or else `~/.local/state/quorate`.
pub fn default_dir() -> Result<PathBuf, TransportError> {
    // The XDG base directory specification: a relative path is to be ignored.
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Ok(state.ok_or(TransportError::NoStateDirectory)?.join("quorate"))
}

/// Whether `host:port` can only be reached from this machine. A host name other than `localhost` is not looked up, and
/// counts as reachable.
pub fn is_loopback(address: &str) -> bool {
    if let Ok(address) = address.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn authority(dir: &Path) -> Result<Authority, TransportError> {
    make_dir(dir)?;
    let failed = |action, path: PathBuf| move |source| TransportError::File { action, path, source };
    fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed("cannot protect", dir.to_owned()))?;
    let path = dir.join(LOCK_FILE);
    let lock: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("cannot open", path.clone()))?;
    lock.lock().map_err(failed("cannot lock", path))?;
    // Until the end of this function, where the file is closed.
    if dir.join(CA_FILE).exists() {
        let loaded = Authority::load(dir)?;
        if !dir.join(CLIENT_FILE).exists() {
            write_client(&loaded, dir)?;
        }
        return Ok(loaded);
    }
    // A key without a certificate is the rest of an attempt that was cut short; nobody trusts it yet.
    let rest = dir.join(crate::authority::CA_KEY_FILE);
    if rest.exists() {
        fs::remove_file(&rest).map_err(failed("cannot remove", rest))?;
    }
    let made = Authority::generate(DEV_CLUSTER, CA_VALID_DAYS)?;
    // The client's first: one that is left from an earlier authority must not outlive it.
    write_client(&made, dir)?;
    made.save(dir)?;
    Ok(made)
}

/// As long-lived as the authority: nobody renews it.
fn write_client(authority: &Authority, dir: &Path) -> Result<(), TransportError> {
    authority.write_client(dir, &CertificateName::client(DEV_CLIENT, DEV_CLUSTER)?, CA_VALID_DAYS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn concurrent_starters_agree_on_one_authority() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("state/quorate");
        let authorities: Vec<String> = std::thread::scope(|scope| {
            let starters: Vec<_> = (1..=8)
                .map(|id| {
                    let dir = &dir;
                    scope.spawn(move || {
                        node_tls(NodeId(id), Some(dir)).expect("a certificate");
                        fs::read_to_string(dir.join(CA_FILE)).expect("the authority is there")
                    })
                })
                .collect();
            starters.into_iter().map(|starter| starter.join().expect("no panic")).collect()
        });
        assert!(authorities.windows(2).all(|pair| pair[0] == pair[1]), "two starters saw different authorities");
    }

    #[test]
    fn the_authority_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = dir.path().join("quorate");
        node_tls(NodeId(1), Some(&dir)).expect("a certificate");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        for file in ["ca.key", "ca.pem", "client.key", "client.pem"] {
            assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
        }
    }

    #[test]
    fn the_clients_certificate_is_made_once_and_goes_with_its_authority() {
        let dir = tempfile::tempdir().expect("a directory");
        let start = || {
            node_tls(NodeId(1), Some(dir.path())).expect("a certificate");
            fs::read_to_string(dir.path().join("client.pem")).expect("the client's")
        };
        let first = start();
        assert_eq!(start(), first);
        for file in ["ca.pem", "ca.key"] {
            fs::remove_file(dir.path().join(file)).expect("removed");
        }
        assert_ne!(start(), first, "a client of an authority that is gone");
        fs::remove_file(dir.path().join("client.pem")).expect("removed");
        start();
    }

    #[test]
    fn a_damaged_authority_is_reported_and_not_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        node_tls(NodeId(1), Some(dir.path())).expect("a certificate");
        fs::write(dir.path().join("ca.key"), "rubbish").expect("written");
        let error = node_tls(NodeId(2), Some(dir.path())).expect_err("the key is damaged");
        assert!(error.to_string().contains("ca.key"), "{error}");
    }

    #[test]
    fn only_loopback_is_loopback() {
        for address in ["127.0.0.1:7001", "[::1]:7001", "localhost:7001", "127.3.2.1:1"] {
            assert!(is_loopback(address), "{address}");
        }
        for address in ["0.0.0.0:7001", "10.0.0.1:7001", "[::]:7001", "localhost.example.org:7001", "example:1"] {
            assert!(!is_loopback(address), "{address}");
        }
    }
}
