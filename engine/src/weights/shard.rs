//! A stage's tensors, read from disk straight into MLX's memory.

use std::sync::atomic::{AtomicU64, Ordering};

use mlx_rs::{Array, error::Exception};

use super::{ModelFolder, TensorReader, WeightsError};
use crate::mlx;

/// Why a stage's tensors are not in memory.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The folder.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A tensor has not the shape that config.json implies.
    #[error(
        "tensor {tensor} has shape {found:?}, config.json implies {expected:?}\nhint: config.json and \
         the weights belong to different models"
    )]
    Shape {
        /// The tensor.
        tensor: String,
        /// What config.json implies.
        expected: Vec<usize>,
        /// What it has.
        found: Vec<usize>,
    },
    /// MLX failed.
    #[error("MLX: {0}")]
    Mlx(#[from] Exception),
}

/// Reads tensors as f32 arrays: one copy, from the page cache into the array.
pub struct ShardReader<'a> {
    folder: &'a ModelFolder,
    reader: &'a TensorReader,
    progress: &'a dyn Fn(u64),
    read: AtomicU64,
}

impl<'a> ShardReader<'a> {
    /// Reads from `folder`; `progress` hears how many bytes were read so far.
    #[must_use]
    pub fn new(
        folder: &'a ModelFolder,
        reader: &'a TensorReader,
        progress: &'a dyn Fn(u64),
    ) -> Self {
        Self { folder, reader, progress, read: AtomicU64::new(0) }
    }

    /// Matrices `[rows, columns]` below each other: `[sum of rows, columns]`.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape, or cannot be read.
    pub fn rows_f32(&self, parts: &[(&str, usize)], columns: usize) -> Result<Array, ShardError> {
        let rows: usize = parts.iter().map(|&(_, rows)| rows).sum();
        let shapes: Vec<(&str, Vec<usize>)> =
            parts.iter().map(|&(name, rows)| (name, vec![rows, columns])).collect();
        self.read(&shapes, &[rows as i32, columns as i32])
    }

    /// One vector `[len]`.
    ///
    /// # Errors
    /// As [`rows_f32`](Self::rows_f32).
    pub fn vector_f32(&self, name: &str, len: usize) -> Result<Array, ShardError> {
        self.read(&[(name, vec![len])], &[len as i32])
    }

    fn read(&self, parts: &[(&str, Vec<usize>)], shape: &[i32]) -> Result<Array, ShardError> {
        mlx::filled_f32(shape, |mut out| -> Result<(), ShardError> {
            for (name, shape) in parts {
                let tensor = self.folder.tensor(name)?;
                if tensor.shape != *shape {
                    return Err(ShardError::Shape {
                        tensor: (*name).to_owned(),
                        expected: shape.clone(),
                        found: tensor.shape.clone(),
                    });
                }
                let (own, rest) = std::mem::take(&mut out).split_at_mut(shape.iter().product());
                self.reader.read_f32_into(tensor, own)?;
                out = rest;
                let bytes = tensor.bytes() as u64;
                (self.progress)(self.read.fetch_add(bytes, Ordering::Relaxed) + bytes);
            }
            Ok(())
        })?
    }
}
