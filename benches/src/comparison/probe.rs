//! Small puts at a steady rate, each by itself, that show when there is service; and reads that must not be stale.
//!
//! ```text
//!   every 1/rate s   one put, by HTTP, at the next node in turn; it has a second, and nobody waits for it
//!   every tenth      one linearizable get besides
//! ```
//!
//! A client that waits for its last answer would notice only the end of an outage. Here each put stands for a client of
//! its own that comes at its own time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv_client::protocol::Consistency;
use kv_client::{ClientError, HttpClient, ReadOptions, WriteOptions};
use simulator::linearizability::{Action, Operation, Outcome};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::replicas::Failure;

/// How long each may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long the last reads may take, when all is well again.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);
/// The most that are under way; beyond that one is left out.
const IN_FLIGHT_MAX: usize = 2_048;
/// After how many puts there is a get.
const PUTS_PER_GET: u64 = 10;
/// How many keys one event uses.
const KEYS: u64 = 16;

/// An acknowledged put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// When it was to begin, and began.
    pub begun: Instant,
    /// When it was acknowledged.
    pub acked: Instant,
}

/// What all puts of a probe share.
struct Shared {
    epoch: Instant,
    /// Distinguishes the keys and values of one event from those of another.
    name: String,
    value_bytes: usize,
    acks: Mutex<Vec<Ack>>,
    history: Mutex<Vec<Operation>>,
    latest_begun: watch::Sender<Option<Instant>>,
    stop: AtomicBool,
}

/// Puts under way.
pub struct Probe {
    shared: Arc<Shared>,
    clients: Vec<HttpClient>,
    task: JoinHandle<()>,
}

/// What a probe found.
pub struct Probed {
    /// All acknowledged puts, by the time of their acknowledgement.
    pub acks: Vec<Ack>,
    /// All of its operations.
    pub history: Vec<Operation>,
}

impl Probe {
    /// Begins to put at these nodes in turn. `epoch` is the beginning of the history's clock.
    pub fn begin(
        nodes: &[String],
        rate_per_s: u64,
        value_bytes: u64,
        name: String,
        epoch: Instant,
    ) -> Result<Probe, Failure> {
        let clients: Vec<HttpClient> = nodes.iter().map(|node| HttpClient::new([node])).collect::<Result<_, _>>()?;
        let shared = Arc::new(Shared {
            epoch,
            name,
            value_bytes: value_bytes as usize,
            acks: Mutex::default(),
            history: Mutex::default(),
            latest_begun: watch::Sender::new(None),
            stop: AtomicBool::new(false),
        });
        let every = Duration::from_secs(1) / u32::try_from(rate_per_s.max(1))?;
        let task = tokio::spawn(drive(shared.clone(), clients.clone(), every));
        Ok(Probe { shared, clients, task })
    }

    /// Waits until a put is acknowledged that began after this moment.
    pub async fn served_after(&self, moment: Instant) {
        let mut latest = self.shared.latest_begun.subscribe();
        // The sender lives as long as the probe does.
        let _ = latest.wait_for(|begun| begun.is_some_and(|begun| begun > moment)).await;
    }

    /// Ends it, and reads each of its keys once more.
    pub async fn finish(self) -> Result<Probed, Failure> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.task.await?;
        for key in 0..KEYS {
            let client = &self.clients[key as usize % self.clients.len()];
            get(self.shared.clone(), client.clone(), key, LAST_TIMEOUT).await;
        }
        let take = |acks: &Mutex<Vec<Ack>>| std::mem::take(&mut *acks.lock().unwrap_or_else(PoisonError::into_inner));
        let mut acks = take(&self.shared.acks);
        acks.sort_unstable_by_key(|ack| ack.acked);
        let history = std::mem::take(&mut *self.shared.history.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Probed { acks, history })
    }
}

async fn drive(shared: Arc<Shared>, clients: Vec<HttpClient>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut under_way = JoinSet::new();
    for number in 0.. {
        ticks.tick().await;
        while under_way.try_join_next().is_some() {}
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        if under_way.len() >= IN_FLIGHT_MAX {
            continue;
        }
        let client = clients[number as usize % clients.len()].clone();
        if number % PUTS_PER_GET == 0 {
            let turn = number / PUTS_PER_GET;
            // Nodes in turn, whatever their number.
            let client = clients[turn as usize % clients.len()].clone();
            under_way.spawn(get(shared.clone(), client, turn % KEYS, TIMEOUT));
        }
        under_way.spawn(put(shared.clone(), client, number));
    }
    under_way.join_all().await;
}

async fn put(shared: Arc<Shared>, client: HttpClient, number: u64) {
    let key = shared.key(number % KEYS);
    let value = format!("{}-{number:0>width$}", shared.name, width = shared.value_bytes.saturating_sub(9));
    let begun = Instant::now();
    let options = WriteOptions { timeout: TIMEOUT, ..WriteOptions::default() };
    let result = client.put(key.as_bytes(), Bytes::from(value.clone()), options).await;
    let acked = Instant::now();
    if result.is_ok() {
        shared.acks.lock().unwrap_or_else(PoisonError::into_inner).push(Ack { begun, acked });
        shared.latest_begun.send_if_modified(|latest| {
            let is_news = latest.is_none_or(|latest| latest < begun);
            if is_news {
                *latest = Some(begun);
            }
            is_news
        });
    }
    let outcome = match result {
        Ok(_) => Outcome::Ok,
        Err(error) => fate_of_write(&error),
    };
    shared.note(number, Action::Put { key, value }, begun, acked, outcome);
}

async fn get(shared: Arc<Shared>, client: HttpClient, key: u64, timeout: Duration) {
    let key = shared.key(key);
    let options = ReadOptions { consistency: Consistency::Linearizable, timeout };
    let begun = Instant::now();
    let result = client.get(key.as_bytes(), options).await;
    let returned = Instant::now();
    let (value, outcome) = match result {
        Ok(found) => (found.map(|found| String::from_utf8_lossy(&found.value).into_owned()), Outcome::Ok),
        Err(_) => (None, Outcome::Fail),
    };
    shared.note(u64::MAX, Action::Get { key, value }, begun, returned, outcome);
}

/// What is known of a put that failed. What was refused or never sent had no effect.
fn fate_of_write(error: &ClientError) -> Outcome {
    match error {
        ClientError::Api { .. } | ClientError::Unreachable { .. } => Outcome::Fail,
        _ => Outcome::Unknown,
    }
}

impl Shared {
    fn key(&self, number: u64) -> String {
        format!("probe-{}-{number}", self.name)
    }

    fn note(&self, client: u64, action: Action, called: Instant, returned: Instant, outcome: Outcome) {
        let since_epoch = |moment: Instant| (moment - self.epoch).as_nanos() as u64;
        let returned = (outcome != Outcome::Unknown).then(|| since_epoch(returned));
        let operation = Operation { client, action, call: since_epoch(called), returned, outcome };
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_had_no_effect_is_a_failure() {
        let unreachable = ClientError::Unreachable { tried: String::new() };
        assert_eq!(fate_of_write(&unreachable), Outcome::Fail);
        for error in [
            ClientError::Unknown { reason: String::new() },
            ClientError::Timeout { waited_ms: 1 },
            ClientError::InvalidReply { endpoint: String::new(), reason: String::new() },
        ] {
            assert_eq!(fate_of_write(&error), Outcome::Unknown);
        }
    }
}
