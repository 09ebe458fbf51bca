//! How operations reach the cluster: one interface over both protocols.

use std::borrow::Cow;

use bytes::Bytes;
use kv_client::protocol::Consistency;
use kv_client::{Clerk, Expect};

use super::http::{HttpLane, HttpLink};
use super::quic::{self, QuicLink};

/// A key that was read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its value, where that was asked for.
    pub(super) value: Bytes,
    /// When it was last changed.
    pub(super) mod_revision: u64,
}

/// Why an operation failed. The texts are kinds to count by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The condition did not hold; nothing was changed.
    Mismatch,
    /// It was not carried out, and will not be.
    Refused(Cow<'static, str>),
    /// It may have been carried out, or may yet be.
    Unknown(Cow<'static, str>),
}

impl Failure {
    /// The kind under which it is counted.
    pub(super) fn kind(self) -> Cow<'static, str> {
        match self {
            Failure::Mismatch => Cow::Borrowed("conflict"),
            Failure::Refused(kind) | Failure::Unknown(kind) => kind,
        }
    }
}

/// The connections to the cluster.
pub(super) enum Link {
    Http(HttpLink),
    Quic(QuicLink),
}

/// What one operation at a time is sent on.
pub(super) enum Lane<'a> {
    Http(HttpLane<'a>),
    Quic(&'a Clerk, Consistency),
}

impl Link {
    /// A lane for one operation of this client; waits where there are fewer than are wanted.
    pub(super) async fn lane(&self, place: usize) -> Result<Lane<'_>, Failure> {
        match self {
            Link::Http(link) => link.lane().await.map(Lane::Http),
            Link::Quic(link) => Ok(link.lane(place)),
        }
    }

    /// Ends what should not be left to its timeout.
    pub(super) async fn close(&self) {
        match self {
            Link::Http(_) => {}
            Link::Quic(link) => link.close().await,
        }
    }
}

impl Lane<'_> {
    /// Reads a key; `None` where there is none. The value is left out unless it is wanted.
    pub(super) async fn get(&mut self, key: Bytes, wants_value: bool) -> Result<Option<Found>, Failure> {
        match self {
            Lane::Http(lane) => lane.get(&key, wants_value).await,
            Lane::Quic(clerk, consistency) => quic::get(clerk, key, *consistency).await,
        }
    }

    /// Writes a key.
    pub(super) async fn put(&mut self, key: Bytes, value: Bytes, expect: Expect) -> Result<(), Failure> {
        match self {
            Lane::Http(lane) => lane.put(&key, value, expect).await,
            Lane::Quic(clerk, _) => quic::put(clerk, key, value, expect).await,
        }
    }

    /// Reads the keys from one to before another, of which there are no more than `limit`.
    pub(super) async fn scan(&mut self, start: Bytes, end: Bytes, limit: u64) -> Result<(), Failure> {
        match self {
            Lane::Http(lane) => lane.scan(&start, &end, limit).await,
            Lane::Quic(clerk, _) => quic::scan(clerk, start, end).await,
        }
    }
}
