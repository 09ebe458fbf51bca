//! The service as processes: what a user starts, kills and mistypes.

#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod backup;
mod bad_input;
#[cfg(target_os = "linux")]
mod bench;
mod clerk;
mod commands;
mod experiments;
#[cfg(target_os = "linux")]
mod flood;
mod harness;
mod http_api;
mod join;
mod kills;
#[cfg(target_os = "linux")]
mod linearizable;
mod load;
mod members;
mod metrics;
mod ports;
#[cfg(target_os = "linux")]
mod power_loss;
#[cfg(target_os = "linux")]
mod powered;
mod quorums;
mod raw_http;
#[cfg(target_os = "linux")]
mod reconfiguration;
mod relay;
mod repl;
mod rolling_restart;
#[cfg(target_os = "linux")]
mod snapshot_disks;
#[cfg(target_os = "linux")]
mod snapshot_kills;
#[cfg(target_os = "linux")]
mod snapshot_scene;
#[cfg(target_os = "linux")]
mod snapshots;
#[cfg(target_os = "linux")]
mod watch;
#[cfg(target_os = "linux")]
mod witnesses;
