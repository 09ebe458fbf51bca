//! A node's data directory: its log, its hard state, its identity and the tables of its state machine, on RocksDB.
//!
//! ```text
//!   DIR/lock      held while a node runs
//!   DIR/log/      one RocksDB: write-ahead log on, one sync for each group of writes
//!     default       batch mark · stamp · base · hard state
//!     entries       group, era, index ──▶ record
//!   DIR/log.manifest   how much of the list of its files was synced when it was opened
//!   DIR/tables/   another RocksDB: no write-ahead log; what its memory loses is replayed from the log
//!     one column family for each table     tables-000001/ and so on once a snapshot was installed
//!   DIR/live      which of these directories it is, and where it was installed
//!   DIR/snapshots/
//!     ID/           the files of one, hard links where they can be, and its manifest
//!     incoming/     the one that is being received
//!     damaged       which files of the tables were found damaged in one
//! ```
//!
//! Opening goes from the outside in, and nothing is changed before everything is checked, but for a torn end of a list of
//! files, with which a database could not be looked at:
//!
//! ```text
//!   directory ──▶ peek (read only) ──▶ stamp ──▶ chain ──▶ database ──▶ RocksLog
//!   ours? free?   what would come     whose?     all that          ╰──▶ RocksTables ──▶ RocksSnapshots
//!                 back?                          was synced?
//! ```

mod chain;
mod counters;
mod database;
mod directory;
mod error;
mod files;
mod generations;
mod inspect;
mod log;
mod occupied;
mod peek;
mod record;
mod restore;
mod settings;
mod snapshots;
mod stamp;
mod store;
mod tables;
mod torn_manifest;
mod wal;

pub use counters::LogCounts;
pub use error::StorageError;
pub use inspect::{InspectedSnapshot, Inspection, inspect};
pub use log::RocksLog;
pub use restore::{Restore, read_export};
pub use snapshots::{ReadApplied, RocksSnapshots, check_export, snapshot_name};
pub use stamp::{Expected, FORMAT, Stamp, cluster_id};
pub use store::{Store, StoreOptions};
pub use tables::RocksTables;
