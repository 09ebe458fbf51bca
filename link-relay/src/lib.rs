//! A userland UDP relay for faults that QUIC itself sees: no privileges, no kernel module.
//!
//! Node 1 does not dial node 2 but a port of the relay. What it sends crosses the *link* `1:2`; what node 2 answers
//! crosses the link `2:1`, and comes back from the very port that node 1 has dialed, as QUIC demands. Node 2 dialing
//! node 1 is another route over the same two links, so that a direction's faults meet every packet of that direction.
//!
//! ```text
//!   node 1 ──▶ port of route 1:2 ──▶ link 1:2 ──▶ a socket for this client ──▶ node 2
//!          ◀──                   ◀── link 2:1 ◀──                          ◀──
//!
//!   node 2 ──▶ port of route 2:1 ──▶ link 2:1 ──▶ a socket for this client ──▶ node 1
//!          ◀──                   ◀── link 1:2 ◀──                          ◀──
//! ```
//!
//! ```text
//!   cli ──▶ control ──▶ links ──▶ carrier ──▶ link    what happens to a packet: pure, seeded
//!                         ▲          ├──────▶ wire    what is under way, by its time: pure
//!                         │          └──────▶ alarm   wakes when the next packet is due
//!   relay ──▶ route ──────┘                   faults, names: the vocabulary
//! ```
//!
//! Everything is bounded: links, clients of a route, packets and bytes under way, requests and connections of the
//! control port. What is beyond a bound is dropped and counted, as a network does it.

mod alarm;
mod carrier;
pub mod cli;
pub mod control;
pub mod error;
pub mod faults;
pub mod link;
pub mod links;
pub mod names;
pub mod relay;
mod route;
pub mod wire;

pub use alarm::Alarm;
pub use error::RelayError;
pub use faults::{Change, Faults, Share};
pub use link::{Counters, DropCause, Fate, Link};
pub use links::{LinkReport, Links};
pub use names::{LinkName, LinkPattern};
pub use relay::{Relay, RelayConfig, RouteConfig};
