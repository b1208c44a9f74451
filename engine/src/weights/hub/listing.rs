//! Which files has a repository, and which of them are wanted?

use serde::Deserialize;

use super::{HubClient, HubError};

/// More files than any model has (DeepSeek V3: 163 shards).
const FILES_MAX: usize = 10_000;
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// Beside the weights.
const SMALL: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    INDEX,
];

/// What a repository holds at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// `OWNER/NAME`.
    pub repo: String,
    /// The commit: files of another are never mixed in.
    pub commit: String,
    /// All files at its top.
    pub files: Vec<RepoFile>,
}

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoFile {
    /// Its name: no folder in it.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// What its content hashes to.
    pub hash: FileHash,
}

/// The hash by which the hub knows a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileHash {
    /// Of large files: SHA-256 of the content.
    Sha256([u8; 32]),
    /// Of small files: SHA-1 of `blob LENGTH\0` and the content, as git has it.
    GitBlob([u8; 20]),
}

#[derive(Deserialize)]
struct Described {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Listing {
    /// Asks the hub.
    ///
    /// # Errors
    /// [`HubError`]: the hub does not answer, has no such repository, or describes it oddly.
    pub fn ask(client: &HubClient, repo: &str, revision: &str) -> Result<Self, HubError> {
        let odd = |problem: String| HubError::Listing { repo: repo.to_owned(), problem };
        if !is_repo(repo) {
            return Err(odd("a repository is OWNER/NAME".to_owned()));
        }
        if revision.is_empty()
            || !revision.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
        {
            return Err(odd(format!("{revision:?} is no branch, tag or commit")));
        }
        let path = format!("/api/models/{repo}/revision/{revision}?blobs=true");
        let described: Described = serde_json::from_value(client.json(repo, &path)?)
            .map_err(|error| odd(format!("the hub's description is not understood: {error}")))?;
        let is_commit =
            described.sha.len() == 40 && described.sha.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_commit || described.siblings.len() > FILES_MAX {
            return Err(odd("the hub's description makes no sense".to_owned()));
        }
        let mut files = Vec::new();
        for sibling in described.siblings {
            // What lies in folders (other formats, other precisions) belongs to no model's folder.
            if is_plain(&sibling.rfilename) {
                let name = sibling.rfilename.clone();
                files.push(sibling.known().ok_or_else(|| odd(format!("{name} has no hash")))?);
            }
        }
        Ok(Self { repo: repo.to_owned(), commit: described.sha, files })
    }

    /// A file by name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&RepoFile> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The files beside the weights.
    ///
    /// # Errors
    /// [`HubError::NoModel`] if one is missing that no model does without.
    pub fn small(&self) -> Result<Vec<&RepoFile>, HubError> {
        for needed in ["config.json", "tokenizer.json"] {
            self.require(needed)?;
        }
        let wanted = |file: &&RepoFile| {
            SMALL.contains(&file.name.as_str()) || file.name.to_uppercase().starts_with("LICENSE")
        };
        Ok(self.files.iter().filter(wanted).collect())
    }

    /// The files of weights: those that the `index` names, or the single one.
    ///
    /// # Errors
    /// [`HubError::NoModel`], [`HubError::Listing`] if the index names what is not there.
    pub fn weights(&self, index: Option<&[u8]>) -> Result<Vec<&RepoFile>, HubError> {
        let Some(index) = index else {
            return Ok(vec![self.require(SINGLE)?]);
        };
        #[derive(Deserialize)]
        struct Index {
            weight_map: std::collections::BTreeMap<String, String>,
        }
        let odd = |problem| HubError::Listing { repo: self.repo.clone(), problem };
        let Index { weight_map } = serde_json::from_slice(index)
            .map_err(|error| odd(format!("{INDEX} is not valid: {error}")))?;
        let shards: std::collections::BTreeSet<String> = weight_map.into_values().collect();
        let find = |shard: String| {
            self.file(&shard)
                .ok_or_else(|| odd(format!("{INDEX} names {shard}, which is not there")))
        };
        shards.into_iter().map(find).collect()
    }

    /// The size of all weights, as far as the listing tells: of all safetensors files.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        let weights = self.files.iter().filter(|file| {
            file.name.ends_with(".safetensors") && !file.name.starts_with("consolidated")
        });
        weights.map(|file| file.bytes).sum()
    }

    fn require(&self, name: &'static str) -> Result<&RepoFile, HubError> {
        self.file(name).ok_or_else(|| HubError::NoModel { repo: self.repo.clone(), missing: name })
    }
}

impl Sibling {
    fn known(self) -> Option<RepoFile> {
        let (bytes, hash) = match self.lfs {
            Some(lfs) => (lfs.size, FileHash::Sha256(bytes_of(&lfs.sha256)?)),
            None => (self.size?, FileHash::GitBlob(bytes_of(&self.blob_id?)?)),
        };
        Some(RepoFile { name: self.rfilename, bytes, hash })
    }
}

fn bytes_of<const N: usize>(hex_digits: &str) -> Option<[u8; N]> {
    hex::decode(hex_digits).ok()?.try_into().ok()
}

/// Whether that is `OWNER/NAME`, in the characters that the hub has.
pub(in crate::weights) fn is_repo(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    text.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

/// A file's name that stays in its folder, and is not hidden.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 255
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
