//! The accepting side: takes connections, finds out who has dialed, and reads what they send.
//!
//! ```text
//!   handshake ─┬─ ALPN of peers ───▶ hello ──▶ lanes ──▶ inbox
//!              └─ ALPN of clients ─▶ certificate ──▶ ClientConnections, for the service
//! ```

use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{Incoming as Arrived, NodeId};
use quinn::{Connection, Incoming, RecvStream};
use rustls_pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::clients;
use crate::context::SharedContext;
use crate::endpoint;
use crate::frame::{FrameError, FrameReader};
use crate::hello::{self, Hello, HelloRefused};
use crate::link::{CLOSE_BAD_FRAME, CLOSE_DONE, Link, LinkError, close_refused, refusal_of};
use crate::locks::write;
use crate::name::{CertificateName, CertificateRole};
use crate::refusals::{Refusal, RefusalCause};

/// The most connections at once, including those whose other end has not said yet who it is. A client's does not count
/// once that is known.
const CONNECTIONS_MAX: usize = 256;
/// The most packets' worth of a stream that are taken in at once.
const CHUNKS: usize = 64;

/// Accepts until the endpoint is closed. Dropping the future ends every connection that it has accepted.
pub(crate) async fn accept(context: SharedContext) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            incoming = context.endpoint.accept() => match incoming {
                Some(incoming) if connections.len() < CONNECTIONS_MAX => {
                    connections.spawn(serve(context.clone(), incoming));
                }
                Some(incoming) => incoming.refuse(),
                None => return,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(context: SharedContext, incoming: Incoming) {
    let limit = context.timing.handshake_timeout;
    let from = incoming.remote_address();
    let connection = match timeout(limit, async { Ok::<_, LinkError>(incoming.accept()?.await?) }).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return refuse(&context, None, &error),
        Err(_) => return debug!(%from, "no handshake in time"),
    };
    if !clients::is_client(&connection) {
        endpoint::grant_peer(&connection, &context.limits);
        return serve_peer(&context, connection).await;
    }
    if let Err(reason) = context.clients.take_in(&context, &connection, certificate_of(&connection)) {
        debug!(%from, %reason, "client not accepted");
    }
}

async fn serve_peer(context: &SharedContext, connection: Connection) {
    let limit = context.timing.handshake_timeout;
    let mut claimed = None;
    let welcomed = timeout(limit, welcome(context, &connection, &mut claimed)).await;
    match welcomed.map_err(|_| LinkError::TimedOut).flatten() {
        Ok(link) => {
            let _metered = context.counters.meter(&connection);
            read_lanes(context, &link).await;
            write(&context.roster).depart(context, &link);
            // The dialing side of this refusal may be the only one of us that is ever connected: note it here, too.
            if let Some(refusal) = connection.close_reason().as_ref().and_then(refusal_of) {
                context.refusals.note(Some(link.hello.node), &refusal);
            }
        }
        Err(error) => {
            if let LinkError::Refused(reason) = &error {
                close_refused(&connection, reason);
            }
            refuse(context, claimed, &error);
        }
    }
}

fn refuse(context: &SharedContext, peer: Option<NodeId>, error: &LinkError) {
    debug!(peer = peer.map(|node| node.0), %error, "connection not accepted");
    if let Some(refusal) = error.refusal() {
        context.refusals.note(peer, &refusal);
    }
}

/// Exchanges hellos and takes the peer in. `certified` becomes the node that the certificate names, as soon as that
/// is known.
async fn welcome(
    context: &SharedContext,
    connection: &Connection,
    certified: &mut Option<NodeId>,
) -> Result<Link, LinkError> {
    let certificate = certificate_of(connection);
    if let Ok(CertificateRole::Node(node)) = certificate.as_ref().map(CertificateName::role) {
        *certified = Some(*node);
    }
    let (hello, stream) = hello::hear(connection).await?;
    check_certificate(context, &certificate, &hello)?;
    let link = Link { connection: connection.clone(), hello };
    context.admit(&link)?;
    if let Err(error) = hello::answer(connection, stream, &context.hello()).await {
        write(&context.roster).depart(context, &link);
        return Err(error);
    }
    Ok(link)
}

fn check_certificate(
    context: &SharedContext,
    certificate: &Result<CertificateName, String>,
    hello: &Hello,
) -> Result<(), HelloRefused> {
    let says = match certificate {
        Ok(name) if name.cluster() == context.cluster_name && *name.role() == CertificateRole::Node(hello.node) => {
            return Ok(());
        }
        Ok(name) => name.to_string(),
        Err(reason) => reason.clone(),
    };
    Err(HelloRefused::NotTheCertificates { claimed: hello.node, certificate: says })
}

/// Whom the certificate names that TLS has verified.
fn certificate_of(connection: &Connection) -> Result<CertificateName, String> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or("there is none")?;
    CertificateName::of_certificate(chain.first().ok_or("it is empty")?)
}

/// Reads every stream of the peer until the connection ends.
async fn read_lanes(context: &SharedContext, link: &Link) {
    let mut readers = JoinSet::new();
    let failed = loop {
        tokio::select! {
            stream = link.connection.accept_uni() => match stream {
                Ok(stream) => {
                    readers.spawn(read_lane(Arc::clone(context), link.hello.node, stream));
                }
                Err(_) => break None,
            },
            Some(read) = readers.join_next() => match read {
                Ok(Ok(())) => {}
                Ok(Err(error)) => break Some(error),
                Err(_) => break None,
            },
        }
    };
    match failed {
        Some(error) => {
            let refusal = Refusal { by_peer: false, cause: RefusalCause::Frame(error.to_string()) };
            context.refusals.note(Some(link.hello.node), &refusal);
            link.connection.close(CLOSE_BAD_FRAME, error.to_string().as_bytes());
        }
        None => link.connection.close(CLOSE_DONE, b"no longer of use"),
    }
}

/// Reads one stream to its end. A connection that breaks is no error here: that is seen by whoever holds it.
async fn read_lane(context: SharedContext, from: NodeId, mut stream: RecvStream) -> Result<(), FrameError> {
    let mut frames = FrameReader::new(context.limits.frame_bytes_max);
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    let mut batch = Vec::new();
    while let Ok(read) = stream.read_chunks(&mut chunks).await {
        let Some(count) = read else { return frames.finish() };
        for chunk in &mut chunks[..count] {
            frames.push(&std::mem::take(chunk));
        }
        let scope = context.scope();
        while let Some((lane, payload)) = frames.next(scope.as_ref())? {
            batch.push(Arrived { from, lane, payload });
        }
        if let Some(first) = batch.first() {
            let lane = first.lane;
            context.counters.received(lane, batch.iter().map(|message| message.payload.len()));
            context.inbox.deliver(lane, &mut batch).await;
        }
    }
    Ok(())
}
