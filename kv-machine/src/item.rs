//! What stands under a key, and its form in the table.
//!
//! ```text
//!   ┌────────┬────────────┬─────────────────┬──────────────┬──────────────────┬───────┐
//!   │ form   │ version    │ create_revision │ mod_revision │ session u128 LE, │ value │
//!   │ 1 byte │ u64 LE     │ u64 LE          │ u64 LE       │ in form 2 only   │       │
//!   └────────┴────────────┴─────────────────┴──────────────┴──────────────────┴───────┘
//! ```
//!
//! The form is written by hand, so that the value is a slice of what the tables return: every put reads the item
//! before it, and must not copy its value. The tables answer for the integrity of the bytes.

use bincode::{Decode, Encode};
use bytes::Bytes;
use consensus_api::Blob;

use crate::error::KvError;
use crate::request::SessionId;

/// The form of an item that stays until it is removed.
const FORM: u8 = 1;
/// The form of an item that a session keeps alive.
const EPHEMERAL_FORM: u8 = 2;
const HEADER_BYTES: usize = 25;
const EPHEMERAL_HEADER_BYTES: usize = HEADER_BYTES + 16;

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
    /// The session that keeps it alive: the key vanishes when that ends. `None`: it stays until it is removed.
    pub session: Option<SessionId>,
}

impl Item {
    /// What follows `before` when `value` is written at `revision`, to be kept alive by `session` or by none.
    pub(crate) fn written(before: Option<&Item>, value: Blob, revision: u64, session: Option<SessionId>) -> Item {
        let (version, create_revision) = before.map_or((0, revision), |item| (item.version, item.create_revision));
        Item { value, version: version + 1, create_revision, mod_revision: revision, session }
    }

    /// The form in the table.
    pub(crate) fn to_stored(&self) -> Bytes {
        let mut stored = Vec::with_capacity(self.stored_bytes());
        self.store_into(&mut stored);
        stored.into()
    }

    /// How long the form in the table is.
    pub(crate) fn stored_bytes(&self) -> usize {
        self.session.map_or(HEADER_BYTES, |_| EPHEMERAL_HEADER_BYTES) + self.value.0.len()
    }

    /// Appends the form in the table.
    pub(crate) fn store_into(&self, stored: &mut Vec<u8>) {
        stored.push(self.session.map_or(FORM, |_| EPHEMERAL_FORM));
        for number in [self.version, self.create_revision, self.mod_revision] {
            stored.extend_from_slice(&number.to_le_bytes());
        }
        if let Some(session) = self.session {
            stored.extend_from_slice(&session.0.to_le_bytes());
        }
        stored.extend_from_slice(&self.value.0);
    }

    /// The item of a form in the table; shares its bytes.
    pub(crate) fn from_stored(key: &[u8], stored: &Bytes) -> Result<Item, KvError> {
        let damaged = |reason: &str| KvError::damaged(format!("key \"{}\"", key.escape_ascii()), reason);
        let number = |at: usize| {
            let bytes: Option<[u8; 8]> = stored.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or_else(|| damaged("it is too short"))
        };
        let (version, create_revision, mod_revision) = (number(1)?, number(9)?, number(17)?);
        let (session, value_at) = match stored.first() {
            Some(&FORM) => (None, HEADER_BYTES),
            Some(&EPHEMERAL_FORM) => {
                let halves = u128::from(number(HEADER_BYTES)?) | u128::from(number(HEADER_BYTES + 8)?) << 64;
                (Some(SessionId(halves)), EPHEMERAL_HEADER_BYTES)
            }
            _ => return Err(damaged("it has a form that this build does not know")),
        };
        Ok(Item { value: Blob(stored.slice(value_at..)), version, create_revision, mod_revision, session })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn item(session: Option<SessionId>) -> Item {
        Item { value: Blob::from("value"), version: 3, create_revision: 5, mod_revision: u64::MAX, session }
    }

    fn items() -> [(Item, usize); 2] {
        let session = SessionId(u128::MAX - 7);
        [(item(None), HEADER_BYTES), (item(Some(session)), EPHEMERAL_HEADER_BYTES)]
    }

    #[test]
    fn an_item_survives_the_table() {
        for (item, _) in items() {
            assert_eq!(Item::from_stored(b"k", &item.to_stored()).unwrap(), item);
            assert_eq!(item.to_stored().len(), item.stored_bytes());
        }
    }

    #[test]
    fn a_cut_or_foreign_form_is_damage_and_not_an_item() {
        for (item, header_bytes) in items() {
            for length in 0..header_bytes {
                assert!(
                    Item::from_stored(b"k", &item.to_stored().slice(..length)).is_err(),
                    "{length} bytes were taken"
                );
            }
        }
        let mut foreign = item(None).to_stored().to_vec();
        foreign[0] = EPHEMERAL_FORM + 1;
        assert!(matches!(Item::from_stored(b"k", &foreign.into()), Err(KvError::Damaged { .. })));
    }
}
