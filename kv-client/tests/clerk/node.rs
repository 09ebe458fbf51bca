//! A node that is a script: it takes connections, says hello, shows each test what it is asked and sends what it is told.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::{ClusterId, EngineName, NodeId};
use kv_client::wire::{
    ALPN, Answer, Answered, ClientHello, FrameReader, Leader, Numbered, Request, Requests, ServerHello, ToClient,
    WatchEvent, WatchRequest, Welcome, append_frame, hello,
};
use kv_client::{Clerk, ClerkBuilder, TlsFiles};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::time::timeout;

/// Nothing takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);
pub const CLUSTER: ClusterId = ClusterId(7);

pub async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("took too long")
}

/// An authority, with the certificates of a client.
pub struct Site {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    ca: CertificateDer<'static>,
}

impl Site {
    pub fn new() -> Site {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).unwrap();
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        let site = Site { dir, issuer: Issuer::new(params, key), ca: authority.der().clone() };
        let (certificate, key) = site.sign("client-test.orders.quorate");
        std::fs::write(site.path().join("client.pem"), certificate).unwrap();
        std::fs::write(site.path().join("client.key"), key).unwrap();
        site
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A Clerk's builder for these nodes.
    pub fn builder(&self, nodes: &[&Node]) -> ClerkBuilder {
        let endpoints = nodes.iter().map(|node| node.address.to_string());
        Clerk::builder().endpoints(endpoints).tls(TlsFiles::in_dir(self.path())).request_timeout(PATIENCE)
    }

    pub fn node(&self, id: u64) -> Node {
        self.node_named(id, &format!("node-{id}.orders.quorate"))
    }

    /// A node that shows another certificate than its own.
    pub fn node_named(&self, id: u64, name: &str) -> Node {
        let (certificate, key) = self.sign(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(config).unwrap()));
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = endpoint.local_addr().unwrap();
        Node { id, endpoint, address, leader: Leader::default(), cluster: CLUSTER }
    }
}

/// A node.
pub struct Node {
    id: u64,
    endpoint: Endpoint,
    pub address: SocketAddr,
    /// Whom it takes for the leader.
    pub leader: Leader,
    pub cluster: ClusterId,
}

impl Node {
    /// Leads, and says so.
    pub fn leading(mut self) -> Node {
        self.leader = self.as_leader();
        self
    }

    pub fn as_leader(&self) -> Leader {
        Leader { node: Some(NodeId(self.id)), address: Some(self.address.to_string()) }
    }

    pub fn welcome(&self) -> ServerHello {
        ServerHello::Welcome(Welcome {
            node: NodeId(self.id),
            cluster: self.cluster,
            engine: EngineName::new("any"),
            leader: self.leader.clone(),
            window: 100,
        })
    }

    /// The next connection, before any hello.
    pub async fn accept_raw(&self) -> Connection {
        within(async { self.endpoint.accept().await.expect("open").await.expect("TLS is in order") }).await
    }

    /// A handshake that may fail.
    pub async fn try_accept(&self) -> Result<(), String> {
        let connecting = self.endpoint.accept().await.expect("open");
        connecting.await.map(drop).map_err(|error| error.to_string())
    }

    /// The next connection, greeted.
    pub async fn accept(&self) -> Talk {
        let connection = self.accept_raw().await;
        let (mut send, mut receive) = within(connection.accept_bi()).await.unwrap();
        within(hello::read::<ClientHello>(&mut receive)).await.unwrap();
        within(hello::write(&mut send, &self.welcome())).await.unwrap();
        Talk { connection, send, receive, frames: FrameReader::new(), waiting: Vec::new() }
    }
}

/// A greeted connection.
pub struct Talk {
    pub connection: Connection,
    send: SendStream,
    receive: RecvStream,
    frames: FrameReader,
    waiting: Vec<Numbered>,
}

impl Talk {
    /// The next request.
    pub async fn next(&mut self) -> Numbered {
        while self.waiting.is_empty() {
            if let Some(Requests { requests, .. }) = self.frames.next_message().unwrap() {
                self.waiting = requests;
                continue;
            }
            let chunk = within(self.receive.read_chunk(usize::MAX, true)).await.unwrap().expect("the stream goes on");
            self.frames.push(&chunk.bytes);
        }
        self.waiting.remove(0)
    }

    /// The next request; `None` where the Clerk has gone.
    pub async fn next_or_end(&mut self) -> Option<Numbered> {
        let connection = self.connection.clone();
        tokio::select! {
            biased;
            _ = connection.closed() => None,
            request = self.next() => Some(request),
        }
    }

    /// The next request that is no opening of a session; those are granted.
    pub async fn next_besides_sessions(&mut self) -> Numbered {
        loop {
            let request = self.next().await;
            match request.request {
                Request::OpenSession { ttl_ms, .. } => {
                    self.answer(request.id, Answer::SessionOpened { ttl_ms }).await;
                }
                _ => return request,
            }
        }
    }

    pub async fn answer(&mut self, id: u64, answer: Answer) {
        self.say(&ToClient::Replies(vec![Answered { id, answer }])).await;
    }

    pub async fn say(&mut self, message: &ToClient) {
        let mut frame = Vec::new();
        append_frame(message, &mut frame).unwrap();
        self.send_bytes(frame).await;
    }

    pub async fn send_bytes(&mut self, bytes: Vec<u8>) {
        within(self.send.write_chunk(Bytes::from(bytes))).await.unwrap();
    }

    /// Ends the connection as a node does that is gone.
    pub fn cut(self) {
        self.connection.close(0_u8.into(), b"cut");
    }

    /// The next watch.
    pub async fn watch(&self) -> (WatchRequest, Watcher) {
        let (send, mut receive) = within(self.connection.accept_bi()).await.unwrap();
        let bytes = within(receive.read_to_end(1 << 20)).await.unwrap();
        let mut frames = FrameReader::new();
        frames.push(&bytes);
        (frames.next_message().unwrap().unwrap(), Watcher { send })
    }
}

/// A watch's stream.
pub struct Watcher {
    send: SendStream,
}

impl Watcher {
    pub async fn say(&mut self, event: &WatchEvent) {
        let mut frame = Vec::new();
        append_frame(event, &mut frame).unwrap();
        within(self.send.write_chunk(Bytes::from(frame))).await.unwrap();
    }
}
