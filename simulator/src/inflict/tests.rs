//! Faults take place, end, and leave no trace when they are over.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use bytes::Bytes;
use consensus_api::{Blob, LogStore, Role};
use engine_multipaxos::MultiPaxos;
use engine_raft::Raft;
use kv_machine::{Command, Expect};

use super::*;
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
    let config = WorldConfig { nodes, links, sync, trace_max: 2000, ..WorldConfig::default() };
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
    for (ailment, kind, refused) in [
        (Ailment::SyncFails, Kind::SyncFails, 0),
        (Ailment::ReadsFail, Kind::ReadsFail, 1),
        (Ailment::Full, Kind::DiskFull, 1),
    ] {
        let mut world = cluster::<P>(3);
        let fault = planned(1, Fault::Disk(Target::Leader, ailment));
        assert!(world.inflict(&fault).expect("holds"));
        world.propose(ONE, command("more")).expect("holds");
        pass(&mut world, 50);
        assert_eq!(world.is_up(ONE), ailment == Ailment::ReadsFail, "{kind}: nothing is read back here");
        world.relieve(&fault).expect("holds");
        assert!(world.is_up(ONE), "{kind}");
        let counts = world.counts();
        assert_eq!((counts.of(kind), counts.starts_refused), (1, refused), "{kind}");
    }
}
for_both!(a_node_whose_disk_fails_stops_and_comes_back_with_the_disk, sick_disks);

fn damaged<P: Protocol>() {
    for damage in [Damage::Corrupt, Damage::Misplaced] {
        let mut world = cluster::<P>(3);
        let fault = planned(1, Fault::Damage(Target::Leader, damage));
        assert!(world.inflict(&fault).expect("holds"));
        pass(&mut world, 50);
        world.relieve(&fault).expect("holds");
        assert!(!world.is_up(ONE) && world.atlas().is_lost(ONE));
        assert_eq!(world.counts().starts_refused, 1);
        assert_eq!(world.repair_all().expect("holds"), [NodeId(2), NodeId(3)]);
        // Nobody else may be lost.
        assert!(!world.inflict(&planned(2, Fault::Wipe(Target::Leader))).expect("holds"));
    }
}
for_both!(a_damaged_disk_keeps_its_node_down_for_good, damaged);

fn trimmed<P: Protocol>() {
    let mut world = cluster::<P>(3);
    let three = NodeId(3);
    world.inflict(&planned(2, Fault::Partition(Target::Node(three), Shape::Isolate))).expect("holds");
    world.inflict(&planned(1, Fault::Damage(Target::Node(three), Damage::Corrupt))).expect("holds");
    for key in ["e", "f", "g"] {
        world.propose(ONE, command(key)).expect("holds");
        pass(&mut world, 50);
    }
    for node in world.ids() {
        world.flush_tables(node);
    }
    let persisted = [ONE, three].map(|node| world.persisted(node));
    assert!(persisted[1] < persisted[0] && world.is_up(three), "{persisted:?}");
    world.trim(three).expect("holds");
    assert_eq!(world.disk(three).expect("it has one").base().index, world.persisted(three));
}
for_both!(a_node_that_is_lost_and_runs_keeps_what_its_own_tables_lack, trimmed);

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

fn majority_runs<P: Protocol>() {
    let mut world = cluster::<P>(5);
    let chosen = world.atlas().majority_to_repair(3).expect("all stand");
    world.repair(&chosen).expect("holds");
    for node in world.ids() {
        assert_eq!(world.is_up(node), chosen.contains(&node));
    }
    let before = world.last_committed();
    pass(&mut world, 3000);
    let leader = world.leader().expect("a majority has a leader");
    world.propose(leader, command("after")).expect("holds");
    pass(&mut world, 500);
    assert!(world.last_committed() > before);
}
for_both!(a_repaired_majority_works_while_the_rest_is_down, majority_runs);

#[test]
fn the_same_plan_replays_to_the_byte() {
    let plan = FaultPlan::draw(11, Profile::Disk, 3);
    let fingerprint = || live_through::<Raft>(&plan).trace().fingerprint();
    assert_eq!(fingerprint(), fingerprint());
}
