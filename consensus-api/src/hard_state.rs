//! What both engines keep durably beside the log: the ballot that was promised, or the term and the vote in it, and the
//! longest pledge that was ever given to a leader ([`lease`](crate::lease)).
//!
//! ```text
//!   ┌───────┬──────┬───────────────┐
//!   │ round │ node │ pledge, µs    │   u64 LE each; the third only where a pledge was given
//!   └───────┴──────┴───────────────┘
//! ```
//!
//! Encoded here, since the log store must not look inside. Without a pledge it is what it was before there were any: a
//! node that never gave one can go back to a build that knows of none.

use std::time::Duration;

use bytes::Bytes;

use crate::engine::EngineError;
use crate::ids::{Ballot, NodeId};

/// One node's hard state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// What was promised, or the term and the vote in it; [`Ballot::ZERO`] at first.
    pub ballot: Ballot,
    /// The longest pledge that was ever given to a leader; zero where none was. After a restart the node keeps still for
    /// as long.
    pub pledge: Duration,
}

impl HardState {
    /// For the log store to keep.
    pub fn encode(&self) -> Bytes {
        let pledge_micros = u64::try_from(self.pledge.as_micros()).unwrap_or(u64::MAX);
        let words = [self.ballot.round, self.ballot.node.0, pledge_micros];
        let count = if pledge_micros == 0 { 2 } else { 3 };
        words.iter().take(count).flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    /// What the log store kept; the first hard state of all where there is nothing.
    ///
    /// # Errors
    /// [`EngineError::HardState`] where it is not what [`encode`](Self::encode) writes.
    pub fn decode(kept: Option<&[u8]>) -> Result<HardState, EngineError> {
        let Some(bytes) = kept else { return Ok(HardState::default()) };
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let (round, node, pledge_micros) = match (words.as_slice(), rest) {
            ([round, node], []) => (*round, *node, 0),
            ([round, node, pledge_micros], []) => (*round, *node, *pledge_micros),
            _ => {
                let reason = format!("{} bytes instead of 16 or 24", bytes.len());
                return Err(EngineError::HardState { reason });
            }
        };
        Ok(HardState { ballot: Ballot::new(round, NodeId(node)), pledge: Duration::from_micros(pledge_micros) })
    }
}

/// The hard state of a node that has promised, or voted in, this ballot and never gave a pledge.
pub fn encode_ballot(ballot: Ballot) -> Bytes {
    HardState { ballot, pledge: Duration::ZERO }.encode()
}

/// The ballot of a hard state; [`Ballot::ZERO`] where there is none.
///
/// # Errors
/// As for [`HardState::decode`].
pub fn decode_ballot(kept: Option<&[u8]>) -> Result<Ballot, EngineError> {
    HardState::decode(kept).map(|state| state.ballot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_hard_state_survives_the_round_trip() {
        for pledge in [Duration::ZERO, Duration::from_millis(500)] {
            let state = HardState { ballot: Ballot::new(7, NodeId(3)), pledge };
            assert_eq!(HardState::decode(Some(&state.encode())), Ok(state));
        }
        assert_eq!(HardState::decode(None), Ok(HardState::default()));
    }

    #[test]
    fn the_form_without_a_pledge_is_the_one_from_before_there_were_any() {
        let mut old = 7_u64.to_le_bytes().to_vec();
        old.extend(3_u64.to_le_bytes());
        let ballot = Ballot::new(7, NodeId(3));
        assert_eq!(HardState::decode(Some(&old)), Ok(HardState { ballot, pledge: Duration::ZERO }));
        assert_eq!(encode_ballot(ballot), old);
        assert_eq!(decode_ballot(Some(&HardState { ballot, pledge: Duration::from_secs(1) }.encode())), Ok(ballot));
    }

    #[test]
    fn any_other_length_is_refused() {
        for length in [0, 8, 15, 17, 23, 25, 32] {
            assert!(matches!(HardState::decode(Some(&vec![0; length])), Err(EngineError::HardState { .. })));
        }
    }
}
