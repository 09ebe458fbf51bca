//! Real processes: a cluster of `kv-service` nodes on loopback, each with its own data directory, to be killed at will.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use kv_client::protocol::{
    DigestReply, MemberAddedReply, MemberRequest, MembersReply, PutReply, RoleReply, StatusReply, TransferReply,
};
use kv_client::{ClientError, HttpClient, ReadOptions, WriteOptions};
use link_relay::{LinkName, Relay};
use tempfile::TempDir;

use crate::ports::free_port;

/// Long enough that a test which needs all of it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that has no event to wait for: another process.
pub const GLANCE: Duration = Duration::from_millis(10);

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_kv-service");

/// One node: where it is found, and its process while it runs.
pub struct Node {
    pub listen: u16,
    pub http: u16,
    pub data_dir: PathBuf,
    /// What its process finds in its environment besides.
    pub environment: Vec<(&'static str, OsString)>,
    /// How it comes to a cluster that is there already; `None` for a founder, which names the others.
    pub joins: Option<Vec<String>>,
    process: Option<Child>,
}

impl Node {
    /// A node that does not run, with ports of its own and its data beneath `directory`.
    fn new(id: u64, directory: &Path) -> Node {
        let data_dir = directory.join(format!("node{id}"));
        Node { listen: free_port(), http: free_port(), data_dir, environment: Vec::new(), joins: None, process: None }
    }
}

/// A cluster of nodes in a directory of its own.
pub struct Cluster {
    pub engine: &'static str,
    pub directory: TempDir,
    pub nodes: BTreeMap<u64, Node>,
    /// Through which the nodes reach each other, where there is one.
    pub relay: Option<Relay>,
    extra: Vec<String>,
}

impl Cluster {
    /// Starts `count` nodes and waits until one leads.
    pub async fn start(engine: &'static str, count: u64) -> Cluster {
        Cluster::start_with(engine, count, &[]).await
    }

    /// As `start`, with further flags for every node.
    pub async fn start_with(engine: &'static str, count: u64, extra: &[&str]) -> Cluster {
        let mut cluster = Cluster::new(engine, count, extra);
        cluster.run_all();
        cluster.leader().await;
        cluster
    }

    /// A cluster of which no node runs yet.
    pub fn new(engine: &'static str, count: u64, extra: &[&str]) -> Cluster {
        let directory = TempDir::new().unwrap();
        let nodes = (1..=count).map(|id| (id, Node::new(id, directory.path()))).collect();
        Cluster { engine, nodes, directory, relay: None, extra: extra.iter().map(|flag| (*flag).to_owned()).collect() }
    }

    /// A node that does not run yet and will join at `contact`, with further flags of its own.
    pub fn invite(&mut self, id: u64, contact: u64, extra: &[&str]) {
        let mut node = Node::new(id, self.directory.path());
        let join = ["--join".to_owned(), self.http(contact)];
        node.joins = Some(join.into_iter().chain(extra.iter().map(|flag| (*flag).to_owned())).collect());
        assert!(self.nodes.insert(id, node).is_none(), "node {id} is there already");
    }

    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.nodes[&id].data_dir.clone()
    }

    /// Where what a node logs is found.
    pub fn log_file(&self, id: u64) -> PathBuf {
        self.directory.path().join(format!("node{id}.log"))
    }

    /// Where a node reaches another one.
    fn dial(&self, id: u64, peer: u64) -> SocketAddr {
        match &self.relay {
            Some(relay) => relay.port(LinkName::new(id, peer)).unwrap(),
            None => (Ipv4Addr::LOCALHOST, self.nodes[&peer].listen).into(),
        }
    }

    /// The command that runs a node over this data directory.
    pub fn command(&self, id: u64, data_dir: &Path) -> Command {
        let node = &self.nodes[&id];
        let mut command = program();
        command.env("XDG_STATE_HOME", self.directory.path().join("state"));
        command.args(["--engine", self.engine, "--id", &id.to_string()]);
        command.args([
            "--listen",
            &format!("127.0.0.1:{}", node.listen),
            "--http",
            &format!("127.0.0.1:{}", node.http),
        ]);
        command.arg("--data-dir").arg(data_dir);
        match &node.joins {
            Some(flags) => {
                command.args(flags);
            }
            None => {
                for (peer, _) in self.nodes.iter().filter(|(peer, node)| **peer != id && node.joins.is_none()) {
                    command.args(["--peer", &format!("{peer}={}", self.dial(id, *peer))]);
                }
            }
        }
        command.args(&self.extra);
        command.envs(node.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts a node that does not run.
    pub fn run(&mut self, id: u64) {
        let log = File::options().create(true).append(true).open(self.log_file(id)).unwrap();
        let mut command = self.command(id, &self.data_dir(id));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.nodes.get_mut(&id).unwrap().process = Some(child);
    }

    /// Starts all nodes; none of them runs.
    pub fn run_all(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.run(id);
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: u64) {
        let mut child = self.nodes.get_mut(&id).unwrap().process.take().expect("the node runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// `kill -9` of all that run, as one after another as a loop is.
    pub fn kill_all(&mut self) {
        for child in self.nodes.values_mut().filter_map(|node| node.process.as_mut()) {
            child.kill().unwrap();
        }
        for id in self.running() {
            self.nodes.get_mut(&id).unwrap().process.take().unwrap().wait().unwrap();
        }
    }

    /// Whether a node that was started has ended by itself.
    pub fn has_ended(&mut self, id: u64) -> bool {
        let process = self.nodes.get_mut(&id).unwrap().process.as_mut().expect("the node was started");
        process.try_wait().unwrap().is_some()
    }

    /// The number of a node's process, which runs.
    pub fn pid(&self, id: u64) -> u32 {
        self.nodes[&id].process.as_ref().expect("the node runs").id()
    }

    pub fn running(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| node.process.is_some()).map(|(id, _)| *id).collect()
    }

    pub fn http(&self, id: u64) -> String {
        format!("127.0.0.1:{}", self.nodes[&id].http)
    }

    /// A client of these nodes, which it tries in order.
    pub fn client(&self, ids: &[u64]) -> Client {
        let http = HttpClient::new(ids.iter().map(|id| self.http(*id))).unwrap();
        Client { http, timeout: Duration::from_secs(10) }
    }

    /// How a node says that it stands, if it answers.
    pub async fn status(&self, id: u64) -> Option<StatusReply> {
        self.client(&[id]).http.status(Duration::from_secs(1)).await.ok()
    }

    /// Waits until a node that runs leads and a majority of all nodes follow it.
    pub async fn leader(&self) -> u64 {
        self.leader_of(&self.nodes.keys().copied().collect::<Vec<_>>()).await
    }

    /// As `leader`, where these are the members.
    pub async fn leader_of(&self, members: &[u64]) -> u64 {
        let since = Instant::now();
        loop {
            let mut followers: BTreeMap<u64, usize> = BTreeMap::new();
            for id in self.running().into_iter().filter(|id| members.contains(id)) {
                if let Some(leader) = self.status(id).await.and_then(|status| status.leader_id) {
                    *followers.entry(leader).or_default() += 1;
                }
            }
            for (leader, count) in followers {
                let leads = self.status(leader).await.is_some_and(|status| status.role == RoleReply::Leader);
                if leads && self.running().contains(&leader) && 2 * count > members.len() {
                    return leader;
                }
            }
            assert!(since.elapsed() < PATIENCE, "no leader; {}", self.logs());
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Waits until every node that runs has applied the same, and returns the digest of each one's tables.
    pub async fn digests(&self) -> BTreeMap<u64, String> {
        let since = Instant::now();
        loop {
            let mut found = BTreeMap::new();
            for id in self.running() {
                if let Ok(reply) = self.client(&[id]).digest().await {
                    found.insert(id, (reply.index, reply.digest));
                }
            }
            let mut indexes = found.values().map(|(index, _)| index);
            let first = indexes.next();
            if found.len() == self.running().len() && indexes.all(|index| Some(index) == first) {
                return found.into_iter().map(|(id, (_, digest))| (id, digest)).collect();
            }
            assert!(since.elapsed() < PATIENCE, "the nodes do not converge: {found:?}; {}", self.logs());
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Everything that a node has logged.
    pub fn log_of(&self, id: u64) -> String {
        std::fs::read_to_string(self.log_file(id)).unwrap_or_default()
    }

    /// The last lines of every node's log, for a failure's message.
    pub fn logs(&self) -> String {
        let tail = |id: &u64| {
            let text = std::fs::read_to_string(self.log_file(*id)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().rev().take(25).collect();
            let lines: Vec<&str> = lines.into_iter().rev().collect();
            format!("--- node {id}\n{}\n", lines.join("\n"))
        };
        self.nodes.keys().map(tail).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill_all();
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// The client library with one timeout for everything.
#[derive(Clone)]
pub struct Client {
    http: HttpClient,
    timeout: Duration,
}

impl Client {
    pub fn with_timeout(self, timeout: Duration) -> Client {
        Client { timeout, ..self }
    }

    fn write(&self) -> WriteOptions {
        WriteOptions { timeout: self.timeout, ..WriteOptions::default() }
    }

    pub async fn put(&self, key: &str, value: &str) -> Result<PutReply, ClientError> {
        self.http.put(key.as_bytes(), Bytes::from(value.to_owned()), self.write()).await
    }

    pub async fn append(&self, key: &str, suffix: String) -> Result<PutReply, ClientError> {
        self.http.append(key.as_bytes(), Bytes::from(suffix), self.write()).await
    }

    /// The value as text.
    pub async fn get(&self, key: &str) -> Result<Option<String>, ClientError> {
        let options = ReadOptions { timeout: self.timeout, ..ReadOptions::default() };
        let value = self.http.get(key.as_bytes(), options).await?;
        Ok(value.map(|value| String::from_utf8(value.value.to_vec()).unwrap()))
    }

    /// Has a node take a snapshot; returns what that covers.
    pub async fn snapshot(&self) -> Result<u64, ClientError> {
        let call = self.http.call(Method::POST, "/v1/snapshot", None::<&()>, self.timeout);
        let reply: serde_json::Value = call.await?;
        Ok(reply["snapshot_index"].as_u64().unwrap())
    }

    pub async fn digest(&self) -> Result<DigestReply, ClientError> {
        self.http.call(Method::GET, "/v1/digest", None::<&()>, self.timeout).await
    }

    pub async fn members(&self) -> Result<MembersReply, ClientError> {
        self.http.call(Method::GET, "/v1/members", None::<&()>, self.timeout).await
    }

    pub async fn add_member(&self, member: &MemberRequest) -> Result<MemberAddedReply, ClientError> {
        self.http.call(Method::POST, "/v1/members", Some(member), self.timeout).await
    }

    pub async fn remove_member(&self, id: u64) -> Result<MembersReply, ClientError> {
        self.http.call(Method::DELETE, &format!("/v1/members/{id}"), None::<&()>, self.timeout).await
    }

    /// Has the leader hand over, to this node or to whomever it thinks best.
    pub async fn transfer(&self, to: Option<u64>) -> Result<TransferReply, ClientError> {
        let to = to.map_or_else(String::new, |to| format!("?to={to}"));
        self.http.call(Method::POST, &format!("/v1/leader/transfer{to}"), None::<&()>, self.timeout).await
    }

    /// Whether the node that is asked would take requests.
    pub async fn is_ready(&self) -> bool {
        let ready: Result<serde_json::Value, _> =
            self.http.call(Method::GET, "/health/ready", None::<&()>, self.timeout).await;
        ready.is_ok()
    }
}

/// Sends a signal, by its name, to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().unwrap();
    assert!(status.success(), "process {pid} got no SIG{name}");
}

/// The program, with none of this environment's settings.
pub fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUORATE_")) {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end. One that should have ended, but serves, is killed and fails the test.
pub fn run_to_end(mut command: Command) -> Output {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("did not end: {command:?}");
        }
        std::thread::sleep(GLANCE);
    }
    child.wait_with_output().unwrap()
}

/// Waits for a running node to end by itself.
pub fn wait_for_end(cluster: &mut Cluster, id: u64) -> ExitStatus {
    let since = Instant::now();
    let mut child = cluster.nodes.get_mut(&id).unwrap().process.take().expect("the node runs");
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if since.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("node {id} did not end; {}", cluster.logs());
        }
        std::thread::sleep(GLANCE);
    }
}
