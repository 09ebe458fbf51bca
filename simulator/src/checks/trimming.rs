//! A log lets go of nothing that is needed: whatever is trimmed is chosen, which in Paxos excludes every slot that is
//! accepted and not known to be chosen, and the tables would keep it through a power loss. A snapshot covers it, the tail
//! behind that is as long as it should be, and what peers go on from that are being sent a snapshot is still there. What
//! the log goes on holding is what it held: the hard state and every entry above the base (Raft paper §7; for Paxos, a
//! promise once given binds for ever, Paxos Made Simple §2.2).

use consensus_api::{LogIndex, LogStore};

use super::chosen::Chosen;
use super::{Kept, OwnDisk, Trim, Violation, same_value};

/// Keeps no state of its own: disk and tables are the state.
#[derive(Debug)]
pub(super) struct Trimming;

/// Why the log should still hold something up to `base`, for those who have fallen behind; as of when it was asked.
fn still_needed(base: LogIndex, kept: &Kept) -> Option<String> {
    let tail = LogIndex(kept.newest.0.saturating_sub(kept.tail_entries));
    let behind = tail.max(kept.older.unwrap_or_default()).min(kept.newest);
    if base > behind {
        return Some(format!("is trimmed, where the tail behind the snapshots is to go back to {behind}"));
    }
    let from = kept.log_from.filter(|from| base > *from)?;
    Some(format!("is trimmed, and a peer goes on from {from}"))
}

impl Trimming {
    pub(super) fn trimmed(&self, (node, disk): OwnDisk<'_>, trim: &Trim, chosen: &Chosen) -> Result<(), Violation> {
        let base = trim.base.index;
        let broken = |what: String| Err(Violation::Trimming { node, index: base, what });
        if base > chosen.through() {
            return broken(format!("is trimmed, where only what is up to {} is chosen", chosen.through()));
        }
        if let Some(why) = trim.kept.and_then(|kept| still_needed(base, &kept)) {
            return broken(why);
        }
        if base > trim.persisted {
            return broken(format!("is trimmed, and the tables would keep no more than {}", trim.persisted));
        }
        if disk.base().index < base {
            return broken(format!("is covered by the tables, and the log still begins after {}", disk.base().index));
        }
        if disk.durable_hard_state() != trim.hard_state {
            return broken("is trimmed, and the hard state changes with it".into());
        }
        let above = trim.before.iter().filter(|entry| entry.index > base);
        if !above.eq(disk.durable_entries().iter()) {
            return broken("is trimmed, and what is above it changes too".into());
        }
        // What an installation passes over may be entries that were never chosen.
        let gone = trim.before.iter().filter(|entry| entry.index <= base && !trim.is_installation());
        let mut others = gone.filter(|entry| chosen.at(entry.index).is_none_or(|value| !same_value(value, entry)));
        match others.next() {
            Some(entry) => broken(format!("is trimmed, and {entry:?} with it, which was not chosen")),
            None => Ok(()),
        }
    }
}
