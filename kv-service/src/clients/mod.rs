//! The server of the client protocol ([`kv_client::wire`]), which Clerks speak.
//!
//! ```text
//!   transport ─▶ connection ─┬─ stream 1: hello, then requests ─▶ backlog ─▶ batches ─▶ Service::submit
//!                            │                                        └────▶ reads ──▶ Service::freshen, tables
//!                            └─ further streams: watch ─▶ Watcher
//! ```
//!
//! One task serves a connection's requests. It takes in whatever has arrived, makes one entry of the log of all writes
//! that wait, asks once for all reads that wait, and writes all answers that are there: so batches grow with the load,
//! and a request that is alone waits for nobody.

mod answers;
mod backlog;
mod connection;
mod convert;
mod hello;
mod range;
#[cfg(test)]
mod tests;
mod watch;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use consensus_api::{Event, Tables};
use futures_util::StreamExt;
use kv_client::wire::{Leader, close};
use tokio::sync::watch as seen;
use tokio::task::JoinSet;
use transport_quic::ClientConnections;

use crate::service::Service;

/// How long requests may take to finish once the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What every connection is given.
pub(crate) struct Shared<T: Tables> {
    service: Arc<Service<T>>,
    leader: seen::Receiver<Leader>,
    stopping: seen::Receiver<bool>,
}

impl<T: Tables> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared { service: self.service.clone(), leader: self.leader.clone(), stopping: self.stopping.clone() }
    }
}

/// Serves the clients that connect until `stop` completes. Then takes nothing more in, lets the requests that are under
/// way finish within [`STOP_GRACE`], and returns.
pub async fn serve<T: Tables>(
    service: Arc<Service<T>>,
    mut connections: ClientConnections,
    stop: impl Future<Output = ()>,
) {
    let mut events = service.log.events();
    let (leader, leaders) = seen::channel(hello::leader(&service));
    let (stopping, stopped) = seen::channel(false);
    let shared = Shared { service, leader: leaders, stopping: stopped };
    let mut conversations = JoinSet::new();
    let mut stop = pin!(stop);
    let mut eventful = true;
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(connection) = connections.next() => {
                conversations.spawn(connection::serve(shared.clone(), connection));
            }
            Some(_) = conversations.join_next() => {}
            event = events.next(), if eventful => match event {
                Some(Event::Role(_)) => {
                    let now = hello::leader(&shared.service);
                    leader.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
                }
                Some(_) => {}
                None => eventful = false,
            },
            else => break,
        }
    }
    stopping.send_replace(true);
    let finished = async { while conversations.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, finished).await.is_err() {
        tracing::warn!(code = close::STOPPING, "clients cut off with requests under way");
    }
}
