//! What survives a power failure, shown with a shell: `sync FILE` is one fsync of that file, `sync .` one of the directory.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Output};

use power_loss::{Disk, Loss, Remains, library_beside};
use tempfile::TempDir;

struct Bench {
    disk: Disk,
    _directory: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let directory = TempDir::new().unwrap();
        Bench { disk: Disk::new(directory.path()).unwrap(), _directory: directory }
    }

    /// Runs a script in the root of the disk, whatever becomes of it.
    fn try_run(&self, script: &str) -> Output {
        let library = library_beside(&std::env::current_exe().unwrap()).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-e", "-c", script]).current_dir(self.disk.root()).envs(self.disk.environment(&library));
        shell.output().unwrap()
    }

    fn run(&self, script: &str) {
        let output = self.try_run(script);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn lose_power(&self) -> Loss {
        self.disk.lose_power(Remains::Synced).unwrap()
    }

    /// The files in the root, and what is in them.
    fn files(&self) -> BTreeMap<String, String> {
        let file = |item: std::io::Result<fs::DirEntry>| {
            let path = item.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = if path.is_dir() {
                format!("{} inside", fs::read_dir(&path).unwrap().count())
            } else {
                String::from_utf8(fs::read(&path).unwrap()).unwrap()
            };
            (name, text)
        };
        fs::read_dir(self.disk.root()).unwrap().map(file).collect()
    }

    fn assert_files(&self, expected: &[(&str, &str)]) {
        let expected = expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        assert_eq!(self.files(), expected);
    }
}

#[test]
fn of_a_file_the_synced_bytes_remain_and_of_a_directory_the_synced_names() {
    let bench = Bench::new();
    bench.run("printf one > a; sync a; sync .; printf two >> a; printf three > b; sync b");
    assert_eq!(bench.lose_power(), Loss { bytes: 3 + 5, names: 1, returned: 0 });
    bench.assert_files(&[("a", "one")]);
}

#[test]
fn the_sync_of_a_directory_saves_no_bytes() {
    let bench = Bench::new();
    bench.run("printf one > a; sync .");
    bench.lose_power();
    bench.assert_files(&[("a", "")]);
}

#[test]
fn a_rename_and_an_unlink_are_undone_unless_their_directory_was_synced() {
    let bench = Bench::new();
    bench.run("printf old > a; printf temporary > t; printf b > b; sync a t b; sync .; mv t a; rm b");
    assert_eq!(bench.lose_power().returned, 2);
    bench.assert_files(&[("a", "old"), ("b", "b"), ("t", "temporary")]);
    bench.run("mv t a; rm b; sync .");
    bench.lose_power();
    bench.assert_files(&[("a", "temporary")]);
}

#[test]
fn a_new_file_is_not_taken_for_a_removed_one_whose_number_it_might_get() {
    let bench = Bench::new();
    bench.run("printf one > a; sync a; sync .; rm a; for n in 1 2 3 4 5 6 7 8; do printf $n > new$n; sync new$n; done");
    bench.lose_power();
    bench.assert_files(&[("a", "one")]);
}

#[test]
fn a_directory_needs_its_own_name_and_the_names_in_it() {
    let bench = Bench::new();
    bench.run("mkdir lost named full; for d in lost full; do printf x > $d/x; sync $d/x; sync $d; done; rmdir lost/none 2>/dev/null || true");
    bench.lose_power();
    bench.assert_files(&[]);
    bench.run("mkdir named full; printf x > named/x; sync named/x; printf x > full/x; sync full/x; sync full; sync .");
    bench.lose_power();
    bench.assert_files(&[("full", "1 inside"), ("named", "0 inside")]);
}

#[test]
fn two_names_of_one_file_stay_names_of_one_file() {
    let bench = Bench::new();
    bench.run("printf one > a; ln a b; sync a; sync .");
    bench.lose_power();
    bench.run("printf two >> a; sync b");
    bench.lose_power();
    bench.assert_files(&[("a", "onetwo"), ("b", "onetwo")]);
}

#[test]
fn a_file_that_was_cut_off_and_synced_stays_short() {
    let bench = Bench::new();
    bench.run("printf 123456 > a; sync a; sync .; truncate -s 2 a; sync a");
    bench.lose_power();
    bench.assert_files(&[("a", "12")]);
}

#[test]
#[should_panic(expected = "overwritten in place")]
fn a_synced_file_that_is_overwritten_is_beyond_the_model_and_says_so() {
    let bench = Bench::new();
    bench.run("printf one > a; sync a; sync .; printf two > a");
    bench.lose_power();
}

#[test]
#[should_panic(expected = "no process ran")]
fn a_disk_on_which_nobody_was_watched_says_so() {
    Bench::new().lose_power();
}

#[test]
fn what_a_failed_sync_should_have_saved_is_gone_although_the_next_one_succeeds() {
    let bench = Bench::new();
    bench.run("printf one > a; sync a; sync .");
    bench.disk.fail_next_sync().unwrap();
    assert!(!bench.disk.has_sync_failed());
    let output = bench.try_run("printf two >> a; sync a");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Input/output error"));
    assert!(bench.disk.has_sync_failed());
    bench.run("printf three >> a; sync a");
    bench.lose_power();
    bench.assert_files(&[("a", "one\0\0\0three")]);
}

#[test]
fn a_process_can_be_made_to_die_at_any_of_its_syncs() {
    for last in 1..=3 {
        let bench = Bench::new();
        bench.run("printf x > a; printf y > b; sync a b .");
        bench.disk.kill_at_sync(last).unwrap();
        let output = bench.try_run("printf 1 >> a; printf 2 >> b; exec sync a b .");
        assert!(!output.status.success());
        bench.lose_power();
        let expected = [("x", "y"), ("x1", "y"), ("x1", "y2")][usize::try_from(last).unwrap() - 1];
        bench.assert_files(&[("a", expected.0), ("b", expected.1)]);
    }
}

#[test]
fn on_a_full_disk_nothing_is_written_until_there_is_room() {
    let bench = Bench::new();
    bench.disk.fill().unwrap();
    let output = bench.try_run("printf one | dd of=a");
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
    bench.disk.make_room().unwrap();
    bench.run("printf one | dd of=a conv=fsync; sync .");
    bench.lose_power();
    bench.assert_files(&[("a", "one")]);
}

#[test]
fn a_disk_that_is_full_in_one_place_has_room_in_the_others() {
    let bench = Bench::new();
    bench.run("mkdir full");
    bench.disk.fill_beneath(&bench.disk.root().join("full")).unwrap();
    let output = bench.try_run("printf one | dd of=full/a");
    assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
    bench.run("printf one | dd of=b; printf two | dd of=full-not");
    bench.disk.make_room().unwrap();
    bench.run("printf one | dd of=full/a");
}

#[test]
fn torn_keeps_what_was_synced_and_adds_no_byte_that_was_not_written() {
    let (mut shorter, mut holes, mut whole) = (0, 0, 0);
    for seed in 0..60 {
        let bench = Bench::new();
        bench.run("printf synced > a; sync a; sync .; head -c 20000 /dev/zero | tr '\\0' x >> a");
        bench.disk.lose_power(Remains::Torn(seed)).unwrap();
        let text = bench.files()["a"].clone();
        let tail = text.strip_prefix("synced").unwrap();
        assert!(tail.len() <= 20_000 && tail.bytes().all(|byte| byte == b'x' || byte == 0));
        shorter += usize::from(tail.len() < 20_000);
        holes += usize::from(tail.contains('\0'));
        whole += usize::from(tail.len() == 20_000);
    }
    assert!(shorter > 0 && holes > 0 && whole > 0, "{shorter} {holes} {whole}");
}
