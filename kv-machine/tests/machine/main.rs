//! The machine as its users see it: commands in, replies and tables out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod durability;
mod properties;
mod reads;
mod sessions;
mod short_forms;
mod snapshots;
mod txn;
mod world;
