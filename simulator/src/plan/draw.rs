//! How a plan is drawn: what the profile promises first, each in a slot of its own, and then what its menu offers, of
//! which each run takes some kinds and not others (swarm testing: runs that differ in kind find more than runs that
//! differ in detail).
//!
//! ```text
//!   │ failed sync │ torn write │ corrupt record │ …        promised, in an order that is drawn
//!       crash  ~~~~~~  crash of all       pause  ~~        from the menu, anywhere
//! ```

use std::time::Duration;

use consensus_api::NodeId;
use consensus_api::random::SeededRandom;

use super::{FAULTS, Fault, FaultPlan, Kind, Moment, Planned, Promise, Target};
use crate::disk::{Ailment, Damage};
use crate::network::{LinkFaults, Shape, SpanUs};
use crate::profile::Profile;

/// A kind that a profile may draw: in how many runs of a thousand, and how often in one at most.
type Offer = (Kind, u64, u64);

/// Everything that is not for good.
const SWARM: [Offer; 18] = [
    (Kind::Crash, 800, 8),
    (Kind::CrashAll, 300, 2),
    (Kind::TornWrite, 300, 3),
    (Kind::Pause, 400, 4),
    (Kind::SlowNode, 300, 2),
    (Kind::SlowDisk, 300, 2),
    (Kind::SyncFails, 300, 2),
    (Kind::ReadsFail, 200, 2),
    (Kind::DiskFull, 200, 1),
    (Kind::Partition, 500, 5),
    (Kind::OneWayCut, 400, 4),
    (Kind::Clog, 300, 3),
    (Kind::Weather, 300, 2),
    (Kind::Drift, 300, 3),
    (Kind::Campaign, 400, 12),
    (Kind::SnapshotCrash, 600, 6),
    (Kind::NoRoom, 300, 2),
    (Kind::SpoiltSnapshot, 400, 4),
];

const DISK: [Offer; 15] = [
    (Kind::Crash, 900, 6),
    (Kind::CrashAll, 700, 3),
    (Kind::TornWrite, 700, 3),
    (Kind::SyncFails, 500, 2),
    (Kind::ReadsFail, 400, 2),
    (Kind::DiskFull, 400, 1),
    (Kind::SlowDisk, 500, 3),
    (Kind::Corrupt, 300, 1),
    (Kind::Misplaced, 300, 1),
    (Kind::LostRecord, 300, 1),
    (Kind::Wipe, 300, 1),
    (Kind::Campaign, 500, 6),
    (Kind::SnapshotCrash, 800, 8),
    (Kind::NoRoom, 600, 3),
    (Kind::SpoiltSnapshot, 600, 5),
];

const PARTITION: [Offer; 8] = [
    (Kind::Partition, 1000, 6),
    (Kind::OneWayCut, 800, 4),
    (Kind::Clog, 600, 3),
    (Kind::Weather, 600, 3),
    (Kind::Crash, 300, 1),
    (Kind::Campaign, 300, 6),
    (Kind::SnapshotCrash, 500, 3),
    (Kind::NoRoom, 300, 1),
];

const CLOCK: [Offer; 6] = [
    (Kind::Drift, 1000, 6),
    (Kind::Pause, 800, 5),
    (Kind::SlowNode, 600, 3),
    (Kind::SlowDisk, 500, 2),
    (Kind::Crash, 300, 1),
    (Kind::Campaign, 300, 6),
];

const LEASE: [Offer; 9] = [
    (Kind::Drift, 1000, 6),
    (Kind::Pause, 1000, 6),
    (Kind::Campaign, 1000, 10),
    (Kind::Crash, 900, 6),
    (Kind::SlowNode, 400, 2),
    (Kind::Partition, 600, 4),
    (Kind::OneWayCut, 400, 3),
    (Kind::Clog, 500, 3),
    (Kind::SnapshotCrash, 300, 2),
];

/// What befalls a cluster whose members change.
const MEMBERS: [Offer; 14] = [
    (Kind::Crash, 1000, 10),
    (Kind::CrashAll, 600, 3),
    (Kind::TornWrite, 300, 2),
    (Kind::Pause, 400, 3),
    (Kind::SlowNode, 200, 1),
    (Kind::SlowDisk, 200, 1),
    (Kind::SyncFails, 200, 1),
    (Kind::Partition, 700, 5),
    (Kind::OneWayCut, 500, 4),
    (Kind::Clog, 300, 2),
    (Kind::Weather, 300, 2),
    (Kind::Wipe, 300, 1),
    (Kind::Campaign, 500, 8),
    (Kind::SnapshotCrash, 500, 4),
];

fn menu(profile: Profile) -> &'static [Offer] {
    match profile {
        Profile::Calm => &[],
        Profile::Swarm => &SWARM,
        Profile::Disk => &DISK,
        Profile::Partition => &PARTITION,
        Profile::Clock => &CLOCK,
        Profile::Lease => &LEASE,
        Profile::Members => &MEMBERS,
    }
}

/// What a profile promises of every run among this many nodes: no links where there is one node, and no loss where there
/// is nobody to lose.
pub(super) fn promises(profile: Profile, nodes: u64) -> Vec<Promise> {
    let all: &[&'static [Kind]] = match profile {
        Profile::Calm => &[],
        Profile::Swarm => &[&[Kind::Crash]],
        Profile::Disk => &[
            &[Kind::SyncFails],
            &[Kind::ReadsFail],
            &[Kind::DiskFull],
            &[Kind::TornWrite],
            &[Kind::SnapshotCrash],
            &[Kind::NoRoom],
            &[Kind::CrashAll],
            &[Kind::Corrupt, Kind::Misplaced, Kind::LostRecord, Kind::Wipe],
        ],
        Profile::Partition => {
            &[&[Kind::Partition], &[Kind::OneWayCut], &[Kind::Clog], &[Kind::Weather], &[Kind::SnapshotCrash]]
        }
        Profile::Clock => &[&[Kind::Drift], &[Kind::Pause], &[Kind::SlowNode]],
        Profile::Lease => &[&[Kind::Drift], &[Kind::Pause], &[Kind::Campaign], &[Kind::Crash]],
        Profile::Members => &[&[Kind::Crash], &[Kind::CrashAll]],
    };
    let possible = |any: &&&'static [Kind]| any.iter().all(|kind| is_possible(*kind, nodes));
    all.iter().filter(possible).map(|any| Promise(any)).collect()
}

fn is_possible(kind: Kind, nodes: u64) -> bool {
    match kind {
        Kind::Corrupt | Kind::Misplaced | Kind::LostRecord | Kind::Wipe => nodes >= 3,
        Kind::Partition | Kind::OneWayCut | Kind::Clog => nodes >= 2,
        _ => true,
    }
}

impl FaultPlan {
    /// The plan of this seed. It does not know which engine it is for.
    pub fn draw(seed: u64, profile: Profile, nodes: u64) -> FaultPlan {
        let mut random = SeededRandom::new(seed.wrapping_mul(0x9e6c_63d0_876a_68ee) ^ 0x706c_616e);
        let mut drawing = Drawing { random: &mut random, nodes, faults: Vec::new() };
        drawing.draw_promised(promises(profile, nodes));
        drawing.draw_from(menu(profile));
        let mut faults = drawing.faults;
        faults.sort_by_key(|planned| planned.at);
        for (planned, number) in faults.iter_mut().zip(0..) {
            planned.number = number;
        }
        let ends = faults.iter().map(|planned| planned.at + planned.lasting);
        let lasts = ends.fold(FAULTS, Duration::max);
        FaultPlan { profile, nodes, lasts, faults }
    }
}

/// A plan in the making.
struct Drawing<'a> {
    random: &'a mut SeededRandom,
    nodes: u64,
    faults: Vec<Planned>,
}

impl Drawing<'_> {
    /// One after another: what one stops is back before the next.
    fn draw_promised(&mut self, mut promises: Vec<Promise>) {
        let slot = FAULTS / u32::try_from(promises.len().max(1)).unwrap_or(1);
        let mut slot_begins = Duration::ZERO;
        while !promises.is_empty() {
            let Promise(any) = promises.swap_remove(self.random.below(promises.len() as u64) as usize);
            let kind = one_of(self.random, any);
            let at = slot_begins + self.up_to(slot / 4);
            let lasting = self.lasting(kind).clamp(slot / 8, slot / 2);
            self.enter(at, lasting, kind, true);
            slot_begins += slot;
        }
    }

    fn draw_from(&mut self, menu: &[Offer]) {
        for (kind, permille, times_max) in menu {
            if self.random.below(1000) >= *permille || !is_possible(*kind, self.nodes) {
                continue;
            }
            for _ in 0..1 + self.random.below(*times_max) {
                let at = self.up_to(FAULTS);
                let lasting = self.lasting(*kind);
                self.enter(at, lasting, *kind, false);
            }
        }
    }

    fn enter(&mut self, at: Duration, lasting: Duration, kind: Kind, promised: bool) {
        let fault = self.fault(kind);
        let seed = self.random.next_u64();
        self.faults.push(Planned { number: 0, at, lasting, fault, seed, promised });
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.random.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Now a blink, now as long as several elections.
    fn lasting(&mut self, kind: Kind) -> Duration {
        if matches!(kind, Kind::Campaign | Kind::Wipe) {
            return Duration::ZERO;
        }
        let most_ms = one_of(self.random, &[20, 200, 200, 1000]);
        Duration::from_millis(1) + self.up_to(Duration::from_millis(most_ms))
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        const TWO_WAY: [Shape; 8] = [
            Shape::Minority,
            Shape::Majority,
            Shape::Isolate,
            Shape::Chain,
            Shape::Ring,
            Shape::Bridge,
            Shape::Halves,
            Shape::Pair,
        ];
        const ONE_WAY: [Shape; 3] = [Shape::Deaf, Shape::Mute, Shape::Link];
        let target = self.target();
        let random = &mut *self.random;
        match kind {
            Kind::Crash => Fault::Crash(target, one_of(random, &Moment::ALL)),
            Kind::CrashAll => Fault::CrashAll(target, one_of(random, &Moment::ALL)),
            Kind::TornWrite => Fault::TornWrite(target),
            Kind::Pause => Fault::Pause(target),
            Kind::SlowNode => Fault::SlowNode(target, one_of(random, &[3, 10, 30])),
            Kind::SlowDisk => Fault::SlowDisk(target, one_of(random, &[3, 10, 100])),
            Kind::SyncFails => Fault::Disk(target, Ailment::SyncFails),
            Kind::ReadsFail => Fault::Disk(target, Ailment::ReadsFail),
            Kind::DiskFull => Fault::Disk(target, Ailment::Full),
            Kind::Corrupt => Fault::Damage(target, Damage::Corrupt),
            Kind::Misplaced => Fault::Damage(target, Damage::Misplaced),
            Kind::LostRecord => Fault::Damage(target, Damage::Lost),
            Kind::Wipe => Fault::Wipe(target),
            Kind::Partition => Fault::Partition(target, one_of(random, &TWO_WAY)),
            Kind::OneWayCut => Fault::Partition(target, one_of(random, &ONE_WAY)),
            Kind::Clog => Fault::Clog(target, one_of(random, &Shape::ALL)),
            Kind::Weather => Fault::Weather(weather(random)),
            Kind::Drift => Fault::Drift(target, drift_ppm(random)),
            Kind::Campaign => Fault::Campaign(target),
            Kind::SnapshotCrash => Fault::Crash(target, one_of(random, &Moment::OF_SNAPSHOTS)),
            Kind::NoRoom => Fault::NoRoom(target),
            Kind::SpoiltSnapshot => Fault::Spoil(target),
        }
    }

    /// Every other time the leader: that is where it hurts.
    fn target(&mut self) -> Target {
        match self.random.below(4) {
            0 => Target::Node(NodeId(1 + self.random.below(self.nodes))),
            1 => Target::Follower(self.random.below(self.nodes)),
            _ => Target::Leader,
        }
    }
}

/// From what a bad crystal does to what no crystal does.
fn drift_ppm(random: &mut SeededRandom) -> i64 {
    let ppm = one_of(random, &[500, 10_000, 50_000, 200_000]);
    if random.below(2) == 0 { ppm } else { -ppm }
}

fn weather(random: &mut SeededRandom) -> LinkFaults {
    LinkFaults {
        loss_permille: one_of(random, &[20, 100, 300]),
        duplicate_permille: one_of(random, &[20, 200, 500]),
        delay: one_of(random, &[SpanUs::new(0, 1000), SpanUs::new(100, 20_000)]),
        tail_mean_us: one_of(random, &[0, 1000, 10_000]),
        spikes_permille: one_of(random, &[0, 5, 30]),
        in_order: random.below(4) == 0,
        on_the_way_max: one_of(random, &[50, 10_000]),
    }
}

fn one_of<T: Copy>(random: &mut SeededRandom, choices: &[T]) -> T {
    choices[random.below(choices.len() as u64) as usize]
}
