//! How do a model's bytes come over the link?
//!
//! One-sided: the node that has them maps its files and grants them to be read, and says under which
//! keys ([`offer`]); the node that lacks them reads what it wants ([`PeerShards`]), and the other's
//! engine has nothing to do with it.

use std::{collections::VecDeque, io, time::Duration};

use exo_transport::{
    CompletionQueue, GrantError, Lane, PostError, QueuePair, Read, ReadableRegion, Region,
    RegionSlice, RemoteRegion, WorkError,
};

use crate::{
    mlx,
    weights::{
        ModelFolder, WeightsError,
        manifest::{
            Key, Manifest, ManifestTensor, Offer, Offered, Place, ShardSource, SourceError,
        },
    },
};

/// Read at a time, and how many such reads are on their way.
const PART_BYTES: usize = 1 << 20;
const PARTS_UNDER_WAY: usize = 4;
/// A part that has not come by then will not.
const PART_DEADLINE: Duration = Duration::from_secs(30);
/// Longest offer that is read: that of a model of 100,000 tensors has some 30 MB.
const OFFER_BYTES_MAX: u64 = 256 << 20;

/// Why a model is not offered.
#[derive(Debug, thiserror::Error)]
pub enum OfferingError {
    /// Its files.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// They cannot be mapped.
    #[error("a file of the model cannot be mapped: {0}")]
    Map(#[from] io::Error),
    /// They cannot be granted.
    #[error(transparent)]
    Grant(#[from] GrantError),
}

/// Why bytes of a peer's region did not come.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be asked for.
    #[error("{peer} cannot be asked: {source}")]
    Post {
        /// Whom.
        peer: String,
        /// Why not.
        source: PostError,
    },
    /// It did not come.
    #[error("{peer}: {source}")]
    Work {
        /// From whom.
        peer: String,
        /// Why not.
        source: WorkError,
    },
    /// Nothing was heard.
    #[error("{peer} did not answer within {} s", PART_DEADLINE.as_secs())]
    Silent {
        /// Of whom.
        peer: String,
    },
    /// More than anybody needs.
    #[error("{peer} offers {bytes} bytes, which is more than an offer has")]
    TooLong {
        /// Who.
        peer: String,
        /// How many.
        bytes: u64,
    },
}

/// A model granted to one peer, for as long as this lives.
#[derive(Debug)]
pub struct Offering {
    /// Where the peer reads the offer.
    pub remote: RemoteRegion,
    _granted: Vec<ReadableRegion>,
}

/// Grants all files of a model to a peer.
///
/// # Errors
/// [`OfferingError`].
pub fn offer(
    folder: &ModelFolder,
    manifest: Manifest,
    peer: &QueuePair,
) -> Result<Offering, OfferingError> {
    let mut granted = Vec::new();
    let mut grant = |offered: Offered<'_>| {
        let slice = match offered {
            Offered::Weights(file) => mlx::mapped(file)?,
            Offered::Small(content) => copied(&content),
        };
        let region = peer.grant_read(slice)?;
        let remote = region.remote();
        granted.push(region);
        Ok::<_, OfferingError>(Key { key: remote.key(), len: remote.len() })
    };
    let offer = Offer::of(folder, manifest, &mut grant)?;
    let region = peer.grant_read(copied(&offer.to_json()))?;
    let remote = region.remote();
    granted.push(region);
    Ok(Offering { remote, _granted: granted })
}

fn copied(bytes: &[u8]) -> RegionSlice {
    let mut region = Region::pages(bytes.len());
    region.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    region.freeze().slice(..bytes.len())
}

/// A peer that has offered a model.
pub struct PeerShards {
    peer: QueuePair,
    offer: Offer,
}

impl PeerShards {
    /// Reads a peer's offer of the model with this fingerprint.
    ///
    /// # Errors
    /// [`SourceError`]: it did not come, or is not of that model.
    pub fn open(
        peer: QueuePair,
        remote: RemoteRegion,
        fingerprint: [u8; 32],
    ) -> Result<Self, SourceError> {
        if remote.len() > OFFER_BYTES_MAX {
            let (peer, bytes) = (peer.peer().name.clone(), remote.len());
            return Err(SourceError::Other(ReadError::TooLong { peer, bytes }.into()));
        }
        let mut json = vec![0; remote.len() as usize];
        read(&peer, remote, 0, &mut json).map_err(|error| SourceError::Other(error.into()))?;
        let offer = Offer::parse(&json, fingerprint);
        Ok(Self { peer, offer: offer.map_err(|error| SourceError::Other(error.into()))? })
    }

    /// What it offers.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// All of a granted region.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn region(&self, region: Key) -> Result<Vec<u8>, ReadError> {
        let mut content = vec![0; region.len as usize];
        read(&self.peer, RemoteRegion::new(region.key, region.len), 0, &mut content)?;
        Ok(content)
    }
}

impl ShardSource for PeerShards {
    fn place(&self) -> Place {
        Place::Peer
    }

    fn name(&self) -> String {
        format!("node {}", self.peer.peer().name)
    }

    fn has(&self, tensor: &ManifestTensor) -> bool {
        let own = self.offer.manifest().tensor(&tensor.name);
        own.is_some_and(|own| own.dtype == tensor.dtype && own.shape == tensor.shape)
    }

    fn read(
        &self,
        tensor: &ManifestTensor,
        offset: u64,
        out: &mut [u8],
    ) -> Result<(), SourceError> {
        let absent =
            || WeightsError::MissingTensor { dir: self.name().into(), tensor: tensor.name.clone() };
        let (region, start) = self.offer.place(&tensor.name).ok_or_else(absent)?;
        let from = RemoteRegion::new(region.key, region.len);
        read(&self.peer, from, start.saturating_add(offset), out)
            .map_err(|error| SourceError::Other(error.into()))
    }
}

/// Fills `out` with a peer's bytes, several parts at a time.
fn read(
    peer: &QueuePair,
    from: RemoteRegion,
    offset: u64,
    out: &mut [u8],
) -> Result<(), ReadError> {
    let name = || peer.peer().name.clone();
    let queue = CompletionQueue::with_capacity(PARTS_UNDER_WAY);
    let mut rest = out.chunks_mut(PART_BYTES);
    let mut at = offset;
    // Reads of a lane complete in the order in which they were posted.
    let mut coming: VecDeque<&mut [u8]> = VecDeque::with_capacity(PARTS_UNDER_WAY);
    let mut spare: Vec<Region> = Vec::new();
    loop {
        while coming.len() < PARTS_UNDER_WAY
            && let Some(part) = rest.next()
        {
            let into = spare.pop().unwrap_or_else(|| Region::pages(PART_BYTES));
            let (len, deadline) = (part.len(), Some(PART_DEADLINE));
            let read = Read { lane: Lane::Bulk, from, offset: at, len, into, deadline };
            peer.post_read(read, &queue)
                .map_err(|(source, _)| ReadError::Post { peer: name(), source })?;
            at += len as u64;
            coming.push_back(part);
        }
        let Some(part) = coming.pop_front() else { return Ok(()) };
        let done = queue.wait(PART_DEADLINE + Duration::from_secs(1));
        let done = done.map_err(|_| ReadError::Silent { peer: name() })?;
        done.status.map_err(|error| ReadError::Work { peer: name(), source: error })?;
        if let Some(region) = done.region {
            part.copy_from_slice(&region.as_slice()[..part.len()]);
            spare.push(region);
        }
    }
}

#[cfg(test)]
mod tests;
