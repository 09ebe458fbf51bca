//! What a seed draws before its history begins (swarm testing: runs that differ in kind find more than runs that differ
//! in detail).

use std::time::Duration;

use consensus_api::engine::RECONFIGURATION_WINDOW;
use consensus_api::random::SeededRandom;
use consensus_api::{LeaseTiming, Limits, ReadMode, Timing};
use replica::SnapshotSettings;
use replica::transfer::TransferSettings;

use crate::clients::{Habits, SessionHabits};
use crate::operator::OperatorHabits;
use crate::profile::Profile;
use crate::schedule::Case;
use crate::trace::Counts;
use crate::world::{LinkFaults, SpanUs, WorldConfig};

/// Everything that differs from run to run besides chance itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knobs {
    /// How many nodes found the cluster.
    pub nodes: u64,
    /// How many more there are, blank.
    pub blank: u64,
    /// What the operator is like who changes the members, if there is one.
    pub operator: Option<OperatorHabits>,
    /// The engines' election timeout.
    pub election_timeout_ms: u64,
    /// Heartbeats in an election timeout.
    pub heartbeats: u64,
    /// Whether candidates ask around first.
    pub pre_check: bool,
    /// Whether leaders mind their quorum.
    pub check_quorum: bool,
    /// The engines' bounds.
    pub limits: Limits,
    /// What links do.
    pub links: LinkFaults,
    /// How long a sync takes.
    pub sync: SpanUs,
    /// How long local work takes.
    pub local: SpanUs,
    /// How much faster or slower than time the clocks go, at most.
    pub drift_ppm_max: u64,
    /// Whether leaders hold leases, and the bound on clocks that these rest on: none goes beyond it, whatever goes wrong.
    pub lease: Option<LeaseTiming>,
    /// How often nodes gather batches.
    pub batching_permille: u64,
    /// What the clients are like.
    pub habits: Habits,
    /// Whether snapshots are taken by themselves, and logs trimmed behind them.
    pub takes_snapshots: bool,
    /// When, how much log is kept behind them, and how they are sent.
    pub snapshots: SnapshotSettings,
    /// How many bytes of recent changes the machines keep for watches.
    pub history_bytes: u64,
    /// How many of a thousand chunks are damaged on their way.
    pub garbled_permille: u64,
    /// How often, of a thousand times that a digest is compared, a snapshot is demanded too.
    pub demands_permille: u64,
    /// How often digests are compared and tables flushed, on average.
    pub housekeep_every_ms: u64,
}

/// No world has more nodes.
const NODES_MAX: u64 = 7;

/// Something that a run must have had, and how it is counted.
pub(super) type Demand = (&'static str, fn(&Counts) -> u64);

impl Knobs {
    /// The knobs of this case: drawn from the seed and the profile alone, so that they are the same for both engines.
    pub fn draw(case: &Case) -> Knobs {
        let mut random = SeededRandom::new(case.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x6b6e_6f62);
        let random = &mut random;
        let nodes = one_of(random, [1, 2, 3, 3, 3, 3, 3, 3, 5, 5]);
        let election_timeout_ms = 100 + random.below(200);
        let mut knobs = Knobs {
            nodes,
            blank: 0,
            operator: None,
            election_timeout_ms,
            heartbeats: 4 + random.below(6),
            pre_check: random.below(5) > 0,
            check_quorum: random.below(5) > 0,
            limits: limits(random),
            links: links(random),
            sync: one_of(random, [SpanUs::new(0, 0), SpanUs::new(100, 1000), SpanUs::new(100, 20_000)]),
            local: one_of(random, [SpanUs::new(0, 0), SpanUs::new(0, 500), SpanUs::new(0, 5_000)]),
            drift_ppm_max: one_of(random, [0, 100, 10_000]),
            lease: None,
            batching_permille: one_of(random, [0, 100, 500]),
            habits: habits(random, election_timeout_ms),
            takes_snapshots: random.below(4) > 0,
            snapshots: SnapshotSettings::on_demand(),
            history_bytes: one_of(random, [0, 1_000, 20_000]),
            garbled_permille: 0,
            demands_permille: 0,
            housekeep_every_ms: one_of(random, [100, 500]),
        };
        if case.profile != Profile::Swarm {
            // Its own faults need somebody to be away from, and somebody to be left.
            knobs.nodes = one_of(random, [3, 3, 5]);
        }
        if case.profile == Profile::Calm {
            knobs.links = LinkFaults { loss_permille: 0, duplicate_permille: 0, ..knobs.links };
        }
        knobs.nodes = case.nodes.unwrap_or(knobs.nodes);
        knobs.snapshots = snapshots(random, knobs.takes_snapshots, election_timeout_ms);
        knobs.garbled_permille = one_of(random, [0, 0, 20, 100]);
        knobs.demands_permille = one_of(random, [0, 0, 20, 100]);
        knobs.draw_reads(random, case.profile);
        knobs.draw_operator(random, case);
        knobs
    }

    /// Some runs have an operator, and nodes that found nothing. Not where disks are lost that a shrunken cluster could not
    /// spare.
    fn draw_operator(&mut self, random: &mut SeededRandom, case: &Case) {
        let has_one = match case.profile {
            Profile::Members => true,
            Profile::Disk => false,
            _ => random.below(3) == 0,
        };
        if !has_one {
            return;
        }
        if case.profile == Profile::Members && case.nodes.is_none() {
            self.nodes = one_of(random, [1, 1, 2, 3, 3, 3, 4, 5]);
        }
        let least = if self.nodes < 3 { 2 } else { 0 };
        let most = NODES_MAX.saturating_sub(self.nodes);
        self.blank = (least + random.below(most + 1)).min(most);
        self.limits.reconfiguration_window = one_of(random, [1, 2, 3, 4, 8, 16]);
        if let Some(sessions) = &mut self.habits.sessions {
            // To wait for a session to expire takes a leader that stays.
            sessions.naps_permille = 0;
        }
        let think_ms = one_of(random, [20, 100, 400]);
        self.operator = Some(OperatorHabits {
            think: Duration::from_millis(think_ms),
            patience: Duration::from_millis(self.election_timeout_ms * (1 + random.below(4))),
            wipes: random.below(2) == 0,
        });
    }

    /// Leases belong to their own profile and to some of the other runs; without them the clocks of a run may do what no
    /// clock does.
    fn draw_reads(&mut self, random: &mut SeededRandom, profile: Profile) {
        let bound_ppm = one_of(random, [0, 200, 10_000, 50_000, 200_000]);
        let has_leases = match profile {
            Profile::Lease => true,
            Profile::Clock => false,
            _ => random.below(3) == 0,
        };
        if has_leases {
            self.lease = Some(LeaseTiming { clock_drift_ppm: bound_ppm });
            self.drift_ppm_max = bound_ppm.into();
        }
        self.habits.reads = match profile {
            Profile::Lease => vec![ReadMode::Lease],
            _ if has_leases && random.below(2) == 0 => vec![ReadMode::Lease, ReadMode::Lease, ReadMode::Index],
            _ => one_of(random, MIXTURES).to_vec(),
        };
        if has_leases {
            // Some of them must come to ask a leader, and in time.
            self.habits.clients = self.habits.clients.max(3);
            self.habits.reads_percent = self.habits.reads_percent.max(40);
        }
    }

    /// What a run with these knobs must have had besides what its profile promises.
    pub(super) fn promises(&self, has_quorum_reads: bool) -> Vec<Demand> {
        let mut promises: Vec<Demand> = Vec::new();
        if self.takes_snapshots {
            promises.push(("snapshot", |counts| counts.snapshots_taken));
        }
        if self.lease.is_some() && self.nodes > 1 && self.habits.read_by(ReadMode::Lease) {
            promises.push(("read by a lease", |counts| counts.lease_reads));
        }
        if has_quorum_reads && self.habits.read_by(ReadMode::Quorum) {
            promises.push(("read without a leader", |counts| counts.quorum_reads));
        }
        if self.operator.is_some() {
            promises.push(("change of members", |counts| counts.members_changed));
            promises.push(("transfer of leadership", |counts| counts.transfers_done + counts.transfers_failed));
        }
        if let Some(sessions) = &self.habits.sessions {
            promises.push(("session", |counts| counts.sessions_opened));
            promises.push(("duplicate that was answered from the table", |counts| counts.duplicates));
            if sessions.naps_permille > 0 {
                promises.push(("tick", |counts| counts.ticks));
                promises.push(("session that has expired", |counts| counts.sessions_expired));
            }
        }
        promises
    }

    /// The world of these knobs.
    pub(super) fn world(&self, seed: u64, trace_max: usize) -> WorldConfig {
        let election_timeout = Duration::from_millis(self.election_timeout_ms);
        WorldConfig {
            nodes: self.nodes,
            blank: self.blank,
            seed,
            timing: Timing {
                heartbeat_interval: election_timeout / u32::try_from(self.heartbeats).unwrap_or(1),
                election_timeout,
                pre_check: self.pre_check,
                check_quorum: self.check_quorum,
                lease: self.lease,
            },
            limits: self.limits.clone(),
            links: self.links,
            sync: self.sync,
            local: self.local,
            batching_permille: self.batching_permille,
            clocks_apart: Duration::from_secs(1000),
            drift_ppm_max: self.drift_ppm_max,
            snapshots: self.snapshots.clone(),
            history_bytes: self.history_bytes,
            garbled_permille: self.garbled_permille,
            trace_max,
        }
    }
}

/// Often every few dozen entries, with next to no log behind: then whoever was away for a moment needs a snapshot.
fn snapshots(random: &mut SeededRandom, takes: bool, election_timeout_ms: u64) -> SnapshotSettings {
    let election_timeout = Duration::from_millis(election_timeout_ms);
    let entries = one_of(random, [10, 20, 50, 200]);
    let bytes = one_of(random, [2_000, 100_000, u64::MAX]);
    let chunk_bytes: usize = one_of(random, [64, 500, 4000]);
    SnapshotSettings {
        entries: if takes { entries } else { u64::MAX },
        bytes: if takes { bytes } else { u64::MAX },
        tail_entries: one_of(random, [0, 0, 5, 50]),
        transfer: TransferSettings {
            chunk_bytes,
            window_bytes: chunk_bytes as u64 * one_of(random, [1, 4, 32]),
            bytes_per_second: one_of(random, [100_000, 64 << 20]),
            offer_again_after: election_timeout,
            give_up_after: election_timeout * 10,
            yield_after: election_timeout * 4,
            rest: election_timeout,
            keep_log_for: election_timeout * 10,
        },
    }
}

/// By which means the clients of a run read; most by rounds, as the others are asked for by name.
const MIXTURES: [&[ReadMode]; 6] = [
    &[ReadMode::Index],
    &[ReadMode::Index],
    &[ReadMode::Log],
    &[ReadMode::Quorum],
    &[ReadMode::Quorum, ReadMode::Index],
    &[ReadMode::Index, ReadMode::Lease, ReadMode::Log, ReadMode::Quorum],
];

/// From one client that hardly thinks to a crowd that fills every bound.
fn habits(random: &mut SeededRandom, election_timeout_ms: u64) -> Habits {
    let (clients, think_ms) = one_of(random, [(1, 2), (3, 10), (5, 20), (12, 40), (40, 150)]);
    Habits {
        clients,
        keys: one_of(random, [1, 3, 10]),
        think: Duration::from_millis(think_ms),
        patience: Duration::from_millis(election_timeout_ms * (2 + random.below(4))),
        reads_percent: one_of(random, [10, 40, 80]),
        deletes: random.below(2) == 0,
        value_bytes_max: one_of(random, [1, 20, 300]),
        reads: vec![ReadMode::Index],
        stale_permille: one_of(random, [0, 0, 50]),
        sessions: sessions(random),
    }
}

/// Three runs of four have them.
fn sessions(random: &mut SeededRandom) -> Option<SessionHabits> {
    let (ttl_ms, naps_permille) = one_of(random, [(1_000, 5), (1_500, 2), (60_000, 0)]);
    let habits = SessionHabits {
        window: 1 + random.below(8),
        ttl: Duration::from_millis(ttl_ms),
        retries_max: one_of(random, [1, 3, 10]),
        doubled_permille: one_of(random, [20, 100, 300]),
        naps_permille,
    };
    (random.below(4) > 0).then_some(habits)
}

fn one_of<T: Clone, const N: usize>(random: &mut SeededRandom, choices: [T; N]) -> T {
    choices[random.below(N as u64) as usize].clone()
}

/// Messages of at most this size take one entry each, and larger ones travel alone.
const ONE_ENTRY_BYTES: usize = 64;

/// Now and then so tight that every bound is met.
fn limits(random: &mut SeededRandom) -> Limits {
    let message_bytes_max = one_of(random, [ONE_ENTRY_BYTES, ONE_ENTRY_BYTES, 2000, 1 << 20]);
    // Where each entry travels alone a new leader needs a round trip for each open one: not too many of them, or it is
    // rightly taken for stuck.
    let open_entries_max = if message_bytes_max == ONE_ENTRY_BYTES { [4, 16, 64] } else { [4, 64, 4096] };
    Limits {
        message_bytes_max,
        command_bytes_max: one_of(random, [250, 1 << 20, 1 << 20]),
        peer_bytes_max: one_of(random, [1000, 1 << 20]),
        peer_messages_max: one_of(random, [1, 4, 64]),
        open_entries_max: one_of(random, open_entries_max),
        reconfiguration_window: RECONFIGURATION_WINDOW,
        open_bytes_max: one_of(random, [2000, 1 << 20]),
        window_bytes_max: one_of(random, [0, 1000, 1 << 20]),
        unapplied_bytes_max: one_of(random, [200, 4000, 1 << 20]),
        reads_max: one_of(random, [2, 64]),
    }
}

fn links(random: &mut SeededRandom) -> LinkFaults {
    LinkFaults {
        loss_permille: one_of(random, [0, 0, 10, 50, 150]),
        duplicate_permille: one_of(random, [0, 20, 200]),
        delay: one_of(
            random,
            [SpanUs::new(0, 0), SpanUs::new(50, 500), SpanUs::new(100, 10_000), SpanUs::new(0, 40_000)],
        ),
        tail_mean_us: one_of(random, [0, 0, 500, 5000]),
        spikes_permille: one_of(random, [0, 0, 5]),
        in_order: random.below(2) == 0,
        on_the_way_max: one_of(random, [100, 10_000]),
    }
}
