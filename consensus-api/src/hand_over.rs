//! A leader hands over on purpose: the part of it that both engines share.
//!
//! ```text
//!   TransferLeadership ──▶ lease given up, new proposals refused to whoever asks again
//!                               │ the successor has everything that this leader has
//!                               ▼
//!                          HandOver{ballot} ──▶ campaigns at once; voters owe the old leader nothing
//!                               │
//!              another leads ◀──┴──▶ not within an election timeout: this leader goes on, and says so,
//!                                   though the other may yet act on its word
//! ```
//!
//! (Raft thesis §3.10; in Multi-Paxos the same, though there a successor that lags would only have more to learn.)

use std::time::Duration;

use bincode::{Decode, Encode};

use crate::engine::Timing;
use crate::ids::{Ballot, NodeId, RequestId};
use crate::time::MonoTime;

/// "Lead in my place, now." From the leader of this ballot, which has given its lease up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct HandOver {
    /// The leader's ballot.
    pub ballot: Ballot,
}

/// A leader's attempt to hand over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transfer {
    /// Who asked, if anybody did: a leader that is no voter any more hands over by itself.
    pub id: Option<RequestId>,
    /// Who is to lead.
    pub to: NodeId,
    deadline: MonoTime,
    send_at: MonoTime,
}

impl Transfer {
    /// Begins, and ends an election timeout later if nothing comes of it.
    pub fn new(id: Option<RequestId>, to: NodeId, timing: &Timing, now: MonoTime) -> Transfer {
        Transfer { id, to, deadline: now + timing.election_timeout, send_at: now }
    }

    /// Whether it is given up.
    pub fn is_over(&self, now: MonoTime) -> bool {
        now >= self.deadline
    }

    /// Whether the word is to be sent now, to a successor that has everything: at once, and again every `interval`, for it
    /// may be lost. Not in the last interval before the end: who hears it then hardly takes over before this leader has said
    /// that it will not.
    pub fn is_due(&mut self, now: MonoTime, interval: Duration) -> bool {
        let due = now >= self.send_at && now + interval < self.deadline;
        if due {
            self.send_at = now + interval;
        }
        due
    }

    /// When to look again.
    pub fn deadline(&self) -> MonoTime {
        self.deadline
    }
}
