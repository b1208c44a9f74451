//! Whether somebody wants it to end.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicBool, Ordering},
};

/// Set by Ctrl-C: whatever runs is ended in order.
static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on Ctrl-C ends the measurement in order.
pub(crate) fn catch_interrupts() -> anyhow::Result<()> {
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, INTERRUPTED.clone())?;
    }
    Ok(())
}

/// Whether somebody wants it to end.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
