//! What two sides do with each other over one connection of the transport.
//!
//! The client says on the cluster lane what it wants ([`Exercise`]), the server posts its regions and
//! says that it is ready, both do their part, and the server tells what it has spent. One exercise
//! per connection. Each exercise is a file with both of its parts.
//!
//! `control` is that conversation, `traffic` sends and receives messages, `spent` counts.

pub(crate) mod burst;
mod control;
pub(crate) mod flow;
pub(crate) mod meeting;
pub(crate) mod pingpong;
mod spent;
pub(crate) mod stream;
mod traffic;
pub(crate) mod trips;
pub(crate) mod urgent;

use std::time::Duration;

use anyhow::Context as _;
use exo_transport::{Endpoint, QueuePair};
use serde::{Deserialize, Serialize};

use self::{control::Control, meeting::Meeting};
pub(crate) use self::{control::ServedError, spent::Spent};

/// How long a side waits for the other's next step before it gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client asks of `tbbench serve`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Exercise {
    PingPong(pingpong::Plan),
    Stream(stream::Plan),
    Burst(burst::Plan),
    Urgent(urgent::Plan),
    Trips(trips::Plan),
    Flow(flow::Plan),
    Meet,
}

/// One end of the connection that is measured.
pub(crate) struct Side<'a> {
    endpoint: &'a Endpoint,
    pair: QueuePair,
    control: Control,
}

impl<'a> Side<'a> {
    pub(crate) fn new(endpoint: &'a Endpoint, pair: QueuePair) -> anyhow::Result<Self> {
        let control = Control::open(endpoint, &pair)?;
        Ok(Self { endpoint, pair, control })
    }

    /// Ends the connection: all that was to be said was said.
    pub(crate) fn hang_up(self) {
        self.pair.close();
    }

    /// Whether frames are sealed.
    pub(crate) fn encrypted(&self) -> bool {
        self.pair.peer().encrypted
    }

    /// As the server: one exercise from the client's wish to the account of what it cost.
    pub(crate) fn serve(
        &mut self,
        patience: Duration,
        meeting: &Meeting,
    ) -> anyhow::Result<Exercise> {
        let asked = self.control.hear(patience)?;
        match asked {
            Exercise::PingPong(plan) => pingpong::server(self, plan)?,
            Exercise::Stream(plan) => stream::server(self, plan)?,
            Exercise::Burst(plan) => burst::server(self, plan)?,
            Exercise::Urgent(plan) => urgent::server(self, plan)?,
            Exercise::Trips(plan) => trips::server(self, plan)?,
            Exercise::Flow(plan) => flow::server(self, plan)?,
            Exercise::Meet => self.control.say(meeting)?,
        }
        Ok(asked)
    }

    /// As the client: where else the server listens, and what its machine is.
    pub(crate) fn meet(&mut self) -> anyhow::Result<Meeting> {
        self.control.say(&Exercise::Meet)?;
        self.control.hear(PATIENCE).context("the server does not say where it listens")
    }

    /// As the client: asks, and waits until the server has posted its regions.
    fn ask(&mut self, exercise: Exercise) -> anyhow::Result<()> {
        self.control.say(&exercise)?;
        self.control.hear::<Ready>(PATIENCE).context("the server does not get ready")?;
        Ok(())
    }

    fn ready(&mut self) -> anyhow::Result<()> {
        self.control.say(&Ready {})
    }

    fn spent(&self) -> Spent {
        Spent::now(self.endpoint)
    }

    /// What the server has spent; the client hears it last.
    fn hear_spent(&mut self) -> anyhow::Result<Spent> {
        self.control.hear(PATIENCE).context("the server does not say what it has spent")
    }
}

/// The server has posted its regions.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ready {}
