//! What a program needs to talk to a cluster: the types of the client protocol, and a client.
//!
//! ```text
//!   HttpClient ──► endpoint 1 ✗ refused the connection: nothing was sent, try the next
//!              ──► endpoint 2 ✗ 503, no leader: nothing was done, try the next
//!              ──► endpoint 3 ✓
//! ```
//!
//! The one thing that the client never does is to repeat a write that *may* have been carried out: an append that is
//! sent twice is two appends. Then its answer is [`ClientError::Unknown`], and the caller decides.

mod base64;
mod clerk;
mod endpoints;
mod error;
mod http;
pub mod protocol;
mod quic;
mod snapshots;
pub mod txn;
pub mod wire;

pub use base64::Base64;
pub use clerk::{Clerk, ClerkBuilder, ClerkError, Deleted, KeyRange, Scan, TxnDone, Watch, Written};
pub use error::ClientError;
pub use http::{Expect, HttpClient, ReadOptions, ScanRequest, Value, WriteOptions};
pub use quic::{TlsError, TlsFiles};
pub use snapshots::SnapshotDownload;
