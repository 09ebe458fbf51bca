//! A leader that has members and no log: what it is asked comes true at once, and a learner catches up by the look.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use kv_client::protocol::{ErrorCode, ErrorReply, MemberReply, MemberRequest, MembersReply, TransferReply};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// What is committed.
const COMMITTED: u64 = 100_000;

/// A cluster of three voters, led by node 1, at one endpoint.
pub(crate) struct Fake {
    pub(crate) endpoint: String,
    state: Arc<Mutex<Cluster>>,
    _runtime: Runtime,
}

/// What it is, and how it behaves.
pub(crate) struct Cluster {
    pub(crate) members: MembersReply,
    /// By how many entries a learner catches up from one look to the next.
    pub(crate) pace: u64,
    /// What the next changes are answered with.
    pub(crate) refusals: VecDeque<ErrorCode>,
    /// The changes that it was asked for.
    pub(crate) asked: Vec<String>,
}

type Shared = Arc<Mutex<Cluster>>;

impl Fake {
    pub(crate) fn start() -> Fake {
        let members = (1..=3).map(|id| member(id, true, COMMITTED)).collect();
        let members =
            MembersReply { version: 3, changing: false, leader_id: Some(1), cluster_id: "c".repeat(32), members };
        let cluster = Cluster { members, pace: COMMITTED, refusals: VecDeque::new(), asked: Vec::new() };
        let state: Shared = Arc::new(Mutex::new(cluster));
        let changes = Router::new()
            .route("/v1/members", post(add))
            .route("/v1/members/{id}", delete(remove))
            .route("/v1/leader/transfer", post(transfer))
            .route_layer(from_fn_with_state(state.clone(), refuse));
        let router = changes.route("/v1/members", get(look)).with_state(state.clone());
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Fake { endpoint, state, _runtime: runtime }
    }

    pub(crate) fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.state.lock().unwrap()
    }

    /// Has a learner that is so far behind.
    pub(crate) fn with_learner(self, id: u64, behind: u64) -> Fake {
        self.cluster().members.members.push(member(id, false, COMMITTED - behind));
        self
    }
}

pub(crate) fn member(id: u64, voter: bool, matched: u64) -> MemberReply {
    MemberReply {
        id,
        address: format!("127.0.0.1:{}", 7000 + id),
        store: format!("{id:032x}"),
        voter,
        outgoing: false,
        matched_index: Some(matched),
        behind: Some(COMMITTED - matched),
    }
}

impl Cluster {
    fn position(&self, id: u64) -> Option<usize> {
        self.members.members.iter().position(|member| member.id == id)
    }

    fn drop_member(&mut self, id: u64) -> bool {
        let at = self.position(id);
        at.map(|at| self.members.members.remove(at)).is_some()
    }
}

async fn refuse(State(state): State<Shared>, request: Request, next: Next) -> Response {
    let refusal = {
        let mut cluster = state.lock().unwrap();
        cluster.asked.push(format!("{} {}", request.method(), request.uri()));
        cluster.refusals.pop_front()
    };
    match refusal {
        Some(code) => error(code),
        None => next.run(request).await,
    }
}

fn error(error: ErrorCode) -> Response {
    let message = format!("this is {error:?}; do something else");
    let reply = ErrorReply { error, message, leader: Some(1), first_revision: None };
    (StatusCode::from_u16(error.status()).unwrap(), Json(reply)).into_response()
}

async fn look(State(state): State<Shared>) -> Json<MembersReply> {
    let mut cluster = state.lock().unwrap();
    let pace = cluster.pace;
    let seen = cluster.members.clone();
    for member in &mut cluster.members.members {
        let matched = COMMITTED.min(member.matched_index.unwrap() + pace);
        (member.matched_index, member.behind) = (Some(matched), Some(COMMITTED - matched));
    }
    Json(seen)
}

async fn add(State(state): State<Shared>, Json(request): Json<MemberRequest>) -> Response {
    let mut cluster = state.lock().unwrap();
    let at = cluster.position(request.id).unwrap_or_else(|| {
        cluster.members.members.push(MemberReply {
            address: request.address.clone().unwrap(),
            store: request.store.clone().unwrap(),
            ..member(request.id, false, 1)
        });
        cluster.members.members.len() - 1
    });
    let found = &mut cluster.members.members[at];
    if request.store.as_ref().is_some_and(|store| *store != found.store) {
        return error(ErrorCode::IdInUse);
    }
    found.voter = !request.learner;
    found.address = request.address.unwrap_or_else(|| found.address.clone());
    if let Some(replaced) = request.replaces {
        cluster.drop_member(replaced);
    }
    cluster.members.version += 1;
    let mut body: Value = serde_json::to_value(&cluster.members).unwrap();
    body["founders"] = json!([]);
    body["restored_from"] = Value::Null;
    Json(body).into_response()
}

async fn remove(State(state): State<Shared>, Path(id): Path<u64>) -> Response {
    let mut cluster = state.lock().unwrap();
    if !cluster.drop_member(id) {
        return error(ErrorCode::NotFound);
    }
    if cluster.members.leader_id == Some(id) {
        cluster.members.leader_id = Some(2);
    }
    cluster.members.version += 1;
    Json(&cluster.members).into_response()
}

async fn transfer(State(state): State<Shared>, request: Request) -> Json<TransferReply> {
    let mut cluster = state.lock().unwrap();
    let to = request.uri().query().and_then(|query| query.strip_prefix("to=")?.parse().ok());
    cluster.members.leader_id = Some(to.unwrap_or(3));
    Json(TransferReply { leader_id: cluster.members.leader_id })
}
