//! Many clients at work: before the load each key is written once, then they start as the pace says, and in the end each
//! sampled key is read once more.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::{Client, Ground};
use super::dice::Dice;
use super::pace::Pace;
use super::tally::{Ended, Tally};
use super::workload::Operation;
use crate::error::ServiceError;

/// How long a client rests after a failure, so that a cluster without a leader is not hammered.
const REST: Duration = Duration::from_millis(20);
/// How often one client fails before the load has begun until it gives up.
const FAILURES_MAX: u32 = 100;

/// Who works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew {
    /// How many operations are under way at the most.
    pub(super) in_flight: usize,
    /// How many clients the history tells apart.
    pub(super) clients: usize,
    pub(super) seed: u64,
    /// In a closed loop they start one after another, over this time.
    pub(super) staggered_over: Duration,
}

impl Crew {
    fn member(&self, ground: &Rc<Ground>, place: usize) -> Client {
        Client::new(ground.clone(), (place % self.clients) as u64, place, Dice::new(self.seed, place as u64))
    }

    /// Carries out one operation for each of these keys, again until it succeeds.
    ///
    /// # Errors
    /// Where one did not succeed in the end.
    pub(super) async fn each(
        &self,
        ground: &Rc<Ground>,
        keys: impl Iterator<Item = u64> + 'static,
        operation: fn(u64) -> Operation,
    ) -> Result<(), ServiceError> {
        let (keys, failed) = (Rc::new(RefCell::new(keys)), Rc::new(Cell::new(None)));
        let mut workers = JoinSet::new();
        for place in 0..self.in_flight {
            let (mut client, keys, failed) = (self.member(ground, place), keys.clone(), failed.clone());
            workers.spawn_local(async move {
                let mut failures = 0;
                loop {
                    // Apart from the loop's head, which would hold the borrow over the wait.
                    let next = keys.borrow_mut().next();
                    let Some(key) = next else { return };
                    while let Err(failure) = client.carry_out(operation(key)).await.outcome {
                        failures += 1;
                        if failures >= FAILURES_MAX {
                            failed.set(Some(failure.kind()));
                            return;
                        }
                        sleep(REST).await;
                    }
                }
            });
        }
        workers.join_all().await;
        let last = failed.take().map(|last| last.into_owned());
        last.map_or(Ok(()), |last| Err(ServiceError::NotPrepared { last }))
    }

    /// Puts the load on, until the pace says that it is over and the last operation has ended.
    pub(super) async fn work(&self, ground: &Rc<Ground>, pace: &Rc<Pace>, tally: &Rc<RefCell<Tally>>) {
        let mut workers = JoinSet::new();
        for place in 0..self.in_flight {
            let client = self.member(ground, place);
            let share = place as f64 / self.in_flight as f64;
            let at = pace.phases.began + self.staggered_over.mul_f64(share);
            workers.spawn_local(work(client, at, pace.clone(), tally.clone()));
        }
        workers.join_all().await;
    }
}

/// One operation after the other.
async fn work(mut client: Client, from: Instant, pace: Rc<Pace>, tally: Rc<RefCell<Tally>>) {
    tokio::time::sleep_until(from.into()).await;
    let mut free = Instant::now();
    while let Some(start) = pace.next(free).await {
        let operation = client.draw();
        let done = client.carry_out(operation).await;
        free = Instant::now();
        let has_failed = done.outcome.is_err();
        if !has_failed && pace.phases.covers_end(free, start.counts) {
            tally.borrow_mut().completed += 1;
        }
        if start.counts {
            let ended = Ended {
                kind: operation.kind(),
                latency: free.saturating_duration_since(start.intended),
                service: free.saturating_duration_since(done.sent),
                at: free,
            };
            let mut tally = tally.borrow_mut();
            tally.lag_max = tally.lag_max.max(start.lag);
            match done.outcome {
                Ok(()) => tally.succeeded(ended),
                Err(failure) => tally.failed(ended, failure.kind()),
            }
        }
        if has_failed {
            sleep(REST).await;
            free = Instant::now();
        }
    }
}
