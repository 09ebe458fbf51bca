//! Why the relay cannot do what it was asked for. Each message is one line that names the remedy.

use std::io;
use std::net::SocketAddr;

use crate::names::{LinkName, LinkPattern};

/// Everything that can go wrong with a relay and with those who talk to it.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A link's name that is none.
    #[error("'{found}' is no link; write FROM:TO, for example 1:2, or several of them: 1:all, all:2, all")]
    MalformedLink {
        /// What was given.
        found: String,
    },
    /// A share that is none.
    #[error("'{found}' is no share of packets; write a percentage between 0% and 100%, for example 5% or 0.1%")]
    MalformedShare {
        /// What was given.
        found: String,
    },
    /// A time that is none.
    #[error("'{found}' is no time; write milliseconds with at most three decimals, for example 0.25 or 20")]
    MalformedTime {
        /// What was given.
        found: String,
    },
    /// Something that is not `NAME=HOST:PORT`.
    #[error("'{found}' has no address; write {example}, with numbers instead of a host's name")]
    MalformedAddress {
        /// What was given.
        found: String,
        /// How it is written.
        example: &'static str,
    },
    /// A link that this relay does not have.
    #[error("there is no link {pattern}; the relay has {known}")]
    NoSuchLink {
        /// What was asked for.
        pattern: LinkPattern,
        /// What there is.
        known: String,
    },
    /// A number that is out of its range.
    #[error("{setting} is {found}; it must be {range}")]
    OutOfRange {
        /// Which setting.
        setting: &'static str,
        /// What was given.
        found: String,
        /// What is possible.
        range: &'static str,
    },
    /// Two routes of one name.
    #[error("the route {link} is given twice; give every ordered pair of nodes one route")]
    DuplicateRoute {
        /// The name.
        link: LinkName,
    },
    /// A route to or from a node of which no address is known.
    #[error("--listen names the link {link}, but not both of its nodes are given; add --node ID=HOST:PORT for each")]
    UnknownNode {
        /// The link.
        link: LinkName,
    },
    /// More than the relay is made for, or nothing to do.
    #[error("there are {found} {what}; give {range}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many are possible.
        range: &'static str,
    },
    /// A socket cannot be opened.
    #[error("cannot listen on {address} for {purpose}: {source}; free that port or choose another")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What for.
        purpose: String,
        /// Why not.
        source: io::Error,
    },
    /// Whoever reaches the control port can cut every link.
    #[error("the control address {address} can be reached from other machines; use one on loopback, as 127.0.0.1:7100")]
    Exposed {
        /// The address.
        address: SocketAddr,
    },
    /// Nobody answers on the control port.
    #[error(
        "no relay answers at {address}: {source}; start one, or name its control address, which it prints, with --control"
    )]
    NoRelay {
        /// Where.
        address: SocketAddr,
        /// What happened.
        source: io::Error,
    },
    /// Something answers on the control port, and it is no relay.
    #[error("what answers at {address} is no relay ({reason}); name the relay's control address with --control")]
    NotARelay {
        /// Where.
        address: SocketAddr,
        /// What is odd.
        reason: String,
    },
    /// The relay has refused a request.
    #[error("{0}")]
    Refused(String),
    /// A result cannot be shown, or the process cannot wait for signals.
    #[error("{what}: {source}; see to that, then try again")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl RelayError {
    /// 2 where what was typed is wrong, 1 where it failed.
    pub fn exit_status(&self) -> u8 {
        match self {
            RelayError::Listen { .. }
            | RelayError::NoRelay { .. }
            | RelayError::NotARelay { .. }
            | RelayError::Refused(_)
            | RelayError::NoSuchLink { .. }
            | RelayError::Io { .. } => 1,
            _ => 2,
        }
    }
}
