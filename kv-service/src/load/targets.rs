//! Whom to ask: the leader alone, or all endpoints in turn; and where the members listen for Clerks.

use std::time::Duration;

use futures_util::future::join_all;
use kv_client::HttpClient;
use kv_client::protocol::StatusReply;

use crate::error::ServiceError;

/// The endpoints, the preferred ones first.
pub(super) struct Targets {
    endpoints: Vec<String>,
    preferred: usize,
}

/// What the endpoints say about their cluster.
pub(super) struct Found {
    pub(super) targets: Targets,
    /// `raft` or `paxos`.
    pub(super) engine: String,
    /// Where the members listen for each other and for Clerks, the leader first.
    pub(super) addresses: Vec<String>,
    /// Who leads, where one of the endpoints does.
    pub(super) leader: Option<String>,
}

/// Asks every endpoint how its node stands, and prefers the leader unless the load is spread over all.
pub(super) async fn find(given: &[String], spread: bool, timeout: Duration) -> Result<Found, ServiceError> {
    let clients: Vec<HttpClient> = given.iter().map(|it| HttpClient::new([it])).collect::<Result<_, _>>()?;
    let asked = clients.iter().map(|client| client.status(timeout));
    let statuses: Vec<Option<StatusReply>> = join_all(asked).await.into_iter().map(Result::ok).collect();
    let leads = |status: &StatusReply| status.leader_id == Some(status.node_id);
    let leader = statuses.iter().position(|status| status.as_ref().is_some_and(leads));
    let mut endpoints = given.to_vec();
    let found = leader.or_else(|| statuses.iter().position(Option::is_some)).and_then(|at| statuses[at].as_ref());
    let Some(status) = found else {
        return Err(ServiceError::NothingMeasured { errors: 0, last: "no endpoint answers".to_owned() });
    };
    let mut members: Vec<_> = status.members.iter().filter(|member| member.voter).collect();
    members.sort_by_key(|member| status.leader_id != Some(member.id));
    let preferred = match leader {
        Some(leader) if !spread => {
            endpoints.swap(0, leader);
            1
        }
        _ => endpoints.len(),
    };
    Ok(Found {
        targets: Targets { endpoints, preferred },
        engine: status.engine.clone(),
        addresses: members.into_iter().map(|member| member.address.clone()).collect(),
        leader: leader.map(|leader| given[leader].clone()),
    })
}

impl Targets {
    /// Where connection `number` leads to after the endpoints were moved on so often: first to the preferred ones, then to
    /// each in turn.
    pub(super) fn endpoint(&self, number: usize, turn: usize) -> &str {
        &self.endpoints[(number % self.preferred + turn) % self.endpoints.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(preferred: usize) -> Targets {
        Targets { endpoints: ["a", "b", "c"].map(str::to_owned).to_vec(), preferred }
    }

    #[test]
    fn connections_to_a_leader_lead_there_first_and_then_to_everybody() {
        let targets = targets(1);
        assert_eq!([0, 1, 2, 3].map(|turn| targets.endpoint(7, turn)), ["a", "b", "c", "a"]);
    }

    #[test]
    fn connections_without_a_leader_are_spread() {
        let targets = targets(3);
        assert_eq!([0, 1, 2, 3].map(|number| targets.endpoint(number, 0)), ["a", "b", "c", "a"]);
    }
}
