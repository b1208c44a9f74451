//! Tasks that wait for a completion: the runtime-neutral half of a future.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
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
        self.waiting.store(wakers.len(), Ordering::Relaxed);
        drop(wakers);
        // Pairs with the fence in `wake`: either it sees the waker or the caller the completion.
        fence(Ordering::SeqCst);
    }

    /// Something completed.
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.store(0, Ordering::Relaxed);
        wakers.drain(..).for_each(Waker::wake);
    }
}
