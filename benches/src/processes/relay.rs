//! A relay between the nodes of a cluster: a port for every ordered pair, so that each link can be slowed down or cut.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use link_relay::{LinkName, Relay, RelayConfig, RouteConfig};

use crate::replicas::Failure;

/// Starts a relay between nodes that listen at these ports of loopback.
pub(super) async fn start(listens: &BTreeMap<u64, u16>, seed: u64) -> Result<Relay, Failure> {
    let ids: Vec<u64> = listens.keys().copied().collect();
    let links = LinkName::among(&ids).into_iter();
    let routes =
        links.filter_map(|link| Some(RouteConfig { link, listen: local(0), target: local(*listens.get(&link.to)?) }));
    Ok(Relay::start(RelayConfig { seed, control: local(0), routes: routes.collect() }).await?)
}

/// What a node is told about the others: where it reaches each, through the relay where there is one.
pub(super) fn peers(relay: Option<&Relay>, listens: &BTreeMap<u64, u16>, id: u64) -> Vec<String> {
    let others = listens.iter().filter(|(other, _)| **other != id);
    let address = |other: u64, listen: u16| match relay {
        Some(relay) => relay.port(LinkName::new(id, other)).unwrap_or(local(listen)),
        None => local(listen),
    };
    others.flat_map(|(other, listen)| ["--peer".to_owned(), format!("{other}={}", address(*other, *listen))]).collect()
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
