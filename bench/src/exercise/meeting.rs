//! What a server says of itself: where else it listens, and on what machine.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{link::Mode, machine::Machine};

/// One of a server's endpoints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Door {
    /// What its interface is called there.
    pub(crate) interface: String,
    /// All addresses that reach it, with its port.
    pub(crate) addresses: Vec<SocketAddr>,
    /// How that side waits behind it.
    pub(crate) mode: Mode,
}

/// All of them, and the machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Meeting {
    pub(crate) doors: Vec<Door>,
    pub(crate) machine: Machine,
}
