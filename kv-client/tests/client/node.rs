//! A node that says what a test wants it to say, and remembers what it was asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// What the node does with a request, once it has read all of it.
#[derive(Clone, Debug)]
pub(crate) enum Play {
    Answer {
        status: u16,
        headers: Vec<(&'static str, &'static str)>,
        body: String,
    },
    /// The leader is there.
    Elsewhere(String),
    HangUp,
    Silence,
    /// Something else, later.
    Late {
        after: Duration,
        play: Box<Play>,
    },
}

impl Play {
    pub(crate) fn ok(body: serde_json::Value) -> Play {
        Play::Answer { status: 200, headers: vec![], body: body.to_string() }
    }

    pub(crate) fn error(status: u16, code: &str) -> Play {
        let body = serde_json::json!({"error": code, "message": format!("about {code}"), "leader": 2});
        Play::Answer { status, headers: vec![], body: body.to_string() }
    }
}

/// A request as the node saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

#[derive(Debug, Default)]
struct Script {
    plays: VecDeque<Play>,
    seen: Vec<Seen>,
    connections: usize,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// A node that does these things, one for each request, and hangs up when there are no more.
    pub(crate) async fn start(plays: impl IntoIterator<Item = Play>) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script { plays: plays.into_iter().collect(), ..Script::default() }));
        let task = tokio::spawn(serve(listener, script.clone()));
        Node { address, script, task }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.script.lock().unwrap().connections
    }
}

/// An address at which nobody listens, and nobody else can: it is bound, and refuses every connection.
#[derive(Debug)]
pub(crate) struct Nowhere(TcpSocket);

impl Nowhere {
    pub(crate) fn new() -> Nowhere {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Nowhere(socket)
    }

    pub(crate) fn endpoint(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }
}

async fn serve(listener: TcpListener, script: Arc<Mutex<Script>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        script.lock().unwrap().connections += 1;
        let script = script.clone();
        let answer = service_fn(move |request| answer(script.clone(), request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
        // Ends in an error where the script hangs up.
        tokio::spawn(async move { connection.await.is_ok() });
    }
}

async fn answer(script: Arc<Mutex<Script>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, HangUp> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| HangUp)?.to_bytes();
    let line = format!("{} {}", head.method, head.uri);
    let mut play = {
        let mut script = script.lock().unwrap();
        script.seen.push(Seen { line, headers: head.headers, body });
        script.plays.pop_front().unwrap_or(Play::HangUp)
    };
    while let Play::Late { after, play: later } = play {
        tokio::time::sleep(after).await;
        play = *later;
    }
    match play {
        Play::Answer { status, headers, body } => {
            let response = Response::builder().status(status);
            let response = headers.into_iter().fold(response, |response, (name, value)| response.header(name, value));
            Ok(response.body(Full::new(body.into())).unwrap())
        }
        Play::Elsewhere(location) => {
            let body = serde_json::json!({"error": "not_leader", "message": "another node leads", "leader": 2});
            let response = Response::builder().status(307).header("location", location);
            Ok(response.body(Full::new(body.to_string().into())).unwrap())
        }
        Play::HangUp | Play::Late { .. } => Err(HangUp),
        Play::Silence => match std::future::pending::<Infallible>().await {},
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the script hangs up")]
struct HangUp;
