//! Directed links: which are cut or clogged, how much is on its way, and what the rest does to messages.
//!
//! ```text
//!   send ──▶ cut? lost? full? ──▶ delay (uniform, exponential, a spike) ──▶ due ──▶ cut? clogged? ──▶ deliver
//!                                                                                      │ kept till it unclogs
//! ```
//!
//! Cuts and clogs are counted: a link that two faults cut is whole again when both have ended.

mod delay;
mod shapes;

use std::time::Duration;

use consensus_api::random::SeededRandom;
use consensus_api::{Lane, MonoTime, NodeId};

pub use delay::SpanUs;
pub use shapes::Shape;

/// No message takes longer; a transport has long given up its connection by then.
const DELAY_MAX: Duration = Duration::from_secs(1);

/// What links do to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkFaults {
    /// Messages lost, of a thousand.
    pub loss_permille: u64,
    /// Messages doubled, of a thousand.
    pub duplicate_permille: u64,
    /// How long a message travels.
    pub delay: SpanUs,
    /// How much longer, on average and exponentially distributed, in microseconds.
    pub tail_mean_us: u64,
    /// Messages that take 10 to 100 times as long, of a thousand.
    pub spikes_permille: u64,
    /// Whether messages of one link and lane stay in order, as on one stream of the transport.
    pub in_order: bool,
    /// How many messages are on their way at most on one lane of a link; what is sent beyond that is lost.
    pub on_the_way_max: u32,
}

impl Default for LinkFaults {
    /// Links that take no time and lose nothing.
    fn default() -> LinkFaults {
        LinkFaults {
            loss_permille: 0,
            duplicate_permille: 0,
            delay: SpanUs::default(),
            tail_mean_us: 0,
            spikes_permille: 0,
            in_order: false,
            on_the_way_max: 10_000,
        }
    }
}

/// What becomes of a message that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The link is cut, or loses it.
    Lost,
    /// The link is full.
    NoRoom,
    /// It arrives then, and perhaps a copy of it as well.
    Arrives(MonoTime, Option<MonoTime>),
}

/// One directed link.
#[derive(Clone, Debug, Default)]
struct Link {
    cuts: u32,
    clogs: u32,
    lanes: [Traffic; Lane::ALL.len()],
}

/// One lane of a link.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    on_the_way: u32,
    newest: MonoTime,
}

/// All links.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    nodes: u64,
    /// Row by row: from the first node to each, from the second node to each, …
    links: Vec<Link>,
    faults: LinkFaults,
    /// What links do for now, each under the number of the fault that said so; the last one holds.
    weather: Vec<(u64, LinkFaults)>,
}

impl Network {
    /// Links between nodes 1 to `nodes`.
    pub(crate) fn new(nodes: u64, faults: LinkFaults) -> Network {
        let links = vec![Link::default(); usize::try_from(nodes * nodes).unwrap_or(0)];
        Network { nodes, links, faults, weather: Vec::new() }
    }

    fn place(&self, (from, to): (NodeId, NodeId)) -> usize {
        assert!((1..=self.nodes).contains(&from.0) && (1..=self.nodes).contains(&to.0), "no link {from} → {to}");
        ((from.0 - 1) * self.nodes + to.0 - 1) as usize
    }

    fn link_mut(&mut self, link: (NodeId, NodeId)) -> &mut Link {
        let place = self.place(link);
        &mut self.links[place]
    }

    pub(crate) fn set_faults(&mut self, faults: LinkFaults) {
        self.faults = faults;
    }

    pub(crate) fn begin_weather(&mut self, number: u64, faults: LinkFaults) {
        self.weather.push((number, faults));
    }

    pub(crate) fn end_weather(&mut self, number: u64) {
        self.weather.retain(|(other, _)| *other != number);
    }

    /// What links do now.
    pub(crate) fn faults(&self) -> &LinkFaults {
        self.weather.last().map_or(&self.faults, |(_, faults)| faults)
    }

    /// Cuts a link once more; true where it was whole.
    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) -> bool {
        let link = self.link_mut((from, to));
        link.cuts += 1;
        link.cuts == 1
    }

    /// Takes one cut back; true where the link is whole now.
    pub(crate) fn mend(&mut self, from: NodeId, to: NodeId) -> bool {
        let link = self.link_mut((from, to));
        let was_cut = link.cuts > 0;
        link.cuts = link.cuts.saturating_sub(1);
        was_cut && link.cuts == 0
    }

    pub(crate) fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        self.links[self.place((from, to))].cuts > 0
    }

    pub(crate) fn clog(&mut self, from: NodeId, to: NodeId) {
        self.link_mut((from, to)).clogs += 1;
    }

    /// Takes one clog back; true where the link is free now.
    pub(crate) fn unclog(&mut self, from: NodeId, to: NodeId) -> bool {
        let link = self.link_mut((from, to));
        let was_clogged = link.clogs > 0;
        link.clogs = link.clogs.saturating_sub(1);
        was_clogged && link.clogs == 0
    }

    pub(crate) fn is_clogged(&self, from: NodeId, to: NodeId) -> bool {
        self.links[self.place((from, to))].clogs > 0
    }

    /// All links are whole and free, and the weather is over.
    pub(crate) fn heal(&mut self) {
        for link in &mut self.links {
            (link.cuts, link.clogs) = (0, 0);
            // What comes after the repair need not stand behind a message that is late.
            link.lanes.iter_mut().for_each(|traffic| traffic.newest = MonoTime::default());
        }
        self.weather.clear();
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.links.iter().all(|link| link.cuts == 0)
    }

    /// Decides what becomes of a message that is sent now.
    pub(crate) fn send(&mut self, link: (NodeId, NodeId, Lane), now: MonoTime, random: &mut SeededRandom) -> Fate {
        let (from, to, lane) = link;
        let faults = *self.faults();
        if self.is_cut(from, to) || random.below(1000) < faults.loss_permille {
            return Fate::Lost;
        }
        let doubled = random.below(1000) < faults.duplicate_permille;
        let traffic = &mut self.link_mut((from, to)).lanes[lane as usize];
        if traffic.on_the_way >= faults.on_the_way_max {
            return Fate::NoRoom;
        }
        let first = traffic.take_on(now, &faults, random);
        let second =
            (doubled && traffic.on_the_way < faults.on_the_way_max).then(|| traffic.take_on(now, &faults, random));
        Fate::Arrives(first, second)
    }

    /// A message has left its link, at either end.
    pub(crate) fn left(&mut self, from: NodeId, to: NodeId, lane: Lane) {
        let traffic = &mut self.link_mut((from, to)).lanes[lane as usize];
        assert!(traffic.on_the_way > 0, "more messages leave {from} → {to} than were sent");
        traffic.on_the_way -= 1;
    }

    /// One more is on its way, though nobody sent it.
    pub(crate) fn doubled(&mut self, from: NodeId, to: NodeId, lane: Lane) {
        self.link_mut((from, to)).lanes[lane as usize].on_the_way += 1;
    }
}

impl Traffic {
    fn take_on(&mut self, now: MonoTime, faults: &LinkFaults, random: &mut SeededRandom) -> MonoTime {
        self.on_the_way += 1;
        let due = now + faults.draw_delay(random);
        if !faults.in_order {
            return due;
        }
        self.newest = self.newest.max(due);
        self.newest
    }
}

impl LinkFaults {
    fn draw_delay(&self, random: &mut SeededRandom) -> Duration {
        let mut delay = self.delay.draw(random);
        if self.tail_mean_us > 0 {
            delay += Duration::from_micros(delay::exponential_us(self.tail_mean_us, random));
        }
        if self.spikes_permille > 0 && random.below(1000) < self.spikes_permille {
            let times = 10 + random.below(91);
            delay *= u32::try_from(times).unwrap_or(u32::MAX);
        }
        delay.min(DELAY_MAX)
    }
}

#[cfg(test)]
mod tests;
