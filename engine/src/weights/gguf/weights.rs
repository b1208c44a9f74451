//! How are the tensors written?
//!
//! A chunk of rows at a time, so that memory stays at a few megabytes. A matrix of few-bit blocks
//! becomes three tensors, written one after the other: its codes, their scales, their biases.

use std::path::Path;

use half::{
    bf16, f16,
    slice::{HalfBitsSliceExt, HalfFloatSliceExt},
};
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::{
    codes::{self, Form, GROUP},
    file::GgufFile,
    import::{ImportDtype, ImportError, ImportProgress},
    plan::PlannedTensor,
};
use crate::weights::write::SafetensorsWriter;

/// Numbers converted at a time, unless a row (or a head of permuted rows) has more: 1 MiB of f32.
const CHUNK_ELEMENTS: usize = 256 << 10;

/// What of a tensor is written.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// Its numbers.
    Numbers(Dtype),
    /// The codes of its numbers, of that many bits.
    Codes(usize),
    /// Of each group of codes.
    Scales(Dtype),
    /// Of each group of codes.
    Biases(Dtype),
}

impl PlannedTensor {
    /// Its codes, if it is written in such.
    fn form(&self, dtype: ImportDtype) -> Option<Form> {
        let is_matrix = self.source.shape.len() > 1 && self.name.ends_with(".weight");
        self.source.kind.form().filter(|_| is_matrix && dtype == ImportDtype::Stored)
    }

    /// The tensors that it becomes.
    fn parts(&self, dtype: ImportDtype) -> Vec<(String, Part)> {
        let Some(form @ Form { bits, scales }) = self.form(dtype) else {
            let dense = if self.source.shape.len() > 1 || dtype != ImportDtype::Stored {
                dtype.dense(self.source.kind)
            } else {
                Dtype::F32
            };
            return vec![(self.name.clone(), Part::Numbers(dense))];
        };
        let module = self.module();
        let mut parts = vec![
            (self.name.clone(), Part::Codes(bits)),
            (format!("{module}.scales"), Part::Scales(scales)),
        ];
        if !form.is_mxfp4() {
            parts.push((format!("{module}.biases"), Part::Biases(scales)));
        }
        parts
    }

    fn module(&self) -> &str {
        self.name.strip_suffix(".weight").unwrap_or(&self.name)
    }
}

impl Part {
    /// Type and shape, of a tensor of that shape.
    fn declared(self, shape: &[usize]) -> (Dtype, Vec<usize>) {
        let mut shape = shape.to_vec();
        let row = shape.last_mut();
        match self {
            Self::Numbers(dtype) => (dtype, shape),
            Self::Codes(bits) => {
                row.into_iter().for_each(|row| *row = *row / GROUP * bits);
                (Dtype::U32, shape)
            }
            Self::Scales(dtype) | Self::Biases(dtype) => {
                row.into_iter().for_each(|row| *row /= GROUP);
                (dtype, shape)
            }
        }
    }
}

/// `quantization` of config.json: as most modules have it, and the others by name.
pub(super) fn quantisation(tensors: &[PlannedTensor], dtype: ImportDtype) -> Option<Value> {
    let of = |tensor: &PlannedTensor| {
        let form = tensor.form(dtype)?;
        Some((tensor.module().to_owned(), (form.bits, form.is_mxfp4())))
    };
    let modules: Vec<(String, (usize, bool))> = tensors.iter().filter_map(of).collect();
    let count = |how: (usize, bool)| modules.iter().filter(|(_, other)| *other == how).count();
    let common = modules.iter().map(|(_, how)| *how).max_by_key(|&how| (count(how), how))?;
    let setting = |(bits, mxfp4): (usize, bool)| {
        let mode = if mxfp4 { "mxfp4" } else { "affine" };
        json!({"group_size": GROUP, "bits": bits, "mode": mode})
    };
    let own = modules.into_iter().filter(|(_, how)| *how != common);
    let own: Map<String, Value> = own.map(|(module, how)| (module, setting(how))).collect();
    let mut all = setting(common);
    if let Some(fields) = all.as_object_mut() {
        fields.extend(own);
    }
    Some(all)
}

/// Writes all tensors; says how many bytes they have.
pub(super) fn write(
    gguf: &GgufFile,
    tensors: &[PlannedTensor],
    dtype: ImportDtype,
    path: &Path,
    progress: &mut dyn FnMut(ImportProgress<'_>),
) -> Result<u64, ImportError> {
    let failed = |source| ImportError::Write { file: path.to_owned(), source };
    let declared = tensors.iter().flat_map(|tensor| {
        tensor.parts(dtype).into_iter().map(|(name, part)| {
            let (dtype, shape) = part.declared(&tensor.source.shape);
            (name, dtype, shape)
        })
    });
    let mut writer = SafetensorsWriter::create(path, declared).map_err(failed)?;
    let bytes_total = writer.expected();
    let mut bytes_done = 0;
    let mut chunk = Chunk::default();
    for tensor in tensors {
        for (_, part) in tensor.parts(dtype) {
            let rows =
                tensor.permuted_head.unwrap_or(CHUNK_ELEMENTS / tensor.source.row_elements());
            let mut at = 0;
            while at < tensor.source.rows() {
                let end = (at + rows.max(1)).min(tensor.source.rows());
                gguf.read_blocks(&tensor.source, at..end, &mut chunk.blocks)?;
                let bytes = chunk.convert(tensor, part, end - at)?;
                writer.write(bytes).map_err(failed)?;
                bytes_done += bytes.len() as u64;
                progress(ImportProgress { tensor: &tensor.name, bytes_done, bytes_total });
                at = end;
            }
        }
    }
    writer.finish().map_err(failed)?;
    Ok(bytes_total)
}

/// Buffers for one chunk of rows, used again for the next.
#[derive(Default)]
struct Chunk {
    /// As stored.
    blocks: Vec<u8>,
    numbers: Vec<f32>,
    bytes: Vec<u8>,
    reordered: Vec<u8>,
}

impl Chunk {
    /// That part of `rows` rows, as it is written.
    fn convert(
        &mut self,
        tensor: &PlannedTensor,
        part: Part,
        rows: usize,
    ) -> Result<&[u8], ImportError> {
        let (kind, name) = (tensor.source.kind, &tensor.source.name);
        self.bytes.clear();
        match part {
            Part::Numbers(dtype) => {
                self.numbers.resize(rows * tensor.source.row_elements(), 0.0);
                kind.dequantise(&self.blocks, &mut self.numbers);
                if tensor.plus_one {
                    self.numbers.iter_mut().for_each(|number| *number -= 1.0);
                }
                self.encode(dtype, name)?;
            }
            Part::Codes(bits) => {
                for group in kind.groups(&self.blocks) {
                    codes::pack(&group.codes, bits, &mut self.bytes);
                }
            }
            Part::Scales(dtype) | Part::Biases(dtype) => {
                for group in kind.groups(&self.blocks) {
                    let is_nan = dtype == Dtype::U8 && group.scale == f32::from(u8::MAX);
                    if is_nan || !group.scale.is_finite() || !group.bias.is_finite() {
                        return Err(ImportError::NotFinite { tensor: name.clone() });
                    }
                    let scales = matches!(part, Part::Scales(_));
                    let number = if scales { group.scale } else { group.bias };
                    if !codes::append(number, dtype, &mut self.bytes) {
                        return Err(ImportError::BeyondF16 { tensor: name.clone() });
                    }
                }
            }
        }
        if tensor.permuted_head.is_some() {
            self.unpermute(self.bytes.len() / rows);
        }
        Ok(&self.bytes)
    }

    /// Puts the rows of one head back into Hugging Face's order: stored as pairs (0, half),
    /// (1, half + 1), …, they become the first halves of all pairs, then the second.
    fn unpermute(&mut self, row_bytes: usize) {
        self.reordered.clear();
        for half in 0..2 {
            for pair in self.bytes.chunks_exact(2 * row_bytes) {
                self.reordered.extend_from_slice(&pair[half * row_bytes..][..row_bytes]);
            }
        }
        std::mem::swap(&mut self.bytes, &mut self.reordered);
    }

    /// The numbers as they are stored.
    fn encode(&mut self, dtype: Dtype, tensor: &str) -> Result<(), ImportError> {
        if !self.numbers.iter().fold(true, |all, x| all & x.is_finite()) {
            return Err(ImportError::NotFinite { tensor: tensor.to_owned() });
        }
        if dtype == Dtype::F32 {
            self.bytes.extend_from_slice(bytemuck::cast_slice(&self.numbers));
            return Ok(());
        }
        let mut halves = vec![0_u16; self.numbers.len()];
        if dtype == Dtype::F16 {
            let halves: &mut [f16] = halves.reinterpret_cast_mut();
            halves.convert_from_f32_slice(&self.numbers);
            if !halves.iter().all(|half| half.is_finite()) {
                return Err(ImportError::BeyondF16 { tensor: tensor.to_owned() });
            }
        } else {
            let halves: &mut [bf16] = halves.reinterpret_cast_mut();
            halves.convert_from_f32_slice(&self.numbers);
        }
        self.bytes.extend_from_slice(bytemuck::cast_slice(&halves));
        Ok(())
    }
}
