//! The commands that do one thing and end.

pub mod cert;
pub mod client;
pub mod desk;
mod group;
pub mod inspect;
pub mod keys;
pub mod lock;
pub mod members;
pub mod nodes;
pub mod output;
pub mod session;
pub mod snapshot;
pub mod table;
pub mod text;
pub mod typo;
pub mod watch;
