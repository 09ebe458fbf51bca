//! What the relay itself costs: the latency that it adds to a ping and its answer, and how many packets it passes; and how
//! precisely it delays them.
//!
//! `cargo run --release -p link-relay --example measure`, or `… measure delay` for the last of these alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use link_relay::{Change, LinkName, LinkPattern, Relay, RelayConfig, RouteConfig};

const PINGS: usize = 20_000;
const PACKET_BYTES: usize = 1200;
/// One way on a LAN with a round trip of half a millisecond.
const DELAY_US: u64 = 250;
const FLOOD: Duration = Duration::from_secs(3);
/// Packets that may be unanswered: fewer than fit into any buffer on the way, so that none is lost.
const WINDOW: usize = 64;

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let echo = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let target = echo.local_addr()?;
    std::thread::spawn(move || echo_for_ever(&echo));
    let link = LinkName::new(1, 2);
    let free = (Ipv4Addr::LOCALHOST, 0).into();
    let config = RelayConfig { seed: 1, control: free, routes: vec![RouteConfig { link, listen: free, target }] };
    let relay = runtime.block_on(Relay::start(config)).map_err(io::Error::other)?;
    let port = relay.port(link).ok_or_else(|| io::Error::other("the route has no port"))?;
    if std::env::args().nth(1).as_deref() == Some("delay") {
        return measure_delay(&relay, port);
    }
    for (what, to) in [("direct", target), ("relayed", port), ("direct", target), ("relayed", port)] {
        let (median, late) = ping(to)?;
        let echoed = flood(to)?;
        println!("{what:<8} ping p50 {median:?}, p99 {late:?}; {echoed} packets/s there, and as many back");
    }
    measure_delay(&relay, port)
}

/// How much longer than asked for a packet is delayed.
fn measure_delay(relay: &Relay, port: SocketAddr) -> io::Result<()> {
    let (whole, _) = ping(port)?;
    let change = Change { delay_us: Some(DELAY_US), ..Change::default() };
    relay.links().change(&[LinkPattern::ALL], &change).map_err(io::Error::other)?;
    let (median, late) = ping(port)?;
    // Against the median of a whole link: the slowest pings of both would cancel each other out.
    let expected = whole + 2 * Duration::from_micros(DELAY_US);
    let beyond = |took: Duration| took.saturating_sub(expected) / 2;
    println!("delayed by {DELAY_US} µs each way: ping p50 {median:?}, p99 {late:?}");
    println!("beyond that, each way: p50 {:?}, p99 {:?}", beyond(median), beyond(late));
    Ok(())
}

fn echo_for_ever(socket: &UdpSocket) {
    let mut packet = [0; 2000];
    loop {
        if let Ok((len, from)) = socket.recv_from(&mut packet) {
            // A lost answer shows in the figures.
            let _ = socket.send_to(&packet[..len], from);
        }
    }
}

fn client(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(socket)
}

/// One packet at a time.
fn ping(to: SocketAddr) -> io::Result<(Duration, Duration)> {
    let socket = client(to)?;
    let mut packet = [0; PACKET_BYTES];
    let mut times = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let since = Instant::now();
        socket.send(&packet)?;
        socket.recv(&mut packet)?;
        times.push(since.elapsed());
    }
    times.sort();
    Ok((times[PINGS / 2], times[PINGS * 99 / 100]))
}

/// A window of packets at a time; returns how many came back in a second.
fn flood(to: SocketAddr) -> io::Result<u64> {
    let socket = client(to)?;
    let mut packet = [0; PACKET_BYTES];
    for _ in 0..WINDOW {
        socket.send(&packet)?;
    }
    let since = Instant::now();
    let mut echoed = 0;
    while since.elapsed() < FLOOD {
        socket.recv(&mut packet)?;
        echoed += 1;
        socket.send(&packet)?;
    }
    Ok(echoed / FLOOD.as_secs())
}
