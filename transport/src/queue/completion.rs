//! What became of a work request, and where one hears of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam::channel::Receiver;
use crossbeam::queue::ArrayQueue;
use thiserror::Error;

use super::wake::Waiting;
use super::work::{ReadRefusal, WorkId};
use crate::limits::COMPLETIONS_MAX;
use crate::memory::Region;
use crate::wire::header::Lane;
use crate::{NodeId, PeerLost};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Opcode {
    /// A two-sided send.
    Send,
    /// A receive that a send has filled.
    Recv,
    /// A one-sided write.
    Write,
    /// A one-sided read.
    Read,
    /// A receive that a write with an immediate has used up. Its region is as it was posted; the
    /// bytes are in the region that was granted, named by [`Completion::written`].
    RecvWrite,
}

/// Why a work request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WorkError {
    /// The session ended first. It is not known whether the peer got the message.
    #[error(transparent)]
    PeerLost(Arc<PeerLost>),
    /// The deadline passed. The peer may get the message yet.
    #[error("the deadline passed before the peer acknowledged the message")]
    DeadlinePassed,
    /// It was cancelled here. If it had begun, the peer may get the message yet.
    #[error("it was cancelled on this side")]
    Cancelled,
    /// The peer does not let these bytes be read. The session goes on.
    #[error("the peer refused the read: {refusal}")]
    ReadRefused {
        /// Why.
        refusal: ReadRefusal,
    },
    /// This side closed the queue pair first.
    #[error("the queue pair was closed on this side")]
    Flushed,
}

/// What became of a work request.
#[derive(Debug)]
pub struct Completion {
    /// Which work request.
    pub id: WorkId,
    /// What it asked for.
    pub opcode: Opcode,
    /// `Ok` of a send or a write: the peer's transport acknowledged the whole message, which lies in
    /// a region of its. `Ok` of a receive or a read: the whole of it lies in `region`.
    pub status: Result<(), WorkError>,
    /// The lane.
    pub lane: Lane,
    /// Bytes of the message.
    pub bytes: usize,
    /// What the sender gave along, of a receive.
    pub immediate: Option<u32>,
    /// The region that was posted, of a receive and of a read, whatever became of it. What arrived
    /// is its first `bytes` bytes.
    pub region: Option<Region>,
    /// Key of the granted region that was written, of [`Opcode::RecvWrite`].
    pub written: Option<u64>,
    /// The node at the other end.
    pub peer: NodeId,
    /// From post to completion, on this machine's clock.
    pub elapsed: Duration,
}

/// Nothing completed in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("nothing completed within {waited_ms} ms")]
pub struct WaitTimeout {
    /// How long was waited.
    pub waited_ms: u64,
}

impl WaitTimeout {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self { waited_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) }
    }
}

#[derive(Debug)]
struct Inner {
    completions: ArrayQueue<Completion>,
    /// Places that are promised to work requests, or taken by completions that nobody has fetched.
    taken: AtomicUsize,
    waiting: Waiting,
}

/// Where completions arrive. Cloning gives another handle on the same queue.
///
/// Three ways to take them out: [`poll`](Self::poll), [`wait`](Self::wait) with a deadline, and
/// [`next`](Self::next) in any async runtime. Whoever waits for other things too has a
/// [`doorbell`](Self::doorbell).
///
/// Any number of queue pairs may complete into one queue, and any number of threads may take
/// completions out; each is seen by one of them.
#[derive(Clone, Debug)]
pub struct CompletionQueue(Arc<Inner>);

impl CompletionQueue {
    /// A queue with room for `capacity` completions, from 1 to [`COMPLETIONS_MAX`]: values outside
    /// are brought inside. Work requests that name it hold their place in it from the post on.
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, COMPLETIONS_MAX);
        Self(Arc::new(Inner {
            completions: ArrayQueue::new(capacity),
            taken: AtomicUsize::new(0),
            waiting: Waiting::default(),
        }))
    }

    /// The next completion, if there is one now.
    pub fn poll(&self) -> Option<Completion> {
        // Looking costs less than taking in vain.
        if self.is_empty() {
            return None;
        }
        let completion = self.0.completions.pop()?;
        // Its place is free only now, so there is always one for whoever was promised it.
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        if !self.is_empty() {
            self.0.waiting.ring();
        }
        Some(completion)
    }

    /// Whether there is none now.
    pub fn is_empty(&self) -> bool {
        self.0.completions.is_empty()
    }

    /// The next completion, waiting for it at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`WaitTimeout`]; the work requests stay posted.
    pub fn wait(&self, timeout: Duration) -> Result<Completion, WaitTimeout> {
        let completion = self.poll().or_else(|| self.0.waiting.sleep(timeout, || self.poll()));
        completion.ok_or(WaitTimeout::after(timeout))
    }

    /// A future of the next completion. It needs no runtime of its own and may be dropped at any
    /// time: a completion is taken out only by the poll that returns it.
    ///
    /// ```
    /// # async fn example(queue: exo_transport::CompletionQueue) {
    /// let completion = queue.next().await;
    /// println!("{} completed: {:?}", completion.id, completion.status);
    /// # }
    /// ```
    pub fn next(&self) -> NextCompletion<'_> {
        NextCompletion(self)
    }

    /// For `select!`: a channel that has a word to fetch as long as there are completions. Whoever
    /// fetches it [`polls`](Self::poll) once; now and then nothing is there any more. It never
    /// disconnects while a handle on the queue lives.
    ///
    /// ```
    /// # fn example(queue: exo_transport::CompletionQueue, jobs: crossbeam::channel::Receiver<u32>) {
    /// crossbeam::channel::select! {
    ///     recv(queue.doorbell()) -> _ => {
    ///         if let Some(completion) = queue.poll() {
    ///             println!("{} completed: {:?}", completion.id, completion.status);
    ///         }
    ///     }
    ///     recv(jobs) -> job => println!("{job:?}"),
    /// }
    /// # }
    /// ```
    pub fn doorbell(&self) -> &Receiver<()> {
        let bell = self.0.waiting.bell();
        // What completed before it was hung up.
        if !self.is_empty() {
            self.0.waiting.ring();
        }
        bell
    }

    /// Promises a place to a work request, if there is one.
    pub(crate) fn promise(&self) -> bool {
        let room = self.0.taken.fetch_add(1, Ordering::AcqRel) < self.0.completions.capacity();
        if !room {
            self.break_promise();
        }
        room
    }

    /// The work request was not accepted after all.
    pub(crate) fn break_promise(&self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }

    /// Keeps a promise.
    pub(crate) fn push(&self, completion: Completion) {
        let pushed = self.0.completions.push(completion);
        debug_assert!(pushed.is_ok(), "a place was promised");
        self.0.waiting.wake();
    }
}

/// The future that [`CompletionQueue::next`] gives.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct NextCompletion<'a>(&'a CompletionQueue);

impl Future for NextCompletion<'_> {
    type Output = Completion;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completion> {
        if let Some(completion) = self.0.poll() {
            return Poll::Ready(completion);
        }
        self.0.0.waiting.register(context.waker());
        self.0.poll().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion() -> Completion {
        Completion {
            id: WorkId(1),
            opcode: Opcode::Send,
            status: Ok(()),
            lane: Lane::Urgent,
            bytes: 0,
            immediate: None,
            region: None,
            written: None,
            peer: NodeId::from_bytes([0; 16]),
            elapsed: Duration::ZERO,
        }
    }

    #[test]
    fn promises_and_completions_share_the_places() {
        let queue = CompletionQueue::with_capacity(2);
        assert!(queue.promise() && queue.promise());
        assert!(!queue.promise());
        queue.push(completion());
        assert!(!queue.promise(), "the completion that waits takes the place");
        assert!(queue.poll().is_some());
        assert!(queue.promise());
        assert!(queue.poll().is_none());
    }

    #[test]
    fn a_task_that_waits_is_woken() {
        use std::sync::atomic::AtomicBool;
        use std::task::Wake;
        struct Flag(AtomicBool);
        impl Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let queue = CompletionQueue::with_capacity(2);
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = flag.clone().into();
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut queue.next()).poll(&mut context).is_pending());
        assert!(queue.promise());
        queue.push(completion());
        assert!(flag.0.load(Ordering::SeqCst), "the push wakes it");
        assert!(Pin::new(&mut queue.next()).poll(&mut context).is_ready());
    }

    #[test]
    fn the_doorbell_rings_as_long_as_there_are_completions() {
        let queue = CompletionQueue::with_capacity(4);
        assert!(queue.promise() && queue.promise() && queue.promise());
        queue.push(completion());
        let bell = queue.doorbell().clone();
        assert!(bell.try_recv().is_ok(), "for what came before it was hung up");
        assert!(queue.poll().is_some());
        assert!(bell.try_recv().is_err());
        queue.push(completion());
        queue.push(completion());
        assert!(bell.try_recv().is_ok());
        assert!(queue.poll().is_some());
        assert!(bell.try_recv().is_ok(), "one is left");
        assert!(queue.poll().is_some());
        assert!(bell.try_recv().is_err());
    }

    /// Threads that wait, a task's poll and whoever has the doorbell take all there is between them,
    /// each once, and nobody sleeps on.
    #[test]
    fn all_is_taken_however_it_is_waited_for() {
        const EACH: usize = 2_000;
        let queue = CompletionQueue::with_capacity(8);
        let taken = AtomicUsize::new(0);
        let take = |completion: Completion| {
            assert_eq!(completion.id, WorkId(1));
            taken.fetch_add(1, Ordering::SeqCst) + 1 == 2 * EACH
        };
        let (over, is_over) = crossbeam::channel::bounded::<()>(0);
        let over = std::sync::Mutex::new(Some(over));
        let end = || drop(over.lock().unwrap().take());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        while !queue.promise() {
                            std::thread::yield_now();
                        }
                        queue.push(completion());
                    }
                });
                scope.spawn(|| {
                    while taken.load(Ordering::SeqCst) < 2 * EACH {
                        if queue.wait(Duration::from_millis(20)).is_ok_and(take) {
                            end();
                        }
                    }
                });
            }
            scope.spawn(|| {
                let bell = queue.doorbell().clone();
                loop {
                    crossbeam::channel::select! {
                        recv(bell) -> _ => if queue.poll().is_some_and(take) { end() },
                        recv(is_over) -> _ => return,
                    }
                }
            });
        });
        assert_eq!(taken.into_inner(), 2 * EACH);
        assert!(queue.is_empty());
        assert!((0..8).all(|_| queue.promise()), "all places are free again");
    }

    #[test]
    fn a_thread_that_sleeps_is_woken() {
        let queue = CompletionQueue::with_capacity(1);
        assert!(queue.promise());
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| queue.wait(Duration::from_secs(60)));
            while queue.0.waiting.sleepers() == 0 {
                std::thread::yield_now();
            }
            queue.push(completion());
            assert!(sleeper.join().unwrap().is_ok());
        });
    }

    #[test]
    fn waiting_ends() {
        let queue = CompletionQueue::with_capacity(1);
        assert_eq!(queue.wait(Duration::from_millis(5)).unwrap_err(), WaitTimeout { waited_ms: 5 });
    }
}
