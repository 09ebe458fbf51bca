//! What is durable, noted in a directory of its own next to the files: written by the hooks, read after the kill.
//!
//! ```text
//!   17.live      a hard link to the file with inode 17: while it stands no other file can get that number
//!   17.durable   those of its bytes that were synced
//!   12.names     what the directory with inode 12 held when it was last synced
//! ```
//!
//! Every step is one that a kill may cut in two: bytes are only appended, and half of them is a torn write that nobody
//! was told of; names are replaced by a rename.

use std::ffi::{CString, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The number of a file or directory.
pub(crate) type Inode = u64;

const COPY_BYTES: u64 = 1 << 20;
/// There once a process has noted anything here.
const WATCHED: &str = "watched";
/// A test puts it there, and the next sync takes it away.
const FAIL_NEXT_SYNC: &str = "fail-next-sync";
/// There once a sync was made to fail.
const SYNC_FAILED: &str = "sync-failed";
/// Says how many syncs a process lives to see.
const KILL_AT_SYNC: &str = "kill-at-sync";
/// There while the disk is full; says beneath which path.
const FULL: &str = "full";

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) inode: Inode,
    pub(crate) is_directory: bool,
}

/// The notes of one disk.
#[derive(Clone, Debug)]
pub(crate) struct Shadow {
    directory: PathBuf,
}

impl Shadow {
    pub(crate) fn at(directory: PathBuf) -> Shadow {
        Shadow { directory }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file itself, whatever became of its names.
    pub(crate) fn live(&self, inode: Inode) -> PathBuf {
        self.directory.join(format!("{inode}.live"))
    }

    /// The bytes of it that are durable.
    pub(crate) fn durable(&self, inode: Inode) -> PathBuf {
        self.directory.join(format!("{inode}.durable"))
    }

    fn names(&self, inode: Inode) -> PathBuf {
        self.directory.join(format!("{inode}.names"))
    }

    /// Holds a file, so that its number stays its own; `None` where it has no name any more. `path` may be a link to it
    /// under `/proc/self/fd`.
    pub(crate) fn pin(&self, path: &Path) -> io::Result<Option<Inode>> {
        let held = self.directory.join("pin");
        if held.exists() {
            // A process was killed between the next lines.
            fs::remove_file(&held)?;
        }
        match link(path, &held) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            outcome => outcome?,
        }
        // Looked at only now: the name may have changed hands before the link was made.
        let inode = fs::metadata(&held)?.ino();
        match fs::hard_link(&held, self.live(inode)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::remove_file(&held)?,
        }
        Ok(Some(inode))
    }

    /// The first `length` bytes of a pinned file are durable.
    pub(crate) fn publish_bytes(&self, inode: Inode, length: u64) -> io::Result<()> {
        let live = File::open(self.live(inode))?;
        let durable = OpenOptions::new().create(true).append(true).open(self.durable(inode))?;
        let mut done = durable.metadata()?.len();
        let present = live.metadata()?.len();
        if present < done {
            durable.set_len(present)?;
            done = present;
        }
        let mut buffer = Vec::new();
        while done < length.min(present) {
            let bytes = COPY_BYTES.min(length.min(present) - done);
            buffer.resize(usize::try_from(bytes).map_err(io::Error::other)?, 0);
            live.read_exact_at(&mut buffer, done)?;
            io::Write::write_all(&mut &durable, &buffer)?;
            done += bytes;
        }
        Ok(())
    }

    /// Those of the first `length` bytes that are not durable yet never will be.
    pub(crate) fn forfeit_bytes(&self, inode: Inode, length: u64) -> io::Result<()> {
        let durable = OpenOptions::new().create(true).append(true).open(self.durable(inode))?;
        if durable.metadata()?.len() < length { durable.set_len(length) } else { Ok(()) }
    }

    /// What stands in a directory now; holds the files in it.
    pub(crate) fn list(&self, directory: &Path) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for item in fs::read_dir(directory)? {
            let item = item?;
            let name = item.file_name().into_string().map_err(|name| unexpected(&name, "is not in UTF-8"))?;
            let kind = item.file_type()?;
            let inode = if kind.is_dir() {
                Some(item.ino())
            } else if kind.is_file() {
                self.pin(&item.path())?
            } else {
                return Err(unexpected(&name, "is neither a file nor a directory"));
            };
            // One that has gone meanwhile may as well have gone before.
            names.extend(inode.map(|inode| Name { name, inode, is_directory: kind.is_dir() }));
        }
        Ok(names)
    }

    /// The directory holds durably `names`.
    pub(crate) fn publish_names(&self, directory: Inode, names: &[Name]) -> io::Result<()> {
        let line = |name: &Name| format!("{} {} {}\n", u8::from(name.is_directory), name.inode, name.name);
        let written = self.directory.join("names");
        fs::write(&written, names.iter().map(line).collect::<String>())?;
        fs::rename(written, self.names(directory))
    }

    /// What the directory holds durably: nothing if it was never synced.
    pub(crate) fn durable_names(&self, directory: Inode) -> io::Result<Vec<Name>> {
        let text = match fs::read_to_string(self.names(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        let parse = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            let is_directory = parts.next()? == "1";
            let inode = parts.next()?.parse().ok()?;
            Some(Name { is_directory, inode, name: parts.next()?.to_owned() })
        };
        text.lines().map(|line| parse(line).ok_or_else(|| unexpected(line, "is no line of names"))).collect()
    }

    /// Every file that is held.
    pub(crate) fn pinned(&self) -> io::Result<Vec<Inode>> {
        let mut inodes = Vec::new();
        for item in fs::read_dir(&self.directory)? {
            let name = item?.file_name();
            let inode = name.to_str().and_then(|name| name.strip_suffix(".live"));
            inodes.extend(inode.and_then(|inode| inode.parse::<Inode>().ok()));
        }
        Ok(inodes)
    }

    pub(crate) fn note_watched(&self) -> io::Result<()> {
        self.raise(WATCHED)
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.directory.join(WATCHED).exists()
    }

    pub(crate) fn arm_sync_failure(&self) -> io::Result<()> {
        self.raise(FAIL_NEXT_SYNC)
    }

    /// Whether this sync is the one to fail. The rename succeeds for one caller only.
    pub(crate) fn take_sync_failure(&self) -> bool {
        fs::rename(self.directory.join(FAIL_NEXT_SYNC), self.directory.join(SYNC_FAILED)).is_ok()
    }

    pub(crate) fn has_sync_failed(&self) -> bool {
        self.directory.join(SYNC_FAILED).exists()
    }

    pub(crate) fn arm_kill(&self, sync: u64) -> io::Result<()> {
        fs::write(self.directory.join(KILL_AT_SYNC), sync.to_string())
    }

    /// The sync that a process does not survive, counted from 1.
    pub(crate) fn kill_at_sync(&self) -> Option<u64> {
        fs::read_to_string(self.directory.join(KILL_AT_SYNC)).ok()?.parse().ok()
    }

    /// There is no room for what stands in `place` or beneath it.
    pub(crate) fn fill(&self, place: &Path) -> io::Result<()> {
        let written = self.directory.join("filling");
        fs::write(&written, place.as_os_str().as_bytes())?;
        fs::rename(written, self.directory.join(FULL))
    }

    pub(crate) fn make_room(&self) -> io::Result<()> {
        fs::remove_file(self.directory.join(FULL))
    }

    /// Where there is no room.
    pub(crate) fn full(&self) -> Option<PathBuf> {
        let place = fs::read(self.directory.join(FULL)).ok()?;
        Some(PathBuf::from(OsString::from_vec(place)))
    }

    fn raise(&self, flag: &str) -> io::Result<()> {
        File::create(self.directory.join(flag)).map(drop)
    }
}

fn unexpected(what: &(impl std::fmt::Debug + ?Sized), is: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what:?} {is}"))
}

/// A hard link to what `path` leads to; the standard library's would be one to the symbolic link.
fn link(path: &Path, to: &Path) -> io::Result<()> {
    let (path, to) = (CString::new(path.as_os_str().as_bytes())?, CString::new(to.as_os_str().as_bytes())?);
    #[allow(unsafe_code)]
    // SAFETY: both are strings that end with a zero byte and live until the call returns.
    let outcome =
        unsafe { libc::linkat(libc::AT_FDCWD, path.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
