//! A link at work: packets from any route enter it, and leave through the socket that they are meant for.
//!
//! ```text
//!   carry ──▶ link: its fate ──▶ due now ─────────────────────────▶ socket
//!                        └─────▶ later ──▶ wire ──▶ deliver, by time ──▶ socket
//! ```
//!
//! A packet that is due at once never changes tasks: a relay without faults costs one receive and one send.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::alarm::Alarm;
use crate::error::RelayError;
use crate::faults::{Change, Faults};
use crate::link::{DropCause, Fate, Link};
use crate::links::LinkReport;
use crate::names::LinkName;
use crate::wire::Wire;

/// Packets that are taken off the wire before the lock is given back.
const BATCH: usize = 64;

/// Where a packet leaves the relay.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    pub(crate) socket: Arc<UdpSocket>,
    /// `None` where the socket is connected.
    pub(crate) to: Option<SocketAddr>,
}

impl Exit {
    /// Nobody there, or no buffer left, is a packet lost: as in any network.
    async fn send(&self, packet: &[u8]) {
        let sent = match self.to {
            Some(to) => self.socket.send_to(packet, to).await,
            None => self.socket.send(packet).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, to = ?self.to, "not sent");
        }
    }
}

type Parcel = (Box<[u8]>, Exit);

#[derive(Debug)]
struct State {
    link: Link,
    wire: Wire<Parcel>,
}

/// A link with its packets under way.
#[derive(Debug)]
pub(crate) struct Carrier {
    name: LinkName,
    started: Instant,
    state: Mutex<State>,
    /// Something is due earlier than what `deliver` waits for.
    earlier: Notify,
}

impl Carrier {
    pub(crate) fn new(name: LinkName, seed: u64, started: Instant) -> Carrier {
        let state = State { link: Link::new(name, seed), wire: Wire::default() };
        Carrier { name, started, state: Mutex::new(state), earlier: Notify::new() }
    }

    /// Held for a moment, never across an await; the state is whole whoever panicked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a packet that is to leave through `exit`.
    pub(crate) async fn carry(&self, packet: &[u8], exit: &Exit) {
        for _ in 0..self.admit(packet, exit) {
            exit.send(packet).await;
        }
    }

    /// Decides what becomes of a packet; returns how many of it leave at once.
    fn admit(&self, packet: &[u8], exit: &Exit) -> usize {
        let mut state = self.state();
        let State { link, wire } = &mut *state;
        // Read under the lock, so that a link's time never goes back.
        let now = self.started.elapsed();
        let Fate::Delivered { at, copy_at } = link.offer(now, packet.len()) else { return 0 };
        let waited_for = wire.next_at();
        let mut at_once = 0;
        for at in [Some(at), copy_at].into_iter().flatten() {
            if at <= now {
                at_once += usize::from(link.arrive());
            } else if wire.has_room(packet.len()) {
                wire.push(at, packet.len(), (packet.into(), exit.clone()));
            } else {
                link.drop(DropCause::QueueFull);
            }
        }
        if wire.next_at() != waited_for {
            self.earlier.notify_one();
        }
        at_once
    }

    /// Lets packets out as they are due, for ever.
    pub(crate) async fn deliver(self: Arc<Self>) {
        let mut batch = Vec::with_capacity(BATCH);
        let alarm = Alarm::in_runtime();
        loop {
            let next_at = self.take_due(&mut batch);
            let idle = batch.is_empty();
            for (packet, exit) in batch.drain(..) {
                exit.send(&packet).await;
            }
            if !idle {
                continue;
            }
            match next_at {
                Some(at) => tokio::select! {
                    () = alarm.ring(self.started + at) => {}
                    () = self.earlier.notified() => {}
                },
                None => self.earlier.notified().await,
            }
        }
    }

    /// Takes off what is due, up to a batch; returns when the next one is.
    fn take_due(&self, batch: &mut Vec<Parcel>) -> Option<Duration> {
        let mut state = self.state();
        let State { link, wire } = &mut *state;
        let now = self.started.elapsed();
        while batch.len() < BATCH
            && let Some(parcel) = wire.pop_due(now)
        {
            if link.arrive() {
                batch.push(parcel);
            }
        }
        wire.next_at()
    }

    /// Changes the faults from now on.
    pub(crate) fn change(&self, change: &Change) -> Result<(), RelayError> {
        let mut state = self.state();
        let faults = state.link.faults().with(change)?;
        tracing::info!(link = %self.name, %faults, "changed");
        state.link.set_faults(faults);
        Ok(())
    }

    /// Takes all faults away.
    pub(crate) fn clear(&self) {
        tracing::info!(link = %self.name, "cleared");
        self.state().link.set_faults(Faults::default());
    }

    /// How the link stands.
    pub(crate) fn report(&self) -> LinkReport {
        let state = self.state();
        LinkReport {
            link: self.name,
            faults: state.link.faults().clone(),
            counters: *state.link.counters(),
            waiting_packets: state.wire.packets() as u64,
            waiting_bytes: state.wire.bytes() as u64,
        }
    }
}
