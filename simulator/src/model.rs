//! Model checking: every history of three nodes within a small scope, through the engines that ship.
//!
//! ```text
//!              ┌─ Campaign 1 ──▶ state ─┬─ …          a state: three nodes, all that was ever sent, what was ever
//!   all blank ─┼─ Campaign 2 ──▶ state ─┼─ …                   led and applied, how much of the scope is used
//!              └─ Crash 3 ─────▶ state ─┴─ 3 hears …  a choice: an election, a command, a message that arrives,
//!                                                             a write that reaches the disk, a loss of power
//! ```
//!
//! The random schedules of this crate go deep and see one path each. Here it is the other way round: the scope is small
//! and every path through it is taken, so that what holds at the end holds for *all* of them, bar a collision of 64-bit
//! fingerprints (a chance of about n²/2⁶⁵ among n states).
//!
//! What the model is made of, and why that is enough:
//!
//! - **A message is never taken out of the network.** It may arrive at any time, again, after any other, or never: loss,
//!   duplication and reordering are choices that need no state. A message that is sent again is the same message.
//! - **A power loss takes what was not yet written, and the node is back at once.** Writes complete one by one, so any
//!   suffix of those pending may be lost. A node that is down does nothing, so nobody can tell how long it was. The
//!   state machine's tables are lost too, and come back from the log.
//! - **The clock stands still, and no timeout ends by itself.** An election is a choice instead, with
//!   [`Input::Campaign`](consensus_api::Input::Campaign). So readings of the clock are constants, and chance is never
//!   asked: neither tells two states apart.
//! - **A disk is slow or fast.** A slow disk's writes wait until the model chooses to perform them, a fast one's are done
//!   before anything else happens. Only slow ones can lose something.
//! - **The engines run once for each local state and input.** What a node does depends on nothing else, so it is looked
//!   up when it comes again in another global state, of which there are hundreds for each ([`catalogue`]).
//!
//! Outside of the model: what a clock brings about (heartbeats after the first of a leadership, what is sent again, a
//! gap that is asked for), answers to heartbeats (so reads and check-quorum), pre-votes, forwarded proposals, snapshots
//! and trimming, several inputs in one step. The random schedules have all of these.

mod catalogue;
mod cluster;
mod history;
mod node;
mod platter;
mod report;

pub use history::Flaw;
pub use report::{Finding, Progress, Report, check};

/// How much may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Elections that nodes 1 and 2 start between them.
    pub campaigns: u8,
    /// Commands that leaders are given.
    pub commands: u8,
    /// Losses of power, at any node.
    pub crashes: u8,
    /// How many nodes' disks are slow: first that of node 3, on whose vote the candidates depend, then 1, then 2.
    pub slow_disks: u8,
    /// Whether there are messages that carry nothing but news: the heartbeat at the start of a leadership and those that
    /// tell how far is committed, and refusals of messages from the past.
    pub hurries: bool,
    /// Stop after this many states.
    pub states_max: usize,
    /// Search depth first: with a tenth of the memory, but the paths that are found are long, and under a bound the
    /// states that were left out may be anywhere. Breadth first they are those that take the most steps.
    pub depth_first: bool,
    /// Threads that search.
    pub threads: usize,
    /// A bug to put in, to see that it is found.
    pub bug: Option<Bug>,
    /// Stop at the first example of this flaw, whatever else is found before; at the first flaw of any kind otherwise.
    pub seek: Option<Flaw>,
}

impl Default for Scope {
    fn default() -> Scope {
        Scope {
            campaigns: 2,
            commands: 1,
            crashes: 1,
            slow_disks: 1,
            hurries: false,
            states_max: 3_000_000,
            depth_first: false,
            threads: 2,
            bug: None,
            seek: None,
        }
    }
}

/// What can be broken on purpose around an engine that is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Messages leave without waiting for the write that they name.
    SendsBeforeDurable,
    /// The hard state is gone after a loss of power.
    ForgetsHardState,
}
