//! The ranges that clients name, of scans and of watches: no longer than keys are, or a few would hold much memory.

use consensus_api::Blob;
use kv_machine::{KvError, KvLimits, Quantity, ScanRange};

/// The range, if its ends are not longer than a key and the byte that makes of a key the one behind it.
pub(super) fn checked(start: Blob, end: Option<Blob>, limits: &KvLimits) -> Result<ScanRange, KvError> {
    let limit = limits.key_bytes_max.min(KvLimits::APPLIED.key_bytes_max) + 1;
    let found = start.0.len().max(end.as_ref().map_or(0, |end| end.0.len()));
    if found > limit {
        return Err(KvError::TooLarge { what: Quantity::KeyBytes, found: found as u64, limit: limit as u64 });
    }
    Ok(ScanRange::between(start.0, end.map(|end| end.0)))
}
