//! How messages stand in a stream: a fixed header, then the payload.
//!
//! ```text
//!   ┌──────┬─────────┬──────┬───────┬──────┬────────┬─────────┬────────┬─────────┐
//!   │ "Qr" │ version │ lane │ group │ era  │ engine │ cluster │ length │ payload │
//!   │ 2 B  │ 1 B     │ 1 B  │ u32   │ u32  │ 8 B    │ 16 B    │ u32    │         │
//!   └──────┴─────────┴──────┴───────┴──────┴────────┴─────────┴────────┴─────────┘   numbers little-endian
//! ```
//!
//! Every frame says where it belongs, because a connection may outlive the moment at which its ends are stamped. There
//! is no checksum: QUIC authenticates every packet, and a payload carries the codec's own.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use consensus_api::{ClusterId, EngineName, Era, GroupId, Lane};

/// The version of frames and of the handshake.
pub(crate) const PROTOCOL_VERSION: u8 = 3;
/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 40;
/// Tells a stream of ours from anything else.
pub(crate) const MAGIC: [u8; 2] = *b"Qr";
/// Grown by this much at a time, so that small frames share an allocation.
const BUFFER_BYTES: usize = 64 << 10;

/// Where a frame belongs. Both ends must agree on all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) group: GroupId,
    pub(crate) era: Era,
    pub(crate) engine: EngineName,
    pub(crate) cluster: ClusterId,
}

/// Why a stream cannot be read any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("not a frame of this protocol")]
    Garbage,
    #[error("frames of version {found}, but this node reads version {PROTOCOL_VERSION}; run the same build everywhere")]
    Version { found: u8 },
    #[error("a frame for lane {found}, which is not the stream's or does not exist")]
    Lane { found: u8 },
    #[error("a frame of {found} bytes, over the limit of {limit}; give every node the same limit")]
    TooLong { found: usize, limit: usize },
    #[error("a frame of {found} where {expected} is expected")]
    Scope { expected: String, found: String },
    #[error("the stream ends within a frame")]
    Truncated,
}

/// The number that stands for a lane in a frame.
pub(crate) fn lane_number(lane: Lane) -> u8 {
    lane as u8
}

/// Writes one frame.
pub(crate) fn encode(scope: &Scope, lane: Lane, payload: &[u8], out: &mut BytesMut) {
    assert!(u32::try_from(payload.len()).is_ok(), "a payload of {} bytes passed the queue's limit", payload.len());
    out.reserve(HEADER_BYTES + payload.len());
    out.put_slice(&MAGIC);
    out.put_u8(PROTOCOL_VERSION);
    out.put_u8(lane_number(lane));
    out.put_u32_le(scope.group.0);
    out.put_u32_le(scope.era.0);
    out.put_slice(&scope.engine.0);
    out.put_u128_le(scope.cluster.0);
    out.put_u32_le(payload.len() as u32);
    out.put_slice(payload);
}

struct Header {
    lane: Lane,
    scope: Scope,
    length: usize,
}

impl Header {
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, FrameError> {
        let mut rest = &bytes[..];
        if rest[..MAGIC.len()] != MAGIC {
            return Err(FrameError::Garbage);
        }
        rest.advance(MAGIC.len());
        let version = rest.get_u8();
        if version != PROTOCOL_VERSION {
            return Err(FrameError::Version { found: version });
        }
        let number = rest.get_u8();
        let lane = *Lane::ALL.get(usize::from(number)).ok_or(FrameError::Lane { found: number })?;
        let (group, era) = (GroupId(rest.get_u32_le()), Era(rest.get_u32_le()));
        let mut engine = EngineName::default();
        rest.copy_to_slice(&mut engine.0);
        let cluster = ClusterId(rest.get_u128_le());
        let length = rest.get_u32_le() as usize;
        Ok(Header { lane, scope: Scope { group, era, engine, cluster }, length })
    }
}

/// Takes a stream apart into payloads.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: BytesMut,
    frame_bytes_max: usize,
    /// The lane of the first frame; the stream keeps to it.
    lane: Option<Lane>,
}

impl FrameReader {
    pub(crate) fn new(frame_bytes_max: usize) -> FrameReader {
        FrameReader { buffer: BytesMut::new(), frame_bytes_max, lane: None }
    }

    /// Takes in what has arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            self.buffer.reserve(bytes.len().max(BUFFER_BYTES));
        }
        self.buffer.put_slice(bytes);
    }

    /// The next payload that is complete. A frame of another scope is an error; without a scope of our own, as long
    /// as this node is not stamped, payloads are skipped.
    pub(crate) fn next(&mut self, expected: Option<&Scope>) -> Result<Option<(Lane, Bytes)>, FrameError> {
        loop {
            let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
            let header = Header::decode(header)?;
            self.check(&header, expected)?;
            let frame_bytes = HEADER_BYTES + header.length;
            if self.buffer.len() < frame_bytes {
                self.buffer.reserve(frame_bytes - self.buffer.len());
                return Ok(None);
            }
            let mut frame = self.buffer.split_to(frame_bytes);
            frame.advance(HEADER_BYTES);
            if expected.is_some() {
                return Ok(Some((header.lane, frame.freeze())));
            }
        }
    }

    /// Whether the stream may end here.
    pub(crate) fn finish(&self) -> Result<(), FrameError> {
        if self.buffer.is_empty() { Ok(()) } else { Err(FrameError::Truncated) }
    }

    fn check(&mut self, header: &Header, expected: Option<&Scope>) -> Result<(), FrameError> {
        if *self.lane.get_or_insert(header.lane) != header.lane {
            return Err(FrameError::Lane { found: lane_number(header.lane) });
        }
        if header.length > self.frame_bytes_max {
            return Err(FrameError::TooLong { found: header.length, limit: self.frame_bytes_max });
        }
        match expected {
            Some(expected) if *expected != header.scope => Err(difference(expected, &header.scope)),
            _ => Ok(()),
        }
    }
}

fn difference(expected: &Scope, found: &Scope) -> FrameError {
    let (expected, found) = if expected.cluster != found.cluster {
        (format!("cluster {}", expected.cluster), format!("cluster {}", found.cluster))
    } else if expected.engine != found.engine {
        (format!("engine {}", expected.engine), format!("engine {}", found.engine))
    } else if expected.group != found.group {
        (format!("group {}", expected.group), format!("group {}", found.group))
    } else {
        (format!("era {}", expected.era), format!("era {}", found.era))
    };
    FrameError::Scope { expected, found }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const SCOPE: Scope =
        Scope { group: GroupId(0), era: Era(0), engine: EngineName::new("any"), cluster: ClusterId(7) };

    fn stream(payloads: &[&[u8]]) -> BytesMut {
        let mut out = BytesMut::new();
        for payload in payloads {
            encode(&SCOPE, Lane::Requests, payload, &mut out);
        }
        out
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let bytes = stream(&[b"one", b"", b"three"]);
        for step in 1..bytes.len() {
            let mut reader = FrameReader::new(1024);
            let mut found = Vec::new();
            for piece in bytes.chunks(step) {
                reader.push(piece);
                while let Some((lane, payload)) = reader.next(Some(&SCOPE)).expect("well-formed") {
                    assert_eq!(lane, Lane::Requests);
                    found.push(payload);
                }
            }
            assert_eq!(found, [&b"one"[..], b"", b"three"], "cut every {step} bytes");
            assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn every_damaged_header_is_refused_or_asks_for_more() {
        let bytes = stream(&[b"payload"]);
        for bit in 0..HEADER_BYTES * 8 {
            let mut spoilt = bytes.to_vec();
            spoilt[bit / 8] ^= 1 << (bit % 8);
            let mut reader = FrameReader::new(1 << 20);
            reader.push(&spoilt);
            let in_lane_or_length = bit / 8 == 3 || bit / 8 >= HEADER_BYTES - 4;
            match reader.next(Some(&SCOPE)) {
                Err(_) | Ok(None) => {}
                Ok(Some(_)) => assert!(in_lane_or_length, "bit {bit} was accepted"),
            }
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_is_stored() {
        let mut reader = FrameReader::new(2);
        reader.push(&stream(&[b"three"])[..HEADER_BYTES]);
        assert_eq!(reader.next(Some(&SCOPE)), Err(FrameError::TooLong { found: 5, limit: 2 }));
    }

    #[test]
    fn another_clusters_frame_is_refused_by_name() {
        let other = Scope { cluster: ClusterId(8), ..SCOPE };
        let mut reader = FrameReader::new(1024);
        reader.push(&stream(&[b"x"]));
        let error = reader.next(Some(&other)).expect_err("another cluster");
        assert!(error.to_string().contains(&ClusterId(7).to_string()), "{error}");
    }

    #[test]
    fn a_node_that_is_not_stamped_skips_frames_and_then_reads_on() {
        let mut reader = FrameReader::new(1024);
        reader.push(&stream(&[b"early", b"too early"]));
        assert_eq!(reader.next(None), Ok(None));
        reader.push(&stream(&[b"in time"]));
        assert_eq!(reader.next(Some(&SCOPE)), Ok(Some((Lane::Requests, Bytes::from_static(b"in time")))));
    }

    #[test]
    fn a_stream_keeps_to_its_lane() {
        let mut bytes = stream(&[b"x"]);
        encode(&SCOPE, Lane::Bulk, b"y", &mut bytes);
        let mut reader = FrameReader::new(1024);
        reader.push(&bytes);
        assert!(reader.next(Some(&SCOPE)).is_ok());
        assert_eq!(reader.next(Some(&SCOPE)), Err(FrameError::Lane { found: 3 }));
    }
}
