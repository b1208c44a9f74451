//! Hears that something about the links has changed, without asking again and again.
//!
//! On Linux the kernel says so on a routing netlink socket (links and addresses), on macOS on a
//! routing socket (`PF_ROUTE`, `route(4)`). What was said is not read: one notification is reason
//! enough to look again, and a look tells the whole truth where a notification may have been lost.
//!
//! No Mac has confirmed that its routing socket speaks of every change that a link can see. Whoever
//! waits there should look now and then without being told.

use std::{
    io,
    time::{Duration, Instant},
};

use socket2::SockRef;

/// Changes come in bursts (a cable makes a dozen): a burst is over when it is quiet for so long.
const QUIET: Duration = Duration::from_millis(50);
/// A burst is waited out for so long: a machine that never falls quiet is looked at too.
const BURST_MAX: Duration = Duration::from_millis(500);

/// A subscription to the system's changes.
pub struct Changes {
    socket: platform::Socket,
}

impl Changes {
    /// Subscribes. From now on nothing is missed: look at the system after this, then wait.
    ///
    /// # Errors
    /// If the system gives no such socket.
    pub fn subscribe() -> io::Result<Self> {
        Ok(Self { socket: platform::open()? })
    }

    /// Waits at most `limit` for a change, and until the burst it belongs to is over. Gives whether
    /// there was one.
    ///
    /// # Errors
    /// If the socket is broken. Lost notifications are a change like any other.
    pub fn wait(&mut self, limit: Duration) -> io::Result<bool> {
        if !self.heard(limit)? {
            return Ok(false);
        }
        let begun = Instant::now();
        while begun.elapsed() < BURST_MAX && self.heard(QUIET)? {}
        Ok(true)
    }

    fn heard(&mut self, limit: Duration) -> io::Result<bool> {
        // Zero would mean for ever.
        let limit = limit.max(Duration::from_millis(1));
        SockRef::from(&self.socket).set_read_timeout(Some(limit))?;
        match platform::read(&mut self.socket) {
            Ok(()) => Ok(true),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                // ENOBUFS: more was said than was kept.
                _ if error.raw_os_error() == Some(nix::errno::Errno::ENOBUFS as i32) => Ok(true),
                _ => Err(error),
            },
        }
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::io;

    pub(super) use netlink_sys::Socket;
    use netlink_sys::{SocketAddr, protocols::NETLINK_ROUTE};

    // <linux/rtnetlink.h>
    const RTMGRP_LINK: u32 = 0x1;
    const RTMGRP_IPV4_IFADDR: u32 = 0x10;
    const RTMGRP_IPV6_IFADDR: u32 = 0x100;

    pub(super) fn open() -> io::Result<Socket> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
        socket.bind(&SocketAddr::new(0, groups))?;
        Ok(socket)
    }

    pub(super) fn read(socket: &mut Socket) -> io::Result<()> {
        socket.recv_from_full().map(|_| ())
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::io::{self, Read as _};

    pub(super) use socket2::Socket;
    use socket2::{Domain, Type};

    // <sys/socket.h>: PF_ROUTE
    const PF_ROUTE: i32 = 17;
    /// Larger than any `rt_msghdr` with its addresses.
    const MESSAGE_BYTES: usize = 2048;

    pub(super) fn open() -> io::Result<Socket> {
        Socket::new(Domain::from(PF_ROUTE), Type::RAW, None)
    }

    pub(super) fn read(socket: &mut Socket) -> io::Result<()> {
        let mut message = [0; MESSAGE_BYTES];
        socket.read(&mut message).map(|_| ())
    }
}
