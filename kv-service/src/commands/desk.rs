//! What a command works with: the client, where the nodes are, how results are printed, and in which session writes are.
//!
//! The commands of the command line and those of the REPL are the same functions; they differ in the desk they sit at.

use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use kv_client::protocol::{Consistency, DeleteReply, ErrorCode, PutReply};
use kv_client::txn::{TxnReply, TxnRequest};
use kv_client::{ClientError, HttpClient, HttpSession, ReadOptions, WriteOptions};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::output;
use crate::error::ServiceError;

/// How long a session of the REPL lives once nobody keeps it alive.
const OWN_SESSION_TTL: Duration = Duration::from_secs(60);

/// What a command works with.
#[derive(Debug)]
pub struct Desk {
    /// The client, of all endpoints.
    pub client: HttpClient,
    /// The endpoints, as they were given.
    pub endpoints: Vec<String>,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Results are JSON.
    pub json: bool,
    writer: Writer,
}

/// In which session writes are.
#[derive(Debug)]
enum Writer {
    /// In none.
    Plain,
    /// In one that somebody else keeps.
    Joined(HttpSession),
    /// In one of its own, which is opened before the first write.
    Own(Mutex<Option<Kept>>),
}

/// A session and the task that keeps it alive.
#[derive(Debug)]
struct Kept {
    session: HttpSession,
    keeper: JoinHandle<ClientError>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A client of these endpoints; one that is none is a wrong usage.
pub fn client_of<S: AsRef<str>>(endpoints: &[S]) -> Result<HttpClient, ServiceError> {
    HttpClient::new(endpoints).map_err(|error| match error {
        ClientError::Endpoint { .. } => ServiceError::Usage(error.to_string()),
        other => other.into(),
    })
}

impl Desk {
    /// A desk whose writes are in no session: where the answer to one is lost, it is not repeated.
    pub fn new(endpoints: Vec<String>, timeout: Duration, json: bool) -> Result<Desk, ServiceError> {
        Ok(Desk { client: client_of(&endpoints)?, endpoints, timeout, json, writer: Writer::Plain })
    }

    /// The same desk with writes in a session of its own.
    pub fn with_own_session(self) -> Desk {
        Desk { writer: Writer::Own(Mutex::new(None)), ..self }
    }

    /// The same desk with writes in a session that was opened elsewhere. They are numbered by the clock, since nobody
    /// remembers the last number: so the session must be used from one place at a time.
    pub fn in_session(self, id: &str) -> Desk {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let number = u64::try_from(now.as_micros()).unwrap_or(u64::MAX / 2);
        let session = self.client.session(id, OWN_SESSION_TTL, number);
        Desk { writer: Writer::Joined(session), ..self }
    }

    /// Whether other commands follow this one, as in the REPL.
    pub fn is_one_of_many(&self) -> bool {
        matches!(self.writer, Writer::Own(_))
    }

    /// How a read is carried out.
    pub fn read(&self, consistency: Consistency) -> ReadOptions {
        ReadOptions { consistency, timeout: self.timeout }
    }

    /// Prints `value` as JSON if that is asked for, and otherwise `text`.
    pub fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), ServiceError> {
        print(self.json, value, text)
    }

    /// Prints `value` as JSON if that is asked for, and otherwise a table, which ends its lines itself.
    pub fn print_table(&self, value: &impl Serialize, table: impl FnOnce() -> String) -> Result<(), ServiceError> {
        if self.json { output::line(&json_line(value)?) } else { output::write(table().as_bytes()) }
    }

    /// Sets a key's value.
    pub async fn put(&self, key: &[u8], value: Bytes, options: WriteOptions) -> Result<PutReply, ClientError> {
        let put = async |session: Option<&HttpSession>| match session {
            None => self.client.put(key, value.clone(), options).await,
            Some(session) => session.put(key, value.clone(), options).await,
        };
        self.write(put).await
    }

    /// Appends to a key's value.
    pub async fn append(&self, key: &[u8], suffix: Bytes, options: WriteOptions) -> Result<PutReply, ClientError> {
        let append = async |session: Option<&HttpSession>| match session {
            None => self.client.append(key, suffix.clone(), options).await,
            Some(session) => session.append(key, suffix.clone(), options).await,
        };
        self.write(append).await
    }

    /// Removes a key.
    pub async fn delete(&self, key: &[u8], options: WriteOptions) -> Result<DeleteReply, ClientError> {
        let delete = async |session: Option<&HttpSession>| match session {
            None => self.client.delete(key, options).await,
            Some(session) => session.delete(key, options).await,
        };
        self.write(delete).await
    }

    /// Carries out a transaction.
    pub async fn txn(&self, request: &TxnRequest) -> Result<TxnReply, ClientError> {
        let txn = async |session: Option<&HttpSession>| match session {
            None => self.client.txn(request, self.timeout).await,
            Some(session) => session.txn(request, self.timeout).await,
        };
        self.write(txn).await
    }

    /// Ends the session of its own, if there is one.
    pub async fn close(&self) {
        if let Writer::Own(own) = &self.writer
            && let Some(kept) = own.lock().await.take()
        {
            // Where this fails, it ends by itself.
            let _ = kept.session.close(self.timeout.min(Duration::from_secs(2))).await;
        }
    }

    /// Writes in the session, if there is one. One of its own that has ended is replaced, once: a request in an ended session
    /// is never carried out (and where it is not certain that it was not, the error is another one).
    async fn write<R>(
        &self,
        write: impl AsyncFn(Option<&HttpSession>) -> Result<R, ClientError>,
    ) -> Result<R, ClientError> {
        let own = match &self.writer {
            Writer::Plain => return write(None).await,
            Writer::Joined(session) => return write(Some(session)).await,
            Writer::Own(own) => own,
        };
        match write(Some(&self.own_session(own).await?)).await {
            Err(error) if error.code() == Some(ErrorCode::SessionExpired) => {
                own.lock().await.take();
                write(Some(&self.own_session(own).await?)).await
            }
            outcome => outcome,
        }
    }

    async fn own_session(&self, own: &Mutex<Option<Kept>>) -> Result<HttpSession, ClientError> {
        let mut own = own.lock().await;
        if let Some(kept) = own.as_ref().filter(|kept| !kept.keeper.is_finished()) {
            return Ok(kept.session.clone());
        }
        let session = self.client.open_session(OWN_SESSION_TTL, self.timeout).await?;
        let kept = session.clone();
        *own = Some(Kept { session: session.clone(), keeper: tokio::spawn(async move { kept.keep().await }) });
        Ok(session)
    }
}

/// Prints `value` as JSON if that is asked for, and otherwise `text`.
pub fn print(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), ServiceError> {
    if json { output::line(&json_line(value)?) } else { output::line(&text()) }
}

/// One line of JSON.
fn json_line(value: &impl Serialize) -> Result<String, ServiceError> {
    let line = serde_json::to_string(value).map_err(io::Error::from);
    line.map_err(ServiceError::io("cannot write the result as JSON"))
}
