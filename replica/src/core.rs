//! What decides the order of effects, free of I/O: the driver and the simulator run this same code.
//!
//! ```text
//!   inputs ──step──▶ engine ──take──▶ effects ──▶ write ──────────────▶ log store ──▶ Persisted(w)
//!                                           ├──▶ message after w3 ──▶ held until Persisted(w3) ──▶ peers
//!                                           ├──▶ committed entries ─▶ state machine ──▶ Applied(i)
//!                                           └──▶ read at index i ───▶ held until Applied(i) ──▶ client
//! ```
//!
//! Two things are held back here, and nowhere else: a message until the write that it names is durable, and a read
//! until the tables have applied its index.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use consensus_api::planted::{Bug, is_planted};
use consensus_api::{
    Engine, Input, LogIndex, Membership, MonoTime, Outgoing, ReadBack, Refusal, Refused, RequestId, RoleChange,
    SendSnapshot, SharedEntry, Write, WriteId,
};

/// The most messages that wait for the disk. A disk that hangs finishes no write, and peers ask all the same; beyond this
/// the oldest are dropped, as a network may do.
const HELD_MAX: usize = 4096;
/// The most reads that wait for the tables. Beyond this they are refused: a client that has given up is not known here.
const READS_MAX: usize = 262_144;

/// An engine with what its effects still wait for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Core<E: Engine> {
    engine: E,
    persisted: WriteId,
    applied: LogIndex,
    held: VecDeque<Outgoing<E::Message>>,
    reads: BTreeMap<LogIndex, Vec<RequestId>>,
    // How many reads these are.
    reads_held: usize,
}

/// What may be done now, all of it in parallel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actions<M> {
    /// To be written; its completion comes back as [`Input::Persisted`].
    pub write: Option<Write>,
    /// To be sent: whatever these had to wait for is durable.
    pub messages: Vec<Outgoing<M>>,
    /// To be applied, in order; comes back as [`Input::Applied`].
    pub apply: Vec<SharedEntry>,
    /// Reads that the tables can answer now.
    pub reads: Vec<RequestId>,
    /// Requests that were definitely not carried out.
    pub refused: Vec<Refused>,
    /// To be read; comes back as [`Input::EntriesRead`].
    pub read_back: Vec<ReadBack>,
    /// Peers that need a snapshot.
    pub snapshots: Vec<SendSnapshot>,
    /// The node's new part.
    pub role: Option<RoleChange>,
    /// Whom to be in touch with from now on.
    pub contacts: Option<Arc<Membership>>,
}

/// Who sees to the actions: threads, sockets and a disk in service, the world in simulation.
pub trait Outlet<M> {
    /// Why no more of them can be seen to.
    type Stop;

    /// The node's part has changed.
    fn change_role(&mut self, change: RoleChange) -> Result<(), Self::Stop>;
    /// These are to be in touch with, and nobody else; before anything is sent to them.
    fn change_contacts(&mut self, contacts: &Membership) -> Result<(), Self::Stop>;
    /// To be written.
    fn write(&mut self, write: Write) -> Result<(), Self::Stop>;
    /// To be sent.
    fn send(&mut self, messages: Vec<Outgoing<M>>) -> Result<(), Self::Stop>;
    /// To be applied, after everything that was handed out before.
    fn apply(&mut self, entries: Vec<SharedEntry>) -> Result<(), Self::Stop>;
    /// To be answered from the tables as they are.
    fn serve(&mut self, reads: Vec<RequestId>) -> Result<(), Self::Stop>;
    /// To be told that it was not carried out.
    fn refuse(&mut self, refused: Vec<Refused>) -> Result<(), Self::Stop>;
    /// To be read back.
    fn read_back(&mut self, wanted: ReadBack) -> Result<(), Self::Stop>;
    /// To be sent a snapshot.
    fn send_snapshot(&mut self, wanted: SendSnapshot) -> Result<(), Self::Stop>;
}

impl<M> Actions<M> {
    /// Hands everything out in the one order that service and simulation share. The write goes to the disk before the
    /// messages are encoded, so that a leader's disk and its followers' work side by side.
    pub fn hand_out<O: Outlet<M>>(self, outlet: &mut O) -> Result<(), O::Stop> {
        let Actions { write, messages, apply, reads, refused, read_back, snapshots, role, contacts } = self;
        if let Some(change) = role {
            outlet.change_role(change)?;
        }
        if let Some(contacts) = contacts {
            outlet.change_contacts(&contacts)?;
        }
        if let Some(write) = write {
            outlet.write(write)?;
        }
        if !messages.is_empty() {
            outlet.send(messages)?;
        }
        if !apply.is_empty() {
            outlet.apply(apply)?;
        }
        if !reads.is_empty() {
            outlet.serve(reads)?;
        }
        if !refused.is_empty() {
            outlet.refuse(refused)?;
        }
        for wanted in read_back {
            outlet.read_back(wanted)?;
        }
        for wanted in snapshots {
            outlet.send_snapshot(wanted)?;
        }
        Ok(())
    }
}

impl<E: Engine> Core<E> {
    /// Begins with an engine whose state machine has applied everything up to `applied`.
    pub fn new(engine: E, applied: LogIndex) -> Core<E> {
        let (held, reads) = (VecDeque::new(), BTreeMap::new());
        Core { engine, persisted: WriteId(0), applied, held, reads, reads_held: 0 }
    }

    /// The engine.
    pub fn engine(&self) -> &E {
        &self.engine
    }

    /// What the state machine has applied.
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// Takes one input in; `now` was read after it arrived.
    pub fn step(&mut self, now: MonoTime, input: Input<E::Message>) {
        match &input {
            Input::Persisted { write } => {
                assert!(*write > self.persisted, "{write} completed after {}", self.persisted);
                self.persisted = *write;
            }
            Input::Applied { through } => self.applied = self.applied.max(*through),
            Input::SnapshotInstalled { base, .. } => self.applied = self.applied.max(base.index),
            _ => {}
        }
        self.engine.step(now, input);
    }

    /// Everything that may be done after the steps since the last call.
    pub fn take(&mut self) -> Actions<E::Message> {
        let effects = self.engine.take_effects();
        let mut refused = effects.refused;
        self.held.extend(effects.messages);
        for ready in effects.reads_ready {
            if self.reads_held < READS_MAX {
                self.reads.entry(ready.index).or_default().push(ready.id);
                self.reads_held += 1;
            } else {
                refused.push(Refused { id: ready.id, reason: Refusal::Busy });
            }
        }
        Actions {
            write: effects.write,
            messages: self.release_messages(),
            apply: effects.committed,
            reads: self.release_reads(),
            refused,
            read_back: effects.read_back,
            snapshots: effects.snapshots,
            role: effects.role,
            contacts: effects.contacts,
        }
    }

    /// Puts the messages that still wait into the order of this key, and leaves one of those that are equal. What a
    /// network may lose, repeat and reorder means the same before and after; a model checker calls this, to which the
    /// states before and after would be two.
    pub fn merge_held<K: Ord>(&mut self, key: impl Fn(&Outgoing<E::Message>) -> K) {
        let mut held: Vec<_> = std::mem::take(&mut self.held).into();
        held.sort_by_cached_key(key);
        held.dedup();
        self.held = held.into();
    }

    /// Messages keep their order among those that wait for the same write; one that waits for nothing passes the ones
    /// that do.
    fn release_messages(&mut self) -> Vec<Outgoing<E::Message>> {
        let persisted = self.persisted;
        if self.held.iter().all(|message| message.after <= persisted) {
            return std::mem::take(&mut self.held).into();
        }
        let (ready, held): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|message| message.after <= persisted);
        self.held = held.into();
        self.held.drain(..self.held.len().saturating_sub(HELD_MAX));
        ready
    }

    fn release_reads(&mut self) -> Vec<RequestId> {
        let through = if is_planted(Bug::ReadBeforeApplied) { LogIndex(u64::MAX - 1) } else { self.applied };
        let later = self.reads.split_off(&through.next());
        let ready: Vec<_> = std::mem::replace(&mut self.reads, later).into_values().flatten().collect();
        self.reads_held -= ready.len();
        ready
    }
}
