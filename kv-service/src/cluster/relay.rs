//! The relay of a local cluster: a port for every ordered pair of nodes, and a control port for orders.
//!
//! ```text
//!   base port      7000
//!   node i         7000 + i                   listens here, as it does without a relay
//!   control        7100 (TCP)                 kv-service relay … --control
//!   i dials j at   7100 + 10 i + j            what node i is told with --peer
//! ```

use std::net::{Ipv4Addr, SocketAddr};

use link_relay::{LinkName, Relay, RelayConfig, RouteConfig};

use super::ClusterArgs;
use crate::error::ServiceError;

/// The relay's ports lie this far above the peers' ports, and below those for HTTP.
const OFFSET: u16 = 100;

/// Where the relay takes orders.
fn control(arguments: &ClusterArgs) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, arguments.base_port + OFFSET).into()
}

/// Where a node dials to reach another one.
pub(super) fn port(arguments: &ClusterArgs, from: u16, to: u16) -> SocketAddr {
    // Nodes have one digit, so that no two pairs share a port.
    (Ipv4Addr::LOCALHOST, arguments.base_port + OFFSET + 10 * from + to).into()
}

/// Starts the relay, where one is asked for.
pub(super) async fn start(arguments: &ClusterArgs) -> Result<Option<Relay>, ServiceError> {
    if !arguments.relay {
        return Ok(None);
    }
    let nodes = 1..=arguments.nodes;
    let pairs = nodes.clone().flat_map(|from| nodes.clone().map(move |to| (from, to))).filter(|(from, to)| from != to);
    let route = |(from, to): (u16, u16)| RouteConfig {
        link: LinkName::new(from.into(), to.into()),
        listen: port(arguments, from, to),
        target: (Ipv4Addr::LOCALHOST, arguments.base_port + to).into(),
    };
    let routes = pairs.map(route).collect();
    let config = RelayConfig { seed: arguments.relay_seed, control: control(arguments), routes };
    Ok(Some(Relay::start(config).await?))
}

/// How to give the relay orders.
pub(super) fn welcome(arguments: &ClusterArgs, program: &str) -> String {
    let control = control(arguments);
    let seed = arguments.relay_seed;
    format!(
        "\nThe nodes reach each other through a relay (control {control}, seed {seed}):\n\n  {program} relay set --link 1:2 --delay-ms 20 --jitter-ms 5 --loss 5% --control {control}\n  {program} relay cut --link 1:all --control {control}\n  {program} relay clear --control {control}\n  {program} relay show --control {control}\n"
    )
}
