//! What an endpoint tells its owner, and why things fail.

use std::io;
use std::net::SocketAddr;

use exo_netconfig::LinkKind;
use thiserror::Error;

use crate::driver::QueuePair;
use crate::identity::NodeId;
use crate::proto::{HandshakeError, LossCause, PeerLost};
use crate::sys::PinError;

/// Who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PeerInfo {
    /// Its name by its key.
    pub node: NodeId,
    /// What people call it.
    pub name: String,
    /// Its address.
    pub addr: SocketAddr,
    /// The interface of this machine that the connection is pinned to.
    pub interface: String,
    /// What sort of link that is.
    pub link_kind: LinkKind,
    /// Whether frames are sealed.
    pub encrypted: bool,
    /// Version of its program.
    pub software: String,
}

/// What happened to an endpoint's connections.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A peer is there, whoever connected.
    ///
    /// A second one for the same peer without a `Disconnected` between replaces the first: two
    /// nodes had connected to each other at the same moment.
    Connected {
        /// The way to talk to it.
        queue_pair: QueuePair,
    },
    /// What [`Endpoint::connect`](crate::Endpoint::connect) was asked for did not come about.
    ConnectFailed {
        /// The address.
        addr: SocketAddr,
        /// Why.
        error: ConnectError,
    },
    /// Somebody connected and was not let in.
    Refused {
        /// Where from.
        addr: SocketAddr,
        /// Why.
        error: ConnectError,
    },
    /// A peer is silent, or its socket is gone (the path is down). Its work stays pending: it goes on
    /// when the peer speaks again, on this socket or another.
    Suspected {
        /// Who.
        peer: PeerInfo,
        /// The interface.
        link: String,
        /// For how long, in milliseconds.
        silent_ms: u64,
    },
    /// The session with a peer goes on over another socket. Nothing was lost.
    Resumed {
        /// Who.
        peer: PeerInfo,
        /// The number of the socket.
        epoch: u32,
        /// Frames that are sent again.
        replayed: u64,
    },
    /// The link has another index or another address than before. New sockets are pinned to it.
    LinkChanged {
        /// The link as it is now.
        link: exo_netconfig::Link,
    },
    /// A suspected peer speaks again.
    Recovered {
        /// Who.
        peer: PeerInfo,
    },
    /// A peer is gone. All work with it has completed.
    Disconnected {
        /// Who.
        peer: PeerInfo,
        /// Why.
        cause: PeerLost,
    },
}

/// Why there is no connection.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The system could not reach it.
    #[error("cannot reach {addr}: {words}{}", hint(*kind))]
    Io {
        /// The address.
        addr: SocketAddr,
        /// What sort of error.
        kind: io::ErrorKind,
        /// The system's words.
        words: String,
    },
    /// The socket is not on the link.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The two did not agree.
    #[error("no connection with {addr}: {error}")]
    Handshake {
        /// The address.
        addr: SocketAddr,
        /// Why.
        error: HandshakeError,
    },
    /// The peer ended it right after the handshake.
    #[error("{addr} ended the connection at once: {cause}")]
    Ended {
        /// The address.
        addr: SocketAddr,
        /// Why.
        cause: LossCause,
    },
    /// There are as many connections or handshakes as there may be.
    #[error("{what}: at most {max} at once")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
    /// The endpoint is closed.
    #[error("the endpoint is closed")]
    Closed,
}

fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "; hint: does exo-node run there, on that port?",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "; hint: is it on this link? `tbnet check` tells"
        }
        _ => "",
    }
}

/// Why an endpoint did not open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A link that a person chose needs a cluster key.
    #[error(
        "{interface} is a link chosen by hand, where anybody may listen: it needs a cluster key; hint: make one with: openssl rand -hex 32 > cluster.key && chmod 600 cluster.key, copy it to every node, and give it with --cluster-key-file"
    )]
    ClusterKeyNeeded {
        /// The interface.
        interface: String,
    },
    /// Somebody listens there already.
    #[error(
        "port {port} on {interface} is in use; hint: another exo-node may be running; choose another port with --listen"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// The interface.
        interface: String,
    },
    /// The system does not let us listen on the link.
    #[error("cannot {doing} on {interface} ({addr}): {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The interface.
        interface: String,
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The socket cannot be kept on the link.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A field of the configuration is out of bounds.
    #[error("{field} is {value}; it must be from {min} to {max}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it is.
        value: usize,
        /// Least.
        min: usize,
        /// Most.
        max: usize,
    },
}
