//! Messages of one size on one lane: sent from rotating buffers, received into recycled regions.
//!
//! From 4 KiB on a message is an activation as the engine sends it: the bulk gathered from where it
//! lies, the tail of its rkyv archive written anew each time, and validated where it arrives.

use anyhow::{Context as _, ensure};
use exo_transport::{
    Completion, CompletionQueue, Endpoint, Lane, Payload, QueuePair, Region, RegionPool,
    RegionSlice, Send,
    limits::{INLINE_BYTES_BELOW, MESSAGE_BYTES_MAX, WORK_REQUESTS_MAX},
    wire::activation::{self, ActivationMeta, Dtype, Phase, SequenceRows},
};

use super::PATIENCE;

/// Goes with the last message of traffic that ends when its sender likes.
const OVER: u32 = 0x4f56_4552;
/// Bytes of the region that such a message, whose length is nothing, takes.
const OVER_BYTES: usize = 64;

/// Numbers in a row of the activations, if their size allows it: as in a 32B model's neighbourhood.
const HIDDEN: usize = 4096;

/// The next completion, which must be of work that was done. An endpoint that is driven inline moves
/// its bytes here.
fn next(endpoint: &Endpoint, queue: &CompletionQueue) -> anyhow::Result<Completion> {
    let completion = endpoint.wait(queue, PATIENCE).context("the other side does not go on")?;
    completion.status.clone()?;
    Ok(completion)
}

/// Whether messages of this size are activations, and how long they are on the wire.
fn message_len(size: usize) -> usize {
    if is_activation(size) { size + activation::tail_len(size, 1) } else { size }
}

fn is_activation(size: usize) -> bool {
    size >= INLINE_BYTES_BELOW
}

/// The lane on which the engine would send a message of this size.
pub(super) fn lane_of(size: usize) -> Lane {
    if is_activation(size) { Lane::Activations } else { Lane::Urgent }
}

/// Checks a size that somebody asked for.
pub(super) fn check_size(size: usize) -> anyhow::Result<()> {
    let multiple = if is_activation(size) { Dtype::F32.size() } else { 1 };
    ensure!(
        size.is_multiple_of(multiple) && (1..=MESSAGE_BYTES_MAX / 2).contains(&size),
        "--size {size}: 1 to {} bytes, from {INLINE_BYTES_BELOW} on a multiple of {multiple}",
        MESSAGE_BYTES_MAX / 2
    );
    Ok(())
}

/// The sending half.
pub(super) struct Outgoing {
    endpoint: Endpoint,
    pair: QueuePair,
    lane: Lane,
    size: usize,
    /// Never written while they are shared with the transport.
    bulks: Vec<RegionSlice>,
    tails: RegionPool,
    sent: CompletionQueue,
    in_flight: usize,
    step: u64,
}

impl Outgoing {
    /// Sends from `buffers` buffers in turn, each used again when its message has completed.
    pub(super) fn new(
        endpoint: &Endpoint,
        pair: &QueuePair,
        lane: Lane,
        size: usize,
        buffers: usize,
    ) -> anyhow::Result<Self> {
        ensure!((1..WORK_REQUESTS_MAX).contains(&buffers), "{buffers} buffers");
        let bulks = (0..buffers).map(|at| filled(size, at as u8).freeze()).collect();
        Ok(Self {
            endpoint: endpoint.clone(),
            pair: pair.clone(),
            lane,
            size,
            bulks,
            tails: RegionPool::new(buffers, activation::tail_len(size, 1)),
            // Twice as many places: a completion that was just taken out may still hold its own.
            sent: CompletionQueue::with_capacity(2 * buffers),
            in_flight: 0,
            step: 0,
        })
    }

    /// Posts one message, after waiting for the oldest if all buffers are in flight. Which others have
    /// completed is looked at while the message is under way.
    pub(super) fn post(&mut self) -> anyhow::Result<()> {
        if self.in_flight == self.bulks.len() {
            next(&self.endpoint, &self.sent)?;
            self.in_flight -= 1;
        }
        let mut payload =
            Payload::from_slice(self.bulks[self.step as usize % self.bulks.len()].clone());
        if is_activation(self.size) {
            payload.push(self.tail()?);
        }
        let send =
            Send { lane: self.lane, payload, immediate: activation::IMMEDIATE, deadline: None };
        self.pair.post_send(send, &self.sent).map_err(|(error, _)| error)?;
        self.in_flight += 1;
        self.step += 1;
        self.in_flight().map(drop)
    }

    /// Waits until `messages` more can be posted at once.
    pub(super) fn make_room(&mut self, messages: usize) -> anyhow::Result<()> {
        while self.in_flight + messages > self.bulks.len() {
            next(&self.endpoint, &self.sent)?;
            self.in_flight -= 1;
        }
        Ok(())
    }

    /// Tells the receiver that nothing more comes. All that was posted must have completed: this goes
    /// on the urgent lane and would overtake it.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.drain()?;
        let payload = Payload::from_slice(filled(1, 0).freeze());
        let send = Send { lane: Lane::Urgent, payload, immediate: OVER, deadline: Some(PATIENCE) };
        self.pair.post_send(send, &self.sent).map_err(|(error, _)| error)?;
        self.in_flight += 1;
        self.drain()
    }

    fn tail(&self) -> anyhow::Result<RegionSlice> {
        let numbers = self.size / Dtype::F32.size();
        let hidden = if numbers.is_multiple_of(HIDDEN) { HIDDEN } else { numbers };
        let tokens = (numbers / hidden) as u32;
        let rows = [SequenceRows {
            sequence: 1,
            attempt: 0,
            start: self.step as u32,
            tokens,
            phase: Phase::Decode as u8,
        }];
        let meta = ActivationMeta {
            placement_epoch: 1,
            step: self.step,
            dtype: Dtype::F32,
            tokens,
            hidden: hidden as u32,
            sequences: &rows,
        };
        let mut region = self.tails.lease().context("there is a tail for each buffer")?;
        let written = activation::encode_tail(&meta, self.size, &mut region)?;
        Ok(region.freeze().slice(..written))
    }

    /// Messages posted and not acknowledged, as far as it was looked.
    pub(super) fn in_flight(&mut self) -> anyhow::Result<usize> {
        while let Some(done) = self.sent.poll() {
            done.status?;
            self.in_flight -= 1;
        }
        Ok(self.in_flight)
    }

    /// Waits until the other side has acknowledged everything.
    pub(super) fn drain(&mut self) -> anyhow::Result<()> {
        while self.in_flight > 0 {
            next(&self.endpoint, &self.sent)?;
            self.in_flight -= 1;
        }
        Ok(())
    }
}

fn filled(len: usize, seed: u8) -> Region {
    let mut region = Region::pages(len);
    for (at, byte) in region.as_mut_slice().iter_mut().enumerate() {
        *byte = (at as u8).wrapping_mul(31) ^ seed;
    }
    region
}

/// The receiving half. Several lanes may share one.
pub(super) struct Incoming {
    endpoint: Endpoint,
    pair: QueuePair,
    queue: CompletionQueue,
}

impl Incoming {
    pub(super) fn new(endpoint: &Endpoint, pair: &QueuePair) -> Self {
        let queue = CompletionQueue::with_capacity(WORK_REQUESTS_MAX);
        Self { endpoint: endpoint.clone(), pair: pair.clone(), queue }
    }

    /// Makes room for `regions` messages of this size.
    pub(super) fn post(&self, lane: Lane, size: usize, regions: usize) -> anyhow::Result<()> {
        for _ in 0..regions {
            self.recycle(lane, Region::pages(message_len(size)))?;
        }
        Ok(())
    }

    /// Makes room for the message that ends messages of this size. Regions are used in the order in
    /// which they were posted, so on a shared lane this one has to hold any of them.
    pub(super) fn post_end(&self, size: usize) -> anyhow::Result<()> {
        let room = if lane_of(size) == Lane::Urgent { message_len(size) } else { 0 };
        self.post(Lane::Urgent, room.max(OVER_BYTES), 1)
    }

    /// The next message, validated if it is an activation.
    pub(super) fn next(&self) -> anyhow::Result<(Lane, Region)> {
        self.next_until_end()?.context("the other side ends before its time")
    }

    /// As [`Self::next`]; nothing when the sender has [finished](Outgoing::finish).
    pub(super) fn next_until_end(&self) -> anyhow::Result<Option<(Lane, Region)>> {
        let done = next(&self.endpoint, &self.queue)?;
        if done.immediate == Some(OVER) {
            return Ok(None);
        }
        let Completion { lane, bytes, region, .. } = done;
        let region = region.context("a receive gives its region back")?;
        if is_activation(bytes) {
            activation::access(&region.as_slice()[..bytes])?;
        }
        Ok(Some((lane, region)))
    }

    pub(super) fn recycle(&self, lane: Lane, region: Region) -> anyhow::Result<()> {
        self.pair.post_recv(lane, region, &self.queue).map_err(|(error, _)| error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked() {
        for good in [1, 63, 4096, 16 << 10, 4 << 20] {
            check_size(good).unwrap();
        }
        for bad in [0, 4097, usize::MAX] {
            assert!(check_size(bad).is_err(), "{bad}");
        }
    }
}
