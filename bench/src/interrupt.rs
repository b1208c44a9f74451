//! Ctrl-C ends a measurement in order: processes, control groups and namespaces with it.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};

static CAME: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on Ctrl-C only sets what [`came`] says.
pub(crate) fn catch() -> anyhow::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, CAME.clone())?;
    }
    Ok(())
}

/// Whether somebody wants it to end.
pub(crate) fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}
