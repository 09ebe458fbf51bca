//! Whom to ask: the leader alone, or all endpoints in turn.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

use crate::error::ServiceError;

/// The endpoints, the preferred ones first.
pub(super) struct Targets {
    endpoints: Vec<String>,
    preferred: usize,
    description: String,
}

/// What is of interest here in a node's answer to `/v1/status`.
#[derive(Deserialize)]
struct Status {
    node_id: u64,
    leader_id: Option<u64>,
}

impl Targets {
    /// Asks every endpoint who leads, and prefers the leader unless the load is spread over all.
    pub(super) async fn find(given: &[String], spread: bool, timeout: Duration) -> Result<Targets, ServiceError> {
        let asked = given.iter().map(|endpoint| tokio::time::timeout(timeout, status(endpoint)));
        let statuses: Vec<Option<Status>> = join_all(asked).await.into_iter().map(|it| it.ok().flatten()).collect();
        if statuses.iter().all(Option::is_none) {
            return Err(ServiceError::NothingMeasured { errors: 0, last: "no endpoint answers".to_owned() });
        }
        let leads = |status: &Option<Status>| status.as_ref().is_some_and(|it| it.leader_id == Some(it.node_id));
        let mut endpoints = given.to_vec();
        let (preferred, description) = match statuses.iter().position(leads) {
            _ if spread => (endpoints.len(), "all endpoints".to_owned()),
            Some(leader) => {
                endpoints.swap(0, leader);
                (1, format!("the leader, {}", endpoints[0]))
            }
            None => (endpoints.len(), "endpoints of which none leads".to_owned()),
        };
        Ok(Targets { endpoints, preferred, description })
    }

    /// Where client `number` connects at its `attempt`-th try: first to the preferred endpoints, then to each in turn.
    pub(super) fn endpoint(&self, number: u32, attempt: u32) -> &str {
        let (number, attempt) = (number as usize, attempt as usize);
        &self.endpoints[(number % self.preferred + attempt) % self.endpoints.len()]
    }

    /// In words, for the report.
    pub(super) fn description(&self) -> &str {
        &self.description
    }
}

async fn status(endpoint: &str) -> Option<Status> {
    let stream = TcpStream::connect(endpoint).await.ok()?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
    tokio::task::spawn_local(connection);
    let request = Request::get("/v1/status").header(HOST, endpoint).body(Full::new(Bytes::new())).ok()?;
    let response = sender.send_request(request).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    serde_json::from_slice(&response.into_body().collect().await.ok()?.to_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(preferred: usize) -> Targets {
        let endpoints = ["a", "b", "c"].map(str::to_owned).to_vec();
        Targets { endpoints, preferred, description: String::new() }
    }

    #[test]
    fn clients_of_a_leader_ask_it_first_and_then_everybody() {
        let targets = targets(1);
        assert_eq!([0, 1, 2, 3].map(|attempt| targets.endpoint(7, attempt)), ["a", "b", "c", "a"]);
    }

    #[test]
    fn clients_without_a_leader_are_spread() {
        let targets = targets(3);
        assert_eq!([0, 1, 2, 3].map(|number| targets.endpoint(number, 0)), ["a", "b", "c", "a"]);
    }
}
