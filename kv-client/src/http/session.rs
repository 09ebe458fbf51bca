//! Sessions: writes that take place once, however often they are sent, and keys that vanish with their writer.
//!
//! ```text
//!   open ──▶ put #1 ─▶ answered
//!            put #2 ─✗ connection lost ─▶ put #2, at another node ─▶ the first answer, not a second write
//!            keep alive, every third of the time to live
//!   close ─▶ its ephemeral keys vanish           (so they do when it has not been kept alive in time)
//! ```
//!
//! Each write also says below which number all answers are here, so that the cluster need not keep them. A number that was
//! given up, because its time was over or its future dropped, counts as answered: what is still on its way under it may be
//! carried out until a later write of this session is, and never after that.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::time::Instant;

use super::backoff::random;
use super::client::{HttpClient, Tag, WriteOptions};
use super::endpoints::Effect;
use crate::error::ClientError;
use crate::protocol::{DeleteReply, ErrorCode, PutReply, SessionEndReply, SessionReply, SessionRequest};
use crate::txn::{TxnReply, TxnRequest};

/// How often a session is kept alive within its time to live.
const SIGNS_PER_TTL: u32 = 3;

/// A session of one client. Clones share its numbers, and any number of writes may be under way at a time.
#[derive(Clone, Debug)]
pub struct HttpSession {
    client: HttpClient,
    id: Arc<str>,
    ttl: Duration,
    numbers: Arc<Mutex<Numbers>>,
    confirmed: Arc<Mutex<Instant>>,
}

/// The numbers of a session's writes.
#[derive(Debug)]
struct Numbers {
    next: u64,
    /// Of the writes that are under way.
    open: BTreeSet<u64>,
}

/// The number of a write for as long as that is under way.
#[derive(Debug)]
struct Ticket {
    number: u64,
    numbers: Arc<Mutex<Numbers>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.numbers).open.remove(&self.number);
    }
}

impl HttpClient {
    /// Opens a session that lives for `ttl` without a sign of its client; the cluster brings that within its bounds.
    ///
    /// # Errors
    /// Any but [`ClientError::Unknown`]; a session that was opened unnoticed ends by itself.
    pub async fn open_session(&self, ttl: Duration, timeout: Duration) -> Result<HttpSession, ClientError> {
        let id = format!("{:016x}{:016x}", random(), random());
        let mut session = self.session(&id, ttl, 1);
        session.ttl = session.keep_alive(timeout).await?;
        Ok(session)
    }

    /// A session that was opened elsewhere, under this id of 32 hexadecimal digits. Its writes are numbered from `number`
    /// on, which must be above all that were used before.
    pub fn session(&self, id: &str, ttl: Duration, number: u64) -> HttpSession {
        let numbers = Numbers { next: number, open: BTreeSet::new() };
        let (numbers, confirmed) = (Arc::new(Mutex::new(numbers)), Arc::new(Mutex::new(Instant::now())));
        HttpSession { client: self.clone(), id: id.into(), ttl, numbers, confirmed }
    }
}

impl HttpSession {
    /// Its id, 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How long it lives without a sign of its client.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The instant up to which it certainly lived: just before the last sign was sent that was answered, or when this was
    /// made. It lives until a time to live after that, and perhaps longer.
    pub fn confirmed(&self) -> Instant {
        *lock(&self.confirmed)
    }

    /// Gives the cluster a sign, and returns how long the session lives from here on.
    ///
    /// # Errors
    /// [`ErrorCode::SessionExpired`] where it has ended; otherwise any but [`ClientError::Unknown`].
    pub async fn keep_alive(&self, timeout: Duration) -> Result<Duration, ClientError> {
        let ttl_ms = Some(u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX));
        let body = SessionRequest { session: Some(self.id.to_string()), ttl_ms };
        // Before it is sent: the cluster may have counted from then on, however late its answer comes.
        let sent = Instant::now();
        let reply: SessionReply =
            self.client.json(Effect::Read, Method::POST, "/v1/sessions".into(), Some(&body), timeout, None).await?;
        let mut confirmed = lock(&self.confirmed);
        *confirmed = sent.max(*confirmed);
        Ok(Duration::from_millis(reply.ttl_ms))
    }

    /// Keeps the session alive for as long as this future is polled, and returns why it cannot be any longer: it has ended, or
    /// nobody has confirmed for a whole time to live that it has not.
    pub async fn keep(&self) -> ClientError {
        let pause = self.ttl / SIGNS_PER_TTL;
        let mut next = self.confirmed() + pause;
        loop {
            tokio::time::sleep_until(next).await;
            next = Instant::now() + pause;
            let left = (self.confirmed() + self.ttl).saturating_duration_since(Instant::now());
            match self.keep_alive(left).await {
                Err(error) if error.code() == Some(ErrorCode::SessionExpired) => return error,
                Err(error) if self.confirmed().elapsed() + pause >= self.ttl => return error,
                _ => {}
            }
        }
    }

    /// Ends the session: its ephemeral keys vanish.
    ///
    /// # Errors
    /// Any but [`ClientError::Unknown`]. It then ends by itself.
    pub async fn close(&self, timeout: Duration) -> Result<SessionEndReply, ClientError> {
        let path = format!("/v1/sessions/{}", self.id);
        self.client.json(Effect::Read, Method::DELETE, path, None::<&()>, timeout, None).await
    }

    /// Sets a key's value; see [`HttpClient::put`]. Sent again where its answer is lost, and carried out once.
    ///
    /// # Errors
    /// As [`HttpClient::put`]. [`ErrorCode::SessionExpired`] where the session has ended and nothing was carried out.
    pub async fn put(&self, key: &[u8], value: Bytes, options: WriteOptions) -> Result<PutReply, ClientError> {
        let ticket = self.ticket();
        self.client.put_tagged(key, value, options, Some(&self.tag(&ticket))).await
    }

    /// Appends to a key's value; see [`HttpClient::append`].
    ///
    /// # Errors
    /// As [`HttpSession::put`].
    pub async fn append(&self, key: &[u8], suffix: Bytes, options: WriteOptions) -> Result<PutReply, ClientError> {
        let ticket = self.ticket();
        self.client.append_tagged(key, suffix, options, Some(&self.tag(&ticket))).await
    }

    /// Removes a key; see [`HttpClient::delete`].
    ///
    /// # Errors
    /// As [`HttpSession::put`].
    pub async fn delete(&self, key: &[u8], options: WriteOptions) -> Result<DeleteReply, ClientError> {
        let ticket = self.ticket();
        self.client.delete_tagged(key, options, Some(&self.tag(&ticket))).await
    }

    /// Carries out a transaction; see [`HttpClient::txn`].
    ///
    /// # Errors
    /// As [`HttpSession::put`].
    pub async fn txn(&self, request: &TxnRequest, timeout: Duration) -> Result<TxnReply, ClientError> {
        let ticket = self.ticket();
        self.client.txn_tagged(request, timeout, Some(&self.tag(&ticket))).await
    }

    fn ticket(&self) -> Ticket {
        let mut numbers = lock(&self.numbers);
        let number = numbers.next;
        numbers.next += 1;
        numbers.open.insert(number);
        Ticket { number, numbers: self.numbers.clone() }
    }

    fn tag(&self, ticket: &Ticket) -> Tag {
        let acked_below = lock(&self.numbers).open.first().copied().unwrap_or(ticket.number);
        Tag { session: self.id.clone(), number: ticket.number, acked_below }
    }
}

/// What is guarded is whole at every moment; so a thread that panicked elsewhere while it held it harms nothing.
fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_below_the_first_write_under_way_is_acknowledged() {
        let session = HttpClient::new(["127.0.0.1:1"]).unwrap().session("00", Duration::from_secs(60), 1);
        let [first, second] = [session.ticket(), session.ticket()];
        assert_eq!((session.tag(&second).number, session.tag(&second).acked_below), (2, 1));
        drop(first);
        assert_eq!(session.tag(&second).acked_below, 2);
        let third = session.ticket();
        drop(second);
        assert_eq!((session.tag(&third).number, session.tag(&third).acked_below), (3, 3));
    }

    #[test]
    fn a_session_from_elsewhere_begins_where_it_is_told_and_acknowledges_what_was_before() {
        let session = HttpClient::new(["127.0.0.1:1"]).unwrap().session("00", Duration::from_secs(60), 900);
        let ticket = session.ticket();
        assert_eq!((session.tag(&ticket).number, session.tag(&ticket).acked_below), (900, 900));
    }
}
