//! A socket, and whole messages over it.

use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use anyhow::Context as _;
use exo_transport::{limits::HEADER_BYTES, wire::activation::tail_len};

use super::PATIENCE;

/// Connects, for as long as the other side may still be starting.
pub(super) fn connect(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(addr) {
            Ok(socket) => {
                tune(&socket)?;
                return Ok(socket);
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                if Instant::now() > deadline {
                    return Err(error).with_context(|| {
                        format!("cannot reach {addr}; hint: `tbbench floor serve {addr}` there")
                    });
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) => return Err(error).with_context(|| format!("cannot reach {addr}")),
        }
    }
}

pub(super) fn tune(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))
}

/// The buffers of one message: as the transport has them.
pub(super) struct Message {
    header: [u8; HEADER_BYTES],
    bulk: Vec<u8>,
    tail: Vec<u8>,
}

/// What happened when a message was to be moved.
pub(super) enum Moved {
    /// All of it.
    Whole,
    /// This many of its bytes, so far; the socket has no more, or no more room.
    Part(usize),
}

impl Message {
    pub(super) fn new(size: usize) -> Self {
        let tail = if size >= 4096 { tail_len(size, 1) } else { 0 };
        // Every page is touched before anything is measured.
        Self { header: [1; HEADER_BYTES], bulk: vec![1; size], tail: vec![1; tail] }
    }

    pub(super) fn len(&self) -> usize {
        HEADER_BYTES + self.bulk.len() + self.tail.len()
    }

    /// Writes from byte `done` on: one vectored write if the socket takes it all.
    pub(super) fn write(&self, socket: &mut TcpStream, mut done: usize) -> io::Result<Moved> {
        while done < self.len() {
            let mut slices =
                [IoSlice::new(&self.header), IoSlice::new(&self.bulk), IoSlice::new(&self.tail)];
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, done);
            match socket.write_vectored(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(len) => done += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Moved::Part(done));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Moved::Whole)
    }

    /// Reads from byte `done` on: one vectored read if all has arrived.
    pub(super) fn read(&mut self, socket: &mut TcpStream, mut done: usize) -> io::Result<Moved> {
        while done < self.len() {
            let mut slices = [
                IoSliceMut::new(&mut self.header),
                IoSliceMut::new(&mut self.bulk),
                IoSliceMut::new(&mut self.tail),
            ];
            let mut rest = &mut slices[..];
            IoSliceMut::advance_slices(&mut rest, done);
            match socket.read_vectored(rest) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(len) => done += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Moved::Part(done));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Moved::Whole)
    }

    /// Reads all of it, looking again and again, and doing `between` between two looks.
    pub(super) fn read_spinning(
        &mut self,
        socket: &mut TcpStream,
        between: fn(),
    ) -> io::Result<()> {
        let mut done = 0;
        while let Moved::Part(more) = self.read(socket, done)? {
            done = more;
            between();
        }
        Ok(())
    }

    /// Writes all of it, looking again and again for room.
    pub(super) fn write_spinning(&self, socket: &mut TcpStream) -> io::Result<()> {
        let mut done = 0;
        while let Moved::Part(more) = self.write(socket, done)? {
            done = more;
            std::hint::spin_loop();
        }
        Ok(())
    }
}
