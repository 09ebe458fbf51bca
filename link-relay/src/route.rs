//! A route: the port that one node dials to reach another, and the sockets from which its packets go on.
//!
//! ```text
//!   client ──▶ port ──▶ link, outward ──▶ a socket for this client ──▶ target
//!          ◀──      ◀── link, homeward ◀──                         ◀──
//! ```
//!
//! Each source address that sends to the port is a client with a socket of its own, so that the target's answers find
//! back. There are at most [`CLIENTS_MAX`]; for a new one beyond that, the client that has been silent for longest goes.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::carrier::{Carrier, Exit};

/// The most clients of one route.
pub(crate) const CLIENTS_MAX: usize = 64;
/// As large as a UDP packet gets.
const PACKET_BYTES_MAX: usize = 65_535;
/// The kernel's buffers, as far as it allows: a relay that loses packets by itself is of no use.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

/// Opens a socket with large buffers.
pub(crate) fn open_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel gives as much as its limits allow; less is no reason to stop.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// One source address, as the target sees it.
#[derive(Debug)]
struct Client {
    exit: Exit,
    heard_at: Instant,
    reader: AbortHandle,
}

/// From a port to a target and back.
#[derive(Debug)]
pub(crate) struct Route {
    port: Arc<UdpSocket>,
    target: SocketAddr,
    outward: Arc<Carrier>,
    homeward: Arc<Carrier>,
    clients: HashMap<SocketAddr, Client>,
    readers: JoinSet<()>,
}

impl Route {
    pub(crate) fn new(port: UdpSocket, target: SocketAddr, outward: Arc<Carrier>, homeward: Arc<Carrier>) -> Route {
        let (clients, readers) = (HashMap::new(), JoinSet::new());
        Route { port: Arc::new(port), target, outward, homeward, clients, readers }
    }

    /// Passes packets on, for ever.
    pub(crate) async fn run(mut self) {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        loop {
            // An error is the news of an earlier packet that found nobody; nothing was received.
            let Ok((len, from)) = self.port.recv_from(&mut packet).await else { continue };
            match self.exit_of(from).await {
                Ok(exit) => self.outward.carry(&packet[..len], &exit).await,
                Err(error) => tracing::warn!(%from, target = %self.target, %error, "no socket for a client"),
            }
        }
    }

    /// Where this client's packets leave.
    async fn exit_of(&mut self, from: SocketAddr) -> io::Result<Exit> {
        if let Some(client) = self.clients.get_mut(&from) {
            client.heard_at = Instant::now();
            return Ok(client.exit.clone());
        }
        if self.clients.len() >= CLIENTS_MAX {
            self.evict();
        }
        let any: SocketAddr = match self.target {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = open_socket(any)?;
        socket.connect(self.target).await?;
        let socket = Arc::new(socket);
        let home = Exit { socket: self.port.clone(), to: Some(from) };
        let reader = self.readers.spawn(read_answers(socket.clone(), home, self.homeward.clone()));
        let exit = Exit { socket, to: None };
        self.clients.insert(from, Client { exit: exit.clone(), heard_at: Instant::now(), reader });
        tracing::debug!(%from, target = %self.target, "new client");
        Ok(exit)
    }

    fn evict(&mut self) {
        let oldest = self.clients.iter().min_by_key(|(_, client)| client.heard_at).map(|(from, _)| *from);
        if let Some(client) = oldest.and_then(|from| self.clients.remove(&from)) {
            client.reader.abort();
        }
        // The ends of readers that were stopped are of no interest, but must not pile up.
        while self.readers.try_join_next().is_some() {}
    }
}

/// Carries what the target answers back to the client.
async fn read_answers(socket: Arc<UdpSocket>, home: Exit, homeward: Arc<Carrier>) {
    let mut packet = vec![0; PACKET_BYTES_MAX];
    loop {
        // As above: the target may not have been there yet.
        if let Ok(len) = socket.recv(&mut packet).await {
            homeward.carry(&packet[..len], &home).await;
        }
    }
}
