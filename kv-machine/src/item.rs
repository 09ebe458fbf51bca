//! What stands under a key, and its form in the table.
//!
//! ```text
//!   ┌────────┬────────────┬─────────────────┬──────────────┬───────┐
//!   │ form   │ version    │ create_revision │ mod_revision │ value │
//!   │ 1 byte │ u64 LE     │ u64 LE          │ u64 LE       │       │
//!   └────────┴────────────┴─────────────────┴──────────────┴───────┘
//! ```
//!
//! The form is written by hand, so that the value is a slice of what the tables return: every put reads the item
//! before it, and must not copy its value. The tables answer for the integrity of the bytes.

use bincode::{Decode, Encode};
use bytes::Bytes;
use consensus_api::Blob;

use crate::error::KvError;

/// The form that this build writes and reads.
const FORM: u8 = 1;
const HEADER_BYTES: usize = 25;

/// A key's value and history.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Item {
    /// Its value.
    pub value: Blob,
    /// How often it was written since it was created; 1 after the first time.
    pub version: u64,
    /// The revision at which it was created.
    pub create_revision: u64,
    /// The revision at which it was last changed.
    pub mod_revision: u64,
}

impl Item {
    /// What follows `before` when `value` is written at `revision`.
    pub(crate) fn written(before: Option<&Item>, value: Blob, revision: u64) -> Item {
        match before {
            Some(before) => Item { value, version: before.version + 1, mod_revision: revision, ..*before },
            None => Item { value, version: 1, create_revision: revision, mod_revision: revision },
        }
    }

    /// The form in the table.
    pub(crate) fn to_stored(&self) -> Bytes {
        let mut stored = Vec::with_capacity(HEADER_BYTES + self.value.0.len());
        stored.push(FORM);
        for number in [self.version, self.create_revision, self.mod_revision] {
            stored.extend_from_slice(&number.to_le_bytes());
        }
        stored.extend_from_slice(&self.value.0);
        stored.into()
    }

    /// The item of a form in the table; shares its bytes.
    pub(crate) fn from_stored(key: &[u8], stored: &Bytes) -> Result<Item, KvError> {
        let damaged = |reason: &str| KvError::damaged(format!("key \"{}\"", key.escape_ascii()), reason);
        let number = |at: usize| {
            let bytes: Option<[u8; 8]> = stored.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or_else(|| damaged("it is too short"))
        };
        if stored.first() != Some(&FORM) {
            return Err(damaged("it has a form that this build does not know"));
        }
        let (version, create_revision, mod_revision) = (number(1)?, number(9)?, number(17)?);
        Ok(Item { value: Blob(stored.slice(HEADER_BYTES..)), version, create_revision, mod_revision })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn item() -> Item {
        Item { value: Blob::from("value"), version: 3, create_revision: 5, mod_revision: u64::MAX }
    }

    #[test]
    fn an_item_survives_the_table() {
        assert_eq!(Item::from_stored(b"k", &item().to_stored()).unwrap(), item());
    }

    #[test]
    fn a_cut_or_foreign_form_is_damage_and_not_an_item() {
        let stored = item().to_stored();
        for length in 0..HEADER_BYTES {
            assert!(Item::from_stored(b"k", &stored.slice(..length)).is_err(), "{length} bytes were taken");
        }
        let mut foreign = stored.to_vec();
        foreign[0] = FORM + 1;
        assert!(matches!(Item::from_stored(b"k", &foreign.into()), Err(KvError::Damaged { .. })));
    }
}
