//! Ranges of keys, and pages of what is found in them. Every page is bounded in items and in bytes.

use std::ops::ControlFlow;

use bincode::{Decode, Encode};
use bytes::Bytes;
use consensus_api::Blob;

use crate::item::Item;

/// What an item counts for besides its key and value, so that a page of tiny items is bounded too: about what it takes in
/// memory, and more than it takes encoded.
pub(crate) const FLAT_BYTES: usize = 128;

/// Keys from `start` to before `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanRange {
    /// The first key; empty: the first of all.
    pub start: Bytes,
    /// The key before which the range ends; without it, behind the last.
    pub end: Option<Bytes>,
}

impl ScanRange {
    /// The keys from `start` to before `end`.
    pub fn between(start: impl Into<Bytes>, end: Option<Bytes>) -> ScanRange {
        ScanRange { start: start.into(), end }
    }

    /// The keys that begin with `prefix`; all keys where it is empty.
    pub fn prefix(prefix: impl Into<Bytes>) -> ScanRange {
        let start: Bytes = prefix.into();
        // The least key above all with the prefix: its last byte that can be raised, raised, and nothing behind it.
        // Without such a byte (a prefix of 0xff alone) no key is above.
        let end = start.iter().rposition(|byte| *byte != 0xff).map(|last| {
            let mut end = start[..=last].to_vec();
            end[last] += 1;
            Bytes::from(end)
        });
        ScanRange { start, end }
    }

    /// What is left of the range behind `key`: where the next page goes on.
    #[must_use]
    pub fn after(&self, key: &[u8]) -> ScanRange {
        // The least key above `key` is `key` and a zero byte.
        ScanRange { start: [key, &[0]].concat().into(), end: self.end.clone() }
    }

    /// Whether no key can be in the range.
    pub(crate) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        key >= &*self.start && self.end.as_ref().is_none_or(|end| key < &**end)
    }
}

/// How much a page may hold. The first item is returned whatever it weighs, or a scan could never pass it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimits {
    /// The most items.
    pub items_max: usize,
    /// The most bytes: keys, values and a flat charge for each item.
    pub bytes_max: usize,
}

impl Default for ScanLimits {
    fn default() -> ScanLimits {
        ScanLimits { items_max: 1000, bytes_max: 4 << 20 }
    }
}

/// A key with what stands under it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ScanItem {
    /// The key.
    pub key: Blob,
    /// What stands under it.
    pub item: Item,
}

/// What a scan found, up to its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// In order of the keys.
    pub items: Vec<ScanItem>,
    /// Whether there are more in the range.
    pub more: bool,
    /// The global revision that all of this was read at.
    pub revision: u64,
}

/// What an item counts for in a bound that is stated in bytes.
pub(crate) fn charge_bytes(key: &[u8], item: &Item) -> usize {
    FLAT_BYTES + key.len() + item.value.0.len()
}

/// A page that is being filled.
pub(crate) struct PageBuilder {
    limits: ScanLimits,
    pub(crate) items: Vec<ScanItem>,
    pub(crate) bytes: usize,
    pub(crate) more: bool,
}

impl PageBuilder {
    pub(crate) fn new(limits: ScanLimits) -> PageBuilder {
        PageBuilder { limits, items: Vec::new(), bytes: 0, more: false }
    }

    /// Takes the next item; or breaks, because the page is full and so there are more.
    pub(crate) fn offer(&mut self, key: &[u8], item: Item) -> ControlFlow<()> {
        let bytes = self.bytes + charge_bytes(key, &item);
        let full = self.items.len() >= self.limits.items_max;
        if full || (bytes > self.limits.bytes_max && !self.items.is_empty()) {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.bytes = bytes;
        self.items.push(ScanItem { key: Blob(Bytes::copy_from_slice(key)), item });
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_prefix() {
        assert_eq!(ScanRange::prefix("ab").end.as_deref(), Some(&b"ac"[..]));
        assert_eq!(ScanRange::prefix(&b"a\xff\xff"[..]).end.as_deref(), Some(&b"b"[..]));
        assert_eq!(ScanRange::prefix(&b"\xff\xff"[..]).end, None);
        assert_eq!(ScanRange::prefix("").end, None);
    }

    #[test]
    fn what_is_after_a_key_begins_right_behind_it() {
        let rest = ScanRange::prefix("a").after(b"a1");
        assert!(!rest.contains(b"a1"));
        assert!(rest.contains(b"a1\0"));
        assert!(!rest.contains(b"b"));
    }
}
