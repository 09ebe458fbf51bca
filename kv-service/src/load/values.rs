//! How large values are, and what is in them: noise, so that compression beneath the service gains nothing.

use std::str::FromStr;

use bytes::Bytes;

use super::dice::Dice;
use super::zipf::Zipf;

/// The largest value, in bytes: as large as the service takes.
const BYTES_MAX: u32 = 1_048_576;
/// Where a value begins is drawn from so many bytes of noise.
const NOISE_BYTES: usize = 64 << 10;

/// Sizes of values: `256`, `64..1024` or `zipfian:64..4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    min: u32,
    max: u32,
    /// Whether small ones are frequent; else each is as frequent as any other.
    zipfian: bool,
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let expected = format!(
            "'{text}' is no size; give bytes up to {BYTES_MAX}, as 256, a range, as 64..1024, or zipfian:64..1024"
        );
        let number = |text: &str| text.parse().ok().filter(|bytes| *bytes <= BYTES_MAX);
        let (zipfian, range) = match text.strip_prefix("zipfian:") {
            Some(range) => (true, range),
            None => (false, text),
        };
        let sizes = match range.split_once("..") {
            None if zipfian => None,
            None => number(range).map(|bytes| (bytes, bytes)),
            Some((min, max)) => number(min).zip(number(max)).filter(|(min, max)| min <= max),
        };
        sizes.map(|(min, max)| Sizes { min, max, zipfian }).ok_or(expected)
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Sizes { min, max, .. } if min == max => write!(f, "{min}"),
            Sizes { min, max, zipfian: true } => write!(f, "zipfian:{min}..{max}"),
            Sizes { min, max, .. } => write!(f, "{min}..{max}"),
        }
    }
}

/// Makes values.
pub(super) struct Values {
    sizes: Sizes,
    zipf: Option<Zipf>,
    noise: Bytes,
}

impl Values {
    /// Values of these sizes.
    pub(super) fn new(sizes: Sizes, mut dice: Dice) -> Values {
        let zipf = sizes.zipfian.then(|| Zipf::new(u64::from(sizes.max - sizes.min) + 1, Zipf::THETA));
        let noise = (0..NOISE_BYTES + sizes.max as usize).map(|_| dice.roll(256) as u8).collect();
        Values { sizes, zipf, noise }
    }

    /// How large the next value is, in bytes.
    pub(super) fn size(&self, dice: &mut Dice) -> usize {
        let above = match &self.zipf {
            Some(zipf) => zipf.roll(dice),
            None if self.sizes.min == self.sizes.max => 0,
            None => dice.roll(u64::from(self.sizes.max - self.sizes.min) + 1),
        };
        self.sizes.min as usize + above as usize
    }

    /// A value of the next size; a part of the noise, which is not copied.
    pub(super) fn next(&self, dice: &mut Dice) -> Bytes {
        let size = self.size(dice);
        let start = dice.roll(NOISE_BYTES as u64) as usize;
        self.noise.slice(start..start + size)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn sizes(text: &str) -> Vec<usize> {
        let (values, mut dice) = (Values::new(text.parse().unwrap(), Dice::new(1, 0)), Dice::new(2, 0));
        (0..20_000).map(|_| values.next(&mut dice).len()).collect()
    }

    #[test]
    fn sizes_are_those_that_were_asked_for() {
        assert!(sizes("256").iter().all(|size| *size == 256));
        assert!(sizes("0").iter().all(|size| *size == 0));
        let uniform = sizes("64..1024");
        assert!(uniform.contains(&64) && uniform.contains(&1024));
        let mean = uniform.iter().sum::<usize>() / uniform.len();
        assert!((530..560).contains(&mean), "{mean}");
        let skewed = sizes("zipfian:64..4096");
        let small = skewed.iter().filter(|size| **size < 128).count();
        assert!(small > 8_000 && skewed.iter().all(|size| (64..=4096).contains(size)), "{small}");
    }

    #[test]
    fn what_is_no_size_is_refused_with_what_is_one() {
        for wrong in ["", "-1", "x", "1..", "9..3", "1048577", "zipfian:", "zipfian:9", "64..2000000", "normal:1..2"] {
            let message = wrong.parse::<Sizes>().unwrap_err();
            assert!(message.contains("64..1024") && message.contains(&format!("'{wrong}'")), "{message}");
        }
    }

    #[test]
    fn sizes_are_shown_as_they_are_written() {
        for text in ["256", "64..1024", "zipfian:64..4096"] {
            assert_eq!(text.parse::<Sizes>().unwrap().to_string(), text);
        }
    }
}
