//! One client: it carries out operations, and has those on sampled keys recorded.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv_client::Expect;

use super::dice::Dice;
use super::history::{Action, Call, History};
use super::link::{Failure, Found, Lane, Link};
use super::workload::{Operation, Workload};

/// What all clients share.
pub(super) struct Ground {
    pub(super) link: Link,
    pub(super) workload: Workload,
    pub(super) history: Option<RefCell<History>>,
    /// How long a read with a write is begun again because something came between.
    pub(super) patience: Duration,
    /// How often something came between a read and its write.
    pub(super) conflicts: Cell<u64>,
}

/// A client with at most one operation under way.
pub(super) struct Client {
    ground: Rc<Ground>,
    /// Which client of those that the history tells apart.
    number: u64,
    /// Which of the operations under way, and by that over which connection.
    place: usize,
    pub(super) dice: Dice,
}

/// When an operation was sent, and what came of it.
pub(super) struct Done {
    pub(super) sent: Instant,
    pub(super) outcome: Result<(), Failure>,
}

impl Client {
    /// The client of this number, at this place among the operations under way.
    pub(super) fn new(ground: Rc<Ground>, number: u64, place: usize, dice: Dice) -> Client {
        Client { ground, number, place, dice }
    }

    /// Draws the next operation.
    pub(super) fn draw(&mut self) -> Operation {
        self.ground.workload.next(&mut self.dice)
    }

    /// Carries an operation out.
    pub(super) async fn carry_out(&mut self, operation: Operation) -> Done {
        // Borrowed from a handle of its own, so that the lane does not hold the client.
        let ground = self.ground.clone();
        let mut lane = match ground.link.lane(self.place).await {
            Ok(lane) => lane,
            Err(failure) => return Done { sent: Instant::now(), outcome: self.settled(operation, Err(failure)) },
        };
        let sent = Instant::now();
        let outcome = match operation {
            Operation::Put(key) | Operation::Insert(key) => self.put(&mut lane, key, Expect::Any, None).await,
            Operation::Get(key) => self.get(&mut lane, key, false).await.map(drop),
            Operation::Scan(first, count) => {
                let name = |number| ground.workload.keys.name(number);
                lane.scan(name(first), name(first + count), count).await
            }
            Operation::Rmw(key) => self.read_and_write(&mut lane, key).await,
        };
        Done { sent, outcome: self.settled(operation, outcome) }
    }

    fn settled(&self, operation: Operation, outcome: Result<(), Failure>) -> Result<(), Failure> {
        if let Operation::Insert(key) = operation {
            self.ground.workload.keys.settle(key);
        }
        outcome
    }

    /// Reads a key, and writes it if nothing came between; else again.
    async fn read_and_write(&mut self, lane: &mut Lane<'_>, key: u64) -> Result<(), Failure> {
        let until = Instant::now() + self.ground.patience;
        while Instant::now() < until {
            let found = self.get(lane, key, true).await?;
            let revision = found.as_ref().map_or(0, |found| found.mod_revision);
            match self.put(lane, key, Expect::ModRevision(revision), found).await {
                Err(Failure::Mismatch) => self.ground.conflicts.set(self.ground.conflicts.get() + 1),
                outcome => return outcome,
            }
        }
        Err(Failure::Mismatch)
    }

    async fn get(&self, lane: &mut Lane<'_>, key: u64, wants_value: bool) -> Result<Option<Found>, Failure> {
        let call = self.call(key);
        let name = self.ground.workload.keys.name(key);
        let outcome = lane.get(name, wants_value || call.is_some()).await;
        if let (Some(history), Some(call)) = (&self.ground.history, call) {
            let value = outcome.as_ref().ok().and_then(|found| found.as_ref()).map(|found| &found.value[..]);
            history.borrow_mut().end(call, Action::Get(value), outcome.as_ref().err());
        }
        outcome
    }

    /// Writes a key; on a condition: if what was read before is there still.
    async fn put(
        &mut self,
        lane: &mut Lane<'_>,
        key: u64,
        expect: Expect,
        before: Option<Found>,
    ) -> Result<(), Failure> {
        let (name, value) = (self.ground.workload.keys.name(key), self.value(key));
        let call = self.call(key);
        let outcome = lane.put(name, value.clone(), expect).await;
        if let (Some(history), Some(call)) = (&self.ground.history, call) {
            let from = before.as_ref().map(|found| &found.value[..]);
            let action = if expect == Expect::Any { Action::Put(&value) } else { Action::Cas { from, to: &value } };
            history.borrow_mut().end(call, action, outcome.as_ref().err());
        }
        outcome
    }

    fn call(&self, key: u64) -> Option<Call> {
        self.ground.history.as_ref()?.borrow_mut().call(key, self.number)
    }

    /// What to write under a key.
    fn value(&mut self, key: u64) -> Bytes {
        let workload = &self.ground.workload;
        match &self.ground.history {
            Some(history) if history.borrow().samples(key) => {
                history.borrow_mut().stamp(workload.value_size(&mut self.dice))
            }
            _ => workload.value(&mut self.dice),
        }
    }
}
