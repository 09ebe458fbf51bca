//! Couriers on a fake network in virtual time, over stores that check nothing.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use consensus_api::random::SeededRandom;
use consensus_api::*;
use replica::transfer::{Courier, Held, TransferMessage, TransferSettings};

/// Small chunks, so that a short stream is many of them; 20,000 bytes a second.
pub fn settings() -> TransferSettings {
    TransferSettings { chunk_bytes: 100, window_bytes: 1000, bytes_per_second: 20_000, ..TransferSettings::default() }
}

/// The manifest of the snapshot at this index.
pub fn manifest(index: u64, bytes: u64) -> SnapshotManifest {
    let file = |name: &str, bytes| SnapshotFile { name: name.into(), bytes, checksum: [0; 32] };
    SnapshotManifest {
        id: SnapshotId(u128::from(index)),
        position: LogPosition { index: LogIndex(index), ballot: Ballot::new(1, NodeId(1)) },
        log_time: LogTime::default(),
        membership: Membership::default(),
        files: vec![file("a", bytes / 3), file("b", bytes - bytes / 3)],
    }
}

/// Its stream: every byte depends on its place and on the snapshot.
pub fn content(index: u64, bytes: u64) -> Bytes {
    (0..bytes).map(|at| (at.wrapping_mul(31).wrapping_add(index * 7) % 251) as u8).collect::<Vec<u8>>().into()
}

/// A store that takes whatever comes.
#[derive(Debug, Default)]
pub struct PlainStore {
    kept: Mutex<Vec<(Arc<SnapshotManifest>, Bytes)>>,
    incoming: Mutex<Option<(SnapshotManifest, Vec<u8>)>>,
    refused: Mutex<Option<u64>>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(&'static str);

impl PlainStore {
    pub fn forget(&self, index: u64) {
        self.kept.lock().unwrap().retain(|(manifest, _)| manifest.position.index.0 != index);
    }

    pub fn refuses(&self, index: u64) {
        *self.refused.lock().unwrap() = Some(index);
    }
}

impl SnapshotStore for PlainStore {
    type Error = Failure;

    fn take(&self) -> Result<Arc<SnapshotManifest>, Failure> {
        Err(Failure("the test takes them"))
    }

    fn kept(&self) -> Result<Vec<Arc<SnapshotManifest>>, Failure> {
        Ok(self.kept.lock().unwrap().iter().map(|(manifest, _)| manifest.clone()).collect())
    }

    fn read(&self, id: SnapshotId, offset: u64, bytes_max: usize) -> Result<Option<Bytes>, Failure> {
        let kept = self.kept.lock().unwrap();
        let Some((manifest, stream)) = kept.iter().find(|(manifest, _)| manifest.id == id) else { return Ok(None) };
        // A piece ends with its file, as it may.
        let first = manifest.files[0].bytes;
        let end = if offset < first { first } else { manifest.bytes() };
        let end = end.min(offset + bytes_max as u64);
        Ok(Some(stream.slice(offset as usize..end as usize)))
    }

    fn receive(&self, manifest: &SnapshotManifest) -> Result<u64, Failure> {
        let mut incoming = self.incoming.lock().unwrap();
        if incoming.as_ref().is_none_or(|(present, _)| present.id != manifest.id) {
            *incoming = Some((manifest.clone(), Vec::new()));
        }
        Ok(incoming.as_ref().unwrap().1.len() as u64)
    }

    fn append(&self, id: SnapshotId, offset: u64, bytes: &[u8]) -> Result<u64, Failure> {
        let mut incoming = self.incoming.lock().unwrap();
        let (manifest, stream) = incoming.as_mut().ok_or(Failure("nothing is received"))?;
        assert_eq!(manifest.id, id, "a piece of another snapshot");
        assert_eq!(offset, stream.len() as u64, "a gap or a repetition");
        stream.extend_from_slice(bytes);
        Ok(stream.len() as u64)
    }

    fn give_up(&self) {
        *self.incoming.lock().unwrap() = None;
    }

    fn install(&self, id: SnapshotId) -> Result<(), Failure> {
        let (manifest, stream) = self.incoming.lock().unwrap().take().ok_or(Failure("nothing is received"))?;
        let index = manifest.position.index.0;
        assert_eq!(manifest.id, id);
        assert_eq!(stream, content(index, manifest.bytes()), "installed what was never taken");
        if *self.refused.lock().unwrap() == Some(index) {
            return Err(Failure("damaged"));
        }
        Ok(())
    }

    fn is_final(&self, _: &Failure) -> bool {
        false
    }

    fn installed(&self) -> Result<Option<LogPosition>, Failure> {
        Ok(None)
    }
}

/// What the network does to a message.
#[derive(Clone, Debug, Default)]
pub struct Network {
    pub lost_permille: u64,
    pub doubled_permille: u64,
    pub damaged_permille: u64,
    pub delay_ms_max: u64,
}

pub struct Node {
    pub store: Arc<PlainStore>,
    pub courier: Courier<PlainStore>,
    pub applied: LogIndex,
}

pub struct World {
    pub now: MonoTime,
    /// Bytes of chunks that were sent.
    pub chunk_bytes: u64,
    /// How often a courier asked for a new snapshot.
    pub takes: u64,
    network: Network,
    random: SeededRandom,
    nodes: BTreeMap<NodeId, Node>,
    under_way: BTreeMap<(MonoTime, u64), (NodeId, NodeId, TransferMessage)>,
    numbers: u64,
    wanted: Vec<(NodeId, SendSnapshot)>,
    wanted_at: MonoTime,
    cuts: Vec<(MonoTime, MonoTime)>,
    crashes: Vec<(MonoTime, NodeId, bool)>,
}

/// How often an engine asks again.
const WANTED_AGAIN: Duration = Duration::from_millis(500);

impl World {
    pub fn new(seed: u64, network: Network, nodes: u64) -> World {
        let now = MonoTime::from_micros(1_000_000);
        let node = |id| {
            let store = Arc::new(PlainStore::default());
            let courier = Courier::new(store.clone(), settings(), LogIndex::ZERO);
            (NodeId(id), Node { store, courier, applied: LogIndex::ZERO })
        };
        World {
            now,
            chunk_bytes: 0,
            takes: 0,
            network,
            random: SeededRandom::new(seed),
            nodes: (1..=nodes).map(node).collect(),
            under_way: BTreeMap::new(),
            numbers: 0,
            wanted: Vec::new(),
            wanted_at: now,
            cuts: Vec::new(),
            crashes: Vec::new(),
        }
    }

    pub fn node(&mut self, id: NodeId) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    pub fn applied(&self, id: NodeId) -> LogIndex {
        self.nodes[&id].applied
    }

    pub fn held(&self, id: NodeId) -> Held {
        self.nodes[&id].courier.held(self.now)
    }

    /// The node has taken this snapshot; it is its newest.
    pub fn keep(&mut self, id: NodeId, index: u64, bytes: u64) {
        let snapshot = (Arc::new(manifest(index, bytes)), content(index, bytes));
        self.node(id).store.kept.lock().unwrap().insert(0, snapshot);
    }

    pub fn want(&mut self, from: NodeId, to: NodeId, at_least: LogIndex) {
        self.wanted.push((from, SendSnapshot { to, at_least }));
    }

    pub fn want_no_more(&mut self) {
        self.wanted.clear();
    }

    pub fn cut(&mut self, from: MonoTime, to: MonoTime) {
        self.cuts.push((from, to));
    }

    pub fn crash(&mut self, id: NodeId, when: MonoTime, incoming_survives: bool) {
        self.crashes.push((when, id, incoming_survives));
    }

    pub fn run_until(&mut self, end: MonoTime, done: impl Fn(&World) -> bool) {
        while self.now < end && !done(self) {
            self.crash_what_is_due();
            if self.now >= self.wanted_at {
                self.wanted_at = self.now + WANTED_AGAIN;
                for (from, wanted) in self.wanted.clone() {
                    let arrived = self.applied(wanted.to) >= wanted.at_least;
                    if !arrived {
                        self.nodes.get_mut(&from).unwrap().courier.wanted(self.now, wanted);
                    }
                }
            }
            self.deliver();
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.work(id);
            }
            let due = self.nodes.values().map(|node| node.courier.deadline()).min().unwrap();
            let arrives = self.under_way.keys().next().map_or(MonoTime::NEVER, |(at, _)| *at);
            let next = due.min(arrives).min(self.wanted_at).min(end);
            self.now = next.max(self.now + Duration::from_micros(100));
        }
    }

    fn crash_what_is_due(&mut self) {
        let now = self.now;
        for (_, id, survives) in self.crashes.extract_if(.., |(when, _, _)| *when <= now) {
            let node = self.nodes.get_mut(&id).unwrap();
            if !survives {
                *node.store.incoming.lock().unwrap() = None;
            }
            node.courier = Courier::new(node.store.clone(), settings(), node.applied);
        }
    }

    fn deliver(&mut self) {
        while let Some(first) = self.under_way.first_entry()
            && first.key().0 <= self.now
        {
            let (from, to, message) = first.remove();
            let is_cut = self.cuts.iter().any(|(start, end)| *start <= self.now && self.now < *end);
            if !is_cut {
                let now = self.now;
                self.node(to).courier.hear(now, from, message);
                self.work(to);
            }
        }
    }

    fn work(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.node(id);
        let mut work = node.courier.work(now);
        if let Some(manifest) = work.install.take() {
            let outcome = node.store.install(manifest.id).map_err(|error| error.to_string());
            let outcome = outcome.map(|()| manifest.position.index);
            if let Ok(index) = outcome {
                assert!(index > node.applied, "an older one was installed");
                node.applied = index;
            }
            node.courier.installed(manifest.id, outcome);
            work.messages.extend(node.courier.work(now).messages);
        }
        self.takes += u64::from(work.take);
        for (to, message) in work.messages {
            self.send(id, to, message);
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: TransferMessage) {
        if let TransferMessage::Chunk { bytes, .. } = &message {
            self.chunk_bytes += bytes.0.len() as u64;
        }
        let message: TransferMessage = codec::decode(&codec::encode(&message).unwrap()).unwrap();
        let copies = 1 + u64::from(self.random.below(1000) < self.network.doubled_permille);
        for _ in 0..copies {
            if self.random.below(1000) < self.network.lost_permille {
                continue;
            }
            let mut message = message.clone();
            if let TransferMessage::Chunk { bytes, .. } = &mut message
                && self.random.below(1000) < self.network.damaged_permille
            {
                let mut spoilt = bytes.0.to_vec();
                spoilt[0] ^= 1;
                bytes.0 = spoilt.into();
            }
            let delay = Duration::from_millis(1 + self.random.below(self.network.delay_ms_max + 1));
            self.numbers += 1;
            self.under_way.insert((self.now + delay, self.numbers), (from, to, message));
        }
    }
}
