//! Why the program ends without having done what it was asked for. Each message is one line that names the remedy.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use consensus_api::{NodeId, RequestError};

use crate::commands::lock;

/// Everything that can go wrong on the way from the command line to an exit status.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The command line itself is wrong; the message is that of the parser.
    #[error("{0}")]
    Usage(String),
    /// Neither a flag, nor the environment, nor the file names an engine.
    #[error("no engine is chosen; add --engine with one of: {known}")]
    EngineMissing {
        /// The engines that exist.
        known: String,
    },
    /// There is no such engine.
    #[error("there is no engine '{found}'; use --engine with one of: {known}")]
    UnknownEngine {
        /// What was asked for.
        found: String,
        /// The engines that exist.
        known: String,
    },
    /// The configuration file cannot be read.
    #[error("cannot read the configuration {}: {source}; check the path given with --config", .path.display())]
    ConfigUnreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("{}:{line}: {reason}; correct that line", .path.display())]
    ConfigInvalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// What is said about joining makes no sense.
    #[error("cannot join like this: {reason}")]
    Join {
        /// Why not, and what to do.
        reason: String,
    },
    /// A peer that is not `ID=HOST:PORT`.
    #[error("'{found}' is no peer: {reason}; write --peer ID=HOST:PORT, for example --peer 2=127.0.0.1:7002")]
    MalformedPeer {
        /// What was given.
        found: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Two peers with one id.
    #[error("node {node} is named twice among the peers; give every node an id of its own")]
    DuplicatePeer {
        /// The id.
        node: NodeId,
    },
    /// Two nodes with one address.
    #[error("nodes {first} and {second} both have the address {address}; give every node an address of its own")]
    DuplicateAddress {
        /// One of them.
        first: NodeId,
        /// The other.
        second: NodeId,
        /// What they share.
        address: String,
    },
    /// The peers say something else about this node than this node does.
    #[error(
        "the peers give node {node}, which is this one, the address {named}, but it listens on {listen}; correct --peer, --listen or --id"
    )]
    OwnAddress {
        /// This node.
        node: NodeId,
        /// What the peers say.
        named: String,
        /// What `--listen` says.
        listen: SocketAddr,
    },
    /// An address that cannot be used.
    #[error("'{found}' is no address for --{setting}: {reason}; write HOST:PORT, for example 127.0.0.1:7001")]
    Address {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Development certificates are for loopback only.
    #[error(
        "{listen} can be reached from other machines, and there is no --tls-dir; make certificates with 'kv-service cert' and add --tls-dir DIR, or listen on 127.0.0.1"
    )]
    Exposed {
        /// The address.
        listen: SocketAddr,
    },
    /// One port for two things.
    #[error("--listen and --http are both {address}; give each a port of its own")]
    PortClash {
        /// The address.
        address: SocketAddr,
    },
    /// A number out of its range.
    #[error("--{setting} is {found}; it must be {range}")]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        found: u64,
        /// What is possible.
        range: String,
    },
    /// A word that the setting does not know.
    #[error("--{setting} is '{found}'; it must be {expected}")]
    BadWord {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        found: String,
        /// What is possible.
        expected: &'static str,
    },
    /// Foreseen, and not there yet.
    #[error("{what} is not supported by this build yet; use {instead}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What works today.
        instead: &'static str,
    },
    /// The HTTP port cannot be had.
    #[error("cannot serve HTTP on {address}: {source}; free that port, or choose another with --http")]
    HttpListen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Something of the operating system failed.
    #[error("{what}: {source}; see to that, then try again")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The cluster cannot be founded, or this node is not of it.
    #[error("cannot found the cluster: {reason}")]
    Founding {
        /// Why not, and what to do.
        reason: String,
    },
    /// The cluster does not take this node in, now or later.
    #[error("cannot join the cluster: {reason}")]
    Joining {
        /// Why not, and what to do.
        reason: String,
    },
    /// The replica cannot start from what is on disk.
    #[error(transparent)]
    Replica(#[from] replica::ReplicaError),
    /// The node had to stop by itself.
    #[error("the node has stopped: {reason}; see to that, then start it again")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// The replica refused a request, or stopped.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Storage(#[from] storage_rocks::StorageError),
    /// The peers cannot be reached, or certificates not be made.
    #[error(transparent)]
    Transport(#[from] transport_quic::TransportError),
    /// The state machine's tables cannot be used.
    #[error(transparent)]
    Machine(#[from] kv_machine::KvError),
    /// The cluster did not do what a command asked for.
    #[error(transparent)]
    Client(#[from] kv_client::ClientError),
    /// A Clerk cannot connect.
    #[error(transparent)]
    Clerk(#[from] kv_client::ClerkError),
    /// The relay cannot start, or did not do what a command asked for.
    #[error(transparent)]
    Relay(#[from] link_relay::RelayError),
    /// There is no such key.
    #[error("there is no key '{key}'; list the keys with 'kv-service scan'")]
    KeyNotFound {
        /// The key.
        key: String,
    },
    /// The key has another value than the one that was to be replaced.
    #[error("'{key}' was not swapped, nothing was changed: {found}; read it, then decide anew")]
    NotSwapped {
        /// The key.
        key: String,
        /// What is there.
        found: String,
    },
    /// None of the endpoints is this node's.
    #[error("no endpoint is that of node {node}; add its HTTP address to --endpoints")]
    NoSuchEndpoint {
        /// The node.
        node: u64,
    },
    /// The members are not as they were to be.
    #[error(transparent)]
    Members(#[from] crate::commands::members::MembersError),
    /// The lock could not be kept.
    #[error(
        "the lock '{name}' is lost: {reason}; see what the command had done until it was stopped, then run it again"
    )]
    LockLost {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// The command under a lock cannot be started.
    #[error("cannot run '{}': {source}; check its name", .command.display())]
    NoSuchCommand {
        /// Its name.
        command: OsString,
        /// Why not.
        source: io::Error,
    },
    /// Some lines of a script failed.
    #[error("{failed} of {lines} lines failed, as said above; correct them, then run those again")]
    LinesFailed {
        /// How many failed.
        failed: usize,
        /// How many there were.
        lines: usize,
    },
    /// The load generator has nothing to show.
    #[error(
        "no operation succeeded ({errors} failed, the last: {last}); see whether the cluster works with 'kv-service status'"
    )]
    NothingMeasured {
        /// How many failed.
        errors: u64,
        /// How the last one failed.
        last: String,
    },
    /// The load generator cannot write the keys that it would ask for, or read those that it has written.
    #[error(
        "the keys could not all be written before the load, or read behind it (the last failure: {last}); see whether the cluster works with 'kv-service status'"
    )]
    NotPrepared {
        /// How the last operation failed.
        last: String,
    },
    /// A backup would replace a file.
    #[error("{} is there already, and no backup is replaced; choose another name, or remove it", .path.display())]
    SnapshotExists {
        /// The file.
        path: PathBuf,
    },
    /// What was downloaded is whole, and not the snapshot that was taken.
    #[error("snapshot {found} was received instead of {expected}; save again, with one endpoint")]
    OtherSnapshot {
        /// What the file holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// A snapshot file cannot be used.
    #[error("{}: {source}", .path.display())]
    SnapshotFile {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        source: storage_rocks::StorageError,
    },
    /// A data directory is damaged.
    #[error("{} is damaged in {damages} places, listed above; restore it, or remove the node and have another one join under a new id", .dir.display())]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// In how many places.
        damages: usize,
    },
    /// All nodes of a local cluster have ended by themselves.
    #[error("every node has ended; the last lines of each say why")]
    ClusterGone,
}

impl ServiceError {
    /// 2 where what was typed or configured is wrong, 1 where it failed.
    pub fn exit_status(&self) -> u8 {
        match self {
            ServiceError::Usage(_)
            | ServiceError::EngineMissing { .. }
            | ServiceError::UnknownEngine { .. }
            | ServiceError::ConfigUnreadable { .. }
            | ServiceError::ConfigInvalid { .. }
            | ServiceError::Join { .. }
            | ServiceError::MalformedPeer { .. }
            | ServiceError::DuplicatePeer { .. }
            | ServiceError::DuplicateAddress { .. }
            | ServiceError::OwnAddress { .. }
            | ServiceError::Address { .. }
            | ServiceError::Exposed { .. }
            | ServiceError::PortClash { .. }
            | ServiceError::OutOfRange { .. }
            | ServiceError::BadWord { .. }
            | ServiceError::Unsupported { .. } => 2,
            ServiceError::Relay(error) => error.exit_status(),
            ServiceError::NoSuchCommand { source, .. } => lock::exit_status_of(source),
            _ => 1,
        }
    }

    /// An error of the operating system, with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> ServiceError {
        let what = what.into();
        move |source| ServiceError::Io { what, source }
    }
}
