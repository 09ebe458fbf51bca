//! `session open | keep | close`, and `put --ephemeral`, which keeps a session of its own.
//!
//! ```text
//!   id=$(kv-service session open --ttl 30)         a session that lives for 30 s …
//!   kv-service session keep $id --ttl 30 &         … and on, while this runs
//!   kv-service put service/a here --ephemeral --session $id
//!   kv-service session close $id                   the key vanishes
//! ```

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, Subcommand};
use kv_client::HttpSession;
use serde_json::json;

use super::client::Connection;
use super::desk::Desk;
use super::keys::{self, WriteArgs};
use crate::error::ServiceError;
use crate::stop;

/// What can be done with sessions.
#[derive(Clone, Debug, Subcommand)]
pub enum SessionCommand {
    /// Open a session, and print its id
    Open {
        /// How long it lives without a sign.
        #[command(flatten)]
        life: Life,
        /// Where the cluster is.
        #[command(flatten)]
        connection: Connection,
    },
    /// Keep a session alive until Ctrl-C, or give it one sign
    Keep {
        /// Its id
        #[arg(value_parser = session_id)]
        session: String,
        /// Give one sign, and end
        #[arg(long)]
        once: bool,
        /// How long it lives without a sign.
        #[command(flatten)]
        life: Life,
        /// Where the cluster is.
        #[command(flatten)]
        connection: Connection,
    },
    /// End a session: its ephemeral keys vanish
    Close {
        /// Its id
        #[arg(value_parser = session_id)]
        session: String,
        /// Where the cluster is.
        #[command(flatten)]
        connection: Connection,
    },
}

/// How long a session lives
#[derive(Args, Clone, Copy, Debug)]
pub struct Life {
    /// How long the session lives without a sign, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub ttl: u64,
}

impl Life {
    /// The same as a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.ttl)
    }
}

/// Does what is asked for.
pub async fn run(command: SessionCommand) -> Result<(), ServiceError> {
    match command {
        SessionCommand::Open { life, connection } => {
            let desk = connection.desk()?;
            let session = desk.client.open_session(life.duration(), desk.timeout).await?;
            let ttl_ms = u64::try_from(session.ttl().as_millis()).unwrap_or(u64::MAX);
            desk.print(&json!({ "session": session.id(), "ttl_ms": ttl_ms }), || session.id().to_owned())
        }
        SessionCommand::Keep { session, once, life, connection } => {
            let desk = connection.desk()?;
            let session = desk.client.session(&session, life.duration(), 1);
            let ttl = session.keep_alive(desk.timeout).await?;
            if once {
                let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                let text = || format!("lives for {} s from now on", ttl.as_secs());
                return desk.print(&json!({ "session": session.id(), "ttl_ms": ttl_ms }), text);
            }
            until_stopped(&session, "keeping the session alive; Ctrl-C ends that").await
        }
        SessionCommand::Close { session, connection } => {
            let desk = connection.desk()?;
            let reply = desk.client.session(&session, Duration::ZERO, 1).close(desk.timeout).await?;
            desk.print(&reply, || match reply.ended {
                true => format!("ended, revision {}", reply.revision),
                false => "it had ended before".to_owned(),
            })
        }
    }
}

/// Sets a key for as long as this process runs: in a session of its own, which ends with it.
pub async fn put_and_stay(arguments: WriteArgs, life: Life, desk: Desk) -> Result<(), ServiceError> {
    let session = desk.client.open_session(life.duration(), desk.timeout).await?;
    let timeout = desk.timeout;
    let desk = desk.in_session(session.id());
    let outcome = match keys::put_ephemeral(arguments, &desk).await {
        Ok(()) => until_stopped(&session, "the key stays until Ctrl-C").await,
        Err(error) => Err(error),
    };
    // Where this fails, the session ends by itself.
    let _ = session.close(timeout).await;
    outcome
}

async fn until_stopped(session: &HttpSession, note: &str) -> Result<(), ServiceError> {
    if std::io::stderr().is_terminal() {
        eprintln!("{note}");
    }
    tokio::select! {
        stopped = stop::requested() => stopped.map(drop),
        lost = session.keep() => Err(lost.into()),
    }
}

/// An id as `session open` prints it.
pub fn session_id(text: &str) -> Result<String, String> {
    if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a session's id has 32 hexadecimal digits; 'kv-service session open' prints one".to_owned())
    }
}
