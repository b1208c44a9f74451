//! A socket after its connection: kept a moment, so that the last words arrive.
//!
//! A socket closed with unread bytes resets the connection, and the reset can overtake what was
//! written last. So the writing side is closed first, and what still comes is thrown away until the
//! peer has closed too, or a moment has passed.

use std::io::{self, Read as _};
use std::net::Shutdown;
use std::time::Duration;

use mio::net::TcpStream;

use crate::proto::Time;

/// How long the peer has to close.
const MOMENT: Duration = Duration::from_millis(500);

pub(super) struct Goodbye {
    pub(super) socket: TcpStream,
    pub(super) until: Time,
}

impl Goodbye {
    pub(super) fn new(socket: TcpStream, now: Time) -> Self {
        let _ = socket.shutdown(Shutdown::Write);
        Self { socket, until: now.after(MOMENT) }
    }

    /// Throws away what came. Gives whether the peer has closed.
    pub(super) fn turn(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // A bound, so that a peer that floods us gets no more than its turn.
        for _ in 0..64 {
            match self.socket.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        true
    }
}
