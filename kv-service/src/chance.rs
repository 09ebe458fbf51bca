//! Numbers of chance, for what must differ and need not be secret: ids, seeds, the names of requests.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A number that no other call is likely to return, in this process or another: the hash of nothing under keys that the
/// standard library draws from the system's source of chance.
pub fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_numbers_are_alike() {
        let numbers: std::collections::BTreeSet<u64> = (0..1000).map(|_| number()).collect();
        assert_eq!(numbers.len(), 1000);
    }
}
