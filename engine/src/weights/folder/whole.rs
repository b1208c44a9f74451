//! Of which whole model has this folder a part?
//!
//! A folder with the tensors of some layers only (`models pull --layers`) says in `exo-whole.json`
//! what the whole has: name, type and shape of every tensor, and those bytes that the fingerprint
//! covers. So other nodes know it for the same model, and its sizes are known where layers are placed.

use std::{collections::BTreeMap, path::Path};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::{ModelFolder, SAMPLE_BYTES, TensorInfo, fingerprint, parse, read_json, sampled_every};
use crate::weights::WeightsError;

const WHOLE: &str = "exo-whole.json";

/// A tensor of the whole model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// As the checkpoint calls it.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Row-major, outermost dimension first.
    pub shape: Vec<usize>,
}

impl Described {
    /// How many numbers it holds.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    fn bytes(&self) -> Option<usize> {
        let of_shape = |bits: usize| self.shape.iter().try_fold(bits, |n, &dim| n.checked_mul(dim));
        of_shape(self.dtype.bitsize()).map(|bits| bits / 8)
    }
}

/// The whole model, as far as the fingerprint covers it.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::weights) struct Whole {
    /// In order of their names.
    tensors: Vec<Described>,
    /// Bytes of every so many of them, in hexadecimal digits.
    samples: Vec<String>,
}

impl Whole {
    /// Of these tensors; `sample` is asked for those bytes of a tensor that are covered.
    pub(in crate::weights) fn of<E>(
        tensors: BTreeMap<String, Described>,
        sample: impl FnOnce(Vec<(String, std::ops::Range<u64>)>) -> Result<Vec<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let covered = tensors.values().step_by(sampled_every(tensors.len()));
        let place = |tensor: &Described| {
            let bytes = tensor.bytes().unwrap_or(0);
            let length = SAMPLE_BYTES.min(bytes);
            let start = ((bytes - length) / 2) as u64;
            (tensor.name.clone(), start..start + length as u64)
        };
        let samples = sample(covered.map(place).collect())?;
        let samples = samples.iter().map(hex::encode).collect();
        Ok(Self { tensors: tensors.into_values().collect(), samples })
    }

    /// The file's name and content.
    pub(in crate::weights) fn file(&self) -> (&'static str, Vec<u8>) {
        // Plain data has no way to fail to be written as JSON.
        (WHOLE, serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(dir: &Path) -> Result<Option<Self>, WeightsError> {
        let file = dir.join(WHOLE);
        let Some(bytes) = read_json(&file)? else { return Ok(None) };
        let whole: Self = parse(&bytes, &file)?;
        let odd = |problem: &str| WeightsError::Json { file, problem: problem.to_owned() };
        if !whole.tensors.is_sorted_by(|one, next| one.name < next.name) {
            return Err(odd("its tensors are out of order, or there twice"));
        }
        if whole.tensors.iter().any(|tensor| tensor.bytes().is_none()) {
            return Err(odd("it has a tensor of a size that none has"));
        }
        Ok(Some(whole))
    }

    /// The fingerprint of the whole, if `folder` is a part of it.
    fn fingerprint(&self, folder: &ModelFolder) -> Result<[u8; 32], WeightsError> {
        let odd = |problem: String| WeightsError::Json { file: folder.dir.join(WHOLE), problem };
        let samples: Result<Vec<Vec<u8>>, _> = self.samples.iter().map(hex::decode).collect();
        let samples = samples.map_err(|_| odd("it has samples that are none".to_owned()))?;
        let every = sampled_every(self.tensors.len());
        if samples.len() != self.tensors.len().div_ceil(every) {
            return Err(odd(format!("{} samples for {}", samples.len(), self.tensors.len())));
        }
        for here in folder.tensors.values() {
            let at = self.tensors.binary_search_by(|tensor| tensor.name.cmp(&here.name));
            let same =
                |tensor: &Described| (tensor.dtype, &tensor.shape) == (here.dtype, &here.shape);
            let Some(at) = at.ok().filter(|&at| same(&self.tensors[at])) else {
                return Err(odd(format!("tensor {} is here, but not so in the whole", here.name)));
            };
            if at % every == 0 && sample(here)? != samples[at / every] {
                return Err(odd(format!("tensor {} has other bytes than the whole", here.name)));
            }
        }
        let described = self.tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.shape.as_slice()));
        let config = read_json(&folder.dir.join("config.json"))?.unwrap_or_default();
        Ok(fingerprint(&config, described, &samples))
    }
}

fn sample(tensor: &TensorInfo) -> Result<Vec<u8>, WeightsError> {
    let one = BTreeMap::from([(String::new(), tensor.clone())]);
    Ok(super::samples(&one)?.remove(0))
}

impl ModelFolder {
    /// With the fingerprint of the whole, if it has a part of one.
    pub(super) fn with_whole(mut self) -> Result<Self, WeightsError> {
        if let Some(whole) = Whole::read(&self.dir)? {
            self.fingerprint = whole.fingerprint(&self)?;
        }
        Ok(self)
    }

    /// Why a tensor is not here.
    pub(super) fn missing(&self, name: &str) -> WeightsError {
        let (dir, tensor) = (self.dir.clone(), name.to_owned());
        let of_whole = |whole: &Whole| whole.tensors.iter().any(|tensor| tensor.name == name);
        match Whole::read(&dir) {
            Ok(Some(whole)) if of_whole(&whole) => WeightsError::NotInPart { dir, tensor },
            _ => WeightsError::MissingTensor { dir, tensor },
        }
    }

    /// All tensors of the model in order of their names, whether they are here or not.
    ///
    /// # Errors
    /// [`WeightsError`] if the folder's description of the whole is not as it was.
    pub fn described(&self) -> Result<Vec<Described>, WeightsError> {
        if let Some(whole) = Whole::read(&self.dir)? {
            return Ok(whole.tensors);
        }
        let described = |tensor: &TensorInfo| Described {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
        };
        Ok(self.tensors.values().map(described).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::weights::write::tests::write_file;

    const FILE: &str = "model.safetensors";

    fn folder(tensors: &[(&str, &[f32])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        write_file(&dir.path().join(FILE), tensors);
        dir
    }

    #[test]
    fn a_part_has_the_fingerprint_of_the_whole_or_is_refused() {
        let long: Vec<f32> = (0..100).map(|n| n as f32).collect();
        let all = folder(&[("a", &[1.0, 2.0]), ("b", &long), ("c", &[3.0])]);
        let all = ModelFolder::open(all.path()).map(|folder| (folder, all)).unwrap();
        let tensors = all.0.described().unwrap();
        assert_eq!(tensors.len(), 3);
        let by_name = tensors.iter().map(|tensor| (tensor.name.clone(), tensor.clone())).collect();
        let whole = Whole::of(by_name, |wanted| {
            let read = |(name, range): (String, std::ops::Range<u64>)| {
                let bytes = std::fs::read(all.1.path().join(FILE))?;
                let start = all.0.tensor(&name).unwrap().range.start;
                let (start, end) = ((start + range.start) as usize, (start + range.end) as usize);
                Ok::<_, std::io::Error>(bytes[start..end].to_vec())
            };
            wanted.into_iter().map(read).collect::<Result<Vec<_>, _>>()
        })
        .unwrap();
        let (name, content) = whole.file();

        let part = folder(&[("b", &long)]);
        let apart = ModelFolder::open(part.path()).unwrap();
        assert_ne!(apart.fingerprint(), all.0.fingerprint());
        std::fs::write(part.path().join(name), &content).unwrap();
        let apart = ModelFolder::open(part.path()).unwrap();
        assert_eq!(apart.fingerprint(), all.0.fingerprint());
        assert_eq!(apart.described().unwrap(), tensors);
        assert_eq!(apart.names().collect::<Vec<_>>(), ["b"]);
        let missing = |name: &str| apart.tensor(name).unwrap_err().to_string();
        assert!(missing("c").contains("only some layers") && missing("c").contains("hint:"));
        assert!(missing("d").contains("has no tensor d"));

        let mut other = long.clone();
        other[50] = 7.0;
        for (tensors, words) in [
            ([("b", &other[..])], "tensor b has other bytes than the whole"),
            ([("b", &long[1..])], "tensor b is here, but not so in the whole"),
            ([("d", &long[..])], "tensor d is here, but not so in the whole"),
        ] {
            let part = folder(&tensors);
            std::fs::write(part.path().join(name), &content).unwrap();
            let refused = ModelFolder::open(part.path()).unwrap_err().to_string();
            assert!(refused.contains(words) && refused.contains(name), "{refused}");
        }
        let text = String::from_utf8(content).unwrap();
        for (from, to, words) in [
            ("\"c\"", "\"a\"", "out of order"),
            ("[100]", "[9223372036854775807]", "a size that none has"),
            ("\"samples\":[", "\"samples\":[\"00\",", "4 samples for 3"),
            ("\"samples\":[\"", "\"samples\":[\"x", "samples that are none"),
            ("{", "", "not valid"),
        ] {
            std::fs::write(part.path().join(name), text.replacen(from, to, 1)).unwrap();
            let refused = ModelFolder::open(part.path()).unwrap_err().to_string();
            assert!(refused.contains(words), "{words}: {refused}");
        }
        assert_eq!(json!(Dtype::F32), json!("F32"), "types are written as in safetensors");
    }
}
