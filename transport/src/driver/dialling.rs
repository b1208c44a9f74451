//! A socket before it is a connection.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpStream;
use socket2::SockRef;

use super::endpoint::Shared;
use super::pair::Pair;
use crate::event::ConnectError;
use crate::limits::{NOISE_MESSAGE_BYTES_MAX, UNSENT_FRAMES};
use crate::proto::{Handshake, HandshakeError, Role, Time};
use crate::sys;

/// A socket whose handshake is under way.
pub(super) struct Dialling {
    pub(super) socket: TcpStream,
    pub(super) addr: SocketAddr,
    pub(super) handshake: Handshake,
    pub(super) deadline: Time,
    /// Why the peer, whose handshake is complete, is not let in.
    pub(super) unwelcome: Option<HandshakeError>,
    /// The session that this socket is to carry on, if the transport itself asked for it.
    pub(super) carries_on: Option<Arc<Pair>>,
    /// The connect has not finished.
    pub(super) connecting: bool,
}

/// Where a handshake stands after a turn.
pub(super) enum Progress {
    /// It waits for the peer.
    Waiting,
    /// Somebody has to say whether the peer is welcome.
    Decide,
    /// Everything is said.
    Done,
}

impl Dialling {
    /// Begins to connect.
    pub(super) fn connect(
        addr: SocketAddr,
        shared: &Shared,
        now: Time,
    ) -> Result<Self, ConnectError> {
        let link = shared.link();
        let socket = sys::pinned_socket(&link, addr)?;
        let connect = || {
            let own = link.socket_addr(0);
            if own.is_ipv4() == addr.is_ipv4() {
                socket.bind(&own.into())?;
            }
            match socket.connect(&addr.into()) {
                Err(error) if !is_pending(&error) => Err(error),
                _ => Ok(()),
            }
        };
        connect().map_err(|error| unreachable(addr, &error))?;
        Ok(Self {
            socket: TcpStream::from_std(socket.into()),
            addr,
            handshake: Handshake::new(Role::Initiator, &shared.local),
            deadline: now.after(shared.timing.handshake()),
            unwelcome: None,
            carries_on: None,
            connecting: true,
        })
    }

    /// Takes a socket that connected to us, if it is on the link.
    pub(super) fn accepted(
        socket: TcpStream,
        addr: SocketAddr,
        shared: &Shared,
        now: Time,
    ) -> Result<Self, ConnectError> {
        prepare(&socket, addr, shared)?;
        Ok(Self {
            socket,
            addr,
            handshake: Handshake::new(Role::Responder, &shared.local),
            deadline: now.after(shared.timing.handshake()),
            unwelcome: None,
            carries_on: None,
            connecting: false,
        })
    }

    /// Reads and writes as far as it goes.
    pub(super) fn turn(&mut self, shared: &Shared) -> Result<Progress, ConnectError> {
        if self.connecting {
            match self.socket.take_error() {
                Ok(None) => {}
                Ok(Some(error)) | Err(error) => return Err(unreachable(self.addr, &error)),
            }
            match self.socket.peer_addr() {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                    return Ok(Progress::Waiting);
                }
                Err(error) => return Err(unreachable(self.addr, &error)),
            }
            self.connecting = false;
            prepare(&self.socket, self.addr, shared)?;
        }
        loop {
            let wrote_all = self.write()?;
            if self.handshake.to_decide().is_some() {
                return Ok(Progress::Decide);
            }
            if self.handshake.wanted() == 0 {
                return Ok(if wrote_all { Progress::Done } else { Progress::Waiting });
            }
            if !self.read(shared)? {
                return Ok(Progress::Waiting);
            }
        }
    }

    /// Writes what there is. Gives whether that was all.
    pub(super) fn write(&mut self) -> Result<bool, ConnectError> {
        while !self.handshake.transmit().is_empty() {
            match self.socket.write(self.handshake.transmit()) {
                Ok(len) => self.handshake.handle_written(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.ended(&error)),
            }
        }
        Ok(true)
    }

    /// Reads once, never more than the handshake wants. Gives whether it may go on.
    fn read(&mut self, shared: &Shared) -> Result<bool, ConnectError> {
        let mut bytes = [0; NOISE_MESSAGE_BYTES_MAX];
        let wanted = self.handshake.wanted();
        match self.socket.read(&mut bytes[..wanted]) {
            Ok(0) => Err(self.failed(HandshakeError::Ended)),
            Ok(len) => {
                let taken = self.handshake.handle_bytes(&bytes[..len], &shared.local);
                taken.map(|()| true).map_err(|error| self.failed(error))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(self.ended(&error)),
        }
    }

    pub(super) fn failed(&self, error: HandshakeError) -> ConnectError {
        ConnectError::Handshake { addr: self.addr, error }
    }

    fn ended(&self, error: &io::Error) -> ConnectError {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                self.failed(HandshakeError::Ended)
            }
            _ => unreachable(self.addr, error),
        }
    }
}

/// Makes sure the socket is on the link, then sets its options.
fn prepare(socket: &TcpStream, addr: SocketAddr, shared: &Shared) -> Result<(), ConnectError> {
    let socket = SockRef::from(socket);
    let link = shared.link();
    sys::check_pinned(&socket, &link)?;
    let unsent_max = u32::try_from(shared.chunk_bytes * UNSENT_FRAMES).unwrap_or(u32::MAX);
    sys::tune(&socket, unsent_max, link.kind()).map_err(|error| unreachable(addr, &error))
}

fn is_pending(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::EINPROGRESS)
}

fn unreachable(addr: SocketAddr, error: &io::Error) -> ConnectError {
    ConnectError::Io { addr, kind: error.kind(), words: error.to_string() }
}
