//! Transfers over the bulk lane of the faulty network: the replica's courier, with the world as its thread.

use std::sync::Arc;

use consensus_api::{Blob, Lane, LogIndex, MonoTime, NodeId, SendSnapshot, codec};
use kv_machine::MemorySnapshots;
use replica::transfer::{Courier, RefusedBecause, TransferMessage};

use super::Order;
use crate::agenda::Task;
use crate::checks::Violation;
use crate::network::Fate;
use crate::plan::Moment;
use crate::protocol::Protocol;
use crate::trace::{Happening, Lost, Parcel};
use crate::world::World;

/// A transfer's message in a few words; the first one is its name.
pub(crate) fn describe(message: &TransferMessage) -> String {
    let id = message.id().0 >> 96;
    match message {
        TransferMessage::Offer { manifest } => {
            format!("Offer {id:08x} through {}, {} bytes", manifest.position.index, manifest.bytes())
        }
        TransferMessage::Have { offset, .. } => format!("Have {id:08x} up to {offset}"),
        TransferMessage::Chunk { offset, bytes, .. } => format!("Chunk {id:08x} at {offset}, {} bytes", bytes.0.len()),
        TransferMessage::Installed { index, .. } => format!("Installed {id:08x}, applied {index}"),
        TransferMessage::Refused { why, .. } => format!("Refused {id:08x}: {why}"),
    }
}

/// The courier's thread.
impl<P: Protocol> World<P> {
    pub(crate) fn send_snapshot(&mut self, id: NodeId, wanted: SendSnapshot) -> Result<(), Violation> {
        self.note(Happening::SnapshotWanted(id, wanted));
        self.with_courier(id, |courier, now| courier.wanted(now, wanted))
    }

    /// One node offers another the newest snapshot that it keeps, though nobody has asked for it.
    pub fn offer_snapshot(&mut self, from: NodeId, to: NodeId) -> Result<(), Violation> {
        self.send_snapshot(from, SendSnapshot { to, at_least: LogIndex::ZERO })
    }

    /// The courier's own time has come.
    pub(crate) fn move_on(&mut self, id: NodeId) -> Result<(), Violation> {
        self.with_courier(id, |_, _| ())
    }

    /// Tells the courier something, and sees to what it then wants.
    pub(super) fn with_courier(
        &mut self,
        id: NodeId,
        tell: impl FnOnce(&mut Courier<MemorySnapshots>, MonoTime),
    ) -> Result<(), Violation> {
        let turned_away = self.turned_away(id);
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let local = node.local(self.now);
        let Some(process) = node.process.as_mut() else { return Ok(()) };
        let applied = process.tables_at();
        let courier = &mut process.desk.courier;
        courier.applied(applied);
        let sending = courier.held(local).sending.len();
        tell(courier, local);
        let begun = courier.held(local).sending.len() > sending;
        let work = courier.work(local);
        self.note_refusals(id, turned_away)?;
        if begun {
            self.note(Happening::TransferBegun(id));
        }
        if let Some(manifest) = work.install {
            self.hand_in_installation(id, manifest);
        }
        if work.take {
            self.order(id, Order::Due);
        }
        for (to, message) in work.messages {
            let is_chunk = matches!(message, TransferMessage::Chunk { .. });
            self.send_piece(id, to, message);
            if is_chunk && self.moment(id, Moment::NextChunkSent)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn send_piece(&mut self, from: NodeId, to: NodeId, message: TransferMessage) {
        let message = self.maybe_garbled(from, message);
        let lane = Lane::Bulk;
        let fate = self.network.send((from, to, lane), self.now, &mut self.random);
        let words = describe(&message);
        let parcel = Parcel { from, to, lane, stores: self.connected(from, to), message: Arc::new(message) };
        let happening = match fate {
            Fate::Lost => Happening::PieceLost(from, to, words, Lost::OnTheWay),
            Fate::NoRoom => Happening::PieceLost(from, to, words, Lost::NoRoom),
            Fate::Arrives(first, second) => {
                for due in [first].into_iter().chain(second) {
                    self.agenda.enter(due, Task::DeliverPiece(parcel.clone()));
                }
                Happening::PieceSent(from, to, words)
            }
        };
        self.note(happening);
    }

    /// Now and then a bit of a chunk flips between the sender's disk and the receiver's.
    fn maybe_garbled(&mut self, from: NodeId, message: TransferMessage) -> TransferMessage {
        let permille = self.config.garbled_permille;
        match message {
            TransferMessage::Chunk { id, offset, bytes, crc } if permille > 0 && self.random.below(1000) < permille => {
                let mut garbled = bytes.0.to_vec();
                let at = self.random.below(garbled.len() as u64) as usize;
                garbled[at] ^= 1 << self.random.below(8);
                self.note(Happening::Garbled(from));
                TransferMessage::Chunk { id, offset, bytes: Blob::from(garbled), crc }
            }
            other => other,
        }
    }

    pub(crate) fn deliver_piece(&mut self, parcel: Parcel<TransferMessage>) -> Result<(), Violation> {
        let Parcel { from, to, lane, stores, .. } = parcel;
        if self.network.is_clogged(from, to) {
            self.agenda.keep((from, to), Task::DeliverPiece(parcel));
            return Ok(());
        }
        self.network.left(from, to, lane);
        let words = describe(&parcel.message);
        if let Some(why) = self.why_not_delivered((from, to), stores) {
            self.note(Happening::PieceLost(from, to, words, why));
            return Ok(());
        }
        let over_the_wire = codec::encode(&*parcel.message).and_then(|bytes| codec::decode::<TransferMessage>(&bytes));
        let Ok(message) = over_the_wire else {
            return Err(Violation::Engine { node: from, what: format!("sent {words}, which the codec does not take") });
        };
        self.note(Happening::PieceReceived(from, to, words));
        let is_chunk = matches!(message, TransferMessage::Chunk { .. });
        if let TransferMessage::Refused { why: RefusedBecause::NotInstalled(why), .. } = &message {
            self.note(Happening::SnapshotRefused(from, why.clone()));
        }
        self.with_courier(to, |courier, now| courier.hear(now, from, message))?;
        if is_chunk { self.moment(to, Moment::NextChunkReceived).map(drop) } else { Ok(()) }
    }
}
