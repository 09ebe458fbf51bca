//! One snapshot on its way to one peer, as its sender sees it.
//!
//! ```text
//!          Offer, again every second                    chunks within the window
//!   asking ──────────────── Have{offset} ──▶ streaming ─────────── Have{more} ──▶ …  all confirmed: waits for Installed
//!     ▲                                          │
//!     └───────── nothing has moved for a second ─┘         silence for long, or Refused: ended
//! ```
//!
//! Only the answer to an offer moves the transfer back: while it streams, a `Have` that is behind is one that the network
//! has kept, and one that repeats the last says that a chunk is missing there.

use std::sync::Arc;

use bytes::Bytes;
use consensus_api::{LogIndex, MonoTime, SnapshotId, SnapshotManifest};

use super::TransferSettings;
use super::message::{RefusedBecause, TransferMessage};
use super::rate::Rate;

/// What a transfer wants done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Send this.
    Send(TransferMessage),
    /// Read these bytes of the snapshot, and say with [`Sending::chunk`] what was read.
    Read {
        /// Of which snapshot.
        id: SnapshotId,
        /// From where.
        offset: u64,
        /// At most so many.
        bytes_max: usize,
    },
}

/// How a transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer has applied this much, the snapshot or more.
    Installed(LogIndex),
    /// The peer wants no more of it.
    Refused(RefusedBecause),
    /// The peer has said nothing for long.
    Silent,
    /// The snapshot is kept no longer, or cannot be read.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asking { offered_at: Option<MonoTime> },
    Streaming,
}

/// A snapshot on its way to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    manifest: Arc<SnapshotManifest>,
    bytes: u64,
    settings: TransferSettings,
    phase: Phase,
    /// Everything before is stored at the peer.
    confirmed: u64,
    /// The next byte to send.
    next: u64,
    /// Where a repeated `Have` has sent it back to, so that the others of the same window do not do so again.
    went_back: Option<u64>,
    heard_at: MonoTime,
    moved_at: MonoTime,
    ended: Option<Ended>,
}

impl Sending {
    /// Begins to send.
    pub fn new(manifest: Arc<SnapshotManifest>, settings: TransferSettings, now: MonoTime) -> Sending {
        Sending {
            bytes: manifest.bytes(),
            manifest,
            settings,
            phase: Phase::Asking { offered_at: None },
            confirmed: 0,
            next: 0,
            went_back: None,
            heard_at: now,
            moved_at: now,
            ended: None,
        }
    }

    /// What is being sent.
    pub fn manifest(&self) -> &Arc<SnapshotManifest> {
        &self.manifest
    }

    /// How it ended, once it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// The snapshot can be read no longer.
    pub fn lost(&mut self) {
        self.ended.get_or_insert(Ended::Lost);
    }

    /// Takes in what the peer says.
    pub fn hear(&mut self, now: MonoTime, message: &TransferMessage) {
        if message.id() != self.manifest.id || self.ended.is_some() {
            return;
        }
        match message {
            TransferMessage::Have { offset, .. } if *offset <= self.bytes => self.peer_has(now, *offset),
            TransferMessage::Installed { index, .. } if *index >= self.manifest.position.index => {
                self.ended = Some(Ended::Installed(*index));
            }
            TransferMessage::Refused { why, .. } => self.ended = Some(Ended::Refused(why.clone())),
            _ => return,
        }
        self.heard_at = now;
    }

    fn peer_has(&mut self, now: MonoTime, offset: u64) {
        match self.phase {
            Phase::Asking { .. } => {
                self.phase = Phase::Streaming;
                (self.confirmed, self.next) = (offset, offset);
            }
            Phase::Streaming if offset > self.confirmed => {
                self.confirmed = offset;
                self.next = self.next.max(offset);
            }
            Phase::Streaming => {
                if offset == self.confirmed && self.went_back != Some(offset) {
                    self.next = offset;
                    self.went_back = Some(offset);
                }
                return;
            }
        }
        self.went_back = None;
        self.moved_at = now;
    }

    /// What to do now; nothing until [`Sending::deadline`] where it is `None`.
    pub fn next(&mut self, now: MonoTime, rate: &Rate) -> Option<Wish> {
        if self.ended.is_none() && now.since(self.heard_at) >= self.settings.give_up_after {
            self.ended = Some(Ended::Silent);
        }
        if self.ended.is_some() {
            return None;
        }
        if self.phase == Phase::Streaming && now.since(self.moved_at) >= self.settings.offer_again_after {
            self.phase = Phase::Asking { offered_at: None };
        }
        match self.phase {
            Phase::Asking { offered_at } => {
                let is_due = offered_at.is_none_or(|at| now.since(at) >= self.settings.offer_again_after);
                is_due.then(|| {
                    self.phase = Phase::Asking { offered_at: Some(now) };
                    Wish::Send(TransferMessage::Offer { manifest: (*self.manifest).clone() })
                })
            }
            Phase::Streaming => (self.has_room() && rate.is_free(now)).then(|| {
                let rest = usize::try_from(self.bytes - self.next).unwrap_or(usize::MAX);
                let bytes_max = rest.min(self.settings.chunk_bytes);
                Wish::Read { id: self.manifest.id, offset: self.next, bytes_max }
            }),
        }
    }

    /// What was read where [`Wish::Read`] said; `None` where there was nothing, and so the snapshot is lost.
    pub fn chunk(&mut self, bytes: Bytes) -> Option<TransferMessage> {
        if bytes.is_empty() || self.ended.is_some() {
            self.lost();
            return None;
        }
        let offset = self.next;
        self.next += bytes.len() as u64;
        Some(TransferMessage::chunk(self.manifest.id, offset, bytes))
    }

    /// When it has something to do by itself.
    pub fn deadline(&self, rate: &Rate) -> MonoTime {
        if self.ended.is_some() {
            return MonoTime::default();
        }
        let again = self.settings.offer_again_after;
        let due = match self.phase {
            Phase::Asking { offered_at } => offered_at.map_or(MonoTime::default(), |at| at + again),
            Phase::Streaming if self.has_room() => rate.free_at().min(self.moved_at + again),
            Phase::Streaming => self.moved_at + again,
        };
        due.min(self.heard_at + self.settings.give_up_after)
    }

    fn has_room(&self) -> bool {
        self.next < self.bytes && self.next - self.confirmed < self.settings.window_bytes
    }
}
