//! Snapshots on disks that are full or forget a bit: the old state stands, a clear error says why, and service goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kv_client::ClientError;

use crate::snapshot_scene::{Scene, Step, flip};
use crate::watch::{Mark, names_in, number_in, tables_in};

async fn a_full_disk_fails_a_snapshot_and_nothing_else(engine: &'static str) {
    let mut scene = Scene::start_powered(engine).await;
    scene.write_and_take().await;
    let id = scene.others()[0];
    let client = scene.cluster().client(&[id]);
    let (before, mark) = (names_in(&scene.shelf(id)), scene.cluster().mark(id));
    scene.powered.disks[&id].fill_beneath(&scene.shelf(id)).unwrap();
    for attempt in 0..3 {
        client.put("k", &format!("while the disk is full, {attempt}")).await.unwrap();
        let error = client.snapshot().await.unwrap_err();
        assert!(matches!(error, ClientError::Api { .. }), "{error:?}");
        assert!(error.to_string().contains("No space left on device"), "{error}");
    }
    let logged = scene.cluster().line(mark, "snapshot not taken").await;
    assert!(logged.contains("No space left on device"), "{logged}");
    let index = scene.cluster().status(id).await.unwrap().snapshot_index;
    assert_eq!(names_in(&scene.shelf(id)), before, "the old ones stand, and nothing besides");
    scene.powered.disks[&id].make_room().unwrap();
    assert!(client.snapshot().await.unwrap() > index);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_node_without_room_for_a_snapshot_says_so_and_goes_on() {
    a_full_disk_fails_a_snapshot_and_nothing_else("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paxos_node_without_room_for_a_snapshot_says_so_and_goes_on() {
    a_full_disk_fails_a_snapshot_and_nothing_else("paxos").await;
}

async fn a_full_disk_refuses_what_is_received(engine: &'static str) {
    let mut scene = Scene::start_powered(engine).await;
    scene.fall_behind().await;
    let behind = scene.behind;
    let incoming = scene.shelf(behind).join("incoming");
    scene.powered.disks[&behind].fill_beneath(&incoming).unwrap();
    let old = scene.cluster().inspect(behind);
    let mark = scene.run_behind();
    // Twice: it was tried again, and nothing has come of it again.
    for _ in 0..2 {
        let refused = Step::new("snapshot refused", 0.0);
        let from = [scene.cluster().mark(scene.others()[0]), scene.cluster().mark(scene.others()[1])];
        let found = scene.cluster().find_line(&from, |line| refused.is_shown_by(line), async || false).await;
        let (_, line) = found.unwrap();
        assert!(line.contains("No space left on device"), "{line}");
    }
    assert!(names_in(&incoming).is_empty(), "what was refused takes no room");
    let status = scene.cluster().status(behind).await.unwrap();
    assert!(status.applied_index <= old["commit_index"].as_u64().unwrap() + 1, "the old state stands: {status:?}");
    assert!(!scene.cluster().lines_since(mark).iter().any(|line| line.contains("snapshot installed")));
    assert!(!scene.powered.cluster.has_ended(behind));
    scene.powered.disks[&behind].make_room().unwrap();
    scene.level().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raft_node_without_room_for_what_it_is_sent_keeps_what_it_has() {
    a_full_disk_refuses_what_is_received("raft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paxos_node_without_room_for_what_it_is_sent_keeps_what_it_has() {
    a_full_disk_refuses_what_is_received("paxos").await;
}

/// Gives a file an inode of its own: what happens to it happens to no other name of it.
fn part_from_the_tables(path: &Path) {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(copy, path).unwrap();
}

/// All files of a snapshot are damaged before they are read. The sender finds out; another one is taken and sent.
async fn damage_at_rest_is_refused(engine: &'static str) {
    let mut scene = Scene::start(engine).await;
    scene.fall_behind().await;
    let others = scene.others();
    let files: Vec<PathBuf> = others.iter().flat_map(|id| tables_in(&scene.shelf(*id))).collect();
    files.iter().for_each(|path| part_from_the_tables(path));
    let marks: Vec<_> = others.iter().map(|id| scene.cluster().mark(*id)).collect();
    scene.run_behind();
    scene.reach(Step::new("sending a snapshot", 0.0), &marks).await.expect("a snapshot is sent");
    files.iter().filter(|path| path.exists()).for_each(|path| flip(path, 100));
    assert_named(&scene, &marks, "a snapshot was damaged on the disk").await;
    scene.level().await;
    scene.end().await;
}

/// The last large file of a snapshot, in the order in which they are sent.
struct LastLarge {
    path: PathBuf,
    /// How many bytes are sent before it.
    start: u64,
    /// How many bytes the snapshot has.
    of: u64,
}

impl LastLarge {
    /// So large that most of it is still to be sent when its first part is.
    const BYTES: u64 = 1 << 20;

    fn of(snapshot: &Path) -> LastLarge {
        let (mut of, mut last) = (0, None);
        // The manifest is no file of the stream.
        for name in names_in(snapshot).into_iter().filter(|name| name != "manifest") {
            let path = snapshot.join(name);
            let bytes = fs::metadata(&path).unwrap().len();
            if bytes >= LastLarge::BYTES {
                last = Some((path, of));
            }
            of += bytes;
        }
        let (path, start) = last.expect("a snapshot has large files");
        LastLarge { path, start, of }
    }

    /// The sender has read a part of it, and so has checked it.
    fn is_begun_by(&self, line: &str) -> bool {
        line.contains("snapshot part sent")
            && number_in(line, "of") == Some(self.of)
            && number_in(line, "through") > Some(self.start)
    }
}

/// The end of a file is damaged once the sender has checked it and before that end is sent, so that only the receiver can
/// find out. Another snapshot is taken and sent.
async fn damage_on_its_way_is_refused(engine: &'static str) {
    let mut scene = Scene::start(engine).await;
    scene.fall_behind().await;
    let others = scene.others();
    let snapshots = others.iter().flat_map(|id| tables_in(&scene.shelf(*id)));
    let snapshots: BTreeSet<PathBuf> = snapshots.map(|path| path.parent().unwrap().to_owned()).collect();
    let files: Vec<LastLarge> = snapshots.iter().map(|snapshot| LastLarge::of(snapshot)).collect();
    files.iter().for_each(|file| part_from_the_tables(&file.path));
    let marks: Vec<_> = others.iter().map(|id| scene.cluster().mark(*id)).collect();
    let mark = scene.run_behind();
    let is_begun = |line: &str| files.iter().any(|file| file.is_begun_by(line));
    let (_, line) = scene.cluster().find_line(&marks, is_begun, async || false).await.unwrap();
    files.iter().filter(|file| file.is_begun_by(&line)).for_each(|file| flip(&file.path, 100));
    assert_named(&scene, &[mark], "snapshot not installed").await;
    assert_named(&scene, &marks, "snapshot refused").await;
    scene.level().await;
    scene.end().await;
}

/// One of these logs has a line with these words, and it names the file.
async fn assert_named(scene: &Scene, marks: &[Mark], words: &str) {
    let found = scene.cluster().find_line(marks, |line| line.contains(words), async || false).await;
    let (_, line) = found.unwrap();
    assert!(line.contains(".sst") && line.contains("another checksum"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_and_paxos_do_not_send_a_snapshot_that_was_damaged_on_the_disk() {
    tokio::join!(damage_at_rest_is_refused("raft"), damage_at_rest_is_refused("paxos"));
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_and_paxos_do_not_install_a_snapshot_that_was_damaged_while_it_was_sent() {
    tokio::join!(damage_on_its_way_is_refused("raft"), damage_on_its_way_is_refused("paxos"));
}

/// The receiver dies with a good part of it on its disk, and finds it changed in the next life.
async fn damage_to_what_was_received_is_found(engine: &'static str) {
    let mut scene = Scene::start(engine).await;
    scene.fall_behind().await;
    let mark = scene.run_behind();
    scene.reach(Step::new("snapshot part received", 0.7), &[mark]).await.expect("most of it arrives");
    let behind = scene.behind;
    scene.powered.cluster.kill(behind);
    let received = tables_in(&scene.shelf(behind).join("incoming"));
    assert!(received.len() > 1, "{received:?}");
    received.iter().for_each(|path| flip(path, 100));
    let mark = scene.run_behind();
    let line = scene.cluster().line(mark, "another checksum").await;
    assert!(line.contains(".sst"), "{line}");
    scene.level().await;
    assert!(scene.cluster().lines_since(mark).iter().any(|line| line.contains("replica::applier: snapshot installed")));
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raft_and_paxos_fetch_again_what_was_damaged_after_it_was_received() {
    tokio::join!(damage_to_what_was_received_is_found("raft"), damage_to_what_was_received_is_found("paxos"));
}
