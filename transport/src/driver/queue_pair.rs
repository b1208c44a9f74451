//! The verbs: what a program posts on one session, and what it lets the peer touch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::pair::{Call, Pair};
use super::stats::Measured;
use crate::event::PeerInfo;
use crate::hint::unlikely;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::memory::{GrantError, Granted, Region, RegionSlice, RemoteRegion};
use crate::queue::{
    CompletionQueue, OutWork, Payload, PostError, Read, RecvWork, Send, Verb, WorkId, Write,
    check_range,
};
use crate::wire::header::Lane;

/// The way to talk to one peer. Cloning gives another handle on the same session.
///
/// | verb | the peer | completes when |
/// |---|---|---|
/// | [`post_send`](Self::post_send) | has posted a receive | the peer's transport has it whole |
/// | [`post_recv`](Self::post_recv) | sends | a message lies in the region |
/// | [`post_write`](Self::post_write) | has granted a region | it lies in that region |
/// | [`post_read`](Self::post_read) | has granted a region | the bytes lie in ours |
///
/// All complete in the order posted, per lane and verb; each exactly once. When a session ends all
/// that is pending is flushed with the error that says why; when only its socket ends, nothing
/// completes: it goes on over the next.
#[derive(Clone)]
pub struct QueuePair(pub(super) Arc<Pair>);

impl QueuePair {
    /// Who is at the other end.
    pub fn peer(&self) -> &PeerInfo {
        &self.0.info
    }

    /// How the way to the peer was over this session so far.
    pub fn measured(&self) -> Measured {
        self.0.measured()
    }

    /// Begins a batch: what is posted on this session while the result lives goes out when it is
    /// dropped, many small frames in one system call. It is for posts that follow each other at once:
    /// what others post meanwhile may wait too.
    ///
    /// ```
    /// # use exo_transport::{CompletionQueue, PostError, QueuePair, Send};
    /// # fn example(pair: &QueuePair, tokens: Vec<Send>, queue: &CompletionQueue) -> Result<(), PostError> {
    /// let batch = pair.batch();
    /// for token in tokens {
    ///     pair.post_send(token, queue).map_err(|(error, _)| error)?;
    /// }
    /// drop(batch); // one doorbell for all of them
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&self) -> Batch<'_> {
        self.0.begin_batch();
        Batch(&self.0)
    }

    /// Posts a message. Never waits; the completion comes to `queue`.
    ///
    /// # Errors
    ///
    /// [`PostError`], and the message back.
    #[allow(clippy::result_large_err)] // the caller's own message is given back
    pub fn post_send(
        &self,
        send: Send,
        queue: &CompletionQueue,
    ) -> Result<WorkId, (PostError, Send)> {
        let len = send.payload.len();
        if unlikely(len > MESSAGE_BYTES_MAX) {
            return Err((PostError::TooLong { len }, send));
        }
        let (id, posted) = match self.0.admit(queue) {
            Ok(admitted) => admitted,
            Err(error) => return Err((error, send)),
        };
        let work = OutWork {
            id,
            lane: send.lane,
            verb: Verb::Send,
            payload: send.payload,
            immediate: Some(send.immediate),
            posted,
            deadline: send.deadline.map(|deadline| posted.after(deadline)),
            queue: Some(queue.clone()),
        };
        self.0.enqueue(work, posted);
        Ok(id)
    }

    /// Posts a region for one message of `lane`, and grants the peer the credit to send it. The
    /// completion gives the region back. A message longer than its region breaks the protocol and
    /// ends the session.
    ///
    /// # Errors
    ///
    /// [`PostError`], and the region back.
    pub fn post_recv(
        &self,
        lane: Lane,
        region: Region,
        queue: &CompletionQueue,
    ) -> Result<WorkId, (PostError, Region)> {
        let (id, posted) = match self.0.admit(queue) {
            Ok(admitted) => admitted,
            Err(error) => return Err((error, region)),
        };
        let work = RecvWork { id, lane, region, posted, queue: queue.clone() };
        self.0.enqueue(work, posted);
        Ok(id)
    }

    /// Posts bytes that go into a region of the peer's. Never waits; the completion comes to
    /// `queue`. If the peer has taken the region back meanwhile the bytes are thrown away there, and
    /// the write completes all the same: nobody looks at that region any more.
    ///
    /// # Errors
    ///
    /// [`PostError`], and the write back.
    #[allow(clippy::result_large_err)] // the caller's own bytes are given back
    pub fn post_write(
        &self,
        write: Write,
        queue: &CompletionQueue,
    ) -> Result<WorkId, (PostError, Write)> {
        let admitted = check_range(&write.to, write.offset, write.payload.len());
        let (id, posted) = match admitted.and_then(|()| self.0.admit(queue)) {
            Ok(admitted) => admitted,
            Err(error) => return Err((error, write)),
        };
        let work = OutWork {
            id,
            lane: write.lane,
            verb: Verb::Write { key: write.to.key(), offset: write.offset },
            payload: write.payload,
            immediate: write.immediate,
            posted,
            deadline: write.deadline.map(|deadline| posted.after(deadline)),
            queue: Some(queue.clone()),
        };
        self.0.enqueue(work, posted);
        Ok(id)
    }

    /// Asks for bytes of a region of the peer's. Never waits; the completion comes to `queue` and
    /// gives the region back. A refusal completes with
    /// [`WorkError::ReadRefused`](crate::WorkError::ReadRefused); the session goes on.
    ///
    /// # Errors
    ///
    /// [`PostError`], and the read back.
    #[allow(clippy::result_large_err)] // the caller's own region is given back
    pub fn post_read(
        &self,
        read: Read,
        queue: &CompletionQueue,
    ) -> Result<WorkId, (PostError, Read)> {
        let (len, room) = (read.len, read.into.len());
        let fits = if len <= room { Ok(()) } else { Err(PostError::RegionTooSmall { len, room }) };
        let in_range = fits.and_then(|()| check_range(&read.from, read.offset, len));
        let (id, posted) = match in_range.and_then(|()| self.0.admit(queue)) {
            Ok(admitted) => admitted,
            Err(error) => return Err((error, read)),
        };
        let (key, offset, into) = (read.from.key(), read.offset, Some(read.into));
        let work = OutWork {
            id,
            lane: read.lane,
            verb: Verb::ReadRequest { key, offset, len: len as u32, into },
            payload: Payload::empty(),
            immediate: None,
            posted,
            deadline: read.deadline.map(|deadline| posted.after(deadline)),
            queue: Some(queue.clone()),
        };
        self.0.enqueue(work, posted);
        Ok(id)
    }

    /// Gives up a send, write or read: if it has not completed it completes now, with
    /// [`WorkError::Cancelled`](crate::WorkError::Cancelled). What has begun is not torn apart: the
    /// peer still gets it whole, and its memory is held until then. A receive cannot be cancelled,
    /// because the peer may count on it already.
    pub fn cancel(&self, id: WorkId) {
        self.0.enqueue_cancel(id);
    }

    /// Lets the peer read these bytes, by the [`RemoteRegion`] that the result names, until the
    /// result is dropped.
    ///
    /// # Errors
    ///
    /// [`GrantError`].
    pub fn grant_read(&self, slice: RegionSlice) -> Result<ReadableRegion, GrantError> {
        let len = slice.len();
        self.grant(Granted::Read(slice), len).map(ReadableRegion)
    }

    /// Lets the peer write into this region, by the [`RemoteRegion`] that the result names, until
    /// the result is dropped or [`revoked`](WritableRegion::revoke).
    ///
    /// # Errors
    ///
    /// [`GrantError`]; the region is dropped.
    pub fn grant_write(&self, region: Region) -> Result<WritableRegion, GrantError> {
        let len = region.len();
        self.grant(Granted::Write(region), len).map(WritableRegion)
    }

    fn grant(&self, granted: Granted, len: usize) -> Result<Grant, GrantError> {
        if !self.is_open() {
            return Err(GrantError::Disconnected);
        }
        let salt = getrandom::u32().map_err(|_| GrantError::NoRandom)?;
        let key = self.0.lock().connection.grant(granted, salt).map_err(|_| GrantError::Full)?;
        self.0.drive_late_posts();
        Ok(Grant { pair: self.0.clone(), remote: RemoteRegion::new(key, len as u64) })
    }

    /// Moves the bytes of this session as far as that goes without waiting, if the endpoint is
    /// driven [inline](crate::Drive::Inline). Gives whether any came.
    pub fn progress(&self) -> bool {
        self.0.progress(true, self.0.shared.clock.now())
    }

    /// Whether the session stands, be its peer silent or not.
    pub fn is_open(&self) -> bool {
        self.0.open.load(Ordering::Acquire)
    }

    /// Whether its peer is silent, or its socket gone, for longer than it may be. Work stays pending.
    pub fn is_suspected(&self) -> bool {
        self.0.is_suspected()
    }

    /// Ends the session: it cannot be resumed. Pending work completes with
    /// [`WorkError::Flushed`](crate::WorkError::Flushed), soon and not before this returns.
    pub fn close(&self) {
        self.0.close_asked.store(true, Ordering::SeqCst);
        self.0.call_driver(Call::Work);
    }
}

impl std::fmt::Debug for QueuePair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueuePair")
            .field("peer", &self.0.info)
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// Posts that go out together: see [`QueuePair::batch`].
#[must_use = "a batch ends when it is dropped"]
pub struct Batch<'a>(&'a Pair);

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.0.end_batch();
    }
}

impl std::fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").field("peer", &self.0.info.node).finish_non_exhaustive()
    }
}

/// A region that the peer may touch while this lives.
struct Grant {
    pair: Arc<Pair>,
    remote: RemoteRegion,
}

impl Grant {
    fn take_back(&self) -> Option<Granted> {
        let granted = self.pair.lock().connection.revoke(self.remote.key());
        self.pair.drive_late_posts();
        granted
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        drop(self.take_back());
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("remote", &self.remote).finish_non_exhaustive()
    }
}

/// Bytes that the peer may read while this lives.
#[derive(Debug)]
pub struct ReadableRegion(Grant);

impl ReadableRegion {
    /// What the peer has to be told.
    pub fn remote(&self) -> RemoteRegion {
        self.0.remote
    }
}

/// A region that the peer may write while this lives.
#[derive(Debug)]
pub struct WritableRegion(Grant);

impl WritableRegion {
    /// What the peer has to be told.
    pub fn remote(&self) -> RemoteRegion {
        self.0.remote
    }

    /// The region again, with what the peer has written. Nothing lands in it any more.
    pub fn revoke(self) -> Region {
        match self.0.take_back() {
            Some(Granted::Write(region)) => region,
            // Keys are this crate's, and only this value takes its own back.
            Some(Granted::Read(_)) | None => unreachable!("a grant is taken back once"),
        }
    }
}
