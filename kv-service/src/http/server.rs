//! Accepts connections, as many as are allowed, and serves HTTP/1.1 on them until it is told to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::error::ServiceError;

/// The most connections at a time; further ones wait in the listener's queue.
pub const CONNECTIONS_MAX: usize = 4096;
/// How long a connection may take over a request's head, or wait for its next request.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// The longest head of a request: three keys of the greatest length, percent-encoded, and room for headers. A longer one is
/// answered with 431, or where it is the path that is long, with 414.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long requests may take to finish once the server stops.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be accepted, as when the process has no file descriptor left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// A bound port.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl HttpServer {
    /// Binds the port, so that one that is taken is found out before the node does anything.
    pub async fn bind(address: SocketAddr) -> Result<HttpServer, ServiceError> {
        let fail = |source| ServiceError::HttpListen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(|source| ServiceError::HttpListen { address, source })?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "HTTP is neither encrypted nor authenticated, and other machines can reach it");
        }
        Ok(HttpServer { listener, address })
    }

    /// Where it listens; of interest where port 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes. Then takes no new connection, lets the requests that are under way finish within
    /// [`STOP_GRACE`], and returns. The port stays bound: it can serve something else afterwards.
    pub async fn serve(&self, router: Router, stop: impl Future<Output = ()>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (stopping, stopped) = watch::channel(());
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                (stream, slot) = accept(&self.listener, &slots) => {
                    tokio::spawn(converse(stream, slot, router.clone(), stopped.clone()));
                }
            }
        }
        stopping.send_replace(());
        // The cast is exact. All slots are back when all connections have ended.
        let all = slots.acquire_many(CONNECTIONS_MAX as u32);
        if tokio::time::timeout(STOP_GRACE, all).await.is_err() {
            tracing::warn!("connections cut with requests under way");
        }
    }
}

/// The next connection, once there is a slot for it.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        // The semaphore is never closed, so that an error cannot come; it would only mean to try again.
        let Ok(slot) = slots.clone().acquire_owned().await else { continue };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Serves one connection.
async fn converse(stream: TcpStream, slot: OwnedSemaphorePermit, router: Router, mut stopped: watch::Receiver<()>) {
    // Small answers must not wait for more to come. Where it fails, the connection is gone anyway.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(IDLE_MAX).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // A server that was dropped has stopped too.
    let ended = tokio::select! {
        outcome = connection.as_mut() => Some(outcome),
        _ = stopped.changed() => None,
    };
    let outcome = match ended {
        Some(outcome) => outcome,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
    drop(slot);
}
