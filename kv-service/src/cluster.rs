//! `kv-service cluster`: a local cluster in the foreground, one child process for each node.
//!
//! ```text
//!   cluster ──stdin──▶ node 1      held open and never written to: when it closes, the node stops in order
//!      ▲ └────stdin──▶ node 2      (see `stop`), and the kernel closes it even if this process is killed
//!      └──stdout, stderr── each line printed with the prefix of its node
//! ```
//!
//! Ctrl-C closes every standard input; who is still there after [`STOP_GRACE`] is killed. Children have process groups
//! of their own, so that the terminal's Ctrl-C reaches this process alone and the order of events is ours. A node that
//! dies is reported and stays dead, so that one can watch what the others do.
//!
//! With `--relay` the nodes reach each other only through a relay in this process; see [`relay`].

mod relay;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::engines;
use crate::error::ServiceError;
use crate::stop::Stop;
use crate::telemetry::no_colour;

/// How long a node may take to stop before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// HTTP ports lie this far above the peers' ports.
const HTTP_OFFSET: u16 = 1000;
/// The longest line that is passed on in one piece.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Lines that wait for a slow terminal; beyond that the nodes' output pipes fill up.
const LINES_WAITING_MAX: usize = 1024;

/// A local cluster in the foreground
#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// The consensus engine: raft or paxos
    #[arg(long, env = "QUORATE_ENGINE", value_name = "ENGINE")]
    pub engine: String,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// Where the nodes keep their data [default: ./quorate-cluster, in a folder for this engine and size]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Node i listens on this port plus i, and serves HTTP a thousand higher
    #[arg(long, value_name = "PORT", default_value_t = 7000, value_parser = clap::value_parser!(u16).range(1..=64_000))]
    pub base_port: u16,
    /// Passed on to every node: what is logged
    #[arg(long, env = "QUORATE_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Passed on to every node: do not wait for the disk
    #[arg(long)]
    pub no_sync: bool,
    /// Let the nodes reach each other through a relay whose links can be slowed down, made to lose packets, and cut
    #[arg(long)]
    pub relay: bool,
    /// Decides which packets the relay loses, and how late others are
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "relay")]
    pub relay_seed: u64,
}

/// Something to show on the terminal.
enum Report {
    /// A node said something.
    Line { node: u16, text: Vec<u8> },
    /// A node has ended.
    Ended { node: u16, status: io::Result<ExitStatus> },
}

impl ClusterArgs {
    fn listen(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + node)
    }

    /// Where a node reaches another one.
    fn dial(&self, node: u16, peer: u16) -> String {
        if self.relay { relay::port(self, node, peer).to_string() } else { self.listen(peer) }
    }

    fn http(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.base_port + HTTP_OFFSET + node)
    }

    fn endpoints(&self) -> String {
        (1..=self.nodes).map(|node| self.http(node)).collect::<Vec<_>>().join(",")
    }

    /// A data directory belongs to one engine and one set of founders, so that each kind of cluster gets its own and
    /// trying the other engine is no error.
    fn directory(&self) -> PathBuf {
        match &self.dir {
            Some(dir) => dir.clone(),
            None => Path::new("./quorate-cluster").join(format!("{}-{}", self.engine, self.nodes)),
        }
    }

    /// The command line of a node.
    fn node_arguments(&self, node: u16) -> Vec<String> {
        let directory = self.directory().join(format!("node-{node}"));
        let mut arguments = vec![
            format!("--engine={}", self.engine),
            format!("--id={node}"),
            format!("--listen={}", self.listen(node)),
            format!("--http={}", self.http(node)),
            format!("--data-dir={}", directory.display()),
            format!("--log-level={}", self.log_level),
            "--exit-with-parent".to_owned(),
        ];
        arguments.extend(
            (1..=self.nodes)
                .filter(|peer| *peer != node)
                .map(|peer| format!("--peer={peer}={}", self.dial(node, peer))),
        );
        if self.no_sync {
            arguments.push("--no-sync".to_owned());
        }
        arguments
    }
}

/// Runs the cluster until Ctrl-C, or until every node has ended.
pub async fn run(arguments: ClusterArgs) -> Result<(), ServiceError> {
    engines::parse(&arguments.engine)?;
    let program = std::env::current_exe().map_err(ServiceError::io("cannot find this program's own file"))?;
    // Kept for as long as the nodes run.
    let _relay = relay::start(&arguments).await?;
    let (reports, mut incoming) = mpsc::channel(LINES_WAITING_MAX);
    let (kill, killed) = watch::channel(false);
    let mut leashes: Vec<ChildStdin> = Vec::new();
    let mut nodes = JoinSet::new();
    for node in 1..=arguments.nodes {
        let mut child = spawn(&program, &arguments, node)?;
        leashes.extend(child.stdin.take());
        nodes.spawn(watch_node(node, child, reports.clone(), killed.clone()));
    }
    drop((reports, killed));
    let screen = Screen::new();
    screen.print(&welcome(&arguments));

    let mut stop = Stop::listen(false)?;
    let mut deadline = Box::pin(tokio::time::sleep(Duration::MAX));
    let mut stopping = false;
    loop {
        tokio::select! {
            report = incoming.recv() => match report {
                Some(report) => screen.report(report),
                None if stopping => return Ok(()),
                None => return Err(ServiceError::ClusterGone),
            },
            _ = stop.requested() => {
                let grace = if stopping { Duration::ZERO } else { STOP_GRACE };
                deadline.set(tokio::time::sleep(grace));
                if !stopping {
                    stopping = true;
                    leashes.clear();
                    screen.print("stopping every node; Ctrl-C again kills them\n");
                }
            }
            () = &mut deadline, if !*kill.borrow() => {
                screen.print("killing the nodes that have not stopped\n");
                kill.send_replace(true);
            }
        }
    }
}

fn spawn(program: &Path, arguments: &ClusterArgs, node: u16) -> Result<Child, ServiceError> {
    Command::new(program)
        .args(arguments.node_arguments(node))
        // Settings of a single node in the environment would be given to all of them.
        .env_remove("QUORATE_CONFIG")
        .env_remove("QUORATE_PEERS")
        .env_remove("QUORATE_JOIN")
        .env_remove("QUORATE_LEARNER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(ServiceError::io(format!("cannot start node {node}")))
}

/// Passes on what a node says until it has ended, then says how.
async fn watch_node(node: u16, mut child: Child, reports: mpsc::Sender<Report>, mut killed: watch::Receiver<bool>) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status = async {
        tokio::select! {
            status = child.wait() => return status,
            _ = killed.wait_for(|killed| *killed) => {}
        }
        child.kill().await?;
        child.wait().await
    };
    let (status, (), ()) =
        tokio::join!(status, pass_on(node, stdout, reports.clone()), pass_on(node, stderr, reports.clone()));
    // The receiver lives as long as the cluster.
    let _ = reports.send(Report::Ended { node, status }).await;
}

async fn pass_on(node: u16, output: Option<impl AsyncRead + Unpin>, reports: mpsc::Sender<Report>) {
    use tokio::io::AsyncReadExt;
    let Some(output) = output else { return };
    let mut output = BufReader::new(output);
    loop {
        let mut text = Vec::new();
        match (&mut output).take(LINE_BYTES_MAX).read_until(b'\n', &mut text).await {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        if text.last() == Some(&b'\n') {
            text.pop();
        }
        if reports.send(Report::Line { node, text }).await.is_err() {
            return;
        }
    }
}

/// How to talk to the cluster.
fn welcome(arguments: &ClusterArgs) -> String {
    let endpoints = arguments.endpoints();
    let first = arguments.http(1);
    // As it was typed, so that the lines below can be copied.
    let program = std::env::args().next().unwrap_or_else(|| "kv-service".to_owned());
    let mut text =
        format!("{} nodes of {}, data in {}\n\n", arguments.nodes, arguments.engine, arguments.directory().display());
    for node in 1..=arguments.nodes {
        text += &format!("  node {node}   http://{}   peers {}\n", arguments.http(node), arguments.listen(node));
    }
    text += &format!(
        "\n  {program} put greeting hello --endpoints {endpoints}\n  {program} get greeting --endpoints {endpoints}\n  curl -X PUT --data hello http://{first}/v1/kv/greeting\n  curl http://{first}/v1/status\n  {program} bench --endpoints {endpoints}\n"
    );
    if arguments.relay {
        text += &relay::welcome(arguments, &program);
    }
    text + "\nCtrl-C stops every node.\n\n"
}

/// Standard output, shared by all nodes line by line.
struct Screen {
    coloured: bool,
}

impl Screen {
    fn new() -> Screen {
        Screen { coloured: io::stdout().is_terminal() && !no_colour() }
    }

    fn print(&self, text: &str) {
        // A terminal that is gone is no reason to stop the nodes; Ctrl-C or SIGTERM is.
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    fn report(&self, report: Report) {
        let (node, text) = match report {
            Report::Line { node, text } => (node, text),
            Report::Ended { node, status: Ok(status) } => (node, format!("ended, {status}").into_bytes()),
            Report::Ended { node, status: Err(error) } => (node, format!("ended, {error}").into_bytes()),
        };
        let mut line = self.prefix(node).into_bytes();
        line.extend_from_slice(&text);
        line.push(b'\n');
        let _ = io::stdout().lock().write_all(&line);
    }

    fn prefix(&self, node: u16) -> String {
        const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
        match self.coloured {
            true => format!("\x1b[{}mnode {node} │\x1b[0m ", COLOURS[usize::from(node - 1) % COLOURS.len()]),
            false => format!("node {node} │ "),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::NodeConfig;

    fn cluster(arguments: &[&str]) -> ClusterArgs {
        let line = ["kv-service", "cluster", "--engine", "paxos"].iter().chain(arguments);
        match Cli::try_parse_from(line).unwrap().command {
            Some(Command::Cluster(arguments)) => arguments,
            other => panic!("not a cluster: {other:?}"),
        }
    }

    #[test]
    fn every_node_gets_a_configuration_that_names_all_the_others() {
        let cluster = cluster(&["--nodes", "3", "--base-port", "9100"]);
        for node in 1..=3_u16 {
            let line = ["kv-service".to_owned()].into_iter().chain(cluster.node_arguments(node));
            let cli = Cli::try_parse_from(line).unwrap();
            assert!(cli.exit_with_parent);
            let config = NodeConfig::check(cli.settings).unwrap();
            assert_eq!(config.node.0, u64::from(node));
            assert_eq!(config.listen.port(), 9100 + node);
            assert_eq!(config.http.port(), 10_100 + node);
            assert_eq!(config.peers.len(), 2);
            assert!(config.data_dir.ends_with(format!("node-{node}")));
        }
    }

    #[test]
    fn with_a_relay_every_node_dials_ports_of_its_own_and_no_other_node() {
        let cluster = cluster(&["--relay", "--nodes", "9", "--base-port", "64000"]);
        let mut seen = std::collections::BTreeSet::new();
        for node in 1..=9_u16 {
            let line = ["kv-service".to_owned()].into_iter().chain(cluster.node_arguments(node));
            let config = NodeConfig::check(Cli::try_parse_from(line).unwrap().settings).unwrap();
            assert_eq!(config.listen.port(), 64_000 + node, "a node listens where it always does");
            seen.extend(config.peers.into_values());
        }
        assert_eq!(seen.len(), 72);
        assert!((1..=9).all(|node| !seen.contains(&cluster.listen(node))));
    }

    #[test]
    fn each_engine_and_size_has_a_directory_of_its_own() {
        assert_ne!(cluster(&["--nodes", "3"]).directory(), cluster(&["--nodes", "5"]).directory());
        assert_eq!(cluster(&["--dir", "here"]).directory(), PathBuf::from("here"));
    }

    #[test]
    fn a_cluster_has_one_to_nine_nodes_and_ports_that_exist() {
        for wrong in [["--nodes", "0"], ["--nodes", "10"], ["--base-port", "65000"], ["--base-port", "0"]] {
            let line = ["kv-service", "cluster", "--engine", "raft"].into_iter().chain(wrong);
            assert!(Cli::try_parse_from(line).is_err(), "{wrong:?} was accepted");
        }
    }
}
