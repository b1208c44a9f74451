//! How does a tensor get into memory?
//!
//! By positioned reads of exactly its bytes, from any number of threads. Nothing is mapped: a
//! mapping of a file that someone shortens kills the process, and a page that was read is copied
//! once either way.

use std::{
    os::unix::fs::FileExt,
    sync::atomic::{AtomicU64, Ordering},
};

use half::{
    f16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt},
};
use safetensors::Dtype;

use super::{TensorInfo, WeightsError};

/// Half-precision numbers read at a time: 32 KiB, which stays in the first-level cache and on the
/// stack.
const CHUNK_ELEMENTS: usize = 16 << 10;

// The format is little-endian; so is every machine that MLX runs on.
const _: () = assert!(cfg!(target_endian = "little"));

/// Reads tensors and counts the bytes.
#[derive(Debug, Default)]
pub struct TensorReader {
    bytes_read: AtomicU64,
}

impl TensorReader {
    /// A reader that has read nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes of tensors it has read from files.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Fills `out` with the tensor's bytes from `offset` on.
    ///
    /// # Errors
    /// [`WeightsError::OutOfRange`] if the tensor has not that many, [`WeightsError::Io`].
    pub fn read_into(
        &self,
        tensor: &TensorInfo,
        offset: usize,
        out: &mut [u8],
    ) -> Result<(), WeightsError> {
        let end = offset.saturating_add(out.len());
        if end > tensor.bytes() {
            return Err(WeightsError::OutOfRange {
                tensor: tensor.name.clone(),
                bytes: tensor.bytes(),
                start: offset,
                end,
            });
        }
        tensor
            .handle
            .read_exact_at(out, tensor.range.start + offset as u64)
            .map_err(|source| WeightsError::Io { file: tensor.file.to_path_buf(), source })?;
        self.bytes_read.fetch_add(out.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Fills `out`, which has as many numbers as the tensor, with its f32, f16 or bf16 numbers as
    /// f32.
    ///
    /// # Errors
    /// [`WeightsError::NotFloat`], [`WeightsError::OutOfRange`] if `out` has another length,
    /// [`WeightsError::Io`].
    pub fn read_f32_into(&self, tensor: &TensorInfo, out: &mut [f32]) -> Result<(), WeightsError> {
        if out.len() != tensor.elements() {
            return Err(WeightsError::OutOfRange {
                tensor: tensor.name.clone(),
                bytes: tensor.bytes(),
                start: 0,
                end: out.len().saturating_mul(tensor.dtype.bitsize() / 8),
            });
        }
        self.read_f32_from(tensor, 0, out)
    }

    /// Fills `out` with the tensor's f32, f16 or bf16 numbers from the `first` on, as f32. One pass:
    /// f32 goes straight into `out`, the others over a buffer of 32 KiB.
    ///
    /// # Errors
    /// [`WeightsError::NotFloat`], [`WeightsError::OutOfRange`] if the tensor has not that many,
    /// [`WeightsError::Io`].
    pub fn read_f32_from(
        &self,
        tensor: &TensorInfo,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), WeightsError> {
        if !matches!(tensor.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let (tensor, dtype) = (tensor.name.clone(), tensor.dtype);
            return Err(WeightsError::NotFloat { tensor, dtype });
        }
        let mut offset = first.saturating_mul(tensor.dtype.bitsize() / 8);
        if tensor.dtype == Dtype::F32 {
            return self.read_into(tensor, offset, bytemuck::cast_slice_mut(out));
        }
        let mut buffer = [0_u16; CHUNK_ELEMENTS];
        for chunk in out.chunks_mut(CHUNK_ELEMENTS) {
            let halves = &mut buffer[..chunk.len()];
            self.read_into(tensor, offset, bytemuck::cast_slice_mut(halves))?;
            offset += 2 * chunk.len();
            if tensor.dtype == Dtype::F16 {
                halves.reinterpret_cast::<f16>().convert_to_f32_slice(chunk);
            } else {
                // A bf16 is the upper half of an f32.
                for (number, &bits) in chunk.iter_mut().zip(halves.iter()) {
                    *number = f32::from_bits(u32::from(bits) << 16);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::weights::{ModelFolder, write::tests::write_halves};

    #[test]
    fn all_three_float_types_and_only_what_is_asked_for() {
        let numbers: Vec<f32> = (0..CHUNK_ELEMENTS + 7).map(|n| n as f32 / 8.0 - 100.0).collect();
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("config.json"), "{}").unwrap();
            write_halves(&dir.path().join("model.safetensors"), dtype, &numbers);
            let folder = ModelFolder::open(dir.path()).unwrap();
            let tensor = folder.tensor("t").unwrap();
            let reader = TensorReader::new();
            let mut out = vec![0.0; numbers.len()];
            reader.read_f32_into(tensor, &mut out).unwrap();
            let expected: Vec<f32> = match dtype {
                Dtype::F16 => numbers.iter().map(|&n| f16::from_f32(n).to_f32()).collect(),
                Dtype::BF16 => numbers.iter().map(|&n| bf16::from_f32(n).to_f32()).collect(),
                _ => numbers.clone(),
            };
            assert_eq!(out, expected);
            assert_eq!(reader.bytes_read(), tensor.bytes() as u64);

            let mut two = [0; 4];
            reader.read_into(tensor, tensor.bytes() - 4, &mut two).unwrap();
            assert_eq!(reader.bytes_read(), tensor.bytes() as u64 + 4);
            let past = reader.read_into(tensor, tensor.bytes() - 3, &mut two).unwrap_err();
            assert!(matches!(past, WeightsError::OutOfRange { .. }));
            let short = reader.read_f32_into(tensor, &mut out[1..]).unwrap_err();
            assert!(matches!(short, WeightsError::OutOfRange { .. }));
            reader.read_f32_from(tensor, numbers.len() - 3, &mut out[..3]).unwrap();
            assert_eq!(out[..3], expected[numbers.len() - 3..]);
            let past = reader.read_f32_from(tensor, 1, &mut out).unwrap_err();
            assert!(matches!(past, WeightsError::OutOfRange { .. }));
        }
    }

    #[test]
    fn a_file_that_was_shortened_after_it_was_opened_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        let file = dir.path().join("model.safetensors");
        write_halves(&file, Dtype::F32, &[1.0; 100]);
        let folder = ModelFolder::open(dir.path()).unwrap();
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(300).unwrap();
        let error = TensorReader::new()
            .read_f32_into(folder.tensor("t").unwrap(), &mut [0.0; 100])
            .unwrap_err();
        assert!(error.to_string().contains("model.safetensors"), "{error}");
    }
}
