//! How messages stand in a stream: a length, then what the codec wrote, which has a version and a checksum of its own.

use bincode::{Decode, Encode};
use bytes::{Buf, BytesMut};
use consensus_api::codec::{self, CodecError};

/// The most bytes of a frame, without its length. Room for a page of a scan, and for the largest command.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// The length of a frame.
const PREFIX_BYTES: usize = 4;
/// Grown by this much at a time, so that small frames share an allocation.
const BUFFER_BYTES: usize = 64 << 10;

/// Why a stream cannot be read any further, or a message not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More than a frame may have.
    #[error("a frame of {found} bytes, over the limit of {FRAME_BYTES_MAX}; send less at once")]
    TooLong {
        /// Its size.
        found: usize,
    },
    /// The bytes are no message.
    #[error("not a message of this protocol: {0}; run the same version on both sides")]
    Codec(#[from] CodecError),
}

/// Appends one message to `out`, which is left as it was where that fails.
///
/// # Errors
/// [`FrameError::TooLong`], and [`FrameError::Codec`] where it cannot be encoded at all.
pub fn append_frame<T: Encode>(message: &T, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    let encoded = codec::encode_into(message, out).map_err(FrameError::from);
    let length = out.len() - start - PREFIX_BYTES;
    let encoded =
        encoded.and(if length > FRAME_BYTES_MAX { Err(FrameError::TooLong { found: length }) } else { Ok(()) });
    match encoded {
        // The cast is exact: FRAME_BYTES_MAX fits.
        Ok(()) => out[start..start + PREFIX_BYTES].copy_from_slice(&(length as u32).to_le_bytes()),
        Err(_) => out.truncate(start),
    }
    encoded
}

/// Takes a stream apart into messages.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: BytesMut,
}

impl FrameReader {
    /// One at the beginning of a stream.
    pub fn new() -> FrameReader {
        FrameReader::default()
    }

    /// Takes in what has arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            self.buffer.reserve(bytes.len().max(BUFFER_BYTES));
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message that is complete.
    ///
    /// # Errors
    /// [`FrameError`]; the stream is of no use any more.
    pub fn next_message<T: Decode<()>>(&mut self) -> Result<Option<T>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { found: length });
        }
        let Some(body) = self.buffer.get(PREFIX_BYTES..PREFIX_BYTES + length) else { return Ok(None) };
        let message = codec::decode(body)?;
        self.buffer.advance(PREFIX_BYTES + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_whatever_way_the_stream_is_cut() {
        let mut stream = Vec::new();
        for text in ["one", "", "three"] {
            append_frame(&text.to_owned(), &mut stream).unwrap();
        }
        for piece in 1..stream.len() {
            let mut reader = FrameReader::new();
            let mut read = Vec::new();
            for bytes in stream.chunks(piece) {
                reader.push(bytes);
                while let Some(text) = reader.next_message::<String>().unwrap() {
                    read.push(text);
                }
            }
            assert_eq!(read, ["one", "", "three"]);
        }
    }

    #[test]
    fn a_hostile_length_is_refused_before_it_arrives() {
        let mut reader = FrameReader::new();
        reader.push(&u32::MAX.to_le_bytes());
        assert_eq!(reader.next_message::<u8>(), Err(FrameError::TooLong { found: u32::MAX as usize }));
    }

    #[test]
    fn every_flipped_bit_of_a_body_is_refused() {
        let mut frame = Vec::new();
        append_frame(&7_u64, &mut frame).unwrap();
        for bit in PREFIX_BYTES * 8..frame.len() * 8 {
            let mut spoilt = frame.clone();
            spoilt[bit / 8] ^= 1 << (bit % 8);
            let mut reader = FrameReader::new();
            reader.push(&spoilt);
            assert!(reader.next_message::<u64>().is_err(), "bit {bit} was accepted");
        }
    }

    #[test]
    fn what_is_too_long_is_not_written() {
        let mut out = vec![1];
        assert!(append_frame(&vec![0_u8; FRAME_BYTES_MAX], &mut out).is_err());
        assert_eq!(out, [1]);
    }
}
