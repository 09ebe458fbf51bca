//! How a snapshot gets from one node to another over a lane that loses, doubles and reorders.
//!
//! ```text
//!   Sending (one for each peer)                              Receiving (one at a time)
//!      ──Offer{manifest}──────────────────────────────────▶     again after silence
//!      ◀─────────────────────────────────Have{offset}──────     from where on: what survived a cut is not sent again
//!      ──Chunk{offset, bytes, crc}────────────────────────▶     a window of them, within the rate
//!      ◀─────────────────────────────────Have{offset}──────     said again where a chunk is missing or damaged
//!      ◀────────────────────────────Installed{index}───────     or Refused, with the reason
//! ```
//!
//! Both machines are pure: no I/O and no clock but the readings that they are given. [`Courier`] puts a store beneath
//! them; a thread runs it in service, the world in simulation.
//!
//! What arrives is taken in the order of its bytes and in no other, so neither side holds more than the chunk of the
//! moment, and a mixture of two snapshots cannot come about: every message names its snapshot by its contents.

mod courier;
mod message;
mod rate;
mod receiving;
mod sending;

use std::time::Duration;

pub use courier::{Courier, Held, Work};
pub use message::{RefusedBecause, TransferMessage};
pub use rate::Rate;
pub use receiving::{Deed, Receiving};
pub use sending::{Ended, Sending, Wish};

/// How transfers behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferSettings {
    /// The most bytes of the stream in one message.
    pub chunk_bytes: usize,
    /// The most bytes that are sent and not confirmed. Below what a transport queues for the bulk lane.
    pub window_bytes: u64,
    /// The most bytes of streams that this node sends in a second, to all peers together.
    pub bytes_per_second: u64,
    /// How long nothing moves before the snapshot is offered again, which asks how far it has come.
    pub offer_again_after: Duration,
    /// How long a peer says nothing before it is given up.
    pub give_up_after: Duration,
    /// How long a sender says nothing before another one may take its place.
    pub yield_after: Duration,
    /// How long a peer is left alone after a transfer to it has ended, however it ended.
    pub rest: Duration,
    /// How long the log that follows a snapshot is kept for the peer that has installed it, so that it goes on from
    /// there and need not be sent the next one.
    pub keep_log_for: Duration,
}

impl Default for TransferSettings {
    fn default() -> TransferSettings {
        TransferSettings {
            chunk_bytes: 256 << 10,
            window_bytes: 2 << 20,
            bytes_per_second: 64 << 20,
            offer_again_after: Duration::from_secs(1),
            give_up_after: Duration::from_secs(30),
            yield_after: Duration::from_secs(5),
            rest: Duration::from_secs(2),
            keep_log_for: Duration::from_secs(30),
        }
    }
}
