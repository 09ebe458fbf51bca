//! The HTTP API as a client sees it, over a log that is a machine in memory and fails as it is told to.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conditions;
mod document;
mod failures;
mod keys;
mod members;
mod nodes;
mod redirects;
mod requests;
mod sessions;
mod watches;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::{Body, to_bytes};
use bytes::Bytes;
use consensus_api::membership::VOID_REPLY;
use consensus_api::{
    Applied, Ballot, Blob, ClusterId, EngineName, EngineStatus, Entry, EventStream, LogIndex, LogTime, Member,
    Membership, NodeId, Payload, ReadMode, Refusal, ReplicaStatus, ReplicatedLog, RequestError, RequestId, Role,
    StateMachine, StoreId,
};
use hyper::header::HeaderMap;
use hyper::{Method, Request, StatusCode};
use kv_client::protocol::{ErrorCode, ErrorReply};
use kv_machine::{KvLimits, KvMachine, MemoryTables};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::metrics::Counts;
use crate::service::{Identity, Origin};
use crate::watch::Watches;

/// A log of one node that applies at once, or fails with what it was told.
struct FakeLog {
    machine: Mutex<KvMachine<MemoryTables>>,
    status: Mutex<ReplicaStatus>,
    failure: Mutex<Option<RequestError>>,
    /// As what the next change of members fails.
    change_failure: Mutex<Option<RequestError>>,
    /// What the next command is answered with, instead of what the machine has said.
    reply: Mutex<Option<Bytes>>,
    barriers: AtomicUsize,
    modes: Mutex<Vec<ReadMode>>,
    /// The members that were asked for, and how long that might take.
    changes: Mutex<Vec<(Arc<Membership>, Duration)>>,
}

impl FakeLog {
    fn fail(&self) -> Result<(), RequestError> {
        self.failure.lock().unwrap().take().map_or(Ok(()), Err)
    }

    /// Has the machine apply this behind what it has applied.
    fn apply(&self, payload: impl FnOnce(RequestId) -> Payload) -> (LogIndex, Bytes) {
        let mut machine = self.machine.lock().unwrap();
        let index = machine.applied().unwrap().position.index.next();
        let payload = payload(RequestId { origin: NodeId(1), boot: 1, sequence: index.0 });
        let entry = Entry { index, ballot: Ballot::new(1, NodeId(1)), log_time: LogTime::default(), payload };
        (index, machine.apply(&[entry.into()]).unwrap().remove(0))
    }

    fn unsupported<R>(&self, what: &str) -> Result<R, RequestError> {
        self.fail()?;
        Err(Refusal::Unsupported { what: what.into() }.into())
    }
}

#[async_trait]
impl ReplicatedLog for FakeLog {
    async fn propose(&self, command: Bytes, _: Duration) -> Result<Applied, RequestError> {
        self.fail()?;
        let (index, reply) = self.apply(|id| Payload::Command { id, data: Blob(command) });
        let mut status = self.status.lock().unwrap();
        (status.applied_index, status.engine.commit_index, status.engine.last_index) = (index, index, index);
        Ok(Applied { index, reply: self.reply.lock().unwrap().take().unwrap_or(reply) })
    }

    async fn read_barrier(&self, mode: ReadMode, _: Duration) -> Result<LogIndex, RequestError> {
        self.modes.lock().unwrap().push(mode);
        self.barriers.fetch_add(1, Ordering::Relaxed);
        self.fail()?;
        Ok(self.status().applied_index)
    }

    fn status(&self) -> ReplicaStatus {
        self.status.lock().unwrap().clone()
    }

    async fn change_membership(&self, target: Arc<Membership>, timeout: Duration) -> Result<LogIndex, RequestError> {
        self.changes.lock().unwrap().push((target.clone(), timeout));
        if let Some(error) = self.change_failure.lock().unwrap().take() {
            return Err(error);
        }
        let mut status = self.status.lock().unwrap();
        let version = status.engine.membership.version;
        assert_eq!(target.version, version, "it is meant for other members");
        let membership = Arc::new(Membership { version: version + 1, ..Membership::clone(&target) });
        let (_, applied) = self.apply(|id| Payload::Membership { id, membership: membership.clone() });
        assert_ne!(applied, VOID_REPLY);
        status.engine.membership = membership;
        let index = status.applied_index.next();
        (status.applied_index, status.engine.commit_index, status.engine.last_index) = (index, index, index);
        Ok(index)
    }

    async fn transfer_leadership(&self, to: Option<NodeId>, _: Duration) -> Result<(), RequestError> {
        self.fail()?;
        let mut status = self.status.lock().unwrap();
        let me = status.node;
        let to = to.or_else(|| status.engine.membership.voters.iter().copied().find(|voter| *voter != me));
        status.engine.leader = Some(to.ok_or(Refusal::TransferFailed { to: None })?);
        Ok(())
    }

    async fn campaign(&self) -> Result<(), RequestError> {
        self.unsupported("a campaign")
    }

    async fn snapshot(&self) -> Result<LogIndex, RequestError> {
        self.unsupported("a snapshot")
    }

    async fn digest(&self) -> Result<(LogIndex, [u8; 32]), RequestError> {
        self.unsupported("a digest")
    }

    fn events(&self) -> EventStream {
        Box::pin(futures_util::stream::empty())
    }

    async fn shutdown(&self) {}
}

/// A node without a network.
struct Node {
    log: Arc<FakeLog>,
    router: Router,
    service: Arc<Service<MemoryTables>>,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    fn error(&self) -> ErrorReply {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Asserts the status and the code of an error.
    #[track_caller]
    fn is_error(&self, status: u16, code: ErrorCode) -> ErrorReply {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let error = self.error();
        assert_eq!(error.error, code, "{self:?}");
        assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
        error
    }

    /// Asserts a success.
    #[track_caller]
    fn ok(self) -> Answer {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        self
    }
}

impl Node {
    fn new() -> Node {
        Node::with(KvLimits::default())
    }

    fn with(limits: KvLimits) -> Node {
        let member = Member { address: "127.0.0.1:7001".into(), store: StoreId(7) };
        Node::among(limits, Membership::of_voters([(NodeId(1), member)]))
    }

    /// Node 1, which leads these.
    fn among(limits: KvLimits, members: Membership) -> Node {
        let members = Arc::new(members);
        let tables = Arc::new(MemoryTables::new());
        let mut machine = KvMachine::open(tables.clone()).unwrap();
        machine.found(members.clone()).unwrap();
        let watches = Watches::default();
        machine.announce(Box::new(watches.announcer()));
        let kv = machine.reader();
        let founder = Member { address: "127.0.0.1:7001".into(), store: StoreId(7) };
        let engine = EngineStatus {
            role: Role::Leader,
            leader: Some(NodeId(1)),
            ballot: Ballot::new(4, NodeId(1)),
            commit_index: LogIndex::ZERO,
            last_index: LogIndex::ZERO,
            base_index: LogIndex::ZERO,
            membership: members,
            is_changing: false,
            progress: BTreeMap::new(),
        };
        let engine_name = EngineName::new("raft");
        let status = ReplicaStatus {
            engine_name,
            node: NodeId(1),
            engine,
            applied_index: LogIndex::ZERO,
            snapshot_index: LogIndex::ZERO,
        };
        let log = Arc::new(FakeLog {
            machine: Mutex::new(machine),
            status: Mutex::new(status),
            failure: Mutex::new(None),
            change_failure: Mutex::default(),
            reply: Mutex::default(),
            barriers: AtomicUsize::new(0),
            modes: Mutex::default(),
            changes: Mutex::default(),
        });
        let service = Arc::new(Service {
            failure: tokio::sync::watch::Sender::new(None),
            watches,
            http_address_of: Box::new(|node| (node == NodeId(2)).then(|| "two.example:8002".to_owned())),
            counts: Box::new(Counts::default),
            log: log.clone(),
            kv,
            tables,
            snapshots: None,
            identity: Identity { cluster_id: ClusterId(0xc1), engine: engine_name, node: NodeId(1), store: StoreId(7) },
            origin: Origin { founders: vec![(NodeId(1), founder)], restored_from: None },
            limits,
            reads: ReadMode::Index,
            request_timeout: Duration::from_secs(5),
        });
        Node { log, router: router(service.clone()), service }
    }

    /// The next request of the log fails like this.
    fn next_fails(&self, error: impl Into<RequestError>) {
        *self.log.failure.lock().unwrap() = Some(error.into());
    }

    /// The next change of members fails like this; what comes before it does not.
    fn next_fails_at_the_change(&self, error: impl Into<RequestError>) {
        *self.log.change_failure.lock().unwrap() = Some(error.into());
    }

    /// The next command is carried out and answered with this.
    fn next_is_answered(&self, reply: impl Into<Bytes>) {
        *self.log.reply.lock().unwrap() = Some(reply.into());
    }

    fn change_status(&self, change: impl FnOnce(&mut ReplicaStatus)) {
        change(&mut self.log.status.lock().unwrap());
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Answer { status: head.status, headers: head.headers, body: to_bytes(body, usize::MAX).await.unwrap() }
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        self.send(Request::builder().method(method).uri(path).body(body.into()).unwrap()).await
    }

    async fn ask_if(&self, method: Method, path: &str, header: (&str, &str), body: &'static str) -> Answer {
        self.ask_with(method, path, &[header], body).await
    }

    async fn ask_with(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, Body::empty()).await
    }

    async fn put(&self, path: &str, value: impl Into<Body>) -> Answer {
        self.ask(Method::PUT, path, value).await
    }

    async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.ask(Method::POST, path, body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, Body::empty()).await
    }
}
