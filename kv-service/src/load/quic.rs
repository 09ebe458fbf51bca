//! Operations by Clerks: each a connection with a session of its own, on which many operations are under way at a time.
//!
//! A Clerk moves to whoever leads, repeats what was lost there, and carries out each write once. It reads as fresh as the
//! run asks for, but for scans, which it reads linearizably.

use std::borrow::Cow;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use kv_client::protocol::Consistency;
use kv_client::{Clerk, ClerkError, Expect, KeyRange, TlsFiles};

use super::args::Plan;
use super::link::{Failure, Found, Lane};
use crate::error::ServiceError;

/// The Clerks of a run.
pub(super) struct QuicLink {
    clerks: Vec<Clerk>,
    consistency: Consistency,
}

impl QuicLink {
    /// Connects the plan's Clerks to these nodes.
    ///
    /// # Errors
    /// Where one of them cannot connect, or the certificates are of no use.
    pub(super) async fn open(
        addresses: &[String],
        tls_dir: Option<&PathBuf>,
        plan: &Plan,
    ) -> Result<QuicLink, ServiceError> {
        // Places are dealt out evenly, so none of the Clerks has more under way than its share.
        let mut builder = Clerk::builder()
            .endpoints(addresses.iter().cloned())
            .request_timeout(plan.timeout)
            .window(plan.in_flight.div_ceil(plan.connections));
        if let Some(dir) = tls_dir {
            builder = builder.tls(TlsFiles::in_dir(dir));
        }
        let clerks = try_join_all((0..plan.connections).map(|_| builder.clone().connect())).await?;
        Ok(QuicLink { clerks, consistency: plan.consistency })
    }

    /// The lane of a place among the operations under way; they are spread over the Clerks.
    pub(super) fn lane(&self, place: usize) -> Lane<'_> {
        Lane::Quic(&self.clerks[place % self.clerks.len()], self.consistency)
    }

    /// Ends the sessions; one that cannot be ended now ends by itself.
    pub(super) async fn close(&self) {
        join_all(self.clerks.iter().cloned().map(Clerk::close)).await;
    }
}

/// Reads a key.
pub(super) async fn get(clerk: &Clerk, key: Bytes, consistency: Consistency) -> Result<Option<Found>, Failure> {
    let found = clerk.get_as(key, consistency).await.map_err(failure)?;
    Ok(found.map(|item| Found { value: item.value.0, mod_revision: item.mod_revision }))
}

/// Writes a key.
pub(super) async fn put(clerk: &Clerk, key: Bytes, value: Bytes, expect: Expect) -> Result<(), Failure> {
    clerk.put_if(key, value, expect).await.map(drop).map_err(failure)
}

/// Reads all keys from one to before another.
pub(super) async fn scan(clerk: &Clerk, start: Bytes, end: Bytes) -> Result<(), Failure> {
    let mut scan = clerk.scan(KeyRange::between(start, end));
    while let Some(item) = scan.next().await {
        item.map_err(failure)?;
    }
    Ok(())
}

/// What an error says about the operation. Only one of them leaves it open.
fn failure(error: ClerkError) -> Failure {
    let kind = match error {
        ClerkError::VersionMismatch { .. } => return Failure::Mismatch,
        ClerkError::Maybe { .. } => return Failure::Unknown(Cow::Borrowed("unknown")),
        ClerkError::NotApplied { .. } => "not applied",
        ClerkError::NoAnswer { .. } => "no answer in time",
        ClerkError::SessionExpired => "session expired",
        ClerkError::TooLarge { .. } => "too large",
        ClerkError::BadInput { .. } => "bad input",
        ClerkError::Unsupported { .. } => "unsupported",
        _ => "other",
    };
    Failure::Refused(Cow::Borrowed(kind))
}
