//! What a program needs to talk to a cluster: the types of the client protocol, and a client.
//!
//! ```text
//!   HttpClient ──► endpoint 1 ✗ refused the connection: nothing was sent, try the next
//!              ──► endpoint 2 ✗ 503, no leader: nothing was done, try the next
//!              ──► endpoint 3 ✓
//! ```
//!
//! A write that *may* have been carried out is repeated only within a session ([`HttpSession`]), where the cluster knows it
//! by its number: an append that is sent twice otherwise is two appends. Without one its answer is
//! [`ClientError::Unknown`], and the caller decides.

mod backoff;
mod base64;
mod clerk;
mod endpoints;
mod error;
mod http;
pub mod protocol;
mod quic;
mod scan;
mod session;
mod snapshots;
mod sse;
pub mod txn;
mod watch;
pub mod wire;

pub use base64::Base64;
pub use clerk::{Clerk, ClerkBuilder, ClerkError, Deleted, KeyRange, Scan, TxnDone, Watch, Written};
pub use error::ClientError;
pub use http::{Expect, HttpClient, ReadOptions, ScanRequest, Value, WriteOptions};
pub use quic::{TlsError, TlsFiles};
pub use scan::Scan as HttpScan;
pub use session::HttpSession;
pub use snapshots::SnapshotDownload;
pub use watch::{Change as HttpChange, Watch as HttpWatch, WatchRequest};
