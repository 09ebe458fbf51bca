//! `kill -9` and power failures at every step of a transfer: it goes on, or another one takes its place; what is installed
//! is the old state or the new.

use crate::harness::GLANCE;
use crate::load::{Load, check};
use crate::powered::Powered;
use crate::snapshot_scene::{Scene, Step};

const RECEIVING: [Step; 6] = [
    Step::new("receiving a snapshot", 0.0),
    Step::new("snapshot part received", 0.0),
    Step::new("snapshot part received", 0.5),
    Step::new("installing a snapshot", 0.0),
    Step::new("snapshot installed", 0.0),
    Step::new("log trimmed", 0.0),
];
const SENDING: [Step; 5] = [
    Step::new("sending a snapshot", 0.0),
    Step::new("snapshot part sent", 0.0),
    Step::new("snapshot part sent", 0.5),
    Step::new("snapshot part sent", 1.0),
    Step::new("snapshot sent", 0.0),
];
/// A transfer may come to its end before a step of it is seen. Then there is another one.
const ROUNDS_MAX: u64 = 6;

/// Strikes the receiver at each step, and then has it go on.
async fn the_receiver_may_die_at_every_step(mut scene: Scene) {
    let mut steps = RECEIVING.to_vec();
    for round in 0..ROUNDS_MAX {
        scene.fall_behind().await;
        let mut mark = scene.run_behind();
        for step in std::mem::take(&mut steps) {
            match scene.reach(step, &[mark]).await {
                Some(receiver) => {
                    println!("{}, round {round}: the receiver dies at {step:?}", scene.cluster().engine);
                    scene.strike(receiver);
                    mark = scene.run_behind();
                }
                None => steps.push(step),
            }
        }
        scene.level().await;
        if steps.is_empty() {
            return scene.end().await;
        }
        // The last ones first: what precedes them would take the transfer from them again.
        steps.reverse();
    }
    panic!("not seen: {steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_brings_a_receiver_level_that_is_killed_at_every_step() {
    the_receiver_may_die_at_every_step(Scene::start("raft").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_brings_a_receiver_level_that_is_killed_at_every_step() {
    the_receiver_may_die_at_every_step(Scene::start("paxos").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_brings_a_receiver_level_that_loses_power_at_every_step() {
    the_receiver_may_die_at_every_step(Scene::start_powered("raft").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paxos_brings_a_receiver_level_that_loses_power_at_every_step() {
    the_receiver_may_die_at_every_step(Scene::start_powered("paxos").await).await;
}

/// Kills whoever sends, at each step.
async fn the_sender_may_die_at_every_step(mut scene: Scene) {
    let mut steps = SENDING.to_vec();
    for round in 0..ROUNDS_MAX {
        scene.fall_behind().await;
        scene.run_behind();
        for step in std::mem::take(&mut steps) {
            let marks: Vec<_> = scene.others().into_iter().map(|id| scene.cluster().mark(id)).collect();
            match scene.reach(step, &marks).await {
                Some(sender) => {
                    println!("{}, round {round}: the sender, {sender}, dies at {step:?}", scene.cluster().engine);
                    scene.strike(sender);
                    scene.powered.cluster.run(sender);
                }
                None => steps.push(step),
            }
        }
        scene.level().await;
        if steps.is_empty() {
            return scene.end().await;
        }
        steps.reverse();
    }
    panic!("not seen: {steps:?}");
}

/// Side by side: a transfer whose sender has died is mostly a wait for its receiver to give it up.
#[tokio::test(flavor = "multi_thread")]
async fn raft_and_paxos_bring_a_follower_level_whose_sender_is_killed_at_every_step() {
    tokio::join!(
        the_sender_may_die_at_every_step(Scene::start("raft").await),
        the_sender_may_die_at_every_step(Scene::start("paxos").await),
    );
}

/// Nothing is received before. That a start may end at each of its syncs is shown elsewhere.
const SYNCS_OF_A_START: u64 = 16;

/// Lives that each end one sync later than the one before, until what was being received stands.
async fn the_receiver_may_lose_power_at_every_sync(engine: &'static str) {
    let mut scene = Scene::start_powered(engine).await;
    scene.fall_behind().await;
    scene.quieten().await;
    let behind = scene.behind;
    let pointer = scene.cluster().data_dir(behind).join("live");
    let mut lives = 0;
    for sync in SYNCS_OF_A_START.. {
        scene.powered.disks[&behind].kill_at_sync(sync).unwrap();
        let mark = scene.run_behind();
        let installed = Step::new("replica::applier: snapshot installed", 0.0);
        let ended = loop {
            if scene.powered.cluster.has_ended(behind) {
                break true;
            }
            if scene.cluster().lines_since(mark).iter().any(|line| installed.is_shown_by(line)) {
                break false;
            }
            tokio::time::sleep(GLANCE).await;
        };
        lives += 1;
        scene.strike(behind);
        if !ended || pointer.exists() {
            break;
        }
    }
    println!("{engine}: installed in life {lives}");
    assert!(lives > 5, "{lives} lives are too few for a transfer and an installation");
    scene.run_behind();
    scene.level().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_receiver_may_lose_power_at_every_sync_of_transfer_and_installation() {
    the_receiver_may_lose_power_at_every_sync("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paxos_receiver_may_lose_power_at_every_sync_of_transfer_and_installation() {
    the_receiver_may_lose_power_at_every_sync("paxos").await;
}

/// One node alone, which takes a snapshot every few entries, so that its syncs are mostly those of snapshots.
async fn who_takes_snapshots_may_lose_power_at_any_sync(engine: &'static str) {
    let flags = ["--snapshot-entries", "20", "--log-tail-entries", "5", "--election-timeout-ms", "100"];
    let flags = [&flags[..], &["--heartbeat-interval-ms", "20"]].concat();
    let mut powered = Powered::start(engine, 1, &flags).await;
    let load = Load::start(&powered.cluster);
    load.progress(200, &powered.cluster).await;
    let mut taken = 0;
    for life in 0..15 {
        powered.cluster.kill(1);
        powered
            .lose_power(1, if life % 2 == 0 { power_loss::Remains::Synced } else { power_loss::Remains::Torn(life) });
        // From a life that ends in its first snapshot to one of several. The log syncs as well while one is taken.
        powered.disks[&1].kill_at_sync(60 + 17 * life).unwrap();
        let mark = powered.cluster.mark(1);
        powered.cluster.run(1);
        while !powered.cluster.has_ended(1) {
            tokio::time::sleep(GLANCE).await;
        }
        taken += powered.cluster.lines_since(mark).iter().filter(|line| line.contains("snapshot taken")).count();
    }
    powered.cluster.kill(1);
    powered.lose_power(1, power_loss::Remains::Synced);
    powered.cluster.run(1);
    powered.cluster.leader().await;
    load.progress(30, &powered.cluster).await;
    let journals = load.finish().await;
    check(&powered.cluster, &journals).await;
    println!("{engine}: {taken} snapshots in 15 lives");
    assert!(taken > 15, "only {taken} snapshots were taken: the power was not lost in one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_node_that_takes_snapshots_may_lose_power_at_any_sync() {
    who_takes_snapshots_may_lose_power_at_any_sync("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paxos_node_that_takes_snapshots_may_lose_power_at_any_sync() {
    who_takes_snapshots_may_lose_power_at_any_sync("paxos").await;
}
