//! What a client wants: an operation as the machine takes it, and as the history records it.

use std::collections::BTreeMap;

use consensus_api::Blob;
use consensus_api::random::SeededRandom;
use kv_machine::{Command, Expect, Reply};

use super::Habits;
use crate::answers::Found;
use crate::linearizability::{Action, Outcome};

#[derive(Clone, Debug)]
pub(super) enum Wish {
    Get {
        key: u64,
    },
    Put {
        key: u64,
        value: String,
    },
    Append {
        key: u64,
        value: String,
    },
    Delete {
        key: u64,
    },
    /// A put on the condition that the key is as the client last saw it.
    VersionedPut {
        key: u64,
        seen: Option<String>,
        expect: Expect,
        value: String,
    },
}

impl Wish {
    pub(super) fn draw(
        habits: &Habits,
        random: &mut SeededRandom,
        seen: &BTreeMap<u64, Found>,
        written: &mut u64,
    ) -> Wish {
        let key = random.below(habits.keys);
        if random.below(100) < habits.reads_percent {
            return Wish::Get { key };
        }
        *written += 1;
        let value = format!("{written}.");
        let padded = |random: &mut SeededRandom| {
            format!("{value}{}", "x".repeat(random.below(habits.value_bytes_max.max(1)) as usize))
        };
        match random.below(20) {
            0 if habits.deletes => Wish::Delete { key },
            0..=3 => Wish::Put { key, value: padded(random) },
            4..=8 => match seen.get(&key) {
                Some(found) => {
                    let (seen, expect) = (found.as_ref().map(|item| text(&item.value)), expectation(found, habits));
                    Wish::VersionedPut { key, seen, expect, value: padded(random) }
                }
                None => Wish::Get { key },
            },
            // Long ones would pile up: what is appended is short.
            _ => Wish::Append { key, value },
        }
    }

    /// What it writes, if it writes something.
    pub(super) fn value(&self) -> Option<&str> {
        match self {
            Wish::Put { value, .. } | Wish::Append { value, .. } | Wish::VersionedPut { value, .. } => Some(value),
            Wish::Get { .. } | Wish::Delete { .. } => None,
        }
    }

    pub(super) fn key_number(&self) -> u64 {
        match self {
            Wish::Get { key }
            | Wish::Put { key, .. }
            | Wish::Append { key, .. }
            | Wish::Delete { key }
            | Wish::VersionedPut { key, .. } => *key,
        }
    }

    pub(super) fn key(&self) -> String {
        format!("k{}", self.key_number())
    }

    /// For the machine; a read has none.
    pub(super) fn command(&self) -> Option<Command> {
        let key = Blob::from(self.key().into_bytes());
        let blob = |value: &String| Blob::from(value.clone().into_bytes());
        Some(match self {
            Wish::Get { .. } => return None,
            Wish::Put { value, .. } => Command::Put { key, value: blob(value), expect: Expect::Any },
            Wish::Append { value, .. } => Command::Append { key, suffix: blob(value), expect: Expect::Any },
            Wish::Delete { .. } => Command::Delete { key, expect: Expect::Any },
            Wish::VersionedPut { value, expect, .. } => Command::Put { key, value: blob(value), expect: *expect },
        })
    }

    /// What a reply says of the outcome; nothing where it cannot be the reply to this.
    pub(super) fn outcome(&self, reply: &Reply) -> Option<Outcome> {
        match (self, reply) {
            (Wish::Put { .. } | Wish::Append { .. }, Reply::Written { .. })
            | (Wish::Delete { .. }, Reply::Deleted { .. }) => Some(Outcome::Ok),
            (Wish::VersionedPut { expect: Expect::Version(expected), .. }, Reply::Written { version, .. }) => {
                (*version == expected + 1).then_some(Outcome::Ok)
            }
            (Wish::VersionedPut { .. }, Reply::Written { .. }) => Some(Outcome::Ok),
            (Wish::VersionedPut { expect, .. }, Reply::Mismatch { version, mod_revision }) => {
                let held = match expect {
                    Expect::Any => true,
                    Expect::Version(expected) => version == expected,
                    Expect::ModRevision(expected) => mod_revision == expected,
                };
                (!held).then_some(Outcome::Fail)
            }
            _ => None,
        }
    }

    /// For the history, before anything is known of it.
    pub(super) fn action(&self) -> Action {
        let key = self.key();
        match self.clone() {
            Wish::Get { .. } => Action::Get { key, value: None },
            Wish::Put { value, .. } => Action::Put { key, value },
            Wish::Append { value, .. } => Action::Append { key, value },
            Wish::Delete { .. } => Action::Delete { key },
            Wish::VersionedPut { seen, value, .. } => Action::Cas { key, from: seen, to: value },
        }
    }

    /// For the history, once it has read this.
    pub(super) fn read(&self, found: &Found) -> Action {
        Action::Get { key: self.key(), value: found.as_ref().map(|item| text(&item.value)) }
    }
}

/// The condition under which a put finds what the client saw. A version repeats after a delete and a new creation, so
/// among clients that delete it says nothing about the value; the revision of the last change always does.
fn expectation(found: &Found, habits: &Habits) -> Expect {
    match found {
        None => Expect::Version(0),
        Some(item) if habits.deletes => Expect::ModRevision(item.mod_revision),
        Some(item) => Expect::Version(item.version),
    }
}

pub(super) fn text(value: &Blob) -> String {
    String::from_utf8_lossy(&value.0).into_owned()
}
