//! The conversation beside the measured traffic: short JSON on the cluster lane.

use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use exo_transport::{CompletionQueue, Endpoint, Lane, Payload, QueuePair, Region, Send, WorkError};
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// Longest message of the conversation, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;
const REGIONS: usize = 2;

/// The client went away between two exercises: nothing went wrong.
#[derive(Debug, Error)]
#[error("the client has gone")]
pub(crate) struct ServedError;

pub(super) struct Control {
    endpoint: Endpoint,
    pair: QueuePair,
    sent: CompletionQueue,
    received: CompletionQueue,
}

impl Control {
    pub(super) fn open(endpoint: &Endpoint, pair: &QueuePair) -> anyhow::Result<Self> {
        let received = CompletionQueue::with_capacity(REGIONS);
        for _ in 0..REGIONS {
            post(pair, Region::pages(MESSAGE_BYTES_MAX), &received)?;
        }
        let (endpoint, pair) = (endpoint.clone(), pair.clone());
        Ok(Self { endpoint, pair, sent: CompletionQueue::with_capacity(4), received })
    }

    /// Sends `what`, and waits until the other side has it.
    pub(super) fn say(&mut self, what: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_vec(what)?;
        ensure!(text.len() <= MESSAGE_BYTES_MAX, "a message of {} bytes", text.len());
        let mut region = Region::pages(text.len());
        region.as_mut_slice().copy_from_slice(&text);
        let send = Send {
            lane: Lane::Cluster,
            payload: Payload::from_slice(region.freeze()),
            immediate: 0,
            deadline: Some(super::PATIENCE),
        };
        self.pair.post_send(send, &self.sent).map_err(|(error, _)| error)?;
        self.endpoint.wait(&self.sent, super::PATIENCE)?.status?;
        Ok(())
    }

    /// What the other side says next.
    pub(super) fn hear<T: DeserializeOwned>(&mut self, patience: Duration) -> anyhow::Result<T> {
        let heard =
            self.endpoint.wait(&self.received, patience).context("the other side says nothing")?;
        match heard.status {
            Ok(()) => {}
            Err(WorkError::PeerLost(_)) => return Err(ServedError.into()),
            Err(error) => return Err(error.into()),
        }
        let region = heard.region.context("a receive gives its region back")?;
        let text = &region.as_slice()[..heard.bytes];
        let said = serde_json::from_slice(text).map_err(|error| {
            anyhow!("the other side speaks another version of tbbench: {error}")
        })?;
        post(&self.pair, region, &self.received)?;
        Ok(said)
    }
}

fn post(pair: &QueuePair, region: Region, queue: &CompletionQueue) -> anyhow::Result<()> {
    pair.post_recv(Lane::Cluster, region, queue).map_err(|(error, _)| error)?;
    Ok(())
}
