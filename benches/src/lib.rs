//! What the benches share: engines alone, whole replicas, the program as processes, and load for them.

pub mod clerks;
pub mod comparison;
pub mod counted;
pub mod engines;
pub mod entries;
pub mod load;
pub mod processes;
pub mod replicas;
pub mod traffic;

pub use engines::Cluster;
