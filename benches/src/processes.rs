//! The program as its users run it: a process for each node, to be added, handed to, killed.
//!
//! ```text
//!   Clerk ── QUIC ──▶ kv-service × n, a data directory each ◀── HTTP ── operator
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper::Method;
use kv_client::protocol::{MemberAddedReply, MemberRequest, MembersReply, RoleReply, StatusReply, TransferReply};
use kv_client::{Clerk, HttpClient, TlsFiles};

use crate::replicas::Failure;

/// How long nodes may take to do what they must: a newcomer may have to be sent gigabytes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long one request of the operator may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at another process.
const GLANCE: Duration = Duration::from_millis(5);

/// A cluster of processes in a directory of its own. They end with it.
pub struct Processes {
    program: PathBuf,
    engine: String,
    directory: PathBuf,
    flags: Vec<String>,
    nodes: BTreeMap<u64, Process>,
}

struct Process {
    listen: u16,
    http: u16,
    /// What it is given besides what every node is.
    flags: Vec<String>,
    child: Option<Child>,
}

impl Processes {
    /// Founds a cluster of `count`, all with these flags, and waits until one leads.
    pub async fn found(engine: &str, directory: &Path, count: u64, flags: &[String]) -> Result<Processes, Failure> {
        kv_service::engines::parse(engine)?;
        let program = std::env::current_exe()?.with_file_name("kv-service");
        if !program.exists() {
            let program = program.display();
            return Err(format!("{program} is not there; build it: cargo build --release --package kv-service").into());
        }
        fs::create_dir_all(directory)?;
        let (directory, engine) = (directory.to_owned(), engine.to_owned());
        let mut cluster = Processes { program, engine, directory, flags: flags.to_vec(), nodes: BTreeMap::new() };
        for id in 1..=count {
            let (listen, http) = (free_port()?, free_port()?);
            cluster.nodes.insert(id, Process { listen, http, flags: Vec::new(), child: None });
        }
        let ids: Vec<u64> = cluster.nodes.keys().copied().collect();
        for id in &ids {
            let others = cluster.nodes.iter().filter(|(other, _)| *other != id);
            let peers =
                others.flat_map(|(other, node)| ["--peer".to_owned(), format!("{other}=127.0.0.1:{}", node.listen)]);
            let peers = peers.collect();
            if let Some(node) = cluster.nodes.get_mut(id) {
                node.flags = peers;
            }
        }
        for id in ids {
            cluster.start(id)?;
        }
        cluster.settled().await?;
        Ok(cluster)
    }

    /// Starts a node that does not run.
    pub fn start(&mut self, id: u64) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.directory.join(format!("node{id}.log")))?;
        let (state, data_dir) = (self.directory.join("state"), self.data_dir(id));
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUORATE_")) {
            command.env_remove(name);
        }
        command.env("XDG_STATE_HOME", state).args(["--engine", &self.engine, "--id", &id.to_string()]);
        command.args(["--listen", &format!("127.0.0.1:{}", node.listen)]);
        command.args(["--http", &format!("127.0.0.1:{}", node.http)]);
        command.arg("--data-dir").arg(data_dir).args(&node.flags).args(&self.flags);
        node.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    /// Starts a blank node that joins at the leader, and stays a learner where it is told so.
    pub async fn join(&mut self, id: u64, learner: bool) -> Result<(), Failure> {
        let contact = self.leader().await?;
        let mut flags = vec!["--join".to_owned(), self.http(contact)];
        if learner {
            flags.push("--learner".to_owned());
        }
        self.nodes.insert(id, Process { listen: free_port()?, http: free_port()?, flags, child: None });
        self.start(id)
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: u64) -> Result<(), Failure> {
        if let Some(mut child) = self.nodes.get_mut(&id).and_then(|node| node.child.take()) {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Ends a node for ever: its data directory goes with it.
    pub fn discard(&mut self, id: u64) -> Result<(), Failure> {
        self.kill(id)?;
        self.nodes.remove(&id);
        Ok(fs::remove_dir_all(self.data_dir(id))?)
    }

    fn data_dir(&self, id: u64) -> PathBuf {
        self.directory.join(format!("node{id}"))
    }

    fn http(&self, id: u64) -> String {
        self.nodes.get(&id).map(|node| format!("127.0.0.1:{}", node.http)).unwrap_or_default()
    }

    fn running(&self) -> impl Iterator<Item = u64> + '_ {
        self.nodes.iter().filter(|(_, node)| node.child.is_some()).map(|(id, _)| *id)
    }

    /// A Clerk of all nodes that there are now.
    pub async fn clerk(&self, window: usize) -> Result<Clerk, Failure> {
        let endpoints = self.nodes.values().map(|node| format!("127.0.0.1:{}", node.listen));
        let tls = TlsFiles::in_dir(self.directory.join("state/quorate"));
        Ok(Clerk::builder().endpoints(endpoints).tls(tls).window(window).request_timeout(TIMEOUT).connect().await?)
    }

    /// How a node stands, if it answers.
    pub async fn status(&self, id: u64) -> Option<StatusReply> {
        let client = HttpClient::new([self.http(id)]).ok()?;
        client.status(Duration::from_secs(1)).await.ok()
    }

    /// Whoever leads, as soon as somebody does.
    pub async fn leader(&self) -> Result<u64, Failure> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            for id in self.running() {
                if self.status(id).await.is_some_and(|status| status.role == RoleReply::Leader) {
                    return Ok(id);
                }
            }
            tokio::time::sleep(GLANCE).await;
        }
        Err(self.late("nobody leads"))
    }

    /// Waits until every node that runs follows one leader and has applied what that had committed; returns the leader.
    pub async fn settled(&self) -> Result<u64, Failure> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            let leader = self.leader().await?;
            let goal = self.status(leader).await.map_or(u64::MAX, |status| status.commit_index);
            let mut settled = true;
            for id in self.running() {
                let status = self.status(id).await;
                settled &= status.is_some_and(|found| found.leader_id == Some(leader) && found.applied_index >= goal);
            }
            if settled {
                return Ok(leader);
            }
            tokio::time::sleep(GLANCE).await;
        }
        Err(self.late("the nodes do not settle"))
    }

    /// Who the members are, as the node with the id `at` knows.
    pub async fn members(&self, at: u64) -> Result<MembersReply, Failure> {
        Ok(HttpClient::new([self.http(at)])?.call(Method::GET, "/v1/members", None::<&()>, TIMEOUT).await?)
    }

    /// Waits until the members stand so at the node with the id `at`; returns for how long.
    pub async fn until_members(&self, at: u64, stand: impl Fn(&MembersReply) -> bool) -> Result<Duration, Failure> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if stand(&self.members(at).await?) {
                return Ok(since.elapsed());
            }
            tokio::time::sleep(GLANCE).await;
        }
        Err(self.late("the members do not change"))
    }

    /// Has a learner vote.
    pub async fn promote(&self, id: u64, at: u64) -> Result<MemberAddedReply, Failure> {
        let request = MemberRequest { id, ..MemberRequest::default() };
        Ok(HttpClient::new([self.http(at)])?.call(Method::POST, "/v1/members", Some(&request), TIMEOUT).await?)
    }

    /// Removes a member.
    pub async fn remove(&self, id: u64, at: u64) -> Result<MembersReply, Failure> {
        let path = format!("/v1/members/{id}");
        Ok(HttpClient::new([self.http(at)])?.call(Method::DELETE, &path, None::<&()>, TIMEOUT).await?)
    }

    /// Has the leader, which is asked itself, hand over.
    pub async fn transfer(&self, leader: u64, to: u64) -> Result<TransferReply, Failure> {
        let path = format!("/v1/leader/transfer?to={to}");
        Ok(HttpClient::new([self.http(leader)])?.call(Method::POST, &path, None::<&()>, TIMEOUT).await?)
    }

    /// A client of all nodes that run but this one.
    pub fn others(&self, than: u64) -> Result<HttpClient, Failure> {
        Ok(HttpClient::new(self.running().filter(|id| *id != than).map(|id| self.http(id)))?)
    }

    /// Has every node take a snapshot.
    pub async fn snapshot(&self) -> Result<(), Failure> {
        for id in self.running() {
            let client = HttpClient::new([self.http(id)])?;
            let _: kv_client::protocol::SnapshotReply =
                client.call(Method::POST, "/v1/snapshot", None::<&()>, PATIENCE).await?;
        }
        Ok(())
    }

    fn late(&self, what: &str) -> Failure {
        format!("{what}; the logs are in {}", self.directory.display()).into()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in self.nodes.values_mut().filter_map(|node| node.child.as_mut()) {
            // Whoever has ended already needs no killing.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that is free for both UDP and TCP.
fn free_port() -> Result<u16, Failure> {
    loop {
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
}
