//! What is under way on a link, ordered by the time at which it is due: pure, and bounded.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The most bytes under way on one link.
pub const BYTES_MAX: usize = 16 << 20;
/// The most packets under way on one link; small ones cost more than their bytes.
pub const PACKETS_MAX: usize = 32_768;

/// A queue by time; what is due at the same time leaves in the order in which it came.
#[derive(Debug)]
pub struct Wire<P> {
    parcels: BinaryHeap<Reverse<Parcel<P>>>,
    bytes: usize,
    pushed: u64,
}

#[derive(Debug)]
struct Parcel<P> {
    at: Duration,
    number: u64,
    len: usize,
    load: P,
}

impl<P> PartialEq for Parcel<P> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<P> Eq for Parcel<P> {}

impl<P> PartialOrd for Parcel<P> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> Ord for Parcel<P> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<P> Default for Wire<P> {
    fn default() -> Self {
        Wire { parcels: BinaryHeap::new(), bytes: 0, pushed: 0 }
    }
}

impl<P> Wire<P> {
    /// Whether a packet of this length has room.
    pub fn has_room(&self, len: usize) -> bool {
        self.parcels.len() < PACKETS_MAX && self.bytes + len <= BYTES_MAX
    }

    /// Takes a packet of `len` bytes that is due at `at`. There must be room.
    pub fn push(&mut self, at: Duration, len: usize, load: P) {
        assert!(self.has_room(len), "the sender looked for room");
        self.bytes += len;
        self.parcels.push(Reverse(Parcel { at, number: self.pushed, len, load }));
        self.pushed += 1;
    }

    /// When the next packet is due.
    pub fn next_at(&self) -> Option<Duration> {
        self.parcels.peek().map(|Reverse(parcel)| parcel.at)
    }

    /// A packet that is due.
    pub fn pop_due(&mut self, now: Duration) -> Option<P> {
        if self.next_at()? > now {
            return None;
        }
        let Reverse(parcel) = self.parcels.pop()?;
        self.bytes -= parcel.len;
        Some(parcel.load)
    }

    /// How many packets are under way.
    pub fn packets(&self) -> usize {
        self.parcels.len()
    }

    /// How many bytes are under way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn packets_leave_when_they_are_due_and_those_of_one_time_in_order() {
        let mut wire = Wire::default();
        for (at, load) in [(3, 'c'), (1, 'a'), (3, 'd'), (2, 'b')] {
            wire.push(MS * at, 10, load);
        }
        assert_eq!((wire.packets(), wire.bytes(), wire.next_at()), (4, 40, Some(MS)));
        assert_eq!(wire.pop_due(Duration::ZERO), None);
        assert_eq!((wire.pop_due(MS * 2), wire.pop_due(MS * 2), wire.pop_due(MS * 2)), (Some('a'), Some('b'), None));
        assert_eq!((wire.pop_due(MS * 9), wire.pop_due(MS * 9)), (Some('c'), Some('d')));
        assert_eq!((wire.packets(), wire.bytes(), wire.next_at()), (0, 0, None));
    }

    #[test]
    fn a_wire_is_full_by_bytes_and_by_packets() {
        let mut wire = Wire::default();
        wire.push(MS, BYTES_MAX - 10, ());
        assert!(wire.has_room(10) && !wire.has_room(11));
        let mut wire = Wire::default();
        for _ in 0..PACKETS_MAX {
            wire.push(MS, 0, ());
        }
        assert!(!wire.has_room(0));
    }
}
