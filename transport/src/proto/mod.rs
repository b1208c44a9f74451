//! The connection as a state machine without I/O.
//!
//! Contract: bytes and the time come in, bytes and outcomes go out; nothing here reads a clock,
//! owns a socket or waits. So a run depends on its input alone and can be replayed.
//!
//! Layout: `handshake` until both sides know each other, then `connection`, a session over one socket
//! after another, which leans on `lane` (credits, sequences, what is in flight), `arrival` (what
//! comes in and where it goes), `receive` (bytes to frames), `transmit` (frames to bytes) and `seal`
//! (the cipher).

mod arrival;
mod connection;
mod error;
mod handshake;
mod lane;
mod receive;
mod seal;
#[cfg(test)]
mod simulation;
mod time;
mod transmit;

pub use error::{CloseCode, HandshakeError, LossCause, PeerLost, ProtocolError};

pub(crate) use connection::{Agreed, Connection, Notice, Route, Timers};
pub(crate) use error::Refusal;
pub(crate) use handshake::{Established, Handshake, Local, Resume, Role};
pub(crate) use time::{Span, Time};
