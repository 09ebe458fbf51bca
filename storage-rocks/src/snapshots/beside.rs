//! What is done to a snapshot's files beside its stream, so that neither waits for the other: the next file is checked
//! while this one is sent, what has arrived is synced while more arrives.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ScopedJoinHandle};

use consensus_api::{SnapshotFile, SnapshotId, SnapshotManifest};

use super::manifest;
use crate::error::StorageError;
use crate::files;

type Outcome = Result<(), StorageError>;

/// The most files that are synced at a time.
const SYNCS_MAX: usize = 2;
/// How many threads check a snapshot that has arrived.
const CHECKERS: usize = 2;

/// The check of the file that a stream comes to next.
#[derive(Default)]
pub(crate) struct NextCheck(Mutex<Option<(SnapshotId, usize, JoinHandle<Outcome>)>>);

impl NextCheck {
    /// Makes sure of file number `at` of the snapshot in `place`, and begins with the one after it. Several streams at a
    /// time take it from each other, and check for themselves then.
    pub(crate) fn check(&self, place: &Path, snapshot: &SnapshotManifest, at: usize) -> Outcome {
        let begun = self.lock().take();
        let outcome = match begun {
            Some((id, number, check)) if (id, number) == (snapshot.id, at) => join(check),
            _ => manifest::check_file(place, snapshot.id, &snapshot.files[at]),
        };
        if let Some(next) = snapshot.files.get(at + 1) {
            let (place, id, next) = (place.to_owned(), snapshot.id, next.clone());
            let check = spawn(move || manifest::check_file(&place, id, &next));
            // Without a thread it is checked when it is its turn.
            *self.lock() = check.map(|check| (snapshot.id, at + 1, check));
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, Option<(SnapshotId, usize, JoinHandle<Outcome>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files on their way to the disk.
#[derive(Default)]
pub(crate) struct Syncs(VecDeque<JoinHandle<Outcome>>);

impl Syncs {
    /// Begins to sync a file that is written; waits for an earlier one where too many are under way.
    pub(crate) fn begin(&mut self, path: PathBuf) -> Outcome {
        if self.0.len() >= SYNCS_MAX
            && let Some(oldest) = self.0.pop_front()
        {
            join(oldest)?;
        }
        let moved = path.clone();
        match spawn(move || files::sync_file(&moved)) {
            Some(sync) => self.0.push_back(sync),
            None => files::sync_file(&path)?,
        }
        Ok(())
    }

    /// Waits until all of them are durable.
    pub(crate) fn finish(&mut self) -> Outcome {
        // All of them, so that none goes on in a directory that is given up.
        let outcomes: Vec<Outcome> = self.0.drain(..).map(join).collect();
        outcomes.into_iter().collect()
    }
}

/// Makes sure that the files in `directory` are what the manifest says, a few at a time.
pub(crate) fn check_all(directory: &Path, id: SnapshotId, files: &[SnapshotFile]) -> Outcome {
    thread::scope(|scope| {
        let check = |first: usize| {
            let mut mine = files.iter().skip(first).step_by(CHECKERS);
            mine.try_for_each(|file| manifest::check_file(directory, id, file))
        };
        let others: Vec<_> = (1..CHECKERS)
            .map(|first| thread::Builder::new().spawn_scoped(scope, move || check(first)).map_err(|_| first))
            .collect();
        let outcome = check(0);
        let finish = |other: Result<ScopedJoinHandle<'_, Outcome>, usize>| match other {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            // There was no thread for it.
            Err(first) => check(first),
        };
        others.into_iter().map(finish).fold(outcome, Result::and)
    })
}

fn spawn(work: impl FnOnce() -> Outcome + Send + 'static) -> Option<JoinHandle<Outcome>> {
    thread::Builder::new().name("snapshot-files".into()).spawn(work).ok()
}

fn join(thread: JoinHandle<Outcome>) -> Outcome {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
