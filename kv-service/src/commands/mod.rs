//! The commands that do one thing and end.

pub mod cert;
pub mod client;
pub mod inspect;
pub mod output;
pub mod snapshot;
mod status;
