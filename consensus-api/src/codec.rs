//! The one place where a value becomes bytes and bytes a value, so that the encoding can be exchanged here and nowhere
//! else.
//!
//! ```text
//!   ┌─────────┬───────────────┬──────────────┬─────────┐
//!   │ version │ length u32 LE │ crc32 u32 LE │ payload │
//!   │ 1 byte  │               │ of payload   │         │
//!   └─────────┴───────────────┴──────────────┴─────────┘
//! ```
//!
//! Decoding is bounded (a hostile length would otherwise abort the process by its allocation) and refuses what is left
//! over behind the value.

use bincode::config::{self, Config};
use bincode::{Decode, Encode};
use bytes::Bytes;

/// The version of the encoding that this build writes and reads.
pub const VERSION: u8 = 1;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 9;
/// The most that one value may take, encoded. A limit of the decoder, above every limit that is configured elsewhere.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// Why bytes are not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Written by another version of this program.
    #[error("encoding version {found}, but this build reads version {VERSION}; run the same build on every node")]
    Version {
        /// What stands in the header.
        found: u8,
    },
    /// Fewer or more bytes than the header says.
    #[error("{found} bytes where {expected} were announced; the record is truncated or padded")]
    Length {
        /// What the header announces.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// The payload is not what was written.
    #[error("checksum {found:08x} where {expected:08x} was written; the record is damaged")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the payload has.
        found: u32,
    },
    /// The payload is intact and yet not a value of the type.
    #[error("not a valid value: {0}")]
    Invalid(String),
    /// The value is larger than [`VALUE_BYTES_MAX`].
    #[error("{bytes} bytes encoded, over the limit of {VALUE_BYTES_MAX}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

fn configuration() -> impl Config {
    config::standard().with_limit::<VALUE_BYTES_MAX>()
}

/// Appends the framed encoding of `value` to `out`.
pub fn encode_into<T: Encode>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    bincode::encode_into_std_write(value, out, configuration())
        .map_err(|error| CodecError::Invalid(error.to_string()))?;
    let payload = out.len() - start - HEADER_BYTES;
    if payload > VALUE_BYTES_MAX {
        out.truncate(start);
        return Err(CodecError::TooLarge { bytes: payload });
    }
    let checksum = crc32fast::hash(&out[start + HEADER_BYTES..]);
    out[start] = VERSION;
    // The cast is exact: VALUE_BYTES_MAX fits.
    out[start + 1..start + 5].copy_from_slice(&(payload as u32).to_le_bytes());
    out[start + 5..start + 9].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

/// The framed encoding of `value`.
pub fn encode<T: Encode>(value: &T) -> Result<Bytes, CodecError> {
    let mut out = Vec::with_capacity(256);
    encode_into(value, &mut out)?;
    Ok(out.into())
}

/// The value that `bytes` frame: all of them, no more and no fewer.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    let (header, payload) = bytes
        .split_at_checked(HEADER_BYTES)
        .ok_or(CodecError::Length { expected: HEADER_BYTES, found: bytes.len() })?;
    if header[0] != VERSION {
        return Err(CodecError::Version { found: header[0] });
    }
    let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length != payload.len() {
        return Err(CodecError::Length { expected: length, found: payload.len() });
    }
    let expected = u32::from_le_bytes([header[5], header[6], header[7], header[8]]);
    let found = crc32fast::hash(payload);
    if expected != found {
        return Err(CodecError::Checksum { expected, found });
    }
    let (value, consumed) =
        bincode::decode_from_slice(payload, configuration()).map_err(|error| CodecError::Invalid(error.to_string()))?;
    if consumed != payload.len() {
        return Err(CodecError::Length { expected: consumed, found: payload.len() });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_value_survives_the_round_trip() {
        let value = (7_u64, String::from("seven"), vec![1_u8, 2, 3]);
        let bytes = encode(&value).expect("encodes");
        assert_eq!(decode::<(u64, String, Vec<u8>)>(&bytes), Ok(value));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let bytes = encode(&(7_u64, String::from("seven"))).expect("encodes");
        for bit in 0..bytes.len() * 8 {
            let mut spoilt = bytes.to_vec();
            spoilt[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<(u64, String)>(&spoilt).is_err(), "bit {bit} was accepted");
        }
    }

    #[test]
    fn a_hostile_length_is_refused_without_allocating() {
        let mut bytes = Vec::new();
        encode_into(&u64::MAX, &mut bytes).expect("encodes");
        // The payload says: a blob of 2^64 - 1 bytes.
        assert!(matches!(decode::<crate::entry::Blob>(&bytes), Err(CodecError::Invalid(_))));
    }

    #[test]
    fn what_is_left_over_is_refused() {
        let mut bytes = Vec::new();
        encode_into(&(1_u8, 2_u8), &mut bytes).expect("encodes");
        assert!(matches!(decode::<u8>(&bytes), Err(CodecError::Length { .. })));
    }
}
