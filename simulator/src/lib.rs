//! A deterministic world for consensus engines: everything that happens is decided by one seed.
//!
//! ```text
//!   script      schedule          who decides what happens next: a text file, or a seed
//!      └────┬──────┘
//!         world ── agenda         virtual time, and what is due when
//!      ┌────┼───────────┐
//!    node  network   checks       a process on a disk · links · what must hold after each event
//!      │                └ agreement, durability, log matching, trimming, installation, requests, reads, …
//!   replica::core(engine) · disk · KvMachine over memory, with snapshots
//! ```
//!
//! The order of effects is the driver's own ([`replica::core`]), recovery is [`replica::recover`], and the state
//! machine is the service's: what is simulated is what ships. Only the threads, the sockets and the disk are replaced.
//!
//! The same script runs under both engines and shows the two transcripts one under the other: what differs between
//! them is the protocol.

mod agenda;
pub mod answers;
mod applier;
pub mod atlas;
pub mod checks;
pub mod clients;
mod clock;
pub mod commands;
pub mod disk;
mod effects;
pub mod faults;
mod inflict;
pub mod linearizability;
pub mod model;
mod network;
mod node;
pub mod operator;
mod orders;
pub mod plan;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod profile;
pub mod protocol;
pub mod schedule;
pub mod script;
mod snapshots;
mod standing;
pub mod trace;
pub mod transcript;
pub mod world;

pub use checks::Violation;
pub use disk::Disk;
pub use profile::Profile;
pub use protocol::Protocol;
pub use schedule::{Case, Failure, Report, run_case};
pub use script::Script;
pub use world::{World, WorldConfig};
