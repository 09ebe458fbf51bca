//! One client's connection: takes in what has arrived, has it done, writes what is answered.
//!
//! ```text
//!          ┌────────────────────────── one task ───────────────────────────┐
//!   read ─▶│ backlog ─▶ work: at most 8 batches, 4 barriers, 2 scans ─▶ out │─▶ write
//!          └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! While it writes to a client that does not read, it takes nothing in: so a slow client holds up itself. What a get
//! finds is looked up only when it can be written, so that answers which wait take no memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::{Blob, Tables};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use kv_client::protocol::Consistency;
use kv_client::wire::{
    Answer, Answered, FRAME_REQUESTS_MAX, Failure, FrameError, FrameReader, HelloError, Refused, Requests, ToClient,
    append_frame, close,
};
use kv_machine::{KvError, ScanLimits};
use tokio::task::JoinSet;
use tokio::time::timeout;
use transport_quic::{ClientConnection, ReadError, SendStream, WriteError};

use super::backlog::{Backlog, Gets, Scan, WriteBatch};
use super::{Shared, answers, convert, hello, watch};
use crate::service::Service;

/// How long a client may take over its hello, and over the end of its stream.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most packets' worth of a stream that are taken in at once.
const CHUNKS: usize = 64;
/// The most batches that wait for the log.
const BATCHES_MAX: usize = 8;
/// The most groups of gets that wait for their barrier.
const BARRIERS_MAX: usize = 4;
/// The most scans that are read at a time.
const SCANS_MAX: usize = 2;
/// The most items of a page.
const SCAN_ITEMS_MAX: u32 = 1000;
/// The answers of one frame, in bytes, unless one alone has more.
const FRAME_BYTES_AIM: usize = 256 << 10;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a frame of {0} requests, over the limit of {FRAME_REQUESTS_MAX}; send less at once")]
    TooMany(usize),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("the connection is lost: {0}")]
    Lost(String),
}

impl End {
    fn code(&self) -> u32 {
        match self {
            End::Hello(_) => close::REFUSED,
            End::Frame(_) | End::TooMany(_) => close::BAD_FRAME,
            End::Read(_) | End::Write(_) | End::Lost(_) => close::DONE,
        }
    }
}

/// Serves one client until it is gone or the node stops.
pub(super) async fn serve<T: Tables>(shared: Shared<T>, connection: ClientConnection) {
    let name = connection.name().to_string();
    tracing::debug!(client = name, from = %connection.remote_address(), "client connected");
    let stopping = shared.stopping.clone();
    match converse(shared, &connection).await {
        Ok(()) if *stopping.borrow() => connection.close(close::STOPPING, "the node is stopping; connect to another"),
        Ok(()) => connection.close(close::DONE, ""),
        Err(end) => {
            tracing::debug!(client = name, %end, "client's connection ended");
            connection.close(end.code(), &end.to_string());
        }
    }
}

async fn converse<T: Tables>(shared: Shared<T>, connection: &ClientConnection) -> Result<(), End> {
    let opened = timeout(PATIENCE, connection.accept_stream()).await;
    let late = || End::Lost("no hello in time".to_owned());
    let (mut send, mut receive) = opened.map_err(|_| late())?.map_err(|error| End::Lost(error.to_string()))?;
    timeout(PATIENCE, hello::exchange(&shared.service, &mut send, &mut receive)).await.map_err(|_| late())??;
    let mut desk = Desk::new(shared.service.clone());
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    let (mut leaders, mut stopping) = (shared.leader.clone(), shared.stopping.clone());
    let mut taking = true;
    // Dropped with the conversation, and the watches with it.
    let mut watches = JoinSet::new();
    loop {
        tokio::select! {
            read = receive.read_chunks(&mut chunks), if taking && desk.backlog.has_room() => match read? {
                Some(count) => desk.take_in(&chunks[..count])?,
                None => taking = false,
            },
            Some(done) = desk.work.next(), if !desk.work.is_empty() => desk.finish(done),
            opened = connection.accept_stream(), if taking => match opened {
                Ok((send, receive)) => {
                    watches.spawn(watch::serve(shared.clone(), send, receive));
                }
                Err(error) => return Err(End::Lost(error.to_string())),
            },
            Some(_) = watches.join_next(), if !watches.is_empty() => {}
            Ok(()) = leaders.changed() => {
                let leader = leaders.borrow_and_update().clone();
                append_frame(&ToClient::Leader(leader), &mut desk.out)?;
            }
            Ok(_) = stopping.wait_for(|stopping| *stopping), if taking => {
                taking = false;
                let refused = desk.backlog.refuse_all();
                desk.answers.extend(refused);
            }
        }
        while let Some(Some(done)) = desk.work.next().now_or_never() {
            desk.finish(done);
        }
        desk.dispatch();
        desk.write_answers(&mut send).await?;
        if !taking && desk.is_idle() {
            break;
        }
    }
    // So that the last answers have arrived before the connection is closed.
    if send.finish().is_ok() {
        let _ = timeout(PATIENCE, send.stopped()).await;
    }
    Ok(())
}

/// Something that was under way has come to its end.
enum Done {
    Writes { answered: Vec<Answered>, bytes: usize },
    Fresh { gets: Vec<(u64, Blob)>, outcome: Result<(), Failure> },
    Scan { answered: Answered, bytes: usize },
}

/// The state of a conversation.
struct Desk<T: Tables> {
    service: Arc<Service<T>>,
    frames: FrameReader,
    backlog: Backlog,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    batches: usize,
    barriers: usize,
    scans: usize,
    /// Gets that may be looked up now.
    fresh: VecDeque<(u64, Blob)>,
    /// What is to be written, and about how much that is.
    answers: Vec<Answered>,
    out: Vec<u8>,
}

impl<T: Tables> Desk<T> {
    fn new(service: Arc<Service<T>>) -> Desk<T> {
        Desk {
            service,
            frames: FrameReader::new(),
            backlog: Backlog::default(),
            work: FuturesUnordered::new(),
            batches: 0,
            barriers: 0,
            scans: 0,
            fresh: VecDeque::new(),
            answers: Vec::new(),
            out: Vec::new(),
        }
    }

    fn is_idle(&self) -> bool {
        self.backlog.is_settled() && self.work.is_empty() && self.fresh.is_empty()
    }

    fn take_in(&mut self, chunks: &[Bytes]) -> Result<(), End> {
        for chunk in chunks {
            self.frames.push(chunk);
        }
        while let Some(Requests { patience_ms, requests }) = self.frames.next_message()? {
            if requests.len() > FRAME_REQUESTS_MAX {
                return Err(End::TooMany(requests.len()));
            }
            let patience = Duration::from_millis(patience_ms.into()).min(self.service.request_timeout);
            for request in requests {
                self.answers.extend(self.backlog.take(request, patience, &self.service.limits));
            }
        }
        Ok(())
    }

    /// Begins as much of what waits as may be under way.
    fn dispatch(&mut self) {
        while self.batches < BATCHES_MAX {
            let Some(batch) = self.backlog.next_batch() else { break };
            self.batches += 1;
            self.work.push(write(self.service.clone(), batch).boxed());
        }
        for consistency in [Consistency::Linearizable, Consistency::Lease, Consistency::Stale] {
            if self.barriers >= BARRIERS_MAX {
                break;
            }
            let gets = self.backlog.take_gets(consistency);
            if !gets.gets.is_empty() {
                self.barriers += 1;
                self.work.push(freshen(self.service.clone(), consistency, gets).boxed());
            }
        }
        while self.scans < SCANS_MAX {
            let Some(next) = self.backlog.next_scan() else { break };
            self.scans += 1;
            self.work.push(scan(self.service.clone(), next).boxed());
        }
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Writes { answered, bytes } => {
                self.batches -= 1;
                self.backlog.settle(answered.len(), bytes);
                self.answers.extend(answered);
            }
            Done::Fresh { gets, outcome } => {
                self.barriers -= 1;
                match outcome {
                    Ok(()) => self.fresh.extend(gets),
                    Err(failure) => {
                        self.backlog.settle(gets.len(), gets.iter().map(|(_, key)| key.0.len()).sum());
                        let failed = |(id, _)| Answered { id, answer: Answer::Failed(failure.clone()) };
                        self.answers.extend(gets.into_iter().map(failed));
                    }
                }
            }
            Done::Scan { answered, bytes } => {
                self.scans -= 1;
                self.backlog.settle(1, bytes);
                self.answers.push(answered);
            }
        }
    }

    /// Writes everything that is answered, a frame at a time.
    async fn write_answers(&mut self, send: &mut SendStream) -> Result<(), End> {
        loop {
            let mut frame = std::mem::take(&mut self.answers);
            let mut bytes = 0;
            while bytes < FRAME_BYTES_AIM && frame.len() < FRAME_REQUESTS_MAX {
                let Some((id, key)) = self.fresh.pop_front() else { break };
                self.backlog.settle(1, key.0.len());
                let answer = look_up(&self.service, &key);
                bytes += answer_bytes(&answer);
                frame.push(Answered { id, answer });
            }
            if !frame.is_empty() {
                self.append(frame)?;
            }
            if self.out.is_empty() {
                return Ok(());
            }
            send.write_chunk(Bytes::from(std::mem::take(&mut self.out))).await?;
        }
    }

    /// Large answers have frames of their own: together they might be over the bound.
    fn append(&mut self, answers: Vec<Answered>) -> Result<(), End> {
        let mut frame = Vec::with_capacity(answers.len());
        let mut bytes = 0;
        for answered in answers {
            let more = answer_bytes(&answered.answer);
            if bytes + more > FRAME_BYTES_AIM && !frame.is_empty() {
                append_frame(&ToClient::Replies(std::mem::take(&mut frame)), &mut self.out)?;
                bytes = 0;
            }
            bytes += more;
            frame.push(answered);
        }
        Ok(append_frame(&ToClient::Replies(frame), &mut self.out)?)
    }
}

/// About what an answer takes in a frame.
fn answer_bytes(answer: &Answer) -> usize {
    const FLAT: usize = 32;
    let item = |item: &kv_client::wire::Item| item.value.0.len() + FLAT;
    let items = |items: &[kv_client::wire::ScanItem]| {
        items.iter().map(|found| found.key.0.len() + item(&found.item)).sum::<usize>()
    };
    FLAT + match answer {
        Answer::Got { item: Some(found) } => item(found),
        Answer::Scanned { items: found, .. } => items(found),
        Answer::Txn { results, .. } => results
            .iter()
            .map(|result| match result {
                kv_client::wire::OperationResult::Got(Some(found)) => item(found),
                kv_client::wire::OperationResult::Scanned { items: found, .. } => items(found),
                _ => FLAT,
            })
            .sum(),
        _ => 0,
    }
}

async fn write<T: Tables>(service: Arc<Service<T>>, batch: WriteBatch) -> Done {
    let WriteBatch { ids, requests, bytes, patience } = batch;
    let answers: Vec<Answer> = match service.submit(requests, patience).await {
        Ok(replies) => replies.into_iter().map(answers::of_reply).collect(),
        Err(error) => vec![Answer::Failed(answers::of_write(&error)); ids.len()],
    };
    let answered = ids.into_iter().zip(answers).map(|(id, answer)| Answered { id, answer }).collect();
    Done::Writes { answered, bytes }
}

async fn freshen<T: Tables>(service: Arc<Service<T>>, consistency: Consistency, group: Gets) -> Done {
    let Gets { gets, patience } = group;
    let outcome = service.freshen(consistency, patience).await;
    Done::Fresh { gets, outcome: outcome.map_err(|error| answers::of_read(&error)) }
}

async fn scan<T: Tables>(service: Arc<Service<T>>, scan: Scan) -> Done {
    let Scan { id, range, bytes, limit, consistency, patience } = scan;
    let answer = match service.freshen(consistency, patience).await {
        Err(error) => Answer::Failed(answers::of_read(&error)),
        Ok(()) => {
            let kv = service.kv.clone();
            // The cast is exact: at most SCAN_ITEMS_MAX.
            let limits = ScanLimits { items_max: limit.clamp(1, SCAN_ITEMS_MAX) as usize, ..ScanLimits::default() };
            // A page may take milliseconds, too long for a thread that others wait for.
            match tokio::task::spawn_blocking(move || kv.scan(&range, limits)).await {
                Ok(Ok(page)) => {
                    let items = page.items.into_iter().map(convert::scan_item).collect();
                    Answer::Scanned { items, more: page.more, revision: page.revision }
                }
                Ok(Err(error)) => failed_read(&service, &error),
                Err(error) => {
                    Answer::Failed(answers::refused(Refused::Internal, format!("the scan broke off: {error}")))
                }
            }
        }
    };
    Done::Scan { answered: Answered { id, answer }, bytes }
}

/// A point read takes a few microseconds, less than handing it to another thread would.
fn look_up<T: Tables>(service: &Service<T>, key: &Blob) -> Answer {
    match service.kv.get(&key.0) {
        Ok(found) => Answer::Got { item: found.map(convert::item) },
        Err(error) => failed_read(service, &error),
    }
}

/// The answer to a read that the tables failed.
fn failed_read<T: Tables>(service: &Service<T>, error: &KvError) -> Answer {
    service.stop_if_broken(error);
    Answer::Failed(answers::refused(Refused::Internal, error.to_string()))
}
