//! Is that safetensors header true?
//!
//! The layout: 8 bytes length of the header (little-endian), the header (JSON: name → dtype, shape,
//! offsets), then the tensors' bytes without a gap. The `safetensors` crate judges what a header
//! says; this file adds what a header on disk can get wrong beside that (the file's length, names
//! that come twice, sizes without bound) and the names that an error needs.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use safetensors::{
    SafeTensorError,
    tensor::{Metadata, TensorInfo as Entry},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use super::WeightsError;

/// As the `safetensors` crate and its Python twin bound it.
pub(super) const HEADER_BYTES_MAX: u64 = 100_000_000;
const PREFIX_BYTES: u64 = 8;

/// A file's tensors in the order of their bytes, offsets counted from the file's beginning.
pub(super) struct Header {
    pub(super) entries: Vec<(String, Entry)>,
    pub(super) file_bytes: u64,
}

/// Reads and checks the header of an opened file, and nothing else of it.
pub(super) fn read(file: &File, path: &Path) -> Result<Header, WeightsError> {
    let io = |source| WeightsError::Io { file: path.to_owned(), source };
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(io(io::Error::other("not a regular file")));
    }
    read_from(file, metadata.len(), path)
}

/// The same of anything that begins like a file of `file_bytes` bytes.
pub(super) fn read_from(
    mut input: impl Read,
    file_bytes: u64,
    path: &Path,
) -> Result<Header, WeightsError> {
    let io = |source| WeightsError::Io { file: path.to_owned(), source };
    let short =
        |expected| WeightsError::Length { file: path.to_owned(), expected, actual: file_bytes };
    if file_bytes < PREFIX_BYTES {
        return Err(short(PREFIX_BYTES));
    }
    let mut prefix = [0; PREFIX_BYTES as usize];
    input.read_exact(&mut prefix).map_err(io)?;
    let header_bytes = u64::from_le_bytes(prefix);
    if header_bytes > HEADER_BYTES_MAX {
        return Err(WeightsError::TooLarge {
            file: path.to_owned(),
            what: "the header",
            bytes: header_bytes,
            max: HEADER_BYTES_MAX,
        });
    }
    let data_start = PREFIX_BYTES + header_bytes;
    if data_start > file_bytes {
        return Err(short(data_start));
    }
    // Bounded above by what is really there, so a lie costs no memory.
    let mut json = vec![0; header_bytes as usize];
    input.read_exact(&mut json).map_err(io)?;

    let mut entries = parse(&json, path)?;
    let data_bytes = check(&mut entries, path)?;
    if data_start.checked_add(data_bytes) != Some(file_bytes) {
        return Err(short(data_start.saturating_add(data_bytes)));
    }
    for (_, entry) in &mut entries {
        let (start, end) = entry.data_offsets;
        entry.data_offsets = (start + data_start as usize, end + data_start as usize);
    }
    Ok(Header { entries, file_bytes })
}

fn parse(json: &[u8], path: &Path) -> Result<Vec<(String, Entry)>, WeightsError> {
    let Entries(entries) = serde_json::from_slice(json).map_err(|error| WeightsError::Header {
        file: path.to_owned(),
        problem: format!("the header is not valid: {error}"),
    })?;
    Ok(entries)
}

/// Sorts the tensors by offset and lets the crate judge them. Returns the bytes they take together.
fn check(entries: &mut [(String, Entry)], path: &Path) -> Result<u64, WeightsError> {
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    for (name, entry) in entries.iter() {
        let bits = entry.shape.iter().try_fold(entry.dtype.bitsize(), |n, &dim| n.checked_mul(dim));
        let (start, end) = entry.data_offsets;
        let held = end.checked_sub(start).and_then(|bytes| bytes.checked_mul(8));
        if bits.is_none() || held != bits {
            return Err(WeightsError::Tensor {
                file: path.to_owned(),
                tensor: name.clone(),
                problem: format!(
                    "shape {:?} of {} does not take bytes {start}..{end}",
                    entry.shape, entry.dtype
                ),
            });
        }
    }
    let metadata = Metadata::new(None, entries.to_vec()).map_err(|error| match error {
        SafeTensorError::InvalidOffset(tensor) => WeightsError::Tensor {
            file: path.to_owned(),
            tensor,
            problem: "its bytes overlap another tensor's, or leave a gap before them".to_owned(),
        },
        other => WeightsError::Header { file: path.to_owned(), problem: other.to_string() },
    })?;
    Ok(metadata.data_len() as u64)
}

/// The header's entries as they stand there; a map would forget names that come twice.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("{name} is there twice")));
            }
            if name == "__metadata__" {
                map.next_value::<std::collections::HashMap<String, String>>()?;
            } else {
                let entry = map
                    .next_value()
                    .map_err(|error| A::Error::custom(format_args!("tensor {name}: {error}")))?;
                entries.push((name, entry));
            }
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + data, 7);
        bytes
    }

    fn read_bytes(bytes: &[u8]) -> Result<Header, WeightsError> {
        read_from(bytes, bytes.len() as u64, Path::new("m.safetensors"))
    }

    fn refused(bytes: &[u8]) -> String {
        read_bytes(bytes).err().expect("it is refused").to_string()
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

    #[test]
    fn a_true_header_is_read_with_offsets_from_the_files_beginning() {
        let header = read_bytes(&file(GOOD, 20)).ok().unwrap();
        let start = 8 + GOOD.len();
        let places: Vec<_> =
            header.entries.iter().map(|(name, e)| (name.as_str(), e.data_offsets)).collect();
        assert_eq!(places, [("a", (start, start + 8)), ("b", (start + 8, start + 20))]);
    }

    #[test]
    fn every_lie_is_refused_by_name() {
        for (bytes, words) in [
            (file(GOOD, 19), "has 169 bytes, but its header describes 170"),
            (file(GOOD, 21), "describes"),
            (vec![1, 2, 3], "describes 8"),
            (u64::MAX.to_le_bytes().to_vec(), "header has 18446744073709551615 bytes"),
            (99_999_999_u64.to_le_bytes().to_vec(), "describes 100000007"),
            (file("{", 0), "header is not valid"),
            (file("[]", 0), "an object of tensors"),
            (file(&GOOD.replace("[8,20]", "[4,16]"), 20), "tensor b: its bytes overlap"),
            (file(&GOOD.replace("[8,20]", "[12,24]"), 24), "tensor b: its bytes overlap"),
            (file(&GOOD.replace("[8,20]", "[8,19]"), 20), "tensor b: shape [2, 3] of BF16"),
            (file(&GOOD.replace("[8,20]", "[20,8]"), 20), "tensor b"),
            (file(&GOOD.replace("[2,3]", "[2,9223372036854775807]"), 20), "tensor b: shape"),
            (file(&GOOD.replace("BF16", "BF17"), 20), "tensor b: unknown variant"),
            (file(&GOOD.replace("\"b\"", "\"a\""), 20), "a is there twice"),
        ] {
            let error = refused(&bytes);
            assert!(error.contains("m.safetensors") && error.contains(words), "{error}");
        }
    }

    proptest! {
        #[test]
        fn mutations_never_panic(
            at in 0usize..150, byte in any::<u8>(), cut in 0usize..170, more in any::<bool>(),
        ) {
            let mut bytes = file(GOOD, 20);
            if at < bytes.len() { bytes[at] = byte; }
            if more { bytes.truncate(cut); }
            if let Ok(header) = read_bytes(&bytes) {
                for (_, entry) in header.entries {
                    prop_assert!(entry.data_offsets.1 <= bytes.len());
                }
            }
        }
    }
}
