//! Where and with what it was measured.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use sha2::{Digest, Sha256};

use super::results::Conditions;
use crate::replicas::Failure;

/// What is asked of the disk: so many syncs of a page each.
const SYNCS: usize = 200;
const SYNC_BYTES: usize = 4096;

/// Now, as RFC 3339 in UTC.
pub fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

impl Conditions {
    /// Those of a comparison of this program that begins now, with its data in this directory.
    pub fn find(program: &Path, directory: &Path) -> Result<Conditions, Failure> {
        let version = said(Command::new(program).arg("--version"));
        Ok(Conditions {
            began: now(),
            ended: String::new(),
            commit: commit(program),
            program: version.unwrap_or_else(|| program.display().to_string()),
            program_digest: digest(program).unwrap_or_default(),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism()?.get() as u64,
            memory_bytes: field("/proc/meminfo", "MemTotal").map_or(0, |text| kib(&text) * 1024),
            kernel: line("/proc/sys/kernel/osrelease"),
            disk: disk(directory),
            fsync_us: fsync(directory)?.as_micros() as u64,
            emulation: "links go through a relay in user space, in the process of the runner".to_owned(),
            further: [
                ("largest receive buffer of a socket, in bytes".to_owned(), line("/proc/sys/net/core/rmem_max")),
                ("largest send buffer of a socket, in bytes".to_owned(), line("/proc/sys/net/core/wmem_max")),
            ]
            .into(),
        })
    }
}

/// The commit of the checkout that the program lies in, with `+` where its sources were changed since.
fn commit(program: &Path) -> String {
    let Some(place) = program.parent() else { return "unknown".to_owned() };
    let git = |arguments: &[&str]| said(Command::new("git").arg("-C").arg(place).args(arguments));
    match git(&["rev-parse", "--short=12", "HEAD"]) {
        Some(commit) if git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| text.is_empty()) => {
            commit
        }
        Some(commit) => commit + "+",
        None => "unknown".to_owned(),
    }
}

/// The SHA-256 of a file.
fn digest(path: &Path) -> Option<String> {
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path).ok()?, &mut hash).ok()?;
    Some(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a program that succeeds writes.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// A line `name : value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name).then(|| value.trim().to_owned())
    })
}

/// A number before `kB`.
fn kib(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// File system and device: of the mount that is nearest above the directory.
fn disk(directory: &Path) -> String {
    let directory = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mount_of(&mounts, &directory).unwrap_or_else(|| "unknown".to_owned())
}

/// Lines such as `/dev/vda / ext4 rw 0 0`.
fn mount_of(mounts: &str, directory: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?, words.next()?))
    });
    let above = mounts.filter(|(_, at, _)| directory.starts_with(at));
    above.max_by_key(|(_, at, _)| at.len()).map(|(device, _, kind)| format!("{kind} on {device}"))
}

/// The median of an fsync of 4 KiB.
fn fsync(directory: &Path) -> Result<Duration, Failure> {
    let path = directory.join("fsync");
    let mut file = File::create(&path)?;
    let mut took = Vec::new();
    for _ in 0..SYNCS {
        file.write_all(&[7; SYNC_BYTES])?;
        let since = Instant::now();
        file.sync_data()?;
        took.push(since.elapsed());
    }
    fs::remove_file(path)?;
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_disk_is_that_of_the_nearest_mount_above() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmpfoo xfs rw 0 0\n";
        assert_eq!(mount_of(mounts, Path::new("/tmp/a")).unwrap(), "tmpfs on tmpfs");
        assert_eq!(mount_of(mounts, Path::new("/home/a")).unwrap(), "ext4 on /dev/vda");
        assert_eq!(mount_of("", Path::new("/home/a")), None);
    }

    #[test]
    fn conditions_are_found_where_this_runs() {
        let directory = tempfile::tempdir().unwrap();
        let conditions = Conditions::find(Path::new("no-such-program"), directory.path()).unwrap();
        assert!(conditions.cores > 0 && conditions.memory_bytes > 0 && conditions.began.ends_with('Z'));
        assert_eq!(conditions.program, "no-such-program");
    }
}
