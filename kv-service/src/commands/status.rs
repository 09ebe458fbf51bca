//! `kv-service status`: how every endpoint's node stands, side by side.

use futures_util::future::join_all;
use kv_client::ClientError;
use kv_client::protocol::{RoleReply, StatusReply};
use serde_json::{Value, json};

use super::client::{Connection, client_of};
use super::output;
use crate::error::ServiceError;

/// Asks every endpoint and prints what each says. Fails if none answers.
pub(super) async fn run(connection: &Connection) -> Result<(), ServiceError> {
    let clients = connection.endpoints.iter().map(|endpoint| client_of(std::slice::from_ref(endpoint)));
    let clients = clients.collect::<Result<Vec<_>, _>>()?;
    let answers = join_all(clients.iter().map(|client| client.status(connection.timeout()))).await;
    if connection.json {
        let objects: Vec<Value> =
            connection.endpoints.iter().zip(&answers).map(|(at, answer)| object(at, answer)).collect();
        output::line(&json!({ "nodes": objects }).to_string())?;
    } else if answers.iter().any(Result::is_ok) {
        output::write(table(&connection.endpoints, &answers).as_bytes())?;
    }
    if answers.iter().any(Result::is_ok) {
        return Ok(());
    }
    Err(answers.into_iter().find_map(Result::err).map_or(ServiceError::ClusterGone, ServiceError::from))
}

fn object(endpoint: &str, answer: &Result<StatusReply, ClientError>) -> Value {
    match answer {
        Ok(status) => json!({ "endpoint": endpoint, "status": status }),
        Err(error) => json!({ "endpoint": endpoint, "error": error.to_string() }),
    }
}

fn table(endpoints: &[String], answers: &[Result<StatusReply, ClientError>]) -> String {
    let mut text = String::new();
    if let Some(status) = answers.iter().flatten().next() {
        text += &format!("{} cluster {} of {} members\n", status.engine, status.cluster_id, status.members.len());
    }
    text += &format!(
        "{:<22} {:>5} {:<10} {:>6} {:>9} {:>10} {:>10} {:>10} {:>10}\n",
        "endpoint", "node", "role", "leader", "ballot", "committed", "applied", "last", "snapshot"
    );
    for (endpoint, answer) in endpoints.iter().zip(answers) {
        text += &match answer {
            Ok(status) => row(endpoint, status),
            Err(error) => format!("{endpoint:<22} {error}\n"),
        };
    }
    text
}

fn row(endpoint: &str, status: &StatusReply) -> String {
    let role = match status.role {
        RoleReply::Leader => "leader",
        RoleReply::Follower => "follower",
        RoleReply::Candidate => "candidate",
        RoleReply::Learner => "learner",
    };
    let leader = status.leader_id.map_or_else(|| "-".to_owned(), |node| node.to_string());
    format!(
        "{endpoint:<22} {:>5} {role:<10} {leader:>6} {:>9} {:>10} {:>10} {:>10} {:>10}\n",
        status.node_id,
        format!("{}.{}", status.ballot.round, status.ballot.node),
        status.commit_index,
        status.applied_index,
        status.last_index,
        status.snapshot_index,
    )
}
