//! The client of the HTTP API: what the command line stands on, and scripts that have no need of a [`Clerk`](crate::Clerk).
//!
//! ```text
//!   HttpClient ──► endpoint 1 ✗ refused the connection: nothing was sent, try the next
//!              ──► endpoint 2 ✗ 503, no leader: nothing was done, try the next
//!              ──► endpoint 3 ✓
//! ```

mod client;
mod endpoints;
mod members;
mod scan;
mod session;
mod snapshots;
mod sse;
mod watch;

use crate::backoff;

pub use client::{Expect, HttpClient, ReadOptions, ScanRequest, Value, WriteOptions};
pub use members::Removal;
pub use scan::Scan;
pub use session::HttpSession;
pub use snapshots::SnapshotDownload;
pub use watch::{Change, Watch, WatchRequest};
