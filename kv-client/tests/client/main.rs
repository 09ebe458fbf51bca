//! The client against nodes that answer, refuse, hang up or say nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod failures;
mod members;
mod node;
mod requests;
mod scans;
mod sessions;
mod watches;
