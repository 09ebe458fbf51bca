//! `kv-service`: a node, a local cluster, a client, a load generator; see [`kv_service::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kv_service::cli::run(std::env::args_os())
}
