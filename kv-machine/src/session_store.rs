//! Sessions as the table has them.
//!
//! ```text
//!   1 ‖ session            →  head: time to live, acknowledged, last sign, ephemeral keys
//!   2 ‖ session ‖ page     →  the replies kept of 64 consecutive numbers
//!   3 ‖ session ‖ key      →  nothing: the session keeps this key alive
//!   4 ‖ session            →  when it ended
//! ```
//!
//! Ids and pages are big endian, so that a session's records lie together. A page that a slice of entries has touched is
//! written once for the whole slice, whole, and removed once nothing is left in it: so what stands in the table is
//! decided by the log, however it was cut into slices.

use std::ops::ControlFlow;

use bincode::Decode;
use bytes::Bytes;
use consensus_api::{LogTime, TableBatch, TableRead, codec};

use crate::error::KvError;
use crate::reply::Reply;
use crate::request::SessionId;
use crate::schema::SESSIONS;
use crate::sessions::{Head, PAGE_NUMBERS, Session, Sessions, Touched};

const HEAD: u8 = 1;
const PAGE: u8 = 2;
const KEY: u8 = 3;
const ENDED: u8 = 4;

/// Bytes before what follows a session's id.
const ID_END: usize = 17;

fn of_session(kind: u8, id: SessionId, rest: &[u8]) -> Bytes {
    [&[kind], &id.0.to_be_bytes()[..], rest].concat().into()
}

/// Under which the table says that the session keeps `key` alive.
pub(crate) fn key_of(id: SessionId, key: &[u8]) -> Bytes {
    of_session(KEY, id, key)
}

/// Visits the keys that the table says the session keeps alive, in order.
pub(crate) fn visit_keys<E>(
    tables: &dyn TableRead<Error = E>,
    id: SessionId,
    visit: &mut dyn FnMut(Bytes),
) -> Result<(), KvError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let start = of_session(KEY, id, &[]);
    let mut each = |key: &[u8], _: &[u8]| match key.strip_prefix(&start[..]) {
        Some(key) => {
            visit(Bytes::copy_from_slice(key));
            ControlFlow::Continue(())
        }
        None => ControlFlow::Break(()),
    };
    tables.scan(SESSIONS, &start, None, &mut each).map_err(KvError::tables)
}

/// All sessions of these tables.
///
/// # Errors
/// [`KvError::Tables`], or [`KvError::Damaged`] where a record is not what the machine writes.
pub(crate) fn load<E>(tables: &dyn TableRead<Error = E>) -> Result<Sessions, KvError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut sessions = Sessions::default();
    let mut damage = None;
    let mut visit = |kind: u8, key: &[u8], value: &[u8]| match take(&mut sessions, kind, key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            damage = Some(error);
            ControlFlow::Break(())
        }
    };
    // Not the keys that sessions keep alive: there may be many, and they are read when they are asked for.
    for kind in [HEAD, PAGE, ENDED] {
        let end = [kind + 1];
        let mut each = |key: &[u8], value: &[u8]| visit(kind, key, value);
        tables.scan(SESSIONS, &[kind], Some(&end), &mut each).map_err(KvError::tables)?;
    }
    damage.map_or(Ok(sessions), Err)
}

/// Takes one record of the table.
fn take(sessions: &mut Sessions, kind: u8, key: &[u8], value: &[u8]) -> Result<(), KvError> {
    let damaged = |reason: &str| KvError::damaged(format!("session \"{}\"", key.escape_ascii()), reason);
    let id = key.get(1..ID_END).and_then(|id| <[u8; 16]>::try_from(id).ok()).map(u128::from_be_bytes);
    let id = SessionId(id.ok_or_else(|| damaged("its key is too short"))?);
    match kind {
        HEAD => sessions.restore(id, decoded(key, value)?),
        ENDED => sessions.ended.remember(id, decoded::<LogTime>(key, value)?),
        _ => {
            for (number, reply) in decoded::<Vec<(u64, Reply)>>(key, value)? {
                if !sessions.restore_reply(id, number, reply) {
                    return Err(damaged("it has replies twice, or is not open"));
                }
            }
        }
    }
    Ok(())
}

fn decoded<R: Decode<()>>(key: &[u8], value: &[u8]) -> Result<R, KvError> {
    codec::decode(value).map_err(|error| KvError::damaged(format!("session \"{}\"", key.escape_ascii()), error))
}

/// Adds to the batch what was touched since the last time.
pub(crate) fn write_touched(sessions: &mut Sessions, batch: &mut TableBatch) -> Result<(), KvError> {
    let Touched { heads, pages, ended } = std::mem::take(&mut sessions.touched);
    for id in heads {
        let head: Option<&Head> = sessions.open.get(&id).map(|session| &session.head);
        batch.changes.push((SESSIONS, of_session(HEAD, id, &[]), head.map(codec::encode).transpose()?));
    }
    for (id, page) in pages {
        let replies = sessions.open.get(&id).map(|session| page_of(session, page)).unwrap_or_default();
        let value = if replies.is_empty() { None } else { Some(codec::encode(&replies)?) };
        batch.changes.push((SESSIONS, of_session(PAGE, id, &page.to_be_bytes()), value));
    }
    for id in ended {
        let at = sessions.ended.at(id);
        batch.changes.push((SESSIONS, of_session(ENDED, id, &[]), at.as_ref().map(codec::encode).transpose()?));
    }
    Ok(())
}

/// The replies of one page.
fn page_of(session: &Session, page: u64) -> Vec<(u64, &Reply)> {
    let first = page * PAGE_NUMBERS;
    // The last page ends with the last number of all.
    session.replies.range(first..=first + (PAGE_NUMBERS - 1)).map(|(number, reply)| (*number, reply)).collect()
}
