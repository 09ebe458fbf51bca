//! The node: wires the rooms together, serves the HTTP API, and is the command line.
//!
//! ```text
//!   cli ──▶ settings ──▶ config ──▶ node ──▶ engines      a node: the one place where an engine is chosen
//!    │                               ├────▶ clients, for Clerks over QUIC ─┐
//!    │                               └────▶ http ──▶ service ──▶ ReplicatedLog, KvReader
//!    ├────▶ cluster                       several nodes as child processes
//!    ├────▶ commands                      put, get, … status, cert, inspect
//!    ├────▶ repl                          the same commands at a prompt
//!    └────▶ load                          the load generator
//! ```

consensus_api::refuse_planted_bugs!();

pub mod address;
pub mod belonging;
pub mod chance;
pub mod cli;
pub mod clients;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod engines;
pub mod error;
pub mod founding;
pub mod http;
pub mod joining;
pub mod load;
pub mod metrics;
pub mod node;
pub mod repl;
pub mod service;
pub mod settings;
pub mod stop;
pub mod telemetry;
pub mod watch;

pub use config::NodeConfig;
pub use error::ServiceError;
pub use service::{Identity, Origin, Service};
