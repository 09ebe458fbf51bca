//! An open tail: entries that the followers have accepted and of which the leader does not know.
//!
//! ```text
//!   puts ──▶ leader ──── entries ────▶ followers: they write them down
//!                   ◀─╳─ acknowledgements          the links into the leader are cut
//! ```
//!
//! Followers go on hearing from the leader, so nobody campaigns; the leader itself steps down after a while, so it must
//! be lost before that. How many puts arrive is not in our hands: without acknowledgements QUIC sends no more than its
//! congestion window. So the links are first warmed up by twice as many puts, over a delay, which makes the window grow:
//! beside a round trip of microseconds nothing ever waits for it. What the followers had is counted afterwards: whatever the
//! next leader finds there it must have chosen, so these keys are in the tables then, and no others.

use std::time::Duration;

use bytes::Bytes;
use consensus_api::random::SeededRandom;
use kv_client::protocol::Consistency;
use kv_client::{Clerk, HttpClient, ReadOptions, ScanRequest};
use link_relay::{Change, LinkPattern};
use tokio::task::JoinSet;

use crate::processes::Processes;
use crate::replicas::Failure;

/// How long the entries have to arrive: half of the shortest time after which a leader without answers steps down.
const ARRIVAL: Duration = Duration::from_millis(250);
/// How long a packet takes in the warm-up, in microseconds.
const WARM_UP_DELAY_US: u64 = 5_000;
/// Room in the window for the warm-up and the tail.
const WINDOW_MAX: u64 = 16_384;
/// How long a page of the count may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A tail that is open: puts wait for answers that do not come.
pub struct OpenTail {
    clerk: Clerk,
    puts: JoinSet<()>,
}

impl OpenTail {
    /// Opens one of `count` puts before a leader. The links into it are cut from then on.
    pub async fn open(
        cluster: &Processes,
        leader: u64,
        count: u64,
        value_bytes: u64,
        name: &str,
    ) -> Result<OpenTail, Failure> {
        let clerk = cluster.clerk(count.clamp(1, WINDOW_MAX) as usize).await?;
        let links = cluster.links().ok_or("an open tail needs a relay")?;
        let before = links.show(&[LinkPattern::ALL])?;
        links.change(&[LinkPattern::ALL], &delayed(WARM_UP_DELAY_US))?;
        put_all(&clerk, 2 * count, value_bytes, "warm").join_all().await;
        for link in before {
            links.change(&[link.link.into()], &delayed(link.faults.delay_us))?;
        }
        links.change(&[LinkPattern::into(leader)], &Change::cut(true))?;
        let puts = put_all(&clerk, count, value_bytes, &prefix(name));
        tokio::time::sleep(ARRIVAL).await;
        Ok(OpenTail { clerk, puts })
    }

    /// Forgets it: a client that is still there would send all of it again, to the next leader.
    pub fn forget(mut self) {
        self.puts.abort_all();
        drop(self.clerk);
    }
}

/// How many puts of a tail are in the tables, when all is well again.
pub async fn survivors(node: &str, name: &str) -> Result<u64, Failure> {
    let request = ScanRequest { prefix: Some(prefix(name).into()), ..ScanRequest::default() };
    let options = ReadOptions { consistency: Consistency::Linearizable, timeout: TIMEOUT };
    let mut scan = HttpClient::new([node])?.scan_all(request, options);
    let mut count = 0;
    while scan.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn delayed(delay_us: u64) -> Change {
    Change { delay_us: Some(delay_us), ..Change::default() }
}

fn prefix(name: &str) -> String {
    format!("tail-{name}-")
}

fn put_all(clerk: &Clerk, count: u64, value_bytes: u64, prefix: &str) -> JoinSet<()> {
    let mut puts = JoinSet::new();
    for number in 0..count {
        let (clerk, key) = (clerk.clone(), Bytes::from(format!("{prefix}{number}")));
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
