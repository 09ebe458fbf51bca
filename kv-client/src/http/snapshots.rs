//! Backups: has a node take a snapshot, and reads it as it comes.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;

use super::client::{HttpClient, json_of, push_parameter};
use super::endpoints::{Call, Effect, root_cause};
use crate::error::ClientError;
use crate::protocol::{CONSISTENCY_PARAMETER, Consistency, SNAPSHOT_ID_PARAMETER, SnapshotReply};

const PATH: &str = "/v1/snapshot";

impl HttpClient {
    /// Has the first node that answers take a snapshot. Unless `consistency` is stale, everything that was acknowledged
    /// before is in it.
    ///
    /// # Errors
    /// Any but [`ClientError::Unknown`].
    pub async fn take_snapshot(
        &self,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<SnapshotReply, ClientError> {
        let mut path_and_query = PATH.to_owned();
        push_parameter(&mut path_and_query, CONSISTENCY_PARAMETER, consistency.as_str().as_bytes());
        // To take one twice harms nobody.
        json_of(&self.endpoints.send_once(&call(Method::POST, path_and_query, timeout)).await?)
    }

    /// Begins to read the snapshot file `id` from the node that has answered last. `timeout` bounds the wait for each
    /// piece of it.
    ///
    /// # Errors
    /// [`ErrorCode::NotFound`](crate::protocol::ErrorCode::NotFound) where that node does not keep it; otherwise any but
    /// [`ClientError::Unknown`].
    pub async fn download_snapshot(&self, id: &str, timeout: Duration) -> Result<SnapshotDownload, ClientError> {
        let mut path_and_query = PATH.to_owned();
        push_parameter(&mut path_and_query, SNAPSHOT_ID_PARAMETER, id.as_bytes());
        let (endpoint, body) = self.endpoints.open_again(&call(Method::GET, path_and_query, timeout)).await?;
        Ok(SnapshotDownload { endpoint, body, timeout })
    }
}

/// A snapshot file on its way. It has checksums of its own: whoever keeps it checks them.
#[derive(Debug)]
pub struct SnapshotDownload {
    endpoint: String,
    body: Incoming,
    timeout: Duration,
}

impl SnapshotDownload {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// [`ClientError::Interrupted`] where the rest does not come.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let interrupted = |reason| ClientError::Interrupted { endpoint: self.endpoint.clone(), reason };
        loop {
            let Ok(frame) = tokio::time::timeout(self.timeout, self.body.frame()).await else {
                return Err(interrupted(format!("nothing came for {} ms", self.timeout.as_millis())));
            };
            match frame.transpose().map_err(|error| interrupted(root_cause(&error)))?.map(|frame| frame.into_data()) {
                None => return Ok(None),
                Some(Ok(bytes)) => return Ok(Some(bytes)),
                // Trailers are not part of the file.
                Some(Err(_)) => {}
            }
        }
    }
}

fn call(method: Method, path_and_query: String, timeout: Duration) -> Call {
    Call { effect: Effect::Read, method, path_and_query, headers: vec![], body: Bytes::new(), timeout }
}
