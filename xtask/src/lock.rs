//! How are two runs kept from doing the same step at once?

use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

use anyhow::{Context, Result};

use crate::{layout::make_dir, progress::say};

/// Held until dropped; the system lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`, waiting for whoever has it.
    pub(crate) fn take(path: &Path, what: &str) -> Result<Self> {
        if let Some(parent) = path.parent() {
            make_dir(parent)?;
        }
        let context = || format!("{} could not be locked", path.display());
        let file = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(context)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                say(&format!("{what}: another run is at it, waiting for it to finish"));
                file.lock().with_context(context)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(context),
        }
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::Scratch;
    use std::{sync::mpsc, thread, time::Duration};

    #[test]
    fn the_second_waits_for_the_first() {
        let scratch = Scratch::new("lock");
        let path = scratch.0.join("a/setup.lock");
        let first = Lock::take(&path, "test").expect("free");
        let (done, second) = mpsc::sync_channel(1);
        let waiting = thread::spawn(move || {
            let _second = Lock::take(&path, "test").expect("free later");
            done.send(()).expect("the test waits");
        });
        assert!(second.recv_timeout(Duration::from_millis(100)).is_err(), "both had the lock");
        drop(first);
        second.recv_timeout(Duration::from_secs(10)).expect("the second gets it");
        waiting.join().expect("no panic");
    }
}
