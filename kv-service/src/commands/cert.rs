//! `kv-service cert`: a certificate authority for a cluster, and certificates for its nodes and clients.
//!
//! ```text
//!   cert ca   --cluster orders --dir ca                 ca/ca.pem  ca/ca.key (keep that one away from the nodes)
//!   cert node --cluster orders --ca ca --id 1 --dir n1  n1/ca.pem  n1/node.pem  n1/node.key   → --tls-dir n1
//!   cert client ada --cluster orders --ca ca --dir ada  ada/ca.pem ada/client.pem ada/client.key, for the Clerk
//! ```

use std::path::PathBuf;

use clap::Subcommand;
use consensus_api::NodeId;
use transport_quic::{Authority, CA_VALID_DAYS, CertificateName};

use super::output;
use crate::error::ServiceError;

/// What can be made.
#[derive(Clone, Debug, Subcommand)]
pub enum CertCommand {
    /// Make a certificate authority: ca.pem and ca.key
    Ca {
        /// The cluster's name, which stands in all its certificates
        #[arg(long, value_name = "NAME", default_value = "quorate")]
        cluster: String,
        /// Where to write them
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// How many days it is valid
        #[arg(long, value_name = "DAYS", default_value_t = CA_VALID_DAYS, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Make a node's certificate: ca.pem, node.pem and node.key, for --tls-dir
    Node {
        /// The cluster's name, as it was given to the authority
        #[arg(long, value_name = "NAME", default_value = "quorate")]
        cluster: String,
        /// The node's id
        #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
        /// Where ca.pem and ca.key are
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// Where to write them
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// How many days it is valid
        #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
    /// Make a client's certificate: ca.pem, client.pem and client.key, for programs that talk to the cluster
    Client {
        /// The client's name: small letters, digits and hyphens
        #[arg(value_name = "NAME")]
        name: String,
        /// The cluster's name, as it was given to the authority
        #[arg(long, value_name = "NAME", default_value = "quorate")]
        cluster: String,
        /// Where ca.pem and ca.key are
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,
        /// Where to write them
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// How many days it is valid
        #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36_500))]
        days: u32,
    },
}

/// Makes it.
pub fn run(command: CertCommand) -> Result<(), ServiceError> {
    match command {
        CertCommand::Ca { cluster, dir, days } => {
            Authority::generate(&cluster, days)?.save(&dir)?;
            output::line(&format!(
                "made {0}/ca.pem and {0}/ca.key; now 'kv-service cert node --ca {0} …'",
                dir.display()
            ))
        }
        CertCommand::Node { cluster, id, ca, dir, days } => {
            let name = CertificateName::node(NodeId(id), &cluster)?;
            Authority::load(&ca)?.write_node(&dir, &name, days)?;
            output::line(&format!("made the certificate of node {id}; run it with --tls-dir {}", dir.display()))
        }
        CertCommand::Client { name, cluster, ca, dir, days } => {
            let certified = CertificateName::client(&name, &cluster)?;
            let authority = Authority::load(&ca)?;
            authority.write_client(&dir, &certified, days)?;
            authority.write_trust(&dir)?;
            output::line(&format!(
                "made the certificate of client {name}: {0}/ca.pem, {0}/client.pem, {0}/client.key",
                dir.display()
            ))
        }
    }
}
