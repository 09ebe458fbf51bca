//! The commands that talk to a running cluster: put, get, append, delete, scan, status, members.
//!
//! Results are for people, or with `--json` one JSON object in the shape of the HTTP API. Keys and values are bytes:
//! `get` prints them as they are.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use kv_client::protocol::{Consistency, PutReply, ScanReply, StatusReply};
use kv_client::{Base64, ClientError, Expect, HttpClient, ReadOptions, ScanRequest, WriteOptions};
use serde::Serialize;
use serde_json::json;

use super::output::{self, readable};
use super::status;
use crate::error::ServiceError;

/// Where the cluster is, and how results are printed
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// HTTP addresses of the nodes
    #[arg(
        long,
        env = "QUORATE_ENDPOINTS",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:8001"
    )]
    pub endpoints: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    // Longer than a node's own timeout, so that the node's more precise answer comes first.
    /// How long to wait for an answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub timeout_ms: u64,
}

/// What can be asked of a cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Set a key's value
    Put(Write),
    /// Append to a key's value
    Append(Write),
    /// Print a key's value
    Get {
        /// The key
        key: OsString,
        /// How fresh the value must be
        #[arg(long, default_value = "linearizable", value_parser = ["linearizable", "stale"])]
        consistency: String,
        /// Where the cluster is.
        #[command(flatten)]
        connection: Connection,
    },
    /// Remove a key
    Delete {
        /// The key
        key: OsString,
        /// Only if the key has this version
        #[arg(long, value_name = "VERSION")]
        expect_version: Option<u64>,
        /// Where the cluster is.
        #[command(flatten)]
        connection: Connection,
    },
    /// List keys and values
    Scan {
        /// What the keys begin with; without it, all keys
        prefix: Option<OsString>,
        /// List no more than this
        #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
        /// Where the cluster is.
        #[command(flatten)]
        connection: Connection,
    },
    /// Show how every endpoint's node stands
    Status {
        /// Where the cluster is.
        #[command(flatten)]
        connection: Connection,
    },
    /// List the members of the cluster
    Members {
        /// Where the cluster is.
        #[command(flatten)]
        connection: Connection,
    },
}

/// A key and what is written there.
#[derive(Args, Clone, Debug)]
pub struct Write {
    /// The key
    key: OsString,
    /// The value; '-' reads it from standard input
    #[arg(allow_hyphen_values = true)]
    value: OsString,
    /// Only if the key has this version; 0: only if it does not exist
    #[arg(long, value_name = "VERSION")]
    expect_version: Option<u64>,
    #[command(flatten)]
    connection: Connection,
}

impl Connection {
    pub(super) fn client(&self) -> Result<HttpClient, ServiceError> {
        client_of(&self.endpoints)
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    fn write(&self, expect_version: Option<u64>) -> WriteOptions {
        WriteOptions { expect: expect_version.map_or(Expect::Any, Expect::Version), timeout: self.timeout() }
    }

    fn read(&self, consistency: Consistency) -> ReadOptions {
        ReadOptions { consistency, timeout: self.timeout() }
    }

    /// Prints `value` as JSON if that is asked for, and otherwise `text`.
    pub(super) fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), ServiceError> {
        if !self.json {
            return output::line(&text());
        }
        let line = serde_json::to_string(value).map_err(io::Error::from);
        output::line(&line.map_err(ServiceError::io("cannot write the result as JSON"))?)
    }
}

/// A client of these endpoints; one that is none is a wrong usage.
pub(super) fn client_of(endpoints: &[String]) -> Result<HttpClient, ServiceError> {
    HttpClient::new(endpoints).map_err(|error| match error {
        ClientError::Endpoint { .. } => ServiceError::Usage(error.to_string()),
        other => other.into(),
    })
}

/// Asks the cluster and prints what it says.
pub async fn run(command: ClientCommand) -> Result<(), ServiceError> {
    match command {
        ClientCommand::Put(write) => put(write).await,
        ClientCommand::Append(write) => append(write).await,
        ClientCommand::Get { key, consistency, connection } => get(key, &consistency, &connection).await,
        ClientCommand::Delete { key, expect_version, connection } => delete(key, expect_version, &connection).await,
        ClientCommand::Scan { prefix, limit, connection } => scan(prefix, limit, &connection).await,
        ClientCommand::Status { connection } => status::run(&connection).await,
        ClientCommand::Members { connection } => members(&connection).await,
    }
}

async fn put(write: Write) -> Result<(), ServiceError> {
    let Write { key, value, expect_version, connection } = write;
    let (key, value) = (key_of(key)?, value_of(value)?);
    let reply = connection.client()?.put(&key, value, connection.write(expect_version)).await?;
    print_written(&connection, reply)
}

async fn append(write: Write) -> Result<(), ServiceError> {
    let Write { key, value, expect_version, connection } = write;
    let (key, suffix) = (key_of(key)?, value_of(value)?);
    let reply = connection.client()?.append(&key, suffix, connection.write(expect_version)).await?;
    print_written(&connection, reply)
}

fn print_written(connection: &Connection, reply: PutReply) -> Result<(), ServiceError> {
    connection.print(&reply, || format!("version {}, revision {}", reply.version, reply.revision))
}

async fn get(key: OsString, consistency: &str, connection: &Connection) -> Result<(), ServiceError> {
    let key = key_of(key)?;
    let consistency = if consistency == "stale" { Consistency::Stale } else { Consistency::Linearizable };
    let found = connection.client()?.get(&key, connection.read(consistency)).await?;
    let found = found.ok_or_else(|| ServiceError::KeyNotFound { key: readable(&key) })?;
    if connection.json {
        let value = json!({
            "key": Base64(key),
            "value": Base64(found.value),
            "version": found.version,
            "mod_revision": found.mod_revision,
            "revision": found.revision,
        });
        return output::line(&value.to_string());
    }
    output::write(&found.value)?;
    // A prompt should not stand behind the value; a file or pipe gets the value alone.
    if io::stdout().is_terminal() { output::write(b"\n") } else { Ok(()) }
}

async fn delete(key: OsString, expect_version: Option<u64>, connection: &Connection) -> Result<(), ServiceError> {
    let key = key_of(key)?;
    let reply = connection.client()?.delete(&key, connection.write(expect_version)).await?;
    if reply.deleted || connection.json {
        connection.print(&reply, || format!("deleted, revision {}", reply.revision))?;
    }
    if reply.deleted { Ok(()) } else { Err(ServiceError::KeyNotFound { key: readable(&key) }) }
}

/// Reads page after page until the limit; each page is of one moment, the whole need not be.
async fn scan(prefix: Option<OsString>, limit: u32, connection: &Connection) -> Result<(), ServiceError> {
    let prefix = prefix.map(|prefix| Bytes::from(prefix.into_vec()));
    let client = connection.client()?;
    let mut request = ScanRequest { prefix, limit: Some(limit), ..ScanRequest::default() };
    let mut all = ScanReply { items: Vec::new(), more: true, revision: 0 };
    while all.more && all.items.len() < limit as usize {
        // The cast is exact: fewer than the limit are there.
        request.limit = Some(limit - all.items.len() as u32);
        let page = client.scan(&request, connection.read(Consistency::Linearizable)).await?;
        let Some(last) = page.items.last() else {
            all = ScanReply { more: false, revision: page.revision, ..all };
            break;
        };
        // The least key behind the last one.
        request.start = Some([&last.key.0[..], &[0]].concat().into());
        all.items.extend(page.items);
        all = ScanReply { more: page.more, revision: page.revision, ..all };
    }
    if connection.json {
        return connection.print(&all, String::new);
    }
    for item in &all.items {
        output::line(&format!("{}\t{}", readable(&item.key.0), readable(&item.value.0)))?;
    }
    if all.more {
        eprintln!("kv-service: there are more keys; raise --limit, or name a longer prefix");
    }
    Ok(())
}

async fn members(connection: &Connection) -> Result<(), ServiceError> {
    let StatusReply { members, leader_id, .. } = connection.client()?.status(connection.timeout()).await?;
    connection.print(&json!({ "members": members }), || {
        let line = |member: &kv_client::protocol::MemberReply| {
            let part = if member.voter { "voter" } else { "learner" };
            let leads = if leader_id == Some(member.id) { "  leads" } else { "" };
            format!("node {}  {}  {part}{leads}", member.id, member.address)
        };
        members.iter().map(line).collect::<Vec<_>>().join("\n")
    })
}

fn key_of(key: OsString) -> Result<Bytes, ServiceError> {
    if key.is_empty() {
        return Err(ServiceError::Usage("the key is empty; name a key of at least one byte".to_owned()));
    }
    Ok(key.into_vec().into())
}

fn value_of(value: OsString) -> Result<Bytes, ServiceError> {
    if value != "-" {
        return Ok(value.into_vec().into());
    }
    // A node refuses more than this, whatever it is configured for.
    const STDIN_BYTES_MAX: u64 = 64 << 20;
    let mut bytes = Vec::new();
    let outcome = io::stdin().lock().take(STDIN_BYTES_MAX).read_to_end(&mut bytes);
    outcome.map_err(ServiceError::io("cannot read the value from standard input"))?;
    Ok(bytes.into())
}
