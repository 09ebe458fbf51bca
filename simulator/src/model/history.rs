//! What was ever done by anybody, as far as it bears on what must never happen.

use std::collections::BTreeMap;

use consensus_api::{Ballot, LogIndex, Payload, SharedEntry};

use crate::protocol::Protocol;

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// Two values were applied at one index: agreement ("Paxos Made Simple" §1; Raft paper figure 3, State Machine
    /// Safety).
    Agreement,
    /// Two nodes led in one term (Raft paper figure 3, Election Safety). In Multi-Paxos a ballot names its only leader.
    Leadership,
    /// Two values were written for one index under one ballot (in Multi-Paxos what a proposer may not do, in Raft half
    /// of Log Matching).
    Proposals,
    /// Something was applied somewhere, so that a client may know of it, and is not on the disks of a majority.
    Missing,
    /// The ballot on a disk went down, or a vote on it was changed.
    BallotLowered,
    /// An engine found its own state impossible, or refused what it had written itself.
    Contradiction,
}

impl Flaw {
    /// The property that it breaks.
    pub const fn property(self) -> &'static str {
        match self {
            Flaw::Agreement => "one value per index is applied",
            Flaw::Leadership => "one leader per term",
            Flaw::Proposals => "one value per index and ballot",
            Flaw::Missing => "what was acknowledged is on a majority of disks",
            Flaw::BallotLowered => "a durable promise or vote stands",
            Flaw::Contradiction => "no engine contradicts itself",
        }
    }
}

/// Those that have happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flaws(u8);

impl Flaws {
    pub(crate) fn insert(&mut self, flaw: Flaw) {
        self.0 |= 1 << flaw as u8;
    }

    pub(crate) fn contains(self, flaw: Flaw) -> bool {
        self.0 & (1 << flaw as u8) != 0
    }

    pub(crate) fn join(&mut self, other: Flaws) {
        self.0 |= other.0;
    }
}

/// What one node has done in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deeds {
    /// It leads in this ballot.
    pub(crate) leads: Option<Ballot>,
    /// It wants these on its disk.
    pub(crate) written: Vec<SharedEntry>,
    /// Its state machine has applied these.
    pub(crate) applied: Vec<SharedEntry>,
    /// What is wrong about it alone.
    pub(crate) flaws: Flaws,
}

/// What was ever done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct History {
    // Who led, and whether somebody had lost power before.
    leaders: BTreeMap<Ballot, bool>,
    written: BTreeMap<(LogIndex, Ballot), Payload>,
    applied: BTreeMap<LogIndex, Payload>,
}

impl History {
    /// Adds these deeds, and tells what they are in contradiction with.
    pub(crate) fn add<P: Protocol>(&mut self, deeds: &Deeds, after_crash: bool) -> Flaws {
        let mut flaws = Flaws::default();
        if let Some(ballot) = deeds.leads {
            self.leaders.entry(ballot).or_insert(after_crash);
            let rival = |other: &Ballot| other.round == ballot.round && *other != ballot;
            if P::ROUND_IS_EPOCH && self.leaders.keys().any(rival) {
                flaws.insert(Flaw::Leadership);
            }
        }
        for entry in &deeds.written {
            let first = self.written.entry((entry.index, entry.ballot)).or_insert_with(|| entry.payload.clone());
            if *first != entry.payload {
                flaws.insert(Flaw::Proposals);
            }
        }
        for entry in &deeds.applied {
            let first = self.applied.entry(entry.index).or_insert_with(|| entry.payload.clone());
            if *first != entry.payload {
                flaws.insert(Flaw::Agreement);
            }
        }
        flaws
    }

    /// Whether these deeds add nothing.
    pub(crate) fn knows(&self, deeds: &Deeds) -> bool {
        deeds.leads.is_none_or(|ballot| self.leaders.contains_key(&ballot))
            && deeds.written.iter().all(|entry| self.written.get(&(entry.index, entry.ballot)) == Some(&entry.payload))
            && deeds.applied.iter().all(|entry| self.applied.get(&entry.index) == Some(&entry.payload))
    }

    /// What stands where, as far as anybody has applied it.
    pub(crate) fn applied(&self) -> impl Iterator<Item = (LogIndex, &Payload)> {
        self.applied.iter().map(|(index, payload)| (*index, payload))
    }

    /// Whether anybody ever led.
    pub(crate) fn has_leader(&self) -> bool {
        !self.leaders.is_empty()
    }

    /// How many different commands were applied.
    pub(crate) fn commands(&self) -> usize {
        self.applied.values().filter(|payload| matches!(payload, Payload::Command { .. })).count()
    }

    /// Whether a leader that was not the first, and came after a loss of power, got a command applied.
    pub(crate) fn has_takeover(&self) -> bool {
        let later = self.leaders.iter().skip(1).filter(|(_, after_crash)| **after_crash);
        later.map(|(ballot, _)| *ballot).any(|ballot| {
            self.applied.iter().any(|(index, payload)| {
                matches!(payload, Payload::Command { .. }) && self.written.get(&(*index, ballot)) == Some(payload)
            })
        })
    }
}
