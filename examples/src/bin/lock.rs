//! A lock on a cluster: held by an ephemeral key, waited for with a watch.
//!
//! ```text
//!   ada    txn: no key? put it, ephemeral ✓ ── holds ── delete ─┐
//!   bert   txn ✗ ── watches the key ───────────────────────────▶ gone ── txn ✓ ── holds ── its session ends ─┐
//!   ada                                     txn ✗ ── watches ──────────────────────────────────────────────▶ gone ── txn ✓
//! ```
//!
//! `cargo run --release --bin lock -- 127.0.0.1:7001` shows this on a cluster of development nodes. Whoever crashes while it
//! holds the lock loses it when its session's time to live is over. So a holder that was cut off may not know yet that
//! another holds the lock; what it does under it should carry the lock's revision, which grows with every holder, and be
//! refused where a higher one was seen (a fencing token).

use std::error::Error;

use bytes::Bytes;
use kv_client::wire::{Compare, Operation, OperationResult, Txn};
use kv_client::{Clerk, ClerkError, Expect, KeyRange};

/// A lock that is held.
struct Held {
    clerk: Clerk,
    key: Bytes,
    /// The revision at which it was taken: higher than that of every holder before.
    revision: u64,
}

impl Held {
    /// Waits until the lock is free and takes it. `holder` must differ from that of everyone else who wants it.
    async fn acquire(clerk: &Clerk, key: impl Into<Bytes>, holder: impl Into<Bytes>) -> Result<Held, ClerkError> {
        let (key, holder) = (key.into(), holder.into());
        loop {
            let take = Txn::new()
                .when(Compare::absent(key.clone()))
                .then(Operation::put_ephemeral(key.clone(), holder.clone()))
                .otherwise(Operation::get(key.clone()));
            let outcome = match clerk.txn(take).await {
                // We may have it; the next round tells.
                Err(ClerkError::Maybe { .. }) => continue,
                outcome => outcome?,
            };
            let found = match outcome.results.into_iter().next() {
                Some(OperationResult::Got(Some(item))) => item,
                _ => return Ok(Held { clerk: clerk.clone(), key, revision: outcome.revision }),
            };
            if found.value.0 == holder {
                return Ok(Held { clerk: clerk.clone(), key, revision: found.mod_revision });
            }
            wait_until_gone(clerk, &key, outcome.revision).await?;
        }
    }

    /// Gives the lock back, unless it was lost already.
    async fn release(self) -> Result<(), ClerkError> {
        match self.clerk.delete_if(self.key, Expect::ModRevision(self.revision)).await {
            Err(ClerkError::VersionMismatch { .. }) => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

/// Returns when the key has been removed after `revision`, or may have been.
async fn wait_until_gone(clerk: &Clerk, key: &Bytes, revision: u64) -> Result<(), ClerkError> {
    // This key and no other: the next one is the key and a zero byte.
    let range = KeyRange::between(key.clone(), [&key[..], &[0]].concat());
    let mut watch = match clerk.watch_range(range, Some(revision + 1)).await {
        // Too much has changed meanwhile: look again.
        Err(ClerkError::Compacted { .. }) => return Ok(()),
        begun => begun?,
    };
    while let Some(change) = watch.next().await {
        match change {
            Ok(change) if change.item.is_none() => break,
            Ok(_) => {}
            Err(ClerkError::Compacted { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    let connect = || Clerk::builder().endpoints(endpoints.split(',')).development().connect();
    let (ada, bert) = (connect().await?, connect().await?);

    let held = Held::acquire(&ada, "lock/door", "ada").await?;
    println!("ada holds the lock, at revision {}", held.revision);
    let waiting = tokio::spawn({
        let bert = bert.clone();
        async move { Held::acquire(&bert, "lock/door", "bert").await }
    });
    held.release().await?;
    let held = waiting.await??;
    println!("ada has released it and bert holds it, at revision {}", held.revision);

    let waiting = tokio::spawn({
        let ada = ada.clone();
        async move { Held::acquire(&ada, "lock/door", "ada").await }
    });
    // As a crash would, only at once: bert's session ends, and its keys with it.
    drop(held);
    bert.close().await?;
    let held = waiting.await??;
    println!("bert's session has ended and ada holds it, at revision {}", held.revision);
    held.release().await?;
    Ok(ada.close().await?)
}
