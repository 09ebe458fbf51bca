//! `link-relay`: runs a relay, or gives a running one orders; see [`link_relay::cli`].

use std::process::ExitCode;

use clap::Parser;
use link_relay::cli::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("link-relay: cannot start the runtime: {error}; see to that, then try again");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::execute(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("link-relay: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}
