//! Conformance suites for implementors of the traits. For tests only.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod engine;
pub mod log_store;
pub mod snapshot_store;
pub mod transport;
