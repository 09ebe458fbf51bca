//! One kept HTTP/1.1 connection with one request at a time.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why a request had no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody answers at that address.
    Connect,
    /// The connection ended before the answer was complete.
    Lost,
}

impl Failure {
    /// The kind under which it is counted.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Failure::Connect => "cannot connect",
            Failure::Lost => "connection lost",
        }
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Kept for errors only.
    pub(super) body: Bytes,
}

/// A connection to one node.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// What to send as `Host`.
    pub(super) host: HeaderValue,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(endpoint: &str) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(endpoint).await.map_err(|_| Failure::Connect)?;
        stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
        let host = HeaderValue::from_str(endpoint).map_err(|_| Failure::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Connect)?;
        // It ends with the sender; what went wrong on it is what the sender reports.
        tokio::task::spawn_local(connection);
        Ok(Connection { sender, host })
    }

    /// Sends a request and reads the whole answer, or the connection could not be used again.
    pub(super) async fn ask(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
        self.sender.ready().await.map_err(|_| Failure::Lost)?;
        let response = self.sender.send_request(request).await.map_err(|_| Failure::Lost)?;
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            let body = body.collect().await.map_err(|_| Failure::Lost)?.to_bytes();
            return Ok(Answer { status, body });
        }
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| Failure::Lost)?;
        }
        Ok(Answer { status, body: Bytes::new() })
    }
}
