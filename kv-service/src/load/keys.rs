//! Which keys are asked for, and what they are called.
//!
//! ```text
//!   dice ──▶ distribution ──▶ number ──▶ bench-00000042
//!                ▲
//!   inserts ─────┘  the newest key that is known to be there
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::str::FromStr;

use bytes::{Bytes, BytesMut};

use super::dice::Dice;
use super::zipf::Zipf;

/// How often which key is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// Each as often as any other.
    Uniform,
    /// Few very often, and these anywhere among the others: ranks are spread by a hash, as in YCSB, but there are as many
    /// ranks as keys, and not ten thousand million. So the hottest key is asked for more often than there, and some never.
    Zipfian(f64),
    /// One after the other, and from the first again.
    Sequential,
    /// So many percent of the keys get so many percent of the operations.
    Hot(u8, u8),
    /// The newer, the more often: zipfian, counted from the newest key.
    Latest,
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Distribution, String> {
        let mut parts = text.split(':');
        let word = parts.next().unwrap_or_default();
        let percent = |text: &str| text.parse().ok().filter(|percent| (1..=99).contains(percent));
        let parts: Vec<&str> = parts.collect();
        let found = match (word, &parts[..]) {
            ("uniform", []) => Some(Distribution::Uniform),
            ("zipfian", []) => Some(Distribution::Zipfian(Zipf::THETA)),
            ("zipfian", [theta]) => {
                theta.parse().ok().filter(|theta| *theta > 0.0 && *theta < 1.0).map(Distribution::Zipfian)
            }
            ("sequential", []) => Some(Distribution::Sequential),
            ("hot", []) => Some(Distribution::Hot(20, 80)),
            ("hot", [keys, operations]) => {
                percent(keys).zip(percent(operations)).map(|(keys, operations)| Distribution::Hot(keys, operations))
            }
            ("latest", []) => Some(Distribution::Latest),
            _ => None,
        };
        found.ok_or_else(|| {
            format!(
                "'{text}' is no distribution; give uniform, zipfian, zipfian:0.99 (above 0, below 1), sequential, hot, \
                 hot:20:80 (percent of the keys, of the operations) or latest"
            )
        })
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Uniform => f.write_str("uniform"),
            Distribution::Zipfian(theta) => write!(f, "zipfian:{theta}"),
            Distribution::Sequential => f.write_str("sequential"),
            Distribution::Hot(keys, operations) => write!(f, "hot:{keys}:{operations}"),
            Distribution::Latest => f.write_str("latest"),
        }
    }
}

/// All keys of a run.
pub(super) struct Keys {
    /// How many there are before the first insert.
    initial: u64,
    distribution: Distribution,
    zipf: RefCell<Option<Zipf>>,
    turn: Cell<u64>,
    inserted: Cell<u64>,
    /// All keys below are there, or their insert has failed.
    settled: Cell<u64>,
    /// Those above that are there, too; no more than there are operations under way.
    settled_early: RefCell<BTreeSet<u64>>,
    names: RefCell<BytesMut>,
}

impl Keys {
    /// So many keys, at least one.
    pub(super) fn new(initial: u64, distribution: Distribution) -> Keys {
        let zipf = match distribution {
            Distribution::Zipfian(theta) => Some(Zipf::new(initial, theta)),
            Distribution::Latest => Some(Zipf::new(initial, Zipf::THETA)),
            _ => None,
        };
        Keys {
            initial,
            distribution,
            zipf: RefCell::new(zipf),
            turn: Cell::new(0),
            inserted: Cell::new(initial),
            settled: Cell::new(initial),
            settled_early: RefCell::default(),
            names: RefCell::default(),
        }
    }

    /// The number of a key that is there, as far as this run writes it.
    pub(super) fn next(&self, dice: &mut Dice) -> u64 {
        let (keys, zipf) = (self.settled.get(), &mut *self.zipf.borrow_mut());
        match (self.distribution, zipf) {
            (Distribution::Zipfian(_), Some(zipf)) => scramble(zipf.roll(dice)) % self.initial,
            (Distribution::Latest, Some(zipf)) => {
                zipf.grow_to(keys);
                keys - 1 - zipf.roll(dice)
            }
            (Distribution::Sequential, _) => self.turn.replace((self.turn.get() + 1) % keys),
            (Distribution::Hot(keys_percent, operations_percent), _) => {
                let hot = hot(keys, keys_percent);
                if dice.roll(100) < operations_percent.into() || hot == keys {
                    dice.roll(hot)
                } else {
                    hot + dice.roll(keys - hot)
                }
            }
            _ => dice.roll(keys),
        }
    }

    /// The number of a key that nobody has used.
    pub(super) fn insert(&self) -> u64 {
        self.inserted.replace(self.inserted.get() + 1)
    }

    /// An insert has ended, well or not.
    pub(super) fn settle(&self, number: u64) {
        let mut early = self.settled_early.borrow_mut();
        early.insert(number);
        while early.remove(&self.settled.get()) {
            self.settled.set(self.settled.get() + 1);
        }
    }

    /// At most `count` of the first keys: half of them the most frequent ones, the others from everywhere.
    pub(super) fn sample(&self, count: u64) -> BTreeSet<u64> {
        let count = count.min(self.initial);
        let frequent = |rank: u64| match self.distribution {
            Distribution::Zipfian(_) => scramble(rank) % self.initial,
            Distribution::Latest => self.initial - 1 - rank,
            _ => rank,
        };
        let mut sample: BTreeSet<u64> = (0..count.div_ceil(2)).map(frequent).collect();
        let everywhere = (0..count).map(|place| place * self.initial / count);
        for number in everywhere.chain(0..self.initial) {
            if sample.len() as u64 == count {
                break;
            }
            sample.insert(number);
        }
        sample
    }

    /// What a key is called. Names are cut from a larger piece of memory, so that few of them need memory of their own.
    pub(super) fn name(&self, number: u64) -> Bytes {
        let mut names = self.names.borrow_mut();
        reserve(&mut names);
        write_name(&mut *names, number);
        names.split().freeze()
    }
}

/// Makes room for many short texts at once.
pub(super) fn reserve(texts: &mut BytesMut) {
    const PIECE_BYTES: usize = 64 << 10;
    const TEXT_BYTES_MAX: usize = 256;
    if texts.capacity() < TEXT_BYTES_MAX {
        texts.reserve(PIECE_BYTES);
    }
}

/// Writes what a key is called.
pub(super) fn write_name(text: &mut impl Write, number: u64) {
    // To memory that grows; it does not fail.
    let _ = write!(text, "bench-{number:08}");
}

/// How many of the keys are hot.
fn hot(keys: u64, percent: u8) -> u64 {
    (keys * u64::from(percent) / 100).max(1)
}

/// FNV-1a over the eight bytes of a number, as in YCSB.
fn scramble(number: u64) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    number.to_le_bytes().into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    /// How often each of 1,000 keys is asked for in 100,000 operations.
    fn counts(distribution: &str) -> Vec<u32> {
        let keys = Keys::new(1000, distribution.parse().unwrap());
        let (mut dice, mut counts) = (Dice::new(3, 0), vec![0; 1000]);
        (0..100_000).for_each(|_| counts[keys.next(&mut dice) as usize] += 1);
        counts
    }

    #[test]
    fn each_distribution_has_its_shape() {
        assert!(counts("uniform").iter().all(|count| (50..160).contains(count)));
        assert!(counts("sequential").iter().all(|count| *count == 100));
        let hot: u32 = counts("hot:10:90")[..100].iter().sum();
        assert!((89_000..91_000).contains(&hot), "{hot}");
        let latest = counts("latest");
        assert!(latest[999] > 11_000 && latest[998] > 5_000 && latest[0] < 200, "{:?}", &latest[995..]);
    }

    #[test]
    fn the_hottest_key_of_a_scrambled_zipfian_is_hot_and_not_the_first() {
        let counts = counts("zipfian");
        let hottest = (0..1000).max_by_key(|number| counts[*number]).unwrap();
        assert!(counts[hottest] > 11_000, "{}", counts[hottest]);
        assert_eq!(hottest as u64, scramble(0) % 1000);
        assert_ne!(hottest, 0);
    }

    #[test]
    fn the_sample_has_the_hottest_keys_and_no_key_twice() {
        for distribution in ["zipfian", "latest", "hot", "uniform", "sequential"] {
            let keys = Keys::new(1000, distribution.parse().unwrap());
            let counts = counts(distribution);
            let sample = keys.sample(16);
            assert_eq!(sample.len(), 16);
            let most = counts.iter().max().unwrap();
            let sampled: Vec<u32> = sample.iter().map(|number| counts[*number as usize]).collect();
            if distribution == "zipfian" || distribution == "latest" {
                assert!(sampled.contains(most), "{distribution}: {sampled:?}");
            }
            assert_eq!(keys.sample(5000).len(), 1000);
        }
    }

    #[test]
    fn inserted_keys_are_read_once_they_are_there() {
        let keys = Keys::new(10, Distribution::Latest);
        let (first, second) = (keys.insert(), keys.insert());
        assert_eq!((first, second), (10, 11));
        let newest = |keys: &Keys| {
            let mut dice = Dice::new(1, 0);
            (0..1000).map(|_| keys.next(&mut dice)).max()
        };
        keys.settle(second);
        assert_eq!(newest(&keys), Some(9));
        keys.settle(first);
        assert_eq!(newest(&keys), Some(11));
    }

    #[test]
    fn names_are_in_order_of_their_numbers() {
        let keys = Keys::new(10, Distribution::Uniform);
        assert_eq!(keys.name(42), "bench-00000042");
        assert!(keys.name(9) < keys.name(10));
        assert_eq!(keys.name(123_456_789), "bench-123456789");
    }

    #[test]
    fn what_is_no_distribution_is_refused_with_what_is_one() {
        for wrong in
            ["", "normal", "zipfian:1", "zipfian:0", "zipfian:x", "hot:20", "hot:0:50", "hot:1:100", "uniform:1"]
        {
            let message = wrong.parse::<Distribution>().unwrap_err();
            assert!(message.contains("zipfian:0.99") && message.contains(&format!("'{wrong}'")), "{message}");
        }
        for right in ["uniform", "zipfian:0.5", "sequential", "hot:1:99", "latest"] {
            assert_eq!(right.parse::<Distribution>().unwrap().to_string(), right);
        }
    }
}
