//! What goes to the next stage, and what comes from the one before?

use std::{
    collections::hash_map::Entry,
    time::{Duration, Instant},
};

use mlx_rs::{Array, error::Exception, ops::indexing::TryIndexOp};

use super::{
    ACTIVATION_BULK_BYTES_MAX, ACTIVATION_DEADLINE, ACTIVATION_TAIL_BYTES, Loaded, RECEIVE_REGIONS,
    Route, SENDS_OUTSTANDING_MAX, Worker, WorkerEvent,
};
use crate::{
    fabric::{
        Completion, Lane, Payload, QueuePair, Region, SendRequest,
        activation::{self, ActivationMeta, Dtype, Phase, SequenceRows},
        messages::{self, StageMessage},
    },
    mlx::ArrayRegion,
    stage::{Rows, StageInput},
};

/// How often a worker that waits for a neighbour looks whether its placement still holds.
const OUT_OF_DATE_EVERY: Duration = Duration::from_millis(20);

impl Worker {
    /// Posts MLX memory on a connection, once for its lifetime: a region goes back after each use.
    pub(super) fn post_receives(&mut self, from: &QueuePair) -> Result<(), String> {
        let peer = from.peer().node;
        if self.receiving.get(&peer).is_some_and(QueuePair::is_open) {
            return Ok(());
        }
        for _ in 0..RECEIVE_REGIONS {
            let numbers = (ACTIVATION_BULK_BYTES_MAX + ACTIVATION_TAIL_BYTES) / size_of::<f32>();
            let memory = ArrayRegion::to_receive(numbers, mlx_rs::Dtype::Float32)
                .map_err(|error| error.to_string())?;
            let region = Region::from_backing(Box::new(memory));
            from.post_recv(Lane::Activations, region, &self.received)
                .map_err(|(error, _)| error.to_string())?;
        }
        self.receiving.insert(peer, from.clone());
        Ok(())
    }

    pub(super) fn handle_received(&mut self, completion: Completion) {
        let Completion { status, region, bytes, immediate, peer, .. } = completion;
        let (Ok(()), Some(region)) = (status, region) else { return };
        let message = &region.as_slice()[..bytes];
        let before = self.loaded.as_ref().and_then(|loaded| loaded.route.before.as_ref());
        let is_before = before.is_some_and(|before| before.peer().node == peer);
        let outcome = match immediate {
            // Of a placement that was: the stage before this one is another now.
            _ if !is_before => Ok(()),
            Some(messages::STAGE) => match messages::decode::<StageMessage>(message) {
                Ok(message) => {
                    self.handle_stage_message(message);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            },
            Some(messages::ACTIVATION) => self.handle_activation(&region, bytes),
            other => Err(format!("immediate {other:?} on the activation lane")),
        };
        if let Err(what) = outcome {
            self.report(WorkerEvent::Misbehaved { node: peer, what });
            return;
        }
        // The step that read the region is evaluated: it may be written again.
        if let Some(from) = self.receiving.get(&peer)
            && let Err((error, _)) = from.post_recv(Lane::Activations, region, &self.received)
        {
            tracing::debug!(%peer, %error, "receive region not posted again");
        }
    }

    fn handle_activation(&mut self, region: &Region, bytes: usize) -> Result<(), String> {
        let message = activation::access(&region.as_slice()[..bytes]);
        let message = message.map_err(|error| error.to_string())?;
        let Some(loaded) = &self.loaded else { return Ok(()) };
        if Some(message.placement_epoch()) != loaded.epoch {
            tracing::debug!(
                theirs = message.placement_epoch(),
                ours = loaded.epoch,
                "activation of another placement dropped"
            );
            return Ok(());
        }
        let rows: Vec<Rows> = message
            .sequences()
            .filter(|rows| rows.tokens > 0)
            .map(|rows| Rows {
                sequence: rows.sequence,
                attempt: rows.attempt,
                start: rows.start,
                count: rows.tokens,
                wants_token: rows.phase == Phase::Decode as u8,
            })
            .collect();
        let (tokens, hidden) = (message.tokens() as i32, message.hidden() as i32);
        let memory = region.backing::<ArrayRegion>().ok_or("not a region of this worker")?;
        // A view of the region's first numbers: nothing is copied.
        let dtype = mlx_dtype(message.dtype());
        let view = memory.array().view_dtype(dtype);
        let view = view.and_then(|view| view.try_index(..tokens * hidden));
        let view = view.and_then(|view| view.reshape(&[tokens, hidden]));
        let view = view.and_then(|view| self.open_rows(view, &rows));
        let view = view.map_err(|error| error.to_string())?;
        let number = message.step();
        let open: Vec<Rows> = rows.into_iter().filter(|own| self.is_open(own.sequence)).collect();
        self.step(StageInput::Hidden(view), &open, number);
        Ok(())
    }

    /// Of `hidden` the rows of sequences that are open.
    fn open_rows(&self, hidden: Array, rows: &[Rows]) -> Result<Array, Exception> {
        if rows.iter().all(|own| self.is_open(own.sequence)) {
            return Ok(hidden);
        }
        let (mut numbers, mut next) = (Vec::new(), 0);
        for own in rows {
            let end = next + own.count as i32;
            if self.is_open(own.sequence) {
                numbers.extend(next..end);
            }
            next = end;
        }
        let count = numbers.len() as i32;
        hidden.take_axis(Array::from_slice(&numbers, &[count]), 0)
    }

    pub(super) fn send_activation(&mut self, hidden: Array, rows: &[Rows], step: u64) {
        let Some(Loaded { epoch: Some(epoch), route: Route { after: Some(after), .. }, .. }) =
            &self.loaded
        else {
            return;
        };
        let (epoch, after) = (*epoch, after.clone());
        let sequences: Vec<SequenceRows> = rows
            .iter()
            .map(|own| SequenceRows {
                sequence: own.sequence,
                attempt: own.attempt,
                start: own.start,
                tokens: own.count,
                phase: if own.wants_token { Phase::Decode } else { Phase::Prefill } as u8,
            })
            .collect();
        let meta = ActivationMeta {
            placement_epoch: epoch,
            step,
            dtype: match hidden.dtype() {
                mlx_rs::Dtype::Float16 => Dtype::F16,
                mlx_rs::Dtype::Bfloat16 => Dtype::Bf16,
                _ => Dtype::F32,
            },
            tokens: hidden.dim(0) as u32,
            hidden: hidden.dim(1) as u32,
            sequences: &sequences,
        };
        let bulk = Region::from_backing(Box::new(ArrayRegion::to_send(hidden))).freeze();
        let mut tail = self.tail();
        match activation::encode_tail(&meta, bulk.len(), &mut tail) {
            Ok(written) => {
                let mut payload = Payload::from_slice(bulk);
                payload.push(tail.freeze().slice(..written));
                self.post(&after, payload, messages::ACTIVATION);
            }
            Err(error) => tracing::error!(%error, "activation not sent"),
        }
    }

    pub(super) fn send_stage_message(&mut self, to: &QueuePair, message: &StageMessage) {
        let bytes = messages::encode(message);
        let fits = bytes.len() <= ACTIVATION_TAIL_BYTES;
        let mut region = if fits { self.tail() } else { Region::pages(bytes.len()) };
        region.as_mut_slice()[..bytes.len()].copy_from_slice(&bytes);
        let payload = Payload::from_slice(region.freeze().slice(..bytes.len()));
        self.post(to, payload, messages::STAGE);
    }

    fn tail(&self) -> Region {
        self.tails.lease().unwrap_or_else(|| Region::pages(ACTIVATION_TAIL_BYTES))
    }

    /// Posts on the activation lane, after at most [`SENDS_OUTSTANDING_MAX`] others: a slow stage
    /// holds up the one before it, and memory stays bounded.
    fn post(&mut self, to: &QueuePair, payload: Payload, immediate: u32) {
        let peer = to.peer().node;
        let deadline = Instant::now() + ACTIVATION_DEADLINE;
        while self.outstanding.get(&peer).is_some_and(|&sends| sends >= SENDS_OUTSTANDING_MAX) {
            if self.is_out_of_date() {
                tracing::debug!(peer = to.peer().name, "nobody waits for this activation any more");
                return;
            }
            match self.sent.wait(OUT_OF_DATE_EVERY) {
                Ok(completion) => self.handle_sent(&completion),
                Err(_) if Instant::now() < deadline => {}
                Err(_) => {
                    tracing::warn!(peer = to.peer().name, "it does not keep up: closing");
                    return to.close();
                }
            }
        }
        let deadline = Some(ACTIVATION_DEADLINE);
        let send = SendRequest { lane: Lane::Activations, payload, immediate, deadline };
        match to.post_send(send, &self.sent) {
            Ok(_) => *self.outstanding.entry(peer).or_default() += 1,
            // The node loop hears of a lost peer, and ends what ran over it.
            Err((error, _)) => {
                tracing::warn!(peer = %to.peer().name, %error, "activation not posted: closing");
                to.close();
            }
        }
    }

    pub(super) fn handle_sent(&mut self, completion: &Completion) {
        if let Entry::Occupied(mut sends) = self.outstanding.entry(completion.peer) {
            *sends.get_mut() -= 1;
            if *sends.get() == 0 {
                sends.remove();
            }
        }
        let after = self.loaded.as_ref().and_then(|loaded| loaded.route.after.as_ref());
        if let Err(error) = &completion.status
            && let Some(after) = after.filter(|after| after.peer().node == completion.peer)
        {
            tracing::warn!(peer = %after.peer().name, %error, "activation lost: closing");
            after.close();
        }
    }
}

fn mlx_dtype(dtype: Dtype) -> mlx_rs::Dtype {
    match dtype {
        Dtype::F32 => mlx_rs::Dtype::Float32,
        Dtype::F16 => mlx_rs::Dtype::Float16,
        Dtype::Bf16 => mlx_rs::Dtype::Bfloat16,
    }
}
