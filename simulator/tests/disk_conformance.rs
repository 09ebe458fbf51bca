//! The simulator's disk keeps the promises of any log store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::convert::Infallible;

use consensus_api::testkit::log_store::{LogStoreFactory, Reached, run_all};
use consensus_api::{LogStore, Write};
use simulator::Disk;

#[derive(Default)]
struct Disks(Disk);

impl LogStoreFactory for Disks {
    type Store = Disk;

    fn open(&mut self) -> Result<Disk, Infallible> {
        Ok(self.0.clone())
    }

    fn crash(&mut self, store: Disk) {
        store.crash(0);
    }

    fn crash_during(&mut self, store: Disk, writes: &[Write], reached: Reached) {
        store.set_sync(false);
        let Ok(()) = store.write(writes);
        // A group that is cut short or garbled is recognised as torn, and nothing of it is kept.
        store.crash(if reached == Reached::Everything { writes.len() } else { 0 });
        store.set_sync(true);
    }
}

#[test]
fn the_disk_keeps_every_promise_of_a_log_store() {
    run_all(Disks::default);
}
