//! Faults take place, end, and leave no trace when they are over.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bytes::Bytes;
use consensus_api::{Blob, LogIndex, LogStore, Role};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use kv_machine::{Command, Expect};

use super::*;
use crate::disk::{Ailment, Damage};
use crate::network::Shape;
use crate::plan::{FaultPlan, Kind};
use crate::profile::Profile;
use crate::world::{LinkFaults, SpanUs, WorldConfig};

const ONE: NodeId = NodeId(1);

fn command(key: &str) -> Bytes {
    let key = Blob::from(key.to_owned().into_bytes());
    Command::Put { value: key.clone(), key, expect: Expect::Any }.encode().expect("is small")
}

/// A cluster in which node 1 leads and a few commands are committed.
fn cluster<P: Protocol>(nodes: u64) -> World<P> {
    let links = LinkFaults { delay: SpanUs::new(100, 1000), ..LinkFaults::default() };
    let sync = SpanUs::new(100, 1000);
    let snapshots = replica::SnapshotSettings { tail_entries: 0, ..replica::SnapshotSettings::on_demand() };
    let config = WorldConfig { nodes, links, sync, snapshots, trace_max: 2000, ..WorldConfig::default() };
    let mut world = World::new(config).expect("starts");
    world.campaign(ONE).expect("holds");
    pass(&mut world, 200);
    for key in ["a", "b", "c", "d"] {
        world.propose(ONE, command(key)).expect("holds");
        pass(&mut world, 50);
    }
    assert_eq!(world.leader(), Some(ONE));
    assert!(world.counts().acknowledged >= 4, "the cluster does not work");
    world
}

fn pass<P: Protocol>(world: &mut World<P>, ms: u64) {
    world.run_until(world.now() + Duration::from_millis(ms)).expect("holds");
}

fn planned(number: u64, fault: Fault) -> Planned {
    let lasting = Duration::from_millis(100);
    Planned { number, at: Duration::ZERO, lasting, fault, seed: 7 + number, promised: false }
}

/// Under both engines.
macro_rules! for_both {
    ($claim:ident, $check:ident) => {
        #[test]
        fn $claim() {
            $check::<Raft>();
            $check::<MultiPaxos>();
        }
    };
}

fn crash_moments<P: Protocol>() {
    for moment in Moment::ALL {
        let mut world = cluster::<P>(3);
        let fault = planned(1, Fault::Crash(Target::Leader, moment));
        assert!(world.inflict(&fault).expect("holds"));
        world.propose(ONE, command("more")).expect("holds");
        pass(&mut world, 50);
        // Node 1 leads already: only that moment cannot come.
        assert_eq!(world.is_up(ONE), moment == Moment::NextElected, "{moment}");
        world.relieve(&fault).expect("holds");
        assert!(world.is_up(ONE), "{moment}");
        assert_eq!((world.counts().of(Kind::Crash), world.counts().crashes), (1, 1), "{moment}");
    }
}
for_both!(a_crash_comes_at_its_moment_or_at_the_end_of_its_span, crash_moments);

fn elected<P: Protocol>() {
    let mut world = cluster::<P>(3);
    let target = NodeId(2);
    let fault = planned(1, Fault::Crash(Target::Node(target), Moment::NextElected));
    assert!(world.inflict(&fault).expect("holds"));
    let is_leader = |world: &World<P>| world.status(target).is_some_and(|status| status.role == Role::Leader);
    for _ in 0..20 {
        world.campaign(target).expect("holds");
        pass(&mut world, 50);
        assert!(!is_leader(&world), "it dies when it is elected");
    }
    assert!(!world.is_up(target));
}
for_both!(a_new_leader_can_be_hit_at_once, elected);

fn all_crash<P: Protocol>() {
    let mut world = cluster::<P>(3);
    let fault = planned(1, Fault::CrashAll(Target::Leader, Moment::NextSend));
    assert!(world.inflict(&fault).expect("holds"));
    pass(&mut world, 100);
    assert!(world.ids().iter().all(|node| !world.is_up(*node)));
    assert!(!world.atlas().quorum_up() && world.atlas().quorum_possible());
    world.relieve(&fault).expect("holds");
    assert!(world.ids().iter().all(|node| world.is_up(*node)));
}
for_both!(all_nodes_crash_together_and_come_back, all_crash);

fn sick_disks<P: Protocol>() {
    for (ailment, kind) in
        [(Ailment::SyncFails, Kind::SyncFails), (Ailment::ReadsFail, Kind::ReadsFail), (Ailment::Full, Kind::DiskFull)]
    {
        let mut world = cluster::<P>(3);
        let fault = planned(1, Fault::Disk(Target::Leader, ailment));
        assert!(world.inflict(&fault).expect("holds"));
        assert_eq!(world.counts().of(kind), 0, "{kind}: the disk was asked for nothing");
        world.propose(ONE, command("more")).expect("holds");
        pass(&mut world, 50);
        if ailment != Ailment::ReadsFail {
            assert_eq!((world.is_up(ONE), world.counts().of(kind)), (false, 1), "{kind}: it cannot write");
        }
        world.relieve(&fault).expect("holds");
        assert!(world.is_up(ONE), "{kind}");
        let counts = world.counts();
        assert_eq!((counts.of(kind), counts.crashes), (1, 1), "{kind}");
        let refused = if ailment == Ailment::SyncFails { 0 } else { 1 };
        assert!((refused..=2).contains(&counts.starts_refused), "{kind}: {counts:?}");
    }
}
for_both!(a_node_whose_disk_fails_stops_and_comes_back_with_the_disk, sick_disks);

fn tables<P: Protocol>() {
    for (ailment, kind) in [(Ailment::SyncFails, Kind::SyncFails), (Ailment::Full, Kind::DiskFull)] {
        let mut world = cluster::<P>(3);
        let persisted = world.persisted(ONE);
        assert!(world.inflict(&planned(1, Fault::Disk(Target::Leader, ailment))).expect("holds"));
        world.flush_tables(ONE).expect("holds");
        assert!(!world.is_up(ONE), "a table flush that fails ends the process");
        assert_eq!((world.counts().of(kind), world.counts().disk_failures), (1, 1), "{kind}");
        assert!(world.persisted(ONE) >= persisted);
    }
    let mut world = cluster::<P>(3);
    assert!(world.inflict(&planned(1, Fault::Disk(Target::Leader, Ailment::ReadsFail))).expect("holds"));
    for number in 0..50 {
        world.propose(ONE, command(&number.to_string())).expect("holds");
        pass(&mut world, 50);
    }
    assert!(!world.is_up(ONE), "the machine reads its tables now and then");
}
for_both!(the_tables_fail_with_the_disk_and_end_the_process, tables);

fn quiet<P: Protocol>() {
    let three = Target::Node(NodeId(3));
    for promised in [false, true] {
        for fault in [Fault::TornWrite(three), Fault::Disk(three, Ailment::SyncFails)] {
            let mut world = cluster::<P>(3);
            world.flush_tables(NodeId(3)).expect("holds");
            for other in [ONE, NodeId(2)] {
                world.cut(other, NodeId(3));
            }
            pass(&mut world, 10);
            let fault = Planned { promised, ..planned(1, fault) };
            assert!(world.inflict(&fault).expect("holds"));
            world.relieve(&fault).expect("holds");
            pass(&mut world, 50);
            let counts = world.counts();
            assert_eq!(counts.of(fault.fault.kind()), u64::from(promised), "{}", fault.fault);
            assert_eq!(counts.crashes, u64::from(promised), "what did not take place breaks nothing");
            assert!(world.is_up(NodeId(3)) && world.afflictions.active.is_empty());
        }
    }
}
for_both!(only_what_is_promised_is_brought_about_on_a_node_that_writes_nothing, quiet);

fn torn<P: Protocol>() {
    let mut world = cluster::<P>(3);
    assert!(world.inflict(&planned(1, Fault::TornWrite(Target::Leader))).expect("holds"));
    assert_eq!(world.counts().of(Kind::TornWrite), 0);
    world.propose(ONE, command("more")).expect("holds");
    assert!(!world.is_up(ONE));
    assert_eq!((world.counts().of(Kind::TornWrite), world.counts().tails_cut), (1, 1));
}
for_both!(a_torn_write_is_one_that_was_under_way, torn);

fn torn_later<P: Protocol>() {
    let mut world = cluster::<P>(3);
    let three = NodeId(3);
    let tear = Planned { promised: true, ..planned(1, Fault::TornWrite(Target::Node(three))) };
    assert!(world.inflict(&tear).expect("holds"));
    let crash = planned(2, Fault::CrashAll(Target::Node(ONE), Moment::Now));
    assert!(world.inflict(&crash).expect("holds"));
    world.relieve(&tear).expect("holds");
    assert_eq!(world.counts().of(Kind::TornWrite), 0, "nobody writes");
    world.relieve(&crash).expect("holds");
    world.campaign(three).expect("holds");
    pass(&mut world, 500);
    assert_eq!(world.counts().of(Kind::TornWrite), 1, "it waits for the node's next life");
    assert!(world.is_up(three) && world.afflictions.active.is_empty());
}
for_both!(a_promised_torn_write_outlasts_another_crash, torn_later);

fn damaged<P: Protocol>() {
    for damage in [Damage::Corrupt, Damage::Misplaced, Damage::Lost] {
        let mut world = cluster::<P>(3);
        let fault = planned(1, Fault::Damage(Target::Leader, damage));
        assert!(world.inflict(&fault).expect("holds"));
        pass(&mut world, 50);
        assert_eq!(world.counts().of(fault.fault.kind()), 0, "nobody has found it");
        world.relieve(&fault).expect("holds");
        assert!(!world.is_up(ONE) && world.atlas().is_lost(ONE));
        assert_eq!((world.counts().of(fault.fault.kind()), world.counts().starts_refused), (1, 1));
        assert_eq!(world.repair_all().expect("holds"), [NodeId(2), NodeId(3)]);
        // Nobody else may be lost.
        assert!(!world.inflict(&planned(2, Fault::Wipe(Target::Leader))).expect("holds"));
    }
}
for_both!(a_damaged_disk_keeps_its_node_down_for_good, damaged);

fn power_for_all<P: Protocol>() {
    let mut world = cluster::<P>(5);
    world.inflict(&planned(1, Fault::Wipe(Target::Node(NodeId(4))))).expect("holds");
    let damage = planned(2, Fault::Damage(Target::Node(NodeId(5)), Damage::Corrupt));
    world.inflict(&damage).expect("holds");
    let crash = planned(3, Fault::CrashAll(Target::Leader, Moment::Now));
    assert!(world.inflict(&crash).expect("holds"));
    assert!(world.ids().iter().all(|node| !world.is_up(*node)), "the power fails for all");
    world.relieve(&crash).expect("holds");
    assert!(world.is_up(NodeId(4)), "a blank disk can be run on");
    world.relieve(&damage).expect("holds");
    assert_eq!((world.is_up(NodeId(5)), world.counts().of(Kind::Corrupt)), (false, 1));
}
for_both!(a_crash_of_all_spares_nobody, power_for_all);

#[test]
fn where_nobody_leads_the_seed_says_who_is_hit() {
    let world = World::<Raft>::new(WorldConfig::default()).expect("starts");
    assert_eq!(world.leader(), None);
    let hit: BTreeSet<NodeId> = (0..6).map(|seed| world.resolve(Target::Leader, seed)).collect();
    assert_eq!(hit.len(), 3);
}

fn answered<P: Protocol>() {
    let mut world = cluster::<P>(3);
    world.listen();
    assert!(world.inflict(&planned(1, Fault::Crash(Target::Leader, Moment::NextAnswer))).expect("holds"));
    world.propose_together(ONE, vec![command("x"), command("y"), command("z")]).expect("holds");
    pass(&mut world, 50);
    assert!(!world.is_up(ONE));
    assert_eq!(world.take_answers().len(), 1, "it dies between two answers, and nobody hears of it afterwards");
}
for_both!(a_node_answers_nobody_after_its_death, answered);

fn trimmed<P: Protocol>() {
    let mut world = cluster::<P>(3);
    let three = NodeId(3);
    let damage = planned(1, Fault::Damage(Target::Node(three), Damage::Corrupt));
    world.inflict(&planned(2, Fault::Partition(Target::Node(three), Shape::Isolate))).expect("holds");
    world.inflict(&damage).expect("holds");
    for key in ["e", "f", "g"] {
        world.propose(ONE, command(key)).expect("holds");
        pass(&mut world, 50);
    }
    for node in world.ids() {
        world.flush_tables(node).expect("holds");
    }
    assert!(world.persisted(three) > LogIndex::ZERO && world.is_up(three));
    world.order_snapshot(three);
    pass(&mut world, 20);
    let disk = world.disk(three).expect("it has one");
    assert!(disk.base().index > LogIndex::ZERO && !disk.is_damaged(), "the damage is there, or was met");
    world.relieve(&damage).expect("holds");
    assert_eq!((world.is_up(three), world.counts().of(Kind::Corrupt)), (false, 1));
}
for_both!(where_damage_is_trimmed_away_before_anybody_meets_it_something_else_is_damaged, trimmed);

fn stranger<P: Protocol>() {
    let mut world = cluster::<P>(3);
    let fault = planned(1, Fault::Wipe(Target::Node(NodeId(3))));
    assert!(world.inflict(&fault).expect("holds"));
    world.relieve(&fault).expect("holds");
    assert!(world.is_up(NodeId(3)), "it may well run");
    pass(&mut world, 2000);
    assert!(world.counts().strangers_refused > 0, "nobody has refused it");
    assert_eq!(world.disk(NodeId(3)).expect("it has one").durable_entries(), []);
    assert!(world.leader().is_some_and(|leader| leader != NodeId(3)));
}
for_both!(a_wiped_node_is_neither_heard_nor_told_anything, stranger);

fn overlapping<P: Protocol>() {
    let mut world = cluster::<P>(3);
    let cut = |number| planned(number, Fault::Partition(Target::Node(ONE), Shape::Isolate));
    world.inflict(&cut(1)).expect("holds");
    world.inflict(&cut(2)).expect("holds");
    world.relieve(&cut(1)).expect("holds");
    assert!(world.network.is_cut(ONE, NodeId(2)), "the other cut goes on");
    world.relieve(&cut(2)).expect("holds");
    assert!(world.network.is_whole());
    let slow = |number, times| planned(number, Fault::SlowNode(Target::Node(ONE), times));
    world.inflict(&slow(3, 10)).expect("holds");
    world.inflict(&slow(4, 30)).expect("holds");
    world.relieve(&slow(3, 10)).expect("holds");
    assert_eq!(world.nodes[&ONE].slowness.work, 30);
    world.relieve(&slow(4, 30)).expect("holds");
    assert_eq!(world.nodes[&ONE].slowness.work, 1);
}
for_both!(faults_that_overlap_end_when_the_last_of_them_does, overlapping);

fn clogged<P: Protocol>() {
    let mut world = cluster::<P>(3);
    let before = world.applied(NodeId(3));
    let fault = planned(1, Fault::Clog(Target::Node(NodeId(3)), Shape::Isolate));
    assert!(world.inflict(&fault).expect("holds"));
    world.propose(ONE, command("more")).expect("holds");
    pass(&mut world, 20);
    assert_eq!(world.applied(NodeId(3)), before, "nothing gets through");
    world.relieve(&fault).expect("holds");
    pass(&mut world, 60);
    assert!(world.applied(NodeId(3)) > before, "what was kept arrives");
}
for_both!(a_clogged_link_keeps_what_it_was_given, clogged);

fn stuffed<P: Protocol>() {
    let mut world = cluster::<P>(3);
    let links = LinkFaults { delay: SpanUs::new(100, 1000), on_the_way_max: 2, ..LinkFaults::default() };
    world.set_links(links);
    let fault = planned(1, Fault::Clog(Target::Node(NodeId(3)), Shape::Isolate));
    assert!(world.inflict(&fault).expect("holds"));
    pass(&mut world, 1000);
    assert!(world.counts().overflows > 0, "a clogged link takes no more than its bound");
    world.relieve(&fault).expect("holds");
    pass(&mut world, 2000);
    let progress = world.ids().into_iter().map(|node| world.applied(node)).collect::<BTreeSet<_>>();
    assert_eq!(progress.len(), 1, "all have applied the same: {progress:?}");
}
for_both!(a_link_is_bounded_and_works_again_after_a_clog, stuffed);

/// Runs a plan under load, and repairs everything.
fn live_through<P: Protocol>(plan: &FaultPlan) -> World<P> {
    let mut world = cluster::<P>(plan.nodes);
    let began = world.now();
    let begins = plan.faults.iter().map(|planned| (planned.at, true, planned));
    let ends = plan.faults.iter().map(|planned| (planned.at + planned.lasting, false, planned));
    let mut acts: Vec<(Duration, bool, &Planned)> = begins.chain(ends).collect();
    acts.sort_by_key(|(at, ..)| *at);
    let fail = |violation: Violation| -> World<P> { panic!("{plan}\n{violation}") };
    let mut number = 0;
    for (at, begins, planned) in acts {
        while world.now() < began + at {
            number += 1;
            let node = NodeId(1 + number % plan.nodes);
            let result = world.propose(node, command(&number.to_string())).map(|_| ());
            let until = (world.now() + Duration::from_millis(10)).min(began + at);
            if let Err(violation) = result.and_then(|()| world.run_until(until)) {
                return fail(violation);
            }
        }
        let result = if begins { world.inflict(planned).map(|_| ()) } else { world.relieve(planned) };
        if let Err(violation) = result {
            return fail(violation);
        }
    }
    world
}

fn promises<P: Protocol>() {
    for profile in Profile::ALL {
        for seed in 0..6 {
            let nodes = if seed % 3 == 0 { 5 } else { 3 };
            let plan = FaultPlan::draw(seed, profile, nodes);
            let mut world = live_through::<P>(&plan);
            let counts = world.counts();
            for promise in plan.promises() {
                assert!(promise.count(&counts) > 0, "seed {seed}: no {promise}; {plan}");
            }
            assert!(world.atlas().quorum_possible());
            assert!(world.afflictions.active.is_empty() && world.afflictions.holds.is_empty(), "a fault leaks: {plan}");
            let healed = world.repair_all().expect("holds");
            let before = world.last_committed();
            let until = world.now() + Duration::from_secs(5);
            while world.now() < until {
                world.propose(healed[0], command("after")).expect("holds");
                pass(&mut world, 50);
            }
            assert!(world.last_committed() > before, "seed {seed}: does not come back; {plan}");
        }
    }
}
for_both!(every_plan_keeps_its_promises_and_what_is_repaired_works_again, promises);

/// Each way to stay broken, as each of the nodes.
fn majority_works<P: Protocol>() {
    let ways = |link| {
        use LeftBroken::{Chained, Deaf, Down, Drifting, Mute, Paused, SlowDisk};
        [Down, Paused, Deaf, Mute, Chained(link), SlowDisk(10), Drifting(50_000), Drifting(-50_000)]
    };
    for (broken, link) in [(ONE, NodeId(2)), (ONE, NodeId(3)), (NodeId(2), ONE), (NodeId(2), NodeId(3))] {
        for how in ways(link) {
            let mut world = cluster::<P>(3);
            world.leave_broken(broken, how).expect("holds");
            pass(&mut world, 3000);
            let others: Vec<NodeId> = world.ids().into_iter().filter(|node| *node != broken).collect();
            let elections = world.counts().elections;
            for round in 0..20 {
                let ids: Vec<_> =
                    others.iter().filter_map(|node| world.propose(*node, command("x")).expect("holds")).collect();
                pass(&mut world, 500);
                let is_done = ids.iter().any(|id| world.acknowledged_at(*id).is_some());
                assert!(is_done, "{broken} is {how:?}, and nothing is acknowledged in round {round}");
            }
            assert_eq!(world.counts().elections, elections, "{broken} is {how:?} and deposes leaders");
        }
    }
}
for_both!(a_majority_works_beside_a_node_that_stays_broken, majority_works);

fn majority_runs<P: Protocol>() {
    let mut ways = BTreeSet::new();
    for seed in 0..40 {
        let config = WorldConfig { nodes: 5, seed, ..WorldConfig::default() };
        let mut world = World::<P>::new(config).expect("starts");
        let chosen = world.atlas().majority_to_repair(seed).expect("all stand");
        world.repair(&chosen).expect("holds");
        for (_, happening) in world.trace().take() {
            if let Happening::LeftBroken(node, how) = happening {
                assert!(!chosen.contains(&node));
                ways.insert(format!("{how:?}").split('(').next().expect("has a name").to_owned());
                assert_eq!(world.is_up(node), !matches!(how, LeftBroken::Down | LeftBroken::Paused));
            }
        }
        let pairs = chosen.iter().flat_map(|from| chosen.iter().map(move |to| (*from, *to)));
        assert!(chosen.iter().all(|node| world.is_up(*node)));
        assert!(pairs.into_iter().all(|(from, to)| !world.network.is_cut(from, to)));
        world.repair_all().expect("holds");
        assert!(world.network.is_whole() && world.ids().iter().all(|node| world.is_up(*node)));
    }
    assert_eq!(ways.len(), 7, "every way to stay broken is drawn");
}
for_both!(the_rest_stays_broken_in_every_way_until_all_is_repaired, majority_runs);

#[test]
fn without_a_check_of_the_leader_the_rest_is_down() {
    let timing = consensus_api::Timing { pre_check: false, ..consensus_api::Timing::default() };
    for seed in 0..20 {
        let config = WorldConfig { seed, timing: timing.clone(), ..WorldConfig::default() };
        let mut world = World::<Raft>::new(config).expect("starts");
        world.repair(&BTreeSet::from([ONE, NodeId(3)])).expect("holds");
        assert!(!world.is_up(NodeId(2)));
    }
}

#[test]
fn the_same_plan_replays_to_the_byte() {
    let plan = FaultPlan::draw(11, Profile::Disk, 3);
    let fingerprint = || live_through::<Raft>(&plan).trace().fingerprint();
    assert_eq!(fingerprint(), fingerprint());
}
