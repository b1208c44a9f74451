//! Who has tensors, and how near is it?

use std::{collections::HashMap, io::Read, ops::Range};

use super::ManifestTensor;
use crate::weights::{
    ModelFolder, TensorReader, WeightsError,
    hub::{HubClient, HubError, Listing, RepoFile},
};

/// How near a source is: nearer ones are asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// This machine's own disk.
    Disk,
    /// A node at the other end of a cable.
    Peer,
    /// The hub.
    Internet,
}

/// Why a source did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A folder.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Another way of getting there.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Someone who has tensors of a model. What it gives is checked by whoever asked.
pub trait ShardSource: Send + Sync {
    /// How near it is.
    fn place(&self) -> Place;

    /// What a person calls it.
    fn name(&self) -> String;

    /// Whether it says that it has this tensor, in this type and shape.
    fn has(&self, tensor: &ManifestTensor) -> bool;

    /// Fills `out` with the tensor's bytes from `offset` on.
    ///
    /// # Errors
    /// [`SourceError`]; `out` then holds anything.
    fn read(&self, tensor: &ManifestTensor, offset: u64, out: &mut [u8])
    -> Result<(), SourceError>;
}

/// A model's folder on this machine.
#[derive(Debug)]
pub struct FolderSource<'a> {
    folder: &'a ModelFolder,
    reader: TensorReader,
}

impl<'a> FolderSource<'a> {
    /// The tensors of `folder`, which may be some of the model's.
    #[must_use]
    pub fn new(folder: &'a ModelFolder) -> Self {
        Self { folder, reader: TensorReader::new() }
    }
}

impl ShardSource for FolderSource<'_> {
    fn place(&self) -> Place {
        Place::Disk
    }

    fn name(&self) -> String {
        self.folder.dir().display().to_string()
    }

    fn has(&self, tensor: &ManifestTensor) -> bool {
        self.folder
            .tensor(&tensor.name)
            .is_ok_and(|own| own.dtype == tensor.dtype && own.shape == tensor.shape)
    }

    fn read(
        &self,
        tensor: &ManifestTensor,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), SourceError> {
        let own = self.folder.tensor(&tensor.name)?;
        Ok(self.reader.read_into(own, usize::try_from(offset).unwrap_or(usize::MAX), out)?)
    }
}

/// A repository of the hub, by byte ranges.
pub struct HubSource<'a> {
    client: &'a HubClient,
    listing: &'a Listing,
    /// Of each tensor: in which file, and where.
    places: HashMap<String, (RepoFile, Range<u64>)>,
}

impl<'a> HubSource<'a> {
    /// Reads the headers of all files of weights, and nothing else of them.
    ///
    /// # Errors
    /// [`HubError`].
    pub fn open(client: &'a HubClient, listing: &'a Listing) -> Result<Self, HubError> {
        let mut places = HashMap::new();
        for file in listing.weights(client.index(listing)?.as_deref())? {
            let header = client.header(listing, file)?;
            places
                .extend(header.into_iter().map(|(tensor, range)| (tensor, (file.clone(), range))));
        }
        Ok(Self { client, listing, places })
    }
}

impl ShardSource for HubSource<'_> {
    fn place(&self) -> Place {
        Place::Internet
    }

    fn name(&self) -> String {
        format!("the hub's {}", self.listing.repo)
    }

    fn has(&self, tensor: &ManifestTensor) -> bool {
        let found = self.places.get(&tensor.name);
        found.is_some_and(|(_, range)| range.end - range.start == tensor.bytes())
    }

    fn read(
        &self,
        tensor: &ManifestTensor,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), SourceError> {
        let absent = || HubError::NotFound { what: format!("tensor {}", tensor.name) };
        let (file, range) = self.places.get(&tensor.name).ok_or_else(absent)?;
        let start = range.start.saturating_add(offset);
        let end = start.saturating_add(out.len() as u64);
        if end > range.end {
            return Err(absent().into());
        }
        let bytes = self.client.bytes(self.listing, file, start..end)?;
        bytes.as_slice().read_exact(out).map_err(|error| SourceError::Other(error.into()))
    }
}
