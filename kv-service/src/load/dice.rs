//! Chance that repeats itself: a small generator for each client, seeded.

/// A generator of numbers (xorshift64*, Marsaglia 2003 and Vigna 2016).
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The dice of one of many who share a seed.
    pub(super) fn new(seed: u64, whose: u64) -> Dice {
        let mut dice = Dice((seed ^ (whose << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // The first rolls of neighbouring seeds resemble each other.
        (0..8).for_each(|_| _ = dice.word());
        dice
    }

    fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From zero to below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        // The high bits are the good ones; multiplied, not divided, into the range.
        ((u128::from(self.word()) * u128::from(sides)) >> 64) as u64
    }

    /// From zero to below one.
    pub(super) fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
