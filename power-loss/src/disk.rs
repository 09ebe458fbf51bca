//! The test's side: a disk to run a process on, to spoil, and to take the power from.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::hooks;
use crate::shadow::{Inode, Shadow};

const LIBRARY: &str = "libpower_loss.so";
const BLOCK_BYTES: usize = 4096;

/// What a power failure leaves of bytes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Nothing.
    Synced,
    /// Of each file something else, drawn from this seed.
    Torn(u64),
}

/// What a power failure took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Bytes at the ends of files, and of files without a name.
    pub bytes: u64,
    /// Names that are not there any more.
    pub names: usize,
    /// Names that are there again: their removal was not durable.
    pub returned: usize,
}

/// A directory whose files outlive the processes that write them, and of which a power failure leaves only what they
/// synced. Processes on it have to be started with its [`environment`](Disk::environment).
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    shadow: Shadow,
}

impl Disk {
    /// A disk in `directory`, which is made: the files stand in `files` within it. What stands there already is durable.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(directory: &Path) -> io::Result<Disk> {
        let (root, shadow) = (directory.join("files"), directory.join("durable"));
        fs::create_dir_all(&root)?;
        fs::create_dir_all(&shadow)?;
        let disk = Disk { root: root.canonicalize()?, shadow: Shadow::at(shadow.canonicalize()?) };
        disk.settle()?;
        Ok(disk)
    }

    /// Where the files stand.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What to set in the environment of a process on this disk. `library` is what [`library_beside`] found.
    pub fn environment(&self, library: &Path) -> [(&'static str, OsString); 3] {
        [
            ("LD_PRELOAD", library.into()),
            (hooks::ROOT, self.root.clone().into()),
            (hooks::SHADOW, self.shadow.directory().into()),
        ]
    }

    /// Makes the files what is durable of them. All processes on the disk must have been killed.
    ///
    /// # Errors
    /// What the system says.
    ///
    /// # Panics
    /// If no process ran here with the library preloaded, or one overwrote what it had synced: both would make the
    /// outcome meaningless.
    pub fn lose_power(&self, remains: Remains) -> io::Result<Loss> {
        assert!(self.shadow.is_watched(), "no process ran on {} with the library preloaded", self.root.display());
        self.check_append_only()?;
        let before = sizes(&self.root)?;
        let root = fs::metadata(&self.root)?.ino();
        clear(&self.root)?;
        Rebuild { shadow: &self.shadow, remains, placed: BTreeMap::new() }.directory(root, &self.root)?;
        let after = sizes(&self.root)?;
        self.settle()?;
        let lost = |(path, bytes): (&PathBuf, &u64)| bytes.saturating_sub(after.get(path).copied().unwrap_or(0));
        Ok(Loss {
            bytes: before.iter().map(lost).sum(),
            names: before.keys().filter(|path| !after.contains_key(*path)).count(),
            returned: after.keys().filter(|path| !before.contains_key(*path)).count(),
        })
    }

    /// The next sync of anything on the disk fails.
    ///
    /// # Errors
    /// What the system says.
    pub fn fail_next_sync(&self) -> io::Result<()> {
        self.shadow.arm_sync_failure()
    }

    /// Whether that sync has taken place.
    pub fn has_sync_failed(&self) -> bool {
        self.shadow.has_sync_failed()
    }

    /// The next process dies at its `sync`-th sync, counted from 1, before that has any effect: so a test visits one by one
    /// the moments between which it matters when the power fails.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill_at_sync(&self, sync: u64) -> io::Result<()> {
        self.shadow.arm_kill(sync)
    }

    /// From now on there is no room for anything.
    ///
    /// # Errors
    /// What the system says.
    pub fn fill(&self) -> io::Result<()> {
        self.shadow.fill(&self.root)
    }

    /// From now on there is no room for what stands in `place`, a path under the root, or beneath it: as with a quota, or
    /// where what stands there is the first that needs more. It need not be there yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn fill_beneath(&self, place: &Path) -> io::Result<()> {
        self.shadow.fill(place)
    }

    /// There is room again.
    ///
    /// # Errors
    /// What the system says; also where the disk was not full.
    pub fn make_room(&self) -> io::Result<()> {
        self.shadow.make_room()
    }

    /// Begins the notes anew: everything that is there is durable.
    fn settle(&self) -> io::Result<()> {
        clear(self.shadow.directory())?;
        let mut waiting = vec![self.root.clone()];
        while let Some(directory) = waiting.pop() {
            let names = self.shadow.list(&directory)?;
            self.shadow.publish_names(fs::metadata(&directory)?.ino(), &names)?;
            for name in names {
                if name.is_directory {
                    waiting.push(directory.join(name.name));
                } else {
                    self.shadow.publish_bytes(name.inode, u64::MAX)?;
                }
            }
        }
        Ok(())
    }

    /// After a sync that failed there are zeros where nothing was overwritten; then it cannot be told.
    fn check_append_only(&self) -> io::Result<()> {
        if self.shadow.has_sync_failed() {
            return Ok(());
        }
        for inode in self.shadow.pinned()? {
            let live = fs::read(self.shadow.live(inode))?;
            let durable = read_if_there(&self.shadow.durable(inode))?;
            let common = live.len().min(durable.len());
            assert!(live[..common] == durable[..common], "inode {inode} was synced and then overwritten in place");
        }
        Ok(())
    }
}

/// Finds the shared object next to a program that Cargo built, or in the folder `deps` there.
///
/// # Errors
/// Where it is in neither.
pub fn library_beside(program: &Path) -> io::Result<PathBuf> {
    let folder = program.parent().unwrap_or(program);
    let places = [folder.join("deps").join(LIBRARY), folder.join(LIBRARY)];
    places.into_iter().find(|place| place.exists()).ok_or_else(|| {
        let problem = format!(
            "there is no {LIBRARY} in {} or its deps; build it with 'cargo build --release -p power-loss'",
            folder.display()
        );
        io::Error::new(io::ErrorKind::NotFound, problem)
    })
}

/// Puts together what is durable.
struct Rebuild<'a> {
    shadow: &'a Shadow,
    remains: Remains,
    /// Files that have a name already, for those that have several.
    placed: BTreeMap<Inode, PathBuf>,
}

impl Rebuild<'_> {
    fn directory(&mut self, inode: Inode, path: &Path) -> io::Result<()> {
        for name in self.shadow.durable_names(inode)? {
            let place = path.join(&name.name);
            if name.is_directory {
                fs::create_dir(&place)?;
                self.directory(name.inode, &place)?;
            } else if let Some(other) = self.placed.get(&name.inode) {
                fs::hard_link(other, &place)?;
            } else {
                fs::write(&place, self.bytes(name.inode)?)?;
                self.placed.insert(name.inode, place);
            }
        }
        Ok(())
    }

    fn bytes(&self, inode: Inode) -> io::Result<Vec<u8>> {
        let mut bytes = read_if_there(&self.shadow.durable(inode))?;
        if let Remains::Torn(seed) = self.remains {
            let live = fs::read(self.shadow.live(inode))?;
            if live.len() > bytes.len() {
                tear(&mut bytes, &live, &mut Chance(seed ^ inode));
            }
        }
        Ok(bytes)
    }
}

/// Adds to the synced bytes of a file some that were not: nothing, a part of them, a part and zeros up to their end
/// (the length was saved before the blocks), or some blocks and not others.
fn tear(bytes: &mut Vec<u8>, live: &[u8], chance: &mut Chance) {
    let synced = bytes.len();
    let kept = synced + chance.below(live.len() - synced + 1);
    match chance.below(4) {
        0 => {}
        1 => bytes.extend_from_slice(&live[synced..kept]),
        2 => {
            bytes.extend_from_slice(&live[synced..kept]);
            bytes.resize(live.len(), 0);
        }
        _ => {
            bytes.extend_from_slice(&live[synced..]);
            let mut block = synced;
            while block < bytes.len() {
                let end = ((block / BLOCK_BYTES + 1) * BLOCK_BYTES).min(bytes.len());
                if chance.below(2) == 0 {
                    bytes[block..end].fill(0);
                }
                block = end;
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    /// A number below `bound`, which is not zero. Not quite uniform, which does not matter here.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits % bound as u64) as usize
    }
}

fn read_if_there(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        file => drop(file?.read_to_end(&mut bytes)?),
    }
    Ok(bytes)
}

/// Every file beneath `root`, and its length.
fn sizes(root: &Path) -> io::Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for item in fs::read_dir(directory)? {
            let item = item?;
            if item.file_type()?.is_dir() {
                waiting.push(item.path());
            } else {
                found.insert(item.path(), item.metadata()?.len());
            }
        }
    }
    Ok(found)
}

/// Removes what stands in a directory, and leaves the directory: it keeps its number.
fn clear(directory: &Path) -> io::Result<()> {
    for item in fs::read_dir(directory)? {
        let item = item?;
        if item.file_type()?.is_dir() { fs::remove_dir_all(item.path())? } else { fs::remove_file(item.path())? }
    }
    Ok(())
}
