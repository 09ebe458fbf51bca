//! The functions of the C library that lie over its own in a process that was started with this library preloaded.
//!
//! Each is the bare system call, with a look before and a note after. What counts is the state at the *beginning* of a
//! sync: what others write while it runs may or may not be saved by it.
//!
//! The notes are made with the same functions (`write` of a note comes back here): that goes well because only `fsync`
//! and `fdatasync` take the lock, and nothing here calls those.

#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::mem;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_long, c_void, iovec, off_t, size_t, ssize_t};

use crate::shadow::{Inode, Name, Shadow};

/// The directory whose files are watched.
pub(crate) const ROOT: &str = "POWER_LOSS_DIR";
/// Where what is durable is noted.
pub(crate) const SHADOW: &str = "POWER_LOSS_SHADOW";

/// What is watched in this process.
struct Watch {
    root: PathBuf,
    shadow: Shadow,
    noting: Mutex<()>,
    syncs: AtomicU64,
    kill_at: Option<u64>,
}

/// What is about to be synced, as it is at this moment.
enum Subject {
    Bytes { inode: Inode, length: u64 },
    Names { inode: Inode, names: Vec<Name> },
}

impl Watch {
    /// `None` where nothing is watched: in every process but the one that the test started for it.
    fn get() -> Option<&'static Watch> {
        static WATCH: OnceLock<Option<Watch>> = OnceLock::new();
        let watch = WATCH.get_or_init(|| {
            let (root, shadow) = (std::env::var_os(ROOT)?, std::env::var_os(SHADOW)?);
            let shadow = Shadow::at(PathBuf::from(shadow));
            let (noting, syncs, kill_at) = (Mutex::new(()), AtomicU64::new(0), shadow.kill_at_sync());
            let watch = Watch { root: root.into(), shadow, noting, syncs, kill_at };
            watch.shadow.note_watched().unwrap_or_else(|error| give_up("note that this process is watched", &error));
            Some(watch)
        });
        watch.as_ref()
    }

    /// Where an open file or directory stands, if it is under the root.
    fn path(&self, fd: c_int) -> Option<PathBuf> {
        fs::read_link(format!("/proc/self/fd/{fd}")).ok().filter(|path| path.starts_with(&self.root))
    }

    fn subject(&self, fd: c_int) -> io::Result<Option<Subject>> {
        let Some(path) = self.path(fd) else { return Ok(None) };
        let opened = PathBuf::from(format!("/proc/self/fd/{fd}"));
        let metadata = fs::metadata(&opened)?;
        if metadata.is_dir() {
            return Ok(Some(Subject::Names { inode: metadata.ino(), names: self.shadow.list(&path)? }));
        }
        let inode = self.shadow.pin(&opened)?;
        Ok(inode.map(|inode| Subject::Bytes { inode, length: metadata.len() }))
    }

    fn publish(&self, subject: &Subject) -> io::Result<()> {
        match subject {
            Subject::Bytes { inode, length } => self.shadow.publish_bytes(*inode, *length),
            Subject::Names { inode, names } => self.shadow.publish_names(*inode, names),
        }
    }

    fn forfeit(&self, subject: &Subject) -> io::Result<()> {
        match subject {
            Subject::Bytes { inode, length } => self.shadow.forfeit_bytes(*inode, *length),
            Subject::Names { .. } => Ok(()),
        }
    }

    /// Does not return if the process was not to live longer than this.
    fn count_sync(&self) {
        let count = self.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        while self.kill_at.is_some_and(|last| count >= last) {
            // SAFETY: numbers only. Again, because the signal may reach another thread first.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    }

    /// Runs alone: two syncs at once would append the same bytes twice.
    fn note<T>(&self, doing: &str, work: impl FnOnce() -> io::Result<T>) -> T {
        let _alone = self.noting.lock().unwrap_or_else(PoisonError::into_inner);
        work().unwrap_or_else(|error| give_up(doing, &error))
    }
}

/// A note that is missing would be taken for data that were lost: better no process than a wrong verdict.
fn give_up(doing: &str, error: &io::Error) -> ! {
    eprintln!("power-loss: cannot {doing}: {error}");
    std::process::abort()
}

fn fail(error: c_int) {
    // SAFETY: the C library gives each thread an errno of its own, which lives as long as the thread.
    unsafe { *libc::__errno_location() = error };
}

fn sync(fd: c_int, call: c_long) -> c_int {
    // SAFETY: both syncs take a number and touch no memory of this process.
    let sync = || unsafe { libc::syscall(call, fd) };
    let Some(watch) = Watch::get() else { return narrow(sync()) };
    let Some(subject) = watch.note("look at what is synced", || watch.subject(fd)) else { return narrow(sync()) };
    watch.count_sync();
    if watch.shadow.take_sync_failure() {
        watch.note("note a failed sync", || watch.forfeit(&subject));
        fail(libc::EIO);
        return -1;
    }
    let outcome = sync();
    if outcome == 0 {
        watch.note("note what was synced", || watch.publish(&subject));
    }
    narrow(outcome)
}

/// Both are 0 or -1.
fn narrow(outcome: c_long) -> c_int {
    if outcome == 0 { 0 } else { -1 }
}

fn has_no_room(fd: c_int) -> bool {
    let full = Watch::get().is_some_and(|watch| {
        watch.shadow.full().is_some_and(|place| watch.path(fd).is_some_and(|path| path.starts_with(place)))
    });
    if full {
        fail(libc::ENOSPC);
    }
    full
}

// SAFETY, for the names of all functions below: each has the C library's signature and does what the C library's does.

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    sync(fd, libc::SYS_fdatasync)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    if has_no_room(fd) {
        return -1;
    }
    // SAFETY: the caller vouches for `count` bytes at `bytes`, as it would to the C library.
    let written = unsafe { libc::syscall(libc::SYS_write, fd, bytes, count) };
    long(written)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    if has_no_room(fd) {
        return -1;
    }
    // SAFETY: the caller vouches for `count` parts at `parts` and for what they point to.
    let written = unsafe { libc::syscall(libc::SYS_writev, fd, parts, count) };
    long(written)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    if has_no_room(fd) {
        return -1;
    }
    // SAFETY: the caller vouches for `count` bytes at `bytes`.
    let written = unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes, count, offset) };
    long(written)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, bytes: *const c_void, count: size_t, offset: off_t) -> ssize_t {
    // SAFETY: as the caller vouches; on 64 bits it is the same function.
    unsafe { pwrite(fd, bytes, count, offset) }
}

#[unsafe(no_mangle)]
extern "C" fn fallocate(fd: c_int, mode: c_int, offset: off_t, length: off_t) -> c_int {
    if has_no_room(fd) {
        return -1;
    }
    // SAFETY: numbers only.
    narrow(unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, length) })
}

/// `long` and `ssize_t` are one size on 64 bits.
fn long(written: c_long) -> ssize_t {
    const { assert!(mem::size_of::<c_long>() == mem::size_of::<ssize_t>()) };
    written as ssize_t
}
