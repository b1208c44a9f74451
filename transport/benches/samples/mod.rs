//! A frame and activations as they are while a model decodes: what is timed here, and counted by
//! `examples/hot_paths.rs`.

use exo_transport::{
    Lane, Region,
    wire::{
        activation::{self, ActivationMeta, Dtype, Phase, SequenceRows},
        header::{Flags, Header, Kind},
    },
};

/// The header of the last frame of an activation.
pub(crate) fn header() -> Header {
    Header {
        kind: Kind::Send,
        lane: Some(Lane::Activations),
        flags: Flags::LAST.with(Flags::IMMEDIATE),
        session: 0x0123_4567_89ab_cdef,
        epoch: 1,
        length: 16_456,
        sequence: 1_000_000,
        acknowledged: 999_999,
        credit: 1_000_008,
        immediate: activation::IMMEDIATE,
        remote_key: 0,
        offset: 0,
    }
}

/// An activation of one token for each of some sequences.
pub(crate) struct Activation {
    /// Bytes of its numbers.
    pub(crate) bulk_bytes: usize,
    rows: Vec<SequenceRows>,
}

impl Activation {
    pub(crate) fn of(bulk_bytes: usize, sequences: usize) -> Self {
        let row = |at: usize| SequenceRows {
            sequence: at as u64,
            attempt: 0,
            start: 100,
            tokens: 1,
            phase: Phase::Decode as u8,
        };
        Self { bulk_bytes, rows: (0..sequences).map(row).collect() }
    }

    pub(crate) fn meta(&self) -> ActivationMeta<'_> {
        let tokens = self.rows.len();
        ActivationMeta {
            placement_epoch: 1,
            step: 7,
            dtype: Dtype::F32,
            tokens: tokens as u32,
            hidden: (self.bulk_bytes / Dtype::F32.size() / tokens) as u32,
            sequences: &self.rows,
        }
    }

    /// Room for its tail.
    pub(crate) fn tail(&self) -> Region {
        Region::pages(activation::tail_len(self.bulk_bytes, self.rows.len()))
    }

    /// The whole of it, as it arrives.
    pub(crate) fn whole(&self) -> Region {
        let mut tail = self.tail();
        activation::encode_tail(&self.meta(), self.bulk_bytes, &mut tail).unwrap();
        let mut whole = Region::pages(self.bulk_bytes + tail.as_slice().len());
        whole.as_mut_slice()[self.bulk_bytes..].copy_from_slice(tail.as_slice());
        whole
    }
}
