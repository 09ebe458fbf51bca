//! The relay: opens every port, starts the tasks, and hands out the links.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::carrier::Carrier;
use crate::control;
use crate::error::RelayError;
use crate::links::Links;
use crate::names::LinkName;
use crate::route::{self, Route};

/// The most routes: every ordered pair of sixteen nodes.
const ROUTES_MAX: usize = 240;

/// The port that one node dials to reach another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// Who dials whom.
    pub link: LinkName,
    /// Where the relay listens for the one who dials; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the other one listens in truth.
    pub target: SocketAddr,
}

/// What a relay is told before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// Decides all chance.
    pub seed: u64,
    /// Where it takes orders, on loopback; port 0 takes a free one.
    pub control: SocketAddr,
    /// Who reaches whom.
    pub routes: Vec<RouteConfig>,
}

/// A relay at work. Dropping it ends it: every port is closed.
#[derive(Debug)]
pub struct Relay {
    links: Links,
    control: SocketAddr,
    ports: BTreeMap<LinkName, SocketAddr>,
    _tasks: JoinSet<()>,
}

impl Relay {
    /// Opens every port and begins. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`RelayError::Listen`] where a port cannot be had; others where the routes make no sense.
    pub async fn start(config: RelayConfig) -> Result<Relay, RelayError> {
        check(&config)?;
        let control = control_port(config.control).await?;
        let control_address = control.local_addr().map_err(cannot_listen(config.control, "control"))?;
        let started = Instant::now();
        let names: BTreeSet<LinkName> =
            config.routes.iter().flat_map(|route| [route.link, route.link.reverse()]).collect();
        let carriers: BTreeMap<LinkName, Arc<Carrier>> =
            names.into_iter().map(|name| (name, Arc::new(Carrier::new(name, config.seed, started)))).collect();
        let mut tasks = JoinSet::new();
        let mut ports = BTreeMap::new();
        for route in &config.routes {
            let failed = |source| cannot_listen(route.listen, &format!("link {}", route.link))(source);
            let port = route::open_socket(route.listen).map_err(failed)?;
            let address = port.local_addr().map_err(failed)?;
            ports.insert(route.link, address);
            tracing::info!(link = %route.link, listen = %address, target = %route.target, "relaying");
            let [outward, homeward] = [route.link, route.link.reverse()].map(|link| carriers[&link].clone());
            tasks.spawn(Route::new(port, route.target, outward, homeward).run());
        }
        for carrier in carriers.values() {
            tasks.spawn(carrier.clone().deliver());
        }
        let links = Links::new(carriers);
        tasks.spawn(control::serve(control, links.clone()));
        tracing::info!(control = %control_address, seed = config.seed, "taking orders");
        Ok(Relay { links, control: control_address, ports, _tasks: tasks })
    }

    /// Its links, to look at and to change.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Where it takes orders.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// The port that `link.from` dials to reach `link.to`; `None` where there is no such route.
    pub fn port(&self, link: LinkName) -> Option<SocketAddr> {
        self.ports.get(&link).copied()
    }
}

fn check(config: &RelayConfig) -> Result<(), RelayError> {
    if !config.control.ip().is_loopback() {
        return Err(RelayError::Exposed { address: config.control });
    }
    let found = config.routes.len();
    if !(1..=ROUTES_MAX).contains(&found) {
        return Err(RelayError::Count { what: "routes", found, range: "between 1 and 240, as 16 nodes need" });
    }
    let mut seen = BTreeSet::new();
    match config.routes.iter().find(|route| !seen.insert(route.link)) {
        Some(route) => Err(RelayError::DuplicateRoute { link: route.link }),
        None => Ok(()),
    }
}

async fn control_port(address: SocketAddr) -> Result<TcpListener, RelayError> {
    TcpListener::bind(address).await.map_err(cannot_listen(address, "control"))
}

fn cannot_listen(address: SocketAddr, purpose: &str) -> impl FnOnce(std::io::Error) -> RelayError {
    let purpose = purpose.to_owned();
    move |source| RelayError::Listen { address, purpose, source }
}
