//! Writers in a closed loop: each proposes its next put when the last one was applied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus_api::random::SeededRandom;
use consensus_api::{Blob, ReplicatedLog};
use hdrhistogram::Histogram;
use kv_machine::{Command, Expect};
use tokio::task::JoinSet;

use crate::replicas::Failure;

const TIMEOUT: Duration = Duration::from_secs(60);

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Puts {
    /// How many different keys.
    pub keys: u64,
    /// The size of a value; the bytes are random, so that nothing compresses them.
    pub value_bytes: usize,
    /// How many puts are in flight.
    pub in_flight: u64,
}

/// How puts fared.
pub struct Fared {
    /// How long each took, in microseconds.
    pub latency_us: Histogram<u64>,
    /// How long all of them took.
    pub took: Duration,
}

impl Fared {
    /// Puts in a second.
    pub fn rate(&self) -> f64 {
        self.latency_us.len() as f64 / self.took.as_secs_f64()
    }

    /// A quantile of the latency, in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }
}

impl Puts {
    /// Puts `count` times, to one key after the other.
    pub async fn write(&self, log: &Arc<dyn ReplicatedLog>, count: u64) -> Result<Fared, Failure> {
        let next = Arc::new(AtomicU64::new(0));
        self.drive(log, move || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count)).await
    }

    /// Puts until `done` is set, to keys in a random order.
    pub async fn write_until(&self, log: &Arc<dyn ReplicatedLog>, done: Arc<AtomicBool>) -> Result<Fared, Failure> {
        let next = AtomicU64::new(0);
        let next = move || {
            let number = next.fetch_add(1, Ordering::Relaxed);
            (!done.load(Ordering::Relaxed)).then(|| SeededRandom::new(number).below(u64::MAX))
        };
        self.drive(log, next).await
    }

    /// Puts for so long.
    pub async fn write_for(&self, log: &Arc<dyn ReplicatedLog>, span: Duration) -> Result<Fared, Failure> {
        let done = Arc::new(AtomicBool::new(false));
        let (writing, ()) = tokio::join!(self.write_until(log, done.clone()), async {
            tokio::time::sleep(span).await;
            done.store(true, Ordering::Relaxed);
        });
        writing
    }

    async fn drive(
        &self,
        log: &Arc<dyn ReplicatedLog>,
        next: impl Fn() -> Option<u64> + Send + Sync + 'static,
    ) -> Result<Fared, Failure> {
        let (puts, next, since) = (*self, Arc::new(next), Instant::now());
        let mut writers = JoinSet::new();
        for _ in 0..self.in_flight {
            let (log, next) = (log.clone(), next.clone());
            writers.spawn(async move {
                let mut latency_us = Histogram::<u64>::new(3)?;
                while let Some(number) = next() {
                    let command = puts.command(number)?;
                    let since = Instant::now();
                    log.propose(command, TIMEOUT).await?;
                    latency_us.record(since.elapsed().as_micros() as u64)?;
                }
                Ok::<_, Failure>(latency_us)
            });
        }
        let mut latency_us = Histogram::<u64>::new(3)?;
        while let Some(writer) = writers.join_next().await {
            latency_us.add(writer??)?;
        }
        Ok(Fared { latency_us, took: since.elapsed() })
    }

    /// The put of this number: its key, and a value of its own.
    pub fn pair(&self, number: u64) -> (Bytes, Bytes) {
        let mut random = SeededRandom::new(number);
        let mut value = Vec::with_capacity(self.value_bytes + 8);
        while value.len() < self.value_bytes {
            value.extend_from_slice(&random.below(u64::MAX).to_le_bytes());
        }
        value.truncate(self.value_bytes);
        (format!("key{:012}", number % self.keys).into(), value.into())
    }

    fn command(&self, number: u64) -> Result<Bytes, Failure> {
        let (key, value) = self.pair(number);
        Ok(Command::Put { key: Blob(key), value: Blob(value), expect: Expect::Any }.encode()?)
    }
}
