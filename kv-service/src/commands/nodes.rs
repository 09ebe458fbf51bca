//! The commands about nodes: status, log, ping, and what an operator asks of the leader.
//!
//! Status, log and ping ask every endpoint for itself, side by side, and show those that do not answer beside those that do.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::join_all;
use hyper::Method;
use kv_client::ClientError;
use kv_client::protocol::{RoleReply, StatusReply};
use serde_json::{Value, json};

use super::desk::{Desk, client_of};
use super::output;
use super::table::{Cell, Table, Tone};
use crate::error::ServiceError;

/// Which node.
#[derive(Args, Clone, Debug)]
pub struct NodeArgs {
    /// The node's id; without it, the node or the cluster chooses
    pub node: Option<u64>,
}

/// What an endpoint said.
struct Answer<'a> {
    endpoint: &'a str,
    status: Result<StatusReply, ClientError>,
    took: Duration,
}

/// Shows how every endpoint's node stands. Fails if none answers.
pub async fn status(desk: &Desk) -> Result<(), ServiceError> {
    let answers = ask_all(desk).await?;
    show(desk, answers, |answers| {
        let mut table = Table::new([
            "endpoint",
            ">node",
            "role",
            ">leader",
            ">ballot",
            ">committed",
            ">applied",
            ">last",
            ">snapshot",
        ]);
        fill(&mut table, answers, |status| {
            vec![
                status.node_id.into(),
                Cell::toned(role(status.role), tone(status.role)),
                status.leader_id.map_or_else(|| "-".into(), Cell::from),
                format!("{}.{}", status.ballot.round, status.ballot.node).into(),
                status.commit_index.into(),
                status.applied_index.into(),
                status.last_index.into(),
                status.snapshot_index.into(),
            ]
        });
        let first = answers.iter().find_map(|answer| answer.status.as_ref().ok());
        let head = first.map_or_else(String::new, |status| {
            format!("{} cluster {} of {} members\n", status.engine, status.cluster_id, status.members.len())
        });
        head + &table.render(output::coloured())
    })
}

/// Shows what the log looks like at every endpoint's node. Fails if none answers.
pub async fn log(desk: &Desk) -> Result<(), ServiceError> {
    let answers = ask_all(desk).await?;
    show(desk, answers, |answers| {
        let newest = answers.iter().filter_map(|answer| answer.status.as_ref().ok()).map(|status| status.last_index);
        let newest = newest.max().unwrap_or_default();
        let mut table =
            Table::new(["endpoint", ">node", ">snapshot", ">applied", ">committed", ">last", ">open", ">behind"]);
        fill(&mut table, answers, |status| {
            let behind = newest - status.last_index;
            vec![
                status.node_id.into(),
                status.snapshot_index.into(),
                status.applied_index.into(),
                status.commit_index.into(),
                status.last_index.into(),
                status.last_index.saturating_sub(status.commit_index).into(),
                Cell::toned(behind, if behind == 0 { Tone::Plain } else { Tone::Bad }),
            ]
        });
        table.render(output::coloured())
    })
}

/// Shows how long each endpoint takes to answer. Fails if none does.
pub async fn ping(desk: &Desk) -> Result<(), ServiceError> {
    let answers = ask_all(desk).await?;
    show(desk, answers, |answers| {
        let mut table = Table::new(["endpoint", ">node", "role", ">round trip"]);
        for Answer { endpoint, status, took } in answers {
            match status {
                Ok(status) => table.row([
                    (*endpoint).into(),
                    status.node_id.into(),
                    Cell::toned(role(status.role), tone(status.role)),
                    format!("{:.2} ms", took.as_secs_f64() * 1e3).into(),
                ]),
                Err(error) => table.row([(*endpoint).into(), Cell::toned(error, Tone::Bad)]),
            }
        }
        table.render(output::coloured())
    })
}

/// Has a node start an election.
pub async fn prepare(arguments: NodeArgs, desk: &Desk) -> Result<(), ServiceError> {
    let client = match arguments.node {
        None => desk.client.clone(),
        Some(node) => {
            let answers = ask_all(desk).await?;
            let found = answers.iter().find(|answer| answer.status.as_ref().is_ok_and(|status| status.node_id == node));
            let answer = found.ok_or(ServiceError::NoSuchEndpoint { node })?;
            client_of(&[answer.endpoint])?
        }
    };
    let reply: Value = client.call(Method::POST, "/v1/leader/campaign", None::<&()>, desk.timeout).await?;
    desk.print(&reply, || "the election has begun; 'status' shows who leads".to_owned())
}

/// Hands leadership over: to this node, or to the one that is furthest.
pub async fn transfer(arguments: NodeArgs, desk: &Desk) -> Result<(), ServiceError> {
    let reply = desk.client.transfer(arguments.node, desk.timeout).await?;
    desk.print(&reply, || match reply.leader_id {
        Some(leader) => format!("node {leader} leads"),
        None => "leadership is handed over; 'status' shows who leads".to_owned(),
    })
}

/// Asks every endpoint for itself, over a connection that is there already.
async fn ask_all(desk: &Desk) -> Result<Vec<Answer<'_>>, ServiceError> {
    let clients = desk.endpoints.iter().map(|endpoint| client_of(&[endpoint])).collect::<Result<Vec<_>, _>>()?;
    let ask = async |endpoint, client: &kv_client::HttpClient| {
        let mut status = client.status(desk.timeout).await;
        // The first one paid for the connection.
        let asked = Instant::now();
        if status.is_ok() {
            status = client.status(desk.timeout).await;
        }
        Answer { endpoint, status, took: asked.elapsed() }
    };
    let asked = desk.endpoints.iter().zip(&clients).map(|(endpoint, client)| ask(endpoint.as_str(), client));
    Ok(join_all(asked).await)
}

/// Prints the answers, if there is any; otherwise the first error is the outcome.
fn show(
    desk: &Desk,
    answers: Vec<Answer<'_>>,
    table: impl FnOnce(&[Answer<'_>]) -> String,
) -> Result<(), ServiceError> {
    let answered = answers.iter().any(|answer| answer.status.is_ok());
    if desk.json {
        let nodes: Vec<Value> = answers.iter().map(object).collect();
        output::line(&json!({ "nodes": nodes }).to_string())?;
    } else if answered {
        output::write(table(&answers).as_bytes())?;
    }
    if answered {
        return Ok(());
    }
    let error = answers.into_iter().find_map(|answer| answer.status.err());
    Err(error.map_or(ServiceError::ClusterGone, ServiceError::from))
}

fn object(answer: &Answer<'_>) -> Value {
    let endpoint = answer.endpoint;
    let round_trip_us = u64::try_from(answer.took.as_micros()).unwrap_or(u64::MAX);
    match &answer.status {
        Ok(status) => json!({ "endpoint": endpoint, "status": status, "round_trip_us": round_trip_us }),
        Err(error) => json!({ "endpoint": endpoint, "error": error.to_string() }),
    }
}

fn fill(table: &mut Table, answers: &[Answer<'_>], cells: impl Fn(&StatusReply) -> Vec<Cell>) {
    for Answer { endpoint, status, .. } in answers {
        let mut row = vec![Cell::from(endpoint)];
        match status {
            Ok(status) => row.extend(cells(status)),
            Err(error) => row.push(Cell::toned(error, Tone::Bad)),
        }
        table.row(row);
    }
}

/// What a role is called.
pub fn role(role: RoleReply) -> &'static str {
    match role {
        RoleReply::Leader => "leader",
        RoleReply::Follower => "follower",
        RoleReply::Candidate => "candidate",
        RoleReply::Learner => "learner",
    }
}

fn tone(role: RoleReply) -> Tone {
    match role {
        RoleReply::Leader => Tone::Good,
        RoleReply::Candidate => Tone::Bad,
        RoleReply::Follower | RoleReply::Learner => Tone::Plain,
    }
}
