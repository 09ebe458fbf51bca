//! An open tail: entries that the followers have accepted and of which the leader does not know.
//!
//! ```text
//!   puts ──▶ leader ──── entries ────▶ followers: they write them down
//!                   ◀─╳─ acknowledgements          the links into the leader are cut
//! ```
//!
//! Followers go on hearing from the leader, so nobody campaigns; the leader itself steps down after a while, so it must
//! be lost before that. How many entries arrive is not in our hands: without acknowledgements QUIC sends no more than its
//! congestion window. So the links are first warmed up by as many puts, and the tail that was reached is reported.

use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus_api::random::SeededRandom;
use kv_client::Clerk;
use link_relay::{Change, LinkPattern};
use tokio::task::JoinSet;

use crate::processes::Processes;
use crate::replicas::Failure;

/// How long the entries may take to arrive. Half of the shortest time after which a leader without answers steps down.
const ARRIVAL_MAX: Duration = Duration::from_millis(250);
/// Between two looks at the followers.
const GLANCE: Duration = Duration::from_millis(10);
/// Room in the window for the warm-up and the tail.
const WINDOW_MAX: u64 = 16_384;

/// A tail that is open: puts wait for answers that do not come.
pub struct OpenTail {
    /// How many entries the followers have, as far as they tell, of which the leader does not know.
    pub entries: u64,
    clerk: Clerk,
    puts: JoinSet<()>,
}

impl OpenTail {
    /// Opens one of `count` entries before a leader. The links into it are cut from then on.
    pub async fn open(cluster: &Processes, leader: u64, count: u64, value_bytes: u64) -> Result<OpenTail, Failure> {
        let clerk = cluster.clerk(count.clamp(1, WINDOW_MAX) as usize).await?;
        put_all(&clerk, count, value_bytes, "warm").join_all().await;
        let committed = cluster.status(leader).await.map_or(0, |status| status.commit_index);
        let links = cluster.links().ok_or("an open tail needs a relay")?;
        links.change(&[LinkPattern::into(leader)], &Change::cut(true))?;
        let mut tail = OpenTail { entries: 0, puts: put_all(&clerk, count, value_bytes, "tail"), clerk };
        let since = Instant::now();
        while tail.entries < count && since.elapsed() < ARRIVAL_MAX {
            tokio::time::sleep(GLANCE).await;
            tail.entries = reach(cluster, leader).await.saturating_sub(committed);
        }
        Ok(tail)
    }

    /// Forgets it: a client that is still there would send all of it again, to the next leader.
    pub fn forget(mut self) {
        self.puts.abort_all();
        drop(self.clerk);
    }
}

/// The last entry of the followers.
async fn reach(cluster: &Processes, leader: u64) -> u64 {
    let mut reach = 0;
    for id in cluster.running().filter(|id| *id != leader) {
        reach = reach.max(cluster.status(id).await.map_or(0, |status| status.last_index));
    }
    reach
}

fn put_all(clerk: &Clerk, count: u64, value_bytes: u64, name: &str) -> JoinSet<()> {
    let mut puts = JoinSet::new();
    for number in 0..count {
        let (clerk, key) = (clerk.clone(), Bytes::from(format!("{name}-{number}")));
        puts.spawn(async move {
            // Whether it comes through is not what this is for.
            let _ = clerk.put(key, value(number, value_bytes)).await;
        });
    }
    puts
}

fn value(number: u64, bytes: u64) -> Bytes {
    let mut random = SeededRandom::new(number);
    (0..bytes).map(|_| random.below(256) as u8).collect()
}
