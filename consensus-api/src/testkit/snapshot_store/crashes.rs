//! Claims about power failures around an installation.

use crate::snapshot::SnapshotStore;
use crate::tables::Tables;

use super::{PIECE_BYTES, SnapshotDisk, pair};

/// More points than any installation has.
const POINTS_MAX: u32 = 500;

/// Whatever the power takes, the tables are the old ones or the new ones; what is left over is removed; and the
/// installation can be done again.
pub fn an_installation_is_survived_at_every_point<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, manifest, _) = pair(blank, 50);
    let stream = source.stream(&manifest, PIECE_BYTES);
    let mut outcomes = Vec::new();
    for point in 0..POINTS_MAX {
        let mut disk = blank();
        let target = disk.open();
        target.write(1..=12);
        target.tables.flush().expect("flushes");
        target.receive_until(&manifest, &stream, stream.len());
        disk.close(target);
        let cut_off = disk.crash_during_install(&manifest, point);

        let target = disk.open();
        let batch = target.batch();
        let installed = target.store.installed().expect("reads");
        match batch {
            12 => assert_eq!(installed, None, "the old tables were installed nowhere"),
            50 => assert_eq!(installed, Some(manifest.position), "the new tables say where they come from"),
            _ => panic!("batch {batch} is neither old nor new"),
        }
        assert_eq!(disk.strays(), [""; 0], "after point {point}");
        target.install_from(&source, &manifest);
        assert_eq!((target.batch(), target.kept()), (50, vec![manifest.clone()]));
        assert_eq!(disk.strays(), [""; 0], "after point {point} and another installation");
        outcomes.push(batch);
        if !cut_off {
            assert_eq!(batch, 50, "an installation that was through has happened");
            assert!(outcomes.is_sorted(), "there is one point from which on the new tables are live: {outcomes:?}");
            assert!(outcomes.contains(&12), "no crash left the old tables");
            return;
        }
    }
    panic!("the installation had more than {POINTS_MAX} points");
}

/// An installation that returned is durable, and tells where it was until something newer takes its place.
pub fn what_was_installed_survives_a_crash<D: SnapshotDisk>(blank: &mut dyn FnMut() -> D) {
    let (source, first, mut disk) = pair(blank, 30);
    let mut target = disk.open();
    assert_eq!(target.store.installed().expect("reads"), None);
    target.install_from(&source, &first);
    for _ in 0..2 {
        assert_eq!((target.batch(), target.store.installed().expect("reads")), (30, Some(first.position)));
        disk.crash(target);
        target = disk.open();
    }
    source.write(31..=60);
    let second = source.take();
    target.install_from(&source, &second);
    disk.crash(target);
    let target = disk.open();
    assert_eq!((target.batch(), target.store.installed().expect("reads")), (60, Some(second.position)));
    assert_eq!(target.kept(), [second, first]);
}
