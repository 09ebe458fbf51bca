//! What stands under which key in the log's database, and how a record says where it belongs.
//!
//! ```text
//!   default    "batch"                  BatchMark
//!              "stamp"                  see stamp
//!              "base"  group era        (Place, LogPosition)
//!              "hard"  group era        (Place, bytes)
//!   entries    group era index          (Place, Entry)          numbers big endian, so that keys sort like indexes
//! ```
//!
//! A checksum tells a damaged record from an intact one, not one in its place from one that strayed: a block written
//! to the wrong sector, or a file copied from another node, has valid checksums too. So each record carries its
//! [`Place`] and its index, and both are compared with the key under which it was found.

use bincode::{Decode, Encode};
use consensus_api::codec;
use consensus_api::{Entry, Era, GroupId, LogIndex, StoreId};

use crate::error::StorageError;

/// The key of the last batch's mark. It is the first record of every batch, and [`wal`](crate::wal) finds it there.
pub(crate) const BATCH_KEY: &[u8] = b"batch";
/// The key of the stamp.
pub(crate) const STAMP_KEY: &[u8] = b"stamp";

/// The log that a record belongs to, on the disk that it was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Place {
    pub(crate) store: StoreId,
    pub(crate) group: GroupId,
    pub(crate) era: Era,
}

/// The mark that each batch carries; the next batch overwrites it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct BatchMark {
    /// The batch's number; grows by one with each batch of the disk's life.
    pub(crate) number: u64,
    /// The last batch that was known to be synced when this one was written.
    pub(crate) synced: u64,
    /// Everything up to here was known to be committed.
    pub(crate) commit: LogIndex,
}

/// The key of an entry.
pub(crate) type EntryKey = [u8; 16];

impl Place {
    /// The key of the entry at `index`.
    pub(crate) fn entry_key(self, index: LogIndex) -> EntryKey {
        let mut key = [0; 16];
        key[..4].copy_from_slice(&self.group.0.to_be_bytes());
        key[4..8].copy_from_slice(&self.era.0.to_be_bytes());
        key[8..].copy_from_slice(&index.0.to_be_bytes());
        key
    }

    /// The least key above every entry of this place.
    pub(crate) fn end_key(self) -> [u8; 17] {
        let mut key = [0; 17];
        key[..16].copy_from_slice(&self.entry_key(LogIndex(u64::MAX)));
        key
    }

    /// The key of the base.
    pub(crate) fn base_key(self) -> Vec<u8> {
        self.own_key(b"base")
    }

    /// The key of the hard state.
    pub(crate) fn hard_state_key(self) -> Vec<u8> {
        self.own_key(b"hard")
    }

    fn own_key(self, kind: &[u8]) -> Vec<u8> {
        [kind, &self.entry_key(LogIndex::ZERO)[..8]].concat()
    }

    /// The value of a record of this place.
    pub(crate) fn open<T: Decode<()>>(self, what: &str, bytes: &[u8]) -> Result<T, StorageError> {
        let (place, value): (Place, T) = decode(what, bytes)?;
        if place != self {
            let found = format!("a record of store {}, group {}, era {}", place.store, place.group.0, place.era.0);
            return Err(StorageError::Misplaced { what: what.to_owned(), found });
        }
        Ok(value)
    }

    /// The entry of a record that was found under `key`.
    pub(crate) fn open_entry(self, key: &[u8], bytes: &[u8]) -> Result<Entry, StorageError> {
        let index = key.last_chunk().copied().map_or(LogIndex::ZERO, |index| LogIndex(u64::from_be_bytes(index)));
        let what = || format!("entry {index} of the log");
        let (place, entry): (Place, Entry) =
            codec::decode(bytes).map_err(|source| StorageError::Damaged { what: what(), source })?;
        if place != self || entry.index != index || key != self.entry_key(index) {
            let found =
                format!("entry {} of store {}, group {}, era {}", entry.index, place.store, place.group.0, place.era.0);
            return Err(StorageError::Misplaced { what: what(), found });
        }
        Ok(entry)
    }
}

/// A value that says nothing of its place.
pub(crate) fn decode<T: Decode<()>>(what: &str, bytes: &[u8]) -> Result<T, StorageError> {
    codec::decode(bytes).map_err(|source| StorageError::Damaged { what: what.to_owned(), source })
}

/// Encodes `value` into `buffer`, in place of what it held.
pub(crate) fn encode<T: Encode>(
    what: impl FnOnce() -> String,
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<(), StorageError> {
    buffer.clear();
    codec::encode_into(value, buffer).map_err(|source| StorageError::Unstorable { what: what(), source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use consensus_api::{Ballot, LogTime, NodeId, Payload};

    use super::*;

    const HERE: Place = Place { store: StoreId(7), group: GroupId(1), era: Era(2) };

    fn record(place: Place, index: u64) -> Vec<u8> {
        let ballot = Ballot::new(1, NodeId(1));
        let entry = Entry { index: LogIndex(index), ballot, log_time: LogTime::default(), payload: Payload::Noop };
        let mut bytes = Vec::new();
        encode(String::new, &(place, entry), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_record_is_read_where_it_was_written() {
        let entry = HERE.open_entry(&HERE.entry_key(LogIndex(5)), &record(HERE, 5)).unwrap();
        assert_eq!(entry.index, LogIndex(5));
    }

    #[test]
    fn an_intact_record_in_the_wrong_place_is_refused() {
        let key = HERE.entry_key(LogIndex(5));
        let strays = [
            record(HERE, 6),
            record(Place { store: StoreId(8), ..HERE }, 5),
            record(Place { group: GroupId(2), ..HERE }, 5),
            record(Place { era: Era(3), ..HERE }, 5),
        ];
        for stray in strays {
            assert!(matches!(HERE.open_entry(&key, &stray), Err(StorageError::Misplaced { .. })));
        }
    }

    #[test]
    fn keys_sort_like_indexes() {
        let keys: Vec<EntryKey> = [0, 1, 255, 256, u64::MAX].map(|index| HERE.entry_key(LogIndex(index))).to_vec();
        assert!(keys.is_sorted());
        assert!(HERE.end_key().as_slice() > keys[4].as_slice());
        assert!(HERE.end_key().as_slice() < Place { era: Era(3), ..HERE }.entry_key(LogIndex::ZERO).as_slice());
    }
}
