//! Puts through a Clerk in a closed loop, each with its time: for what happens to a cluster meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consensus_api::random::SeededRandom;
use hdrhistogram::Histogram;
use kv_client::Clerk;
use tokio::task::JoinSet;

use crate::load::{Fared, Puts};
use crate::replicas::Failure;

/// Puts that go on until they are told to stop.
pub struct UnderWay {
    stop: Arc<AtomicBool>,
    writers: JoinSet<Result<Vec<Put>, Failure>>,
}

/// A put that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Put {
    called: Instant,
    at: Instant,
}

/// All puts of a run, in order of their acknowledgement.
pub struct Record(Vec<Put>);

impl Puts {
    /// Puts `count` times through a Clerk, to one key after the other.
    pub async fn fill(&self, clerk: &Clerk, count: u64) -> Result<(), Failure> {
        let next = Arc::new(AtomicU64::new(0));
        let next = move || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count);
        let mut writers = self.through(clerk, next);
        while let Some(writer) = writers.join_next().await {
            writer??;
        }
        Ok(())
    }

    /// Begins to put through a Clerk, to keys in a random order.
    pub fn begin(&self, clerk: &Clerk) -> UnderWay {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, number) = (stop.clone(), Arc::new(AtomicU64::new(0)));
        let next = move || {
            let number = number.fetch_add(1, Ordering::Relaxed);
            (!stopped.load(Ordering::Relaxed)).then(|| SeededRandom::new(number).below(u64::MAX))
        };
        UnderWay { stop, writers: self.through(clerk, next) }
    }

    fn through(
        &self,
        clerk: &Clerk,
        next: impl Fn() -> Option<u64> + Clone + Send + 'static,
    ) -> JoinSet<Result<Vec<Put>, Failure>> {
        let mut writers = JoinSet::new();
        for _ in 0..self.in_flight {
            let (puts, clerk, next) = (*self, clerk.clone(), next.clone());
            writers.spawn(async move {
                let mut done = Vec::new();
                while let Some(number) = next() {
                    let (key, value) = puts.pair(number);
                    let called = Instant::now();
                    clerk.put(key, value).await?;
                    done.push(Put { called, at: Instant::now() });
                }
                Ok(done)
            });
        }
        writers
    }
}

impl UnderWay {
    /// Ends them.
    ///
    /// # Errors
    /// The first put that failed.
    pub async fn finish(mut self) -> Result<Record, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        while let Some(writer) = self.writers.join_next().await {
            all.extend(writer??);
        }
        all.sort_unstable_by_key(|put| put.at);
        Ok(Record(all))
    }
}

impl Record {
    /// The longest time without an acknowledgement of which a part lies in this span.
    pub fn longest_pause(&self, from: Instant, to: Instant) -> Duration {
        let overlapping = self.0.windows(2).filter(|puts| puts[0].at <= to && puts[1].at >= from);
        overlapping.map(|puts| puts[1].at - puts[0].at).max().unwrap_or_default()
    }

    /// How the puts that were under way at some moment of this span fared. Those that reach over its ends count in full,
    /// so over a short span the rate is somewhat too high.
    pub fn between(&self, from: Instant, to: Instant) -> Result<Fared, Failure> {
        let mut latency_us = Histogram::<u64>::new(3)?;
        for put in self.0.iter().filter(|put| put.called <= to && put.at >= from) {
            latency_us.record((put.at - put.called).as_micros() as u64)?;
        }
        Ok(Fared { latency_us, took: to - from })
    }
}
