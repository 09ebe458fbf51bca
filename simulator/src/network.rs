//! Directed links: which are cut, and what the rest does to messages.

use std::collections::{BTreeMap, BTreeSet};

use consensus_api::random::SeededRandom;
use consensus_api::{Lane, MonoTime, NodeId};

/// A least and a most duration, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanUs {
    /// The least.
    pub least_us: u64,
    /// The most.
    pub most_us: u64,
}

impl SpanUs {
    /// From `least_us` to `most_us`, both included.
    pub const fn new(least_us: u64, most_us: u64) -> SpanUs {
        SpanUs { least_us, most_us }
    }

    pub(crate) fn draw(self, random: &mut SeededRandom) -> std::time::Duration {
        let spread = self.most_us.saturating_sub(self.least_us) + 1;
        std::time::Duration::from_micros(self.least_us + random.below(spread))
    }
}

/// What links do to messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkFaults {
    /// Messages lost, of a thousand.
    pub loss_permille: u64,
    /// Messages doubled, of a thousand.
    pub duplicate_permille: u64,
    /// How long a message travels.
    pub delay: SpanUs,
    /// Whether messages of one link and lane stay in order, as on one stream of the transport.
    pub in_order: bool,
}

/// What becomes of one message: when each copy arrives; no copy where it is lost.
pub(crate) type Fate = Vec<MonoTime>;

/// All links.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) faults: LinkFaults,
    cut: BTreeSet<(NodeId, NodeId)>,
    newest: BTreeMap<(NodeId, NodeId, Lane), MonoTime>,
}

impl Network {
    pub(crate) fn new(faults: LinkFaults) -> Network {
        Network { faults, cut: BTreeSet::new(), newest: BTreeMap::new() }
    }

    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    pub(crate) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.cut.contains(&(from, to))
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.cut.is_empty()
    }

    /// Decides what becomes of a message that is sent now.
    pub(crate) fn send(&mut self, link: (NodeId, NodeId, Lane), now: MonoTime, random: &mut SeededRandom) -> Fate {
        if self.is_cut(link.0, link.1) || random.below(1000) < self.faults.loss_permille {
            return Fate::new();
        }
        let copies = if random.below(1000) < self.faults.duplicate_permille { 2 } else { 1 };
        (0..copies).map(|_| self.arrival(link, now, random)).collect()
    }

    fn arrival(&mut self, link: (NodeId, NodeId, Lane), now: MonoTime, random: &mut SeededRandom) -> MonoTime {
        let due = now + self.faults.delay.draw(random);
        if !self.faults.in_order {
            return due;
        }
        let newest = self.newest.entry(link).or_default();
        *newest = due.max(*newest);
        *newest
    }
}
