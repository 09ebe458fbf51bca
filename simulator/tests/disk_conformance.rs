//! The simulator's disk keeps the promises of any log store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use consensus_api::testkit::log_store::{LogStoreFactory, Reached, entry, put, run_all};
use consensus_api::{LogIndex, LogStore, Write};
use simulator::Disk;
use simulator::disk::{Ailment, DiskError, Fate};

#[derive(Default)]
struct Disks(Disk);

impl LogStoreFactory for Disks {
    type Store = Disk;

    fn open(&mut self) -> Result<Disk, DiskError> {
        Ok(self.0.clone())
    }

    fn crash(&mut self, store: Disk) {
        assert_eq!(store.lose_power(&[], &[]), Ok(0));
    }

    fn crash_during(&mut self, store: Disk, writes: &[Write], reached: Reached) {
        // A record that is cut short and one that is garbled look the same: the checksum is not right.
        let fate = match reached {
            Reached::Nothing => Fate::Missing,
            Reached::FirstHalf | Reached::Garbled => Fate::Torn,
            Reached::Everything => Fate::Whole,
        };
        let kept = store.lose_power(&[writes], &[fate]).expect("nothing that was synced is gone");
        assert_eq!(kept == 1, reached == Reached::Everything);
    }
}

#[test]
fn the_disk_keeps_every_promise_of_a_log_store() {
    run_all(Disks::default);
}

#[test]
fn a_disk_that_was_ill_keeps_what_it_confirmed() {
    let disk = Disk::new();
    disk.write(&[put(1, [entry(1, 1, "confirmed")])]).expect("writes");
    for (ailment, error) in [(Ailment::SyncFails, DiskError::SyncFailed), (Ailment::Full, DiskError::Full)] {
        disk.fall_ill(ailment);
        assert_eq!(disk.write(&[put(2, [entry(2, 1, "refused")])]), Err(error));
        disk.cure(ailment);
        let log = disk.recover(1 << 20).expect("is well again");
        assert_eq!((log.runs.last(), log.tail), (Some(LogIndex(1)), vec![entry(1, 1, "confirmed")]));
    }
}
