//! The machine as its users see it: commands in, replies and tables out.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bounds;
mod changes;
mod durability;
mod ephemeral;
mod members;
mod properties;
mod reads;
mod session_properties;
mod sessions;
mod short_forms;
mod snapshots;
mod txn;
mod world;
