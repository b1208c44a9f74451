//! Files of weights, mapped to be sent.
#![allow(unsafe_code, reason = "a mapping of a file is only as steady as the file; see the note")]

use std::{fs::File, io};

use crate::fabric::RegionSlice;

/// All of a model's file, to be read by peers where it lies. It must not be shortened or written
/// meanwhile: [`Staging`](crate::weights) writes models under another name and renames them, and a
/// model that is removed stays as it is for who holds it open.
///
/// # Errors
/// What `mmap` says.
pub(crate) fn mapped(file: &File) -> io::Result<RegionSlice> {
    // SAFETY: whatever this program writes to a model's folder comes there by a rename, so a file
    // that is open stays as it is. A person who overwrites a model's file in place while it is being
    // served sends the peer wrong bytes, which its hashes tell, or ends this process, as said in
    // docs/ARCHITECTURE.md.
    unsafe { RegionSlice::map_file(file) }
}
