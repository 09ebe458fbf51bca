//! A store leads a random life, decided by a seed, beside a plain map that does the same; after each step both say the
//! same.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{LogStoreFactory, PLENTY_BYTES, Reached, entry, everything, put};
use crate::ballot_runs::BallotRuns;
use crate::engine::LogPosition;
use crate::entry::SharedEntry;
use crate::ids::LogIndex;
use crate::log_store::{LogStore, Write};
use crate::random::SeededRandom;

const STEPS: u64 = 80;
const INDEXES: u64 = 40;

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    base: LogPosition,
    hard_state: Option<Bytes>,
    entries: BTreeMap<LogIndex, SharedEntry>,
}

impl Model {
    fn write(&mut self, write: &Write) {
        if write.hard_state.is_some() {
            self.hard_state.clone_from(&write.hard_state);
        }
        if let Some(from) = write.remove_from {
            self.entries.split_off(&from);
        }
        self.entries.extend(write.entries.iter().map(|entry| (entry.index, entry.clone())));
    }

    fn of<S: LogStore>(store: &S) -> Model {
        let log = store.recover(PLENTY_BYTES).expect("recovers");
        let entries: BTreeMap<_, _> = log.tail.into_iter().map(|entry| (entry.index, entry)).collect();
        let mut runs = BallotRuns::default();
        entries.values().for_each(|entry| runs.set(entry.index, entry.ballot));
        assert_eq!(log.runs, runs, "the runs are those of the entries");
        assert!(everything(store).iter().eq(entries.values()), "reading and recovering give the same entries");
        Model { base: store.base(), hard_state: log.hard_state, entries }
    }
}

/// A random write above the base: puts in any order, sometimes a removal, sometimes a promise.
fn random_write(random: &mut SeededRandom, id: u64, base: LogIndex) -> Write {
    let puts = random.below(6);
    let index = |random: &mut SeededRandom| base.0 + 1 + random.below(INDEXES);
    let entries: Vec<SharedEntry> =
        (0..puts).map(|_| entry(index(random), 1 + random.below(4), "a random entry")).collect();
    let removes = random.below(4) == 0;
    let promises = random.below(3) == 0;
    Write {
        remove_from: removes.then(|| LogIndex(index(random))),
        hard_state: promises.then(|| Bytes::from(id.to_string())),
        ..put(id, entries)
    }
}

/// Writes, trims, restarts, stops and crashes in random order leave the store and a plain map with the same content.
pub fn agrees_with_a_plain_map<F: LogStoreFactory>(factory: &mut F, seed: u64) {
    let mut random = SeededRandom::new(seed);
    let mut model = Model::default();
    let mut store = factory.open().expect("opens");
    for step in 1..=STEPS {
        let group: Vec<Write> =
            (0..=random.below(3)).map(|id| random_write(&mut random, 10 * step + id, model.base.index)).collect();
        let mut after = model.clone();
        group.iter().for_each(|write| after.write(write));
        let base = LogPosition {
            index: LogIndex(model.base.index.0 + random.below(8)),
            ballot: entry(1, 1 + random.below(4), "").ballot,
        };
        match random.below(16) {
            0 => {
                factory.close(store);
                store = factory.open().expect("opens again");
            }
            1 => {
                factory.crash(store);
                store = factory.open().expect("opens after a crash");
            }
            choice @ 2..=4 => {
                let reached = Reached::ALL[usize::try_from(choice - 2).expect("small")];
                factory.crash_during(store, &group, reached);
                store = factory.open().expect("opens after a crash");
            }
            5 => {
                factory.crash_during(store, &group, Reached::Everything);
                store = factory.open().expect("opens after a crash");
                let found = Model::of(&store);
                assert!(found == model || found == after, "seed {seed}, step {step}: neither before nor after");
                model = found;
            }
            6 if base.index > model.base.index => {
                store.trim(base).expect("trims");
                model.base = base;
                model.entries = model.entries.split_off(&base.index.next());
            }
            7 if base.index > model.base.index => {
                store.restart_at(base).expect("restarts");
                model.base = base;
                model.entries.clear();
            }
            _ => {
                store.write(&group).expect("writes");
                model = after;
            }
        }
        assert_eq!(Model::of(&store), model, "seed {seed}, step {step}");
    }
}
