//! A store of snapshots that can be held up, and a wire between two nodes.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use consensus_api::*;
use kv_machine::{MemorySnapshotError, MemorySnapshots};
use tokio::sync::mpsc;

pub struct Gated {
    pub inner: MemorySnapshots,
    /// How often something was to be received.
    pub received: AtomicU64,
    pub takes: Gate,
    pub installs: Gate,
}

/// What counts who comes by, and can be shut.
#[derive(Default)]
pub struct Gate {
    begun: AtomicU64,
    held: Mutex<bool>,
    released: Condvar,
}

impl Gate {
    /// How many came by.
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Lets nobody through until `release`.
    pub fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    pub fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    fn pass(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        drop(self.released.wait_while(self.held.lock().unwrap(), |held| *held).unwrap());
    }
}

impl Gated {
    pub fn new(inner: MemorySnapshots) -> Gated {
        Gated { inner, received: AtomicU64::new(0), takes: Gate::default(), installs: Gate::default() }
    }
}

impl SnapshotStore for Gated {
    type Error = MemorySnapshotError;

    fn take(&self) -> Result<Arc<SnapshotManifest>, MemorySnapshotError> {
        self.takes.pass();
        self.inner.take()
    }

    fn kept(&self) -> Result<Vec<Arc<SnapshotManifest>>, MemorySnapshotError> {
        self.inner.kept()
    }

    fn read(&self, id: SnapshotId, offset: u64, bytes_max: usize) -> Result<Option<Bytes>, MemorySnapshotError> {
        self.inner.read(id, offset, bytes_max)
    }

    fn receive(&self, manifest: &SnapshotManifest) -> Result<u64, MemorySnapshotError> {
        self.received.fetch_add(1, Ordering::SeqCst);
        self.inner.receive(manifest)
    }

    fn append(&self, id: SnapshotId, offset: u64, bytes: &[u8]) -> Result<u64, MemorySnapshotError> {
        self.inner.append(id, offset, bytes)
    }

    fn give_up(&self) {
        self.inner.give_up();
    }

    fn install(&self, id: SnapshotId) -> Result<(), MemorySnapshotError> {
        self.installs.pass();
        self.inner.install(id)
    }

    fn is_final(&self, error: &MemorySnapshotError) -> bool {
        self.inner.is_final(error)
    }

    fn installed(&self) -> Result<Option<LogPosition>, MemorySnapshotError> {
        self.inner.installed()
    }
}

/// One end of a wire between nodes one and two.
pub struct Wire {
    from: NodeId,
    peer: mpsc::UnboundedSender<Incoming>,
    arrived: tokio::sync::Mutex<mpsc::UnboundedReceiver<Incoming>>,
    closed: tokio::sync::Notify,
}

impl Wire {
    pub fn pair() -> (Wire, Wire) {
        let (to_one, at_one) = mpsc::unbounded_channel();
        let (to_two, at_two) = mpsc::unbounded_channel();
        let end = |from, peer, arrived| {
            let arrived = tokio::sync::Mutex::new(arrived);
            Wire { from: NodeId(from), peer, arrived, closed: tokio::sync::Notify::new() }
        };
        (end(1, to_two, at_one), end(2, to_one, at_two))
    }
}

#[async_trait]
impl Transport for Wire {
    fn send(&self, _: NodeId, lane: Lane, payload: Bytes) {
        let _ = self.peer.send(Incoming { from: self.from, lane, payload });
    }

    async fn receive(&self, batch: &mut Vec<Incoming>) -> bool {
        let mut arrived = self.arrived.lock().await;
        tokio::select! {
            message = arrived.recv() => match message {
                Some(message) => {
                    batch.push(message);
                    true
                }
                // The other end is gone; this one stays.
                None => {
                    self.closed.notified().await;
                    false
                }
            },
            () = self.closed.notified() => false,
        }
    }

    fn set_membership(&self, _: &Membership) {}

    async fn close(&self) {
        self.closed.notify_one();
    }
}
