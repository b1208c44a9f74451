//! Who speaks in this machine's name.
//!
//! On a cable without a cluster key a machine is known by its own key, and a second connection under
//! the same key takes the place of the first (PROTOCOL.md §1.3): a `tbnet check` beside a running
//! `exo-node` would end the node's session. So whoever opens an endpoint under the machine's own key
//! holds a lock on it meanwhile, and whoever finds it held does not connect.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
};

/// The lock, until this is dropped (or the process ends).
#[derive(Debug)]
#[must_use = "it is let go when this is dropped"]
pub struct Hold {
    _locked: File,
}

/// Takes the lock of the key file at `path`; `None` if another program holds it.
///
/// # Errors
/// If the file cannot be opened or the system cannot lock it.
pub fn hold(path: &Path) -> io::Result<Option<Hold>> {
    let file = File::open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Hold { _locked: file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_until_it_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.key");
        assert!(hold(&path).is_err(), "no such file");
        std::fs::write(&path, "").unwrap();
        let first = hold(&path).unwrap();
        assert!(first.is_some());
        assert!(hold(&path).unwrap().is_none());
        drop(first);
        assert!(hold(&path).unwrap().is_some());
    }
}
