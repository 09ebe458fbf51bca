//! Events in any order: messages lost, doubled and late, disks that finish some of their writes, nodes that stop and come
//! back, links that are cut. The seed decides.

use std::time::Duration;

use crate::engine::{Engine, Limits};

use super::Claims;
use super::world::World;

const SEEDS: u64 = 120;
const EVENTS: usize = 1_500;

impl<E: Engine> World<E> {
    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn one_of(&mut self, count: usize) -> usize {
        self.random.below(count as u64) as usize
    }

    fn somebody(&mut self) -> crate::NodeId {
        let ids = self.ids();
        ids[self.one_of(ids.len())]
    }

    /// One event of ordinary life, of all that could come next.
    pub(crate) fn go_about(&mut self) {
        let node = self.somebody();
        match self.random.below(100) {
            0..50 => self.deliver_any(0, 0),
            50..60 => self.tick_later(node),
            60..78 => {
                let count = 1 + self.one_of(2);
                self.sync(node, count);
            }
            78..85 => {
                self.propose(node);
            }
            85..92 => {
                self.answer_read_backs(node);
            }
            _ => {
                self.apply(node);
            }
        }
    }

    /// One event, perhaps a fault.
    fn disturb(&mut self) {
        let node = self.somebody();
        match self.random.below(1000) {
            0..300 => self.deliver_any(4, 6),
            300..310 => {
                let mode = E::READS[self.one_of(E::READS.len())];
                self.read(node, mode);
            }
            310..316 => {
                self.node_mut(node).flush();
                self.trim(node);
            }
            316..320 => self.stop(node),
            320..332 if self.node(node).engine.is_none() => self.start(node),
            332..335 => {
                self.cut.insert(node);
            }
            335..345 => self.cut.clear(),
            345..350 => {
                for (from, wanted) in std::mem::take(&mut self.snapshots) {
                    self.install(from, wanted);
                }
            }
            _ => self.go_about(),
        }
    }

    /// Delivers any letter, or loses it, or leaves a copy of it in the mail.
    fn deliver_any(&mut self, lost_percent: u64, doubled_percent: u64) {
        let pick = self.one_of(self.mail.len());
        if self.chance(doubled_percent)
            && let Some(copy) = self.mail.get(pick).cloned()
        {
            self.mail.push_back(copy);
        }
        let Some(letter) = self.mail.remove(pick) else { return };
        if !self.chance(lost_percent) {
            self.deliver(letter);
        }
    }

    fn tick_later(&mut self, node: crate::NodeId) {
        let millis = self.random.below(12);
        self.now = self.now + Duration::from_millis(millis);
        self.step(node, crate::Input::Tick);
    }

    /// No more faults: everybody runs, and everything is done as it comes.
    fn heal(&mut self) {
        self.cut.clear();
        self.batched_percent = 0;
        for node in self.ids() {
            if self.node(node).engine.is_none() {
                self.start(node);
            }
            self.take(node);
        }
    }
}

fn disturbed<E: Engine>(seed: u64) -> World<E> {
    let limits = Limits {
        message_bytes_max: 300,
        window_bytes_max: 400,
        unapplied_bytes_max: 1_000,
        peer_messages_max: 1 + (seed % 5) as usize,
        ..Limits::default()
    };
    let mut world = World::<E>::seeded(seed, if seed % 4 == 3 { 5 } else { 3 }, limits);
    world.batched_percent = 20 * (seed % 3);
    world.flushes = false;
    (0..EVENTS).for_each(|_| world.disturb());
    world
}

/// The referee looks on; afterwards they go on, from where they were.
pub fn no_schedule_changes_what_is_committed<E: Engine>(_: Claims) {
    let (mut commits, mut reads) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = disturbed::<E>(seed);
        commits += world.last_chosen().0;
        reads += world.ready.len() as u64;
        world.heal();
        let before = world.last_chosen();
        world.goes_on();
        assert!(world.last_chosen() > before && world.is_level(), "they do not go on");
    }
    // Not vacuous.
    assert!(commits > 5 * SEEDS, "only {commits} entries were committed with {SEEDS} seeds");
    assert!(reads > SEEDS, "only {reads} reads were answered with {SEEDS} seeds");
}

/// To the byte, and so are the engines in the end.
pub fn the_same_inputs_give_the_same_effects<E: Engine>(_: Claims) {
    for seed in 0..10 {
        let (mut one, mut other) = (disturbed::<E>(seed), disturbed::<E>(seed));
        assert!(one.transcript == other.transcript, "the effects differ with seed {seed}");
        let engines = |world: &mut World<E>| {
            std::mem::take(&mut world.nodes).into_values().map(|node| node.engine).collect::<Vec<_>>()
        };
        assert!(engines(&mut one) == engines(&mut other), "the engines differ with seed {seed}");
    }
}
