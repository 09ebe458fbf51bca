//! Whose data directory it is.
//!
//! A blank directory gets a random store id and keeps it. A node whose disk was wiped has another one, by which the
//! others see that it has forgotten what it promised. The stamp stands in the log's database, so it cannot be parted
//! from the promises that it vouches for, and changes with them atomically.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bincode::{Decode, Encode};
use consensus_api::{Blob, ClusterId, EngineName, Era, GroupId, Member, NodeId, SnapshotId, StoreId, codec};
use sha2::{Digest, Sha256};

use crate::error::StorageError;
use crate::record::{Place, decode};

/// What this build writes and reads. It stands for all that is in the directory, also for what storage does not look into:
/// 2 had commands outside of batches, and no table of recent changes; 3 had members without a version.
pub const FORMAT: u32 = 4;

/// Who wants to open a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The node.
    pub node: NodeId,
    /// The engine that will run on it.
    pub engine: EngineName,
    /// The log that it should hold.
    pub group: GroupId,
    /// The stretch of that log.
    pub era: Era,
}

/// What a data directory says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Stamp {
    /// The directory's own id, chosen at random when it was made.
    pub store: StoreId,
    /// Whose it is.
    pub node: NodeId,
    /// The engine that wrote it.
    pub engine: EngineName,
    /// The log that it holds.
    pub group: GroupId,
    /// The stretch of that log.
    pub era: Era,
    /// The cluster, once it is known.
    pub cluster: Option<ClusterId>,
    /// The first voters, once they are known; in order of node.
    pub founders: Vec<(NodeId, Member)>,
    /// The snapshot that the directory was made from, if it was made from one; at a node that joined later, the one that
    /// the founders' directories were made from.
    pub restored_from: Option<SnapshotId>,
    /// How often the directory was opened.
    pub boots: u64,
}

impl Stamp {
    /// The stamp of a blank directory.
    pub(crate) fn blank(expected: Expected) -> Result<Stamp, StorageError> {
        Ok(Stamp {
            store: random_store()?,
            node: expected.node,
            engine: expected.engine,
            group: expected.group,
            era: expected.era,
            cluster: None,
            founders: Vec::new(),
            restored_from: None,
            boots: 0,
        })
    }

    /// Refuses anybody but the node, engine and log that the directory belongs to.
    pub(crate) fn check(&self, path: &Path, expected: Expected) -> Result<(), StorageError> {
        let path = || path.to_owned();
        if self.node != expected.node {
            return Err(StorageError::OtherNode { path: path(), found: self.node, expected: expected.node });
        }
        if self.engine != expected.engine {
            return Err(StorageError::OtherEngine { path: path(), found: self.engine, expected: expected.engine });
        }
        let (found, expected) = ((self.group, self.era), (expected.group, expected.era));
        if found != expected {
            return Err(StorageError::OtherLog { path: path(), found, expected });
        }
        Ok(())
    }

    /// Where the records of this directory belong.
    pub(crate) fn place(&self) -> Place {
        Place { store: self.store, group: self.group, era: self.era }
    }

    /// As it is stored: the format stands outside, so that a build that cannot read the rest can still say why.
    pub(crate) fn to_stored(&self) -> Result<(u32, Blob), StorageError> {
        let bytes =
            codec::encode(self).map_err(|source| StorageError::Unstorable { what: "the stamp".into(), source })?;
        Ok((FORMAT, Blob(bytes)))
    }

    /// From what is stored in the directory `path`.
    pub(crate) fn from_stored(path: &Path, bytes: &[u8]) -> Result<Stamp, StorageError> {
        let (found, stamp): (u32, Blob) = decode("the stamp", bytes)?;
        if found != FORMAT {
            return Err(StorageError::OtherFormat { path: path.to_owned(), found, expected: FORMAT });
        }
        decode("the stamp", &stamp.0)
    }
}

/// The cluster that these founders make: the first half of the SHA-256 of their nodes, stores and addresses, whatever
/// order they are given in. Two clusters never share one, because no two stores do. The addresses count as well, since
/// every node writes them into its tables: founders that disagree on one would have tables that differ. And so
/// does the snapshot that their directories were restored from: nodes that begin with different tables are of different
/// clusters, and refuse each other.
pub fn cluster_id(founders: &[(NodeId, Member)], restored_from: Option<SnapshotId>) -> ClusterId {
    let mut founders = founders.to_vec();
    founders.sort_unstable();
    let mut hash = Sha256::new();
    for (node, Member { address, store }) in founders {
        hash.update(node.0.to_be_bytes());
        hash.update(store.0.to_be_bytes());
        hash.update((address.len() as u64).to_be_bytes());
        hash.update(address);
    }
    if let Some(snapshot) = restored_from {
        // Shorter than a founder, so nothing else hashes alike.
        hash.update(snapshot.0.to_be_bytes());
    }
    let first_half = hash.finalize().into_iter().take(16);
    ClusterId(first_half.fold(0, |id, byte| id << 8 | u128::from(byte)))
}

/// From the system's source of chance.
fn random_store() -> Result<StoreId, StorageError> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; 16];
    let read = File::open(SOURCE).and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(StorageError::io("read chance from", SOURCE))?;
    Ok(StoreId(u128::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_cluster_is_its_founders_in_any_order() {
        let founder = |node, store| (NodeId(node), Member { address: String::new(), store: StoreId(store) });
        let (one, two) = (founder(1, 10), founder(2, 20));
        let cluster = cluster_id(&[one.clone(), two.clone()], None);
        assert_eq!(cluster, cluster_id(&[two.clone(), one.clone()], None));
        assert_ne!(cluster, cluster_id(std::slice::from_ref(&one), None));
        assert_ne!(cluster, cluster_id(&[one.clone(), founder(2, 21)], None));
        let restored = |snapshot| cluster_id(&[one.clone(), two.clone()], Some(SnapshotId(snapshot)));
        assert_ne!(cluster, restored(0), "a blank beginning is another one than any snapshot");
        assert_ne!(restored(0), restored(1));
    }

    #[test]
    fn no_two_directories_get_the_same_store() {
        assert_ne!(random_store().unwrap(), random_store().unwrap());
    }

    #[test]
    fn a_stamp_of_another_format_is_refused_with_both_versions_named() {
        let path = Path::new("d");
        let stored = codec::encode(&(FORMAT + 1, Blob::from("who knows what"))).unwrap();
        let error = Stamp::from_stored(path, &stored).unwrap_err();
        assert!(
            matches!(error, StorageError::OtherFormat { found, expected: FORMAT, .. } if found == FORMAT + 1),
            "{error}"
        );
    }
}
