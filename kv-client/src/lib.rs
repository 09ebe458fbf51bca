//! What a program needs to talk to a cluster: the Clerk, which carries out each request exactly once, and a plain HTTP
//! client, with the types of both protocols.
//!
//! ```text
//!   Clerk ──────▶ QUIC, the peers' port: many requests at a time, a session, watches     programs
//!   HttpClient ─▶ HTTP, one request after the other                                      the command line, scripts
//! ```
//!
//! # The Clerk
//!
//! ```no_run
//! use kv_client::{Clerk, ClerkError};
//!
//! # async fn example() -> Result<(), ClerkError> {
//! let clerk = Clerk::builder().endpoints(["127.0.0.1:7001", "127.0.0.1:7002"]).development().connect().await?;
//! let written = clerk.put("greeting", "hello").await?;
//! clerk.append("greeting", ", world").await?;
//! let item = clerk.get("greeting").await?.expect("it was just written");
//! assert_eq!(item.version, written.version + 1);
//! clerk.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A write has a number in the Clerk's session, and the cluster carries out each number once. So the Clerk repeats what
//! was lost, wherever the leader is by then, and an append is never doubled. What remains is the case in which no answer
//! comes within the request's time; then the Clerk says what is known and no more:
//!
//! ```no_run
//! # use kv_client::{Clerk, ClerkError};
//! # async fn example(clerk: Clerk) -> Result<(), ClerkError> {
//! match clerk.put_if_version("seat/12a", "ada", 0).await {
//!     Ok(written) => println!("taken at revision {}", written.revision),
//!     Err(ClerkError::VersionMismatch { .. }) => println!("somebody was faster"),
//!     Err(ClerkError::Maybe { reason }) => println!("read the key to find out: {reason}"),
//!     Err(error) => println!("definitely not taken: {error}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Many requests may be under way at a time; they share one connection, and the frames on it:
//!
//! ```no_run
//! # use kv_client::{Clerk, ClerkError, KeyRange};
//! # async fn example(clerk: Clerk) -> Result<(), ClerkError> {
//! let clerk = &clerk;
//! let puts = (0..1000).map(|number| async move { clerk.put(format!("load/{number}"), "x").await });
//! for written in futures_util::future::join_all(puts).await {
//!     written?;
//! }
//! let mut scan = clerk.scan(KeyRange::prefix("load/"));
//! while let Some(found) = scan.next().await {
//!     println!("{:?}", found?.key.0);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A watch has begun when the call returns: what is written from then on is seen. It shows every change once and in order,
//! and goes on at another node where one is lost:
//!
//! ```no_run
//! # use kv_client::{Clerk, ClerkError};
//! # async fn example(clerk: Clerk) -> Result<(), ClerkError> {
//! let mut watch = clerk.watch("config/", None).await?;
//! while let Some(change) = watch.next().await {
//!     let change = change?;
//!     match change.item {
//!         Some(item) => println!("{}: {:?} is {:?}", change.revision, change.key.0, item.value.0),
//!         None => println!("{}: {:?} is gone", change.revision, change.key.0),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # HTTP
//!
//! The [`HttpClient`] repeats a write that *may* have been carried out only within a session ([`HttpSession`]), where the
//! cluster knows it by its number: an append that is sent twice otherwise is two appends. Without one its answer is
//! [`ClientError::Unknown`], and the caller decides.

mod backoff;
mod base64;
mod clerk;
mod error;
pub mod http;
pub mod protocol;
mod quic;
pub mod txn;
pub mod wire;

pub use base64::Base64;
pub use clerk::{Clerk, ClerkBuilder, ClerkError, Deleted, KeyRange, Scan, TxnDone, Watch, Written};
pub use error::ClientError;
pub use http::{
    Expect, HttpClient, HttpSession, ReadOptions, Removal, ScanRequest, SnapshotDownload, Value, WriteOptions,
};
pub use quic::{TlsError, TlsFiles};
