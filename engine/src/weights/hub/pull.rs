//! How do all of a repository's files become a folder?

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use super::{
    HubClient, HubError, Listing, RepoFile,
    download::{Going, Wanted},
    layers,
};
use crate::{
    layers::LayerRange,
    weights::{
        Described, ModelFolder,
        folder::Whole,
        header,
        staging::{Leftovers, Staging},
    },
};

/// Files that come at once.
const PARALLEL: usize = 4;
const INDEX: &str = "model.safetensors.index.json";
/// What a folder says about where it came from.
const ORIGIN: &str = "exo-origin.json";
/// Left free on the disk.
const SPARE_BYTES: u64 = 256 << 20;

/// What is wanted of a repository.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// Only the tensors of these layers.
    pub layers: Option<LayerRange>,
    /// Whether a model that is there already is replaced.
    pub replace: bool,
    /// What there is room for on the disk, if that is known.
    pub free_bytes: Option<u64>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes of weights that are there.
    pub bytes_done: u64,
    /// Bytes of weights that will be.
    pub bytes_total: u64,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullReport {
    /// The folder.
    pub dir: PathBuf,
    /// The commit it is of.
    pub commit: String,
    /// Files of weights.
    pub files: usize,
    /// Bytes of weights.
    pub bytes: u64,
    /// Layers that the model has.
    pub layers: u32,
}

/// Makes the folder `target` from what `listing` lists. What interrupts it leaves what has arrived
/// beside it, for the next try.
///
/// # Errors
/// [`HubError`]; `target` is then as it was.
pub fn pull(
    client: &HubClient,
    listing: &Listing,
    target: &Path,
    options: &PullOptions,
    progress: &(dyn Fn(PullProgress) + Sync),
) -> Result<PullReport, HubError> {
    let staging = Staging::begin(target, "pulling", options.replace, Leftovers::Keep)?;
    let origin = origin(listing, options);
    resume(&staging, &origin)?;
    let small: Vec<Wanted> =
        listing.small()?.into_iter().map(|file| whole(client, listing, file)).collect();
    fetch_all(client, &listing.repo, &small, &staging.dir, &|_| {})?;

    let read = |name: &str| {
        let file = staging.dir.join(name);
        fs::read(&file).map_err(|source| HubError::Write { file, source })
    };
    let odd = |problem: &str| HubError::Listing {
        repo: listing.repo.clone(),
        problem: problem.to_owned(),
    };
    let config: Value = serde_json::from_slice(&read("config.json")?)
        .map_err(|_| odd("config.json is not valid"))?;
    let shape =
        layers::shape(&config).ok_or_else(|| odd("config.json tells no number of layers"))?;
    let index = listing.file(INDEX).map(|_| read(INDEX)).transpose()?;
    let files = listing.weights(index.as_deref())?;
    let (wanted, part): (Vec<Wanted>, _) = match options.layers {
        None => (files.into_iter().map(|file| whole(client, listing, file)).collect(), None),
        Some(range) => {
            let part = parts(client, listing, &files, range, shape)?;
            (part.wanted, Some((part.map, part.places)))
        }
    };
    let bytes = wanted.iter().map(Wanted::bytes).sum();
    let missing: u64 = wanted.iter().map(|file| file.missing(&staging.dir)).sum();
    if let Some(free) = options.free_bytes
        && missing + SPARE_BYTES > free
    {
        let dir = target.parent().unwrap_or(target).to_owned();
        return Err(HubError::NoRoom { dir, needed: missing, free });
    }
    fetch_all(client, &listing.repo, &wanted, &staging.dir, progress)?;
    if let Some((map, places)) = part {
        staging.write(INDEX, &pretty(&layers::index(&map)))?;
        let (name, content) = described(client, listing, places)?.file();
        staging.write(name, &content)?;
    }
    staging.write(ORIGIN, &pretty(&origin))?;
    ModelFolder::open(&staging.dir)?;
    staging.commit()?;
    let (commit, files, layers) = (listing.commit.clone(), wanted.len(), shape.0);
    Ok(PullReport { dir: target.to_owned(), commit, files, bytes, layers })
}

fn origin(listing: &Listing, options: &PullOptions) -> Value {
    json!({ "repository": listing.repo, "commit": listing.commit, "layers": options.layers })
}

fn pretty(value: &Value) -> Vec<u8> {
    // A JSON value has no way to fail to be written as JSON.
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

/// Keeps what an interrupted try left only if it is of the same commit and the same layers.
fn resume(staging: &Staging, origin: &Value) -> Result<(), HubError> {
    let before = fs::read(staging.dir.join(ORIGIN)).unwrap_or_default();
    if serde_json::from_slice::<Value>(&before).ok().as_ref() != Some(origin) {
        staging.clear()?;
        staging.write(ORIGIN, &pretty(origin))?;
    }
    Ok(())
}

fn whole(client: &HubClient, listing: &Listing, file: &RepoFile) -> Wanted {
    Wanted {
        name: file.name.clone(),
        prefix: Vec::new(),
        pieces: std::iter::once(0..file.bytes).filter(|all| !all.is_empty()).collect(),
        url: client.file_url(&listing.repo, &listing.commit, &file.name),
        source_bytes: file.bytes,
        hash: Some(file.hash),
    }
}

/// A part of a model, on the hub.
#[derive(Default)]
struct PartFiles<'a> {
    /// The files that hold it.
    wanted: Vec<Wanted>,
    /// Which of its tensors is in which.
    map: BTreeMap<String, String>,
    /// Of all tensors of the model: what they are, and where.
    places: BTreeMap<String, (Described, &'a RepoFile, u64)>,
}

/// What the whole has, of which the folder is a part: so that other nodes know it for the same.
fn described(
    client: &HubClient,
    listing: &Listing,
    places: BTreeMap<String, (Described, &RepoFile, u64)>,
) -> Result<Whole, HubError> {
    let tensors = places.iter().map(|(name, (tensor, ..))| (name.clone(), tensor.clone()));
    Whole::of(tensors.collect(), |wanted| {
        let (next, done) = (Mutex::new(wanted.iter().enumerate()), Mutex::new(Vec::new()));
        let (next, done) = (&next, &done);
        let work = move || {
            loop {
                let waiting = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((number, (name, range))) = waiting else { return };
                let (_, file, start) = &places[name];
                let bytes = client.bytes(listing, file, start + range.start..start + range.end);
                done.lock().unwrap_or_else(PoisonError::into_inner).push((number, bytes));
            }
        };
        thread::scope(|scope| (0..PARALLEL).for_each(|_| drop(scope.spawn(&work))));
        let mut done = std::mem::take(&mut *done.lock().unwrap_or_else(PoisonError::into_inner));
        done.sort_by_key(|(number, _)| *number);
        done.into_iter().map(|(_, bytes)| bytes).collect()
    })
}

/// The parts of these files that hold tensors of `range`.
fn parts<'a>(
    client: &HubClient,
    listing: &Listing,
    files: &[&'a RepoFile],
    range: LayerRange,
    (layers, tied): (u32, bool),
) -> Result<PartFiles<'a>, HubError> {
    if range.end() > layers {
        let (repo, asked) = (listing.repo.clone(), range);
        return Err(HubError::NoSuchLayers { repo, asked, layers });
    }
    let mut all = PartFiles::default();
    for &file in files {
        let url = client.file_url(&listing.repo, &listing.commit, &file.name);
        let beginning = client.beginning(listing, file)?;
        let part = layers::part(&beginning, file.bytes, &file.name, |tensor| {
            layers::holds(range, layers, tied, tensor)
        })?;
        for (name, entry) in
            header::read_from(&beginning[..], file.bytes, Path::new(&file.name))?.entries
        {
            let tensor = Described { name: name.clone(), dtype: entry.dtype, shape: entry.shape };
            all.places.insert(name, (tensor, file, entry.data_offsets.0 as u64));
        }
        let Some(part) = part else { continue };
        all.map.extend(part.tensors.into_iter().map(|tensor| (tensor, file.name.clone())));
        all.wanted.push(Wanted {
            name: file.name.clone(),
            prefix: part.prefix,
            pieces: part.pieces,
            url,
            source_bytes: file.bytes,
            hash: None,
        });
    }
    Ok(all)
}

/// Fetches all, a few at a time. The first error stops the others.
fn fetch_all(
    client: &HubClient,
    repo: &str,
    files: &[Wanted],
    dir: &Path,
    progress: &(dyn Fn(PullProgress) + Sync),
) -> Result<(), HubError> {
    let going = Going {
        client,
        repo,
        bytes_total: files.iter().map(Wanted::bytes).sum(),
        bytes_done: AtomicU64::new(0),
        stopped: AtomicBool::new(false),
        progress,
    };
    let (waiting, first_error) = (Mutex::new(files.iter()), Mutex::new(None));
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        for _ in 0..PARALLEL.min(files.len()) {
            scope.spawn(|| {
                while let Some(file) = next() {
                    if let Err(error) = file.fetch(dir, &going) {
                        let mut first = first_error.lock().unwrap_or_else(PoisonError::into_inner);
                        first.get_or_insert(error);
                        going.stopped.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
    first_error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
