//! Who waits for a completion: tasks of any runtime, threads that sleep, and whoever selects.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

/// Those who wait. Whoever completes work looks at two numbers when nobody does.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// How many tasks and threads.
    count: AtomicUsize,
    who: Mutex<Who>,
    completed: Condvar,
    /// For whoever selects: one word says that something may have completed.
    bell: OnceLock<(Sender<()>, Receiver<()>)>,
}

#[derive(Debug, Default)]
struct Who {
    wakers: Vec<Waker>,
    threads: usize,
}

impl Waiting {
    fn who(&self) -> MutexGuard<'_, Who> {
        self.who.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Both sides write this number, so one of them is first: either whoever completes something sees
    /// who waits, or those see what had completed before.
    fn note(&self, who: &Who) {
        self.count.swap(who.wakers.len() + who.threads, Ordering::AcqRel);
    }

    /// `waker` will be called at the next completion. The caller looks into the queue once more
    /// after this, so that none falls between.
    pub(super) fn register(&self, waker: &Waker) {
        let mut who = self.who();
        if !who.wakers.iter().any(|other| other.will_wake(waker)) {
            who.wakers.push(waker.clone());
        }
        self.note(&who);
    }

    /// Sleeps until `poll` gives something, which it is asked for after every completion, or `timeout`
    /// has passed.
    pub(super) fn sleep<T>(
        &self,
        timeout: Duration,
        mut poll: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let mut found = None;
        let mut who = self.who();
        who.threads += 1;
        self.note(&who);
        let woken = self.completed.wait_timeout_while(who, timeout, |_| {
            found = poll();
            found.is_none()
        });
        let (mut who, _) = woken.unwrap_or_else(PoisonError::into_inner);
        who.threads -= 1;
        self.note(&who);
        found
    }

    /// Threads that sleep.
    #[cfg(test)]
    pub(super) fn sleepers(&self) -> usize {
        self.who().threads
    }

    /// Something completed.
    pub(super) fn wake(&self) {
        self.ring();
        if self.count.compare_exchange(0, 0, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.wake_all();
        }
    }

    #[cold]
    fn wake_all(&self) {
        let mut who = self.who();
        who.wakers.drain(..).for_each(Waker::wake);
        self.note(&who);
        let asleep = who.threads > 0;
        // Whoever is woken takes the lock first of all.
        drop(who);
        if asleep {
            // A thread takes one completion, and each completion wakes one.
            self.completed.notify_one();
        }
    }

    /// Rings the bell, if there is one.
    pub(super) fn ring(&self) {
        if let Some((bell, _)) = self.bell.get() {
            // If it is full it rings already.
            let _ = bell.try_send(());
        }
    }

    /// The bell, hung up by the first who asks.
    pub(super) fn bell(&self) -> &Receiver<()> {
        &self.bell.get_or_init(|| bounded(1)).1
    }
}
