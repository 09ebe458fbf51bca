//! Programs to start from, each a binary of its own:
//!
//! - `counter`: your own state machine on the replicated log.
