//! Writers that append without rest, and what must be true of what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kv_client::ClientError;
use tokio::task::JoinHandle;

use crate::harness::{Client, Cluster, GLANCE, PATIENCE};

const WRITERS: u64 = 6;

/// Writers that never rest until they are told to.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<Journal>>,
}

/// What one writer was told.
pub struct Journal {
    pub writer: u64,
    /// Numbers whose append was acknowledged, in order.
    pub acknowledged: Vec<u64>,
    /// Numbers whose append may have happened.
    pub unknown: Vec<u64>,
}

impl Load {
    pub fn start(cluster: &Cluster) -> Load {
        Load::start_after(cluster, 0)
    }

    /// As `start`, with numbers above `last`, which nobody has used.
    pub fn start_after(cluster: &Cluster, last: u64) -> Load {
        Load::start_with(cluster, last, Duration::ZERO)
    }

    /// As `start`, with a rest after each append: what is appended to does not become too long in a long test.
    pub fn start_gently(cluster: &Cluster) -> Load {
        Load::start_with(cluster, 0, 2 * GLANCE)
    }

    fn start_with(cluster: &Cluster, last: u64, rest: Duration) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let ids: Vec<u64> = cluster.nodes.keys().copied().collect();
        let writers = (0..WRITERS).map(|writer| {
            // Each begins with another node, so that most of them are forwarded.
            let mut ids = ids.clone();
            let turn = usize::try_from(writer).unwrap() % ids.len();
            ids.rotate_left(turn);
            let client = cluster.client(&ids).with_timeout(Duration::from_secs(3));
            tokio::spawn(write(writer, (last, rest), client, stop.clone(), acknowledged.clone()))
        });
        let writers = writers.collect();
        Load { stop, acknowledged, writers }
    }

    /// Waits until this many more appends were acknowledged.
    pub async fn progress(&self, more: u64, cluster: &Cluster) {
        let goal = self.acknowledged.load(Ordering::SeqCst) + more;
        let since = Instant::now();
        while self.acknowledged.load(Ordering::SeqCst) < goal {
            assert!(since.elapsed() < PATIENCE, "writes do not go on; {}", cluster.logs());
            tokio::time::sleep(GLANCE).await;
        }
    }

    pub async fn finish(self) -> Vec<Journal> {
        self.stop.store(true, Ordering::SeqCst);
        let mut journals = Vec::new();
        for writer in self.writers {
            journals.push(writer.await.unwrap());
        }
        journals
    }
}

impl Journal {
    /// Goes on with what the writers of another load, with higher numbers, were told.
    pub fn extend(journals: &mut Vec<Journal>, later: Vec<Journal>) {
        if journals.is_empty() {
            *journals = later;
            return;
        }
        for (journal, later) in journals.iter_mut().zip(later) {
            journal.acknowledged.extend(later.acknowledged);
            journal.unknown.extend(later.unknown);
        }
    }
}

/// Appends the numbers after `last` to a key of its own; never the same number twice, whatever the answer.
async fn write(
    writer: u64,
    (last, rest): (u64, Duration),
    client: Client,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Journal {
    let mut journal = Journal { writer, acknowledged: Vec::new(), unknown: Vec::new() };
    let mut number = last;
    while !stop.load(Ordering::SeqCst) {
        tokio::time::sleep(rest).await;
        number += 1;
        match client.append(&key(writer), format!("{number};")).await {
            Ok(_) => {
                journal.acknowledged.push(number);
                count.fetch_add(1, Ordering::SeqCst);
            }
            Err(ClientError::Unknown { .. }) => journal.unknown.push(number),
            // Definitely not applied: the number is simply never there.
            Err(_) => tokio::time::sleep(GLANCE).await,
        }
    }
    journal
}

fn key(writer: u64) -> String {
    format!("journal-{writer}")
}

/// Every acknowledged number is there once and in order; beyond those only numbers whose outcome was unknown.
pub async fn check(cluster: &Cluster, journals: &[Journal]) {
    for journal in journals {
        assert!(!journal.acknowledged.is_empty(), "writer {} wrote nothing", journal.writer);
        let kept = kept(cluster, journal).await;
        assert_eq!(kept, journal.acknowledged, "writer {}: acknowledged, and lost or out of order", journal.writer);
    }
}

/// The acknowledged numbers that are there. None is there twice, nor is one that was refused.
pub async fn kept(cluster: &Cluster, journal: &Journal) -> Vec<u64> {
    let client = cluster.client(&cluster.running());
    let text = client.get(&key(journal.writer)).await.unwrap().unwrap_or_default();
    let stored: Vec<u64> = text.split_terminator(';').map(|number| number.parse().unwrap()).collect();
    let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
    for number in &stored {
        *seen.entry(*number).or_default() += 1;
        let known = journal.acknowledged.binary_search(number).is_ok() || journal.unknown.contains(number);
        assert!(known, "writer {}: {number} was refused and is there all the same", journal.writer);
    }
    assert!(seen.values().all(|count| *count == 1), "writer {}: applied twice in {stored:?}", journal.writer);
    stored.into_iter().filter(|number| journal.acknowledged.binary_search(number).is_ok()).collect()
}

/// Every node holds the same.
pub async fn nodes_agree(cluster: &Cluster) {
    let digests = cluster.digests().await;
    let mut values = digests.values();
    let first = values.next();
    assert!(values.all(|digest| Some(digest) == first), "tables differ: {digests:?}");
    assert_eq!(digests.len(), cluster.nodes.len());
}
