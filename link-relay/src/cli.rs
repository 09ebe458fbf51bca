//! The command line: `run` a relay, and give a running one orders.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

use crate::control::{self, Request};
use crate::error::RelayError;
use crate::faults::{Change, Faults};
use crate::links::LinkReport;
use crate::names::{LinkName, LinkPattern};
use crate::relay::{Relay, RelayConfig, RouteConfig};

/// A UDP relay between nodes that delays, drops, doubles, reorders and cuts, each directed link by itself.
#[derive(Debug, Parser)]
#[command(name = "link-relay", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Everything that can be typed.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a relay until Ctrl-C
    Run(RunArgs),
    /// Give a running relay an order.
    #[command(flatten)]
    Control(ControlCommand),
}

/// A relay between nodes that are started by hand
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Where a node listens in truth; once for each node
    #[arg(long = "node", value_name = "ID=HOST:PORT", required = true)]
    pub nodes: Vec<NodeAddress>,
    /// Where FROM dials to reach TO; once for each pair that shall not get a free port
    #[arg(long = "listen", value_name = "FROM:TO=HOST:PORT")]
    pub listens: Vec<ListenAddress>,
    /// Where it takes orders, on loopback
    #[arg(long, env = "QUORATE_RELAY_CONTROL", value_name = "HOST:PORT", default_value = "127.0.0.1:7100")]
    pub control: SocketAddr,
    /// Decides all chance
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// Orders to a running relay.
#[derive(Clone, Debug, Subcommand)]
pub enum ControlCommand {
    /// Change some faults of links; the others stay
    Set(SetArgs),
    /// Let nothing through, nor what is under way
    Cut(ChosenLinks),
    /// Undo a cut; other faults stay
    Heal(ChosenLinks),
    /// Take all faults away
    Clear(ChosenLinks),
    /// Show faults and counters
    Show(ChosenLinks),
}

/// Which relay and which of its links.
#[derive(Args, Clone, Debug)]
pub struct ChosenLinks {
    /// Which links: 1:2 is what node 1 sends to node 2; also 1:all, all:2, all. May be repeated
    #[arg(long = "link", value_name = "FROM:TO", default_value = "all")]
    pub links: Vec<LinkPattern>,
    /// Where the relay takes orders; it prints this when it starts
    #[arg(long, env = "QUORATE_RELAY_CONTROL", value_name = "HOST:PORT", default_value = "127.0.0.1:7100")]
    pub control: SocketAddr,
    /// Print JSON, one link a line
    #[arg(long)]
    pub json: bool,
}

/// Which links, and what of them.
#[derive(Args, Clone, Debug)]
pub struct SetArgs {
    /// Which links.
    #[command(flatten)]
    pub chosen: ChosenLinks,
    /// What of them.
    #[command(flatten)]
    pub change: Change,
}

/// `ID=HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// The node.
    pub node: u64,
    /// Where it listens.
    pub address: SocketAddr,
}

impl FromStr for NodeAddress {
    type Err = RelayError;

    fn from_str(text: &str) -> Result<NodeAddress, RelayError> {
        let parsed = text
            .split_once('=')
            .and_then(|(node, address)| Some(NodeAddress { node: node.parse().ok()?, address: address.parse().ok()? }));
        let example = "ID=HOST:PORT, for example 2=127.0.0.1:7002";
        parsed.ok_or_else(|| RelayError::MalformedAddress { found: text.to_owned(), example })
    }
}

/// `FROM:TO=HOST:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress {
    /// Who dials whom.
    pub link: LinkName,
    /// Where the relay listens for it.
    pub address: SocketAddr,
}

impl FromStr for ListenAddress {
    type Err = RelayError;

    fn from_str(text: &str) -> Result<ListenAddress, RelayError> {
        let parsed = text.split_once('=').and_then(|(link, address)| {
            Some(ListenAddress { link: link.parse().ok()?, address: address.parse().ok()? })
        });
        let example = "FROM:TO=HOST:PORT, for example 1:2=127.0.0.1:7112";
        parsed.ok_or_else(|| RelayError::MalformedAddress { found: text.to_owned(), example })
    }
}

impl RunArgs {
    /// A route for every ordered pair of the nodes.
    ///
    /// # Errors
    /// [`RelayError::UnknownNode`], [`RelayError::DuplicateRoute`], [`RelayError::Count`].
    pub fn config(&self) -> Result<RelayConfig, RelayError> {
        let nodes: BTreeMap<u64, SocketAddr> = self.nodes.iter().map(|node| (node.node, node.address)).collect();
        if nodes.len() != self.nodes.len() || nodes.len() < 2 {
            let range = "each node once, and at least two of them, with --node ID=HOST:PORT";
            return Err(RelayError::Count { what: "different nodes", found: nodes.len(), range });
        }
        let mut listens = BTreeMap::new();
        for ListenAddress { link, address } in &self.listens {
            if !nodes.contains_key(&link.from) || !nodes.contains_key(&link.to) {
                return Err(RelayError::UnknownNode { link: *link });
            }
            if listens.insert(*link, *address).is_some() {
                return Err(RelayError::DuplicateRoute { link: *link });
            }
        }
        let ids: Vec<u64> = nodes.keys().copied().collect();
        let route = |link: LinkName| {
            let free = SocketAddr::from(([127, 0, 0, 1], 0));
            RouteConfig { link, listen: listens.get(&link).copied().unwrap_or(free), target: nodes[&link.to] }
        };
        let routes = LinkName::among(&ids).into_iter().map(route).collect();
        Ok(RelayConfig { seed: self.seed, control: self.control, routes })
    }
}

/// Does what was typed.
///
/// # Errors
/// Whatever keeps it from that, in one line that names the remedy.
pub async fn execute(command: Command) -> Result<(), RelayError> {
    match command {
        Command::Run(arguments) => run(&arguments).await,
        Command::Control(command) => control(command).await,
    }
}

async fn run(arguments: &RunArgs) -> Result<(), RelayError> {
    let config = arguments.config()?;
    let relay = Relay::start(config.clone()).await?;
    let mut text = String::from("start the nodes so that they reach each other through here:\n\n");
    for node in &arguments.nodes {
        text += &format!("  node {}:", node.node);
        for link in config.routes.iter().map(|route| route.link).filter(|link| link.from == node.node) {
            let port = relay.port(link).map_or_else(String::new, |port| port.to_string());
            text += &format!(" --peer {}={port}", link.to);
        }
        text += "\n";
    }
    text += &format!(
        "\nseed {}; orders: link-relay set --control {} --link 1:2 --delay-ms 20 --loss 5%\n",
        config.seed,
        relay.control()
    );
    print(&text)?;
    tokio::signal::ctrl_c().await.map_err(|source| RelayError::Io { what: "cannot wait for Ctrl-C", source })
}

/// Gives an order to a running relay, and prints how the links stand then.
///
/// # Errors
/// [`RelayError::OutOfRange`], and what [`control::order`] fails with.
pub async fn control(command: ControlCommand) -> Result<(), RelayError> {
    let change = |chosen: &ChosenLinks, change| Request::Change { links: chosen.links.clone(), change };
    let (chosen, request) = match command {
        ControlCommand::Set(SetArgs { chosen, change: wanted }) => {
            // What no link can do is wrong usage; the relay needs not be asked.
            Faults::default().with(&wanted)?;
            let request = change(&chosen, wanted);
            (chosen, request)
        }
        ControlCommand::Cut(chosen) => (chosen.clone(), change(&chosen, Change::cut(true))),
        ControlCommand::Heal(chosen) => (chosen.clone(), change(&chosen, Change::cut(false))),
        ControlCommand::Clear(chosen) => (chosen.clone(), Request::Clear { links: chosen.links }),
        ControlCommand::Show(chosen) => (chosen.clone(), Request::Show { links: chosen.links }),
    };
    let reports = control::order(chosen.control, &request).await?;
    let line = |report: &LinkReport| match chosen.json {
        true => serde_json::to_string(report).map_err(io::Error::from),
        false => Ok(report.to_string()),
    };
    let lines: io::Result<Vec<String>> = reports.iter().map(line).collect();
    let lines = lines.map_err(|source| RelayError::Io { what: "cannot write the result", source })?;
    print(&(lines.join("\n") + "\n"))
}

/// A reader that has seen enough and left (`| head`) is no error.
fn print(text: &str) -> Result<(), RelayError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(|source| RelayError::Io { what: "cannot write the result", source }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::CommandFactory;

    use super::*;

    fn run_arguments(line: &[&str]) -> RunArgs {
        match Cli::try_parse_from(["link-relay", "run"].iter().chain(line)).unwrap().command {
            Command::Run(arguments) => arguments,
            other => panic!("not run: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_pair_of_nodes_gets_a_route_at_its_port_or_at_a_free_one() {
        let nodes = ["--node", "1=127.0.0.1:7001", "--node", "2=127.0.0.1:7002"];
        let config = run_arguments(&[&nodes[..], &["--listen", "1:2=127.0.0.1:7112"]].concat()).config().unwrap();
        let shown: Vec<String> =
            config.routes.iter().map(|route| format!("{} {} {}", route.link, route.listen, route.target)).collect();
        assert_eq!(shown, ["1:2 127.0.0.1:7112 127.0.0.1:7002", "2:1 127.0.0.1:0 127.0.0.1:7001"]);
    }

    #[test]
    fn routes_that_make_no_sense_are_refused_with_what_to_do() {
        let [one, two] = [["--node", "1=127.0.0.1:7001"], ["--node", "2=127.0.0.1:7002"]];
        let listen = ["--listen", "1:2=127.0.0.1:7112"];
        let refused = |line: &[[&str; 2]]| run_arguments(&line.concat()).config().unwrap_err().to_string();
        assert!(refused(&[one]).contains("at least two"));
        assert!(refused(&[one, one]).contains("each node once"));
        assert!(refused(&[one, two, listen, listen]).contains("given twice"));
        assert!(refused(&[one, two, ["--listen", "1:3=127.0.0.1:7113"]]).contains("add --node"));
    }

    #[test]
    fn an_order_names_links_and_what_to_change() {
        let line = ["link-relay", "set", "--link", "1:2", "--link", "2:all", "--delay-ms", "20", "--loss", "5%"];
        let Command::Control(ControlCommand::Set(arguments)) = Cli::try_parse_from(line).unwrap().command else {
            panic!("not set")
        };
        assert_eq!(arguments.chosen.links, ["1:2".parse().unwrap(), "2:all".parse().unwrap()]);
        assert_eq!(arguments.change.delay_us, Some(20_000));
        assert_eq!(arguments.change.loss.unwrap().permille(), 50);
        assert_eq!(arguments.change.jitter_us, None);
        let near = ["link-relay", "set", "--delay-ms", "0.25", "--jitter-ms", "0.05"];
        let Command::Control(ControlCommand::Set(arguments)) = Cli::try_parse_from(near).unwrap().command else {
            panic!("not set")
        };
        assert_eq!((arguments.change.delay_us, arguments.change.jitter_us), (Some(250), Some(50)));
    }
}
