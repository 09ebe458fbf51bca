//! Orders to a running relay: one JSON object a line over TCP on loopback, and one for each in answer.
//!
//! ```text
//!   {"do":"change","links":["1:2"],"change":{"delay_us":250,"loss":"5%"}}
//!   {"do":"clear","links":["all"]}                                        ──▶ {"links":[{"link":"1:2",…},…]}
//!   {"do":"show","links":["1:all"]}                                       ──▶ {"error":"there is no link …"}
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::error::RelayError;
use crate::faults::Change;
use crate::links::{LinkReport, Links};
use crate::names::LinkPattern;

/// The longest request.
const REQUEST_BYTES_MAX: u64 = 16 << 10;
/// The longest answer: all links of the largest relay.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Connections at the same time; others wait to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// A connection that says nothing for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long the relay may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Change some faults of these links.
    Change {
        /// Which links.
        links: Vec<LinkPattern>,
        /// What of them.
        change: Change,
    },
    /// Take all faults of these links away.
    Clear {
        /// Which links.
        links: Vec<LinkPattern>,
    },
    /// Only tell how they stand.
    Show {
        /// Which links.
        links: Vec<LinkPattern>,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Done; how the links stand that were named.
    Links(Vec<LinkReport>),
    /// Not done, and why.
    Error(String),
}

/// Serves orders, for ever.
pub(crate) async fn serve(listener: TcpListener, links: Links) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let links = links.clone();
                connections.spawn(async move {
                    if let Err(error) = converse(stream, &links).await {
                        tracing::debug!(%error, "control connection");
                    }
                    drop(place);
                });
            }
            // Out of file descriptors, say: it will not be better at once.
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, links: &Links) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let line = match timeout(IDLE_MAX, read_line(&mut stream, REQUEST_BYTES_MAX)).await {
            Ok(Ok(Some(line))) => line,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                let answer = Answer::Error(format!("{error}; send one JSON object a line"));
                return write_line(stream.get_mut(), &answer).await;
            }
            Ok(Err(error)) => return Err(error),
            Ok(Ok(None)) | Err(_) => return Ok(()),
        };
        write_line(stream.get_mut(), &obey(&line, links)).await?;
    }
}

fn obey(line: &str, links: &Links) -> Answer {
    let request = match serde_json::from_str(line) {
        Ok(request) => request,
        Err(error) => return Answer::Error(format!("no order: {error}; see 'link-relay --help' for what there is")),
    };
    let outcome = match request {
        Request::Change { links: chosen, change } => links.change(&chosen, &change),
        Request::Clear { links: chosen } => links.clear(&chosen),
        Request::Show { links: chosen } => links.show(&chosen),
    };
    outcome.map_or_else(|error| Answer::Error(error.to_string()), Answer::Links)
}

/// A line without its end; `None` at the end of the stream.
async fn read_line(stream: &mut (impl AsyncBufRead + Unpin), bytes_max: u64) -> io::Result<Option<String>> {
    let mut line = String::new();
    let count = stream.take(bytes_max).read_line(&mut line).await?;
    match line.pop() {
        None => Ok(None),
        Some('\n') => Ok(Some(line)),
        Some(_) if count as u64 == bytes_max => {
            Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line is longer than {bytes_max} bytes")))
        }
        Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the last line has no end")),
    }
}

async fn write_line(stream: &mut TcpStream, message: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Gives a relay one order and returns how the links stand that it names.
///
/// # Errors
/// [`RelayError::NoRelay`] and [`RelayError::NotARelay`] where none answers; [`RelayError::Refused`] with its reason.
pub async fn order(address: SocketAddr, request: &Request) -> Result<Vec<LinkReport>, RelayError> {
    let exchange = async {
        let mut stream = BufReader::new(TcpStream::connect(address).await?);
        write_line(stream.get_mut(), request).await?;
        read_line(&mut stream, ANSWER_BYTES_MAX).await
    };
    let line = timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| RelayError::NoRelay { address, source })?;
    let not_a_relay = |reason: String| RelayError::NotARelay { address, reason };
    let line = line.ok_or_else(|| not_a_relay("it hangs up".to_owned()))?;
    match serde_json::from_str(&line).map_err(|error| not_a_relay(error.to_string()))? {
        Answer::Links(reports) => Ok(reports),
        Answer::Error(reason) => Err(RelayError::Refused(reason)),
    }
}
