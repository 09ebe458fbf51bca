//! `POST /v1/txn`: compare, then one list of operations or the other, at one revision. Translates between the JSON
//! bodies of the client protocol and the machine's command and reply.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use consensus_api::{Blob, Tables};
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use kv_client::protocol::{REDIRECT_PARAMETER, ScanItem};
use kv_client::{Base64, txn as wire};
use kv_machine::{Command, Compare, Item, Operation, OperationResult, Relation, Reply, SessionTag, Target, Txn};

use super::context::{Context, outcome_of};
use super::errors::ApiError;
use super::query::Query;
use super::{redirect, scan, sessions};

/// The longest body. In base64 that is less than 6 MiB of keys and values, so that a transaction still fits one message
/// between nodes.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Answers a transaction.
pub(super) async fn txn<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let session = match head(&context, &request) {
        Ok(session) => session,
        Err(error) => return Err(context.turn_away(request, error).await),
    };
    let body = context.body(request, BODY_BYTES_MAX).await?;
    let request: wire::TxnRequest =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_input(format!("no transaction: {error}")))?;
    let txn = command(request);
    let (then, otherwise) = (read_keys(&txn.then), read_keys(&txn.otherwise));
    match context.write(Command::Txn(txn), session).await? {
        Reply::Txn { succeeded, revision, results } => {
            let keys = if succeeded { then } else { otherwise };
            let results = results.into_iter().zip(keys).map(|(result, key)| answer(result, key)).collect();
            outcome_of(&wire::TxnReply { succeeded, revision, results })
        }
        other => Err(ApiError::out_of_place(&other, session)),
    }
}

/// What stands before the body: the transaction's place in a session, if it has one.
fn head<T: Tables>(context: &Arc<Context<T>>, request: &Request) -> Result<Option<SessionTag>, ApiError> {
    let query = Query::parse(request.uri(), &[REDIRECT_PARAMETER])?;
    if request.headers().contains_key(IF_MATCH) || request.headers().contains_key(IF_NONE_MATCH) {
        let message = "a transaction takes no If-Match or If-None-Match; put the condition into \"compare\"";
        return Err(ApiError::bad_input(message));
    }
    let session = sessions::tag(request.headers())?;
    redirect::unless_leader(context, request.uri(), &query)?;
    Ok(session)
}

/// The key that each operation reads, if it reads one: the machine's reply does not repeat it, the answer does.
fn read_keys(branch: &[Operation]) -> Vec<Option<Blob>> {
    let key = |operation: &Operation| match operation {
        Operation::Get { key } => Some(key.clone()),
        _ => None,
    };
    branch.iter().map(key).collect()
}

fn command(request: wire::TxnRequest) -> Txn {
    Txn {
        compare: request.compare.into_iter().map(compare).collect(),
        then: request.then.into_iter().map(operation).collect(),
        otherwise: request.otherwise.into_iter().map(operation).collect(),
    }
}

fn blob(bytes: Base64) -> Blob {
    Blob(bytes.0)
}

fn compare(compare: wire::Compare) -> Compare {
    Compare {
        key: blob(compare.key),
        target: match compare.target {
            wire::Target::Version(version) => Target::Version(version),
            wire::Target::CreateRevision(revision) => Target::CreateRevision(revision),
            wire::Target::ModRevision(revision) => Target::ModRevision(revision),
            wire::Target::Value(value) => Target::Value(value.map(blob)),
        },
        relation: match compare.relation {
            wire::Relation::Equal => Relation::Equal,
            wire::Relation::NotEqual => Relation::NotEqual,
            wire::Relation::Less => Relation::Less,
            wire::Relation::Greater => Relation::Greater,
        },
    }
}

fn operation(operation: wire::Operation) -> Operation {
    match operation {
        wire::Operation::Get { key } => Operation::Get { key: blob(key) },
        wire::Operation::Put { key, value } => Operation::Put { key: blob(key), value: blob(value) },
        wire::Operation::PutEphemeral { key, value } => Operation::PutEphemeral { key: blob(key), value: blob(value) },
        wire::Operation::Append { key, suffix } => Operation::Append { key: blob(key), suffix: blob(suffix) },
        wire::Operation::Delete { key } => Operation::Delete { key: blob(key) },
        wire::Operation::Scan { start, end, limit } => {
            Operation::Scan { start: blob(start), end: end.map(blob), limit }
        }
    }
}

fn answer(result: OperationResult, read: Option<Blob>) -> wire::OperationResult {
    match result {
        OperationResult::Got(item) => wire::OperationResult::Get { item: item.map(|item| got(item, read)) },
        OperationResult::Written { version } => wire::OperationResult::Written { version },
        OperationResult::Deleted { deleted } => wire::OperationResult::Deleted { deleted },
        OperationResult::Scanned { items, more } => {
            wire::OperationResult::Scan { items: items.into_iter().map(scan::item).collect(), more }
        }
    }
}

fn got(item: Item, read: Option<Blob>) -> ScanItem {
    scan::item(kv_machine::ScanItem { key: read.unwrap_or_default(), item })
}
