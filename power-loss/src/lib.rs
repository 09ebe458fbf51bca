//! Takes the power from a process's disk. `kill -9` cannot reveal a missing sync, because what was written stays in the
//! system's cache; here it does not.
//!
//! ```text
//!   process under test ──fsync──▶ hooks (LD_PRELOAD) ──▶ kernel       the files, under the root
//!                                   │ on success
//!                                   ▼
//!                                 shadow      inode ▶ its durable bytes · directory ▶ its durable names
//!                                   │
//!   test: kill -9, then ──────────▶ lose_power: the root becomes what the shadow says, and nothing else
//! ```
//!
//! One library of two shapes: as a shared object it is preloaded into the process, as a Rust library ([`Disk`]) it is
//! what the test holds. Linked into a test it lies over the C library's functions there as well, and passes all calls on.
//!
//! # The model: a disk that keeps nothing it was not told to keep
//!
//! * **Bytes** of a file are durable once an `fsync` or `fdatasync` *of that file*, begun after they were written, has
//!   succeeded. Nothing else counts: not time, not `close`, not `sync_file_range`, `msync`, `sync`, `O_SYNC`, and not the
//!   sync of a directory.
//! * **Names** are durable once the directory that they stand in was synced; a creation, a rename, a hard link or an
//!   unlink that came later is undone. The sync of a file makes no name of it durable (on ext4 it would, POSIX does not
//!   promise it). A durable name whose file was never synced is an empty file.
//! * **A sync that failed** ([`Disk::fail_next_sync`]) loses what it should have saved for good, as Linux does: the pages
//!   count as clean, so that the next sync succeeds and saves nothing of them. They come back as zeros.
//! * **A full disk** ([`Disk::fill`]) refuses every `write`, `pwrite`, `writev` and `fallocate` with `ENOSPC`; one that is
//!   full in places ([`Disk::fill_beneath`]) those to the files there.
//! * **The moment** of the failure is that of the kill, or a sync that is named ([`Disk::kill_at_sync`]).
//! * **Torn** ([`Remains::Torn`]): of each file's bytes that were not synced some survive all the same, as a shorter tail,
//!   with zeros where blocks were not written yet, or with holes.
//!
//! # Its limits
//!
//! * Files are written from front to back. What was synced and is then overwritten in place would have to be kept in two
//!   versions; [`Disk::lose_power`] compares, and panics where that happened. (RocksDB appends.)
//! * Of all the disks that a power failure may leave this is the most forgetful one, and with `Torn` a random one of those
//!   that forget less of the *bytes*. Names that were not synced never survive.
//! * Files that were open and had no name any more are gone, which is what a failure does. Directories are not removed
//!   while a process runs. Symbolic links, sockets and devices under the root are refused.
//! * The library sees what goes through the C library's dynamic symbols, not bare system calls.

#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

mod disk;
mod hooks;
mod shadow;

pub use disk::{Disk, Loss, Remains, library_beside};
