//! One kept HTTP/1.1 connection with one request at a time.

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ETAG, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Why a request had no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// Nobody answers at that address.
    Connect,
    /// The connection ended before the answer was complete.
    Lost,
}

impl Broken {
    /// The kind under which it is counted.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Broken::Connect => "cannot connect",
            Broken::Lost => "connection lost",
        }
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Kept for errors, and where it is wanted.
    pub(super) body: Bytes,
    /// What stands as the entity tag: the key's revision, in quotes.
    pub(super) tag: Option<HeaderValue>,
}

/// A connection to one node.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// What to send as `Host`.
    pub(super) host: HeaderValue,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(endpoint: &str) -> Result<Connection, Broken> {
        let stream = TcpStream::connect(endpoint).await.map_err(|_| Broken::Connect)?;
        stream.set_nodelay(true).map_err(|_| Broken::Connect)?;
        let host = HeaderValue::from_str(endpoint).map_err(|_| Broken::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Broken::Connect)?;
        // It ends with the sender; what went wrong on it is what the sender reports.
        tokio::task::spawn_local(connection);
        Ok(Connection { sender, host })
    }

    /// Sends a request and reads the whole answer, or the connection could not be used again.
    pub(super) async fn ask(&mut self, request: Request<Full<Bytes>>, wants_body: bool) -> Result<Answer, Broken> {
        self.sender.ready().await.map_err(|_| Broken::Lost)?;
        let mut response = self.sender.send_request(request).await.map_err(|_| Broken::Lost)?;
        let status = response.status();
        let tag = response.headers_mut().remove(ETAG);
        let (mut body, mut kept) = (response.into_body(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Broken::Lost)?;
            if let (true, Some(data)) = (wants_body || !status.is_success(), frame.data_ref()) {
                kept.extend_from_slice(data);
            }
        }
        Ok(Answer { status, body: kept.freeze(), tag })
    }
}
