//! A hash over everything that replicas must agree on: all tables but the local history, without the local metadata.

use std::ops::ControlFlow;

use consensus_api::TableRead;
use sha2::{Digest, Sha256};

use crate::schema::{DATA, LOCAL_PREFIX, META, SESSIONS};

/// The machine's logical digest as these tables hold it, equal at equal indexes on every replica: SHA-256 over each
/// such table's number and, in order, its keys and values. Each is preceded by its length: without it `("a", "bc")` and
/// `("ab", "c")` would hash alike.
///
/// # Errors
/// As reading the tables.
pub fn of<E>(tables: &dyn TableRead<Error = E>) -> Result<[u8; 32], E>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut hash = Sha256::new();
    for table in [DATA, META, SESSIONS] {
        hash.update([table.0]);
        tables.scan(table, &[], None, &mut |key, value| {
            if table != META || !key.starts_with(LOCAL_PREFIX) {
                for part in [key, value] {
                    hash.update((part.len() as u64).to_le_bytes());
                    hash.update(part);
                }
            }
            ControlFlow::Continue(())
        })?;
        // No key is that long, so this ends a table and nothing else can.
        hash.update(u64::MAX.to_le_bytes());
    }
    Ok(hash.finalize().into())
}
