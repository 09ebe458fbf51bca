//! Programs to start from, each a binary of its own:
//!
//! - `counter`: your own state machine on the replicated log.
//! - `kv-fixed`: the key-value service with an engine of your own ([`engine_fixed`]; docs/engines.md).
