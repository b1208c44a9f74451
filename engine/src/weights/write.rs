//! How does a safetensors file come to be, tensor by tensor?

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use safetensors::{
    Dtype, SafeTensorError,
    tensor::{Metadata, TensorInfo as Entry},
};

/// Collected before a write: fewer, larger system calls.
const BUFFER_BYTES: usize = 1 << 20;

/// A safetensors file under construction: its header is written first, then its tensors' bytes, in
/// the order in which they were declared.
pub(super) struct SafetensorsWriter {
    out: BufWriter<File>,
    written: u64,
    expected: u64,
}

impl SafetensorsWriter {
    /// Creates the file and writes its header.
    pub(super) fn create(
        path: &Path,
        tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>,
    ) -> io::Result<Self> {
        let mut expected = 0;
        let tensors = tensors.into_iter().inspect(|(_, dtype, shape)| {
            expected += (shape.iter().product::<usize>() * dtype.bitsize() / 8) as u64;
        });
        let beginning = header_bytes(tensors)?;

        let mut out = BufWriter::with_capacity(BUFFER_BYTES, File::create_new(path)?);
        out.write_all(&beginning)?;
        Ok(Self { out, written: 0, expected })
    }

    /// How many bytes of tensors the file will have.
    pub(super) fn expected(&self) -> u64 {
        self.expected
    }

    /// The next bytes of the tensor that is due.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Flushes to the disk itself.
    pub(super) fn finish(self) -> io::Result<()> {
        if self.written != self.expected {
            return Err(io::Error::other("not all declared tensors were written"));
        }
        self.out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

/// The beginning of a file with these tensors, one after the other: length and header.
pub(super) fn header_bytes(
    tensors: impl IntoIterator<Item = (String, Dtype, Vec<usize>)>,
) -> io::Result<Vec<u8>> {
    let mut end = 0;
    let entries: Vec<(String, Entry)> = tensors
        .into_iter()
        .map(|(name, dtype, shape)| {
            let start = end;
            end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
            (name, Entry { dtype, shape, data_offsets: (start, end) })
        })
        .collect();
    let about = HashMap::from([("format".to_owned(), "mlx".to_owned())]);
    let invalid = |error: SafeTensorError| io::Error::other(error.to_string());
    let metadata = Metadata::new(Some(about), entries).map_err(invalid)?;
    let mut header = serde_json::to_vec(&metadata)?;
    // So that the tensors begin at a multiple of 8.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes()[..], &header].concat())
}

#[cfg(test)]
pub(super) mod tests {
    use half::{bf16, f16};

    use super::*;

    /// A file of one-dimensional f32 tensors.
    pub(in crate::weights) fn write_file(path: &Path, tensors: &[(&str, &[f32])]) {
        let declared = tensors.iter().map(|(n, v)| ((*n).to_owned(), Dtype::F32, vec![v.len()]));
        let mut writer = SafetensorsWriter::create(path, declared).unwrap();
        for (_, values) in tensors {
            writer.write(bytemuck::cast_slice(values)).unwrap();
        }
        writer.finish().unwrap();
    }

    /// A file with one tensor `t` of that type.
    pub(in crate::weights) fn write_halves(path: &Path, dtype: Dtype, values: &[f32]) {
        let declared = [("t".to_owned(), dtype, vec![values.len()])];
        let mut writer = SafetensorsWriter::create(path, declared).unwrap();
        let bits: Vec<u16> = match dtype {
            Dtype::F16 => values.iter().map(|&v| f16::from_f32(v).to_bits()).collect(),
            Dtype::BF16 => values.iter().map(|&v| bf16::from_f32(v).to_bits()).collect(),
            _ => bytemuck::cast_slice(values).to_vec(),
        };
        writer.write(bytemuck::cast_slice(&bits)).unwrap();
        writer.finish().unwrap();
    }

    #[test]
    fn what_the_crate_reads_is_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        write_file(&path, &[("z", &[1.0, 2.0]), ("a", &[3.0])]);
        let bytes = std::fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(tensors.tensor("a").unwrap().data(), 3.0_f32.to_le_bytes());
        assert_eq!(tensors.tensor("z").unwrap().shape(), [2]);
    }

    #[test]
    fn a_tensor_that_was_declared_has_to_come() {
        let dir = tempfile::tempdir().unwrap();
        let declared = [("a".to_owned(), Dtype::F32, vec![2])];
        let mut writer =
            SafetensorsWriter::create(&dir.path().join("m.safetensors"), declared).unwrap();
        writer.write(&[0; 4]).unwrap();
        assert!(writer.finish().is_err());
    }
}
