//! A follower that needs a snapshot, of a size that takes a while to send: the scene for everything that can go wrong
//! with one.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use power_loss::Remains;

use crate::harness::Cluster;
use crate::load::{Journal, Load, check, nodes_agree};
use crate::powered::Powered;
use crate::watch::{Mark, number_in};

const VALUES: u64 = 64;
const VALUE_BYTES: usize = 64 << 10;

/// Three nodes that send 4 MiB and more in about a second, and log every step of it.
pub struct Scene {
    pub powered: Powered,
    /// The follower that is behind.
    pub behind: u64,
    load: Option<Load>,
    journals: Vec<Journal>,
    rounds: u64,
    strikes: u64,
}

/// A moment in a transfer, as a line in a log shows it: from when on that much of it is through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    line: &'static str,
    share: f64,
}

impl Step {
    pub const fn new(line: &'static str, share: f64) -> Step {
        Step { line, share }
    }

    pub fn is_shown_by(self, line: &str) -> bool {
        let share = || Some(number_in(line, "through")? as f64 / number_in(line, "of")? as f64);
        line.contains(self.line) && share().unwrap_or(1.0) >= self.share
    }
}

impl Scene {
    /// Nodes that can be killed.
    pub async fn start(engine: &'static str) -> Scene {
        let cluster = Cluster::new(engine, 3, &Scene::flags());
        Scene::of(Powered { cluster, disks: Default::default() }).await
    }

    /// Nodes that can lose their power and run out of room as well.
    pub async fn start_powered(engine: &'static str) -> Scene {
        Scene::of(Powered::new(engine, 3, &Scene::flags())).await
    }

    fn flags() -> [&'static str; 10] {
        let quick = ["--election-timeout-ms", "300", "--snapshot-entries", "3000", "--log-tail-entries", "10"];
        let slow = ["--snapshot-bytes-per-second", "6000000", "--log-level", "info,replica=trace"];
        std::array::from_fn(|at| if at < quick.len() { quick[at] } else { slow[at - quick.len()] })
    }

    async fn of(mut powered: Powered) -> Scene {
        powered.cluster.run_all();
        let leader = powered.cluster.leader().await;
        let behind = powered.cluster.running().into_iter().find(|id| *id != leader).unwrap();
        let load = Load::start_gently(&powered.cluster);
        Scene { powered, behind, load: Some(load), journals: Vec::new(), rounds: 0, strikes: 0 }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.powered.cluster
    }

    pub fn others(&self) -> Vec<u64> {
        self.cluster().nodes.keys().copied().filter(|id| *id != self.behind).collect()
    }

    /// Where a node keeps its snapshots.
    pub fn shelf(&self, id: u64) -> PathBuf {
        self.cluster().data_dir(id).join("snapshots")
    }

    /// Leaves one node behind what the others have in their logs, by some MiB that cannot be compressed.
    pub async fn fall_behind(&mut self) {
        // What a peer was sent a moment ago it is expected to go on from, so the log is kept. A new life knows of none.
        self.powered.cluster.kill_all();
        for id in self.others() {
            self.powered.cluster.run(id);
        }
        self.cluster().leader().await;
        self.write_and_take().await;
    }

    /// New values everywhere, and snapshots of them.
    pub async fn write_and_take(&mut self) {
        self.rounds += 1;
        let (cluster, others) = (self.cluster(), self.others());
        // Three parts with a snapshot after each, so that there are several files of some size.
        for part in 0..3 {
            for value in (0..VALUES).filter(|value| value % 3 == part) {
                let text = noise(self.rounds * VALUES + value);
                // An overwrite may well be repeated.
                while cluster.client(&others).put(&format!("large-{value}"), &text).await.is_err() {}
            }
            for id in &others {
                cluster.client(&[*id]).snapshot().await.unwrap();
            }
        }
    }

    /// Starts the one that is behind; returns where its log goes on.
    pub fn run_behind(&mut self) -> Mark {
        let mark = self.cluster().mark(self.behind);
        let behind = self.behind;
        self.powered.cluster.run(behind);
        mark
    }

    /// `kill -9`, and where there is power to lose it is lost, each time in another way.
    pub fn strike(&mut self, id: u64) {
        self.powered.cluster.kill(id);
        self.strikes += 1;
        if self.powered.disks.contains_key(&id) {
            let remains = if self.strikes.is_multiple_of(3) { Remains::Synced } else { Remains::Torn(self.strikes) };
            self.powered.lose_power(id, remains);
        }
    }

    /// Waits for a step in these logs; `None` where the one that was behind is level first.
    pub async fn reach(&self, step: Step, marks: &[Mark]) -> Option<u64> {
        let cluster = self.cluster();
        let goal = self.covered().await;
        let is_level = async || cluster.status(self.behind).await.is_some_and(|status| status.applied_index >= goal);
        cluster.find_line(marks, |line| step.is_shown_by(line), is_level).await.map(|(id, _)| id)
    }

    /// Waits until the one that was behind has what the others' snapshots cover.
    pub async fn level(&self) {
        self.cluster().applied(self.behind, self.covered().await).await;
    }

    /// What the snapshots of those that run cover by now, the one that is behind apart.
    async fn covered(&self) -> u64 {
        let mut covered = 0;
        for id in self.others() {
            covered = covered.max(self.cluster().status(id).await.map_or(0, |status| status.snapshot_index));
        }
        covered
    }

    /// Ends the load: from now on the nodes write for the sake of snapshots only.
    pub async fn quieten(&mut self) {
        if let Some(load) = self.load.take() {
            load.progress(30, self.cluster()).await;
            self.journals = load.finish().await;
        }
    }

    /// Ends it all: everything that was acknowledged is there once, and all nodes hold the same.
    pub async fn end(mut self) {
        self.quieten().await;
        check(self.cluster(), &self.journals).await;
        nodes_agree(self.cluster()).await;
    }
}

/// Flips a bit of a file, `from_end` bytes before its end, where it stands.
pub fn flip(path: &Path, from_end: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let at = file.metadata().unwrap().len() - from_end;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

/// Letters and digits that do not repeat: nothing for a compression to find.
fn noise(seed: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        // Xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(LETTERS[(state >> 58) as usize])
    };
    (0..VALUE_BYTES).map(letter).collect()
}
