//! `kv-service` with one more engine: `kv-fixed --engine fixed`, and every command besides. See docs/engines.md.

use std::process::ExitCode;

fn main() -> ExitCode {
    kv_service::cli::run_with::<engine_fixed::FixedLeader>(std::env::args_os())
}
