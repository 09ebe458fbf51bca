//! What happens to a packet: the pure part. No clock, no socket; the seed decides every draw.
//!
//! ```text
//!   offer(now, len) ──▶ cut? ──▶ lost? ──▶ room in the queue? ──▶ Delivered { at, copy_at }
//!                        │         │              │
//!                        └─────────┴──────────────┴─────────────▶ Dropped(cause)
//!
//!   at = when the rate lets it through + delay + jitter (+ a hold, where it is to be overtaken)
//! ```
//!
//! Every packet takes the same number of draws, whatever the settings are: with one seed, the packets that are lost at
//! 5 % are among those that are lost at 10 %, and a delay that is set half-way changes nobody else's fate.

use std::time::Duration;

use oorandom::Rand64;
use serde::{Deserialize, Serialize};

use crate::faults::{Faults, Share};
use crate::names::LinkName;

/// How long a packet is held back that others are to overtake.
pub const REORDER_HOLD: Duration = Duration::from_millis(5);
/// The jitter is cut off at this multiple of its mean; one packet in some 3,000 would be later.
const JITTER_MEANS_MAX: f64 = 8.0;

/// What becomes of a packet. Times are since the same beginning as the `now` that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Delivered {
        /// When.
        at: Duration,
        /// When it arrives a second time, if it does.
        copy_at: Option<Duration>,
    },
    /// It never arrives.
    Dropped(DropCause),
}

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// The link is cut.
    Cut,
    /// Chance.
    Loss,
    /// The rate's queue, or what the relay holds for a link, was full.
    QueueFull,
}

/// What a link has seen. At any time `packets + duplicated = delivered + dropped + waiting`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets that were sent into it.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that came out of it, copies included.
    pub delivered: u64,
    /// Copies that were made.
    pub duplicated: u64,
    /// Packets that were held back.
    pub reordered: u64,
    /// Packets lost because the link was cut.
    pub dropped_cut: u64,
    /// Packets lost by chance.
    pub dropped_loss: u64,
    /// Packets lost because a queue was full.
    pub dropped_queue: u64,
}

impl Counters {
    /// All that never arrived.
    pub fn dropped(&self) -> u64 {
        self.dropped_cut + self.dropped_loss + self.dropped_queue
    }
}

/// One directed link: its faults, its chance, and what it has seen.
#[derive(Clone, Debug)]
pub struct Link {
    faults: Faults,
    random: Rand64,
    /// When the rate lets the next packet through.
    free_at: Duration,
    counters: Counters,
}

/// One packet's share of chance.
struct Draws {
    loss: u64,
    duplicate: u64,
    reorder: u64,
    jitter: f64,
    copy_jitter: f64,
}

impl Link {
    /// A link without faults. Each link of a relay has a sequence of draws of its own.
    pub fn new(name: LinkName, seed: u64) -> Link {
        let seed = u128::from(seed) ^ (u128::from(name.from) << 96) ^ (u128::from(name.to) << 64);
        Link {
            faults: Faults::default(),
            random: Rand64::new(seed),
            free_at: Duration::ZERO,
            counters: Counters::default(),
        }
    }

    /// What it does to packets.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What it has seen.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Does something else to packets from now on. What queued for a rate is not in the way of another.
    pub fn set_faults(&mut self, faults: Faults) {
        if faults.rate_bytes_per_s != self.faults.rate_bytes_per_s {
            self.free_at = Duration::ZERO;
        }
        self.faults = faults;
    }

    /// A packet of `len` bytes enters the link at `now`, which must not go back.
    pub fn offer(&mut self, now: Duration, len: usize) -> Fate {
        let draws = self.draw();
        self.counters.packets += 1;
        self.counters.bytes += len as u64;
        if self.faults.cut {
            return self.drop(DropCause::Cut);
        }
        if happens(self.faults.loss, draws.loss) {
            return self.drop(DropCause::Loss);
        }
        let Some(through) = self.pass_at_rate(now, len) else { return self.drop(DropCause::QueueFull) };
        let arrives = through + Duration::from_micros(self.faults.delay_us);
        let mut at = arrives + self.jitter(draws.jitter);
        if happens(self.faults.reorder, draws.reorder) {
            self.counters.reordered += 1;
            at += REORDER_HOLD;
        }
        let copy_at = happens(self.faults.duplicate, draws.duplicate).then(|| arrives + self.jitter(draws.copy_jitter));
        self.counters.duplicated += u64::from(copy_at.is_some());
        Fate::Delivered { at, copy_at }
    }

    /// Whether a packet that was under way, and is due now, arrives: not where the link was cut meanwhile.
    pub fn arrive(&mut self) -> bool {
        if self.faults.cut {
            self.drop(DropCause::Cut);
        } else {
            self.counters.delivered += 1;
        }
        !self.faults.cut
    }

    /// Counts a packet that is lost for this reason.
    pub fn drop(&mut self, cause: DropCause) -> Fate {
        match cause {
            DropCause::Cut => self.counters.dropped_cut += 1,
            DropCause::Loss => self.counters.dropped_loss += 1,
            DropCause::QueueFull => self.counters.dropped_queue += 1,
        }
        Fate::Dropped(cause)
    }

    fn draw(&mut self) -> Draws {
        Draws {
            loss: self.random.rand_range(0..1000),
            duplicate: self.random.rand_range(0..1000),
            reorder: self.random.rand_range(0..1000),
            jitter: self.random.rand_float(),
            copy_jitter: self.random.rand_float(),
        }
    }

    /// When a packet has passed the bottleneck; `None` where the queue before it is full.
    fn pass_at_rate(&mut self, now: Duration, len: usize) -> Option<Duration> {
        let rate = self.faults.rate_bytes_per_s;
        if rate == 0 {
            return Some(now);
        }
        let takes = |bytes: u64| Duration::from_nanos((u128::from(bytes) * 1_000_000_000 / u128::from(rate)) as u64);
        let start = self.free_at.max(now);
        // What is still to be sent is the queue; it need not be kept as a number of its own.
        let queued = start - now;
        if queued + takes(len as u64) > takes(self.faults.queue_bytes) {
            return None;
        }
        self.free_at = start + takes(len as u64);
        Some(self.free_at)
    }

    /// Exponential: most packets a little late, a few much, as queues in a network make them.
    fn jitter(&self, draw: f64) -> Duration {
        let means = -(1.0 - draw).ln();
        // The cast is exact: at most 60 s times 8, in microseconds.
        Duration::from_micros((means.min(JITTER_MEANS_MAX) * self.faults.jitter_us as f64) as u64)
    }
}

fn happens(share: Share, draw: u64) -> bool {
    draw < u64::from(share.permille())
}

#[cfg(test)]
mod tests;
