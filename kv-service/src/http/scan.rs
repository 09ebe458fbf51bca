//! `GET /v1/kv?prefix=&start=&end=&limit=`: the keys of a range, a page at a time.
//!
//! The next page begins behind the last key of this one: `start` is that key and a zero byte (`%00`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use consensus_api::Tables;
use kv_client::Base64;
use kv_client::protocol::{
    CONSISTENCY_PARAMETER, END_PARAMETER, LIMIT_PARAMETER, PREFIX_PARAMETER, REDIRECT_PARAMETER, START_PARAMETER,
    ScanItem, ScanReply,
};
use kv_machine::{ScanLimits, ScanRange};

use super::context::{Context, json_of};
use super::errors::ApiError;
use super::query::Query;
use super::{redirect, sessions};

const PARAMETERS: [&str; 6] =
    [PREFIX_PARAMETER, START_PARAMETER, END_PARAMETER, LIMIT_PARAMETER, CONSISTENCY_PARAMETER, REDIRECT_PARAMETER];

/// The most items of a page.
const ITEMS_MAX: u64 = 1000;
/// Items of a page where no limit is given.
const ITEMS_DEFAULT: u64 = 100;

/// Answers a scan.
pub(super) async fn scan<T: Tables>(
    State(context): State<Arc<Context<T>>>,
    request: Request,
) -> Result<Response, ApiError> {
    let query = Query::parse(request.uri(), &PARAMETERS)?;
    sessions::none_for_a_read(request.headers())?;
    let limit = query.number(LIMIT_PARAMETER)?.unwrap_or(ITEMS_DEFAULT);
    if limit == 0 {
        return Err(ApiError::bad_input("the parameter 'limit' must be at least 1"));
    }
    let range = range(query.bytes(PREFIX_PARAMETER), query.bytes(START_PARAMETER), query.bytes(END_PARAMETER));
    redirect::unless_leader(&context, request.uri(), &query)?;
    // The cast is exact: at most ITEMS_MAX.
    let limits = ScanLimits { items_max: limit.min(ITEMS_MAX) as usize, ..ScanLimits::default() };
    context.barrier(&query).await?;

    let kv = context.service.kv.clone();
    // A page may take milliseconds, too long for a thread that others wait for.
    let page = tokio::task::spawn_blocking(move || kv.scan(&range, limits)).await;
    let page = page.map_err(|error| ApiError::internal(format!("the scan broke off: {error}")))?;
    let page = page.map_err(|error| context.failed_read(error))?;
    let items = page.items.into_iter().map(item).collect();
    json_of(&ScanReply { items, more: page.more, revision: page.revision })
}

/// The keys that have the prefix, are not before `start` and come before `end`; each where it is given.
fn range(prefix: Option<Bytes>, start: Option<Bytes>, end: Option<Bytes>) -> ScanRange {
    let of_prefix = ScanRange::prefix(prefix.unwrap_or_default());
    ScanRange {
        start: start.map_or(of_prefix.start.clone(), |start| start.max(of_prefix.start)),
        end: match (of_prefix.end, end) {
            (Some(first), Some(second)) => Some(first.min(second)),
            (first, second) => first.or(second),
        },
    }
}

/// An item as it stands in JSON.
pub(super) fn item(found: kv_machine::ScanItem) -> ScanItem {
    ScanItem {
        key: Base64(found.key.0),
        value: Base64(found.item.value.0),
        version: found.item.version,
        create_revision: found.item.create_revision,
        mod_revision: found.item.mod_revision,
        session: found.item.session.map(|session| session.to_string()),
    }
}
