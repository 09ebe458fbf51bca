//! Two nodes on loopback: the round trip of one small message at a time, and what one lane carries.
//!
//!     cargo run --release -p transport-quic --example ping_pong

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus_api::{
    ClusterId, EngineName, Era, GroupId, Incoming, Lane, Member, Membership, NodeId, StoreId, Transport,
};
use transport_quic::{
    Authority, CertificateName, LinkTiming, QuicTransport, TransportConfig, TransportError, TransportLimits,
};

const MESSAGE_BYTES: usize = 256;
const ROUND_TRIPS: usize = 20_000;
const RUN: Duration = Duration::from_secs(3);
/// What the sender lets be under way, as an engine's own window would.
const WINDOW: u64 = 16_384;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::generate("example", 1)?;
    let one = start(&authority, 1).await?;
    let two = start(&authority, 2).await?;
    let nodes = [(NodeId(1), &one), (NodeId(2), &two)];
    let member = |node: NodeId, at: &QuicTransport| Member {
        address: at.local_addr().to_string(),
        store: StoreId(u128::from(node.0)),
    };
    let membership = Membership::of_voters(nodes.map(|(node, at)| (node, member(node, at))));
    one.set_membership(&membership);
    two.set_membership(&membership);

    let echo = tokio::spawn(async move {
        let mut batch = Vec::new();
        while two.receive(&mut batch).await {
            let last = batch.last().map(|message: &Incoming| message.payload.clone());
            let count = batch.len() as u64;
            batch.clear();
            // The last message tells how many came since the one before.
            if let Some(payload) = last {
                let mut answer = payload.to_vec();
                answer[..8].copy_from_slice(&count.to_le_bytes());
                two.send(NodeId(1), Lane::Control, answer.into());
            }
        }
    });
    connect(&one).await;
    round_trips(&one).await;
    throughput(&one, MESSAGE_BYTES).await;
    throughput(&one, 64 << 10).await;
    one.close().await;
    echo.abort();
    Ok(())
}

async fn start(authority: &Authority, node: u64) -> Result<QuicTransport, TransportError> {
    let name = CertificateName::node(NodeId(node), "example")?;
    QuicTransport::bind(TransportConfig {
        node: NodeId(node),
        store: StoreId(u128::from(node)),
        restored_from: None,
        cluster: Some(ClusterId(1)),
        group: GroupId(0),
        era: Era(0),
        engine: EngineName::new("none"),
        contacts: BTreeMap::new(),
        listen: "127.0.0.1:0".to_owned(),
        service_address: None,
        tls: authority.node_tls(Path::new("memory"), &name, 1)?,
        limits: TransportLimits::default(),
        timing: LinkTiming::default(),
    })
    .await
}

async fn connect(one: &QuicTransport) {
    let mut batch = Vec::new();
    let mut answer = async |patience| tokio::time::timeout(patience, one.receive(&mut batch)).await.is_ok();
    while !answer(Duration::from_millis(20)).await {
        one.send(NodeId(2), Lane::Control, Bytes::from_static(&[0; MESSAGE_BYTES]));
    }
    while answer(Duration::from_millis(100)).await {}
}

async fn round_trips(one: &QuicTransport) {
    let mut batch = Vec::new();
    let mut micros = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        batch.clear();
        let sent = Instant::now();
        one.send(NodeId(2), Lane::Control, Bytes::from_static(&[0; MESSAGE_BYTES]));
        one.receive(&mut batch).await;
        micros.push(sent.elapsed().as_micros());
    }
    micros.sort_unstable();
    let at = |percent: usize| micros[(ROUND_TRIPS - 1) * percent / 100];
    println!("round trip of {MESSAGE_BYTES} B: p50 {} µs, p99 {} µs", at(50), at(99));
}

async fn throughput(one: &QuicTransport, bytes: usize) {
    let payload = Bytes::from(vec![0; bytes]);
    let window = WINDOW.min((16 << 20) / bytes as u64);
    let (mut sent, mut arrived) = (0_u64, 0_u64);
    let mut batch = Vec::new();
    let begun = Instant::now();
    // To the last answer, so that none is left for whoever measures next.
    while begun.elapsed() < RUN || arrived < sent {
        while begun.elapsed() < RUN && sent - arrived < window {
            one.send(NodeId(2), Lane::Replication, payload.clone());
            sent += 1;
        }
        batch.clear();
        one.receive(&mut batch).await;
        for message in &batch {
            let mut count = [0; 8];
            count.copy_from_slice(&message.payload[..8]);
            arrived += u64::from_le_bytes(count);
        }
    }
    let rate = arrived as f64 / begun.elapsed().as_secs_f64();
    println!("one lane, {bytes} B: {rate:.0} messages/s, {:.0} MB/s", rate * bytes as f64 / 1e6);
}
