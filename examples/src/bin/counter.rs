//! Your own state machine on the replicated log: a counter.
//!
//! `cargo run --release --bin counter -- raft DIR` adds 1 to 10 and says the sum. Run it again: the log has kept the
//! commands, and the counter, which keeps nothing itself, is back where it was before the first new one is applied.

use std::convert::Infallible;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus_api::*;
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use replica::{NoSnapshots, Parts, Replica, ReplicaConfig, SnapshotSettings};
use storage_rocks::{Expected, Store, StoreOptions, cluster_id};
use transport_quic::{LinkTiming, QuicTransport, TransportConfig, TransportLimits, dev_certs};

/// The whole machine: what is counted, and how far the log was applied.
#[derive(Default)]
struct Counter {
    sum: i64,
    applied: AppliedState,
}

impl StateMachine for Counter {
    type Error = Infallible;

    fn applied(&self) -> Result<AppliedState, Infallible> {
        Ok(self.applied.clone())
    }

    /// Nothing of a machine in memory survives: so the log keeps everything, and replays it.
    fn persisted(&self) -> Result<LogIndex, Infallible> {
        Ok(LogIndex::ZERO)
    }

    fn apply(&mut self, entries: &[SharedEntry]) -> Result<Vec<Bytes>, Infallible> {
        let replies = entries.iter().map(|entry| {
            if let Payload::Command { data, .. } = &entry.payload {
                let text = std::str::from_utf8(&data.0).unwrap_or_default();
                self.sum += text.parse::<i64>().unwrap_or(0);
            }
            self.applied.position = LogPosition { index: entry.index, ballot: entry.ballot };
            Bytes::from(self.sum.to_string())
        });
        Ok(replies.collect())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn reopened(&mut self) -> Result<AppliedState, Infallible> {
        Ok(self.applied.clone())
    }

    fn digest(&self) -> Result<[u8; 32], Infallible> {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.sum.to_le_bytes());
        Ok(digest)
    }
}

/// A cluster of one node in `directory`, under the engine `E`. More nodes are more contacts and founders.
async fn start<E: Engine>(directory: &Path) -> Result<Replica, Box<dyn Error>> {
    let (node, group, era, engine) = (NodeId(1), GroupId(0), Era(0), E::NAME);
    let store =
        Store::open(directory, Expected { node, engine, group, era }, StoreOptions { sync: true, tables: &[] })?;
    let stamp = store.stamp();
    let transport = QuicTransport::bind(TransportConfig {
        node,
        store: stamp.store,
        restored_from: stamp.restored_from,
        cluster: stamp.cluster,
        group,
        era,
        engine,
        contacts: Default::default(),
        listen: "127.0.0.1:0".into(),
        service_address: None,
        client_alpn: None,
        tls: dev_certs::node_tls(node, None)?,
        limits: TransportLimits::default(),
        timing: LinkTiming::default(),
    });
    let transport = Arc::new(transport.await?);

    // Its address may be another one at each start: the first one is what the stamp keeps.
    let founders = match stamp.cluster {
        Some(_) => stamp.founders,
        None => vec![(node, Member { address: transport.local_addr().to_string(), store: stamp.store })],
    };
    let cluster = cluster_id(&founders, None);
    store.stamp_cluster(cluster, &founders)?;
    let members = Membership::of_voters(founders);
    transport.set_cluster(cluster, &members);
    let config = ReplicaConfig {
        engine: EngineConfig {
            node,
            store: None,
            boot: stamp.boots,
            seed: 1,
            timing: Timing::default(),
            limits: Limits::default(),
        },
        founders: members,
        requests_max: 1024,
        // The machine is in memory alone, so the log is all there is of it.
        snapshots: SnapshotSettings::on_demand(),
    };
    let (machine, snapshots) = (Counter::default(), Arc::new(NoSnapshots));
    Ok(replica::start::<E, _, _, _, _>(config, Parts { log: store.log.clone(), transport, machine, snapshots })?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, engine, directory] = arguments.as_slice() else { return Err("usage: counter raft|paxos DIR".into()) };
    let log = match engine.as_str() {
        "raft" => start::<Raft>(Path::new(directory)).await?,
        "paxos" => start::<MultiPaxos>(Path::new(directory)).await?,
        other => return Err(format!("there is no engine {other}; use raft or paxos").into()),
    };
    for number in 1..=10 {
        let applied = log.propose(Bytes::from(number.to_string()), Duration::from_secs(5)).await?;
        println!("{:>3}: +{number} = {}", applied.index, String::from_utf8_lossy(&applied.reply));
    }
    log.shutdown().await;
    Ok(())
}
