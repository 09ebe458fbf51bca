//! The program as its users run it: a process for each node, to be added, handed to, paused, killed.
//!
//! ```text
//!   Clerk ── QUIC ──▶ kv-service × n, a data directory each ◀── HTTP ── operator
//!                     │  ▲ where it is asked for, nodes reach each other
//!                     ▼  │ through a relay in this process
//!                     relay
//! ```

mod relay;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyper::Method;
use kv_client::protocol::{MemberAddedReply, MemberRequest, MembersReply, RoleReply, StatusReply, TransferReply};
use kv_client::{Clerk, HttpClient, TlsFiles};
use link_relay::{Links, Relay};
use rustix::process::{Pid, Signal, kill_process};

use crate::replicas::Failure;

/// How long nodes may take to do what they must: a newcomer may have to be sent gigabytes.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long one request of the operator may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How often leadership is handed to a node that does not take it.
const TRANSFERS_MAX: u32 = 20;
/// Between two looks at another process.
const GLANCE: Duration = Duration::from_millis(5);

/// What a cluster is founded with.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The `kv-service` that is run.
    pub program: PathBuf,
    /// Its engine.
    pub engine: String,
    /// How many nodes.
    pub count: u64,
    /// Flags of every node.
    pub flags: Vec<String>,
    /// Further flags of some, by id.
    pub own_flags: BTreeMap<u64, Vec<String>>,
    /// The seed of a relay through which the nodes reach each other; directly without one.
    pub relay: Option<u64>,
}

/// A cluster of processes in a directory of its own. They end with it.
pub struct Processes {
    founding: Founding,
    directory: PathBuf,
    nodes: BTreeMap<u64, Process>,
    relay: Option<Relay>,
}

struct Process {
    listen: u16,
    http: u16,
    /// What it is given besides what every node is.
    flags: Vec<String>,
    child: Option<Child>,
}

/// The `kv-service` beside the program that runs.
pub fn program() -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe()?.with_file_name("kv-service"))
}

impl Processes {
    /// Founds a cluster of `count`, all with these flags, and waits until one leads.
    pub async fn found(engine: &str, directory: &Path, count: u64, flags: &[String]) -> Result<Processes, Failure> {
        let (engine, flags, program) = (engine.to_owned(), flags.to_vec(), program()?);
        let founding = Founding { program, engine, count, flags, own_flags: BTreeMap::new(), relay: None };
        Processes::found_as(founding, directory).await
    }

    /// Founds a cluster and waits until one leads.
    pub async fn found_as(founding: Founding, directory: &Path) -> Result<Processes, Failure> {
        if !founding.program.exists() {
            let program = founding.program.display();
            return Err(format!("{program} is not there; build it: cargo build --release --package kv-service").into());
        }
        fs::create_dir_all(directory)?;
        let mut listens = BTreeMap::new();
        for id in 1..=founding.count {
            listens.insert(id, free_port()?);
        }
        let relay = match founding.relay {
            Some(seed) => Some(relay::start(&listens, seed).await?),
            None => None,
        };
        let mut nodes = BTreeMap::new();
        for (id, listen) in &listens {
            let mut flags = relay::peers(relay.as_ref(), &listens, *id);
            flags.extend(founding.own_flags.get(id).cloned().unwrap_or_default());
            nodes.insert(*id, Process { listen: *listen, http: free_port()?, flags, child: None });
        }
        let mut cluster = Processes { founding, directory: directory.to_owned(), nodes, relay };
        for id in listens.into_keys() {
            cluster.start(id)?;
        }
        cluster.settled().await?;
        Ok(cluster)
    }

    /// Starts a node that does not run.
    pub fn start(&mut self, id: u64) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.log(id))?;
        let data_dir = self.data_dir(id);
        let mut command = self.command();
        command.args(["--exit-with-parent", "--engine", &self.founding.engine, "--id", &id.to_string()]);
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        command.args(["--listen", &format!("127.0.0.1:{}", node.listen)]);
        command.args(["--http", &format!("127.0.0.1:{}", node.http)]);
        command.arg("--data-dir").arg(data_dir).args(&node.flags).args(&self.founding.flags);
        node.child = Some(command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(())
    }

    /// The program, such that it finds the cluster's certificates and nothing that was meant for others.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.founding.program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("QUORATE_")) {
            command.env_remove(name);
        }
        command.env("XDG_STATE_HOME", self.directory.join("state"));
        command
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

    /// Stops a node where it stands, without its noticing (`SIGSTOP`).
    pub fn pause(&self, id: u64) -> Result<(), Failure> {
        self.signal(id, Signal::STOP)
    }

    /// Lets a node that was paused go on.
    pub fn resume(&self, id: u64) -> Result<(), Failure> {
        self.signal(id, Signal::CONT)
    }

    fn signal(&self, id: u64, signal: Signal) -> Result<(), Failure> {
        let pid = self.pid(id).and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(kill_process(pid.ok_or("the node does not run")?, signal)?)
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

    /// Where a node writes its log lines.
    pub fn log(&self, id: u64) -> PathBuf {
        self.directory.join(format!("node{id}.log"))
    }

    /// The process of a node that runs.
    pub fn pid(&self, id: u64) -> Option<u32> {
        self.nodes.get(&id)?.child.as_ref().map(Child::id)
    }

    /// The links between the nodes, where they go through a relay.
    pub fn links(&self) -> Option<&Links> {
        self.relay.as_ref().map(Relay::links)
    }

    /// A node's HTTP address.
    pub fn http(&self, id: u64) -> String {
        self.nodes.get(&id).map(|node| format!("127.0.0.1:{}", node.http)).unwrap_or_default()
    }

    /// Those that run, in order of id.
    pub fn running(&self) -> impl Iterator<Item = u64> + '_ {
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
            if let Some(id) = self.running().find(|id| self.has_ended(*id)) {
                return Err(self.ended(id));
            }
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

    /// Has a node lead, if it can be had, and waits until all follow; returns whoever leads.
    pub async fn lead_from(&self, id: u64) -> Result<u64, Failure> {
        for _ in 0..TRANSFERS_MAX {
            let leader = self.settled().await?;
            if leader == id {
                return Ok(leader);
            }
            // It may be refused, as while a node that came back is still behind; then again.
            if self.transfer(leader, id).await.is_err() {
                tokio::time::sleep(GLANCE).await;
            }
        }
        self.settled().await
    }

    /// Waits until a node has applied everything up to an index.
    pub async fn until_applied(&self, id: u64, index: u64) -> Result<(), Failure> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            if self.status(id).await.is_some_and(|status| status.applied_index >= index) {
                return Ok(());
            }
            tokio::time::sleep(GLANCE).await;
        }
        Err(self.late("a node does not catch up"))
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

    /// Whether a node has ended by itself.
    fn has_ended(&self, id: u64) -> bool {
        let stat = self.pid(id).and_then(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        // The state stands behind the name, which may have anything in it.
        stat.is_some_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
    }

    /// Why a node has ended, in its own last words.
    fn ended(&self, id: u64) -> Failure {
        let log = fs::read_to_string(self.log(id)).unwrap_or_default();
        format!("node {id} has ended: {}", log.lines().next_back().unwrap_or("it said nothing")).into()
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
