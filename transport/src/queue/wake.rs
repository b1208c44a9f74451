//! Tasks that wait for a completion: the runtime-neutral half of a future.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// The wakers of tasks that wait. Whoever completes work looks at one number when nobody does.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    waiting: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

impl Wakers {
    /// `waker` will be called at the next completion. The caller looks into the queue once more
    /// after this, so that none falls between.
    pub(super) fn register(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        // Both sides write this number, so one of them is first: either `wake` sees the waker, or the
        // caller what had completed before.
        self.waiting.swap(wakers.len(), Ordering::AcqRel);
    }

    /// Something completed.
    pub(super) fn wake(&self) {
        if self.waiting.compare_exchange(0, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return;
        }
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(0, Ordering::Relaxed);
        wakers.drain(..).for_each(Waker::wake);
    }
}
