//! The service as processes: what a user starts, kills and mistypes.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod bad_input;
mod commands;
mod harness;
mod kills;
mod load;
mod ports;
#[cfg(target_os = "linux")]
mod power_loss;
mod quorums;
mod relay;
