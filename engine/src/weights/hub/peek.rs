//! What does a file of weights say of itself, without fetching it?

use std::{io::Read, ops::Range, path::Path};

use super::{HubClient, HubError, Listing, RepoFile, client::Patience, layers};
use crate::weights::header;

const INDEX: &str = "model.safetensors.index.json";

impl HubClient {
    /// A safetensors file's length prefix and header.
    pub(super) fn beginning(
        &self,
        listing: &Listing,
        file: &RepoFile,
    ) -> Result<Vec<u8>, HubError> {
        let odd = |problem: &str| HubError::Listing {
            repo: listing.repo.clone(),
            problem: format!("{}: {problem}", file.name),
        };
        if file.bytes < 8 {
            return Err(odd("too short for a safetensors file"));
        }
        let first = self.bytes(listing, file, 0..8)?;
        let first: [u8; 8] = first.try_into().map_err(|_| odd("cut off"))?;
        let length = layers::header_length(first)
            .filter(|&length| length <= file.bytes)
            .ok_or_else(|| odd("its header has an impossible length"))?;
        self.bytes(listing, file, 0..length)
    }

    /// The tensors of a safetensors file, and where in it their bytes are.
    pub(in crate::weights) fn header(
        &self,
        listing: &Listing,
        file: &RepoFile,
    ) -> Result<Vec<(String, Range<u64>)>, HubError> {
        let beginning = self.beginning(listing, file)?;
        let header = header::read_from(&beginning[..], file.bytes, Path::new(&file.name))?;
        let place = |(start, end)| start as u64..end as u64;
        let entries = header.entries.into_iter();
        Ok(entries.map(|(name, entry)| (name, place(entry.data_offsets))).collect())
    }

    /// The index, if the weights are in several files.
    pub(in crate::weights) fn index(&self, listing: &Listing) -> Result<Option<Vec<u8>>, HubError> {
        let index = listing.file(INDEX);
        index.map(|file| self.bytes(listing, file, 0..file.bytes)).transpose()
    }

    /// Some bytes of a file, into memory.
    pub(in crate::weights) fn bytes(
        &self,
        listing: &Listing,
        file: &RepoFile,
        range: Range<u64>,
    ) -> Result<Vec<u8>, HubError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let url = self.file_url(&listing.repo, &listing.commit, &file.name);
        let mut patience = Patience::default();
        loop {
            let (repo, all) = (listing.repo.as_str(), file.bytes);
            let mut input = self.open(repo, &url, range.clone(), all, &mut patience)?;
            let mut bytes = vec![0; (range.end - range.start) as usize];
            match input.read_exact(&mut bytes) {
                Ok(()) => return Ok(bytes),
                Err(error) => self.broke(&mut patience, 0, error.to_string())?,
            }
        }
    }
}
