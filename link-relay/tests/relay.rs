//! A relay between real sockets, and the orders that it takes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use link_relay::control::{self, Request};
use link_relay::{Change, LinkName, LinkPattern, LinkReport, Relay, RelayConfig, RelayError, RouteConfig, Share};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// A packet that has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(10);
const FREE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Two nodes that reach each other through a relay.
struct Pair {
    nodes: [UdpSocket; 2],
    relay: Relay,
}

impl Pair {
    async fn start() -> Pair {
        let nodes = [UdpSocket::bind(FREE).await.unwrap(), UdpSocket::bind(FREE).await.unwrap()];
        let targets = [nodes[1].local_addr().unwrap(), nodes[0].local_addr().unwrap()];
        let links = [LinkName::new(1, 2), LinkName::new(2, 1)];
        let routes = links.into_iter().zip(targets);
        let routes = routes.map(|(link, target)| RouteConfig { link, listen: FREE.into(), target }).collect();
        let relay = Relay::start(RelayConfig { seed: 1, control: FREE.into(), routes }).await.unwrap();
        Pair { nodes, relay }
    }

    /// The port at which `from` reaches the other.
    fn port(&self, from: u64) -> SocketAddr {
        self.relay.port(LinkName::new(from, 3 - from)).unwrap()
    }

    fn change(&self, link: &str, change: &Change) {
        self.relay.links().change(&[link.parse().unwrap()], change).unwrap();
    }

    fn report(&self, link: &str) -> LinkReport {
        self.relay.links().show(&[link.parse().unwrap()]).unwrap().remove(0)
    }

    /// Waits until a link has dropped so many.
    async fn dropped(&self, link: &str, count: u64) {
        let wait = async {
            while self.report(link).counters.dropped() < count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap();
    }
}

async fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut packet = [0; 2000];
    let (len, from) = timeout(PATIENCE, socket.recv_from(&mut packet)).await.expect("a packet arrives").unwrap();
    (String::from_utf8(packet[..len].to_vec()).unwrap(), from)
}

#[tokio::test]
async fn an_answer_comes_back_from_the_port_that_was_dialed_and_over_the_other_link() {
    let pair = Pair::start().await;
    pair.nodes[0].send_to(b"ping", pair.port(1)).await.unwrap();
    let (ping, relayed) = receive(&pair.nodes[1]).await;
    assert_eq!(ping, "ping");
    assert_ne!(relayed, pair.nodes[0].local_addr().unwrap(), "the nodes do not see each other");
    pair.nodes[1].send_to(b"answer", relayed).await.unwrap();
    assert_eq!(receive(&pair.nodes[0]).await, ("answer".to_owned(), pair.port(1)));
    let [out, back] = ["1:2", "2:1"].map(|link| pair.report(link).counters);
    assert_eq!((out.packets, out.bytes, back.packets, back.bytes), (1, 4, 1, 6));
}

#[tokio::test]
async fn both_routes_between_two_nodes_share_their_links() {
    let pair = Pair::start().await;
    // What node 2 has dialed is answered over 1:2 as well.
    pair.nodes[1].send_to(b"ping", pair.port(2)).await.unwrap();
    let (_, relayed) = receive(&pair.nodes[0]).await;
    pair.change("1:2", &Change::cut(true));
    pair.nodes[0].send_to(b"answer", relayed).await.unwrap();
    pair.nodes[0].send_to(b"dialed", pair.port(1)).await.unwrap();
    pair.dropped("1:2", 2).await;
    pair.nodes[1].send_to(b"the other way", pair.port(2)).await.unwrap();
    assert_eq!(receive(&pair.nodes[0]).await.0, "the other way");
    pair.change("1:2", &Change::cut(false));
    pair.nodes[0].send_to(b"healed", relayed).await.unwrap();
    assert_eq!(receive(&pair.nodes[1]).await, ("healed".to_owned(), pair.port(2)));
}

#[tokio::test]
async fn every_client_gets_its_own_answers_however_many_there_are() {
    let pair = Pair::start().await;
    let target = Arc::new(pair.nodes);
    // More than a route keeps: the first are forgotten, and known again when they come back.
    let mut clients = Vec::new();
    for number in 0..100 {
        let client = UdpSocket::bind(FREE).await.unwrap();
        clients.push((number, client));
    }
    for round in 0..2 {
        for (number, client) in &clients {
            let text = format!("client {number} round {round}");
            client.send_to(text.as_bytes(), pair.relay.port(LinkName::new(1, 2)).unwrap()).await.unwrap();
            let (heard, from) = receive(&target[1]).await;
            assert_eq!(heard, text);
            target[1].send_to(heard.as_bytes(), from).await.unwrap();
            assert_eq!(receive(client).await.0, text);
        }
    }
}

#[tokio::test]
async fn a_delayed_packet_arrives_when_it_is_due() {
    let pair = Pair::start().await;
    pair.change("1:2", &Change { delay_us: Some(50_000), ..Change::default() });
    let mut late = Vec::new();
    for _ in 0..5 {
        let since = Instant::now();
        pair.nodes[0].send_to(b"x", pair.port(1)).await.unwrap();
        receive(&pair.nodes[1]).await;
        assert!(since.elapsed() >= Duration::from_millis(50));
        late.push(since.elapsed() - Duration::from_millis(50));
    }
    // Room for a busy machine; on an idle one it is a fraction of a millisecond.
    assert!(late.iter().min().unwrap() < &Duration::from_millis(20), "{late:?}");
}

#[tokio::test]
async fn a_duplicated_packet_arrives_twice_and_a_cut_takes_what_is_under_way() {
    let pair = Pair::start().await;
    pair.change("1:2", &Change { duplicate: Some(Share::of_thousand(1000)), ..Change::default() });
    pair.nodes[0].send_to(b"twice", pair.port(1)).await.unwrap();
    assert_eq!(receive(&pair.nodes[1]).await.0, receive(&pair.nodes[1]).await.0);

    pair.change("1:2", &Change { delay_us: Some(100_000), ..Change::default() });
    pair.nodes[0].send_to(b"late", pair.port(1)).await.unwrap();
    while pair.report("1:2").waiting_packets < 2 {
        tokio::task::yield_now().await;
    }
    pair.change("1:2", &Change::cut(true));
    pair.dropped("1:2", 2).await;
    let report = pair.report("1:2");
    assert_eq!((report.counters.delivered, report.waiting_packets, report.waiting_bytes), (2, 0, 0));
}

#[tokio::test]
async fn a_target_that_is_not_there_yet_is_reached_once_it_is() {
    let target = UdpSocket::bind(FREE).await.unwrap();
    let address = target.local_addr().unwrap();
    drop(target);
    let link = LinkName::new(1, 2);
    let routes = vec![RouteConfig { link, listen: FREE.into(), target: address }];
    let relay = Relay::start(RelayConfig { seed: 1, control: FREE.into(), routes }).await.unwrap();
    let client = UdpSocket::bind(FREE).await.unwrap();
    for _ in 0..10 {
        client.send_to(b"nobody", relay.port(link).unwrap()).await.unwrap();
    }
    while relay.links().show(&[link.into()]).unwrap()[0].counters.packets < 10 {
        tokio::task::yield_now().await;
    }
    let target = UdpSocket::bind(address).await.unwrap();
    client.send_to(b"somebody", relay.port(link).unwrap()).await.unwrap();
    assert_eq!(receive(&target).await.0, "somebody");
}

#[tokio::test]
async fn orders_change_show_and_clear_the_links_that_they_name() {
    let pair = Pair::start().await;
    let address = pair.relay.control();
    let one = vec!["1:2".parse().unwrap()];
    let change = Change { delay_us: Some(20_000), loss: Some("5%".parse().unwrap()), ..Change::default() };
    let changed = control::order(address, &Request::Change { links: one.clone(), change }).await.unwrap();
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].faults.to_string(), "delay 20 ms, loss 5%");
    let all = control::order(address, &Request::Show { links: vec![LinkPattern::ALL] }).await.unwrap();
    assert_eq!(
        all.iter().map(|report| report.faults.to_string()).collect::<Vec<_>>(),
        ["delay 20 ms, loss 5%", "whole"]
    );
    assert_eq!(all[0], pair.report("1:2"));
    let cleared = control::order(address, &Request::Clear { links: one }).await.unwrap();
    assert_eq!(cleared[0].faults.to_string(), "whole");
}

#[tokio::test]
async fn an_order_that_cannot_be_obeyed_changes_nothing_and_says_why() {
    let pair = Pair::start().await;
    let address = pair.relay.control();
    let refused = |links: &str, change: Change| {
        let links = links.split(',').map(|link| link.parse().unwrap()).collect();
        async move {
            match control::order(address, &Request::Change { links, change }).await {
                Err(RelayError::Refused(reason)) => reason,
                other => panic!("{other:?}"),
            }
        }
    };
    assert!(refused("1:2,1:3", Change::cut(true)).await.contains("the relay has 1:2, 2:1"));
    assert!(refused("all", Change { rate_bytes_per_s: Some(1), ..Change::default() }).await.contains("at least 1000"));
    assert_eq!(pair.report("1:2").faults.to_string(), "whole");
}

#[tokio::test]
async fn garbage_on_the_control_port_is_answered_with_one_error() {
    let pair = Pair::start().await;
    let long = "x".repeat(20_000);
    for (garbage, said) in [
        ("hello", "no order"),
        (r#"{"do":"explode"}"#, "explode"),
        (r#"{"do":"show","links":["1-2"]}"#, "FROM:TO"),
        (r#"{"do":"change","links":["all"],"change":{"los":"5%"}}"#, "los"),
        (&long, "longer than"),
    ] {
        let mut stream = BufReader::new(TcpStream::connect(pair.relay.control()).await.unwrap());
        stream.write_all(format!("{garbage}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_line(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(r#"{"error":"#) && answer.contains(said), "{garbage}: {answer}");
    }
    assert_eq!(pair.relay.links().show(&[LinkPattern::ALL]).unwrap().len(), 2, "and the relay is none the worse");
}

#[tokio::test]
async fn a_relay_that_cannot_work_does_not_start() {
    let taken = UdpSocket::bind(FREE).await.unwrap().local_addr().unwrap();
    let held = UdpSocket::bind(taken).await.unwrap();
    let route = RouteConfig { link: LinkName::new(1, 2), listen: held.local_addr().unwrap(), target: taken };
    let free = RouteConfig { listen: FREE.into(), ..route };
    let refused = |control: SocketAddr, routes: Vec<RouteConfig>| async move {
        Relay::start(RelayConfig { seed: 1, control, routes }).await.unwrap_err().to_string()
    };
    assert!(refused(FREE.into(), vec![route]).await.contains("choose another"));
    assert!(refused(FREE.into(), vec![]).await.contains("0 routes"));
    assert!(refused(FREE.into(), vec![free, free]).await.contains("given twice"));
    assert!(refused((Ipv4Addr::UNSPECIFIED, 0).into(), vec![free]).await.contains("loopback"));
}

#[tokio::test]
async fn where_no_relay_is_the_error_says_how_to_find_one() {
    let address = Pair::start().await.relay.control();
    let error = control::order(address, &Request::Show { links: vec![LinkPattern::ALL] }).await.unwrap_err();
    assert!(error.to_string().contains("--control"), "{error}");
    assert_eq!(error.exit_status(), 1);
}
