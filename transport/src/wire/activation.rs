//! Activation v1: the archive that carries hidden states from stage to stage (PROTOCOL.md §3).
//!
//! The bulk stands first and is *gathered*: the sender posts `[bulk where it lies][tail]` as one
//! message, and only the tail is ever written by us. The root stands last, as rkyv wants it.
//!
//! ```text
//! offset 0           bulk_len        padded to 8                          end
//!   |  bulk: tokens × hidden numbers  | 0…7 zero bytes | sequences | root |
//! ```

use std::fmt;

use rkyv::bytecheck::CheckBytes;
use rkyv::munge::munge;
use rkyv::rancor::{self, Fallible};
use rkyv::rend::{u32_le, u64_le};
use rkyv::ser::allocator::SubAllocator;
use rkyv::ser::{Allocator, Positional, Serializer, Writer};
use rkyv::vec::{ArchivedVec, VecResolver};
use rkyv::{Archive, Place, Portable, Serialize};
use thiserror::Error;

use crate::hint::{likely, unlikely};
use crate::limits::{
    ACTIVATION_HIDDEN_MAX, ACTIVATION_SEQUENCES_MAX, ACTIVATION_TOKENS_MAX, MESSAGE_BYTES_MAX,
};
use crate::memory::Region;

/// The immediate of a message that holds an activation.
pub const IMMEDIATE: u32 = 1;

/// The alignment that the first byte of an activation needs. MLX aligns its CPU arrays to this.
pub const ALIGN: usize = 8;

/// What the numbers of the bulk are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Dtype {
    /// IEEE 754, 32 bits.
    F32 = 1,
    /// IEEE 754, 16 bits.
    F16 = 2,
    /// The upper half of `F32`.
    Bf16 = 3,
}

impl Dtype {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    fn parse(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::F32,
            2 => Self::F16,
            3 => Self::Bf16,
            _ => return None,
        })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// Whether the last row of a sequence wants a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Phase {
    /// More rows of the prompt will come.
    Prefill = 0,
    /// The last row wants a token.
    Decode = 1,
}

/// The rows of one sequence, in the order of the bulk.
#[derive(Archive, Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[rkyv(derive(Debug))]
pub struct SequenceRows {
    /// Which sequence.
    pub sequence: u64,
    /// How often its request was started again. Stale attempts are dropped.
    pub attempt: u32,
    /// Position of its first row in the sequence.
    pub start: u32,
    /// How many rows are its own.
    pub tokens: u32,
    /// A [`Phase`].
    pub phase: u8,
}

/// Everything of an activation but its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivationMeta<'a> {
    /// The placement this belongs to.
    pub placement_epoch: u64,
    /// Step of stage 0.
    pub step: u64,
    /// What the numbers are.
    pub dtype: Dtype,
    /// Rows.
    pub tokens: u32,
    /// Numbers in a row.
    pub hidden: u32,
    /// Whose rows they are, in order. Their tokens add up to `tokens`.
    pub sequences: &'a [SequenceRows],
}

/// An activation that was checked and lies where it arrived.
///
/// Its fields are validated in this order, which must be the order of what they point at, so the
/// bulk comes before the sequences.
#[derive(Portable, CheckBytes, Debug)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub struct ArchivedActivation {
    placement_epoch: u64_le,
    step: u64_le,
    dtype: u8,
    tokens: u32_le,
    hidden: u32_le,
    bulk: ArchivedVec<u8>,
    sequences: ArchivedVec<ArchivedSequenceRows>,
}

const _: () = assert!(align_of::<ArchivedActivation>() <= ALIGN);
const _: () = assert!(align_of::<ArchivedSequenceRows>() <= ALIGN);
const _: () = assert!(size_of::<ArchivedActivation>() == 48);
const _: () = assert!(size_of::<ArchivedSequenceRows>() == 24);

/// What becomes an [`ArchivedActivation`]. Written by hand because no derive knows of a bulk that
/// somebody else puts at offset 0.
struct Activation<'a> {
    meta: &'a ActivationMeta<'a>,
    bulk_len: usize,
}

impl Archive for Activation<'_> {
    type Archived = ArchivedActivation;
    type Resolver = VecResolver;

    fn resolve(&self, sequences_at: VecResolver, out: Place<Self::Archived>) {
        munge!(let ArchivedActivation {
            placement_epoch, step, dtype, tokens, hidden, bulk, sequences,
        } = out);
        self.meta.placement_epoch.resolve((), placement_epoch);
        self.meta.step.resolve((), step);
        (self.meta.dtype as u8).resolve((), dtype);
        self.meta.tokens.resolve((), tokens);
        self.meta.hidden.resolve((), hidden);
        ArchivedVec::resolve_from_len(self.bulk_len, VecResolver::from_pos(0), bulk);
        ArchivedVec::resolve_from_slice(self.meta.sequences, sequences_at, sequences);
    }
}

impl<S: Fallible + Allocator + Writer + ?Sized> Serialize<S> for Activation<'_> {
    fn serialize(&self, serializer: &mut S) -> Result<VecResolver, S::Error> {
        ArchivedVec::<ArchivedSequenceRows>::serialize_from_slice(self.meta.sequences, serializer)
    }
}

/// Writes into a buffer that stands for what follows the bulk.
struct Tail<'a> {
    bulk_len: usize,
    written: usize,
    out: &'a mut [u8],
}

impl Positional for Tail<'_> {
    fn pos(&self) -> usize {
        self.bulk_len + self.written
    }
}

impl Writer<rancor::Failure> for Tail<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), rancor::Failure> {
        let end = self.written + bytes.len();
        let place = self.out.get_mut(self.written..end).ok_or(rancor::Failure)?;
        place.copy_from_slice(bytes);
        self.written = end;
        Ok(())
    }
}

/// Why an activation can not be made, or not be believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ActivationError {
    /// The bytes are no archive of this shape.
    #[error("not an activation: {words}")]
    Malformed {
        /// What the validator says.
        words: String,
    },
    /// The first byte does not lie on a multiple of [`ALIGN`].
    #[error("an activation must begin at a multiple of {ALIGN} bytes in memory")]
    Unaligned,
    /// An unknown type of numbers.
    #[error("unknown type of numbers {found}")]
    Dtype {
        /// What stood there.
        found: u8,
    },
    /// An unknown phase.
    #[error("unknown phase {found} of sequence {sequence}")]
    Phase {
        /// What stood there.
        found: u8,
        /// The sequence.
        sequence: u64,
    },
    /// The bulk is not the first bytes.
    #[error("its numbers do not begin at offset 0")]
    BulkMoved,
    /// The bulk has another length than its shape.
    #[error("{found} bytes of numbers for a shape [{tokens}, {hidden}] of {dtype}")]
    BulkLength {
        /// Bytes that are there.
        found: usize,
        /// Rows.
        tokens: u32,
        /// Numbers in a row.
        hidden: u32,
        /// What they are.
        dtype: Dtype,
    },
    /// More than a bound allows.
    #[error("{found} {what}; at most {max}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many there may be.
        max: u64,
    },
    /// The sequences do not own all rows, or own more.
    #[error("its sequences have {sum} rows together, its shape {tokens}")]
    Rows {
        /// Of the sequences.
        sum: u64,
        /// Of the shape.
        tokens: u32,
    },
    /// The tail does not fit the region it should be written to.
    #[error("the tail needs {needed} bytes, the region has {room}")]
    NoRoom {
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are there.
        room: usize,
    },
}

fn limit(what: &'static str, found: u64, max: u64) -> Result<(), ActivationError> {
    if unlikely(found > max) { Err(ActivationError::Limit { what, found, max }) } else { Ok(()) }
}

fn check_shape(
    bulk_len: usize,
    dtype: Dtype,
    tokens: u32,
    hidden: u32,
) -> Result<(), ActivationError> {
    limit("rows", tokens.into(), ACTIVATION_TOKENS_MAX.into())?;
    limit("numbers in a row", hidden.into(), ACTIVATION_HIDDEN_MAX.into())?;
    limit("bytes of numbers", bulk_len as u64, MESSAGE_BYTES_MAX as u64)?;
    let wanted = u64::from(tokens) * u64::from(hidden) * dtype.size() as u64;
    if unlikely(bulk_len as u64 != wanted) {
        return Err(ActivationError::BulkLength { found: bulk_len, tokens, hidden, dtype });
    }
    Ok(())
}

fn check_rows(tokens: u32, rows: impl Iterator<Item = u32>) -> Result<(), ActivationError> {
    let sum = rows.map(u64::from).sum();
    if likely(sum == u64::from(tokens)) {
        Ok(())
    } else {
        Err(ActivationError::Rows { sum, tokens })
    }
}

/// Bytes of the tail of an activation with `sequences` sequences after a bulk of `bulk_len` bytes.
pub fn tail_len(bulk_len: usize, sequences: usize) -> usize {
    bulk_len.next_multiple_of(ALIGN) - bulk_len
        + sequences * size_of::<ArchivedSequenceRows>()
        + size_of::<ArchivedActivation>()
}

/// Writes what follows the bulk into the beginning of `out`: padding, sequences and root. Gives the
/// number of bytes written.
///
/// The message to post is the bulk (`bulk_len` bytes, where it lies) and then those bytes.
///
/// # Errors
///
/// [`ActivationError`] where the receiver would refuse what comes out, and `NoRoom`.
pub fn encode_tail(
    meta: &ActivationMeta<'_>,
    bulk_len: usize,
    out: &mut Region,
) -> Result<usize, ActivationError> {
    check_shape(bulk_len, meta.dtype, meta.tokens, meta.hidden)?;
    limit("sequences", meta.sequences.len() as u64, ACTIVATION_SEQUENCES_MAX as u64)?;
    check_rows(meta.tokens, meta.sequences.iter().map(|rows| rows.tokens))?;
    let needed = tail_len(bulk_len, meta.sequences.len());
    let room = out.len();
    let no_room = ActivationError::NoRoom { needed, room };
    let place = out.as_mut_slice().get_mut(..needed).ok_or(no_room.clone())?;

    let padding = bulk_len.next_multiple_of(ALIGN) - bulk_len;
    place[..padding].fill(0);
    let root = Activation { meta, bulk_len };
    let tail = Tail { bulk_len, written: padding, out: place };
    // Rows hold nothing that is serialized apart, so their resolvers take no room.
    let mut serializer = Serializer::new(tail, SubAllocator::new(&mut []), ());
    rkyv::api::serialize_using::<_, rancor::Failure>(&root, &mut serializer)
        .map_err(|_| no_room)?;
    let written = serializer.into_writer().written;
    debug_assert_eq!(written, needed);
    Ok(written)
}

/// Reads an activation where it lies, after checking all of it: that the archive is sound, that the
/// bulk is the first bytes and as long as its shape says, that its sequences own all rows, and the
/// limits.
///
/// # Errors
///
/// The first check that fails.
pub fn access(bytes: &[u8]) -> Result<&ArchivedActivation, ActivationError> {
    limit("bytes", bytes.len() as u64, 2 * MESSAGE_BYTES_MAX as u64 - 1)?;
    if unlikely(!(bytes.as_ptr() as usize).is_multiple_of(ALIGN)) {
        return Err(ActivationError::Unaligned);
    }
    let root = rkyv::access::<ArchivedActivation, rancor::Error>(bytes)
        .map_err(|error| ActivationError::Malformed { words: error.to_string() })?;
    let dtype = Dtype::parse(root.dtype).ok_or(ActivationError::Dtype { found: root.dtype })?;
    if unlikely(root.bulk.as_ptr() != bytes.as_ptr()) {
        return Err(ActivationError::BulkMoved);
    }
    check_shape(root.bulk.len(), dtype, root.tokens.to_native(), root.hidden.to_native())?;
    limit("sequences", root.sequences.len() as u64, ACTIVATION_SEQUENCES_MAX as u64)?;
    for rows in root.sequences.iter() {
        if unlikely(rows.phase > Phase::Decode as u8) {
            return Err(ActivationError::Phase {
                found: rows.phase,
                sequence: rows.sequence.to_native(),
            });
        }
    }
    check_rows(root.tokens.to_native(), root.sequences.iter().map(|rows| rows.tokens.to_native()))?;
    Ok(root)
}

impl ArchivedActivation {
    /// The placement this belongs to.
    pub fn placement_epoch(&self) -> u64 {
        self.placement_epoch.to_native()
    }

    /// Step of stage 0.
    pub fn step(&self) -> u64 {
        self.step.to_native()
    }

    /// What the numbers are.
    pub fn dtype(&self) -> Dtype {
        Dtype::parse(self.dtype).expect("`access` saw it")
    }

    /// Rows.
    pub fn tokens(&self) -> u32 {
        self.tokens.to_native()
    }

    /// Numbers in a row.
    pub fn hidden(&self) -> u32 {
        self.hidden.to_native()
    }

    /// The numbers, row-major: the first bytes of the message.
    pub fn bulk(&self) -> &[u8] {
        &self.bulk
    }

    /// Whose rows they are, in order.
    pub fn sequences(&self) -> impl ExactSizeIterator<Item = SequenceRows> + '_ {
        self.sequences.iter().map(|rows| SequenceRows {
            sequence: rows.sequence.to_native(),
            attempt: rows.attempt.to_native(),
            start: rows.start.to_native(),
            tokens: rows.tokens.to_native(),
            phase: rows.phase,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(tokens: &[u32]) -> Vec<SequenceRows> {
        let row = |(at, &tokens): (usize, &u32)| SequenceRows {
            sequence: at as u64 + 100,
            attempt: at as u32,
            start: 7 * at as u32,
            tokens,
            phase: (at % 2) as u8,
        };
        tokens.iter().enumerate().map(row).collect()
    }

    /// The whole message in one region, as it arrives.
    fn message(meta: &ActivationMeta<'_>, bulk: &[u8]) -> Region {
        let mut tail = Region::pages(tail_len(bulk.len(), meta.sequences.len()));
        let len = encode_tail(meta, bulk.len(), &mut tail).unwrap();
        let mut all = Region::pages(bulk.len() + len);
        all.as_mut_slice()[..bulk.len()].copy_from_slice(bulk);
        all.as_mut_slice()[bulk.len()..].copy_from_slice(&tail.as_slice()[..len]);
        all
    }

    fn meta(sequences: &[SequenceRows], hidden: u32, dtype: Dtype) -> ActivationMeta<'_> {
        let tokens = sequences.iter().map(|rows| rows.tokens).sum();
        ActivationMeta { placement_epoch: 3, step: 4, dtype, tokens, hidden, sequences }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read(
            tokens in proptest::collection::vec(0u32..5, 0..20),
            hidden in 0u32..50,
            dtype in prop_oneof![Just(Dtype::F32), Just(Dtype::F16), Just(Dtype::Bf16)],
        ) {
            let sequences = rows(&tokens);
            let meta = meta(&sequences, hidden, dtype);
            let bulk_len = (meta.tokens * hidden) as usize * dtype.size();
            let bulk: Vec<u8> = (0..bulk_len).map(|at| at as u8).collect();
            let message = message(&meta, &bulk);
            let read = access(message.as_slice()).unwrap();
            prop_assert_eq!(read.bulk(), &bulk[..]);
            prop_assert_eq!(&read.sequences().collect::<Vec<_>>(), &sequences);
            prop_assert_eq!((read.placement_epoch(), read.step()), (3, 4));
            prop_assert_eq!((read.tokens(), read.hidden()), (meta.tokens, hidden));
            prop_assert_eq!(read.dtype(), dtype);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut region = Region::pages(bytes.len());
            region.as_mut_slice().copy_from_slice(&bytes);
            let _ = access(region.as_slice());
        }

        #[test]
        fn no_spoilt_tail_makes_it_panic(
            at in 0usize..1000, byte in any::<u8>(), cut in 0usize..200,
        ) {
            let sequences = rows(&[1, 2, 3]);
            let meta = meta(&sequences, 3, Dtype::F16);
            let mut message = message(&meta, &[1; 36]);
            let len = message.len();
            message.as_mut_slice()[36 + at % (len - 36)] = byte;
            let cut = cut % len / 8 * 8;
            if let Ok(read) = access(&message.as_slice()[cut..]) {
                prop_assert_eq!(read.bulk().as_ptr(), message.as_slice()[cut..].as_ptr());
                prop_assert_eq!(
                    read.bulk().len(),
                    (read.tokens() * read.hidden()) as usize * read.dtype().size()
                );
            }
        }
    }

    #[test]
    fn a_bulk_that_is_not_the_first_bytes_is_refused() {
        // Eight bytes in front move the whole archive: relative pointers still hold.
        let sequences = rows(&[2]);
        let meta = meta(&sequences, 4, Dtype::F32);
        let inner = message(&meta, &[9; 32]);
        let mut outer = Region::pages(inner.len() + 8);
        outer.as_mut_slice()[8..].copy_from_slice(inner.as_slice());
        assert_eq!(access(outer.as_slice()).unwrap_err(), ActivationError::BulkMoved);
    }

    #[test]
    fn shape_rows_and_limits_are_checked_before_sending() {
        let sequences = rows(&[2]);
        let mut out = Region::pages(1000);
        let meta = meta(&sequences, 4, Dtype::F32);
        assert!(matches!(
            encode_tail(&meta, 31, &mut out),
            Err(ActivationError::BulkLength { found: 31, .. })
        ));
        let short = ActivationMeta { tokens: 3, ..meta };
        assert_eq!(
            encode_tail(&short, 48, &mut out),
            Err(ActivationError::Rows { sum: 2, tokens: 3 })
        );
        let many = rows(&[0; 1025]);
        let many = ActivationMeta { sequences: &many, tokens: 0, ..meta };
        assert!(matches!(
            encode_tail(&many, 0, &mut out),
            Err(ActivationError::Limit { what: "sequences", .. })
        ));
        let mut tight = Region::pages(tail_len(32, 1) - 1);
        assert_eq!(
            encode_tail(&meta, 32, &mut tight),
            Err(ActivationError::NoRoom { needed: 72, room: 71 })
        );
    }

    #[test]
    fn what_the_receiver_checks() {
        let sequences = rows(&[1]);
        let meta = meta(&sequences, 2, Dtype::F32);
        let good = message(&meta, &[0; 8]);
        let root = good.len() - size_of::<ArchivedActivation>();
        let spoilt = |at: usize, byte: u8| {
            let mut bytes = Region::pages(good.len());
            bytes.as_mut_slice().copy_from_slice(good.as_slice());
            bytes.as_mut_slice()[at] = byte;
            access(bytes.as_slice()).unwrap_err()
        };
        assert_eq!(spoilt(root + 16, 9), ActivationError::Dtype { found: 9 });
        assert!(matches!(spoilt(root + 16, 2), ActivationError::BulkLength { .. }));
        assert!(matches!(spoilt(root + 20, 3), ActivationError::BulkLength { .. }));
        assert!(matches!(spoilt(root + 23, 1), ActivationError::Limit { what: "rows", .. }));
        assert!(matches!(spoilt(root + 32, 0), ActivationError::BulkLength { .. }));
        assert!(matches!(spoilt(root + 28, 1), ActivationError::Malformed { .. }));
        // The sequence: its row count, then its phase.
        assert_eq!(spoilt(8 + 16, 2), ActivationError::Rows { sum: 2, tokens: 1 });
        assert_eq!(spoilt(8 + 20, 2), ActivationError::Phase { found: 2, sequence: 100 });
        assert_eq!(access(&good.as_slice()[4..]).unwrap_err(), ActivationError::Unaligned);
    }
}
