//! The commands that talk to a running cluster, as the command line has them.
//!
//! Results are for people, or with `--json` one JSON object, or for what goes on one on each line.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::desk::Desk;
use super::keys::{self, CasArgs, DeleteArgs, GetArgs, ScanArgs, WriteArgs};
use super::lock::{self, LockArgs};
use super::members::{self, MembersArgs};
use super::nodes::{self, NodeArgs};
use super::session::{self, Life, SessionCommand, session_id};
use super::watch::{self, WatchArgs};
use crate::error::ServiceError;
use crate::stop;

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

impl Connection {
    /// What a command works with.
    pub fn desk(self) -> Result<Desk, ServiceError> {
        Desk::new(self.endpoints, Duration::from_millis(self.timeout_ms), self.json)
    }
}

/// What a command needs, and where the cluster is.
#[derive(Args, Clone, Debug)]
pub struct At<A: Args> {
    #[command(flatten)]
    arguments: A,
    #[command(flatten)]
    connection: Connection,
}

/// Nothing besides where the cluster is.
#[derive(Args, Clone, Copy, Debug)]
pub struct Nothing {}

/// In which session a write is
#[derive(Args, Clone, Debug)]
pub struct InSession {
    /// Write in this session, as 'session open' prints it; then the write is sent again where its answer is lost
    #[arg(long, value_name = "ID", value_parser = session_id)]
    session: Option<String>,
}

impl InSession {
    fn seat(&self, desk: Desk) -> Desk {
        match &self.session {
            Some(id) => desk.in_session(id),
            None => desk,
        }
    }
}

/// A write, and in which session it is.
#[derive(Args, Clone, Debug)]
pub struct InSessionArgs<A: Args> {
    #[command(flatten)]
    arguments: A,
    #[command(flatten)]
    place: InSession,
}

/// A put, and how long it lasts.
#[derive(Args, Clone, Debug)]
pub struct PutArgs {
    #[command(flatten)]
    write: WriteArgs,
    /// Let the key vanish with the session; without --session, stay until Ctrl-C and let it vanish then
    #[arg(long)]
    ephemeral: bool,
    #[command(flatten)]
    life: Life,
    #[command(flatten)]
    place: InSession,
}

/// What can be asked of a cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum ClientCommand {
    /// Set a key's value
    Put(At<PutArgs>),
    /// Append to a key's value
    Append(At<InSessionArgs<WriteArgs>>),
    /// Print a key's value
    Get(At<GetArgs>),
    /// Remove a key
    Delete(At<InSessionArgs<DeleteArgs>>),
    /// Set a key's value if it has another one that you give
    Cas(At<InSessionArgs<CasArgs>>),
    /// List keys and values
    Scan(At<ScanArgs>),
    /// Print every change as it happens, until Ctrl-C
    Watch(At<WatchArgs>),
    /// Run a command while nobody else holds the lock: lock NAME -- COMMAND
    Lock(At<LockArgs>),
    /// Open a session, keep it alive, end it
    #[command(subcommand, arg_required_else_help = false)]
    Session(SessionCommand),
    /// Show how every endpoint's node stands
    Status(At<Nothing>),
    /// List the members of the cluster; add, promote, demote, remove, replace one
    Members(MembersArgs<Connection>),
    /// Hand leadership over
    Transfer(At<NodeArgs>),
}

/// Asks the cluster and prints what it says. The status is that of a command that was run, if one was.
pub async fn run(command: ClientCommand) -> Result<ExitCode, ServiceError> {
    match command {
        ClientCommand::Put(At { arguments, connection }) => put(arguments, connection.desk()?).await,
        ClientCommand::Append(At { arguments, connection }) => {
            keys::append(arguments.arguments, &arguments.place.seat(connection.desk()?)).await
        }
        ClientCommand::Get(At { arguments, connection }) => keys::get(arguments, &connection.desk()?).await,
        ClientCommand::Delete(At { arguments, connection }) => {
            keys::delete(arguments.arguments, &arguments.place.seat(connection.desk()?)).await
        }
        ClientCommand::Cas(At { arguments, connection }) => {
            keys::cas(arguments.arguments, &arguments.place.seat(connection.desk()?)).await
        }
        ClientCommand::Scan(At { arguments, connection }) => keys::scan(arguments, &connection.desk()?).await,
        ClientCommand::Watch(At { arguments, connection }) => {
            let desk = connection.desk()?;
            tokio::select! {
                outcome = watch::watch(arguments, &desk) => outcome,
                stopped = stop::requested() => stopped.map(drop),
            }
        }
        ClientCommand::Lock(At { arguments, connection }) => return lock::run(arguments, &connection.desk()?).await,
        ClientCommand::Session(command) => session::run(command).await,
        ClientCommand::Status(At { connection, .. }) => nodes::status(&connection.desk()?).await,
        ClientCommand::Members(arguments) => {
            let (wish, connection) = arguments.split()?;
            members::run(wish, &connection.desk()?).await
        }
        ClientCommand::Transfer(At { arguments, connection }) => nodes::transfer(arguments, &connection.desk()?).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn put(arguments: PutArgs, desk: Desk) -> Result<(), ServiceError> {
    let PutArgs { write, ephemeral, life, place } = arguments;
    match (ephemeral, &place.session) {
        (false, _) => keys::put(write, &place.seat(desk)).await,
        (true, Some(_)) => keys::put_ephemeral(write, &place.seat(desk)).await,
        (true, None) => session::put_and_stay(write, life, desk).await,
    }
}
