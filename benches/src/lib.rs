//! What the benches share: engines alone, whole replicas, and load for them.

pub mod counted;
mod engines;
pub mod load;
pub mod replicas;

pub use engines::Cluster;
