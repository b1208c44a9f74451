//! Which tensors does this folder hold, and where?

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use safetensors::Dtype;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{WeightsError, header};

mod whole;

pub use whole::Described;
pub(super) use whole::Whole;

/// The largest index in use (DeepSeek V3's) has 9 MB.
const JSON_BYTES_MAX: u64 = 64 << 20;
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// How many tensors the fingerprint takes bytes of, and how many of each.
const SAMPLES: usize = 128;
const SAMPLE_BYTES: usize = 64;

/// One tensor of a folder: what it is and where its bytes are.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// As the checkpoint calls it.
    pub name: String,
    /// The type of its numbers.
    pub dtype: Dtype,
    /// Row-major, outermost dimension first.
    pub shape: Vec<usize>,
    /// The file its bytes are in.
    pub file: Arc<Path>,
    /// Where in that file, in bytes from its beginning.
    pub range: Range<u64>,
    /// The opened file.
    pub(super) handle: Arc<File>,
}

impl TensorInfo {
    /// Its size in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    /// How many numbers it holds.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A Hugging Face folder whose headers have been read and found true.
#[derive(Debug)]
pub struct ModelFolder {
    dir: PathBuf,
    config: Value,
    tensors: BTreeMap<String, TensorInfo>,
    fingerprint: [u8; 32],
}

/// `model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

impl ModelFolder {
    /// Reads `config.json` and the headers of `model.safetensors`, or of the shards that
    /// `model.safetensors.index.json` names; no tensor's bytes but a few samples (see
    /// [`fingerprint`](Self::fingerprint)).
    ///
    /// # Errors
    /// [`WeightsError`] names the file and the tensor that are missing or say what cannot be true.
    pub fn open(dir: &Path) -> Result<Self, WeightsError> {
        Self::open_alone(dir)?.with_whole()
    }

    /// Whatever whole it may be a part of.
    fn open_alone(dir: &Path) -> Result<Self, WeightsError> {
        let config_file = dir.join("config.json");
        let config_bytes = read_json(&config_file)?
            .ok_or(WeightsError::NoModel { dir: dir.to_owned(), missing: "config.json" })?;
        let config: Value = parse(&config_bytes, &config_file)?;
        if !config.is_object() {
            let problem = "a model's configuration is a JSON object".to_owned();
            return Err(WeightsError::Json { file: config_file, problem });
        }
        let tensors = match read_json(&dir.join(INDEX))? {
            Some(bytes) => sharded(dir, &bytes)?,
            None => {
                let mut tensors = BTreeMap::new();
                if !add_file(&mut tensors, &dir.join(SINGLE))? {
                    return Err(WeightsError::NoModel { dir: dir.to_owned(), missing: SINGLE });
                }
                tensors
            }
        };
        let described = tensors.values().map(|t| (t.name.as_str(), t.dtype, t.shape.as_slice()));
        let fingerprint = fingerprint(&config_bytes, described, &samples(&tensors)?);
        Ok(Self { dir: dir.to_owned(), config, tensors, fingerprint })
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config.json`: an object.
    #[must_use]
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// A tensor by name.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`], [`WeightsError::NotInPart`].
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo, WeightsError> {
        self.tensors.get(name).ok_or_else(|| self.missing(name))
    }

    /// Whether there is a tensor of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors, in order of their names.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.tensors.values()
    }

    /// The size of all tensors together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.range.end - tensor.range.start).sum()
    }

    /// `config.json`, to the byte.
    ///
    /// # Errors
    /// [`WeightsError::Io`] if it is not there any more.
    pub fn config_bytes(&self) -> Result<Vec<u8>, WeightsError> {
        let file = self.dir.join("config.json");
        read_json(&file)?
            .ok_or_else(|| WeightsError::Io { file, source: io::ErrorKind::NotFound.into() })
    }

    /// Those bytes of tensors that the fingerprint covers.
    pub(super) fn samples(&self) -> Result<Vec<Vec<u8>>, WeightsError> {
        samples(&self.tensors)
    }

    /// The same for two folders with the same content, wherever they are and however their tensors
    /// are spread over files; different for another model, another precision, and (by samples of
    /// the tensors' bytes) other weights of the same shapes. SHA-256.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// The tensors of all shards that an index names, each in the shard where the index has it.
fn sharded(dir: &Path, index: &[u8]) -> Result<BTreeMap<String, TensorInfo>, WeightsError> {
    let index_file = dir.join(INDEX);
    let Index { weight_map } = parse(index, &index_file)?;
    let shards: BTreeSet<&String> = weight_map.values().collect();
    let mut tensors = BTreeMap::new();
    for shard in shards {
        if !is_plain_name(shard) {
            let shard = shard.clone();
            return Err(WeightsError::ShardOutside { index: index_file, shard });
        }
        if !add_file(&mut tensors, &dir.join(shard))? {
            let shard = shard.clone();
            return Err(WeightsError::MissingShard { index: index_file, shard });
        }
    }
    for (tensor, shard) in &weight_map {
        let shard = dir.join(shard);
        if tensors.get(tensor).is_none_or(|found| *found.file != *shard) {
            return Err(WeightsError::NotInShard { tensor: tensor.clone(), shard });
        }
    }
    Ok(tensors)
}

/// Whether a name means a file in the folder itself. What lies behind it may be a link, as in
/// Hugging Face's cache.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let plain = matches!(components.next(), Some(Component::Normal(_)));
    plain && components.next().is_none() && !name.contains(['/', '\\', '\0'])
}

/// Adds a file's tensors; `false` if there is no such file.
fn add_file(tensors: &mut BTreeMap<String, TensorInfo>, path: &Path) -> Result<bool, WeightsError> {
    let Some(file) = open(path)? else { return Ok(false) };
    let header = header::read(&file, path)?;
    let (file, handle): (Arc<Path>, _) = (path.into(), Arc::new(file));
    for (name, entry) in header.entries {
        let tensor = TensorInfo {
            name: name.clone(),
            dtype: entry.dtype,
            shape: entry.shape,
            file: Arc::clone(&file),
            range: entry.data_offsets.0 as u64..entry.data_offsets.1 as u64,
            handle: Arc::clone(&handle),
        };
        debug_assert!(tensor.range.end <= header.file_bytes);
        if let Some(other) = tensors.insert(name.clone(), tensor) {
            let (first, second) = (other.file.to_path_buf(), path.to_owned());
            return Err(WeightsError::Duplicate { tensor: name, first, second });
        }
    }
    Ok(true)
}

/// Opens a regular file; `None` if there is none. Anything else, such as a pipe, would block.
fn open(path: &Path) -> Result<Option<File>, WeightsError> {
    let io = |source| WeightsError::Io { file: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(error)),
        Ok(metadata) if !metadata.is_file() => Err(io(io::Error::other("not a regular file"))),
        Ok(_) => File::open(path).map(Some).map_err(io),
    }
}

fn read_json(path: &Path) -> Result<Option<Vec<u8>>, WeightsError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let io = |source| WeightsError::Io { file: path.to_owned(), source };
    let bytes = file.metadata().map_err(io)?.len();
    if bytes > JSON_BYTES_MAX {
        let (file, max) = (path.to_owned(), JSON_BYTES_MAX);
        return Err(WeightsError::TooLarge { file, what: "the file", bytes, max });
    }
    let mut content = vec![0; bytes as usize];
    file.read_exact_at(&mut content, 0).map_err(io)?;
    Ok(Some(content))
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], file: &Path) -> Result<T, WeightsError> {
    serde_json::from_slice(bytes).map_err(|error| WeightsError::Json {
        file: file.to_owned(),
        problem: format!("not valid: {error}"),
    })
}

/// Of `count` tensors so many are passed over between two whose bytes the fingerprint covers.
fn sampled_every(count: usize) -> usize {
    count.div_ceil(SAMPLES).max(1)
}

fn samples(tensors: &BTreeMap<String, TensorInfo>) -> Result<Vec<Vec<u8>>, WeightsError> {
    let sample = |tensor: &TensorInfo| {
        let mut sample = vec![0; SAMPLE_BYTES.min(tensor.bytes())];
        let middle = (tensor.bytes() - sample.len()) / 2;
        tensor
            .handle
            .read_exact_at(&mut sample, tensor.range.start + middle as u64)
            .map_err(|source| WeightsError::Io { file: tensor.file.to_path_buf(), source })?;
        Ok(sample)
    };
    tensors.values().step_by(sampled_every(tensors.len())).map(sample).collect()
}

/// Of a model with this configuration, these tensors (in order of their names) and these samples of
/// their bytes.
pub(super) fn fingerprint<'a>(
    config: &[u8],
    tensors: impl ExactSizeIterator<Item = (&'a str, Dtype, &'a [usize])>,
    samples: &[Vec<u8>],
) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(b"exo model folder 1");
    add(config);
    let every = sampled_every(tensors.len());
    let mut samples = samples.iter();
    for (number, (name, dtype, shape)) in tensors.enumerate() {
        add(name.as_bytes());
        add(dtype.to_string().as_bytes());
        add(format!("{shape:?}").as_bytes());
        if number % every == 0 {
            add(samples.next().map_or(&[], Vec::as_slice));
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::weights::write::tests::write_file;

    fn folder(config: &Value) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        dir
    }

    fn index(dir: &Path, weight_map: &Value) {
        let index = json!({"metadata": {"total_size": 1}, "weight_map": weight_map});
        std::fs::write(dir.join(INDEX), index.to_string()).unwrap();
    }

    fn refused(dir: &Path) -> String {
        ModelFolder::open(dir).unwrap_err().to_string()
    }

    #[test]
    fn single_and_sharded_folders_are_the_same_model() {
        let config = json!({"model_type": "llama"});
        let single = folder(&config);
        write_file(&single.path().join(SINGLE), &[("a", &[1.0, 2.0]), ("b", &[3.0])]);
        let shards = folder(&config);
        write_file(&shards.path().join("m-1.safetensors"), &[("b", &[3.0])]);
        write_file(&shards.path().join("m-2.safetensors"), &[("a", &[1.0, 2.0])]);
        index(shards.path(), &json!({"a": "m-2.safetensors", "b": "m-1.safetensors"}));

        let (single, shards) =
            (ModelFolder::open(single.path()).unwrap(), ModelFolder::open(shards.path()).unwrap());
        assert_eq!(single.fingerprint(), shards.fingerprint());
        assert_eq!(shards.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((shards.bytes(), shards.tensor("a").unwrap().shape.as_slice()), (12, &[2][..]));
        assert!(shards.has("b") && !shards.has("c"));
        assert!(shards.tensor("c").unwrap_err().to_string().contains("no tensor c"));
        assert_eq!(single.config()["model_type"], "llama");
    }

    #[test]
    fn the_fingerprint_tells_models_apart() {
        let mut seen = BTreeSet::new();
        for (config, name, value) in [(1, "a", 1.0), (2, "a", 1.0), (1, "b", 1.0), (1, "a", 1.5)] {
            let dir = folder(&json!({"n": config}));
            write_file(&dir.path().join(SINGLE), &[(name, &[value])]);
            seen.insert(ModelFolder::open(dir.path()).unwrap().fingerprint());
        }
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn what_is_missing_or_false_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refused(dir.path()).contains("config.json is not there"));
        let dir = folder(&json!({}));
        assert!(refused(dir.path()).contains("model.safetensors is not there"));
        assert!(refused(folder(&json!([])).path()).contains("JSON object"));

        write_file(&dir.path().join("one.safetensors"), &[("a", &[1.0])]);
        write_file(&dir.path().join("two.safetensors"), &[("a", &[1.0]), ("b", &[1.0])]);
        for (weight_map, words) in [
            (json!({"a": "one.safetensors", "c": "three.safetensors"}), "the shard three"),
            (json!({"a": "one.safetensors", "b": "one.safetensors"}), "tensor b is in"),
            (json!({"a": "one.safetensors", "b": "two.safetensors"}), "tensor a is in"),
            (json!({"a": "../one.safetensors"}), "not a plain file name"),
            (json!({"a": "/etc/passwd"}), "not a plain file name"),
            (json!({"a": "sub/one.safetensors"}), "not a plain file name"),
            (json!({"a": ".."}), "not a plain file name"),
            (json!({"a": ""}), "not a plain file name"),
            (json!({"a": 3}), "index.json: not valid"),
        ] {
            index(dir.path(), &weight_map);
            let error = refused(dir.path());
            assert!(error.contains(words), "{weight_map}: {error}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_not_waited_for() {
        let dir = folder(&json!({}));
        std::fs::create_dir(dir.path().join(SINGLE)).unwrap();
        assert!(refused(dir.path()).contains("not a regular file"));
        let looped = folder(&json!({}));
        std::os::unix::fs::symlink(SINGLE, looped.path().join(SINGLE)).unwrap();
        assert!(refused(looped.path()).contains("model.safetensors"));
    }
}
