//! A service registers where it is found, and others see who is there: ephemeral keys and a watch.
//!
//! ```text
//!   services/web/1 = 10.0.0.1:80 ┐  each for as long as the session of its instance
//!   services/web/2 = 10.0.0.2:80 ┘         │
//!                                          ▼
//!   observer: scan, then watch from the scan's revision on ──▶ who comes, who goes
//! ```
//!
//! `cargo run --release --bin registry -- 127.0.0.1:7001` shows this on a cluster of development nodes.

use std::collections::BTreeMap;
use std::error::Error;

use bytes::Bytes;
use kv_client::{Clerk, ClerkError, Expect, KeyRange};

/// Registers an instance under its name; it stays as long as the Clerk's session lives.
async fn register(clerk: &Clerk, instance: &str, address: &str) -> Result<(), ClerkError> {
    let key = format!("services/web/{instance}");
    loop {
        match clerk.put_ephemeral(key.clone(), address.to_owned(), Expect::Any).await {
            Ok(_) => return Ok(()),
            // To say the same twice harms nobody here; and in a new session it must be said anew.
            Err(ClerkError::Maybe { .. } | ClerkError::SessionExpired) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Who is there, kept up to date.
struct Registry {
    instances: BTreeMap<Bytes, Bytes>,
    watch: kv_client::Watch,
}

impl Registry {
    /// Reads who is there, and watches from there on. The watch begins first, so nobody is missed in between; what the scan
    /// has seen already is seen again, which changes nothing.
    async fn open(clerk: &Clerk) -> Result<Registry, ClerkError> {
        let watch = clerk.watch("services/web/", None).await?;
        let mut instances = BTreeMap::new();
        let mut scan = clerk.scan(KeyRange::prefix("services/web/"));
        while let Some(found) = scan.next().await {
            let found = found?;
            instances.insert(found.key.0, found.item.value.0);
        }
        Ok(Registry { instances, watch })
    }

    /// Waits for the next change; an error where there will be none.
    async fn change(&mut self) -> Result<(), ClerkError> {
        let ended = || ClerkError::NoAnswer { reason: "the watch has ended".to_owned() };
        let change = self.watch.next().await.ok_or_else(ended)??;
        match change.item {
            Some(item) => self.instances.insert(change.key.0, item.value.0),
            None => self.instances.remove(&change.key.0),
        };
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoints = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    let connect = || Clerk::builder().endpoints(endpoints.split(',')).development().connect();
    let (observer, first, second) = (connect().await?, connect().await?, connect().await?);
    register(&first, "1", "10.0.0.1:80").await?;
    let mut registry = Registry::open(&observer).await?;
    println!("there is {:?}", registry.instances);
    register(&second, "2", "10.0.0.2:80").await?;
    while registry.instances.len() < 2 {
        registry.change().await?;
    }
    println!("now there are {:?}", registry.instances);
    first.close().await?;
    while registry.instances.len() > 1 {
        registry.change().await?;
    }
    println!("one has gone: {:?}", registry.instances);
    second.close().await?;
    Ok(observer.close().await?)
}
