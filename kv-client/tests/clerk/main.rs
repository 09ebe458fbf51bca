//! The Clerk against nodes that speak its protocol over real QUIC, and do as a test tells them.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod node;
mod outcomes;
mod watches;
