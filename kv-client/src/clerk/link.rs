//! A connection to one node: a task that writes frames, and one that reads them.
//!
//! ```text
//!   driver ── frame ──▶ writer, one frame ahead ──▶ stream
//!          ◀─ news ──── reader ◀─────────────────── stream
//! ```
//!
//! The writer takes one frame ahead and no more: what waits while it writes stays with the driver and gathers there into
//! the next frame.

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::ledger::LinkId;
use crate::quic::Dialed;
use crate::wire::{Answered, FrameError, FrameReader, Leader, ToClient, Welcome, close};

/// The most packets' worth of a stream that are taken in at once.
const CHUNKS: usize = 64;

/// What a link has to tell.
#[derive(Debug)]
pub(super) enum News {
    /// Answers have come.
    Replies(Vec<Answered>),
    /// The node follows another leader.
    Leader(Leader),
    /// It is over.
    Lost(String),
}

/// Why another node should be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It answers that it cannot.
    Refuses,
    /// It owes answers and says nothing.
    Silent,
}

/// A connected node. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    /// Where it was dialed.
    pub(super) address: String,
    pub(super) welcome: Welcome,
    pub(super) connection: Connection,
    /// Why another node should be tried.
    pub(super) doubt: Option<Doubt>,
    writer: mpsc::Sender<Bytes>,
    tasks: [AbortHandle; 2],
}

impl Link {
    /// Starts to read and write.
    pub(super) fn start(id: LinkId, address: String, dialed: Dialed, news: mpsc::Sender<(LinkId, News)>) -> Link {
        let Dialed { connection, send, receive, welcome } = dialed;
        let (writer, frames) = mpsc::channel(1);
        let tasks = [
            tokio::spawn(write(send, frames)).abort_handle(),
            tokio::spawn(read(id, connection.clone(), receive, news)).abort_handle(),
        ];
        Link { id, address, welcome, connection, doubt: None, writer, tasks }
    }

    /// Whether the writer would take a frame now; a lost link's news says that it is lost.
    pub(super) fn place(&self) -> Option<mpsc::Permit<'_, Bytes>> {
        self.writer.try_reserve().ok()
    }

    /// For waiting until the writer takes a frame.
    pub(super) fn writer(&self) -> mpsc::Sender<Bytes> {
        self.writer.clone()
    }

    /// The most requests that the node takes at a time.
    pub(super) fn window(&self) -> usize {
        self.welcome.window as usize
    }

    /// Whether the node at the other end leads, as far as it said when we came.
    pub(super) fn leads(&self, leader: &Leader) -> bool {
        leader.node == Some(self.welcome.node)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.connection.close(close::DONE.into(), b"");
    }
}

async fn write(mut stream: SendStream, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(frame) = frames.recv().await {
        // The reader finds out why.
        if stream.write_chunk(frame).await.is_err() {
            return;
        }
    }
}

async fn read(link: LinkId, connection: Connection, mut stream: RecvStream, news: mpsc::Sender<(LinkId, News)>) {
    let reason = match read_all(link, &mut stream, &news).await {
        // The connection's own end says more than the stream's.
        Ok(()) => match tokio::time::timeout(std::time::Duration::from_millis(100), connection.closed()).await {
            Ok(reason) => reason.to_string(),
            Err(_) => "the node ended the conversation".to_owned(),
        },
        Err(error) => {
            connection.close(close::BAD_FRAME.into(), error.to_string().as_bytes());
            error.to_string()
        }
    };
    // A driver that is gone needs no news.
    let _ = news.send((link, News::Lost(reason))).await;
}

/// Until the stream ends, or is no stream of this protocol.
async fn read_all(
    link: LinkId,
    stream: &mut RecvStream,
    news: &mpsc::Sender<(LinkId, News)>,
) -> Result<(), FrameError> {
    let mut frames = FrameReader::new();
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    while let Ok(Some(count)) = stream.read_chunks(&mut chunks).await {
        for chunk in &mut chunks[..count] {
            frames.push(&std::mem::take(chunk));
        }
        while let Some(message) = frames.next_message()? {
            let message = match message {
                ToClient::Replies(replies) => News::Replies(replies),
                ToClient::Leader(leader) => News::Leader(leader),
            };
            if news.send((link, message)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
