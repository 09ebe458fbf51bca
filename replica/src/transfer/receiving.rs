//! Snapshots on their way to this node, one at a time.
//!
//! ```text
//!   idle ──Offer──▶ beginning ──begun──▶ receiving ──all there──▶ installing ──installed──▶ idle
//!                                          │  ▲
//!                                 Append ──┘  └── appended: Have{offset}
//! ```
//!
//! Whoever runs this performs each [`Deed`] before it lets the machine hear the next message.

use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{LogIndex, MonoTime, NodeId, SnapshotId, SnapshotManifest};

use super::TransferSettings;
use super::message::{RefusedBecause, TransferMessage};

/// What is to be done, at once and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Send this.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: TransferMessage,
    },
    /// Make the store ready to receive this, and say [`Receiving::begun`].
    Begin(Arc<SnapshotManifest>),
    /// Store these bytes, and say [`Receiving::appended`].
    Append {
        /// Of which snapshot.
        id: SnapshotId,
        /// Where they belong.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Put it in the place of the tables, and say [`Receiving::installed`] in the end. It may take its time.
    Install(Arc<SnapshotManifest>),
    /// Throw away what is stored: the tables have come as far by themselves.
    GiveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Beginning,
    Receiving,
    Installing,
}

/// The snapshot that is being received.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Incoming {
    from: NodeId,
    manifest: Arc<SnapshotManifest>,
    /// Everything before is stored.
    offset: u64,
    phase: Phase,
    heard_at: MonoTime,
}

/// The receiving end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiving {
    settings: TransferSettings,
    applied: LogIndex,
    incoming: Option<Incoming>,
}

impl Receiving {
    /// Receives nothing yet; the tables have applied `applied`.
    pub fn new(settings: TransferSettings, applied: LogIndex) -> Receiving {
        Receiving { settings, applied, incoming: None }
    }

    /// The snapshot that is being received or installed.
    pub fn incoming(&self) -> Option<&Arc<SnapshotManifest>> {
        self.incoming.as_ref().map(|incoming| &incoming.manifest)
    }

    /// The tables have come to here.
    pub fn applied(&mut self, through: LogIndex) {
        self.applied = self.applied.max(through);
    }

    /// Gives up what is being received if the tables have come as far by themselves; its sender may be gone for ever.
    pub fn drop_needless(&mut self, deeds: &mut Vec<Deed>) {
        let is_needless = |incoming: &Incoming| {
            incoming.phase == Phase::Receiving && incoming.manifest.position.index <= self.applied
        };
        if self.incoming.as_ref().is_some_and(is_needless) {
            self.incoming = None;
            deeds.push(Deed::GiveUp);
        }
    }

    /// Takes in what a sender says.
    pub fn hear(&mut self, now: MonoTime, from: NodeId, message: TransferMessage, deeds: &mut Vec<Deed>) {
        match message {
            TransferMessage::Offer { manifest } => self.offered(now, from, manifest, deeds),
            TransferMessage::Chunk { id, offset, bytes, crc } => {
                let is_sound = crc32fast::hash(&bytes.0) == crc;
                self.chunk(now, (from, id), offset, is_sound.then_some(bytes.0), deeds);
            }
            // Those are for the sending end.
            TransferMessage::Have { .. } | TransferMessage::Installed { .. } | TransferMessage::Refused { .. } => {}
        }
    }

    fn offered(&mut self, now: MonoTime, from: NodeId, manifest: SnapshotManifest, deeds: &mut Vec<Deed>) {
        let id = manifest.id;
        self.drop_needless(deeds);
        if manifest.position.index <= self.applied {
            return deeds
                .push(Deed::Send { to: from, message: TransferMessage::Installed { id, index: self.applied } });
        }
        let Some(incoming) = &mut self.incoming else { return self.begin(now, from, manifest, deeds) };
        let is_silent = incoming.phase == Phase::Receiving && now.since(incoming.heard_at) >= self.settings.yield_after;
        if incoming.manifest.id == id && (incoming.from == from || is_silent) {
            (incoming.from, incoming.heard_at) = (from, now);
            if incoming.phase != Phase::Beginning {
                let message = TransferMessage::Have { id, offset: incoming.offset };
                deeds.push(Deed::Send { to: from, message });
            }
            return;
        }
        // A newer one of another sender's has to wait: two that take snapshots faster than one arrives would otherwise
        // replace each other's for ever.
        let is_newer = manifest.position.index >= incoming.manifest.position.index;
        if is_silent || (incoming.phase == Phase::Receiving && incoming.from == from && is_newer) {
            self.begin(now, from, manifest, deeds);
        } else if incoming.from != from {
            let message = TransferMessage::Refused { id, why: RefusedBecause::Busy };
            deeds.push(Deed::Send { to: from, message });
        }
    }

    fn begin(&mut self, now: MonoTime, from: NodeId, manifest: SnapshotManifest, deeds: &mut Vec<Deed>) {
        let manifest = Arc::new(manifest);
        deeds.push(Deed::Begin(manifest.clone()));
        self.incoming = Some(Incoming { from, manifest, offset: 0, phase: Phase::Beginning, heard_at: now });
    }

    /// Bytes have come; `None` where they are not those that were sent.
    fn chunk(
        &mut self,
        now: MonoTime,
        (from, id): (NodeId, SnapshotId),
        offset: u64,
        bytes: Option<Bytes>,
        deeds: &mut Vec<Deed>,
    ) {
        let Some(incoming) = &mut self.incoming else { return };
        if incoming.manifest.id != id || incoming.from != from {
            // Of the same sender it is an old one, and the sender knows.
            if incoming.from != from {
                let message = TransferMessage::Refused { id, why: RefusedBecause::Busy };
                deeds.push(Deed::Send { to: from, message });
            }
            return;
        }
        if incoming.phase != Phase::Receiving {
            return;
        }
        incoming.heard_at = now;
        if incoming.manifest.position.index <= self.applied {
            self.drop_needless(deeds);
            let message = TransferMessage::Installed { id, index: self.applied };
            return deeds.push(Deed::Send { to: from, message });
        }
        let rest = incoming.manifest.bytes().saturating_sub(incoming.offset);
        match bytes.filter(|bytes| !bytes.is_empty() && bytes.len() as u64 <= rest) {
            Some(bytes) if offset == incoming.offset => deeds.push(Deed::Append { id, offset, bytes }),
            // One that was taken already; to say so again would look like a loss.
            _ if offset < incoming.offset => {}
            _ => {
                let message = TransferMessage::Have { id, offset: incoming.offset };
                deeds.push(Deed::Send { to: from, message });
            }
        }
    }

    /// The store is ready to receive from this offset on, or why it is not.
    pub fn begun(&mut self, id: SnapshotId, outcome: Result<u64, String>, deeds: &mut Vec<Deed>) {
        if self.is_in(id, Phase::Beginning) {
            self.stored(outcome, deeds);
        }
    }

    /// The store has everything before this offset, or why it does not.
    pub fn appended(&mut self, id: SnapshotId, outcome: Result<u64, String>, deeds: &mut Vec<Deed>) {
        if self.is_in(id, Phase::Receiving) {
            self.stored(outcome, deeds);
        }
    }

    fn is_in(&self, id: SnapshotId, phase: Phase) -> bool {
        self.incoming.as_ref().is_some_and(|incoming| incoming.manifest.id == id && incoming.phase == phase)
    }

    fn stored(&mut self, outcome: Result<u64, String>, deeds: &mut Vec<Deed>) {
        let Some(incoming) = &mut self.incoming else { return };
        let (to, id, bytes) = (incoming.from, incoming.manifest.id, incoming.manifest.bytes());
        let outcome = outcome.and_then(|offset| {
            let is_too_long = offset > bytes;
            if is_too_long { Err(format!("{offset} bytes are stored, of {bytes}")) } else { Ok(offset) }
        });
        match outcome {
            Ok(offset) => {
                (incoming.offset, incoming.phase) = (offset, Phase::Receiving);
                deeds.push(Deed::Send { to, message: TransferMessage::Have { id, offset } });
                if offset == bytes {
                    incoming.phase = Phase::Installing;
                    deeds.push(Deed::Install(incoming.manifest.clone()));
                }
            }
            Err(why) => {
                self.incoming = None;
                let message = TransferMessage::Refused { id, why: RefusedBecause::Failed(why) };
                deeds.push(Deed::Send { to, message });
            }
        }
    }

    /// It stands in the place of the tables, which have now applied this much; or why it does not.
    pub fn installed(&mut self, id: SnapshotId, outcome: Result<LogIndex, String>, deeds: &mut Vec<Deed>) {
        if !self.is_in(id, Phase::Installing) {
            return;
        }
        let Some(incoming) = self.incoming.take() else { return };
        let message = match outcome {
            Ok(index) => {
                self.applied = self.applied.max(index);
                if index > incoming.manifest.position.index {
                    deeds.push(Deed::GiveUp);
                }
                TransferMessage::Installed { id, index }
            }
            Err(why) => TransferMessage::Refused { id, why: RefusedBecause::NotInstalled(why) },
        };
        deeds.push(Deed::Send { to: incoming.from, message });
    }
}
