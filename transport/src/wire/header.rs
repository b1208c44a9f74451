//! Header v1: the 64 bytes before every frame (PROTOCOL.md §2.1).

use std::fmt;
use std::hint::cold_path;

use thiserror::Error;

use crate::hint::unlikely;
use crate::limits::{HEADER_BYTES, LANES};

/// Begins every header.
pub const MAGIC: [u8; 4] = *b"EXO1";
/// Version of the header.
pub const VERSION: u8 = 1;
/// The lane field of frames that belong to the connection.
pub const LANE_CONNECTION: u8 = 255;

/// Where each field lies.
pub mod at {
    /// Offset of the magic, 4 bytes.
    pub const MAGIC: usize = 0;
    /// Offset of the version, 1 byte.
    pub const VERSION: usize = 4;
    /// Offset of the kind, 1 byte.
    pub const KIND: usize = 5;
    /// Offset of the lane, 1 byte.
    pub const LANE: usize = 6;
    /// Offset of the flags, 1 byte.
    pub const FLAGS: usize = 7;
    /// Offset of the session, 8 bytes.
    pub const SESSION: usize = 8;
    /// Offset of the epoch, 4 bytes.
    pub const EPOCH: usize = 16;
    /// Offset of the payload's length, 4 bytes.
    pub const LENGTH: usize = 20;
    /// Offset of the sequence, 8 bytes.
    pub const SEQUENCE: usize = 24;
    /// Offset of the acknowledged sequence, 8 bytes.
    pub const ACKNOWLEDGED: usize = 32;
    /// Offset of the credit, 4 bytes.
    pub const CREDIT: usize = 40;
    /// Offset of the immediate, 4 bytes.
    pub const IMMEDIATE: usize = 44;
    /// Offset of the remote key, 8 bytes.
    pub const REMOTE_KEY: usize = 48;
    /// Offset of the payload's place in its message, 8 bytes.
    pub const OFFSET: usize = 56;
    /// One past the last byte.
    pub const END: usize = 64;
}

const _: () = {
    assert!(at::VERSION == at::MAGIC + MAGIC.len());
    assert!(at::KIND == at::VERSION + 1);
    assert!(at::LANE == at::KIND + 1);
    assert!(at::FLAGS == at::LANE + 1);
    assert!(at::SESSION == at::FLAGS + 1);
    assert!(at::EPOCH == at::SESSION + 8);
    assert!(at::LENGTH == at::EPOCH + 4);
    assert!(at::SEQUENCE == at::LENGTH + 4);
    assert!(at::ACKNOWLEDGED == at::SEQUENCE + 8);
    assert!(at::CREDIT == at::ACKNOWLEDGED + 8);
    assert!(at::IMMEDIATE == at::CREDIT + 4);
    assert!(at::REMOTE_KEY == at::IMMEDIATE + 4);
    assert!(at::OFFSET == at::REMOTE_KEY + 8);
    assert!(at::END == at::OFFSET + 8);
    assert!(at::END == HEADER_BYTES);
};

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Part of a two-sided message.
    Send = 1,
    /// Part of a one-sided write.
    Write = 2,
    /// Asks for a part of a region.
    ReadRequest = 3,
    /// Part of what was asked for.
    ReadReply = 4,
    /// Carries a lane's acknowledgement and credit.
    Ack = 5,
    /// Asks for an echo.
    Ping = 6,
    /// The echo.
    Pong = 7,
    /// Ends the session.
    Close = 8,
    /// First frame of a session's next socket: what has arrived and what there is room for.
    Resume = 9,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Send,
            2 => Self::Write,
            3 => Self::ReadRequest,
            4 => Self::ReadReply,
            5 => Self::Ack,
            6 => Self::Ping,
            7 => Self::Pong,
            8 => Self::Close,
            9 => Self::Resume,
            _ => return None,
        })
    }

    /// Whether its `sequence` is the lane's, which outlives the socket, rather than the socket's.
    pub fn is_of_lane(self) -> bool {
        matches!(self, Self::Send | Self::Write | Self::ReadRequest | Self::ReadReply)
    }
}

/// A lane: 0 is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[repr(u8)]
pub enum Lane {
    /// Small and awaited by someone: tokens.
    Urgent = 0,
    /// Activations from stage to stage.
    Activations = 1,
    /// Weights.
    Bulk = 2,
    /// Talk among the nodes.
    Cluster = 3,
}

impl Lane {
    /// All lanes, best first.
    pub const ALL: [Self; LANES] = [Self::Urgent, Self::Activations, Self::Bulk, Self::Cluster];

    /// Its place among the lanes.
    pub fn index(self) -> usize {
        self as usize
    }

    fn parse(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Urgent => "urgent",
            Self::Activations => "activations",
            Self::Bulk => "bulk",
            Self::Cluster => "cluster",
        })
    }
}

/// The flags of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// Ends its message.
    pub const LAST: Self = Self(1);
    /// The payload is sealed and a tag follows it.
    pub const SEALED: Self = Self(2);
    /// The immediate is set.
    pub const IMMEDIATE: Self = Self(4);

    const ALL: u8 = 1 | 2 | 4;

    /// Whether all flags of `other` are set.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The byte of the header.
    pub fn bits(self) -> u8 {
        self.0
    }

    fn parse(byte: u8) -> Option<Self> {
        (byte & !Self::ALL == 0).then_some(Self(byte))
    }
}

/// A frame's header, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// The lane, or `None` for the connection's own frames.
    pub lane: Option<Lane>,
    /// The flags.
    pub flags: Flags,
    /// The session.
    pub session: u64,
    /// The connection's epoch.
    pub epoch: u32,
    /// Bytes of payload, without the tag.
    pub length: u32,
    /// Number of this frame in its counter.
    pub sequence: u64,
    /// Highest sequence of the lane that was received, with all before it.
    pub acknowledged: u64,
    /// Messages for which the lane has been given room since the session began, modulo 2³².
    pub credit: u32,
    /// 32 bits for the receiver; of a read's request, how many bytes are wanted; of a reply's last
    /// frame, how it went; of an `ACK`, for how many microseconds it was held back.
    pub immediate: u32,
    /// Key of the region, of writes and requests; of a reply, the sequence of its request.
    pub remote_key: u64,
    /// Where the payload begins in its message or region.
    pub offset: u64,
}

/// Why 64 bytes are no header. The variants stand in the order of the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Not our magic.
    #[error("it begins with {found:02x?} and not with EXO1")]
    Magic {
        /// What stood there.
        found: [u8; 4],
    },
    /// A version we do not speak.
    #[error("its header has version {found}; this side speaks {VERSION}")]
    Version {
        /// What stood there.
        found: u8,
    },
    /// An unknown kind.
    #[error("its kind {found} is unknown")]
    Kind {
        /// What stood there.
        found: u8,
    },
    /// An unknown flag.
    #[error("its flags {found:#010b} hold an unknown one")]
    Flags {
        /// What stood there.
        found: u8,
    },
    /// A lane that is not, or not one for this kind.
    #[error("its lane {found} is not one for a frame of kind {kind:?}")]
    Lane {
        /// What stood there.
        found: u8,
        /// The frame's kind.
        kind: Kind,
    },
}

fn u32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

impl Header {
    /// Reads a header. What depends on the connection (session, sequence, …) is checked by it.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let magic = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if unlikely(magic != MAGIC) {
            return Err(HeaderError::Magic { found: magic });
        }
        if unlikely(bytes[at::VERSION] != VERSION) {
            return Err(HeaderError::Version { found: bytes[at::VERSION] });
        }
        let kind =
            Kind::parse(bytes[at::KIND]).ok_or(HeaderError::Kind { found: bytes[at::KIND] })?;
        let flags =
            Flags::parse(bytes[at::FLAGS]).ok_or(HeaderError::Flags { found: bytes[at::FLAGS] })?;
        let found = bytes[at::LANE];
        let lane = match kind {
            Kind::Ping | Kind::Pong | Kind::Close | Kind::Resume => {
                cold_path();
                if found != LANE_CONNECTION {
                    return Err(HeaderError::Lane { found, kind });
                }
                None
            }
            _ => Some(Lane::parse(found).ok_or(HeaderError::Lane { found, kind })?),
        };
        Ok(Self {
            kind,
            lane,
            flags,
            session: u64_at(bytes, at::SESSION),
            epoch: u32_at(bytes, at::EPOCH),
            length: u32_at(bytes, at::LENGTH),
            sequence: u64_at(bytes, at::SEQUENCE),
            acknowledged: u64_at(bytes, at::ACKNOWLEDGED),
            credit: u32_at(bytes, at::CREDIT),
            immediate: u32_at(bytes, at::IMMEDIATE),
            remote_key: u64_at(bytes, at::REMOTE_KEY),
            offset: u64_at(bytes, at::OFFSET),
        })
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(at::MAGIC, &MAGIC);
        put(at::VERSION, &[VERSION]);
        put(at::KIND, &[self.kind as u8]);
        put(at::LANE, &[self.lane.map_or(LANE_CONNECTION, |lane| lane as u8)]);
        put(at::FLAGS, &[self.flags.0]);
        put(at::SESSION, &self.session.to_le_bytes());
        put(at::EPOCH, &self.epoch.to_le_bytes());
        put(at::LENGTH, &self.length.to_le_bytes());
        put(at::SEQUENCE, &self.sequence.to_le_bytes());
        put(at::ACKNOWLEDGED, &self.acknowledged.to_le_bytes());
        put(at::CREDIT, &self.credit.to_le_bytes());
        put(at::IMMEDIATE, &self.immediate.to_le_bytes());
        put(at::REMOTE_KEY, &self.remote_key.to_le_bytes());
        put(at::OFFSET, &self.offset.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> impl Strategy<Value = Header> {
        let numbers = (any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
        let more = (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
        (1u8..=9, 0usize..4, 0u8..8, numbers, more).prop_map(|(kind, lane, flags, n, m)| {
            let kind = Kind::parse(kind).unwrap();
            let of_connection =
                matches!(kind, Kind::Ping | Kind::Pong | Kind::Close | Kind::Resume);
            Header {
                kind,
                lane: (!of_connection).then(|| Lane::ALL[lane]),
                flags: Flags(flags),
                session: n.0,
                epoch: n.1,
                length: n.2,
                sequence: n.3,
                acknowledged: n.4,
                credit: m.0,
                immediate: m.1,
                remote_key: m.2,
                offset: m.3,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_parsed(header in header()) {
            prop_assert_eq!(Header::parse(&header.encode()), Ok(header));
        }

        #[test]
        fn what_is_parsed_is_encoded(mut bytes in any::<[u8; 32]>(), rest in any::<[u8; 32]>()) {
            bytes[..5].copy_from_slice(b"EXO1\x01");
            bytes[5] = 1 + bytes[5] % 10;
            bytes[6] %= 5;
            bytes[7] %= 9;
            let mut all = [0; 64];
            all[..32].copy_from_slice(&bytes);
            all[32..].copy_from_slice(&rest);
            if let Ok(header) = Header::parse(&all) {
                prop_assert_eq!(header.encode(), all);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(low in any::<[u8; 32]>(), high in any::<[u8; 32]>()) {
            let mut all = [0; 64];
            all[..32].copy_from_slice(&low);
            all[32..].copy_from_slice(&high);
            let _ = Header::parse(&all);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let header = Header {
            kind: Kind::Send,
            lane: Some(Lane::Activations),
            flags: Flags::LAST.with(Flags::IMMEDIATE),
            session: 0x0102_0304_0506_0708,
            epoch: 9,
            length: 10,
            sequence: 11,
            acknowledged: 12,
            credit: 13,
            immediate: 14,
            remote_key: 15,
            offset: 16,
        };
        let mut expected = Vec::new();
        expected.extend(b"EXO1\x01\x01\x01\x05");
        expected.extend([8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 10, 0, 0, 0]);
        expected.extend([11, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([13, 0, 0, 0, 14, 0, 0, 0, 15, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([16, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(header.encode()[..], expected[..]);
    }

    #[test]
    fn each_fixed_field_is_checked() {
        let good = Header {
            kind: Kind::Ack,
            lane: Some(Lane::Bulk),
            flags: Flags::NONE,
            session: 0,
            epoch: 0,
            length: 0,
            sequence: 0,
            acknowledged: 0,
            credit: 0,
            immediate: 0,
            remote_key: 0,
            offset: 0,
        }
        .encode();
        let spoilt = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            Header::parse(&bytes).unwrap_err()
        };
        assert_eq!(spoilt(0, b'F'), HeaderError::Magic { found: *b"FXO1" });
        assert_eq!(spoilt(4, 2), HeaderError::Version { found: 2 });
        assert_eq!(spoilt(5, 0), HeaderError::Kind { found: 0 });
        assert_eq!(spoilt(5, 10), HeaderError::Kind { found: 10 });
        assert_eq!(spoilt(6, 255), HeaderError::Lane { found: 255, kind: Kind::Ack });
        assert_eq!(spoilt(7, 8), HeaderError::Flags { found: 8 });
        assert_eq!(spoilt(5, 6), HeaderError::Lane { found: 2, kind: Kind::Ping });
    }
}
