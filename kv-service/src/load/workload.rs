//! What is asked for: the mix of operations, the keys and the values.

use bytes::Bytes;
use clap::ValueEnum;

use super::dice::Dice;
use super::keys::{Distribution, Keys};
use super::values::Values;

/// The most keys of a scan; each number up to it is as frequent as any other, as in YCSB.
const SCAN_KEYS_MAX: u64 = 100;

/// The kinds of operations that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A write of a whole value, of a key that is there or a new one.
    Put,
    /// A read of one key.
    Get,
    /// A read of neighbouring keys.
    Scan,
    /// A read, and a write that takes place only if nothing came between.
    Rmw,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Kind; 4] = [Kind::Put, Kind::Get, Kind::Scan, Kind::Rmw];

    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Put => "put",
            Kind::Get => "get",
            Kind::Scan => "scan",
            Kind::Rmw => "rmw",
        }
    }
}

/// The core workloads of YCSB (Cooper et al. 2010).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ycsb {
    /// Half gets, half puts; zipfian.
    A,
    /// 95 % gets, 5 % puts; zipfian.
    B,
    /// Gets only; zipfian.
    C,
    /// 95 % gets of what was inserted last, 5 % inserts.
    D,
    /// 95 % scans of up to 100 keys, 5 % inserts; zipfian.
    E,
    /// Half gets, half reads with a write of the same key; zipfian.
    F,
}

/// Of a hundred operations, so many of each; puts are what is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mix {
    pub(super) gets: u8,
    pub(super) scans: u8,
    pub(super) rmws: u8,
    /// Whether what is left are writes of new keys.
    pub(super) inserts: bool,
}

impl Mix {
    /// So many gets, and puts.
    pub(super) fn of_gets(percent: u8) -> Mix {
        Mix { gets: percent, ..Mix::default() }
    }

    /// The mix of a YCSB workload, and how it chooses keys.
    pub(super) fn of(workload: Ycsb) -> (Mix, Distribution) {
        let zipfian = Distribution::Zipfian(super::zipf::Zipf::THETA);
        match workload {
            Ycsb::A => (Mix::of_gets(50), zipfian),
            Ycsb::B => (Mix::of_gets(95), zipfian),
            Ycsb::C => (Mix::of_gets(100), zipfian),
            Ycsb::D => (Mix { gets: 95, inserts: true, ..Mix::default() }, Distribution::Latest),
            Ycsb::E => (Mix { scans: 95, inserts: true, ..Mix::default() }, zipfian),
            Ycsb::F => (Mix { gets: 50, rmws: 50, ..Mix::default() }, zipfian),
        }
    }

    /// Whether any operation looks at what is there.
    pub(super) fn reads(self) -> bool {
        self.gets > 0 || self.scans > 0 || self.rmws > 0
    }
}

/// One operation, keys by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Writes a key.
    Put(u64),
    /// Writes a new key.
    Insert(u64),
    /// Reads a key.
    Get(u64),
    /// Reads so many keys from this one on.
    Scan(u64, u64),
    /// Reads a key and writes it.
    Rmw(u64),
}

impl Operation {
    /// As what it is counted.
    pub(super) fn kind(self) -> Kind {
        match self {
            Operation::Put(_) | Operation::Insert(_) => Kind::Put,
            Operation::Get(_) => Kind::Get,
            Operation::Scan(..) => Kind::Scan,
            Operation::Rmw(_) => Kind::Rmw,
        }
    }
}

/// Draws operations.
pub(super) struct Workload {
    pub(super) mix: Mix,
    pub(super) keys: Keys,
    values: Values,
}

impl Workload {
    /// A workload of these parts.
    pub(super) fn new(mix: Mix, keys: Keys, values: Values) -> Workload {
        Workload { mix, keys, values }
    }

    /// A client's next operation.
    pub(super) fn next(&self, dice: &mut Dice) -> Operation {
        let Mix { gets, scans, rmws, inserts } = self.mix;
        let point = dice.roll(100) as u8;
        if point < gets {
            Operation::Get(self.keys.next(dice))
        } else if point < gets + scans {
            Operation::Scan(self.keys.next(dice), 1 + dice.roll(SCAN_KEYS_MAX))
        } else if point < gets + scans + rmws {
            Operation::Rmw(self.keys.next(dice))
        } else if inserts {
            Operation::Insert(self.keys.insert())
        } else {
            Operation::Put(self.keys.next(dice))
        }
    }

    /// A value to write.
    pub(super) fn value(&self, dice: &mut Dice) -> Bytes {
        self.values.next(dice)
    }

    /// How large a value to write is to be, in bytes.
    pub(super) fn value_size(&self, dice: &mut Dice) -> usize {
        self.values.size(dice)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn workload(mix: Mix, distribution: Distribution) -> Workload {
        Workload::new(mix, Keys::new(100, distribution), Values::new("16".parse().unwrap(), Dice::new(1, 0)))
    }

    fn sequence(workload: &Workload, client: u64) -> Vec<Operation> {
        let mut dice = Dice::new(7, client);
        (0..10_000).map(|_| workload.next(&mut dice)).collect()
    }

    #[test]
    fn a_client_repeats_itself_under_the_same_seed_and_differs_from_its_neighbour() {
        let workload = workload(Mix::of_gets(50), Distribution::Uniform);
        assert_eq!(sequence(&workload, 3), sequence(&workload, 3));
        assert_ne!(sequence(&workload, 3), sequence(&workload, 4));
    }

    #[test]
    fn the_share_of_each_kind_is_what_was_asked_for() {
        let percent = |workload, kind: Kind| {
            let (mix, distribution) = Mix::of(workload);
            let operations = sequence(&self::workload(mix, distribution), 0);
            operations.iter().filter(|operation| operation.kind() == kind).count() / 100
        };
        for (workload, kind, expected) in [
            (Ycsb::A, Kind::Get, 50_usize),
            (Ycsb::A, Kind::Put, 50),
            (Ycsb::B, Kind::Get, 95),
            (Ycsb::C, Kind::Get, 100),
            (Ycsb::D, Kind::Get, 95),
            (Ycsb::E, Kind::Scan, 95),
            (Ycsb::F, Kind::Rmw, 50),
            (Ycsb::F, Kind::Put, 0),
        ] {
            let found = percent(workload, kind);
            assert!(expected.abs_diff(found) <= 2, "{workload:?}: {found} % {kind:?}, not {expected} %");
        }
    }

    #[test]
    fn inserts_are_of_keys_that_nobody_has_used() {
        let (mix, distribution) = Mix::of(Ycsb::D);
        let mut inserted = Vec::new();
        for operation in sequence(&workload(mix, distribution), 0) {
            match operation {
                Operation::Insert(number) => inserted.push(number),
                Operation::Get(number) => assert!(number < 100, "none of the inserts has ended yet"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(inserted, (100..100 + inserted.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn scans_have_up_to_a_hundred_keys() {
        let (mix, distribution) = Mix::of(Ycsb::E);
        let operations = sequence(&workload(mix, distribution), 0);
        let lengths: Vec<u64> = operations
            .iter()
            .filter_map(|it| if let Operation::Scan(_, keys) = it { Some(*keys) } else { None })
            .collect();
        assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&1), Some(&100)));
    }
}
