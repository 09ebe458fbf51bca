//! The name that a certificate gives its holder: one DNS name in its subject alternative names.
//!
//! ```text
//!   node-3.orders.quorate        node 3 of the cluster named "orders"
//!   client-ada.orders.quorate    the client "ada" of the same cluster
//! ```
//!
//! A dialer asks for this name and TLS verifies it; an acceptor reads it from the certificate that TLS has verified.

use std::fmt;
use std::str::FromStr;

use consensus_api::NodeId;
use x509_parser::extensions::GeneralName;

use crate::error::TransportError;

/// Behind the cluster's name.
const SUFFIX: &str = ".quorate";
/// The most that a DNS label may have (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// What the holder may act as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateRole {
    /// A member of the cluster, under this id.
    Node(NodeId),
    /// Someone who talks to the cluster.
    Client(String),
}

/// Whom a certificate names, and of which cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName {
    role: CertificateRole,
    cluster: String,
}

impl CertificateName {
    /// The name of a node of this cluster. Refuses a cluster name that is no DNS label.
    pub fn node(node: NodeId, cluster: &str) -> Result<CertificateName, TransportError> {
        check_label(cluster)?;
        Ok(CertificateName { role: CertificateRole::Node(node), cluster: cluster.to_owned() })
    }

    /// The name of a client of this cluster. Refuses names that are no DNS labels.
    pub fn client(name: &str, cluster: &str) -> Result<CertificateName, TransportError> {
        check_label(&format!("client-{name}"))?;
        check_label(cluster)?;
        Ok(CertificateName { role: CertificateRole::Client(name.to_owned()), cluster: cluster.to_owned() })
    }

    /// The one name of our form that a certificate carries. A certificate without one, or with several, is refused:
    /// it would be open whom it stands for.
    pub fn of_certificate(der: &[u8]) -> Result<CertificateName, String> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| error.to_string())?;
        let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        let mut ours =
            names.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
                GeneralName::DNSName(name) => name.parse::<CertificateName>().ok(),
                _ => None,
            });
        match (ours.next(), ours.next()) {
            (Some(name), None) => Ok(name),
            (None, _) => Err(format!("it names nobody in the form node-<id>.<cluster>{SUFFIX}")),
            (Some(first), Some(second)) => Err(format!("it names both {first} and {second}")),
        }
    }

    /// What the holder may act as.
    pub fn role(&self) -> &CertificateRole {
        &self.role
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.role {
            CertificateRole::Node(node) => write!(f, "node-{node}.{}{SUFFIX}", self.cluster),
            CertificateRole::Client(name) => write!(f, "client-{name}.{}{SUFFIX}", self.cluster),
        }
    }
}

impl FromStr for CertificateName {
    type Err = TransportError;

    fn from_str(text: &str) -> Result<CertificateName, TransportError> {
        let refused = |reason| TransportError::Name { name: text.to_owned(), reason };
        let rest = text.strip_suffix(SUFFIX).ok_or(refused("it does not end in .quorate"))?;
        let (holder, cluster) = rest.split_once('.').ok_or(refused("it names no cluster"))?;
        if let Some(id) = holder.strip_prefix("node-") {
            let id: u64 = id.parse().map_err(|_| refused("a node's id is a number"))?;
            if id == 0 || holder != format!("node-{id}") {
                return Err(refused("a node's id is a positive number without leading zeros"));
            }
            return CertificateName::node(NodeId(id), cluster);
        }
        let client = holder.strip_prefix("client-").ok_or(refused("it starts with neither node- nor client-"))?;
        CertificateName::client(client, cluster)
    }
}

/// A DNS label in lower case. DNS names compare without regard to case, ours with it: so only one case exists.
fn check_label(label: &str) -> Result<(), TransportError> {
    let refused = |reason| Err(TransportError::Name { name: label.to_owned(), reason });
    if label.is_empty() || label.len() > LABEL_BYTES_MAX {
        return refused("it must have 1 to 63 characters");
    }
    if !label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        return refused("only a-z, 0-9 and - are allowed");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return refused("it must not begin or end with -");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_name_survives_the_round_trip() {
        for text in ["node-3.orders.quorate", "client-ada.dev.quorate"] {
            assert_eq!(text.parse::<CertificateName>().expect("a name").to_string(), text);
        }
    }

    #[test]
    fn what_is_not_quite_a_name_is_refused() {
        for text in
            ["node-0.a.quorate", "node-03.a.quorate", "node-+3.a.quorate", "node-3.quorate", "node-3.a.b.quorate"]
        {
            assert!(text.parse::<CertificateName>().is_err(), "{text} was accepted");
        }
        assert!("peer-3.a.quorate".parse::<CertificateName>().is_err());
        assert!(CertificateName::node(NodeId(1), "Orders").is_err());
    }
}
